//! The chatroom's message log, kept in the form in which `get` sends it.
//!
//! Messages stand joined with commas in chunks of one size. A full chunk is frozen and from then on shared by reference with
//! every answer that holds it, so an answer copies at most the one chunk that is still growing.

use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions};
use thiserror::Error;

/// The size of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// The size of the first chunk: most logs of a lab stay this small.
const FIRST_CHUNK_BYTES: usize = 16 * 1024;

/// The log has reached its limit; nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message log has reached its limit")]
pub struct LogFull;

/// An append-only list of messages with a limit in bytes.
#[derive(Debug)]
pub struct MessageLog {
    frozen: Vec<Bytes>,
    growing: Chunk,
    frozen_bytes: usize,
    count: u64,
    bytes_max: usize,
}

impl MessageLog {
    /// An empty log that takes at most `bytes_max` bytes, a byte for the comma of each message included.
    pub fn new(bytes_max: usize) -> Self {
        let growing = Chunk::new(FIRST_CHUNK_BYTES);
        Self { frozen: Vec::new(), growing, frozen_bytes: 0, count: 0, bytes_max }
    }

    /// Appends one message. Into the loops that call it for each of a read's messages: 10 % of their instructions otherwise.
    #[inline]
    pub fn append(&mut self, contents: &[u8]) -> Result<(), LogFull> {
        if self.bytes() + contents.len() + 1 > self.bytes_max {
            return Err(LogFull);
        }
        // Every message brings the comma that ends it; the answer leaves the last one out.
        if contents.len() < self.growing.room() {
            self.growing.put(contents);
            self.growing.put(b",");
        } else {
            self.put_across(contents);
            self.put_across(b",");
        }
        self.count += 1;
        Ok(())
    }

    /// All messages joined with commas, as parts to be written one after the other.
    pub fn joined(&self) -> impl Iterator<Item = Bytes> {
        let growing = Bytes::copy_from_slice(self.growing.as_ref());
        let parts = self.frozen.len() + usize::from(!growing.is_empty());
        let tail = (!growing.is_empty()).then_some(growing);
        self.frozen.iter().cloned().chain(tail).enumerate().map(move |(index, mut part)| {
            if index + 1 == parts {
                part.truncate(part.len() - 1);
            }
            part
        })
    }

    /// How many messages the log holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes the log holds, a comma for each message included.
    pub fn bytes(&self) -> usize {
        self.frozen_bytes + self.growing.used
    }

    /// Appends bytes that go on in the next chunk, or in several.
    #[cold]
    fn put_across(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.growing.room() == 0 {
                let full = std::mem::replace(&mut self.growing, Chunk::new(CHUNK_BYTES));
                self.frozen_bytes += full.used;
                self.frozen.push(Bytes::from_owner(full));
            }
            let (fitting, rest) = bytes.split_at(bytes.len().min(self.growing.room()));
            self.growing.put(fitting);
            bytes = rest;
        }
    }
}

/// Memory of one size that is filled from the front.
///
/// It is mapped with all its pages present: the kernel clears them in one go, which costs far less than a fault at the first
/// touch of each (about 15 % of all the work at 200 bytes a message).
#[derive(Debug)]
struct Chunk {
    memory: MmapMut,
    used: usize,
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        // Where there is no memory left, any other allocation would end the process too.
        let memory = MmapOptions::new().len(bytes).populate().map_anon().expect("memory for the message log");
        Self { memory, used: 0 }
    }

    #[inline]
    fn room(&self) -> usize {
        self.memory.len() - self.used
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        self.memory[self.used..end].copy_from_slice(bytes);
        self.used = end;
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_are_the_messages_joined_with_commas(
            lengths in proptest::collection::vec(prop_oneof![0usize..20, 0usize..200_000], 0..20),
        ) {
            let mut log = MessageLog::new(usize::MAX);
            let messages: Vec<Vec<u8>> =
                lengths.iter().zip(b'a'..).map(|(length, letter)| vec![letter; *length]).collect();
            for message in &messages {
                log.append(message).expect("no limit");
            }
            let joined: Vec<Bytes> = log.joined().collect();
            prop_assert!(joined.concat() == messages.join(&b','));
            prop_assert_eq!(log.count(), messages.len() as u64);
        }
    }

    #[test]
    fn an_answer_keeps_what_it_was_given_while_the_log_grows() {
        let mut log = MessageLog::new(usize::MAX);
        let message = [b'm'; 1000];
        for _ in 0..1000 {
            log.append(&message).expect("no limit");
        }
        let before: Vec<Bytes> = log.joined().collect();
        log.append(b"later").expect("no limit");
        assert_eq!(before.iter().map(Bytes::len).sum::<usize>(), 1000 * 1001 - 1);
    }

    #[test]
    fn the_limit_counts_every_byte() {
        let mut log = MessageLog::new(10);
        assert_eq!(log.append(b"123456789"), Ok(()));
        assert_eq!(log.append(b""), Err(LogFull));
        assert_eq!((log.count(), log.bytes()), (1, 10));
    }
}
