//! Making agents from their entries: each by its type, on the log that its entry chooses.

use hmac::{Hmac, KeyInit, Mac};
use log::warn;
use sha2::Sha256;

use super::BoxHost;
use crate::agent::{AnyAgent, ErasedAgent, Secret, Setup};
use crate::agents::raft::Raft;
use crate::agents::replicated::{Identity, LOG_ROUTE, Replicated};
use crate::config::{AgentId, Entry, LOG_ATTR, LogChoice, SharedLog};
use crate::grid::BoxAddress;
use crate::server::logs::LogKind;

impl BoxHost {
    /// Makes an agent of this box.
    pub(super) fn make(&mut self, id: &AgentId, entry: &Entry) -> Option<Box<dyn ErasedAgent>> {
        let is_own = |name: &&String| !(entry.is_replicated() && **name == LOG_ROUTE);
        let routes: Vec<String> = entry.routes.keys().filter(is_own).cloned().collect();
        let mut attrs = entry.attrs.clone();
        attrs.0.remove(LOG_ATTR);
        let setup = Setup::new(id.as_str(), &attrs, &routes, self.seeds.number());
        let secret = self.secret.as_ref().map(|secret| secret_of(secret, id));
        let setup = setup.with_secret(secret).begun_at_unix_ms(self.unix_ms_at_start);
        let mut setup = setup.with_log(entry.log.keeper());
        // Reading the configuration has made it once already.
        let agent = match self.registry.make(&entry.kind, &mut setup) {
            Some(Ok(agent)) => agent,
            Some(Err(mistake)) => {
                warn!("server: cannot make agent={id} why=\"{mistake}\"");
                return None;
            }
            None => {
                warn!("server: cannot make agent={id} why=\"no type {:?}\"", entry.kind);
                return None;
            }
        };
        Some(match &entry.log {
            LogChoice::Replicated(log) => self.replicated(id, log, agent),
            _ => agent,
        })
    }

    /// Puts a service on a log that several agents agree on.
    fn replicated(
        &mut self,
        id: &AgentId,
        log: &SharedLog,
        service: Box<dyn ErasedAgent>,
    ) -> Box<dyn ErasedAgent> {
        let identity = Identity { name: id.to_string(), life: self.seeds.number(), greets: None };
        let voters = log.voters.iter().map(AgentId::as_str);
        let raft = Raft::new(log.options.clone(), id.as_str(), voters, self.seeds.number());
        <dyn ErasedAgent>::of(Replicated::new(raft, AnyAgent::new(service), identity))
    }
}

/// What the keys of one agent of a box are made of: from that of the box, so that no agent can work out another's.
fn secret_of(Secret(secret): &Secret, id: &AgentId) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
    mac.update(b"ovid agent secret 1");
    mac.update(id.as_str().as_bytes());
    mac.finalize().into_bytes().into()
}

/// Which log an agent has, and what its folder is called, below that of the box's data and without its end. Ids and addresses hold nothing that could lead
/// elsewhere.
pub(super) fn log_of(address: BoxAddress, id: &AgentId, entry: &Entry) -> (LogKind, String) {
    let kind = match entry.log {
        LogChoice::Local => LogKind::Local,
        LogChoice::Memory => LogKind::Memory,
        LogChoice::Replicated(_) => LogKind::Own,
        LogChoice::None => LogKind::None,
    };
    let plain = |text: &str| text.replace('/', "%2F").replace(':', "-");
    (kind, format!("{}/{}", plain(&address.to_string()), plain(id.as_str())))
}
