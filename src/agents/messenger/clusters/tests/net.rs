//! Servers of several clusters, with connections that lose what is on its way, and logs that refuse, are silent, and answer late.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::agent::{
    Conn, Inward, Look, Looked, NoMessage, Opening, Outbox, Output, Outward, PortId, Row, Why,
};
use crate::agents::messenger::{
    ClusterKey, ClusterSettings, Clusters, Command, Effect, Kind, Outcome, Place, Reading, Sequence,
    ServerLoad, Settled, SharedSecret, State, Stored, Target, UserId, Wanted,
};
use crate::rng::{Probability, Rng};
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::route::Payload;
use crate::wire::proto::{Route, Welcome};

pub(super) struct Net {
    pub(super) now: Time,
    rng: Rng,
    /// How often something goes wrong.
    pub(super) trouble: Probability,
    pub(super) groups: Vec<Group>,
    servers: Vec<Server>,
    ends: BTreeMap<Conn, End>,
    conns: u64,
    /// Everything that was sent on a connection, for those who look for what should not be there.
    pub(super) sent: Vec<(usize, Route)>,
}

/// What the servers of one cluster agree on.
pub(super) struct Group {
    pub(super) state: State,
    rows: BTreeMap<Bytes, Bytes>,
    at_ms: u64,
    /// What is proposed: by which server, under which token.
    proposed: VecDeque<(usize, Option<u64>, Command)>,
    servers: Vec<usize>,
    /// Messages of other clusters that were proposed.
    imported: usize,
}

impl Group {
    fn answer(&self, look: &Look) -> Looked {
        let row = |(key, value): (&Bytes, &Bytes)| Row { key: key.clone(), value: Some(value.clone()) };
        let mut rows: Vec<Row> = self.rows.range(look.from.clone()..look.until.clone()).map(row).collect();
        if look.backwards {
            rows.reverse();
        }
        let rows: Result<Looked, Infallible> = look.gather(rows.into_iter().map(Ok));
        rows.unwrap_or_else(|never| match never {})
    }
}

struct Server {
    group: usize,
    at: SocketAddr,
    clusters: Clusters,
    dials: VecDeque<(u64, SocketAddr)>,
    looks: VecDeque<Look>,
    pub(super) dead: bool,
}

struct End {
    server: usize,
    other: Conn,
    /// What is on its way here; none stands for its end.
    queue: VecDeque<Option<Bytes>>,
    adopted: bool,
}

impl Net {
    /// Clusters that know each other, with so many servers each.
    pub(super) fn new(seed: u64, sizes: &[(&str, usize)]) -> Self {
        let mut net = Self {
            now: Time::ZERO,
            rng: Rng::new(seed),
            trouble: Probability::NEVER,
            groups: Vec::new(),
            servers: Vec::new(),
            ends: BTreeMap::new(),
            conns: 0,
            sent: Vec::new(),
        };
        let address = |group: usize, number: usize| -> SocketAddr {
            let text = format!("10.0.{group}.{}:4001", number + 1);
            text.parse().expect("an address")
        };
        let of = |group: usize| (0..sizes[group].1).map(|number| address(group, number)).collect();
        for (group, (tag, count)) in sizes.iter().enumerate() {
            let others = (0..sizes.len()).filter(|other| *other != group);
            let clusters: BTreeMap<String, Vec<SocketAddr>> =
                others.map(|other| (sizes[other].0.to_owned(), of(other))).collect();
            let first = net.servers.len();
            for number in 0..*count {
                let at = address(group, number);
                let settings = ClusterSettings {
                    group_tag: (*tag).to_owned(),
                    secret: Some(SharedSecret::new("what users know")),
                    between: Some(SharedSecret::new("sesame")),
                    discovery: None,
                    clusters: clusters.clone(),
                    ask: Vec::new(),
                    own: at.to_string(),
                    tls: false,
                };
                let clusters = Clusters::new(settings, net.rng.fork());
                let (dials, looks) = (VecDeque::new(), VecDeque::new());
                net.servers.push(Server { group, at, clusters, dials, looks, dead: false });
            }
            net.groups.push(Group {
                state: State::new(),
                rows: BTreeMap::new(),
                at_ms: 1_000_000,
                proposed: VecDeque::new(),
                servers: (first..first + count).collect(),
                imported: 0,
            });
        }
        net
    }

    pub(super) fn register(&mut self, group: usize, name: &str) -> UserId {
        let (name, hash) = (name.to_owned(), "hash".to_owned());
        self.apply(group, Command::Register { name: name.clone(), email: None, hash });
        self.groups[group].state.find_user(&name).expect("registered")
    }

    pub(super) fn post(&mut self, group: usize, from: UserId, to: Target, text: &str) {
        let (timestamp, payload) = ("then".to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        let outcome = self.apply(group, Command::Post { from, to, client: None, timestamp, payload });
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    /// A cluster loses all that it has, and begins anew under its tag.
    pub(super) fn begin_anew(&mut self, group: usize, key: [u8; 32]) {
        for server in 0..self.groups[group].servers.len() {
            self.cut(group, server, false);
        }
        let Group { state, rows, proposed, servers, .. } = &mut self.groups[group];
        *state = State::new();
        rows.clear();
        proposed.clear();
        for server in servers.clone() {
            self.with(server, |clusters, _, _, out| clusters.reset(out));
        }
        self.apply(group, Command::Key { key: ClusterKey::new(key) });
    }

    /// Applies a command to a cluster's state, of which all its servers hear.
    pub(super) fn apply(&mut self, group: usize, command: Command) -> Outcome {
        let outcome = {
            let group = &mut self.groups[group];
            group.at_ms += 1;
            if let Command::Import { messages, .. } = &command {
                group.imported += messages.len();
            }
            group.state.apply(group.at_ms, command)
        };
        // Rows are taken now and then, so that some messages have to be looked up.
        if self.rng.chance(Probability::percent(30)) {
            let group = &mut self.groups[group];
            for Row { key, value } in group.state.take_rows() {
                match value {
                    Some(value) => drop(group.rows.insert(key, value)),
                    None => drop(group.rows.remove(&key)),
                }
            }
        }
        if let Outcome::Done(effects) = &outcome {
            for effect in effects {
                for server in self.groups[group].servers.clone() {
                    self.with(server, |clusters, _, state, out| match effect {
                        Effect::Posted { conversation, message } => {
                            clusters.posted(*conversation, message, state, out);
                        }
                        Effect::Unregistered { user, .. } => clusters.unregistered(*user, out),
                        Effect::ReadThere { user, from, upto } => clusters.read(*user, from, *upto, out),
                        _ => {}
                    });
                }
            }
        }
        outcome
    }

    pub(super) fn online(&mut self, group: usize, server: usize, user: UserId) {
        let name = self.groups[group].state.user(user).expect("a user").name.to_string();
        let server = self.groups[group].servers[server];
        self.with(server, |clusters, now, state, out| clusters.online(now, user, &name, state, out));
    }

    pub(super) fn offline(&mut self, group: usize, server: usize, user: UserId) {
        let server = self.groups[group].servers[server];
        self.with(server, |clusters, now, state, out| clusters.offline(now, user, state, out));
    }

    /// Nobody reaches a server any more, or everybody does again. Its connections break.
    pub(super) fn cut(&mut self, group: usize, server: usize, dead: bool) {
        let server = self.groups[group].servers[server];
        self.servers[server].dead = dead;
        let conns: Vec<Conn> =
            self.ends.iter().filter(|(_, end)| end.server == server).map(|(c, _)| *c).collect();
        for conn in conns {
            self.break_off(conn);
        }
    }

    fn with<T>(
        &mut self,
        server: usize,
        act: impl FnOnce(&mut Clusters, Time, &State, &mut Outbox<NoMessage>) -> T,
    ) -> T {
        let mut out = Outbox::default();
        let group = self.servers[server].group;
        let done = act(&mut self.servers[server].clusters, self.now, &self.groups[group].state, &mut out);
        for output in out.drain() {
            self.carry_out(server, output);
        }
        let clusters = &mut self.servers[server].clusters;
        for (token, command) in clusters.take_proposals() {
            self.groups[group].proposed.push_back((server, Some(token), command));
        }
        let marks = clusters.take_marks();
        if !marks.is_empty() {
            self.groups[group].proposed.push_back((server, None, Command::Read { marks }));
        }
        done
    }

    fn carry_out(&mut self, server: usize, output: Output<NoMessage>) {
        match output {
            Output::Outside(Outward::Dial { token, to, .. }) => {
                self.servers[server].dials.push_back((token, to));
            }
            Output::Outside(Outward::Frames { conn, bytes }) => {
                let Some(end) = self.ends.get(&conn) else { return };
                let (frames, _) = LengthFrames::split(&bytes, usize::MAX).expect("frames");
                let sent = frames.map(|frame| (server, Route::decode(frame).expect("a Route")));
                self.sent.extend(sent);
                let other = end.other;
                if let Some(other) = self.ends.get_mut(&other) {
                    other.queue.push_back(Some(bytes));
                }
            }
            Output::Outside(Outward::HangUp { conn }) => {
                let Some(end) = self.ends.get_mut(&conn) else { return };
                end.queue = VecDeque::from([None]);
                let other = end.other;
                if let Some(other) = self.ends.get_mut(&other) {
                    other.queue.push_back(None);
                }
            }
            Output::Look(look) => self.servers[server].looks.push_back(look),
            other => panic!("{other:?}"),
        }
    }

    /// Both sides lose what is on its way.
    fn break_off(&mut self, conn: Conn) {
        let Some(other) = self.ends.get(&conn).map(|end| end.other) else { return };
        for conn in [conn, other] {
            if let Some(end) = self.ends.get_mut(&conn) {
                let kept = end.queue.len().min(self.rng.index(3));
                end.queue.truncate(kept);
                end.queue.push_back(None);
            }
        }
    }

    /// One thing happens somewhere; time goes on.
    pub(super) fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.between(0..=20));
        if self.rng.chance(self.trouble) {
            let conns: Vec<Conn> = self.ends.keys().copied().collect();
            if let Some(conn) = self.rng.pick(&conns).copied() {
                self.break_off(conn);
            }
        }
        for server in 0..self.servers.len() {
            if self.servers[server].clusters.deadline().is_some_and(|at| at <= self.now) {
                self.with(server, Clusters::timeout);
            }
            self.dial(server);
            self.look(server);
        }
        for group in 0..self.groups.len() {
            self.settle(group);
        }
        let conns: Vec<Conn> = self.ends.keys().copied().collect();
        for conn in conns {
            if self.rng.chance(Probability::percent(60)) {
                self.deliver(conn);
            }
        }
    }

    fn dial(&mut self, server: usize) {
        let Some((token, to)) = self.servers[server].dials.pop_front() else { return };
        let found = self.servers.iter().position(|other| other.at == to && !other.dead);
        let Some(other) = found.filter(|_| !self.servers[server].dead) else {
            self.tell(server, &Inward::Unreachable { token, why: "nobody is there" });
            return;
        };
        let (near, far) = (Conn(self.conns), Conn(self.conns + 1));
        self.conns += 2;
        let end = |server, other| End { server, other, queue: VecDeque::new(), adopted: false };
        self.ends.insert(near, end(server, far));
        self.ends.insert(far, end(other, near));
        let (here, there) = (self.servers[server].at, self.servers[other].at);
        self.tell(server, &Inward::Opened { conn: near, by: Opening::Dialled(token), peer: there });
        let by = Opening::Accepted(PortId(1));
        assert!(!self.tell(other, &Inward::Opened { conn: far, by, peer: here }), "it is a client's so far");
    }

    fn tell(&mut self, server: usize, inward: &Inward<'_>) -> bool {
        let servers = self.loads(server);
        self.with(server, |clusters, now, state, out| clusters.outside(now, inward, state, || servers, out))
    }

    fn loads(&self, server: usize) -> Vec<ServerLoad> {
        let group = &self.groups[self.servers[server].group];
        let load = |server: &usize| ServerLoad { client: self.servers[*server].at.to_string(), sessions: 0 };
        group.servers.iter().map(load).collect()
    }

    fn look(&mut self, server: usize) {
        let Some(look) = self.servers[server].looks.pop_front() else { return };
        let looked = self.groups[self.servers[server].group].answer(&look);
        self.with(server, |clusters, _, state, out| clusters.looked(&looked, state, out));
    }

    /// A cluster's log takes something, or does not.
    fn settle(&mut self, group: usize) {
        let Some((server, token, command)) = self.groups[group].proposed.pop_front() else { return };
        if self.rng.chance(self.trouble) {
            // It is refused; or nobody knows, and it comes to be later, or never.
            let settled = if self.rng.chance(Probability::percent(50)) {
                if self.rng.chance(Probability::percent(50)) {
                    self.groups[group].proposed.push_back((server, None, command));
                }
                Settled::Unknown
            } else {
                Settled::Busy
            };
            if let Some(token) = token {
                self.with(server, |clusters, now, _, out| clusters.settled(now, token, settled, out));
            }
            return;
        }
        let outcome = self.apply(group, command);
        if let Some(token) = token {
            self.with(server, |clusters, now, _, out| {
                clusters.settled(now, token, Settled::Applied(&outcome), out);
            });
        }
    }

    fn deliver(&mut self, conn: Conn) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        let (server, adopted) = (end.server, end.adopted);
        let Some(bytes) = end.queue.pop_front() else { return };
        let Some(bytes) = bytes else {
            self.ends.remove(&conn);
            self.tell(server, &Inward::Closed { conn, why: Why::Broken });
            return;
        };
        let (frames, _) = LengthFrames::split(&bytes, usize::MAX).expect("frames");
        if self.tell(server, &Inward::Frames { conn, frames: frames.clone() }) {
            return;
        }
        // What a server does with what comes on a connection that nobody has logged in on.
        assert!(!adopted);
        let route = Route::decode(frames.last().expect("one frame")).expect("a Route");
        let Some(Payload::NetworkDiscoveryPacket(packet)) = route.payload else { panic!("{route:?}") };
        let peer = SocketAddr::new(IpAddr::from([10, 9, 9, 9]), 1);
        let servers = self.loads(server).into_iter().map(|server| server.client).collect();
        let taken = self.with(server, |clusters, now, state, out| {
            let cluster = state.key().map(|key| key.identity().0.to_vec().into());
            let welcome = Welcome { servers, cluster, ..Welcome::default() };
            clusters.adopt(now, conn, peer, route.id, &packet, welcome, out)
        });
        assert!(taken);
        self.ends.get_mut(&conn).expect("there").adopted = true;
    }

    /// What a user has from other clusters: who wrote it there, what, and from which cluster.
    pub(super) fn fetched(&self, group: usize, user: UserId) -> Vec<(String, String, String)> {
        let group = &self.groups[group];
        let mut fetched = Vec::new();
        for conversation in group.state.conversations_of(user) {
            let found = group.state.conversation(conversation).expect("there");
            let Kind::Foreign { cluster, .. } = found.kind() else { continue };
            let message = |stored: Stored| {
                let text = String::from_utf8(stored.payload.to_vec()).expect("text");
                (cluster.to_string(), stored.sender_name.to_string(), text)
            };
            let mut wanted = Wanted::all(user, conversation);
            loop {
                let read = match group.state.read(0, &wanted) {
                    Reading::Messages(messages) => messages,
                    Reading::Look { look, wanted } => {
                        group.state.read_looked(&wanted, &group.answer(&look).rows)
                    }
                };
                fetched.extend(read.messages.into_iter().map(message));
                let Some(next) = read.next else { break };
                wanted.from = next;
            }
        }
        fetched
    }

    /// A user reads what has come from other clusters, up to a message at random of each conversation, or all of it.
    pub(super) fn read(&mut self, group: usize, user: UserId, all: bool) {
        let state = &self.groups[group].state;
        let unread = state.unread(user).map(|(conversation, first)| {
            let last = state.conversation(conversation).expect("there").last();
            (conversation, first, last)
        });
        let unread: Vec<_> = unread.collect();
        let mut upto = |(conversation, first, last): (_, Sequence, Sequence)| {
            let sequence = if all { last } else { Sequence(self.rng.between(first.0..=last.0)) };
            (user, Place { conversation, sequence })
        };
        let marks: Vec<_> = unread.into_iter().map(&mut upto).collect();
        self.apply(group, Command::Read { marks });
    }

    /// A user reads all conversations with other clusters up to this message.
    pub(super) fn read_upto(&mut self, group: usize, user: UserId, sequence: u64) {
        let unread = self.groups[group].state.unread(user);
        let place = |(conversation, _)| Place { conversation, sequence: Sequence(sequence) };
        let marks = unread.map(|unread| (user, place(unread))).collect();
        self.apply(group, Command::Read { marks });
    }

    /// How many messages were put into a cluster's log that had come from another one, those among them that were there already.
    pub(super) fn proposed(&self, group: usize) -> usize {
        self.groups[group].imported
    }

    pub(super) fn counter(&self, group: usize, server: usize, name: &str) -> u64 {
        let server = self.groups[group].servers[server];
        let counters = self.servers[server].clusters.counters();
        counters.into_iter().find(|(other, _)| *other == name).expect("a counter").1
    }
}
