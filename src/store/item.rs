//! Items of a segment as bytes, and bytes as items again. Pure.
//!
//! **Form.** A zero byte, the stuffed body, the two bytes of the trailer, a zero byte. The body is a checksum (CRC-32 of all that follows, 4 bytes,
//! little-endian), the kind (1 byte), four numbers (7 bits a byte, the low ones first) and the payload: the number of this item in
//! the log's life, the index that the next entry has when the item comes, a number of the kind's own, the length of the payload.
//!
//! Inside a stuffed body there are no zeros, so the next item is found whatever has happened to this one, and the zeros of a preallocated file are
//! nothing but marks. Numbers of items follow one another: whoever finds a gap knows how many items are lost there. The trailer tells an item that was
//! changed from one that was never written to its end.

use super::record::RECORD_BYTES_MAX;
use super::stuffing::{Stuffer, unstuff_into};
use crate::agent::{Index, Term};
use crate::wire::{NUMBER_BYTES_MAX, NumberError, put_number, take_number};

/// The most that is kept beside a log, in bytes.
pub const STATE_BYTES_MAX: usize = 2048;

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// Its number: one more than that of the item before, from segment to segment.
    pub(super) seq: u64,
    /// The index that an entry has that is put here.
    pub(super) next: Index,
    /// What it says.
    pub(super) what: What<'a>,
}

/// What an item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A segment begins.
    Segment(Header<'a>),
    /// The entry under the index that is next.
    Entry { term: Term, record: &'a [u8] },
    /// This entry and those behind it are gone.
    Truncate { from: Index },
    /// What is kept beside the log.
    State { version: u64, state: &'a [u8] },
}

/// What stands at the beginning of a segment: all that is needed to go on from there without the segments before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// The segment's number, counted from 1.
    pub(super) number: u64,
    /// Whether nothing before it counts any more: rows have been installed, and the log goes on behind them.
    pub(super) restart: bool,
    /// Whether something before it was damaged of which nobody knows what it was.
    pub(super) suspect: bool,
    /// Whether what is kept beside the log may have been something newer.
    pub(super) unsure: bool,
    /// How many times rows have been installed.
    pub(super) installs: u64,
    /// What is kept beside the log, and the how-manieth that is.
    pub(super) version: u64,
    /// See `version`.
    pub(super) state: &'a [u8],
}

/// What bytes between two marks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A sound item.
    Item(Item<'a>),
    /// The beginning of an item that goes no further.
    Torn,
    /// Something that has changed since it was written.
    Unreadable,
}

/// Appends an item to `bytes`.
pub(super) fn encode(item: &Item<'_>, bytes: &mut Vec<u8>) {
    let mut fields = [0; HEADER_FIELDS_BYTES];
    let (kind, number, payload, front) = match item.what {
        What::Segment(header) => {
            fields[0] =
                u8::from(header.restart) | u8::from(header.suspect) << 1 | u8::from(header.unsure) << 2;
            fields[1..9].copy_from_slice(&header.installs.to_le_bytes());
            fields[9..].copy_from_slice(&header.version.to_le_bytes());
            (SEGMENT, header.number, header.state, &fields[..])
        }
        What::Entry { term, record } => (ENTRY, term.0, record, &[][..]),
        What::Truncate { from } => (TRUNCATE, from.0, &[][..], &[][..]),
        What::State { version, state } => (STATE, version, state, &[][..]),
    };
    assert!(payload.len() <= RECORD_BYTES_MAX, "whoever writes refuses longer ones");
    let mut head = [0; HEAD_BYTES_MAX];
    head[CHECKSUM_BYTES] = kind;
    let mut end = CHECKSUM_BYTES + 1;
    for number in [item.seq, item.next.0, number, (front.len() + payload.len()) as u64] {
        put_number(number, |byte| {
            head[end] = byte;
            end += 1;
        });
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&head[CHECKSUM_BYTES..end]);
    checksum.update(front);
    checksum.update(payload);
    head[..CHECKSUM_BYTES].copy_from_slice(&checksum.finalize().to_le_bytes());
    bytes.reserve(end + payload.len() + payload.len() / 254 + HEADER_FIELDS_BYTES + 8);
    bytes.push(MARK);
    let mut stuffer = Stuffer::new(bytes);
    stuffer.push(&head[..end]);
    stuffer.push(front);
    stuffer.push(payload);
    stuffer.finish();
    bytes.extend_from_slice(&TRAILER);
    bytes.push(MARK);
}

/// What `stuffed`, the bytes between two marks, is. `plain` gives room for it.
pub(super) fn read<'a>(stuffed: &[u8], plain: &'a mut Vec<u8>) -> Found<'a> {
    plain.clear();
    let body = stuffed.strip_suffix(&TRAILER);
    let whole = unstuff_into(body.unwrap_or(stuffed), plain);
    let Some(head) = Head::of(plain) else {
        return if body.is_none() { Found::Torn } else { Found::Unreadable };
    };
    let payload = &plain[head.bytes..];
    if body.is_none() {
        let goes_on = head.length <= RECORD_BYTES_MAX + HEADER_FIELDS_BYTES && payload.len() < head.length;
        let at_trailer = payload.len() == head.length && whole;
        // The trailer's first byte alone looks like a group of which nothing is there; behind a changed one there is something.
        let begun = payload.len().checked_sub(1) == Some(head.length) && stuffed.last() == Some(&TRAILER[0]);
        return if goes_on || at_trailer || begun { Found::Torn } else { Found::Unreadable };
    }
    let sound = whole
        && payload.len() == head.length
        && head.checksum == crc32fast::hash(&plain[CHECKSUM_BYTES..])
        && [head.seq, head.next, head.number].iter().all(|number| *number <= NUMBER_MAX);
    if !sound {
        return Found::Unreadable;
    }
    let what = match head.kind {
        ENTRY => What::Entry { term: Term(head.number), record: payload },
        STATE => What::State { version: head.number, state: payload },
        TRUNCATE => What::Truncate { from: Index(head.number) },
        SEGMENT => match Header::of(head.number, payload) {
            Some(header) => What::Segment(header),
            None => return Found::Unreadable,
        },
        _ => return Found::Unreadable,
    };
    Found::Item(Item { seq: head.seq, next: Index(head.next), what })
}

impl<'a> Header<'a> {
    fn of(number: u64, payload: &'a [u8]) -> Option<Self> {
        let (flags, rest) = payload.split_first()?;
        let (installs, rest) = rest.split_first_chunk()?;
        let (version, state) = rest.split_first_chunk()?;
        Some(Self {
            number,
            restart: flags & 1 != 0,
            suspect: flags & 2 != 0,
            unsure: flags & 4 != 0,
            installs: u64::from_le_bytes(*installs),
            version: u64::from_le_bytes(*version),
            state,
        })
    }
}

/// What stands before a payload.
struct Head {
    checksum: u32,
    kind: u8,
    seq: u64,
    next: u64,
    number: u64,
    length: usize,
    /// How many bytes all that has.
    bytes: usize,
}

impl Head {
    fn of(body: &[u8]) -> Option<Self> {
        let (checksum, rest) = body.split_first_chunk::<CHECKSUM_BYTES>()?;
        let (&kind, mut rest) = rest.split_first()?;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = number_of(&mut rest)?;
        }
        let [seq, next, number, length] = numbers;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = body.len() - rest.len();
        Some(Self { checksum: u32::from_le_bytes(*checksum), kind, seq, next, number, length, bytes })
    }
}

/// A number, if all of it is there; one of more than 64 bits comes to the greatest there is, which nothing has.
fn number_of(rest: &mut &[u8]) -> Option<u64> {
    match take_number(rest) {
        Ok(number) => Some(number),
        Err(NumberError::TooLong) => Some(u64::MAX),
        Err(NumberError::CutOff) => None,
    }
}

/// Stands on both sides of an item, and nowhere else.
pub(super) const MARK: u8 = 0;
/// Ends an item.
const TRAILER: [u8; 2] = [0xA7, 0x5C];
const CHECKSUM_BYTES: usize = 4;
const HEAD_BYTES_MAX: usize = CHECKSUM_BYTES + 1 + 4 * NUMBER_BYTES_MAX;
/// Flags, installs and version of a segment's header.
const HEADER_FIELDS_BYTES: usize = 1 + 8 + 8;
/// The greatest number that is believed: no log ever comes near it, and what is counted from there cannot overflow.
const NUMBER_MAX: u64 = u64::MAX / 4;

const SEGMENT: u8 = 1;
const ENTRY: u8 = 2;
const TRUNCATE: u8 = 3;
const STATE: u8 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(item: &Item<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(item, &mut bytes);
        bytes
    }

    fn inner(bytes: &[u8]) -> &[u8] {
        &bytes[1..bytes.len() - 1]
    }

    fn entry(record: &[u8]) -> Item<'_> {
        Item { seq: 300, next: Index(7), what: What::Entry { term: Term(2), record } }
    }

    #[test]
    fn every_kind_comes_back() {
        let header = Header {
            number: 3,
            restart: true,
            suspect: false,
            unsure: false,
            installs: 1,
            version: 9,
            state: b"s",
        };
        let kinds = [
            What::Segment(header),
            What::Segment(Header { restart: false, suspect: true, state: b"", ..header }),
            What::Segment(Header { restart: false, unsure: true, ..header }),
            What::Entry { term: Term(0), record: b"\0\0" },
            What::Truncate { from: Index(5) },
            What::State { version: 4, state: b"vote" },
        ];
        for what in kinds {
            let item = Item { seq: 1 << 40, next: Index(129), what };
            let bytes = encoded(&item);
            let mut plain = Vec::new();
            assert_eq!(read(inner(&bytes), &mut plain), Found::Item(item));
        }
    }

    #[test]
    fn whatever_one_byte_becomes_is_seen_and_is_not_taken_for_an_unfinished_write() {
        let bytes = encoded(&entry(b"a record\0of some length"));
        for at in 1..bytes.len() - 1 {
            for value in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] = value;
                if changed != bytes {
                    let mut plain = Vec::new();
                    let found = read(inner(&changed), &mut plain);
                    assert_eq!(found, Found::Unreadable, "{at}: {value}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn items_come_back(record: Vec<u8>, seq in 0..NUMBER_MAX, next in 0..NUMBER_MAX, term in 0..NUMBER_MAX) {
            let item = Item { seq, next: Index(next), what: What::Entry { term: Term(term), record: &record } };
            let bytes = encoded(&item);
            prop_assert!(!inner(&bytes).contains(&MARK));
            let mut plain = Vec::new();
            prop_assert_eq!(read(inner(&bytes), &mut plain), Found::Item(item));
        }

        #[test]
        fn what_was_not_written_to_its_end_is_seen(record in prop::collection::vec(any::<u8>(), 0..600), cut: prop::sample::Index) {
            let bytes = encoded(&entry(&record));
            let whole = inner(&bytes);
            let part = &whole[..cut.index(whole.len())];
            // A record may hold the trailer's two bytes by chance; then the conservative answer is right.
            let mut plain = Vec::new();
            let found = read(part, &mut plain);
            prop_assert!(found == Found::Torn || part.ends_with(&TRAILER) && found == Found::Unreadable);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            read(&bytes, &mut Vec::new());
        }
    }
}
