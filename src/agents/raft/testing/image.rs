//! A disk in memory: what has come of the writes, what a member finds there when it begins, and what it reads.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::agent::{Applied, Entry, Index, Recovered, Row, Term, Write};

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub(in crate::agents::raft) struct Image {
    pub(in crate::agents::raft) state: Option<Bytes>,
    pub(in crate::agents::raft) state_lost: bool,
    pub(in crate::agents::raft) entries: BTreeMap<Index, Entry>,
    pub(in crate::agents::raft) damaged: BTreeSet<Index>,
    pub(in crate::agents::raft) rows: BTreeMap<Bytes, Bytes>,
    pub(in crate::agents::raft) applied: Applied,
    received: BTreeMap<Bytes, Bytes>,
}

impl Image {
    pub(super) fn take(&mut self, write: Write) {
        match write {
            Write::State { state } => self.state = Some(state),
            Write::Append { entry } => {
                let last = self.entries.keys().next_back().copied().unwrap_or(self.applied.index);
                assert_eq!(entry.index.0, last.0 + 1, "entries follow one another");
                self.entries.insert(entry.index, entry);
            }
            Write::Truncate { from } => {
                self.entries.split_off(&from);
                self.damaged.split_off(&from);
            }
            Write::Apply { applied, rows } => {
                self.applied = applied;
                for Row { key, value } in rows {
                    match value {
                        Some(value) => self.rows.insert(key, value),
                        None => self.rows.remove(&key),
                    };
                }
            }
            Write::Receive { part, rows } => {
                if part == 0 {
                    self.received.clear();
                }
                self.received.extend(rows.into_iter().map(|row| (row.key, row.value.expect("a value"))));
            }
            Write::Install { applied } => {
                self.rows = std::mem::take(&mut self.received);
                self.applied = applied;
                self.entries.clear();
                self.damaged.clear();
            }
            Write::Compact { upto } => {
                self.entries = self.entries.split_off(&Index(upto.0 + 1));
                self.damaged = self.damaged.split_off(&Index(upto.0 + 1));
            }
        }
    }

    pub(super) fn recovered(&self) -> Recovered {
        let first = self.entries.keys().next().copied().unwrap_or(Index(self.applied.index.0 + 1));
        let last = self.entries.keys().next_back().copied().unwrap_or(self.applied.index);
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for (index, entry) in &self.entries {
            if terms.last().is_none_or(|(_, term)| *term != entry.term) {
                terms.push((*index, entry.term));
            }
        }
        let damaged = self.damaged.iter().map(|index| (*index, *index)).collect();
        let state = self.state.clone().filter(|_| !self.state_lost);
        let (state_lost, applied) = (self.state_lost, self.applied.clone());
        Recovered { state, state_lost, applied, first, last, terms, damaged, suspect: false }
    }

    pub(super) fn read(&self, from: Index, upto: Index, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for (place, (index, entry)) in (from.0..).zip(self.entries.range(from..=upto)) {
            bytes += entry.record.len();
            if index.0 != place || self.damaged.contains(index) || !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(entry.clone());
        }
        found
    }
}
