//! How passive views are kept fresh (Section 4.4).

use std::time::Duration;

use smallvec::SmallVec;

use super::HyParView;
use super::views::sample;
use crate::agents::overlay::{Control, Effect, Id};
use crate::time::Time;

/// This node's own shuffle.
#[derive(Debug)]
pub(super) struct Shuffling<I> {
    number: u32,
    /// How often it was time for one, up to where all come after the whole period.
    times: u8,
    /// Whether an answer is waited for. There is at most one, to the latest shuffle.
    asked: bool,
    /// What was sent in it.
    sent: SmallVec<[I; 7]>,
}

impl<I> Default for Shuffling<I> {
    fn default() -> Self {
        Self { number: 0, times: 0, asked: false, sent: SmallVec::new() }
    }
}

impl<I: Id> HyParView<I> {
    /// The first shuffle comes after a random part of its time, so that nodes which start together do not shuffle together.
    pub(super) fn start_shuffling(&mut self, now: Time) {
        self.shuffle_at = now + self.rng.duration(Duration::ZERO, self.shuffle_pause());
    }

    /// How long it is to the next shuffle. The first ones come sooner: a node that has hardly heard of anybody would be alone for good if its neighbours
    /// and its contact died together.
    fn shuffle_pause(&self) -> Duration {
        let sooner = self.options.early_shuffles.saturating_sub(self.shuffling.times);
        self.options.shuffle_period / (1 << sooner)
    }

    /// Sends off a sample of both views and the own name.
    pub(super) fn shuffle(&mut self, now: Time) {
        self.shuffling.times = self.shuffling.times.saturating_add(1);
        self.shuffle_at = now + self.shuffle_pause();
        self.refill(now);
        let Some(index) = (!self.active.is_empty()).then(|| self.rng.index(self.active.len())) else {
            return;
        };
        let to = self.active.peers()[index];
        self.counts.shuffles = self.counts.shuffles.wrapping_add(1);
        let mut ids = Vec::with_capacity(self.options.active_size.max(self.options.shuffle_size()));
        ids.extend(self.active().filter(|peer| *peer != to));
        self.rng.shuffle(&mut ids);
        ids.truncate(self.options.k_active);
        sample(&mut self.rng, self.passive.ids(), self.options.k_passive, &mut ids);
        self.shuffling.number = match self.shuffling.number.wrapping_add(1) {
            _ if !self.own_dialect() => 0,
            0 => 1,
            number => number,
        };
        self.shuffling.asked = true;
        self.shuffling.sent.clear();
        self.shuffling.sent.extend(ids.iter().copied());
        let (origin, number, ttl) = (self.me, self.shuffling.number, self.options.arwl);
        self.send_to_neighbour(now, to, Control::Shuffle { origin, number, ttl, ids: ids.into() });
    }

    /// `SHUFFLE`: goes on to a neighbour at random, or ends here and is answered.
    pub(super) fn shuffle_walks(
        &mut self,
        now: Time,
        from: I,
        origin: I,
        number: u32,
        ttl: u8,
        ids: Box<[I]>,
    ) {
        let ttl = ttl.min(self.options.arwl).saturating_sub(1);
        if ttl > 0
            && self.active.len() > 1
            && let Some(next) = self.random_neighbour([from, from])
        {
            return self.send_to_neighbour(now, next, Control::Shuffle { origin, number, ttl, ids });
        }
        if origin == self.me {
            // It has come back to where it began. There is nothing to learn.
            return;
        }
        self.look_at_names();
        let ids = &ids[..ids.len().min(self.options.shuffle_size())];
        let mut answer = Vec::with_capacity(ids.len() + 1);
        sample(&mut self.rng, self.passive.ids(), ids.len() + 1, &mut answer);
        self.integrate(std::iter::once(origin).chain(ids.iter().copied()), &answer);
        self.effects.push_back(Effect::Post(origin, Control::ShuffleReply { number, ids: answer.into() }));
        self.refill(now);
    }

    /// `SHUFFLEREPLY`: taken only if it was asked for, and once.
    pub(super) fn shuffle_answered(&mut self, now: Time, number: u32, ids: &[I]) {
        if !self.shuffling.asked || number != self.shuffling.number {
            return self.ignore();
        }
        self.shuffling.asked = false;
        self.look_at_names();
        let sent = std::mem::take(&mut self.shuffling.sent);
        self.integrate(ids.iter().copied().take(self.options.shuffle_size() + 1), &sent);
        self.shuffling.sent = sent;
        self.refill(now);
    }

    /// Looks at all that [`Self::integrate`] will look at.
    #[inline]
    fn look_at_names(&self) {
        self.passive.look_ahead();
        self.memory.look_ahead();
    }

    /// Takes ids into the passive view. Where it is full, those go first that the other side has just got, then any.
    fn integrate(&mut self, ids: impl Iterator<Item = I>, sent: &[I]) {
        let mut sent = sent.iter().copied();
        for id in ids {
            if self.is_known(id) {
                continue;
            }
            if self.passive.is_full()
                && let Some(evicted) = sent.find(|id| self.passive.remove(*id))
            {
                self.remember(evicted);
            }
            self.put_passive(id, true);
        }
    }
}
