//! A network for the tests of layers: links that are there at once, messages that take a millisecond and stay in order, time that is handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Happening, Layer, Reason, Sends};
use crate::agent::{Peer, Port, Why, Wire};
use crate::rng::Rng;
use crate::time::Time;

/// Layers and the links between them.
pub(super) struct Network<L: Layer<Peer>> {
    pub(super) now: Time,
    pub(super) layers: Vec<L>,
    /// The links that are up, each from its smaller end, with the number of the link.
    links: BTreeMap<(Peer, Peer), u64>,
    flights: BTreeMap<(Time, u64), Flight<L::Msg>>,
    timers: BTreeSet<(Time, Peer)>,
    scheduled: Vec<Option<Time>>,
    counter: u64,
    sends: Sends<Peer, L::Msg>,
    /// How many messages of each kind were sent.
    pub(super) sent: BTreeMap<&'static str, u64>,
}

struct Flight<M> {
    from: Peer,
    to: Peer,
    link: u64,
    message: M,
}

const LATENCY: Duration = Duration::from_millis(1);

impl<L: Layer<Peer>> Network<L> {
    pub(super) fn new(count: u32, layer: impl Fn(Peer) -> L) -> Self {
        Self {
            now: Time::ZERO,
            layers: (0..count).map(|number| layer(Peer(number))).collect(),
            links: BTreeMap::new(),
            flights: BTreeMap::new(),
            timers: BTreeSet::new(),
            scheduled: vec![None; count as usize],
            counter: 0,
            sends: Sends::default(),
            sent: BTreeMap::new(),
        }
    }

    /// Links everybody with his neighbours on `circles` random circles through all nodes.
    pub(super) fn link_at_random(&mut self, circles: usize, rng: &mut Rng) {
        let mut order: Vec<u32> = (0..u32::try_from(self.layers.len()).unwrap()).collect();
        for _ in 0..circles {
            rng.shuffle(&mut order);
            for place in 0..order.len() {
                self.link(order[place], order[(place + 1) % order.len()]);
            }
        }
    }

    pub(super) fn link(&mut self, one: u32, other: u32) {
        let (one, other) = (Peer(one), Peer(other));
        self.counter += 1;
        if one == other || self.links.contains_key(&ends(one, other)) {
            return;
        }
        self.links.insert(ends(one, other), self.counter);
        self.handle(one, Happening::LinkUp(other));
        self.handle(other, Happening::LinkUp(one));
    }

    /// Ends a link; what is on its way is lost.
    pub(super) fn unlink(&mut self, one: u32, other: u32, reason: Reason) {
        let (one, other) = (Peer(one), Peer(other));
        if self.links.remove(&ends(one, other)).is_some() {
            self.handle(one, Happening::LinkDown(other, reason));
            self.handle(other, Happening::LinkDown(one, reason));
        }
    }

    /// Ends all links of a node, as its crash would.
    pub(super) fn cut_off(&mut self, node: u32) {
        for other in self.neighbours(node) {
            self.unlink(node, other, Reason::Lost(Why::Broken));
        }
    }

    pub(super) fn neighbours(&self, node: u32) -> Vec<u32> {
        let of = |ends: &(Peer, Peer)| match (ends.0.0 == node, ends.1.0 == node) {
            (true, _) => Some(ends.1.0),
            (_, true) => Some(ends.0.0),
            _ => None,
        };
        self.links.keys().filter_map(of).collect()
    }

    /// Lets somebody do something with a layer.
    pub(super) fn act<R>(
        &mut self,
        node: u32,
        act: impl FnOnce(&mut L, Time, &mut Sends<Peer, L::Msg>) -> R,
    ) -> R {
        let result = act(&mut self.layers[node as usize], self.now, &mut self.sends);
        self.settle(Peer(node));
        result
    }

    /// Lets time go on.
    pub(super) fn run(&mut self, duration: Duration) {
        let limit = self.now + duration;
        loop {
            let flight = self.flights.keys().next().map(|key| key.0);
            let timer = self.timers.first().map(|timer| timer.0);
            let Some(next) = flight.into_iter().chain(timer).min().filter(|next| *next <= limit) else {
                break;
            };
            self.now = self.now.max(next);
            if flight == Some(next) {
                let (_, Flight { from, to, link, message }) = self.flights.pop_first().unwrap();
                if self.links.get(&ends(from, to)) == Some(&link) {
                    self.handle(to, Happening::Message { from, message });
                }
            } else {
                let (_, peer) = self.timers.pop_first().unwrap();
                self.scheduled[peer.0 as usize] = None;
                self.handle(peer, Happening::Timeout);
            }
        }
        self.now = limit;
    }

    fn handle(&mut self, peer: Peer, happening: Happening<Peer, L::Msg>) {
        self.layers[peer.0 as usize].handle(self.now, happening, &mut self.sends);
        self.settle(peer);
    }

    /// Sends what a layer has said, through its codec, and notes when it wants to be woken.
    fn settle(&mut self, from: Peer) {
        for (to, message) in self.sends.drain() {
            *self.sent.entry(message.kind()).or_default() += 1;
            let Some(&link) = self.links.get(&ends(from, to)) else { continue };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let message = L::Msg::decode(Port(0), &bytes).expect("a message survives its bytes");
            self.counter += 1;
            self.flights.insert((self.now + LATENCY, self.counter), Flight { from, to, link, message });
        }
        let node = from.0 as usize;
        let wanted = self.layers[node].deadline();
        if self.scheduled[node] != wanted {
            if let Some(old) = self.scheduled[node] {
                self.timers.remove(&(old, from));
            }
            self.timers.extend(wanted.map(|at| (at, from)));
            self.scheduled[node] = wanted;
        }
    }
}

fn ends(one: Peer, other: Peer) -> (Peer, Peer) {
    (one.min(other), one.max(other))
}
