//! How far users have read, gathered until it is worth a record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{ConversationId, Place, Sequence, UserId};
use crate::time::Time;

/// Marks that are to be proposed.
#[derive(Debug, Default)]
pub(super) struct Marks {
    gathered: BTreeMap<(UserId, ConversationId), Sequence>,
    due: Option<Time>,
}

impl Marks {
    /// A user has read up to a place.
    pub(super) fn read(&mut self, now: Time, user: UserId, upto: Place) {
        let mark = self.gathered.entry((user, upto.conversation)).or_default();
        *mark = upto.sequence.max(*mark);
        self.due.get_or_insert(now + GATHER);
    }

    /// What is to be proposed now: as many as one record takes.
    pub(super) fn take(&mut self, now: Time) -> Option<Vec<(UserId, Place)>> {
        if self.gathered.len() < MARKS_MAX && self.due.is_none_or(|due| now < due) {
            return None;
        }
        let mut marks = Vec::new();
        while marks.len() < MARKS_MAX
            && let Some(((user, conversation), sequence)) = self.gathered.pop_first()
        {
            marks.push((user, Place { conversation, sequence }));
        }
        self.due = self.due.filter(|_| !self.gathered.is_empty());
        if marks.is_empty() { None } else { Some(marks) }
    }

    /// When something is to be proposed.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// How long marks are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Of so many at most a record says; so many are not waited with.
const MARKS_MAX: usize = 256;
