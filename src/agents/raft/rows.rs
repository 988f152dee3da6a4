//! The rows that a service asks to be kept: gathered, written now and then together with how far they reach, and what of the log that makes superfluous.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Raft;
use super::codec::{Reader, put_number};
use super::disk::Deferred;
use super::membership::Membership;
use super::sessions::Sessions;
use crate::agent::{Applied, Index, Read, Row, WireError, Write};
use crate::agents::replicated::LogOutput;
use crate::time::Time;

/// Rows are written when so many bytes have gathered, or after [`Options::keep_after`](super::Options::keep_after).
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// The token by which a member reads its own rows. Those of snapshots for others are greater.
pub(super) const OWN_TOKEN: u64 = 0;
/// In so many pieces the size of the log is known.
pub(super) const PIECES: u64 = 16;

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    gathered: BTreeMap<Bytes, Option<Bytes>>,
    gathered_bytes: usize,
    write_at: Option<Time>,
    /// Up to where they are on the disk.
    kept: Index,
    /// Up to where they are on their way there.
    handed: Index,
    /// Which part of the own rows is read next, while the service's state is made from them.
    restoring: Option<u64>,
    /// How many bytes of records were handed over in this life, and where the log had grown to multiples of a piece.
    grown_bytes: u64,
    pieces: VecDeque<Index>,
}

impl Rows {
    /// Rows that reach up to `kept`.
    pub(super) fn new(kept: Index) -> Self {
        Self { kept, handed: kept, ..Self::default() }
    }

    pub(super) fn kept(&self) -> Index {
        self.kept
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.write_at
    }

    pub(super) fn due(&self, now: Time) -> bool {
        self.write_at.is_some_and(|at| at <= now)
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
        let mut reader = Reader::new(bytes.clone());
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
    /// The service asks for rows to be kept. All that was handed over is in them, now.
    pub(super) fn keep(&mut self, rows: Vec<Row>) {
        if self.rows.is_restoring() {
            return;
        }
        let gathered = &mut self.rows;
        for row in rows {
            gathered.gathered_bytes += row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
            gathered.gathered.insert(row.key, row.value);
        }
        if gathered.gathered_bytes >= GATHERED_BYTES_MAX {
            self.write_rows();
        } else if gathered.write_at.is_none() {
            gathered.write_at = Some(self.now + self.options.keep_after);
        }
    }

    /// Hands the rows to the disk. Only where nothing was handed over since the service had its say: at the beginning of an input.
    pub(super) fn write_rows(&mut self) {
        self.rows.write_at = None;
        let Some(term) = self.log.term(self.applied) else { return };
        if self.applied <= self.rows.handed || self.rows.is_restoring() {
            return;
        }
        self.rows.gathered_bytes = 0;
        let rows = std::mem::take(&mut self.rows.gathered);
        let rows = rows.into_iter().map(|(key, value)| Row { key, value }).collect();
        self.rows.handed = self.applied;
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
