//! The log of one agent on a folder of this box: read in pieces before the agent begins, then written behind.
//!
//! **State.** How far the log has been read; what was proposed and is not durable; how far the agent's rows reach, if it keeps any.
//!
//! **Invariants.**
//! - The agent gets its rows first, then the records behind them, each once and ascending, and begins when it has all of them. Nothing is taken from it before.
//! - A record is handed over once it is durable, and not before those in front of it.
//! - Rows reach up to the last record that the agent was handed; the log before them may go once they are durable.
//! - Records whose bytes have changed are passed over; those that nobody knows of any more, since neither the log nor the rows have them, are not.

use std::collections::VecDeque;

use bytes::Bytes;

use super::hosting::Waiting;
use super::outputs::{Action, LogId, Outputs};
use crate::agent::{Applied, Entry, Found, Index, Look, Lsn, Read, Recovered, Refusal, Row, Term, Write};
use crate::store::RECORD_BYTES_MAX;

/// The log of one agent.
#[derive(Debug)]
pub(super) struct LocalLog {
    id: LogId,
    stage: Stage,
    /// The number of the last write.
    written: Lsn,
    /// The index of the record that is proposed next.
    next: Index,
    /// Which records cannot be read.
    damaged: Vec<(Index, Index)>,
    /// What was proposed and is not durable, and how many bytes that is.
    pending: VecDeque<(Lsn, Index, Bytes)>,
    pending_bytes: usize,
    /// How its rows stand, if the agent keeps any.
    rows: Option<Rows>,
}

#[derive(Debug)]
enum Stage {
    /// The folder is looked through.
    Opening,
    /// Rows are read; this part is awaited.
    Restoring { part: u64 },
    /// Records are read, from this one on.
    Reading { from: Index },
    /// Records are taken.
    Open,
    /// Nobody knows what is on the disk.
    Failed { why: String },
}

#[derive(Debug, Default)]
struct Rows {
    /// The last record that was handed over, and how many bytes have been since rows were asked for.
    handed: Index,
    handed_bytes: usize,
    /// The write of rows that is not durable yet, and up to where those reach.
    writing: Option<(Lsn, Index)>,
}

/// What the agent is to be handed before it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// A part of its rows.
    Rows { rows: Vec<Row>, first: bool, last: Option<Index> },
    /// A record.
    Record { index: Index, record: Bytes },
    /// That was all.
    Begin,
}

/// Opening and reading.
impl LocalLog {
    /// A log whose folder, and the file of a former one, the host is to open.
    pub(super) fn open(id: LogId, name: &str, out: &mut Outputs) -> Self {
        let (folder, former) = (format!("{name}.local"), Some(format!("{name}.log")));
        out.act(Action::OpenStore { log: id, name: folder, former });
        let (stage, written, next, damaged) = (Stage::Opening, Lsn(0), Index(1), Vec::new());
        let (pending, pending_bytes, rows) = (VecDeque::new(), 0, None);
        Self { id, stage, written, next, damaged, pending, pending_bytes, rows }
    }

    /// What the host calls it.
    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// The folder has been looked through, for an agent that keeps rows or does not; whether the agent may begin at once. An error is a log with which
    /// the agent would not know what it has known.
    pub(super) fn recovered(
        &mut self,
        recovered: &Recovered,
        keeps_rows: bool,
        out: &mut Outputs,
    ) -> Result<bool, String> {
        let covered = if keeps_rows { recovered.applied.index } else { Index(0) };
        let (from, first) = (Index(covered.0 + 1), recovered.first);
        if first > from && !keeps_rows {
            return Err(format!(
                "its log begins with record {first}: what has come of those before is in rows, which this agent was not told to keep"
            ));
        }
        if first > from {
            return Err(format!(
                "the rows up to record {} are lost, and its log begins with record {first}: restore its folder from a copy, or move it to another \
                 place to begin anew",
                first.0 - 1
            ));
        }
        self.next = Index(recovered.last.0 + 1);
        self.damaged.clone_from(&recovered.damaged);
        self.rows = keeps_rows.then(|| Rows { handed: covered, ..Rows::default() });
        if covered.0 > 0 {
            self.read_rows(0, out);
            return Ok(false);
        }
        Ok(self.read_on(from, out))
    }

    /// What the host has read; what the agent is to be handed of that, in this order. An error is a disk that does not hold what it held.
    pub(super) fn found(&mut self, found: Found, out: &mut Outputs) -> Result<Vec<Handed>, String> {
        match (found, &self.stage) {
            (Found::Rows { part, applied, rows, last, .. }, Stage::Restoring { part: wanted })
                if part == *wanted =>
            {
                let mut handed =
                    vec![Handed::Rows { rows, first: part == 0, last: last.then_some(applied.index) }];
                if last {
                    out.act(Action::Read { log: self.id, read: Read::EndRows { token: ROWS_TOKEN } });
                    if self.read_on(Index(applied.index.0 + 1), out) {
                        handed.push(Handed::Begin);
                    }
                } else {
                    self.read_rows(part + 1, out);
                }
                Ok(handed)
            }
            (Found::Entries { from, entries }, Stage::Reading { from: wanted }) if from == *wanted => {
                let Some(last) = entries.last().map(|entry| entry.index) else {
                    return Err(format!("record {from} was there, and cannot be read any more"));
                };
                let record = |entry: Entry| Handed::Record { index: entry.index, record: entry.record };
                let mut handed: Vec<Handed> = entries.into_iter().map(record).collect();
                if self.read_on(Index(last.0 + 1), out) {
                    handed.push(Handed::Begin);
                }
                Ok(handed)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn read_rows(&mut self, part: u64, out: &mut Outputs) {
        self.stage = Stage::Restoring { part };
        let read = Read::Rows { token: ROWS_TOKEN, part, bytes_max: READ_BYTES };
        out.act(Action::Read { log: self.id, read });
    }

    /// Asks for the records from this one on; whether there are none that can be read, so that the agent may begin.
    fn read_on(&mut self, mut from: Index, out: &mut Outputs) -> bool {
        while let Some((_, last)) = self.damaged.iter().find(|(first, last)| (first..=last).contains(&&from))
        {
            from = Index(last.0 + 1);
        }
        if from >= self.next {
            self.stage = Stage::Open;
            return true;
        }
        self.stage = Stage::Reading { from };
        let read = Read::Entries { from, upto: Index(self.next.0 - 1), bytes_max: READ_BYTES };
        out.act(Action::Read { log: self.id, read });
        false
    }
}

/// Writing.
impl LocalLog {
    /// The agent proposes a record; why that cannot be, if it cannot.
    pub(super) fn propose(&mut self, record: Bytes, out: &mut Outputs) -> Result<(), (Bytes, Refusal)> {
        let fits = self.pending_bytes + record.len() <= PENDING_BYTES_MAX;
        let why = match &self.stage {
            _ if record.len() > RECORD_BYTES_MAX => {
                Refusal::TooLong { bytes: record.len(), bytes_max: RECORD_BYTES_MAX }
            }
            Stage::Failed { why } => Refusal::Failed(why.clone()),
            Stage::Open if fits && self.pending.len() < PENDING_RECORDS_MAX => {
                let index = self.next;
                self.next = Index(index.0 + 1);
                self.pending_bytes += record.len();
                let lsn = self.write(
                    Write::Append { entry: Entry { index, term: Term(0), record: record.clone() } },
                    out,
                );
                self.pending.push_back((lsn, index, record));
                return Ok(());
            }
            _ => Refusal::Busy,
        };
        Err((record, why))
    }

    /// All writes up to this one are durable: the records that waited for that.
    pub(super) fn stored(&mut self, upto: Lsn, out: &mut Outputs) -> Vec<Waiting> {
        let mut committed = Vec::new();
        while self.pending.front().is_some_and(|(lsn, ..)| *lsn <= upto)
            && let Some((_, index, record)) = self.pending.pop_front()
        {
            self.pending_bytes -= record.len();
            committed.push(Waiting::Committed { index, record });
        }
        if let Some(rows) = &mut self.rows
            && let Some((_, reach)) = rows.writing.take_if(|(lsn, _)| *lsn <= upto)
        {
            self.write(Write::Compact { upto: reach }, out);
        }
        committed
    }

    /// The log takes no more; what becomes of the records that waited.
    pub(super) fn fail(&mut self, why: &str) -> Vec<Waiting> {
        self.stage = Stage::Failed { why: why.to_owned() };
        let refuse = |(_, _, record)| Waiting::NotCommitted { record, why: Refusal::Failed(why.to_owned()) };
        std::mem::take(&mut self.pending).into_iter().map(refuse).collect()
    }

    fn write(&mut self, write: Write, out: &mut Outputs) -> Lsn {
        self.written = self.written.next();
        out.act(Action::Write { log: self.id, write });
        self.written
    }
}

/// Rows.
impl LocalLog {
    /// The agent has been handed a record; whether it is to be asked for its rows now.
    pub(super) fn handed(&mut self, index: Index, bytes: usize) -> bool {
        let Some(rows) = &mut self.rows else { return false };
        rows.handed = index;
        rows.handed_bytes += bytes + RECORD_COST_BYTES;
        let failed = matches!(self.stage, Stage::Failed { .. });
        !failed && rows.handed_bytes >= ROWS_AFTER_BYTES && rows.writing.is_none()
    }

    /// The rows that the agent was asked for, which have come of all that it was handed.
    pub(super) fn keep(&mut self, changed: Vec<Row>, out: &mut Outputs) {
        let Some(rows) = &mut self.rows else { return };
        rows.handed_bytes = 0;
        let reach = rows.handed;
        let applied = Applied { index: reach, term: Term(0), meta: Bytes::new() };
        let lsn = self.write(Write::Apply { applied, rows: changed }, out);
        if let Some(rows) = &mut self.rows {
            rows.writing = Some((lsn, reach));
        }
    }

    /// The agent looks at its rows; whether there are any to look at.
    pub(super) fn look(&self, look: Look, out: &mut Outputs) -> bool {
        if self.rows.is_none() {
            return false;
        }
        // A disk that has failed answers nothing; nothing would be said to be there.
        if matches!(self.stage, Stage::Open) {
            out.act(Action::Read { log: self.id, read: Read::Look(look) });
        }
        true
    }
}

/// The most that may wait to become durable in one log, in bytes and in records.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
const PENDING_RECORDS_MAX: usize = 65_536;
/// How much is read at a time, in bytes: little enough that the loop is soon back at its sockets, and enough that the way to the disk's thread counts for nothing.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Rows are asked for when records of so many bytes were handed over, a record's own cost included: so much is handed over again after a crash.
const ROWS_AFTER_BYTES: usize = 4 * 1024 * 1024;
const RECORD_COST_BYTES: usize = 16;
/// What the one reading of rows is called.
const ROWS_TOKEN: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A log whose disk does nothing by itself.
    struct Desk {
        log: LocalLog,
        out: Outputs,
    }

    impl Desk {
        fn new() -> Self {
            let mut out = Outputs::default();
            let log = LocalLog::open(LogId(1), "box/a", &mut out);
            let (name, former) = ("box/a.local".to_owned(), Some("box/a.log".to_owned()));
            assert_eq!(out.next_action(), Some(Action::OpenStore { log: LogId(1), name, former }));
            Self { log, out }
        }

        /// One that is open, with this many records, for an agent with rows or without.
        fn opened(records: u64, keeps_rows: bool) -> Self {
            let mut desk = Self::new();
            let begins = desk.recovered(&recovered(1, records), keeps_rows);
            if !begins.expect("a sound log") {
                let handed = desk.found_entries(1, 1..=records);
                assert_eq!(handed.last(), Some(&Handed::Begin));
                desk.actions();
            }
            desk
        }

        fn recovered(&mut self, recovered: &Recovered, keeps_rows: bool) -> Result<bool, String> {
            self.log.recovered(recovered, keeps_rows, &mut self.out)
        }

        fn found_entries(&mut self, from: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Handed> {
            let record = Bytes::from_static(b"r");
            let entries =
                range.map(|index| Entry { index: Index(index), term: Term(0), record: record.clone() });
            let found = Found::Entries { from: Index(from), entries: entries.collect() };
            self.log.found(found, &mut self.out).expect("readable")
        }

        /// What the host was asked for since the last time.
        fn actions(&mut self) -> Vec<Action> {
            std::iter::from_fn(|| self.out.next_action()).collect()
        }

        fn reads(&mut self) -> Vec<Read> {
            let read =
                |action| if let Action::Read { read, .. } = action { read } else { panic!("{action:?}") };
            self.actions().into_iter().map(read).collect()
        }

        fn propose(&mut self, record: &[u8]) -> Result<(), Refusal> {
            let record = Bytes::copy_from_slice(record);
            self.log.propose(record, &mut self.out).map_err(|(_, why)| why)
        }
    }

    fn recovered(first: u64, last: u64) -> Recovered {
        Recovered { first: Index(first), last: Index(last), ..Recovered::default() }
    }

    fn entries(from: u64, upto: u64) -> Read {
        Read::Entries { from: Index(from), upto: Index(upto), bytes_max: READ_BYTES }
    }

    #[test]
    fn records_are_read_in_pieces_and_damaged_ones_passed_over() {
        let mut desk = Desk::new();
        let damaged = vec![(Index(1), Index(1)), (Index(4), Index(5)), (Index(8), Index(8))];
        assert_eq!(desk.recovered(&Recovered { damaged, ..recovered(1, 8) }, false), Ok(false));
        assert_eq!(desk.reads(), [entries(2, 8)]);
        assert!(matches!(desk.propose(b"early"), Err(Refusal::Busy)));
        assert_eq!(desk.found_entries(2, 2..=2).len(), 1);
        assert_eq!(desk.reads(), [entries(3, 8)]);
        assert_eq!(desk.found_entries(3, 3..=3).len(), 1);
        assert_eq!(desk.reads(), [entries(6, 8)]);
        let handed = desk.found_entries(6, 6..=7);
        assert_eq!((handed.len(), handed.last()), (3, Some(&Handed::Begin)));
        desk.propose(b"next").expect("open");
        let entry = Entry { index: Index(9), term: Term(0), record: Bytes::from_static(b"next") };
        assert_eq!(desk.actions(), [Action::Write { log: LogId(1), write: Write::Append { entry } }]);
    }

    #[test]
    fn rows_come_before_the_records_behind_them() {
        let mut desk = Desk::new();
        let applied = Applied { index: Index(5), ..Applied::default() };
        let state = Recovered { applied: applied.clone(), ..recovered(4, 7) };
        assert_eq!(desk.recovered(&state, true), Ok(false));
        let part = |part| Read::Rows { token: ROWS_TOKEN, part, bytes_max: READ_BYTES };
        assert_eq!(desk.reads(), [part(0)]);
        let row = Row { key: "k".into(), value: Some("v".into()) };
        let mut found = |part, last| {
            let found = Found::Rows {
                token: ROWS_TOKEN,
                part,
                applied: applied.clone(),
                rows: vec![row.clone()],
                last,
            };
            desk.log.found(found, &mut desk.out).expect("readable")
        };
        let rows = vec![row.clone()];
        assert_eq!(found(0, false), [Handed::Rows { rows: rows.clone(), first: true, last: None }]);
        assert_eq!(found(1, true), [Handed::Rows { rows, first: false, last: Some(Index(5)) }]);
        assert_eq!(desk.reads(), [part(1), Read::EndRows { token: ROWS_TOKEN }, entries(6, 7)]);
        assert_eq!(desk.found_entries(6, 6..=7).last(), Some(&Handed::Begin));
    }

    #[test]
    fn what_neither_log_nor_rows_know_any_more_is_an_error() {
        let lost = Desk::new().recovered(&recovered(4, 7), true).expect_err("1 to 3 are missing");
        assert!(lost.contains("the rows up to record 3 are lost"), "{lost}");
        let applied = Applied { index: Index(5), ..Applied::default() };
        let not_told =
            Desk::new().recovered(&Recovered { applied: applied.clone(), ..recovered(4, 7) }, false);
        assert!(not_told.is_err_and(|why| why.contains("was not told to keep")));
        let whole = Desk::new().recovered(&Recovered { applied, ..recovered(1, 7) }, false);
        assert_eq!(whole, Ok(false), "the log tells everything itself");
        let mut desk = Desk::new();
        desk.recovered(&recovered(1, 7), false).expect("readable");
        let gone = Found::Entries { from: Index(1), entries: Vec::new() };
        assert!(desk.log.found(gone, &mut desk.out).is_err_and(|why| why.contains("record 1 was there")));
    }

    #[test]
    fn a_record_comes_back_when_the_disk_has_it_and_not_before() {
        let mut desk = Desk::opened(4, false);
        desk.propose(b"x").expect("open");
        desk.propose(b"y").expect("open");
        assert!(desk.log.stored(Lsn(0), &mut desk.out).is_empty());
        let stored = desk.log.stored(Lsn(1), &mut desk.out);
        assert!(matches!(stored[..], [Waiting::Committed { index: Index(5), .. }]));
        let refused = desk.log.fail("no space");
        assert!(matches!(refused[..], [Waiting::NotCommitted { why: Refusal::Failed(_), .. }]));
        assert!(matches!(desk.propose(b"z"), Err(Refusal::Failed(_))));
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded() {
        let mut desk = Desk::opened(0, false);
        let endless = vec![0; RECORD_BYTES_MAX + 1];
        assert!(matches!(desk.propose(&endless), Err(Refusal::TooLong { .. })));
        let record = vec![0; PENDING_BYTES_MAX / 4];
        for _ in 0..4 {
            desk.propose(&record).expect("room");
        }
        assert!(matches!(desk.propose(&record), Err(Refusal::Busy)));
    }

    #[test]
    fn rows_are_asked_for_now_and_then_and_the_log_before_them_goes_once_they_are_durable() {
        let mut desk = Desk::opened(0, true);
        assert!(!desk.log.handed(Index(1), ROWS_AFTER_BYTES / 2));
        assert!(desk.log.handed(Index(2), ROWS_AFTER_BYTES / 2));
        desk.log.keep(Vec::new(), &mut desk.out);
        let applied = Applied { index: Index(2), term: Term(0), meta: Bytes::new() };
        let write = |write| Action::Write { log: LogId(1), write };
        assert_eq!(desk.actions(), [write(Write::Apply { applied, rows: Vec::new() })]);
        assert!(!desk.log.handed(Index(3), ROWS_AFTER_BYTES), "the rows before are under way");
        desk.log.stored(Lsn(1), &mut desk.out);
        assert_eq!(desk.actions(), [write(Write::Compact { upto: Index(2) })]);
        assert!(desk.log.handed(Index(4), 0), "what has come meanwhile counts");
        assert!(!Desk::opened(0, false).log.handed(Index(1), ROWS_AFTER_BYTES));
    }
}
