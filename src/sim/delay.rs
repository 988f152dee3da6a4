//! How long things take in the simulated world: distributions drawn in integers.

use std::time::Duration;

use crate::rng::Rng;

/// A distribution of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Every duration from the shortest to the longest is equally likely.
    Uniform {
        /// The shortest.
        shortest: Duration,
        /// The longest.
        longest: Duration,
    },
    /// Mostly short, seldom very long: of all durations that reach twice the usual excess about half reach four times, and so on, up
    /// to 1,024 times (as a Pareto distribution with exponent 1 that is cut off).
    LongTailed {
        /// The shortest.
        shortest: Duration,
        /// By how much the common ones exceed it.
        usual_excess: Duration,
    },
}

/// How often the long tail doubles at most.
const DOUBLINGS_MAX: u32 = 10;

impl Delay {
    /// Uniform between two numbers of milliseconds.
    pub const fn uniform_ms(shortest: u64, longest: u64) -> Self {
        Self::Uniform { shortest: Duration::from_millis(shortest), longest: Duration::from_millis(longest) }
    }

    /// Draws one.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform { shortest, longest } => rng.duration(shortest, longest),
            Self::LongTailed { shortest, usual_excess } => {
                let doublings = rng.number().trailing_zeros().min(DOUBLINGS_MAX);
                shortest + rng.duration(Duration::ZERO, usual_excess.saturating_mul(1 << doublings))
            }
        }
    }

    /// The shortest that can be drawn.
    pub fn shortest(&self) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform { shortest, .. } | Self::LongTailed { shortest, .. } => shortest,
        }
    }

    /// The longest that can be drawn.
    pub fn longest(&self) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform { longest, .. } => longest,
            Self::LongTailed { shortest, usual_excess } => {
                shortest + usual_excess.saturating_mul(1 << DOUBLINGS_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(delay: Delay) -> Vec<Duration> {
        let mut rng = Rng::new(3);
        (0..20_000).map(|_| delay.draw(&mut rng)).collect()
    }

    #[test]
    fn every_delay_lies_between_its_shortest_and_its_longest() {
        let long_tailed =
            Delay::LongTailed { shortest: Duration::from_millis(1), usual_excess: Duration::from_millis(2) };
        for delay in [Delay::Fixed(Duration::from_millis(3)), Delay::uniform_ms(2, 9), long_tailed] {
            assert!(drawn(delay).iter().all(|&one| (delay.shortest()..=delay.longest()).contains(&one)));
        }
    }

    #[test]
    fn the_long_tail_is_seldom_and_long() {
        let usual_excess = Duration::from_millis(1);
        let drawn = drawn(Delay::LongTailed { shortest: Duration::ZERO, usual_excess });
        let beyond = |factor: u32| drawn.iter().filter(|&&one| one > usual_excess * factor).count();
        // Half of all draws double at least once, and of those that do, half lie beyond what was usual.
        assert!((6_000..8_000).contains(&beyond(1)), "{}", beyond(1));
        assert!((100..1_000).contains(&beyond(32)), "{}", beyond(32));
        assert!(beyond(1024) == 0);
    }
}
