//! Raft: a log that a majority of servers agrees on (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", USENIX ATC 2014; in
//! detail: Ongaro, "Consensus: Bridging Theory and Practice", 2014, here "the thesis").
//!
//! **The problem.** Several servers keep the same log, whichever of them fail and come back, as long as a majority lives; and what one of them was
//! told to be in the log is never lost.
//!
//! **The state.** Of each member: its term and its vote in it, its log, who belongs to the log (all on its disk); up to where the log is committed and handed
//! over; who leads. Of a leader: how far each other member is.
//!
//! **What differs from the papers.**
//! - Services propose at any member; one that does not lead passes proposals on, and its own sessions see to it that each record is handed over once
//!   (thesis, section 6.3). A session is named by the entry that opened it, so none can be opened twice.
//! - Heartbeats are messages of their own, answered without waiting for the disk; they carry the rounds by which reads are confirmed.
//! - A member whose disk is damaged asks the leader, which puts an entry of its own into the log; once that is committed without counting any member
//!   under repair, the one that asked has to get everything up to it before it votes again. Whatever it may have acknowledged, and whomever it may have
//!   given a vote that it has forgotten, is behind that entry, or cannot be elected any more (after Alagappan et al., "Protocol-Aware Recovery for
//!   Consensus-Based Storage", FAST 2018).
//! - A follower whose link to the leader breaks does not wait for its whole time-out.
//! - Elections that lead to nothing follow one another more and more slowly, so that one is won in the end where disks take longer for a vote than the time-out lasts.
//! - Who belongs to the log is kept beside term and vote, so that nobody has to read a whole log to learn it.
//!
//! **How to drive it.** What is to be sent is gathered: while there is something, [`deadline`](ReplicatedLog::deadline) is not later than the last input's time,
//! so a host that hands over all inputs of one turn and then the [`Timeout`](LogInput::Timeout) gets one message a member, and one piece of the log for
//! the disk, for all of them. When it wants the service's rows ([`WantsRows`](LogOutput::WantsRows)), they come ([`Keep`](LogInput::Keep)) after all the outputs of
//! that input were carried out, before the next other input. After [`Start`](LogInput::Start) on a disk with rows a `Restore` comes before the first `Committed`.

mod apply;
mod change;
mod disk;
mod election;
mod entry;
mod following;
mod gathering;
mod laws;
mod log;
mod membership;
mod message;
mod options;
mod progress;
mod proposals;
mod reads;
mod recovery;
mod repair;
mod replication;
mod rows;
mod sessions;
mod snapshot;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use self::change::Changes;
use self::disk::{Deferred, Disk};
use self::election::Ballot;
pub use self::laws::Laws;
use self::log::Log;
pub use self::membership::Membership;
use self::membership::Memberships;
pub use self::message::{Append, Candidacy, Message, Rejection, Snapshot};
pub use self::options::{Options, OptionsError, Reads};
use self::progress::Reign;
use self::proposals::Proposals;
use self::reads::Asked;
use self::repair::Repair;
use self::rows::Rows;
use self::sessions::Sessions;
use self::snapshot::Incoming;
use self::status::Counters;
use crate::agent::{Entry, Found, Index, Lsn, Read, Refusal, Term};
use crate::agents::codec;
use crate::agents::replicated::{
    ChangeError, LogInput, LogOutbox, LogOutput, MemberId, ReplicatedLog, Status,
};
use crate::rng::Rng;
use crate::time::Time;

/// One member of a Raft.
#[derive(Debug)]
pub struct Raft {
    options: Options,
    laws: Laws,
    id: MemberId,
    rng: Rng,
    /// When the input came that is being taken, or was last.
    now: Time,
    /// The caller's while an input is being taken.
    out: LogOutbox<Message>,
    phase: Phase,

    term: Term,
    voted: Option<MemberId>,
    repair: Option<Repair>,
    members: Memberships,
    /// The last write of the above.
    state_lsn: Lsn,
    log: Log,
    disk: Disk,

    committed: Index,
    applied: Index,
    /// How many records were handed over since the log began.
    records: Index,
    sessions: Sessions,
    rows: Rows,
    incoming: Option<Incoming>,
    /// What is being read from the disk: from which entry on, and for whom.
    reading: BTreeMap<Index, Readers>,

    ballot: Option<Ballot>,
    reign: Option<Box<Reign>>,
    leader: Option<MemberId>,
    /// When the leader of this term was last heard of.
    heard: Option<Time>,
    /// Up to where the log is known to be as the leader's.
    agreed: Index,
    /// What the leader was told to be on this member's disk.
    acknowledged: Index,
    up: BTreeSet<MemberId>,

    proposals: Proposals,
    asked: Asked,
    changes: Changes,

    /// How many times it has stood for election since it knew a leader.
    candidacies: u32,
    election_at: Option<Time>,
    heartbeat_at: Option<Time>,
    /// When whatever a leader has not answered is asked again.
    retry_at: Option<Time>,
    /// Whether something waits to be sent.
    flush_due: bool,
    /// How many bytes of records do.
    gathered_bytes: usize,
    counters: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It does not know its disk yet.
    New,
    /// It does; what has to be written first is worked out.
    Recovered(recovery::Mending),
    Running,
    /// The disk has failed, or holds what cannot be.
    Failed(String),
}

/// For whom entries are read from the disk.
#[derive(Clone, Debug, Default)]
struct Readers {
    /// To hand them over here.
    apply: bool,
    /// To send them.
    members: BTreeSet<MemberId>,
}

/// The longest record that a service may propose.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

impl Raft {
    /// The member `name`. On an empty disk `voters` belong to the log, so all members that begin it have to be given the same; afterwards the log knows better.
    /// `seed` has to be another one at each start.
    pub fn new<S: AsRef<str>>(
        options: Options,
        name: &str,
        voters: impl IntoIterator<Item = S>,
        seed: u64,
    ) -> Self {
        let id = MemberId::of(name);
        let mut rng = Rng::new(seed ^ id.0);
        let proposals = Proposals::new(&mut rng);
        Self {
            log: Log::new(Index(0), Term(0), options.cache_bytes_max),
            options,
            laws: Laws::ALL,
            id,
            rng,
            now: Time::ZERO,
            out: LogOutbox::new(false),
            phase: Phase::New,
            term: Term(0),
            voted: None,
            repair: None,
            members: Memberships::new(Index(0), Membership::of_voters(voters)),
            state_lsn: Lsn(0),
            disk: Disk::default(),
            committed: Index(0),
            applied: Index(0),
            records: Index(0),
            sessions: Sessions::default(),
            rows: Rows::default(),
            incoming: None,
            reading: BTreeMap::new(),
            ballot: None,
            reign: None,
            leader: None,
            heard: None,
            agreed: Index(0),
            acknowledged: Index(0),
            up: BTreeSet::new(),
            proposals,
            asked: Asked::default(),
            changes: Changes::default(),
            candidacies: 0,
            election_at: None,
            heartbeat_at: None,
            retry_at: None,
            flush_due: false,
            gathered_bytes: 0,
            counters: Counters::default(),
        }
    }

    /// The same member, obeying fewer rules: for whoever tests checkers.
    #[must_use]
    pub fn obeying(mut self, laws: Laws) -> Self {
        self.laws = laws;
        self
    }

    /// Its number.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// From which entry on which term holds, as far back as is known; for checkers.
    pub fn terms(&self) -> &[(Index, Term)] {
        self.log.runs()
    }

    /// The newest entries, up to the last one, as far as they are in memory; for checkers.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.log.cache()
    }

    /// Whom it gave its vote in its term; for checkers.
    pub fn voted(&self) -> Option<MemberId> {
        self.voted
    }

    fn take(&mut self, input: LogInput<'_, Message>) {
        if !matches!(self.phase, Phase::Running) {
            return self.take_aside(input);
        }
        match input {
            LogInput::Recovered(_) | LogInput::Start => {}
            LogInput::Timeout => self.tick(),
            LogInput::MemberUp(id) => self.member_up(id),
            LogInput::MemberDown(id, _) => self.member_down(id),
            LogInput::Message { from, message } => {
                self.up.insert(from);
                self.receive(from, message);
            }
            LogInput::Propose { record } => self.propose(record),
            LogInput::Barrier { token } => self.ask(token),
            LogInput::Change { token, change } => self.want_change(token, change),
            LogInput::Keep { rows } => self.keep(rows),
            // Rows that are about to be replaced are not those that the service knows.
            LogInput::Look(_) if self.rows.is_restoring() => {}
            LogInput::Look(look) => self.out.push(LogOutput::Read(Read::Look(look))),
            LogInput::Stored(upto) => self.stored(upto),
            LogInput::StoreFailed(why) => self.fail(why.to_owned()),
            LogInput::Found(Found::Looked(looked)) => self.out.push(LogOutput::Looked(looked)),
            LogInput::Found(Found::Entries { from, entries }) => self.found_entries(from, &entries),
            LogInput::Found(Found::Rows { token, part, applied, rows, last }) => {
                self.found_rows(token, part, applied, rows, last);
            }
        }
        self.deliver();
        self.ask_for_rows();
        self.log.shrink();
    }

    /// An input before the start, or after the end.
    fn take_aside(&mut self, input: LogInput<'_, Message>) {
        match input {
            LogInput::Recovered(recovered) => self.recover(recovered),
            LogInput::Start => self.start(),
            LogInput::MemberUp(id) => {
                self.up.insert(id);
            }
            LogInput::MemberDown(id, _) => {
                self.up.remove(&id);
            }
            LogInput::Propose { record } => {
                let why = match &self.phase {
                    Phase::Failed(why) => Refusal::Failed(why.clone()),
                    _ => Refusal::Busy,
                };
                self.out.push(LogOutput::Refused { record, why });
            }
            LogInput::Change { token, .. } => {
                self.out.push(LogOutput::Changed { token, result: Err(ChangeError::NoLeader) });
            }
            LogInput::StoreFailed(why) => self.fail(why.to_owned()),
            _ => {}
        }
    }

    fn receive(&mut self, from: MemberId, message: Message) {
        match message {
            Message::PreVote(candidacy) => self.on_pre_vote(from, candidacy),
            Message::PreVoteReply { term, granted } => self.on_pre_vote_reply(from, term, granted),
            Message::Vote(candidacy) => self.on_vote(from, candidacy),
            Message::VoteReply { term, granted } => self.on_vote_reply(from, term, granted),
            Message::Append(append) => self.on_append(from, append),
            Message::Appended { term, stored, repairing } => {
                self.on_appended(from, term, stored, repairing, true);
            }
            Message::Rejected(rejection) => self.on_rejected(from, rejection),
            Message::Heartbeat { term, committed, round } => self.on_heartbeat(from, term, committed, round),
            Message::HeartbeatReply { term, round, agreed, stored, repairing } => {
                self.on_appended(from, term, stored, repairing, false);
                self.on_heartbeat_reply(from, term, round, agreed);
                if !repairing {
                    self.on_round(from, term, round);
                }
            }
            Message::Snapshot(snapshot) => self.on_snapshot(from, snapshot),
            Message::SnapshotReply { term, token, next } => self.on_snapshot_reply(from, term, token, next),
            Message::Forward { session, first, records } => self.on_forward(from, session, first, records),
            Message::ForwardReply { session, next } => self.on_forward_reply(from, session, next),
            Message::Open { nonce } => self.on_open(from, nonce),
            Message::ReadIndex { id } => self.on_read_index(from, id),
            Message::ReadIndexReply { id, index } => self.on_read_index_reply(from, id, index),
            Message::Change { id, change } => self.on_change(from, id, change),
            Message::ChangeReply { id, result } => self.on_change_reply(from, id, result),
            Message::TimeoutNow { term } => self.on_timeout_now(from, term),
            Message::Repair { nonce } => self.on_repair(from, nonce),
            Message::RepairReply { term, nonce, target, members } => {
                self.on_repair_reply(from, term, nonce, target, &members);
            }
        }
    }

    fn tick(&mut self) {
        if self.flush_due {
            self.flush();
        }
        if self.is_due(self.heartbeat_at) {
            self.beat();
        }
        if self.is_due(self.election_at) {
            self.election_timeout();
        }
        if self.is_due(self.retry_at) {
            self.retry();
        }
        // What the above have gathered need not wait for another timeout.
        if self.flush_due {
            self.flush();
        }
    }

    fn is_due(&self, at: Option<Time>) -> bool {
        at.is_some_and(|at| at <= self.now)
    }

    fn member_up(&mut self, id: MemberId) {
        self.up.insert(id);
        self.probe(id);
        if self.leader == Some(id) {
            self.proposals.forget_sent();
            self.asked.forget_sent();
            self.flush_due = true;
        }
        self.ask_for_repair();
    }

    fn member_down(&mut self, id: MemberId) {
        self.up.remove(&id);
        self.end_snapshot(id);
        self.probe(id);
        if self.leader == Some(id) {
            self.leader_is_gone();
        }
    }

    /// The writes up to this one are on the disk: what waited for them can go on.
    fn stored(&mut self, upto: Lsn) {
        self.disk.advance(upto);
        while let Some(what) = self.disk.due() {
            match what {
                Deferred::Send(to, message) => self.send(to, message),
                Deferred::Campaign(term) => self.ask_for_votes(term),
                Deferred::Kept(index) => self.kept(index),
                Deferred::Installed(index, to, message) => {
                    self.disk.installed(index);
                    self.send(to, message);
                }
            }
        }
        self.acknowledge();
        self.advance_commit();
        self.check_repaired();
    }

    /// The disk is gone: this member does nothing any more, and says so to whoever waits.
    fn fail(&mut self, why: String) {
        if self.reign.is_some() {
            self.hand_over();
            self.end_reign(ChangeError::NoLeader);
        }
        for record in self.proposals.take_all() {
            self.out.push(LogOutput::Refused { record, why: Refusal::Failed(why.clone()) });
        }
        self.fail_changes();
        self.ballot = None;
        self.leader = None;
        self.disk.forget_sends();
        self.out.note(|| format!("raft: failed: {why}"));
        self.phase = Phase::Failed(why);
    }

    fn leads(&self) -> bool {
        self.reign.is_some()
    }
}

impl ReplicatedLog for Raft {
    type Msg = Message;

    fn handle(&mut self, now: Time, input: LogInput<'_, Message>, out: &mut LogOutbox<Message>) {
        self.now = self.now.max(now);
        std::mem::swap(&mut self.out, out);
        self.take(input);
        std::mem::swap(&mut self.out, out);
    }

    fn deadline(&self) -> Option<Time> {
        if self.phase != Phase::Running {
            return None;
        }
        let flush_at = self.flush_due.then_some(self.now);
        [flush_at, self.election_at, self.heartbeat_at, self.retry_at, self.rows.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn status(&self) -> Status {
        self.describe()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.named()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
