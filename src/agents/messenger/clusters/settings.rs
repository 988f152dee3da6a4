//! What a configuration says about other clusters, and about who may ask for servers of this one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use crate::agent::{Mistake, Setup};

/// The secret that clusters and their clients share. Only what it hashes to is compared, so that the time which that takes tells nothing about it; and it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret {
    text: String,
    hash: [u8; 32],
}

impl SharedSecret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { hash: hash(&text), text }
    }

    /// Whether `given` is the secret, in a time that depends on the length of `given` alone.
    pub fn is(&self, given: &str) -> bool {
        let differing = self.hash.iter().zip(hash(given)).fold(0, |sum, (one, other)| sum | (one ^ other));
        differing == 0
    }

    /// The secret itself, to be sent to those who know it.
    pub(in crate::agents::messenger) fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(...)")
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// What a messenger is told about clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// What this cluster is called. All its servers say the same.
    pub group_tag: String,
    /// What those who look for a server have to know; nobody finds one without.
    pub secret: Option<SharedSecret>,
    /// What other clusters have to know. Whoever does can fetch what waits for any user, so it need not be what users are told.
    pub between: Option<SharedSecret>,
    /// Where the leader answers those who look for a server (UDP).
    pub discovery: Option<SocketAddr>,
    /// Clusters that are known from the beginning: where their servers await clients.
    pub clusters: BTreeMap<String, Vec<SocketAddr>>,
    /// Discovery ports of other clusters, which are asked from time to time.
    pub ask: Vec<SocketAddr>,
    /// Where this server's clients, and other clusters, reach it: `host:port`.
    pub own: String,
    /// Whether connections to other clusters are encrypted (TLS).
    pub tls: bool,
}

impl ClusterSettings {
    /// Reads the attributes `group_tag`, `secret`, `cluster_secret`, `discovery`, `clusters` and `ask`. `own` is where clients reach this server.
    pub fn configure(setup: &mut Setup<'_>, own: &str, tls: bool) -> Result<Self, Mistake> {
        let group_tag: String = setup.attr_or("group_tag", GROUP_TAG_DEFAULT.to_owned())?;
        check_tag(&group_tag).map_err(|what| Mistake::in_attr("group_tag", what))?;
        let secret = secret(setup, "secret")?;
        let between = self::secret(setup, "cluster_secret")?.or_else(|| secret.clone());
        let discovery = setup.attr::<String>("discovery")?;
        let discovery = discovery.map(|text| address("discovery", &text)).transpose()?;
        let mut clusters = BTreeMap::new();
        for (tag, texts) in setup.attr_or::<BTreeMap<String, Vec<String>>>("clusters", BTreeMap::new())? {
            check_tag(&tag).map_err(|what| Mistake::in_attr("clusters", what))?;
            if tag == group_tag {
                let what = format!("{tag:?} is this cluster itself; name others only");
                return Err(Mistake::in_attr("clusters", what));
            }
            let addresses = addresses("clusters", &texts)?;
            if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
                let what = format!("expected 1 to {ADDRESSES_MAX} addresses of {tag:?}");
                return Err(Mistake::in_attr("clusters", what));
            }
            clusters.insert(tag, addresses);
        }
        if clusters.len() > CLUSTERS_MAX {
            return Err(Mistake::in_attr("clusters", format!("expected at most {CLUSTERS_MAX} clusters")));
        }
        let ask = addresses("ask", &setup.attr_or::<Vec<String>>("ask", Vec::new())?)?;
        if ask.len() > ASK_MAX {
            return Err(Mistake::in_attr("ask", format!("expected at most {ASK_MAX} addresses")));
        }
        let needs_secret = [
            ("discovery", discovery.is_some()),
            ("clusters", !clusters.is_empty()),
            ("ask", !ask.is_empty()),
        ];
        for (name, there) in needs_secret {
            if there && between.is_none() {
                let what = "needs the attribute \"secret\", which the other side has to know";
                return Err(Mistake::in_attr(name, what));
            }
        }
        if !ask.is_empty() && discovery.is_none() {
            let what = "needs the attribute \"discovery\", from where others are asked";
            return Err(Mistake::in_attr("ask", what));
        }
        Ok(Self { group_tag, secret, between, discovery, clusters, ask, own: own.to_owned(), tls })
    }
}

fn secret(setup: &mut Setup<'_>, name: &str) -> Result<Option<SharedSecret>, Mistake> {
    let secret: Option<String> = setup.attr(name)?;
    if secret.as_deref().is_some_and(|secret| secret.is_empty() || secret.len() > SECRET_BYTES_MAX) {
        let what = format!("a secret has 1 to {SECRET_BYTES_MAX} bytes; leave it out to speak to nobody");
        return Err(Mistake::in_attr(name, what));
    }
    Ok(secret.map(SharedSecret::new))
}

/// Whether `tag` can be what a cluster is called.
pub(in crate::agents::messenger) fn check_tag(tag: &str) -> Result<(), String> {
    let plain = !tag.chars().any(char::is_control);
    if (1..=TAG_BYTES_MAX).contains(&tag.len()) && plain {
        return Ok(());
    }
    Err(format!("the tag of a cluster has 1 to {TAG_BYTES_MAX} bytes, none of them control characters"))
}

fn addresses(name: &str, texts: &[String]) -> Result<Vec<SocketAddr>, Mistake> {
    texts.iter().map(|text| address(name, text)).collect()
}

fn address(name: &str, text: &str) -> Result<SocketAddr, Mistake> {
    let expected = "expected an address and a port such as \"127.0.0.1:8888\"";
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        Ok(_) => Err(Mistake::in_attr(name, format!("{expected}; nobody can find port 0 in {text:?}"))),
        Err(_) => Err(Mistake::in_attr(name, format!("{expected}, not {text:?}"))),
    }
}

/// What a cluster is called whose configuration does not say.
const GROUP_TAG_DEFAULT: &str = "chat";
/// The longest tag of a cluster, in bytes.
pub(in crate::agents::messenger) const TAG_BYTES_MAX: usize = 64;
const SECRET_BYTES_MAX: usize = 256;
/// How many other clusters are known at most.
pub(in crate::agents::messenger) const CLUSTERS_MAX: usize = 64;
/// How many addresses of one cluster are known at most.
pub(in crate::agents::messenger) const ADDRESSES_MAX: usize = 16;
const ASK_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Attrs;

    fn configured(attrs: &str) -> Result<ClusterSettings, String> {
        let attrs: Attrs = serde_json::from_str(attrs).expect("an object");
        let mut setup = Setup::new("chat-1", &attrs, &[], 1);
        let settings = ClusterSettings::configure(&mut setup, "127.0.0.1:4001", false);
        settings.map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        let secret = SharedSecret::new("open sesame");
        assert!(secret.is("open sesame"));
        for wrong in ["", "open sesam", "open sesame ", "Open sesame"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{secret:?}"), "SharedSecret(...)");
    }

    #[test]
    fn all_attributes_are_read() {
        let settings = configured(
            r#"{"group_tag": "east", "secret": "s", "discovery": "127.0.0.1:8888", "ask": ["127.0.0.2:8888"],
                "clusters": {"west": ["10.0.0.1:4001", "[::1]:4002"]}}"#,
        )
        .expect("right");
        assert_eq!(settings.group_tag, "east");
        assert_eq!(settings.clusters["west"].len(), 2);
        assert!(settings.secret.is_some_and(|secret| secret.is("s")));
        assert!(settings.between.is_some_and(|secret| secret.is("s")), "if nothing else is said");
        let two = configured(r#"{"secret": "s", "cluster_secret": "t"}"#).expect("right");
        assert!(two.secret.is_some_and(|secret| secret.is("s")));
        assert!(two.between.is_some_and(|secret| secret.is("t")));
        assert_eq!(configured("{}").expect("alone").group_tag, GROUP_TAG_DEFAULT);
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        for (attrs, what) in [
            (r#"{"group_tag": ""}"#, "attrs.group_tag: the tag of a cluster has 1 to 64 bytes"),
            (r#"{"cluster_secret": ""}"#, "attrs.cluster_secret: a secret has 1 to 256 bytes"),
            (r#"{"secret": ""}"#, "attrs.secret: a secret has 1 to 256 bytes"),
            (r#"{"discovery": "127.0.0.1:8888"}"#, "attrs.discovery: needs the attribute \"secret\""),
            (r#"{"secret": "s", "discovery": "here"}"#, "attrs.discovery: expected an address and a port"),
            (r#"{"secret": "s", "clusters": {"chat": ["127.0.0.1:1"]}}"#, "\"chat\" is this cluster itself"),
            (r#"{"secret": "s", "clusters": {"west": []}}"#, "expected 1 to 16 addresses of \"west\""),
            (r#"{"secret": "s", "clusters": {"west": ["127.0.0.1:0"]}}"#, "nobody can find port 0"),
            (r#"{"secret": "s", "ask": ["127.0.0.1:8888"]}"#, "attrs.ask: needs the attribute \"discovery\""),
        ] {
            let error = configured(attrs).expect_err(attrs);
            assert!(error.contains(what), "{error}");
        }
    }
}
