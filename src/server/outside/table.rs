//! The ports and connections of a box's agents, and what each connection has still to send. Knows no agent: what becomes of a change is the core's to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::agent::{Carries, DRAINED_BYTES, Peer, PortId, QUEUE_BYTES_MAX};
use crate::server::outputs::{Action, ConnId, EntranceId, Outputs, WorkId};
use crate::server::queue::OutQueue;
use crate::time::Time;
use crate::wire::LengthCutter;

/// A port that an agent has asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Port {
    pub(in crate::server) agent: Peer,
    pub(in crate::server) id: PortId,
    pub(in crate::server) carries: Carries,
    /// Where it is open; nothing until the host has said so.
    pub(in crate::server) at: Option<SocketAddr>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The agent has dialled, under this token.
    Dialling(u64),
    /// Somebody has connected to a port, and the two sides have not agreed on how to encrypt yet: the agent knows nothing of it.
    Agreeing,
    /// Both sides may send.
    Open,
    /// The agent has hung up, and is told of the end when everything is sent.
    HangingUp,
    /// The agent knows of the end, and everything is sent: the other side may read it and end the connection. Closing it at once could lose what it
    /// has not read, where it has sent something meanwhile.
    Ending,
    /// The other side has sent its end, of which the agent knows; what was queued before still leaves.
    Emptying,
}

/// A connection of an agent with somebody outside of the grid.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) agent: Peer,
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
    /// By which port it came in; none where the agent has dialled.
    pub(super) port: Option<PortId>,
    pub(super) queue: OutQueue,
    /// Away while what it cuts is being handled.
    pub(super) cutter: Option<LengthCutter>,
    /// By when it has to have moved on.
    limit: Option<Time>,
    /// What it held when it was looked at last.
    held_bytes: usize,
    /// It stands on the list of those that have something new to send.
    touched: bool,
    /// How much was sent since the agent was told last that all has left.
    unannounced_bytes: usize,
    /// Something did not leave at once since then.
    held_up: bool,
}

/// All ports and connections to the outside of one server.
#[derive(Debug)]
pub(in crate::server) struct Outside {
    connections_max: usize,
    /// What all connections hold, and may hold: what waits to be sent, and frames whose end has not come.
    held_bytes: usize,
    held_bytes_max: usize,
    ports: BTreeMap<EntranceId, Port>,
    by_name: BTreeMap<(Peer, PortId), EntranceId>,
    lines: BTreeMap<ConnId, Line>,
    limits: BTreeSet<(Time, ConnId)>,
    /// Who waits for which piece of long work, and by which token.
    works: BTreeMap<WorkId, (Peer, u64)>,
    works_used: u64,
    /// How many connections were turned away since there were too many.
    pub(super) refused: u64,
    /// How many were closed since too much waited for them.
    pub(super) crowded: u64,
    /// How many ports could not be opened.
    pub(super) not_opened: u64,
    /// How many were closed since nothing had come of encrypting them in time.
    pub(super) not_agreed: u64,
    /// How many were closed since what came on them could not be cut into frames.
    pub(super) unreadable: u64,
}

impl Outside {
    /// Nothing yet; at most `connections_max` connections at a time.
    pub(in crate::server) fn new(connections_max: usize) -> Self {
        Self {
            connections_max,
            held_bytes: 0,
            held_bytes_max: (connections_max * HELD_BYTES_EACH).clamp(HELD_BYTES_LEAST, HELD_BYTES_MOST),
            ports: BTreeMap::new(),
            by_name: BTreeMap::new(),
            lines: BTreeMap::new(),
            limits: BTreeSet::new(),
            works: BTreeMap::new(),
            works_used: 0,
            refused: 0,
            crowded: 0,
            not_opened: 0,
            not_agreed: 0,
            unreadable: 0,
        }
    }

    /// An agent wants a port; whether it may have one of that name.
    pub(super) fn open(&mut self, port: Port, at: SocketAddr, out: &mut Outputs) -> bool {
        if self.by_name.contains_key(&(port.agent, port.id)) {
            return false;
        }
        let entrance = out.new_entrance();
        out.act(Action::Listen { entrance, at, carries: port.carries });
        self.by_name.insert((port.agent, port.id), entrance);
        self.ports.insert(entrance, port);
        true
    }

    /// An agent wants a port no more.
    pub(super) fn shut(&mut self, agent: Peer, id: PortId, out: &mut Outputs) {
        if let Some(entrance) = self.by_name.remove(&(agent, id)) {
            self.ports.remove(&entrance);
            out.act(Action::Shut(entrance));
        }
    }

    /// The host has opened a port.
    pub(super) fn opened(&mut self, entrance: EntranceId, at: SocketAddr) -> Option<Port> {
        let port = self.ports.get_mut(&entrance)?;
        port.at = Some(at);
        Some(*port)
    }

    /// The host cannot open a port.
    pub(super) fn not_opened(&mut self, entrance: EntranceId) -> Option<Port> {
        let port = self.ports.remove(&entrance)?;
        self.by_name.remove(&(port.agent, port.id));
        Some(port)
    }

    /// A port by the host's name for it.
    pub(super) fn port(&self, entrance: EntranceId) -> Option<Port> {
        self.ports.get(&entrance).copied()
    }

    /// A port that is open, by its agent's name for it.
    pub(super) fn entrance(&self, agent: Peer, id: PortId) -> Option<EntranceId> {
        let entrance = *self.by_name.get(&(agent, id))?;
        self.ports.get(&entrance)?.at.map(|_| entrance)
    }

    /// The ports of one agent, ascending by the agent's names for them.
    pub(in crate::server) fn ports_of(&self, agent: Peer) -> impl Iterator<Item = Port> {
        let theirs = self.by_name.range((agent, PortId(0))..=(agent, PortId(u32::MAX)));
        theirs.filter_map(|(_, entrance)| self.port(*entrance))
    }

    /// How many connections one agent has that came in by a port, or that it has dialled.
    pub(in crate::server) fn connections_of(&self, agent: Peer, port: Option<PortId>) -> usize {
        let counts = |line: &&Line| line.agent == agent && line.port == port && line.is_told_of();
        self.lines.values().filter(counts).count()
    }

    /// How many connections were turned away since there were too many.
    pub(in crate::server) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether there is no room for another connection.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= self.connections_max
    }

    /// Takes in a connection.
    pub(super) fn insert(&mut self, conn: ConnId, line: Line) {
        self.lines.insert(conn, line);
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Line> {
        let line = self.lines.remove(&conn)?;
        self.held_bytes -= line.held_bytes;
        if let Some(at) = line.limit {
            self.limits.remove(&(at, conn));
        }
        Some(line)
    }

    /// One of the connections.
    pub(super) fn get(&self, conn: ConnId) -> Option<&Line> {
        self.lines.get(&conn)
    }

    /// One of the connections.
    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Line> {
        self.lines.get_mut(&conn)
    }

    /// Whether `conn` is one of the connections.
    pub(in crate::server) fn holds(&self, conn: ConnId) -> bool {
        self.lines.contains_key(&conn)
    }

    /// What waits to be sent on `conn`.
    pub(in crate::server) fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        self.lines.get(&conn).map(|line| &line.queue)
    }

    /// Whether what comes on `conn` may be read, as far as that connection alone is concerned: who does not read what he is sent is not read either. One that
    /// was dialled is: if both ends were served by such hosts, they could wait for each other for ever.
    pub(in crate::server) fn may_read(&self, conn: ConnId) -> bool {
        self.lines.get(&conn).is_some_and(|line| line.port.is_none() || line.queue.bytes() < QUEUE_BYTES_HIGH)
    }

    /// Looks again at what a connection holds. If that makes it too much together, which one holds the most and has to go: a bound for each would either be none for all, or too small for one.
    pub(super) fn weigh(&mut self, conn: ConnId) -> Option<ConnId> {
        let line = self.lines.get_mut(&conn)?;
        let held = line.queue.bytes() + line.cutter.as_ref().map_or(0, LengthCutter::pending_bytes);
        self.held_bytes = self.held_bytes - line.held_bytes + held;
        line.held_bytes = held;
        if self.held_bytes <= self.held_bytes_max {
            return None;
        }
        self.lines.iter().max_by_key(|(_, line)| line.held_bytes).map(|(conn, _)| *conn)
    }

    /// A connection goes on to another stage, for which it has so long.
    pub(super) fn go_on(&mut self, conn: ConnId, stage: Stage, limit: Option<Time>) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.stage = stage;
        if let Some(at) = std::mem::replace(&mut line.limit, limit) {
            self.limits.remove(&(at, conn));
        }
        if let Some(at) = limit {
            self.limits.insert((at, conn));
        }
    }

    /// The next connection that has not moved on in time.
    pub(super) fn next_late(&self, now: Time) -> Option<ConnId> {
        self.limits.first().filter(|(at, _)| *at <= now).map(|(_, conn)| *conn)
    }

    /// When the first connection has to have moved on.
    pub(in crate::server) fn deadline(&self) -> Option<Time> {
        self.limits.first().map(|(at, _)| *at)
    }

    /// Notes that the host has come to `conn` on the list of those that have something new to send.
    pub(in crate::server) fn note_taken(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.touched = false;
        }
    }

    /// Notes that what waits for `conn` did not leave at once.
    pub(in crate::server) fn note_held_up(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.held_up = true;
        }
    }

    /// An agent has something done that takes long; what that is called.
    pub(super) fn begin_work(&mut self, agent: Peer, token: u64) -> WorkId {
        self.works_used += 1;
        let id = WorkId(self.works_used);
        self.works.insert(id, (agent, token));
        id
    }

    /// A piece of work has come to its end; who waits for it, and by which token.
    pub(super) fn end_work(&mut self, id: WorkId) -> Option<(Peer, u64)> {
        self.works.remove(&id)
    }

    /// An agent is gone, and with it its ports and connections, and its interest in work.
    pub(in crate::server) fn forget(&mut self, agent: Peer, out: &mut Outputs) {
        let ports: Vec<PortId> = self.ports_of(agent).map(|port| port.id).collect();
        for port in ports {
            self.shut(agent, port, out);
        }
        let theirs = |(_, line): &(&ConnId, &Line)| line.agent == agent;
        let conns: Vec<ConnId> = self.lines.iter().filter(theirs).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.remove(conn);
            out.act(Action::Close(conn));
        }
        self.works.retain(|_, (whose, _)| *whose != agent);
    }
}

impl Line {
    pub(super) fn new(
        agent: Peer,
        peer: SocketAddr,
        stage: Stage,
        port: Option<PortId>,
        frame_bytes_max: usize,
    ) -> Self {
        let cutter = Some(LengthCutter::new(frame_bytes_max));
        let queue = OutQueue::default();
        Self {
            agent,
            peer,
            stage,
            port,
            queue,
            cutter,
            limit: None,
            held_bytes: 0,
            touched: false,
            unannounced_bytes: 0,
            held_up: false,
        }
    }

    /// Whether its agent has been told that it is open, and not that it is closed.
    pub(super) fn is_told_of(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::HangingUp)
    }

    /// Nothing waits any more: whether the agent wants to know.
    pub(super) fn is_worth_telling(&mut self) -> bool {
        let worth = self.held_up || self.unannounced_bytes >= DRAINED_BYTES;
        if worth {
            (self.held_up, self.unannounced_bytes) = (false, 0);
        }
        worth
    }

    /// Lets `bytes` wait to be sent; `false` if there is no room for them.
    pub(super) fn push(&mut self, conn: ConnId, bytes: Bytes, out: &mut Outputs) -> bool {
        if self.queue.footprint_bytes() + bytes.len() > QUEUE_BYTES_MAX {
            return false;
        }
        self.unannounced_bytes += bytes.len();
        // Copying a short frame behind the others costs less than a part of its own in each vectored write.
        if bytes.len() < SHORT_BYTES {
            self.queue.push_short(&bytes);
        } else {
            self.queue.push(bytes);
        }
        if !std::mem::replace(&mut self.touched, true) {
            out.touch_outside(conn);
        }
        true
    }
}

/// What each connection may hold on average, where all that there may be are there; and the bounds of what they may hold together.
const HELD_BYTES_EACH: usize = 64 * 1024;
const HELD_BYTES_LEAST: usize = 32 * 1024 * 1024;
const HELD_BYTES_MOST: usize = 512 * 1024 * 1024;
/// A connection that came in is not read while as much waits for it.
const QUEUE_BYTES_HIGH: usize = 1024 * 1024;
/// Frames below this length are copied side by side.
const SHORT_BYTES: usize = 1024;

/// How long a dial may take.
pub(super) const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// How long somebody who has connected may take to agree on how to encrypt.
pub(super) const AGREEING_LIMIT: Duration = Duration::from_secs(5);
/// How long the other side may take to read what was sent before the end.
pub(super) const EMPTYING_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end the connection after that.
pub(super) const ENDING_LIMIT: Duration = Duration::from_secs(2);
