//! What broadcasts say to each other.

use bytes::Bytes;

use super::super::id::take;
use super::super::{Blob, Id, MessageId, PlumtreeMessage};
use crate::agent::{Port, Wire, WireError};

/// A message between two broadcasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastMessage<I> {
    /// The tree's.
    Tree(PlumtreeMessage<I, Blob>),
    /// Up to where the sender has delivered what each of these sources has sent.
    Highest(Box<[MessageId<I>]>),
    /// What of one life of a source, from this message on and up to the number `last`, can the receiver send?
    Ask {
        /// The first that is missing.
        first: MessageId<I>,
        /// The last.
        last: u64,
    },
    /// The earliest of what was asked for that the sender has. What is not among them, up to the last of them, it does not have; if there are none,
    /// it has nothing of all that.
    Answer {
        /// From where on was asked.
        first: MessageId<I>,
        /// Numbers, ascending, and contents.
        messages: Box<[(u64, Bytes)]>,
    },
    /// To the receiver alone.
    Direct(Bytes),
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
                    mark.encode(bytes);
                }
            }
            Self::Ask { first, last } => {
                bytes.push(tag::ASK);
                first.encode(bytes);
                bytes.extend(last.to_be_bytes());
            }
            Self::Answer { first, messages } => {
                bytes.push(tag::ANSWER);
                first.encode(bytes);
                for (seq, contents) in messages {
                    let length = u32::try_from(contents.len()).expect("no message has 4 GiB");
                    bytes.extend(seq.to_be_bytes());
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
            tag::HIGHEST => Self::Highest(list(&mut bytes, MARKS_MAX, MessageId::decode)?),
            tag::ASK => {
                let first = MessageId::decode(&mut bytes)?;
                Self::Ask { first, last: u64::from_be_bytes(take(&mut bytes)?) }
            }
            tag::ANSWER => {
                let first: MessageId<I> = MessageId::decode(&mut bytes)?;
                let messages = list(&mut bytes, ANSWERS_MAX, numbered)?;
                let ascend = messages.is_sorted_by(|one, other| one.0 < other.0);
                if !ascend || messages.first().is_some_and(|(seq, _)| *seq < first.seq) {
                    return Err(WireError::new("the numbers of an answer ascend from what was asked for"));
                }
                Self::Answer { first, messages }
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

fn numbered(bytes: &mut &[u8]) -> Result<(u64, Bytes), WireError> {
    let (seq, length) = (u64::from_be_bytes(take(bytes)?), u32::from_be_bytes(take(bytes)?));
    let length = usize::try_from(length).map_err(|_| WireError::new("too long"))?;
    let (contents, rest) = bytes.split_at_checked(length).ok_or_else(|| WireError::new("too short"))?;
    *bytes = rest;
    Ok((seq, Bytes::copy_from_slice(contents)))
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

    use super::super::super::payload::SEQ_MAX;
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
        let answers = prop::collection::btree_map(any::<u64>(), contents(), 0..5);
        prop_oneof![
            Just(Said::Tree(PlumtreeMessage::Prune)),
            (id(), contents()).prop_map(|(id, contents)| {
                Said::Tree(PlumtreeMessage::Gossip { id, round: 3, payload: Blob(contents) })
            }),
            prop::collection::vec(id(), 0..9).prop_map(|marks| Said::Highest(marks.into())),
            (id(), any::<u64>()).prop_map(|(first, last)| Said::Ask { first, last }),
            (id(), answers).prop_map(|(first, messages)| Said::Answer {
                first,
                messages: messages.into_iter().filter(|(seq, _)| *seq >= first.seq).collect(),
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
        assert!(!refused(Said::Highest(vec![first; MARKS_MAX].into())));
        assert!(refused(Said::Highest(vec![first; MARKS_MAX + 1].into())));
        let answer = |numbers: &[u64]| Said::Answer {
            first,
            messages: numbers.iter().map(|seq| (*seq, Bytes::new())).collect(),
        };
        assert!(!refused(answer(&[5, 9])));
        assert!(refused(answer(&[9, 9])) && refused(answer(&[4])));
    }
}
