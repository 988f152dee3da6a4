//! What a grid has used and holds: every process of every server's group, with all its threads.
//!
//! Processor time is `/proc/<pid>/task/*/schedstat`, in nanoseconds: the ticks of `/proc/<pid>/stat` are far too
//! coarse for servers that run for microseconds. What a thread used that has ended meanwhile is not counted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// What a group of processes has used and holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Time on a processor.
    pub cpu_ns: u64,
    /// How often a thread went to sleep, and so had to be woken.
    pub voluntary_switches: u64,
    /// Resident memory, and its two parts.
    pub resident_kib: u64,
    /// Memory that belongs to the process alone.
    pub anonymous_kib: u64,
    /// Pages of files, the program's above all, which processes share.
    pub file_kib: u64,
}

impl Usage {
    /// The processor time between two readings, in nanoseconds, where both could be taken.
    pub(super) fn cpu_between(before: Option<Self>, after: Option<Self>) -> Option<u64> {
        Some(after?.cpu_ns.saturating_sub(before?.cpu_ns))
    }

    /// Adds up all processes of the given groups.
    pub fn of_groups(groups: &[i32]) -> anyhow::Result<Self> {
        let mut total = Self::default();
        for (_, process) in processes_of(groups)? {
            // A process that ends while it is being read has nothing left to count.
            let _ = total.add_process(&process);
        }
        anyhow::ensure!(total.resident_kib > 0, "no process of the grid is left to be measured");
        Ok(total)
    }

    fn add_process(&mut self, process: &Path) -> std::io::Result<()> {
        for task in fs::read_dir(process.join("task"))?.flatten() {
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            self.cpu_ns += schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            let status = fs::read_to_string(task.path().join("status"))?;
            self.voluntary_switches += field(&status, "voluntary_ctxt_switches");
        }
        let status = fs::read_to_string(process.join("status"))?;
        self.resident_kib += field(&status, "VmRSS");
        self.anonymous_kib += field(&status, "RssAnon");
        self.file_kib += field(&status, "RssFile");
        Ok(())
    }
}

/// What the processes of one group hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident memory, pages that others share counted in full.
    pub resident_kib: u64,
    /// Resident memory, pages that several processes share divided among them: summed over all, it is what they take together.
    pub proportional_kib: u64,
}

impl Memory {
    /// Of each of the given groups.
    pub fn of_each_group(groups: &[i32]) -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::default(); groups.len()];
        for (index, process) in processes_of(groups)? {
            let rollup = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
            all[index].resident_kib += field(&rollup, "Rss");
            all[index].proportional_kib += field(&rollup, "Pss");
        }
        anyhow::ensure!(
            all.iter().all(|memory| memory.proportional_kib > 0),
            "a server's memory cannot be read"
        );
        Ok(all)
    }
}

/// The most that the leader of a group ever held, in KiB.
pub fn resident_kib_max(group: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{group}/status")).ok()?;
    Some(field(&status, "VmHWM")).filter(|&kib| kib > 0)
}

/// The processes of the given groups: the place of the group, and the folder of the process.
fn processes_of(groups: &[i32]) -> anyhow::Result<Vec<(usize, PathBuf)>> {
    let processes =
        fs::read_dir("/proc").context("usage is read from /proc, which this system does not have")?;
    let place = |path: PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let group = process_group(&stat)?;
        groups.iter().position(|&wanted| wanted == group).map(|index| (index, path))
    };
    Ok(processes.flatten().filter_map(|process| place(process.path())).collect())
}

/// Whether a process was stopped by a signal. Where there is no `/proc` it never seems to be.
pub fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}

/// The process group in the text of `/proc/<pid>/stat`; the name before it may hold blanks and parentheses.
fn process_group(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok()
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
