//! How many of the survivors a broadcast reaches right after a share of all nodes has failed (`HyParView`, Section 5.2).

use std::time::Duration;

use super::network::{BROADCAST_UNITS, CYCLES, Network, flooding};
use super::plot::{Axis, Plot, Series};
use super::samples::{duration, float, percent, shown};
use super::{Bespoke, Experiment, Goal, Graph, Report, Sample, Samples, Setup, Table, Unit, paper};
use crate::agent::Peer;
use crate::agents::overlay::{Flood, Nothing};

/// The experiment.
pub(super) struct Reliability;

/// How many percent of the nodes fail.
const LEVELS: [u64; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95];
/// How many milliseconds after the failure single broadcasts are sent, to see the repair at work.
const RAMP_MS: [u64; 7] = [0, 10, 20, 30, 50, 70, 90];
/// How long the repair runs until the broadcasts begin whose mean is taken: in a hundredth of a cycle one node of a hundred shuffles.
const SETTLE: Duration = Duration::from_millis(100);
/// How many cycles rejoining has, and how many broadcasts follow.
const REJOIN_CYCLES: u32 = 3;
const REJOINED_BROADCASTS: u32 = 100;
/// For how many seconds messages are counted after the failure.
const QUIET_SECONDS: u64 = 20;

impl Experiment for Reliability {
    fn name(&self) -> &'static str {
        "reliability"
    }

    fn levels(&self) -> Vec<u64> {
        LEVELS.to_vec()
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let mut network = flooding(setup, unit.seed);
        let mut samples = Vec::new();
        let mut note = |what: &str, value| samples.push(Sample::new(what, unit.level, value));
        note("before", mean(&mut network, 3).0);
        note("rate before", rate(&mut network));
        network.crash_percent(unit.level);
        let failed_at = network.now();
        for after_ms in RAMP_MS {
            let due = failed_at + Duration::from_millis(after_ms);
            network.pass(due.since(network.now()));
            if let Some(source) = network.any() {
                note(&format!("after {after_ms} ms"), network.broadcast(source).percent());
            }
        }
        network.pass((failed_at + SETTLE).since(network.now()));
        note("islands", islands(&network));
        note("moment", by_component(&network.graph()));
        let (mean_of_all, least, whole) = mean(&mut network, setup.broadcasts);
        note("mean", mean_of_all);
        note("least", least);
        note("whole", whole);
        network.cycles(REJOIN_CYCLES);
        note("rejoined", mean(&mut network, REJOINED_BROADCASTS).0);
        note("islands rejoined", islands(&network));
        note("rate after", rate(&mut network));
        note("mean by rules", by_rules(setup, unit));
        samples
    }

    fn report(&self, setup: &Setup, samples: &Samples) -> Report {
        let mut table = Table::new([
            "failed %",
            "HyParView (paper)",
            "CyclonAcked (paper)",
            "the rules alone",
            "ours: at that moment",
            "seeds from .. to",
            "mean of the broadcasts",
            "worst broadcast",
            "reached all %",
            "islands",
            "after rejoining",
        ]);
        let mut ramp =
            Table::new(["failed %", "at once", "10 ms", "20 ms", "30 ms", "50 ms", "70 ms", "90 ms"]);
        for level in samples.places("mean") {
            table.row([
                level.to_string(),
                shown(paper::at(&paper::RELIABILITY, level), 2),
                shown(paper::at(&paper::CYCLON_ACKED, level), 1),
                shown(samples.mean("mean by rules", level), 2),
                shown(samples.mean("moment", level), 3),
                format!(
                    "{} .. {}",
                    shown(samples.min("moment", level), 2),
                    shown(samples.max("moment", level), 2)
                ),
                shown(samples.mean("mean", level), 3),
                shown(samples.min("least", level), 2),
                shown(samples.mean("whole", level), 1),
                shown(samples.mean("islands", level), 1),
                shown(samples.mean("rejoined", level), 3),
            ]);
            let mut cells =
                RAMP_MS.map(|ms| shown(samples.mean(&format!("after {ms} ms"), level), 1)).to_vec();
            cells.insert(0, level.to_string());
            ramp.rows.push(cells);
        }
        Report {
            method: method(setup),
            tables: vec![table, ramp],
            goals: goals(samples),
            plots: vec![plot(samples)],
        }
    }
}

/// Of so many broadcasts from random nodes: the mean reliability, the least, and how many percent have reached everybody.
fn mean(network: &mut Network<'_, Flood<Peer, Nothing>>, count: u32) -> (f64, f64, f64) {
    let (mut sum, mut least, mut whole) = (0.0, 100.0f64, 0);
    for _ in 0..count {
        let Some(source) = network.any() else { break };
        let reached = network.broadcast(source);
        sum += reached.percent();
        least = least.min(reached.percent());
        whole += u64::from(reached.nodes == reached.live);
    }
    (sum / f64::from(count.max(1)), least, percent(whole, u64::from(count)))
}

/// How many components the live nodes are in.
fn islands(network: &Network<'_, Flood<Peer, Nothing>>) -> f64 {
    float(network.graph().component_sizes().len() as u64)
}

/// The mean reliability to which the paper's rules by themselves lead: of a flood from each of the live nodes, once all repair is done that needs no further cycle.
fn by_rules(setup: &Setup, unit: Unit) -> f64 {
    let mut rules = Bespoke::build(setup.nodes, &setup.options, unit.seed);
    (0..CYCLES).for_each(|_| rules.cycle());
    rules.crash(u32::try_from(unit.level).unwrap_or(100));
    by_component(&rules.graph())
}

/// The mean reliability of a flood in a graph that stays as it is: from each node it reaches all of its component.
fn by_component(graph: &Graph) -> f64 {
    let reach = graph.reach();
    let reached: usize = reach.iter().sum();
    percent(reached as u64, (reach.len() * reach.len()) as u64)
}

/// How many messages each live node sends in a second without any broadcast: those of the membership.
fn rate(network: &mut Network<'_, Flood<Peer, Nothing>>) -> f64 {
    let before = network.world.figures().messages;
    network.pass(Duration::from_secs(QUIET_SECONDS));
    let messages = network.world.figures().messages - before;
    float(messages) / float((network.live().len() as u64 * QUIET_SECONDS).max(1))
}

fn method(setup: &Setup) -> Vec<String> {
    vec![
        format!(
            "A share of the nodes fails at once, and repair reacts. At that moment, {} later, when one node of a hundred has shuffled: what a flood reaches, the \
             mean over all live nodes as senders, by the components of the active views. Then {} broadcasts follow one another, each from a random live node and \
             flooded; each counts with the share of live nodes that got it. One that reaches everybody takes about a millisecond, any other {}: so where there are \
             islands, nodes shuffle meanwhile. Goals are judged by the moment.",
            duration(SETTLE),
            setup.broadcasts,
            duration(setup.latency * BROADCAST_UNITS),
        ),
        format!(
            "After rejoining: the mean of {REJOINED_BROADCASTS} broadcasts {REJOIN_CYCLES} cycles later. Second table: single broadcasts while the \
             repair is at work, by their time after the failure. The rules alone: those of the paper in a loop of their own, without links, times or time-outs."
        ),
    ]
}

/// What the paper writes as 100 % is so when rounded to hundredths.
const ROUNDED: f64 = 99.995;

fn goals(samples: &Samples) -> Vec<Goal> {
    let least = |what: &str, levels: &[u64]| {
        let values = levels.iter().filter_map(|&level| samples.mean(what, level));
        values.reduce(f64::min)
    };
    let before = least("before", &LEVELS);
    let growth = LEVELS
        .iter()
        .filter_map(|&level| Some(samples.mean("rate after", level)? / samples.mean("rate before", level)?))
        .reduce(f64::max);
    vec![
        Goal::at_least("every live node reached before the failure", 100.0, " %", before),
        Goal::at_least(
            "mean reliability up to 80 % failed (100.00 when rounded)",
            ROUNDED,
            " %",
            least("moment", &LEVELS[..8]),
        ),
        Goal::at_least("mean reliability at 90 % failed", 99.5, " %", samples.mean("moment", 90)),
        Goal::at_least("mean reliability at 95 % failed", 91.0, " %", samples.mean("moment", 95)),
        Goal::at_least(
            "reliability once rejoining has run, at every level",
            100.0,
            " %",
            least("rejoined", &LEVELS),
        ),
        Goal::at_most(
            "membership messages of a node and second once rejoining has run, against before the failure",
            1.5,
            " times",
            growth,
        ),
    ]
}

fn plot(samples: &Samples) -> Plot {
    Plot {
        name: "overlay-reliability",
        title: "Reliability right after a share of all nodes has failed".to_owned(),
        x: Axis::linear("failed nodes, %"),
        y: Axis::linear("mean reliability, %").holding(100.0),
        series: vec![
            Series::ours("ovid", samples.series("moment")),
            Series::ours("ovid, after rejoining", samples.series("rejoined")),
            Series::others("HyParView (paper)", paper::points(&paper::RELIABILITY)),
            Series::others("CyclonAcked (paper)", paper::points(&paper::CYCLON_ACKED)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flood_reaches_is_the_mean_over_all_senders() {
        // Three nodes are together, and two: each of the three reaches three of five, each of the two reaches two.
        let graph = Graph::new([vec![1], vec![2], vec![0], vec![4], vec![3]]);
        assert!((by_component(&graph) - 52.0).abs() < 1e-9, "{}", by_component(&graph));
    }
}
