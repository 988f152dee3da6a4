//! A few members with disks in memory, for tests: messages are delivered, dropped and held up by hand, and time is handed out.

mod image;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;

pub(super) use self::image::Image;
use super::disk::HardState;
use super::{Laws, Message, Options, Raft};
use crate::agent::{Applied, Entry, Found, Index, Looked, Lsn, Read, Refusal, Row, Term, Why, Write};
use crate::agents::replicated::{
    Change, ChangeError, LogInput, LogOutbox, LogOutput, MemberId, ReplicatedLog, Standing, Status,
};
use crate::time::Time;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) raft: Raft,
    pub(super) lives: bool,
    /// With everything that was written, and with what is durable.
    pub(super) seen: Image,
    pub(super) durable: Image,
    unsynced: VecDeque<Write>,
    synced: Lsn,
    /// Whether writes become durable by themselves.
    pub(super) syncs: bool,
    /// Whether the service keeps rows: each record under its index.
    pub(super) keeps: bool,
    /// The rows that have come of records and were not asked for yet.
    fresh: Vec<Row>,
    snapshots: BTreeMap<u64, (Applied, Vec<(Bytes, Bytes)>)>,
    pub(super) reads: VecDeque<Read>,
    /// What the service was handed in this life; what was restored lies before.
    pub(super) records: Vec<Bytes>,
    pub(super) refused: Vec<Refusal>,
    pub(super) barriers: Vec<u64>,
    pub(super) changed: Vec<(u64, Result<(), ChangeError>)>,
    pub(super) notes: Vec<String>,
    /// What the service was told of who leads.
    pub(super) leads: Vec<bool>,
    pub(super) looked: Vec<Looked>,
    pub(super) asked_for_rows: u64,
}

/// All of them.
pub(super) struct Cluster {
    pub(super) now: Time,
    pub(super) nodes: BTreeMap<MemberId, Node>,
    /// What is on its way, in the order in which it was sent.
    pub(super) flights: VecDeque<(MemberId, MemberId, Message)>,
    /// Ways on which nothing arrives.
    pub(super) cut: BTreeSet<(MemberId, MemberId)>,
    options: Options,
    laws: Laws,
    seed: u64,
    voters: Vec<String>,
    /// Every message that was delivered.
    pub(super) delivered: Vec<(MemberId, MemberId, Message)>,
}

pub(super) fn id(name: &str) -> MemberId {
    MemberId::of(name)
}

impl Cluster {
    /// Servers that are up and linked with each other, of which nobody leads yet.
    pub(super) fn new(names: &[&str]) -> Self {
        Self::with(names, Options::default())
    }

    pub(super) fn with(names: &[&str], options: Options) -> Self {
        let mut cluster = Self::unstarted(names, options);
        cluster.start_all();
        cluster
    }

    /// Servers whose disks can be filled before they begin.
    pub(super) fn unstarted(names: &[&str], options: Options) -> Self {
        let mut cluster = Self {
            now: Time::since_start(Duration::from_secs(1)),
            nodes: BTreeMap::new(),
            flights: VecDeque::new(),
            cut: BTreeSet::new(),
            options,
            laws: Laws::ALL,
            seed: 1,
            voters: names.iter().map(|name| (*name).to_owned()).collect(),
            delivered: Vec::new(),
        };
        for name in names {
            cluster.add_node(name);
        }
        cluster
    }

    pub(super) fn obeying(&mut self, laws: Laws) {
        self.laws = laws;
    }

    /// Starts all that are not, obeying the laws as they are now.
    pub(super) fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if !self.nodes[&id].lives {
                self.start(id);
            }
        }
    }

    /// Answers all that a server wants to read.
    pub(super) fn serve(&mut self, name: &str) {
        while self.serve_reads(id(name)) {}
    }

    /// Another server, which is not started.
    pub(super) fn add_node(&mut self, name: &str) {
        let raft = self.raft(name);
        let node = Node {
            name: name.to_owned(),
            raft,
            lives: false,
            seen: Image::default(),
            durable: Image::default(),
            unsynced: VecDeque::new(),
            synced: Lsn(0),
            syncs: true,
            keeps: false,
            fresh: Vec::new(),
            leads: Vec::new(),
            looked: Vec::new(),
            asked_for_rows: 0,
            snapshots: BTreeMap::new(),
            reads: VecDeque::new(),
            records: Vec::new(),
            refused: Vec::new(),
            barriers: Vec::new(),
            changed: Vec::new(),
            notes: Vec::new(),
        };
        self.nodes.insert(id(name), node);
    }

    fn raft(&mut self, name: &str) -> Raft {
        self.seed += 1;
        Raft::new(self.options.clone(), name, &self.voters, self.seed).obeying(self.laws)
    }

    /// Begins with what is durable.
    fn start(&mut self, id: MemberId) {
        let name = self.nodes[&id].name.clone();
        let raft = self.raft(&name);
        let node = self.nodes.get_mut(&id).expect("known");
        node.raft = raft;
        node.lives = true;
        node.seen = node.durable.clone();
        node.unsynced.clear();
        node.synced = Lsn(0);
        node.reads.clear();
        node.snapshots.clear();
        node.records.clear();
        node.fresh.clear();
        node.leads.clear();
        let recovered = node.durable.recovered();
        self.input(id, LogInput::Recovered(&recovered));
        self.input(id, LogInput::Start);
        let others: Vec<MemberId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            if self.nodes[&other].lives {
                self.input(other, LogInput::MemberUp(id));
                self.input(id, LogInput::MemberUp(other));
            }
        }
    }

    pub(super) fn restart(&mut self, name: &str) {
        self.start(id(name));
    }

    /// Ends a server; what is not durable is lost, and its links break.
    pub(super) fn crash(&mut self, name: &str) {
        let gone = id(name);
        self.node_mut(name).lives = false;
        self.flights.retain(|(from, to, _)| *from != gone && *to != gone);
        let others: Vec<MemberId> =
            self.nodes.values().filter(|node| node.lives).map(|node| id(&node.name)).collect();
        for other in others {
            self.input(other, LogInput::MemberDown(gone, Why::Broken));
        }
    }

    pub(super) fn node(&self, name: &str) -> &Node {
        &self.nodes[&id(name)]
    }

    pub(super) fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&id(name)).expect("a known server")
    }

    pub(super) fn raft_of(&self, name: &str) -> &Raft {
        &self.node(name).raft
    }

    pub(super) fn status(&self, name: &str) -> Status {
        self.raft_of(name).status()
    }

    /// Hands over an input and carries out what it leads to, but for syncs, reads and deliveries.
    pub(super) fn input(&mut self, to: MemberId, input: LogInput<'_, Message>) {
        let now = self.now;
        let node = self.nodes.get_mut(&to).expect("known");
        let mut out = LogOutbox::new(true);
        node.raft.handle(now, input, &mut out);
        let outputs: Vec<_> = out.drain().collect();
        self.carry_out(to, outputs);
    }

    /// Lets a test reach into a member, and carries out what that leads to.
    pub(super) fn act(&mut self, name: &str, act: impl FnOnce(&mut Raft)) {
        let now = self.now;
        let raft = &mut self.node_mut(name).raft;
        raft.now = now;
        act(raft);
        let outputs: Vec<_> = raft.out.drain().collect();
        self.carry_out(id(name), outputs);
    }

    fn carry_out(&mut self, of: MemberId, outputs: Vec<LogOutput<Message>>) {
        let node = self.nodes.get_mut(&of).expect("known");
        let mut is_asked = false;
        for output in outputs {
            match output {
                LogOutput::Send(to, message) => self.flights.push_back((of, to, message)),
                LogOutput::Write(write) => {
                    node.seen.take(write.clone());
                    node.unsynced.push_back(write);
                }
                LogOutput::Read(read) => node.reads.push_back(read),
                LogOutput::Committed { index, record } => {
                    let key = Bytes::copy_from_slice(&index.0.to_be_bytes());
                    node.fresh.push(Row { key, value: Some(record.clone()) });
                    node.records.push(record);
                    assert_eq!(index.0, node.records.len() as u64, "records are handed over without gaps");
                }
                LogOutput::Refused { why, .. } => node.refused.push(why),
                LogOutput::Barrier { token } => node.barriers.push(token),
                LogOutput::Restore { rows, first, last } => {
                    if first {
                        node.records.clear();
                        node.fresh.clear();
                    }
                    node.records.extend(rows.into_iter().filter_map(|row| row.value));
                    assert!(last.is_none_or(|last| last.0 == node.records.len() as u64), "all rows came");
                }
                LogOutput::Changed { token, result } => node.changed.push((token, result)),
                LogOutput::Note(text) => node.notes.push(text),
                LogOutput::WantsRows => {
                    is_asked = true;
                    node.asked_for_rows += 1;
                }
                LogOutput::Leads(leads) => node.leads.push(leads),
                LogOutput::Looked(looked) => node.looked.push(looked),
            }
        }
        if node.keeps && is_asked {
            let rows = std::mem::take(&mut node.fresh);
            self.input(of, LogInput::Keep { rows });
        }
    }

    /// Makes durable what a server has written.
    pub(super) fn sync(&mut self, name: &str) {
        let node = self.node_mut(name);
        if node.unsynced.is_empty() {
            return;
        }
        while let Some(write) = node.unsynced.pop_front() {
            node.durable.take(write);
            node.synced = node.synced.next();
        }
        let synced = node.synced;
        self.input(id(name), LogInput::Stored(synced));
    }

    fn serve_reads(&mut self, of: MemberId) -> bool {
        let node = self.nodes.get_mut(&of).expect("known");
        let Some(read) = node.reads.pop_front() else { return false };
        let found = match read {
            Read::Look(look) => {
                let row = |(key, value): (&Bytes, &Bytes)| {
                    Ok::<_, Infallible>(Row { key: key.clone(), value: Some(value.clone()) })
                };
                let looked =
                    look.gather(node.seen.rows.range(look.from.clone()..look.until.clone()).map(row));
                Found::Looked(looked.expect("nothing can go wrong"))
            }
            Read::Entries { from, upto, bytes_max } => {
                Found::Entries { from, entries: node.seen.read(from, upto, bytes_max) }
            }
            Read::Rows { token, part, bytes_max } => {
                if part == 0 {
                    let rows = node.seen.rows.clone().into_iter().collect();
                    node.snapshots.insert(token, (node.seen.applied.clone(), rows));
                }
                let (applied, rest) = node.snapshots.get_mut(&token).expect("a reading that goes on");
                let (mut bytes, mut rows) = (0, Vec::new());
                while !rest.is_empty() && (rows.is_empty() || bytes < bytes_max) {
                    let (key, value) = rest.remove(0);
                    bytes += key.len() + value.len();
                    rows.push(Row { key, value: Some(value) });
                }
                Found::Rows { token, part, applied: applied.clone(), rows, last: rest.is_empty() }
            }
            Read::EndRows { token } => {
                node.snapshots.remove(&token);
                return true;
            }
        };
        self.input(of, LogInput::Found(found));
        true
    }

    /// Delivers the first message that is on its way; false if there is none.
    pub(super) fn deliver_one(&mut self) -> bool {
        let Some((from, to, message)) = self.flights.pop_front() else { return false };
        if self.nodes[&to].lives && !self.cut.contains(&(from, to)) {
            self.delivered.push((from, to, message.clone()));
            self.input(to, LogInput::Message { from, message });
        }
        true
    }

    /// Everything that can happen without time going on.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut is_quiet = true;
            for of in self.nodes.keys().copied().collect::<Vec<_>>() {
                let node = &self.nodes[&of];
                if !node.lives {
                    continue;
                }
                let (name, syncs, is_unsynced) = (node.name.clone(), node.syncs, !node.unsynced.is_empty());
                if node.raft.deadline().is_some_and(|at| at <= self.now) {
                    self.input(of, LogInput::Timeout);
                    is_quiet = false;
                }
                if syncs && is_unsynced {
                    self.sync(&name);
                    is_quiet = false;
                }
                is_quiet &= !self.serve_reads(of);
            }
            is_quiet &= !self.deliver_one();
            if is_quiet {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets time go on.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            self.settle();
            let next =
                self.nodes.values().filter(|node| node.lives).filter_map(|node| node.raft.deadline()).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Lets this server begin an election now, whatever others have heard of a leader.
    pub(super) fn campaign(&mut self, name: &str) {
        self.act(name, |raft| {
            raft.set_election_timer();
            raft.campaign(true);
        });
    }

    /// Makes this one lead.
    pub(super) fn elect(&mut self, name: &str) {
        self.campaign(name);
        self.settle();
        assert_eq!(self.status(name).standing, Standing::Leader, "{:?}", self.node(name).notes);
    }

    pub(super) fn propose(&mut self, name: &str, record: &str) {
        let record = Bytes::copy_from_slice(record.as_bytes());
        self.input(id(name), LogInput::Propose { record });
    }

    pub(super) fn ask(&mut self, name: &str, token: u64) {
        self.input(id(name), LogInput::Barrier { token });
    }

    pub(super) fn change(&mut self, name: &str, token: u64, change: Change) {
        self.input(id(name), LogInput::Change { token, change });
    }

    /// Nothing goes from one to the other, either way.
    pub(super) fn part(&mut self, one: &str, other: &str) {
        self.cut.insert((id(one), id(other)));
        self.cut.insert((id(other), id(one)));
    }

    /// Cuts this one off from everybody.
    pub(super) fn isolate(&mut self, name: &str) {
        for other in self.nodes.values().map(|node| node.name.clone()).collect::<Vec<_>>() {
            self.part(name, &other);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn leaders(&self) -> Vec<&str> {
        let leads = |node: &&Node| node.lives && node.raft.status().standing == Standing::Leader;
        self.nodes.values().filter(leads).map(|node| node.name.as_str()).collect()
    }

    /// The records that a server's service has, as text.
    pub(super) fn records(&self, name: &str) -> Vec<String> {
        let records = &self.node(name).records;
        records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect()
    }

    /// The terms of a server's entries.
    pub(super) fn log(&self, name: &str) -> Vec<u64> {
        let raft = self.raft_of(name);
        let (first, last) = (raft.status().first, raft.status().last);
        (first.0..=last.0).map(|index| raft.log.term(Index(index)).expect("known").0).collect()
    }

    /// Fills a disk: entries of these terms, and the term and vote beside them.
    pub(super) fn fill(&mut self, name: &str, terms: &[u64], term: u64) {
        let image = &mut self.node_mut(name).durable;
        for (index, of) in (1..).zip(terms) {
            let record = super::entry::Payload::Nothing.to_bytes();
            image.entries.insert(Index(index), Entry { index: Index(index), term: Term(*of), record });
        }
        self.fill_state(name, term, None);
    }

    pub(super) fn fill_state(&mut self, name: &str, term: u64, voted: Option<&str>) {
        let (term, voted) = (Term(term), voted.map(MemberId::of));
        let state = HardState { term, voted, ..HardState::default() };
        self.node_mut(name).durable.state = Some(state.to_bytes());
    }

    /// How many messages of a kind were delivered since this was last asked.
    pub(super) fn take_delivered(&mut self) -> Vec<(MemberId, MemberId, Message)> {
        std::mem::take(&mut self.delivered)
    }
}
