//! How many cycles it takes until broadcasts reach as many as before a failure (`HyParView`, Section 5.3).

use super::network::{Network, flooding};
use super::plot::{Axis, Plot, Series};
use super::samples::{float, shown};
use super::{Experiment, Report, Sample, Samples, Setup, Table, Unit, paper};
use crate::agent::Peer;
use crate::agents::overlay::{Flood, Nothing};

/// The experiment.
pub(super) struct Healing;

const LEVELS: [u64; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95];
const BROADCASTS: u32 = 10;
/// Longer than that nobody waits.
const CYCLES_MAX: u32 = 20;

impl Experiment for Healing {
    fn name(&self) -> &'static str {
        "healing"
    }

    fn levels(&self) -> Vec<u64> {
        LEVELS.to_vec()
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let mut network = flooding(setup, unit.seed);
        let before = cycle(&mut network);
        network.crash_percent(unit.level);
        let mut samples = vec![Sample::new("before", unit.level, before)];
        for number in 1..=CYCLES_MAX {
            let mean = cycle(&mut network);
            if number == 1 {
                samples.push(Sample::new("first cycle", unit.level, mean));
            }
            if mean >= before {
                samples.push(Sample::new("cycles", unit.level, f64::from(number)));
                break;
            }
        }
        samples
    }

    fn report(&self, setup: &Setup, samples: &Samples) -> Report {
        let mut table = Table::new([
            "failed %",
            "HyParView (paper): cycles",
            "ours: cycles",
            "seeds from .. to",
            "healed seeds",
            "before, %",
            "first cycle, %",
        ]);
        for level in samples.places("before") {
            let cycles = |value| shown(value, 0);
            table.row([
                level.to_string(),
                cycles(paper::at(&paper::HEALING, level)),
                shown(samples.mean("cycles", level), 1),
                format!(
                    "{} .. {}",
                    cycles(samples.min("cycles", level)),
                    cycles(samples.max("cycles", level))
                ),
                format!("{} of {}", samples.all("cycles", level).len(), samples.all("before", level).len()),
                shown(samples.mean("before", level), 2),
                shown(samples.mean("first cycle", level), 2),
            ]);
        }
        let plot = Plot {
            name: "overlay-healing",
            title: "Cycles until broadcasts reach as many as before a failure".to_owned(),
            x: Axis::linear("failed nodes, %"),
            y: Axis::linear("cycles"),
            series: vec![
                Series::ours("ovid", samples.series("cycles")),
                Series::others("HyParView (paper)", paper::points(&paper::HEALING)),
            ],
        };
        let method = format!(
            "A share of the nodes fails at once; {BROADCASTS} broadcasts a cycle, spread over it, from random live nodes. Counted is the first cycle in \
             which they reach as large a share of the live nodes as before ({} s a cycle; at most {CYCLES_MAX} cycles).",
            setup.options.shuffle_period.as_secs_f64()
        );
        Report { method: vec![method], tables: vec![table], goals: Vec::new(), plots: vec![plot] }
    }
}

/// One cycle with its broadcasts: their mean reliability.
fn cycle(network: &mut Network<'_, Flood<Peer, Nothing>>) -> f64 {
    let begin = network.now();
    let pace = network.setup.options.shuffle_period / BROADCASTS;
    let (mut nodes, mut live) = (0, 0);
    for number in 1..=BROADCASTS {
        if let Some(source) = network.any() {
            let reached = network.broadcast(source);
            nodes += reached.nodes;
            live += reached.live;
        }
        network.pass((begin + pace * number).since(network.now()));
    }
    100.0 * float(nodes) / float(live.max(1))
}
