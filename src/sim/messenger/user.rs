//! A simulated user's client: it registers, logs in, writes, reads, and goes to another server when it hears nothing.
//!
//! There are two kinds. *Ours* numbers its messages, sends again what was not acknowledged, acknowledges what comes and says at log-in what it has. One of the *class* of 2017
//! does nothing of that: a message that is not answered is given up, and what it was sent counts as read with its next request.

mod requests;
mod visits;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::book::{Book, Got, Life, Seen, Writer};
use crate::agent::{Agent, Commands, Conn, Input, Inward, NoMessage, Opening, Outbox, Outward, Peer};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Position, Response, Route, put_frame, route};

/// Which kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Class,
}

/// What a user is made from.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) device: Peer,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Where the servers are.
    pub(super) servers: Vec<SocketAddr>,
    /// A group that it makes, and the users that it takes into it.
    pub(super) makes: Option<(String, Vec<String>)>,
}

/// The client.
#[derive(Debug)]
pub(super) struct User {
    who: Identity,
    life: Life,
    book: Book,
    rng: Rng,
    stage: Stage,
    /// The server that is tried next.
    server: usize,
    dials: u64,
    requests: i64,
    /// Whether the name is taken, by this user hopefully.
    registered: bool,
    token: Option<Bytes>,
    instance: [u8; 16],
    written: u64,
    /// Messages that are not answered, in their order.
    unanswered: VecDeque<Unanswered>,
    /// What is still to be done for the group, the first of it under way perhaps.
    tasks: VecDeque<Route>,
    task: Option<i64>,
    /// How far it has each conversation.
    have: BTreeMap<u64, u64>,
    acknowledges: BTreeMap<u64, u64>,
    ping: Option<i64>,
    alarms: BTreeMap<Alarm, Time>,
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

#[derive(Debug)]
struct Unanswered {
    text: String,
    request: i64,
    route: Route,
}

/// What it does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Dial,
    /// Nothing has come back: this server is given up.
    Silence,
    Ping,
    Resend,
    Acknowledge,
    Task,
    Visit,
}

/// How far a client of the class is with looking twice what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    None,
    First,
    Requested,
    Second,
    Done,
}

impl Agent for User {
    type Msg = NoMessage;

    fn handle(&mut self, now: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => self.dial(now, out),
            Input::Timeout => self.timeout(now, out),
            Input::Commands { commands } => self.obey(now, commands, out),
            Input::Outside(inward) => self.outside(now, inward, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.alarms.values().min().copied()
    }

    fn about(&self) -> Option<String> {
        let (name, stage, waiting) = (&self.who.name, self.stage, self.unanswered.len());
        Some(format!("{name} {stage:?}, {waiting} messages not answered, {} tasks", self.tasks.len()))
    }
}

impl User {
    pub(super) fn new(who: Identity, life: u64, seed: u64, book: Book) -> Self {
        let mut rng = Rng::new(seed);
        let mut instance = [0; 16];
        for chunk in instance.chunks_exact_mut(8) {
            chunk.copy_from_slice(&rng.number().to_be_bytes());
        }
        let tasks = who.makes.iter().flat_map(|(group, members)| requests::group(group, members)).collect();
        Self {
            server: rng.index(who.servers.len()),
            life: (who.device, life),
            who,
            book,
            rng,
            stage: Stage::Alone,
            dials: 0,
            requests: 0,
            registered: false,
            token: None,
            instance,
            written: 0,
            unanswered: VecDeque::new(),
            tasks,
            task: None,
            have: BTreeMap::new(),
            acknowledges: BTreeMap::new(),
            ping: None,
            alarms: BTreeMap::new(),
            visit: Visit::None,
        }
    }

    fn see(&self, seen: Seen) {
        self.book.borrow_mut().push(seen);
    }

    fn is_ours(&self) -> bool {
        self.who.kind == Kind::Ours
    }

    fn ring_in(&mut self, now: Time, alarm: Alarm, from_ms: u64, to_ms: u64) {
        let after = Duration::from_millis(self.rng.between(from_ms..=to_ms));
        self.alarms.insert(alarm, now + after);
    }

    fn request(&mut self) -> i64 {
        self.requests += 1;
        self.requests
    }
}

/// Connections.
impl User {
    fn dial(&mut self, _: Time, out: &mut Outbox<NoMessage>) {
        self.alarms.remove(&Alarm::Dial);
        self.stage = Stage::Dialling;
        self.dials += 1;
        self.server = (self.server + 1) % self.who.servers.len();
        let (token, to) = (self.dials, self.who.servers[self.server]);
        out.outside(Outward::Dial { token, to, frame_bytes_max: FRAME_BYTES_MAX, tls: false });
    }

    fn outside(&mut self, now: Time, inward: Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Opened { conn, by: Opening::Dialled(token), .. } => {
                if token == self.dials && self.stage == Stage::Dialling {
                    self.log_in(now, conn, out);
                } else {
                    out.outside(Outward::HangUp { conn });
                }
            }
            Inward::Unreachable { token, .. } if token == self.dials => self.is_alone(now, 20, 300),
            Inward::Frames { conn, frames } => {
                for frame in frames {
                    if self.conn() != Some(conn) {
                        return;
                    }
                    let route = Route::decode(frame).expect("servers send what can be read");
                    self.take(now, conn, route, out);
                }
            }
            Inward::Closed { conn, .. } if self.conn() == Some(conn) => self.is_alone(now, 0, 100),
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
    fn is_alone(&mut self, now: Time, from_ms: u64, to_ms: u64) {
        self.stage = Stage::Alone;
        self.alarms.retain(|alarm, _| *alarm == Alarm::Visit);
        (self.ping, self.task) = (None, None);
        if !self.is_ours() {
            for Unanswered { text, .. } in std::mem::take(&mut self.unanswered) {
                self.see(Seen::GaveUp { text });
            }
        }
        self.ring_in(now, Alarm::Dial, from_ms, to_ms);
    }

    fn leave(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        if let Some(conn) = self.conn() {
            out.outside(Outward::HangUp { conn });
            self.is_alone(now, 0, 100);
        }
    }

    fn log_in(&mut self, now: Time, conn: Conn, out: &mut Outbox<NoMessage>) {
        let request = self.request();
        self.stage = Stage::LoggingIn { conn, request };
        self.ring_in(now, Alarm::Silence, 3_000, 4_000);
        let have = self.have.iter().map(|(&conversation, &sequence)| Position { conversation, sequence });
        let mut login = requests::login(&self.instance, have.collect());
        let mut user = if self.registered {
            requests::access(&self.who.name)
        } else {
            requests::register(&self.who.name)
        };
        if self.registered && self.token.is_some() {
            (login.token, user.password) = (self.token.clone(), None);
        }
        let login = self.is_ours().then_some(login);
        let payload = Some(route::Payload::User(user));
        send(&Route { id: request, path: 2, payload, login, ..Route::default() }, conn, out);
    }
}

/// What comes.
impl User {
    fn take(&mut self, now: Time, conn: Conn, route: Route, out: &mut Outbox<NoMessage>) {
        let Route { id, payload, welcome, posted, read_by, .. } = route;
        for read in read_by {
            let upto = (read.position.conversation, read.position.sequence);
            self.see(Seen::ToldRead { life: self.life, connection: conn.0, user: read.user, upto });
        }
        match payload {
            Some(route::Payload::MessagesResponse(response)) => {
                for message in response.messages {
                    self.got(now, conn, &message);
                }
            }
            Some(route::Payload::Response(response)) => {
                if let Some(welcome) = welcome {
                    self.token = welcome.token;
                }
                let place = posted.and_then(|posted| posted.position);
                self.answered(now, conn, id, &response, place, out);
            }
            _ => {}
        }
    }

    fn got(&mut self, now: Time, conn: Conn, message: &crate::wire::proto::Message) {
        let Some(position) = message.position else { return };
        let place = (position.conversation, position.sequence);
        let have = self.have.entry(place.0).or_default();
        let is_new = place.1 > *have;
        *have = place.1.max(*have);
        let text = message.payload.split(' ').next().unwrap_or_default().to_owned();
        self.see(Seen::Got(Got {
            user: self.who.name.clone(),
            life: self.life,
            connection: conn.0,
            sender: message.sender_id.clone(),
            text,
            place,
            is_new,
        }));
        if self.is_ours() {
            let upto = self.acknowledges.entry(place.0).or_default();
            *upto = place.1.max(*upto);
            if !self.alarms.contains_key(&Alarm::Acknowledge) {
                let longest = [0, 20, 300][self.rng.index(3)];
                self.ring_in(now, Alarm::Acknowledge, 0, longest);
            }
        }
    }

    fn answered(
        &mut self,
        now: Time,
        conn: Conn,
        id: i64,
        response: &Response,
        place: Option<Position>,
        out: &mut Outbox<NoMessage>,
    ) {
        let code = ErrorCode::try_from(response.error_code.unwrap_or(0)).unwrap_or(ErrorCode::Invalid);
        let done = response.success == Some(true);
        match self.stage {
            Stage::LoggingIn { request, .. } if request == id => {
                return self.logged_in(now, conn, done, code, out);
            }
            _ => {}
        }
        if self.ping == Some(id) {
            self.ping = None;
            self.alarms.remove(&Alarm::Silence);
            self.ring_in(now, Alarm::Ping, 200, 500);
        } else if self.task == Some(id) {
            self.task = None;
            if done {
                self.tasks.pop_front();
                if let Some((group, _)) = self.who.makes.as_ref().filter(|_| self.tasks.is_empty()) {
                    self.see(Seen::GroupComplete { group: group.clone() });
                }
            }
            self.ring_in(now, Alarm::Task, 0, 200);
        } else if let Some(place_of) = self.unanswered.iter().position(|message| message.request == id) {
            self.message_answered(now, place_of, done, code, place);
        }
    }

    fn message_answered(
        &mut self,
        now: Time,
        which: usize,
        done: bool,
        code: ErrorCode,
        place: Option<Position>,
    ) {
        let again = matches!(code, ErrorCode::Busy | ErrorCode::Unknown | ErrorCode::OutOfOrder);
        if code == ErrorCode::ClientForgotten {
            self.see(Seen::Forgotten { life: self.life });
        }
        if !done && again && self.is_ours() {
            // From the first one on, so that their order holds.
            if !self.alarms.contains_key(&Alarm::Resend) {
                self.ring_in(now, Alarm::Resend, 50, 300);
            }
            return;
        }
        let Some(Unanswered { text, .. }) = self.unanswered.remove(which) else { return };
        self.see(if done {
            Seen::Acknowledged { text, place: place.map(|at| (at.conversation, at.sequence)) }
        } else {
            Seen::GaveUp { text }
        });
    }

    fn logged_in(&mut self, now: Time, conn: Conn, done: bool, code: ErrorCode, out: &mut Outbox<NoMessage>) {
        if done {
            self.registered = true;
            self.stage = Stage::Online { conn };
            self.see(Seen::LoggedIn { user: self.who.name.clone() });
            if !self.acknowledges.is_empty() {
                self.ring_in(now, Alarm::Acknowledge, 0, 100);
            }
            self.alarms.remove(&Alarm::Silence);
            self.ring_in(now, Alarm::Ping, 200, 500);
            self.ring_in(now, Alarm::Task, 0, 100);
            self.resend(conn, out);
            return self.visit_online(now);
        }
        match code {
            ErrorCode::NameTaken => {
                self.registered = true;
                self.log_in(now, conn, out);
            }
            ErrorCode::WrongPassword if self.token.is_some() => {
                self.token = None;
                self.log_in(now, conn, out);
            }
            _ => {
                out.outside(Outward::HangUp { conn });
                self.is_alone(now, 100, 500);
            }
        }
    }
}

/// What it does by itself.
impl User {
    fn timeout(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        while let Some((&alarm, _)) = self.alarms.iter().find(|(_, at)| **at <= now) {
            self.alarms.remove(&alarm);
            match (alarm, self.stage) {
                (Alarm::Dial, _) => self.dial(now, out),
                (Alarm::Silence, _) => self.leave(now, out),
                (Alarm::Ping, Stage::Online { conn }) => {
                    let id = self.request();
                    self.ping = Some(id);
                    self.ring_in(now, Alarm::Silence, 1_500, 2_000);
                    send(&Route { id, ..Route::default() }, conn, out);
                }
                (Alarm::Resend, Stage::Online { conn }) => self.resend(conn, out),
                (Alarm::Acknowledge, Stage::Online { conn }) => self.acknowledge(conn, out),
                (Alarm::Task, Stage::Online { conn }) => self.go_on_with_tasks(conn, out),
                (Alarm::Visit, _) => self.visit_goes_on(now, out),
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, conn: Conn, out: &mut Outbox<NoMessage>) {
        let mut acknowledged = Vec::new();
        for (conversation, sequence) in std::mem::take(&mut self.acknowledges) {
            let upto = (conversation, sequence);
            self.see(Seen::Acknowledges { user: self.who.name.clone(), upto });
            acknowledged.push(Position { conversation, sequence });
        }
        send(&Route { path: 7, acknowledged, ..Route::default() }, conn, out);
    }

    fn go_on_with_tasks(&mut self, conn: Conn, out: &mut Outbox<NoMessage>) {
        let Some(route) = self.tasks.front().cloned().filter(|_| self.task.is_none()) else { return };
        let id = self.request();
        self.task = Some(id);
        send(&Route { id, ..route }, conn, out);
    }

    /// Sends everything that is not answered, in its order.
    fn resend(&mut self, conn: Conn, out: &mut Outbox<NoMessage>) {
        for place in 0..self.unanswered.len() {
            let id = self.request();
            let message = &mut self.unanswered[place];
            message.request = id;
            let route = Route { id, ..message.route.clone() };
            send(&route, conn, out);
        }
    }

    /// `write <user or group> <bytes>`, `leave` for another server, `visit` twice to see what is sent.
    fn obey(&mut self, now: Time, mut commands: Commands<'_>, out: &mut Outbox<NoMessage>) {
        let Some(line) = commands.take() else { return };
        let line = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["write", to, bytes] => self.write(to, bytes.parse().unwrap_or(0), out),
            ["leave"] => self.leave(now, out),
            ["visit"] if !self.is_ours() => {
                self.visit = Visit::First;
                self.see(Seen::AskedToVisit { life: self.life });
                self.leave(now, out);
            }
            _ => {}
        }
    }

    fn write(&mut self, to: &str, bytes: usize, out: &mut Outbox<NoMessage>) {
        let online = match self.stage {
            Stage::Online { conn } => Some(conn),
            _ => None,
        };
        if !self.is_ours() && online.is_none() {
            return;
        }
        self.written += 1;
        let (number, (device, life)) = (self.written, self.life);
        let text = format!("{}/{device}/{life}/{number}", self.who.name);
        let by = Writer { user: self.who.name.clone(), life: self.life, number, is_ours: self.is_ours() };
        self.see(Seen::Wrote { text: text.clone(), by, to: to.to_owned() });
        let mut message = requests::message(&self.who.name, to, format!("{text} {}", "x".repeat(bytes)));
        message.number = self.is_ours().then_some(number);
        let request = self.request();
        let payload = Some(route::Payload::Message(message));
        let route = Route { id: request, path: 3, payload, ..Route::default() };
        if let Some(conn) = online {
            send(&route, conn, out);
        }
        self.unanswered.push_back(Unanswered { text, request, route });
    }
}

/// Sends one frame.
fn send(route: &Route, conn: Conn, out: &mut Outbox<NoMessage>) {
    let mut bytes = Vec::new();
    put_frame(route, &mut bytes);
    out.outside(Outward::Frames { conn, bytes: bytes.into() });
}

const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
