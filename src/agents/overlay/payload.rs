//! What is broadcast, and the name of each broadcast.

use std::fmt;

use bytes::Bytes;

use super::Id;
use super::id::take;
use crate::agent::{Port, Wire, WireError};

/// What a broadcast carries.
pub trait Payload: Wire {
    /// How many bytes it takes in a cache.
    fn size_bytes(&self) -> usize;
}

/// Any bytes. Copies share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.len() <= 64 => write!(f, "Blob({text:?})"),
            _ => write!(f, "Blob({} bytes)", self.0.len()),
        }
    }
}

impl Wire for Blob {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0);
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

impl Payload for Blob {
    fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Nothing: for experiments, which only ask where a broadcast has got to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl Wire for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.is_empty() { Ok(Self) } else { Err(WireError::new("too long")) }
    }
}

impl Payload for Nothing {
    fn size_bytes(&self) -> usize {
        0
    }
}

/// The name of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId<I> {
    /// Who has sent it.
    pub source: I,
    /// In which of its lives: the larger, the later.
    pub incarnation: u64,
    /// Which of its broadcasts in that life, counted from 1.
    pub seq: u64,
}

impl<I: Id> MessageId<I> {
    /// The one that is `by` later.
    pub(super) fn later(self, by: u64) -> Self {
        Self { seq: self.seq + by, ..self }
    }

    /// Appends it to `bytes`.
    pub(super) fn encode(self, bytes: &mut Vec<u8>) {
        self.source.encode(bytes);
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
    }

    /// Takes it from the front of `bytes`.
    pub(super) fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        let source = I::decode(bytes)?;
        let (incarnation, seq) = (u64::from_be_bytes(take(bytes)?), u64::from_be_bytes(take(bytes)?));
        if !(1..=SEQ_MAX).contains(&seq) {
            return Err(WireError::new(format!("no broadcast has the number {seq}")));
        }
        Ok(Self { source, incarnation, seq })
    }
}

/// What nobody ever counts up to, so that there is always a next number.
pub(super) const SEQ_MAX: u64 = u64::MAX / 2;

impl<I: Id> fmt::Display for MessageId<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.incarnation, self.seq)
    }
}
