//! Flooding: every message goes once over every link, in one direction at least.
//!
//! **Problem.** A message of one node has to reach all nodes of the overlay, as fast as the links allow and whatever has just failed.
//!
//! **State.** Which messages were seen, bounded ([`Flood::new`]).
//!
//! **Messages.** The payload with its id, and how many nodes it has passed through.
//!
//! **Invariants.** A message is delivered once. It is passed on once, to all neighbours but the one it came from.
//!
//! Source: the broadcast of `HyParView` (DSN 2007, Section 5.1), with which the paper measures its membership.

use std::marker::PhantomData;

use super::seen::Seen;
use super::{Happening, Id, Layer, MessageId, Payload, Sends};
use crate::agent::{Port, Wire, WireError};
use crate::time::Time;

/// A flood on the links of one node.
#[derive(Debug)]
pub struct Flood<I, P> {
    me: I,
    incarnation: u64,
    seq: u64,
    neighbours: Vec<I>,
    seen: Seen<I>,
    last: Option<(MessageId<I>, u16)>,
    counts: FloodCounts,
    payload: PhantomData<P>,
}

/// What a flood counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCounts {
    /// Messages sent, to one neighbour each.
    pub sent: u64,
    /// Messages received for the first time.
    pub delivered: u64,
    /// Messages received again.
    pub duplicates: u64,
}

/// What floods say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloodMessage<I, P> {
    /// Which message it is.
    pub id: MessageId<I>,
    /// How many nodes it has passed through since its source.
    pub round: u16,
    /// What it says.
    pub payload: P,
}

impl<I: Id, P: Payload> Flood<I, P> {
    /// A flood of the node `me` in this life, which remembers messages of `sources_max` sources.
    pub fn new(me: I, incarnation: u64, sources_max: usize) -> Self {
        Self {
            me,
            incarnation,
            seq: 0,
            neighbours: Vec::new(),
            seen: Seen::new(sources_max),
            last: None,
            counts: FloodCounts::default(),
            payload: PhantomData,
        }
    }

    /// Sends `payload` to everybody. It is not delivered here.
    pub fn broadcast(&mut self, payload: &P, out: &mut Sends<I, FloodMessage<I, P>>) -> MessageId<I> {
        self.seq += 1;
        let id = MessageId { source: self.me, incarnation: self.incarnation, seq: self.seq };
        self.seen.insert(&id);
        self.push(id, 0, payload, None, out);
        id
    }

    /// What was delivered last, and over how many links it had come.
    pub fn last_delivered(&self) -> Option<(MessageId<I>, u16)> {
        self.last
    }

    /// What was counted.
    pub fn counts(&self) -> FloodCounts {
        self.counts
    }

    /// Takes a message; it is new if it is given back.
    fn receive(
        &mut self,
        from: I,
        message: FloodMessage<I, P>,
        out: &mut Sends<I, FloodMessage<I, P>>,
    ) -> Option<P> {
        let FloodMessage { id, round, payload } = message;
        if !self.seen.insert(&id) {
            self.counts.duplicates += 1;
            return None;
        }
        self.counts.delivered += 1;
        let hops = round.saturating_add(1);
        self.last = Some((id, hops));
        self.push(id, hops, &payload, Some(from), out);
        Some(payload)
    }

    fn push(
        &mut self,
        id: MessageId<I>,
        round: u16,
        payload: &P,
        from: Option<I>,
        out: &mut Sends<I, FloodMessage<I, P>>,
    ) {
        for &neighbour in self.neighbours.iter().filter(|neighbour| Some(**neighbour) != from) {
            self.counts.sent += 1;
            out.send(neighbour, FloodMessage { id, round, payload: payload.clone() });
        }
    }
}

/// The payload of the command `broadcast <text>`, whose bytes are the text.
pub(super) fn broadcast_command<P: Payload>(line: &str) -> Option<P> {
    let text = line.strip_prefix("broadcast")?;
    let text = if text.is_empty() { text } else { text.strip_prefix(' ')? };
    P::decode(Port::ANSWERS, text.as_bytes()).ok()
}

/// Command: `broadcast <text>`.
impl<I: Id, P: Payload> Layer<I> for Flood<I, P> {
    type Msg = FloodMessage<I, P>;

    fn handle(&mut self, _: Time, happening: Happening<I, Self::Msg>, out: &mut Sends<I, Self::Msg>) {
        match happening {
            Happening::LinkUp(peer) => {
                if !self.neighbours.contains(&peer) {
                    self.neighbours.push(peer);
                }
            }
            Happening::LinkDown(peer, _) => self.neighbours.retain(|neighbour| *neighbour != peer),
            Happening::Message { from, message } => {
                self.receive(from, message, out);
            }
            Happening::Timeout => {}
        }
    }

    fn command(&mut self, _: Time, line: &str, out: &mut Sends<I, Self::Msg>) -> bool {
        let Some(payload) = broadcast_command(line) else { return false };
        self.broadcast(&payload, out);
        true
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let FloodCounts { sent, delivered, duplicates } = self.counts;
        vec![("payloads_sent", sent), ("delivered", delivered), ("duplicates", duplicates)]
    }
}

/// The id, the round, the payload up to the end.
impl<I: Id, P: Payload> Wire for FloodMessage<I, P> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.id.encode(bytes);
        bytes.extend(self.round.to_be_bytes());
        self.payload.encode(bytes);
    }

    fn decode(port: Port, mut bytes: &[u8]) -> Result<Self, WireError> {
        let id = MessageId::decode(&mut bytes)?;
        let round = u16::from_be_bytes(super::id::take(&mut bytes)?);
        Ok(Self { id, round, payload: P::decode(port, bytes)? })
    }

    fn kind(&self) -> &'static str {
        "flood"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::payload::SEQ_MAX;
    use super::super::testing::Network;
    use super::super::{Blob, Nothing, Reason};
    use super::*;
    use crate::agent::Peer;
    use crate::rng::Rng;

    #[test]
    fn a_message_goes_over_every_link_but_the_ones_it_came_by_and_is_delivered_once() {
        let mut network = Network::new(100, |peer| Flood::<_, Nothing>::new(peer, 1, 4));
        network.link_at_random(2, &mut Rng::new(1));
        let links: usize = (0..100).map(|node| network.neighbours(node).len()).sum();
        network.act(3, |flood, _, out| flood.broadcast(&Nothing, out));
        network.run(Duration::from_secs(1));
        assert_eq!(network.sent["flood"], links as u64 - 99);
        for (number, flood) in (0..).zip(&network.layers) {
            assert_eq!(flood.counts().delivered, u64::from(number != 3));
        }
    }

    #[test]
    fn hops_are_counted_and_lost_neighbours_get_nothing() {
        let mut network = Network::new(4, |peer| Flood::<_, Nothing>::new(peer, 1, 4));
        for node in 0..3 {
            network.link(node, node + 1);
        }
        for expected in [Some(3), None] {
            let id = network.act(0, |flood, _, out| flood.broadcast(&Nothing, out));
            network.run(Duration::from_secs(1));
            let last = network.layers[3].last_delivered().filter(|last| last.0 == id);
            assert_eq!(last.map(|last| last.1), expected);
            network.unlink(2, 3, Reason::Demoted);
        }
    }

    #[test]
    fn broadcast_is_its_command() {
        let mut out = Sends::default();
        let mut flood = Flood::<_, Blob>::new(Peer(0), 1, 4);
        flood.handle(Time::ZERO, Happening::LinkUp(Peer(1)), &mut out);
        assert!(flood.command(Time::ZERO, "broadcast hello", &mut out));
        assert!(!flood.command(Time::ZERO, "broadcasting", &mut out));
        let said: Vec<_> = out.drain().map(|(_, message)| message.payload).collect();
        assert_eq!(said, [Blob(Bytes::from_static(b"hello"))]);
    }

    proptest! {
        #[test]
        fn messages_survive_their_bytes(source: u32, incarnation: u64, seq in 1..=SEQ_MAX, round: u16, payload: Vec<u8>) {
            let id = MessageId { source: Peer(source), incarnation, seq };
            let message = FloodMessage { id, round, payload: Blob(Bytes::from(payload)) };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(FloodMessage::decode(Port(0), &bytes), Ok(message));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let _ = FloodMessage::<Peer, Blob>::decode(Port(0), &bytes);
        }
    }
}
