//! Grids whose messages travel along an overlay: from the first start, through one contact, to what is left after half of them were killed.
//!
//! One run is one grid that goes through all phases ([`phases`]): it starts, is left alone, gets broadcasts one by one, gets as many as it takes,
//! loses a part of its servers at one moment, and has to be whole again. Whether a broadcast has reached the last server cannot be asked without
//! waking all of them; so the bench listens to every server ([`listener`]), which tells it each delivery as it comes.

mod graph;
mod listener;
mod phases;

use serde::Serialize;
use serde_json::{Value, json};

use self::phases::Run;
use super::report::{Progress, Report, spread};
use super::stats::percentile;
use super::verify::MESSAGES_MAX;
use super::{Setup, require};

/// What is done to each grid.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// How many broadcasts are sent one by one, by all servers in turn.
    pub broadcasts: u64,
    /// How many of these a second.
    pub rate: f64,
    /// How many broadcasts each master then sends as fast as its server takes them.
    pub pipelined: u64,
    /// How long the grid is left alone, in seconds.
    pub seconds: f64,
    /// How many of a hundred servers are killed at once.
    pub killed_percent: u8,
}

/// One line of the table: its name, with how many decimals it is shown, and what it shows of a run.
struct Figure(&'static str, usize, fn(&Run) -> f64);

const FIGURES: [Figure; 21] = [
    Figure("last exec until all see all, ms", 0, |run| run.start.all_seen_ms),
    Figure("neighbours a server, mean", 2, |run| run.start.neighbours_mean),
    Figure("idle: CPU of a server, % of one core", 3, |run| run.idle.cpu_percent),
    Figure("idle: wake-ups a second, a server", 1, |run| run.idle.wakeups_per_second),
    Figure("idle: resident MiB, median server", 2, |run| run.idle.resident_mib),
    Figure("idle: proportional MiB, median server", 2, |run| run.idle.proportional_mib),
    Figure("idle: proportional MiB, whole grid", 1, |run| run.idle.grid_mib),
    Figure("one by one: ms to the last server, p50", 2, |run| percentile(&run.single.to_last_ms, 50.0)),
    Figure("one by one: ms to the last server, p99", 2, |run| percentile(&run.single.to_last_ms, 99.0)),
    Figure("one by one: ms to the last server, max", 2, |run| percentile(&run.single.to_last_ms, 100.0)),
    Figure("one by one: ms to any server, p50", 2, |run| percentile(&run.single.to_each_ms, 50.0)),
    Figure("one by one: generator late, ms, p99", 2, |run| run.single.late_ms),
    Figure("one by one: CPU us a delivery, all servers", 1, |run| run.single.cpu_ns_per_delivery / 1e3),
    Figure("pipelined: million deliveries/s", 2, |run| run.burst.millions_per_second),
    Figure("pipelined: CPU ns a delivery, all servers", 0, |run| run.burst.cpu_ns_per_delivery),
    Figure("after the kill: survivors", 0, |run| run.failure.survivors),
    Figure("after the kill: islands of survivors in that moment", 0, |run| run.failure.islands),
    Figure("after the kill: ms until broadcasts had reached all still connected", 1, |run| {
        run.failure.connected_ms
    }),
    Figure("after the kill: ms until broadcasts had reached all survivors", 1, |run| run.failure.all_ms),
    Figure("after the kill: ms until `alive` is right everywhere", 0, |run| run.failure.alive_ms),
    Figure("after the kill: neighbours a survivor, mean", 2, |run| run.failure.neighbours_mean),
];

/// Runs the whole story with each size of grid, as often as asked for.
pub fn run(setup: &Setup, options: &Options) -> (Report, anyhow::Result<()>) {
    let mut report = Report::new("overlay", setup, json!(options), &["servers", "figure", "median"]);
    let outcome = check(setup, options).and_then(|()| measure_all(setup, options, &mut report));
    (report, outcome)
}

fn check(setup: &Setup, options: &Options) -> anyhow::Result<()> {
    require(setup.servers.iter().all(|&n| n >= 2), "--servers must be at least 2")?;
    require((1..=1_000_000).contains(&options.broadcasts), "--broadcasts must lie between 1 and 1000000")?;
    require((1.0..=1e6).contains(&options.rate), "--rate must lie between 1 and 1000000 a second")?;
    require(options.pipelined <= MESSAGES_MAX / 2, "--pipelined is too large for messages to be numbered")?;
    require((0.01..=86_400.0).contains(&options.seconds), "--seconds must lie between 0.01 and 86400")?;
    require(options.killed_percent <= 95, "--kill must be at most 95 per cent: somebody has to be left")
}

fn measure_all(setup: &Setup, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let progress = Progress::new(setup.servers.len() * setup.repeats);
    for &n in &setup.servers {
        let mut runs = Vec::new();
        for repeat in 0..setup.repeats {
            let say = |phase: &str| progress.say(format!("{n} servers, {phase}"));
            let run = phases::measure(n, repeat, options, setup.ports, &say)?;
            report.samples.push(sample(n, repeat, &run));
            runs.push(run);
            progress.step();
        }
        for Figure(name, decimals, of) in &FIGURES {
            let values: Vec<f64> = runs.iter().map(of).collect();
            // What a run had no part of, such as broadcasts that none was asked for, is no figure.
            let cell = if values.iter().any(|value| value.is_nan()) {
                "-".to_owned()
            } else {
                spread(&values, *decimals)
            };
            report.table.push(vec![n.to_string(), (*name).to_owned(), cell]);
        }
    }
    report.note(format!(
        "median (smallest..largest) of {} runs; all servers join through server 0 and are started at once; one by one: {} broadcasts at {}/s, by all \
         servers in turn, from when each was due; pipelined: {} by every master; then {} % are killed by SIGKILL at once, chosen at random, and every \
         survivor broadcasts at once; every log was checked, before and after",
        setup.repeats, options.broadcasts, options.rate, options.pipelined, options.killed_percent
    ));
    Ok(())
}

fn sample(n: usize, repeat: usize, run: &Run) -> Value {
    let percentiles = |times: &[f64]| {
        let [p50, p90, p99, max] = [50.0, 90.0, 99.0, 100.0].map(|percent| percentile(times, percent));
        json!({"p50": p50, "p90": p90, "p99": p99, "max": max})
    };
    json!({
        "servers": n,
        "repeat": repeat,
        "start": run.start,
        "idle": run.idle,
        "single": {
            "broadcasts": run.single.to_last_ms.len(),
            "deliveries": run.single.to_each_ms.len(),
            "to_last_ms": percentiles(&run.single.to_last_ms),
            "to_each_ms": percentiles(&run.single.to_each_ms),
            "generator_late_p99_ms": run.single.late_ms,
            "cpu_ns_per_delivery": run.single.cpu_ns_per_delivery,
        },
        "burst": run.burst,
        "failure": run.failure,
    })
}
