//! Runs of the sound chat, and of servers that break its promises, each in one way: these prove that the checkers can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::book::{Got, Seen};
use super::{Chat, MessengerScenario, Setting, run_service};
use crate::agent::{Agent, Conn, Index, Input, Inward, Opening, Outbox, Output, Outward, Row};
use crate::agents::messenger::{Command, Messenger, MessengerMessage, Record, UserId};
use crate::rng::Probability;
use crate::sim::{FailureModel, Fault, Plan, Scenario, Severity, Violation};
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::{Message, MessagesResponse, Position, Route, route};

/// What a messenger does not do that it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailsTo {
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
    /// It says nothing to its clients for as long as it does not reach another cluster.
    GoOnAlone,
}

/// A messenger that fails in something.
struct Broken {
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
    fn new(messenger: Messenger, fails: FailsTo) -> Self {
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
            (FailsTo::LetGo, Ok(Command::RemoveMember { .. })) => {
                // As if it were done, for whoever has asked.
                let record = Record::decode(&record).expect("it was read");
                out.propose(Record { command: Command::Read { marks: Vec::new() }, ..record }.encode());
            }
            (FailsTo::FetchForTheRightUser, Ok(Command::Import { cluster, messages, .. })) => {
                let command = Command::Import { cluster, user: UserId(1), messages };
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

fn plan(seed: u64) -> Plan {
    let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
    Plan { seed, failure_model, wire: seed.is_multiple_of(3), ..MessengerScenario.default_plan() }
}

/// Runs servers that fail in something, in one cluster under these faults, until somebody notices. Which checker it is.
macro_rules! caught {
    ($fails:expr, $faults:expr) => {
        caught!($fails, $faults, 1, None)
    };
    ($fails:expr, $faults:expr, $clusters:expr, $lost:expr) => {
        caught(
            |plan, setting| Chat::new(plan, setting, |messenger| Broken::new(messenger, $fails)),
            $faults,
            ($clusters, $lost),
        )
    };
}

fn caught(
    make: fn(&Plan, Setting) -> Chat,
    faults: &[Fault],
    (clusters, lost): (usize, Option<usize>),
) -> &'static str {
    let found = (1..=RUNS).find_map(|seed| {
        let plan = Plan { faults: faults.iter().copied().collect(), ..plan(seed) };
        // Rows often, and little of the log beside them.
        let mut setting = Setting { clusters, lost, open_bytes_max: 300, ..Setting::of(&plan) };
        (setting.moves, setting.parts) = if clusters > 1 { (5, 5) } else { (0, 0) };
        (setting.options.compact_bytes, setting.options.part_bytes_max) = (500, 300);
        setting.options.keep_after = Duration::from_millis(20);
        let mut chat = make(&plan, setting);
        let (per_step, longest) = (Probability::percent(50), Duration::from_millis(300));
        chat.severity = Some(Severity { per_step, longest, crashed_max: 1, disks: false });
        run_service(&mut chat, &plan, None).violation.map(|violation| (seed, violation))
    });
    let (seed, Violation { checker, what, .. }) =
        found.unwrap_or_else(|| panic!("nobody noticed in {RUNS} runs"));
    println!("seed {seed}: {checker}: {what}");
    checker
}

const RUNS: u64 = 40;
const CRASHES: &[Fault] = &[Fault::Crash, Fault::Break, Fault::Partition];

#[test]
fn whoever_does_not_wait_for_the_log_is_caught() {
    let checker = caught!(FailsTo::Wait, CRASHES);
    assert!(["once", "order", "remembered", "delivered"].contains(&checker), "{checker}");
}

#[test]
fn whoever_takes_what_is_sent_for_read_is_caught() {
    assert_eq!(caught!(FailsTo::HearOfReading, &[]), "marks");
}

#[test]
fn whoever_does_not_count_what_was_read_is_caught() {
    assert_eq!(caught!(FailsTo::CountWhatWasRead, &[]), "class-reads");
}

#[test]
fn whoever_shows_messages_to_others_is_caught() {
    assert_eq!(caught!(FailsTo::TellUsersApart, &[]), "strangers");
}

#[test]
fn whoever_takes_what_is_sent_again_for_new_is_caught() {
    assert_eq!(caught!(FailsTo::KnowAgain, CRASHES), "once");
}

#[test]
fn whoever_does_not_keep_the_order_is_caught() {
    assert_eq!(caught!(FailsTo::KeepTheOrder, &[]), "order");
}

#[test]
fn whoever_forgets_the_numbers_of_clients_with_the_log_is_caught() {
    let checker = caught!(FailsTo::KeepNumbers, CRASHES);
    assert!(["remembered", "once"].contains(&checker), "{checker}");
}

#[test]
fn whoever_forgets_messages_with_the_log_is_caught() {
    let checker = caught!(FailsTo::KeepMessages, CRASHES);
    assert!(["delivered", "history"].contains(&checker), "{checker}");
}

#[test]
fn whoever_pushes_out_of_order_is_caught() {
    assert_eq!(caught!(FailsTo::PushInOrder, &[]), "order");
}

#[test]
fn whoever_lets_marks_go_back_is_caught() {
    assert_eq!(caught!(FailsTo::KeepMarksUp, &[]), "marks");
}

#[test]
fn whoever_does_not_answer_is_caught() {
    assert_eq!(caught!(FailsTo::Answer, &[]), "answered");
}

#[test]
fn whoever_does_not_fetch_from_other_clusters_is_caught() {
    assert_eq!(caught!(FailsTo::Fetch, &[], 2, None), "delivered");
}

#[test]
fn whoever_acknowledges_what_is_not_imported_yet_is_caught() {
    let checker = caught!(FailsTo::ImportFirst, CRASHES, 2, None);
    assert!(["delivered", "marks"].contains(&checker), "{checker}");
}

#[test]
fn whoever_imports_again_what_was_fetched_again_is_caught() {
    assert_eq!(caught!(FailsTo::KnowWhatItFetched, CRASHES, 2, None), "once");
}

#[test]
fn whoever_mixes_up_what_is_fetched_is_caught() {
    let checker = caught!(FailsTo::FetchInOrder, &[], 2, None);
    assert!(["order", "once"].contains(&checker), "{checker}");
}

#[test]
fn whoever_fetches_for_somebody_else_is_caught() {
    assert_eq!(caught!(FailsTo::FetchForTheRightUser, &[], 2, None), "strangers");
}

#[test]
fn whoever_waits_for_another_cluster_is_caught() {
    let checker = caught!(FailsTo::GoOnAlone, &[], 2, Some(1));
    assert!(["answered", "class-reads"].contains(&checker), "{checker}");
}

#[test]
fn whoever_leaves_something_of_the_past_away_is_caught() {
    assert_eq!(caught!(FailsTo::TellAll, &[]), "history");
}

#[test]
fn whoever_does_not_know_who_is_there_is_caught() {
    assert_eq!(caught!(FailsTo::HearWhoIsThere, &[]), "presence");
}

#[test]
fn whoever_does_not_let_users_leave_a_group_is_caught() {
    assert_eq!(caught!(FailsTo::LetGo, &[]), "strangers");
}

#[test]
fn users_of_a_sound_chat_see_what_they_should_and_nothing_else() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 1..=8 {
        let plan = plan(seed);
        let mut chat = Chat::new(&plan, Setting::of(&plan), |messenger| messenger);
        let outcome = run_service(&mut chat, &plan, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        for seen in chat.book.borrow().iter() {
            let what = match seen {
                Seen::Got(Got { from: Some(_), .. }) => "fetched from another cluster",
                Seen::Got(_) => "got",
                Seen::Shown { .. } => "shown",
                Seen::GaveUp { .. } => "given up",
                Seen::HasVisited { .. } => "visits",
                Seen::Moved { .. } => "moves",
                Seen::HasLeft { .. } => "left a group",
                Seen::LookedBack(looked) if looked.messages.len() > 7 => "looked back",
                Seen::Asked { .. } => "asked who is there",
                Seen::Closing { lost: Some(_) } => "lost clusters",
                _ => continue,
            };
            *counts.entry(what).or_default() += 1;
        }
    }
    println!("{counts:?}");
    let enough = [
        ("got", 1_000),
        ("shown", 1_000),
        ("fetched from another cluster", 100),
        ("given up", 1),
        ("visits", 8),
        ("moves", 20),
        ("lost clusters", 1),
        ("left a group", 1),
        ("looked back", 8),
        ("asked who is there", 8),
    ];
    for (what, least) in enough {
        let count = counts.get(what).copied().unwrap_or_default();
        assert!(count >= least, "too little happens to find anything: {what} {count}");
    }
}

#[test]
fn the_same_plan_is_the_same_run() {
    let run = |seed| MessengerScenario.run(&plan(seed), None).figures.digest;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
