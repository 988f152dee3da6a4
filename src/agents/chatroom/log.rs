//! The chatroom's message log, kept in the form in which `get` sends it.
//!
//! Messages stand joined with commas in chunks. A full chunk is frozen and from then on shared by reference with every
//! answer that holds it, so an answer copies at most the one chunk that is still growing.

use bytes::Bytes;
use thiserror::Error;

/// A chunk is frozen once it holds this many bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// The log has reached its limit; nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message log has reached its limit")]
pub struct LogFull;

/// An append-only list of messages with a limit in bytes.
#[derive(Debug)]
pub struct MessageLog {
    frozen: Vec<Bytes>,
    growing: Vec<u8>,
    frozen_bytes: usize,
    count: u64,
    bytes_max: usize,
}

impl MessageLog {
    /// An empty log that takes at most `bytes_max` bytes, a byte for the comma of each message included.
    pub fn new(bytes_max: usize) -> Self {
        Self { frozen: Vec::new(), growing: Vec::new(), frozen_bytes: 0, count: 0, bytes_max }
    }

    /// Appends one message.
    pub fn append(&mut self, contents: &[u8]) -> Result<(), LogFull> {
        if self.bytes() + contents.len() + 1 > self.bytes_max {
            return Err(LogFull);
        }
        // Every message brings the comma that ends it; the answer leaves the last one out.
        self.growing.extend_from_slice(contents);
        self.growing.push(b',');
        self.count += 1;
        if self.growing.len() >= CHUNK_BYTES {
            self.freeze();
        }
        Ok(())
    }

    /// All messages joined with commas, as parts to be written one after the other.
    pub fn joined(&self) -> impl Iterator<Item = Bytes> {
        let growing = Bytes::copy_from_slice(&self.growing);
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
        self.frozen_bytes + self.growing.len()
    }

    fn freeze(&mut self) {
        let next = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        let full = std::mem::replace(&mut self.growing, next);
        self.frozen_bytes += full.len();
        self.frozen.push(Bytes::from(full));
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
