//! What an agent that is a log itself asks of its disk, and what it is told.
//!
//! Most agents propose records and do not know which log takes them. An agent that *is* such a log (one that is agreed on by several
//! servers) needs more: to cut its log, to read it in pieces, to keep a few bytes beside it (a term, a vote), and to know exactly what is on the
//! disk. It asks by [`Write`] and [`Read`]; its host carries them out in their order, writes what has gathered in one go, and answers with
//! [`Stored`](super::Input::Stored) and [`Found`](super::Input::Found).
//!
//! **What holds.**
//! - Writes become durable in their order. `Stored { upto }` covers every write up to that number; a crash leaves a prefix of the writes that
//!   covers at least those.
//! - A read sees all writes that were asked for before it, durable or not.
//! - After a failure nothing more is written until the agent is made again.

use std::fmt;

use bytes::Bytes;

use super::Index;

/// The number of a write: an agent's writes are counted from 1, in their order, from each of its starts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number of the write after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reign: in each term at most one server leads (Raft, section 5.1). A log of one server stays in term 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One place of a log with what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub index: Index,
    /// The term in which it was put there.
    pub term: Term,
    /// What it says; the agent's own affair.
    pub record: Bytes,
}

/// One row of the state that has come of a log: a key, and its value or that it has none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Under what it is kept; rows are read back in the order of their keys.
    pub key: Bytes,
    /// What is kept; `None` removes the row.
    pub value: Option<Bytes>,
}

/// How far the rows reach: what a log needs to go on from there without the entries before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry whose effect is in the rows.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Whatever else the agent wants to find with them: members, sessions.
    pub meta: Bytes,
}

/// Something that is to be on the disk. Each is durable whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Keeps these bytes beside the log, in place of those that were kept before. They are kept in more than one place, so that damage to one
    /// does not lose them.
    State {
        /// What is kept: a few dozen bytes.
        state: Bytes,
    },
    /// Puts an entry behind the last one; its index is one more than that one's.
    Append {
        /// The entry.
        entry: Entry,
    },
    /// Removes this entry and all behind it.
    Truncate {
        /// The first that goes.
        from: Index,
    },
    /// Changes rows, and says how far they reach now; all together or not at all.
    Apply {
        /// How far all rows reach.
        applied: Applied,
        /// The rows that change, each key once.
        rows: Vec<Row>,
    },
    /// Puts rows of another server's state aside until all of them are here. The first part forgets what was put aside before.
    Receive {
        /// Which part, counted from 0.
        part: u64,
        /// Its rows, all with values.
        rows: Vec<Row>,
    },
    /// Puts the rows that were put aside in the place of all rows, and removes the whole log: it goes on behind `applied`.
    Install {
        /// How far the rows reach.
        applied: Applied,
    },
    /// Allows the disk to forget entries up to this one, which the rows cover. It may keep some of them.
    Compact {
        /// The last that may go.
        upto: Index,
    },
}

/// Rows that an agent wants to look at, of those that it has asked to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Comes back with the answer.
    pub token: u64,
    /// The first key that is wanted.
    pub from: Bytes,
    /// The first key behind it that is not.
    pub until: Bytes,
    /// Whether the greatest keys come first.
    pub backwards: bool,
    /// The most rows that the answer may hold.
    pub rows_max: usize,
    /// The most bytes that they may hold; at least one row comes if there is one.
    pub bytes_max: usize,
}

impl Look {
    /// The answer to this, from all rows of its range in its order. For hosts.
    pub fn gather<E>(&self, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Looked, E> {
        let mut looked = Looked { token: self.token, rows: Vec::new(), more: false };
        let mut bytes = 0;
        for row in rows {
            let row = row?;
            bytes += row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
            if !looked.rows.is_empty() && (looked.rows.len() >= self.rows_max || bytes > self.bytes_max) {
                looked.more = true;
                break;
            }
            looked.rows.push(row);
        }
        Ok(looked)
    }
}

/// Rows that an agent wanted to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The token of the look.
    pub token: u64,
    /// They, all with values, in the order that was wanted.
    pub rows: Vec<Row>,
    /// Whether there are more in the range. There may be so even where fewer came than there was room for; whoever wants them looks again, from behind the last
    /// one on.
    pub more: bool,
}

/// Something that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Some rows, as they are after all writes before. Answered by [`Found::Looked`].
    Look(Look),
    /// Entries that follow one another, from this one on. Answered by [`Found::Entries`].
    Entries {
        /// The first.
        from: Index,
        /// The last that is wanted.
        upto: Index,
        /// The most that the answer's records may hold, in bytes; at least one entry comes if there is one.
        bytes_max: usize,
    },
    /// A part of all rows as they were when part 0 was read, whatever has changed since. Answered by [`Found::Rows`]. Part 0 gives up what
    /// was read before under the same token.
    Rows {
        /// Tells readings that go on at the same time apart.
        token: u64,
        /// Which part, counted from 0, one after the other.
        part: u64,
        /// The most that the part's rows may hold, in bytes; at least one row comes if there is one.
        bytes_max: usize,
    },
    /// Gives up reading rows; no answer.
    EndRows {
        /// Which reading.
        token: u64,
    },
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Some rows.
    Looked(Looked),
    /// Entries that follow one another. Fewer than were wanted if there was no room, or the next one is damaged or gone; none if the first is.
    Entries {
        /// The first that was wanted.
        from: Index,
        /// They.
        entries: Vec<Entry>,
    },
    /// A part of the rows.
    Rows {
        /// Which reading.
        token: u64,
        /// Which part.
        part: u64,
        /// How far the rows of this reading reach.
        applied: Applied,
        /// They, ascending by their keys.
        rows: Vec<Row>,
        /// Whether this is the last part.
        last: bool,
    },
}

/// What a disk holds when its agent is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What was kept beside the log; `None` if nothing ever was.
    pub state: Option<Bytes>,
    /// Whether something had been kept there that cannot be read any more.
    pub state_lost: bool,
    /// How far the rows reach.
    pub applied: Applied,
    /// The first entry that is still there; one more than the last one if there is none.
    pub first: Index,
    /// The last entry that is there or was there before it was damaged; the last one that the rows cover if there is none.
    pub last: Index,
    /// From which entry on which term holds, ascending; it begins with the first entry that is there.
    pub terms: Vec<(Index, Term)>,
    /// Entries whose bytes have changed: first and last of each stretch, ascending.
    pub damaged: Vec<(Index, Index)>,
    /// Whether something about the disk is damaged of which nobody knows what it was.
    pub suspect: bool,
}
