//! The chat: users with passwords, messages to each other and to groups, inboxes that wait, on a log that several servers agree on.
//!
//! **Problem.** A message that was acknowledged reaches every session of everybody that it is for, in the order of its sender, whatever server they are on and
//! whichever servers die meanwhile, as long as a majority lives; and a client that asks twice, since it was not answered, does not write twice.
//!
//! **State.** What all servers agree on ([`State`]) is a function of the records of the log: users, *conversations* (two users, or a group) with their messages, how far
//! each user has read in each, and for each client instance the number of its next message. It changes only when a record comes back as committed. Messages
//! themselves lie in rows on the disk; memory holds the end of each conversation that is in use. What one server alone knows is who is connected to it.
//!
//! **Messages.** Clients speak [`proto`](crate::wire::proto) over connections of their own. Servers tell each other where their clients reach them, and who is on them
//! with messages of their own.
//!
//! **Invariants.**
//! - Nothing is acknowledged, and nothing pushed, that is not committed.
//! - A conversation's messages are numbered from 1 without gaps; a session gets them in that order, from behind what it has, each at least once: a client drops what it has.
//! - A client instance's messages are accepted in the order of their numbers, each once.
//! - Read marks never go back, and move only by what a client has acknowledged. (A client of the class of 2017 never does: what was sent to it before its next request counts.)
//! - The log holds a password's hash only. Passwords, tokens and secrets never stand in a log line, a trace or an error.
//! - Everything that somebody can make us keep has a limit, and beyond it the answer is "busy".
//!
//! **Source.** The system that is replaced: a distributed chat of a class of 2017, whose wire for clients is kept.

pub mod client;
mod clusters;
mod discovery;
mod front;
mod key;
mod message;
mod record;
mod settings;
mod state;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use log::warn;

pub use self::clusters::{ClusterSettings, Clusters, LOOK_TOKENS_FROM, Settled, SharedSecret};
pub use self::discovery::{CLASS_PORT, DISCOVERY_PORT, Discovery, Heard, ServerLoad};
use self::front::{CLIENTS, Front, Turn, Waiter};
pub use self::key::{ClusterIdentity, ClusterKey};
pub use self::message::MessengerMessage;
pub use self::record::{ClientInstance, Command, Imported, Origin, Record, Target};
use self::settings::Settings;
pub use self::state::{
    Conversation, ConversationId, Effect, GroupChange, Kind, Limits, Messages, Outcome, Place, Progress,
    Reading, Refused, Sequence, State, Stored, There, User, UserId, Wanted, is_name,
};
use self::state::{EMAIL_BYTES_MAX, TIMESTAMP_BYTES_MAX};
use crate::agent::{
    Agent, Configure, Index, Input, Inward, LogKeeper, Mistake, Opening, Outbox, Peer, Refusal, Row, Setup,
    WireError,
};
use crate::seldom;
use crate::time::Time;
use crate::wire::proto::Welcome;

/// A server of the chat: agent `messenger`. It needs a log that keeps rows; where several servers agree on that, each is one of them.
#[derive(Debug)]
pub struct Messenger {
    settings: Arc<Settings>,
    state: State,
    front: Front,
    clusters: Clusters,
    /// The other servers of this cluster that can be reached.
    links: BTreeSet<Peer>,
    /// Where clients connect, once they can.
    listening: Option<SocketAddr>,
    leads: bool,
    /// Whether the log is this server's alone, which leads it then and is not told so.
    is_alone: bool,
    /// Whether all rows of the last restore were understood.
    is_whole: bool,
    /// Records and rows that were none of ours.
    not_understood: u64,
}

impl Configure for Messenger {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        if !setup.log_keeps_rows() {
            let what = "a chat needs a log on a disk: {\"members\": [...]}, or \"local\" for a server alone";
            return Err(Mistake::in_attr("log", what));
        }
        let settings = Arc::new(Settings::configure(setup)?);
        let mut rng = setup.rng();
        let clusters = Clusters::new(settings.clusters.clone(), rng.fork());
        Ok(Self {
            front: Front::new(Arc::clone(&settings), rng),
            is_alone: setup.log() == LogKeeper::Disk,
            settings,
            state: State::new(),
            clusters,
            links: BTreeSet::new(),
            listening: None,
            leads: false,
            is_whole: true,
            not_understood: 0,
        })
    }
}

impl Agent for Messenger {
    type Msg = MessengerMessage;

    fn handle(&mut self, now: Time, input: Input<'_, MessengerMessage>, out: &mut Outbox<MessengerMessage>) {
        match input {
            // What many records lead to leaves together, as soon as all that are there are applied.
            Input::Committed { record, .. } => self.committed(now, record, out),
            input => {
                self.take(now, input, out);
                self.go_between(now, out);
                self.front.flush(out);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        [self.front.deadline(), self.clusters.deadline()].into_iter().flatten().min()
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.state.take_rows()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.front.counters();
        counters.extend(self.state.counters());
        counters.extend(self.clusters.counters());
        counters.push(("records_not_understood", self.not_understood));
        counters
    }

    fn about(&self) -> Option<String> {
        let clients = match self.listening {
            _ if !self.is_whole => "the rows that were kept are not understood: nobody is let in".to_owned(),
            Some(at) => format!("clients connect to {at}"),
            None => "clients cannot connect".to_owned(),
        };
        Some(format!("{clients}, {} users{}", self.state.users(), if self.leads { ", leads" } else { "" }))
    }
}

impl Messenger {
    /// Takes any input but a record.
    fn take(&mut self, now: Time, input: Input<'_, MessengerMessage>, out: &mut Outbox<MessengerMessage>) {
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        match input {
            Input::Start => {
                self.front.start(turn);
                if self.is_alone {
                    self.leads(now, true, out);
                }
            }
            Input::Timeout => {
                self.front.timeout(turn);
                self.clusters.timeout(now, &self.state, out);
            }
            Input::Outside(inward) => self.outside(now, inward, out),
            Input::Barrier { token } => self.front.barrier(turn, token),
            Input::Computed { token, done } => self.front.computed(turn, token, done),
            Input::Looked { looked } if looked.token >= LOOK_TOKENS_FROM => {
                self.clusters.looked(&looked, &self.state, out);
            }
            Input::Looked { looked } => self.front.looked(turn, &looked),
            Input::NotCommitted { record, why } => self.not_committed(now, record, why, out),
            Input::LinkUp { peer, .. } => {
                self.links.insert(peer);
                self.front.link_up(peer, turn.out);
            }
            Input::LinkDown { peer, .. } => {
                self.links.remove(&peer);
                self.front.link_down(turn, peer);
            }
            Input::Message { message: MessengerMessage::Clusters { heard }, .. } => {
                self.clusters.news(now, heard, out);
            }
            Input::Message { from, message, .. } => self.front.heard(turn, from, message),
            Input::Leads { leads } => self.leads(now, leads, out),
            Input::Restore { rows, first, last } => self.restore(now, rows, (first, last), out),
            Input::Commands { commands } => commands.obey(out, |line, _| Some(self.command(line))),
            _ => {}
        }
    }

    fn leads(&mut self, now: Time, leads: bool, out: &mut Outbox<MessengerMessage>) {
        self.leads = leads;
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        self.front.leads(turn, leads);
        self.clusters.leads(now, leads, out);
    }

    fn outside(&mut self, now: Time, inward: Inward<'_>, out: &mut Outbox<MessengerMessage>) {
        let servers = || servers(&self.front);
        let is_other_clusters = self.clusters.outside(now, &inward, &self.state, servers, out);
        if is_other_clusters && !matches!(inward, Inward::Closed { .. }) {
            return;
        }
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        match inward {
            Inward::Listening { port: CLIENTS, at } => {
                self.listening = Some(at);
                self.front.listening(at, turn.out);
                if let Some((own, _)) = self.front.servers().next() {
                    self.clusters.reached_at(own);
                }
            }
            Inward::NotListening { port: CLIENTS, why } => {
                self.listening = None;
                self.front.not_listening(now, why);
            }
            Inward::Opened { conn, by: Opening::Accepted(CLIENTS), peer } => {
                self.front.opened(turn, conn, peer);
            }
            Inward::Frames { conn, frames } => self.front.frames(turn, conn, frames),
            Inward::Drained { conn } => self.front.drained(turn, conn),
            Inward::Closed { conn, .. } => self.front.closed(now, turn.state, conn),
            _ => {}
        }
    }

    fn committed(&mut self, now: Time, record: &[u8], out: &mut Outbox<MessengerMessage>) {
        let Record { life, number, at_ms, command } = match Record::decode(record) {
            Ok(record) => record,
            Err(WireError(why)) => {
                if seldom::count(&mut self.not_understood) {
                    warn!("messenger: a record is not understood and passed over: {why}");
                }
                return;
            }
        };
        let outcome = self.state.apply(at_ms, command);
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        let waiter = self.front.applied(turn, (life, number), &outcome);
        if let Outcome::Done(effects) = &outcome {
            for effect in effects {
                match effect {
                    Effect::Posted { conversation, message } => {
                        self.clusters.posted(*conversation, message, &self.state, out);
                    }
                    Effect::Unregistered { user, .. } => self.clusters.unregistered(*user, out),
                    Effect::ReadThere { user, from, upto } => self.clusters.read(*user, from, *upto, out),
                    _ => {}
                }
            }
        }
        if let Some(Waiter::Clusters(token)) = waiter {
            self.clusters.settled(now, token, Settled::Applied(&outcome), out);
            self.go_between(now, out);
        }
    }

    fn not_committed(&mut self, now: Time, record: &[u8], why: &Refusal, out: &mut Outbox<MessengerMessage>) {
        let Ok(Record { life, number, .. }) = Record::decode(record) else { return };
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        if let Some(Waiter::Clusters(token)) = self.front.not_committed(turn, (life, number), why) {
            let settled = if matches!(why, Refusal::Failed(_)) { Settled::Unknown } else { Settled::Busy };
            self.clusters.settled(now, token, settled, out);
        }
    }

    /// Tells the part for clients and the one for other clusters what each has of the other.
    fn go_between(&mut self, now: Time, out: &mut Outbox<MessengerMessage>) {
        for (conn, id, packet) in self.front.take_strangers() {
            let Some(peer) = self.front.peer(conn) else { continue };
            let welcome = self.welcome();
            // Without a key there was nobody yet, and what it is known by is to be the same from the first message on.
            if self.state.key().is_some() && self.clusters.adopt(now, conn, peer, id, &packet, welcome, out) {
                for said in self.front.hand_over(conn) {
                    self.clusters.said(conn, &said, &self.state, out);
                }
            } else {
                let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
                self.front.hang_up(turn, conn);
            }
        }
        for (user, name, online) in self.front.take_news() {
            if online {
                self.clusters.online(now, user, &name, &self.state, out);
            } else {
                self.clusters.offline(now, user, &self.state, out);
            }
        }
        let marks = self.clusters.take_marks();
        if !marks.is_empty() {
            self.front.add_marks(now, marks);
        }
        let turn = &mut Turn { now, unix_ms: self.unix_ms(now), state: &self.state, out };
        for (token, command) in self.clusters.take_proposals() {
            self.front.propose(turn, command, Waiter::Clusters(token));
        }
        if let Some(heard) = self.clusters.take_news(now) {
            for peer in &self.links {
                turn.out.send(*peer, MessengerMessage::Clusters { heard: heard.clone() });
            }
        }
    }

    fn restore(
        &mut self,
        now: Time,
        rows: &[Row],
        (first, last): (bool, Option<Index>),
        out: &mut Outbox<MessengerMessage>,
    ) {
        if first {
            self.front.restore_begins(out, now);
            self.clusters.reset(out);
        }
        let restored = self.state.restore(rows, first, last.is_some());
        self.is_whole = restored.is_ok() && (first || self.is_whole);
        if let Err(WireError(why)) = restored
            && seldom::count(&mut self.not_understood)
        {
            warn!("messenger: rows are not understood, and nobody is let in: {why}");
        }
        // Nobody is let in to half a state.
        if last.is_some() && self.is_whole {
            self.front.restore_ends(out);
        }
    }

    /// What another cluster may know of this one.
    fn welcome(&self) -> Welcome {
        Welcome {
            servers: self.front.servers().map(|(at, _)| at.to_owned()).take(SERVERS_TOLD_MAX).collect(),
            group_tag: Some(self.settings.clusters.group_tag.clone()),
            cluster: self.state.key().map(|key| key.identity().0.to_vec().into()),
            ..Welcome::default()
        }
    }

    /// Answers who looks after the server.
    fn command(&self, line: &str) -> String {
        match (line.trim(), self.listening) {
            ("clients", Some(at)) => format!("ok {at}"),
            ("clients", None) => "error closed clients cannot connect".to_owned(),
            ("servers", _) => {
                let servers = self.front.servers().map(|(at, sessions)| format!("{at} sessions={sessions}"));
                format!("ok {}", servers.collect::<Vec<_>>().join(", "))
            }
            ("help", _) => format!("ok commands: {HELP}"),
            (other, _) => format!("error usage unknown command {other:?}; known are {HELP}"),
        }
    }

    /// The calendar: milliseconds since 1970 (UTC).
    fn unix_ms(&self, now: Time) -> u64 {
        self.settings.unix_ms_at_start + now.as_nanos() / 1_000_000
    }
}

/// The live servers of this cluster.
fn servers(front: &Front) -> Vec<ServerLoad> {
    front.servers().map(|(client, sessions)| ServerLoad { client: client.to_owned(), sessions }).collect()
}

/// How many servers of this cluster another one is told.
const SERVERS_TOLD_MAX: usize = 16;
/// What can be asked of a server.
const HELP: &str = "clients (where they connect), servers (that are alive, with their sessions), log help";
