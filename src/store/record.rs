//! Records as bytes, and bytes as records again. Pure.
//!
//! **Form.** A zero byte, the stuffed body, a zero byte. The body is a checksum (CRC-32 of all that follows), the length of the
//! record (both 4 bytes), the record's index (8 bytes; little-endian all three) and the record. Inside a stuffed body there are no
//! zeros, so the next record is found whatever has happened to this one. Each record has a mark of its own on both
//! sides: one changed mark costs one record.

use std::fmt;

use memchr::memchr;

use super::stuffing::{stuff, unstuff};
use crate::agent::Index;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What bytes hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// All sound records, their indexes ascending.
    pub records: Vec<(Index, Vec<u8>)>,
    /// How many bytes at the front are to be kept; new records follow behind them.
    pub kept_bytes: usize,
    /// How many bytes behind those are the beginning of a write that was not finished.
    pub torn_bytes: usize,
    /// What is wrong with the bytes that are kept, from front to back.
    pub damaged: Vec<Damage>,
    /// The index for the next record. It is never one that a damaged record may have had.
    pub next: Index,
}

/// A place where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How many bytes lie before it.
    pub at_byte: usize,
    /// How many bytes it has; none where records are missing.
    pub bytes: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong in the middle of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// These bytes are no record: they, or the marks around them, have changed.
    Unreadable,
    /// A sound record whose index is not above all those before it.
    OutOfOrder {
        /// Its index.
        index: Index,
    },
    /// The records of these indexes should stand before this place.
    Missing {
        /// The first of them.
        first: Index,
        /// The last of them.
        last: Index,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_byte, bytes, fault } = self;
        match fault {
            Fault::Unreadable => write!(f, "{bytes} bytes from byte {at_byte} on are no record"),
            Fault::OutOfOrder { index } => write!(f, "record {index} at byte {at_byte} is out of order"),
            Fault::Missing { first, last } if first == last => {
                write!(f, "record {first} is missing before byte {at_byte}")
            }
            Fault::Missing { first, last } => {
                write!(f, "records {first} to {last} are missing before byte {at_byte}")
            }
        }
    }
}

/// Appends `record`, which is at most [`RECORD_BYTES_MAX`] long, under `index` to `bytes`.
pub fn encode(index: Index, record: &[u8], bytes: &mut Vec<u8>) {
    assert!(record.len() <= RECORD_BYTES_MAX, "whoever appends refuses longer records");
    let length = u32::try_from(record.len()).expect("far below 4 GiB");
    let mut body = Vec::with_capacity(HEADER_BYTES + record.len());
    body.extend_from_slice(&[0; CHECKSUM_BYTES]);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&index.0.to_le_bytes());
    body.extend_from_slice(record);
    let checksum = crc32fast::hash(&body[CHECKSUM_BYTES..]);
    body[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes.push(MARK);
    stuff(&body, bytes);
    bytes.push(MARK);
}

/// Finds the records in the bytes of a whole log.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scanner = Scanner { scan: Scan { next: Index(1), ..Scan::default() }, run: None };
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == MARK {
            at += 1;
            continue;
        }
        let Some(length) = memchr(MARK, &bytes[at..]) else { break };
        scanner.closed(at, &bytes[at..at + length]);
        // The mark that closes this body belongs to it.
        at += length + 1;
        scanner.scan.kept_bytes = at;
    }
    let opened = bytes.get(..at).is_some_and(|before| before.last() == Some(&MARK));
    if at < bytes.len() && !(opened && is_torn(&bytes[at..])) {
        scanner.unreadable(at, bytes.len() - at);
        scanner.scan.kept_bytes = bytes.len();
    }
    scanner.finish(bytes.len())
}

/// What a scan knows on its way.
struct Scanner {
    scan: Scan,
    /// The unreadable bytes that no sound record has ended yet, and how many bodies they look like.
    run: Option<(Damage, u64)>,
}

impl Scanner {
    /// A body with a mark behind it.
    fn closed(&mut self, at_byte: usize, stuffed: &[u8]) {
        let Some((index, record)) = read(stuffed) else {
            self.unreadable(at_byte, stuffed.len());
            return;
        };
        let expected = self.scan.next;
        self.end_run();
        if index < expected {
            let fault = Fault::OutOfOrder { index };
            self.scan.damaged.push(Damage { at_byte, bytes: stuffed.len(), fault });
            return;
        }
        if index > expected {
            let fault = Fault::Missing { first: expected, last: Index(index.0 - 1) };
            self.scan.damaged.push(Damage { at_byte, bytes: 0, fault });
        }
        self.scan.next = Index(index.0 + 1);
        self.scan.records.push((index, record));
    }

    fn unreadable(&mut self, at_byte: usize, bytes: usize) {
        match &mut self.run {
            Some((damage, bodies)) => {
                damage.bytes = at_byte + bytes - damage.at_byte;
                *bodies += 1;
            }
            None => self.run = Some((Damage { at_byte, bytes, fault: Fault::Unreadable }, 1)),
        }
    }

    /// How many bodies the run that ends here looked like.
    fn end_run(&mut self) -> u64 {
        let Some((damage, bodies)) = self.run.take() else { return 0 };
        self.scan.damaged.push(damage);
        bodies
    }

    fn finish(mut self, len: usize) -> Scan {
        let bodies = self.end_run();
        self.scan.next = Index(self.scan.next.0 + bodies);
        self.scan.torn_bytes = len - self.scan.kept_bytes;
        self.scan
    }
}

/// The record that a stuffed body holds, if nothing about it has changed.
fn read(stuffed: &[u8]) -> Option<(Index, Vec<u8>)> {
    let (mut body, whole) = unstuff(stuffed);
    let header = Header::of(&body)?;
    let record_bytes = body.len() - HEADER_BYTES;
    let sound = whole
        && header.length == record_bytes
        && record_bytes <= RECORD_BYTES_MAX
        && header.index.0 <= INDEX_MAX
        && header.checksum == crc32fast::hash(&body[CHECKSUM_BYTES..]);
    body.drain(..HEADER_BYTES);
    sound.then_some((header.index, body))
}

/// Whether a body without a mark behind it is what a write leaves that was cut short: then all of it is there up to some byte.
fn is_torn(stuffed: &[u8]) -> bool {
    let (body, _) = unstuff(stuffed);
    match Header::of(&body) {
        None => true,
        Some(header) if header.length > RECORD_BYTES_MAX => false,
        Some(header) if body.len() < HEADER_BYTES + header.length => true,
        // As long as it says, so only the mark may be missing.
        Some(_) => read(stuffed).is_some(),
    }
}

/// What stands before a record.
struct Header {
    checksum: u32,
    length: usize,
    index: Index,
}

impl Header {
    fn of(body: &[u8]) -> Option<Self> {
        let (checksum, rest) = body.split_first_chunk::<CHECKSUM_BYTES>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (index, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            checksum: u32::from_le_bytes(*checksum),
            length: usize::try_from(u32::from_le_bytes(*length)).ok()?,
            index: Index(u64::from_le_bytes(*index)),
        })
    }
}

/// Stands on both sides of a record, and nowhere else.
const MARK: u8 = 0;
const CHECKSUM_BYTES: usize = 4;
/// The largest index that is believed: no log ever comes near it, and what is counted from there cannot overflow.
const INDEX_MAX: u64 = u64::MAX / 2;
/// Checksum, length and index.
const HEADER_BYTES: usize = CHECKSUM_BYTES + 4 + 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Records = Vec<(Index, Vec<u8>)>;

    /// A log of these records, and where each of them ends.
    fn log(records: &[Vec<u8>]) -> (Vec<u8>, Records, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let numbered: Records = (1..).map(Index).zip(records.iter().cloned()).collect();
        for (index, record) in &numbered {
            encode(*index, record, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, numbered, ends)
    }

    fn small() -> Vec<Vec<u8>> {
        vec![b"put a 1".to_vec(), Vec::new(), vec![0, 0, 7], vec![5; 300], b"last".to_vec()]
    }

    /// Checks one changed log: no record is invented, all sound ones are found, and the change did not go unseen.
    fn check_damaged(bytes: &[u8], records: &Records, lost: &[usize]) -> Result<(), TestCaseError> {
        let scan = scan(bytes);
        let kept: Records = records
            .iter()
            .enumerate()
            .filter(|(place, _)| !lost.contains(place))
            .map(|(_, r)| r.clone())
            .collect();
        prop_assert_eq!(&scan.records, &kept);
        prop_assert!(!scan.damaged.is_empty());
        prop_assert!(records.iter().all(|(index, _)| *index < scan.next));
        prop_assert_eq!(scan.torn_bytes, 0);
        Ok(())
    }

    #[test]
    fn a_log_that_is_cut_keeps_what_was_whole_and_is_not_damaged() {
        let (bytes, records, ends) = log(&small());
        for cut in 0..=bytes.len() {
            let scan = scan(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(scan.records, records[..whole], "cut at {cut}");
            assert_eq!(scan.kept_bytes, if whole == 0 { 0 } else { ends[whole - 1] });
            assert_eq!(scan.torn_bytes, cut - scan.kept_bytes);
            assert_eq!((scan.damaged, scan.next), (Vec::new(), Index(whole as u64 + 1)));
        }
    }

    #[test]
    fn each_flipped_bit_costs_its_record_and_no_other() {
        let (bytes, records, ends) = log(&small());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let hit = ends.iter().filter(|end| **end <= at).count();
                check_damaged(&flipped, &records, &[hit])
                    .unwrap_or_else(|e| panic!("bit {bit} of {at}: {e}"));
            }
        }
    }

    #[test]
    fn a_log_goes_on_behind_damage_and_tells_of_it_again() {
        let (mut bytes, records, ends) = log(&small());
        bytes[ends[3] + 6] ^= 0x40;
        let before = scan(&bytes);
        assert_eq!(before.damaged.len(), 1);
        encode(before.next, b"new", &mut bytes);
        let after = scan(&bytes);
        assert_eq!(after.records[..4], records[..4]);
        assert_eq!(after.records[4..], [(Index(6), b"new".to_vec())]);
        let missing = Fault::Missing { first: Index(5), last: Index(5) };
        let told: Vec<Fault> = after.damaged.iter().map(|damage| damage.fault).collect();
        assert_eq!(told, [Fault::Unreadable, missing]);
    }

    #[test]
    fn a_log_inside_a_record_is_never_taken_for_one() {
        let (inner, _, _) = log(&[b"never proposed".to_vec()]);
        let (bytes, records, _) = log(&[b"one".to_vec(), inner, b"three".to_vec()]);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(scan(&flipped).records.iter().all(|record| records.contains(record)), "byte {at}");
        }
    }

    #[test]
    fn records_that_vanished_or_came_back_are_reported() {
        let (bytes, records, ends) = log(&small());
        let without_second = [&bytes[..ends[0]], &bytes[ends[1]..]].concat();
        let found = scan(&without_second);
        let fault = Fault::Missing { first: Index(2), last: Index(2) };
        assert_eq!(found.damaged.iter().map(|damage| damage.fault).collect::<Vec<_>>(), [fault]);
        assert_eq!(found.records.len(), 4);

        let repeated = [&bytes[..], &bytes[..ends[0]]].concat();
        let found = scan(&repeated);
        assert_eq!(found.records, records);
        assert_eq!(found.damaged[0].fault, Fault::OutOfOrder { index: Index(1) });
        assert_eq!(
            found.damaged[0].to_string(),
            format!("record 1 at byte {} is out of order", bytes.len() + 1)
        );
    }

    #[test]
    fn room_that_was_never_written_is_a_torn_tail() {
        let (mut bytes, records, ends) = log(&small());
        bytes.resize(bytes.len() + 4096, 0);
        let found = scan(&bytes);
        assert_eq!((found.records, found.damaged), (records, Vec::new()));
        assert_eq!((found.kept_bytes, found.torn_bytes), (ends[4], 4096));
    }

    fn any_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![Just(0u8), any::<u8>()];
        prop::collection::vec(prop::collection::vec(byte, 0..600), 1..6)
    }

    proptest! {
        #[test]
        fn records_come_back(records in any_records()) {
            let (bytes, numbered, _) = log(&records);
            let found = scan(&bytes);
            prop_assert_eq!(found.records, numbered);
            prop_assert_eq!((found.kept_bytes, found.torn_bytes, found.damaged), (bytes.len(), 0, vec![]));
        }

        #[test]
        fn a_stretch_of_changed_bytes_costs_the_records_that_it_touches(
            records in any_records(), noise in prop::collection::vec(any::<u8>(), 1..200), place: prop::sample::Index,
        ) {
            let (mut bytes, numbered, ends) = log(&records);
            let at = place.index(bytes.len());
            let upto = bytes.len().min(at + noise.len());
            let mut touched = Vec::new();
            for (byte, noise) in bytes[at..upto].iter_mut().zip(&noise) {
                *byte = *noise;
            }
            let (original, _, _) = log(&records);
            for (byte, (new, old)) in bytes.iter().zip(&original).enumerate() {
                if new != old {
                    touched.push(ends.iter().filter(|end| **end <= byte).count());
                }
            }
            let found = scan(&bytes);
            for (place, record) in numbered.iter().enumerate() {
                prop_assert_eq!(found.records.contains(record), !touched.contains(&place));
            }
            prop_assert_eq!(found.records.len(), found.records.iter().filter(|r| numbered.contains(r)).count());
        }

        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes: Vec<u8>) {
            let found = scan(&bytes);
            prop_assert_eq!(found.kept_bytes + found.torn_bytes, bytes.len());
        }

        #[test]
        fn what_is_kept_reads_the_same_again(
            records in any_records(), noise: Vec<u8>, place: prop::sample::Index,
        ) {
            let (mut bytes, _, _) = log(&records);
            let at = place.index(bytes.len());
            bytes.splice(at..at, noise);
            let found = scan(&bytes);
            let again = scan(&bytes[..found.kept_bytes]);
            prop_assert_eq!(again.torn_bytes, 0);
            prop_assert_eq!((again.records, again.damaged, again.next), (found.records, found.damaged, found.next));
        }
    }
}
