//! The contract between an agent and its host. It knows no concrete agent and no host.
//!
//! An **agent** is a state machine that changes only when it is handed an [`Input`] and that answers with outputs, which it puts into
//! its [`Outbox`]. A **host** is whatever runs agents: a server of a grid, or the simulated world. The same agent runs in both.
//!
//! **The rules.**
//! 1. The host hands over one input, then carries out all its outputs in order, then hands over the next input.
//! 2. An agent has no clock, socket, thread, file or random source of its own. It is told the time; it draws from the seed in its
//!    [`Setup`].
//! 3. At most one deadline at a time. An early or repeated [`Input::Timeout`] has to be harmless.
//! 4. [`Input::LinkUp`] and [`Input::LinkDown`] are facts. A message that was sent is queued, not delivered: it is lost if its
//!    link goes down first.
//! 5. Within one epoch of a link, messages arrive in the order in which they were sent, each at most once. A host may say that it
//!    breaks this on purpose (a lossy carrier).
//! 6. What has to survive a crash is proposed ([`Outbox::propose`]) and changes the agent's state only when it comes back as
//!    [`Input::Committed`]; whatever depends on it is withheld until then. An agent that is a log itself asks its disk by [`Write`] and
//!    withholds the same way until [`Input::Stored`].

mod commands;
mod erased;
mod input;
mod message;
mod outbox;
mod outside;
mod registry;
mod setup;
mod storage;
mod work;

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

pub use self::commands::{Commands, Request, Session, Taken};
pub use self::erased::{AgentBytes, AnyAgent, ErasedAgent};
pub use self::input::{Epoch, Index, Input, Refusal, Why};
pub use self::message::{JsonMessage, NoMessage, Text, Wire, WireError};
pub use self::outbox::{Audience, Dest, Outbox, Output};
pub use self::outside::{Carries, Conn, DRAINED_BYTES, Inward, Opening, Outward, PortId, QUEUE_BYTES_MAX};
pub use self::registry::Registry;
pub use self::setup::{Attrs, Configure, LogKeeper, Mistake, Setup};
pub use self::storage::{Applied, Entry, Found, Look, Looked, Lsn, Read, Recovered, Row, Term, Write};
pub use self::work::{Done, PasswordCost, Secret, Work};
pub use crate::grid::Port;
use crate::time::Time;

/// Another agent (in the chatroom lab: another server), as the host numbers it. The number means something on this host only, and
/// stays with that agent for as long as this one lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u32);

impl Peer {
    /// The number as an index into a table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FromStr for Peer {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A state machine that a host can run.
pub trait Agent {
    /// What agents of this service say to each other. Typed inside a service; encoded only at a real wire.
    type Msg: Wire;

    /// Takes one input and puts what is to be done into `out`.
    fn handle(&mut self, now: Time, input: Input<'_, Self::Msg>, out: &mut Outbox<Self::Msg>);

    /// When [`Input::Timeout`] is wanted next. Asked for after each input, so it has to be cheap.
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// Whether all of the agent's state is in the rows that it gives away when it is asked ([`take_rows`](Self::take_rows)), so that the records before
    /// need not be handed over again.
    fn keeps_rows(&self) -> bool {
        false
    }

    /// The rows of the agent's state that have changed since this was asked for last, each key once; the host keeps them, and that they have come of the records
    /// handed over so far. Before it is asked for the first time the agent has no rows but those of a [`Restore`](Input::Restore). Asked for only between two
    /// inputs, only of an agent that [keeps rows](Self::keeps_rows), and never where the log is not on a disk: an agent
    /// that may have such a log must not gather without bound what nobody takes ([`Setup::log_keeps_rows`]).
    fn take_rows(&mut self) -> Vec<Row> {
        Vec::new()
    }

    /// Names and values of what the agent counts, for whoever asks for its status.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What else is worth knowing about it, in one line for people.
    fn about(&self) -> Option<String> {
        None
    }
}
