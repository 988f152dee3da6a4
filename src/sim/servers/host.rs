//! One process of the world: a server, and what its reactor would keep beside it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::network::{EndName, Holder};
use crate::grid::ServerId;
use crate::server::{ConnId, Door, OutQueue, Server};
use crate::time::Time;

/// A server that runs.
pub(super) struct Host {
    pub(super) server: Server,
    pub(super) incarnation: u32,
    pub(super) frozen: bool,
    /// Its connections, by the server's names for them.
    pub(super) ends: BTreeMap<ConnId, EndName>,
    /// Through which door each came in; those it dialled are links.
    doors: BTreeMap<ConnId, Door>,
    /// Connections that wait until they are accepted, oldest first: the server does not run.
    pub(super) backlog: BTreeMap<EndName, Door>,
    /// Its dials that have ended while it did not run, and whether they are connected now.
    pub(super) late_dials: Vec<(ConnId, bool)>,
    /// Masters that the server does not want read now.
    pub(super) waiting: BTreeSet<ConnId>,
    /// For when its timer is set.
    pub(super) armed: Option<Time>,
    /// The links that are up, as far as the world has noticed, by the server's numbers for its peers: which connection, and who that is.
    pub(super) links: BTreeMap<ServerId, (EndName, u16)>,
    /// What was said of connections that failed, until their links are seen to be down.
    pub(super) failures: BTreeMap<EndName, &'static str>,
    /// A master that is always there and takes no time: through it the world looks inside.
    console: ConnId,
}

impl Host {
    pub(super) fn new(mut server: Server, incarnation: u32, now: Time) -> Self {
        let console = server.accepted(Door::Console, now);
        Self {
            server,
            incarnation,
            frozen: false,
            ends: BTreeMap::new(),
            doors: BTreeMap::new(),
            backlog: BTreeMap::new(),
            late_dials: Vec::new(),
            waiting: BTreeSet::new(),
            armed: None,
            links: BTreeMap::new(),
            failures: BTreeMap::new(),
            console,
        }
    }

    pub(super) fn holder(&self, id: u16) -> Holder {
        Holder::Server { server: id, incarnation: self.incarnation }
    }

    /// The server calls this end `conn`.
    pub(super) fn join(&mut self, conn: ConnId, end: EndName, door: Door) {
        self.ends.insert(conn, end);
        if door != Door::Links {
            self.doors.insert(conn, door);
        }
    }

    /// Forgets a connection; its end.
    pub(super) fn part(&mut self, conn: ConnId) -> Option<EndName> {
        self.doors.remove(&conn);
        self.waiting.remove(&conn);
        self.ends.remove(&conn)
    }

    pub(super) fn door(&self, conn: ConnId) -> Door {
        self.doors.get(&conn).copied().unwrap_or(Door::Links)
    }

    /// Takes up to `count` bytes off what waits for `conn`.
    pub(super) fn take(&mut self, conn: ConnId, count: usize, now: Time) -> BytesMut {
        let mut taken = BytesMut::new();
        if let Some(queue) = self.server.outgoing(conn) {
            let count = count.min(queue.bytes());
            taken.reserve(count);
            for slice in queue.slices() {
                let share = slice.len().min(count - taken.len());
                taken.extend_from_slice(&slice[..share]);
            }
        }
        if !taken.is_empty() {
            self.server.wrote(conn, taken.len(), now);
        }
        taken
    }

    /// The answer to a command, asked from inside the process: in no time, and whether it is frozen or not. In parts, which the server
    /// shares with its log; the newline is one of them.
    pub(super) fn ask(&mut self, command: &str, now: Time) -> Vec<Bytes> {
        self.server.received(self.console, format!("{command}\n").as_bytes(), now);
        let mut parts = Vec::new();
        while let Some(part) = self.server.outgoing(self.console).and_then(OutQueue::front) {
            self.server.wrote(self.console, part.len(), now);
            parts.push(part);
        }
        parts
    }
}
