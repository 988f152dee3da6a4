//! The rows of the leader's service, in parts, for a member that needs what the log does not hold any more (Raft, section 7).

use super::Raft;
use super::log::Log;
use super::membership::Memberships;
use super::message::{Message, Snapshot};
use super::progress::Flow;
use super::rows::{Meta, Rows};
use crate::agent::{Applied, Index, Read, Refusal, Row, Term, Write};
use crate::agents::replicated::{LogOutput, MemberId};
use crate::time::Time;

/// A snapshot on its way to a member.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: u64,
    /// The part that is being read, or was sent and not answered.
    part: u64,
    /// That part, to be sent again if no answer comes; none while it is being read.
    sent: Option<Snapshot>,
    sent_at: Time,
}

/// A snapshot that is coming in.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    from: MemberId,
    token: u64,
    /// The part that comes next.
    next: u64,
}

/// How many bits of a token number the snapshots of one reign; the others name the reign.
const TOKEN_BITS: u32 = 24;

/// In place of the part that is wanted next: none is, what the snapshot holds is here.
const ENOUGH: u64 = u64::MAX;

// The leader's side.
impl Raft {
    /// The log does not reach back to where a member's ends.
    pub(super) fn begin_snapshot(&mut self, id: MemberId) {
        if self.rows.kept() < self.log.base() {
            // A log that begins later than its rows reach: nothing can be sent to anybody who needs it.
            self.out.note(|| format!("raft: nothing to send to {id}: no rows are kept"));
            return;
        }
        let now = self.now;
        let Some(reign) = &mut self.reign else { return };
        reign.tokens += 1;
        // No other snapshot of this member has the same: parts of two of them must not be put together, here or at the other end.
        let token = self.term.0 << TOKEN_BITS | reign.tokens;
        let Some(progress) = reign.progress.get_mut(&id) else { return };
        progress.inflight.clear();
        progress.flow = Flow::Snapshot(Box::new(Sending { token, part: 0, sent: None, sent_at: now }));
        self.counters.snapshots += 1;
        self.read_rows(token, 0);
    }

    /// Gives up what is on its way to a member.
    pub(super) fn end_snapshot(&mut self, id: MemberId) {
        let Some(progress) = self.reign.as_mut().and_then(|reign| reign.progress.get_mut(&id)) else {
            return;
        };
        if let Flow::Snapshot(sending) = &progress.flow {
            self.out.push(LogOutput::Read(Read::EndRows { token: sending.token }));
            progress.probe_from(progress.next);
            self.flush_due = true;
        }
    }

    /// A part has been read.
    pub(super) fn send_part(&mut self, token: u64, part: u64, applied: Applied, rows: Vec<Row>, last: bool) {
        let (term, now) = (self.term, self.now);
        let Some(reign) = &mut self.reign else { return };
        for (id, progress) in &mut reign.progress {
            let Flow::Snapshot(sending) = &mut progress.flow else { continue };
            if sending.token == token && sending.part == part {
                let snapshot = Snapshot { term, token, part, applied, rows, last };
                (sending.sent, sending.sent_at) = (Some(snapshot.clone()), now);
                let id = *id;
                return self.send(id, Message::Snapshot(snapshot));
            }
        }
    }

    /// Parts that were not answered are sent again: something may have been lost.
    pub(super) fn resend_snapshots(&mut self) {
        let (now, patience) = (self.now, self.options.election);
        let Some(reign) = &mut self.reign else { return };
        let mut again = Vec::new();
        for (id, progress) in &mut reign.progress {
            let Flow::Snapshot(sending) = &mut progress.flow else { continue };
            if let Some(snapshot) = &sending.sent
                && now.since(sending.sent_at) >= patience
            {
                sending.sent_at = now;
                again.push((*id, snapshot.clone()));
            }
        }
        for (id, snapshot) in again {
            self.send(id, Message::Snapshot(snapshot));
        }
    }

    pub(super) fn on_snapshot_reply(&mut self, from: MemberId, term: Term, token: u64, next: u64) {
        self.observe(term);
        let Some(progress) = self.reign.as_mut().and_then(|reign| reign.progress.get_mut(&from)) else {
            return;
        };
        let Flow::Snapshot(sending) = &mut progress.flow else { return };
        let Some(sent) = sending.sent.as_ref().filter(|_| sending.token == token) else { return };
        if next == 0 {
            return self.end_snapshot(from);
        }
        if next != ENOUGH && next != sending.part + 1 {
            return;
        }
        if next != ENOUGH && !sent.last {
            sending.part = next;
            sending.sent = None;
            return self.read_rows(token, next);
        }
        let index = sent.applied.index;
        self.out.push(LogOutput::Read(Read::EndRows { token }));
        progress.acknowledge(index);
        progress.probe_from(Index(index.0 + 1));
        self.flush_due = true;
        self.advance_commit();
    }
}

// The followers' side.
impl Raft {
    pub(super) fn on_snapshot(&mut self, from: MemberId, snapshot: Snapshot) {
        if !self.accept_leader(from, snapshot.term) {
            return self.answer(from, Message::SnapshotReply { term: self.term, token: 0, next: 0 });
        }
        let (term, token, part) = (self.term, snapshot.token, snapshot.part);
        let applied = &snapshot.applied;
        // Entries that were acknowledged must not go: as far as the log is the same, it is kept.
        if applied.index <= self.committed || self.log.term(applied.index) == Some(applied.term) {
            // One that came late must not end another one that is coming in.
            if self.incoming.as_ref().is_some_and(|known| known.token == token) {
                self.incoming = None;
            }
            self.agree(applied.index.min(self.log.last()), applied.index);
            if self.disk.stored_index() >= applied.index {
                self.answer(from, Message::SnapshotReply { term, token, next: ENOUGH });
            }
            return;
        }
        if part == 0
            && !self.incoming.as_ref().is_some_and(|known| known.from == from && known.token == token)
        {
            self.incoming = Some(Incoming { from, token, next: 0 });
        }
        let Some(incoming) =
            self.incoming.as_mut().filter(|known| known.from == from && known.token == token)
        else {
            // The parts before are not here: this member has begun anew since.
            return self.answer(from, Message::SnapshotReply { term, token, next: 0 });
        };
        if part < incoming.next {
            let next = part + 1;
            return self.answer(from, Message::SnapshotReply { term, token, next });
        }
        if part > incoming.next {
            return;
        }
        incoming.next += 1;
        let next = incoming.next;
        let lsn = self.write(Write::Receive { part, rows: snapshot.rows });
        let reply = Message::SnapshotReply { term, token, next };
        if snapshot.last {
            self.install(from, snapshot.applied, reply);
        } else {
            // The sender is not to be faster than the disk.
            self.disk.defer(lsn, super::Deferred::Send(from, reply));
        }
    }

    /// All parts are here: they take the place of the log and of the service's state.
    fn install(&mut self, from: MemberId, applied: Applied, reply: Message) {
        self.incoming = None;
        let meta = match Meta::read(&applied.meta) {
            Ok(meta) => meta,
            Err(error) => {
                self.out.note(|| format!("raft: a snapshot of {from} says nothing: {error}"));
                return;
            }
        };
        let (index, term) = (applied.index, applied.term);
        self.out.note(|| format!("raft: took a snapshot up to {index}"));
        self.log = Log::new(index, term, self.options.cache_bytes_max);
        self.disk.restart();
        self.write(Write::Install { applied });
        self.defer_installed(index, from, reply);
        self.members = Memberships::new(meta.members_index, meta.members.clone());
        self.persist();
        (self.committed, self.applied, self.agreed) = (index, index, index);
        self.acknowledged = Index(0);
        self.reading.clear();
        self.take_meta(meta);
        self.skip_proposals();
        self.restore(index);
    }

    /// Goes on from what is kept with the rows.
    pub(super) fn take_meta(&mut self, meta: Meta) {
        self.records = meta.records;
        self.sessions = meta.sessions;
        self.rows = Rows::new(self.applied);
    }

    /// What this member's service has proposed may be part of a snapshot.
    fn skip_proposals(&mut self) {
        let Some(session) = self.proposals.session() else {
            // If one was opened for the old wish, this member has not seen where.
            return self.proposals.lose_session(&mut self.rng);
        };
        if let Some(next) = self.sessions.next(session) {
            return self.proposals.skip_to(next);
        }
        let why = Refusal::Failed(
            "this server was away for too long: whether the record is in the log is unknown".to_owned(),
        );
        for record in self.proposals.take_sent() {
            self.out.push(LogOutput::Refused { record, why: why.clone() });
        }
        self.proposals.lose_session(&mut self.rng);
    }
}
