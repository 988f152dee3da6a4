//! The cost of doing nothing: processor time, memory and wake-ups of a grid that nobody talks to.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::Fleet;
use super::report::{Progress, Report, spread};
use super::stats::as_f64;
use super::system::{Ports, System};
use super::{Setup, require};

/// After the start a grid still settles: first heartbeats, late pages, allocations given back.
const SETTLE: Duration = Duration::from_secs(1);
const KIB_PER_MIB: f64 = 1024.0;

struct Sample {
    cpu_percent: f64,
    wakeups_per_second: f64,
    resident_mib: f64,
    anonymous_mib: f64,
    file_mib: f64,
}

/// Measures all systems, one after the other in each repeat.
pub fn run(setup: &Setup, seconds: f64) -> (Report, anyhow::Result<()>) {
    let head = [
        "servers",
        "system",
        "CPU % of one core, whole grid",
        "wake-ups/s, whole grid",
        "resident MiB a server",
        "anonymous",
        "of files",
    ];
    let mut report = Report::new("idle", setup, json!({"seconds": seconds}), &head);
    let outcome = measure_all(setup, seconds, &mut report);
    (report, outcome)
}

fn measure_all(setup: &Setup, seconds: f64, report: &mut Report) -> anyhow::Result<()> {
    require((0.01..=86_400.0).contains(&seconds), "--seconds must lie between 0.01 and 86400")?;
    let progress = Progress::new(setup.servers.len() * setup.systems.len() * setup.repeats);
    for &n in &setup.servers {
        let mut samples: Vec<Vec<Sample>> = setup.systems.iter().map(|_| Vec::new()).collect();
        for repeat in 0..setup.repeats {
            for (index, system) in setup.turn(repeat) {
                progress.say(format!("{n} servers, {}", system.name()));
                let sample = measure(system, n, seconds, setup.ports)?;
                report.samples.push(json!({
                    "servers": n, "system": system.name(), "repeat": repeat, "cpu_percent": sample.cpu_percent,
                    "wakeups_per_second": sample.wakeups_per_second, "resident_mib_per_server": sample.resident_mib,
                    "anonymous_mib_per_server": sample.anonymous_mib, "file_mib_per_server": sample.file_mib,
                }));
                samples[index].push(sample);
                progress.step();
            }
        }
        for (system, samples) in setup.systems.iter().zip(&samples) {
            let column = |pick: fn(&Sample) -> f64, decimals| {
                spread(&samples.iter().map(pick).collect::<Vec<_>>(), decimals)
            };
            report.table.push(vec![
                n.to_string(),
                system.name().to_owned(),
                column(|sample| sample.cpu_percent, 2),
                column(|sample| sample.wakeups_per_second, 0),
                column(|sample| sample.resident_mib, 2),
                column(|sample| sample.anonymous_mib, 2),
                column(|sample| sample.file_mib, 2),
            ]);
        }
    }
    report.note(format!(
        "median (smallest..largest) of {}, over {seconds} s; CPU from schedstat, wake-ups are voluntary context switches, \
         resident is the mean of VmRSS over the servers (RssAnon and RssFile apart; pages of the program are shared)",
        setup.repeats
    ));
    Ok(())
}

fn measure(system: &System, n: usize, seconds: f64, ports: Ports) -> anyhow::Result<Sample> {
    // The masters stay connected and silent, as a teacher's would.
    let (fleet, _masters) = Fleet::launch(system, n, ports)?;
    thread::sleep(SETTLE);
    let before = fleet.usage()?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs_f64(seconds));
    let elapsed = start.elapsed().as_secs_f64();
    let after = fleet.usage()?;
    let servers = as_f64(n as u64);
    Ok(Sample {
        cpu_percent: as_f64(after.cpu_ns.saturating_sub(before.cpu_ns)) / 1e9 / elapsed * 100.0,
        wakeups_per_second: as_f64(after.voluntary_switches.saturating_sub(before.voluntary_switches))
            / elapsed,
        resident_mib: as_f64(after.resident_kib) / KIB_PER_MIB / servers,
        anonymous_mib: as_f64(after.anonymous_kib) / KIB_PER_MIB / servers,
        file_mib: as_f64(after.file_kib) / KIB_PER_MIB / servers,
    })
}
