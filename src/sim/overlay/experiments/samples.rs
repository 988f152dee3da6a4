//! Measured values, gathered over seeds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measured value: of what, where (a share that failed, a second, a number of nodes), how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Of what.
    pub(crate) what: String,
    /// Where.
    pub(crate) at: u64,
    /// How much.
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn new(what: impl Into<String>, at: u64, value: f64) -> Self {
        Self { what: what.into(), at, value }
    }
}

/// The values of all runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<String, BTreeMap<u64, Vec<f64>>>,
}

impl Samples {
    /// Adds the values of a run.
    pub(crate) fn add(&mut self, samples: Vec<Sample>) {
        for Sample { what, at, value } in samples {
            self.values.entry(what).or_default().entry(at).or_default().push(value);
        }
    }

    /// All values of one thing at one place, in the order in which they came.
    pub(crate) fn all(&self, what: &str, at: u64) -> &[f64] {
        self.values.get(what).and_then(|places| places.get(&at)).map_or(&[], Vec::as_slice)
    }

    /// Where one thing was measured, ascending.
    pub(crate) fn places(&self, what: &str) -> Vec<u64> {
        self.values.get(what).into_iter().flat_map(|places| places.keys().copied()).collect()
    }

    /// The mean over all runs.
    pub(crate) fn mean(&self, what: &str, at: u64) -> Option<f64> {
        let values = self.all(what, at);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / float(values.len() as u64))
    }

    /// The smallest of all runs.
    pub(crate) fn min(&self, what: &str, at: u64) -> Option<f64> {
        self.all(what, at).iter().copied().reduce(f64::min)
    }

    /// The largest of all runs.
    pub(crate) fn max(&self, what: &str, at: u64) -> Option<f64> {
        self.all(what, at).iter().copied().reduce(f64::max)
    }

    /// The one in the middle of all runs; of an even number, the lower of two.
    pub(crate) fn median(&self, what: &str, at: u64) -> Option<f64> {
        let mut values = self.all(what, at).to_vec();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len().saturating_sub(1) / 2).copied()
    }

    /// The means at all places.
    pub(crate) fn series(&self, what: &str) -> Vec<(f64, f64)> {
        let places = self.places(what);
        places.into_iter().filter_map(|at| Some((float(at), self.mean(what, at)?))).collect()
    }

    /// Everything, for programs.
    pub(crate) fn values(&self) -> &BTreeMap<String, BTreeMap<u64, Vec<f64>>> {
        &self.values
    }
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// `part` of `whole`, in percent; all of nothing is 100 %.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * float(part) / float(whole) }
}

/// A value as people read it: with `digits` digits behind the point, and none at all where there is no value.
pub(crate) fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Thousands with commas between them.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as people read it.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{} s", micros / 1_000_000),
        micros if micros % 1_000 == 0 => format!("{} ms", micros / 1_000),
        micros => format!("{micros} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_summed_up_place_by_place() {
        let mut samples = Samples::default();
        for value in [1.0, 4.0, 2.5, 3.0] {
            samples.add(vec![Sample::new("hops", 10, value), Sample::new("hops", 20, 2.0 * value)]);
        }
        let all = ["mean", "min", "max", "median"].map(|what| match what {
            "mean" => samples.mean("hops", 10),
            "min" => samples.min("hops", 10),
            "max" => samples.max("hops", 10),
            _ => samples.median("hops", 10),
        });
        assert_eq!(all, [2.625, 1.0, 4.0, 2.5].map(Some));
        assert_eq!(samples.series("hops"), [(10.0, 2.625), (20.0, 5.25)]);
        assert_eq!((samples.mean("hops", 30), samples.median("skips", 10)), (None, None));
        assert_eq!(samples.places("hops"), [10, 20]);
    }

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0, 999, 1_000, 31_623, 1_234_567].map(thousands);
        assert_eq!(written, ["0", "999", "1,000", "31,623", "1,234,567"]);
        assert_eq!((shown(Some(99.876), 2), shown(None, 2)), ("99.88".to_owned(), "-".to_owned()));
        let durations = [100, 2_000, 60_000_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(durations, ["100 µs", "2 ms", "60 s"]);
        assert!((percent(0, 0) - 100.0).abs() < f64::EPSILON && (percent(1, 8) - 12.5).abs() < f64::EPSILON);
    }
}
