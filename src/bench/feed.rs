//! The load generator: one thread that pushes prepared bytes into many connections, as fast as they take them.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};

/// What one write offers; a socket takes less than that anyway.
const WRITE_BYTES: usize = 1024 * 1024;
/// A grid that takes no byte for so long has hung.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Why the load could not be delivered, and which connection is to blame.
#[derive(Debug, thiserror::Error)]
#[error("it takes no more broadcasts")]
pub struct FeedError {
    /// The index of the connection.
    pub connection: usize,
    source: io::Error,
}

/// Writes each load to its connection and returns when the sockets have taken everything. Leaves the connections
/// non-blocking.
pub fn feed(streams: &[&TcpStream], loads: &[Vec<u8>]) -> Result<(), FeedError> {
    let blame = |connection| move |source| FeedError { connection, source };
    let mut poll = Poll::new().map_err(blame(0))?;
    let mut events = Events::with_capacity(streams.len().max(1));
    let mut writers = Vec::with_capacity(streams.len());
    for (index, (stream, load)) in streams.iter().zip(loads).enumerate() {
        let open = || -> io::Result<mio::net::TcpStream> {
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream.try_clone()?);
            poll.registry().register(&mut stream, Token(index), Interest::WRITABLE)?;
            Ok(stream)
        };
        writers.push(Writer { stream: open().map_err(blame(index))?, rest: load, is_writable: true });
    }
    let mut last_progress = Instant::now();
    while let Some(slowest) = writers.iter().position(|writer| !writer.rest.is_empty()) {
        let mut wrote = false;
        for (index, writer) in writers.iter_mut().enumerate() {
            wrote |= writer.write_once().map_err(blame(index))?;
        }
        if wrote {
            last_progress = Instant::now();
            continue;
        }
        if last_progress.elapsed() > STALL_LIMIT {
            return Err(blame(slowest)(io::Error::other(format!(
                "not a byte for {} s",
                STALL_LIMIT.as_secs()
            ))));
        }
        poll.poll(&mut events, Some(STALL_LIMIT)).or_else(ignore_interruption).map_err(blame(slowest))?;
        for event in &events {
            writers[event.token().0].is_writable = true;
        }
    }
    Ok(())
}

struct Writer<'a> {
    stream: mio::net::TcpStream,
    rest: &'a [u8],
    is_writable: bool,
}

impl Writer<'_> {
    /// One write, so that all connections progress together. Says whether anything was taken.
    fn write_once(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() || !self.is_writable {
            return Ok(false);
        }
        match self.stream.write(&self.rest[..self.rest.len().min(WRITE_BYTES)]) {
            Ok(count) => {
                self.rest = &self.rest[count..];
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_writable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn ignore_interruption(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// How much processor time this process has used, all threads together.
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
