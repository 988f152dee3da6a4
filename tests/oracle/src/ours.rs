//! One member of our Raft with a disk in memory, whose time is handed out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ovid::agent::{Entry, Found, Index, Lsn, Read, Recovered, Write};
use ovid::agents::raft::{Laws, Message, Options, Raft};
use ovid::agents::replicated::{LogInput, LogOutbox, LogOutput, MemberId, ReplicatedLog, Standing, Status};
use ovid::time::Time;

use crate::Line;

/// What a disk holds: what is kept beside the log, and the log.
#[derive(Clone, Debug, Default)]
struct Image {
    state: Option<Bytes>,
    entries: BTreeMap<Index, Entry>,
}

impl Image {
    fn take(&mut self, write: Write) {
        match write {
            Write::State { state } => self.state = Some(state),
            Write::Append { entry } => {
                assert_eq!(entry.index.0, self.last().0 + 1, "entries follow one another");
                self.entries.insert(entry.index, entry);
            }
            Write::Truncate { from } => {
                self.entries.split_off(&from);
            }
            other => panic!("no rows are kept here: {other:?}"),
        }
    }

    fn last(&self) -> Index {
        self.entries.keys().next_back().copied().unwrap_or_default()
    }

    fn recovered(&self) -> Recovered {
        let mut terms = Vec::new();
        for entry in self.entries.values() {
            if terms.last().is_none_or(|(_, term)| *term != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        let (state, first, last) = (self.state.clone(), Index(1), self.last());
        Recovered { state, first, last, terms, ..Recovered::default() }
    }
}

/// The member.
#[derive(Debug)]
pub struct Ours {
    name: String,
    voters: Vec<String>,
    options: Options,
    laws: Laws,
    seed: u64,
    raft: Raft,
    now: Time,
    /// With everything that was written, and with what is durable.
    seen: Image,
    durable: Image,
    unsynced: Vec<Write>,
    synced: Lsn,
    reads: VecDeque<Read>,
    /// What it has said.
    pub sent: Vec<(MemberId, Message)>,
    /// What it has handed over in this life.
    pub records: Vec<Bytes>,
}

impl Ours {
    /// One of `voters`, with an empty disk.
    pub fn new(name: &str, voters: &[String], laws: Laws, seed: u64) -> Self {
        let options = Options::default();
        let raft = Raft::new(options.clone(), name, voters, seed).obeying(laws);
        let mut ours = Self {
            name: name.to_owned(),
            voters: voters.to_vec(),
            options,
            laws,
            seed,
            raft,
            now: Time::since_start(Duration::from_secs(1)),
            seen: Image::default(),
            durable: Image::default(),
            unsynced: Vec::new(),
            synced: Lsn(0),
            reads: VecDeque::new(),
            sent: Vec::new(),
            records: Vec::new(),
        };
        ours.restart();
        ours
    }

    /// Loses whatever is not durable, and begins again.
    pub fn restart(&mut self) {
        self.seed += 1;
        self.raft = Raft::new(self.options.clone(), &self.name, &self.voters, self.seed).obeying(self.laws);
        self.seen = self.durable.clone();
        self.unsynced.clear();
        self.synced = Lsn(0);
        self.reads.clear();
        self.sent.clear();
        self.records.clear();
        let recovered = self.durable.recovered();
        self.tell(LogInput::Recovered(&recovered));
        self.tell(LogInput::Start);
        for name in self.voters.clone() {
            if name != self.name {
                self.tell(LogInput::MemberUp(MemberId::of(&name)));
            }
        }
    }

    /// Hands over an input, and everything that follows without time going on or the disk being done.
    pub fn tell(&mut self, input: LogInput<'_, Message>) {
        self.hand_over(input);
        for _ in 0..1000 {
            if let Some(read) = self.reads.pop_front() {
                let Read::Entries { from, upto, .. } = read else { panic!("no rows are kept here") };
                let entries = self.seen.entries.range(from..=upto).map(|(_, entry)| entry.clone());
                let found = Found::Entries { from, entries: entries.collect() };
                self.hand_over(LogInput::Found(found));
            } else if self.raft.deadline().is_some_and(|at| at <= self.now) {
                self.hand_over(LogInput::Timeout);
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn hand_over(&mut self, input: LogInput<'_, Message>) {
        let mut out = LogOutbox::new(false);
        self.raft.handle(self.now, input, &mut out);
        for output in out.drain() {
            match output {
                LogOutput::Send(to, message) => self.sent.push((to, message)),
                LogOutput::Write(write) => {
                    self.seen.take(write.clone());
                    self.unsynced.push(write);
                }
                LogOutput::Read(read) => self.reads.push_back(read),
                LogOutput::Committed { record, .. } => self.records.push(record),
                _ => {}
            }
        }
    }

    /// Makes everything durable that was written.
    pub fn sync(&mut self) {
        while !self.unsynced.is_empty() {
            for write in std::mem::take(&mut self.unsynced) {
                self.durable.take(write);
                self.synced = self.synced.next();
            }
            self.tell(LogInput::Stored(self.synced));
        }
    }

    /// Its time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Lets its time go on.
    pub fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
        self.tell(LogInput::Timeout);
    }

    /// The shortest time after which a follower begins an election; for so long it also keeps faith with a leader.
    pub fn patience(&self) -> Duration {
        self.options.election
    }

    /// How often a leader speaks.
    pub fn heartbeat(&self) -> Duration {
        self.options.heartbeat
    }

    /// Lets its time go on until it begins an election.
    pub fn run_into_time_out(&mut self) {
        let before = self.elections();
        for _ in 0..100 {
            if self.elections() > before {
                return;
            }
            let Some(at) = self.raft.deadline() else { return };
            self.now = self.now.max(at);
            self.tell(LogInput::Timeout);
        }
        panic!("it begins no election: {:?}", self.status());
    }

    /// How many elections it has begun in this life.
    pub fn elections(&self) -> u64 {
        let counters = self.raft.counters();
        counters.iter().find(|(name, _)| *name == "elections").expect("it is counted").1
    }

    /// What stands where.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.status().standing == Standing::Leader
    }

    /// Whom it gave its vote in its term.
    pub fn voted(&self) -> Option<MemberId> {
        self.raft.voted()
    }

    /// Its log, as it was handed to its disk.
    pub fn log(&self) -> Vec<Line> {
        let lines = self.seen.entries.values();
        lines.map(|entry| Line { term: entry.term.0, record: entry.record.clone() }).collect()
    }
}
