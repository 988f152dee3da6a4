//! What nodes of `gen_hypar` say to each other, the overlay's implementation in Erlang of 2012: five bytes, then frames.
//!
//! Whoever opens a connection says `hypar` and then one frame that says why it has come, and mostly who it is. From then on the connection is a
//! link, and frames go both ways. A frame is the length of its body (four bytes, network order), a tag, and the fields. A node is called by the IPv4
//! address and the port where it listens, six bytes.
//!
//! What a frame means depends on where it stands: the answer to a `NEIGHBOUR` is a body of one byte, 1 or 0, and 1 is also the tag of a message. So
//! a [`HyparCutter`] knows what its connection was opened for.

mod cutter;

use std::net::{Ipv4Addr, SocketAddrV4};

use thiserror::Error;

pub use self::cutter::HyparCutter;

/// What every connection begins with.
pub const HYPAR_OPENER: &[u8; 5] = b"hypar";

/// The most ids in one frame that are understood; nodes send eight unless they are told otherwise.
const IDS_MAX: usize = 256;
/// How long the length of a frame is.
const LENGTH_BYTES: usize = 4;
/// How long the id of a node is.
const ID_BYTES: usize = 6;

/// One frame, without its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HyparFrame<'a> {
    /// 1 `MESSAGE`: what the service above has to say.
    Message(&'a [u8]),
    /// 2 `JOIN`: this node is new. Never answered.
    Join(SocketAddrV4),
    /// 3 `FORWARDJOIN`: news of a new node.
    ForwardJoin {
        /// Who is new.
        joiner: SocketAddrV4,
        /// How many steps are left.
        ttl: u8,
    },
    /// 4 `JOINREPLY`: the news of the new node has ended at this one. Never answered.
    JoinReply(SocketAddrV4),
    /// 5 and 6 `NEIGHBOUR`: may this node become a neighbour?
    Neighbour {
        /// Who asks.
        asker: SocketAddrV4,
        /// Whether it has no other.
        high: bool,
    },
    /// The answer to `NEIGHBOUR`: one byte, without a tag.
    Answer {
        /// Whether it has become one.
        accept: bool,
    },
    /// 7 `SHUFFLE`: a sample of what its origin knows.
    Shuffle {
        /// Whose it is.
        origin: SocketAddrV4,
        /// How many steps are left.
        ttl: u8,
        /// The sample. The Erlang node puts its origin in front.
        ids: Vec<SocketAddrV4>,
    },
    /// 8 `SHUFFLEREPLY`: a sample for the origin of a shuffle, on a connection of its own, nobody says whose.
    ShuffleReply {
        /// The sample.
        ids: Vec<SocketAddrV4>,
    },
    /// 9 `DISCONNECT`: the last frame of a link; whoever gets it closes.
    Disconnect,
    /// 10 `KEEPALIVE`: a sign of life. The Erlang node takes it and never sends it.
    KeepAlive,
}

/// Why a connection cannot be read any further. The peer is at fault; close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HyparError {
    /// Another opener.
    #[error("does not begin with \"hypar\"")]
    NotHypar,
    /// A frame without a tag.
    #[error("an empty frame")]
    Empty,
    /// A frame that is longer than this node takes.
    #[error("a frame of {bytes} bytes is longer than {bytes_max}")]
    TooLong {
        /// How long it says it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There is no such frame, or not where it stands.
    #[error("a frame with the tag {tag} has no place {place}")]
    NoPlace {
        /// Its tag.
        tag: u8,
        /// Where it stands.
        place: &'static str,
    },
    /// Fields that are missing, or too many.
    #[error("a frame with the tag {tag} and {bytes} bytes after it")]
    BadLength {
        /// Its tag.
        tag: u8,
        /// How long the rest is.
        bytes: usize,
    },
}

mod tag {
    pub(super) const MESSAGE: u8 = 1;
    pub(super) const JOIN: u8 = 2;
    pub(super) const FORWARD_JOIN: u8 = 3;
    pub(super) const JOIN_REPLY: u8 = 4;
    pub(super) const NEIGHBOUR_HIGH: u8 = 5;
    pub(super) const NEIGHBOUR_LOW: u8 = 6;
    pub(super) const SHUFFLE: u8 = 7;
    pub(super) const SHUFFLE_REPLY: u8 = 8;
    pub(super) const DISCONNECT: u8 = 9;
    pub(super) const KEEP_ALIVE: u8 = 10;
    /// In the place of a tag: the whole of an answer.
    pub(super) const DECLINE: u8 = 0;
    pub(super) const ACCEPT: u8 = 1;
}

/// What comes next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `hypar`.
    Opener,
    /// The frame that says why the connection was opened.
    First,
    /// The answer to our `NEIGHBOUR`.
    Answer,
    /// A frame of a link.
    Link,
    /// Nothing: it was opened for one frame.
    End,
}

/// Reads one frame that is not empty, without its length, and goes on to the place after it.
fn parse<'a>(place: &mut Place, frame: &'a [u8]) -> Result<HyparFrame<'a>, HyparError> {
    let (tag, mut rest) = (frame[0], &frame[1..]);
    if !place.takes(tag) {
        return Err(HyparError::NoPlace { tag, place: place.name() });
    }
    let bad_length = HyparError::BadLength { tag, bytes: rest.len() };
    let frame = match *place {
        Place::Answer => HyparFrame::Answer { accept: tag == tag::ACCEPT },
        _ => fields(tag, &mut rest).ok_or(bad_length)?,
    };
    if !rest.is_empty() {
        return Err(bad_length);
    }
    *place = if matches!(frame, HyparFrame::ShuffleReply { .. }) { Place::End } else { Place::Link };
    Ok(frame)
}

/// Takes the fields of a frame from the front of `rest`; `None` where they are not whole.
fn fields<'a>(tag: u8, rest: &mut &'a [u8]) -> Option<HyparFrame<'a>> {
    Some(match tag {
        tag::MESSAGE => HyparFrame::Message(std::mem::take(rest)),
        tag::JOIN => HyparFrame::Join(id(rest)?),
        tag::FORWARD_JOIN => HyparFrame::ForwardJoin { joiner: id(rest)?, ttl: byte(rest)? },
        tag::JOIN_REPLY => HyparFrame::JoinReply(id(rest)?),
        tag::NEIGHBOUR_HIGH => HyparFrame::Neighbour { asker: id(rest)?, high: true },
        tag::NEIGHBOUR_LOW => HyparFrame::Neighbour { asker: id(rest)?, high: false },
        tag::SHUFFLE => HyparFrame::Shuffle { origin: id(rest)?, ttl: byte(rest)?, ids: ids(rest)? },
        tag::SHUFFLE_REPLY => HyparFrame::ShuffleReply { ids: ids(rest)? },
        tag::DISCONNECT => HyparFrame::Disconnect,
        tag::KEEP_ALIVE => HyparFrame::KeepAlive,
        _ => return None,
    })
}

impl Place {
    /// Whether a frame with this tag may stand here.
    fn takes(self, tag: u8) -> bool {
        let tags: &[u8] = match self {
            Self::Opener | Self::End => &[],
            Self::First => {
                &[tag::JOIN, tag::JOIN_REPLY, tag::NEIGHBOUR_HIGH, tag::NEIGHBOUR_LOW, tag::SHUFFLE_REPLY]
            }
            Self::Answer => &[tag::ACCEPT, tag::DECLINE],
            Self::Link => &[tag::MESSAGE, tag::FORWARD_JOIN, tag::SHUFFLE, tag::DISCONNECT, tag::KEEP_ALIVE],
        };
        tags.contains(&tag)
    }

    /// Where it is, in words.
    fn name(self) -> &'static str {
        match self {
            Self::Opener => "before the opener",
            Self::First => "at the beginning of a connection",
            Self::Answer => "where an answer has to be",
            Self::Link => "on a link",
            Self::End => "after what its connection was for",
        }
    }
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn id(bytes: &mut &[u8]) -> Option<SocketAddrV4> {
    let ([a, b, c, d, high, low], rest) = bytes.split_first_chunk::<ID_BYTES>()?;
    *bytes = rest;
    Some(SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
}

/// As many ids as there are bytes left.
fn ids(bytes: &mut &[u8]) -> Option<Vec<SocketAddrV4>> {
    if bytes.len() > IDS_MAX * ID_BYTES {
        return None;
    }
    let mut ids = Vec::with_capacity(bytes.len() / ID_BYTES);
    while !bytes.is_empty() {
        ids.push(id(bytes)?);
    }
    Some(ids)
}

impl HyparFrame<'_> {
    /// Appends it to `bytes`, its length in front.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend([0; LENGTH_BYTES]);
        match self {
            Self::Message(message) => {
                bytes.push(tag::MESSAGE);
                bytes.extend_from_slice(message);
            }
            Self::Join(id) => encode_id(bytes, tag::JOIN, *id),
            Self::ForwardJoin { joiner, ttl } => {
                encode_id(bytes, tag::FORWARD_JOIN, *joiner);
                bytes.push(*ttl);
            }
            Self::JoinReply(id) => encode_id(bytes, tag::JOIN_REPLY, *id),
            Self::Neighbour { asker, high: true } => encode_id(bytes, tag::NEIGHBOUR_HIGH, *asker),
            Self::Neighbour { asker, high: false } => encode_id(bytes, tag::NEIGHBOUR_LOW, *asker),
            Self::Answer { accept } => bytes.push(if *accept { tag::ACCEPT } else { tag::DECLINE }),
            Self::Shuffle { origin, ttl, ids } => {
                encode_id(bytes, tag::SHUFFLE, *origin);
                bytes.push(*ttl);
                bytes.extend(ids.iter().copied().flat_map(id_bytes));
            }
            Self::ShuffleReply { ids } => {
                bytes.push(tag::SHUFFLE_REPLY);
                bytes.extend(ids.iter().copied().flat_map(id_bytes));
            }
            Self::Disconnect => bytes.push(tag::DISCONNECT),
            Self::KeepAlive => bytes.push(tag::KEEP_ALIVE),
        }
        let length =
            u32::try_from(bytes.len() - start - LENGTH_BYTES).expect("frames are limited to far less");
        bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }
}

fn encode_id(bytes: &mut Vec<u8>, tag: u8, id: SocketAddrV4) {
    bytes.push(tag);
    bytes.extend(id_bytes(id));
}

fn id_bytes(id: SocketAddrV4) -> [u8; ID_BYTES] {
    let [a, b, c, d] = id.ip().octets();
    let [high, low] = id.port().to_be_bytes();
    [a, b, c, d, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_erlang_node() {
        let id = "10.0.0.7:3001".parse().expect("valid");
        let other = "10.0.0.8:258".parse().expect("valid");
        let name = [10, 0, 0, 7, 0x0b, 0xb9];
        let cases: [(HyparFrame, &[u8]); 4] = [
            (HyparFrame::Join(id), &[&[0, 0, 0, 7, 2][..], &name].concat()),
            (HyparFrame::ForwardJoin { joiner: id, ttl: 6 }, &[&[0, 0, 0, 8, 3][..], &name, &[6]].concat()),
            (
                HyparFrame::Shuffle { origin: id, ttl: 5, ids: vec![id, other] },
                &[&[0, 0, 0, 20, 7][..], &name, &[5], &name, &[10, 0, 0, 8, 1, 2]].concat(),
            ),
            (HyparFrame::Answer { accept: true }, &[0, 0, 0, 1, 1]),
        ];
        for (frame, bytes) in cases {
            let mut written = Vec::new();
            frame.encode(&mut written);
            assert_eq!(written, bytes);
        }
    }
}
