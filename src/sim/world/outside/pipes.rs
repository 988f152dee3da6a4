//! Connections as tables. What they do stands in `carrying`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use crate::agent::{Conn, Opening, Peer};
use crate::time::Time;
use crate::wire::LengthCutter;

/// Names a connection, for as long as the world lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// One end of a connection, and with it the direction of what is sent there: 0 where it was dialled, 1 where it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim::world) struct PipeEnd {
    pub(in crate::sim::world) pipe: ConnectionId,
    pub(in crate::sim::world) end: usize,
}

impl PipeEnd {
    /// The end that an agent calls so.
    pub(in crate::sim::world) fn of(conn: Conn) -> Self {
        let pipe = ConnectionId(u32::try_from(conn.0 >> 1).unwrap_or(u32::MAX));
        Self { pipe, end: usize::from(conn.0 & 1 == 1) }
    }

    /// What its agent calls it.
    pub(super) fn conn(self) -> Conn {
        Conn(u64::from(self.pipe.0) << 1 | u64::from(self.end == 1))
    }

    /// The one at the other side.
    pub(super) fn other(self) -> Self {
        Self { end: 1 - self.end, ..self }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) ends: [End; 2],
    /// Nothing arrives until then.
    pub(super) stalled_until: Time,
}

/// One end, with what is sent there.
#[derive(Debug)]
pub(super) struct End {
    pub(super) peer: Peer,
    pub(super) by: Opening,
    pub(super) stage: Stage,
    /// Away while what it has cut is handled.
    pub(super) cutter: Option<LengthCutter>,
    pub(super) lane: Lane,
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Its agent has hung up, and has not been told yet that it is closed.
    HangingUp,
    /// Its agent was told that it is closed, or will be by news that wait.
    Closed,
    /// Its agent has crashed.
    Dead,
}

/// What one end sends.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What has not left yet.
    pub(super) waiting: VecDeque<Sent>,
    pub(super) waiting_bytes: usize,
    /// What is on its way.
    pub(super) stretches: VecDeque<Stretch>,
    pub(super) travelling_bytes: usize,
    /// How much was sent since its agent was last told that all has left.
    pub(super) sent_bytes: usize,
    /// Whether something could not leave at once since then.
    pub(super) late: bool,
    /// Whether the arrival of the first stretch stands in the queue of events.
    pub(super) scheduled: bool,
}

/// What an agent has sent in one go.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bytes: Bytes,
    /// Its name in traces.
    pub(super) id: u64,
}

/// Bytes that arrive together.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) arrives: Time,
    pub(super) bytes: Vec<u8>,
    /// What was sent in one go and ends in here.
    pub(super) ids: Vec<u64>,
    /// Whether this is the end of what is sent in this direction.
    pub(super) last: bool,
}

impl End {
    pub(super) fn new(peer: Peer, by: Opening, frame_bytes_max: usize) -> Self {
        let cutter = Some(LengthCutter::new(frame_bytes_max));
        Self { peer, by, stage: Stage::Open, cutter, lane: Lane::default() }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(in crate::sim::world) struct Pipes {
    table: BTreeMap<ConnectionId, Pipe>,
    made: u32,
}

impl Pipes {
    /// Adds a connection that is open; what its ends call it.
    pub(super) fn insert(&mut self, ends: [End; 2], now: Time) -> [Conn; 2] {
        let pipe = ConnectionId(self.made);
        self.made = self.made.checked_add(1).expect("fewer than 2^32 connections");
        self.table.insert(pipe, Pipe { ends, stalled_until: now });
        [0, 1].map(|end| PipeEnd { pipe, end }.conn())
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Pipe> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Pipe> {
        self.table.get_mut(&id)
    }

    /// One end of a connection that is there.
    pub(super) fn end(&self, at: PipeEnd) -> Option<&End> {
        Some(&self.table.get(&at.pipe)?.ends[at.end])
    }

    /// One end of a connection that is there.
    pub(super) fn end_mut(&mut self, at: PipeEnd) -> Option<&mut End> {
        Some(&mut self.table.get_mut(&at.pipe)?.ends[at.end])
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Pipe> {
        self.table.remove(&id)
    }

    /// All of them, in the order in which they were opened.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.table.keys().copied().collect()
    }

    /// Those of one agent.
    pub(super) fn of(&self, peer: Peer) -> Vec<ConnectionId> {
        let its = |pipe: &Pipe| pipe.ends.iter().any(|end| end.peer == peer);
        self.table.iter().filter(|(_, pipe)| its(pipe)).map(|(&id, _)| id).collect()
    }

    /// All of them, with the agents at their ends: who dialled, and who was dialled.
    pub(super) fn ends(&self) -> impl Iterator<Item = (ConnectionId, [Peer; 2])> {
        self.table.iter().map(|(&id, pipe)| (id, [pipe.ends[0].peer, pipe.ends[1].peer]))
    }
}
