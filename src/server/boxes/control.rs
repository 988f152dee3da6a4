//! The commands of whoever controls a box.

use log::info;

use super::{BoxHost, Changes};
use crate::agent::Peer;
use crate::config::{self, AgentId, Format};
use crate::server::core::{Core, Role};
use crate::server::directory::Home;
use crate::server::master::Batch;
use crate::server::outputs::Action;
use crate::server::status::{AgentStatus, BoxStatus, NeighbourStatus, PortStatus, milliseconds};
use crate::time::Time;

/// What can be asked of a box, for whoever tells it.
const COMMANDS: &str = "status, attach <agent>, reload <configuration as one line of JSON>, stop";

impl Core {
    /// Carries out a command that no agent took.
    pub(in crate::server) fn control_command(
        &mut self,
        batch: &mut Batch<'_>,
        line: &[u8],
        attached: Option<Peer>,
        now: Time,
    ) {
        if let Some(agent) = attached {
            if line.trim_ascii().is_empty() {
                return;
            }
            let name = self.agent_name(agent);
            // A session stays with its agent even when that is gone: its lines were never meant for the box.
            let why = match self.agents.get(agent) {
                Some(hosted) if hosted.started => "does not understand that",
                Some(_) => "has not started yet",
                None => "is gone",
            };
            return batch.answer(format!("error agent {name} {why}"));
        }
        let text = String::from_utf8_lossy(line);
        let (verb, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match (verb, rest.trim()) {
            ("status", "") => return batch.answer(self.box_status(now).line()),
            ("attach", name) if self.attach(batch.conn(), name) => batch.answer(format!("attached {name}")),
            ("attach", name) => batch.answer(format!("error no agent {name:?} lives on this box")),
            ("reload", text) => {
                let answer = self.reload(text, now);
                batch.answer(answer);
            }
            ("stop", "") => {
                batch.answer("stopping");
                self.end(Action::Stop, now);
            }
            _ => return batch.answer_unknown(line, COMMANDS),
        }
        info!("control: command conn={} verb={verb}", batch.conn().0);
    }

    /// Applies a configuration that came in as text; what to say about it.
    fn reload(&mut self, text: &str, now: Time) -> String {
        let Role::Box(host) = &self.role else { return String::new() };
        match config::read(text, Format::Json, &host.registry) {
            Ok(configuration) => {
                let changes = self.adopt(configuration, now);
                format!("reloaded {changes}")
            }
            Err(findings) => {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                format!("error {}", findings.join("; ").replace('\n', " "))
            }
        }
    }

    fn box_status(&self, now: Time) -> BoxStatus {
        let Role::Box(host) = &self.role else { return BoxStatus::default() };
        BoxStatus {
            address: host.address.to_string(),
            uptime_ms: milliseconds(now.since(self.started)),
            agents: host.agents(self),
            boxes: self
                .links
                .roster()
                .others()
                .map(|peer| NeighbourStatus::of(&self.links, peer, now))
                .collect(),
            bytes_queued: self.links.queued_bytes() as u64,
            frames_dropped: host.frames_dropped + host.frames_early,
            frames_lost_on_purpose: host.experiment.lost(),
            connections_refused: self.outside.refused(),
        }
    }
}

impl BoxHost {
    fn agents(&self, core: &Core) -> Vec<AgentStatus> {
        let here = self.directory.peers().filter(|peer| self.directory.home(*peer) == Home::Here);
        let status = |peer: Peer| {
            let hosted = core.agents.get(peer)?;
            let id = self.directory.id(peer)?;
            let kind = self.configuration.agents.get(id).map(|entry| entry.kind.clone());
            let counters = hosted.agent.counters();
            let counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let (id, kind, about) = (id.to_string(), kind.unwrap_or_default(), hosted.agent.about());
            Some(AgentStatus {
                id,
                kind,
                started: hosted.started,
                counters,
                about,
                ports: core.outside.ports_of(peer).map(|port| PortStatus::of(&core.outside, &port)).collect(),
                dialled: core.outside.connections_of(peer, None) as u64,
            })
        };
        let mut agents: Vec<AgentStatus> = here.filter_map(status).collect();
        agents.sort_by(|one, other| one.id.cmp(&other.id));
        agents
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ids: &[AgentId]| ids.iter().map(AgentId::as_str).collect::<Vec<_>>().join(",");
        let Self { added, removed, rerouted, restarted } = self;
        write!(
            f,
            "added={} removed={} rerouted={} restarted={}",
            list(added),
            list(removed),
            list(rerouted),
            list(restarted)
        )
    }
}
