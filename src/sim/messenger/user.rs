//! The users of the simulated chat. Each has a client, registers in every cluster, writes, reads, and goes from one cluster to another when it is told to.
//!
//! There are two kinds of clients. *Ours* is [`client::Client`](crate::agents::messenger::client::Client). One of the *class* of 2017 numbers nothing and acknowledges nothing: a message that
//! is not answered is given up, and what it was sent counts as read with its next request.

mod class;
mod ours;
mod requests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use self::class::Class;
use self::ours::Ours;
pub(super) use self::requests::is_group;
use super::book::{Book, Got, Life, Lives, Place, Room, Seen, Writer};
use crate::agent::{Agent, Commands, Input, NoMessage, Outbox, Peer};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::{Message, Position, Route, route};

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
    /// Where the servers are, of each cluster.
    pub(super) servers: Vec<Vec<SocketAddr>>,
    /// A group that it makes in each cluster, and the users that it takes into it.
    pub(super) makes: Option<(String, Vec<String>)>,
}

/// A user with its client.
#[derive(Debug)]
pub(super) enum User {
    Ours(Box<Ours>),
    Class(Box<Class>),
}

impl User {
    /// A client that begins one of the device's lives.
    pub(super) fn new(who: Identity, seed: u64, book: &Book, lives: &Lives) -> Self {
        let mut rng = Rng::new(seed);
        let kind = who.kind;
        let witness = Witness::new(who, &mut rng, book, lives);
        match kind {
            Kind::Ours => Self::Ours(Box::new(Ours::new(witness, rng))),
            Kind::Class => Self::Class(Box::new(Class::new(witness, rng))),
        }
    }

    /// `write <user or group> <bytes>`, `leave` for another server, `move <cluster>`, `part` from a group, look `back` at a conversation's past, `delete` the user and be another one of
    /// the same name, `settle` where it is, go `round` the clusters after a long while, `visit` twice to see what is sent.
    fn obey(&mut self, now: Time, mut commands: Commands<'_>, out: &mut Outbox<NoMessage>) {
        let Some(line) = commands.take() else { return };
        let line = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse().expect("a number");
        match (words.as_slice(), self) {
            (["write", to, bytes], Self::Ours(ours)) => ours.write(now, to, number(bytes), out),
            (["write", to, bytes], Self::Class(class)) => class.write(to, number(bytes), out),
            (["leave"], Self::Ours(ours)) => ours.leave(now, out),
            (["leave"], Self::Class(class)) => class.leave(now, out),
            (["move", cluster], Self::Ours(ours)) => ours.go(now, number(cluster), out),
            (["move", cluster], Self::Class(class)) => class.go(now, number(cluster), out),
            (["round"], Self::Ours(ours)) => ours.go_round(now),
            (["part", group], Self::Ours(ours)) => ours.part(now, group, out),
            (["back", name], Self::Ours(ours)) => ours.look_back(now, name, out),
            (["delete"], Self::Ours(ours)) => ours.delete(now, out),
            (["part" | "back", _] | ["delete" | "round"], Self::Class(_)) => {}
            (["settle"], Self::Ours(ours)) => ours.settle(now),
            (["settle"], Self::Class(class)) => class.witness.tour.clear(),
            (["visit"], Self::Class(class)) => class.visit(now, out),
            (other, _) => unreachable!("no command of this world: {other:?}"),
        }
    }
}

impl Agent for User {
    type Msg = NoMessage;

    fn handle(&mut self, now: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match (input, self) {
            (Input::Commands { commands }, user) => user.obey(now, commands, out),
            (Input::Start, Self::Ours(ours)) => ours.start(now, out),
            (Input::Start, Self::Class(class)) => class.start(out),
            (Input::Timeout, Self::Ours(ours)) => ours.timeout(now, out),
            (Input::Timeout, Self::Class(class)) => class.timeout(now, out),
            (Input::Outside(inward), Self::Ours(ours)) => ours.outside(now, &inward, out),
            (Input::Outside(inward), Self::Class(class)) => class.outside(now, inward, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Ours(ours) => ours.deadline(),
            Self::Class(class) => class.deadline(),
        }
    }

    fn about(&self) -> Option<String> {
        Some(match self {
            Self::Ours(ours) => ours.about(),
            Self::Class(class) => class.about(),
        })
    }
}

/// Who a client is, where it is, and how it says what it sees.
#[derive(Debug)]
struct Witness {
    who: Identity,
    life: Life,
    cluster: usize,
    /// Clusters in which it still has to register.
    tour: Vec<usize>,
    written: u64,
    book: Book,
    lives: Lives,
}

impl Witness {
    fn new(who: Identity, rng: &mut Rng, book: &Book, lives: &Lives) -> Self {
        let clusters = who.servers.len();
        let cluster = rng.index(clusters);
        let tour = (0..clusters).filter(|other| *other != cluster).collect();
        let (book, lives) = (Rc::clone(book), Rc::clone(lives));
        let life = begin_life(&lives, who.device);
        Self { who, life, cluster, tour, written: 0, book, lives }
    }

    fn see(&self, seen: Seen) {
        self.book.borrow_mut().push(seen);
    }

    /// It goes to another cluster, where it is another client.
    fn goes(&mut self, cluster: usize) {
        let from = self.life;
        self.life = begin_life(&self.lives, self.who.device);
        self.cluster = cluster;
        self.see(Seen::Moved { user: self.who.name.clone(), from, to: self.life });
    }

    fn logged_in(&mut self) {
        let cluster = self.cluster;
        self.tour.retain(|other| *other != cluster);
        self.see(Seen::LoggedIn { life: self.life, user: self.who.name.clone(), cluster });
    }

    /// The servers of its cluster, in another order each time.
    fn servers(&self, rng: &mut Rng) -> Vec<SocketAddr> {
        let mut servers = self.who.servers[self.cluster].clone();
        rng.shuffle(&mut servers);
        servers
    }

    fn place(&self, position: &Position) -> Place {
        let room = Room { cluster: self.cluster, conversation: position.conversation };
        (room, position.sequence)
    }

    /// It writes a message; what that is known by, and its payload.
    fn writes(&mut self, to: &str, bytes: usize) -> (String, String) {
        self.written += 1;
        let (number, life, user) = (self.written, self.life, self.who.name.clone());
        let text = format!("{user}/{}/{}/{number}", life.0, life.1);
        let is_ours = self.who.kind == Kind::Ours;
        let by = Writer { user, life, cluster: self.cluster, number, is_ours };
        self.see(Seen::Wrote { text: text.clone(), by, to: to.to_owned() });
        let payload = format!("{text} {}", "x".repeat(bytes));
        (text, payload)
    }

    fn acknowledged(&self, text: String, place: Option<Place>) {
        self.see(Seen::Acknowledged { text, cluster: self.cluster, place });
    }

    /// Something has come on a connection.
    fn comes(&self, connection: u64, route: &Route) {
        for read in &route.read_by {
            let (life, user, upto) = (self.life, read.user.clone(), self.place(&read.position));
            self.see(Seen::ToldRead { life, connection, user, upto });
        }
        // Answers to requests for the past are no pushes.
        if let (Some(route::Payload::MessagesResponse(response)), None) = (&route.payload, &route.history_end)
        {
            for message in &response.messages {
                self.got(connection, message);
            }
        }
    }

    fn got(&self, connection: u64, message: &Message) {
        let Some(position) = &message.position else { return };
        self.see(Seen::Got(Got {
            user: self.who.name.clone(),
            life: self.life,
            connection,
            sender: message.sender_id.clone(),
            from: message.cluster.clone(),
            text: text_of(message),
            place: self.place(position),
        }));
    }
}

fn begin_life(lives: &Lives, device: Peer) -> Life {
    let mut lives = lives.borrow_mut();
    let life = lives.entry(device).or_default();
    *life += 1;
    (device, *life)
}

/// What a message is known by.
fn text_of(message: &Message) -> String {
    message.payload.split(' ').next().unwrap_or_default().to_owned()
}

/// When a client does what by itself.
#[derive(Debug)]
struct Alarms<K> {
    at: BTreeMap<K, Time>,
}

impl<K: Copy + Ord> Alarms<K> {
    fn new() -> Self {
        Self { at: BTreeMap::new() }
    }

    /// Between so many milliseconds from now; not earlier if it was to be earlier.
    fn ring_in(&mut self, now: Time, rng: &mut Rng, alarm: K, (from_ms, to_ms): (u64, u64)) {
        self.at.insert(alarm, now + Duration::from_millis(rng.between(from_ms..=to_ms)));
    }

    fn is_set(&self, alarm: K) -> bool {
        self.at.contains_key(&alarm)
    }

    fn next(&self) -> Option<Time> {
        self.at.values().min().copied()
    }

    /// One that is due, which is set no more.
    fn take_due(&mut self, now: Time) -> Option<K> {
        let due = self.at.iter().find(|(_, at)| **at <= now).map(|(alarm, _)| *alarm)?;
        self.at.remove(&due);
        Some(due)
    }
}

/// The longest frame that a client takes, in bytes.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
