//! When to say that we live, and when to look who has not said so.
//!
//! A tick comes once a period and sends the pings. Looking for silent peers costs a wake-up of its own only when one of them
//! could run out of time before the next tick; in an idle grid that never happens.

use std::time::Duration;

use crate::time::Time;

/// The timers of heartbeats and of suspicion.
#[derive(Debug)]
pub(super) struct Heartbeat {
    period: Duration,
    next_tick: Time,
    next_check: Time,
}

impl Heartbeat {
    pub(super) fn new(period: Duration, silence_max: Duration, now: Time) -> Self {
        Self { period, next_tick: now + period, next_check: now + silence_max }
    }

    /// Whether a tick is due; it is counted as done.
    pub(super) fn tick_due(&mut self, now: Time) -> bool {
        if now < self.next_tick {
            return false;
        }
        // After a long absence one tick is enough.
        self.next_tick = (self.next_tick + self.period).max(now + self.period / 2);
        self.next_check = now;
        true
    }

    /// Whether it is time to look for silent peers. Follow it with [`Heartbeat::check_at`].
    pub(super) fn check_due(&self, now: Time) -> bool {
        now >= self.next_check
    }

    /// The soonest time at which a peer would have been silent for too long. One that lies beyond the next tick is looked at then.
    pub(super) fn check_at(&mut self, soonest: Option<Time>) {
        self.next_check = soonest.unwrap_or(self.next_tick).min(self.next_tick);
    }

    /// When the next of the two is due.
    pub(super) fn deadline(&self) -> Time {
        self.next_tick.min(self.next_check)
    }
}
