//! Services on a log that several servers agree on.
//!
//! **Problem.** A service proposes records and gets them back in one order. Where its log is to be one that several servers agree on, each of them
//! runs the same service beside a member of that log; the service itself stays as it is.
//!
//! **State.** [`Replicated`] owns a log and a service, and maps what each asks for to the other or to the host. [`ReplicatedLog`] is the
//! boundary: what carries the log (the embedded [`Raft`](super::raft), or another engine) stands behind it.
//!
//! **Messages.** Those of the log come in by [`Port::LOG`], all others are the service's. Members are called by the ids of their agents. Who stands
//! behind which [`Peer`] they learn by greeting each other ([`ReplicatedMessage::Hello`]) over the route [`LOG_ROUTE`], when a link comes up; on
//! carriers without links from time to time, until all are known.
//!
//! **Invariants.**
//! - The outputs of one input, of the log or of the service, are carried out in order before that one gets its next input.
//! - The log hears of a member only while that member's agent runs and its messages arrive: one that has started again was down in between.
//! - The service begins after the rows that were kept have been handed to it. While rows of another server take the place of its state, later, it is handed
//!   nothing that it would need a state for.
//! - Rows that it gives to the log have come of exactly the records that it was handed so far.
//! - Commands whose first word is `log` are the log's, whatever the service understands.

mod carrying;
mod commands;
mod log;
mod members;
mod message;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

pub use self::log::{
    Change, ChangeError, LogInput, LogOutbox, LogOutput, MemberId, ReplicatedLog, Standing, Status,
};
use self::members::{Greeting, Members, News};
pub use self::message::ReplicatedMessage;
use crate::agent::{
    Agent, Commands, Epoch, Input, Look, Outbox, Peer, Port, Recovered, Request, Row, Taken, Why,
};
use crate::time::Time;

/// The route from each member of a log to all the others.
pub const LOG_ROUTE: &str = "log";

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it is called: the id of its agent.
    pub name: String,
    /// A number that no other life of this member has.
    pub life: u64,
    /// On carriers that do not tell of links: how often it greets the others for as long as it does not know them all, and how many they are.
    pub greets: Option<(Duration, usize)>,
}

/// A service together with the member of a log that carries it: an agent.
#[derive(Debug)]
pub struct Replicated<L: ReplicatedLog, A: Agent> {
    log: L,
    service: A,
    members: Members,
    phase: Phase,
    /// The peers that messages reach, for a service that has not begun; and its routes, if they have changed meanwhile.
    links: BTreeMap<Peer, Epoch>,
    routes: Option<Vec<String>>,
    /// What the service has asked of the log and the log has not been told yet.
    asked: VecDeque<Asked>,
    /// Whether the log has asked for the service's rows.
    rows_wanted: bool,
    /// What the service calls its looks that were not answered; they are counted, and those of a state that is no more are forgotten.
    looks: BTreeMap<u64, u64>,
    looks_asked: u64,
    /// Whether this member leads, and what the service was told of it.
    leads: bool,
    leads_told: bool,
    /// Who wants to know what became of a change.
    changes: BTreeMap<u64, Request>,
    changes_asked: u64,
    log_out: LogOutbox<L::Msg>,
    service_out: Outbox<A::Msg>,
    counts: Counts,
}

/// How far the service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The host has not begun yet, and there may be rows to be handed over first.
    New { restoring: bool },
    /// The host has begun; rows are on their way.
    Restoring,
    /// The service has begun.
    Running,
    /// It has, and rows of another server are taking the place of its state.
    Replacing,
}

/// Something that the service wants of the log.
#[derive(Debug)]
enum Asked {
    Propose(Bytes),
    Barrier(u64),
    Look(Look),
}

#[derive(Debug, Default)]
struct Counts {
    /// Messages and commands that came before the service had its state.
    early: u64,
    /// How many times rows of another server have begun to take the place of its state.
    replaced: u64,
    /// Outputs of the service that have no place here.
    refused: u64,
}

impl<L: ReplicatedLog, A: Agent> Replicated<L, A> {
    /// The member `identity`, whose log carries `service`.
    pub fn new(log: L, service: A, identity: Identity) -> Self {
        Self {
            log,
            service,
            members: Members::new(identity),
            phase: Phase::New { restoring: false },
            links: BTreeMap::new(),
            routes: None,
            asked: VecDeque::new(),
            rows_wanted: false,
            looks: BTreeMap::new(),
            looks_asked: 0,
            leads: false,
            leads_told: false,
            changes: BTreeMap::new(),
            changes_asked: 0,
            log_out: LogOutbox::new(false),
            service_out: Outbox::new(false),
            counts: Counts::default(),
        }
    }

    /// The log.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The service.
    pub fn service(&self) -> &A {
        &self.service
    }
}

impl<L: ReplicatedLog, A: Agent> Agent for Replicated<L, A> {
    type Msg = ReplicatedMessage<L::Msg, A::Msg>;

    fn handle(&mut self, now: Time, input: Input<'_, Self::Msg>, out: &mut Outbox<Self::Msg>) {
        if out.tracing() != self.service_out.tracing() {
            self.log_out = LogOutbox::new(out.tracing());
            self.service_out = Outbox::new(out.tracing());
        }
        self.take(now, input, out);
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        let service = if self.phase == Phase::Running { self.service.deadline() } else { None };
        [self.log.deadline(), service, self.members.greets_at()].into_iter().flatten().min()
    }

    fn keeps_rows(&self) -> bool {
        self.service.keeps_rows()
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.service.take_rows()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.service.counters();
        counters.extend(self.log.counters());
        counters.push(("log_early", self.counts.early));
        counters.push(("log_refused", self.counts.refused));
        counters.push(("log_replaced", self.counts.replaced));
        counters
    }

    fn about(&self) -> Option<String> {
        let log = commands::line(&self.log.status());
        Some(self.service.about().map_or(log.clone(), |service| format!("{log} {service}")))
    }
}

impl<L: ReplicatedLog, A: Agent> Replicated<L, A> {
    /// Hands an input to whom it is for.
    fn take(
        &mut self,
        now: Time,
        input: Input<'_, <Self as Agent>::Msg>,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        match input {
            Input::Recovered { recovered } => self.recovered(now, recovered, out),
            Input::Start => self.start(now, out),
            Input::Timeout => self.timeout(now, out),
            Input::Rerouted { routes } => self.rerouted(now, routes, out),
            Input::LinkUp { peer, epoch } => {
                self.links.insert(peer, epoch);
                let greeting = self.members.link_up(peer);
                self.greet(greeting, false, out);
                self.hand_service(now, Input::LinkUp { peer, epoch }, out);
            }
            Input::LinkDown { peer, epoch, why } => {
                self.links.remove(&peer);
                if let Some(member) = self.members.link_down(peer) {
                    self.hand_log(now, LogInput::MemberDown(member, why), out);
                }
                self.hand_service(now, Input::LinkDown { peer, epoch, why }, out);
            }
            Input::Message { from, port, message } => self.heard(now, from, port, message, out),
            Input::Commands { commands } => self.commands(now, commands, out),
            Input::Stored { upto } => self.hand_log(now, LogInput::Stored(upto), out),
            Input::StoreFailed { why } => self.hand_log(now, LogInput::StoreFailed(why), out),
            Input::Found { found } => self.hand_log(now, LogInput::Found(found), out),
            Input::Lines { from, lines } => self.hand_service(now, Input::Lines { from, lines }, out),
            Input::Outside(inward) => self.hand_service(now, Input::Outside(inward), out),
            Input::Computed { token, done } => self.hand_service(now, Input::Computed { token, done }, out),
            // The host's own log, of which an agent that is a log itself has none.
            Input::Leads { .. }
            | Input::Looked { .. }
            | Input::Committed { .. }
            | Input::NotCommitted { .. }
            | Input::Barrier { .. }
            | Input::Restore { .. } => {}
        }
    }

    fn recovered(&mut self, now: Time, recovered: &Recovered, out: &mut Outbox<<Self as Agent>::Msg>) {
        self.phase = Phase::New { restoring: recovered.applied.index.0 > 0 };
        self.hand_log(now, LogInput::Recovered(recovered), out);
    }

    fn start(&mut self, now: Time, out: &mut Outbox<<Self as Agent>::Msg>) {
        let restoring = self.phase == (Phase::New { restoring: true });
        self.phase = Phase::Restoring;
        self.members.start(now);
        self.hand_log(now, LogInput::Start, out);
        if !restoring {
            self.start_service(now, out);
        }
    }

    /// The service begins, and hears what has happened meanwhile.
    fn start_service(&mut self, now: Time, out: &mut Outbox<<Self as Agent>::Msg>) {
        self.phase = Phase::Running;
        self.hand_service(now, Input::Start, out);
        if let Some(routes) = self.routes.take() {
            self.hand_service(now, Input::Rerouted { routes: &routes }, out);
        }
        for (peer, epoch) in self.links.clone() {
            self.hand_service(now, Input::LinkUp { peer, epoch }, out);
        }
        self.tell_leads(now, out);
    }

    /// Tells the service whether this member leads, if it does not know.
    fn tell_leads(&mut self, now: Time, out: &mut Outbox<<Self as Agent>::Msg>) {
        if self.phase == Phase::Running && self.leads_told != self.leads {
            self.leads_told = self.leads;
            self.hand_service(now, Input::Leads { leads: self.leads }, out);
        }
    }

    fn timeout(&mut self, now: Time, out: &mut Outbox<<Self as Agent>::Msg>) {
        if self.log.deadline().is_some_and(|at| at <= now) {
            self.hand_log(now, LogInput::Timeout, out);
        }
        if self.service.deadline().is_some_and(|at| at <= now) {
            self.hand_service(now, Input::Timeout, out);
        }
        if self.members.has_to_greet(now) {
            self.greet(Greeting::Everyone, false, out);
        }
    }

    fn rerouted(&mut self, now: Time, routes: &[String], out: &mut Outbox<<Self as Agent>::Msg>) {
        self.greet(Greeting::Everyone, false, out);
        let routes: Vec<String> = routes.iter().filter(|name| *name != LOG_ROUTE).cloned().collect();
        match self.phase {
            Phase::Running | Phase::Replacing => {
                self.hand_service(now, Input::Rerouted { routes: &routes }, out);
            }
            Phase::New { .. } | Phase::Restoring => self.routes = Some(routes),
        }
    }

    fn heard(
        &mut self,
        now: Time,
        from: Peer,
        port: Port,
        message: <Self as Agent>::Msg,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        match message {
            ReplicatedMessage::Hello { name, life, answer } => {
                self.tell_news(now, from, MemberId::of(&name), Some((name, life)), out);
                if !answer {
                    self.greet(Greeting::One(from), true, out);
                }
            }
            ReplicatedMessage::Log { from: member, message } => {
                self.tell_news(now, from, member, None, out);
                self.hand_log(now, LogInput::Message { from: member, message }, out);
            }
            ReplicatedMessage::Service(message) if self.phase == Phase::Running => {
                self.hand_service(now, Input::Message { from, port, message }, out);
            }
            ReplicatedMessage::Service(_) => self.counts.early += 1,
        }
    }

    /// Tells the log what it means that `member` is heard from `peer`; of a greeting its name and its life.
    fn tell_news(
        &mut self,
        now: Time,
        peer: Peer,
        member: MemberId,
        greeting: Option<(String, u64)>,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        match self.members.heard(peer, member, greeting) {
            News::Nothing => {}
            News::Up => self.hand_log(now, LogInput::MemberUp(member), out),
            News::Again => {
                self.hand_log(now, LogInput::MemberDown(member, Why::Closed), out);
                self.hand_log(now, LogInput::MemberUp(member), out);
            }
        }
    }

    /// Sends this member's greeting.
    fn greet(&mut self, greeting: Greeting, answer: bool, out: &mut Outbox<<Self as Agent>::Msg>) {
        let Identity { name, life, .. } = self.members.own();
        let hello = ReplicatedMessage::Hello { name: name.clone(), life: *life, answer };
        match greeting {
            Greeting::Everyone => out.send(LOG_ROUTE, hello),
            Greeting::One(peer) => out.send((peer, Port::LOG), hello),
        }
    }

    /// Commands of the log are taken here, all others by the service.
    fn commands(&mut self, now: Time, mut commands: Commands<'_>, out: &mut Outbox<<Self as Agent>::Msg>) {
        while let Some(line) = commands.peek() {
            if commands::is_for_log(line) {
                commands.take();
                let request = commands.will_answer();
                return self.command(now, request, line, out);
            }
            if self.phase != Phase::Running {
                self.counts.early += 1;
                commands.take();
                return out.reply(commands.will_answer(), RESTORING);
            }
            let taken = Taken::default();
            let part = commands.part(commands::is_for_log, &taken);
            self.hand_service(now, Input::Commands { commands: part }, out);
            if !commands.took(&taken) {
                return;
            }
        }
    }

    fn command(&mut self, now: Time, request: Request, line: &[u8], out: &mut Outbox<<Self as Agent>::Msg>) {
        let status = self.log.status();
        match commands::parse(&String::from_utf8_lossy(line), &status, &self.members) {
            Ok(commands::LogCommand::Change(change)) => {
                self.changes_asked += 1;
                let token = self.changes_asked;
                self.changes.insert(token, request);
                self.hand_log(now, LogInput::Change { token, change }, out);
            }
            Ok(commands::LogCommand::Tell(text)) | Err(text) => out.reply(request, text),
        }
    }
}

/// What commands are answered while the service has no state.
const RESTORING: &str = "error restoring the service is being restored from what was kept of it: ask again";

#[cfg(test)]
mod tests;
