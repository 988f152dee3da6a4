//! Servers that are attacked: processes that die, stand still and are cut off, and begin again with what their disks hold.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::Progress;
use super::network::Network;
use super::strikes::{Blow, Kind, Strike, Strikes};
use crate::bench::groups::Group;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What it and its log are called.
    pub name: String,
    /// What follows the program's name.
    pub arguments: Vec<OsString>,
}

/// Servers, called by their place.
#[derive(Debug)]
pub struct Servers {
    launches: Vec<Launch>,
    running: Vec<Option<Group>>,
    /// Where logs lie.
    folder: PathBuf,
    cables: Option<Cables>,
}

/// Cables that can be pulled, one for each server.
#[derive(Clone, Debug)]
pub struct Cables {
    /// The network they belong to.
    pub network: Arc<Network>,
    /// The cable of the first server; those of the others follow.
    pub first: usize,
}

impl Servers {
    /// Servers that do not run yet.
    pub fn new(folder: &Path, launches: Vec<Launch>, cables: Option<Cables>) -> Self {
        let running = launches.iter().map(|_| None).collect();
        Self { launches, running, folder: folder.to_owned(), cables }
    }

    /// Starts all.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        (0..self.launches.len()).try_for_each(|server| self.start(server))
    }

    /// Whether all run that should: a server that ended by itself is a fault.
    pub fn check(&self) -> anyhow::Result<()> {
        for (launch, group) in self.launches.iter().zip(&self.running) {
            check(group.as_ref(), &launch.name, &self.folder)?;
        }
        Ok(())
    }

    /// Strikes for this long, and leaves everything mended. Somebody else's trouble (`ending`) ends it, too, and its own sets that.
    pub fn attack(
        &mut self,
        strikes: &mut Strikes,
        lasts: Duration,
        ending: &AtomicBool,
        progress: &Progress<'_>,
    ) -> anyhow::Result<Vec<(Kind, u64)>> {
        let outcome = self.strike(strikes, lasts, ending, progress);
        if outcome.is_err() {
            ending.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn strike(
        &mut self,
        strikes: &mut Strikes,
        lasts: Duration,
        ending: &AtomicBool,
        progress: &Progress<'_>,
    ) -> anyhow::Result<Vec<(Kind, u64)>> {
        let begun = Instant::now();
        let mut counts: Vec<(Kind, u64)> = strikes.kinds().iter().map(|&kind| (kind, 0)).collect();
        loop {
            let Strike { pause, blow, lasts: held } = strikes.draw();
            thread::sleep(pause.min(lasts.saturating_sub(begun.elapsed())));
            if begun.elapsed() >= lasts || ending.load(Ordering::Relaxed) {
                return Ok(counts);
            }
            progress(begun.elapsed(), &blow.to_string());
            if let Some((_, count)) = counts.iter_mut().find(|(kind, _)| *kind == blow.kind()) {
                *count += 1;
            }
            self.suffer(&blow, held)?;
            self.check()?;
        }
    }

    /// One strike from its blow until all is as it was.
    fn suffer(&mut self, blow: &Blow, lasts: Duration) -> anyhow::Result<()> {
        match blow {
            Blow::Kill(servers) => {
                for &server in servers {
                    self.running[server] = None;
                }
                thread::sleep(lasts);
                servers.iter().try_for_each(|&server| self.start(server))
            }
            Blow::Freeze(server) => {
                self.signal(*server, Signal::STOP)?;
                thread::sleep(lasts);
                self.signal(*server, Signal::CONT)
            }
            Blow::Cut(server) => {
                let Some(Cables { network, first }) = &self.cables else { bail!("there are no cables") };
                network.pull(first + server)?;
                thread::sleep(lasts);
                network.plug(first + server)
            }
        }
    }

    /// Starts a server, with what its disk holds.
    fn start(&mut self, server: usize) -> anyhow::Result<()> {
        let program = own_program()?;
        let mut command = match &self.cables {
            Some(Cables { network, first }) => network.command(first + server, &program),
            None => Command::new(program),
        };
        let Launch { name, arguments } = &self.launches[server];
        self.running[server] = Some(launch(command.args(arguments), name, &self.folder)?);
        Ok(())
    }

    fn signal(&self, server: usize, signal: Signal) -> anyhow::Result<()> {
        self.running[server].as_ref().context("the server does not run")?.signal(signal)
    }
}

/// Starts a process that ends with this one, and whose standard error goes behind what its log holds.
pub fn launch(command: &mut Command, name: &str, folder: &Path) -> anyhow::Result<Group> {
    let path = log_path(folder, name);
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    Group::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log))
}

/// An error if a process has ended by itself.
pub fn check(group: Option<&Group>, name: &str, folder: &Path) -> anyhow::Result<()> {
    match group.and_then(Group::leader_end) {
        None => Ok(()),
        Some(end) => bail!("the box of {name} {end} by itself; see {}", log_path(folder, name).display()),
    }
}

/// The program that this is.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the program that this is")
}

fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}
