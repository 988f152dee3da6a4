//! What the disk of an agent that is a log itself holds: what a sequence of writes comes to. Pure; nothing here waits or fails by chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;

use crate::agent::{Applied, Entry, Found, Index, Look, Looked, Read, Recovered, Row, Term, Write};

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    state: Option<Bytes>,
    state_lost: bool,
    applied: Applied,
    /// The entry before the first one that is there.
    base: (Index, Term),
    entries: VecDeque<Entry>,
    /// Entries whose bytes have changed.
    damaged: BTreeSet<Index>,
    suspect: bool,
    rows: BTreeMap<Bytes, Bytes>,
    received: Vec<Row>,
    parts_received: u64,
}

/// Rows as they were when somebody began to read them.
#[derive(Debug)]
pub(in crate::sim) struct Reading {
    applied: Applied,
    rows: Vec<Row>,
    /// From where on the parts that were not read yet begin.
    place: usize,
}

/// How the bytes of a disk can change without anybody having written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Entries cannot be read any more.
    Entries {
        /// The first.
        from: Index,
        /// The last.
        upto: Index,
    },
    /// The newest entries are gone, from this one on, and nobody knows what they were.
    Tail {
        /// The first that is gone.
        from: Index,
    },
    /// What was kept beside the log cannot be read any more.
    State,
}

impl Contents {
    /// What is kept beside the log.
    pub fn state(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }

    /// How far the rows reach.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The rows, ascending by their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.rows.iter()
    }

    /// The first entry that is still there, or would be.
    pub fn first(&self) -> Index {
        Index(self.base.0.0 + 1)
    }

    /// The last entry that is there, damaged or not; the one before the first if there is none.
    pub fn last(&self) -> Index {
        Index(self.base.0.0 + self.entries.len() as u64)
    }

    /// An entry that can be read.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let place = index.0.checked_sub(self.base.0.0 + 1)?;
        let entry = self.entries.get(usize::try_from(place).ok()?)?;
        (!self.damaged.contains(&index)).then_some(entry)
    }

    /// The term of an entry, of one that is damaged too, and of the one before the first.
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let place = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?).map(|entry| entry.term)
    }

    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && !self.suspect && !self.state_lost
    }

    /// What an agent that starts is told.
    pub(in crate::sim) fn recovered(&self) -> Recovered {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        let readable = self.entries.iter().filter(|entry| !self.damaged.contains(&entry.index));
        for entry in readable {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        let mut damaged: Vec<(Index, Index)> = Vec::new();
        for &index in &self.damaged {
            match damaged.last_mut() {
                Some((_, last)) if last.0 + 1 == index.0 => *last = index,
                _ => damaged.push((index, index)),
            }
        }
        Recovered {
            state: self.state.clone(),
            state_lost: self.state_lost,
            applied: self.applied.clone(),
            first: self.first(),
            last: self.last(),
            terms,
            damaged,
            suspect: self.suspect,
        }
    }

    /// Carries out a write. One that makes no sense here changes nothing; the error says why it does not.
    pub(in crate::sim) fn write(&mut self, write: &Write) -> Result<(), String> {
        match write {
            Write::State { state } => {
                self.state = Some(state.clone());
                self.state_lost = false;
            }
            Write::Append { entry } => self.append(entry)?,
            Write::Truncate { from } => self.truncate(*from)?,
            Write::Apply { applied, rows } => self.apply(applied, rows)?,
            Write::Receive { part, rows } => self.receive(*part, rows)?,
            Write::Install { applied } => self.install(applied)?,
            Write::Compact { upto } => self.compact(*upto)?,
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), String> {
        let last = self.last();
        if entry.index.0 != last.0 + 1 {
            return Err(format!("entry {} was put behind entry {last}", entry.index));
        }
        if self.term(last).is_some_and(|term| term > entry.term) {
            return Err(format!("entry {} of term {} follows a greater term", entry.index, entry.term));
        }
        self.entries.push_back(entry.clone());
        Ok(())
    }

    fn truncate(&mut self, from: Index) -> Result<(), String> {
        if from <= self.applied.index {
            return Err(format!("entry {from} is to go, and the rows reach to entry {}", self.applied.index));
        }
        self.cut(from);
        self.suspect = false;
        Ok(())
    }

    fn cut(&mut self, from: Index) {
        let kept = from.0.saturating_sub(self.base.0.0 + 1);
        self.entries.truncate(usize::try_from(kept).expect("a number of entries"));
        self.damaged.split_off(&from);
    }

    fn apply(&mut self, applied: &Applied, rows: &[Row]) -> Result<(), String> {
        if applied.index < self.applied.index || applied.index > self.last() {
            let (before, last) = (self.applied.index, self.last());
            return Err(format!("rows are to reach to entry {}, not from {before} to {last}", applied.index));
        }
        if self.term(applied.index).is_some_and(|term| term != applied.term) {
            return Err(format!(
                "entry {}, to which rows reach, is not of term {}",
                applied.index, applied.term
            ));
        }
        self.applied = applied.clone();
        for row in rows {
            match &row.value {
                Some(value) => drop(self.rows.insert(row.key.clone(), value.clone())),
                None => drop(self.rows.remove(&row.key)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, part: u64, rows: &[Row]) -> Result<(), String> {
        if part == 0 {
            self.received.clear();
            self.parts_received = 0;
        }
        if part != self.parts_received {
            return Err(format!("part {part} was put aside where part {} was due", self.parts_received));
        }
        self.parts_received += 1;
        self.received.extend_from_slice(rows);
        Ok(())
    }

    fn install(&mut self, applied: &Applied) -> Result<(), String> {
        if self.parts_received == 0 || applied.index < self.applied.index {
            let (parts, before) = (self.parts_received, self.applied.index);
            return Err(format!(
                "{parts} parts up to entry {} replace what reached to {before}",
                applied.index
            ));
        }
        let with_value = |row: Row| row.value.map(|value| (row.key, value));
        self.rows = std::mem::take(&mut self.received).into_iter().filter_map(with_value).collect();
        self.parts_received = 0;
        self.applied = applied.clone();
        self.base = (applied.index, applied.term);
        self.entries.clear();
        self.damaged.clear();
        self.suspect = false;
        Ok(())
    }

    fn compact(&mut self, upto: Index) -> Result<(), String> {
        if upto > self.applied.index {
            return Err(format!("entry {upto} may go, and the rows reach to {} only", self.applied.index));
        }
        while self.entries.front().is_some_and(|entry| entry.index <= upto) {
            let entry = self.entries.pop_front().expect("there is one in front");
            self.damaged.remove(&entry.index);
            self.base = (entry.index, entry.term);
        }
        Ok(())
    }

    /// Reads entries; part after part is read from a [`Reading`].
    pub(in crate::sim) fn read(&self, from: Index, upto: Index, bytes_max: usize) -> Found {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in from.0..=upto.0 {
            let Some(entry) = self.entry(Index(index)) else { break };
            bytes += entry.record.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Found::Entries { from, entries }
    }

    /// Looks at some rows.
    pub(in crate::sim) fn look(&self, look: &Look) -> Found {
        let row = |(key, value): (&Bytes, &Bytes)| Ok(Row { key: key.clone(), value: Some(value.clone()) });
        // A range that ends before it begins is empty.
        let range = self.rows.range(look.from.clone()..look.until.clone().max(look.from.clone())).map(row);
        let looked: Result<Looked, Infallible> =
            if look.backwards { look.gather(range.rev()) } else { look.gather(range) };
        let Ok(looked) = looked;
        Found::Looked(looked)
    }

    /// Begins to read all rows.
    pub(in crate::sim) fn reading(&self) -> Reading {
        let row = |(key, value): (&Bytes, &Bytes)| Row { key: key.clone(), value: Some(value.clone()) };
        Reading { applied: self.applied.clone(), rows: self.rows.iter().map(row).collect(), place: 0 }
    }

    /// Damages the disk; whether there was something to be damaged.
    pub(super) fn damage(&mut self, damage: Damage) -> bool {
        match damage {
            Damage::Entries { from, upto } => {
                let (from, upto) = (from.max(self.first()), upto.min(self.last()));
                if from > upto {
                    return false;
                }
                if upto <= self.applied.index {
                    // What the rows cover nobody needs: the disk is as if it had been told so.
                    return self.compact(upto).is_ok();
                }
                self.damaged.extend((from.0..=upto.0).map(Index));
                true
            }
            Damage::Tail { from } => {
                let from = from.max(self.first());
                if from > self.last() {
                    return false;
                }
                self.cut(from);
                self.suspect = true;
                true
            }
            Damage::State => {
                self.state_lost |= self.state.take().is_some();
                self.state_lost
            }
        }
    }
}

impl Reading {
    /// The next part.
    pub(in crate::sim) fn next(&mut self, token: u64, part: u64, bytes_max: usize) -> Found {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = self.rows.get(self.place) {
            bytes += row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
            if bytes > bytes_max && !rows.is_empty() {
                break;
            }
            rows.push(row.clone());
            self.place += 1;
        }
        let last = self.place == self.rows.len();
        Found::Rows { token, part, applied: self.applied.clone(), rows, last }
    }
}

/// Whether a read asks for the first part of rows.
pub(super) fn begins_reading(read: &Read) -> Option<u64> {
    match read {
        Read::Rows { token, part: 0, .. } => Some(*token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Write {
        let record = Bytes::from(format!("record {index}"));
        Write::Append { entry: Entry { index: Index(index), term: Term(term), record } }
    }

    fn applied(index: u64, term: u64) -> Applied {
        Applied { index: Index(index), term: Term(term), meta: Bytes::new() }
    }

    fn row(key: &'static str, value: Option<&'static str>) -> Row {
        Row { key: Bytes::from(key), value: value.map(Bytes::from) }
    }

    fn holding(writes: impl IntoIterator<Item = Write>) -> Contents {
        let mut contents = Contents::default();
        for write in writes {
            contents.write(&write).expect("it makes sense");
        }
        contents
    }

    fn found(contents: &Contents, from: u64, upto: u64, bytes_max: usize) -> Vec<u64> {
        match contents.read(Index(from), Index(upto), bytes_max) {
            Found::Entries { entries, .. } => entries.iter().map(|entry| entry.index.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_recovered_names_terms_damage_and_both_ends() {
        let mut contents = holding([1, 1, 2, 2, 4].iter().zip(1..).map(|(&term, index)| entry(index, term)));
        assert!(contents.is_whole());
        assert!(contents.damage(Damage::Entries { from: Index(3), upto: Index(3) }));
        assert!(contents.damage(Damage::Entries { from: Index(5), upto: Index(9) }));
        let recovered = contents.recovered();
        assert_eq!((recovered.first, recovered.last), (Index(1), Index(5)));
        assert_eq!(recovered.terms, [(Index(1), Term(1)), (Index(4), Term(2))]);
        assert_eq!(recovered.damaged, [(Index(3), Index(3)), (Index(5), Index(5))]);
        assert_eq!(found(&contents, 1, 5, 1_000), [1, 2]);
        assert_eq!(found(&contents, 3, 5, 1_000), [0; 0]);
        assert_eq!(found(&contents, 1, 2, 1), [1]);
        contents.write(&Write::Truncate { from: Index(3) }).expect("it makes sense");
        assert!(contents.is_whole());
        assert_eq!(contents.last(), Index(2));
    }

    #[test]
    fn compacting_and_installing_leave_what_the_rows_cover() {
        let mut contents = holding((1..=6).map(|index| entry(index, 1)));
        let rows = vec![row("a", Some("1")), row("b", Some("2"))];
        contents.write(&Write::Apply { applied: applied(4, 1), rows }).expect("it makes sense");
        contents.write(&Write::Compact { upto: Index(3) }).expect("it makes sense");
        assert_eq!((contents.first(), contents.last()), (Index(4), Index(6)));
        assert_eq!(contents.term(Index(3)), Some(Term(1)));
        let mut reading = contents.reading();
        contents.write(&Write::Receive { part: 0, rows: vec![row("c", Some("3"))] }).expect("it makes sense");
        contents.write(&Write::Install { applied: applied(9, 3) }).expect("it makes sense");
        assert_eq!((contents.first(), contents.last(), contents.rows().count()), (Index(10), Index(9), 1));
        contents.write(&entry(10, 3)).expect("it goes on");
        // What is being read stays as it was.
        let parts = [reading.next(7, 0, 1), reading.next(7, 1, 1)];
        let lasts = parts.map(|part| match part {
            Found::Rows { rows, last, applied, .. } => (rows.len(), last, applied.index.0),
            other => panic!("{other:?}"),
        });
        assert_eq!(lasts, [(1, false, 4), (1, true, 4)]);
    }

    #[test]
    fn writes_that_make_no_sense_are_refused() {
        let contents =
            holding([entry(1, 2), entry(2, 2), Write::Apply { applied: applied(1, 2), rows: vec![] }]);
        let wrong = [
            entry(2, 2),
            entry(4, 2),
            entry(3, 1),
            Write::Truncate { from: Index(1) },
            Write::Apply { applied: applied(0, 0), rows: vec![] },
            Write::Apply { applied: applied(3, 2), rows: vec![] },
            Write::Apply { applied: applied(2, 1), rows: vec![] },
            Write::Receive { part: 1, rows: vec![] },
            Write::Install { applied: applied(5, 2) },
            Write::Compact { upto: Index(2) },
        ];
        for write in wrong {
            assert!(contents.clone().write(&write).is_err(), "{write:?}");
        }
    }
}
