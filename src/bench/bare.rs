//! The *bare grid*: the hot path of a server and nothing else, as fast as it can be made without tricks. It is the
//! yardstick: whatever a real server adds (heartbeats, failure detection, limits, checks) is what it costs beyond this.
//!
//! One thread, edge-triggered readiness, no lock. All lines of one read are cut at once, framed once into one
//! reference-counted buffer, and one reference goes to each link, whose socket is tried at once; a queue only holds
//! what a socket did not take. The log is kept ready for `get`, joined with commas. Contents are not checked in any
//! way.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr_iter, memrchr};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::node::Node;

/// How much one read takes: large enough to make the system call cheap, small enough for the second-level cache.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Above this many queued bytes on any link the masters are not read: what waits in a queue falls out of the cache.
const QUEUE_BYTES_HIGH: usize = 1024 * 1024;
const DIAL_RETRY: Duration = Duration::from_millis(5);
const MASTERS: Token = Token(0);
const LINKS: Token = Token(1);
const FIRST_CONNECTION: usize = 2;

/// Serves until the process is ended.
pub(super) fn run(node: &Node) -> anyhow::Result<()> {
    let mut bare = Bare::new(node)?;
    let mut events = Events::with_capacity(1024);
    loop {
        bare.turn(&mut events)?;
    }
}

struct Bare {
    id: usize,
    poll: Poll,
    masters: TcpListener,
    links: TcpListener,
    /// By token, never reused, so that a late event of a closed connection finds nobody.
    connections: Vec<Option<Connection>>,
    /// The connections to known peers, the receivers of every broadcast.
    peers: Vec<usize>,
    /// Connections that may have more to read, and masters that wait for the queues to shrink.
    ready: Vec<usize>,
    paused: Vec<usize>,
    undialled: Vec<SocketAddr>,
    dial_at: Instant,
    /// Every message followed by a comma.
    log: Vec<u8>,
    messages: u64,
    /// `msg <id> `, what turns a message into a line for the peers.
    prefix: Vec<u8>,
    frames: BytesMut,
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    role: Role,
    is_ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Master,
    /// A link whose first line has not come yet.
    Stranger,
    Peer(usize),
}

impl Bare {
    fn new(node: &Node) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut masters = TcpListener::bind(node.master_address()).context("cannot listen for the master")?;
        let mut links =
            TcpListener::bind(node.link_address(node.id)?).context("cannot listen for servers")?;
        poll.registry().register(&mut masters, MASTERS, Interest::READABLE)?;
        poll.registry().register(&mut links, LINKS, Interest::READABLE)?;
        let undialled = (0..node.id).map(|id| node.link_address(id)).collect::<Result<_, _>>()?;
        Ok(Self {
            id: node.id,
            poll,
            masters,
            links,
            connections: Vec::new(),
            peers: Vec::new(),
            ready: Vec::new(),
            paused: Vec::new(),
            undialled,
            dial_at: Instant::now(),
            log: Vec::new(),
            messages: 0,
            prefix: format!("msg {} ", node.id).into_bytes(),
            frames: BytesMut::new(),
        })
    }

    /// One round of the loop: what became ready, then one read of each connection that has more.
    fn turn(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let timeout = match (self.ready.is_empty(), self.undialled.is_empty()) {
            (false, _) => Some(Duration::ZERO),
            (true, false) => Some(DIAL_RETRY),
            (true, true) => None,
        };
        if let Err(error) = self.poll.poll(events, timeout) {
            anyhow::ensure!(error.kind() == io::ErrorKind::Interrupted, "cannot wait for events: {error}");
            return Ok(());
        }
        for event in events.iter() {
            match event.token() {
                MASTERS => while self.accept(Role::Master)? {},
                LINKS => while self.accept(Role::Stranger)? {},
                Token(token) => self.wake(token - FIRST_CONNECTION),
            }
        }
        if !self.undialled.is_empty() && Instant::now() >= self.dial_at {
            self.dial()?;
        }
        if !self.paused.is_empty() && !self.is_backlogged() {
            self.ready.append(&mut self.paused);
        }
        for index in std::mem::take(&mut self.ready) {
            self.read_once(index);
        }
        Ok(())
    }

    fn accept(&mut self, role: Role) -> anyhow::Result<bool> {
        let listener = if role == Role::Master { &self.masters } else { &self.links };
        match listener.accept() {
            Ok((stream, _)) => self.adopt(stream, role).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("cannot accept a connection"),
        }
    }

    /// Dials every smaller id that is not linked yet. On loopback a connect is over at once, one way or the other.
    fn dial(&mut self) -> anyhow::Result<()> {
        for address in std::mem::take(&mut self.undialled) {
            if let Ok(stream) = BlockingStream::connect(address) {
                stream.set_nonblocking(true)?;
                self.adopt(TcpStream::from_std(stream), Role::Stranger)?;
            } else {
                self.undialled.push(address);
            }
        }
        self.dial_at = Instant::now() + DIAL_RETRY;
        Ok(())
    }

    fn adopt(&mut self, mut stream: TcpStream, role: Role) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let index = self.connections.len();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index + FIRST_CONNECTION), interest)?;
        let mut connection = Connection {
            stream,
            inbox: vec![0; READ_BYTES],
            filled: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            role,
            is_ready: false,
        };
        if role == Role::Stranger {
            connection.send(&Bytes::from(format!("ping {}\n", self.id)));
        }
        self.connections.push(Some(connection));
        Ok(())
    }

    fn wake(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].as_mut() {
            connection.flush();
            if !connection.is_ready {
                connection.is_ready = true;
                self.ready.push(index);
            }
        }
    }

    fn is_backlogged(&self) -> bool {
        self.peers
            .iter()
            .filter_map(|&peer| self.connections[peer].as_ref())
            .any(|peer| peer.queued_bytes > QUEUE_BYTES_HIGH)
    }

    /// One read, and everything that its lines ask for.
    fn read_once(&mut self, index: usize) {
        let Some(mut connection) = self.connections[index].take() else { return };
        if connection.role == Role::Master && self.is_backlogged() {
            self.connections[index] = Some(connection);
            self.paused.push(index);
            return;
        }
        let filled = connection.filled;
        match connection.stream.read(&mut connection.inbox[filled..]) {
            Ok(0) => self.peers.retain(|&peer| peer != index),
            Ok(count) => {
                self.take_lines(index, &mut connection, filled + count);
                self.ready.push(index);
                self.connections[index] = Some(connection);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.is_ready = false;
                self.connections[index] = Some(connection);
            }
            Err(_) => self.peers.retain(|&peer| peer != index),
        }
    }

    /// Handles the complete lines of an inbox and keeps the incomplete one for the next read.
    fn take_lines(&mut self, index: usize, connection: &mut Connection, filled: usize) {
        let start = connection.filled;
        connection.filled = filled;
        let Some(last) = memrchr(b'\n', &connection.inbox[start..filled]) else {
            if filled == connection.inbox.len() {
                connection.inbox.resize(2 * filled, 0);
            }
            return;
        };
        let inbox = std::mem::take(&mut connection.inbox);
        let lines = &inbox[..=start + last];
        match connection.role {
            Role::Master => self.on_commands(connection, lines),
            Role::Stranger => {
                connection.role = Role::Peer(first_sender(lines));
                self.peers.push(index);
                self.on_peer_lines(lines);
            }
            Role::Peer(_) => self.on_peer_lines(lines),
        }
        let used = lines.len();
        connection.inbox = inbox;
        connection.inbox.copy_within(used..filled, 0);
        connection.filled = filled - used;
    }

    /// The lines of a master: all broadcasts of the read leave as one buffer, before any later command is answered.
    fn on_commands(&mut self, master: &mut Connection, lines: &[u8]) {
        self.frames.reserve(lines.len());
        let mut start = 0;
        for end in memchr_iter(b'\n', lines) {
            let line = &lines[start..=end];
            if let Some(text) = line.strip_prefix(b"broadcast ") {
                self.frames.extend_from_slice(&self.prefix);
                self.frames.extend_from_slice(text);
                self.append(text);
            } else {
                let reply = self.answer(line.trim_ascii_end());
                master.send(&reply);
            }
            start = end + 1;
        }
        if self.frames.is_empty() {
            return;
        }
        let frames = self.frames.split().freeze();
        for &peer in &self.peers {
            if let Some(peer) = self.connections[peer].as_mut() {
                peer.send(&frames);
            }
        }
    }

    fn answer(&self, command: &[u8]) -> Bytes {
        match command {
            b"get" => {
                let log = self.log.strip_suffix(b",").unwrap_or(&self.log);
                Bytes::from([b"messages ", log, b"\n"].concat())
            }
            b"alive" => {
                let links = self.peers.iter().filter_map(|&peer| self.connections[peer].as_ref());
                let mut ids: Vec<usize> = links.filter_map(Connection::peer).chain([self.id]).collect();
                ids.sort_unstable();
                let ids: Vec<String> = ids.iter().map(usize::to_string).collect();
                Bytes::from(format!("alive {}\n", ids.join(",")))
            }
            b"status" => Bytes::from(format!("{{\"id\":{},\"messages\":{}}}\n", self.id, self.messages)),
            _ => Bytes::from_static(b"unknown command\n"),
        }
    }

    /// The lines of a peer: each message goes to the log with its newline turned into a comma.
    fn on_peer_lines(&mut self, lines: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(b'\n', lines) {
            if let Some(rest) = lines[start..=end].strip_prefix(b"msg ") {
                let digits = rest.iter().position(|&byte| byte == b' ').map_or(rest.len(), |space| space + 1);
                self.append(&rest[digits..]);
            }
            start = end + 1;
        }
    }

    /// Appends one message that still has its newline.
    fn append(&mut self, text: &[u8]) {
        self.log.extend_from_slice(text);
        if let Some(newline) = self.log.last_mut() {
            *newline = b',';
        }
        self.messages += 1;
    }
}

impl Connection {
    fn peer(&self) -> Option<usize> {
        if let Role::Peer(id) = self.role { Some(id) } else { None }
    }

    /// Writes at once what the socket takes and queues a reference to the rest.
    fn send(&mut self, bytes: &Bytes) {
        let mut written = 0;
        while self.queue.is_empty() && written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The read side sees the close and drops the connection.
                Err(_) => return,
            }
        }
        if written < bytes.len() {
            self.queued_bytes += bytes.len() - written;
            self.queue.push_back(bytes.slice(written..));
        }
    }

    fn flush(&mut self) {
        while let Some(front) = self.queue.front_mut() {
            match self.stream.write(front) {
                Ok(count) => {
                    self.queued_bytes -= count;
                    front.advance(count);
                    if front.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.queued_bytes = 0;
                    self.queue.clear();
                }
            }
        }
    }
}

/// The sender in the first line of a peer, `ping <sender>` or `msg <sender> <contents>`.
fn first_sender(lines: &[u8]) -> usize {
    let word = lines.split(u8::is_ascii_whitespace).nth(1).unwrap_or_default();
    str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or(usize::MAX)
}
