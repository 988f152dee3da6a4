//! Messengers that break their promises, each in one way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;

use crate::agent::{Agent, Conn, Index, Input, Inward, Opening, Outbox, Output, Outward, Row};
use crate::agents::messenger::{Command, Messenger, MessengerMessage, Record, UserId};
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::{Message, MessagesResponse, Position, Route, route};

/// What a messenger does not do that it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailsTo {
    /// It takes what it has proposed for agreed on at once, and so acknowledges and pushes it.
    Wait,
    /// It takes messages that it has sent for read.
    HearOfReading,
    /// It forgets that anything was read.
    CountWhatWasRead,
    /// It shows messages to others, too.
    TellUsersApart,
    /// It takes what is sent again for new.
    KnowAgain,
    /// The same, and it takes messages of one read in any order.
    KeepTheOrder,
    /// It keeps no numbers of clients in its rows.
    KeepNumbers,
    /// It keeps no messages in its rows.
    KeepMessages,
    /// It sends some pushes behind later ones.
    PushInOrder,
    /// It tells of marks that others have told of a higher one.
    KeepMarksUp,
    /// It loses some messages, each time that they are sent.
    Answer,
    /// It connects to no other cluster.
    Fetch,
    /// It acknowledges what comes from another cluster before that is agreed on here.
    ImportFirst,
    /// It says of what it has fetched that its user has read it.
    WaitForReaders,
    /// It does not tell where messages stand in the cluster that they were written in.
    TellWhence,
    /// It takes what it fetches again for new.
    KnowWhatItFetched,
    /// It mixes up what it fetches.
    FetchInOrder,
    /// It takes what is for one user for another's.
    FetchForTheRightUser,
    /// It leaves the last message of each page of the past away.
    TellAll,
    /// It does not hear who comes to other servers.
    HearWhoIsThere,
    /// It shows who has left a group what is written there.
    LetGo,
    /// It keeps users who want to be none any more.
    LetUsersGo,
    /// It says nothing to its clients for as long as it does not reach another cluster.
    GoOnAlone,
}

/// A messenger that fails in something.
pub(super) struct Broken {
    messenger: Messenger,
    fails: FailsTo,
    conns: BTreeSet<Conn>,
    /// Connections to other clusters, each with its number.
    dialled: BTreeMap<Conn, u64>,
    dials: u64,
    early: BTreeSet<Vec<u8>>,
    held: BTreeMap<Conn, Bytes>,
    frames: u64,
}

impl Broken {
    pub(super) fn new(messenger: Messenger, fails: FailsTo) -> Self {
        let (conns, early, held) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let dialled = BTreeMap::new();
        Self { messenger, fails, conns, dialled, dials: 0, early, held, frames: 0 }
    }

    /// Hands the messenger what a client has sent, or what passes for that.
    fn hand_frames(&mut self, now: Time, conn: Conn, routes: &[Route], out: &mut Outbox<MessengerMessage>) {
        let bytes = encoded(routes);
        let (frames, _) = LengthFrames::split(&bytes, usize::MAX).expect("short");
        let mut outbox = Outbox::default();
        self.messenger.handle(now, Input::Outside(Inward::Frames { conn, frames }), &mut outbox);
        self.pass_on(now, outbox, out);
    }

    fn pass_on(
        &mut self,
        now: Time,
        mut outbox: Outbox<MessengerMessage>,
        out: &mut Outbox<MessengerMessage>,
    ) {
        for output in outbox.drain() {
            match output {
                Output::Propose { record } => self.propose(now, record, out),
                Output::Outside(Outward::Frames { conn, bytes }) if !self.dialled.contains_key(&conn) => {
                    self.send(now, conn, bytes, out);
                }
                Output::Outside(Outward::Frames { conn, bytes }) if self.fails == FailsTo::WaitForReaders => {
                    let mut routes = decoded(&bytes);
                    for route in &mut routes {
                        route.acknowledged.extend(route.arrived.clone());
                    }
                    out.outside(Outward::Frames { conn, bytes: encoded(&routes).into() });
                }
                Output::Outside(Outward::Dial { .. }) if self.fails == FailsTo::Fetch => {}
                other => out.push(other),
            }
        }
    }

    fn propose(&mut self, now: Time, record: Vec<u8>, out: &mut Outbox<MessengerMessage>) {
        let command = Record::decode(&record).map(|record| record.command);
        match (self.fails, command) {
            (FailsTo::CountWhatWasRead, Ok(Command::Read { .. }))
            | (FailsTo::Answer, Ok(Command::Post { client: Some((_, 4)), .. })) => {}
            (FailsTo::Wait, Ok(Command::Post { .. })) => {
                self.early.insert(record.clone());
                let mut outbox = Outbox::default();
                let input = Input::Committed { index: Index(0), record: &record };
                self.messenger.handle(now, input, &mut outbox);
                out.propose(record);
                self.pass_on(now, outbox, out);
            }
            (FailsTo::LetGo, Ok(Command::RemoveMember { .. }))
            | (FailsTo::LetUsersGo, Ok(Command::Unregister { .. })) => {
                // As if it were done, for whoever has asked.
                let record = Record::decode(&record).expect("it was read");
                out.propose(Record { command: Command::Read { marks: Vec::new() }, ..record }.encode());
            }
            (FailsTo::FetchForTheRightUser, Ok(Command::Import { from, messages, .. })) => {
                let command = Command::Import { from, user: UserId(1), messages };
                let record = Record::decode(&record).expect("it was read");
                out.propose(Record { command, ..record }.encode());
            }
            _ => out.propose(record),
        }
    }

    fn send(&mut self, now: Time, conn: Conn, bytes: Bytes, out: &mut Outbox<MessengerMessage>) {
        let routes = decoded(&bytes);
        let places: Vec<Position> = routes.iter().flat_map(places).collect();
        self.frames += 1;
        let send = |out: &mut Outbox<MessengerMessage>, conn, bytes| {
            out.outside(Outward::Frames { conn, bytes });
        };
        match self.fails {
            FailsTo::TellAll if routes.iter().any(|route| route.history_end.is_some()) => {
                let mut routes = routes;
                routes.iter_mut().for_each(leave_away);
                send(out, conn, encoded(&routes).into());
            }
            FailsTo::TellWhence => {
                let mut routes = routes;
                routes.iter_mut().flat_map(messages_mut).for_each(|message| message.origin = None);
                send(out, conn, encoded(&routes).into());
            }
            FailsTo::GoOnAlone if self.dialled.is_empty() => {}
            FailsTo::HearOfReading if !places.is_empty() => {
                send(out, conn, bytes);
                let read = Route { path: 7, acknowledged: places, ..Route::default() };
                self.hand_frames(now, conn, &[read], out);
            }
            FailsTo::TellUsersApart if !places.is_empty() => {
                self.conns.iter().for_each(|&conn| send(out, conn, bytes.clone()));
            }
            FailsTo::PushInOrder if !places.is_empty() => match self.held.remove(&conn) {
                Some(held) => {
                    send(out, conn, bytes);
                    send(out, conn, held);
                }
                None if self.frames.is_multiple_of(2) => drop(self.held.insert(conn, bytes)),
                None => send(out, conn, bytes),
            },
            FailsTo::KeepMarksUp if routes.iter().any(|route| !route.read_by.is_empty()) => {
                let back: Vec<Route> = routes.iter().map(one_back).collect();
                send(out, conn, bytes);
                send(out, conn, encoded(&back).into());
            }
            _ => send(out, conn, bytes),
        }
    }

    /// What comes from another cluster as this messenger takes it.
    fn fetched(&self, conn: Conn, mut routes: Vec<Route>, out: &mut Outbox<MessengerMessage>) -> Vec<Route> {
        for route in &mut routes {
            let acknowledged = places(route);
            let Some(route::Payload::MessagesResponse(fetched)) = &mut route.payload else { continue };
            match self.fails {
                FailsTo::ImportFirst => {
                    let response = MessagesResponse { messages: Vec::new(), ..fetched.clone() };
                    let payload = Some(route::Payload::MessagesResponse(response));
                    let early = Route { id: route.id, path: 6, payload, acknowledged, ..Route::default() };
                    out.outside(Outward::Frames { conn, bytes: encoded(&[early]).into() });
                }
                FailsTo::KnowWhatItFetched => {
                    let positions = fetched.messages.iter_mut().filter_map(|one| one.position.as_mut());
                    positions.for_each(|position| position.conversation += 1_000 * self.dialled[&conn]);
                }
                FailsTo::FetchInOrder => mix(&mut fetched.messages),
                _ => {}
            }
        }
        routes
    }

    /// What a client has sent as this messenger takes it.
    fn taken(&self, mut routes: Vec<Route>) -> Vec<Route> {
        if matches!(self.fails, FailsTo::KnowAgain | FailsTo::KeepTheOrder) {
            for route in &mut routes {
                if let Some(route::Payload::Message(message)) = &mut route.payload {
                    message.number = None;
                }
            }
        }
        if self.fails == FailsTo::KeepTheOrder {
            routes.reverse();
        }
        routes
    }
}

impl Agent for Broken {
    type Msg = MessengerMessage;

    fn handle(&mut self, now: Time, input: Input<'_, MessengerMessage>, out: &mut Outbox<MessengerMessage>) {
        match &input {
            Input::Committed { record, .. } if self.early.remove(*record) => return,
            Input::Message { message: MessengerMessage::Changed { .. }, .. }
                if self.fails == FailsTo::HearWhoIsThere =>
            {
                return;
            }
            Input::Outside(Inward::Opened { conn, by: Opening::Dialled(_), .. }) => {
                self.dials += 1;
                self.dialled.insert(*conn, self.dials);
            }
            Input::Outside(Inward::Opened { conn, .. }) => drop(self.conns.insert(*conn)),
            Input::Outside(Inward::Closed { conn, .. }) => {
                self.conns.remove(conn);
                self.dialled.remove(conn);
                self.held.remove(conn);
            }
            Input::Outside(Inward::Frames { conn, frames }) => {
                let routes = frames.clone().filter_map(|frame| Route::decode(frame).ok()).collect();
                if self.dialled.contains_key(conn) {
                    let routes = self.fetched(*conn, routes, out);
                    return self.hand_frames(now, *conn, &routes, out);
                }
                return self.hand_frames(now, *conn, &self.taken(routes), out);
            }
            _ => {}
        }
        let mut outbox = Outbox::default();
        self.messenger.handle(now, input, &mut outbox);
        self.pass_on(now, outbox, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.messenger.deadline()
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        let lost = match self.fails {
            FailsTo::KeepNumbers => b'i',
            FailsTo::KeepMessages => b'm',
            _ => 0,
        };
        let mut rows = self.messenger.take_rows();
        rows.retain(|row| row.key.first() != Some(&lost));
        rows
    }
}

fn encoded(routes: &[Route]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for route in routes {
        bytes.extend(u32::try_from(route.encoded_len()).expect("short").to_be_bytes());
        route.encode(&mut bytes).expect("a vector grows");
    }
    bytes
}

fn decoded(bytes: &[u8]) -> Vec<Route> {
    let (frames, _) = LengthFrames::split(bytes, usize::MAX).expect("short");
    frames.map(|frame| Route::decode(frame).expect("a Route")).collect()
}

/// The messages of a push.
fn messages_mut(route: &mut Route) -> &mut [Message] {
    match &mut route.payload {
        Some(route::Payload::MessagesResponse(pushed)) => &mut pushed.messages,
        _ => &mut [],
    }
}

/// Where the messages of a push stand.
fn places(route: &Route) -> Vec<Position> {
    match &route.payload {
        Some(route::Payload::MessagesResponse(pushed)) => {
            pushed.messages.iter().filter_map(|message| message.position).collect()
        }
        _ => Vec::new(),
    }
}

/// Leaves the last message of a page away, but for the only one.
fn leave_away(route: &mut Route) {
    if let (Some(route::Payload::MessagesResponse(page)), true) =
        (&mut route.payload, route.history_end.is_some())
        && page.messages.len() > 1
    {
        page.messages.pop();
    }
}

/// What a route tells of marks, each of them one lower.
fn one_back(route: &Route) -> Route {
    let mut read_by = route.read_by.clone();
    for read in &mut read_by {
        read.position.sequence -= 1;
    }
    Route { path: 7, read_by, ..Route::default() }
}

/// Gives two messages of one conversation and one sender each other's text.
fn mix(messages: &mut [Message]) {
    let of = |message: &Message| {
        (message.sender_id.clone(), message.position.as_ref().map(|position| position.conversation))
    };
    let pair = (1..messages.len()).find(|later| of(&messages[*later]) == of(&messages[later - 1]));
    if let Some((earlier, later)) = pair.map(|later| messages.split_at_mut(later)) {
        std::mem::swap(&mut earlier[earlier.len() - 1].payload, &mut later[0].payload);
    }
}
