//! What stands in the entries of the log: records of the services, and the log's own.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{Reader, put_word};
use super::membership::Membership;
use crate::agent::WireError;
use crate::wire::{NUMBER_BYTES_MAX, put_number};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing: the first entry of a reign, by which those before are committed (Raft, section 8).
    Nothing,
    /// A record of a service.
    Record {
        /// Whose: the session of the member that proposed it.
        session: u64,
        /// Counted from 1 in each session.
        number: u64,
        /// It.
        record: Bytes,
    },
    /// A member has a session from here on, whose number is the index of this entry.
    Open {
        /// By what the member knows it.
        nonce: u64,
    },
    /// Who belongs to the log from here on.
    Members(Membership),
}

const NOTHING: u8 = 0;
const RECORD: u8 = 1;
const OPEN: u8 = 2;
const MEMBERS: u8 = 3;

impl Payload {
    /// Reads an entry; the record shares its bytes.
    pub(super) fn read(entry: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(entry);
        let payload = match reader.byte()? {
            NOTHING => Self::Nothing,
            RECORD => {
                let (session, number) = (reader.number()?, reader.number()?);
                return Ok(Self::Record { session, number, record: reader.rest() });
            }
            OPEN => Self::Open { nonce: reader.word()? },
            MEMBERS => Self::Members(Membership::decode(&mut reader)?),
            other => return Err(WireError::new(format!("no entry is called {other}"))),
        };
        reader.end()?;
        Ok(payload)
    }

    /// Who belongs to the log from this entry on, if it says so. Cheap for all others.
    pub(super) fn members(entry: &Bytes) -> Option<Membership> {
        match entry.first() {
            Some(&MEMBERS) => match Self::read(entry) {
                Ok(Self::Members(members)) => Some(members),
                _ => None,
            },
            _ => None,
        }
    }

    /// The bytes of an entry of the log's own.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        match self {
            Self::Nothing => bytes.push(NOTHING),
            Self::Open { nonce } => {
                bytes.push(OPEN);
                put_word(&mut bytes, *nonce);
            }
            Self::Members(members) => {
                bytes.push(MEMBERS);
                members.encode(&mut bytes);
            }
            Self::Record { session, number, record } => {
                return Chunk::default().record(*session, *number, record);
            }
        }
        bytes.into()
    }
}

/// Memory from which the bytes of many records are cut, so that they do not cost an allocation each.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: BytesMut,
}

const CHUNK_BYTES: usize = 64 * 1024;
/// The most that stands before a record: its kind and two numbers.
const HEADER_BYTES: usize = 1 + 2 * NUMBER_BYTES_MAX;

impl Chunk {
    /// The bytes of an entry that holds a record.
    pub(super) fn record(&mut self, session: u64, number: u64, record: &[u8]) -> Bytes {
        let wanted = HEADER_BYTES + record.len();
        if self.bytes.capacity() < wanted {
            // What is left of the old one is given up: growing would copy it.
            self.bytes = BytesMut::with_capacity(wanted.max(CHUNK_BYTES));
        }
        self.bytes.put_u8(RECORD);
        for number in [session, number] {
            put_number(number, |byte| self.bytes.put_u8(byte));
        }
        self.bytes.put_slice(record);
        self.bytes.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let record = Payload::Record { session: 7, number: u64::MAX, record: Bytes::from_static(b"put a 1") };
        let members = Payload::Members(Membership::of_voters(["a", "b"]));
        for payload in [Payload::Nothing, record, Payload::Open { nonce: 5 }, members] {
            let bytes = payload.to_bytes();
            assert_eq!(Payload::members(&bytes).is_some(), matches!(payload, Payload::Members(_)));
            assert_eq!(Payload::read(&bytes), Ok(payload));
        }
    }

    #[test]
    fn records_share_memory_until_it_is_used_up() {
        let mut chunk = Chunk::default();
        let long = vec![7; 3 * CHUNK_BYTES];
        for (number, record) in [b"a".as_slice(), &long, b"b"].into_iter().enumerate() {
            let bytes = chunk.record(1, number as u64, record);
            let read = Payload::read(&bytes).unwrap();
            let record = Bytes::copy_from_slice(record);
            assert_eq!(read, Payload::Record { session: 1, number: number as u64, record });
        }
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for bytes in [&b""[..], b"\x09", b"\x01\xff", b"\x02abc", b"\x00x"] {
            assert!(Payload::read(&Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }
}
