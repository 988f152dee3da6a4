//! Bytes on their way out of one connection, in order. Many queues may share one buffer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// How many parts one vectored write takes at the most; systems allow 1,024.
const SLICES_MAX: usize = 64;

/// How much room an empty tail may keep.
const TAIL_BYTES_KEPT: usize = 64 * 1024;

/// What a part costs beside its bytes: the handle in the queue, and the header and rounding of its buffer.
const PART_BYTES: usize = 96;

/// What one connection has still to send.
#[derive(Debug, Default)]
pub struct OutQueue {
    parts: VecDeque<Bytes>,
    /// Short parts behind the others, side by side: a read's answers are one part.
    tail: BytesMut,
    bytes: usize,
}

impl OutQueue {
    /// Appends `part`, without copying it.
    pub fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        if !part.is_empty() {
            if !self.tail.is_empty() {
                self.parts.push_back(self.tail.split().freeze());
            }
            self.parts.push_back(part);
        }
    }

    /// Appends a copy of `part`, which is short: cheaper than a part of its own.
    pub fn push_short(&mut self, part: &[u8]) {
        self.bytes += part.len();
        self.tail.extend_from_slice(part);
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much memory that takes at the most, in bytes: a part costs its handle and its share of a buffer even when it is short.
    pub fn footprint_bytes(&self) -> usize {
        self.bytes + (self.parts.len() + usize::from(!self.tail.is_empty())) * PART_BYTES
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The first part, where it is all there is: the usual case, in which a plain write does.
    pub fn only_part(&self) -> Option<&[u8]> {
        match self.parts.len() {
            0 => (!self.tail.is_empty()).then_some(&self.tail),
            1 if self.tail.is_empty() => self.parts.front().map(AsRef::as_ref),
            _ => None,
        }
    }

    /// The first part, shared; short ones as a copy of all that stand side by side.
    pub fn front(&self) -> Option<Bytes> {
        let tail = || (!self.tail.is_empty()).then(|| Bytes::copy_from_slice(&self.tail));
        self.parts.front().cloned().or_else(tail)
    }

    /// The front of the queue as slices for one vectored write.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let tail = (!self.tail.is_empty()).then_some(self.tail.as_ref());
        self.parts.iter().map(AsRef::as_ref).chain(tail).take(SLICES_MAX).map(IoSlice::new).collect()
    }

    /// Takes off the first `written` bytes.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let Some(front) = self.parts.front_mut() else {
                assert!(written <= self.tail.len(), "no more is written than was queued");
                self.tail.advance(written);
                // A connection that is quiet again does not keep what a burst has needed.
                if self.tail.is_empty() && self.tail.capacity() > TAIL_BYTES_KEPT {
                    self.tail = BytesMut::new();
                }
                return;
            };
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_sequence_of_short_writes_sends_the_same_bytes(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..100),
            writes in proptest::collection::vec(1usize..50, 1..50),
        ) {
            let mut queue = OutQueue::default();
            for part in &parts {
                if part.len() % 2 == 0 {
                    queue.push(Bytes::copy_from_slice(part));
                } else {
                    queue.push_short(part);
                }
            }
            let mut sent = Vec::new();
            for room in writes.iter().cycle() {
                if queue.is_empty() {
                    break;
                }
                let offered: Vec<u8> = queue.slices().iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = offered.len().min(*room);
                sent.extend_from_slice(&offered[..taken]);
                queue.advance(taken);
            }
            prop_assert_eq!(sent, parts.concat());
            prop_assert_eq!(queue.bytes(), 0);
        }
    }
}
