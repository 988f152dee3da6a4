//! An overlay in the simulated world, as the papers set it up: unit latency, everybody joins one after the other, some cycles of shuffling.

use std::sync::Arc;
use std::time::Duration;

use super::{Graph, Setup};
use crate::agent::{Peer, Session};
use crate::agents::overlay::{Flood, Layer, MessageId, NoLayer, Node, Nothing, Options, Plumtree};
use crate::rng::Rng;
use crate::sim::{Carrier, Delay, Settings, World};
use crate::time::Time;

/// A layer that can be put on many nodes and be measured.
pub(super) trait Cast: Layer<Peer> {
    /// What was delivered last, and over how many links it had come.
    fn latest(&self) -> Option<(MessageId<Peer>, u16)> {
        None
    }

    /// How many payloads and how many other messages it has sent.
    fn sent(&self) -> Sent {
        Sent::default()
    }
}

/// How much a broadcast has said, a message for each neighbour it is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) payloads: u64,
    pub(super) controls: u64,
}

impl Sent {
    /// What was sent after `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { payloads: self.payloads - earlier.payloads, controls: self.controls - earlier.controls }
    }
}

impl Cast for NoLayer {}

/// How many senders a node tells apart at a time. Broadcasts come one after the other here, so a few are enough.
pub(super) const SOURCES_MAX: usize = 16;

impl Cast for Flood<Peer, Nothing> {
    fn latest(&self) -> Option<(MessageId<Peer>, u16)> {
        self.last_delivered()
    }

    fn sent(&self) -> Sent {
        Sent { payloads: self.counts().sent, controls: 0 }
    }
}

impl Cast for Plumtree<Peer, Nothing> {
    fn latest(&self) -> Option<(MessageId<Peer>, u16)> {
        self.last_delivered()
    }

    fn sent(&self) -> Sent {
        let counts = self.counts();
        Sent {
            payloads: counts.payloads_sent,
            controls: counts.ihaves_sent + counts.grafts_sent + counts.prunes_sent,
        }
    }
}

/// The overlay, and who of it lives.
pub(super) struct Network<'a, L: Cast> {
    pub(super) setup: &'a Setup,
    /// Makes the layer of a node, in which of its lives.
    make: Box<dyn Fn(Peer, u64) -> L + 'a>,
    pub(super) world: World<Node<Peer, L>>,
    options: Arc<Options>,
    /// What the experiment draws from: who fails, who sends.
    pub(super) rng: Rng,
    live: Vec<Peer>,
    /// How many broadcasts each has sent in its present life.
    broadcasts: Vec<u64>,
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// How many nodes have it, its sender among them.
    pub(super) nodes: u64,
    /// How many nodes should have it.
    pub(super) live: u64,
    /// Over how many links it has come to the one that got it over the most.
    pub(super) hops: u16,
}

impl Reached {
    /// Which share of them has it, in percent.
    pub(super) fn percent(self) -> f64 {
        super::samples::percent(self.nodes, self.live)
    }
}

/// How many units of time lie between two nodes' joins: a join is over by then, but for the rare one whose neighbours are busy.
const JOIN_UNITS: u32 = 12;
/// How many units of time a broadcast has. A flood takes about ten.
pub(super) const BROADCAST_UNITS: u32 = 60;
/// How many at a time, between looks at where it has got to.
const LOOK_UNITS: u32 = 6;
/// Time goes on in steps of this length, so that what the world notes for its checkers does not pile up.
const STEP: Duration = Duration::from_millis(5);

impl<'a, L: Cast> Network<'a, L> {
    /// Nodes that have joined one after the other through node 0.
    pub(super) fn joined(setup: &'a Setup, seed: u64, make: impl Fn(Peer, u64) -> L + 'a) -> Self {
        let latency = Delay::Fixed(setup.latency);
        let settings = Settings {
            delay: latency,
            connecting: latency,
            failure_model: setup.failure_model,
            ..Settings::new(seed, Carrier::Stream)
        };
        let world = World::new(settings);
        // Not the numbers that the world draws its own streams from.
        let rng = Rng::new(seed ^ EXPERIMENT);
        let (make, live, broadcasts) = (Box::new(make), Vec::new(), Vec::new());
        let options = Arc::new(setup.options.clone());
        let mut network = Self { setup, make, world, options, rng, live, broadcasts };
        for number in 0..setup.nodes {
            let node = network.node(Peer(number));
            let peer = network.world.add(node);
            network.live.push(peer);
            network.broadcasts.push(0);
            if number > 0 {
                network.world.command(peer, OPERATOR, "join 0");
                network.pass(setup.latency * JOIN_UNITS);
            }
        }
        network
    }

    /// The same, after as many cycles of shuffling as the paper gives them.
    pub(super) fn shuffled(setup: &'a Setup, seed: u64, make: impl Fn(Peer, u64) -> L + 'a) -> Self {
        let mut network = Self::joined(setup, seed, make);
        network.cycles(CYCLES);
        network
    }

    /// Lets every node shuffle so many times.
    pub(super) fn cycles(&mut self, count: u32) {
        self.pass(self.setup.options.shuffle_period * count);
    }

    /// Lets time go on.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        while self.world.now() < end {
            self.world.run_until(end.min(self.world.now() + STEP));
            self.world.forget_happened();
        }
    }

    /// What time it is.
    pub(super) fn now(&self) -> Time {
        self.world.now()
    }

    /// All nodes that live.
    pub(super) fn live(&self) -> &[Peer] {
        &self.live
    }

    /// A random one of them.
    pub(super) fn any(&mut self) -> Option<Peer> {
        self.rng.pick(&self.live).copied()
    }

    /// So many random nodes die at once.
    pub(super) fn crash(&mut self, count: usize) -> Vec<Peer> {
        let mut victims = self.live.clone();
        self.rng.shuffle(&mut victims);
        victims.truncate(count);
        for &victim in &victims {
            self.world.crash(victim);
        }
        self.live.retain(|&peer| self.world.is_alive(peer));
        victims
    }

    /// A share of the nodes dies at once.
    pub(super) fn crash_percent(&mut self, percent: u64) -> Vec<Peer> {
        let count = self.live.len() as u64 * percent / 100;
        self.crash(usize::try_from(count).expect("no more than there are"))
    }

    /// Nodes that have died begin anew, with nothing but the address of a random live one.
    pub(super) fn restart(&mut self, peers: &[Peer]) {
        for &peer in peers {
            let contact = self.any();
            let node = self.node(peer);
            self.world.restart(peer, node);
            self.broadcasts[peer.index()] = 0;
            if let Some(contact) = contact {
                self.world.command(peer, OPERATOR, &format!("join {contact}"));
            }
        }
        self.live.extend_from_slice(peers);
    }

    fn node(&self, peer: Peer) -> Node<Peer, L> {
        let seed = self.world.seed_for(peer);
        // Nodes that are added are not known to the world yet, so it cannot tell their lives.
        let known = peer.index() < self.broadcasts.len();
        let incarnation = if known { u64::from(self.world.crashes_of(peer)) } else { 0 };
        Node::new(peer, Arc::clone(&self.options), seed, (self.make)(peer, incarnation))
    }

    /// Who has whom in its active view, among the living, who are numbered anew.
    pub(super) fn graph(&self) -> Graph {
        let mut numbers = vec![None; self.broadcasts.len()];
        for (number, &peer) in (0u32..).zip(&self.live) {
            numbers[peer.index()] = Some(number);
        }
        let neighbours = |peer: Peer| {
            let active = self.world.agent(peer).into_iter().flat_map(|node| node.membership().active());
            active.filter_map(|other| numbers[other.index()]).collect::<Vec<u32>>()
        };
        Graph::new(self.live.iter().map(|&peer| neighbours(peer)))
    }

    /// How often each node is in the passive views of others, among the living.
    pub(super) fn passive_in_degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0; self.broadcasts.len()];
        for &peer in &self.live {
            for other in self.world.agent(peer).into_iter().flat_map(|node| node.membership().passive()) {
                degrees[other.index()] += 1;
            }
        }
        self.live.iter().map(|peer| degrees[peer.index()]).collect()
    }

    /// One node sends a broadcast. Its name.
    pub(super) fn send(&mut self, source: Peer) -> MessageId<Peer> {
        self.world.command(source, OPERATOR, "broadcast");
        self.broadcasts[source.index()] += 1;
        let seq = self.broadcasts[source.index()];
        MessageId { source, incarnation: u64::from(self.world.crashes_of(source)), seq }
    }

    /// To how many of `among` a broadcast has got, if it is the latest.
    pub(super) fn reached(&self, id: MessageId<Peer>, among: &[Peer]) -> Reached {
        let mut reached = Reached { nodes: 0, live: among.len() as u64, hops: 0 };
        for &peer in among {
            let latest = self.world.agent(peer).and_then(|node| node.layer().latest());
            let hops = match latest {
                _ if peer == id.source => Some(0),
                Some((latest, hops)) if latest == id => Some(hops),
                _ => None,
            };
            if let Some(hops) = hops {
                reached.nodes += 1;
                reached.hops = reached.hops.max(hops);
            }
        }
        reached
    }

    /// One node sends a broadcast, and time goes on until all live nodes have it, or until it will get no further: a number of units after which a
    /// flood is over wherever it could go.
    pub(super) fn broadcast(&mut self, source: Peer) -> Reached {
        let live = self.live.clone();
        self.broadcast_among(source, &live)
    }

    /// The same, but only `among` counts.
    pub(super) fn broadcast_among(&mut self, source: Peer, among: &[Peer]) -> Reached {
        let limit = self.setup.latency * BROADCAST_UNITS;
        self.broadcast_for(source, among, limit)
    }

    /// The same, for a broadcast that may take so long.
    pub(super) fn broadcast_for(&mut self, source: Peer, among: &[Peer], limit: Duration) -> Reached {
        let begin = self.now();
        let id = self.send(source);
        loop {
            // What has not come soon is not looked for often.
            self.pass((self.setup.latency * LOOK_UNITS).max(self.now().since(begin) / 4));
            let reached = self.reached(id, among);
            if reached.nodes == reached.live || self.now().since(begin) >= limit {
                return reached;
            }
        }
    }

    /// What all layers have sent. Those of the dead do not count any more.
    pub(super) fn sent(&self) -> Sent {
        let layers = self.live.iter().filter_map(|&peer| Some(self.world.agent(peer)?.layer().sent()));
        layers.fold(Sent::default(), |sum, sent| Sent {
            payloads: sum.payloads + sent.payloads,
            controls: sum.controls + sent.controls,
        })
    }
}

/// An overlay with floods on it, shuffled.
pub(super) fn flooding(setup: &Setup, seed: u64) -> Network<'_, Flood<Peer, Nothing>> {
    Network::shuffled(setup, seed, |me, incarnation| Flood::new(me, incarnation, SOURCES_MAX))
}

/// How many cycles of shuffling the papers let pass before they measure.
pub(super) const CYCLES: u32 = 50;
/// Who gives the commands.
const OPERATOR: Session = Session(0);
const EXPERIMENT: u64 = 0x6f76_6572_6c61_7921;
