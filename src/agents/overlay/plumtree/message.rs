//! What trees say to each other.

use super::super::id::take;
use super::super::{Id, MessageId, Payload};
use crate::agent::{Port, Wire, WireError};

/// The messages of the paper. Who sends them is known from the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlumtreeMessage<I, P> {
    /// `GOSSIP`: a broadcast.
    Gossip {
        /// Which one.
        id: MessageId<I>,
        /// How many nodes it has passed through since its source.
        round: u16,
        /// What it says.
        payload: P,
    },
    /// `IHAVE`: the sender has these.
    IHave(Run<I>),
    /// `IHAVE`, for what has gathered.
    IHaves(Box<[Run<I>]>),
    /// `GRAFT`: the link is to carry payloads from now on, and what is missing is to be sent, if anything is.
    Graft(Option<Run<I>>),
    /// What is missing is to be sent, but the link is to stay as it is: it was pruned a moment ago. Not in the paper.
    Fetch(Run<I>),
    /// `PRUNE`: the link is to carry announcements only from now on.
    Prune,
}

/// Broadcasts of one source that follow one another and have come as far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<I> {
    /// The first of them.
    pub first: MessageId<I>,
    /// How many there are; never zero, and at most 1,024.
    pub count: u16,
    /// The round with which the sender of the run would send them.
    pub round: u16,
}

impl<I: Id> Run<I> {
    /// A run of one.
    pub(super) fn one(first: MessageId<I>, round: u16) -> Self {
        Self { first, count: 1, round }
    }

    /// Appends a broadcast if it follows; whether it does.
    pub(super) fn extend(&mut self, id: &MessageId<I>, round: u16) -> bool {
        let follows =
            self.round == round && self.count < COUNT_MAX && self.first.later(self.count.into()) == *id;
        self.count += u16::from(follows);
        follows
    }

    /// The broadcasts.
    pub(super) fn ids(self) -> impl Iterator<Item = MessageId<I>> {
        (0..self.count).map(move |place| self.first.later(place.into()))
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        self.first.encode(bytes);
        bytes.extend(self.count.to_be_bytes());
        bytes.extend(self.round.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        let first = MessageId::decode(bytes)?;
        let (count, round) = (u16::from_be_bytes(take(bytes)?), u16::from_be_bytes(take(bytes)?));
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(WireError::new(format!("a run has 1 to {COUNT_MAX} broadcasts")));
        }
        Ok(Self { first, count, round })
    }
}

impl<I: Id, P> PlumtreeMessage<I, P> {
    /// What announces `runs`, of which there is at least one and at most [`RUNS_MAX`].
    pub(super) fn announcing(runs: &[Run<I>]) -> Self {
        match runs {
            [run] => Self::IHave(*run),
            runs => Self::IHaves(runs.into()),
        }
    }
}

/// One byte for what it is, then the fields, numbers in network order; runs and payloads up to the end.
mod tag {
    pub(super) const GOSSIP: u8 = 1;
    pub(super) const I_HAVE: u8 = 2;
    pub(super) const GRAFT: u8 = 3;
    pub(super) const FETCH: u8 = 4;
    pub(super) const PRUNE: u8 = 5;
}

impl<I: Id, P: Payload> Wire for PlumtreeMessage<I, P> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Gossip { id, round, payload } => {
                bytes.push(tag::GOSSIP);
                id.encode(bytes);
                bytes.extend(round.to_be_bytes());
                payload.encode(bytes);
            }
            Self::IHave(run) => {
                bytes.push(tag::I_HAVE);
                run.encode(bytes);
            }
            Self::IHaves(runs) => {
                bytes.push(tag::I_HAVE);
                runs.iter().for_each(|run| run.encode(bytes));
            }
            Self::Graft(run) => {
                bytes.push(tag::GRAFT);
                if let Some(run) = run {
                    run.encode(bytes);
                }
            }
            Self::Fetch(run) => {
                bytes.push(tag::FETCH);
                run.encode(bytes);
            }
            Self::Prune => bytes.push(tag::PRUNE),
        }
    }

    fn decode(port: Port, mut bytes: &[u8]) -> Result<Self, WireError> {
        let [tag] = take(&mut bytes)?;
        let message = match tag {
            tag::GOSSIP => {
                let id = MessageId::decode(&mut bytes)?;
                let round = u16::from_be_bytes(take(&mut bytes)?);
                return Ok(Self::Gossip { id, round, payload: P::decode(port, bytes)? });
            }
            tag::I_HAVE => Self::announcing(&runs(&mut bytes)?),
            tag::GRAFT if bytes.is_empty() => Self::Graft(None),
            tag::GRAFT => Self::Graft(Some(Run::decode(&mut bytes)?)),
            tag::FETCH => Self::Fetch(Run::decode(&mut bytes)?),
            tag::PRUNE => Self::Prune,
            tag => return Err(WireError::new(format!("a tree has no messages with the tag {tag}"))),
        };
        if bytes.is_empty() { Ok(message) } else { Err(WireError::new("too long")) }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Gossip { .. } => "gossip",
            Self::IHave(_) | Self::IHaves(_) => "ihave",
            Self::Graft(_) => "graft",
            Self::Fetch(_) => "fetch",
            Self::Prune => "prune",
        }
    }
}

fn runs<I: Id>(bytes: &mut &[u8]) -> Result<Vec<Run<I>>, WireError> {
    let mut runs = vec![Run::decode(bytes)?];
    while !bytes.is_empty() {
        if runs.len() == RUNS_MAX {
            return Err(WireError::new(format!("more than {RUNS_MAX} runs")));
        }
        runs.push(Run::decode(bytes)?);
    }
    Ok(runs)
}

/// No run is longer, so that what it asks for takes a bounded time.
const COUNT_MAX: u16 = 1024;

/// No announcement has more runs.
pub(super) const RUNS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::super::Blob;
    use super::super::super::payload::SEQ_MAX;
    use super::*;
    use crate::agent::Peer;

    type Said = PlumtreeMessage<Peer, Blob>;

    fn id() -> impl Strategy<Value = MessageId<Peer>> {
        (any::<u32>(), any::<u64>(), 1..=SEQ_MAX).prop_map(|(source, incarnation, seq)| MessageId {
            source: Peer(source),
            incarnation,
            seq,
        })
    }

    fn run() -> impl Strategy<Value = Run<Peer>> {
        (id(), 1..=COUNT_MAX, any::<u16>()).prop_map(|(first, count, round)| Run { first, count, round })
    }

    fn message() -> impl Strategy<Value = Said> {
        let bytes = prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Blob(Bytes::from(bytes)));
        prop_oneof![
            (id(), any::<u16>(), bytes).prop_map(|(id, round, payload)| Said::Gossip { id, round, payload }),
            prop::collection::vec(run(), 1..9).prop_map(|runs| Said::announcing(&runs)),
            prop::option::of(run()).prop_map(Said::Graft),
            run().prop_map(Said::Fetch),
            Just(Said::Prune),
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
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let _ = Said::decode(Port(0), &bytes);
        }
    }

    #[test]
    fn what_is_too_long_or_names_nothing_is_refused() {
        let run = Run::one(MessageId { source: Peer(1), incarnation: 1, seq: 1 }, 0);
        let bytes_of = |message: Said| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes
        };
        assert!(Said::decode(Port(0), &bytes_of(Said::IHaves(vec![run; RUNS_MAX].into()))).is_ok());
        let many = bytes_of(Said::IHaves(vec![run; RUNS_MAX + 1].into()));
        let none = bytes_of(Said::Fetch(Run { count: 0, ..run }));
        let long = bytes_of(Said::Fetch(Run { count: COUNT_MAX + 1, ..run }));
        let past = bytes_of(Said::Fetch(Run { first: MessageId { seq: u64::MAX, ..run.first }, ..run }));
        let zeroth = bytes_of(Said::IHave(Run::one(MessageId { seq: 0, ..run.first }, 0)));
        for bytes in [many, none, long, past, zeroth, vec![tag::PRUNE, 0], vec![tag::I_HAVE], vec![9]] {
            assert!(Said::decode(Port(0), &bytes).is_err(), "{bytes:?}");
        }
    }
}
