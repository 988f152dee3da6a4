//! A few dozen nodes and the links between them, with a latency of one: enough to try the rules without a simulated world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Effect, HyParView};
use crate::agent::{Epoch, Peer, Why};
use crate::agents::overlay::{Control, Options};
use crate::rng::Rng;
use crate::time::Time;

pub(super) type Overlay = HyParView<Peer>;

/// How much longer it takes from one town to another.
pub(super) const TOWNS_APART: u32 = 20;

/// How long everything takes: a link to come up, a message to arrive.
pub(super) const LATENCY: Duration = Duration::from_millis(1);

enum Event {
    Connect(u32, u32),
    Up(u32, u32, Epoch),
    Down(u32, u32, Epoch, Why),
    Message(u32, u32, Epoch, Control<Peer>),
    Post(u32, Control<Peer>),
}

pub(super) struct Net {
    pub(super) nodes: Vec<Option<Overlay>>,
    /// Who is cut off from whom: those of different sides.
    pub(super) side: Vec<u8>,
    /// In which town each is; from one to another everything takes so many times longer.
    pub(super) town: Vec<u8>,
    /// What the layer on each node has been told to be its neighbours.
    pub(super) told: Vec<BTreeSet<Peer>>,
    pub(super) sent: u64,
    now: Time,
    options: Options,
    events: BTreeMap<(Time, u64), Event>,
    at_once: VecDeque<Event>,
    number: u64,
    /// Of each pair, the smaller first: the current link, and whether it is up.
    links: BTreeMap<(u32, u32), (Epoch, bool)>,
    epoch: u32,
    /// Who has closed which link.
    closed: BTreeSet<(Epoch, u32)>,
    deadlines: BTreeSet<(Time, u32)>,
    rng: Rng,
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

impl Net {
    pub(super) fn new(count: u32, options: Options, seed: u64) -> Self {
        let node = |id| Some(HyParView::new(Peer(id), options.clone(), seed * 1_000_003 + u64::from(id)));
        let mut net = Self {
            nodes: (0..count).map(node).collect(),
            side: vec![0; count as usize],
            town: vec![0; count as usize],
            told: vec![BTreeSet::new(); count as usize],
            sent: 0,
            now: Time::ZERO,
            options,
            events: BTreeMap::new(),
            at_once: VecDeque::new(),
            number: 0,
            links: BTreeMap::new(),
            epoch: 0,
            closed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            rng: Rng::new(seed),
        };
        (0..count).for_each(|id| net.act(id, Overlay::start));
        net
    }

    /// An overlay in which all have joined through node 0, one after the other, and then some time has passed.
    pub(super) fn joined(count: u32, options: Options, seed: u64, run: Duration) -> Self {
        let mut net = Self::new(count, options, seed);
        for id in 1..count {
            net.act(id, |node, now| node.join(now, Peer(0)));
            net.run(LATENCY * 5);
        }
        net.run(run);
        net
    }

    /// Does something with a node, then what it wants done, then looks at its views.
    pub(super) fn act(&mut self, id: u32, act: impl FnOnce(&mut Overlay, Time)) {
        let now = self.now;
        let Some(node) = &mut self.nodes[id as usize] else { return };
        let before = node.deadline();
        act(node, now);
        let effects: Vec<Effect<Peer>> = node.take_effects().collect();
        let after = node.deadline();
        check_views(node, &self.options);
        if let Some(before) = before {
            self.deadlines.remove(&(before, id));
        }
        if let Some(after) = after {
            self.deadlines.insert((after, id));
        }
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn later(&mut self, from: u32, to: u32, event: Event) {
        self.number += 1;
        let latency =
            if self.town[from as usize] == self.town[to as usize] { LATENCY } else { LATENCY * TOWNS_APART };
        self.events.insert((self.now + latency, self.number), event);
    }

    fn carry_out(&mut self, id: u32, effect: Effect<Peer>) {
        match effect {
            Effect::Link(Peer(to)) => self.later(id, to, Event::Connect(id, to)),
            Effect::Unlink(Peer(to)) => {
                if let Some((epoch, true)) = self.links.remove(&pair(id, to)) {
                    self.closed.insert((epoch, id));
                    self.at_once.push_back(Event::Down(id, to, epoch, Why::Closed));
                    self.later(id, to, Event::Down(to, id, epoch, Why::Closed));
                }
            }
            Effect::Send(Peer(to), control) => {
                if let Some((epoch, true)) = self.links.get(&pair(id, to)).copied() {
                    self.sent += 1;
                    self.later(id, to, Event::Message(id, to, epoch, control));
                }
            }
            Effect::Post(Peer(to), control) => {
                self.sent += 1;
                if self.side[id as usize] == self.side[to as usize] {
                    self.later(id, to, Event::Post(to, control));
                }
            }
            Effect::Up(peer) => assert!(self.told[id as usize].insert(peer), "{id} was told of {peer} twice"),
            Effect::Down(peer, _) => {
                assert!(self.told[id as usize].remove(&peer), "{id} had no neighbour {peer}");
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(from, to) => {
                if self.links.contains_key(&pair(from, to)) {
                    return;
                }
                let reached = self.side[from as usize] == self.side[to as usize];
                if self.nodes[to as usize].is_none() || !reached {
                    return self.happen(Event::Down(from, to, Epoch(0), Why::Unreachable));
                }
                self.epoch += 1;
                let epoch = Epoch(self.epoch);
                self.links.insert(pair(from, to), (epoch, true));
                self.happen(Event::Up(from, to, epoch));
                self.happen(Event::Up(to, from, epoch));
            }
            Event::Up(id, peer, epoch) => self.act(id, |node, now| node.link_up(now, Peer(peer), epoch)),
            Event::Down(id, peer, epoch, why) => {
                self.act(id, |node, now| node.link_down(now, Peer(peer), epoch, why));
            }
            Event::Message(from, to, epoch, control) => {
                // What is on its way to somebody who closes the link is lost; to the other end it arrives.
                let reached = self.side[from as usize] == self.side[to as usize];
                if reached && !self.closed.contains(&(epoch, to)) {
                    self.act(to, |node, now| node.received(now, Peer(from), control));
                }
            }
            Event::Post(to, control) => self.act(to, |node, now| node.received_by_post(now, control)),
        }
        while let Some(event) = self.at_once.pop_front() {
            self.happen(event);
        }
    }

    /// Lets some time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(event) = self.at_once.pop_front() {
                self.happen(event);
            }
            let event = self.events.first_key_value().map(|(key, _)| *key);
            let deadline = self.deadlines.first().copied();
            let next = match (event, deadline) {
                (Some(event), Some(deadline)) => event.0.min(deadline.0),
                (Some(event), None) => event.0,
                (None, Some(deadline)) => deadline.0,
                (None, None) => break,
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            match event {
                Some(key) if key.0 == next => {
                    let event = self.events.remove(&key).expect("it is first");
                    self.happen(event);
                }
                _ => {
                    let (_, id) = deadline.expect("it is due");
                    self.act(id, |node, now| {
                        node.timeout(now);
                        assert!(node.deadline() > Some(now), "node {id} would never come to rest");
                    });
                }
            }
        }
        self.now = end;
    }

    /// Ends a node; the others learn it from their links.
    pub(super) fn kill(&mut self, id: u32) {
        if let Some(deadline) = self.nodes[id as usize].take().and_then(|node| node.deadline()) {
            self.deadlines.remove(&(deadline, id));
        }
        self.told[id as usize].clear();
        let links: Vec<_> = self.links.keys().copied().filter(|pair| pair.0 == id || pair.1 == id).collect();
        for link in links {
            let (epoch, _) = self.links.remove(&link).expect("listed");
            let other = if link.0 == id { link.1 } else { link.0 };
            self.later(id, other, Event::Down(other, id, epoch, Why::Broken));
        }
    }

    /// Cuts all nodes below `limit` off from the others: nothing gets through, and nobody is told.
    pub(super) fn cut(&mut self, limit: u32) {
        (0..limit).for_each(|id| self.side[id as usize] = 1);
    }

    /// Ends that.
    pub(super) fn mend(&mut self) {
        self.side.fill(0);
    }

    /// Starts a node anew, if it has ended; it knows nothing of before.
    pub(super) fn revive(&mut self, id: u32, contact: Peer) {
        if self.nodes[id as usize].is_none() {
            self.nodes[id as usize] = Some(HyParView::new(Peer(id), self.options.clone(), self.rng.number()));
            self.act(id, |node, now| node.join(now, contact));
        }
    }

    /// Ends `count` nodes, taken at random.
    pub(super) fn kill_some(&mut self, count: u32) {
        let mut ids = self.alive();
        self.rng.shuffle(&mut ids);
        ids.iter().take(count as usize).for_each(|id| self.kill(*id));
    }

    pub(super) fn alive(&self) -> Vec<u32> {
        (0..).zip(&self.nodes).filter(|(_, node)| node.is_some()).map(|(id, _)| id).collect()
    }

    pub(super) fn node(&self, id: u32) -> &Overlay {
        self.nodes[id as usize].as_ref().expect("alive")
    }

    /// The sizes of the connected parts, over links that both ends call active; the largest first.
    pub(super) fn parts(&self) -> Vec<usize> {
        let mut left: BTreeSet<u32> = self.alive().into_iter().collect();
        let mut parts = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut seen, mut stack) = (1, vec![first]);
            while let Some(id) = stack.pop() {
                for Peer(peer) in self.node(id).active() {
                    if left.contains(&peer) && self.node(peer).active().any(|other| other == Peer(id)) {
                        left.remove(&peer);
                        seen += 1;
                        stack.push(peer);
                    }
                }
            }
            parts.push(seen);
        }
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(*part));
        parts
    }

    /// How many entries of active views name somebody in another town, and how many there are.
    pub(super) fn measure(&self) -> (usize, usize) {
        let (mut far, mut all) = (0, 0);
        for id in self.alive() {
            for Peer(peer) in self.node(id).active() {
                all += 1;
                far += usize::from(self.town[id as usize] != self.town[peer as usize]);
            }
        }
        (far, all)
    }

    /// How many entries of active views are not returned.
    pub(super) fn one_sided(&self) -> usize {
        let mut count = 0;
        for id in self.alive() {
            for Peer(peer) in self.node(id).active() {
                let returned = self.nodes[peer as usize]
                    .as_ref()
                    .is_some_and(|node| node.active().any(|other| other == Peer(id)));
                count += usize::from(!returned);
            }
        }
        count
    }
}

/// What has to be true of a node's views after each input.
pub(super) fn check_views(node: &Overlay, options: &Options) {
    let (active, passive): (Vec<Peer>, Vec<Peer>) = (node.active().collect(), node.passive().collect());
    assert!(active.len() <= options.active_size, "{active:?}");
    assert!(passive.len() <= options.passive_size, "{passive:?}");
    let mut all: Vec<Peer> = active.iter().chain(&passive).copied().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "active {active:?}, passive {passive:?}");
    assert!(!all.contains(&node.me()), "itself");
}
