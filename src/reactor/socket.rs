//! One TCP connection of the reactor: its stream, and what the last events said about it.
//!
//! Readiness is edge-triggered, so what an event said has to be remembered: whether there is something to read, whether the
//! other side has ended, whether there is room to write.
//!
//! A connection may be encrypted: then it is open once both sides have agreed, and its bytes go through a [`Session`].

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::tls::Session;
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

/// What became of a connection that was not open yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is not open.
    NotYet,
    /// It is open; we have dialled.
    Dialled,
    /// It is open; the other side has dialled.
    Accepted,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// Connected, but the two sides have not agreed on how to encrypt yet.
    ShakingHands {
        /// We have dialled.
        dialled: bool,
    },
    Open,
    /// The other side's end was read; nothing is read any more, but there may be something to write.
    Ended,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    peer: Option<SocketAddr>,
    phase: Phase,
    tls: Option<Box<Session>>,
    /// It stands on the ready list.
    ready: bool,
    /// The other side has ended: a short read does not mean that there is nothing more to learn.
    read_closed: bool,
    /// There is room to write, as far as we know.
    writable: bool,
    broken: Option<io::Error>,
}

impl Socket {
    /// Begins to connect to `address`; encrypted if there is a session for it.
    pub(super) fn dial(
        address: SocketAddr,
        tls: Option<Session>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut socket =
            Self::register(TcpStream::connect(address)?, Phase::Connecting, tls, token, registry)?;
        socket.peer = Some(address);
        Ok(socket)
    }

    /// Takes over an accepted stream.
    pub(super) fn accepted(
        stream: TcpStream,
        tls: Option<Session>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        refuse_self(&stream)?;
        stream.set_nodelay(true)?;
        let phase = if tls.is_some() { Phase::ShakingHands { dialled: false } } else { Phase::Open };
        Self::register(stream, phase, tls, token, registry)
    }

    fn register(
        mut stream: TcpStream,
        phase: Phase,
        tls: Option<Session>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        // Both interests from the start: with edge triggers a writable socket costs no wake-ups, and registering again after
        // each full buffer would cost a system call.
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let writable = phase != Phase::Connecting;
        Ok(Self {
            peer: stream.peer_addr().ok(),
            stream,
            phase,
            tls: tls.map(Box::new),
            ready: false,
            read_closed: false,
            writable,
            broken: None,
        })
    }

    /// Names the connection, at both of its ends in the same way: who dialled, and who was dialled.
    pub(super) fn label(&self, dialled: bool) -> String {
        let name = |address: io::Result<SocketAddr>| address.map_or_else(|_| "?".into(), |at| at.to_string());
        let (own, other) = (name(self.stream.local_addr()), name(self.stream.peer_addr()));
        if dialled { format!("{own}>{other}") } else { format!("{other}>{own}") }
    }

    /// Whether it is encrypted, or to be.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Who is at the other end, where that is known; the system forgets it with the connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether it is not open yet.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::ShakingHands { .. })
    }

    /// Has the system find out by itself when the other side is gone without a word: its machine has lost its power, or a box on the way has forgotten the connection. Who is silent for long would else be taken for alive
    /// for ever.
    pub(super) fn mind_silence(&self) -> io::Result<()> {
        let keepalive = TcpKeepalive::new().with_time(SILENT_AFTER).with_interval(ASK_AGAIN);
        SockRef::from(&self.stream).set_tcp_keepalive(&keepalive)
    }

    /// Looks how far it has come; `has_room`: there is room to write now.
    pub(super) fn finish_connecting(&mut self, has_room: bool) -> io::Result<Progress> {
        // What is said while both sides agree may be more than what there was room for.
        self.writable |= has_room && self.phase != Phase::Connecting;
        if self.phase == Phase::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(Progress::NotYet),
                Err(error) => return Err(error),
            }
            refuse_self(&self.stream)?;
            self.stream.set_nodelay(true)?;
            self.writable = true;
            self.phase = Phase::ShakingHands { dialled: true };
        }
        if self.tls.is_some() && !self.shake_hands()? {
            return Ok(Progress::NotYet);
        }
        let before = std::mem::replace(&mut self.phase, Phase::Open);
        let dialled = before == Phase::ShakingHands { dialled: true };
        Ok(if dialled { Progress::Dialled } else { Progress::Accepted })
    }

    /// Goes on with agreeing on how to encrypt, as far as what has come allows; whether that is done.
    fn shake_hands(&mut self) -> io::Result<bool> {
        let mut buffer = [0; HANDSHAKE_READ_BYTES];
        loop {
            self.push();
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let Some(session) = self.tls.as_mut().filter(|session| session.is_shaking_hands()) else {
                return Ok(true);
            };
            let dialled = self.phase == Phase::ShakingHands { dialled: true };
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(handshake_ended(dialled)),
                Ok(count) => {
                    if let Err(error) = session.feed(&buffer[..count]) {
                        // The other side learns why, as far as it goes.
                        self.push();
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(handshake_ended(dialled));
                }
                Err(error) => return Err(error),
            }
        }
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
            if let Some(session) = &mut self.tls {
                let count = session.take(buffer);
                if count > 0 {
                    return Read::Bytes { count, more: true };
                }
                if session.has_ended() {
                    return Read::End;
                }
            }
            match self.stream.read(buffer) {
                // The failed write has taken the socket's error; what is left looks like a peaceful end.
                Ok(0) => return self.broken.take().map_or(Read::End, Read::Failed),
                Ok(count) if self.tls.is_some() => {
                    if let Err(error) = self.decrypt(&buffer[..count]) {
                        return Read::Failed(error);
                    }
                }
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

    /// Takes what came on an encrypted connection. What that leads to is sent, and if it is the reason for the end.
    fn decrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fed = self.tls.as_mut().map_or(Ok(()), |session| session.feed(bytes));
        self.push();
        fed
    }

    /// Sends what is encrypted, as far as there is room.
    fn push(&mut self) {
        let Some(session) = self.tls.as_mut().filter(|_| self.writable) else { return };
        match session.push(&mut self.stream) {
            Ok(()) => {
                if session.is_finished() {
                    let _ = self.stream.shutdown(Shutdown::Write);
                    self.writable = false;
                }
            }
            Err(error) => {
                self.writable = false;
                if error.kind() != ErrorKind::WouldBlock {
                    self.broken = Some(error);
                }
            }
        }
    }

    /// As [`Socket::write`], on an encrypted connection: what is taken is on its way, or waits to be until there is room, which is less than 100 KiB.
    fn write_encrypted(&mut self, queue: &OutQueue) -> usize {
        self.push();
        let open = self.writable && !self.is_connecting();
        let Some(session) = self.tls.as_mut().filter(|session| open && !session.wants_write()) else {
            return 0;
        };
        let count = session.encrypt(queue);
        self.push();
        count
    }

    /// Writes the front of `queue`, once; how many bytes were taken, 0 when there is nothing to do or no room.
    pub(super) fn write(&mut self, queue: &OutQueue) -> usize {
        if self.tls.is_some() {
            return self.write_encrypted(queue);
        }
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
        if let Some(session) = &mut self.tls {
            session.finish();
            return self.push();
        }
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

/// After so long without a byte the other side's system is asked whether it is there, and then again so often; it is given up after the usual number of questions (nine, on Linux).
const SILENT_AFTER: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How much is read at a time before a connection is open.
const HANDSHAKE_READ_BYTES: usize = 4096;

/// Why a connection was never open. Who has dialled has said that it encrypts, by its first words.
fn handshake_ended(dialled: bool) -> io::Error {
    let guess = if dialled { "does it encrypt at all?" } else { "does it not believe the certificate?" };
    let why = format!("the other side has closed before both had agreed on how to encrypt; {guess}");
    io::Error::new(ErrorKind::UnexpectedEof, why)
}

/// A dial to a local port on which nobody listens can end up connected to itself.
fn refuse_self(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(ErrorKind::ConnectionRefused, "connected to itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn the_system_asks_those_who_are_silent_for_long() {
        let poll = mio::Poll::new().expect("a poll");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (stream, _) = listener.accept().expect("it has come");
        stream.set_nonblocking(true).expect("a socket");
        let stream = TcpStream::from_std(stream);
        let socket = Socket::accepted(stream, None, Token(1), poll.registry()).expect("a socket");
        assert!(!SockRef::from(&socket.stream).keepalive().expect("a socket"));
        socket.mind_silence().expect("a socket");
        assert!(SockRef::from(&socket.stream).keepalive().expect("a socket"));
        drop(client);
    }
}
