//! Connections of clients: how they come, what comes on them, how they end.

use std::net::SocketAddr;

use prost::Message as _;

use super::connection::{Client, Session, Who};
use super::{Front, Turn, touch, wire};
use crate::agent::{Conn, Outward};
use crate::agents::messenger::State;
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::{ErrorCode, NetworkDiscoveryPacket, Route, route};

impl Front {
    /// Somebody has connected.
    pub(in super::super) fn opened(&mut self, turn: &mut Turn<'_>, conn: Conn, peer: SocketAddr) {
        if !self.restoring && self.clients.len() >= self.settings.connections_max {
            self.counts.busy += 1;
            // Who says nothing does not keep out who may have to say something.
            let oldest = self.clients.iter().find(|(_, client)| matches!(client.who, Who::Nobody));
            if let Some(oldest) = oldest.map(|(conn, _)| *conn) {
                self.hang_up(turn, oldest);
            }
        }
        if self.restoring || self.clients.len() >= self.settings.connections_max {
            return turn.out.outside(Outward::HangUp { conn });
        }
        self.clients.insert(conn, Client::new(peer));
    }

    /// A client has sent something.
    pub(in super::super) fn frames(&mut self, turn: &mut Turn<'_>, conn: Conn, frames: LengthFrames<'_>) {
        for frame in frames {
            // It may have been hung up on by what came before.
            if !self.clients.contains_key(&conn) {
                return;
            }
            let Ok(route) = Route::decode(frame) else {
                self.counts.not_understood += 1;
                return self.hang_up(turn, conn);
            };
            self.take(turn, conn, route, frame.len());
        }
    }

    /// A connection is gone.
    pub(in super::super) fn closed(&mut self, now: Time, state: &State, conn: Conn) {
        let Some(client) = self.clients.remove(&conn) else { return };
        if let Some(step) = client.step {
            self.forget_step(step);
        }
        if let Who::User(session) = client.who {
            self.session_ends(now, state, conn, &session);
        }
    }

    /// Who is at the other end of a connection.
    pub(in super::super) fn peer(&self, conn: Conn) -> Option<SocketAddr> {
        self.clients.get(&conn).map(|client| client.peer)
    }

    /// A connection of a server of another cluster: nothing that comes on it is this front's any more. What has come meanwhile.
    pub(in super::super) fn hand_over(&mut self, conn: Conn) -> Vec<Route> {
        let Some(client) = self.clients.get_mut(&conn) else { return Vec::new() };
        client.who = Who::OtherCluster;
        client.holds = false;
        client.held.take()
    }

    /// Ends a connection once it has got what was written for it.
    pub(in super::super) fn hang_up(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        if let Some(client) = self.clients.get_mut(&conn) {
            let bytes = client.leave(self.settings.quirks);
            if !bytes.is_empty() {
                turn.out.outside(Outward::Frames { conn, bytes: bytes.into() });
            }
            turn.out.outside(Outward::HangUp { conn });
        }
        self.closed(turn.now, turn.state, conn);
    }

    /// Who wants to be a server of another cluster: its connection, how it calls its greeting, and that.
    pub(in super::super) fn take_strangers(&mut self) -> Vec<(Conn, i64, NetworkDiscoveryPacket)> {
        std::mem::take(&mut self.strangers)
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, now: Time, conn: Conn, route: &Route) {
        let code = match &route.payload {
            Some(route::Payload::Response(response)) => response.error_code,
            _ => None,
        };
        self.counts.busy += u64::from(code == Some(ErrorCode::Busy.into()));
        self.counts.unknown += u64::from(code == Some(ErrorCode::Unknown.into()));
        let quirks = self.settings.quirks;
        if let Some(client) = self.answering(now, conn) {
            wire::put_route(route, quirks, &mut client.outgoing);
        }
    }

    /// The client whose request is about to be answered, if it is still there.
    pub(super) fn answering(&mut self, now: Time, conn: Conn) -> Option<&mut Client> {
        let client = self.clients.get_mut(&conn)?;
        client.unanswered = client.unanswered.saturating_sub(1);
        touch(&mut self.touched, conn, client);
        self.flush_at.get_or_insert(now);
        Some(client)
    }

    pub(super) fn session(&self, conn: Conn) -> Option<&Session> {
        self.clients.get(&conn)?.session()
    }

    /// A number that no step, no look and no computation has.
    pub(super) fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}
