//! What the loop does for agents that speak to the world outside of their grid.

use mio::Token;

use super::ports::DATAGRAMS_PER_TURN;
use super::socket::Socket;
use super::{ACCEPTS_PER_TURN, Reactor};
use crate::server::Server;

impl Reactor {
    /// Takes in who waits at the ports of agents, and the datagrams that have come there.
    pub(super) fn attend_ports(&mut self, server: &mut Server) {
        for entrance in self.ports.awaiting() {
            for _ in 0..ACCEPTS_PER_TURN {
                let now = self.now();
                let Some((stream, peer)) = self.ports.accept(entrance, now) else { break };
                if let Some(conn) = server.came_in(entrance, peer, now) {
                    match Socket::accepted(stream, Token(conn.0), self.poll.registry()) {
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
}
