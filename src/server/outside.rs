//! What the agents of a box do outside of the grid: ports that they have open, connections of clients, dials of their own, datagrams; and the long work that they have
//! done elsewhere. Sockets are the host's; here is what it is asked and what its answers mean.
//!
//! **Invariants.**
//! - An agent is told of each connection once that it is open and once that it is closed, and nothing of it after that.
//! - What waits for one connection is bounded, and so is the number of connections; both ends of a limit are told.
//! - A client that does not read is not read; nobody else waits for it.
//! - What an agent leaves behind is closed.

mod table;

use std::net::SocketAddr;

use log::{debug, warn};

pub(super) use self::table::Outside;
pub(super) use self::table::Port;
use self::table::{AGREEING_LIMIT, DIAL_LIMIT, EMPTYING_LIMIT, ENDING_LIMIT, Line, Stage};
use super::core::{Core, Role};
use super::hosting::Waiting;
use super::outputs::{Action, ConnId, EntranceId, WorkId};
use crate::agent::{Carries, Conn, Done, Input, Inward, Opening, Outward, Peer, PortId, Why, Work};
use crate::seldom;
use crate::time::Time;

/// What an agent has to be told of outside that was found out while its outputs were carried out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It has a port of that name.
    PortTaken(PortId),
    /// There is no room for its dial.
    NoRoom { token: u64 },
    /// A connection is closed.
    Closed { conn: ConnId, why: Why },
}

/// What agents ask for.
impl Core {
    /// An agent asks something of the world outside. Only boxes do that.
    pub(super) fn ask_outside(&mut self, agent: Peer, outward: Outward, now: Time) {
        if !matches!(self.role, Role::Box(_)) {
            return;
        }
        let Self { outside, outputs, .. } = self;
        match outward {
            Outward::Listen { port, at, carries } => {
                if !outside.open(Port { agent, id: port, carries, at: None }, at, outputs) {
                    self.agents.post(agent, Waiting::Outside(Outcome::PortTaken(port)));
                }
            }
            Outward::Shut { port } => outside.shut(agent, port, outputs),
            Outward::Dial { token, to, frame_bytes_max, tls } => {
                if outside.is_full() {
                    self.note_refused(to);
                    self.agents.post(agent, Waiting::Outside(Outcome::NoRoom { token }));
                    return;
                }
                let conn = outputs.new_conn();
                outside.insert(conn, Line::new(agent, to, Stage::Dialling(token), None, frame_bytes_max));
                outside.go_on(conn, Stage::Dialling(token), Some(now + DIAL_LIMIT));
                outputs.act(Action::Call { conn, address: to, tls });
            }
            Outward::Frames { conn, bytes } => {
                let conn = conn_id(conn);
                let theirs = |line: &&mut Line| line.agent == agent && line.stage == Stage::Open;
                let Some(line) = outside.get_mut(conn).filter(theirs) else { return };
                if !line.push(conn, bytes, outputs) {
                    self.drop_line(conn, Why::QueueFull);
                } else if let Some(heaviest) = outside.weigh(conn) {
                    self.drop_line(heaviest, Why::QueueFull);
                }
            }
            Outward::HangUp { conn } => self.hang_up(agent, conn_id(conn), now),
            Outward::Datagram { port, to, bytes } => {
                if let Some(entrance) = outside.entrance(agent, port)
                    && outside.port(entrance).is_some_and(|port| port.carries == Carries::Datagrams)
                {
                    outputs.act(Action::Datagram { entrance, to, bytes });
                }
            }
        }
    }

    fn hang_up(&mut self, agent: Peer, conn: ConnId, now: Time) {
        let theirs = |line: &&Line| line.agent == agent && line.stage == Stage::Open;
        let Some(line) = self.outside.get(conn).filter(theirs) else { return };
        if line.queue.is_empty() {
            self.end_line(conn, now);
            self.agents.post(agent, Waiting::Outside(Outcome::Closed { conn, why: Why::Closed }));
        } else {
            self.outside.go_on(conn, Stage::HangingUp, Some(now + EMPTYING_LIMIT));
        }
    }

    /// All is sent: the other side is to end the connection.
    fn end_line(&mut self, conn: ConnId, now: Time) {
        self.outputs.act(Action::Finish(conn));
        self.outside.go_on(conn, Stage::Ending, Some(now + ENDING_LIMIT));
    }

    /// Closes a connection for which too much waits, while an agent's outputs are carried out.
    fn drop_line(&mut self, conn: ConnId, why: Why) {
        self.note_crowded(conn);
        let Some(line) = self.outside.remove(conn) else { return };
        self.outputs.act(Action::Close(conn));
        if line.is_told_of() {
            self.agents.post(line.agent, Waiting::Outside(Outcome::Closed { conn, why }));
        }
    }

    fn note_crowded(&mut self, conn: ConnId) {
        let Some(peer) = self.outside.get(conn).map(|line| line.peer) else { return };
        if seldom::count(&mut self.outside.crowded) {
            let so_far = self.outside.crowded;
            warn!(
                "server: too much waits for a client, which is given up conn={} peer={peer} so_far={so_far}",
                conn.0
            );
        }
    }

    /// An agent has something done that takes long.
    pub(super) fn ask_work(&mut self, agent: Peer, token: u64, work: Work) {
        if matches!(self.role, Role::Box(_)) {
            let id = self.outside.begin_work(agent, token);
            self.outputs.act(Action::Compute { id, work });
        }
    }

    fn note_refused(&mut self, peer: SocketAddr) {
        if seldom::count(&mut self.outside.refused) {
            let so_far = self.outside.refused;
            warn!("server: too many connections refused={peer} so_far={so_far}");
        }
    }
}

/// What the host tells.
impl Core {
    /// A port is open.
    pub(super) fn listening(&mut self, entrance: EntranceId, at: SocketAddr, now: Time) {
        if let Some(Port { agent, id, carries, .. }) = self.outside.opened(entrance, at) {
            let plain = matches!(carries, Carries::Frames { tls: false, .. });
            if plain && !at.ip().is_loopback() && !self.plain_is_meant() {
                warn!(
                    "server: not encrypted, and anybody on the way can listen in agent={} at={at}: \
                     let the agent use TLS, or say \"plain\": true in the settings of the box if that is meant so",
                    self.agent_name(agent)
                );
            }
            debug!("server: listening agent={} port={} at={at}", self.agent_name(agent), id.0);
            self.hand_outside(agent, Inward::Listening { port: id, at }, now);
        }
    }

    /// A port cannot be opened.
    pub(super) fn not_listening(&mut self, entrance: EntranceId, why: &str, now: Time) {
        if let Some(Port { agent, id, .. }) = self.outside.not_opened(entrance) {
            if seldom::count(&mut self.outside.not_opened) {
                let so_far = self.outside.not_opened;
                let name = self.agent_name(agent);
                warn!("server: cannot open a port agent={name} port={} why=\"{why}\" so_far={so_far}", id.0);
            }
            self.hand_outside(agent, Inward::NotListening { port: id, why }, now);
        }
    }

    /// Somebody has connected to a port; what the connection is called, if there is room for it. Where it is to be encrypted, the agent is told of it once both sides have agreed on that.
    pub(super) fn came_in(&mut self, entrance: EntranceId, peer: SocketAddr, now: Time) -> Option<ConnId> {
        let port = self.outside.port(entrance).filter(|_| !self.ending)?;
        let Carries::Frames { frame_bytes_max, tls } = port.carries else { return None };
        if self.outside.is_full() {
            self.note_refused(peer);
            return None;
        }
        let (agent, conn) = (port.agent, self.outputs.new_conn());
        self.outside.insert(conn, Line::new(agent, peer, Stage::Agreeing, Some(port.id), frame_bytes_max));
        if tls {
            self.outside.go_on(conn, Stage::Agreeing, Some(now + AGREEING_LIMIT));
        } else {
            self.line_agreed(conn, now);
        }
        Some(conn)
    }

    /// A connection that came in by a port can be used.
    pub(super) fn line_agreed(&mut self, conn: ConnId, now: Time) {
        let Some(line) = self.outside.get(conn).filter(|line| line.stage == Stage::Agreeing) else { return };
        let (agent, peer, Some(port)) = (line.agent, line.peer, line.port) else { return };
        self.outside.go_on(conn, Stage::Open, None);
        let by = Opening::Accepted(port);
        self.hand_outside(agent, Inward::Opened { conn: conn_of(conn), by, peer }, now);
    }

    /// A dial of an agent has succeeded.
    pub(super) fn line_connected(&mut self, conn: ConnId, now: Time) {
        let Some(line) = self.outside.get(conn) else { return };
        let (agent, peer, Stage::Dialling(token)) = (line.agent, line.peer, line.stage) else { return };
        self.outside.go_on(conn, Stage::Open, None);
        let by = Opening::Dialled(token);
        self.hand_outside(agent, Inward::Opened { conn: conn_of(conn), by, peer }, now);
    }

    /// Bytes came in on a connection.
    pub(super) fn line_received(&mut self, conn: ConnId, mut bytes: &[u8], now: Time) {
        let Some(line) = self.outside.get_mut(conn).filter(|line| line.stage == Stage::Open) else { return };
        // The cutter is away while what it has cut is handled, since that is borrowed from it.
        let (agent, Some(mut cutter)) = (line.agent, line.cutter.take()) else { return };
        while !bytes.is_empty() && self.outside.get(conn).is_some_and(|line| line.stage == Stage::Open) {
            match cutter.cut(&mut bytes) {
                Ok(frames) if frames.is_empty() => {}
                Ok(frames) => {
                    self.hand_outside(agent, Inward::Frames { conn: conn_of(conn), frames }, now);
                }
                Err(error) => {
                    if seldom::count(&mut self.outside.unreadable) {
                        let so_far = self.outside.unreadable;
                        warn!(
                            "server: connection not understood conn={} why=\"{error}\" so_far={so_far}",
                            conn.0
                        );
                    }
                    self.outputs.act(Action::Close(conn));
                    return self.line_failed(conn, "not understood", now);
                }
            }
        }
        if let Some(line) = self.outside.get_mut(conn) {
            line.cutter = Some(cutter);
        }
        if let Some(heaviest) = self.outside.weigh(conn) {
            self.note_crowded(heaviest);
            self.outputs.act(Action::Close(heaviest));
            self.line_failed(heaviest, "too much waits for it", now);
        }
    }

    /// The other side sends no more: that is the end of the connection, though what waits for it still leaves.
    pub(super) fn line_ended(&mut self, conn: ConnId, now: Time) {
        let Some(line) = self.outside.get(conn) else { return };
        let (agent, told_of, all_sent) = (line.agent, line.is_told_of(), line.queue.is_empty());
        if all_sent {
            self.outside.remove(conn);
            self.outputs.act(Action::Close(conn));
        } else {
            self.outside.go_on(conn, Stage::Emptying, Some(now + EMPTYING_LIMIT));
        }
        if told_of {
            self.hand_outside(agent, Inward::Closed { conn: conn_of(conn), why: Why::Closed }, now);
        }
    }

    /// A connection broke, or was never made; the host has closed it, or been told to.
    pub(super) fn line_failed(&mut self, conn: ConnId, why: &str, now: Time) {
        let Some(line) = self.outside.remove(conn) else { return };
        let inward = match line.stage {
            Stage::Dialling(token) => Inward::Unreachable { token, why },
            Stage::Open | Stage::HangingUp => Inward::Closed { conn: conn_of(conn), why: Why::Broken },
            Stage::Agreeing | Stage::Ending | Stage::Emptying => return,
        };
        self.hand_outside(line.agent, inward, now);
    }

    /// The host has taken `written` bytes of what waits for a connection.
    pub(super) fn line_wrote(&mut self, conn: ConnId, written: usize, now: Time) {
        let Some(line) = self.outside.get_mut(conn) else { return };
        line.queue.advance(written);
        let (is_empty, agent, stage) = (line.queue.is_empty(), line.agent, line.stage);
        self.outside.weigh(conn);
        if !is_empty {
            return;
        }
        match stage {
            Stage::Open => {
                if self.outside.get_mut(conn).is_some_and(Line::is_worth_telling) {
                    self.hand_outside(agent, Inward::Drained { conn: conn_of(conn) }, now);
                }
            }
            Stage::HangingUp => {
                self.end_line(conn, now);
                self.hand_outside(agent, Inward::Closed { conn: conn_of(conn), why: Why::Closed }, now);
            }
            Stage::Emptying => {
                self.outside.remove(conn);
                self.outputs.act(Action::Close(conn));
            }
            Stage::Dialling(_) | Stage::Agreeing | Stage::Ending => {}
        }
    }

    /// A datagram came in by a port.
    pub(super) fn datagram(&mut self, entrance: EntranceId, from: SocketAddr, bytes: &[u8], now: Time) {
        if let Some(Port { agent, id, .. }) = self.outside.port(entrance) {
            self.hand_outside(agent, Inward::Datagram { port: id, from, bytes }, now);
        }
    }

    /// A piece of work is done, or cannot be.
    pub(super) fn computed(&mut self, id: WorkId, done: Done, now: Time) {
        if let Some((agent, token)) = self.outside.end_work(id).filter(|_| !self.ending) {
            self.hand(agent, Input::Computed { token, done }, now);
        }
    }

    /// Closes the connections that have taken too long.
    pub(super) fn outside_timeout(&mut self, now: Time) {
        while let Some(conn) = self.outside.next_late(now) {
            self.outputs.act(Action::Close(conn));
            if let Some(line) = self.outside.get(conn).filter(|line| line.stage == Stage::Agreeing) {
                let peer = line.peer;
                if seldom::count(&mut self.outside.not_agreed) {
                    let so_far = self.outside.not_agreed;
                    warn!(
                        "server: nothing came of encrypting a connection in time peer={peer} so_far={so_far}"
                    );
                }
            }
            self.line_failed(conn, "nobody has answered in time", now);
        }
    }

    /// Tells an agent what was found out while its outputs were carried out.
    pub(super) fn hand_outcome(&mut self, agent: Peer, outcome: Outcome, now: Time) {
        let inward = match outcome {
            Outcome::PortTaken(port) => {
                Inward::NotListening { port, why: "this agent has a port of that number already" }
            }
            Outcome::NoRoom { token } => Inward::Unreachable { token, why: "too many connections" },
            Outcome::Closed { conn, why } => Inward::Closed { conn: conn_of(conn), why },
        };
        self.hand_outside(agent, inward, now);
    }

    fn hand_outside(&mut self, agent: Peer, inward: Inward<'_>, now: Time) {
        if !self.ending {
            self.hand(agent, Input::Outside(inward), now);
        }
    }
}

/// What agents call a connection.
fn conn_of(conn: ConnId) -> Conn {
    Conn(conn.0 as u64)
}

/// What the host calls it. A number that no host has given out finds nobody.
fn conn_id(conn: Conn) -> ConnId {
    ConnId(usize::try_from(conn.0).unwrap_or(usize::MAX))
}
