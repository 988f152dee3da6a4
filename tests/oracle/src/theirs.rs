//! One member of the other Raft with a disk in memory.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::Line;

/// The member.
pub struct Theirs {
    config: Config,
    voters: Vec<u64>,
    node: RawNode<MemStorage>,
    /// Shared with the node: what was written.
    written: MemStorage,
    /// What is durable.
    durable: (HardState, Vec<Entry>),
    /// What it may say only when what was written is durable.
    held: Vec<Message>,
    /// The last piece of what was written.
    piece: u64,
    /// What it has said.
    pub sent: Vec<Message>,
}

/// A time-out that never comes: elections begin when a schedule says so.
const NEVER: usize = usize::MAX / 2;
const ELECTION_TICKS: usize = 10;

impl Theirs {
    /// One of `voters`, with an empty disk. `is_bound`: whether it keeps faith with a leader that it has just heard of.
    pub fn new(id: u64, voters: &[u64], is_bound: bool) -> Self {
        let config = Config {
            id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: 1,
            max_election_tick: NEVER + 1,
            max_size_per_msg: u64::MAX,
            max_uncommitted_size: u64::MAX,
            check_quorum: is_bound,
            pre_vote: true,
            ..Config::default()
        };
        let durable = (HardState::default(), Vec::new());
        let (node, written) = begin(&config, voters, &durable);
        let voters = voters.to_vec();
        Self { config, voters, node, written, durable, held: Vec::new(), piece: 0, sent: Vec::new() }
    }

    /// Loses whatever is not durable, and begins again.
    pub fn restart(&mut self) {
        (self.node, self.written) = begin(&self.config, &self.voters, &self.durable);
        self.held.clear();
        self.sent.clear();
        self.piece = 0;
        self.pump();
    }

    /// Hands over a message.
    pub fn tell(&mut self, message: Message) {
        self.act(|node| node.step(message).expect("a message that can be"));
    }

    /// Lets the node do something, and everything that follows without the disk being done.
    fn act(&mut self, act: impl FnOnce(&mut RawNode<MemStorage>)) {
        act(&mut self.node);
        self.node.raft.set_randomized_election_timeout(NEVER);
        self.pump();
    }

    fn pump(&mut self) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            self.sent.extend(ready.take_messages());
            for message in ready.take_persisted_messages() {
                // Whether one would vote depends on no disk, and ours says it at once.
                match message.get_msg_type() {
                    MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => {
                        self.sent.push(message);
                    }
                    _ => self.held.push(message),
                }
            }
            let mut written = self.written.wl();
            written.append(ready.entries()).expect("entries follow one another");
            if let Some(state) = ready.hs() {
                // Ours does not keep how far the log is committed.
                written.set_hardstate(HardState { commit: 0, ..state.clone() });
            }
            drop(written);
            self.piece = ready.number();
            self.node.advance_append_async(ready);
            self.node.advance_apply();
        }
    }

    /// Makes everything durable that was written.
    pub fn sync(&mut self) {
        loop {
            let state = self.written.rl().hard_state().clone();
            self.durable = (state, self.node.raft.raft_log.all_entries());
            self.node.on_persist_ready(self.piece);
            self.sent.append(&mut self.held);
            if !self.node.has_ready() {
                return;
            }
            self.pump();
        }
    }

    /// Begins an election.
    pub fn campaign(&mut self) {
        self.act(|node| node.campaign().expect("a voter may"));
    }

    /// Takes a record; it has to lead.
    pub fn propose(&mut self, record: &Bytes) {
        self.act(|node| node.propose(Vec::new(), record.to_vec()).expect("it leads"));
    }

    /// A heartbeat to everybody.
    pub fn beat(&mut self) {
        self.act(RawNode::ping);
    }

    /// Stops leading, without another term.
    pub fn step_down(&mut self) {
        self.act(|node| {
            let term = node.raft.term;
            node.raft.become_follower(term, 0);
        });
    }

    /// Lets the time go by for which it keeps faith with a leader.
    pub fn pass(&mut self) {
        self.act(|node| {
            for _ in 0..ELECTION_TICKS {
                node.raft.set_randomized_election_timeout(NEVER);
                node.tick();
            }
        });
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// Whom it gave its vote in its term; 0 for nobody.
    pub fn voted(&self) -> u64 {
        self.node.raft.vote
    }

    /// Who leads, as far as it knows; 0 for nobody.
    pub fn leader(&self) -> u64 {
        self.node.raft.leader_id
    }

    /// Up to where its log is committed.
    pub fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// Its log.
    pub fn log(&self) -> Vec<Line> {
        let entries = self.node.raft.raft_log.all_entries();
        entries
            .into_iter()
            .map(|entry| Line { term: entry.term, record: Bytes::copy_from_slice(&entry.data) })
            .collect()
    }
}

fn begin(
    config: &Config,
    voters: &[u64],
    durable: &(HardState, Vec<Entry>),
) -> (RawNode<MemStorage>, MemStorage) {
    let store = MemStorage::new_with_conf_state(ConfState::from((voters.to_vec(), Vec::new())));
    store.wl().append(&durable.1).expect("entries follow one another");
    store.wl().set_hardstate(durable.0.clone());
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(config, store.clone(), &logger).expect("settings that can be");
    node.raft.set_randomized_election_timeout(NEVER);
    (node, store)
}
