//! Failure detection: how long a killed or frozen server stays in the others' `alive`, and how long a woken one stays
//! out.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use serde_json::json;

use super::fleet::Fleet;
use super::master::Master;
use super::report::{Progress, Report, milliseconds};
use super::stats::{Shuffle, median, range};
use super::system::{Ports, System};
use super::{Setup, require};

const SEED: u64 = 0x07_1d;
const KILL_PAUSE: Duration = Duration::from_millis(1);
const STOP_PAUSE: Duration = Duration::from_millis(5);
/// A change that has not been seen by then never will be.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);
/// Heartbeats repeat with a period; a random pause of up to this long keeps the repeats out of step with it.
const PHASE_MS_MAX: u64 = 600;

/// How often to do what.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many servers are killed.
    pub kills: usize,
    /// How many servers are frozen and woken.
    pub stops: usize,
}

/// What happened to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Kill,
    Stop,
    Continue,
}

impl Event {
    const ALL: [Self; 3] = [Self::Kill, Self::Stop, Self::Continue];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL until gone everywhere",
            Self::Stop => "SIGSTOP until gone everywhere",
            Self::Continue => "SIGCONT until back everywhere",
        }
    }
}

struct Sample {
    event: Event,
    victim: usize,
    took: Duration,
    /// How long before the end the last servers had been asked in vain: how exact the figure is.
    resolution: Duration,
}

/// Measures each system on grids of its own.
pub fn run(setup: &Setup, options: &Options) -> (Report, anyhow::Result<()>) {
    let head = ["servers", "system", "event", "times", "median ms", "worst ms", "resolution ms"];
    let facts = json!({"kills": options.kills, "stops": options.stops, "seed": SEED});
    let mut report = Report::new("detect", setup, facts, &head);
    let outcome = measure_all(setup, options, &mut report);
    (report, outcome)
}

fn measure_all(setup: &Setup, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let progress = Progress::new(setup.servers.len() * setup.systems.len() * (options.kills + options.stops));
    for &n in &setup.servers {
        require(n >= 2, format!("nobody can see a failure in a grid of {n}; --servers must be at least 2"))?;
        for system in &setup.systems {
            progress.say(format!("{n} servers, {}", system.name()));
            let samples = measure(system, n, options, setup.ports, &progress)?;
            for event in Event::ALL {
                tabulate(n, system, event, &samples, report);
            }
        }
    }
    report.note(
        "from the signal until each other server has answered `alive` rightly, asked one after the other (again after 1 ms \
         for a kill, 5 ms else); resolution: the median of how long before that the last of them had been asked in vain"
            .to_owned(),
    );
    Ok(())
}

fn tabulate(n: usize, system: &System, event: Event, samples: &[Sample], report: &mut Report) {
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.event == event).collect();
    if samples.is_empty() {
        return;
    }
    report.samples.extend(samples.iter().map(|sample| {
        json!({
            "servers": n, "system": system.name(), "event": event.name(), "victim": sample.victim,
            "milliseconds": milliseconds(sample.took), "resolution_milliseconds": milliseconds(sample.resolution),
        })
    }));
    let times: Vec<f64> = samples.iter().map(|sample| milliseconds(sample.took)).collect();
    let resolutions: Vec<f64> = samples.iter().map(|sample| milliseconds(sample.resolution)).collect();
    report.table.push(vec![
        n.to_string(),
        system.name().to_owned(),
        event.name().to_owned(),
        samples.len().to_string(),
        format!("{:.1}", median(&times)),
        format!("{:.1}", range(&times).1),
        format!("{:.1}", median(&resolutions)),
    ]);
}

fn measure(
    system: &System,
    n: usize,
    options: &Options,
    ports: Ports,
    progress: &Progress,
) -> anyhow::Result<Vec<Sample>> {
    let (fleet, masters) = Fleet::launch(system, n, ports)?;
    let mut grid = Grid { fleet, masters, random: Shuffle::new(SEED) };
    let mut samples = Vec::new();
    for repeat in 0..options.kills {
        samples.push(grid.kill(n - 1 - repeat % n)?);
        progress.step();
    }
    for repeat in 0..options.stops {
        samples.extend(grid.stop_and_continue(n - 1 - repeat % n)?);
        progress.step();
    }
    Ok(samples)
}

/// A grid whose servers are hurt one after the other.
struct Grid {
    fleet: Fleet,
    masters: Vec<Master>,
    random: Shuffle,
}

impl Grid {
    /// Kills a server, and starts it anew once all others have seen it go.
    fn kill(&mut self, victim: usize) -> anyhow::Result<Sample> {
        self.leave_step();
        let others = self.all_but(victim);
        let start = Instant::now();
        self.fleet.group(victim)?.signal(Signal::KILL)?;
        let (took, resolution) = self.await_view(&others, &others, start, KILL_PAUSE)?;
        self.fleet.kill(victim);
        self.fleet.start(victim)?;
        let all: Vec<usize> = (0..self.fleet.n()).collect();
        let mut restarted = self.fleet.await_alive(&[victim], &all)?;
        self.masters[victim] = restarted.pop().context("the restarted server has a master")?;
        self.await_view(&all, &all, Instant::now(), STOP_PAUSE)?;
        Ok(Sample { event: Event::Kill, victim, took, resolution })
    }

    /// Freezes a server until all others have seen it go, and wakes it until all see it again, itself included.
    fn stop_and_continue(&mut self, victim: usize) -> anyhow::Result<[Sample; 2]> {
        self.leave_step();
        let others = self.all_but(victim);
        let start = Instant::now();
        self.fleet.group(victim)?.signal(Signal::STOP)?;
        let (took, resolution) = self.await_view(&others, &others, start, STOP_PAUSE)?;
        let stop = Sample { event: Event::Stop, victim, took, resolution };

        let all: Vec<usize> = (0..self.fleet.n()).collect();
        let start = Instant::now();
        self.fleet.group(victim)?.signal(Signal::CONT)?;
        let (took, resolution) = self.await_view(&all, &all, start, STOP_PAUSE)?;
        Ok([stop, Sample { event: Event::Continue, victim, took, resolution }])
    }

    /// Asks `ids` in rounds until each has answered `expected`, and once more at the end, off the clock: an
    /// implementation that wavers has not noticed. Returns the time since `start`, and how long before that the last
    /// servers had been asked in vain.
    fn await_view(
        &mut self,
        ids: &[usize],
        expected: &[usize],
        start: Instant,
        pause: Duration,
    ) -> anyhow::Result<(Duration, Duration)> {
        let mut pending = ids.to_vec();
        let mut last_round = start;
        loop {
            let round = Instant::now();
            pending = self.ask_round(&pending, expected)?;
            let (took, resolution) = (start.elapsed(), last_round.elapsed());
            if pending.is_empty() {
                pending = self.ask_round(ids, expected)?;
            }
            let Some(&id) = pending.first() else { return Ok((took, resolution)) };
            if took > CHANGE_LIMIT {
                let error =
                    anyhow::anyhow!("it does not report {expected:?} alive, {took:.0?} after the change");
                return Err(self.fleet.explain(id, error));
            }
            last_round = round;
            thread::sleep(pause);
        }
    }

    /// Asks each of `ids` once. Returns those that answered something else than `expected`.
    fn ask_round(&mut self, ids: &[usize], expected: &[usize]) -> anyhow::Result<Vec<usize>> {
        let mut different = Vec::new();
        for &id in ids {
            let alive = self.masters[id].alive().map_err(|error| self.fleet.explain(id, error))?;
            if alive != expected {
                different.push(id);
            }
        }
        Ok(different)
    }

    fn all_but(&self, victim: usize) -> Vec<usize> {
        (0..self.fleet.n()).filter(|&id| id != victim).collect()
    }

    fn leave_step(&mut self) {
        thread::sleep(Duration::from_millis(self.random.below(PHASE_MS_MAX)));
    }
}
