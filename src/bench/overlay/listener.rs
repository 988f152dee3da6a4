//! Hears from every server when a broadcast has come: a master of each that said `watch broadcasts`, all on one thread.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use memchr::memchr;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::bench::master::Master;
use crate::bench::system::Ports;
use crate::bench::verify;

const READ_BYTES: usize = 64 * 1024;
/// How long the end of the listening may go unnoticed.
const TURN: Duration = Duration::from_millis(20);

/// Which broadcast: its sender and its number.
pub(super) type Broadcast = (usize, u64);

/// When each broadcast came to each server.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<Broadcast, BTreeMap<usize, Instant>>);

/// What the listener and the one who broadcasts tell each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The listener has to end.
    pub(super) stop: AtomicBool,
    /// How many deliveries it has heard of.
    pub(super) deliveries: AtomicU64,
}

/// The listener.
#[derive(Debug)]
pub(super) struct Listener {
    poll: Poll,
    ears: Vec<Ear>,
}

#[derive(Debug)]
struct Ear {
    server: usize,
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Heard {
    /// When a broadcast came to each server that it came to, but for its sender.
    pub(super) fn arrivals(&self, broadcast: Broadcast) -> impl Iterator<Item = (usize, Instant)> {
        self.0.get(&broadcast).into_iter().flatten().map(|(server, at)| (*server, *at))
    }

    fn note(&mut self, server: usize, line: &[u8], now: Instant) -> anyhow::Result<()> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        let message = line.strip_prefix(b"msg ").and_then(|rest| rest.splitn(2, |&byte| byte == b' ').nth(1));
        let broadcast = message.and_then(verify::sender_and_number);
        let broadcast =
            broadcast.with_context(|| format!("server {server} heard `{}`, which nobody sent", shown()))?;
        let before = self.0.entry(broadcast).or_default().insert(server, now);
        anyhow::ensure!(before.is_none(), "server {server} heard `{}` twice", shown());
        Ok(())
    }
}

impl Listener {
    /// Connects to each of `servers`, which run, and has it say what it hears.
    pub(super) fn connect(servers: impl Iterator<Item = usize>, ports: Ports) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut ears = Vec::new();
        for server in servers {
            let context = || format!("cannot listen to server {server}");
            let mut master = Master::connect(ports.master(server)?).with_context(context)?;
            let answer = master.ask("watch broadcasts").with_context(context)?;
            let answer = String::from_utf8_lossy(&answer);
            anyhow::ensure!(answer == "watching", "server {server} does not let anybody watch: `{answer}`");
            let stream = master.stream().try_clone()?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(ears.len()), Interest::READABLE)?;
            ears.push(Ear { server, stream, inbox: master.into_unread() });
        }
        Ok(Self { poll, ears })
    }

    /// Listens until told to stop.
    pub(super) fn listen(mut self, signals: &Signals) -> anyhow::Result<Heard> {
        let mut heard = Heard::default();
        let mut events = Events::with_capacity(256);
        let mut buffer = vec![0; READ_BYTES];
        while !signals.stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(TURN)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.context("cannot wait for what the servers hear")?,
            }
            for event in &events {
                let count = self.ears[event.token().0].read(&mut buffer, &mut heard)?;
                signals.deliveries.fetch_add(count, Ordering::Relaxed);
            }
        }
        Ok(heard)
    }
}

impl Ear {
    /// Reads what is there. Returns how many deliveries it told of.
    fn read(&mut self, buffer: &mut [u8], heard: &mut Heard) -> anyhow::Result<u64> {
        let mut deliveries = 0;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => anyhow::bail!("server {} closed the connection of those who watch", self.server),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(deliveries),
                Err(error) => {
                    return Err(error).context(format!("cannot hear server {} any more", self.server));
                }
            };
            let now = Instant::now();
            self.inbox.extend_from_slice(&buffer[..count]);
            let mut start = 0;
            while let Some(length) = memchr(b'\n', &self.inbox[start..]) {
                let line = &self.inbox[start..start + length];
                // Neighbours come and go too, which is said as well.
                if line.starts_with(b"msg ") {
                    heard.note(self.server, line, now)?;
                    deliveries += 1;
                }
                start += length + 1;
            }
            self.inbox.drain(..start);
        }
    }
}
