//! The rows of a service: asked for now and then, written together with how far they reach, and what of the log that makes superfluous.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Raft;
use super::codec::{Reader, put_number};
use super::disk::Deferred;
use super::membership::Membership;
use super::sessions::Sessions;
use crate::agent::{Applied, Index, Read, Row, WireError, Write};
use crate::agents::replicated::LogOutput;
use crate::time::Time;

/// Rows are asked for when records of so many bytes were handed over, or after [`Options::keep_after`](super::Options::keep_after).
const HANDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The token by which a member reads its own rows. Those of snapshots for others are greater.
pub(super) const OWN_TOKEN: u64 = 0;
/// In so many pieces the size of the log is known.
pub(super) const PIECES: u64 = 16;

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// How many bytes of records were handed over since the service was asked for its rows, and when it is asked again at the latest.
    handed_bytes: usize,
    ask_at: Option<Time>,
    /// Whether it was asked and has not answered; one that keeps no rows never does, and is not asked again.
    asked: bool,
    /// Up to where they are on the disk.
    kept: Index,
    /// Which part of the own rows is read next, while the service's state is made from them.
    restoring: Option<u64>,
    /// How many bytes of records were handed over in this life, and where the log had grown to multiples of a piece.
    grown_bytes: u64,
    pieces: VecDeque<Index>,
}

impl Rows {
    /// Rows that reach up to `kept`.
    pub(super) fn new(kept: Index) -> Self {
        Self { kept, ..Self::default() }
    }

    pub(super) fn kept(&self) -> Index {
        self.kept
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.ask_at
    }

    /// A record was handed over, of which rows may have come; they are to be asked for by then.
    pub(super) fn handed(&mut self, bytes: usize, by: Time) {
        if !self.asked {
            self.handed_bytes += bytes;
            self.ask_at.get_or_insert(by);
        }
    }

    /// Whether rows are to be asked for now. If so, they have been.
    fn ask(&mut self, now: Time) -> bool {
        let is_due = self.handed_bytes >= HANDED_BYTES_MAX || self.ask_at.is_some_and(|at| at <= now);
        if is_due {
            (self.handed_bytes, self.ask_at, self.asked) = (0, None, true);
        }
        is_due
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// An entry was handed over. Pieces have at least `piece_bytes`.
    pub(super) fn grow(&mut self, index: Index, bytes: usize, piece_bytes: u64) {
        self.cut_piece(piece_bytes);
        self.grown_bytes += bytes as u64;
        if self.pieces.is_empty() {
            self.pieces.push_back(index);
        }
        self.piece_done(index);
    }

    fn piece_done(&mut self, index: Index) {
        if let Some(last) = self.pieces.back_mut() {
            *last = index;
        }
    }

    /// Begins another piece if the last one is large enough.
    fn cut_piece(&mut self, piece_bytes: u64) {
        if self.grown_bytes >= piece_bytes
            && let Some(last) = self.pieces.back().copied()
        {
            self.grown_bytes = 0;
            self.pieces.push_back(last);
        }
    }

    /// Up to where the log may be forgotten now, if the rows reach there.
    fn superfluous(&mut self) -> Option<Index> {
        let behind = self.pieces.iter().filter(|last| **last <= self.kept).count() as u64;
        if behind <= PIECES {
            return None;
        }
        let mut upto = None;
        for _ in 0..behind - PIECES / 2 {
            upto = self.pieces.pop_front();
        }
        upto
    }
}

/// What stands beside the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// How many records were handed over.
    pub(super) records: Index,
    pub(super) members_index: Index,
    pub(super) members: Membership,
    pub(super) sessions: Sessions,
}

const FORM: u64 = 1;

impl Meta {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        for number in [FORM, self.records.0, self.members_index.0] {
            put_number(&mut bytes, number);
        }
        self.members.encode(&mut bytes);
        self.sessions.encode(&mut bytes);
        bytes.into()
    }

    pub(super) fn read(bytes: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let form = reader.number()?;
        if form != FORM {
            return Err(WireError::new(format!(
                "what is kept with the rows is of form {form}, only {FORM} is known"
            )));
        }
        let (records, members_index) = (reader.index()?, reader.index()?);
        let members = Membership::decode(&mut reader)?;
        let sessions = Sessions::decode(&mut reader)?;
        reader.end()?;
        Ok(Self { records, members_index, members, sessions })
    }
}

impl Raft {
    /// Asks the service for its rows if enough has been handed over, or long enough ago.
    pub(super) fn ask_for_rows(&mut self) {
        if self.rows.ask(self.now) {
            self.out.push(LogOutput::WantsRows);
        }
    }

    /// The rows that the service was asked for. All that was handed over is in them: they go to the disk with how far that is.
    pub(super) fn keep(&mut self, rows: Vec<Row>) {
        if self.rows.is_restoring() {
            // They are of a state that is about to be replaced.
            return;
        }
        self.rows.asked = false;
        let term = self.log.term(self.applied).expect("what is not in the rows yet is in the log");
        let applied = Applied { index: self.applied, term, meta: self.meta().to_bytes() };
        let lsn = self.write(Write::Apply { applied, rows });
        self.disk.defer(lsn, Deferred::Kept(self.applied));
    }

    /// The rows are on the disk up to here: the log before may go, but for its newer half.
    pub(super) fn kept(&mut self, index: Index) {
        self.rows.kept = self.rows.kept.max(index);
        if let Some(upto) = self.rows.superfluous()
            && upto > self.log.base()
        {
            self.log.compact(upto);
            self.write(Write::Compact { upto });
        }
    }

    /// Begins to make the service's state from the rows on the disk.
    pub(super) fn restore(&mut self, kept: Index) {
        self.rows = Rows { restoring: Some(0), ..Rows::new(kept) };
        self.read_rows(OWN_TOKEN, 0);
    }

    pub(super) fn read_rows(&mut self, token: u64, part: u64) {
        let bytes_max = self.options.part_bytes_max;
        self.out.push(LogOutput::Read(Read::Rows { token, part, bytes_max }));
    }

    pub(super) fn found_rows(&mut self, token: u64, part: u64, applied: Applied, rows: Vec<Row>, last: bool) {
        if token != OWN_TOKEN {
            return self.send_part(token, part, applied, rows, last);
        }
        if self.rows.restoring != Some(part) || applied.index != self.rows.kept {
            // Read before a snapshot has replaced them.
            return;
        }
        self.out.push(LogOutput::Restore { rows, first: part == 0, last: last.then_some(self.records) });
        if last {
            self.rows.restoring = None;
            self.out.push(LogOutput::Read(Read::EndRows { token }));
            self.answer_reads();
        } else {
            self.rows.restoring = Some(part + 1);
            self.read_rows(token, part + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_half_of_the_log_stays() {
        let mut rows = Rows::new(Index(0));
        for index in 1..=100 {
            rows.grow(Index(index), 10, 10);
        }
        rows.kept = Index(16);
        assert_eq!(rows.superfluous(), None);
        rows.kept = Index(90);
        assert_eq!(rows.superfluous(), Some(Index(82)));
        assert_eq!(rows.superfluous(), None);
    }

    #[test]
    fn what_is_kept_with_the_rows_comes_back() {
        let mut sessions = Sessions::default();
        sessions.open(Index(3), 9);
        let members = Membership::of_voters(["a", "b"]);
        let meta = Meta { records: Index(7), members_index: Index(2), members, sessions };
        assert_eq!(Meta::read(&meta.to_bytes()), Ok(meta));
    }
}
