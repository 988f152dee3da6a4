//! What is going to happen in a world, and what of it waits.

use super::flights::Slot;
use super::links::LinkId;
use super::outside::ConnectionId;
use crate::agent::{Epoch, Peer, Session, Why};

/// What is going to happen. Whatever may become void in the meantime carries a generation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Start {
        peer: Peer,
    },
    Timeout {
        peer: Peer,
        generation: u32,
    },
    /// The first message of one direction of a link arrives.
    Lane {
        link: LinkId,
        from_high: bool,
        generation: u32,
    },
    /// A message that travels alone, a datagram or a letter, arrives.
    Datagram {
        slot: Slot,
    },
    /// What an agent sent to itself arrives.
    Own {
        slot: Slot,
        incarnation: u32,
    },
    Connect {
        link: LinkId,
        generation: u32,
    },
    /// Whoever waits for a link is told that there will be none.
    GiveUp {
        link: LinkId,
        generation: u32,
    },
    /// An agent is told that a link is down: the first of those who are to be told.
    News,
    /// The one end that took a link for up has noticed that the other is dead.
    Noticed {
        link: LinkId,
        generation: u32,
    },
    Synced {
        peer: Peer,
        incarnation: u32,
    },
    /// A proposal came to nothing.
    Refused {
        peer: Peer,
        incarnation: u32,
    },
    /// An agent's log is asked whether it is up to date.
    Barrier {
        peer: Peer,
        incarnation: u32,
    },
    /// What an agent that is a log itself has written is durable.
    Stored {
        peer: Peer,
        incarnation: u32,
    },
    /// What it wanted to read is there.
    Found {
        peer: Peer,
        incarnation: u32,
    },
    /// It learns that its disk has failed.
    StoreFailed {
        peer: Peer,
        incarnation: u32,
    },
    /// More waits in a link than it may hold.
    Full {
        link: LinkId,
        generation: u32,
    },
    /// An agent is told something from outside of the grid: the first of what it is to be told.
    OutsideNews {
        peer: Peer,
        incarnation: u32,
    },
    /// A dial is answered, or not.
    Dial {
        dial: u32,
    },
    /// The first bytes of one direction of a connection arrive.
    Stretch {
        pipe: ConnectionId,
        from_acceptor: bool,
    },
    /// A connection ends at once.
    CutPipe {
        pipe: ConnectionId,
        by_acceptor: bool,
        why: Why,
    },
    /// A datagram of a port arrives.
    Letter {
        letter: u32,
    },
    /// A piece of long work is done.
    Computed {
        peer: Peer,
        incarnation: u32,
    },
}

/// What waits for an agent that is paused.
#[derive(Debug)]
pub(super) enum Held {
    Event(Event),
    LinkDown { peer: Peer, epoch: Epoch, why: Why },
    Command { session: Session, line: String },
}
