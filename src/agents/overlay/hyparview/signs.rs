//! Signs of life: a link on which nothing is said carries a `KEEPALIVE`, and a neighbour that says nothing is given up.

use std::time::Duration;

use super::{HyParView, NEVER, Reason};
use crate::agents::overlay::{Control, Id};
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
        }
    }

    /// Looks at all neighbours, once in a period.
    pub(super) fn give_signs(&mut self, now: Time) {
        let period = self.options.keep_alive;
        self.signs.at = now + period;
        while let Some(index) =
            self.active.iter().position(|neighbour| now.since(neighbour.heard) > period * SILENT_PERIODS)
        {
            self.lose(now, index, Reason::Silent);
        }
        for index in 0..self.active.len() {
            let neighbour = self.active[index];
            if now.since(neighbour.sent) >= period {
                self.send_to_neighbour(now, neighbour.peer, Control::KeepAlive(None));
            }
        }
    }
}

/// After how many periods of silence a neighbour is given up.
const SILENT_PERIODS: u32 = 3;
