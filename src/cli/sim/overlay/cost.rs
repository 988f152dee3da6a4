//! What an overlay in the simulated world costs: time, memory, messages; beside the same rules in a loop of their own. Each measurement has a process
//! of its own, or the memory of one would be counted with the next.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::Done;
use crate::cli::sim::batch;
use crate::sim::overlay::experiments::{
    Axis, Bespoke, Goal, Plot, Report, Sample, Samples, Series, Setup, Table, built, float, shown, thousands,
};

/// One measurement: what is built, of how many nodes, from which seed. On the command line `world:10000:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    host: Host,
    nodes: u32,
    seed: u64,
}

/// Where the rules run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// As the agents that servers run, in the simulated world.
    World,
    /// In a loop that was written for them.
    Loop,
}

impl Host {
    const BOTH: [Self; 2] = [Self::World, Self::Loop];

    fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Loop => "loop",
        }
    }
}

impl FromStr for Measure {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(':');
        let mut part = || parts.next().context("expected world:NODES:SEED or loop:NODES:SEED");
        let name = part()?;
        let host =
            Host::BOTH.into_iter().find(|host| host.name() == name).context("expected world or loop")?;
        Ok(Self { host, nodes: part()?.parse()?, seed: part()?.parse()? })
    }
}

/// The sizes by which it is seen how the cost grows: half a power of ten from one to the next.
const SIZES: [u32; 5] = [1_000, 3_162, 10_000, 31_623, 100_000];
/// How many cycles of shuffling there are.
const CYCLES: u32 = 50;

impl Measure {
    /// Measures, and prints one line of JSON.
    #[expect(clippy::disallowed_methods, reason = "the command line measures how long something takes")]
    pub(super) fn run(self, setup: &Setup, out: &mut impl Write) -> anyhow::Result<()> {
        let setup = Setup { nodes: self.nodes, ..setup.clone() };
        let started = Instant::now();
        let (joining, all) = match self.host {
            Host::World => built(&setup, self.seed, CYCLES),
            Host::Loop => {
                let mut overlay = Bespoke::build(self.nodes, &setup.options, self.seed);
                let joining = overlay.messages;
                (0..CYCLES).for_each(|_| overlay.cycle());
                (joining, overlay.messages)
            }
        };
        let (wall, seconds) = (started.elapsed().as_secs_f64(), processor_seconds()?);
        let line = json!({ "seconds": seconds, "wall": wall, "mib": peak_mib()?, "joining": joining, "messages": all });
        writeln!(out, "{line}").context("cannot print the measurement")
    }

    /// Measures in a process of its own, which is given the arguments of this one.
    fn in_a_process(self) -> anyhow::Result<Vec<Sample>> {
        let program = std::env::current_exe().context("cannot find this program again")?;
        let output = Command::new(program)
            .args(std::env::args_os().skip(1))
            .args(["--measure", &format!("{}:{}:{}", self.host.name(), self.nodes, self.seed)])
            .output()
            .context("cannot start this program again")?;
        ensure!(
            output.status.success(),
            "a measurement failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let line: Value =
            serde_json::from_slice(&output.stdout).context("a measurement said something else")?;
        let fields = ["seconds", "wall", "mib", "joining", "messages"];
        let sample = |field: &str| {
            let value =
                line[field].as_f64().with_context(|| format!("a measurement did not tell its {field}"))?;
            Ok(Sample::new(format!("{} {field}", self.host.name()), u64::from(self.nodes), value))
        };
        fields.into_iter().map(sample).collect()
    }
}

/// How long this process has run on a processor, in seconds. On a machine that others use as well the wall says more about them.
fn processor_seconds() -> anyhow::Result<f64> {
    let schedstat = fs::read_to_string("/proc/self/schedstat")
        .context("time is read from /proc, which this system does not have")?;
    let nanoseconds = schedstat.split(' ').next().and_then(|field| field.parse().ok());
    Ok(float(nanoseconds.context("/proc/self/schedstat has no time")?) / 1e9)
}

/// The most memory that this process has had, in MiB.
fn peak_mib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")
        .context("memory is read from /proc, which this system does not have")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("/proc/self/status has no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM is no number")?;
    Ok(float(kib) / 1_024.0)
}

/// Measures the world and the loop, one after the other in turns: at the size asked for with every seed, at all others with the first.
#[expect(clippy::disallowed_methods, reason = "the command line tells how long an experiment took")]
pub(super) fn measured(setup: &Setup) -> anyhow::Result<Done> {
    let started = Instant::now();
    let sizes = SIZES.into_iter().filter(|&nodes| nodes != setup.nodes).map(|nodes| (nodes, setup.seed));
    let seeds = (0..setup.seeds).map(|number| (setup.nodes, setup.seed.wrapping_add(number)));
    let plan: Vec<(u32, u64)> = seeds.chain(sizes).collect();
    let bar = batch::bar("cost: {bar:40} {pos}/{len} measurements, {eta} to go", Some(2 * plan.len() as u64));
    let mut samples = Samples::default();
    for (nodes, seed) in plan {
        for host in Host::BOTH {
            samples.add(Measure { host, nodes, seed }.in_a_process()?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(Done { report: report(setup, &samples), samples, elapsed: started.elapsed() })
}

fn report(setup: &Setup, samples: &Samples) -> Report {
    let mut table = Table::new([
        "nodes",
        "world, s",
        "loop, s",
        "ratio",
        "world, MiB",
        "loop, MiB",
        "messages a join",
        "a node and cycle",
        "of all a node",
        "of all / n log2 n",
    ]);
    let places = samples.places("world seconds");
    for &nodes in &places {
        let median = |what: &str| samples.median(what, nodes);
        table.row([
            thousands(nodes),
            shown(median("world seconds"), 2),
            shown(median("loop seconds"), 2),
            shown(ratio(samples, nodes), 2),
            shown(median("world mib"), 1),
            shown(median("loop mib"), 1),
            shown(median("world joining").map(|joining| joining / float(nodes)), 1),
            shown(per_cycle(samples, nodes), 2),
            shown(median("world messages").map(|messages| messages / float(nodes)), 1),
            shown(per_n_log_n(samples, nodes), 2),
        ]);
    }
    let method = format!(
        "Built by joins one after the other, then {CYCLES} cycles of shuffling; no broadcast. World: the agents that servers run, in the simulated world. Loop: the paper's \
         rules in arrays with one queue, without links, times, time-outs. Each measurement in a process of its own, world and loop in turns; medians of {} at {} nodes, \
         single runs at other sizes. Memory: the most that the process had at any time, the program itself included.",
        setup.seeds,
        thousands(u64::from(setup.nodes)),
    );
    let growth = Plot {
        name: "overlay-cost",
        title: format!("What joining and {CYCLES} cycles of shuffling cost"),
        x: Axis::logarithmic("nodes"),
        y: Axis::logarithmic("seconds"),
        series: vec![
            Series::ours("ovid: the simulated world", medians(samples, "world seconds")),
            Series::others("a loop of the same rules", medians(samples, "loop seconds")),
        ],
    };
    Report {
        method: vec![method],
        tables: vec![table],
        goals: goals(setup, samples, &places),
        plots: vec![growth],
    }
}

fn medians(samples: &Samples, what: &str) -> Vec<(f64, f64)> {
    samples.places(what).into_iter().filter_map(|at| Some((float(at), samples.median(what, at)?))).collect()
}

fn ratio(samples: &Samples, nodes: u64) -> Option<f64> {
    Some(samples.median("world seconds", nodes)? / samples.median("loop seconds", nodes)?)
}

fn per_cycle(samples: &Samples, nodes: u64) -> Option<f64> {
    let messages = samples.median("world messages", nodes)? - samples.median("world joining", nodes)?;
    Some(messages / float(nodes) / f64::from(CYCLES))
}

fn per_n_log_n(samples: &Samples, nodes: u64) -> Option<f64> {
    Some(samples.median("world messages", nodes)? / (float(nodes) * float(nodes).log2()))
}

fn goals(setup: &Setup, samples: &Samples, places: &[u64]) -> Vec<Goal> {
    let nodes = u64::from(setup.nodes);
    let at = |what: &str, nodes: u64| samples.median(what, nodes);
    let growths = places
        .windows(2)
        .filter_map(|pair| Some(per_n_log_n(samples, pair[1])? / per_n_log_n(samples, pair[0])?));
    let growth = growths.reduce(f64::max);
    let name = |what: &str| format!("{what} at {} nodes", thousands(nodes));
    vec![
        Goal::at_most(name("time of the world against the loop"), 2.0, " times", ratio(samples, nodes)),
        Goal::at_most("memory at 10,000 nodes", 60.0, " MiB", at("world mib", 10_000)),
        Goal::at_most("time at 100,000 nodes", 40.0, " s", at("world seconds", 100_000)),
        Goal::at_most("memory at 100,000 nodes", 600.0, " MiB", at("world mib", 100_000)),
        Goal::at_most("messages / n log n from one size to the next", 1.0, " times", growth),
    ]
}
