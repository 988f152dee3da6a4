//! What a member does with what the leader sends: entries go into its log, in the place of others if need be, and are acknowledged once they are on its disk (Raft,
//! section 5.3).

use super::Raft;
use super::disk::Deferred;
use super::entry::Payload;
use super::message::{Append, Message, Rejection};
use crate::agent::{Entry, Index, Term, Write};
use crate::agents::replicated::MemberId;

impl Raft {
    /// A message has come that only a leader sends. Whether it is the leader of this term.
    pub(super) fn accept_leader(&mut self, from: MemberId, term: Term) -> bool {
        self.observe(term);
        if term < self.term || self.leads() {
            return false;
        }
        self.heard = Some(self.now);
        if self.leader != Some(from) {
            self.ballot = None;
            self.leader = Some(from);
            self.forget_candidacies();
            self.acknowledged = Index(0);
            self.proposals.forget_sent();
            self.asked.forget_sent();
            self.flush_due = self.proposals.is_waiting() || self.asked.is_waiting() || self.flush_due;
            self.meet_leader(from);
        }
        self.set_election_timer();
        true
    }

    pub(super) fn on_append(&mut self, from: MemberId, append: Append) {
        if !self.accept_leader(from, append.term) {
            // The sender does not lead any more, and learns it by the term.
            let rejection = self.rejection(append.prev);
            return self.answer(from, Message::Rejected(rejection));
        }
        let base = self.log.base();
        if append.prev > base && self.log.term(append.prev) != Some(append.prev_term)
            || append.prev == base && self.log.term(base) != Some(append.prev_term)
        {
            let rejection = self.rejection(append.prev);
            return self.answer(from, Message::Rejected(rejection));
        }
        let last = Index(append.prev.0.saturating_add(append.entries.len() as u64));
        let new = append.entries.into_iter().filter(|entry| entry.index > base);
        for entry in new {
            if !self.take_entry(entry) {
                return;
            }
        }
        self.write_out();
        self.agree(last.min(self.log.last()), append.committed);
        let stored = self.stored_as_agreed();
        if stored == self.agreed {
            // Nothing to wait for, and perhaps no news, but the leader may not know.
            self.acknowledged = stored;
            let repairing = self.repair.is_some();
            self.answer(from, Message::Appended { term: self.term, stored, repairing });
        } else {
            self.acknowledge();
        }
    }

    /// The log is as the leader's up to `agreed`, of which `committed` is committed.
    pub(super) fn agree(&mut self, agreed: Index, committed: Index) {
        self.agreed = self.agreed.max(agreed);
        let committed = committed.min(self.agreed);
        if committed > self.committed {
            self.commit(committed);
        }
        self.check_repaired();
    }

    /// Why entries behind `prev` cannot be taken.
    fn rejection(&self, prev: Index) -> Rejection {
        let (last, repairing) = (self.log.last(), self.repair.is_some());
        let place = if prev > last { last } else { prev };
        let before = if prev > last { last } else { Index(prev.0.saturating_sub(1)) };
        Rejection {
            term: self.term,
            prev,
            conflict_term: self.log.term(place).unwrap_or_default(),
            conflict_first: self.log.first_of_term(place),
            last: before,
            repairing,
        }
    }

    /// Puts an entry of the leader's into the log, in the place of another one if need be. False if that cannot be.
    fn take_entry(&mut self, entry: Entry) -> bool {
        if entry.index <= self.log.last() {
            if self.log.term(entry.index) == Some(entry.term) || !self.laws.truncate_conflicts {
                return true;
            }
            if entry.index <= self.committed {
                self.out.note(|| format!("raft: entry {} is committed and was to be replaced", entry.index));
                return false;
            }
            self.truncate(entry.index);
        }
        let members = Payload::members(&entry.record);
        let index = entry.index;
        self.log.push(entry);
        if let Some(members) = members {
            self.members.push(index, members);
            self.persist();
        }
        true
    }

    pub(super) fn truncate(&mut self, from: Index) {
        self.log.truncate(from);
        self.disk.truncate(from);
        self.write(Write::Truncate { from });
        self.agreed = self.agreed.min(self.log.last());
        if self.members.cut(from) {
            self.persist();
        }
    }

    fn stored_as_agreed(&self) -> Index {
        let stored =
            if self.laws.acknowledge_after_sync { self.disk.stored_index() } else { self.log.last() };
        stored.min(self.agreed)
    }

    /// Tells the leader what is on this member's disk, if that is news.
    pub(super) fn acknowledge(&mut self) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.id) else { return };
        let stored = self.stored_as_agreed();
        if stored > self.acknowledged {
            self.acknowledged = stored;
            let repairing = self.repair.is_some();
            self.answer(leader, Message::Appended { term: self.term, stored, repairing });
        }
    }

    pub(super) fn on_heartbeat(&mut self, from: MemberId, term: Term, committed: Index, round: u64) {
        if !self.accept_leader(from, term) {
            let rejection = self.rejection(Index(0));
            return self.answer(from, Message::Rejected(rejection));
        }
        self.agree(Index(0), committed);
        if round > 0 {
            let (agreed, stored) = (self.agreed, self.stored_as_agreed());
            let repairing = self.repair.is_some();
            let reply = Message::HeartbeatReply { term: self.term, round, agreed, stored, repairing };
            self.answer(from, reply);
        }
    }

    /// A snapshot has taken the place of the log: said once that is on the disk.
    pub(super) fn defer_installed(&mut self, index: Index, to: MemberId, message: Message) {
        let lsn = self.disk.last();
        self.disk.defer(lsn, Deferred::Installed(index, to, message));
    }
}
