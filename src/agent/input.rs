//! What an agent can be told.

use std::fmt;

use thiserror::Error;

use super::{Commands, Done, Found, Inward, Looked, Lsn, Peer, Port, Recovered, Row};
use crate::wire::Messages;

/// One input. All of it belongs to the host again once [`super::Agent::handle`] has returned.
#[derive(Debug)]
pub enum Input<'a, M> {
    /// The agent begins. Always the first input but for [`Input::Committed`], which brings back what a durable log holds.
    Start,
    /// The deadline has come; or not quite, or a second time.
    Timeout,
    /// The configuration has changed: these are the virtual destinations that exist from now on.
    Rerouted {
        /// Their names, ascending.
        routes: &'a [String],
    },
    /// Messages can reach the peer from now on.
    LinkUp {
        /// Who.
        peer: Peer,
        /// Which link of this peer it is: a greater number than those before, counted from 1 where links are the configuration's.
        epoch: Epoch,
    },
    /// What was sent to the peer and has not arrived by now will not arrive.
    LinkDown {
        /// Who.
        peer: Peer,
        /// The link that is gone. One that never came up has a number, too, which no other has.
        epoch: Epoch,
        /// What is known about the reason.
        why: Why,
    },
    /// A message of another agent.
    Message {
        /// Who sent it; it can be answered.
        from: Peer,
        /// By which entrance it came in.
        port: Port,
        /// What it says.
        message: M,
    },
    /// The messages of a whole read from a lab's server, borrowed: the chatroom's hot path.
    Lines {
        /// Who sent them.
        from: Peer,
        /// Their contents, one after the other.
        lines: Messages<'a>,
    },
    /// Lines of somebody who drives this agent, to be taken for as long as they are understood.
    Commands {
        /// The lines and whose they are.
        commands: Commands<'a>,
    },
    /// A record is in the log that the configuration chose, for good.
    Committed {
        /// Its place in the log, counted from 1 without gaps.
        index: Index,
        /// What was proposed, here or elsewhere.
        record: &'a [u8],
    },
    /// What this agent proposed was not taken into the log. Where the refusal says that it may still be, it is unknown.
    NotCommitted {
        /// What was proposed.
        record: &'a [u8],
        /// Why.
        why: &'a Refusal,
    },
    /// The agent's log has been asked ([`super::Outbox::barrier`]), and every record that was committed before the question has been handed over:
    /// what the agent reads from its own state now is not stale.
    Barrier {
        /// Which question.
        token: u64,
    },
    /// Whether this server leads the agent's log from now on: where several servers agree on it, at most one in each term does, and it is told so only
    /// when every record from before its term was handed over. A log of one server is always led, of which nobody is told.
    Leads {
        /// Whether it does.
        leads: bool,
    },
    /// Rows that the agent wanted to look at ([`super::Outbox::look`]).
    Looked {
        /// They.
        looked: Looked,
    },
    /// Something from outside of the grid.
    Outside(Inward<'a>),
    /// A piece of work is done ([`super::Outbox::compute`]).
    Computed {
        /// The token of the work.
        token: u64,
        /// What it came to.
        done: Done,
    },
    /// The agent's whole state is replaced by rows that it, or its like on another server, has given away. It forgets what it knows with the first
    /// part and goes on with the last. Comes before [`Input::Start`], or later, when this server has fallen too far behind: then what it has proposed and was not
    /// handed yet may be among what the rows have come of, and does not come back; its barriers are answered once the last part is here. Between the
    /// parts it is handed nothing that it would need its state for: no messages, commands or timeouts. What it hears of links, of the outside, of its work and of
    /// refused proposals comes at all times.
    Restore {
        /// Rows, all with values, ascending by their keys from part to part.
        rows: &'a [Row],
        /// Whether this is the first part.
        first: bool,
        /// If this is the last part: the record up to which the rows reach.
        last: Option<Index>,
    },
    /// What the disk of an agent that is a log itself holds. Its first input.
    Recovered {
        /// That.
        recovered: &'a Recovered,
    },
    /// Everything that the agent has asked to be written, up to this, is durable.
    Stored {
        /// The number of the last such write.
        upto: Lsn,
    },
    /// The disk cannot be written any more. What was asked for and not stored may or may not be there after a restart.
    StoreFailed {
        /// What went wrong.
        why: &'a str,
    },
    /// What the agent has asked to be read.
    Found {
        /// That.
        found: Found,
    },
}

/// The number of a link of one peer: each time that it comes up it is a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a log, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The other side closed it, or this one did.
    Closed,
    /// It broke, or nobody is there any more.
    Broken,
    /// Too much waited to be sent.
    QueueFull,
    /// The configuration does not know the peer any more.
    Removed,
    /// It never came up: nobody answers there, or nothing reaches it.
    Unreachable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::QueueFull => "queue full",
            Self::Removed => "removed",
            Self::Unreachable => "unreachable",
        })
    }
}

/// Why a proposal was not committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Too much waits to become durable; it has not been written. Trying again later makes sense.
    #[error("the log is busy")]
    Busy,
    /// The agent's configuration names no log; nothing was written.
    #[error("this agent has no log")]
    NoLog,
    /// No log takes a record of this length; nothing was written.
    #[error("a record has at most {bytes_max} bytes, this one {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The log cannot be written any more. Whether this record survives a restart is unknown.
    #[error("the log has failed: {0}")]
    Failed(String),
}
