//! Who is asked for a server answers with one: discovery by datagrams, as a class of 2017 agreed on it.
//!
//! **Problem.** A client, or another cluster, knows an address to ask and a secret, and no server that lives.
//!
//! **Messages.** A datagram holds one Route with a `NetworkDiscoveryPacket`. A client is told the next server in turn, or the one with the fewest sessions if it asks for
//! that; another cluster's server is told where our clients are awaited, and its own place is remembered under its tag. The answer goes to port 8888 of the address that the packet
//! names, since the class's programs listen there, and to where the datagram came from, once if that is the same. From time to time the discovery ports of other clusters are asked
//! as they ask us.
//!
//! **Invariants.**
//! - Who does not know the secret gets no answer at all, and changes nothing. It is compared in a time that does not depend on it.
//! - One datagram leads to at most two small ones, and a source to a bounded number a second.
//! - Only the leader of the log has the port open; who becomes leader while the former one still has it asks again.
//!
//! **Source.** The system that is replaced.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use log::{info, warn};
use prost::Message as _;

use super::clusters::ClusterSettings;
use super::clusters::wire::{packet, route, server_of};
use crate::agent::{Carries, Inward, Outbox, Outward, PortId};
use crate::seldom;
use crate::time::Time;
use crate::wire::proto::network_discovery_packet::{Mode, Sender};
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{NetworkDiscoveryPacket, Route};

/// A live server of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLoad {
    /// Where its clients reach it: `host:port`.
    pub client: String,
    /// How many sessions it has.
    pub sessions: u64,
}

/// What was learnt about another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A server of the cluster `tag` awaits us there.
    Here {
        /// The cluster's tag.
        tag: String,
        /// The server.
        server: SocketAddr,
    },
    /// It does so no more.
    Gone {
        /// The cluster's tag.
        tag: String,
        /// The server.
        server: SocketAddr,
    },
}

/// The discovery of one server.
#[derive(Debug)]
pub struct Discovery {
    settings: ClusterSettings,
    leads: bool,
    port: State,
    /// Whose turn it is.
    turn: usize,
    /// How many were answered in this second.
    window: Window,
    /// When others are asked next.
    ask_at: Time,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Shut,
    Opening,
    Open,
    /// It could not be opened; then it is tried again.
    Again(Time),
}

#[derive(Debug, Default)]
struct Window {
    began: Time,
    total: u32,
    sources: BTreeMap<IpAddr, u32>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    not_understood: u64,
    strangers: u64,
    too_many: u64,
    not_opened: u64,
}

impl Discovery {
    /// The discovery that `settings` describe; without an address for it there, nothing ever happens.
    pub fn new(settings: ClusterSettings) -> Self {
        let (window, counts) = (Window::default(), Counts::default());
        Self { settings, leads: false, port: State::Shut, turn: 0, window, ask_at: Time::ZERO, counts }
    }

    /// Where clients reach this server: `host:port`.
    pub fn reached_at(&mut self, own: &str) {
        own.clone_into(&mut self.settings.own);
    }

    /// Whether this server leads the log from now on.
    pub fn leads<M>(&mut self, now: Time, leads: bool, out: &mut Outbox<M>) {
        self.leads = leads;
        match (leads, self.port) {
            (true, State::Shut) => self.open(now, out),
            (false, State::Opening | State::Open) => {
                out.outside(Outward::Shut { port: DISCOVERY_PORT });
                self.port = State::Shut;
            }
            (false, State::Again(_)) => self.port = State::Shut,
            _ => {}
        }
    }

    fn open<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        let Some(at) = self.settings.discovery else { return };
        self.port = State::Opening;
        self.ask_at = now;
        out.outside(Outward::Listen { port: DISCOVERY_PORT, at, carries: Carries::Datagrams });
    }

    /// Something from outside; what is not for this port changes nothing. `servers` are the live ones, always in the same order. What is learnt comes back.
    pub fn outside<M>(
        &mut self,
        now: Time,
        inward: &Inward<'_>,
        servers: &[ServerLoad],
        out: &mut Outbox<M>,
    ) -> Option<Heard> {
        match inward {
            Inward::Listening { port: DISCOVERY_PORT, at } if self.leads => {
                info!("messenger: answers who looks for a server at={at}");
                self.port = State::Open;
            }
            // It was opened for a reign that is over.
            Inward::Listening { port: DISCOVERY_PORT, .. } => {
                out.outside(Outward::Shut { port: DISCOVERY_PORT });
            }
            Inward::NotListening { port: DISCOVERY_PORT, why } if self.port == State::Opening => {
                if seldom::count(&mut self.counts.not_opened) {
                    warn!("messenger: the discovery port cannot be opened and is tried again: {why}");
                }
                self.port = State::Again(now + OPEN_AGAIN);
            }
            Inward::Datagram { port: DISCOVERY_PORT, from, bytes } if self.leads => {
                return self.datagram(now, *from, bytes, servers, out);
            }
            _ => {}
        }
        None
    }

    /// When [`Discovery::timeout`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        match self.port {
            State::Again(at) => Some(at),
            State::Open if !self.settings.ask.is_empty() => Some(self.ask_at),
            _ => None,
        }
    }

    /// Does what is due.
    pub fn timeout<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        match self.port {
            State::Again(at) if at <= now => self.open(now, out),
            State::Open if self.ask_at <= now => {
                self.ask_at = now + ASK_EVERY;
                let secret = self.settings.between.as_ref();
                if let Some(packet) = packet(&self.settings, secret, Mode::Request, &self.settings.own) {
                    let bytes = datagram_of(0, packet);
                    for to in self.settings.ask.iter().copied() {
                        send(to, bytes.clone(), out);
                    }
                }
            }
            _ => {}
        }
    }

    /// Names and values of what is counted.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        vec![
            ("discovery_answered", counts.answered),
            ("discovery_not_understood", counts.not_understood),
            ("discovery_strangers", counts.strangers),
            ("discovery_too_many", counts.too_many),
            ("discovery_not_opened", counts.not_opened),
        ]
    }

    fn datagram<M>(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        servers: &[ServerLoad],
        out: &mut Outbox<M>,
    ) -> Option<Heard> {
        let Some((id, packet)) = read(bytes) else {
            if seldom::count(&mut self.counts.not_understood) {
                warn!("messenger: a datagram that is no question for a server from={from}");
            }
            return None;
        };
        let foreign = packet.sender == i32::from(Sender::ExternalServerNode);
        let secret = if foreign { &self.settings.between } else { &self.settings.secret };
        if !secret.as_ref().is_some_and(|secret| secret.is(&packet.secret)) {
            if seldom::count(&mut self.counts.strangers) {
                warn!("messenger: somebody looks for a server without knowing the secret from={from}");
            }
            return None;
        }
        let mode = Mode::try_from(packet.mode).ok()?;
        Sender::try_from(packet.sender).ok()?;
        if mode != Mode::Request {
            return self.heard(mode, &packet, from).filter(|_| foreign);
        }
        if foreign && packet.group_tag.as_deref() == Some(&self.settings.group_tag) {
            // A question of our own that has come back, or that of a server of ours.
            return None;
        }
        if !self.window.admits(now, from.ip().to_canonical()) {
            if seldom::count(&mut self.counts.too_many) {
                warn!("messenger: too many questions for a server from={from}");
            }
            return None;
        }
        let heard = if foreign { self.heard(mode, &packet, from) } else { None };
        let server = if foreign { &self.settings.own } else { self.next(servers, &packet)? };
        let secret = if foreign { &self.settings.between } else { &self.settings.secret };
        let answer = self::packet(&self.settings, secret.as_ref(), Mode::Response, server)?;
        self.counts.answered += 1;
        let bytes = datagram_of(id, answer);
        let named = packet.node_address.parse::<IpAddr>().ok();
        let named = named.map(|ip| SocketAddr::new(ip.to_canonical(), CLASS_PORT)).filter(is_somebody);
        if let Some(named) = named.filter(|named| *named != from) {
            send(named, bytes.clone(), out);
        }
        send(from, bytes, out);
        heard
    }

    /// What a packet says about another cluster.
    fn heard(&self, mode: Mode, packet: &NetworkDiscoveryPacket, from: SocketAddr) -> Option<Heard> {
        let tag = packet.group_tag.clone()?;
        let is_other = tag != self.settings.group_tag && super::clusters::check_tag(&tag).is_ok();
        let server = server_of(packet, from.ip()).filter(|_| is_other)?;
        Some(if mode == Mode::RemoveNode { Heard::Gone { tag, server } } else { Heard::Here { tag, server } })
    }

    /// The server that a client is sent to.
    fn next<'s>(&mut self, servers: &'s [ServerLoad], packet: &NetworkDiscoveryPacket) -> Option<&'s String> {
        let server = if packet.least_loaded == Some(true) {
            servers.iter().min_by_key(|server| server.sessions)
        } else {
            self.turn = self.turn.wrapping_add(1);
            servers.get(self.turn.checked_rem(servers.len())?)
        };
        server.map(|server| &server.client)
    }
}

impl Window {
    fn admits(&mut self, now: Time, source: IpAddr) -> bool {
        if now.since(self.began) >= WINDOW {
            *self = Self { began: now, ..Self::default() };
        }
        if self.total >= ANSWERS_MAX {
            return false;
        }
        let of_source = self.sources.entry(source).or_default();
        if *of_source >= ANSWERS_PER_SOURCE_MAX {
            return false;
        }
        *of_source += 1;
        self.total += 1;
        true
    }
}

/// The number and the packet of a datagram.
fn read(bytes: &[u8]) -> Option<(i64, NetworkDiscoveryPacket)> {
    let route = (bytes.len() <= DATAGRAM_BYTES_MAX).then(|| Route::decode(bytes).ok())??;
    match route.payload {
        Some(Payload::NetworkDiscoveryPacket(packet)) => Some((route.id, packet)),
        _ => None,
    }
}

fn datagram_of(id: i64, packet: NetworkDiscoveryPacket) -> Bytes {
    route(id, Path::NetworkDiscovery, Some(Payload::NetworkDiscoveryPacket(packet))).encode_to_vec().into()
}

fn is_somebody(address: &SocketAddr) -> bool {
    !address.ip().is_unspecified() && !address.ip().is_multicast()
}

fn send<M>(to: SocketAddr, bytes: Bytes, out: &mut Outbox<M>) {
    out.outside(Outward::Datagram { port: DISCOVERY_PORT, to, bytes });
}

/// What the port for discovery is called towards the host.
pub const DISCOVERY_PORT: PortId = PortId(2);
/// Where the class's programs await answers.
pub const CLASS_PORT: u16 = 8888;
/// The longest datagram that is looked at, in bytes: a packet with the longest names is far shorter.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// How soon a port is tried again that somebody else has.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// How often other clusters are asked.
const ASK_EVERY: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(1);
/// How many questions of one source are answered in a second: a room full of clients may share an address.
const ANSWERS_PER_SOURCE_MAX: u32 = 200;
/// How many questions are answered in a second.
const ANSWERS_MAX: u32 = 2_000;

#[cfg(test)]
mod tests;
