//! Agents that are a log themselves: what they ask of their disks, and what they are told.

use log::warn;

use super::core::{Core, Role};
use super::hosting::Waiting;
use super::outputs::LogId;
use crate::agent::{Found, Input, Lsn, Peer, Recovered, Write};
use crate::time::Time;

impl Core {
    /// An agent asks for something to be written.
    pub(super) fn write_to_store(&mut self, agent: Peer, write: Write) {
        if !self.logs.is_own(agent) {
            if let Role::Box(host) = &mut self.role {
                host.refuse(agent, "this agent has no disk of its own");
            }
            return;
        }
        if let Some(waiting) = self.logs.write(agent, write, &mut self.outputs) {
            warn!("server: an agent has overwhelmed its disk agent={}", self.agent_name(agent));
            self.agents.post(agent, waiting);
        }
    }

    /// An agent's disk has been looked through: it begins with that.
    pub(super) fn store_recovered(&mut self, log: LogId, recovered: &Recovered, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        self.hand(agent, Input::Recovered { recovered }, now);
        self.agents.post(agent, Waiting::Start);
    }

    /// Writes of an agent are durable.
    pub(super) fn store_stored(&mut self, log: LogId, upto: Lsn, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        if self.logs.store_stored(agent, upto) {
            self.hand(agent, Input::Stored { upto }, now);
        }
    }

    /// What an agent wanted to be read.
    pub(super) fn store_found(&mut self, log: LogId, found: Found, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        self.hand(agent, Input::Found { found }, now);
    }
}
