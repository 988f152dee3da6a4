//! What a configuration says of a messenger.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{ClusterKey, ClusterSettings, Limits};
use crate::agent::{Mistake, PasswordCost, Setup};

/// What one server of the chat is told by its configuration.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Where clients connect.
    pub clients: SocketAddr,
    /// What they are told of that, `host:port`, if it is not the same.
    pub advertise: Option<String>,
    /// This cluster and others.
    pub clusters: ClusterSettings,
    /// Whether clients of the class of 2017 are to understand frames.
    pub quirks: bool,
    /// Whether clients connect by TLS.
    pub tls: bool,
    /// What hashing a password costs.
    pub password: PasswordCost,
    /// The key of the cluster, if that has none yet.
    pub key: ClusterKey,
    /// What all servers agree on to keep at most; that of the leader counts.
    pub limits: Limits,
    /// Connections to this server.
    pub connections_max: usize,
    /// Sessions of one user on this server.
    pub sessions_max: usize,
    /// Requests of one connection that are under way.
    pub in_flight_max: usize,
    /// The longest frame that a client may send.
    pub frame_bytes_max: usize,
    /// The time that the host's clock began at, in milliseconds since 1970 (UTC).
    pub unix_ms_at_start: u64,
}

/// The attribute `password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PasswordAttr {
    memory_kib: u32,
    passes: u32,
}

/// The attribute `limits`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "so they are called in configurations")]
struct LimitsAttr {
    payload_bytes_max: usize,
    unread_max: u64,
    history_max: u64,
    users_max: usize,
    conversations_max: usize,
    members_max: usize,
    clients_max: usize,
    open_bytes_max: usize,
    connections_max: usize,
    sessions_max: usize,
    in_flight_max: usize,
}

impl Settings {
    pub(super) fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let clients = address(setup, "clients")?;
        let advertise = match setup.attr::<String>("advertise")? {
            None => None,
            Some(told) if is_host_and_port(&told) => Some(told),
            Some(told) => {
                let what = format!("expected what clients connect to, host:port, and not {told:?}");
                return Err(Mistake::in_attr("advertise", what));
            }
        };
        let own = advertise.clone().unwrap_or_else(|| clients.to_string());
        let cost: PasswordAttr = setup.attr_or("password", PasswordAttr::default())?;
        if cost.memory_kib < 8 || cost.passes < 1 {
            return Err(Mistake::in_attr("password", "expected at least 8 KiB of memory and 1 pass"));
        }
        if cost.memory_kib > MEMORY_KIB_MOST || cost.passes > PASSES_MOST {
            let what = format!("expected at most {MEMORY_KIB_MOST} KiB of memory and {PASSES_MOST} passes");
            return Err(Mistake::in_attr("password", what));
        }
        let tls = setup.attr_or("tls", false)?;
        let attr: LimitsAttr = setup.attr_or("limits", LimitsAttr::default())?;
        Ok(Self {
            clients,
            clusters: ClusterSettings::configure(setup, &own, tls)?,
            advertise,
            quirks: setup.attr_or("quirks", false)?,
            tls,
            password: PasswordCost { memory_kib: cost.memory_kib, passes: cost.passes },
            key: ClusterKey::new(setup.secret()),
            limits: attr.checked()?,
            connections_max: attr.connections_max,
            sessions_max: attr.sessions_max,
            in_flight_max: attr.in_flight_max,
            frame_bytes_max: attr.payload_bytes_max + FRAME_BYTES_BESIDE,
            unix_ms_at_start: setup.unix_ms_at_start(),
        })
    }
}

impl LimitsAttr {
    fn checked(&self) -> Result<Limits, Mistake> {
        let limits = Limits {
            payload_bytes_max: self.payload_bytes_max,
            unread_max: self.unread_max,
            history_max: self.history_max,
            users_max: self.users_max,
            conversations_max: self.conversations_max,
            members_max: self.members_max,
            clients_max: self.clients_max,
            open_bytes_max: self.open_bytes_max,
        };
        if self.payload_bytes_max > PAYLOAD_BYTES_MOST {
            let what = format!("payload_bytes_max: expected at most {PAYLOAD_BYTES_MOST}");
            return Err(Mistake::in_attr("limits", what));
        }
        let all = [
            self.payload_bytes_max,
            self.users_max,
            self.conversations_max,
            self.members_max,
            self.clients_max,
            self.connections_max,
            self.sessions_max,
            self.in_flight_max,
        ];
        if all.contains(&0) || self.unread_max == 0 || self.history_max == 0 {
            return Err(Mistake::in_attr("limits", "expected at least 1 of each"));
        }
        Ok(limits)
    }
}

impl Default for PasswordAttr {
    /// What OWASP recommends for Argon2id at the least.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl Default for LimitsAttr {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            payload_bytes_max: limits.payload_bytes_max,
            unread_max: limits.unread_max,
            history_max: limits.history_max,
            users_max: limits.users_max,
            conversations_max: limits.conversations_max,
            members_max: limits.members_max,
            clients_max: limits.clients_max,
            open_bytes_max: limits.open_bytes_max,
            connections_max: 10_000,
            sessions_max: 16,
            in_flight_max: 1024,
        }
    }
}

fn address(setup: &mut Setup<'_>, name: &str) -> Result<SocketAddr, Mistake> {
    let text: String = setup.need_attr(name)?;
    text.parse().map_err(|_| {
        let what =
            format!("expected an address and a port to listen on, such as 127.0.0.1:4001, and not {text:?}");
        Mistake::in_attr(name, what)
    })
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// What a request may have beside a message: a log-in says of each conversation how far its client has it.
const FRAME_BYTES_BESIDE: usize = 1024 * 1024;
/// With what stands beside it, here and in the log of another cluster, the longest message makes a record that a log takes.
pub(super) const PAYLOAD_BYTES_MOST: usize = 512 * 1024;
/// The most that looking at a password may cost.
const MEMORY_KIB_MOST: u32 = 1024 * 1024;
const PASSES_MOST: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Attrs;

    fn mistake(json: &str) -> String {
        let attrs: Attrs = serde_json::from_str(json).expect("an object");
        Settings::configure(&mut Setup::new("m", &attrs, &[], 1)).expect_err("a mistake").to_string()
    }

    #[test]
    fn little_has_to_be_said_and_mistakes_are_clear() {
        let attrs: Attrs = serde_json::from_str(r#"{"clients": "127.0.0.1:4001"}"#).expect("an object");
        let settings = Settings::configure(&mut Setup::new("m", &attrs, &[], 1)).expect("right");
        assert_eq!((settings.advertise, settings.limits), (None, Limits::default()));
        assert_eq!(mistake("{}"), "attrs.clients: is needed and missing");
        assert!(mistake(r#"{"clients": "here"}"#).contains("such as 127.0.0.1:4001"));
        assert!(mistake(r#"{"clients": "127.0.0.1:1", "advertise": "chat"}"#).contains("host:port"));
        assert!(mistake(r#"{"clients": "127.0.0.1:1", "password": {"passes": 0}}"#).contains("1 pass"));
        assert!(mistake(r#"{"clients": "127.0.0.1:1", "limits": {"users": 3}}"#).contains("unknown field"));
        assert!(mistake(r#"{"clients": "127.0.0.1:1", "limits": {"users_max": 0}}"#).contains("at least 1"));
        let long = r#"{"clients": "127.0.0.1:1", "limits": {"payload_bytes_max": 2000000}}"#;
        assert!(mistake(long).contains("at most 524288"));
    }
    #[test]
    fn the_longest_message_fits_into_a_record() {
        use crate::agents::messenger::{
            ClientInstance, ClusterIdentity, Command, ConversationId, Imported, Origin, Place, Record,
            Sequence, Target, UserId,
        };
        let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD_BYTES_MOST]);
        let timestamp = "t".repeat(128);
        let post = Command::Post {
            from: UserId(u64::MAX),
            to: Target::User(UserId(u64::MAX)),
            client: Some((ClientInstance([0; 16]), u64::MAX)),
            timestamp: timestamp.clone(),
            payload: payload.clone(),
        };
        let place = Place { conversation: ConversationId(u64::MAX), sequence: Sequence(u64::MAX) };
        let (sender, group) = ("s".repeat(256), Some("g".repeat(256)));
        let imported = Imported { place, sender, group, time_ms: u64::MAX, timestamp, payload };
        let from = Origin { tag: "c".repeat(64), identity: Some(ClusterIdentity([0; 16])) };
        let import = Command::Import { from, user: UserId(u64::MAX), messages: vec![imported] };
        for command in [post, import] {
            let record = Record { life: u64::MAX, number: u64::MAX, at_ms: u64::MAX, command };
            assert!(record.encode().len() <= crate::agents::raft::RECORD_BYTES_MAX);
        }
    }

    #[test]
    fn a_password_costs_what_a_server_can_pay() {
        let costly = r#"{"clients": "127.0.0.1:1", "password": {"memory_kib": 4000000000}}"#;
        assert!(mistake(costly).contains("at most"));
        let slow = r#"{"clients": "127.0.0.1:1", "password": {"passes": 4000000000}}"#;
        assert!(mistake(slow).contains("at most"));
    }
}
