//! The host of a server: the one room that knows mio, sockets and the clock. It polls, accepts, dials and moves bytes, and turns
//! time into deadlines. It decides nothing: what the bytes mean, and who is to be dialled or closed, is the server's to say.
//!
//! One thread owns the poll, every socket and the server. Other threads (standard input and output) talk to it through bounded
//! channels and one waker: send first, then wake.
//!
//! **A turn.** Poll; note who is ready; read from each ready connection up to a budget, handing every read to the server,
//! carrying out its orders and flushing what it touched; let the server do what is due; begin again. Connections that the
//! budget cut short, and masters that have to wait, stay on a list.

mod console;
mod disk;
mod entrance;
mod moving;
mod outside;
mod ports;
mod socket;
mod threads;
mod tls;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use log::warn;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::console::Console;
use self::disk::{Disk, Request};
use self::entrance::Entrance;
use self::ports::Ports;
use self::socket::Socket;
pub use self::tls::{Credentials, Trust};
use self::worker::Worker;
use crate::server::{Action, ConnId, Door, EntranceId, Server};
use crate::time::Time;
use crate::trace::Writer;

/// Connections are named by the server from 1 upwards; the host's own sources take the other end of the scale.
const LINKS_DOOR: Token = Token(usize::MAX);
const MASTERS_DOOR: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const WAKER: Token = Token(usize::MAX - 3);

/// One read takes at most this much.
const READ_BYTES: usize = 64 * 1024;
/// How many connections are accepted before the others have their turn.
const ACCEPTS_PER_TURN: usize = 128;

/// Where the server listens and what it is connected to.
#[derive(Debug, Clone)]
pub struct Doors {
    /// For other servers.
    pub links: SocketAddr,
    /// For masters; `None` if nobody may drive this server from outside.
    pub masters: Option<SocketAddr>,
}

/// Why a reactor came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT.
    Signal,
    /// A master asked for a crash.
    Crash,
    /// Whoever controls this box asked it to stop.
    Stop,
}

/// The loop around one server.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    started: Instant,
    entrances: Vec<Entrance<Door>>,
    ports: Ports,
    credentials: Option<Credentials>,
    /// How many encrypted connections have failed.
    tls_failures: u64,
    /// Kept open for as long as signals are to be seen.
    _signals: UnixStream,
    sockets: BTreeMap<ConnId, Socket>,
    console: Option<Console>,
    waker: Option<Arc<Waker>>,
    disk: Option<Disk>,
    worker: Option<Worker>,
    /// The folder of the agents' logs.
    data: PathBuf,
    trace: Option<Writer<std::fs::File>>,
    /// Connections with something to read.
    ready: VecDeque<ConnId>,
    /// Ready connections that the server does not want read now.
    waiting: Vec<ConnId>,
    buffer: Vec<u8>,
    end_asked: Option<End>,
}

impl Reactor {
    /// Opens the doors. An error is a port that cannot be had; nothing is left open then.
    pub fn new(doors: &Doors) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot poll")?;
        let links = Entrance::open(doors.links, Door::Links, LINKS_DOOR, poll.registry())
            .with_context(|| format!("link port {}", doors.links))?;
        let mut entrances = vec![links];
        if let Some(address) = doors.masters {
            let masters = Entrance::open(address, Door::Masters, MASTERS_DOOR, poll.registry());
            entrances.push(masters.with_context(|| format!("master port {address}"))?);
        }
        Ok(Self {
            _signals: catch_signals(poll.registry()).context("cannot handle signals")?,
            poll,
            started: start_clock(),
            entrances,
            ports: Ports::default(),
            credentials: None,
            tls_failures: 0,
            sockets: BTreeMap::new(),
            console: None,
            waker: None,
            disk: None,
            worker: None,
            data: PathBuf::new(),
            trace: None,
            ready: VecDeque::new(),
            waiting: Vec::new(),
            buffer: vec![0; READ_BYTES],
            end_asked: None,
        })
    }

    /// The time now, on the scale that the server is to be made with.
    pub fn now(&self) -> Time {
        Time::since_start(self.started.elapsed())
    }

    /// Keeps the logs of agents below the folder `data`.
    pub fn keep_logs_in(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// Lets agents have encrypted ports and dial such, and encrypts links if `credentials` say so.
    pub fn use_tls(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// Writes what the server tells about its run into `trace`.
    pub fn write_trace(&mut self, trace: Writer<std::fs::File>) {
        self.trace = Some(trace);
    }

    /// Makes standard input a master of `server`; the name of that connection.
    pub fn open_console(&mut self, server: &mut Server) -> anyhow::Result<ConnId> {
        let waker = self.waker()?;
        let conn = server.accepted(Door::Console, self.now());
        self.console = Some(Console::open(conn, waker).context("no thread for standard input")?);
        Ok(conn)
    }

    /// Runs `server` until a signal or a master ends it. An error means that the process cannot go on.
    pub fn run(&mut self, server: &mut Server) -> anyhow::Result<End> {
        let mut events = Events::with_capacity(1024);
        self.settle(server);
        loop {
            if let Some(end) = self.end_asked {
                return Ok(end);
            }
            if let Some(disk) = &mut self.disk {
                disk.flush();
            }
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience(server)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error).context("cannot poll");
            }
            for event in &events {
                match event.token() {
                    LINKS_DOOR => self.note_waiting(Door::Links),
                    MASTERS_DOOR => self.note_waiting(Door::Masters),
                    SIGNALS => {
                        server.stopped(self.now());
                        self.settle(server);
                        self.flush_outside(server);
                        return Ok(End::Signal);
                    }
                    WAKER => {
                        self.attend_console(server);
                        self.attend_disk(server);
                        self.attend_worker(server);
                    }
                    Token(port) if self.ports.note_ready(EntranceId(port)) => {}
                    Token(conn) => self.attend(ConnId(conn), event, server),
                }
            }
            self.accept(server);
            self.attend_ports(server);
            for _ in 0..self.ready.len() {
                if let Some(conn) = self.ready.pop_front() {
                    self.read(conn, server);
                }
            }
            server.timeout(self.now());
            self.settle(server);
            self.flush_outside(server);
            self.ready.extend(self.waiting.drain(..));
            self.hold_back(server);
        }
    }

    /// Somebody waits at a door.
    fn note_waiting(&mut self, door: Door) {
        if let Some(entrance) = self.entrances.iter_mut().find(|entrance| entrance.door() == door) {
            entrance.note_ready();
        }
    }

    /// How long the poll may sleep.
    fn patience(&self, server: &Server) -> Duration {
        if !self.ready.is_empty() || server.touched_outside() > 0 {
            return Duration::ZERO;
        }
        let now = self.now();
        let doors = self.entrances.iter().filter_map(Entrance::look_again_at);
        let soonest = doors.chain(self.ports.look_again_at()).fold(server.deadline(), Time::min);
        soonest.since(now)
    }

    /// Moves the masters that have to wait off the ready list.
    fn hold_back(&mut self, server: &Server) {
        let now = self.now();
        let Self { ready, waiting, .. } = self;
        ready.retain(|conn| {
            let may_read = server.may_read(*conn, now);
            if !may_read {
                waiting.push(*conn);
            }
            may_read
        });
    }
}

/// Orders of the server.
impl Reactor {
    /// Carries out the server's orders and flushes what it touched, until there is nothing left of either.
    fn settle(&mut self, server: &mut Server) {
        // Before anything leaves: a trace knows of each message that somebody received, even if this process is killed next.
        self.note_events(server);
        loop {
            if let Some(conn) = server.next_touched() {
                self.flush(conn, server);
            } else if let Some(action) = server.next_action() {
                self.carry_out(action, server);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, action: Action, server: &mut Server) {
        match action {
            Action::Dial { conn, address } => {
                let encrypted = self.credentials.as_ref().is_some_and(Credentials::for_links);
                self.dial(conn, address, encrypted, server);
            }
            Action::Call { conn, address, tls } => self.dial(conn, address, tls, server),
            Action::Drain(conn) => self.drain(conn, server),
            Action::Close(conn) => {
                self.sockets.remove(&conn);
            }
            Action::Finish(conn) => {
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.finish();
                }
            }
            Action::Crash => self.end_asked = Some(End::Crash),
            Action::Stop => self.end_asked = Some(End::Stop),
            Action::OpenStore { log, name, former } => {
                let (path, former) = (self.data.join(name), former.map(|name| self.data.join(name)));
                self.ask_disk(log, Request::Open { log, path, former }, server);
            }
            Action::Write { log, write } => self.ask_disk(log, Request::Write { log, write }, server),
            Action::Read { log, read } => self.ask_disk(log, Request::Read { log, read }, server),
            Action::CloseLog(log) => {
                if let Some(disk) = &mut self.disk {
                    disk.ask(Request::Close(log));
                }
            }
            Action::Listen { entrance, at, carries } => self.listen(entrance, at, carries, server),
            Action::Shut(entrance) => self.ports.shut(entrance),
            Action::Datagram { entrance, to, bytes } => self.ports.send(entrance, to, &bytes),
            Action::Compute { id, work } => self.ask_worker(id, work, server),
        }
    }

    /// Writes what the server has told about its run.
    fn note_events(&mut self, server: &mut Server) {
        let Some(trace) = &mut self.trace else { return };
        while let Some(event) = server.next_event() {
            trace.write(&event);
        }
        if let Err(error) = trace.end_turn() {
            warn!("reactor: the trace ends here why=\"{error}\"");
            self.trace = None;
            server.end_trace();
        }
    }
}

/// The one look at the clock itself; all later times are counted from it.
#[expect(clippy::disallowed_methods, reason = "the reactor is the server's clock")]
fn start_clock() -> Instant {
    Instant::now()
}

/// A socket on which the signals that end a server can be read.
fn catch_signals(registry: &Registry) -> io::Result<UnixStream> {
    let (reading, writing) = std::os::unix::net::UnixStream::pair()?;
    reading.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, writing.try_clone()?)?;
    }
    let mut reading = UnixStream::from_std(reading);
    registry.register(&mut reading, SIGNALS, Interest::READABLE)?;
    Ok(reading)
}
