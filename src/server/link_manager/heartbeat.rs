//! When to say that we live, and when to look who has not said so.
//!
//! A tick comes once a period and sends the pings. A host that calls anyway, because something else woke it, gets its tick up to a
//! fifth of a period early: what wakes an idle server is mostly a ping, so the servers of a grid fall into step, and one
//! wake-up then serves the pings of many. Looking for silent peers costs a wake-up of its own only when one of them
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
        if now + self.period / 5 < self.next_tick {
            return false;
        }
        self.next_tick = now + self.period;
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

    /// When the next of the two is due, at the latest.
    pub(super) fn deadline(&self) -> Time {
        self.next_tick.min(self.next_check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_call_that_comes_anyway_may_bring_the_tick_forward_by_a_fifth() {
        let mut heartbeat = Heartbeat::new(Duration::from_millis(250), Duration::from_millis(800), ms(0));
        assert_eq!(heartbeat.deadline(), ms(250));
        assert!(!heartbeat.tick_due(ms(199)));
        assert!(heartbeat.tick_due(ms(200)));
        assert!(!heartbeat.tick_due(ms(201)));
        heartbeat.check_at(None);
        assert_eq!(heartbeat.deadline(), ms(450));
    }

    #[test]
    fn a_peer_that_runs_out_of_time_before_the_next_tick_is_looked_at_then() {
        let mut heartbeat = Heartbeat::new(Duration::from_millis(250), Duration::from_millis(800), ms(0));
        assert!(heartbeat.tick_due(ms(250)));
        heartbeat.check_at(Some(ms(400)));
        assert_eq!(heartbeat.deadline(), ms(400));
        assert!(!heartbeat.check_due(ms(399)));
        assert!(heartbeat.check_due(ms(400)));
        heartbeat.check_at(Some(ms(900)));
        assert_eq!(heartbeat.deadline(), ms(500));
    }
}
