//! Logs on disks: what agents that are a log themselves ask for and are told; what agents with a log of their own are handed, and their rows.

use bytes::Bytes;
use log::warn;

use super::core::{Core, Role};
use super::hosting::Waiting;
use super::local_log::Handed;
use super::outputs::LogId;
use crate::agent::{Found, Index, Input, Look, Looked, Lsn, Peer, Recovered, Write};
use crate::seldom;
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

    /// The folder of a log has been looked through: its agent begins with that, or once it has been handed what is there.
    pub(super) fn store_recovered(&mut self, log: LogId, recovered: &Recovered, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        let keeps_rows = self.agents.get(agent).is_some_and(|hosted| hosted.agent.keeps_rows());
        let Some(local) = self.logs.local(agent) else {
            self.hand(agent, Input::Recovered { recovered }, now);
            self.agents.post(agent, Waiting::Start);
            return;
        };
        match local.recovered(recovered, keeps_rows, &mut self.outputs) {
            Ok(true) => self.hand_before_start(agent, Handed::Begin, now),
            Ok(false) => {}
            Err(why) => self.log_failed(log, &why),
        }
    }

    /// Writes to a log are durable.
    pub(super) fn store_stored(&mut self, log: LogId, upto: Lsn, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        if let Some(local) = self.logs.local(agent) {
            for committed in local.stored(upto, &mut self.outputs) {
                self.agents.post(agent, committed);
            }
        } else if self.logs.store_stored(agent, upto) {
            self.hand(agent, Input::Stored { upto }, now);
        }
    }

    /// What was to be read of a log.
    pub(super) fn store_found(&mut self, log: LogId, found: Found, now: Time) {
        let Some(agent) = self.logs.agent_of(log).filter(|_| !self.ending) else { return };
        let Some(local) = self.logs.local(agent) else {
            return self.hand(agent, Input::Found { found }, now);
        };
        if let Found::Looked(looked) = found {
            return self.hand(agent, Input::Looked { looked }, now);
        }
        match local.found(found, &mut self.outputs) {
            Ok(handed) => handed.into_iter().for_each(|handed| self.hand_before_start(agent, handed, now)),
            Err(why) => self.log_failed(log, &why),
        }
    }

    fn hand_before_start(&mut self, agent: Peer, handed: Handed, now: Time) {
        match handed {
            Handed::Rows { rows, first, last } => {
                self.hand(agent, Input::Restore { rows: &rows, first, last }, now);
            }
            Handed::Record { index, record } => self.hand_record(agent, index, &record, now),
            Handed::Begin => {
                self.agents.post(agent, Waiting::Start);
            }
        }
    }

    /// Hands an agent a record of its log, and asks it for its rows if that is due.
    pub(super) fn hand_record(&mut self, agent: Peer, index: Index, record: &Bytes, now: Time) {
        self.hand(agent, Input::Committed { index, record }, now);
        if self.logs.local(agent).is_some_and(|local| local.handed(index, record.len())) {
            let rows = self.agents.get_mut(agent).map(|hosted| hosted.agent.take_rows());
            if let (Some(rows), Some(local)) = (rows, self.logs.local(agent)) {
                local.keep(rows, &mut self.outputs);
            }
        }
    }

    /// An agent that is no log itself looks at its rows.
    pub(super) fn look_at_rows(&mut self, agent: Peer, look: Look) {
        let token = look.token;
        if self.logs.local(agent).is_some_and(|local| local.look(look, &mut self.outputs)) {
            return;
        }
        if seldom::count(&mut self.looked_at_nothing) {
            let (name, so_far) = (self.agent_name(agent), self.looked_at_nothing);
            warn!("server: looks at rows that its log does not keep agent={name} so_far={so_far}");
        }
        let looked = Looked { token, rows: Vec::new(), more: false };
        self.agents.post(agent, Waiting::Looked { looked });
    }
}
