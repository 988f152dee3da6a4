//! What broadcasts say to each other.

use std::time::Duration;

use bytes::Bytes;

use super::super::id::take;
use super::super::payload::SEQ_MAX;
use super::super::{Blob, Id, MessageId, PlumtreeMessage};
use crate::agent::{Port, Wire, WireError};

/// A message between two broadcasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastMessage<I> {
    /// The tree's.
    Tree(PlumtreeMessage<I, Blob>),
    /// How far the sender has heard each of these sources.
    Highest(Box<[Mark<I>]>),
    /// What of one life of a source, from this message on and up to the number `last`, can the receiver send?
    Ask {
        /// The first that is missing.
        first: MessageId<I>,
        /// The last.
        last: u64,
        /// What is older is none of the sender's business: it was not there yet.
        age_max: Duration,
    },
    /// The earliest of what was asked for that the sender has. What is not among them, up to the last of them, it does not have; if there are none,
    /// it has nothing of all that.
    Answer {
        /// From where on was asked.
        first: MessageId<I>,
        /// Whether the sender has had all that was asked for: it is the source, or was there all the time.
        whole: bool,
        /// The messages, ascending.
        messages: Box<[Kept]>,
    },
    /// To the receiver alone.
    Direct(Bytes),
}

/// How far a source was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<I> {
    /// The latest of its messages.
    pub id: MessageId<I>,
    /// How long ago it came to whoever says so.
    pub age: Duration,
}

/// A message that somebody has kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: u64,
    /// How long ago it came to whoever sends it.
    pub age: Duration,
    /// What it says.
    pub contents: Bytes,
}

/// One byte for what it is, then the fields, numbers in network order.
mod tag {
    pub(super) const TREE: u8 = 1;
    pub(super) const HIGHEST: u8 = 2;
    pub(super) const ASK: u8 = 3;
    pub(super) const ANSWER: u8 = 4;
    pub(super) const DIRECT: u8 = 5;
}

impl<I: Id> Wire for BroadcastMessage<I> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Tree(message) => {
                bytes.push(tag::TREE);
                message.encode(bytes);
            }
            Self::Highest(marks) => {
                bytes.push(tag::HIGHEST);
                for mark in marks {
                    mark.id.encode(bytes);
                    encode_ms(mark.age, bytes);
                }
            }
            Self::Ask { first, last, age_max } => {
                bytes.push(tag::ASK);
                first.encode(bytes);
                bytes.extend(last.to_be_bytes());
                encode_ms(*age_max, bytes);
            }
            Self::Answer { first, whole, messages } => {
                bytes.push(tag::ANSWER);
                first.encode(bytes);
                bytes.push((*whole).into());
                for Kept { seq, age, contents } in messages {
                    let length = u32::try_from(contents.len()).expect("no message has 4 GiB");
                    bytes.extend(seq.to_be_bytes());
                    encode_ms(*age, bytes);
                    bytes.extend(length.to_be_bytes());
                    bytes.extend_from_slice(contents);
                }
            }
            Self::Direct(contents) => {
                bytes.push(tag::DIRECT);
                bytes.extend_from_slice(contents);
            }
        }
    }

    fn decode(port: Port, mut bytes: &[u8]) -> Result<Self, WireError> {
        let [tag] = take(&mut bytes)?;
        let message = match tag {
            tag::TREE => return PlumtreeMessage::decode(port, bytes).map(Self::Tree),
            tag::DIRECT => return Ok(Self::Direct(Bytes::copy_from_slice(bytes))),
            tag::HIGHEST => Self::Highest(list(&mut bytes, MARKS_MAX, mark)?),
            tag::ASK => {
                let first = MessageId::decode(&mut bytes)?;
                let last = u64::from_be_bytes(take(&mut bytes)?);
                Self::Ask { first, last, age_max: decode_ms(&mut bytes)? }
            }
            tag::ANSWER => {
                let first: MessageId<I> = MessageId::decode(&mut bytes)?;
                let whole = take(&mut bytes)? != [0];
                let messages = list(&mut bytes, ANSWERS_MAX, kept)?;
                let ascend = messages.is_sorted_by(|one, other| one.seq < other.seq);
                if !ascend || messages.iter().any(|kept| !(first.seq..=SEQ_MAX).contains(&kept.seq)) {
                    return Err(WireError::new("the numbers of an answer ascend from what was asked for"));
                }
                Self::Answer { first, whole, messages }
            }
            tag => return Err(WireError::new(format!("a broadcast has no messages with the tag {tag}"))),
        };
        if bytes.is_empty() { Ok(message) } else { Err(WireError::new("too long")) }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Tree(message) => message.kind(),
            Self::Highest(_) => "highest",
            Self::Ask { .. } => "ask",
            Self::Answer { .. } => "answer",
            Self::Direct(_) => "direct",
        }
    }
}

fn mark<I: Id>(bytes: &mut &[u8]) -> Result<Mark<I>, WireError> {
    Ok(Mark { id: MessageId::decode(bytes)?, age: decode_ms(bytes)? })
}

fn kept(bytes: &mut &[u8]) -> Result<Kept, WireError> {
    let (seq, age) = (u64::from_be_bytes(take(bytes)?), decode_ms(bytes)?);
    let length = u32::from_be_bytes(take(bytes)?);
    let length = usize::try_from(length).map_err(|_| WireError::new("too long"))?;
    let (contents, rest) = bytes.split_at_checked(length).ok_or_else(|| WireError::new("too short"))?;
    *bytes = rest;
    Ok(Kept { seq, age, contents: Bytes::copy_from_slice(contents) })
}

/// Appends a duration in milliseconds, four bytes. More than seven weeks are seven weeks.
pub(in super::super) fn encode_ms(duration: Duration, bytes: &mut Vec<u8>) {
    bytes.extend(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
}

/// Takes it from the front of `bytes`.
pub(in super::super) fn decode_ms(bytes: &mut &[u8]) -> Result<Duration, WireError> {
    Ok(Duration::from_millis(u32::from_be_bytes(take(bytes)?).into()))
}

/// Reads entries up to the end of `bytes`.
pub(in super::super) fn list<T>(
    bytes: &mut &[u8],
    count_max: usize,
    read: impl Fn(&mut &[u8]) -> Result<T, WireError>,
) -> Result<Box<[T]>, WireError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        if entries.len() == count_max {
            return Err(WireError::new(format!("more than {count_max} entries")));
        }
        entries.push(read(bytes)?);
    }
    Ok(entries.into())
}

/// No [`BroadcastMessage::Highest`] has more entries.
pub(super) const MARKS_MAX: usize = 1024;

/// No [`BroadcastMessage::Answer`] has more messages.
pub(super) const ANSWERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::Peer;

    type Said = BroadcastMessage<Peer>;

    fn id() -> impl Strategy<Value = MessageId<Peer>> {
        (any::<u32>(), any::<u64>(), 1..=SEQ_MAX).prop_map(|(source, incarnation, seq)| MessageId {
            source: Peer(source),
            incarnation,
            seq,
        })
    }

    fn contents() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn message() -> impl Strategy<Value = Said> {
        let ms = || any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
        let marks = prop::collection::vec((id(), ms()).prop_map(|(id, age)| Mark { id, age }), 0..9);
        let answers = prop::collection::btree_map(1..=SEQ_MAX, (ms(), contents()), 0..5);
        prop_oneof![
            Just(Said::Tree(PlumtreeMessage::Prune)),
            (id(), contents()).prop_map(|(id, contents)| {
                Said::Tree(PlumtreeMessage::Gossip { id, round: 3, payload: Blob(contents) })
            }),
            marks.prop_map(|marks| Said::Highest(marks.into())),
            (id(), any::<u64>(), ms()).prop_map(|(first, last, age_max)| Said::Ask { first, last, age_max }),
            (id(), any::<bool>(), answers).prop_map(|(first, whole, messages)| {
                let messages = messages.into_iter().filter(|(seq, _)| *seq >= first.seq);
                let kept = messages.map(|(seq, (age, contents))| Kept { seq, age, contents });
                Said::Answer { first, whole, messages: kept.collect() }
            }),
            contents().prop_map(Said::Direct),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_their_bytes(message in message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Said::decode(Port(0), &bytes), Ok(message));
        }

        #[test]
        fn no_bytes_are_too_odd(mut bytes: Vec<u8>, tag in 0..7_u8) {
            let _ = Said::decode(Port(0), &bytes);
            bytes.insert(0, tag);
            let _ = Said::decode(Port(0), &bytes);
        }
    }

    #[test]
    fn what_is_too_long_or_out_of_order_is_refused() {
        let first = MessageId { source: Peer(1), incarnation: 1, seq: 5 };
        let refused = |message: Said| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Said::decode(Port(0), &bytes).is_err()
        };
        let mark = Mark { id: first, age: Duration::ZERO };
        assert!(!refused(Said::Highest(vec![mark; MARKS_MAX].into())));
        assert!(refused(Said::Highest(vec![mark; MARKS_MAX + 1].into())));
        let kept = |seq: &u64| Kept { seq: *seq, age: Duration::ZERO, contents: Bytes::new() };
        let answer = |numbers: &[u64]| Said::Answer {
            first,
            whole: true,
            messages: numbers.iter().map(kept).collect(),
        };
        assert!(!refused(answer(&[5, 9])));
        assert!(refused(answer(&[9, 9])) && refused(answer(&[4])));
        assert!(refused(answer(&[u64::MAX])));
    }
}
