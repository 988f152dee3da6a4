//! The messages of an overlay as the frames of `gen_hypar`, and back.
//!
//! The rules of both are the papers'; what that wire has no room for is left out: answers to `JOIN` and `JOINREPLY`, numbers of shuffles, names of
//! islands, probes. There a node is called by an IPv4 address, and the head of a shuffle is its origin; here the origin has a field of its own.

use std::net::{SocketAddr, SocketAddrV4};

use super::{Control, Message};
use crate::agent::WireError;
use crate::grid::BoxAddress;
use crate::wire::HyparFrame;

/// A message of a layer that bytes for one neighbour can stand for, which is all that travels among nodes of `gen_hypar`.
pub trait Plain: Sized {
    /// The bytes, if it is nothing more.
    fn plain(&self) -> Option<&[u8]>;

    /// What a neighbour has sent.
    fn from_plain(bytes: &[u8]) -> Self;
}

/// Writes what the node `me` says. Whether that wire has room for it; where it has none, nothing is written.
pub fn encode_hypar<M: Plain>(me: BoxAddress, message: &Message<BoxAddress, M>, bytes: &mut Vec<u8>) -> bool {
    let frame = match message {
        Message::Payload(message) => message.plain().map(HyparFrame::Message),
        Message::Control(control) => frame_of(me, control),
    };
    if let Some(frame) = &frame {
        frame.encode(bytes);
    }
    frame.is_some()
}

/// What a frame says. An error is the peer's fault.
pub fn decode_hypar<M: Plain>(frame: HyparFrame<'_>) -> Result<Message<BoxAddress, M>, WireError> {
    Ok(Message::Control(match frame {
        HyparFrame::Message(payload) => return Ok(Message::Payload(M::from_plain(payload))),
        HyparFrame::Join(_) => Control::Join,
        HyparFrame::JoinReply(_) => Control::JoinReply,
        HyparFrame::Neighbour { high, .. } => Control::Neighbour { high },
        HyparFrame::Answer { accept } => Control::NeighbourReply { accept },
        HyparFrame::ForwardJoin { joiner, ttl } => Control::ForwardJoin { joiner: reachable(joiner)?, ttl },
        HyparFrame::Shuffle { origin, ttl, ids } => {
            let origin = reachable(origin)?;
            let ids = all_reachable(&ids).filter(|id| *id != origin).collect();
            Control::Shuffle { origin, number: NO_NUMBER, ttl, ids }
        }
        HyparFrame::ShuffleReply { ids } => {
            Control::ShuffleReply { number: NO_NUMBER, ids: all_reachable(&ids).collect() }
        }
        HyparFrame::Disconnect => Control::Disconnect,
        HyparFrame::KeepAlive => Control::KeepAlive(None),
    }))
}

/// Who has sent a frame, where it says that: the first one on a connection that becomes a link. An error is the peer's fault.
pub fn hypar_sender(frame: &HyparFrame<'_>) -> Result<Option<BoxAddress>, WireError> {
    match frame {
        HyparFrame::Join(sender)
        | HyparFrame::JoinReply(sender)
        | HyparFrame::Neighbour { asker: sender, .. } => reachable(*sender).map(Some),
        _ => Ok(None),
    }
}

/// The number of every shuffle, where the wire has no room for one.
const NO_NUMBER: u32 = 0;

fn frame_of(me: BoxAddress, control: &Control<BoxAddress>) -> Option<HyparFrame<'static>> {
    Some(match control {
        Control::Join => HyparFrame::Join(v4(me)?),
        Control::ForwardJoin { joiner, ttl } => HyparFrame::ForwardJoin { joiner: v4(*joiner)?, ttl: *ttl },
        Control::JoinReply => HyparFrame::JoinReply(v4(me)?),
        Control::Neighbour { high } => HyparFrame::Neighbour { asker: v4(me)?, high: *high },
        Control::NeighbourReply { accept } => HyparFrame::Answer { accept: *accept },
        Control::Shuffle { origin, number: _, ttl, ids } => {
            let origin = v4(*origin)?;
            // The Erlang node takes its origin out of the list like any other id, and answers with as many.
            let ids = std::iter::once(origin).chain(ids.iter().copied().filter_map(v4)).collect();
            HyparFrame::Shuffle { origin, ttl: *ttl, ids }
        }
        Control::ShuffleReply { number: _, ids } => {
            HyparFrame::ShuffleReply { ids: ids.iter().copied().filter_map(v4).collect() }
        }
        Control::Disconnect => HyparFrame::Disconnect,
        Control::KeepAlive(_) => HyparFrame::KeepAlive,
        Control::Probe { .. }
        | Control::Ping { .. }
        | Control::Pong { .. }
        | Control::Optimise { .. }
        | Control::Replace { .. }
        | Control::ReplaceReply { .. }
        | Control::Switch { .. } => return None,
    })
}

fn v4(id: BoxAddress) -> Option<SocketAddrV4> {
    match id.socket() {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}

fn reachable(id: SocketAddrV4) -> Result<BoxAddress, WireError> {
    let names_somebody = id.port() != 0 && !id.ip().is_unspecified();
    names_somebody
        .then(|| BoxAddress::new(id.into()))
        .ok_or_else(|| WireError::new(format!("nobody can be reached at {id}")))
}

/// Those of `ids` that name somebody.
fn all_reachable(ids: &[SocketAddrV4]) -> impl Iterator<Item = BoxAddress> {
    ids.iter().filter_map(|id| reachable(*id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::overlay::Island;
    use crate::wire::{HYPAR_OPENER, HyparCutter};

    type Said = Message<BoxAddress, Letters>;

    /// A message that is plain where it is of letters.
    #[derive(Debug, PartialEq, Eq)]
    struct Letters(Vec<u8>);

    impl Plain for Letters {
        fn plain(&self) -> Option<&[u8]> {
            self.0.iter().all(u8::is_ascii_alphabetic).then_some(&self.0)
        }

        fn from_plain(bytes: &[u8]) -> Self {
            Self(bytes.to_vec())
        }
    }

    fn address(port: u16) -> BoxAddress {
        BoxAddress::new(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    /// Sends `message` from the node 7 in the way it travels; who sent it, as far as it says, and what arrives.
    fn travel(message: &Said) -> Option<(Option<BoxAddress>, Said)> {
        let mut bytes = Vec::new();
        if !encode_hypar(address(7), message, &mut bytes) {
            assert!(bytes.is_empty(), "half a frame");
            return None;
        }
        let mut cutter = HyparCutter::dialled(1000);
        match message {
            Message::Control(
                Control::Join | Control::JoinReply | Control::Neighbour { .. } | Control::ShuffleReply { .. },
            ) => {
                cutter = HyparCutter::accepted(1000);
                bytes.splice(..0, *HYPAR_OPENER);
            }
            Message::Control(Control::NeighbourReply { .. }) => cutter.expect_answer(),
            _ => {}
        }
        let frame = cutter.cut(&mut &bytes[..]).expect("a frame").expect("a whole one");
        let sender = hypar_sender(&frame).expect("reachable");
        Some((sender, decode_hypar(frame).expect("understood")))
    }

    #[test]
    fn messages_arrive_as_they_were_and_say_who_sends_them_where_they_open_a_connection() {
        let opens = [Control::Join, Control::JoinReply, Control::Neighbour { high: true }];
        for control in opens.into_iter().chain([Control::Neighbour { high: false }]) {
            let message = Said::Control(control);
            assert_eq!(travel(&message), Some((Some(address(7)), message)));
        }
        let ids: Box<[BoxAddress]> = [address(1), address(2)].into();
        for control in [
            Control::ForwardJoin { joiner: address(3), ttl: 6 },
            Control::NeighbourReply { accept: true },
            Control::NeighbourReply { accept: false },
            Control::Shuffle { origin: address(3), number: 0, ttl: 5, ids: ids.clone() },
            Control::ShuffleReply { number: 0, ids },
            Control::Disconnect,
            Control::KeepAlive(None),
        ] {
            let message = Said::Control(control);
            assert_eq!(travel(&message), Some((None, message)));
        }
        let message = Said::Payload(Letters(b"hello".to_vec()));
        assert_eq!(travel(&message), Some((None, message)));
    }

    #[test]
    fn what_that_wire_has_no_room_for_is_left_out() {
        assert_eq!(travel(&Said::Payload(Letters(b"1".to_vec()))), None);
        let island = Island { root: address(1), beat: 2 };
        assert_eq!(travel(&Said::Control(Control::Probe { origin: address(1), island })), None);
        let alive = travel(&Said::Control(Control::KeepAlive(Some(island))));
        assert_eq!(alive, Some((None, Said::Control(Control::KeepAlive(None)))));
        let v6: BoxAddress = "[2001:db8::1]:1".parse().expect("valid");
        assert_eq!(travel(&Said::Control(Control::ForwardJoin { joiner: v6, ttl: 1 })), None);
        let ids = [v6, address(1)].into();
        let reply = travel(&Said::Control(Control::ShuffleReply { number: 9, ids }));
        let ids = [address(1)].into();
        assert_eq!(reply, Some((None, Said::Control(Control::ShuffleReply { number: 0, ids }))));
    }

    #[test]
    fn the_origin_heads_its_shuffle_there_and_has_a_field_here() {
        let me = SocketAddrV4::new([10, 0, 0, 1].into(), 7);
        let other = SocketAddrV4::new([10, 0, 0, 1].into(), 8);
        let nobody = SocketAddrV4::new([10, 0, 0, 1].into(), 0);
        let shuffle = Control::Shuffle { origin: address(7), number: 4, ttl: 5, ids: [address(8)].into() };
        let frame = frame_of(address(7), &shuffle).expect("there is one");
        assert_eq!(frame, HyparFrame::Shuffle { origin: me, ttl: 5, ids: vec![me, other] });
        let frame = HyparFrame::Shuffle { origin: me, ttl: 5, ids: vec![me, nobody, other] };
        let heard: Said = decode_hypar(frame).expect("understood");
        let ids = [address(8)].into();
        assert_eq!(heard, Said::Control(Control::Shuffle { origin: address(7), number: 0, ttl: 5, ids }));
    }

    #[test]
    fn a_sender_that_nobody_can_reach_is_refused() {
        for text in ["10.0.0.1:0", "0.0.0.0:7"] {
            let id = text.parse().expect("an address");
            assert!(hypar_sender(&HyparFrame::Join(id)).is_err(), "{text}");
        }
    }
}
