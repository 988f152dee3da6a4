//! Latency: single broadcasts at a steady rate, from the master of server 0 to a member that looks on.
//!
//! The load is open: message `k` is due at `start + k / rate`, whatever happened to those before it. The latency counts
//! from that due time, so that a stall shows in every message that it delayed and not only in the one that met it (the
//! correction for *coordinated omission*). The time from just before the write is kept too, in the JSON.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::fleet::Fleet;
use super::master::Master;
use super::observer::{Observer, Signals};
use super::report::{Progress, Report, spread};
use super::stats::{percentile, sorted};
use super::system::{Ports, System};
use super::verify::push_message;
use super::{Setup, require};

const MESSAGE_BYTES: usize = 32;
/// The first part of a run is not counted: buffers and caches are cold.
const WARM_UP: Duration = Duration::from_millis(300);
/// A sleep ends late by up to this much; the rest is spent looking at the clock.
const SPIN: Duration = Duration::from_micros(60);
const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);
const PERCENTS: [f64; 4] = [50.0, 90.0, 99.0, 100.0];

/// How much to send.
#[derive(Debug, Clone)]
pub struct Options {
    /// Broadcasts a second.
    pub rate: f64,
    /// For how long.
    pub seconds: f64,
}

/// The times of one run, sorted, in microseconds.
struct Run {
    /// From when a message was due until it arrived.
    from_due: Vec<f64>,
    /// From just before its write until it arrived.
    from_write: Vec<f64>,
    /// From when it was due until just before its write: what the load generator itself adds.
    lateness: Vec<f64>,
}

/// One column of the table, and whether the ratio to the first system stands beside it.
struct Figure {
    head: &'static str,
    has_ratio: bool,
    of: fn(&Run) -> f64,
}

const FIGURES: [Figure; 6] = [
    Figure { head: "p50 us", has_ratio: true, of: |run| percentile(&run.from_due, 50.0) },
    Figure { head: "p90 us", has_ratio: false, of: |run| percentile(&run.from_due, 90.0) },
    Figure { head: "p99 us", has_ratio: true, of: |run| percentile(&run.from_due, 99.0) },
    Figure { head: "max us", has_ratio: false, of: |run| percentile(&run.from_due, 100.0) },
    Figure { head: "p99 from write us", has_ratio: true, of: |run| percentile(&run.from_write, 99.0) },
    Figure { head: "generator late p99 us", has_ratio: false, of: |run| percentile(&run.lateness, 99.0) },
];

/// Measures all systems side by side.
pub fn run(setup: &Setup, options: &Options) -> (Report, anyhow::Result<()>) {
    let ratio_heads =
        |figure: &'static Figure| [figure.head].into_iter().chain(figure.has_ratio.then_some("ratio"));
    let head: Vec<&str> =
        ["servers", "system"].into_iter().chain(FIGURES.iter().flat_map(ratio_heads)).collect();
    let facts = json!({"rate": options.rate, "seconds": options.seconds});
    let mut report = Report::new("latency", setup, facts, &head);
    let outcome = measure_all(setup, options, &mut report);
    (report, outcome)
}

fn measure_all(setup: &Setup, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    require((1.0..=1e6).contains(&options.rate), "--rate must lie between 1 and 1000000 a second")?;
    require((0.01..=86_400.0).contains(&options.seconds), "--seconds must lie between 0.01 and 86400")?;
    require(setup.servers.iter().all(|&n| n >= 2), "--servers must be at least 2, the observer included")?;
    let progress = Progress::new(setup.servers.len() * setup.systems.len() * setup.repeats);
    for &n in &setup.servers {
        let mut runs: Vec<Vec<Run>> = setup.systems.iter().map(|_| Vec::new()).collect();
        for repeat in 0..setup.repeats {
            for (index, system) in setup.turn(repeat) {
                progress.say(format!("{n} servers, {}", system.name()));
                let run = measure(system, n, options, setup.ports)?;
                report.samples.push(sample(n, system, repeat, &run));
                runs[index].push(run);
                progress.step();
            }
        }
        tabulate(setup, n, &runs, report);
    }
    report.note(format!(
        "median (smallest..largest) of {}; from when a broadcast was due at {}/s until its line arrived at a member that \
         looks on; servers: that member included; ratio: {} to the system, repeat by repeat; generator late: from due to \
         just before the write, which is other work on the machine and not the system's",
        setup.repeats,
        options.rate,
        setup.systems[0].name()
    ));
    Ok(())
}

fn tabulate(setup: &Setup, n: usize, runs: &[Vec<Run>], report: &mut Report) {
    for (index, system) in setup.systems.iter().enumerate() {
        let mut row = vec![n.to_string(), system.name().to_owned()];
        for figure in &FIGURES {
            let values: Vec<Vec<f64>> =
                runs.iter().map(|runs| runs.iter().map(figure.of).collect()).collect();
            row.push(spread(&values[index], 0));
            if figure.has_ratio {
                row.push(setup.ratio_cell(index, &values));
            }
        }
        report.table.push(row);
    }
}

fn sample(n: usize, system: &System, repeat: usize, run: &Run) -> serde_json::Value {
    let percentiles = |times: &[f64]| {
        let [p50, p90, p99, max] = PERCENTS.map(|percent| percentile(times, percent));
        json!({"p50": p50, "p90": p90, "p99": p99, "max": max})
    };
    json!({
        "servers": n, "system": system.name(), "repeat": repeat, "messages": run.from_due.len(),
        "from_due_microseconds": percentiles(&run.from_due),
        "from_write_microseconds": percentiles(&run.from_write),
        "generator_late_microseconds": percentiles(&run.lateness),
    })
}

fn measure(system: &System, n: usize, options: &Options, ports: Ports) -> anyhow::Result<Run> {
    let mut fleet = Fleet::new(system, n, ports)?;
    let observer_id = n - 1;
    for id in 0..observer_id {
        fleet.start(id)?;
    }
    // A server that could not start explains more than a link that could not be made.
    let deadline = Instant::now() + ARRIVAL_LIMIT;
    for id in 0..observer_id {
        fleet.connect(id, deadline).map_err(|error| fleet.explain(id, error))?;
    }
    let observer = Observer::join(observer_id, ports)?;
    let signals = Signals::default();
    let (sent, arrivals) = thread::scope(|scope| {
        let watching = scope.spawn(|| observer.observe(&signals));
        let sent = broadcast_all(&fleet, observer_id, options, &signals);
        signals.stop.store(true, Ordering::Relaxed);
        let arrivals =
            watching.join().expect("the observer does not panic").map_err(|error| fleet.explain(0, error));
        // What the observer met explains why the sender could not go on.
        arrivals.and_then(|arrivals| Ok((sent?, arrivals)))
    })?;
    let mut run = Run { from_due: Vec::new(), from_write: Vec::new(), lateness: Vec::new() };
    for (number, send) in (0..).zip(&sent) {
        let arrival = arrivals.get(&number).with_context(|| format!("message {number} never arrived"))?;
        if send.due.duration_since(sent[0].due) >= WARM_UP {
            run.from_due.push(microseconds(arrival.saturating_duration_since(send.due)));
            run.from_write.push(microseconds(arrival.saturating_duration_since(send.written)));
            run.lateness.push(microseconds(send.written.saturating_duration_since(send.due)));
        }
    }
    for times in [&mut run.from_due, &mut run.from_write, &mut run.lateness] {
        *times = sorted(times);
    }
    Ok(run)
}

struct Send {
    due: Instant,
    written: Instant,
}

/// Waits until all servers see each other and the observer, broadcasts everything, and waits until it has arrived.
fn broadcast_all(
    fleet: &Fleet,
    observer_id: usize,
    options: &Options,
    signals: &Signals,
) -> anyhow::Result<Vec<Send>> {
    let servers: Vec<usize> = (0..observer_id).collect();
    let all: Vec<usize> = (0..=observer_id).collect();
    let mut masters = fleet.await_alive(&servers, &all)?;
    let sent = send_paced(&mut masters[0], options).map_err(|error| fleet.explain(0, error))?;
    let deadline = Instant::now() + ARRIVAL_LIMIT;
    while signals.arrived.load(Ordering::Relaxed) < sent.len() as u64 {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} of {} messages arrived within {} s of the last",
            signals.arrived.load(Ordering::Relaxed),
            sent.len(),
            ARRIVAL_LIMIT.as_secs()
        );
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

fn send_paced(master: &mut Master, options: &Options) -> anyhow::Result<Vec<Send>> {
    let period = Duration::from_secs_f64(1.0 / options.rate);
    let length = WARM_UP + Duration::from_secs_f64(options.seconds);
    sleep_exactly();
    let start = Instant::now() + period;
    let mut sent = Vec::new();
    let mut due = start;
    let mut command = Vec::new();
    while due < start + length {
        command.clear();
        command.extend_from_slice(b"broadcast ");
        push_message(&mut command, 0, sent.len() as u64, MESSAGE_BYTES);
        command.push(b'\n');
        sleep_until(due);
        let written = Instant::now();
        master.write(&command)?;
        sent.push(Send { due, written });
        due += period;
    }
    Ok(sent)
}

/// Asks the kernel not to round this thread's sleeps up by the usual 50 microseconds. Where it cannot, sleeps end
/// later, and the figures of the generator's lateness show it.
pub(super) fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Sleeps until shortly before `due` and looks at the clock for the rest: a timer's interrupt and the way back from
/// sleep take some tens of microseconds, which would be added to every figure.
pub(super) fn sleep_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    if wait > SPIN {
        thread::sleep(wait.saturating_sub(SPIN));
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
