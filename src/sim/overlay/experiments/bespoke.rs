//! The same rules without a world: arrays of nodes and one queue of messages, written for nothing but this. What a run in the simulated world costs is
//! compared with it, and its figures say what the paper's rules by themselves lead to.
//!
//! There are no links, no times and no lost messages: a message is handled when its turn comes, and whoever writes to the dead knows it at once. Rules:
//! `HyParView` (DSN 2007), Algorithm 1 and Sections 4.3 to 4.5.

use std::collections::VecDeque;

use super::graph::Graph;
use crate::agents::overlay::Options;
use crate::rng::Rng;

/// An overlay of such nodes.
#[derive(Debug)]
pub(crate) struct Bespoke {
    options: Options,
    rng: Rng,
    nodes: Vec<Member>,
    queue: VecDeque<Flight>,
    /// How many messages were handled.
    pub(crate) messages: u64,
}

#[derive(Debug)]
struct Member {
    alive: bool,
    active: Vec<u32>,
    passive: Vec<u32>,
    /// What was in its latest shuffle: leaves first when the reply is taken in.
    sent: Box<[u32]>,
    /// Whom it has asked since its views were whole.
    asked: Vec<u32>,
    /// How many of those have not answered.
    waiting: usize,
}

#[derive(Debug)]
struct Flight {
    from: u32,
    to: u32,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Join,
    ForwardJoin { joiner: u32, ttl: u8 },
    JoinReply,
    Neighbour { high: bool },
    Reply { accept: bool },
    Disconnect,
    Shuffle { origin: u32, ttl: u8, ids: Box<[u32]> },
    ShuffleReply { ids: Box<[u32]> },
}

impl Bespoke {
    /// `nodes` nodes that have joined one after the other through the first.
    pub(crate) fn build(nodes: u32, options: &Options, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let mut overlay =
            Self { options: options.clone(), rng, nodes: Vec::new(), queue: VecDeque::new(), messages: 0 };
        for node in 0..nodes {
            overlay.nodes.push(Member {
                alive: true,
                active: Vec::with_capacity(options.active_size),
                passive: Vec::new(),
                sent: Box::default(),
                asked: Vec::new(),
                waiting: 0,
            });
            if node > 0 {
                overlay.send(node, 0, Said::Join);
                overlay.settle();
            }
        }
        overlay
    }

    /// Lets every live node shuffle once, and ask for neighbours where it lacks some.
    pub(crate) fn cycle(&mut self) {
        for node in self.live() {
            self.at(node).asked.clear();
            self.refill(node);
            self.shuffle(node);
            self.settle();
        }
    }

    /// Lets a part of the nodes die at once. All others know which of their neighbours are dead, and repair what they can.
    pub(crate) fn crash(&mut self, percent: u32) {
        let mut victims: Vec<u32> = self.live();
        self.rng.shuffle(&mut victims);
        victims.truncate(victims.len() * percent as usize / 100);
        for &victim in &victims {
            self.at(victim).alive = false;
        }
        for node in self.live() {
            let mut active = std::mem::take(&mut self.at(node).active);
            active.retain(|&other| self.nodes[other as usize].alive);
            self.at(node).active = active;
            self.refill(node);
        }
        self.settle();
    }

    /// Who knows whom among the live nodes, which are numbered anew.
    pub(crate) fn graph(&self) -> Graph {
        let live = self.live();
        let mut numbers = vec![u32::MAX; self.nodes.len()];
        for (number, &node) in (0u32..).zip(&live) {
            numbers[node as usize] = number;
        }
        let neighbours =
            |&node: &u32| self.nodes[node as usize].active.iter().map(|&other| numbers[other as usize]);
        Graph::new(live.iter().map(|node| neighbours(node).filter(|&number| number != u32::MAX)))
    }

    fn live(&self) -> Vec<u32> {
        (0u32..).zip(&self.nodes).filter(|(_, member)| member.alive).map(|(node, _)| node).collect()
    }

    fn at(&mut self, node: u32) -> &mut Member {
        &mut self.nodes[node as usize]
    }

    fn send(&mut self, from: u32, to: u32, said: Said) {
        self.queue.push_back(Flight { from, to, said });
    }

    fn settle(&mut self) {
        while let Some(Flight { from, to, said }) = self.queue.pop_front() {
            self.messages += 1;
            if self.at(to).alive {
                self.handle(to, from, said);
            }
        }
    }

    fn handle(&mut self, me: u32, from: u32, said: Said) {
        match said {
            Said::Join => {
                self.accept(me, from);
                let ttl = self.options.arwl;
                for place in 0..self.at(me).active.len() {
                    let other = self.at(me).active[place];
                    if other != from {
                        self.send(me, other, Said::ForwardJoin { joiner: from, ttl });
                    }
                }
            }
            Said::ForwardJoin { joiner, ttl } => self.forward_join(me, from, joiner, ttl),
            Said::JoinReply => self.accept(me, from),
            Said::Neighbour { high } => {
                let accept = high || self.at(me).active.len() < self.options.active_size;
                if accept {
                    self.accept(me, from);
                } else {
                    self.send(me, from, Said::Reply { accept });
                }
            }
            Said::Reply { accept } => {
                let member = self.at(me);
                member.waiting = member.waiting.saturating_sub(1);
                if accept {
                    self.activate(me, from);
                }
                self.refill(me);
            }
            Said::Disconnect => {
                self.at(me).active.retain(|&other| other != from);
                self.learn(me, &[from], &[]);
                self.refill(me);
            }
            Said::Shuffle { origin, ttl, ids } => self.walk(me, from, origin, ttl, ids),
            Said::ShuffleReply { ids } => {
                let sent = std::mem::take(&mut self.at(me).sent);
                self.learn(me, &ids, &sent);
            }
        }
    }

    fn forward_join(&mut self, me: u32, from: u32, joiner: u32, ttl: u8) {
        let next = self.other_neighbour(me, &[from, joiner]);
        match next {
            Some(next) if ttl > 0 && self.at(me).active.len() > 1 => {
                if ttl == self.options.prwl {
                    self.learn(me, &[joiner], &[]);
                }
                self.send(me, next, Said::ForwardJoin { joiner, ttl: ttl - 1 });
            }
            _ if joiner != me && !self.at(me).active.contains(&joiner) => {
                self.activate(me, joiner);
                self.send(me, joiner, Said::JoinReply);
            }
            _ => {}
        }
    }

    fn shuffle(&mut self, me: u32) {
        let Some(to) = self.other_neighbour(me, &[]) else { return };
        let (k_active, k_passive, ttl) = (self.options.k_active, self.options.k_passive, self.options.arwl);
        let member = &mut self.nodes[me as usize];
        let mut ids = sample(&mut self.rng, &mut member.active, k_active);
        ids.extend(sample(&mut self.rng, &mut member.passive, k_passive));
        member.sent = ids.clone().into_boxed_slice();
        self.send(me, to, Said::Shuffle { origin: me, ttl, ids: ids.into_boxed_slice() });
    }

    fn walk(&mut self, me: u32, from: u32, origin: u32, ttl: u8, ids: Box<[u32]>) {
        if ttl > 0
            && let Some(next) = self.other_neighbour(me, &[from, origin])
        {
            return self.send(me, next, Said::Shuffle { origin, ttl: ttl - 1, ids });
        }
        let member = &mut self.nodes[me as usize];
        let reply = sample(&mut self.rng, &mut member.passive, ids.len() + 1).into_boxed_slice();
        self.learn(me, &[origin], &reply);
        self.learn(me, &ids, &reply);
        self.send(me, origin, Said::ShuffleReply { ids: reply });
    }

    /// Takes a neighbour in and tells it so.
    fn accept(&mut self, me: u32, peer: u32) {
        self.activate(me, peer);
        self.send(me, peer, Said::Reply { accept: true });
    }

    /// Puts somebody into the active view; where it is full, a random other has to leave.
    fn activate(&mut self, me: u32, peer: u32) {
        if peer == me || self.at(me).active.contains(&peer) {
            return;
        }
        if self.at(me).active.len() >= self.options.active_size {
            let place = self.rng.index(self.nodes[me as usize].active.len());
            let dropped = self.at(me).active.swap_remove(place);
            self.send(me, dropped, Said::Disconnect);
            self.learn(me, &[dropped], &[]);
        }
        self.at(me).passive.retain(|&other| other != peer);
        self.at(me).active.push(peer);
    }

    /// Puts ids into the passive view; where it is full, one of `first` leaves, or a random one.
    fn learn(&mut self, me: u32, ids: &[u32], first: &[u32]) {
        let Member { active, passive, .. } = &mut self.nodes[me as usize];
        for &id in ids {
            if id == me || active.contains(&id) || passive.contains(&id) {
                continue;
            }
            if passive.len() >= self.options.passive_size {
                let place = passive.iter().position(|id| first.contains(id));
                passive.swap_remove(place.unwrap_or_else(|| self.rng.index(passive.len())));
            }
            passive.push(id);
        }
    }

    /// Asks somebody for each place that is free; the dead are forgotten.
    fn refill(&mut self, me: u32) {
        loop {
            let Member { active, passive, asked, waiting, .. } = &mut self.nodes[me as usize];
            let candidates: Vec<u32> = passive.iter().copied().filter(|id| !asked.contains(id)).collect();
            if active.len() + *waiting >= self.options.active_size || candidates.is_empty() {
                return;
            }
            let (high, peer) = (active.is_empty(), candidates[self.rng.index(candidates.len())]);
            if self.nodes[peer as usize].alive {
                let member = self.at(me);
                member.asked.push(peer);
                member.waiting += 1;
                self.send(me, peer, Said::Neighbour { high });
            } else {
                self.at(me).passive.retain(|&other| other != peer);
            }
        }
    }

    /// A random neighbour that is none of `but`.
    fn other_neighbour(&mut self, me: u32, but: &[u32]) -> Option<u32> {
        let active = &self.nodes[me as usize].active;
        let fitting = active.iter().filter(|&other| !but.contains(other)).count();
        let place = self.rng.index(fitting);
        active.iter().copied().filter(|other| !but.contains(other)).nth(place)
    }
}

/// Some of `ids`, drawn; they change their places.
fn sample(rng: &mut Rng, ids: &mut [u32], count: usize) -> Vec<u32> {
    let count = count.min(ids.len());
    for place in 0..count {
        let other = place + rng.index(ids.len() - place);
        ids.swap(place, other);
    }
    ids[..count].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffled(nodes: u32, cycles: usize, seed: u64) -> Bespoke {
        let mut overlay = Bespoke::build(nodes, &Options::default(), seed);
        (0..cycles).for_each(|_| overlay.cycle());
        overlay
    }

    #[test]
    fn the_rules_lead_to_one_graph_of_equal_degree() {
        let overlay = shuffled(500, 20, 1);
        let graph = overlay.graph();
        assert_eq!(graph.component_sizes(), [500]);
        assert_eq!(graph.one_way(), 0, "views are symmetric once nothing is on its way");
        let full = graph.in_degrees().into_iter().filter(|&degree| degree == 5).count();
        assert!(full >= 490, "{full}");
        for (me, member) in (0u32..).zip(&overlay.nodes) {
            assert!(member.passive.len() <= 30 && !member.passive.contains(&me));
            assert!(member.active.iter().all(|id| *id != me && !member.passive.contains(id)));
        }
    }

    #[test]
    fn most_survivors_stay_together_when_most_nodes_die() {
        let mut overlay = shuffled(500, 20, 2);
        overlay.crash(80);
        let graph = overlay.graph();
        assert_eq!(graph.len(), 100);
        assert!(graph.component_sizes()[0] >= 98, "{:?}", graph.component_sizes());
    }

    #[test]
    fn a_seed_gives_the_same_overlay_again() {
        let figures = |seed| {
            let overlay = shuffled(100, 5, seed);
            (overlay.messages, overlay.graph().clustering())
        };
        assert_eq!(figures(3), figures(3));
        assert_ne!(figures(3), figures(4));
    }
}
