//! A lab's server: the agent that it hosts, and the commands that are the server's own.

use log::info;

use super::core::Core;
use super::master::Batch;
use super::outputs::Action;
use super::status::Status;
use crate::agent::{ErasedAgent, Peer};
use crate::agents::chatroom::{self, Chatroom};
use crate::grid::ServerId;
use crate::time::Time;
use crate::wire::msg_prefix;

/// The one agent of a lab's server.
pub(super) const CHATROOM: Peer = Peer(u32::MAX);

/// The chatroom of server `own`.
pub(super) fn chatroom(own: ServerId, log_bytes_max: usize) -> Box<dyn ErasedAgent> {
    <dyn ErasedAgent>::of(Chatroom::new(msg_prefix(own), log_bytes_max))
}

impl Core {
    /// Carries out a master's command that is not the chatroom's.
    pub(super) fn lab_command(&mut self, batch: &mut Batch<'_>, line: &[u8], now: Time) {
        match line.trim_ascii() {
            b"alive" => {
                let answer = self.alive();
                self.tracing.answer_text(now, &answer);
                batch.answer(answer);
            }
            b"status" => batch.answer(self.lab_status(now).line()),
            b"crash" => self.end(Action::Crash, now),
            line => {
                return batch.answer_unknown(line, &format!("{}, alive, crash, status", chatroom::COMMANDS));
            }
        }
        info!("master: command conn={} {}", batch.conn().0, String::from_utf8_lossy(line.trim_ascii()));
    }

    /// The answer to `alive`.
    fn alive(&self) -> String {
        let ids: Vec<String> = self.links.alive().map(|id| id.to_string()).collect();
        format!("alive {}", ids.join(","))
    }

    pub(super) fn lab_status(&self, now: Time) -> Status {
        let counters = self.agents.get(CHATROOM).map(|hosted| hosted.agent.counters()).unwrap_or_default();
        Status::of(&self.links, &counters, self.started, now)
    }
}
