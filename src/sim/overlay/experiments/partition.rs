//! Half of the nodes cut off for a minute, then healed: how long until there is one overlay again.

use std::time::Duration;

use super::network::{Network, flooding};
use super::plot::{Axis, Plot, Series};
use super::samples::{duration, float, percent, shown};
use super::{Experiment, Goal, Report, Sample, Samples, Setup, Table, Unit};
use crate::agent::Peer;
use crate::agents::overlay::{Flood, Nothing};
use crate::time::Time;

/// The experiment.
pub(super) struct Partition;

const CUT_SECONDS: u64 = 60;
/// For how long it is watched after the healing.
const WATCHED_SECONDS: u64 = 60;
/// How often it is looked whether all are together again.
const LOOKS_PER_SECOND: u64 = 5;

impl Experiment for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn needs_keep_alive(&self) -> bool {
        true
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let mut network = flooding(setup, unit.seed);
        let mut nodes = network.live().to_vec();
        network.rng.shuffle(&mut nodes);
        let (one, other) = nodes.split_at(nodes.len() / 2);
        let mut samples = vec![Sample::new("islands", 0, islands(&network).0)];
        let cut_at = network.now();
        let cuts = network.world.partition(one, other);
        for second in 1..=CUT_SECONDS {
            network.pass((cut_at + Duration::from_secs(second)).since(network.now()));
            samples.push(Sample::new("islands", second, islands(&network).0));
        }
        for cut in cuts {
            network.world.heal(cut);
        }
        let healed_at = network.now();
        let mut together: Option<Time> = None;
        for look in 1..=WATCHED_SECONDS * LOOKS_PER_SECOND {
            network.pass(
                (healed_at + Duration::from_millis(look * 1_000 / LOOKS_PER_SECOND)).since(network.now()),
            );
            let (count, largest) = islands(&network);
            if count <= 1.0 {
                together.get_or_insert(network.now());
            } else {
                // Together for a moment only is not together.
                together = None;
            }
            if look % LOOKS_PER_SECOND == 0 {
                let second = CUT_SECONDS + look / LOOKS_PER_SECOND;
                samples.push(Sample::new("islands", second, count));
                samples.push(Sample::new("largest", second, largest));
            }
        }
        if let Some(at) = together {
            samples.push(Sample::new("together", 0, at.since(healed_at).as_secs_f64()));
        }
        if let Some(source) = network.any() {
            samples.push(Sample::new("reached", 0, network.broadcast(source).percent()));
        }
        samples.push(Sample::new("between", 0, between(&network, one)));
        samples
    }

    fn report(&self, setup: &Setup, samples: &Samples) -> Report {
        let runs = samples.all("reached", 0).len();
        let together = samples.all("together", 0).len();
        let mut table =
            Table::new(["half of the nodes cut off for 60 s", "wanted", "ours: mean", "seeds from .. to"]);
        let mut row = |name: &str, wanted: &str, what: &str, at: u64, digits: usize| {
            let spread = format!(
                "{} .. {}",
                shown(samples.min(what, at), digits),
                shown(samples.max(what, at), digits)
            );
            table.row([name.to_owned(), wanted.to_owned(), shown(samples.mean(what, at), digits), spread]);
        };
        row("islands at the end of the cut", "-", "islands", CUT_SECONDS, 1);
        row("seconds from healing until one component", "30", "together", 0, 1);
        row("islands 60 s after healing", "1", "islands", CUT_SECONDS + WATCHED_SECONDS, 1);
        row("a flood then reaches, % of all nodes", "100", "reached", 0, 2);
        row("links between the halves then, % of all", "-", "between", 0, 2);
        // A seed that never came together has no time; it must not be left out of the judgement.
        let slowest =
            if together == runs { samples.max("together", 0) } else { (runs > 0).then_some(f64::INFINITY) };
        let plot = Plot {
            name: "overlay-partition",
            title: "Half of the nodes cut off from second 0 to 60".to_owned(),
            x: Axis::linear("seconds since the cut"),
            y: Axis::linear("islands"),
            series: vec![Series::ours("ovid", samples.series("islands"))],
        };
        let keep_alive = if setup.options.keep_alive.is_zero() {
            "off, so nobody looks for other islands".to_owned()
        } else {
            format!(
                "every {}, probes every {}",
                duration(setup.options.keep_alive),
                duration(setup.options.probe_period)
            )
        };
        let method = format!(
            "A random half of the nodes hears nothing of the other for {CUT_SECONDS} s; keep-alive {keep_alive}. Islands: components of the active \
             views, looked at {LOOKS_PER_SECOND} times a second."
        );
        let goal = Goal::at_most("one component again after healing, slowest seed", 30.0, " s", slowest);
        Report { method: vec![method], tables: vec![table], goals: vec![goal], plots: vec![plot] }
    }
}

/// How many islands there are, and which share of the nodes the largest has, in percent.
fn islands(network: &Network<'_, Flood<Peer, Nothing>>) -> (f64, f64) {
    let sizes = network.graph().component_sizes();
    let largest = sizes.first().copied().unwrap_or(0) as u64;
    (float(sizes.len() as u64), percent(largest, network.live().len() as u64))
}

/// Which share of all links leads from one half into the other, in percent. Of a graph that has mixed well it is a half.
fn between(network: &Network<'_, Flood<Peer, Nothing>>, one: &[Peer]) -> f64 {
    let mut first = vec![false; network.live().len()];
    for peer in one {
        first[peer.index()] = true;
    }
    let (mut all, mut between) = (0, 0);
    for &peer in network.live() {
        for other in network.world.agent(peer).into_iter().flat_map(|node| node.membership().active()) {
            all += 1;
            between += u64::from(first[peer.index()] != first[other.index()]);
        }
    }
    percent(between, all)
}
