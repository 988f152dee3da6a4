//! What a leader knows: how far each member is, what is under way to it, and what it owes to whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::change::Change;
use super::message::Message;
use super::reads::Reading;
use super::snapshot::Sending;
use crate::agent::Index;
use crate::agents::replicated::MemberId;
use crate::time::Time;

/// A time in which this member leads.
#[derive(Debug)]
pub(super) struct Reign {
    /// Its first entry, which says nothing.
    pub(super) first: Index,
    /// Whether that is committed and handed over, and so everything that was put into the log before.
    pub(super) is_ready: bool,
    pub(super) progress: BTreeMap<MemberId, Progress>,
    /// Rounds of heartbeats, counted from 1.
    pub(super) round: u64,
    /// When the rounds went out that have not been answered by a majority, and the last one that was.
    pub(super) rounds: VecDeque<(u64, Time)>,
    pub(super) reading: Vec<Reading>,
    /// The number of the next record of each session that has one in this reign.
    pub(super) expected: BTreeMap<u64, u64>,
    /// For which nonces a session was opened in this reign.
    pub(super) opened: BTreeSet<u64>,
    /// What came before the reign was ready, and how many bytes that are.
    pub(super) early: Vec<(MemberId, Message)>,
    pub(super) early_bytes: usize,
    pub(super) change: Option<Change>,
    /// Who asked what he has to get back: with what nonce, and the entry that was put into the log for it.
    pub(super) repairs: BTreeMap<MemberId, (u64, Index)>,
    /// Whether another member was asked to take over: from then on there are no leases any more (thesis, section 6.4.1).
    pub(super) no_lease: bool,
    /// Numbers the snapshots that are sent.
    pub(super) tokens: u64,
}

impl Reign {
    pub(super) fn new(first: Index) -> Self {
        Self {
            first,
            is_ready: false,
            progress: BTreeMap::new(),
            round: 0,
            rounds: VecDeque::new(),
            reading: Vec::new(),
            expected: BTreeMap::new(),
            opened: BTreeSet::new(),
            early: Vec::new(),
            early_bytes: 0,
            change: None,
            repairs: BTreeMap::new(),
            no_lease: false,
            tokens: 0,
        }
    }
}

/// How far one member is.
#[derive(Debug)]
pub(super) struct Progress {
    /// The last entry that it has as the leader does, on its disk.
    pub(super) matched: Index,
    /// The next one to be sent.
    pub(super) next: Index,
    pub(super) flow: Flow,
    /// The last entry of each message that was sent and not acknowledged.
    pub(super) inflight: VecDeque<Index>,
    /// The same, as far as it said so while its log was not under repair: only this counts in a majority.
    pub(super) counted: Index,
    /// When it was last heard of, and the last round that it has answered; while its log was not under repair, too.
    pub(super) heard: Time,
    pub(super) round: u64,
    /// Up to where it was told that entries are committed.
    pub(super) told: Index,
    /// A round of heartbeats, and what `next` was when it went out: by the answer it is seen whether something was lost before.
    pub(super) mark: (u64, Index),
    /// When it was taken out of the log; it is served a little longer, so that it learns that.
    pub(super) left_at: Option<Time>,
}

/// How entries flow to a member.
#[derive(Debug)]
pub(super) enum Flow {
    /// It is not known where its log begins to differ: one message at a time.
    Probe {
        /// The last entry of the one that is under way, or the one before its first if it holds none.
        sent: Option<Index>,
    },
    /// It is: messages are sent without waiting for answers.
    Replicate,
    /// It needs what the log does not hold any more.
    Snapshot(Box<Sending>),
}

impl Progress {
    pub(super) fn new(next: Index, now: Time) -> Self {
        Self {
            matched: Index(0),
            next,
            flow: Flow::Probe { sent: None },
            inflight: VecDeque::new(),
            counted: Index(0),
            heard: now,
            round: 0,
            told: Index(0),
            mark: (0, Index(0)),
            left_at: None,
        }
    }

    /// It has everything up to `stored` on its disk.
    pub(super) fn acknowledge(&mut self, stored: Index) {
        self.matched = self.matched.max(stored);
        while self.inflight.front().is_some_and(|last| *last <= stored) {
            self.inflight.pop_front();
        }
        self.next = self.next.max(Index(self.matched.0 + 1));
    }

    /// Begins to look for the place again.
    pub(super) fn probe_from(&mut self, next: Index) {
        self.next = next.max(Index(self.matched.0 + 1));
        self.inflight.clear();
        self.flow = Flow::Probe { sent: None };
    }

    /// The place is known.
    pub(super) fn replicate(&mut self) {
        if let Flow::Probe { sent } = self.flow {
            self.flow = Flow::Replicate;
            self.inflight.clear();
            // What was taken is not on the disk yet, or not all of it; it need not be sent again.
            let last = sent.unwrap_or_default().max(self.matched);
            if last > self.matched {
                self.inflight.push_back(last);
            }
            self.next = Index(last.0 + 1);
        }
    }
}
