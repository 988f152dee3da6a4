//! The experiments of the two papers, repeated: the figures of the authors, of others, and ours beside each other.
//!
//! An [`Experiment`] is split into [`Unit`]s that know nothing of each other, so that they can be run in any order and several at a time; each gives
//! [`Sample`]s, and from those of all units comes one [`Report`]. Nothing here reads a clock or starts a thread: the command line does, which also
//! measures what it all costs.

mod bespoke;
mod churn;
mod graph;
mod healing;
mod network;
mod paper;
mod partition;
mod plot;
mod plumtree;
mod reliability;
mod report;
mod samples;
mod shape;

use std::time::Duration;

pub(crate) use self::bespoke::Bespoke;
use self::graph::Graph;
use self::network::Network;
pub(crate) use self::plot::{Axis, Plot, Series};
pub(crate) use self::report::{Goal, Report, Table};
pub(crate) use self::samples::{Sample, Samples, float, shown, thousands};
use crate::agents::overlay::{NoLayer, Options};
use crate::sim::FailureModel;

/// What an experiment is run with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How many nodes there are.
    pub(crate) nodes: u32,
    /// The first seed.
    pub(crate) seed: u64,
    /// How many seeds there are.
    pub(crate) seeds: u64,
    /// How the death of a neighbour is learned.
    pub(crate) failure_model: FailureModel,
    /// The overlay's options.
    pub(crate) options: Options,
    /// How many broadcasts are sent after a failure.
    pub(crate) broadcasts: u32,
    /// How long each message, and each connecting, takes: the unit of time of the papers' simulator.
    pub(crate) latency: Duration,
}

/// A part of an experiment that stands by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// What everything in it is drawn from.
    pub(crate) seed: u64,
    /// Which of the things that the experiment compares: how many percent fail, or which variant.
    pub(crate) level: u64,
}

/// One of the papers' experiments.
pub(crate) trait Experiment: Sync {
    /// The name by which the command line calls it.
    fn name(&self) -> &'static str;

    /// Whether it is about what keep-alives are for.
    fn needs_keep_alive(&self) -> bool {
        false
    }

    /// The things that it compares; there is one where nothing else is said.
    fn levels(&self) -> Vec<u64> {
        vec![0]
    }

    /// Its parts: one for each level and seed. The seeds of one level come one after the other.
    fn units(&self, setup: &Setup) -> Vec<Unit> {
        let seeds = |level: u64| {
            (0..setup.seeds).map(move |number| Unit { seed: setup.seed.wrapping_add(number), level })
        };
        self.levels().into_iter().flat_map(seeds).collect()
    }

    /// Runs a part.
    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample>;

    /// What came of all parts.
    fn report(&self, setup: &Setup, samples: &Samples) -> Report;
}

/// All experiments, in the order of the papers.
pub(crate) fn all() -> [&'static dyn Experiment; 7] {
    [
        &reliability::Reliability,
        &healing::Healing,
        &shape::Degree,
        &shape::Paths,
        &plumtree::Trees,
        &churn::Churn,
        &partition::Partition,
    ]
}

/// Builds an overlay without any broadcast and lets it shuffle, to see what that costs. How many messages its joins took, and how many everything.
pub(crate) fn built(setup: &Setup, seed: u64, cycles: u32) -> (u64, u64) {
    let mut network = Network::joined(setup, seed, |_, _| NoLayer);
    let joining = network.world.figures().messages;
    network.cycles(cycles);
    (joining, network.world.figures().messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn setup(nodes: u32) -> Setup {
        Setup {
            nodes,
            seed: 1,
            seeds: 2,
            failure_model: FailureModel::Rst,
            options: Options { early_shuffles: 0, keep_alive: Duration::ZERO, ..Options::default() },
            broadcasts: 10,
            latency: Duration::from_micros(100),
        }
    }

    #[test]
    fn each_level_is_run_with_each_seed() {
        let units = reliability::Reliability.units(&setup(10));
        let units: Vec<(u64, u64)> = units.iter().map(|unit| (unit.level, unit.seed)).collect();
        assert_eq!(units[..4], [(10, 1), (10, 2), (20, 1), (20, 2)]);
        assert_eq!(units.len(), 2 * reliability::Reliability.levels().len());
    }

    #[test]
    fn no_two_experiments_have_one_name() {
        let mut names: Vec<&str> = all().iter().map(|experiment| experiment.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
