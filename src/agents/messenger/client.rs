//! A client of the chat: what a program needs that writes and reads as one user, whatever servers it goes through.
//!
//! **Problem.** A user writes messages, each of which is to be accepted once, in order; and reads those of others, each once, in order; while servers die, connections break, and
//! answers are lost.
//!
//! **State.** The messages that were not answered, numbered without gaps for this *client instance*; how far it has got in each conversation of each cluster; the servers it knows, and its
//! connection to one of them.
//!
//! **What it does.** It logs in by password, later by the token that it was given. Up to a window of messages is under way. After a new connection, and where the server
//! says so, it sends again from the first that was not answered: the servers know each number, so nothing is accepted twice. What comes in and was had before is dropped, also if that was in another
//! cluster.
//! A server that is silent is asked for a sign of life, and then left for the next: at once, then, when all were tried, more and more seldom.
//!
//! **How to drive it.** Pure: it is told what has happened (`opened`, `frames`, `closed`, `unreachable`, `timeout`, orders of its user), and then asked for what follows
//! ([`Client::take_outputs`]), each time. Connections are called by the number of their dial. At most one is wanted at a time; what is told of others is dropped.
//!
//! **Invariants.**
//! - Every message that was ordered is told of once: accepted, or refused; but for those under way when it ends.
//! - Messages of a conversation are told of in their order, and each message once, in whatever clusters it comes.
//! - What is acknowledged to a server was told of before.

mod link;
mod places;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use self::link::Link;
use self::places::Places;
pub use self::places::Spot;
use self::sending::Sending;
use super::settings::PAYLOAD_BYTES_MOST;
use super::{ClientInstance, Place, Sequence};
use crate::agent::Secret;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Message, Route, conversations, put_frame};

/// What a client is to do.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Its user.
    pub name: String,
    /// That one's password.
    pub password: Secret,
    /// Whether the user is to be registered if the name is free.
    pub register: bool,
    /// Servers to begin with.
    pub servers: Vec<SocketAddr>,
    /// Whether messages that the same user sent elsewhere are wanted as well.
    pub echo: bool,
    /// Whether everything that was told of counts as read. Else its user says so ([`Client::acknowledge`]).
    pub acknowledges: bool,
    /// The most messages that are under way; servers have a limit of their own.
    pub window: usize,
    /// How long a server may be silent until it is asked for a sign of life, and then until it is given up.
    pub silence: Duration,
    /// How long a connection may take to come about.
    pub dial: Duration,
    /// How long a log-in by password may take; by token a third of it.
    pub log_in: Duration,
}

impl ClientOptions {
    /// The usual ones: a server that dies is left within 1.2 s.
    pub fn new(name: impl Into<String>, password: impl Into<Bytes>, servers: Vec<SocketAddr>) -> Self {
        Self {
            name: name.into(),
            password: Secret(password.into()),
            register: false,
            servers,
            echo: false,
            acknowledges: true,
            window: 1024,
            silence: Duration::from_millis(600),
            dial: Duration::from_millis(500),
            log_in: Duration::from_secs(5),
        }
    }
}

/// Something that the client asks of its host.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientOutput {
    /// Connect to a server; `dial` is what the connection is called.
    Dial {
        /// Its name.
        dial: u64,
        /// Whom.
        to: SocketAddr,
    },
    /// Send frames, lengths included.
    Frames {
        /// On which connection.
        dial: u64,
        /// They.
        bytes: Bytes,
    },
    /// Close a connection. Nothing more is wanted of it.
    HangUp {
        /// Which.
        dial: u64,
    },
    /// Something that its user may want to know.
    Event(ClientEvent),
}

/// Something that a client's user may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// It is logged in.
    LoggedIn {
        /// With which server.
        server: SocketAddr,
    },
    /// It has no connection any more, and looks for another one.
    Disconnected,
    /// The servers do not take its name or its password. It does not try again by itself.
    LogInFailed {
        /// What they said.
        why: String,
    },
    /// A message of it is accepted.
    Accepted {
        /// Which, as [`Client::send`] called it.
        ticket: u64,
        /// Where it stands; not known if the answer that said so was lost.
        place: Option<Place>,
    },
    /// A message of it is not accepted, and is not tried again.
    Refused {
        /// Which.
        ticket: u64,
        /// Why. With [`ErrorCode::ClientForgotten`] it is not known whether it was accepted.
        code: ErrorCode,
        /// The same for people.
        why: String,
    },
    /// A message for its user.
    Message {
        /// Where it stands.
        spot: Spot,
        /// It.
        message: Box<Message>,
    },
    /// Another user has read this far.
    ReadBy {
        /// Who.
        user: String,
        /// How far.
        upto: Place,
    },
    /// Somebody has come or gone.
    Presence {
        /// Who.
        user: String,
        /// Whether they are there now.
        online: bool,
    },
    /// The answer to something that was asked.
    Answer {
        /// What, as it was called when it was asked.
        request: u64,
        /// The answer.
        answer: Answer,
    },
}

/// The answer to something that a client has asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not done; or, with [`ErrorCode::Unknown`], it is not known whether it is.
    Failed {
        /// Why.
        code: ErrorCode,
        /// The same for people.
        why: String,
    },
    /// Messages of the past.
    History {
        /// They, ascending. They do not count as told of.
        messages: Vec<Message>,
        /// If there are older ones in the range: those before this place.
        before: Option<Sequence>,
    },
    /// Who is there.
    Presence(Vec<(String, bool)>),
    /// What the user belongs to.
    Conversations(Vec<conversations::Entry>),
}

/// To whom a message is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A user, by name.
    User(String),
    /// A group, by name.
    Group(String),
}

/// The client.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    rng: Rng,
    now: Time,
    link: Link,
    /// Dials so far.
    dials: u64,
    servers: Vec<SocketAddr>,
    /// Which of them comes next.
    next_server: usize,
    /// How many were tried in this round, and how many rounds there were since the last log-in.
    tries: usize,
    rounds: u32,
    /// What Welcome gave.
    token: Option<Bytes>,
    /// Whether the user has to be registered yet.
    registers: bool,
    instance: ClientInstance,
    sending: Sending,
    /// How far it has got, and how far its user has read.
    places: Places,
    /// When the server is told of what was read.
    acknowledge_at: Option<Time>,
    /// Requests that are under way; but for messages.
    asked: BTreeMap<i64, u64>,
    requests: u64,
    /// Frames that leave with the end of this input.
    frames: Vec<u8>,
    outputs: VecDeque<ClientOutput>,
}

impl Client {
    /// A client that has not begun ([`Client::connect`]). `rng` has to be another one each time: it tells this client instance from earlier ones.
    pub fn new(options: ClientOptions, mut rng: Rng) -> Self {
        let instance = new_instance(&mut rng);
        let (servers, registers) = (options.servers.clone(), options.register);
        let sending = Sending::new(options.window);
        Self {
            options,
            rng,
            now: Time::ZERO,
            link: Link::Off,
            dials: 0,
            servers,
            next_server: 0,
            tries: 0,
            rounds: 0,
            token: None,
            registers,
            instance,
            sending,
            places: Places::default(),
            acknowledge_at: None,
            asked: BTreeMap::new(),
            requests: 0,
            frames: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Writes a message; what it is called in what is told of it. It leaves when its turn comes.
    pub fn send(&mut self, now: Time, to: Recipient, payload: impl Into<String>) -> u64 {
        self.now = now;
        let payload = payload.into();
        if payload.len() > PAYLOAD_BYTES_MOST {
            // Nobody would take it, and a server that closes the connection over it would be asked again and again.
            let (ticket, code) = (self.sending.ticket(), ErrorCode::TooLong);
            let why = format!("a message has at most {PAYLOAD_BYTES_MOST} bytes");
            self.tell(ClientEvent::Refused { ticket, code, why });
            return ticket;
        }
        let ticket = self.sending.add(to, payload);
        self.pump();
        self.end();
        ticket
    }

    /// Everything up to here has been read. If the client has gone to another cluster since, the one that it was in is told when it is there again.
    pub fn acknowledge(&mut self, now: Time, spot: &Spot) {
        self.now = now;
        self.has_read(spot);
        self.end();
    }

    /// Asks for something: a `Route` with whatever payload, whose id is filled in. What it is called in the answer. If there is no connection, or it breaks, that is the answer.
    pub fn ask(&mut self, now: Time, mut route: Route) -> u64 {
        self.now = now;
        self.requests += 1;
        let request = self.requests;
        if matches!(self.link, Link::On { .. }) {
            // Positive ones are the numbers of messages.
            route.id = -i64::try_from(request).unwrap_or(i64::MAX);
            self.asked.insert(route.id, request);
            self.put(&route);
        } else {
            self.unanswered(request, "there is no connection");
        }
        self.end();
        request
    }

    /// Messages that were not answered yet.
    pub fn waiting(&self) -> usize {
        self.sending.len()
    }

    /// Whether it is logged in.
    pub fn is_on(&self) -> bool {
        matches!(self.link, Link::On { .. })
    }

    /// What follows from what it was told since this was called last, in order.
    pub fn take_outputs(&mut self) -> impl Iterator<Item = ClientOutput> {
        self.outputs.drain(..)
    }

    /// When it wants to be told the time by [`Client::timeout`].
    pub fn deadline(&self) -> Option<Time> {
        let again_at = if self.is_on() { self.sending.again_at() } else { None };
        let acknowledge_at = if self.is_on() { self.acknowledge_at } else { None };
        [self.link.deadline(&self.options), again_at, acknowledge_at].into_iter().flatten().min()
    }

    /// The time has come; or not quite, or a second time.
    pub fn timeout(&mut self, now: Time) {
        self.now = now;
        self.link_timeout();
        if self.is_on() {
            self.pump();
            if self.acknowledge_at.is_some_and(|at| at <= now) {
                self.acknowledge_all();
            }
        }
        self.end();
    }

    fn tell(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    fn unanswered(&mut self, request: u64, why: &str) {
        let answer = Answer::Failed { code: ErrorCode::Unknown, why: why.to_owned() };
        self.tell(ClientEvent::Answer { request, answer });
    }

    /// Adds a frame to those that leave.
    fn put(&mut self, route: &Route) {
        put_frame(route, &mut self.frames);
    }

    /// Sends messages whose turn has come.
    fn pump(&mut self) {
        if self.is_on() {
            self.sending.pump(self.now, &self.options.name, &mut self.frames);
        }
    }

    /// The end of an input: what is to be sent leaves.
    fn end(&mut self) {
        if let (Some(dial), false) = (self.link.dial(), self.frames.is_empty()) {
            let bytes = Bytes::from(std::mem::take(&mut self.frames));
            self.outputs.push_back(ClientOutput::Frames { dial, bytes });
        }
        self.frames.clear();
    }
}

fn new_instance(rng: &mut Rng) -> ClientInstance {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&rng.number().to_be_bytes());
    bytes[8..].copy_from_slice(&rng.number().to_be_bytes());
    ClientInstance(bytes)
}
