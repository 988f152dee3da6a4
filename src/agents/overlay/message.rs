//! What nodes of an overlay say to each other.

use super::Id;
use super::id::take;
use crate::agent::{Port, Wire, WireError};

/// A message between two nodes: the membership's, or one of the layer on top of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<I, M> {
    /// `MESSAGE`: the layer's.
    Payload(M),
    /// The membership's.
    Control(Control<I>),
}

/// The messages of the membership, under the names of the paper (Section 4.3 to 4.5, Algorithm 1). Who sends them is known from the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control<I> {
    /// The first message of a newcomer to its contact: always accepted.
    Join,
    /// News of a newcomer on its walk.
    ForwardJoin {
        /// Who has joined.
        joiner: I,
        /// How many steps are left.
        ttl: u8,
    },
    /// The first message to a newcomer of whoever its walk has ended at: always accepted.
    JoinReply,
    /// May the sender become a neighbour? Of high priority where it has no other; that is always accepted.
    Neighbour {
        /// Whether it has no other.
        high: bool,
    },
    /// The answer to `Neighbour`, and to `Join` and `JoinReply` where they are answered.
    NeighbourReply {
        /// Whether the sender has become one.
        accept: bool,
    },
    /// A sample of what its origin knows, on a walk.
    Shuffle {
        /// Whose it is.
        origin: I,
        /// Which of its shuffles, so that it knows an answer it has asked for. Zero where the wire has no room for it.
        number: u32,
        /// How many steps are left.
        ttl: u8,
        /// The sample, its origin not among them.
        ids: Box<[I]>,
    },
    /// What the end of that walk knows, sent to the origin by post.
    ShuffleReply {
        /// Which of the origin's shuffles it answers.
        number: u32,
        /// The sample.
        ids: Box<[I]>,
    },
    /// The sender is no neighbour any more. The last message on a link.
    Disconnect,
    /// Nothing but a sign of life, and the name of the island.
    KeepAlive(Option<Island<I>>),
    /// By post, to somebody remembered: are you in another island than the sender, which is in this one?
    Probe {
        /// Who asks.
        origin: I,
        /// Its island.
        island: Island<I>,
    },
    /// Answered at once, so that the round trip can be measured. This and what follows: X-BOT (SRDS 2009), where links are changed for faster ones.
    Ping {
        /// Comes back in the answer.
        number: u32,
    },
    /// The answer to `Ping`.
    Pong {
        /// Of the `Ping`.
        number: u32,
    },
    /// May the sender take the receiver in the place of a neighbour that is farther away? Answered by `NeighbourReply`.
    Optimise {
        /// Which neighbour.
        old: I,
        /// How much shorter the round trip is, in microseconds.
        gain_us: u32,
    },
    /// To a neighbour: may the sender take another one in its place, if it can have that one's `old`?
    Replace {
        /// Whom.
        initiator: I,
        /// Who would be the receiver's neighbour then.
        old: I,
        /// How long the round trip to that one may be, in microseconds, for all four to gain.
        limit_us: u32,
    },
    /// The answer to `Replace`.
    ReplaceReply {
        /// Whom it is about.
        initiator: I,
        /// Whether it may.
        accept: bool,
    },
    /// May the sender take the place of a neighbour, which will have another one? Answered by `NeighbourReply`.
    Switch {
        /// Which neighbour.
        initiator: I,
    },
}

/// The name of an island, which is a connected part of the overlay: its smallest node, and the latest sign of life of that one. Within an island all
/// names become almost equal; those of two islands stay different, or become so, since each life of a root counts beats of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Island<I> {
    /// The smallest node.
    pub root: I,
    /// Counts its signs of life, from a number at random on.
    pub beat: u64,
}

impl<I> Control<I> {
    /// What sort of message it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::ForwardJoin { .. } => "forwardjoin",
            Self::JoinReply => "joinreply",
            Self::Neighbour { .. } => "neighbour",
            Self::NeighbourReply { .. } => "neighbourreply",
            Self::Shuffle { .. } => "shuffle",
            Self::ShuffleReply { .. } => "shufflereply",
            Self::Disconnect => "disconnect",
            Self::KeepAlive(_) => "keepalive",
            Self::Probe { .. } => "probe",
            Self::Ping { .. } => "ping",
            Self::Pong { .. } => "pong",
            Self::Optimise { .. } => "optimise",
            Self::Replace { .. } => "replace",
            Self::ReplaceReply { .. } => "replacereply",
            Self::Switch { .. } => "switch",
        }
    }
}

/// Our own wire: one byte for what it is, then the fields, numbers in network order; ids up to the end.
mod tag {
    pub(super) const PAYLOAD: u8 = 1;
    pub(super) const JOIN: u8 = 2;
    pub(super) const FORWARD_JOIN: u8 = 3;
    pub(super) const JOIN_REPLY: u8 = 4;
    pub(super) const NEIGHBOUR_HIGH: u8 = 5;
    pub(super) const NEIGHBOUR_LOW: u8 = 6;
    pub(super) const SHUFFLE: u8 = 7;
    pub(super) const SHUFFLE_REPLY: u8 = 8;
    pub(super) const DISCONNECT: u8 = 9;
    pub(super) const KEEP_ALIVE: u8 = 10;
    pub(super) const ACCEPT: u8 = 11;
    pub(super) const DECLINE: u8 = 12;
    pub(super) const PROBE: u8 = 13;
    pub(super) const PING: u8 = 14;
    pub(super) const PONG: u8 = 15;
    pub(super) const OPTIMISE: u8 = 16;
    pub(super) const REPLACE: u8 = 17;
    pub(super) const REPLACE_ACCEPT: u8 = 18;
    pub(super) const REPLACE_DECLINE: u8 = 19;
    pub(super) const SWITCH: u8 = 20;
}

impl<I: Id, M: Wire> Wire for Message<I, M> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Payload(message) => {
                bytes.push(tag::PAYLOAD);
                message.encode(bytes);
            }
            Self::Control(control) => control.encode(bytes),
        }
    }

    fn decode(port: Port, bytes: &[u8]) -> Result<Self, WireError> {
        match bytes {
            [tag::PAYLOAD, rest @ ..] => M::decode(port, rest).map(Self::Payload),
            bytes => Control::decode(bytes).map(Self::Control),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Payload(message) => message.kind(),
            Self::Control(control) => control.kind(),
        }
    }
}

impl<I: Id> Control<I> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Join => bytes.push(tag::JOIN),
            Self::ForwardJoin { joiner, ttl } => {
                bytes.extend([tag::FORWARD_JOIN, *ttl]);
                joiner.encode(bytes);
            }
            Self::JoinReply => bytes.push(tag::JOIN_REPLY),
            Self::Neighbour { high: true } => bytes.push(tag::NEIGHBOUR_HIGH),
            Self::Neighbour { high: false } => bytes.push(tag::NEIGHBOUR_LOW),
            Self::NeighbourReply { accept: true } => bytes.push(tag::ACCEPT),
            Self::NeighbourReply { accept: false } => bytes.push(tag::DECLINE),
            Self::Shuffle { origin, number, ttl, ids } => {
                bytes.extend([tag::SHUFFLE, *ttl]);
                bytes.extend(number.to_be_bytes());
                origin.encode(bytes);
                ids.iter().for_each(|id| id.encode(bytes));
            }
            Self::ShuffleReply { number, ids } => {
                bytes.push(tag::SHUFFLE_REPLY);
                bytes.extend(number.to_be_bytes());
                ids.iter().for_each(|id| id.encode(bytes));
            }
            Self::Disconnect => bytes.push(tag::DISCONNECT),
            Self::KeepAlive(island) => {
                bytes.push(tag::KEEP_ALIVE);
                if let Some(island) = island {
                    island.encode(bytes);
                }
            }
            Self::Probe { origin, island } => {
                bytes.push(tag::PROBE);
                origin.encode(bytes);
                island.encode(bytes);
            }
            exchange => exchange.encode_exchange(bytes),
        }
    }

    /// Those of X-BOT.
    fn encode_exchange(&self, bytes: &mut Vec<u8>) {
        let (tag, number, ids): (_, Option<u32>, &[I]) = match self {
            Self::Ping { number } => (tag::PING, Some(*number), &[]),
            Self::Pong { number } => (tag::PONG, Some(*number), &[]),
            Self::Optimise { old, gain_us } => (tag::OPTIMISE, Some(*gain_us), &[*old]),
            Self::Replace { initiator, old, limit_us } => {
                (tag::REPLACE, Some(*limit_us), &[*initiator, *old])
            }
            Self::ReplaceReply { initiator, accept: true } => (tag::REPLACE_ACCEPT, None, &[*initiator]),
            Self::ReplaceReply { initiator, .. } => (tag::REPLACE_DECLINE, None, &[*initiator]),
            Self::Switch { initiator } => (tag::SWITCH, None, &[*initiator]),
            _ => return,
        };
        bytes.push(tag);
        if let Some(number) = number {
            bytes.extend(number.to_be_bytes());
        }
        for id in ids {
            id.encode(bytes);
        }
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, WireError> {
        let [tag] = take(&mut bytes)?;
        let control = match tag {
            tag::JOIN => Self::Join,
            tag::FORWARD_JOIN => {
                let [ttl] = take(&mut bytes)?;
                Self::ForwardJoin { ttl, joiner: I::decode(&mut bytes)? }
            }
            tag::JOIN_REPLY => Self::JoinReply,
            tag::NEIGHBOUR_HIGH => Self::Neighbour { high: true },
            tag::NEIGHBOUR_LOW => Self::Neighbour { high: false },
            tag::ACCEPT => Self::NeighbourReply { accept: true },
            tag::DECLINE => Self::NeighbourReply { accept: false },
            tag::SHUFFLE => {
                let [ttl] = take(&mut bytes)?;
                let number = u32::from_be_bytes(take(&mut bytes)?);
                Self::Shuffle { ttl, number, origin: I::decode(&mut bytes)?, ids: ids(&mut bytes)? }
            }
            tag::SHUFFLE_REPLY => {
                Self::ShuffleReply { number: u32::from_be_bytes(take(&mut bytes)?), ids: ids(&mut bytes)? }
            }
            tag::DISCONNECT => Self::Disconnect,
            tag::KEEP_ALIVE if bytes.is_empty() => Self::KeepAlive(None),
            tag::KEEP_ALIVE => Self::KeepAlive(Some(Island::decode(&mut bytes)?)),
            tag::PROBE => Self::Probe { origin: I::decode(&mut bytes)?, island: Island::decode(&mut bytes)? },
            tag => Self::decode_exchange(tag, &mut bytes)?,
        };
        if bytes.is_empty() { Ok(control) } else { Err(WireError::new("too long")) }
    }
}

impl<I: Id> Control<I> {
    /// Those of X-BOT.
    fn decode_exchange(tag: u8, bytes: &mut &[u8]) -> Result<Self, WireError> {
        let number = |bytes: &mut &[u8]| take(bytes).map(u32::from_be_bytes);
        Ok(match tag {
            tag::PING => Self::Ping { number: number(bytes)? },
            tag::PONG => Self::Pong { number: number(bytes)? },
            tag::OPTIMISE => Self::Optimise { gain_us: number(bytes)?, old: I::decode(bytes)? },
            tag::REPLACE => Self::Replace {
                limit_us: number(bytes)?,
                initiator: I::decode(bytes)?,
                old: I::decode(bytes)?,
            },
            tag::REPLACE_ACCEPT => Self::ReplaceReply { initiator: I::decode(bytes)?, accept: true },
            tag::REPLACE_DECLINE => Self::ReplaceReply { initiator: I::decode(bytes)?, accept: false },
            tag::SWITCH => Self::Switch { initiator: I::decode(bytes)? },
            tag => return Err(WireError::new(format!("messages with the tag {tag} are unknown"))),
        })
    }
}

impl<I: Id> Island<I> {
    fn encode(self, bytes: &mut Vec<u8>) {
        self.root.encode(bytes);
        bytes.extend(self.beat.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        Ok(Self { root: I::decode(bytes)?, beat: u64::from_be_bytes(take(bytes)?) })
    }
}

/// As many ids as there are bytes left; how many a node takes of them is its own to say.
fn ids<I: Id>(bytes: &mut &[u8]) -> Result<Box<[I]>, WireError> {
    let mut ids = Vec::new();
    while !bytes.is_empty() {
        if ids.len() == IDS_MAX {
            return Err(WireError::new(format!("more than {IDS_MAX} ids")));
        }
        ids.push(I::decode(bytes)?);
    }
    Ok(ids.into())
}

/// No shuffle has more ids.
const IDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::{Peer, Text};

    type Said = Message<Peer, Text>;

    fn control() -> impl Strategy<Value = Control<Peer>> {
        let peer = || any::<u32>().prop_map(Peer);
        let ids = || proptest::collection::vec(peer(), 0..9).prop_map(Into::into);
        let island = || (peer(), any::<u64>()).prop_map(|(root, beat)| Island { root, beat });
        prop_oneof![
            Just(Control::Join),
            Just(Control::JoinReply),
            Just(Control::Disconnect),
            (peer(), any::<u8>()).prop_map(|(joiner, ttl)| Control::ForwardJoin { joiner, ttl }),
            any::<bool>().prop_map(|high| Control::Neighbour { high }),
            any::<bool>().prop_map(|accept| Control::NeighbourReply { accept }),
            (peer(), any::<u32>(), any::<u8>(), ids())
                .prop_map(|(origin, number, ttl, ids)| Control::Shuffle { origin, number, ttl, ids }),
            (any::<u32>(), ids()).prop_map(|(number, ids)| Control::ShuffleReply { number, ids }),
            proptest::option::of(island()).prop_map(Control::KeepAlive),
            (peer(), island()).prop_map(|(origin, island)| Control::Probe { origin, island }),
            any::<u32>().prop_map(|number| Control::Ping { number }),
            any::<u32>().prop_map(|number| Control::Pong { number }),
            (peer(), any::<u32>()).prop_map(|(old, gain_us)| Control::Optimise { old, gain_us }),
            (peer(), peer(), any::<u32>()).prop_map(|(initiator, old, limit_us)| Control::Replace {
                initiator,
                old,
                limit_us
            }),
            (peer(), any::<bool>())
                .prop_map(|(initiator, accept)| Control::ReplaceReply { initiator, accept }),
            peer().prop_map(|initiator| Control::Switch { initiator }),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_their_bytes(control in control(), text: String) {
            for message in [Said::Control(control), Said::Payload(Text(text))] {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                prop_assert_eq!(Said::decode(Port(0), &bytes), Ok(message));
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let _ = Said::decode(Port(0), &bytes);
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(Said::decode(Port(0), &[tag::JOIN, 0]).is_err());
        let mut bytes = vec![tag::SHUFFLE_REPLY, 0, 0, 0, 1];
        bytes.extend([0; 4 * (IDS_MAX + 1)]);
        assert!(Said::decode(Port(0), &bytes).is_err());
        assert!(Said::decode(Port(0), &bytes[..bytes.len() - 4]).is_ok());
    }
}
