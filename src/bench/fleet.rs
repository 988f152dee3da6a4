//! A running grid under measurement: its process groups, what they said on standard error, and the masters'
//! connections.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::groups::Group;
use super::master::Master;
use super::system::{Ports, System};
use super::usage::{Memory, Usage, is_stopped};

/// How long a grid may take until all its servers see each other.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How a script ends that leaves its server in the background.
const ENDED_WELL: &str = "exited with status 0";
const END_LIMIT: Duration = Duration::from_millis(200);
const PORT_LIMIT: Duration = Duration::from_secs(1);
const POLL_PAUSE: Duration = Duration::from_millis(1);
const STDERR_BYTES_SHOWN: usize = 2000;

/// A port that is needed is held by somebody else. Nothing has been started.
#[derive(Debug, thiserror::Error)]
#[error(
    "port {port}, where server {id} listens for {whom}, is in use; end what holds it (`ss -tlnp`) or choose {option}"
)]
pub struct PortInUse {
    port: u16,
    id: usize,
    whom: &'static str,
    option: &'static str,
}

/// The servers of one grid. Dropping it ends them all.
#[derive(Debug)]
pub struct Fleet {
    system: System,
    n: usize,
    ports: Ports,
    servers: Vec<Option<Server>>,
}

#[derive(Debug)]
struct Server {
    group: Group,
    stderr: File,
}

impl Fleet {
    /// A grid of `n` ids in which nothing runs yet. Checks that all ports are free.
    pub fn new(system: &System, n: usize, ports: Ports) -> anyhow::Result<Self> {
        check_ports(n, ports)?;
        Ok(Self { system: system.clone(), n, ports, servers: (0..n).map(|_| None).collect() })
    }

    /// Starts all servers and waits until each reports all alive. Returns their masters, by id.
    pub fn launch(system: &System, n: usize, ports: Ports) -> anyhow::Result<(Self, Vec<Master>)> {
        let mut fleet = Self::new(system, n, ports)?;
        for id in 0..n {
            fleet.start(id)?;
        }
        let all: Vec<usize> = (0..n).collect();
        let masters = fleet.await_alive(&all, &all)?;
        Ok((fleet, masters))
    }

    /// How many ids the grid has.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Starts one server.
    pub fn start(&mut self, id: usize) -> anyhow::Result<()> {
        let stderr = scratch_file().context("cannot make a file for the server's standard error")?;
        let mut command = self.system.command(id, self.n, self.ports)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?);
        self.servers[id] = Some(Server { group: Group::start(&mut command)?, stderr });
        Ok(())
    }

    /// Ends one server as a crash does and forgets it.
    pub fn kill(&mut self, id: usize) {
        self.servers[id] = None;
    }

    /// The process group of a running server.
    pub fn group(&self, id: usize) -> anyhow::Result<&Group> {
        Ok(&self.servers[id].as_ref().with_context(|| format!("server {id} does not run"))?.group)
    }

    /// What all running servers have used and hold, with everything that they started.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of_groups(&self.groups())
    }

    /// What each running server holds, in the order of their ids.
    pub fn memory(&self) -> anyhow::Result<Vec<Memory>> {
        Memory::of_each_group(&self.groups())
    }

    fn groups(&self) -> Vec<i32> {
        self.servers.iter().flatten().map(|server| server.group.pgid()).collect()
    }

    /// Waits until each of `ids` reports exactly `expected` alive, one server after the other, asking gently.
    pub fn await_alive(&self, ids: &[usize], expected: &[usize]) -> anyhow::Result<Vec<Master>> {
        let deadline = Instant::now() + READY_LIMIT;
        ids.iter()
            .map(|&id| self.await_server(id, expected, deadline).map_err(|e| self.explain(id, e)))
            .collect()
    }

    fn await_server(&self, id: usize, expected: &[usize], deadline: Instant) -> anyhow::Result<Master> {
        let mut master = self.connect(id, deadline)?;
        loop {
            let alive = master.alive()?;
            if alive == expected {
                return Ok(master);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "it reports {alive:?} alive instead of {expected:?} after {} s",
                READY_LIMIT.as_secs()
            );
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Connects to a server's master port, again and again until it listens.
    pub fn connect(&self, id: usize, deadline: Instant) -> anyhow::Result<Master> {
        loop {
            match Master::connect(self.ports.master(id)?) {
                Ok(master) => return Ok(master),
                Err(error) => {
                    let failed_start = self.end_of(id).filter(|end| end != ENDED_WELL);
                    anyhow::ensure!(failed_start.is_none(), "it never listened for its master");
                    anyhow::ensure!(Instant::now() < deadline, "it does not listen for its master: {error}");
                }
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// An error of one server, with its name, how it ended and the end of what it said on standard error.
    pub fn explain(&self, id: usize, error: anyhow::Error) -> anyhow::Error {
        // The connections of a dying process break a moment before its end can be seen.
        let deadline = Instant::now() + END_LIMIT;
        let mut end = self.end_of(id);
        while end.is_none() && Instant::now() < deadline {
            thread::sleep(POLL_PAUSE);
            end = self.end_of(id);
        }
        let end = end.map(|end| format!(" {end}")).unwrap_or_default();
        let said = self.servers[id].as_ref().map(|server| tail(&server.stderr)).unwrap_or_default();
        let said = match said.trim_end() {
            "" => String::new(),
            said => format!("; the end of its standard error:\n{said}\nand the bench"),
        };
        let others = self.unwell_but(id);
        error.context(format!("server {id} of {} ({}){end}{others}{said}", self.n, self.system.name()))
    }

    /// Which other servers have ended or stand still: a server that waits for one of them is not to blame.
    fn unwell_but(&self, id: usize) -> String {
        let state = |other: usize| {
            let server = self.servers[other].as_ref()?;
            let stopped = || is_stopped(server.group.pgid()).then(|| "is stopped".to_owned());
            let state = server.group.leader_end().filter(|end| end != ENDED_WELL).or_else(stopped)?;
            Some(format!(", while server {other} {state}"))
        };
        (0..self.n).filter(|&other| other != id).filter_map(state).collect()
    }

    fn end_of(&self, id: usize) -> Option<String> {
        self.servers[id].as_ref().and_then(|server| server.group.leader_end())
    }
}

impl Drop for Fleet {
    /// Kills all before any is waited for: who is killed last would see the others go, and work and complain.
    fn drop(&mut self) {
        for server in self.servers.iter().flatten() {
            // A group that is gone already cannot be signalled, and that is as good.
            let _ = server.group.signal(Signal::KILL);
        }
    }
}

/// An error unless all ports of `n` servers are free.
pub(super) fn check_ports(n: usize, ports: Ports) -> anyhow::Result<()> {
    for id in 0..n {
        let wanted = [
            (ports.master(id)?, "its master", "another --master-base"),
            (ports.link(id)?, "other servers", "another --link-base"),
        ];
        for (port, whom, option) in wanted {
            if !becomes_free(port) {
                return Err(PortInUse { port, id, whom, option }.into());
            }
        }
    }
    Ok(())
}

/// Whether a port can be had, now or within a moment: processes of the last grid may still be dying.
fn becomes_free(port: u16) -> bool {
    let deadline = Instant::now() + PORT_LIMIT;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return true,
            Err(_) if Instant::now() > deadline => return false,
            Err(_) => thread::sleep(POLL_PAUSE),
        }
    }
}

/// A file that is gone from its folder at once and lives as long as it is open.
pub(super) fn scratch_file() -> std::io::Result<File> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ovid-bench-{}-{number}", std::process::id()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The last part of a file, read without moving the offset that the writing process shares.
pub(super) fn tail(file: &File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; STDERR_BYTES_SHOWN];
    let count = file.read_at(&mut bytes, length.saturating_sub(STDERR_BYTES_SHOWN as u64)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}
