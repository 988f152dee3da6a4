//! Broadcasts along trees: how much is sent, and how far it goes (Plumtree, SRDS 2007, Section 5).

use std::time::Duration;

use super::network::{Cast, Network, SOURCES_MAX};
use super::paper::plumtree as paper;
use super::plot::{Axis, Plot, Series};
use super::samples::{duration, float, percent, shown};
use super::{Experiment, Goal, Report, Sample, Samples, Setup, Table, Unit};
use crate::agent::Peer;
use crate::agents::overlay::{BroadcastOptions, Flood, Nothing, Plumtree, PlumtreeOptions};

/// The experiment.
pub(super) struct Trees;

/// What is compared. Its number is the level of its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Eager,
    OneSender,
    OneSenderOptimised,
    ManySenders,
    ManySendersOptimised,
    Patient,
    Shipped,
    Failures,
}

const VARIANTS: [Variant; 8] = [
    Variant::Eager,
    Variant::OneSender,
    Variant::OneSenderOptimised,
    Variant::ManySenders,
    Variant::ManySendersOptimised,
    Variant::Patient,
    Variant::Shipped,
    Variant::Failures,
];

/// How many broadcasts, one a cycle, come before those that are taken for the steady state, and how many these are.
const WARM_UP: u64 = 50;
const STEADY: u64 = 50;
/// In how many cycles nodes fail, and how many of a thousand in each: 50 of 10,000.
const FAILING_CYCLES: u64 = 40;
const FAILING_PER_MILLE: usize = 5;
/// For how long it is watched where a broadcast gets: much longer than it takes to ask for what is missing.
const WATCHED: Duration = Duration::from_secs(8);

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager push (flood)",
            Self::OneSender => "tree, one sender",
            Self::OneSenderOptimised => "tree, one sender, threshold 3",
            Self::ManySenders => "tree, many senders",
            Self::ManySendersOptimised => "tree, many senders, threshold 7",
            Self::Patient => "tree, many senders, threshold 7, patience 2",
            Self::Shipped => "tree, many senders, as servers are set",
            Self::Failures => "as servers are set, 0.5 % of the nodes fail each cycle",
        }
    }

    fn one_sender(self) -> bool {
        matches!(self, Self::OneSender | Self::OneSenderOptimised)
    }

    fn threshold(self) -> Option<u16> {
        match self {
            Self::Eager | Self::OneSender | Self::ManySenders => None,
            Self::OneSenderOptimised => Some(3),
            Self::ManySendersOptimised | Self::Patient | Self::Shipped | Self::Failures => Some(7),
        }
    }

    /// What the paper says of the last hop, of payloads and of other messages.
    fn paper(self) -> [Option<f64>; 3] {
        let of_a_tree = |hops| [Some(hops), Some(paper::TREE_PAYLOADS), Some(paper::TREE_CONTROLS)];
        match self {
            Self::Eager => [Some(paper::EAGER_HOPS), Some(paper::EAGER_PAYLOADS), Some(0.0)],
            Self::OneSender => of_a_tree(paper::ONE_SENDER_HOPS),
            Self::OneSenderOptimised => of_a_tree(paper::ONE_SENDER_OPTIMISED_HOPS),
            Self::ManySenders => of_a_tree(paper::MANY_SENDERS_HOPS),
            Self::ManySendersOptimised => of_a_tree(paper::MANY_SENDERS_OPTIMISED_HOPS),
            Self::Patient | Self::Shipped | Self::Failures => [None; 3],
        }
    }

    fn options(self) -> PlumtreeOptions {
        let options = match self {
            Self::Shipped | Self::Failures => BroadcastOptions::default().tree,
            Self::Patient => PlumtreeOptions::default(),
            // As in the paper.
            _ => PlumtreeOptions { optimisation_patience: 1, ..PlumtreeOptions::default() },
        };
        PlumtreeOptions {
            optimisation_threshold: self.threshold(),
            // Broadcasts come one after the other, so little has to be kept.
            cache_count: 16,
            missing_max: 64,
            sources_max: SOURCES_MAX,
            ..options
        }
    }
}

impl Experiment for Trees {
    fn name(&self) -> &'static str {
        "plumtree"
    }

    fn levels(&self) -> Vec<u64> {
        (0..).take(VARIANTS.len()).collect()
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let variant = VARIANTS[usize::try_from(unit.level).expect("one of those")];
        if variant == Variant::Eager {
            let flood = |me, incarnation| Flood::<Peer, Nothing>::new(me, incarnation, SOURCES_MAX);
            return run(&mut Network::shuffled(setup, unit.seed, flood), variant, unit.level);
        }
        let tree = |me, incarnation| Plumtree::<Peer, Nothing>::new(me, incarnation, variant.options());
        let mut network = Network::shuffled(setup, unit.seed, tree);
        if variant == Variant::Failures {
            fail(&mut network, unit.level)
        } else {
            run(&mut network, variant, unit.level)
        }
    }

    fn report(&self, setup: &Setup, samples: &Samples) -> Report {
        let mut table = Table::new([
            "broadcast",
            "last hop (paper)",
            "ours",
            "payloads (paper)",
            "ours",
            "other messages (paper)",
            "ours",
            "RMR (paper)",
            "ours",
            "reliability %",
        ]);
        for (level, variant) in (0u64..).zip(VARIANTS) {
            let ours = |what: &str, digits| shown(samples.mean(what, level), digits);
            let [hops, payloads, controls] = variant.paper();
            let redundancy = payloads.map(|payloads| payloads / paper::TREE_PAYLOADS - 1.0);
            table.row([
                variant.name().to_owned(),
                shown(hops, 1),
                ours("hops", 2),
                shown(payloads, 0),
                ours("payloads", 0),
                shown(controls, 0),
                ours("controls", 0),
                shown(redundancy, 2),
                ours("rmr", 5),
                ours("reliability", 4),
            ]);
        }
        Report { method: method(setup), tables: vec![table], goals: goals(samples), plots: plots(samples) }
    }
}

/// Broadcasts, one a cycle; the last of them are the steady state.
fn run<L: Cast>(network: &mut Network<'_, L>, variant: Variant, level: u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let sender = network.any();
    let (mut steady_hops, mut steady_payloads, mut steady_controls, mut steady_reached) = (0, 0, 0, 0.0);
    for number in 1..=WARM_UP + STEADY {
        let begin = network.now();
        let sent = network.sent();
        let source = if variant.one_sender() { sender } else { network.any() };
        let Some(source) = source else { break };
        let live = network.live().to_vec();
        let reached = network.broadcast_for(source, &live, WATCHED);
        network.pass((begin + network.setup.options.shuffle_period).since(network.now()));
        let sent = network.sent().since(sent);
        samples.push(Sample::new(format!("rmr {level}"), number, redundancy(sent.payloads, reached.nodes)));
        samples.push(Sample::new(format!("hops {level}"), number, f64::from(reached.hops)));
        if number > WARM_UP {
            steady_hops += u64::from(reached.hops);
            steady_payloads += sent.payloads;
            steady_controls += sent.controls;
            steady_reached += reached.percent();
        }
    }
    let nodes = network.live().len() as u64;
    for (what, sum) in [("hops", steady_hops), ("payloads", steady_payloads), ("controls", steady_controls)] {
        samples.push(Sample::new(what, level, float(sum) / float(STEADY)));
    }
    samples.push(Sample::new("rmr", level, float(steady_payloads) / float(STEADY * (nodes - 1)) - 1.0));
    samples.push(Sample::new("reliability", level, steady_reached / float(STEADY)));
    samples
}

/// In each cycle some nodes fail, and at once somebody broadcasts.
fn fail(network: &mut Network<'_, Plumtree<Peer, Nothing>>, level: u64) -> Vec<Sample> {
    let (mut reached_in_all, mut live_in_all, mut hops) = (0, 0, 0);
    let victims = network.live().len() * FAILING_PER_MILLE / 1_000;
    for number in 1..=WARM_UP + FAILING_CYCLES {
        let begin = network.now();
        // The tree has to stand before it is hurt.
        if number > WARM_UP {
            network.crash(victims);
        }
        let Some(source) = network.any() else { break };
        let live = network.live().to_vec();
        let reached = network.broadcast_for(source, &live, WATCHED);
        if number > WARM_UP {
            reached_in_all += reached.nodes;
            live_in_all += reached.live;
            hops += u64::from(reached.hops);
        }
        network.pass((begin + network.setup.options.shuffle_period).since(network.now()));
    }
    vec![
        Sample::new("reliability", level, percent(reached_in_all, live_in_all)),
        Sample::new("hops", level, float(hops) / float(FAILING_CYCLES)),
    ]
}

/// Relative message redundancy (Section 5.1): how many payloads were sent beyond the one that each node needs, but for the sender.
fn redundancy(payloads: u64, nodes: u64) -> f64 {
    if nodes < 2 { 0.0 } else { float(payloads) / float(nodes - 1) - 1.0 }
}

fn method(setup: &Setup) -> Vec<String> {
    let options = PlumtreeOptions::default();
    vec![format!(
        "One broadcast a cycle ({}), after {WARM_UP} to warm up; means of the {STEADY} that follow. RMR: payloads sent / (nodes reached - 1) - 1. Other messages: IHAVE \
         (gathered for {}), GRAFT, PRUNE. Patience: after how many messages in a row a link is exchanged for a shorter way; one where nothing else is said, as in the paper. With failures: in each of {FAILING_CYCLES} cycles, right before its broadcast; counted is who has it within {}.",
        duration(setup.options.shuffle_period),
        duration(options.announce_period),
        duration(WATCHED),
    )]
}

fn goals(samples: &Samples) -> Vec<Goal> {
    let level = |variant: Variant| {
        VARIANTS.iter().zip(0u64..).find(|(other, _)| **other == variant).map_or(0, |found| found.1)
    };
    let of = |what: &str, variant: Variant| samples.mean(what, level(variant));
    let flood = of("hops", Variant::Eager);
    let above = of("hops", Variant::OneSenderOptimised).zip(flood).map(|(tree, flood)| tree - flood);
    vec![
        Goal::at_most("RMR, one sender", 0.01, "", of("rmr", Variant::OneSenderOptimised)),
        Goal::at_most("RMR, many senders, patience 2", 0.01, "", of("rmr", Variant::Patient)),
        Goal::at_most("RMR, many senders, as servers are set", 0.01, "", of("rmr", Variant::Shipped)),
        Goal::at_most("last hop beyond that of a flood, one sender", 1.0, "", above),
        Goal::at_most("last hop, many senders, patience 2", 18.0, "", of("hops", Variant::Patient)),
        Goal::at_most("last hop, many senders, as servers are set", 18.0, "", of("hops", Variant::Shipped)),
        Goal::at_least(
            "reliability while 0.5 % of the nodes fail each cycle",
            100.0,
            " %",
            of("reliability", Variant::Failures),
        ),
    ]
}

fn plots(samples: &Samples) -> Vec<Plot> {
    let series = |what: &str, variants: &[usize]| {
        let line =
            |&level: &usize| Series::ours(VARIANTS[level].name(), samples.series(&format!("{what} {level}")));
        variants.iter().map(line).collect()
    };
    vec![
        Plot {
            name: "overlay-plumtree-redundancy",
            title: "Payloads beyond what is needed, from the first broadcast on".to_owned(),
            x: Axis::linear("broadcasts, one a cycle"),
            y: Axis::linear("relative message redundancy"),
            series: series("rmr", &[0, 2, 6]),
        },
        Plot {
            name: "overlay-plumtree-hops",
            title: "Links to the last delivery, from the first broadcast on".to_owned(),
            x: Axis::linear("broadcasts, one a cycle"),
            y: Axis::linear("links"),
            series: series("hops", &[0, 2, 3, 4, 5, 6]),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundancy_is_what_is_sent_beyond_one_for_each() {
        assert!(redundancy(9_999, 10_000).abs() < 1e-12, "a tree sends one for each node but the sender");
        assert!((redundancy(39_984, 10_000) - 2.998_8).abs() < 1e-4);
        assert!(redundancy(0, 1).abs() < f64::EPSILON, "alone");
    }
}
