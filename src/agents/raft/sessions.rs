//! The sessions of the members that propose: by them a record that comes twice is told from two records (thesis, section 6.3). Part of what all members
//! agree on: it changes only with the entries of the log.

use std::collections::BTreeMap;

use super::codec::{Reader, put_number};
use crate::agent::{Index, WireError};

/// The sessions, each by the place of the entry that opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    known: BTreeMap<u64, Session>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    /// The number of its next record.
    next: u64,
    used: Index,
}

impl Sessions {
    /// The number of the next record of a session; `None` if it is not known, or not any more.
    pub(super) fn next(&self, session: u64) -> Option<u64> {
        self.known.get(&session).map(|session| session.next)
    }

    /// A session begins with the entry `index`. The one that was unused for longest goes if there are too many.
    pub(super) fn open(&mut self, index: Index, sessions_max: usize) {
        self.known.insert(index.0, Session { next: 1, used: index });
        while self.known.len() > sessions_max {
            // Looked for only here: sessions are opened seldom, and used with each record.
            let oldest = self.known.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether the record `number` of a session that stands at `index` is new and in its turn; if so, the next one is expected.
    pub(super) fn take(&mut self, session: u64, number: u64, index: Index) -> bool {
        match self.known.get_mut(&session) {
            Some(known) if known.next == number => {
                *known = Session { next: number.saturating_add(1), used: index };
                true
            }
            _ => false,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.known.len() as u64);
        for (id, session) in &self.known {
            for number in [*id, session.next, session.used.0] {
                put_number(bytes, number);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut sessions = Self::default();
        for (id, next, used) in
            reader.list(|reader| Ok((reader.number()?, reader.number()?, reader.index()?)))?
        {
            sessions.known.insert(id, Session { next, used });
        }
        Ok(sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_once_and_in_its_turn() {
        let mut sessions = Sessions::default();
        assert!(!sessions.take(4, 1, Index(5)), "never opened");
        sessions.open(Index(4), 10);
        assert!(!sessions.take(4, 2, Index(5)), "not its turn");
        assert!(sessions.take(4, 1, Index(6)));
        assert!(!sessions.take(4, 1, Index(7)), "a second time");
        assert_eq!(sessions.next(4), Some(2));
    }

    #[test]
    fn the_one_unused_for_longest_is_forgotten_and_never_taken_for_a_new_one() {
        let mut sessions = Sessions::default();
        sessions.open(Index(1), 2);
        sessions.open(Index(2), 2);
        assert!(sessions.take(1, 1, Index(3)));
        sessions.open(Index(4), 2);
        assert_eq!((sessions.next(1), sessions.next(2)), (Some(2), None));
        assert!(!sessions.take(2, 1, Index(5)));
    }

    #[test]
    fn sessions_come_back_as_they_were_written() {
        let mut sessions = Sessions::default();
        sessions.open(Index(3), 10);
        sessions.open(Index(5), 10);
        assert!(sessions.take(3, 1, Index(9)));
        let mut bytes = Vec::new();
        sessions.encode(&mut bytes);
        assert_eq!(Sessions::decode(&mut Reader::copying(&bytes)), Ok(sessions));
    }
}
