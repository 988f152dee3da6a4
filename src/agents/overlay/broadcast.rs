//! Broadcast as a service.

use bytes::Bytes;
use thiserror::Error;

use super::{Id, Reason};

/// What a node's owner is told by its broadcast, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<I> {
    /// A neighbour more.
    LinkUp(I),
    /// A neighbour less.
    LinkDown(I, Reason),
    /// A neighbour has sent something to this node alone.
    Direct(I, Bytes),
    /// Somebody has broadcast something.
    Delivered(Delivered<I>),
}

/// A broadcast of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered<I> {
    /// Whose it is.
    pub source: I,
    /// In which of its lives: the larger, the later.
    pub incarnation: u64,
    /// Which of its broadcasts in that life, counted from 1. Those that a service sends for itself are counted too, so there are gaps.
    pub seq: u64,
    /// What it says.
    pub payload: Bytes,
}

/// Why something was not sent. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// It is too long.
    #[error("a message has at most {bytes_max} bytes, this one {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is for somebody who is no neighbour.
    #[error("{peer} is no neighbour")]
    NoNeighbour {
        /// For whom it is.
        peer: String,
    },
}

/// How broadcasts travel and how long what is missing is waited for. The same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastOptions {
    /// Whether every message goes over every link, instead of along a tree.
    pub flood: bool,
    /// How long a message may be.
    pub payload_bytes_max: usize,
}

impl Default for BroadcastOptions {
    fn default() -> Self {
        Self { flood: false, payload_bytes_max: 1 << 20 }
    }
}

/// What a service is made of besides its node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Those of its broadcast.
    pub broadcast: BroadcastOptions,
    /// How often each node says that it is alive. Who has not been heard of for three times that is taken for dead.
    pub refresh: std::time::Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { broadcast: BroadcastOptions::default(), refresh: std::time::Duration::from_secs(5) }
    }
}

/// The service.
#[derive(Debug)]
pub struct Service<I> {
    me: I,
    number: u16,
    options: ServiceOptions,
}

/// What services say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceMessage<I> {
    /// To the receiver alone.
    Direct(Bytes),
    #[doc(hidden)]
    Unfinished(I),
}

impl<I: Id> Service<I> {
    /// A service of the node `me`, which is server `number` of the grid, in the life `incarnation`: it has to be larger in each later life, such as
    /// the milliseconds since 1970 at which it begins.
    pub fn new(me: I, number: u16, incarnation: u64, options: ServiceOptions) -> Self {
        let _ = incarnation;
        Self { me, number, options }
    }

    /// Sends `payload` to everybody else.
    pub fn broadcast(
        &mut self,
        _now: crate::time::Time,
        payload: Bytes,
        _out: &mut super::Sends<I, ServiceMessage<I>>,
    ) -> Result<(), Refused> {
        let bytes_max = self.options.broadcast.payload_bytes_max;
        if payload.len() > bytes_max {
            return Err(Refused::TooLong { bytes: payload.len(), bytes_max });
        }
        Ok(())
    }

    /// Sends `payload` to one neighbour.
    pub fn direct(
        &mut self,
        to: I,
        payload: Bytes,
        out: &mut super::Sends<I, ServiceMessage<I>>,
    ) -> Result<(), Refused> {
        out.send(to, ServiceMessage::Direct(payload));
        Ok(())
    }

    /// Tells everybody that this server is going. To be followed by the node's own good-bye.
    pub fn leave(&mut self, _now: crate::time::Time, _out: &mut super::Sends<I, ServiceMessage<I>>) {}

    /// The servers that are alive as far as is known, this one among them, ascending.
    pub fn alive(&self) -> impl Iterator<Item = u16> {
        let _ = self.me;
        std::iter::once(self.number)
    }

    /// What has happened next. The owner takes all of it after each input.
    pub fn next_news(&mut self) -> Option<News<I>> {
        None
    }
}

impl<I: Id> crate::agent::Wire for ServiceMessage<I> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        if let Self::Direct(payload) = self {
            bytes.extend_from_slice(payload);
        }
    }

    fn decode(_: crate::agent::Port, bytes: &[u8]) -> Result<Self, crate::agent::WireError> {
        Ok(Self::Direct(Bytes::copy_from_slice(bytes)))
    }
}

impl<I: Id> super::Layer<I> for Service<I> {
    type Msg = ServiceMessage<I>;

    fn handle(
        &mut self,
        _: crate::time::Time,
        _: super::Happening<I, Self::Msg>,
        _: &mut super::Sends<I, Self::Msg>,
    ) {
    }
}
