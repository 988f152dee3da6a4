//! A port on which somebody can come in.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::time::Duration;

use log::warn;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::seldom;
use crate::time::Time;

/// After a failed `accept` (usually: no file descriptors left) the door stays shut for this long.
const PAUSE: Duration = Duration::from_millis(100);
/// How many connections may wait for `accept`: with the usual 128, a thousand at once would lose some for a second.
const BACKLOG: i32 = 4096;

/// One listening port, and what it leads to.
#[derive(Debug)]
pub(super) struct Entrance<D> {
    listener: TcpListener,
    door: D,
    /// There may be more to accept.
    ready: bool,
    /// Shut until then, after an error.
    pause_until: Time,
    /// How often `accept` has failed.
    failures: u64,
}

impl<D: Copy + Debug> Entrance<D> {
    /// Listens on `address`.
    pub(super) fn open(address: SocketAddr, door: D, token: Token, registry: &Registry) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server finds its port usable at once.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(StdTcpListener::from(socket));
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self { listener, door, ready: false, pause_until: Time::ZERO, failures: 0 })
    }

    /// What this is the door to.
    pub(super) fn door(&self) -> D {
        self.door
    }

    /// Where it is.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Somebody waits.
    pub(super) fn note_ready(&mut self) {
        self.ready = true;
    }

    /// When to look again, if somebody may still be waiting.
    pub(super) fn look_again_at(&self) -> Option<Time> {
        self.ready.then_some(self.pause_until)
    }

    /// The next who waits, and who that is.
    pub(super) fn accept(&mut self, now: Time) -> Option<(TcpStream, SocketAddr)> {
        while self.ready && now >= self.pause_until {
            match self.listener.accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.ready = false,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        // It is tried again ten times a second.
                        if seldom::count(&mut self.failures) {
                            let (door, so_far) = (self.door, self.failures);
                            warn!("reactor: cannot accept door={door:?} why=\"{error}\" so_far={so_far}");
                        }
                        self.pause_until = now + PAUSE;
                    }
                },
            }
        }
        None
    }
}
