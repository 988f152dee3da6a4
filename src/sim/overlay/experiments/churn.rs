//! How many nodes broadcasts reach while nodes come and go all the time.

use std::time::Duration;

use super::network::{Network, flooding};
use super::plot::{Axis, Plot, Series};
use super::samples::{float, percent, shown};
use super::{Experiment, Goal, Report, Sample, Samples, Setup, Table, Unit};
use crate::agent::Peer;
use crate::agents::overlay::{Flood, Nothing};
use crate::time::Time;

/// The experiment.
pub(super) struct Churn;

/// How many percent of the nodes are exchanged in a second.
const PERCENT: u64 = 1;
const SECONDS: u64 = 100;
/// How many times a second some of them die and as many begin.
const STEPS: u64 = 10;
/// A node counts once it has lived for so long.
const GROWN_UP: Duration = Duration::from_secs(1);

impl Experiment for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let mut network = flooding(setup, unit.seed);
        let mut born = vec![Time::ZERO; setup.nodes as usize];
        let begin = network.now();
        let mut samples = Vec::new();
        let (mut nodes_in_all, mut grown_in_all, mut exchanged) = (0, 0, 0);
        for step in 0..SECONDS * STEPS {
            // Rounded so that the rate is right however few nodes there are.
            let wanted = u64::from(setup.nodes) * PERCENT * (step + 1) / (100 * STEPS);
            let count = usize::try_from(wanted - exchanged).expect("no more than there are");
            exchanged = wanted;
            let gone = network.crash(count);
            network.restart(&gone);
            for peer in gone {
                born[peer.index()] = network.now();
            }
            let (got, grown) = one_broadcast(&mut network, &born);
            nodes_in_all += got;
            grown_in_all += grown;
            if step % STEPS == STEPS - 1 {
                samples.push(Sample::new("second", step / STEPS + 1, percent(nodes_in_all, grown_in_all)));
                samples.push(Sample::new("reached", 0, float(nodes_in_all)));
                samples.push(Sample::new("grown", 0, float(grown_in_all)));
                (nodes_in_all, grown_in_all) = (0, 0);
            }
            let due = begin + Duration::from_millis((step + 1) * 1_000 / STEPS);
            network.pass(due.since(network.now()));
        }
        let sizes = network.graph().component_sizes();
        samples.push(Sample::new(
            "largest",
            0,
            percent(sizes.first().copied().unwrap_or(0) as u64, network.live().len() as u64),
        ));
        samples
    }

    fn report(&self, _: &Setup, samples: &Samples) -> Report {
        let seconds = samples.places("second");
        let least = seconds.iter().filter_map(|&second| samples.min("second", second)).reduce(f64::min);
        let sum = |what: &str| samples.all(what, 0).iter().sum::<f64>();
        let mean = (sum("grown") > 0.0).then(|| 100.0 * sum("reached") / sum("grown"));
        let mut table = Table::new(["while 1 % of the nodes are exchanged a second", "wanted", "ours"]);
        table.row(["mean reliability, %".to_owned(), "99.9".to_owned(), shown(mean, 4)]);
        table.row(["worst second of any seed, %".to_owned(), "-".to_owned(), shown(least, 3)]);
        table.row([
            "largest component in the end, % of live nodes".to_owned(),
            "-".to_owned(),
            shown(samples.mean("largest", 0), 3),
        ]);
        let plot = Plot {
            name: "overlay-churn",
            title: "Reliability while 1 % of the nodes are exchanged each second".to_owned(),
            x: Axis::linear("seconds"),
            y: Axis { holds: vec![99.5, 100.0], ..Axis::linear("reliability, %") },
            series: vec![Series::ours("ovid", samples.series("second"))],
        };
        let method = format!(
            "For {SECONDS} s, {STEPS} times a second, random nodes crash and as many begin anew, each with the address of a random live node: {PERCENT} % of all \
             nodes a second. After each exchange a random node floods a broadcast. It should reach all nodes that have lived for {} s.",
            GROWN_UP.as_secs()
        );
        let goal = Goal::at_least("mean reliability under 1 % churn a second", 99.9, " %", mean);
        Report { method: vec![method], tables: vec![table], goals: vec![goal], plots: vec![plot] }
    }
}

/// One broadcast of a grown-up node: how many grown-up nodes have it, and how many there are.
fn one_broadcast(network: &mut Network<'_, Flood<Peer, Nothing>>, born: &[Time]) -> (u64, u64) {
    let now = network.now();
    let is_grown = |peer: &Peer| now.since(born[peer.index()]) >= GROWN_UP;
    let grown: Vec<Peer> = network.live().iter().copied().filter(is_grown).collect();
    let Some(source) = network.rng.pick(&grown).copied() else { return (0, 0) };
    let reached = network.broadcast_among(source, &grown);
    (reached.nodes, reached.live)
}
