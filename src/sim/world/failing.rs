//! Agents that crash, start again, stand still and go on.

use super::links::LinkId;
use super::{Agent, Event, Held, World, mark};
use crate::agent::Peer;
use crate::trace::What;

impl<A: Agent> World<A> {
    /// Crashes an agent: it is gone, with what its disk had not synced. Without effect if it has crashed already.
    pub fn crash(&mut self, peer: Peer) {
        let node = self.node_mut(peer);
        if node.agent.take().is_none() {
            return;
        }
        node.started = false;
        node.paused = false;
        node.incarnation += 1;
        let held = std::mem::take(&mut node.held);
        self.drop_held(held);
        self.disarm(peer);
        self.happened.crashed.push(peer);
        self.happened.touched.push(peer);
        self.digest(mark::CRASH, peer, 0);
        self.tell(peer, |_| What::Crash);
        self.crash_disk(peer);
        self.crash_worker(peer);
        self.crash_outside(peer);
        // Whoever learns of it may open and close links.
        let links: Vec<LinkId> = self.links.of(peer).iter().map(|&(_, link)| link).collect();
        for link in links {
            if self.links.is_there(link) && self.links.get(link).ends.contains(&peer) {
                self.end_died(link, peer);
            }
        }
    }

    /// Starts an agent in the place of one that has crashed. What its disk kept comes back first, then it starts, then its links come
    /// up again.
    ///
    /// # Panics
    /// If the one before has not crashed.
    pub fn restart(&mut self, peer: Peer, agent: A) {
        let node = self.node_mut(peer);
        assert!(node.agent.is_none(), "agent {peer} has not crashed, so nobody can take its place");
        node.agent = Some(agent);
        // What its log brings back is already part of its new life.
        self.tell(peer, |_| What::Start);
        self.replay_disk(peer);
        self.begin(peer);
        self.connect_all_of(peer);
    }

    /// Stops an agent from running: whatever is for it waits. Without effect on one that has crashed.
    pub fn pause(&mut self, peer: Peer) {
        let node = self.node_mut(peer);
        if node.agent.is_none() || node.paused {
            return;
        }
        node.paused = true;
        self.digest(mark::PAUSE, peer, 0);
        self.tell(peer, |_| What::Pause);
    }

    /// Lets an agent run on. Without effect on one that runs.
    pub fn resume(&mut self, peer: Peer) {
        let node = self.node_mut(peer);
        if !node.paused {
            return;
        }
        node.paused = false;
        self.digest(mark::RESUME, peer, 0);
        self.tell(peer, |_| What::Resume);
        self.catch_up(peer);
        self.schedule_lanes_of(peer);
        self.free_outside();
        self.connect_all_of(peer);
    }

    /// Drops the messages among what waited for an agent that is gone.
    fn drop_held(&mut self, held: Vec<Held>) {
        for held in held {
            match held {
                Held::Event(Event::Datagram { slot } | Event::Own { slot, .. }) => {
                    let flight = self.flights.remove(slot);
                    self.tell_drop(flight.from, flight.to, flight.id, "the receiver crashed");
                }
                Held::Event(Event::Letter { letter }) => self.drop_letter(letter),
                _ => {}
            }
        }
    }

    fn connect_all_of(&mut self, peer: Peer) {
        for place in 0..self.links.of(peer).len() {
            let (_, link) = self.links.of(peer)[place];
            self.connect(link);
        }
    }
}
