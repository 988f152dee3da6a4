//! What one server knows of its clients: who is connected, who has logged in, what they have asked and what they are to be told.
//!
//! **How it works.** A client's Route becomes an answer at once, or a proposal whose answer comes when it is committed, or work (a password, rows to be looked at) whose
//! answer comes after that. A conversation is *live* for a session, which then gets each message as it is applied, or it is *behind*: then messages are read from the state
//! and from the disk, as fast as the client takes them, until it has caught up.
//!
//! **Invariants.**
//! - A request is answered once, and not for ever under way: what the log does not say in [`PATIENCE`] is answered with "unknown".
//! - A client's requests take effect in their order.
//! - Frames of one turn leave together: a client with many messages gets many of them in one frame.
//! - When the state is replaced in mid-run, all connections end: what they were told may be ahead of it or behind.

mod connection;
mod connections;
mod delivery;
mod history;
mod log_in;
mod marks;
mod people;
mod presence;
mod proposals;
mod quirks;
mod requests;
mod throttle;
mod token;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use self::connection::Client;
use self::history::Job;
use self::log_in::Step;
use self::marks::Marks;
use self::presence::Elsewhere;
use self::proposals::{Asked, Proposals, Then};
pub(super) use self::proposals::{PATIENCE, Waiter};
use self::throttle::Throttle;
use super::message::MessengerMessage;
use super::settings::Settings;
use super::{Command, Effect, Outcome, Refused, State, UserId};
use crate::agent::{Carries, Conn, Outbox, Outward, PortId, Refusal};
use crate::rng::Rng;
use crate::seldom;
use crate::time::Time;
use crate::wire::proto::{ErrorCode, NetworkDiscoveryPacket, Route};

/// The port of clients.
pub(super) const CLIENTS: PortId = PortId(1);

/// What one input has to work with.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    /// The time.
    pub now: Time,
    /// The same as milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// What all servers agree on.
    pub state: &'a State,
    /// Where to put what is to be done.
    pub out: &'a mut Outbox<MessengerMessage>,
}

/// The clients of one server.
#[derive(Debug)]
pub(super) struct Front {
    settings: Arc<Settings>,
    rng: Rng,
    clients: BTreeMap<Conn, Client>,
    /// The connections on which a user has a session.
    sessions: BTreeMap<UserId, Vec<Conn>>,
    session_count: u64,
    proposals: Proposals,
    marks: Marks,
    /// What log-ins and other requests wait for: barriers, computations, the time after which a password is looked at.
    steps: BTreeMap<u64, Step>,
    later: BTreeMap<(Time, u64), Step>,
    computing: usize,
    wrong_names: Throttle<String>,
    wrong_addresses: Throttle<IpAddr>,
    /// What rows are being looked at for.
    jobs: BTreeMap<u64, Job>,
    tokens: u64,
    elsewhere: Elsewhere,
    leads: bool,
    /// The state is being replaced: nobody is let in.
    restoring: bool,
    /// What clients are told to connect to.
    advertise: String,
    listen_again: Option<Time>,
    /// When what a leader wants agreed on is proposed again.
    lead_again: Option<Time>,
    /// To whom something is sent at the end of this turn, and when that is.
    touched: Vec<Conn>,
    flush_at: Option<Time>,
    /// Who has come and gone on this server since somebody asked.
    news: Vec<(UserId, Arc<str>, bool)>,
    /// Connections of servers of other clusters that nobody has taken over yet.
    strangers: Vec<(Conn, i64, NetworkDiscoveryPacket)>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    not_understood: u64,
    wrong_passwords: u64,
    busy: u64,
    unknown: u64,
    pushed: u64,
    posted: u64,
    not_listening: u64,
}

impl Front {
    pub(super) fn new(settings: Arc<Settings>, mut rng: Rng) -> Self {
        let life = rng.number();
        let advertise = settings.advertise.clone().unwrap_or_else(|| settings.clients.to_string());
        Self {
            settings,
            advertise,
            rng,
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            session_count: 0,
            proposals: Proposals::new(life),
            marks: Marks::default(),
            steps: BTreeMap::new(),
            later: BTreeMap::new(),
            computing: 0,
            wrong_names: Throttle::new(WRONG_FREE),
            wrong_addresses: Throttle::new(WRONG_FREE_ADDRESS),
            jobs: BTreeMap::new(),
            tokens: 0,
            elsewhere: Elsewhere::default(),
            leads: false,
            restoring: false,
            listen_again: None,
            lead_again: None,
            touched: Vec::new(),
            flush_at: None,
            news: Vec::new(),
            strangers: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The server begins.
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        self.listen_again = None;
        let Settings { tls, frame_bytes_max, .. } = *self.settings;
        let carries = Carries::Frames { frame_bytes_max, tls };
        turn.out.outside(Outward::Listen { port: CLIENTS, at: self.settings.clients, carries });
    }

    /// Clients can connect now.
    pub(super) fn listening(&mut self, at: SocketAddr, out: &mut Outbox<MessengerMessage>) {
        if self.settings.advertise.is_none() && self.advertise != at.to_string() {
            self.advertise = at.to_string();
            self.elsewhere.tell_again(&self.here(false), out);
        }
    }

    /// The port of clients could not be opened: it is tried again.
    pub(super) fn not_listening(&mut self, now: Time, why: &str) {
        if seldom::count(&mut self.counts.not_listening) {
            warn!("messenger: the port of clients cannot be opened and is tried again: {why}");
        }
        self.listen_again = Some(now + LISTEN_AGAIN);
    }

    /// This server leads the log now, or does not.
    pub(super) fn leads(&mut self, turn: &mut Turn<'_>, leads: bool) {
        self.leads = leads;
        self.lead_again = None;
        if !leads {
            return;
        }
        if turn.state.key().is_none() {
            let key = self.settings.key.clone();
            self.propose(turn, Command::Key { key }, Waiter::Settings);
        }
        if *turn.state.limits() != self.settings.limits {
            self.propose(turn, Command::Limits { limits: self.settings.limits }, Waiter::Settings);
        }
    }

    /// The state is about to be replaced: everybody has to come again.
    pub(super) fn restore_begins(&mut self, out: &mut Outbox<MessengerMessage>, now: Time) {
        self.restoring = true;
        for conn in std::mem::take(&mut self.clients).into_keys() {
            out.outside(Outward::HangUp { conn });
        }
        for user in std::mem::take(&mut self.sessions).into_keys() {
            self.elsewhere.changed(now, user, false);
            self.news.push((user, Arc::from(""), false));
        }
        self.session_count = 0;
        self.proposals.forget();
        self.marks.forget();
        self.steps.clear();
        self.later.clear();
        self.jobs.clear();
        self.touched.clear();
        self.strangers.clear();
        self.flush_at = None;
    }

    /// The state is replaced. What other servers said meanwhile was for nobody, so each is asked to say again who is there.
    pub(super) fn restore_ends(&mut self, out: &mut Outbox<MessengerMessage>) {
        self.restoring = false;
        self.elsewhere.tell_again(&self.here(false), out);
    }

    /// Sends what was gathered for clients in this turn.
    pub(super) fn flush(&mut self, out: &mut Outbox<MessengerMessage>) {
        self.flush_at = None;
        for conn in std::mem::take(&mut self.touched) {
            let Some(client) = self.clients.get_mut(&conn) else { continue };
            client.is_touched = false;
            let bytes = client.leave(self.settings.quirks);
            if !bytes.is_empty() {
                out.outside(Outward::Frames { conn, bytes: bytes.into() });
            }
        }
    }

    /// Lets what was gathered leave with what may follow at once.
    pub(super) fn flush_soon(&mut self, now: Time) {
        if !self.touched.is_empty() {
            self.flush_at.get_or_insert(now);
        }
    }

    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let steps = self.steps.values().next().map(|step| step.since + STEP_PATIENCE);
        let later = self.later.keys().next().map(|(at, _)| *at);
        let all = [
            self.flush_at,
            self.proposals.deadline(),
            self.marks.deadline(),
            self.elsewhere.deadline(),
            self.listen_again,
            self.lead_again,
            steps,
            later,
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, turn: &mut Turn<'_>) {
        if self.listen_again.is_some_and(|at| at <= turn.now) {
            self.start(turn);
        }
        if self.lead_again.is_some_and(|at| at <= turn.now) {
            self.leads(turn, self.leads);
        }
        while let Some(waiter) = self.proposals.expired(turn.now) {
            self.lost(turn, waiter, ErrorCode::Unknown, "the servers do not agree at the moment");
        }
        self.steps_expired(turn);
        self.steps_due(turn);
        self.propose_marks(turn);
        self.elsewhere.tell(turn.now, self.session_count, turn.out);
    }

    /// Proposes something.
    pub(super) fn propose(&mut self, turn: &mut Turn<'_>, command: Command, waiter: Waiter) {
        let record = self.proposals.add(turn.now, turn.unix_ms, command, waiter);
        turn.out.propose(record);
    }

    /// A record was applied. Who has waited for it, if that is nobody of this front.
    pub(super) fn applied(
        &mut self,
        turn: &mut Turn<'_>,
        (life, number): (u64, u64),
        outcome: &Outcome,
    ) -> Option<Waiter> {
        let waiter = self.proposals.settle(life, number);
        let from = match &waiter {
            Some(Waiter::Client(conn, _)) => Some(*conn),
            _ => None,
        };
        if let Some(Waiter::Client(conn, asked)) = &waiter {
            self.settled(turn, *conn, asked, outcome);
        }
        if let Outcome::Done(effects) = outcome {
            for effect in effects {
                self.effect(turn, from, effect);
            }
        }
        waiter.filter(|waiter| matches!(waiter, Waiter::Clusters(_)))
    }

    /// A record of ours was not taken. Who has waited for it, if that is nobody of this front.
    pub(super) fn not_committed(
        &mut self,
        turn: &mut Turn<'_>,
        (life, number): (u64, u64),
        why: &Refusal,
    ) -> Option<Waiter> {
        let waiter = self.proposals.settle(life, number)?;
        let code = match why {
            Refusal::Busy => ErrorCode::Busy,
            Refusal::NoLog | Refusal::TooLong { .. } => ErrorCode::Invalid,
            Refusal::Failed(_) => ErrorCode::Unknown,
        };
        if let Waiter::Clusters(_) = waiter {
            return Some(waiter);
        }
        self.lost(turn, waiter, code, &why.to_string());
        None
    }

    /// Who has come to this server and who is gone from it, by id and name.
    pub(super) fn take_news(&mut self) -> Vec<(UserId, Arc<str>, bool)> {
        std::mem::take(&mut self.news)
    }

    /// Marks of others that are to be proposed with those of this server's users.
    pub(super) fn add_marks(&mut self, now: Time, marks: Vec<(UserId, super::Place)>) {
        for (user, upto) in marks {
            self.marks.read(now, user, upto);
        }
    }

    /// The live servers, this one first: where clients reach them, and how many sessions they have.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&str, u64)> {
        std::iter::once((self.advertise.as_str(), self.session_count)).chain(self.elsewhere.servers())
    }

    /// What is counted, for people.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("connections", self.clients.len() as u64),
            ("sessions", self.session_count),
            ("proposed", self.proposals.len() as u64),
            ("posted", self.counts.posted),
            ("pushed", self.counts.pushed),
            ("wrong_passwords", self.counts.wrong_passwords),
            ("answered_busy", self.counts.busy),
            ("answered_unknown", self.counts.unknown),
            ("not_understood", self.counts.not_understood),
        ]
    }

    /// Proposals that nobody of this front waits for, and that took too long, are not told of: who waits for them counts the time.
    fn lost(&mut self, turn: &mut Turn<'_>, waiter: Waiter, code: ErrorCode, why: &str) {
        match waiter {
            Waiter::Client(conn, asked) => {
                match asked.then {
                    Then::LogIn(_) | Then::LogInPlainly => self.release(turn, conn),
                    Then::Answer | Then::Posted | Then::TurnedDown => {}
                }
                self.answer(turn.now, conn, &wire::failed(asked.id, code, why));
            }
            Waiter::Marks(marks) => {
                for (user, upto) in marks {
                    self.marks.read(turn.now, user, upto);
                }
            }
            Waiter::Settings => self.lead_again = Some(turn.now + LEAD_AGAIN),
            Waiter::Clusters(_) => {}
        }
    }

    /// What a client has asked for is decided.
    fn settled(&mut self, turn: &mut Turn<'_>, conn: Conn, asked: &Asked, outcome: &Outcome) {
        let Asked { id, then } = asked;
        match outcome {
            Outcome::Refused(why) => {
                self.answer(turn.now, conn, &refusal(*id, *why));
                if matches!(then, Then::LogIn(_) | Then::LogInPlainly) {
                    self.release(turn, conn);
                }
            }
            Outcome::Done(effects) => match (then, effects.first()) {
                (Then::Posted, Some(Effect::Posted { conversation, message })) => {
                    self.counts.posted += 1;
                    let place = super::Place { conversation: *conversation, sequence: message.sequence };
                    let quirks = self.settings.quirks;
                    if let Some(client) = self.answering(turn.now, conn) {
                        wire::put_posted(*id, place, message.time_ms, quirks, &mut client.outgoing);
                    }
                }
                (Then::LogIn(login), Some(Effect::Registered(user))) => {
                    self.begin_session(turn, conn, *id, *user, Some(login));
                }
                (Then::LogInPlainly, Some(Effect::Registered(user))) => {
                    self.begin_session(turn, conn, *id, *user, None);
                }
                _ => self.answer(turn.now, conn, &wire::done(*id)),
            },
        }
    }
}

/// Notes that something is sent to a client at the end of this turn.
fn touch(touched: &mut Vec<Conn>, conn: Conn, client: &mut Client) {
    if !std::mem::replace(&mut client.is_touched, true) {
        touched.push(conn);
    }
}

/// The answer to what the state has refused.
fn refusal(id: i64, why: Refused) -> Route {
    let code = match why {
        Refused::NameTaken => ErrorCode::NameTaken,
        Refused::BadName => ErrorCode::Invalid,
        Refused::NoUser | Refused::NoGroup => ErrorCode::NotFound,
        Refused::Forbidden | Refused::Crowded => ErrorCode::Forbidden,
        Refused::InboxFull | Refused::TooMany => ErrorCode::Busy,
        Refused::TooLong => ErrorCode::TooLong,
        Refused::OutOfOrder { expected } => return wire::out_of_order(id, why.to_string(), expected),
        Refused::Forgotten => ErrorCode::ClientForgotten,
    };
    wire::failed(id, code, why.to_string())
}

/// How long a log-in or a request may wait for what it needs.
const STEP_PATIENCE: Duration = PATIENCE;
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
const LEAD_AGAIN: Duration = Duration::from_secs(1);
/// Wrong passwords for one name that cost no time but their own.
const WRONG_FREE: u32 = 3;
/// The same of one address, behind which there may be many people.
const WRONG_FREE_ADDRESS: u32 = 20;

#[cfg(test)]
mod desk;
#[cfg(test)]
mod tests;
