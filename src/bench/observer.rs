//! A member of the grid that only looks on: it speaks `ping` and `msg` like any server, sends no message, and notes
//! when each message arrives.
//!
//! It has the highest id, so it dials all others and nobody has to dial it. It sleeps until the socket of a link wakes
//! it, which is what a server does too; asking `get` again and again would disturb the servers and see everything
//! late.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use memchr::memchr;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::system::Ports;
use super::verify;

/// Well below the time after which any implementation suspects a silent peer.
const PING_PERIOD: Duration = Duration::from_millis(250);
const DIAL_LIMIT: Duration = Duration::from_secs(20);
const DIAL_PAUSE: Duration = Duration::from_millis(2);
const READ_BYTES: usize = 64 * 1024;

/// What the observer and the one who broadcasts tell each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The observer has to end.
    pub(super) stop: AtomicBool,
    /// How many messages have arrived.
    pub(super) arrived: AtomicU64,
}

/// The observing member.
#[derive(Debug)]
pub(super) struct Observer {
    poll: Poll,
    links: Vec<Link>,
    ping: Vec<u8>,
    next_ping: Instant,
    arrivals: BTreeMap<u64, Instant>,
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Observer {
    /// Joins a grid as server `id`: dials all smaller ids, which have been started, and says who it is.
    pub(super) fn join(id: usize, ports: Ports) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let deadline = Instant::now() + DIAL_LIMIT;
        let mut links = Vec::new();
        for peer in 0..id {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.link(peer)?));
            let stream = dial(address, deadline)
                .with_context(|| format!("cannot link to server {peer} at {address}"))?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(peer), Interest::READABLE)?;
            links.push(Link { stream, inbox: Vec::new() });
        }
        let ping = format!("ping {id}\n").into_bytes();
        let mut observer = Self { poll, links, ping, next_ping: Instant::now(), arrivals: BTreeMap::new() };
        observer.ping()?;
        Ok(observer)
    }

    /// Looks on until told to stop, and returns when each message of server 0 arrived, by its number.
    pub(super) fn observe(mut self, signals: &Signals) -> anyhow::Result<BTreeMap<u64, Instant>> {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; READ_BYTES];
        while !signals.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= self.next_ping {
                self.ping()?;
            }
            let timeout = self.next_ping.saturating_duration_since(now);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.context("the observer cannot wait for its links")?,
            }
            for event in &events {
                self.read(event.token().0, &mut buffer)?;
            }
            signals.arrived.store(self.arrivals.len() as u64, Ordering::Relaxed);
        }
        Ok(self.arrivals)
    }

    fn ping(&mut self) -> anyhow::Result<()> {
        for (peer, link) in self.links.iter_mut().enumerate() {
            link.stream
                .write_all(&self.ping)
                .with_context(|| format!("the observer lost its link to server {peer}"))?;
        }
        self.next_ping = Instant::now() + PING_PERIOD;
        Ok(())
    }

    fn read(&mut self, peer: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let count = match self.links[peer].stream.read(buffer) {
                Ok(0) => anyhow::bail!("server {peer} closed the observer's link"),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    return Err(error).context(format!("the observer lost its link to server {peer}"));
                }
            };
            let now = Instant::now();
            let inbox = &mut self.links[peer].inbox;
            inbox.extend_from_slice(&buffer[..count]);
            let mut start = 0;
            while let Some(length) = memchr(b'\n', &inbox[start..]) {
                if let Some(message) = inbox[start..start + length].strip_prefix(b"msg 0 ") {
                    let number =
                        verify::number_of(message).context("a message arrived that was never sent")?;
                    anyhow::ensure!(
                        self.arrivals.insert(number, now).is_none(),
                        "message {number} arrived twice"
                    );
                }
                start += length + 1;
            }
            inbox.drain(..start);
        }
    }
}

fn dial(address: SocketAddr, deadline: Instant) -> io::Result<std::net::TcpStream> {
    loop {
        match std::net::TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(DIAL_PAUSE),
        }
    }
}
