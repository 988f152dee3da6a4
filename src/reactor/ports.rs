//! The ports that agents have open: for connections, and for datagrams.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use log::warn;
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use super::entrance::Entrance;
use crate::agent::Carries;
use crate::seldom;
use crate::server::EntranceId;
use crate::time::Time;

/// How many datagrams of one port are taken in before the others have their turn.
pub(super) const DATAGRAMS_PER_TURN: usize = 256;

/// All ports of agents.
#[derive(Debug, Default)]
pub(super) struct Ports {
    connections: BTreeMap<EntranceId, Entrance<EntranceId>>,
    /// Those whose connections are encrypted.
    encrypted: BTreeSet<EntranceId>,
    datagrams: BTreeMap<EntranceId, Datagrams>,
}

/// A port for datagrams.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    /// There may be more to read.
    ready: bool,
    /// How many could not be sent, or not be read.
    failures: u64,
}

impl Ports {
    /// Opens a port; where it is.
    pub(super) fn open(
        &mut self,
        entrance: EntranceId,
        at: SocketAddr,
        carries: Carries,
        registry: &Registry,
    ) -> io::Result<SocketAddr> {
        let token = Token(entrance.0);
        match carries {
            Carries::Frames { tls, .. } => {
                let port = Entrance::open(at, entrance, token, registry)?;
                let at = port.address()?;
                self.connections.insert(entrance, port);
                if tls {
                    self.encrypted.insert(entrance);
                }
                Ok(at)
            }
            Carries::Datagrams => {
                let mut socket = UdpSocket::bind(at)?;
                registry.register(&mut socket, token, Interest::READABLE)?;
                let at = socket.local_addr()?;
                self.datagrams.insert(entrance, Datagrams { socket, ready: false, failures: 0 });
                Ok(at)
            }
        }
    }

    /// Shuts a port; who waits at it is turned away.
    pub(super) fn shut(&mut self, entrance: EntranceId) {
        self.connections.remove(&entrance);
        self.encrypted.remove(&entrance);
        self.datagrams.remove(&entrance);
    }

    /// Whether connections that come in by this port are encrypted.
    pub(super) fn is_encrypted(&self, entrance: EntranceId) -> bool {
        self.encrypted.contains(&entrance)
    }

    /// Notes that something waits at a port; whether `entrance` is one.
    pub(super) fn note_ready(&mut self, entrance: EntranceId) -> bool {
        if let Some(port) = self.connections.get_mut(&entrance) {
            port.note_ready();
            return true;
        }
        let port = self.datagrams.get_mut(&entrance);
        port.map(|port| port.ready = true).is_some()
    }

    /// When to look again, if something may still be waiting.
    pub(super) fn look_again_at(&self) -> Option<Time> {
        let connections = self.connections.values().filter_map(Entrance::look_again_at);
        let datagrams = self.datagrams.values().filter(|port| port.ready).map(|_| Time::ZERO);
        connections.chain(datagrams).min()
    }

    /// The names of all ports for connections at which somebody waits.
    pub(super) fn awaiting(&self) -> Vec<EntranceId> {
        let waits = |(_, port): &(&EntranceId, &Entrance<EntranceId>)| port.look_again_at().is_some();
        self.connections.iter().filter(waits).map(|(entrance, _)| *entrance).collect()
    }

    /// The next who waits at a port.
    pub(super) fn accept(&mut self, entrance: EntranceId, now: Time) -> Option<(TcpStream, SocketAddr)> {
        self.connections.get_mut(&entrance)?.accept(now)
    }

    /// The names of all ports for datagrams at which some may wait.
    pub(super) fn addressed(&self) -> Vec<EntranceId> {
        self.datagrams.iter().filter(|(_, port)| port.ready).map(|(entrance, _)| *entrance).collect()
    }

    /// Reads the next datagram into `buffer`; its length and who sent it.
    pub(super) fn receive(&mut self, entrance: EntranceId, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let port = self.datagrams.get_mut(&entrance)?;
        // What was sent to somebody who has no such port comes back as an error of this socket, once each.
        for _ in 0..DATAGRAMS_PER_TURN {
            match port.socket.recv_from(buffer) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    port.ready = false;
                    return None;
                }
                Err(error) => port.note_failure("receive", &error),
            }
        }
        None
    }

    /// Sends a datagram, if that can be done now.
    pub(super) fn send(&mut self, entrance: EntranceId, to: SocketAddr, bytes: &[u8]) {
        let Some(port) = self.datagrams.get_mut(&entrance) else { return };
        if let Err(error) = port.socket.send_to(bytes, to) {
            port.note_failure("send", &error);
        }
    }
}

impl Datagrams {
    fn note_failure(&mut self, what: &str, error: &io::Error) {
        if seldom::count(&mut self.failures) {
            let so_far = self.failures;
            warn!("reactor: cannot {what} a datagram why=\"{error}\" so_far={so_far}");
        }
    }
}
