//! From the leader's log into everybody's (Raft, section 5.3), and when an entry is committed (section 5.4.2).

use bytes::Bytes;

use super::entry::Payload;
use super::message::{Append, Message, Rejection};
use super::progress::{Flow, Progress, Reign};
use super::{Raft, Readers};
use crate::agent::{Entry, Index, Read, Term};
use crate::agents::replicated::{ChangeError, LogOutput, MemberId};

impl Raft {
    /// This member has been elected.
    pub(super) fn lead(&mut self) {
        self.out.note(|| format!("raft: became leader term={}", self.term));
        self.counters.reigns += 1;
        self.leader = Some(self.id);
        self.forget_candidacies();
        self.election_at = None;
        self.acknowledged = Index(0);
        let first = Index(self.log.last().0 + 1);
        self.reign = Some(Box::new(Reign::new(first)));
        self.sync_progress();
        self.append(Payload::Nothing.to_bytes());
        self.beat();
        self.flush();
    }

    /// This member does not lead any more.
    pub(super) fn end_reign(&mut self, why: ChangeError) {
        let Some(mut reign) = self.reign.take() else { return };
        self.heartbeat_at = None;
        if reign.is_ready {
            self.out.push(LogOutput::Leads(false));
        }
        for progress in reign.progress.values() {
            if let Flow::Snapshot(sending) = &progress.flow {
                self.out.push(LogOutput::Read(Read::EndRows { token: sending.token }));
            }
        }
        for readers in self.reading.values_mut() {
            readers.members.clear();
        }
        if let Some(change) = reign.change.take() {
            self.end_change_with_reign(&change, why);
        }
    }

    /// A progress for each member, as the log says now who that is.
    pub(super) fn sync_progress(&mut self) {
        let (now, next) = (self.now, Index(self.log.last().0 + 1));
        let Some(reign) = &mut self.reign else { return };
        let members = self.members.latest();
        for id in members.all() {
            if id != self.id {
                reign.progress.entry(id).or_insert_with(|| Progress::new(next, now)).left_at = None;
            }
        }
        for (id, progress) in &mut reign.progress {
            if !members.contains(*id) && progress.left_at.is_none() {
                progress.left_at = Some(now);
            }
        }
    }

    /// Puts an entry into the leader's log. It is sent and written when what has gathered is flushed.
    pub(super) fn append(&mut self, record: Bytes) -> Index {
        let index = Index(self.log.last().0 + 1);
        let members = Payload::members(&record);
        self.log.push(Entry { index, term: self.term, record });
        self.flush_due = true;
        if let Some(members) = members {
            self.members.push(index, members);
            self.persist();
            self.sync_progress();
        }
        index
    }

    /// A heartbeat to everybody, now and from now on; and whatever else a leader does from time to time.
    pub(super) fn beat(&mut self) {
        self.heartbeat_at = Some(self.now + self.options.heartbeat);
        if !self.has_quorum() {
            // Thesis, section 6.2: a leader that reaches no majority does not keep clients waiting.
            self.heard = None;
            return self.step_down();
        }
        self.begin_round();
        self.resend_snapshots();
        self.advance_change();
        self.forget_leavers();
    }

    fn has_quorum(&self) -> bool {
        let patience = self.options.election * 2;
        let Some(reign) = &self.reign else { return false };
        self.members.latest().agrees(|id| {
            let is_heard = |progress: &Progress| self.now.since(progress.heard) < patience;
            id == self.id || reign.progress.get(&id).is_some_and(is_heard)
        })
    }

    /// Sends a round of heartbeats.
    pub(super) fn begin_round(&mut self) {
        let Some(mut reign) = self.reign.take() else { return };
        reign.round += 1;
        reign.rounds.push_back((reign.round, self.now));
        for (id, progress) in &mut reign.progress {
            progress.mark = (reign.round, progress.next);
            if let Flow::Probe { sent } = &mut progress.flow {
                *sent = None;
                self.flush_due = true;
            }
            let committed = self.committed.min(progress.matched);
            progress.told = progress.told.max(committed);
            self.send(*id, Message::Heartbeat { term: self.term, committed, round: reign.round });
        }
        self.reign = Some(reign);
        self.confirm_reads();
    }

    /// Members that were taken out are told of it, for as long as that may take.
    fn forget_leavers(&mut self) {
        let (now, patience, index) = (self.now, self.options.election * 2, self.members.latest_index());
        let Some(reign) = &mut self.reign else { return };
        let gone: Vec<MemberId> = reign
            .progress
            .iter()
            .filter(|(_, progress)| {
                progress.left_at.is_some_and(|at| progress.told >= index || now.since(at) > patience)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.end_snapshot(id);
            if let Some(reign) = &mut self.reign {
                reign.progress.remove(&id);
            }
        }
    }

    /// Looks anew for where a member's log begins to differ: what was under way to it may be lost.
    pub(super) fn probe(&mut self, id: MemberId) {
        let Some(progress) = self.reign.as_mut().and_then(|reign| reign.progress.get_mut(&id)) else {
            return;
        };
        if !matches!(progress.flow, Flow::Snapshot(_)) {
            progress.probe_from(progress.next);
            self.flush_due = true;
        }
    }

    /// Sends everybody what he has not been sent.
    pub(super) fn send_all(&mut self) {
        let Some(mut reign) = self.reign.take() else { return };
        let mut behind = Vec::new();
        for (id, progress) in &mut reign.progress {
            if self.up.contains(id) && !self.send_entries(*id, progress) {
                behind.push(*id);
            }
        }
        self.reign = Some(reign);
        for id in behind {
            self.begin_snapshot(id);
        }
    }

    /// Whether the log holds what the member needs.
    fn send_entries(&mut self, id: MemberId, progress: &mut Progress) -> bool {
        match &mut progress.flow {
            Flow::Snapshot(_) => return true,
            Flow::Probe { sent } => {
                if sent.is_some() {
                    return true;
                }
                let prev = Index(progress.next.0 - 1);
                let Some(prev_term) = self.log.term(prev) else { return false };
                let entries = self.log.cached(progress.next, self.log.last(), self.options.batch_bytes_max);
                let entries = entries.unwrap_or_default();
                *sent = Some(Index(prev.0 + entries.len() as u64));
                self.send_append(id, prev, prev_term, entries);
            }
            Flow::Replicate => {
                while progress.next <= self.log.last() && progress.inflight.len() < self.options.inflight_max
                {
                    let prev = Index(progress.next.0 - 1);
                    let Some(prev_term) = self.log.term(prev) else { return false };
                    let bytes_max = self.options.batch_bytes_max;
                    let Some(entries) = self.log.cached(progress.next, self.log.last(), bytes_max) else {
                        self.read_for(id, progress.next);
                        return true;
                    };
                    self.send_to_replica(id, progress, prev, prev_term, entries);
                }
                let notice = self.committed.min(progress.matched);
                if notice > progress.told {
                    progress.told = notice;
                    self.send(id, Message::Heartbeat { term: self.term, committed: notice, round: 0 });
                }
            }
        }
        true
    }

    fn send_to_replica(
        &mut self,
        id: MemberId,
        progress: &mut Progress,
        prev: Index,
        prev_term: Term,
        entries: Vec<Entry>,
    ) {
        let last = Index(prev.0 + entries.len() as u64);
        progress.next = Index(last.0 + 1);
        progress.inflight.push_back(last);
        progress.told = progress.told.max(self.committed.min(last));
        self.send_append(id, prev, prev_term, entries);
    }

    fn send_append(&mut self, id: MemberId, prev: Index, prev_term: Term, entries: Vec<Entry>) {
        self.counters.appends += 1;
        self.counters.entries += entries.len() as u64;
        let (term, committed) = (self.term, self.committed);
        self.send(id, Message::Append(Append { term, prev, prev_term, committed, entries }));
    }

    /// Entries for a member that is further behind than memory reaches.
    fn read_for(&mut self, id: MemberId, from: Index) {
        let readers = Readers { apply: false, members: [id].into() };
        self.read(from, self.log.last(), self.options.batch_bytes_max, readers);
    }

    /// Reads from the disk, unless the same is being read already.
    pub(super) fn read(&mut self, from: Index, upto: Index, bytes_max: usize, readers: Readers) {
        if let Some(known) = self.reading.get_mut(&from) {
            known.apply |= readers.apply;
            known.members.extend(readers.members);
            return;
        }
        self.reading.insert(from, readers);
        self.out.push(LogOutput::Read(Read::Entries { from, upto, bytes_max }));
    }

    pub(super) fn found_entries(&mut self, from: Index, entries: &[Entry]) {
        let Some(readers) = self.reading.remove(&from) else { return };
        // Something else may stand there by now.
        let holds = |entry: &Entry| self.log.term(entry.index) == Some(entry.term);
        let as_ever =
            entries.iter().zip(from.0..).take_while(|(entry, index)| entry.index.0 == *index && holds(entry));
        let as_ever = as_ever.count();
        if entries.is_empty() && from >= self.log.first() && from <= self.log.last() {
            return self.entry_is_lost(from);
        }
        let entries = &entries[..as_ever];
        if readers.apply {
            self.apply_found(entries);
        }
        for id in readers.members {
            self.send_found(id, from, entries);
        }
    }

    /// An entry that should be on the disk cannot be read. If rows hold what came of it nobody needs it; otherwise this member cannot go on, and finds out at its next
    /// start what exactly is damaged.
    fn entry_is_lost(&mut self, index: Index) {
        if index <= self.rows.kept() {
            self.log.compact(self.rows.kept());
            self.flush_due = true;
        } else {
            self.fail(format!(
                "entry {index} of the log cannot be read: it is got back from the others after a restart"
            ));
        }
    }

    fn send_found(&mut self, id: MemberId, from: Index, entries: &[Entry]) {
        let Some(mut reign) = self.reign.take() else { return };
        let prev = Index(from.0.saturating_sub(1));
        if let (Some(progress), Some(prev_term)) = (reign.progress.get_mut(&id), self.log.term(prev))
            && matches!(progress.flow, Flow::Replicate)
            && progress.next == from
            && !entries.is_empty()
        {
            self.send_to_replica(id, progress, prev, prev_term, entries.to_vec());
        }
        self.reign = Some(reign);
        self.flush_due = true;
    }

    /// The member has everything up to `stored`. If it says so because it was sent entries (`was_asked`), the place where its log may differ is known.
    pub(super) fn on_appended(
        &mut self,
        from: MemberId,
        term: Term,
        stored: Index,
        repairing: bool,
        was_asked: bool,
    ) {
        self.observe(term);
        let (now, last, committed) = (self.now, self.log.last(), self.committed);
        let Some(progress) = self.progress_of(from, term) else { return };
        if stored > last {
            // Nobody can have what the leader has not.
            return;
        }
        if !repairing {
            progress.heard = now;
            progress.counted = progress.counted.max(stored);
        }
        progress.acknowledge(stored);
        if was_asked {
            progress.replicate();
        }
        self.flush_due |= progress.next <= last || committed.min(progress.matched) > progress.told;
        self.advance_commit();
        self.advance_change();
    }

    fn progress_of(&mut self, id: MemberId, term: Term) -> Option<&mut Progress> {
        if term != self.term {
            return None;
        }
        self.reign.as_mut()?.progress.get_mut(&id)
    }

    pub(super) fn on_rejected(&mut self, from: MemberId, rejection: Rejection) {
        self.observe(rejection.term);
        let now = self.now;
        let next = self.next_after(rejection);
        let Some(progress) = self.progress_of(from, rejection.term) else { return };
        if rejection.repairing {
            // Only a damaged log may have become shorter than it was acknowledged to be.
            progress.matched = progress.matched.min(Index(next.0 - 1));
        } else {
            progress.heard = now;
        }
        let is_news = match progress.flow {
            Flow::Probe { .. } => rejection.prev.0 + 1 == progress.next.0,
            Flow::Replicate => rejection.prev > progress.matched,
            Flow::Snapshot(_) => false,
        };
        if is_news {
            progress.probe_from(next);
            self.counters.rejected += 1;
            self.flush_due = true;
        }
    }

    /// Where a log that was found to be different may be the same: a term is passed over at a time.
    fn next_after(&self, rejection: Rejection) -> Index {
        let before = Index(rejection.prev.0.saturating_sub(1)).min(rejection.last);
        let place = self.log.last_up_to_term(before, rejection.conflict_term);
        let next = if self.log.term(place) == Some(rejection.conflict_term) {
            Index(place.0.min(before.0) + 1)
        } else {
            Index((place.0.min(before.0) + 1).min(rejection.conflict_first.0))
        };
        next.max(Index(1))
    }

    pub(super) fn on_heartbeat_reply(&mut self, from: MemberId, term: Term, round: u64, agreed: Index) {
        let Some(progress) = self.progress_of(from, term) else { return };
        let (marked, next) = progress.mark;
        if marked != round || !matches!(progress.flow, Flow::Replicate) {
            return;
        }
        if agreed < progress.matched {
            // It has begun again, and nobody has told. It has what it had, and does not know that this is what the leader has.
            progress.probe_from(progress.next.min(Index(progress.matched.0 + 1)));
            self.flush_due = true;
        } else if agreed.0 + 1 < next.0 {
            // What was sent before that round has not arrived. Where messages overtake each other it may yet; then it does so twice.
            progress.next = Index(agreed.0 + 1);
            progress.inflight.clear();
            self.flush_due = true;
        }
    }

    /// A member that takes part has answered a round of heartbeats.
    pub(super) fn on_round(&mut self, from: MemberId, term: Term, round: u64) {
        if let Some(progress) = self.progress_of(from, term) {
            progress.round = progress.round.max(round);
            self.confirm_reads();
        }
    }

    /// Commits what a majority has on its disks, if it was put into the log in this term (Raft, section 5.4.2).
    pub(super) fn advance_commit(&mut self) {
        let Some(reign) = &self.reign else { return };
        let own = if self.laws.acknowledge_after_sync { self.disk.stored_index() } else { self.log.last() };
        let counted = |id: MemberId| match reign.progress.get(&id) {
            Some(progress) => progress.counted,
            None if id == self.id => own,
            None => Index(0),
        };
        let Some(reached) = self.members.latest().reached(counted) else { return };
        let is_own = self.log.term(reached) == Some(self.term) || !self.laws.commit_needs_current_term;
        if reached > self.committed && is_own {
            let before = self.committed;
            self.commit(reached);
            self.flush_due = true;
            self.advance_change();
            self.answer_repairs(before);
        }
    }

    pub(super) fn commit(&mut self, upto: Index) {
        self.committed = upto;
        self.members.settle(upto);
    }
}
