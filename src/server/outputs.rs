//! What the server asks of its host, collected while it handles one input.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::agent::{Carries, Read, Work, Write};

/// Names one connection for its whole life. Never used again: a late event of a connection that is gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub usize);

/// Names one opening of a log. Never used again: a late answer finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

/// Names one opening of an agent's port. No connection has the same number, and it is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntranceId(pub usize);

/// Names a piece of work. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(pub u64);

/// An order to the host, to be carried out before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to `address`; answer with `connected` or `failed` for `conn`.
    Dial {
        /// The connection that this becomes.
        conn: ConnId,
        /// Where to.
        address: SocketAddr,
    },
    /// Read what the connection has delivered so far, hand it to `received`, then say `drained`.
    Drain(ConnId),
    /// Close the connection; the server has forgotten it already.
    Close(ConnId),
    /// Nothing more is sent on the connection, all of whose queue was taken: let the other side read its end. It is still read itself.
    Finish(ConnId),
    /// End the process at once, without a farewell: a master asked for a crash.
    Crash,
    /// End the process in order: whoever controls it asked for that.
    Stop,
    /// Open the folder `name`, a relative path, of a log; answer with `store_recovered` or `log_failed`.
    OpenStore {
        /// The log that this becomes.
        log: LogId,
        /// Which folder.
        name: String,
        /// The file that was the log before logs had folders, a relative path; if it is there, it is taken over.
        former: Option<String>,
    },
    /// Write something there, in this order; answer with `store_stored` when it is durable, or `log_failed`. Writes are counted from 1
    /// from each opening on.
    Write {
        /// Which log.
        log: LogId,
        /// What.
        write: Write,
    },
    /// Read something there, after all writes before; answer with `store_found`, where there is an answer.
    Read {
        /// Which log.
        log: LogId,
        /// What.
        read: Read,
    },
    /// Close the log, once everything before has been written; no answer.
    CloseLog(LogId),
    /// Open a port for an agent; answer with `listening` or `not_listening`.
    Listen {
        /// The port that this becomes.
        entrance: EntranceId,
        /// Where; port number 0 lets the system choose.
        at: SocketAddr,
        /// What travels through it.
        carries: Carries,
    },
    /// Shut an agent's port; what came in by it stays.
    Shut(EntranceId),
    /// Connect to `address` for an agent; answer with `connected` or `failed` for `conn`.
    Call {
        /// The connection that this becomes.
        conn: ConnId,
        /// Where to.
        address: SocketAddr,
        /// Whether it is to be encrypted.
        tls: bool,
    },
    /// Send a datagram from an agent's port, if that can be done at once.
    Datagram {
        /// From which port.
        entrance: EntranceId,
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Have a piece of work done; answer with `computed`.
    Compute {
        /// Which piece.
        id: WorkId,
        /// What.
        work: Work,
    },
}

/// Orders and connections with something new to send, in the order in which they arose.
#[derive(Debug, Default)]
pub struct Outputs {
    actions: VecDeque<Action>,
    touched: VecDeque<ConnId>,
    touched_outside: VecDeque<ConnId>,
    conns_used: usize,
}

impl Outputs {
    /// A fresh name for a connection.
    pub fn new_conn(&mut self) -> ConnId {
        self.conns_used += 1;
        ConnId(self.conns_used)
    }

    /// A fresh name for a port of an agent.
    pub fn new_entrance(&mut self) -> EntranceId {
        EntranceId(self.new_conn().0)
    }

    /// Adds an order.
    pub fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Notes that `conn` has something new to send.
    pub fn touch(&mut self, conn: ConnId) {
        if self.touched.back() != Some(&conn) {
            self.touched.push_back(conn);
        }
    }

    /// Notes that the connection `conn` of an agent has something new to send. Not to be called again before it was taken.
    pub fn touch_outside(&mut self, conn: ConnId) {
        self.touched_outside.push_back(conn);
    }

    /// The next connection of an agent to flush.
    pub fn next_touched_outside(&mut self) -> Option<ConnId> {
        self.touched_outside.pop_front()
    }

    /// How many connections of agents are to be flushed.
    pub fn touched_outside(&self) -> usize {
        self.touched_outside.len()
    }

    /// The next order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next connection to flush.
    pub fn next_touched(&mut self) -> Option<ConnId> {
        self.touched.pop_front()
    }
}
