//! How an agent speaks to those who are no agents of its grid: clients that connect to it, services of others that it dials, datagrams.
//!
//! An agent asks by [`Outward`] and is told by [`Inward`]. On a connection travel *frames*: four bytes of length, the most significant first, then that many
//! bytes. The host cuts what comes in; what goes out the agent hands over whole, lengths included, since some clients mind what stands in them.
//!
//! **What holds.**
//! - A connection is told once that it is open ([`Inward::Opened`]) and once that it is closed ([`Inward::Closed`]); in between, frames come in
//!   their order. Nothing comes after `Closed`, and its number is never used again.
//! - What was sent before [`Outward::HangUp`] still leaves, if the other side takes it.
//! - The host bounds what waits to be sent on a connection ([`QUEUE_BYTES_MAX`]) and closes it beyond that. An agent that has much to say waits for
//!   [`Inward::Drained`].
//! - Ports are open for as long as the agent lives and does not shut them.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use super::Why;
use crate::wire::LengthFrames;

/// A connection to somebody outside of the grid, as its host numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

impl fmt::Display for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port that an agent has open, as the agent calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

/// What travels through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Connections with frames.
    Frames {
        /// The longest frame that is taken, in bytes without its length. A longer one closes its connection.
        frame_bytes_max: usize,
        /// Whether they are encrypted (TLS), by what the host was given for that.
        tls: bool,
    },
    /// Datagrams (UDP).
    Datagrams,
}

/// Something that an agent wants of the world outside of its grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outward {
    /// Open a port; answered by [`Inward::Listening`] or [`Inward::NotListening`].
    Listen {
        /// What the agent calls it; none that it has open.
        port: PortId,
        /// Where. Port number 0 lets the host choose.
        at: SocketAddr,
        /// What travels through it.
        carries: Carries,
    },
    /// Shut a port. Connections that came in by it stay.
    Shut {
        /// Which.
        port: PortId,
    },
    /// Connect to somebody; answered by [`Inward::Opened`] or [`Inward::Unreachable`].
    Dial {
        /// Comes back with the answer.
        token: u64,
        /// Whom.
        to: SocketAddr,
        /// As [`Carries::Frames`].
        frame_bytes_max: usize,
        /// Whether the connection is encrypted (TLS).
        tls: bool,
    },
    /// Send whole frames, their lengths included.
    Frames {
        /// On which connection. Without effect once that is closed.
        conn: Conn,
        /// They.
        bytes: Bytes,
    },
    /// Close a connection once everything is sent; answered by [`Inward::Closed`].
    HangUp {
        /// Which.
        conn: Conn,
    },
    /// Send a datagram; it may be lost.
    Datagram {
        /// From which port.
        port: PortId,
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
}

/// Something from outside of the grid.
#[derive(Clone, Debug)]
pub enum Inward<'a> {
    /// A port is open.
    Listening {
        /// Which.
        port: PortId,
        /// Where, with the number that the host chose if it was to.
        at: SocketAddr,
    },
    /// A port cannot be opened; the agent may ask again later.
    NotListening {
        /// Which.
        port: PortId,
        /// Why, for people.
        why: &'a str,
    },
    /// A connection is open.
    Opened {
        /// Its number.
        conn: Conn,
        /// How it came about.
        by: Opening,
        /// The other side.
        peer: SocketAddr,
    },
    /// Nobody answers where the agent has dialled.
    Unreachable {
        /// The token of the dial.
        token: u64,
        /// Why, for people.
        why: &'a str,
    },
    /// The frames of one read, borrowed.
    Frames {
        /// On which connection.
        conn: Conn,
        /// They.
        frames: LengthFrames<'a>,
    },
    /// Everything that was sent on a connection is on its way. Told once nothing waits any more, if something did not leave at once or if at least [`DRAINED_BYTES`] were
    /// sent since this was told last: an agent that stops after so many knows when to go on.
    Drained {
        /// Which.
        conn: Conn,
    },
    /// A connection is closed, by either side or because it broke.
    Closed {
        /// Which.
        conn: Conn,
        /// What is known about the reason.
        why: Why,
    },
    /// A datagram.
    Datagram {
        /// By which port it came in.
        port: PortId,
        /// Who sent it.
        from: SocketAddr,
        /// What it holds.
        bytes: &'a [u8],
    },
}

/// How a connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Somebody connected to this port.
    Accepted(PortId),
    /// The agent dialled, under this token.
    Dialled(u64),
}

/// After so many bytes on one connection an agent is told when they have left ([`Inward::Drained`]).
pub const DRAINED_BYTES: usize = 64 * 1024;

/// The most that waits to be sent on one connection, in bytes; beyond that the host closes it ([`Why::QueueFull`]).
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
