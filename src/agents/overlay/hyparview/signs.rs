//! Signs of life: a link on which nothing is said carries a `KEEPALIVE`, and a neighbour that says nothing is given up.

use std::time::Duration;

use super::{HyParView, NEVER, Neighbour};
use crate::agents::overlay::{Control, Effect, Id, Island, Reason};
use crate::time::Time;

/// When to look.
#[derive(Debug)]
pub(super) struct Signs {
    at: Time,
}

impl Default for Signs {
    fn default() -> Self {
        Self { at: NEVER }
    }
}

impl Signs {
    pub(super) fn due(&self) -> Time {
        self.at
    }
}

impl<I: Id> HyParView<I> {
    pub(super) fn start_signs(&mut self, now: Time) {
        if !self.options.keep_alive.is_zero() {
            self.signs.at = now + self.rng.duration(Duration::ZERO, self.options.keep_alive);
            self.start_islands(now);
        }
    }

    /// A neighbour lives.
    pub(super) fn sign_given(&mut self, now: Time, index: usize, island: Option<Island<I>>) {
        self.active[index].gives_signs = true;
        if let Some(island) = island {
            self.island_heard(now, island);
        }
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
        for neighbour in &mut self.active {
            neighbour.heard = now.min(neighbour.heard + late);
        }
        self.links.postpone(late);
        self.island_slept(late);
    }

    /// Looks at all neighbours, once in a period.
    pub(super) fn give_signs(&mut self, now: Time) {
        let period = self.options.keep_alive;
        self.signs.at = now + period;
        // Nodes of `gen_hypar` never give a sign; of them, silence says nothing.
        let all_give_signs = self.own_dialect();
        let silent = |neighbour: &Neighbour<I>| {
            now.since(neighbour.heard) > period * SILENT_PERIODS && (all_give_signs || neighbour.gives_signs)
        };
        while let Some(index) = self.active.iter().position(silent) {
            self.lose(now, index, Reason::Silent);
        }
        let island = self.island_beats(now);
        for index in 0..self.active.len() {
            let neighbour = &mut self.active[index];
            let news = island.is_some() && !neighbour.told;
            if news || now.since(neighbour.sent) >= period {
                neighbour.told = true;
                neighbour.sent = now;
                self.effects.push_back(Effect::Send(neighbour.peer, Control::KeepAlive(island)));
            }
        }
    }
}

/// After how many periods of silence a neighbour is given up.
const SILENT_PERIODS: u32 = 3;
