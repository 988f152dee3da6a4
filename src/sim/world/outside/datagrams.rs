//! Datagrams between agents, by addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::Kind;
use crate::agent::{Agent, Input, Inward, Peer, PortId};
use crate::sim::world::{Event, World, mark};
use crate::trace::What;

/// Datagrams on their way.
#[derive(Debug, Default)]
pub(in crate::sim::world) struct Letters {
    travelling: BTreeMap<u32, Letter>,
    sent: u32,
}

#[derive(Clone, Debug)]
struct Letter {
    from: Peer,
    from_address: SocketAddr,
    to: Peer,
    to_port: u16,
    bytes: Bytes,
    /// Its name in traces.
    id: u64,
}

impl<A: Agent> World<A> {
    pub(super) fn send_letter(&mut self, from: Peer, port: PortId, to: SocketAddr, bytes: &Bytes) {
        let id = self.next_message;
        self.next_message += 1;
        self.digest(mark::SEND_DATAGRAM, from, u64::from(to.port()));
        self.digest.bytes(bytes);
        let Some(number) = self.datagram_port(from, port) else {
            return self.tell(from, |_| What::Note { text: format!("has no port {} for datagrams", port.0) });
        };
        let from_address = SocketAddr::new(self.address(from), number);
        let target = self.at(from, to.ip());
        self.tell(from, |world| What::Send {
            to: target.map_or_else(|| to.to_string(), |to| world.name_of(to)),
            link: String::new(),
            kind: DATAGRAM.to_owned(),
            text: format!("{} bytes to {to}", bytes.len()),
            id: Some(id),
        });
        let Some(to_peer) = target else { return self.tell_drop(from, from, id, "nobody is there") };
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return self.tell_drop(from, to_peer, id, "too long for a datagram");
        }
        if self.partitions.between(from, to_peer) {
            return self.tell_drop(from, to_peer, id, "a partition");
        }
        let rng = &mut self.outside.rng;
        if rng.chance(self.settings.loss) {
            return self.tell_drop(from, to_peer, id, "lost");
        }
        let copies = if rng.chance(self.settings.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let arrives = self.now + self.settings.datagram_travel(&mut self.outside.rng, from, to_peer);
            let letters = &mut self.outside.letters;
            let letter = letters.sent;
            letters.sent = letter.wrapping_add(1);
            let to_port = to.port();
            let bytes = bytes.clone();
            letters.travelling.insert(letter, Letter { from, from_address, to: to_peer, to_port, bytes, id });
            self.push(arrives, Event::Letter { letter });
        }
    }

    /// The number of a port for datagrams that an agent has open.
    fn datagram_port(&self, peer: Peer, port: PortId) -> Option<u16> {
        let ports = &self.outside.sides.get(&peer)?.ports;
        ports
            .iter()
            .find(|((kind, _), open)| *kind == Kind::Datagrams && open.id == port)
            .map(|(key, _)| key.1)
    }

    pub(in crate::sim::world) fn letter_due(&mut self, letter: u32) {
        let Some(found) = self.outside.letters.travelling.get(&letter) else { return };
        let (from, to) = (found.from, found.to);
        let held_up = self.partitions.between(from, to);
        if !held_up && self.hold(to, Event::Letter { letter }) {
            return;
        }
        let Some(Letter { from_address, to_port, bytes, id, .. }) =
            self.outside.letters.travelling.remove(&letter)
        else {
            return;
        };
        let port = self.outside.sides.get(&to).and_then(|side| side.ports.get(&(Kind::Datagrams, to_port)));
        let Some(port) = port.map(|port| port.id).filter(|_| !held_up) else {
            let why = if held_up { "a partition" } else { "nobody is there" };
            return self.tell_drop(from, to, id, why);
        };
        self.figures.messages += 1;
        self.digest(mark::DATAGRAM, to, u64::from(port.0));
        self.digest.bytes(&bytes);
        self.tell(to, |world| What::Receive {
            from: world.name_of(from),
            link: String::new(),
            kind: DATAGRAM.to_owned(),
            text: format!("{} bytes from {from_address}", bytes.len()),
            id: Some(id),
        });
        self.hand(to, Input::Outside(Inward::Datagram { port, from: from_address, bytes: &bytes }));
    }

    /// Drops a datagram that waited for an agent that is gone.
    pub(in crate::sim::world) fn drop_letter(&mut self, letter: u32) {
        if let Some(letter) = self.outside.letters.travelling.remove(&letter) {
            self.tell_drop(letter.from, letter.to, letter.id, "the receiver crashed");
        }
    }
}

/// What these are called in traces.
const DATAGRAM: &str = "datagram";
/// The longest datagram, by UDP over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
