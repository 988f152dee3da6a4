//! The client: takes commands from sessions and terminals and sees each of them through.

use std::collections::VecDeque;
use std::time::Duration;

use super::command::{Refused, parse};
use super::message::{Answer, Ask, ClientSession, KvsMessage, Operation};
use crate::agent::{Agent, Configure, Input, Mistake, Outbox, Peer, Request, Setup, Text, Wire, WireError};
use crate::grid::Port;
use crate::rng::Rng;
use crate::time::Time;

/// What reaches a client: a store's messages as answers (port 0), lines of terminals by every other port. What it sends
/// is of the same two sorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// From or to a store.
    Kvs(KvsMessage),
    /// From or to a terminal.
    Text(Text),
}

impl Wire for ClientMessage {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Kvs(message) => message.encode(bytes),
            Self::Text(text) => text.encode(bytes),
        }
    }

    fn decode(port: Port, bytes: &[u8]) -> Result<Self, WireError> {
        if port == Port::ANSWERS {
            KvsMessage::decode(port, bytes).map(Self::Kvs)
        } else {
            Text::decode(port, bytes).map(Self::Text)
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Kvs(message) => Wire::kind(message),
            Self::Text(text) => text.kind(),
        }
    }
}

/// The client: agent `client`.
///
/// It has one request under way at a time. A request that is not answered goes out again, more and more seldom, each time to the next
/// store if its routes name several, until an answer comes or the client gives up; then it says whether the request can have had
/// an effect. A store that cannot do what is asked, since its disk is full for instance, is left for the next one at once.
#[derive(Debug)]
pub struct Client {
    rng: Rng,
    patience: Patience,
    /// The routes that lead to a store.
    stores: Vec<String>,
    /// Which of them is asked now.
    store: usize,
    has_tty: bool,
    session: Option<ClientSession>,
    /// The number of the last request of this session.
    number: u64,
    jobs: VecDeque<Job>,
    /// How it stands with the first job.
    attempt: Option<Attempt>,
    counts: Counts,
}

/// How long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until it asks again for the first time.
    pub first: Duration,
    /// How long the pauses may become.
    pub longest: Duration,
    /// Until it gives up.
    pub give_up: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    retries: u64,
    given_up: u64,
}

/// A command that has not been answered.
#[derive(Debug)]
struct Job {
    asker: Asker,
    /// What is to be done, or what is answered at once when its turn comes.
    work: Result<Operation, Refused>,
}

#[derive(Clone, Copy, Debug)]
enum Asker {
    Session(Request),
    Terminal(Peer),
}

/// A request under way.
#[derive(Debug)]
struct Attempt {
    /// What is sent: the opening of a session, or the request itself.
    message: KvsMessage,
    pause: Duration,
    again_at: Time,
    give_up_at: Time,
    /// How many stores have said that they cannot do it.
    refusals: usize,
    /// What is told if nobody can: a store that does not know whether it was done weighs more than one that has done nothing.
    refusal: Option<Answer>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(300),
            longest: Duration::from_secs(2),
            give_up: Duration::from_secs(30),
        }
    }
}

impl Configure for Client {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let usual = Patience::default();
        let patience = Patience {
            first: setup.ms_or("retry_ms", usual.first)?,
            longest: setup.ms_or("retry_ms_max", usual.longest)?,
            give_up: setup.ms_or("give_up_ms", usual.give_up)?,
        };
        let client = Self::new(setup.rng(), patience, setup.all_routes());
        if let Some(stray) = setup.all_routes().iter().find(|name| !is_store(name) && *name != TTY) {
            return Err(Mistake::in_route(stray, "unknown route; known are kvs, kvs-<anything> and tty"));
        }
        if client.stores.is_empty() {
            return Err(Mistake::in_route(STORE, "is needed and missing"));
        }
        Ok(client)
    }
}

impl Client {
    /// A client with these routes. `rng` has to be another one each time that the client starts: it tells the sessions of this
    /// life from those of an earlier one.
    pub fn new(rng: Rng, patience: Patience, routes: &[String]) -> Self {
        let mut client = Self {
            rng,
            patience,
            stores: Vec::new(),
            store: 0,
            has_tty: false,
            session: None,
            number: 0,
            jobs: VecDeque::new(),
            attempt: None,
            counts: Counts::default(),
        };
        client.reroute(routes);
        client
    }

    fn reroute(&mut self, routes: &[String]) {
        self.stores = routes.iter().filter(|name| is_store(name)).cloned().collect();
        self.has_tty = routes.iter().any(|name| name == TTY);
        self.store = 0;
    }

    /// Takes on a command.
    fn hear(&mut self, asker: Asker, line: &[u8], out: &mut Outbox<ClientMessage>) {
        if self.jobs.len() >= JOBS_MAX {
            self.tell(asker, "error too many commands wait for their answers", out);
            return;
        }
        let work = match std::str::from_utf8(line) {
            Ok(line) => parse(line),
            Err(_) => Err(Refused("error the command is not UTF-8".to_owned())),
        };
        self.jobs.push_back(Job { asker, work });
    }

    /// Begins with the first job, if none is under way.
    fn begin(&mut self, now: Time, out: &mut Outbox<ClientMessage>) {
        while self.attempt.is_none()
            && let Some(job) = self.jobs.front()
        {
            match &job.work {
                Err(Refused(line)) => {
                    let (asker, line) = (job.asker, line.clone());
                    self.jobs.pop_front();
                    self.tell(asker, &line, out);
                }
                Ok(operation) => {
                    let message = match self.session {
                        None => KvsMessage::Open { nonce: self.rng.number() },
                        Some(session) => {
                            self.number += 1;
                            let operation = operation.clone();
                            KvsMessage::Ask(Ask { session, number: self.number, operation })
                        }
                    };
                    let give_up_at = now + self.patience.give_up;
                    self.start(now, message, give_up_at, out);
                }
            }
        }
    }

    fn start(&mut self, now: Time, message: KvsMessage, give_up_at: Time, out: &mut Outbox<ClientMessage>) {
        self.send(&message, out);
        let pause = self.patience.first;
        let again_at = now + pause;
        self.attempt = Some(Attempt { message, pause, again_at, give_up_at, refusals: 0, refusal: None });
    }

    fn send(&self, message: &KvsMessage, out: &mut Outbox<ClientMessage>) {
        if let Some(store) = self.stores.get(self.store) {
            out.send(store.clone(), ClientMessage::Kvs(message.clone()));
        }
    }

    /// Asks again, or gives up, if it is time for it.
    fn timeout(&mut self, now: Time, out: &mut Outbox<ClientMessage>) {
        let Some(attempt) = &mut self.attempt else { return };
        if now >= attempt.give_up_at {
            let told = match &attempt.message {
                message if message.changes_keys() => {
                    Answer::Unknown(format!("no answer within {} ms", self.patience.give_up.as_millis()))
                }
                _ => Answer::Refused(format!(
                    "no answer within {} ms; nothing was changed",
                    self.patience.give_up.as_millis()
                )),
            };
            self.counts.given_up += 1;
            self.finish(&told, out);
            return;
        }
        if now < attempt.again_at {
            return;
        }
        // Up to twice as long, but no two clients at the same time.
        let longest = (attempt.pause * 2).min(self.patience.longest).max(self.patience.first);
        attempt.pause = self.rng.duration(attempt.pause.min(longest), longest);
        attempt.again_at = now + attempt.pause;
        let message = attempt.message.clone();
        self.counts.retries += 1;
        self.next_store();
        self.send(&message, out);
    }

    fn answered(&mut self, now: Time, message: KvsMessage, out: &mut Outbox<ClientMessage>) {
        let Some(attempt) = &self.attempt else { return };
        let give_up_at = attempt.give_up_at;
        match (&attempt.message, message) {
            (KvsMessage::Open { nonce }, KvsMessage::Opened { session }) if *nonce == session.nonce => {
                self.session = Some(session);
                self.number = 1;
                let Some(Job { work: Ok(operation), .. }) = self.jobs.front() else {
                    unreachable!("a session is opened for the job that comes first");
                };
                let ask = Ask { session, number: self.number, operation: operation.clone() };
                self.start(now, KvsMessage::Ask(ask), give_up_at, out);
            }
            (KvsMessage::Open { nonce }, KvsMessage::Answer { session, number: 0, answer })
                if (ClientSession { index: 0, nonce: *nonce }) == session =>
            {
                self.judge(now, answer, out);
            }
            (KvsMessage::Ask(ask), KvsMessage::Answer { session, number, answer })
                if (ask.session, ask.number) == (session, number) =>
            {
                if answer == Answer::Forgotten {
                    self.session = None;
                }
                self.judge(now, answer, out);
            }
            // An answer to what is not asked any more.
            _ => {}
        }
    }

    /// Takes an answer to what is under way, unless there is another store that may give a better one.
    fn judge(&mut self, now: Time, answer: Answer, out: &mut Outbox<ClientMessage>) {
        let Some(attempt) = &mut self.attempt else { return };
        if !matches!(answer, Answer::Refused(_) | Answer::Unknown(_)) {
            self.finish(&answer, out);
            return;
        }
        attempt.refusals += 1;
        let told = match attempt.refusal.take() {
            Some(unknown @ Answer::Unknown(_)) => unknown,
            _ => answer,
        };
        if attempt.refusals >= self.stores.len() {
            self.next_store();
            self.finish(&told, out);
            return;
        }
        attempt.refusal = Some(told);
        attempt.again_at = now + attempt.pause;
        // It is the same request, so that it is done once, however many stores it has reached.
        let message = attempt.message.clone();
        self.counts.retries += 1;
        self.next_store();
        self.send(&message, out);
    }

    fn next_store(&mut self) {
        self.store = (self.store + 1) % self.stores.len().max(1);
    }

    /// Tells whoever asked what became of the first job.
    fn finish(&mut self, answer: &Answer, out: &mut Outbox<ClientMessage>) {
        self.attempt = None;
        if let Some(job) = self.jobs.pop_front() {
            self.tell(job.asker, &answer.to_string(), out);
        }
    }

    fn tell(&mut self, asker: Asker, line: &str, out: &mut Outbox<ClientMessage>) {
        self.counts.answered += 1;
        let text = || ClientMessage::Text(Text(line.to_owned()));
        match asker {
            Asker::Session(request) => out.reply(request, line.to_owned()),
            Asker::Terminal(_) if self.has_tty => out.send(TTY, text()),
            Asker::Terminal(peer) => out.send(peer, text()),
        }
    }
}

impl Agent for Client {
    type Msg = ClientMessage;

    fn handle(&mut self, now: Time, input: Input<'_, ClientMessage>, out: &mut Outbox<ClientMessage>) {
        match input {
            Input::Timeout => self.timeout(now, out),
            Input::Rerouted { routes } => self.reroute(routes),
            Input::Message { message: ClientMessage::Kvs(message), .. } => self.answered(now, message, out),
            Input::Message { from, message: ClientMessage::Text(text), .. } => {
                self.hear(Asker::Terminal(from), text.0.as_bytes(), out);
            }
            Input::Commands { mut commands } => {
                if let Some(line) = commands.take() {
                    let request = commands.will_answer();
                    self.hear(Asker::Session(request), line, out);
                }
            }
            _ => {}
        }
        self.begin(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.attempt.as_ref().map(|attempt| attempt.again_at.min(attempt.give_up_at))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("answered", self.counts.answered),
            ("waiting", self.jobs.len() as u64),
            ("retries", self.counts.retries),
            ("given_up", self.counts.given_up),
        ]
    }
}

/// Whether a route of this name leads to a store.
fn is_store(name: &str) -> bool {
    name.strip_prefix(STORE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The route to the store; there may be several, `kvs-1`, `kvs-2` and so on, which are tried in turn.
const STORE: &str = "kvs";
/// The route by which terminals are answered.
const TTY: &str = "tty";
/// How many commands may wait for their answers.
const JOBS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
