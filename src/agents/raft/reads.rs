//! Reads that are not stale, without an entry in the log (thesis, section 6.4): the leader says up to where one has to be before one answers, once it is
//! sure that it has not been replaced.

use std::collections::BTreeMap;

use super::message::Message;
use super::{Raft, Reads};
use crate::agent::Index;
use crate::agents::replicated::{LogOutput, MemberId};
use crate::time::Time;

/// What the service of this member has asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The questions that no leader was asked.
    fresh: Vec<u64>,
    /// Those that were put to the leader of now, by the number under which that was done.
    sent: BTreeMap<u64, Vec<u64>>,
    /// Those that can be answered when this entry is handed over.
    ready: BTreeMap<Index, Vec<u64>>,
    ids: u64,
}

/// What a leader was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    from: MemberId,
    id: u64,
    /// Up to where the log was committed then.
    index: Index,
    /// The round of heartbeats that was begun afterwards.
    round: u64,
}

impl Asked {
    pub(super) fn is_waiting(&self) -> bool {
        !self.fresh.is_empty() || !self.sent.is_empty()
    }

    /// Whoever was asked does not lead any more, or cannot have been reached.
    pub(super) fn forget_sent(&mut self) {
        for (_, mut tokens) in std::mem::take(&mut self.sent) {
            self.fresh.append(&mut tokens);
        }
    }
}

impl Raft {
    pub(super) fn ask(&mut self, token: u64) {
        self.asked.fresh.push(token);
        self.flush_due = true;
    }

    /// Puts what was asked to the leader: all of it as one question.
    pub(super) fn submit_reads(&mut self) {
        if self.asked.fresh.is_empty() {
            return;
        }
        self.arm_retry();
        let Some(leader) = self.leader.filter(|leader| *leader == self.id || self.up.contains(leader)) else {
            return;
        };
        if leader == self.id && self.is_early() {
            // Asked again as soon as the reign is ready.
            return;
        }
        self.asked.ids += 1;
        let id = self.asked.ids;
        let tokens = std::mem::take(&mut self.asked.fresh);
        self.asked.sent.insert(id, tokens);
        if leader == self.id {
            self.on_read_index(leader, id);
        } else {
            self.send(leader, Message::ReadIndex { id });
        }
    }

    /// Puts the questions to the leader once more that have no answer yet, under their numbers: the answer to the first time may be on its way. What a leader
    /// has asked itself waits for a round of heartbeats, of which there is another one soon.
    pub(super) fn submit_reads_again(&mut self) {
        let Some(leader) = self.leader.filter(|leader| self.up.contains(leader)) else { return };
        for id in self.asked.sent.keys().copied().collect::<Vec<_>>() {
            self.send(leader, Message::ReadIndex { id });
        }
    }

    pub(super) fn on_read_index(&mut self, from: MemberId, id: u64) {
        if self.is_early() {
            // What is committed is known only when something of this term is (Raft, section 8).
            return self.put_off(from, Message::ReadIndex { id }, 0);
        }
        let has_lease = self.has_lease();
        let committed = self.committed;
        let Some(reign) = &mut self.reign else { return };
        if has_lease || !self.laws.reads_confirm {
            return self.answer_read(from, id, committed);
        }
        // One round for all that is asked in one turn: it begins when that is over.
        let round = reign.round + 1;
        reign.reading.push(Reading { from, id, index: committed, round });
        self.flush_due = true;
    }

    /// Begins a round of heartbeats if a read waits for one.
    pub(super) fn begin_round_for_reads(&mut self) {
        let Some(reign) = &self.reign else { return };
        if reign.reading.last().is_some_and(|reading| reading.round > reign.round) {
            self.begin_round();
        }
    }

    /// Whether nobody can have been elected since a majority answered (thesis, section 6.4.1).
    fn has_lease(&self) -> bool {
        let Some(reign) = &self.reign else { return false };
        if self.options.reads != Reads::Lease || reign.no_lease {
            return false;
        }
        let drift = if self.laws.leases_allow_for_drift { self.options.drift_permille } else { 0 };
        let lease = self.options.election / 1000 * (1000 - drift.min(1000));
        let confirmed = self.confirmed_round();
        let began = reign.rounds.iter().find(|(round, _)| *round == confirmed);
        began.is_some_and(|(_, at)| self.now < *at + lease)
    }

    /// The last round that a majority has answered.
    fn confirmed_round(&self) -> u64 {
        let Some(reign) = &self.reign else { return 0 };
        let answered = |id: MemberId| match reign.progress.get(&id) {
            Some(progress) => progress.round,
            None if id == self.id => reign.round,
            None => 0,
        };
        self.members.latest().reached(answered).unwrap_or(0)
    }

    /// Answers what was asked before a round that a majority has answered.
    pub(super) fn confirm_reads(&mut self) {
        let confirmed = self.confirmed_round();
        let Some(reign) = &mut self.reign else { return };
        while reign.rounds.front().is_some_and(|(round, _)| *round < confirmed) {
            reign.rounds.pop_front();
        }
        let due = reign.reading.partition_point(|reading| reading.round <= confirmed);
        for reading in reign.reading.drain(..due).collect::<Vec<_>>() {
            self.answer_read(reading.from, reading.id, reading.index);
        }
    }

    fn answer_read(&mut self, to: MemberId, id: u64, index: Index) {
        if to == self.id {
            self.on_read_index_reply(to, id, index);
        } else {
            self.send(to, Message::ReadIndexReply { id, index });
        }
    }

    pub(super) fn on_read_index_reply(&mut self, from: MemberId, id: u64, index: Index) {
        if self.leader != Some(from) {
            return;
        }
        if let Some(mut tokens) = self.asked.sent.remove(&id) {
            self.asked.ready.entry(index).or_default().append(&mut tokens);
            self.answer_reads();
        }
    }

    /// Tells the service what it has waited for, as far as entries have been handed over.
    pub(super) fn answer_reads(&mut self) {
        if self.rows.is_restoring() {
            return;
        }
        while let Some(ready) = self.asked.ready.first_entry() {
            if *ready.key() > self.applied {
                return;
            }
            for token in ready.remove() {
                self.out.push(LogOutput::Barrier { token });
            }
        }
    }

    /// Until when a member that has just begun votes for nobody: it may have heard of a leader that relies on it, before it ended.
    pub(super) fn bind_at_start(&mut self, now: Time) {
        if self.options.reads == Reads::Lease {
            self.heard = Some(now);
        }
    }
}
