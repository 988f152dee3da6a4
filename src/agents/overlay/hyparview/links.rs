//! The links that are no neighbours': each is on its way to become one, or has been one.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::requests::Ask;
use super::{HyParView, NEVER};
use crate::agent::{Epoch, Why};
use crate::agents::overlay::{Effect, Id, Reason};
use crate::time::Time;

/// One such link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<I> {
    pub(super) peer: I,
    /// Of the link; meaningless while connecting.
    pub(super) epoch: Epoch,
    pub(super) stage: Stage,
    /// When it is given up.
    pub(super) deadline: Time,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has been asked for, to ask something on it.
    Connecting(Ask),
    /// It is up, and the question sent.
    Asked(Ask),
    /// Somebody else has opened it, and has not said what for.
    Incoming,
    /// Somebody else has opened it, and has a promise to become a neighbour in the place of another one.
    Promised,
    /// It was a neighbour's, who has been sent `DISCONNECT`. What comes before the end still reaches the layer, which then learns of the loss.
    Draining,
    /// All is said. The other end closes it, or this one has done so.
    Closing,
}

/// All of them, the oldest first. There are few at a time, mostly none.
#[derive(Debug)]
pub(super) struct Links<I>(Vec<Link<I>>);

impl<I> Default for Links<I> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<I: Id> Links<I> {
    #[inline]
    pub(super) fn find(&self, peer: I) -> Option<usize> {
        self.0.iter().position(|link| link.peer == peer)
    }

    pub(super) fn push(&mut self, link: Link<I>) {
        self.0.push(link);
    }

    pub(super) fn pop(&mut self) -> Option<Link<I>> {
        self.0.pop()
    }

    pub(super) fn remove(&mut self, index: usize) -> Link<I> {
        let link = self.0.remove(index);
        if self.0.is_empty() && self.0.capacity() > LINKS_KEPT {
            self.0 = Vec::new();
        }
        link
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Link<I>> {
        self.0.iter()
    }

    /// One whose time is over.
    pub(super) fn due(&self, now: Time) -> Option<usize> {
        self.0.iter().position(|link| link.deadline <= now)
    }

    /// Gives all of them more time.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.0.iter_mut().for_each(|link| link.deadline = link.deadline + by);
    }

    pub(super) fn deadline(&self) -> Time {
        self.0.iter().map(|link| link.deadline).min().unwrap_or(NEVER)
    }
}

impl<I> Index<usize> for Links<I> {
    type Output = Link<I>;

    fn index(&self, index: usize) -> &Link<I> {
        &self.0[index]
    }
}

impl<I> IndexMut<usize> for Links<I> {
    fn index_mut(&mut self, index: usize) -> &mut Link<I> {
        &mut self.0[index]
    }
}

impl<I> Link<I> {
    /// What is being asked on it.
    pub(super) fn asks(&self) -> Option<Ask> {
        match self.stage {
            Stage::Connecting(ask) | Stage::Asked(ask) => Some(ask),
            Stage::Incoming | Stage::Promised | Stage::Draining | Stage::Closing => None,
        }
    }

    /// Whether an answer is waited for that makes somebody a neighbour where there is a place.
    pub(super) fn asked_for_place(&self) -> bool {
        matches!(self.stage, Stage::Asked(ask) if ask != Ask::Exchange)
    }
}

impl<I: Id> HyParView<I> {
    /// Closes a link from this end. Nobody is asked over a new one before the host has said that this one is gone.
    pub(super) fn close(&mut self, now: Time, index: usize) {
        let link = &mut self.links[index];
        link.stage = Stage::Closing;
        link.deadline = now + self.options.timeout;
        self.effects.push_back(Effect::Unlink(link.peer));
    }

    /// A link that is no neighbour's is gone.
    pub(super) fn link_is_down(&mut self, now: Time, index: usize, why: Why) {
        let link = self.links.remove(index);
        match link.stage {
            Stage::Draining => self.effects.push_back(Effect::Down(link.peer, Reason::Demoted)),
            // Where two have dialled each other at once, one of the links is closed, and perhaps not the one on which both have asked.
            Stage::Asked(ask) if why == Why::Closed && ask != Ask::Exchange => {
                let deadline = now + self.options.timeout / 16;
                self.links.push(Link { stage: Stage::Connecting(ask), deadline, ..link });
            }
            Stage::Connecting(ask) | Stage::Asked(ask) => self.request_failed(now, link.peer, ask, why),
            Stage::Incoming | Stage::Promised | Stage::Closing => {}
        }
        self.exchange_over(now, link.peer);
        // Whoever was passed over because of this link can be asked again.
        if self.active.is_empty() {
            self.refill(now);
        }
    }

    /// The time of a link that is no neighbour's is over.
    pub(super) fn link_is_late(&mut self, now: Time, index: usize) {
        self.effects.push_back(Effect::Unlink(self.links[index].peer));
        self.link_is_down(now, index, Why::Broken);
    }

    /// Gives up the oldest of the links that this node has no interest in, where there are too many: strangers could open any number.
    pub(super) fn make_room_for_a_link(&mut self) {
        let idle = |link: &Link<I>| matches!(link.stage, Stage::Incoming | Stage::Closing | Stage::Draining);
        if self.links.iter().filter(|link| idle(link)).count() < LINKS_IDLE_MAX {
            return;
        }
        if let Some(index) = self.links.iter().position(idle) {
            let link = self.links.remove(index);
            if link.stage == Stage::Draining {
                self.effects.push_back(Effect::Down(link.peer, Reason::Demoted));
            }
            self.effects.push_back(Effect::Unlink(link.peer));
        }
    }
}

/// How many links may be open on which nothing is asked.
pub(super) const LINKS_IDLE_MAX: usize = 128;

/// How many have room at rest.
const LINKS_KEPT: usize = 4;
