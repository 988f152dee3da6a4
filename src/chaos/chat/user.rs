//! The users: each a thread with a client, or, for users of both clusters, with one for each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::book::{Book, LifeId, MessageId};
use super::plan::{MESSAGE_BYTES_MAX, Person, Plan, TAGS, To};
use crate::agents::messenger::{ConversationId, Place, Sequence};
use crate::rng::Rng;
use crate::talk::{Answer, ClientEvent, ClientOptions, Recipient, Spot, Talk};
use crate::wire::proto::{ConversationsRequest, ErrorCode, Route};

/// What all users share.
#[derive(Debug)]
pub struct Desk {
    book: Mutex<Book>,
    phase: AtomicU8,
    /// How many users write nothing any more.
    fetching: AtomicUsize,
    begun: Instant,
    /// Where the clusters' clients connect.
    servers: [Vec<SocketAddr>; 2],
    pub(super) plan: Arc<Plan>,
    /// From one message of a user to the next, on average.
    pace: Duration,
}

/// What users do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// They write, read, leave and come back.
    Work,
    /// They write nothing any more and fetch what is theirs, in all their clusters.
    Fetch,
    /// They go.
    Go,
}

impl Desk {
    /// Everybody is to work.
    pub fn new(plan: Arc<Plan>, servers: [Vec<SocketAddr>; 2], rate: u32) -> Self {
        Self {
            book: Mutex::new(Book::new(Arc::clone(&plan))),
            phase: AtomicU8::new(Phase::Work as u8),
            fetching: AtomicUsize::new(0),
            begun: Instant::now(),
            servers,
            plan,
            pace: Duration::from_secs(1) / rate.max(1),
        }
    }

    /// What is to be done from now on.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether nothing is written any more, and nothing of what was is missing.
    pub fn is_complete(&self) -> bool {
        self.fetching.load(Ordering::SeqCst) == self.plan.users.len() && self.book().missing(1).is_empty()
    }

    /// The book.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book, when nobody writes into it any more.
    pub fn into_book(self) -> Book {
        self.book.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when all this goes on.
    pub fn at(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What a client of a user is told. It begins with any of the servers.
    pub(super) fn client(&self, user: usize, cluster: usize, register: bool, rng: &mut Rng) -> Talk {
        let Person { name, is_lazy, .. } = &self.plan.users[user];
        self.talk(name, cluster, register, !is_lazy, rng)
    }

    fn talk(&self, name: &str, cluster: usize, register: bool, acknowledges: bool, rng: &mut Rng) -> Talk {
        let usual = ClientOptions::new(name, PASSWORD, self.servers(cluster, rng));
        let log_in = if register { REGISTER_LIMIT } else { usual.log_in };
        Talk::new(ClientOptions { register, acknowledges, log_in, ..usual }, rng.fork())
    }

    fn servers(&self, cluster: usize, rng: &mut Rng) -> Vec<SocketAddr> {
        let mut servers = self.servers[cluster].clone();
        rng.shuffle(&mut servers);
        servers
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

/// A user at work.
#[derive(Debug)]
pub struct User {
    number: usize,
    desk: Arc<Desk>,
    rng: Rng,
    /// A client for each cluster that they are a user of.
    stays: Vec<Stay>,
    /// In which of these they are.
    at: usize,
    /// Whom they have registered since, and in which cluster.
    guests: Vec<(String, usize)>,
}

/// A user in one cluster.
#[derive(Debug)]
struct Stay {
    cluster: usize,
    life: LifeId,
    talk: Talk,
    /// Messages that were not answered, as their client calls them.
    tickets: BTreeMap<u64, MessageId>,
    /// What has come and is not acknowledged yet, of users who do not read at once: up to where.
    unread: BTreeMap<ConversationId, Spot>,
    /// When it last asked how far it has read.
    asked_at: Option<Instant>,
}

impl User {
    /// A user in their first cluster.
    pub fn new(number: usize, desk: &Arc<Desk>, mut rng: Rng) -> Self {
        let clusters = desk.plan.users[number].clusters.clone();
        let stays = clusters.iter().map(|&cluster| {
            let mut stay = Stay::begin(number, cluster, desk, &mut rng);
            if cluster != clusters[0] {
                stay.talk.disconnect();
            }
            stay
        });
        let stays = stays.collect();
        Self { number, desk: Arc::clone(desk), rng, stays, at: 0, guests: Vec::new() }
    }

    /// Works, and fetches what is theirs, until all are to go.
    pub fn run(mut self) {
        let desk = Arc::clone(&self.desk);
        let mut leave_at = Instant::now() + self.rng.duration(Duration::ZERO, VISIT_MAX);
        while desk.is(Phase::Work) {
            let pause = self.rng.duration(Duration::ZERO, desk.pace * 2);
            self.listen(pause);
            // Seldom: if their client crashes before, all of it comes once more.
            if self.rng.below(READS_ONE_IN) == 0 {
                self.stays[self.at].read();
            }
            if Instant::now() >= leave_at {
                self.leave();
                leave_at = Instant::now() + self.rng.duration(VISIT_MIN, VISIT_MAX);
            }
            self.write();
        }
        for stay in &mut self.stays {
            if !stay.talk.client().is_on() {
                let servers = desk.servers(stay.cluster, &mut self.rng);
                stay.talk.connect(&servers);
            }
        }
        let mut guests = Guests::new(std::mem::take(&mut self.guests));
        let mut waits = true;
        while !desk.is(Phase::Go) {
            for stay in &mut self.stays {
                stay.fetch(&desk);
            }
            if waits && guests.have_returned(&desk, &mut self.rng) {
                waits = false;
                desk.fetching.fetch_add(1, Ordering::SeqCst);
            }
        }
        guests.miss(&desk);
    }

    /// Takes what comes for this long.
    fn listen(&mut self, lasts: Duration) {
        let until = Instant::now() + lasts;
        let stay = &mut self.stays[self.at];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match stay.talk.next(left) {
                Some(event) => stay.note(event, &self.desk),
                None if left.is_zero() => return,
                None => {}
            }
        }
    }

    /// Leaves, and comes back on another server, in another cluster or with another client.
    fn leave(&mut self) {
        let desk = Arc::clone(&self.desk);
        let what = self.rng.below(10);
        if what == 9 && self.guests.len() < GUESTS_MAX {
            return self.bring_guest();
        }
        let stay = &mut self.stays[self.at];
        while let Some(event) = stay.talk.told() {
            stay.note(event, &desk);
        }
        if what < 2 {
            // As when its battery is empty: nothing is said, nothing is kept.
            desk.book().ends(stay.life);
            *stay = Stay::begin(self.number, stay.cluster, &desk, &mut self.rng);
            return;
        }
        let moves = what < 6 && self.stays.len() > 1;
        let stay = &mut self.stays[self.at];
        stay.talk.disconnect();
        while let Some(event) = stay.talk.told() {
            stay.note(event, &desk);
        }
        desk.book().leaves(desk.at(), stay.life, moves);
        let away = if self.rng.below(20) == 0 { AWAY_LONG_MAX } else { AWAY_MAX };
        let until = Instant::now() + self.rng.duration(Duration::ZERO, away);
        while desk.is(Phase::Work) && Instant::now() < until {
            thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
        }
        if moves {
            self.at = (self.at + 1) % self.stays.len();
        }
        let stay = &mut self.stays[self.at];
        // By password on any server, or by token on the one that it was on.
        let servers =
            if self.rng.below(2) == 0 { desk.servers(stay.cluster, &mut self.rng) } else { Vec::new() };
        stay.talk.connect(&servers);
    }

    /// Registers somebody new, in the middle of it all.
    fn bring_guest(&mut self) {
        let cluster = self.stays[self.at].cluster;
        let name = format!("guest-{}-{}", self.number + 1, self.guests.len() + 1);
        let mut talk = self.desk.talk(&name, cluster, true, true, &mut self.rng);
        while self.desk.is(Phase::Work) {
            match talk.next(STEP) {
                Some(ClientEvent::LoggedIn { .. }) => return self.guests.push((name, cluster)),
                Some(ClientEvent::LogInFailed { why }) => {
                    return self
                        .desk
                        .book()
                        .fault(format!("{name} cannot be registered in {}: {why}", TAGS[cluster]));
                }
                _ => {}
            }
        }
    }

    /// Writes to somebody, if not too much waits already.
    fn write(&mut self) {
        let (to, bytes) = self.draw();
        let stay = &mut self.stays[self.at];
        if stay.talk.client().waiting() >= WAITING_MAX {
            return;
        }
        let (id, text) = self.desk.book().writes(self.desk.at(), stay.life, to, bytes);
        let name = self.desk.plan.name(to).to_owned();
        let to = if matches!(to, To::Group(_)) { Recipient::Group(name) } else { Recipient::User(name) };
        stay.tickets.insert(stay.talk.send(to, text), id);
    }

    /// To whom, and how much: mostly what is accepted, now and then what must not be.
    fn draw(&mut self) -> (To, usize) {
        let (plan, cluster) = (&self.desk.plan, self.stays[self.at].cluster);
        let is_long = self.rng.below(100) == 0;
        let bytes =
            if is_long { 1000 + self.rng.index(MESSAGE_BYTES_MAX - 1000) } else { 20 + self.rng.index(180) };
        let belongs = |to: &To| plan.refusal(self.number, cluster, *to, bytes).is_none();
        let groups = (0..plan.groups.len()).map(To::Group);
        let users = (0..plan.users.len()).filter(|user| *user != self.number).map(To::User);
        let (all, bytes): (Vec<To>, usize) = match self.rng.below(100) {
            0..55 => (users.filter(belongs).collect(), bytes),
            // Some belong to no group.
            55..95 => {
                let own: Vec<To> = groups.filter(belongs).collect();
                (if own.is_empty() { users.filter(belongs).collect() } else { own }, bytes)
            }
            95..98 => (groups.chain(users).filter(|to| !belongs(to)).collect(), bytes),
            98 => (users.filter(belongs).collect(), MESSAGE_BYTES_MAX + 1),
            _ => (Vec::new(), bytes),
        };
        (self.rng.pick(&all).copied().unwrap_or(To::Nobody), bytes)
    }
}

/// Those whom a user has registered come back, one after the other: whoever was registered is a user.
struct Guests {
    waiting: Vec<(String, usize)>,
    comes: Option<Talk>,
}

impl Guests {
    fn new(waiting: Vec<(String, usize)>) -> Self {
        Self { waiting, comes: None }
    }

    /// Waits a moment for the next one; whether all have come.
    fn have_returned(&mut self, desk: &Desk, rng: &mut Rng) -> bool {
        let Some((name, cluster)) = self.waiting.last() else { return true };
        let talk = self.comes.get_or_insert_with(|| desk.talk(name, *cluster, false, true, rng));
        match talk.next(STEP) {
            Some(ClientEvent::LoggedIn { .. }) => desk.book().guest(),
            Some(ClientEvent::LogInFailed { why }) => desk.book().fault(not_back(name, *cluster, &why)),
            _ => return false,
        }
        self.waiting.pop();
        self.comes = None;
        self.waiting.is_empty()
    }

    /// Nobody waits for them any more.
    fn miss(self, desk: &Desk) {
        for (name, cluster) in self.waiting {
            desk.book().fault(not_back(&name, cluster, "there is no answer"));
        }
    }
}

fn not_back(name: &str, cluster: usize, why: &str) -> String {
    format!("{name}, who was registered in {}, cannot log in: {why}", TAGS[cluster])
}

impl Stay {
    /// A client that knows nothing yet.
    fn begin(user: usize, cluster: usize, desk: &Desk, rng: &mut Rng) -> Self {
        let life = desk.book().begins(user, cluster);
        let talk = desk.client(user, cluster, false, rng);
        Self { cluster, life, talk, tickets: BTreeMap::new(), unread: BTreeMap::new(), asked_at: None }
    }

    /// Takes what comes for a moment, and asks now and then how far it has read.
    fn fetch(&mut self, desk: &Desk) {
        while let Some(event) = self.talk.next(STEP) {
            self.note(event, desk);
        }
        self.read();
        if self.talk.client().is_on() && self.asked_at.is_none_or(|at| at.elapsed() > ASK_AGAIN) {
            self.asked_at = Some(Instant::now());
            let conversations_request = Some(ConversationsRequest {});
            self.talk.ask(Route { conversations_request, ..Route::default() });
        }
    }

    /// Says of everything that has come that it was read.
    fn read(&mut self) {
        for spot in std::mem::take(&mut self.unread).into_values() {
            self.talk.acknowledge(&spot);
        }
    }

    /// Writes down what has happened.
    fn note(&mut self, event: ClientEvent, desk: &Desk) {
        let (at, life) = (desk.at(), self.life);
        let mut book = desk.book();
        match event {
            ClientEvent::LoggedIn { .. } => book.logged_in(at, life),
            ClientEvent::Disconnected => book.alone(at, life),
            ClientEvent::LogInFailed { why } => {
                book.fault(format!("a user of {} cannot log in: {why}", TAGS[self.cluster]));
                drop(book);
                thread::sleep(LOG_IN_AGAIN);
                self.talk.connect(&[]);
            }
            ClientEvent::Accepted { ticket, place } => {
                if let Some(id) = self.tickets.remove(&ticket) {
                    book.accepted(at, id, place);
                }
            }
            ClientEvent::Refused { ticket, code, why } => match self.tickets.remove(&ticket) {
                None => {}
                Some(_) if code == ErrorCode::ClientForgotten => {
                    book.fault(format!("{} has forgotten a client", TAGS[self.cluster]));
                }
                Some(id) => book.refused(at, id, code, &why),
            },
            ClientEvent::Message { spot, message } => {
                book.got(life, spot.place, &message);
                self.unread.insert(spot.place.conversation, spot);
            }
            ClientEvent::ReadBy { user, upto } => book.told_read(life, &user, upto),
            ClientEvent::Answer { answer: Answer::Conversations(entries), .. } => {
                for entry in entries {
                    let conversation = ConversationId(entry.conversation);
                    book.has_read(life, Place { conversation, sequence: Sequence(entry.read) });
                }
            }
            ClientEvent::Answer { .. } | ClientEvent::Presence { .. } => {}
        }
    }
}

/// The password of everybody.
const PASSWORD: &str = "open sesame";
/// How long it may take that a user is registered, on a machine where all these servers have just begun.
const REGISTER_LIMIT: Duration = Duration::from_secs(15);
const LOG_IN_AGAIN: Duration = Duration::from_millis(500);
/// How long users stay, and how long they are away at the most.
const VISIT_MIN: Duration = Duration::from_secs(1);
const VISIT_MAX: Duration = Duration::from_secs(10);
const AWAY_MAX: Duration = Duration::from_secs(2);
const AWAY_LONG_MAX: Duration = Duration::from_secs(30);
/// How many a user registers at the most.
const GUESTS_MAX: usize = 8;
/// Of how many messages that they write lazy users read what has come before one.
const READS_ONE_IN: u64 = 50;
/// Who has so many messages that were not answered writes no more.
const WAITING_MAX: usize = 64;
const STEP: Duration = Duration::from_millis(20);
const ASK_AGAIN: Duration = Duration::from_millis(500);
