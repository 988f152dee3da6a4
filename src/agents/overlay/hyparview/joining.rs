//! How a newcomer gets in (Section 4.2).

use super::HyParView;
use super::requests::Ask;
use crate::agents::overlay::{Control, Id};
use crate::time::Time;

impl<I: Id> HyParView<I> {
    /// Joins the overlay that `contact` is in. It can be called with one after the other: they are asked in turn until one has answered, and all
    /// are remembered until it leaves, for the case that it is left alone.
    pub fn join(&mut self, now: Time, contact: I) {
        self.start(now);
        if contact == self.me {
            return;
        }
        self.counts.joins = self.counts.joins.wrapping_add(1);
        let contacts = &mut self.requests.contacts;
        let known = contacts.iter().position(|other| *other == contact);
        if known.is_none() {
            if contacts.len() >= CONTACTS_MAX {
                contacts.remove(0);
            }
            contacts.push(contact);
        }
        if self.neighbour(contact).is_some() {
            return;
        }
        let contacts = &mut self.requests;
        if !contacts.joining {
            contacts.joining = true;
            // It is asked now, even if a round of requests has just come to nothing.
            contacts.contact = known.unwrap_or(contacts.contacts.len() - 1);
            contacts.contacts_asked = contacts.contacts_asked.min(contacts.contacts.len() - 1);
        }
        self.refill(now);
    }

    /// `JOIN`, which is always accepted: the newcomer becomes a neighbour, in the place of another one if need be, and all others learn of it.
    pub(super) fn joined(&mut self, now: Time, index: usize) {
        let joiner = self.links[index].peer;
        self.admit(now, index);
        self.acknowledge(joiner);
        self.tell_up(joiner);
        let ttl = self.options.arwl;
        for index in 0..self.active.len() {
            let peer = self.active.peers()[index];
            if peer != joiner {
                self.send_to_neighbour(now, peer, Control::ForwardJoin { joiner, ttl });
            }
        }
    }

    /// `FORWARDJOIN`: the newcomer's walk ends here, or goes on to a neighbour at random.
    pub(super) fn forward_join(&mut self, now: Time, from: I, joiner: I, ttl: u8) {
        if joiner == self.me {
            return self.ignore();
        }
        let ttl = ttl.min(self.options.arwl);
        if ttl == 0 || self.active.len() <= 1 {
            return self.adopt(now, joiner);
        }
        if ttl == self.options.prwl {
            self.add_passive(joiner, true);
        }
        match self.random_neighbour([from, joiner]) {
            Some(next) => {
                self.send_to_neighbour(now, next, Control::ForwardJoin { joiner, ttl: ttl - 1 });
            }
            // The paper does not say what is to happen where the newcomer is the only other neighbour: it is one already.
            None => self.adopt(now, joiner),
        }
    }

    /// The walk of a newcomer ends here: it is told so, and becomes a neighbour once it has answered.
    fn adopt(&mut self, now: Time, joiner: I) {
        if self.neighbour(joiner).is_some() {
            return;
        }
        let adopting = self.links.iter().filter(|link| link.asks() == Some(Ask::JoinReply)).count();
        if adopting >= self.options.active_size || !self.request(now, joiner, Ask::JoinReply) {
            self.add_passive(joiner, true);
        }
    }

    /// Answers a message that is always accepted, where the dialect has an answer.
    pub(super) fn acknowledge(&mut self, peer: I) {
        if self.own_dialect() {
            self.send(peer, Control::NeighbourReply { accept: true });
        }
    }
}

/// How many contacts are remembered for good.
const CONTACTS_MAX: usize = 10_000;
