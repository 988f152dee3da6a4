//! Medians and percentiles of small samples.

/// The middle of a sample, the mean of the two middle ones where their number is even. `NaN` for none.
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The smallest sample that at least `percent` of all samples do not exceed (nearest rank). `NaN` for none.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    // 99.9 % of 1000 must not become 999.0000000001.
    let rank = (percent / 100.0 * as_f64(sorted.len() as u64) - 1e-6).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank lies within the sample"
    )]
    let index = (rank as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The samples in ascending order.
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The smallest and the largest sample.
pub fn range(samples: &[f64]) -> (f64, f64) {
    let sorted = sorted(samples);
    (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A small seeded source of random numbers (`SplitMix64`), so that every run of a bench does the same.
#[derive(Debug)]
pub struct Shuffle(u64);

impl Shuffle {
    /// A source that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which must not be zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            let other = usize::try_from(self.below(place as u64 + 1)).expect("a place in the slice");
            items.swap(place, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]).to_string(), "2.5");
        assert_eq!(median(&[7.0]).to_string(), "7");
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let samples: Vec<f64> = (1..=1000).map(as_f64).collect();
        let found = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percent| percentile(&samples, percent).to_string());
        assert_eq!(found, ["500", "900", "990", "999", "1000"]);
        assert_eq!(percentile(&[5.0], 99.0).to_string(), "5");
        assert_eq!(percentile(&[1.0, 2.0], 50.0).to_string(), "1");
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn the_range_holds_both_ends() {
        assert_eq!(format!("{:?}", range(&[2.0, -1.0, 5.0])), "(-1.0, 5.0)");
    }
}
