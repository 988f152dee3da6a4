//! The running servers of one engine: started, killed, started again, and all ended with what they wrote when the run is over.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::engine::Engine;
use super::load::Client;
use crate::bench::fleet::{self, scratch_file, tail};
use crate::bench::groups::{Folder, Group};
use crate::bench::system::Ports;
use crate::bench::usage::{Usage, resident_kib_max};

/// How long servers may take until one of them leads and takes records.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long they may take until all of them have everything.
const APPLIED_LIMIT: Duration = Duration::from_secs(120);
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// Where one server listens and writes.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Place {
    pub(in crate::bench) client_port: u16,
    pub(in crate::bench) peer_port: u16,
    pub(in crate::bench) folder: PathBuf,
}

impl Place {
    /// A connection for a client.
    pub(in crate::bench) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.client_port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) struct Standing {
    pub(in crate::bench) is_leader: bool,
    /// In which term, where the engine tells.
    pub(in crate::bench) term: Option<u64>,
    /// How far it is: comparable among the servers of one cluster, and never less than before.
    pub(in crate::bench) applied: u64,
}

#[derive(Debug)]
struct Server {
    group: Group,
    stderr: File,
}

/// The servers of one engine. Dropping it kills them and removes what they wrote.
#[derive(Debug)]
pub(in crate::bench) struct Cluster {
    engine: Engine,
    places: Vec<Place>,
    servers: Vec<Option<Server>>,
    connections: std::cell::Cell<u64>,
    folder: Folder,
}

impl Cluster {
    /// Starts all servers at once and waits until one of them leads and has taken a record.
    pub(in crate::bench) fn start(
        engine: &Engine,
        n: usize,
        ports: Ports,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let count = engine.servers(n);
        fleet::check_ports(count, ports)?;
        let folder = Folder::create_in(data, "ovid-bench-data")?;
        let place = |id: usize| {
            Ok(Place {
                client_port: ports.master(id)?,
                peer_port: ports.link(id)?,
                folder: folder.path().join(format!("server-{id}")),
            })
        };
        let places = (0..count).map(place).collect::<anyhow::Result<Vec<Place>>>()?;
        engine.prepare(&places, folder.path())?;
        let servers = places.iter().map(|_| None).collect();
        let connections = std::cell::Cell::default();
        let mut cluster = Self { engine: engine.clone(), places, servers, connections, folder };
        for id in 0..count {
            cluster.start_server(id)?;
        }
        cluster.await_leader(READY_LIMIT)?;
        Ok(cluster)
    }

    /// How many servers there are.
    pub(in crate::bench) fn len(&self) -> usize {
        self.places.len()
    }

    /// The engine.
    pub(in crate::bench) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where the servers are.
    pub(in crate::bench) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Starts one server; what is left of the one before is waited for first.
    pub(in crate::bench) fn start_server(&mut self, id: usize) -> anyhow::Result<()> {
        self.servers[id] = None;
        let stderr = scratch_file().context("cannot make a file for a server's standard error")?;
        let mut command = self.engine.command(&self.places, self.folder.path(), id)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?);
        self.servers[id] = Some(Server { group: Group::start(&mut command)?, stderr });
        Ok(())
    }

    /// SIGKILL for one server, which is not waited for; returns the moment before it is sent.
    pub(in crate::bench) fn kill(&self, id: usize) -> anyhow::Result<Instant> {
        self.signal(id, Signal::KILL)
    }

    /// SIGSTOP for one server; returns the moment before it is sent.
    pub(in crate::bench) fn freeze(&self, id: usize) -> anyhow::Result<Instant> {
        self.signal(id, Signal::STOP)
    }

    /// Lets a server go on that was frozen.
    pub(in crate::bench) fn thaw(&self, id: usize) -> anyhow::Result<()> {
        self.signal(id, Signal::CONT).map(drop)
    }

    fn signal(&self, id: usize, signal: Signal) -> anyhow::Result<Instant> {
        let server = self.servers[id].as_ref().with_context(|| format!("server {id} does not run"))?;
        let begin = Instant::now();
        server.group.signal(signal)?;
        Ok(begin)
    }

    /// SIGKILL for all servers, as a power cut that spares the disks.
    pub(in crate::bench) fn kill_all(&mut self) {
        for server in self.servers.iter().flatten() {
            // A group that is gone already cannot be signalled, and that is as good.
            let _ = server.group.signal(Signal::KILL);
        }
        self.servers.iter_mut().for_each(|server| *server = None);
    }

    /// What each server says of itself.
    pub(in crate::bench) fn standings(&self) -> Vec<Option<Standing>> {
        self.engine.standings(&self.places)
    }

    /// Waits until exactly one server leads and takes a record; returns which.
    pub(in crate::bench) fn await_leader(&self, limit: Duration) -> anyhow::Result<usize> {
        let deadline = Instant::now() + limit;
        loop {
            let leader = self.leader_that_takes();
            if let Ok(leader) = leader {
                return Ok(leader);
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                return leader.map_err(|error| {
                    self.explain(
                        error.context(format!("no server took a record within {} s", limit.as_secs())),
                    )
                });
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    fn leader_that_takes(&self) -> anyhow::Result<usize> {
        self.engine.complete(&self.places)?;
        let standings = self.standings();
        let leads = |standing: &Option<Standing>| standing.is_some_and(|standing| standing.is_leader);
        let leader = standings.iter().position(leads).context("nobody leads")?;
        let mut client = self.client(leader)?;
        client.append_once(READY_LIMIT / 10)?;
        Ok(leader)
    }

    /// Waits until all servers have what the one that is furthest has now.
    pub(in crate::bench) fn await_all_applied(&self, at_least: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + APPLIED_LIMIT;
        loop {
            let standings = self.standings();
            let furthest = standings.iter().flatten().map(|standing| standing.applied).max().unwrap_or(0);
            let wanted = furthest.max(at_least);
            if standings.iter().all(|standing| standing.is_some_and(|standing| standing.applied >= wanted)) {
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                let error = anyhow::anyhow!("after {} s: {standings:?}", APPLIED_LIMIT.as_secs());
                return Err(self.explain(error.context("not all servers have everything")));
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// A client of one server, connected and greeted.
    pub(in crate::bench) fn client(&self, id: usize) -> anyhow::Result<Client> {
        let place = &self.places[id];
        let connection = self.connections.get();
        self.connections.set(connection + 1);
        let stream = place.connect().with_context(|| format!("server {id} cannot be reached"))?;
        Client::open(stream, self.engine.wire(place, id, connection))
    }

    /// What all servers have used and hold.
    pub(in crate::bench) fn usage(&self) -> Option<Usage> {
        Usage::of_groups(&self.groups()).ok()
    }

    /// The most memory that any of the servers ever held since it was started, in MiB.
    pub(in crate::bench) fn resident_mib_max(&self) -> f64 {
        let kib = self.groups().into_iter().filter_map(resident_kib_max).max();
        kib.map_or(f64::NAN, |kib| crate::bench::stats::as_f64(kib) / 1024.0)
    }

    /// What all servers' files take on the disk, in bytes.
    pub(in crate::bench) fn disk_bytes(&self) -> u64 {
        allocated_bytes(self.folder.path())
    }

    fn groups(&self) -> Vec<i32> {
        self.servers.iter().flatten().map(|server| server.group.pgid()).collect()
    }

    fn check_alive(&self) -> anyhow::Result<()> {
        for (id, server) in self.servers.iter().enumerate() {
            if let Some(end) = server.as_ref().and_then(|server| server.group.leader_end()) {
                return Err(self.explain(anyhow::anyhow!("server {id} {end}")));
            }
        }
        Ok(())
    }

    /// An error with what the servers said last.
    pub(in crate::bench) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut said = String::new();
        for (id, server) in self.servers.iter().enumerate() {
            let text = server.as_ref().map(|server| tail(&server.stderr)).unwrap_or_default();
            let end = server.as_ref().and_then(|server| server.group.leader_end()).unwrap_or_default();
            if !text.trim().is_empty() || !end.is_empty() {
                let text = text.trim_end();
                let _ = write!(said, "\nserver {id} {end}; the end of its standard error:\n{text}");
            }
        }
        error.context(format!("{} failed{said}\nand the bench", self.engine.name()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// What the files below a folder take on the disk. What vanishes meanwhile takes nothing.
fn allocated_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
