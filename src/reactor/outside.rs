//! What the loop does for agents that speak to the world outside of their grid.

use std::io;
use std::net::SocketAddr;

use mio::Token;

use super::ports::DATAGRAMS_PER_TURN;
use super::socket::Socket;
use super::tls::Session;
use super::{ACCEPTS_PER_TURN, Credentials, Reactor};
use crate::agent::Carries;
use crate::server::{ConnId, Door, EntranceId, Server};

impl Reactor {
    /// Takes in who waits at the ports of agents, and the datagrams that have come there.
    pub(super) fn attend_ports(&mut self, server: &mut Server) {
        for entrance in self.ports.awaiting() {
            for _ in 0..ACCEPTS_PER_TURN {
                let now = self.now();
                let Some((stream, peer)) = self.ports.accept(entrance, now) else { break };
                if let Some(conn) = server.came_in(entrance, peer, now) {
                    let socket = self
                        .session_for_port(entrance)
                        .and_then(|tls| Socket::accepted(stream, tls, Token(conn.0), self.poll.registry()))
                        .and_then(|socket| socket.mind_silence().map(|()| socket));
                    match socket {
                        Ok(socket) => {
                            self.sockets.insert(conn, socket);
                        }
                        Err(error) => server.failed(conn, &error.to_string(), now),
                    }
                }
                self.settle(server);
            }
        }
        for entrance in self.ports.addressed() {
            for _ in 0..DATAGRAMS_PER_TURN {
                let Some((count, from)) = self.ports.receive(entrance, &mut self.buffer) else { break };
                server.datagram(entrance, from, &self.buffer[..count], self.now());
                self.settle(server);
            }
        }
    }

    /// Sends what this turn has led to on connections of agents: each once, all of it together. What comes of that waits for the next turn.
    pub(super) fn flush_outside(&mut self, server: &mut Server) {
        for _ in 0..server.touched_outside() {
            if let Some(conn) = server.next_touched_outside() {
                self.flush(conn, server);
            }
        }
        self.settle(server);
    }

    /// Opens a port for an agent.
    pub(super) fn listen(
        &mut self,
        entrance: EntranceId,
        at: SocketAddr,
        carries: Carries,
        server: &mut Server,
    ) {
        let opened = if matches!(carries, Carries::Frames { tls: true, .. }) && self.credentials.is_none() {
            Err(io::Error::other(NO_CREDENTIALS))
        } else {
            self.ports.open(entrance, at, carries, self.poll.registry())
        };
        match opened {
            Ok(at) => server.listening(entrance, at, self.now()),
            Err(error) => server.not_listening(entrance, &error.to_string(), self.now()),
        }
    }

    /// Begins to connect.
    pub(super) fn dial(&mut self, conn: ConnId, address: SocketAddr, encrypted: bool, server: &mut Server) {
        let session = match &self.credentials {
            _ if !encrypted => Ok(None),
            Some(credentials) => credentials.dial(address.ip()).map(Some),
            None => Err(io::Error::other(NO_CREDENTIALS)),
        };
        let (token, registry) = (Token(conn.0), self.poll.registry());
        match session.and_then(|session| Socket::dial(address, session, token, registry)) {
            Ok(socket) => {
                self.sockets.insert(conn, socket);
            }
            Err(error) => server.failed(conn, &error.to_string(), self.now()),
        }
    }

    /// What encrypts a connection that came in by a door of the server's own: links, if they are to be.
    pub(super) fn session_for_link(&self, door: Door) -> io::Result<Option<Session>> {
        let credentials =
            self.credentials.as_ref().filter(|credentials| door == Door::Links && credentials.for_links());
        credentials.map(Credentials::accept_link).transpose()
    }

    /// What encrypts a connection that came in by an agent's port.
    fn session_for_port(&self, entrance: EntranceId) -> io::Result<Option<Session>> {
        let credentials = self.credentials.as_ref().filter(|_| self.ports.is_encrypted(entrance));
        credentials.map(Credentials::accept).transpose()
    }
}

/// Why nothing can be encrypted.
const NO_CREDENTIALS: &str = "this box has no certificate: its settings have no \"tls\"";
