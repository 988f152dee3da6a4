//! Replicated logs side by side: ours, an installed etcd, an installed nats-server with `JetStream`.
//!
//! One run is one fresh cluster that goes through all phases: records one at a time, many in flight to the leader, many in flight spread over all servers, the
//! leader killed and frozen again and again ([`failover`]), and, in the first runs, a fresh cluster that is filled, killed and started again ([`restart`]). Engines
//! ([`engine`]) take turns. The load ([`load`]) is the same code for all; only what is written on the connection differs ([`wire`]).

mod attempts;
pub(super) mod cluster;
mod engine;
mod etcd;
mod failover;
mod http2;
mod jetstream;
pub(super) mod load;
pub(super) mod messenger;
mod ours;
pub(super) mod phase;
mod restart;
mod wire;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use self::cluster::Cluster;
pub use self::engine::Engine;
use self::failover::{Blow, Failovers};
use self::load::{Flow, Until};
pub use self::messenger::Chat;
use super::figures::Figures;
use super::groups::Folder;
use super::report::{Progress, Report, spread};
use super::stats::{as_f64, percentile, sorted};
use super::system::Ports;
use super::verify::MESSAGE_BYTES_MIN;
use super::{Setup, require};

/// How many records are under way while a log is filled.
const FILL_IN_FLIGHT: usize = 1024;
/// What fits into one frame of any engine, and into one record of ours.
const RECORD_BYTES_MAX: usize = 8192;
const PROBES: usize = 200;

/// What is done to each cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// How many servers each cluster has.
    pub servers: Vec<usize>,
    /// How often everything is measured; engines take turns.
    pub repeats: usize,
    /// The length of each record.
    pub bytes: usize,
    /// How many records are under way, one phase for each number.
    pub in_flight: Vec<usize>,
    /// How many of them are under way in the phase that spreads them over all servers; 0 leaves it out.
    pub spread: usize,
    /// Over how many connections to the leader.
    pub connections: usize,
    /// How long each phase takes, in seconds.
    pub seconds: f64,
    /// How often the leader is killed, over all repeats together.
    pub failovers: usize,
    /// How often it is frozen, likewise.
    pub freezes: usize,
    /// How many records a log has that is started again; 0 leaves that out.
    pub records: u64,
    /// How often that is done.
    pub restarts: usize,
    /// Where the servers write.
    pub data: PathBuf,
}

/// Measures all engines side by side.
pub fn run(engines: &[Engine], options: &Options, ports: Ports) -> (Report, anyhow::Result<()>) {
    let names: Vec<&str> = engines.iter().map(Engine::name).collect();
    let mut head = vec!["servers", "figure"];
    for (place, name) in names.iter().enumerate() {
        head.push(name);
        if place > 0 {
            head.push("ratio");
        }
    }
    let setup =
        Setup { systems: Vec::new(), servers: options.servers.clone(), repeats: options.repeats, ports };
    let mut report = Report::new("log", &setup, json!(options), &head);
    report.setup["systems"] = json!(names);
    let outcome = check(engines, options).and_then(|()| measure_all(engines, options, ports, &mut report));
    (report, outcome)
}

fn check(engines: &[Engine], options: &Options) -> anyhow::Result<()> {
    require(!engines.is_empty() && options.repeats > 0, "nothing to measure: no system or no repeat")?;
    require(
        options.servers.iter().all(|servers| (1..=9).contains(servers)),
        "--servers must lie between 1 and 9",
    )?;
    require(
        (MESSAGE_BYTES_MIN..=RECORD_BYTES_MAX).contains(&options.bytes),
        format!("--bytes must lie between {MESSAGE_BYTES_MIN} and {RECORD_BYTES_MAX}"),
    )?;
    require(
        options.in_flight.iter().chain([&options.connections]).all(|count| (1..=100_000).contains(count)),
        "--in-flight and --connections must lie between 1 and 100000",
    )?;
    require((0.01..=3600.0).contains(&options.seconds), "--seconds must lie between 0.01 and 3600")?;
    require(
        options.data.is_dir(),
        format!("--data must be a folder, and {} is none", options.data.display()),
    )?;
    require(options.records <= 100_000_000, "--records must be at most 100000000")?;
    require(
        options.failovers + options.freezes == 0 || options.servers.iter().all(|&servers| servers >= 3),
        "--failovers and --freezes need at least 3 --servers: with fewer nobody can take over",
    )
}

fn measure_all(
    engines: &[Engine],
    options: &Options,
    ports: Ports,
    report: &mut Report,
) -> anyhow::Result<()> {
    for engine in engines {
        report.note(engine.describe()?);
    }
    report.note(disk_note(&options.data)?);
    let progress = Progress::new(options.servers.len() * options.repeats * engines.len());
    for &n in &options.servers {
        let mut figures: Vec<Figures> = engines.iter().map(|_| Figures::default()).collect();
        let outcome = (0..options.repeats).try_for_each(|repeat| {
            // Each repeat begins with another engine, so that none always comes first.
            for place in 0..engines.len() {
                let index = (place + repeat) % engines.len();
                let run = Run { engine: &engines[index], n, repeat, options, ports };
                let say = |phase: &str| progress.say(format!("{n} servers, {}: {phase}", run.engine.name()));
                let sample = run.measure(&mut figures[index], &say)?;
                report.samples.push(sample);
                progress.step();
            }
            anyhow::Ok(())
        });
        // What was measured before an error is shown too.
        tabulate(n, &figures, report);
        outcome?;
    }
    report.note(format!(
        "median (smallest..largest) of {} runs; {}-byte records; each phase {} s after {} s that do not count; ratio: {} to the system, medians; load and \
         servers on this machine",
        options.repeats,
        options.bytes,
        options.seconds,
        phase::WARM_UP.as_secs_f64(),
        engines[0].name()
    ));
    Ok(())
}

fn tabulate(n: usize, figures: &[Figures], report: &mut Report) {
    let mut names: Vec<(&str, usize)> = Vec::new();
    for figure in figures.iter().flat_map(|figures| &figures.0) {
        if !names.iter().any(|(name, _)| *name == figure.name) {
            names.push((&figure.name, figure.decimals));
        }
    }
    for (name, decimals) in names {
        let mut row = vec![n.to_string(), name.to_owned()];
        for (place, engine) in figures.iter().enumerate() {
            let values = engine.values(name);
            row.push(values.map_or_else(|| "-".to_owned(), |values| spread(values, decimals)));
            if place > 0 {
                row.push(ratio(figures[0].values(name), values));
            }
        }
        report.table.push(row);
    }
}

fn ratio(first: Option<&[f64]>, other: Option<&[f64]>) -> String {
    match (first, other) {
        (Some(first), Some(other)) => {
            format!("{:.2}", super::stats::median(first) / super::stats::median(other))
        }
        _ => "-".to_owned(),
    }
}

/// One engine in one repeat.
struct Run<'a> {
    engine: &'a Engine,
    n: usize,
    repeat: usize,
    options: &'a Options,
    ports: Ports,
}

impl Run<'_> {
    /// Goes through all phases; what was measured goes into `figures`, and comes back for programs.
    fn measure(&self, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<Value> {
        let before = figures.0.iter().map(|figure| figure.values.len()).collect::<Vec<_>>();
        let mut cluster = self.start(say)?;
        for &in_flight in &self.options.in_flight {
            say(&format!("{in_flight} in flight"));
            let leader = cluster.await_leader(Duration::from_secs(30))?;
            let lanes = vec![leader; self.options.connections.min(in_flight)];
            let name =
                if in_flight == 1 { "one at a time".to_owned() } else { format!("{in_flight} in flight") };
            self.phase(&cluster, &name, &lanes, in_flight, figures)?;
        }
        let all: Vec<usize> = (0..cluster.len()).collect();
        if self.options.spread >= all.len() && all.len() > 1 {
            say("spread over all servers");
            let name = format!("{} in flight, spread over all servers", self.options.spread);
            self.phase(&cluster, &name, &all, self.options.spread, figures)?;
        }
        figures.add("most resident MiB of a server, after these", 1, cluster.resident_mib_max());
        self.strike(&mut cluster, figures, say)?;
        drop(cluster);
        if self.options.records > 0 && self.engine.is_durable() && self.repeat < self.options.restarts {
            self.restart(figures, say)?;
        }
        let new = figures.0.iter().enumerate().map(|(index, figure)| {
            let begin = before.get(index).copied().unwrap_or(0);
            (figure.name.clone(), json!(figure.values[begin..]))
        });
        let new: serde_json::Map<String, Value> = new.collect();
        Ok(json!({"servers": self.n, "system": self.engine.name(), "repeat": self.repeat, "figures": new}))
    }

    fn start(&self, say: &dyn Fn(&str)) -> anyhow::Result<Cluster> {
        say("start");
        Cluster::start(self.engine, self.n, self.ports, &self.options.data)
    }

    /// Keeps records under way over one connection for each of `lanes`.
    fn phase(
        &self,
        cluster: &Cluster,
        name: &str,
        lanes: &[usize],
        in_flight: usize,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let load = (in_flight, self.options.bytes);
        phase::measure(cluster, lanes, load, self.options.seconds)?.add_all(figures, name);
        Ok(())
    }

    /// Kills and freezes leaders.
    fn strike(&self, cluster: &mut Cluster, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let mut seen = Failovers::default();
        for (blow, all) in [(Blow::Kill, self.options.failovers), (Blow::Freeze, self.options.freezes)] {
            let count = self.share(all);
            if self.engine.is_replicated() && count > 0 {
                let name = format!("{} of the leader", blow.name());
                say(&name);
                let failovers = failover::measure(cluster, blow, count, self.options.bytes)?;
                for took in failovers.milliseconds {
                    figures.add(format!("{name} until the next acknowledged record, ms"), 0, took);
                }
                seen.add_leaders(failovers.leaders);
            }
        }
        seen.check()?;
        if !seen.leaders.is_empty() {
            figures.add("terms in which a leader was seen, one each", 0, as_f64(seen.leaders.len() as u64));
        }
        Ok(())
    }

    /// How many of so many over all repeats belong to this one.
    fn share(&self, all: usize) -> usize {
        let repeats = self.options.repeats;
        all / repeats + usize::from(self.repeat < all % repeats)
    }

    fn restart(&self, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let mut cluster = self.start(say)?;
        say("fill, kill all, start again");
        let flow = Flow {
            in_flight: FILL_IN_FLIGHT,
            bytes: self.options.bytes,
            warm_up: Duration::ZERO,
            until: Until::Records(self.options.records),
        };
        let restart = restart::measure(&mut cluster, self.options.records, &flow)?;
        let name = |what: &str| format!("restart with {} records: {what}", self.options.records);
        figures.add(name("s until one is acknowledged"), 2, restart.acknowledges_s);
        figures.add(name("s until all servers have all"), 2, restart.applied_s);
        figures.add(name("most resident MiB of a server before"), 0, restart.filled_mib);
        figures.add(name("most resident MiB of a server after"), 0, restart.resident_mib);
        figures.add(name("disk bytes of a server a record"), 0, restart.disk_bytes_per_record);
        Ok(())
    }
}

/// What the disk can do at best: without it nobody can judge a figure.
fn disk_note(data: &Path) -> anyhow::Result<String> {
    let folder =
        Folder::create_in(data, "ovid-bench-data").context("--data must be a folder that can be written")?;
    let mut file = std::fs::File::create(folder.path().join("probe"))?;
    let mut times = Vec::new();
    for _ in 0..PROBES {
        file.write_all(&[1; 4096])?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let times = sorted(&times);
    Ok(format!(
        "fdatasync of an appended 4 KiB in {}, before the runs: p50 {:.2} ms, p99 {:.2} ms",
        data.display(),
        percentile(&times, 50.0),
        percentile(&times, 99.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_runs_are_gathered_by_name() {
        let mut figures = Figures::default();
        figures.add("a", 0, 1.0);
        figures.add("b", 0, 2.0);
        figures.add("a", 0, 3.0);
        assert_eq!(figures.values("a"), Some(&[1.0, 3.0][..]));
        assert_eq!(ratio(figures.values("a"), figures.values("b")), "1.00");
        assert_eq!(ratio(figures.values("a"), figures.values("c")), "-");
    }
}
