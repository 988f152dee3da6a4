//! Crashes at every call.

mod damage;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::testing::{Loss, Memory};
use super::*;
use crate::agent::{Entry, Row, Term};
use crate::rng::Rng;

/// Short segments, so that there are many.
const SHORT: Sizes = Sizes { first: 256, most: 1024 };

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    state: Option<Bytes>,
    entries: BTreeMap<u64, (Term, Bytes)>,
    last: u64,
    term: u64,
    applied: Applied,
    rows: BTreeMap<Bytes, Bytes>,
    received: BTreeMap<Bytes, Bytes>,
}

impl Model {
    fn take(&mut self, write: &Write) {
        match write {
            Write::State { state } => self.state = Some(state.clone()),
            Write::Append { entry } => {
                self.entries.insert(entry.index.0, (entry.term, entry.record.clone()));
                self.last = entry.index.0;
            }
            Write::Truncate { from } => {
                drop(self.entries.split_off(&from.0));
                self.last = from.0 - 1;
            }
            Write::Apply { applied, rows } => {
                self.applied = applied.clone();
                for row in rows {
                    match &row.value {
                        Some(value) => drop(self.rows.insert(row.key.clone(), value.clone())),
                        None => drop(self.rows.remove(&row.key)),
                    }
                }
            }
            Write::Receive { part, rows } => {
                if *part == 0 {
                    self.received.clear();
                }
                self.received
                    .extend(rows.iter().map(|row| (row.key.clone(), row.value.clone().expect("a value"))));
            }
            Write::Install { applied } => {
                self.rows = std::mem::take(&mut self.received);
                self.applied = applied.clone();
                self.entries.clear();
                self.last = applied.index.0;
            }
            Write::Compact { .. } => {}
        }
    }

    /// A write that makes sense here.
    fn draw(&mut self, rng: &mut Rng, rows: bool) -> Vec<Write> {
        let text = |rng: &mut Rng| {
            let bytes: Vec<u8> =
                (0..rng.below(90)).map(|_| u8::try_from(rng.below(3)).expect("small")).collect();
            Bytes::from(bytes)
        };
        let row =
            |rng: &mut Rng| Row { key: Bytes::from(format!("row {}", rng.below(6))), value: Some(text(rng)) };
        let free = self.last - self.applied.index.0;
        let kind = rng.below(20);
        let drawn = match kind {
            0 | 1 => vec![Write::State { state: text(rng) }],
            2 | 3 if free > 0 => {
                self.term += 1;
                vec![Write::Truncate { from: Index(self.last + 1 - rng.below(free.min(5) + 1)) }]
            }
            4 if free > 0 && rows => {
                let index = self.applied.index.0 + 1 + rng.below(free);
                let applied = Applied { index: Index(index), term: self.entries[&index].0, meta: text(rng) };
                let removed = Row { value: None, ..row(rng) };
                let mut rows = vec![row(rng), removed];
                rows.dedup_by(|a, b| a.key == b.key);
                vec![Write::Apply { applied, rows }]
            }
            5 => vec![Write::Compact {
                upto: Index(self.applied.index.0 - rng.below(2).min(self.applied.index.0)),
            }],
            6 if rows && rng.below(2) == 0 => {
                let index = Index(self.last + rng.below(20));
                let applied = Applied { index, term: Term(self.term), meta: text(rng) };
                vec![
                    Write::Receive { part: 0, rows: vec![row(rng)] },
                    Write::Receive { part: 1, rows: vec![row(rng)] },
                    Write::Install { applied },
                ]
            }
            _ => {
                let entry = Entry { index: Index(self.last + 1), term: Term(self.term), record: text(rng) };
                vec![Write::Append { entry }]
            }
        };
        for write in &drawn {
            self.take(write);
        }
        drawn
    }
}

/// Writes that make sense one after the other, and after which of them everything is made durable.
fn script(seed: u64, length: usize, rows: bool) -> (Vec<Write>, Vec<bool>) {
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    let mut writes = Vec::new();
    while writes.len() < length {
        writes.extend(model.draw(&mut rng, rows));
    }
    let synced = writes.iter().map(|_| rng.below(3) == 0).collect();
    (writes, synced)
}

fn open(files: &Memory) -> Result<Opened<Memory>, StoreError> {
    LogStore::open_in(files.clone(), Path::new("store"), SHORT)
}

/// Carries the script out for as long as it goes well: how many writes were stored for sure, and how many were begun.
fn run(files: &Memory, writes: &[Write], synced: &[bool]) -> (usize, usize) {
    let Ok(Opened { mut store, .. }) = open(files) else { return (0, 0) };
    let mut stored = 0;
    for (place, (write, sync)) in writes.iter().zip(synced).enumerate() {
        if store.write(write).is_err() {
            return (stored, place + 1);
        }
        if *sync {
            match store.sync() {
                Ok(upto) => stored = usize::try_from(upto.0).expect("few"),
                Err(_) => return (stored, place + 1),
            }
        }
    }
    (stored, writes.len())
}

/// All that can be read from a store.
fn read_all(opened: &mut Opened<Memory>) -> Model {
    let Opened { store, recovered, .. } = opened;
    let mut model = Model {
        state: recovered.state.clone(),
        last: recovered.last.0,
        applied: recovered.applied.clone(),
        ..Model::default()
    };
    let mut next = recovered.first;
    while next <= recovered.last {
        let read = Read::Entries { from: next, upto: recovered.last, bytes_max: 100 };
        let Some(Found::Entries { entries, .. }) = store.read(&read).expect("readable") else {
            panic!("entries")
        };
        if entries.is_empty() {
            // It is one that is lost: on behind it.
            next = Index(next.0 + 1);
        }
        for entry in entries {
            assert_eq!(entry.index, next);
            model.entries.insert(entry.index.0, (entry.term, entry.record));
            next = Index(next.0 + 1);
        }
    }
    for part in 0.. {
        let read = Read::Rows { token: 1, part, bytes_max: 60 };
        let Some(Found::Rows { rows, last, .. }) = store.read(&read).expect("readable") else {
            panic!("rows")
        };
        model.rows.extend(rows.into_iter().map(|row| (row.key, row.value.expect("a value"))));
        if last {
            break;
        }
    }
    model
}

fn is_whole(recovered: &Recovered) -> bool {
    recovered.damaged.is_empty() && !recovered.suspect && !recovered.state_lost
}

/// Whether what was found is what the model holds; the disk may have forgotten what the rows cover.
fn is(found: &Model, recovered: &Recovered, model: &Model) -> bool {
    let Recovered { first, terms, .. } = recovered;
    let kept: BTreeMap<_, _> =
        model.entries.range(first.0..).map(|(index, entry)| (*index, entry.clone())).collect();
    let mut runs: Vec<(Index, Term)> = Vec::new();
    for (index, (term, _)) in &kept {
        if runs.last().is_none_or(|(_, last)| last != term) {
            runs.push((Index(*index), *term));
        }
    }
    found.state == model.state
        && found.applied == model.applied
        && found.rows == model.rows
        && found.last == model.last
        && found.entries == kept
        && *terms == runs
        && first.0 <= model.applied.index.0 + 1
}

/// The model after each number of writes.
fn models(writes: &[Write]) -> Vec<Model> {
    let mut models = vec![Model::default()];
    for write in writes {
        let mut next = models[models.len() - 1].clone();
        next.take(write);
        models.push(next);
    }
    for model in &mut models {
        model.received.clear();
    }
    models
}

#[test]
fn what_was_written_is_there_when_the_store_is_opened_again() {
    for seed in 0..12 {
        let (writes, _) = script(seed, 120, seed % 4 == 0);
        let files = Memory::default();
        let synced: Vec<bool> =
            (1..=writes.len()).map(|place| place % 7 == 0 || place == writes.len()).collect();
        assert_eq!(run(&files, &writes, &synced), (writes.len(), writes.len()));
        let mut opened = open(&files.restart(Loss::All, seed)).expect("opened");
        let found = read_all(&mut opened);
        let model = models(&writes).pop().expect("one at least");
        assert!(is_whole(&opened.recovered) && opened.faults.is_empty(), "{seed}: {:?}", opened.faults);
        assert!(is(&found, &opened.recovered, &model), "{seed}: {found:#?} {model:#?}");
    }
}

/// Lets the power go at one call of a script after the other; whatever that leaves has to be a prefix that covers what was stored.
fn crash_everywhere(seed: u64, length: usize, rows: bool, losses: &[Loss]) {
    fail_everywhere(seed, length, rows, true, losses);
}

/// Lets one call of a script after the other go wrong, alone or because the power goes.
fn fail_everywhere(seed: u64, length: usize, rows: bool, power_goes: bool, losses: &[Loss]) {
    let (writes, synced) = script(seed, length, rows);
    let models = models(&writes);
    for call in 1.. {
        let files = Memory::default();
        files.fail_at(call, power_goes);
        let (stored, begun) = run(&files, &writes, &synced);
        let names = files.list().expect("there");
        let half_made = names.iter().find(|name| ["unfinished", "rows.unfinished"].contains(&name.as_str()));
        assert!(power_goes || half_made.is_none(), "seed {seed}, call {call}: {names:?}");
        for loss in losses {
            check_prefix(
                &files.restart(*loss, seed ^ call << 8),
                &models[stored..=begun],
                *loss,
                (seed, call),
            );
        }
        if !files.has_failed() {
            return;
        }
    }
}

fn check_prefix(files: &Memory, prefixes: &[Model], loss: Loss, place: (u64, u64)) {
    let mut opened = open(files).expect("opened");
    let found = read_all(&mut opened);
    let whole = is_whole(&opened.recovered);
    // Holes in what was never synced cannot be told from damage.
    assert!(whole || loss == Loss::Holes, "{place:?} {loss:?}: {:?} {:?}", opened.recovered, opened.faults);
    let fits = prefixes.iter().any(|model| is(&found, &opened.recovered, model));
    assert!(fits || !whole, "{place:?} {loss:?}: {found:#?} {:?} {prefixes:#?}", opened.recovered);
    // It can be written on, and what comes now is there the next time with all that was there now.
    let entry = Entry { index: Index(found.last + 1), term: Term(99), record: Bytes::from_static(b"new") };
    opened.store.write(&Write::Append { entry }).expect("written");
    opened.store.sync().expect("synced");
    let mut again = open(&files.restart(Loss::All, 0)).expect("opened");
    let mut grown = found.clone();
    grown.last += 1;
    grown.entries.insert(grown.last, (Term(99), Bytes::from_static(b"new")));
    assert_eq!(read_all(&mut again), grown, "{place:?} {loss:?}");
    let (before, after) = (&opened.recovered, &again.recovered);
    assert_eq!((&before.damaged, before.suspect), (&after.damaged, after.suspect), "{place:?} {loss:?}");
    assert_eq!(before.state_lost, after.state_lost, "{place:?} {loss:?}");
}

#[test]
fn a_crash_at_any_call_leaves_a_prefix_that_covers_what_was_stored() {
    for seed in 0..4 {
        crash_everywhere(seed, 60, false, &[Loss::All, Loss::Nothing, Loss::Torn, Loss::Torn]);
    }
    crash_everywhere(7, 10, true, &[Loss::All, Loss::Torn]);
}

#[test]
fn an_error_at_any_call_leaves_a_prefix_that_covers_what_was_stored_and_nothing_half_made() {
    for seed in 20..24 {
        fail_everywhere(seed, 60, false, false, &[Loss::Nothing, Loss::All]);
    }
    fail_everywhere(27, 10, true, false, &[Loss::Nothing, Loss::All]);
}

#[test]
fn blocks_that_were_never_written_are_told_of_or_do_no_harm() {
    for seed in 10..14 {
        crash_everywhere(seed, 60, false, &[Loss::Holes, Loss::Holes, Loss::Holes]);
    }
}

#[test]
fn a_truncation_is_durable_before_the_segments_go_that_it_leaves_without_entries() {
    let files = Memory::default();
    let Opened { mut store, .. } = open(&files).expect("opened");
    let entry = |index, term| {
        let entry = Entry { index: Index(index), term: Term(term), record: vec![7; 60].into() };
        Write::Append { entry }
    };
    for index in 1..=9 {
        store.write(&entry(index, 1)).expect("written");
    }
    store.sync().expect("synced");
    for write in [Write::Truncate { from: Index(1) }, entry(1, 2), Write::Compact { upto: Index(0) }] {
        store.write(&write).expect("written");
    }
    let left = open(&files.restart(Loss::All, 0)).expect("opened").recovered;
    assert_eq!((left.first, left.suspect, &left.terms[..]), (Index(1), false, &[(Index(1), Term(2))][..]));
}
