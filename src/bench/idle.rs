//! The cost of doing nothing: processor time, memory and wake-ups of a grid that nobody talks to.
//!
//! Every process of every server's group is counted, with all its threads. Processor time is `/proc/<pid>/task/*/schedstat`, in
//! nanoseconds: the ticks of `/proc/<pid>/stat` are far too coarse for servers that run for microseconds.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::Setup;
use super::fleet::Fleet;
use super::report::{Progress, Report, spread};
use super::stats::as_f64;
use super::system::{Ports, System};

/// After the start a grid still settles: first heartbeats, late pages, allocations given back.
const SETTLE: Duration = Duration::from_secs(1);
const KIB_PER_MIB: f64 = 1024.0;

/// What a group of processes has used and holds.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    cpu_ns: u64,
    voluntary_switches: u64,
    involuntary_switches: u64,
    resident_kib: u64,
    anonymous_kib: u64,
    file_kib: u64,
}

struct Sample {
    cpu_percent: f64,
    wakeups_per_second: f64,
    resident_mib: f64,
    anonymous_mib: f64,
    file_mib: f64,
}

/// Measures all systems, one after the other in each repeat.
pub fn run(setup: &Setup, seconds: f64) -> anyhow::Result<Report> {
    let head = [
        "servers",
        "system",
        "CPU % of one core, whole grid",
        "wake-ups/s, whole grid",
        "resident MiB a server",
        "anonymous",
        "of files",
    ];
    let mut report = Report::new("idle", json!({"seconds": seconds}), &head);
    anyhow::ensure!(seconds > 0.0, "--seconds must be more than zero");
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
    Ok(report)
}

fn measure(system: &System, n: usize, seconds: f64, ports: Ports) -> anyhow::Result<Sample> {
    // The masters stay connected and silent, as a teacher's would.
    let (fleet, _masters) = Fleet::launch(system, n, ports)?;
    thread::sleep(SETTLE);
    let before = usage_of(&fleet)?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs_f64(seconds));
    let elapsed = start.elapsed().as_secs_f64();
    let after = usage_of(&fleet)?;
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

fn usage_of(fleet: &Fleet) -> anyhow::Result<Usage> {
    let groups: Vec<i32> =
        (0..fleet.n()).map(|id| Ok(fleet.group(id)?.pgid())).collect::<anyhow::Result<_>>()?;
    let mut total = Usage::default();
    let processes =
        fs::read_dir("/proc").context("this bench needs /proc, which this system does not have")?;
    for process in processes.flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // A process that ends while it is being read has nothing left to count.
        if process_group(&stat).is_some_and(|group| groups.contains(&group)) {
            let _ = total.add_process(&process.path());
        }
    }
    anyhow::ensure!(total.resident_kib > 0, "no process of the grid is left to be measured");
    Ok(total)
}

/// The process group in the text of `/proc/<pid>/stat`; the name before it may hold blanks and parentheses.
fn process_group(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok()
}

impl Usage {
    fn add_process(&mut self, process: &Path) -> std::io::Result<()> {
        for task in fs::read_dir(process.join("task"))?.flatten() {
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            self.cpu_ns += schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            let status = fs::read_to_string(task.path().join("status"))?;
            self.voluntary_switches += field(&status, "voluntary_ctxt_switches");
            self.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches");
        }
        let status = fs::read_to_string(process.join("status"))?;
        self.resident_kib += field(&status, "VmRSS");
        self.anonymous_kib += field(&status, "RssAnon");
        self.file_kib += field(&status, "RssFile");
        Ok(())
    }
}

/// The number of a line `name: number ...` in a status file.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_behind_any_name() {
        assert_eq!(process_group("42 (a) (b 7) S 1 77 77 0 -1"), Some(77));
        assert_eq!(process_group("gone"), None);
    }

    #[test]
    fn a_status_field_is_found_by_its_whole_name() {
        let status = "VmRSS:\t    2048 kB\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "VmRSS"), 2048);
        assert_eq!(field(status, "voluntary_ctxt_switches"), 12);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), 3);
        assert_eq!(field(status, "RssAnon"), 0);
    }
}
