//! One TCP connection of the reactor: its stream, and what the last events said about it.
//!
//! Readiness is edge-triggered, so what an event said has to be remembered: whether there is something to read, whether the
//! other side has ended, whether there is room to write.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::server::OutQueue;

/// What one read brought.
#[derive(Debug)]
pub(super) enum Read {
    /// This many bytes; `more` if there may be more.
    Bytes {
        /// How many bytes were read.
        count: usize,
        /// Whether the connection may have more to read.
        more: bool,
    },
    /// Nothing now.
    Nothing,
    /// The other side sends no more.
    End,
    /// The connection is broken.
    Failed(io::Error),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// The other side's end was read; nothing is read any more, but there may be something to write.
    Ended,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    phase: Phase,
    /// It stands on the ready list.
    ready: bool,
    /// The other side has ended: a short read does not mean that there is nothing more to learn.
    read_closed: bool,
    /// There is room to write, as far as we know.
    writable: bool,
    broken: Option<io::Error>,
}

impl Socket {
    /// Begins to connect to `address`.
    pub(super) fn dial(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        Self::register(TcpStream::connect(address)?, Phase::Connecting, token, registry)
    }

    /// Takes over an accepted stream.
    pub(super) fn accepted(stream: TcpStream, token: Token, registry: &Registry) -> io::Result<Self> {
        refuse_self(&stream)?;
        stream.set_nodelay(true)?;
        Self::register(stream, Phase::Open, token, registry)
    }

    fn register(mut stream: TcpStream, phase: Phase, token: Token, registry: &Registry) -> io::Result<Self> {
        // Both interests from the start: with edge triggers a writable socket costs no wake-ups, and registering again after
        // each full buffer would cost a system call.
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let writable = phase == Phase::Open;
        Ok(Self { stream, phase, ready: false, read_closed: false, writable, broken: None })
    }

    /// Names the connection, at both of its ends in the same way: who dialled, and who was dialled.
    pub(super) fn label(&self, dialled: bool) -> String {
        let name = |address: io::Result<SocketAddr>| address.map_or_else(|_| "?".into(), |at| at.to_string());
        let (own, other) = (name(self.stream.local_addr()), name(self.stream.peer_addr()));
        if dialled { format!("{own}>{other}") } else { format!("{other}>{own}") }
    }

    /// Whether the dial has not ended yet.
    pub(super) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Looks how the dial stands: `true` connected, `false` not yet.
    pub(super) fn finish_connecting(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        refuse_self(&self.stream)?;
        self.stream.set_nodelay(true)?;
        self.phase = Phase::Open;
        self.writable = true;
        Ok(true)
    }

    /// Remembers what an event said; whether the connection has to be put on the ready list.
    pub(super) fn note(&mut self, event: &Event) -> bool {
        self.read_closed |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        (event.is_readable() || self.read_closed) && self.note_ready()
    }

    /// Whether the connection was not on the ready list; now it is.
    pub(super) fn note_ready(&mut self) -> bool {
        self.phase == Phase::Open && !std::mem::replace(&mut self.ready, true)
    }

    /// The connection has been read empty.
    pub(super) fn note_empty(&mut self) {
        self.ready = false;
    }

    /// The other side's end has been read.
    pub(super) fn note_end(&mut self) {
        self.ready = false;
        self.phase = Phase::Ended;
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            match self.stream.read(buffer) {
                // The failed write has taken the socket's error; what is left looks like a peaceful end.
                Ok(0) => return self.broken.take().map_or(Read::End, Read::Failed),
                // A read that did not fill the buffer has emptied the socket; what comes later raises a new event.
                Ok(count) => return Read::Bytes { count, more: count == buffer.len() || self.read_closed },
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        return self.broken.take().map_or(Read::Nothing, Read::Failed);
                    }
                    _ => return Read::Failed(error),
                },
            }
        }
    }

    /// Writes the front of `queue`, once; how many bytes were taken, 0 when there is nothing to do or no room.
    pub(super) fn write(&mut self, queue: &OutQueue) -> usize {
        while self.writable && !queue.is_empty() {
            let written = match queue.only_part() {
                Some(part) => self.stream.write(part),
                None => self.stream.write_vectored(&queue.slices()),
            };
            match written {
                Ok(count) => return count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => self.writable = false,
                    _ => {
                        self.writable = false;
                        self.broken = Some(error);
                    }
                },
            }
        }
        0
    }

    /// Lets the other side read the end of what is sent. Where it is gone already, that is soon learned by reading.
    pub(super) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.writable = false;
    }

    /// Whether the other side's end was read.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether a write has failed for good.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }
}

/// A dial to a local port on which nobody listens can end up connected to itself.
fn refuse_self(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(ErrorKind::ConnectionRefused, "connected to itself"));
    }
    Ok(())
}
