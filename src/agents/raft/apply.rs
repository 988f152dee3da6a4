//! What is committed is handed over, in order, each record once.

use super::entry::Payload;
use super::rows::{Meta, PIECES};
use super::{Phase, Raft, Readers};
use crate::agent::{Entry, Index};
use crate::agents::replicated::LogOutput;

/// The most that is read at a time from the disk to be handed over, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;

impl Raft {
    /// Hands over what is committed and was not handed over yet.
    pub(super) fn deliver(&mut self) {
        while self.applied < self.committed && !self.rows.is_restoring() && self.phase == Phase::Running {
            let next = Index(self.applied.0 + 1);
            let Some(entries) = self.log.cached(next, self.committed, PIECE_BYTES) else {
                let is_read = self.reading.get(&next).is_some_and(|readers| readers.apply);
                if !is_read {
                    let readers = Readers { apply: true, ..Readers::default() };
                    self.read(next, self.committed, PIECE_BYTES, readers);
                }
                return;
            };
            for entry in entries {
                self.apply(&entry);
            }
            self.after_apply();
        }
    }

    /// Entries that were read to be handed over.
    pub(super) fn apply_found(&mut self, entries: &[Entry]) {
        if self.rows.is_restoring() {
            return;
        }
        for entry in entries {
            if entry.index.0 == self.applied.0 + 1 && entry.index <= self.committed {
                self.apply(entry);
            }
        }
        self.after_apply();
    }

    fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index;
        self.rows.grow(entry.index, entry.record.len(), self.options.compact_bytes / PIECES);
        match Payload::read(&entry.record) {
            Ok(Payload::Record { session, number, record }) => {
                if self.sessions.take(session, number, entry.index) || !self.laws.sessions {
                    self.records.0 += 1;
                    self.rows.handed(record.len(), self.now + self.options.keep_after);
                    self.out.push(LogOutput::Committed { index: self.records, record });
                    self.proposals.resolved(session, number);
                }
            }
            Ok(Payload::Open { nonce }) => {
                self.sessions.open(entry.index, self.options.sessions_max);
                if self.proposals.opened(nonce, entry.index) {
                    self.flush_due = true;
                }
                self.keep_session();
            }
            // Members act by what is in the log, not by what is committed (Raft, section 6).
            Ok(Payload::Nothing | Payload::Members(_)) => {}
            Err(error) => {
                // The same on all members: it is passed over.
                self.out.note(|| format!("raft: entry {} says nothing: {error}", entry.index));
            }
        }
    }

    /// If the own session was forgotten, since it was unused for long, another one is needed.
    fn keep_session(&mut self) {
        if let Some(session) = self.proposals.session()
            && self.sessions.next(session).is_none()
        {
            self.proposals.lose_session(&mut self.rng);
            self.flush_due = true;
        }
    }

    fn after_apply(&mut self) {
        self.answer_reads();
        let (applied, Some(reign)) = (self.applied, &mut self.reign) else { return };
        if !reign.is_ready && applied >= reign.first {
            reign.is_ready = true;
            self.out.push(LogOutput::Leads(true));
            self.begin_in_earnest();
        }
    }

    /// Everything from before this reign is handed over: what proposers are expected to send next is known for certain.
    fn begin_in_earnest(&mut self) {
        self.flush_due = true;
        let Some(reign) = &mut self.reign else { return };
        reign.early_bytes = 0;
        for (from, message) in std::mem::take(&mut reign.early) {
            self.receive(from, message);
        }
    }

    /// What is kept with the rows, as of the last entry that was handed over.
    pub(super) fn meta(&self) -> Meta {
        let (index, members) = self.members.at(self.applied).clone();
        Meta { records: self.records, members_index: index, members, sessions: self.sessions.clone() }
    }
}
