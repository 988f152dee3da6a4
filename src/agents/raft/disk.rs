//! What was handed to the disk and is not on it yet, and what waits for that.

use std::collections::VecDeque;

use super::codec::{Reader, put_number, put_word};
use super::membership::{Membership, put_history, read_history};
use super::message::Message;
use crate::agent::{Index, Lsn, Term, WireError};
use crate::agents::replicated::MemberId;
use bytes::Bytes;

/// What waits for a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deferred {
    /// A message that says what was written.
    Send(MemberId, Message),
    /// The vote for oneself: now others may be asked for theirs.
    Campaign(Term),
    /// The rows reach up to here.
    Kept(Index),
    /// A leader's snapshot has taken the place of everything.
    Installed(Index, MemberId, Message),
}

/// Counts writes, and knows how far the disk is.
#[derive(Debug, Default)]
pub(super) struct Disk {
    handed: Lsn,
    stored: Lsn,
    /// Stretches of entries that were written one after the other: the last write, its entry, and how many there are.
    appends: VecDeque<Appends>,
    /// The last entry that is on the disk and still holds.
    stored_index: Index,
    deferred: VecDeque<(Lsn, Deferred)>,
}

#[derive(Clone, Copy, Debug)]
struct Appends {
    lsn: Lsn,
    index: Index,
    count: u64,
}

impl Disk {
    pub(super) fn new(stored_index: Index) -> Self {
        Self { stored_index, ..Self::default() }
    }

    /// The last entry that is on the disk.
    pub(super) fn stored_index(&self) -> Index {
        self.stored_index
    }

    /// Whether everything up to this write is on the disk.
    pub(super) fn has(&self, lsn: Lsn) -> bool {
        self.stored >= lsn
    }

    /// The last write.
    pub(super) fn last(&self) -> Lsn {
        self.handed
    }

    /// Something was handed to the disk; its number.
    pub(super) fn write(&mut self) -> Lsn {
        self.handed = self.handed.next();
        self.handed
    }

    /// An entry was handed to the disk.
    pub(super) fn append(&mut self, index: Index) {
        let lsn = self.write();
        match self.appends.back_mut() {
            Some(run) if run.lsn.next() == lsn && run.index.0 + 1 == index.0 => {
                *run = Appends { lsn, index, count: run.count + 1 };
            }
            _ => self.appends.push_back(Appends { lsn, index, count: 1 }),
        }
    }

    /// Entries from `from` on do not hold any more, whether they are on the disk or on their way there.
    pub(super) fn truncate(&mut self, from: Index) {
        self.stored_index = self.stored_index.min(Index(from.0.saturating_sub(1)));
        while let Some(run) = self.appends.back_mut() {
            if run.index < from {
                break;
            }
            let gone = (run.index.0 + 1 - from.0).min(run.count);
            if gone == run.count {
                self.appends.pop_back();
            } else {
                *run = Appends {
                    lsn: Lsn(run.lsn.0 - gone),
                    index: Index(run.index.0 - gone),
                    count: run.count - gone,
                };
            }
        }
    }

    /// The log is about to be replaced by rows: nothing that it held is on the disk for certain.
    pub(super) fn restart(&mut self) {
        self.appends.clear();
        self.stored_index = Index(0);
    }

    /// Rows that reach up to here are on the disk.
    pub(super) fn installed(&mut self, index: Index) {
        self.stored_index = self.stored_index.max(index);
    }

    /// Puts something off until a write is on the disk.
    pub(super) fn defer(&mut self, until: Lsn, what: Deferred) {
        self.deferred.push_back((until, what));
    }

    /// Everything up to `upto` is on the disk.
    pub(super) fn advance(&mut self, upto: Lsn) {
        self.stored = self.stored.max(upto);
        while let Some(run) = self.appends.front() {
            let missing = run.lsn.0.saturating_sub(self.stored.0);
            if missing >= run.count {
                break;
            }
            self.stored_index = self.stored_index.max(Index(run.index.0 - missing));
            if missing > 0 {
                break;
            }
            self.appends.pop_front();
        }
    }

    /// The next thing that need not wait any longer.
    pub(super) fn due(&mut self) -> Option<Deferred> {
        let place = self.deferred.iter().position(|(until, _)| *until <= self.stored)?;
        self.deferred.remove(place).map(|(_, what)| what)
    }

    /// Gives up messages that wait: what they say may not be so any more.
    pub(super) fn forget_sends(&mut self) {
        self.deferred.retain(|(_, what)| !matches!(what, Deferred::Send(..)));
    }
}

/// What a member keeps beside its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HardState {
    pub(super) term: Term,
    /// Whom it gave its vote in this term.
    pub(super) voted: Option<MemberId>,
    /// Whether its log is under repair.
    pub(super) repairing: bool,
    /// The memberships that are not in the rows.
    pub(super) members: Vec<(Index, Membership)>,
}

const FORM: u64 = 1;

impl HardState {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        put_number(&mut bytes, FORM);
        put_number(&mut bytes, self.term.0);
        bytes.push(u8::from(self.voted.is_some()));
        put_word(&mut bytes, self.voted.map_or(0, |id| id.0));
        bytes.push(u8::from(self.repairing));
        put_history(&mut bytes, &self.members);
        bytes.into()
    }

    pub(super) fn read(bytes: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let form = reader.number()?;
        if form != FORM {
            return Err(WireError::new(format!("the state is of form {form}, and only {FORM} is known")));
        }
        let (term, has_voted, voted) = (reader.term()?, reader.flag()?, MemberId(reader.word()?));
        let (repairing, members) = (reader.flag()?, read_history(&mut reader)?);
        reader.end()?;
        Ok(Self { term, voted: has_voted.then_some(voted), repairing, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_stored_one_by_one_even_if_they_were_written_together() {
        let mut disk = Disk::new(Index(4));
        for index in 5..=8 {
            disk.append(Index(index));
        }
        disk.advance(Lsn(2));
        assert_eq!(disk.stored_index(), Index(6));
        disk.write();
        disk.append(Index(9));
        disk.advance(Lsn(5));
        assert_eq!(disk.stored_index(), Index(8));
        disk.advance(Lsn(6));
        assert_eq!(disk.stored_index(), Index(9));
    }

    #[test]
    fn an_entry_that_was_replaced_counts_only_when_the_new_one_is_stored() {
        let mut disk = Disk::new(Index(0));
        for index in 1..=3 {
            disk.append(Index(index));
        }
        disk.truncate(Index(2));
        disk.write();
        disk.append(Index(2));
        disk.advance(Lsn(4));
        assert_eq!(disk.stored_index(), Index(1));
        disk.advance(Lsn(5));
        assert_eq!(disk.stored_index(), Index(2));
    }

    #[test]
    fn what_waits_comes_when_its_write_is_stored() {
        let mut disk = Disk::new(Index(0));
        let (one, two) = (disk.write(), disk.write());
        disk.defer(two, Deferred::Kept(Index(2)));
        disk.defer(one, Deferred::Kept(Index(1)));
        assert_eq!(disk.due(), None);
        disk.advance(one);
        assert_eq!((disk.due(), disk.due()), (Some(Deferred::Kept(Index(1))), None));
        disk.advance(two);
        assert_eq!(disk.due(), Some(Deferred::Kept(Index(2))));
    }

    #[test]
    fn the_state_comes_back_as_it_was_written() {
        let members = vec![(Index(3), Membership::of_voters(["a"]))];
        let state = HardState { term: Term(9), voted: Some(MemberId(5)), repairing: true, members };
        assert_eq!(HardState::read(&state.to_bytes()), Ok(state));
        assert!(HardState::read(&Bytes::from_static(b"\x02")).is_err());
    }
}
