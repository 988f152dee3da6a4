//! The process groups that this program started, so that none of them outlives it. A group is entered in the same lock
//! under which it is started; a signal takes that lock, ends all groups, removes their folders and leaves the process.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether a signal has come that ends everything. Set before the first group is killed.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether a signal is ending all groups and this process: then that they end is no news.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// From now on SIGINT, SIGTERM and SIGHUP end all groups and then this process, with the status that a shell expects.
pub fn end_on_signals() -> anyhow::Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is never released again: nothing can be started between the kill and the exit.
            let groups = locked();
            ENDING.store(true, Ordering::SeqCst);
            for &group in groups.iter() {
                let _ = kill_process_group(group, Signal::KILL);
            }
            // Nothing is written into a folder any more once whoever wrote there has ended. That nobody is there to be waited for is as good.
            for &group in groups.iter() {
                let _ = waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            }
            let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
            for folder in folders.iter() {
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// A started process that leads a group of its own; dropping it kills the group and waits for the leader.
#[derive(Debug)]
pub struct Group {
    leader: Child,
    pgid: Pid,
}

impl Group {
    /// Starts `command` as the leader of a new process group.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut groups = locked();
        let program = command.get_program().to_string_lossy().into_owned();
        let leader = command.process_group(0).spawn().with_context(|| format!("cannot start `{program}`"))?;
        let pgid = Pid::from_child(&leader);
        groups.push(pgid);
        Ok(Self { leader, pgid })
    }

    /// The number of the group, which is its leader's process id.
    pub fn pgid(&self) -> i32 {
        self.pgid.as_raw_nonzero().get()
    }

    /// Sends a signal to every process of the group.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process_group(self.pgid, signal).with_context(|| format!("cannot signal group {}", self.pgid()))
    }

    /// How the leader ended, or `None` while it runs. It is not reaped, so that the group's number stays its own.
    pub fn leader_end(&self) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pgid), options).ok()??;
        Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group that is gone already cannot be signalled, and that is as good.
        let _ = kill_process_group(self.pgid, Signal::KILL);
        let _ = self.leader.wait();
        locked().retain(|&group| group != self.pgid);
    }
}

/// A new folder that is removed, with all that is in it, when this is dropped or a signal ends the process.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A folder of its own inside `parent`, which must be there; its name begins with `name`.
    pub fn create_in(parent: &Path, name: &str) -> anyhow::Result<Self> {
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0;
        loop {
            let path = parent.join(format!("{name}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    folders.push(path.clone());
                    return Ok(Self(path));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make the folder {}", path.display()));
                }
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it where it is, with all that is in it.
    pub fn keep(self) {
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|folder| folder != &self.0);
        drop(folders);
        std::mem::forget(self);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = std::fs::remove_dir_all(&self.0);
        folders.retain(|folder| folder != &self.0);
    }
}

fn locked() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
