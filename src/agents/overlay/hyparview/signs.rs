//! Signs of life: a link on which nothing is said carries a `KEEPALIVE`, and a neighbour that says nothing is given up.

use std::time::Duration;

use super::HyParView;
use super::active::Notes;
use crate::agents::overlay::{Control, Effect, Id, Island, Reason};
use crate::time::Time;

impl<I: Id> HyParView<I> {
    pub(super) fn start_signs(&mut self, now: Time) {
        if !self.options.keep_alive.is_zero() {
            self.signs_at = now + self.rng.duration(Duration::ZERO, self.options.keep_alive);
            self.start_islands(now);
        }
    }

    /// A neighbour lives.
    pub(super) fn sign_given(&mut self, now: Time, index: usize, island: Option<Island<I>>) {
        self.active.notes_mut()[index].gives_signs = true;
        if let Some(island) = island {
            self.island_heard(now, island);
        }
    }

    /// There is news for all neighbours, of which there may be more in a moment.
    pub(super) fn signs_soon(&mut self, now: Time) {
        self.signs_at = self.signs_at.min(now + self.options.keep_alive / 16);
    }

    /// A node that did not run for a while, since its process was stopped say, has no right to call others silent: what they have said meanwhile
    /// is still to be read.
    pub(super) fn forgive_own_sleep(&mut self, now: Time) {
        let late = self.deadline().map_or(Duration::ZERO, |deadline| now.since(deadline));
        let usual = self.options.timeout / 16;
        let usual =
            if self.options.keep_alive.is_zero() { usual } else { usual.min(self.options.keep_alive / 2) };
        if late <= usual {
            return;
        }
        for notes in self.active.notes_mut() {
            notes.heard = now.min(notes.heard + late);
        }
        self.links.postpone(late);
        self.island_slept(late);
    }

    /// Looks at all neighbours, once in a period.
    pub(super) fn give_signs(&mut self, now: Time) {
        let period = self.options.keep_alive;
        self.signs_at = now + period;
        // Nodes of `gen_hypar` never give a sign; of them, silence says nothing.
        let all_give_signs = self.own_dialect();
        let silent = |notes: &Notes| {
            now.since(notes.heard) > period * SILENT_PERIODS && (all_give_signs || notes.gives_signs)
        };
        while let Some(index) = self.active.notes().iter().position(silent) {
            self.lose(now, index, Reason::Silent);
        }
        let island = self.island_beats(now);
        for index in 0..self.active.len() {
            let peer = self.active.peers()[index];
            let notes = &mut self.active.notes_mut()[index];
            let news = island.is_some() && !notes.told;
            if news || now.since(notes.sent) >= period {
                notes.told = true;
                notes.sent = now;
                self.effects.push_back(Effect::Send(peer, Control::KeepAlive(island)));
            }
        }
    }
}

/// After how many periods of silence a neighbour is given up.
const SILENT_PERIODS: u32 = 3;
