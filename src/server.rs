//! The server: its core, the link manager and its links, the masters, and the agents that it hosts. Pure state machines: the host
//! tells them that a connection opened, bytes arrived, a connection closed or time passed, and they answer with orders and
//! filled queues. No socket, clock or thread in this room.
//!
//! **How a host drives it.** One input, then [`Server::next_action`] until there is none, then flush what
//! [`Server::next_touched`] names; `timeout` when [`Server::deadline`] has come. What [`Server::next_touched_outside`] names is flushed
//! after some inputs, before the host sleeps.
//!
//! A server is a lab's, which hosts the chatroom and speaks the lab's lines, or a box of a configuration, which hosts whatever
//! agents it names and speaks frames.

mod boxes;
mod core;
mod directory;
mod experiment;
mod hosting;
mod lab;
mod link;
mod link_manager;
mod local_log;
mod logs;
mod master;
mod outputs;
mod outside;
mod overlay;
mod queue;
mod status;
mod stores;
mod tracing;

pub use self::boxes::{BoxSetup, ExperimentSetup};
use self::core::{Core, Told};
pub use self::link_manager::{LinkManager, LinkSettings, PeerState, Roster};
use self::master::Masters;
pub use self::master::ReplyFraming;
pub use self::outputs::{Action, ConnId, EntranceId, LogId, Outputs, WorkId};
pub use self::overlay::{OverlaySetup, OverlayStatus};
pub use self::queue::OutQueue;
pub use self::status::{AgentStatus, BoxStatus, NeighbourStatus, PeerStatus, PortStatus, Status};
use std::net::SocketAddr;

use crate::agent::{Done, Found, Lsn, Recovered, Why};
use crate::config::AgentId;
use crate::grid::ServerId;
use crate::time::Time;
use crate::trace::{Event, What};

/// What a server is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The links' part.
    pub links: LinkSettings,
    /// How answers to masters are framed.
    pub reply_framing: ReplyFraming,
    /// How many masters may be connected at a time.
    pub masters_max: usize,
    /// How many connections agents may have with the world outside of the grid at a time.
    pub connections_max: usize,
    /// Whether what happens is kept for [`Server::next_event`].
    pub tracing: bool,
}

/// Which of the server's ports somebody came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The port for other servers.
    Links,
    /// The port for masters.
    Masters,
    /// Standard input: a master without a connection.
    Console,
}

/// One server of a grid.
#[derive(Debug)]
pub struct Server {
    masters: Masters,
    core: Core,
}

impl Server {
    /// A server of a lab that starts at `now`; its message log takes at most `log_bytes_max` bytes.
    pub fn lab(settings: Settings, log_bytes_max: usize, now: Time) -> Self {
        Self { masters: Masters::of(&settings), core: Core::lab(settings, log_bytes_max, now) }
    }

    /// A box of a configuration that starts at `now`. The roster in `settings` is the box by itself; the others are in the setup.
    pub fn of_box(settings: Settings, setup: BoxSetup, now: Time) -> Self {
        Self { masters: Masters::of(&settings), core: Core::of_box(settings, setup, now) }
    }

    /// A server of an overlay that starts at `now`. The roster in `settings` is the server by itself; the log of its chatroom takes at
    /// most `log_bytes_max` bytes.
    pub fn of_overlay(settings: Settings, setup: OverlaySetup, log_bytes_max: usize, now: Time) -> Self {
        Self { masters: Masters::of(&settings), core: Core::of_overlay(settings, setup, log_bytes_max, now) }
    }

    /// Somebody came in; the name of that connection from now on.
    pub fn accepted(&mut self, door: Door, now: Time) -> ConnId {
        if door == Door::Links {
            return self.core.links.accepted(now, &mut self.core.outputs);
        }
        if let Some(gone) = self.masters.make_room(now, &mut self.core.outputs) {
            self.core.detach(gone);
        }
        self.masters.accepted(door == Door::Console, now, &mut self.core.outputs)
    }

    /// A dial has succeeded.
    pub fn connected(&mut self, conn: ConnId, now: Time) {
        if self.core.outside.holds(conn) {
            self.core.line_connected(conn, now);
            self.settle(now);
        } else {
            self.core.links.connected(conn, now, &mut self.core.outputs);
        }
    }

    /// On a connection that came in and is encrypted, both sides have agreed on how.
    pub fn agreed(&mut self, conn: ConnId, now: Time) {
        self.core.line_agreed(conn, now);
        self.settle(now);
    }

    /// A port that [`Action::Listen`] named is open, at this address.
    pub fn listening(&mut self, entrance: EntranceId, at: SocketAddr, now: Time) {
        self.core.listening(entrance, at, now);
        self.settle(now);
    }

    /// A port that [`Action::Listen`] named cannot be opened.
    pub fn not_listening(&mut self, entrance: EntranceId, why: &str, now: Time) {
        self.core.not_listening(entrance, why, now);
        self.settle(now);
    }

    /// Somebody has connected to an agent's port; the name of that connection from now on. Without one it is to be closed at once.
    #[must_use]
    pub fn came_in(&mut self, entrance: EntranceId, peer: SocketAddr, now: Time) -> Option<ConnId> {
        let conn = self.core.came_in(entrance, peer, now);
        self.settle(now);
        conn
    }

    /// A datagram came in by an agent's port.
    pub fn datagram(&mut self, entrance: EntranceId, from: SocketAddr, bytes: &[u8], now: Time) {
        self.core.datagram(entrance, from, bytes, now);
        self.settle(now);
    }

    /// What [`Action::Compute`] asked for.
    pub fn computed(&mut self, work: WorkId, done: Done, now: Time) {
        self.core.computed(work, done, now);
        self.settle(now);
    }

    /// Names a connection between servers for traces: at both of its ends by the same name, which no other connection has.
    pub fn label(&mut self, conn: ConnId, label: impl Into<String>) {
        self.core.links.set_label(conn, label.into());
    }

    /// Makes a master's connection that of somebody who drives one agent of a box from the first line on. Whether there is such an
    /// agent.
    pub fn attach(&mut self, conn: ConnId, agent: &AgentId) -> bool {
        self.core.attach(conn, agent.as_str())
    }

    /// Bytes arrived.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Time) {
        let Self { masters, core } = self;
        if masters.holds(conn) {
            masters.received(conn, bytes, now, &mut |batch| core.command(batch, now));
            core.outputs.touch(conn);
        } else if core.outside.holds(conn) {
            core.line_received(conn, bytes, now);
        } else {
            core.received(conn, bytes, now);
        }
        self.settle(now);
    }

    /// The host is about to end the process in order, for a reason of its own: this is the trace's last word. What is touched now is still to be
    /// flushed, as far as that goes: a server of an overlay says good-bye.
    pub fn stopped(&mut self, now: Time) {
        self.core.leave_overlay(now);
        self.core.tracing.note(now, || What::Stop);
    }

    /// The other side will send no more; all it sent has been handed to [`Server::received`].
    pub fn ended(&mut self, conn: ConnId, now: Time) {
        if self.masters.holds(conn) {
            self.masters.ended(conn);
            self.close_if_served(conn);
        } else if self.core.outside.holds(conn) {
            self.core.line_ended(conn, now);
            self.settle(now);
        } else if self.core.links.holds(conn) {
            self.core.outputs.act(Action::Close(conn));
            self.closed(conn, Why::Closed, "closed by the other side", now);
        }
    }

    /// The connection broke, or was never made. The host has closed it.
    pub fn failed(&mut self, conn: ConnId, why: &str, now: Time) {
        self.closed(conn, Why::Broken, why, now);
    }

    /// What [`Action::Drain`] asked for has been read.
    pub fn drained(&mut self, conn: ConnId, now: Time) {
        self.core.links.drained(conn, now, &mut self.core.outputs);
        self.settle(now);
    }

    /// The host has taken `written` bytes from the front of [`Server::outgoing`].
    pub fn wrote(&mut self, conn: ConnId, written: usize, now: Time) {
        let Self { masters, core } = self;
        if masters.holds(conn) {
            masters.wrote(conn, written, &mut |batch| core.command(batch, now));
            core.outputs.touch(conn);
            self.settle(now);
            self.close_if_served(conn);
        } else if core.outside.holds(conn) {
            core.line_wrote(conn, written, now);
            self.settle(now);
        } else {
            core.links.wrote(conn, written, now, &mut core.outputs);
        }
    }

    /// The host finds no room now for what waits on `conn`; it goes on when there is.
    pub fn held_up(&mut self, conn: ConnId) {
        self.core.outside.note_held_up(conn);
    }

    /// A folder that [`Action::OpenStore`] named has been looked through.
    pub fn store_recovered(&mut self, log: LogId, recovered: &Recovered, now: Time) {
        self.core.store_recovered(log, recovered, now);
        self.settle(now);
    }

    /// All that [`Action::Write`] asked for up to `upto` is durable.
    pub fn store_stored(&mut self, log: LogId, upto: Lsn, now: Time) {
        self.core.store_stored(log, upto, now);
        self.settle(now);
    }

    /// What [`Action::Read`] asked for.
    pub fn store_found(&mut self, log: LogId, found: Found, now: Time) {
        self.core.store_found(log, found, now);
        self.settle(now);
    }

    /// A log cannot be read, or not be written any more.
    pub fn log_failed(&mut self, log: LogId, why: &str, now: Time) {
        self.core.log_failed(log, why);
        self.settle(now);
    }

    /// Does what is due at `now`. Early or repeated calls are harmless.
    pub fn timeout(&mut self, now: Time) {
        self.core.timeout(now);
        self.settle(now);
    }

    /// When [`Server::timeout`] is to be called, at the latest.
    pub fn deadline(&self) -> Time {
        self.core.deadline()
    }

    /// The next order to carry out.
    pub fn next_action(&mut self) -> Option<Action> {
        self.core.outputs.next_action()
    }

    /// The next connection that has something new to send.
    pub fn next_touched(&mut self) -> Option<ConnId> {
        self.core.outputs.next_touched()
    }

    /// The next connection of an agent that has something new to send. To be flushed at the end of a turn: so all that a turn has led to leaves together.
    pub fn next_touched_outside(&mut self) -> Option<ConnId> {
        let conn = self.core.outputs.next_touched_outside()?;
        self.core.outside.note_taken(conn);
        Some(conn)
    }

    /// How many connections of agents have something new to send.
    pub fn touched_outside(&self) -> usize {
        self.core.outputs.touched_outside()
    }

    /// The next event for the trace, where one was asked for.
    pub fn next_event(&mut self) -> Option<Event> {
        self.core.next_event()
    }

    /// The trace cannot be written any more: nothing is kept for [`Server::next_event`].
    pub fn end_trace(&mut self) {
        self.core.end_trace();
    }

    /// What waits to be sent on `conn`; `None` if the server has forgotten it.
    pub fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        let core = &self.core;
        let ours = self.masters.outgoing(conn).or_else(|| core.links.outgoing(conn));
        ours.or_else(|| core.outside.outgoing(conn))
    }

    /// Whether the host may read from `conn` now. Links may always be read; masters wait while links are congested or their own
    /// answers are not taken, and those that drive agents while too much waits for agents; so do connections of agents. To be asked again after
    /// each turn.
    pub fn may_read(&self, conn: ConnId, now: Time) -> bool {
        if self.core.outside.holds(conn) {
            return self.core.may_read_outside(conn, now);
        }
        !self.masters.holds(conn) || (self.masters.may_read(conn) && !self.core.holds_back(conn, now))
    }

    /// The links that are up, ascending by peer, each with its connection; a peer that is suspected still has one.
    pub fn links_up(&self) -> impl Iterator<Item = (ServerId, ConnId)> {
        self.core.links.connections_up()
    }

    /// The state of the server as a lab's server tells it.
    pub fn status(&self, now: Time) -> Status {
        self.core.lab_status(now)
    }

    fn closed(&mut self, conn: ConnId, why: Why, text: &str, now: Time) {
        if self.masters.closed(conn, text) {
            self.core.detach(conn);
        } else if self.core.outside.holds(conn) {
            self.core.line_failed(conn, text, now);
            self.settle(now);
        } else {
            self.core.links.closed(conn, why, text, now);
            self.settle(now);
        }
    }

    /// Lets the core do what an input has led to, and hands its answers to the masters. Agents of one box that never stop talking to
    /// each other get a share of each turn; the rest waits for the next one.
    fn settle(&mut self, now: Time) {
        let Self { masters, core } = self;
        core.work(now);
        while let Some(told) = core.told.pop_front() {
            let conn = match told {
                Told::Answer(request, parts) => {
                    masters.answer(request, parts, &mut |batch| core.command(batch, now))
                }
                Told::News(conn, line) => masters.say(conn, line).then_some(conn),
            };
            if let Some(conn) = conn {
                core.outputs.touch(conn);
            }
        }
    }

    fn close_if_served(&mut self, conn: ConnId) {
        if self.masters.take_served(conn) {
            self.core.detach(conn);
            self.core.outputs.act(Action::Close(conn));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::core::Role;
    use super::*;
    use crate::agent::Registry;
    use crate::config::{self, Format};
    use crate::grid::Grid;
    use crate::trace::What;

    fn settings(roster: Roster) -> Settings {
        let links = LinkSettings {
            roster,
            heartbeat: Duration::from_millis(240),
            silence_max: Duration::from_millis(800),
            line_bytes_max: 1 << 20,
            queue_bytes_max: 1 << 26,
            strangers_max: 1,
        };
        Settings {
            links,
            reply_framing: ReplyFraming::Newline,
            masters_max: 1,
            connections_max: 1,
            tracing: true,
        }
    }

    #[test]
    fn a_session_that_has_to_make_room_drives_nobody_any_more() {
        let address = "127.0.0.1:4000".parse().expect("valid");
        let registry = Registry::builtin();
        let text = r#"{"a": {"type": "dummy", "box": "127.0.0.1:4000"}}"#;
        let configuration = config::read(text, Format::Json, &registry).expect("valid");
        let experiment = ExperimentSetup::default();
        let (seed, secret, unix_ms_at_start) = (1, None, 0);
        let setup = BoxSetup { address, configuration, registry, seed, secret, unix_ms_at_start, experiment };
        let mut server = Server::of_box(settings(Roster::of_box(address)), setup, Time::ZERO);
        let first = server.accepted(Door::Masters, Time::ZERO);
        assert!(server.attach(first, &"a".parse().expect("valid")));
        let second = server.accepted(Door::Masters, Time::ZERO);
        let Role::Box(host) = &server.core.role else { panic!("a box") };
        assert_eq!((host.attached_to(first), server.masters.holds(second)), (None, true));
    }

    #[test]
    fn nothing_happens_after_the_end() {
        let roster = Roster::lab(Grid::new(0, 2, 3000).expect("valid"), BTreeMap::new());
        let mut server = Server::lab(settings(roster), 1000, Time::ZERO);
        let peer = server.accepted(Door::Links, Time::ZERO);
        server.received(peer, b"ping 1\nmsg 1 before\n", Time::ZERO);
        let master = server.accepted(Door::Masters, Time::ZERO);
        server.received(master, b"crash\nbroadcast after\n", Time::ZERO);
        server.received(peer, b"msg 1 after\n", Time::ZERO);
        server.ended(peer, Time::ZERO);
        server.timeout(Time::ZERO + Duration::from_secs(9));
        let events: Vec<What> = std::iter::from_fn(|| server.next_event()).map(|event| event.what).collect();
        assert!(matches!(&events[2], What::Receive { text, .. } if text == "before"), "{events:?}");
        assert_eq!(events.last(), Some(&What::Crash));
    }
}
