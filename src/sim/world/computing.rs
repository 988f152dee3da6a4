//! Long work of agents: each agent has one worker, which does one piece after the other, each in a time that is drawn.

use std::collections::{BTreeMap, VecDeque};

use super::{Agent, Event, World, mark};
use crate::agent::{Done, Input, Peer, Work};
use crate::compute::compute;
use crate::rng::Rng;
use crate::time::Time;
use crate::trace::What;

/// The workers of all agents that have asked for work.
#[derive(Debug)]
pub(super) struct Workers {
    /// What is drawn comes from here.
    rng: Rng,
    of: BTreeMap<Peer, Worker>,
}

#[derive(Debug)]
struct Worker {
    works: VecDeque<(u64, Work)>,
    /// When it is done with all of them.
    free_at: Time,
}

impl Workers {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, of: BTreeMap::new() }
    }
}

impl<A: Agent> World<A> {
    /// Carries out [`Output::Compute`](crate::agent::Output::Compute).
    pub(super) fn ask_work(&mut self, peer: Peer, token: u64, work: Work) {
        self.digest(mark::COMPUTE, peer, token);
        let incarnation = self.node(peer).incarnation;
        let takes = self.settings.computing.draw(&mut self.workers.rng);
        let idle = Worker { works: VecDeque::new(), free_at: self.now };
        let worker = self.workers.of.entry(peer).or_insert(idle);
        worker.works.push_back((token, work));
        worker.free_at = worker.free_at.max(self.now) + takes;
        let at = worker.free_at;
        self.push(at, Event::Computed { peer, incarnation });
    }

    pub(super) fn computed(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Computed { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        let Some((token, work)) = self.workers.of.get_mut(&peer).and_then(|worker| worker.works.pop_front())
        else {
            return;
        };
        let done = compute(&work);
        self.digest(mark::COMPUTED, peer, token);
        if let Done::Hash(text) | Done::Failed(text) = &done {
            self.digest.bytes(text.as_bytes());
        }
        self.tell(peer, |_| What::Note { text: format!("work {token} is done") });
        self.hand(peer, Input::Computed { token, done });
    }

    /// Forgets the work of an agent that has crashed.
    pub(super) fn crash_worker(&mut self, peer: Peer) {
        self.workers.of.remove(&peer);
    }
}
