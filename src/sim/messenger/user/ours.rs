//! A user with the project's own client, which this drives: it carries out what the client asks for, and watches what is said on its connections beside what it is told.

mod asking;
mod making;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use self::asking::Asking;
use self::making::Making;
use super::super::book::Seen;
use super::{Alarms, FRAME_BYTES_MAX, Witness, requests, text_of};
use crate::agent::{Conn, Inward, NoMessage, Opening, Outbox, Outward};
use crate::agents::messenger::ConversationId;
use crate::agents::messenger::client::{Client, ClientEvent, ClientOptions, ClientOutput, Recipient, Spot};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::{ErrorCode, Message, Route, message, route};

/// The user.
#[derive(Debug)]
pub(in super::super) struct Ours {
    pub(super) witness: Witness,
    rng: Rng,
    client: Client,
    /// The dials of connections, and the other way round.
    dials: BTreeMap<Conn, u64>,
    conns: BTreeMap<u64, Conn>,
    /// What is written, by the client's tickets.
    texts: BTreeMap<u64, String>,
    /// Whether the client acknowledges by itself what it has shown; else this does, later.
    acknowledges: bool,
    shown: BTreeMap<(Bytes, ConversationId), Spot>,
    making: Option<Making>,
    asked: BTreeMap<u64, Asking>,
    alarms: Alarms<Alarm>,
    /// Whether it is about to be another client, and so is not told of what was under way.
    goes: bool,
    /// Whether its user is perhaps none any more, some time: then it may not be let in, or not be known.
    deletes: bool,
}

/// What it does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Connect,
    Acknowledge,
    Make,
    Tour,
    Who,
    Reborn,
    Away,
    Back,
}

impl Ours {
    pub(super) fn new(witness: Witness, mut rng: Rng) -> Self {
        let who = &witness.who;
        let password = requests::password(&who.name);
        let options = ClientOptions {
            register: true,
            echo: rng.index(2) == 0,
            acknowledges: rng.index(2) == 0,
            window: [1, 4, 1024][rng.index(3)],
            ..ClientOptions::new(who.name.clone(), password, witness.servers(&mut rng))
        };
        let making = who.makes.as_ref().map(|(group, members)| Making::new(group, members, &witness.book));
        let acknowledges = options.acknowledges;
        let is_own = |seen: &Seen| matches!(seen, Seen::Deletes { user, .. } if *user == who.name);
        let deletes = witness.book.borrow().iter().any(is_own);
        Self {
            client: Client::new(options, rng.fork()),
            witness,
            rng,
            dials: BTreeMap::new(),
            conns: BTreeMap::new(),
            texts: BTreeMap::new(),
            acknowledges,
            shown: BTreeMap::new(),
            making,
            asked: BTreeMap::new(),
            alarms: Alarms::new(),
            goes: false,
            deletes,
        }
    }

    pub(super) fn start(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        self.client.connect(now, &[]);
        self.carry_out(now, out);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        [self.alarms.next(), self.client.deadline()].into_iter().flatten().min()
    }

    pub(super) fn about(&self) -> String {
        let on = if self.client.is_on() { "online" } else { "not online" };
        format!(
            "{} {on} in cluster {}, {} messages not answered",
            self.witness.who.name,
            self.witness.cluster,
            self.client.waiting()
        )
    }

    fn ring_in(&mut self, now: Time, alarm: Alarm, range_ms: (u64, u64)) {
        self.alarms.ring_in(now, &mut self.rng, alarm, range_ms);
    }
}

/// What its user wants.
impl Ours {
    pub(super) fn write(&mut self, now: Time, to: &str, bytes: usize, out: &mut Outbox<NoMessage>) {
        let (text, payload) = self.witness.writes(to, bytes);
        let name = to.to_owned();
        let to = if requests::is_group(to) { Recipient::Group(name) } else { Recipient::User(name) };
        let ticket = self.client.send(now, to, payload);
        self.texts.insert(ticket, text);
        self.carry_out(now, out);
    }

    /// Loses its connection, and goes on with another server; or ends it properly, and comes back.
    pub(super) fn leave(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        if self.rng.index(2) == 0 {
            self.client.disconnect(now);
            self.ring_in(now, Alarm::Connect, (0, 100));
        } else if let Some((dial, conn)) = self.conns.pop_first() {
            self.dials.remove(&conn);
            out.outside(Outward::HangUp { conn });
            self.client.closed(now, dial);
        }
        self.carry_out(now, out);
    }

    /// Goes to the other cluster and comes back, after so long that everything has come here before that can come: what was fetched there before it came here waits there.
    pub(super) fn go_round(&mut self, now: Time) {
        self.ring_in(now, Alarm::Away, (AWAY_MS, AWAY_MS));
        self.ring_in(now, Alarm::Back, (BACK_MS, BACK_MS));
    }

    /// Goes to another cluster, with or without saying what was read last.
    pub(super) fn go(&mut self, now: Time, cluster: usize, out: &mut Outbox<NoMessage>) {
        if cluster != self.witness.cluster {
            if self.rng.index(2) == 0 {
                self.client.disconnect(now);
            }
            self.begin_in(now, cluster, out);
        }
    }

    /// Begins as another client.
    fn begin_in(&mut self, now: Time, cluster: usize, out: &mut Outbox<NoMessage>) {
        self.goes = true;
        self.client.start_anew(now);
        self.carry_out(now, out);
        self.goes = false;
        self.witness.goes(cluster);
        let servers = self.witness.servers(&mut self.rng);
        self.client.connect(now, &servers);
        self.carry_out(now, out);
    }

    /// What it does by itself.
    pub(super) fn timeout(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        self.client.timeout(now);
        self.carry_out(now, out);
        while let Some(alarm) = self.alarms.take_due(now) {
            match alarm {
                Alarm::Connect if self.conns.is_empty() => self.client.connect(now, &[]),
                Alarm::Connect => {}
                Alarm::Acknowledge => {
                    for spot in std::mem::take(&mut self.shown).into_values() {
                        self.client.acknowledge(now, &spot);
                    }
                }
                Alarm::Make => self.make(now),
                Alarm::Who => self.ask_who(now),
                Alarm::Away | Alarm::Back => self.go(now, 1 - self.witness.cluster, out),
                Alarm::Reborn => {
                    let cluster = self.witness.cluster;
                    self.begin_in(now, cluster, out);
                }
                Alarm::Tour => {
                    if let Some(cluster) = self.witness.tour.first().copied() {
                        self.go(now, cluster, out);
                    }
                }
            }
            self.carry_out(now, out);
        }
    }
}

/// Between the client and the world.
impl Ours {
    pub(super) fn outside(&mut self, now: Time, inward: &Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Opened { conn, by: Opening::Dialled(dial), .. } => {
                if self.client.opened(now, *dial) {
                    self.dials.insert(*conn, *dial);
                    self.conns.insert(*dial, *conn);
                } else {
                    out.outside(Outward::HangUp { conn: *conn });
                }
            }
            Inward::Unreachable { token, .. } => self.client.unreachable(now, *token),
            Inward::Frames { conn, frames } => {
                if let Some(dial) = self.dials.get(conn) {
                    for frame in frames.clone() {
                        let route = Route::decode(frame).expect("servers send what can be read");
                        self.witness.comes(conn.0, &route);
                    }
                    self.client.frames(now, *dial, frames.clone());
                }
            }
            Inward::Closed { conn, .. } => {
                if let Some(dial) = self.dials.remove(conn) {
                    self.conns.remove(&dial);
                    self.client.closed(now, dial);
                }
            }
            _ => {}
        }
        self.carry_out(now, out);
    }

    fn carry_out(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        loop {
            let outputs: Vec<ClientOutput> = self.client.take_outputs().collect();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    ClientOutput::Dial { dial: token, to } => {
                        let (frame_bytes_max, tls) = (FRAME_BYTES_MAX, false);
                        out.outside(Outward::Dial { token, to, frame_bytes_max, tls });
                    }
                    ClientOutput::Frames { dial, bytes } => {
                        self.says(&bytes);
                        if let Some(conn) = self.conns.get(&dial) {
                            out.outside(Outward::Frames { conn: *conn, bytes });
                        }
                    }
                    ClientOutput::HangUp { dial } => {
                        if let Some(conn) = self.conns.remove(&dial) {
                            self.dials.remove(&conn);
                            out.outside(Outward::HangUp { conn });
                        }
                    }
                    ClientOutput::Event(event) => self.event(now, event),
                }
            }
        }
    }

    /// Watches that the client asks to be let in, and what it tells a server of what was read.
    fn says(&self, bytes: &[u8]) {
        let (frames, _) = LengthFrames::split(bytes, FRAME_BYTES_MAX).expect("frames of usual lengths");
        for frame in frames {
            let route = Route::decode(frame).expect("the client says what can be read");
            if matches!(route.payload, Some(route::Payload::User(_))) {
                let (user, cluster) = (self.witness.who.name.clone(), self.witness.cluster);
                self.witness.see(Seen::LogsIn { user, cluster });
            }
            for position in &route.acknowledged {
                let (user, upto) = (self.witness.who.name.clone(), self.witness.place(position));
                self.witness.see(Seen::Acknowledges { user, upto });
            }
        }
    }

    fn event(&mut self, now: Time, event: ClientEvent) {
        match event {
            ClientEvent::LoggedIn { .. } => {
                self.witness.logged_in();
                self.ring_in(now, Alarm::Make, (0, 100));
                self.ring_in(now, Alarm::Tour, (0, 300));
            }
            ClientEvent::LogInFailed { .. } if self.deletes => {
                self.ring_in(now, Alarm::Reborn, (100, 500));
            }
            ClientEvent::LogInFailed { why } => {
                let user = self.witness.who.name.clone();
                self.witness.see(Seen::TurnedAway { user, why });
                self.ring_in(now, Alarm::Connect, (100, 500));
            }
            ClientEvent::Accepted { ticket, place } => {
                let text = self.texts.remove(&ticket).expect("it is told of once");
                let place = place.map(|place| self.witness.place(&place.into()));
                self.witness.acknowledged(text, place);
            }
            ClientEvent::Refused { ticket, code, .. } => {
                let text = self.texts.remove(&ticket).expect("it is told of once");
                if code == ErrorCode::ClientForgotten && !self.goes && !self.deletes {
                    self.witness.see(Seen::Forgotten { life: self.witness.life });
                }
                self.witness.see(Seen::GaveUp { text });
            }
            ClientEvent::Message { spot, message } => {
                let (life, user) = (self.witness.life, self.witness.who.name.clone());
                let (text, at) = (text_of(&message), self.witness.place(&spot.place.into()));
                let of = conversation_of(&user, &message);
                self.witness.see(Seen::Shown { life, user, of, text, place: at });
                if !self.acknowledges {
                    self.shown.insert((spot.cluster.clone(), spot.place.conversation), spot);
                    if !self.alarms.is_set(Alarm::Acknowledge) {
                        let longest = [0, 20, 300][self.rng.index(3)];
                        self.ring_in(now, Alarm::Acknowledge, (0, longest));
                    }
                }
            }
            ClientEvent::Answer { request, answer } => {
                if let Some(asking) = self.asked.remove(&request) {
                    self.answered(now, asking, answer);
                }
            }
            ClientEvent::Presence { user, online } => self.presence(user, online),
            ClientEvent::Disconnected => self.witness.see(Seen::LoggedOut { life: self.witness.life }),
            ClientEvent::ReadBy { .. } => {}
        }
    }
}

/// How a user calls the conversation of a message: by the other user or the group, and the cluster, if that is another one.
fn conversation_of(user: &str, message: &Message) -> String {
    let other = if message.r#type() == message::Type::Group || message.sender_id == user {
        &message.receiver_id
    } else {
        &message.sender_id
    };
    let at = message.cluster.as_ref().map_or(String::new(), |tag| format!("@{tag}"));
    format!("{other}{at}")
}

/// When somebody who goes round the clusters goes: later than clusters that have lost each other wait until they try again.
const AWAY_MS: u64 = 30_000;
const BACK_MS: u64 = 55_000;
