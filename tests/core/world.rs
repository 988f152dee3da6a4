//! Whole servers over simulated byte streams: no sockets, no clock, no threads. Every read is a random piece of what was sent,
//! every write takes a random share of what is offered, and all of it comes from one seed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ovid::agent::Index;
use ovid::grid::{Grid, LINK_BASE_DEFAULT};
use ovid::server::{
    Action, ConnId, Door, LinkSettings, LogId, ReplyFraming, Roster, Server, Settings, Status,
};
use ovid::time::Time;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;

/// How much one direction of a connection holds, like a socket's buffers.
const PIPE_BYTES: usize = 256 * 1024;
/// How long an answer may take.
const ANSWER_LIMIT_MS: u64 = 1000;

/// One end of a connection: who holds it, and what he calls it.
type End = (Holder, ConnId);

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A server, by its number and its incarnation.
    Server(u16, u32),
    /// The test itself.
    Test,
}

/// What is on its way to one end.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    ended: bool,
    end_told: bool,
}

struct Host {
    server: Server,
    incarnation: u32,
    frozen: bool,
}

/// All servers and everything between them.
pub(crate) struct World {
    pub(crate) now: Time,
    n: u16,
    hosts: BTreeMap<u16, Host>,
    incarnations: u32,
    /// The other end of each end.
    peers: BTreeMap<End, End>,
    /// What is on its way to each end.
    pipes: BTreeMap<End, Pipe>,
    test_conns: usize,
    rng: TestRng,
    pub(crate) tune: fn(&mut Settings),
    pub(crate) log_bytes_max: usize,
    /// The records of log files, by name: what a crash leaves.
    files: BTreeMap<String, Vec<Vec<u8>>>,
    open_logs: BTreeMap<(u16, LogId), String>,
}

impl World {
    pub(crate) fn new(n: u16, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            now: Time::ZERO,
            n,
            hosts: BTreeMap::new(),
            incarnations: 0,
            peers: BTreeMap::new(),
            pipes: BTreeMap::new(),
            test_conns: 0,
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
            tune: |_| {},
            log_bytes_max: 1 << 30,
            files: BTreeMap::new(),
            open_logs: BTreeMap::new(),
        }
    }

    /// A grid in which everybody has found everybody.
    pub(crate) fn linked(n: u16, seed: u64) -> Self {
        let mut world = Self::new(n, seed);
        for id in 0..n {
            world.start(id);
        }
        world.run_ms(200);
        world.assert_all_see(&(0..n).collect::<Vec<_>>());
        world
    }

    pub(crate) fn start(&mut self, id: u16) {
        let grid = Grid::new(id, self.n, LINK_BASE_DEFAULT).expect("valid");
        let addresses = grid
            .others()
            .map(|peer| (peer, SocketAddr::from((Ipv4Addr::LOCALHOST, grid.link_port(peer)))))
            .collect();
        let mut settings = Settings {
            links: LinkSettings {
                roster: Roster::lab(grid, addresses),
                heartbeat: Duration::from_millis(240),
                silence_max: Duration::from_millis(800),
                line_bytes_max: 1 << 20,
                queue_bytes_max: 64 << 20,
                strangers_max: 256,
            },
            reply_framing: ReplyFraming::Newline,
            masters_max: 8,
            tracing: false,
        };
        (self.tune)(&mut settings);
        self.host(id, Server::lab(settings, self.log_bytes_max, self.now));
    }

    /// Starts a server that the test has made; it listens where server `id` does.
    pub(crate) fn host(&mut self, id: u16, server: Server) {
        self.incarnations += 1;
        self.hosts.insert(id, Host { server, incarnation: self.incarnations, frozen: false });
        self.settle(id);
    }

    /// The process ends: its connections close behind what it had sent.
    pub(crate) fn kill(&mut self, id: u16) {
        let host = self.hosts.remove(&id).expect("runs");
        let ends: Vec<End> = self.ends_of(Holder::Server(id, host.incarnation));
        for end in ends {
            self.close(end);
        }
    }

    /// The machine vanishes: nobody is told, what is under way is lost.
    pub(crate) fn vanish(&mut self, id: u16) {
        let host = self.hosts.remove(&id).expect("runs");
        for end in self.ends_of(Holder::Server(id, host.incarnation)) {
            if let Some(pipe) = self.pipes.get_mut(&end) {
                pipe.bytes.clear();
            }
        }
    }

    /// Every connection between two servers breaks: both are told, what was under way is lost.
    pub(crate) fn reset(&mut self, one: u16, other: u16) {
        let (one, other) = (self.holder(one), self.holder(other));
        let ends: Vec<End> = self.ends_of(one).into_iter().filter(|end| self.peers[end].0 == other).collect();
        for end in ends {
            let peer = self.peers.remove(&end).expect("joined");
            self.peers.remove(&peer);
            for (holder, conn) in [end, peer] {
                let open = self.pipes.remove(&(holder, conn)).is_some();
                if let (Holder::Server(id, _), true) = (holder, open) {
                    let now = self.now;
                    self.with(id, |server| server.failed(conn, "reset", now));
                }
            }
        }
    }

    pub(crate) fn freeze(&mut self, id: u16) {
        self.hosts.get_mut(&id).expect("runs").frozen = true;
    }

    pub(crate) fn thaw(&mut self, id: u16) {
        self.hosts.get_mut(&id).expect("runs").frozen = false;
    }

    /// The test connects to a server, as a master or as another server.
    pub(crate) fn connect(&mut self, id: u16, door: Door) -> ConnId {
        let host = self.hosts.get_mut(&id).expect("runs");
        let theirs = (Holder::Server(id, host.incarnation), host.server.accepted(door, self.now));
        self.test_conns += 1;
        let ours = (Holder::Test, ConnId(self.test_conns));
        self.join(ours, theirs);
        ours.1
    }

    /// The test sends bytes on its connection.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let to = self.peers[&(Holder::Test, conn)];
        if let Some(pipe) = self.pipes.get_mut(&to) {
            pipe.bytes.extend(bytes);
        }
    }

    /// The test closes its connection.
    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.close((Holder::Test, conn));
    }

    /// The test will send no more on its connection, but still reads.
    pub(crate) fn end_sending(&mut self, conn: ConnId) {
        let to = self.peers[&(Holder::Test, conn)];
        self.pipes.get_mut(&to).expect("open").ended = true;
    }

    /// What the test's connection has received and not taken yet.
    pub(crate) fn take(&mut self, conn: ConnId) -> Vec<u8> {
        self.pipes
            .get_mut(&(Holder::Test, conn))
            .map(|pipe| pipe.bytes.drain(..).collect())
            .unwrap_or_default()
    }

    /// Whether the server has closed the test's connection.
    pub(crate) fn is_closed(&self, conn: ConnId) -> bool {
        self.pipes.get(&(Holder::Test, conn)).is_none_or(|pipe| pipe.ended)
    }

    /// One command, and its answer.
    pub(crate) fn ask(&mut self, id: u16, command: &str) -> String {
        let conn = self.connect(id, Door::Masters);
        self.send(conn, format!("{command}\n").as_bytes());
        let mut answer = Vec::new();
        for _ in 0..ANSWER_LIMIT_MS {
            self.run_ms(1);
            answer.extend(self.take(conn));
            if answer.ends_with(b"\n") {
                break;
            }
        }
        assert!(answer.ends_with(b"\n"), "server {id} does not answer {command:?}");
        let answer = String::from_utf8(answer).expect("UTF-8");
        self.hang_up(conn);
        answer.trim_end_matches('\n').to_owned()
    }

    pub(crate) fn log(&mut self, id: u16) -> Vec<String> {
        let answer = self.ask(id, "get");
        let joined = answer.strip_prefix("messages ").expect("an answer to get");
        if joined.is_empty() { Vec::new() } else { joined.split(',').map(str::to_owned).collect() }
    }

    pub(crate) fn status(&self, id: u16) -> Status {
        self.hosts[&id].server.status(self.now)
    }

    pub(crate) fn assert_all_see(&mut self, ids: &[u16]) {
        let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
        let expected = format!("alive {}", ids.join(","));
        for id in self.running() {
            assert_eq!(self.ask(id, "alive"), expected, "server {id}");
        }
    }

    /// How many connections a server has.
    pub(crate) fn connections(&self, id: u16) -> usize {
        self.pipes.keys().filter(|end| end.0 == self.holder(id)).count()
    }

    pub(crate) fn running(&self) -> Vec<u16> {
        self.hosts.iter().filter(|(_, host)| !host.frozen).map(|(id, _)| *id).collect()
    }

    /// Lets time pass in steps of 1 ms; bytes move in random pieces in every step.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            for _ in 0..4 {
                self.move_bytes();
            }
            self.now = self.now + Duration::from_millis(1);
            for id in self.running() {
                if self.hosts[&id].server.deadline() <= self.now {
                    let now = self.now;
                    self.with(id, |server| server.timeout(now));
                }
            }
        }
    }

    /// A number below `limit`.
    pub(crate) fn random(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    fn holder(&self, id: u16) -> Holder {
        Holder::Server(id, self.hosts[&id].incarnation)
    }

    fn ends_of(&self, holder: Holder) -> Vec<End> {
        self.peers.keys().filter(|end| end.0 == holder).copied().collect()
    }

    fn join(&mut self, one: End, other: End) {
        self.peers.insert(one, other);
        self.peers.insert(other, one);
        self.pipes.insert(one, Pipe::default());
        self.pipes.insert(other, Pipe::default());
        for end in [one, other] {
            if let Holder::Server(id, _) = end.0 {
                self.settle(id);
            }
        }
    }

    fn close(&mut self, end: End) {
        self.pipes.remove(&end);
        let Some(peer) = self.peers.get(&end).copied() else { return };
        if let Some(pipe) = self.pipes.get_mut(&peer) {
            pipe.ended = true;
        } else {
            self.peers.remove(&end);
            self.peers.remove(&peer);
        }
    }

    /// Each server reads a random piece of what waits for it, in a random order of connections.
    fn move_bytes(&mut self) {
        let mut ends: Vec<End> = self
            .pipes
            .iter()
            .filter(|(end, pipe)| {
                matches!(end.0, Holder::Server(id, incarnation)
                    if self.hosts.get(&id).is_some_and(|host| !host.frozen && host.incarnation == incarnation))
                    && (!pipe.bytes.is_empty() || (pipe.ended && !pipe.end_told))
            })
            .map(|(end, _)| *end)
            .collect();
        while !ends.is_empty() {
            let end = ends.swap_remove(self.rng.random_range(0..ends.len()));
            self.read(end);
        }
        for id in self.running() {
            self.flush_all(id);
        }
    }

    fn read(&mut self, end: End) {
        let (Holder::Server(id, _), now) = (end.0, self.now) else { return };
        if !self.hosts[&id].server.may_read(end.1, now) {
            return;
        }
        let Some(pipe) = self.pipes.get_mut(&end) else { return };
        if pipe.bytes.is_empty() {
            if pipe.ended && !std::mem::replace(&mut pipe.end_told, true) {
                self.with(id, |server| server.ended(end.1, now));
            }
            return;
        }
        // Half of the reads are short ones.
        let longest = if self.rng.random_bool(0.5) { 8 } else { 64 * 1024 };
        let count = self.rng.random_range(1..=pipe.bytes.len().min(longest));
        let bytes: Vec<u8> = pipe.bytes.drain(..count).collect();
        self.with(id, |server| server.received(end.1, &bytes, now));
    }

    fn with(&mut self, id: u16, input: impl FnOnce(&mut Server)) {
        if let Some(host) = self.hosts.get_mut(&id) {
            input(&mut host.server);
            self.settle(id);
        }
    }

    fn settle(&mut self, id: u16) {
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return };
            if let Some(conn) = host.server.next_touched() {
                self.flush(id, conn);
            } else if let Some(action) = host.server.next_action() {
                self.carry_out(id, action);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: u16, action: Action) {
        let now = self.now;
        match action {
            Action::Dial { conn, address } => {
                let target = address.port() - LINK_BASE_DEFAULT;
                match self.hosts.get_mut(&target) {
                    Some(host) => {
                        // A frozen process does not accept, but its kernel does.
                        let theirs = (
                            Holder::Server(target, host.incarnation),
                            host.server.accepted(Door::Links, now),
                        );
                        let ours = (self.holder(id), conn);
                        self.join(ours, theirs);
                        self.with(id, |server| server.connected(conn, now));
                    }
                    None => self.with(id, |server| server.failed(conn, "refused", now)),
                }
            }
            Action::Drain(conn) => {
                let end = (self.holder(id), conn);
                let bytes: Vec<u8> =
                    self.pipes.get_mut(&end).map(|pipe| pipe.bytes.drain(..).collect()).unwrap_or_default();
                self.with(id, |server| {
                    server.received(conn, &bytes, now);
                    server.drained(conn, now);
                });
            }
            Action::Close(conn) => self.close((self.holder(id), conn)),
            Action::Crash | Action::Stop => self.kill(id),
            Action::OpenLog { log, name } => {
                let records: Vec<(Index, Vec<u8>)> =
                    (1..).map(Index).zip(self.files.entry(name.clone()).or_default().clone()).collect();
                self.open_logs.insert((id, log), name);
                let next = Index(records.len() as u64 + 1);
                self.with(id, |server| server.log_opened(log, &records, next, now));
            }
            Action::Append { log, index, record } => {
                let name = self.open_logs[&(id, log)].clone();
                self.files.get_mut(&name).expect("opened before").push(record.to_vec());
                self.with(id, |server| server.log_stored(log, index, now));
            }
            Action::CloseLog(log) => {
                self.open_logs.remove(&(id, log));
            }
        }
    }

    fn flush_all(&mut self, id: u16) {
        for (_, conn) in self.ends_of(self.holder(id)) {
            self.flush(id, conn);
        }
    }

    fn flush(&mut self, id: u16, conn: ConnId) {
        let end = (self.holder(id), conn);
        let Some(to) = self.peers.get(&end).copied() else { return };
        let host = self.hosts.get_mut(&id).expect("runs");
        if host.frozen {
            return;
        }
        // Like a host: until all is written or the pipe is full, a random share at a time.
        while let (Some(queue), Some(pipe)) = (host.server.outgoing(conn), self.pipes.get_mut(&to)) {
            let room = PIPE_BYTES.saturating_sub(pipe.bytes.len()).min(queue.bytes());
            if room == 0 {
                return;
            }
            let count = self.rng.random_range(1..=room);
            let mut written = 0;
            for slice in queue.slices() {
                let share = slice.len().min(count - written);
                pipe.bytes.extend(&slice[..share]);
                written += share;
            }
            host.server.wrote(conn, written, self.now);
        }
    }
}
