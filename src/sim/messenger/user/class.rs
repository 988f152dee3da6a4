//! A client of the class of 2017: it numbers nothing, acknowledges nothing and sends nothing again.

mod visits;

use std::net::SocketAddr;

use prost::Message as _;

use self::visits::Visit;
use super::{Alarms, FRAME_BYTES_MAX, Seen, Witness, requests};
use crate::agent::{Conn, Inward, NoMessage, Opening, Outbox, Outward};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Response, Route, User, put_frame, route};

/// The client.
#[derive(Debug)]
pub(in super::super) struct Class {
    pub(super) witness: Witness,
    rng: Rng,
    stage: Stage,
    /// Where the servers are that it knows, and which of them is tried next.
    servers: Vec<SocketAddr>,
    server: usize,
    dials: u64,
    requests: i64,
    /// Whether the name is taken in this cluster, by this user hopefully.
    registered: bool,
    /// Messages that are not answered, by their requests.
    unanswered: Vec<(i64, String)>,
    ping: Option<i64>,
    alarms: Alarms<Alarm>,
    visit: Visit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until it dials again.
    Alone,
    Dialling,
    LoggingIn {
        conn: Conn,
        request: i64,
    },
    Online {
        conn: Conn,
    },
}

/// What it does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Dial,
    /// Nothing has come back: this server is given up.
    Silence,
    Ping,
    Tour,
    Visit,
}

impl Class {
    pub(super) fn new(witness: Witness, mut rng: Rng) -> Self {
        let servers = witness.servers(&mut rng);
        Self {
            witness,
            rng,
            stage: Stage::Alone,
            servers,
            server: 0,
            dials: 0,
            requests: 0,
            registered: false,
            unanswered: Vec::new(),
            ping: None,
            alarms: Alarms::new(),
            visit: Visit::None,
        }
    }

    pub(super) fn start(&mut self, out: &mut Outbox<NoMessage>) {
        self.dial(out);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.alarms.next()
    }

    pub(super) fn about(&self) -> String {
        let (name, stage, waiting) = (&self.witness.who.name, self.stage, self.unanswered.len());
        format!("{name} {stage:?}, {waiting} messages not answered")
    }

    fn ring_in(&mut self, now: Time, alarm: Alarm, range_ms: (u64, u64)) {
        self.alarms.ring_in(now, &mut self.rng, alarm, range_ms);
    }

    fn request(&mut self) -> i64 {
        self.requests += 1;
        self.requests
    }

    /// Writes, if it is logged in.
    pub(super) fn write(&mut self, to: &str, bytes: usize, out: &mut Outbox<NoMessage>) {
        let Stage::Online { conn } = self.stage else { return };
        let (text, payload) = self.witness.writes(to, bytes);
        let id = self.request();
        let message = requests::message(&self.witness.who.name, to, payload);
        let payload = Some(route::Payload::Message(message));
        send(&Route { id, path: 3, payload, ..Route::default() }, conn, out);
        self.unanswered.push((id, text));
    }
}

/// Connections.
impl Class {
    fn dial(&mut self, out: &mut Outbox<NoMessage>) {
        self.stage = Stage::Dialling;
        self.dials += 1;
        self.server = (self.server + 1) % self.servers.len();
        let (token, to) = (self.dials, self.servers[self.server]);
        out.outside(Outward::Dial { token, to, frame_bytes_max: FRAME_BYTES_MAX, tls: false });
    }

    pub(super) fn outside(&mut self, now: Time, inward: Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Opened { conn, by: Opening::Dialled(token), .. } => {
                if token == self.dials && self.stage == Stage::Dialling {
                    self.log_in(now, conn, out);
                } else {
                    out.outside(Outward::HangUp { conn });
                }
            }
            Inward::Unreachable { token, .. } if token == self.dials => self.is_alone(now, (20, 300)),
            Inward::Frames { conn, frames } => {
                for frame in frames {
                    if self.conn() != Some(conn) {
                        return;
                    }
                    let route = Route::decode(frame).expect("servers send what can be read");
                    self.witness.comes(conn.0, &route);
                    if let Some(route::Payload::Response(response)) = &route.payload {
                        let place = route.posted.as_ref().and_then(|posted| posted.position.as_ref());
                        let place = place.map(|position| self.witness.place(position));
                        self.answered(now, (conn, route.id), response, place, out);
                    }
                }
            }
            Inward::Closed { conn, .. } if self.conn() == Some(conn) => self.is_alone(now, (0, 100)),
            _ => {}
        }
    }

    fn conn(&self) -> Option<Conn> {
        match self.stage {
            Stage::LoggingIn { conn, .. } | Stage::Online { conn } => Some(conn),
            Stage::Alone | Stage::Dialling => None,
        }
    }

    /// The connection is gone: another server is dialled after so many milliseconds.
    fn is_alone(&mut self, now: Time, range_ms: (u64, u64)) {
        if matches!(self.stage, Stage::Online { .. }) {
            self.witness.see(Seen::LoggedOut { life: self.witness.life });
        }
        self.stage = Stage::Alone;
        self.alarms.at.retain(|alarm, _| *alarm == Alarm::Visit);
        self.ping = None;
        for (_, text) in std::mem::take(&mut self.unanswered) {
            self.witness.see(Seen::GaveUp { text });
        }
        self.ring_in(now, Alarm::Dial, range_ms);
    }

    pub(super) fn leave(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        if let Some(conn) = self.conn() {
            out.outside(Outward::HangUp { conn });
            self.is_alone(now, (0, 100));
        }
    }

    /// Goes to another cluster.
    pub(super) fn go(&mut self, now: Time, cluster: usize, out: &mut Outbox<NoMessage>) {
        if cluster == self.witness.cluster {
            return;
        }
        if let Some(conn) = self.conn() {
            out.outside(Outward::HangUp { conn });
        }
        self.is_alone(now, (0, 100));
        self.witness.goes(cluster);
        (self.registered, self.visit) = (false, Visit::None);
        self.servers = self.witness.servers(&mut self.rng);
    }

    fn log_in(&mut self, now: Time, conn: Conn, out: &mut Outbox<NoMessage>) {
        let request = self.request();
        self.stage = Stage::LoggingIn { conn, request };
        self.ring_in(now, Alarm::Silence, (3_000, 4_000));
        let name = &self.witness.who.name;
        let user: User = if self.registered { requests::access(name) } else { requests::register(name) };
        let payload = Some(route::Payload::User(user));
        send(&Route { id: request, path: 2, payload, ..Route::default() }, conn, out);
    }
}

/// What comes, and what follows from it.
impl Class {
    fn answered(
        &mut self,
        now: Time,
        (conn, id): (Conn, i64),
        response: &Response,
        place: Option<super::Place>,
        out: &mut Outbox<NoMessage>,
    ) {
        let code = ErrorCode::try_from(response.error_code.unwrap_or(0)).unwrap_or(ErrorCode::Invalid);
        let done = response.success == Some(true);
        if matches!(self.stage, Stage::LoggingIn { request, .. } if request == id) {
            self.log_in_answered(now, conn, done, code, out);
        } else if self.ping == Some(id) {
            self.ping = None;
            self.alarms.at.remove(&Alarm::Silence);
            self.ring_in(now, Alarm::Ping, (200, 500));
        } else if let Some(which) = self.unanswered.iter().position(|(request, _)| *request == id) {
            let (_, text) = self.unanswered.remove(which);
            if done {
                if self.visit == Visit::Writing {
                    self.visit = Visit::Written;
                }
                self.witness.acknowledged(text, place);
            } else {
                self.witness.see(Seen::GaveUp { text });
            }
        }
    }

    fn log_in_answered(
        &mut self,
        now: Time,
        conn: Conn,
        done: bool,
        code: ErrorCode,
        out: &mut Outbox<NoMessage>,
    ) {
        if done {
            self.registered = true;
            self.stage = Stage::Online { conn };
            self.witness.logged_in();
            self.alarms.at.remove(&Alarm::Silence);
            self.ring_in(now, Alarm::Ping, (200, 500));
            self.ring_in(now, Alarm::Tour, (0, 300));
            return self.visit_online(now);
        }
        if code == ErrorCode::NameTaken {
            self.registered = true;
            return self.log_in(now, conn, out);
        }
        if code == ErrorCode::WrongPassword {
            let (user, why) = (self.witness.who.name.clone(), format!("{code:?}"));
            self.witness.see(Seen::TurnedAway { user, why });
        }
        out.outside(Outward::HangUp { conn });
        self.is_alone(now, (100, 500));
    }

    pub(super) fn timeout(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        while let Some(alarm) = self.alarms.take_due(now) {
            match (alarm, self.stage) {
                (Alarm::Dial, _) => self.dial(out),
                (Alarm::Silence, _) => self.leave(now, out),
                (Alarm::Ping, Stage::Online { conn }) => {
                    let id = self.request();
                    self.ping = Some(id);
                    self.ring_in(now, Alarm::Silence, (1_500, 2_000));
                    send(&Route { id, ..Route::default() }, conn, out);
                }
                (Alarm::Tour, Stage::Online { .. }) => {
                    if let Some(cluster) = self.witness.tour.first().copied() {
                        self.go(now, cluster, out);
                    }
                }
                (Alarm::Visit, _) => self.visit_goes_on(now, out),
                _ => {}
            }
        }
    }
}

/// Sends one frame.
fn send(route: &Route, conn: Conn, out: &mut Outbox<NoMessage>) {
    let mut bytes = Vec::new();
    put_frame(route, &mut bytes);
    out.outside(Outward::Frames { conn, bytes: bytes.into() });
}
