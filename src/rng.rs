//! The one source of chance: seeded, the same numbers on every machine, integers only.
//!
//! The algorithm is part of the contract, since a seed that somebody wrote down has to replay the same failure later: it is
//! xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021), seeded through `SplitMix64`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng};
use thiserror::Error;

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A stream of its own for a part of the work, so that what one part draws does not change what another does.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    /// Any number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`; zero if the limit is zero.
    ///
    /// The high half of a product, without rejection (Lemire, "Fast Random Integer Generation in an Interval", 2019): the bias
    /// is at most `limit` in 2^64.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.number()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the high half of 128 bits has 64")
    }

    /// An index into something that has `len` entries.
    #[inline]
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// A number in `range`, both ends included.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start());
        // The whole range of numbers has no span that could be written down.
        if span == u64::MAX { self.number() } else { range.start() + self.below(span + 1) }
    }

    /// A time between `shortest` and `longest`, both included.
    pub fn duration(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.between(nanoseconds(shortest)..=nanoseconds(longest)))
    }

    /// Whether something of this probability happens. Nothing is drawn where the answer is certain.
    #[inline]
    pub fn chance(&mut self, probability: Probability) -> bool {
        match probability.0 {
            0 => false,
            Probability::PARTS.. => true,
            parts => self.below(u64::from(Probability::PARTS)) < u64::from(parts),
        }
    }

    /// One of `entries`; `None` if there is none.
    pub fn pick<'a, T>(&mut self, entries: &'a [T]) -> Option<&'a T> {
        if entries.is_empty() { None } else { entries.get(self.index(entries.len())) }
    }

    /// Brings `entries` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, entries: &mut [T]) {
        for last in (1..entries.len()).rev() {
            entries.swap(last, self.index(last + 1));
        }
    }
}

/// How likely something is, in millionths: no rounding, so the same everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(u32);

/// What is no probability.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a probability between 0 and 1 with at most 6 decimals, such as 0.01, not {0:?}")]
pub struct ProbabilityError(String);

impl Probability {
    const PARTS: u32 = 1_000_000;
    /// What never happens.
    pub const NEVER: Self = Self(0);
    /// What always happens.
    pub const ALWAYS: Self = Self(Self::PARTS);

    /// `parts` in a million; more than a million count as one.
    pub const fn millionths(parts: u32) -> Self {
        Self(if parts > Self::PARTS { Self::PARTS } else { parts })
    }

    /// `percent` in a hundred; more than a hundred count as one.
    pub const fn percent(percent: u32) -> Self {
        Self::millionths(percent.saturating_mul(Self::PARTS / 100))
    }
}

impl FromStr for Probability {
    type Err = ProbabilityError;

    /// Reads a decimal number between 0 and 1.
    fn from_str(text: &str) -> Result<Self, ProbabilityError> {
        let error = || ProbabilityError(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return Err(error());
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| error())? };
        let parts: u32 = format!("{decimals:0<6}").parse().map_err(|_| error())?;
        match whole.checked_mul(Self::PARTS).and_then(|whole| whole.checked_add(parts)) {
            Some(parts) if parts <= Self::PARTS => Ok(Self(parts)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / Self::PARTS, self.0 % Self::PARTS);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Probability, Rng};

    #[test]
    fn a_seed_always_gives_the_same_numbers() {
        // Written down once: a change of the algorithm would make every seed that somebody noted worthless.
        let mut rng = Rng::new(42);
        let drawn: Vec<u64> = (0..4).map(|_| rng.below(1_000_000)).collect();
        assert_eq!(drawn, GOLDEN);
    }

    const GOLDEN: [u64; 4] = [814_305, 318_821, 983_894, 701_135];

    #[test]
    fn certain_things_draw_nothing() {
        let (mut one, mut other) = (Rng::new(1), Rng::new(1));
        assert!(!one.chance(Probability::NEVER));
        assert!(one.chance(Probability::ALWAYS));
        assert_eq!(one.number(), other.number());
    }

    #[test]
    fn likely_things_happen_about_as_often_as_they_should() {
        let mut rng = Rng::new(7);
        let happened = (0..100_000).filter(|_| rng.chance(Probability::percent(25))).count();
        assert!((24_000..26_000).contains(&happened), "{happened}");
    }

    #[test]
    fn probabilities_are_read_and_written_as_decimals() {
        for text in ["0", "1", "0.5", "0.000001", "0.01"] {
            let probability: Probability = text.parse().expect("valid");
            assert_eq!(probability.to_string(), text);
        }
        assert_eq!(".25".parse(), Ok(Probability::percent(25)));
        for text in ["", "1.000001", "2", "-0.1", "+1", "1e-3", "0.0000001", "5%"] {
            assert!(text.parse::<Probability>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_stay_in_their_range(seed: u64, low: u64, high: u64) {
            let (low, high) = (low.min(high), low.max(high));
            let drawn = Rng::new(seed).between(low..=high);
            prop_assert!((low..=high).contains(&drawn));
        }

        #[test]
        fn shuffling_keeps_every_entry(seed: u64, len in 0usize..50) {
            let mut entries: Vec<usize> = (0..len).collect();
            Rng::new(seed).shuffle(&mut entries);
            entries.sort_unstable();
            prop_assert_eq!(entries, (0..len).collect::<Vec<_>>());
        }
    }
}
