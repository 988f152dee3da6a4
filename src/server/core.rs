//! The core of a server: hands inputs to its agents, one at a time, and carries out what they ask for before the next one.

use std::collections::VecDeque;

use bytes::Bytes;
use log::warn;

use super::boxes::BoxHost;
use super::hosting::{Hosting, Waiting};
use super::link::Piece;
use super::link_manager::{LinkManager, News};
use super::logs::Logs;
use super::master::{Batch, session};
use super::outputs::{Action, ConnId, LogId, Outputs};
use super::outside::Outside;
use super::overlay::OverlayHost;
use super::tracing::Tracing;
use super::{BoxSetup, Settings, lab};
use crate::agent::{AgentBytes, Audience, Input, Outbox, Output, Peer, Request, Taken, Why};
use crate::grid::ServerId;
use crate::seldom;
use crate::time::Time;
use crate::trace::{Event, What};

/// How many inputs that agents of one server have for each other are handed over before sockets have their turn again.
const LOCAL_INPUTS_PER_TURN: usize = 4096;

/// All of a server but the masters.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) links: LinkManager,
    pub(super) agents: Hosting,
    pub(super) logs: Logs,
    pub(super) outside: Outside,
    pub(super) outputs: Outputs,
    pub(super) role: Role,
    pub(super) tracing: Tracing,
    pub(super) started: Time,
    /// An end was asked for: from there on nothing is done any more.
    pub(super) ending: bool,
    pub(super) misunderstood: u64,
    pub(super) looked_at_nothing: u64,
    /// In the order in which agents have put it out.
    pub(super) told: VecDeque<Told>,
}

/// What agents have for sessions.
#[derive(Debug)]
pub(super) enum Told {
    /// The answer to a command.
    Answer(Request, Vec<Bytes>),
    /// A line that answers nothing.
    News(ConnId, Bytes),
}

/// What a server is for.
#[derive(Debug)]
pub(super) enum Role {
    /// A lab's server, hosting the one agent [`lab::CHATROOM`].
    Lab,
    /// A box of a configuration.
    Box(Box<BoxHost>),
    /// A server of an overlay, hosting the node and the one agent [`lab::CHATROOM`].
    Overlay(Box<OverlayHost>),
}

impl Told {
    fn is_for(&self, conn: ConnId) -> bool {
        match self {
            Self::Answer(request, _) => request.session == session(conn),
            Self::News(to, _) => *to == conn,
        }
    }
}

impl Core {
    /// The core of a lab's server.
    pub(super) fn lab(settings: Settings, log_bytes_max: usize, now: Time) -> Self {
        let own = settings.links.roster.own();
        let mut core = Self::empty(settings, Role::Lab, now);
        core.host_chatroom(own, log_bytes_max);
        core.work(now);
        core
    }

    /// Hosts the chatroom of server `own`.
    pub(super) fn host_chatroom(&mut self, own: ServerId, log_bytes_max: usize) {
        self.agents.insert(lab::CHATROOM, lab::chatroom(own, log_bytes_max));
        self.agents.post(lab::CHATROOM, Waiting::Start);
    }

    /// The core of a box.
    pub(super) fn of_box(settings: Settings, setup: BoxSetup, now: Time) -> Self {
        let (host, configuration) = setup.into_host();
        let mut core = Self::empty(settings, Role::Box(Box::new(host)), now);
        core.adopt(configuration, now);
        core.work(now);
        core
    }

    pub(super) fn empty(settings: Settings, role: Role, now: Time) -> Self {
        let name = settings.links.roster.name(settings.links.roster.own());
        let mut tracing = Tracing::new(settings.tracing.then_some(name));
        tracing.note(now, || What::Start);
        let mut agents = Hosting::default();
        agents.outbox = Outbox::new(settings.tracing);
        Self {
            links: LinkManager::new(settings.links, now),
            agents,
            logs: Logs::default(),
            outside: Outside::new(settings.connections_max),
            outputs: Outputs::default(),
            role,
            tracing,
            started: now,
            ending: false,
            misunderstood: 0,
            looked_at_nothing: 0,
            told: VecDeque::new(),
        }
    }

    /// Bytes came in on a link.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], now: Time) {
        if !self.ending && self.links.received(conn, bytes, now, &mut self.outputs) {
            self.read(conn, bytes, now);
        }
    }

    /// Cuts what a link has received and hands it to the agents, a piece at a time.
    fn read(&mut self, conn: ConnId, mut bytes: &[u8], now: Time) {
        let Some((peer, mut reader)) = self.links.lend_reader(conn) else { return };
        loop {
            match reader.cut(&mut bytes) {
                Ok(None) => return self.links.return_reader(conn, reader),
                Ok(Some(Piece::Lines(lines))) => {
                    self.tracing.received_lines(now, &self.links, conn, peer, &lines);
                    let from = Peer(u32::from(peer.0));
                    self.hand(lab::CHATROOM, Input::Lines { from, lines }, now);
                }
                Ok(Some(Piece::Frame(frame))) => match self.role {
                    Role::Overlay(_) => self.overlay_frame(conn, peer, frame, now),
                    _ => self.frame_arrived(conn, peer, frame, now),
                },
                Ok(Some(Piece::Hypar(frame))) => self.hypar_frame(conn, peer, frame, now),
                Ok(Some(Piece::Skipped)) => {}
                Err(error) => {
                    self.links.give_up(conn, &error.to_string(), now, &mut self.outputs);
                    return;
                }
            }
        }
    }

    /// Carries out the commands of one read, in order.
    pub(super) fn command(&mut self, batch: &mut Batch<'_>, now: Time) {
        while !self.ending && batch.may_go_on() {
            let agent = match &self.role {
                Role::Lab | Role::Overlay(_) => Some(lab::CHATROOM),
                Role::Box(host) => host.attached_to(batch.conn()),
            };
            if let Some(agent) = agent.filter(|agent| self.agents.get(*agent).is_some_and(|a| a.started)) {
                let taken = Taken::default();
                // A trace has a line for each command, before what it leads to.
                let commands = batch.offer(&taken, self.tracing.is_on());
                let offered_bytes = commands.rest_bytes();
                self.trace_command(agent, commands.peek(), now);
                let request = batch.next_request();
                self.agents.owe(agent, request);
                self.hand(agent, Input::Commands { commands }, now);
                if !taken.asked() {
                    self.agents.forgive(agent, request);
                }
                batch.took(offered_bytes, &taken);
                self.tell_in(batch);
                if taken.asked() || taken.bytes_left() == 0 {
                    continue;
                }
            }
            let Some(line) = batch.next_line() else { break };
            self.own_command(batch, line, agent, now);
        }
        if self.ending {
            batch.discard();
        }
    }

    /// Notes a line for an agent; on a box, whose it is.
    fn trace_command(&mut self, agent: Peer, line: Option<&[u8]>, now: Time) {
        if !self.tracing.is_on() {
            return;
        }
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        let text = match &self.role {
            Role::Lab | Role::Overlay(_) => line.into_owned(),
            Role::Box(_) => format!("{}: {line}", self.agent_name(agent)),
        };
        self.tracing.note(now, || What::Command { text });
    }

    /// Whether a master has to wait until what others were sent has gone. Who controls a box has not: it may be there to stop it.
    pub(super) fn holds_back(&self, conn: ConnId, now: Time) -> bool {
        let drives = matches!(&self.role, Role::Box(host) if host.attached_to(conn).is_some());
        self.links.congested(now) || (drives && self.agents.is_crowded())
    }

    /// Whether what comes on a connection of an agent may be read.
    pub(super) fn may_read_outside(&self, conn: ConnId, now: Time) -> bool {
        self.outside.may_read(conn) && !self.links.congested(now) && !self.agents.is_crowded()
    }

    /// Carries out a command that no agent took.
    fn own_command(&mut self, batch: &mut Batch<'_>, line: &[u8], attached: Option<Peer>, now: Time) {
        match &self.role {
            Role::Lab => self.lab_command(batch, line, now),
            Role::Overlay(_) => self.overlay_command(batch, line, now),
            Role::Box(_) => self.control_command(batch, line, attached, now),
        }
    }

    /// Tells the master whose lines are being handled at once what is for it, so that the size of answers can hold back what follows.
    fn tell_in(&mut self, batch: &mut Batch<'_>) {
        let conn = batch.conn();
        while self.told.front().is_some_and(|told| told.is_for(conn))
            && let Some(told) = self.told.pop_front()
        {
            match told {
                Told::Answer(request, parts) => batch.answer_request(request.number, parts),
                Told::News(_, line) => batch.say(line),
            }
        }
    }

    /// Hands one input to an agent and carries out what it asks for.
    pub(super) fn hand(&mut self, agent: Peer, input: Input<'_, AgentBytes>, now: Time) {
        // The outbox is away while its outputs are carried out; no agent is handed anything meanwhile.
        let mut outbox = std::mem::take(&mut self.agents.outbox);
        let Some(hosted) = self.agents.get_mut(agent) else {
            self.agents.outbox = outbox;
            return;
        };
        if let Err(error) = hosted.agent.handle(now, input, &mut outbox)
            && seldom::count(&mut self.misunderstood)
        {
            let (name, so_far) = (self.agent_name(agent), self.misunderstood);
            warn!("server: message not understood agent={name} why=\"{error}\" so_far={so_far}");
        }
        if !outbox.is_empty() {
            for output in outbox.drain() {
                self.carry_out(agent, output, now);
            }
        }
        self.agents.outbox = outbox;
        self.agents.rearm(agent);
    }

    fn carry_out(&mut self, agent: Peer, output: Output<AgentBytes>, now: Time) {
        match output {
            Output::Lines { to, lines } => self.send_lines(agent, to, &lines, now),
            Output::Send { to, message } => self.send_message(agent, &to, &message, now),
            Output::Reply { to, parts } => {
                self.tracing.answer(now, &parts);
                self.agents.forgive(agent, to);
                self.told.push_back(Told::Answer(to, parts));
            }
            Output::Say { line } => self.say(agent, &line),
            Output::Propose { record } => {
                let told = self.logs.propose(agent, Bytes::from(record), &mut self.outputs);
                if let Some(waiting) = told {
                    self.agents.post(agent, waiting);
                }
            }
            Output::Link { .. } | Output::Unlink { .. } | Output::Post { .. } => {
                if let Role::Box(host) = &mut self.role {
                    host.refuse(agent, "links between boxes are the configuration's");
                }
            }
            Output::Barrier { token } => {
                self.agents.post(agent, Waiting::Barrier { token });
            }
            Output::Look(look) => self.look_at_rows(agent, look),
            Output::Outside(outward) => self.ask_outside(agent, outward, now),
            Output::Compute { token, work } => self.ask_work(agent, token, work),
            Output::Write(write) => self.write_to_store(agent, write),
            Output::Read(read) => self.logs.read(agent, read, &mut self.outputs),
            Output::Note { text } => {
                let text = format!("{}: {text}", self.agent_name(agent));
                self.tracing.note(now, || What::Note { text });
            }
        }
    }

    fn send_lines(&mut self, agent: Peer, to: Audience, lines: &Bytes, now: Time) {
        if let Role::Box(host) = &mut self.role {
            return host.refuse(agent, "lines are for a lab's servers");
        }
        match to {
            Audience::Everyone if matches!(self.role, Role::Overlay(_)) => self.broadcast_lines(lines, now),
            Audience::Everyone => {
                self.tracing.sent_lines(now, &self.links, None, lines);
                self.links.send_to_all(lines, now, &mut self.outputs);
            }
            Audience::One(peer) => {
                let Ok(id) = u16::try_from(peer.0).map(ServerId) else { return };
                self.tracing.sent_lines(now, &self.links, Some(id), lines);
                self.links.send_to(id, lines.clone(), now, &mut self.outputs);
            }
        }
    }

    /// Does what the last input has led to: what the link manager found out, what waits for agents.
    pub(super) fn work(&mut self, now: Time) {
        if self.ending {
            return;
        }
        self.take_news(now);
        for _ in 0..LOCAL_INPUTS_PER_TURN {
            let Some((agent, waiting)) = self.agents.next_waiting() else { return };
            self.hand_waiting(agent, waiting, now);
            self.take_news(now);
        }
    }

    fn take_news(&mut self, now: Time) {
        while let Some(news) = self.links.next_news() {
            self.tracing.news(now, &self.links, &news);
            match news {
                News::Up { peer, epoch, conn, heard } => {
                    match self.role {
                        Role::Lab => {
                            let peer = Peer(u32::from(peer.0));
                            self.hand(lab::CHATROOM, Input::LinkUp { peer, epoch }, now);
                        }
                        Role::Box(_) => self.refresh_links(None, now),
                        Role::Overlay(_) => self.overlay_up(peer, epoch, now),
                    }
                    self.read(conn, &heard, now);
                }
                News::Heard { conn, heard } => self.read(conn, &heard, now),
                News::Down { peer, epoch, why, .. } => match self.role {
                    Role::Lab => {
                        let peer = Peer(u32::from(peer.0));
                        self.hand(lab::CHATROOM, Input::LinkDown { peer, epoch, why }, now);
                    }
                    Role::Box(_) => self.refresh_links(Some(why), now),
                    Role::Overlay(_) => self.overlay_down(peer, epoch, why, now),
                },
                News::Unreachable { peer, epoch } => {
                    self.overlay_down(peer, epoch, Why::Unreachable, now);
                }
                News::Letter { body } => self.overlay_letter(&body, now),
                News::Suspected { .. } | News::HeardAgain { .. } => {}
            }
        }
    }

    fn hand_waiting(&mut self, agent: Peer, waiting: Waiting, now: Time) {
        let Some(hosted) = self.agents.get_mut(agent) else { return };
        match waiting {
            Waiting::Start => {
                // A log that fails right after it was opened starts its agent a second time.
                if !std::mem::replace(&mut hosted.started, true) {
                    let rerouted = hosted.rerouted.take();
                    self.hand(agent, Input::Start, now);
                    if let Some(routes) = rerouted {
                        self.hand(agent, Input::Rerouted { routes: &routes }, now);
                    }
                }
                // Once for all that begin one after the other: each look goes over all agents.
                if !self.agents.begins_next() {
                    self.refresh_links(None, now);
                }
            }
            Waiting::Rerouted(routes) if !hosted.started => hosted.rerouted = Some(routes),
            Waiting::Rerouted(routes) => self.hand(agent, Input::Rerouted { routes: &routes }, now),
            Waiting::Message { from, .. } if !hosted.started => self.drop_early(from, agent),
            Waiting::Message { from, port, bytes } => {
                let message = AgentBytes { kind: "", bytes };
                self.hand(agent, Input::Message { from, port, message }, now);
            }
            Waiting::Committed { index, record } => {
                self.hand_record(agent, index, &record, now);
            }
            Waiting::NotCommitted { record, why } => {
                self.hand(agent, Input::NotCommitted { record: &record, why: &why }, now);
            }
            // Asked for while its log was being read; an agent that wants to know asks again.
            Waiting::Barrier { .. } | Waiting::Looked { .. } if !hosted.started => {}
            Waiting::Barrier { token } => self.hand(agent, Input::Barrier { token }, now),
            Waiting::Looked { looked } => self.hand(agent, Input::Looked { looked }, now),
            Waiting::StoreFailed { why } => self.hand(agent, Input::StoreFailed { why: &why }, now),
            Waiting::Outside(outcome) => self.hand_outcome(agent, outcome, now),
        }
    }

    /// Does what is due at `now`.
    pub(super) fn timeout(&mut self, now: Time) {
        if self.ending {
            return;
        }
        self.links.timeout(now, &mut self.outputs);
        self.take_news(now);
        for agent in self.agents.due(now) {
            // What its log brings back may have armed it before it begins; then it is armed again when it has.
            if self.agents.get(agent).is_some_and(|hosted| hosted.started) {
                self.hand(agent, Input::Timeout, now);
            }
        }
        self.send_held(now);
        self.outside_timeout(now);
        self.overlay_timeout(now);
    }

    /// When something is due, at the latest.
    pub(super) fn deadline(&self) -> Time {
        let held = match &self.role {
            Role::Lab => None,
            Role::Box(host) => host.experiment.deadline(),
            Role::Overlay(host) => host.deadline(),
        };
        [self.agents.deadline(), self.outside.deadline(), held]
            .into_iter()
            .flatten()
            .fold(self.links.deadline(), Time::min)
    }

    pub(super) fn log_failed(&mut self, log: LogId, why: &str) {
        let Some(agent) = self.logs.agent_of(log) else { return };
        warn!("server: a log has failed agent={} why=\"{why}\"", self.agent_name(agent));
        for waiting in self.logs.failed(agent, why) {
            self.agents.post(agent, waiting);
        }
        // It can still say that it has no log.
        if self.agents.get(agent).is_some_and(|hosted| !hosted.started) {
            self.agents.post(agent, Waiting::Start);
        }
    }

    /// Nothing is kept for a trace any more.
    pub(super) fn end_trace(&mut self) {
        self.tracing.end();
        self.agents.outbox = Outbox::default();
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.tracing.next_event()
    }

    /// The process is to end, one way or the other.
    pub(super) fn end(&mut self, action: Action, now: Time) {
        if self.ending {
            return;
        }
        let crash = action == Action::Crash;
        self.tracing.note(now, || if crash { What::Crash } else { What::Stop });
        self.outputs.act(action);
        self.ending = true;
    }
}
