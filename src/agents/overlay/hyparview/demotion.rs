//! How somebody ceases to be a neighbour.

use super::HyParView;
use super::links::{Link, Stage};
use crate::agents::overlay::{Control, Effect, Id, Reason};
use crate::time::Time;

impl<I: Id> HyParView<I> {
    /// Makes room in the active view (Algorithm 1, `dropRandomElementFromActiveView`): a neighbour at random is sent off.
    pub(super) fn make_room(&mut self, now: Time) {
        while self.active.len() >= self.options.active_size {
            let index = self.rng.index(self.active.len());
            self.demote(now, index);
        }
    }

    /// Sends a neighbour off. Its link is closed by the other end, so that what it has said until then arrives.
    pub(super) fn demote(&mut self, now: Time, index: usize) {
        let (peer, epoch) = self.active.remove(index);
        self.counts.demoted = self.counts.demoted.wrapping_add(1);
        self.send(peer, Control::Disconnect);
        self.make_room_for_a_link();
        self.links.push(Link { peer, epoch, stage: Stage::Draining, deadline: now + self.options.timeout });
        self.add_passive(peer, false);
    }

    /// A neighbour has sent this node off. It lives, and is known further on (Algorithm 1, `Disconnect`).
    pub(super) fn sent_off(&mut self, now: Time, index: usize) {
        let (peer, epoch) = self.active.remove(index);
        self.counts.demoted = self.counts.demoted.wrapping_add(1);
        self.effects.push_back(Effect::Down(peer, Reason::Demoted));
        self.make_room_for_a_link();
        self.links.push(Link { peer, epoch, stage: Stage::Closing, deadline: now + self.options.timeout });
        self.effects.push_back(Effect::Unlink(peer));
        self.add_passive(peer, false);
        self.exchange_lost(now, peer);
        self.neighbour_lost(now);
    }

    /// The link of a neighbour is gone, or worth nothing. It may be dead, or only out of reach: it is remembered, but not asked soon.
    pub(super) fn lose(&mut self, now: Time, index: usize, reason: Reason) {
        let (peer, epoch) = self.active.remove(index);
        self.counts.lost = self.counts.lost.wrapping_add(1);
        self.effects.push_back(Effect::Down(peer, reason));
        if reason == Reason::Silent {
            self.make_room_for_a_link();
            self.links.push(Link {
                peer,
                epoch,
                stage: Stage::Closing,
                deadline: now + self.options.timeout,
            });
            self.effects.push_back(Effect::Unlink(peer));
        }
        self.remember_lost(peer);
        self.exchange_lost(now, peer);
        self.neighbour_lost(now);
    }

    /// Puts somebody into the passive view, in the place of any other if it is full (Algorithm 1, `addNodePassiveView`); who had to go is remembered.
    pub(super) fn add_passive(&mut self, id: I, fresh: bool) {
        if !self.is_known(id) {
            self.put_passive(id, fresh);
        }
    }

    /// Whether somebody is a neighbour, in the passive view, or this node itself.
    #[inline]
    pub(super) fn is_known(&self, id: I) -> bool {
        id == self.me || self.neighbour(id).is_some() || self.passive.contains(id)
    }

    /// Puts somebody who is not known into the passive view.
    pub(super) fn put_passive(&mut self, id: I, fresh: bool) {
        if let Some(evicted) = self.passive.insert(id, fresh, &mut self.rng) {
            self.remember(evicted);
        }
    }

    /// Keeps a name for worse times.
    pub(super) fn remember(&mut self, id: I) {
        self.memory.insert(id, true, &mut self.rng);
    }

    /// Keeps the name of somebody who is dead, or only out of reach: not asked before the next round.
    pub(super) fn remember_lost(&mut self, id: I) {
        if !self.memory.names().contains(id) {
            self.memory.insert(id, false, &mut self.rng);
        }
    }
}
