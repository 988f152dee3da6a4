//! Clocks that run too fast or too slow: what time it is for an agent, and when a time of its clock has come.

use super::{Agent, Peer, World};
use crate::time::Time;

impl<A: Agent> World<A> {
    /// From now on an agent's clock, and that of its later lives, runs by so many millionths too fast; too slow, if there is a minus. Only before
    /// it starts: time does not jump.
    ///
    /// # Panics
    /// If the agent has started, or its clock would stand still.
    pub fn drift(&mut self, peer: Peer, millionths: i32) {
        assert!(millionths.abs() < MILLION, "clocks go on");
        let node = self.node_mut(peer);
        assert!(!node.started, "agent {peer} has looked at its clock");
        node.drift_ppm = millionths;
    }
}

/// What a clock shows at a time of the world.
pub(super) fn local(at: Time, drift_ppm: i32) -> Time {
    if drift_ppm == 0 {
        return at;
    }
    let rate = u128::from((MILLION + drift_ppm).unsigned_abs());
    let shown = u128::from(at.as_nanos()) * rate / u128::from(MILLION.unsigned_abs());
    Time::from_nanos(u64::try_from(shown).unwrap_or(u64::MAX))
}

/// The first time of the world at which a clock shows this, or later.
pub(super) fn global(shown: Time, drift_ppm: i32) -> Time {
    if drift_ppm == 0 {
        return shown;
    }
    let rate = u128::from((MILLION + drift_ppm).unsigned_abs());
    let at = (u128::from(shown.as_nanos()) * u128::from(MILLION.unsigned_abs())).div_ceil(rate);
    Time::from_nanos(u64::try_from(at).unwrap_or(u64::MAX))
}

const MILLION: i32 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_clock_shows_comes_when_it_is_due_and_not_before(nanoseconds in 1..1u64 << 40, drift in -500_000..500_000) {
            let shown = Time::from_nanos(nanoseconds);
            let at = global(shown, drift);
            prop_assert!(local(at, drift) >= shown);
            prop_assert!(local(Time::from_nanos(at.as_nanos() - 1), drift) < shown);
        }
    }

    #[test]
    fn a_fast_clock_shows_more() {
        let second = Time::from_nanos(1_000_000_000);
        assert_eq!(local(second, 24_000), Time::from_nanos(1_024_000_000));
        assert_eq!(local(second, -24_000), Time::from_nanos(976_000_000));
        assert_eq!(local(second, 0), second);
    }
}
