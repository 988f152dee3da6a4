//! A table with a few messengers on it, for tests: it plays their hosts, their log and their clients. Everything that clients say and hear travels as frames.

mod routes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

pub(super) use self::routes::*;
use crate::agent::{
    Agent, Attrs, Configure, Conn, Dest, Done, Epoch, Index, Input, Inward, Look, Opening, Outbox, Output,
    Outward, Peer, PortId, Refusal, Row, Setup, Why, Work,
};
use crate::agents::messenger::{Messenger, MessengerMessage};
use crate::grid::Port;
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::{ErrorCode, Login, Message, Position, Route, route};

/// Some messengers on one log.
pub(super) struct Desk {
    pub(super) now: Time,
    pub(super) servers: Vec<Server>,
    /// What is committed.
    log: Vec<Vec<u8>>,
    /// What is proposed, and by whom.
    proposed: VecDeque<(usize, Vec<u8>)>,
    /// Whether the log takes anything, and answers.
    pub(super) is_up: bool,
    conns: u64,
    ids: i64,
}

/// One of them with what its host keeps.
pub(super) struct Server {
    pub(super) messenger: Messenger,
    applied: usize,
    rows: BTreeMap<Bytes, Bytes>,
    heard: BTreeMap<Conn, Vec<u8>>,
    pub(super) gone: BTreeSet<Conn>,
    waiting: VecDeque<Waiting>,
    pub(super) looks: usize,
    /// Whether a connection takes what it is sent: otherwise nobody is told that it has left.
    pub(super) is_slow: bool,
    sent_bytes: BTreeMap<Conn, usize>,
}

enum Waiting {
    Barrier(u64),
    Compute(u64, Work),
    Look(Look),
    Hear(usize, MessengerMessage),
    Closed(Conn),
    Drained(Conn),
}

/// A client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) server: usize,
    pub(super) conn: Conn,
}

impl Desk {
    pub(super) fn new(servers: usize) -> Self {
        Self::with(servers, "{}")
    }

    /// With attributes beside those that are needed.
    pub(super) fn with(servers: usize, attrs: &str) -> Self {
        let mut desk = Self::silent(servers, attrs);
        desk.is_up = true;
        desk.settle();
        desk
    }

    /// The same, with a log that takes nothing yet.
    pub(super) fn silent(servers: usize, attrs: &str) -> Self {
        let mut desk = Self {
            now: Time::since_start(Duration::from_secs(100)),
            servers: Vec::new(),
            log: Vec::new(),
            proposed: VecDeque::new(),
            is_up: false,
            conns: 0,
            ids: 0,
        };
        for server in 0..servers {
            desk.servers.push(Server::new(server, attrs));
        }
        for server in 0..servers {
            desk.begin(server);
        }
        desk.input(0, Input::Leads { leads: true });
        desk.settle();
        desk
    }

    fn begin(&mut self, server: usize) {
        self.input(server, Input::Start);
        for peer in (0..self.servers.len()).filter(|peer| *peer != server) {
            self.input(server, Input::LinkUp { peer: number(peer), epoch: Epoch(1) });
        }
    }

    /// The server dies, and begins again from the rows that it has kept and the records behind them.
    pub(super) fn restart(&mut self, server: usize, attrs: &str) {
        self.write_rows(server);
        self.restart_from_rows(server, attrs);
    }

    fn restart_from_rows(&mut self, server: usize, attrs: &str) {
        let old = std::mem::replace(&mut self.servers[server], Server::new(server, attrs));
        let rows: Vec<Row> = rows_of(&old.rows);
        self.servers[server].rows = old.rows;
        self.servers[server].applied = old.applied;
        let last = Some(Index(old.applied as u64));
        self.input(server, Input::Restore { rows: &rows, first: true, last });
        self.begin(server);
        self.settle();
    }

    /// The server dies, and one of its rows is none that it knows when it begins again.
    pub(super) fn restart_with_damage(&mut self, server: usize) {
        self.write_rows(server);
        let row = (Bytes::from_static(b"n"), Bytes::from_static(&[99]));
        self.servers[server].rows.extend([row]);
        self.restart_from_rows(server, "{}");
    }

    /// The server's state is replaced by the rows of another one, in mid-run. That takes a moment, in which it hears nothing of others.
    pub(super) fn replace(&mut self, server: usize, by: usize) {
        self.write_rows(by);
        let rows = rows_of(&self.servers[by].rows);
        let half = rows.len() / 2;
        let last = Some(Index(self.servers[by].applied as u64));
        self.input(server, Input::Restore { rows: &rows[..half], first: true, last: None });
        self.now = self.now + Duration::from_millis(100);
        while self.settle_one(by) {}
        self.servers[server].waiting.retain(|waiting| !matches!(waiting, Waiting::Hear(..)));
        self.input(server, Input::Restore { rows: &rows[half..], first: false, last });
        self.servers[server].rows = self.servers[by].rows.clone();
        self.servers[server].applied = self.servers[by].applied;
        self.settle();
    }

    /// The rows that have changed reach the disk.
    pub(super) fn write_rows(&mut self, server: usize) {
        let Server { messenger, rows, .. } = &mut self.servers[server];
        for Row { key, value } in messenger.take_rows() {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    fn input(&mut self, server: usize, input: Input<'_, MessengerMessage>) {
        let mut out = Outbox::default();
        self.servers[server].messenger.handle(self.now, input, &mut out);
        let outputs: Vec<_> = out.drain().collect();
        for output in outputs {
            let host = &mut self.servers[server];
            match output {
                Output::Propose { record } => self.proposed.push_back((server, record)),
                Output::Barrier { token } => host.waiting.push_back(Waiting::Barrier(token)),
                Output::Compute { token, work } => host.waiting.push_back(Waiting::Compute(token, work)),
                Output::Look(look) => {
                    host.looks += 1;
                    host.waiting.push_back(Waiting::Look(look));
                }
                Output::Send { to: Dest::Peer(peer, Port::ANSWERS), message } => {
                    self.servers[index(peer)].waiting.push_back(Waiting::Hear(server, message));
                }
                Output::Outside(outward) => host.outward(outward),
                other => panic!("not expected of a messenger: {other:?}"),
            }
        }
    }

    /// Everything happens that is to happen without time going on.
    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for server in 0..self.servers.len() {
                quiet &= !self.settle_one(server);
            }
            if self.is_up
                && let Some((_, record)) = self.proposed.pop_front()
            {
                quiet = false;
                self.log.push(record);
            }
            if quiet {
                return;
            }
        }
    }

    /// Something happens at this server; whether there was anything.
    fn settle_one(&mut self, server: usize) -> bool {
        let host = &mut self.servers[server];
        if let Some(record) = self.log.get(host.applied).cloned() {
            host.applied += 1;
            let index = Index(host.applied as u64);
            self.input(server, Input::Committed { index, record: &record });
            return true;
        }
        if host.messenger.deadline().is_some_and(|at| at <= self.now) {
            self.input(server, Input::Timeout);
            return true;
        }
        let is_up = self.is_up;
        let next = host.waiting.iter().position(|waiting| is_up || !matches!(waiting, Waiting::Barrier(_)));
        let Some(waiting) = next.and_then(|at| host.waiting.remove(at)) else { return false };
        match waiting {
            Waiting::Barrier(token) => self.input(server, Input::Barrier { token }),
            Waiting::Compute(token, work) => {
                self.input(server, Input::Computed { token, done: compute(work) });
            }
            Waiting::Look(look) => {
                let found: Vec<Row> = rows_of(&host.rows);
                let found = found.into_iter().filter(|row| look.from <= row.key && row.key < look.until);
                let mut found: Vec<_> = found.map(Ok::<_, ()>).collect();
                if look.backwards {
                    found.reverse();
                }
                let looked = look.gather(found.into_iter()).expect("nothing fails");
                self.input(server, Input::Looked { looked });
            }
            Waiting::Hear(from, message) => {
                self.input(server, Input::Message { from: number(from), port: Port::ANSWERS, message });
            }
            Waiting::Closed(conn) => {
                self.input(server, Input::Outside(Inward::Closed { conn, why: Why::Closed }));
            }
            Waiting::Drained(conn) => self.input(server, Input::Outside(Inward::Drained { conn })),
        }
        true
    }

    /// Time goes on, in small steps.
    pub(super) fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now = self.now + Duration::from_millis(10);
            self.settle();
        }
    }

    /// What is proposed is committed, and applied everywhere, before anything else happens.
    pub(super) fn commit(&mut self) {
        self.log.extend(self.proposed.drain(..).map(|(_, record)| record));
        for server in 0..self.servers.len() {
            while let Some(record) = self.log.get(self.servers[server].applied).cloned() {
                self.servers[server].applied += 1;
                let index = Index(self.servers[server].applied as u64);
                self.input(server, Input::Committed { index, record: &record });
            }
        }
    }

    /// The first proposals that wait are refused.
    pub(super) fn refuse_proposals(&mut self, why: &Refusal) {
        for (server, record) in std::mem::take(&mut self.proposed) {
            self.input(server, Input::NotCommitted { record: &record, why });
        }
        self.settle();
    }

    pub(super) fn connect(&mut self, server: usize) -> Line {
        self.connect_from(server, Ipv4Addr::LOCALHOST)
    }

    /// Somebody connects from this address.
    pub(super) fn connect_from(&mut self, server: usize, address: impl Into<IpAddr>) -> Line {
        self.conns += 1;
        let conn = Conn(self.conns);
        let peer = SocketAddr::new(address.into(), 50_000);
        let by = Opening::Accepted(PortId(1));
        self.input(server, Input::Outside(Inward::Opened { conn, by, peer }));
        Line { server, conn }
    }

    pub(super) fn close(&mut self, line: Line) {
        let Line { server, conn } = line;
        self.servers[server].gone.insert(conn);
        self.input(server, Input::Outside(Inward::Closed { conn, why: Why::Broken }));
        self.settle();
    }

    /// Sends a Route; nothing else happens meanwhile.
    pub(super) fn say(&mut self, line: Line, route: &Route) {
        let mut bytes = Vec::new();
        super::wire::put_route(route, false, &mut bytes);
        self.say_bytes(line, &bytes);
    }

    pub(super) fn say_bytes(&mut self, line: Line, bytes: &[u8]) {
        let (frames, rest) = LengthFrames::split(bytes, usize::MAX).expect("short");
        assert_eq!(rest, b"");
        self.input(line.server, Input::Outside(Inward::Frames { conn: line.conn, frames }));
    }

    /// Everything that a client was sent since this was asked for, as bytes.
    pub(super) fn bytes(&mut self, line: Line) -> Vec<u8> {
        self.settle();
        self.servers[line.server].heard.remove(&line.conn).unwrap_or_default()
    }

    /// The same as Routes.
    pub(super) fn routes(&mut self, line: Line) -> Vec<Route> {
        let bytes = self.bytes(line);
        let (frames, rest) = LengthFrames::split(&bytes, usize::MAX).expect("short");
        assert_eq!(rest, b"");
        frames.map(|frame| Route::decode(frame).expect("a Route")).collect()
    }

    /// Asks and takes the answer; what else came stays out of it.
    pub(super) fn ask(&mut self, line: Line, mut route: Route) -> Route {
        self.ids += 1;
        route.id = self.ids;
        self.say(line, &route);
        let id = self.ids;
        let routes = self.routes(line);
        let mut answers = routes.iter().filter(|route| route.id == id);
        let answer = answers.next().unwrap_or_else(|| panic!("no answer to {route:?} in {routes:?}")).clone();
        assert_eq!(answers.next(), None, "two answers");
        let others: Vec<Route> = routes.iter().filter(|route| route.id != id).cloned().collect();
        let kept = self.servers[line.server].heard.entry(line.conn).or_default();
        for other in others {
            super::wire::put_route(&other, false, kept);
        }
        answer
    }

    /// A user of this name, who has just registered and logged in as our own clients do.
    pub(super) fn user(&mut self, server: usize, name: &str) -> Line {
        let line = self.connect(server);
        let answer = self.ask(line, registration(name, Some(login(name))));
        assert_eq!(code(&answer), ErrorCode::None, "{answer:?}");
        line
    }

    /// Another session of a user.
    pub(super) fn log_in(&mut self, server: usize, name: &str, login: Login) -> Line {
        let line = self.connect(server);
        let answer = self.ask(line, access(name, PASSWORD, Some(login)));
        assert_eq!(code(&answer), ErrorCode::None, "{answer:?}");
        line
    }

    /// The messages that a client was sent since this was asked for.
    pub(super) fn messages(&mut self, line: Line) -> Vec<Message> {
        self.routes(line).into_iter().filter(|route| route.id == 0).flat_map(messages_of).collect()
    }

    /// What those say.
    pub(super) fn texts(&mut self, line: Line) -> Vec<String> {
        self.messages(line).into_iter().map(|message| message.payload).collect()
    }

    /// Acknowledges all of these messages.
    pub(super) fn acknowledge(&mut self, line: Line, messages: &[Message]) {
        let acknowledged: Vec<Position> =
            messages.iter().map(|message| message.position.expect("a place")).collect();
        self.say(line, &Route { path: route::Path::Message.into(), acknowledged, ..Route::default() });
    }
}

impl Server {
    fn new(server: usize, attrs: &str) -> Self {
        let mut attrs: Attrs = serde_json::from_str(attrs).expect("an object");
        attrs.0.insert("clients".to_owned(), format!("127.0.0.1:{}", 4001 + server).into());
        attrs.0.insert("group_tag".to_owned(), "east".into());
        let mut setup = Setup::new("m", &attrs, &[], 7 + server as u64).begun_at_unix_ms(1_000_000_000_000);
        let messenger = Messenger::configure(&mut setup).expect("right");
        assert_eq!(setup.unused(), []);
        Self {
            messenger,
            applied: 0,
            rows: BTreeMap::new(),
            heard: BTreeMap::new(),
            gone: BTreeSet::new(),
            waiting: VecDeque::new(),
            looks: 0,
            is_slow: false,
            sent_bytes: BTreeMap::new(),
        }
    }

    fn outward(&mut self, outward: Outward) {
        match outward {
            Outward::Frames { conn, bytes } if !self.gone.contains(&conn) => {
                self.heard.entry(conn).or_default().extend_from_slice(&bytes);
                let sent = self.sent_bytes.entry(conn).or_default();
                *sent += bytes.len();
                if *sent >= crate::agent::DRAINED_BYTES && !self.is_slow {
                    *sent = 0;
                    self.waiting.push_back(Waiting::Drained(conn));
                }
            }
            Outward::HangUp { conn } => {
                if self.gone.insert(conn) {
                    self.waiting.push_back(Waiting::Closed(conn));
                }
            }
            Outward::Frames { .. } | Outward::Listen { .. } => {}
            other => panic!("not expected of a messenger: {other:?}"),
        }
    }

    /// All that was sent has left.
    pub(super) fn drain(&mut self, line: Line) {
        self.sent_bytes.remove(&line.conn);
        self.waiting.push_back(Waiting::Drained(line.conn));
    }
}

/// What a test takes for hashing.
fn compute(work: Work) -> Done {
    match work {
        Work::HashPassword { password, .. } => {
            Done::Hash(format!("hash of {}", String::from_utf8_lossy(&password.0)))
        }
        Work::CheckPassword { password, hash } => {
            Done::Matches(hash == format!("hash of {}", String::from_utf8_lossy(&password.0)))
        }
    }
}

fn rows_of(rows: &BTreeMap<Bytes, Bytes>) -> Vec<Row> {
    rows.iter().map(|(key, value)| Row { key: key.clone(), value: Some(value.clone()) }).collect()
}

fn number(server: usize) -> Peer {
    Peer(u32::try_from(server).expect("few"))
}

fn index(peer: Peer) -> usize {
    peer.index()
}
