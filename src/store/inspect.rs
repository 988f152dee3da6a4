//! Looking at a store without changing anything: what stands in its folder, and what is wrong with it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use redb::StorageBackend;
use serde::Serialize;

use super::files::{Files, Folder};
use super::rows;
use super::segments::{NO_STATE, name_of, numbers, read_through};
use super::slots;
use super::survey::{Fault, Survey, Tail};

/// What stands in the folder of a store.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Whether a server uses it at this moment. Then the end of the log may be in the middle of a write, and the rows are not looked at.
    pub in_use: bool,
    /// The first entry that is there.
    pub first: u64,
    /// The last one; one less if there is none.
    pub last: u64,
    /// From which entry on which term holds.
    pub terms: Vec<TermRun>,
    /// The segments, from the oldest to the newest.
    pub segments: Vec<SegmentView>,
    /// How many times the log was begun anew behind rows of another server.
    pub installs: u64,
    /// What is kept beside the log.
    pub state: StateView,
    /// The rows; `None` if there are none, if they cannot be read, or if they are in use.
    pub rows: Option<RowsView>,
    /// Bytes at the end of the log that a crash has cut short: no damage, and cut off at the next start.
    pub torn_bytes: u64,
    /// Entries that are lost: first and last of each stretch.
    pub damaged: Vec<(u64, u64)>,
    /// Whether something was damaged of which nobody knows what it was.
    pub suspect: bool,
    /// All that is wrong, with its place.
    pub faults: Vec<String>,
}

/// From this entry on, this term holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TermRun {
    /// The first entry of it.
    pub from: u64,
    /// The term.
    pub term: u64,
}

/// One segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentView {
    /// Its file.
    pub file: String,
    /// The first of its entries that count; `None` if none does.
    pub first: Option<u64>,
    /// The last of them.
    pub last: Option<u64>,
    /// How many of its bytes are written.
    pub used_bytes: u64,
    /// How many it has.
    pub allocated_bytes: u64,
}

/// What is kept beside a log, and where.
#[derive(Clone, Debug, Serialize)]
pub struct StateView {
    /// The how-manieth it is in the log; 1 is nothing.
    pub version: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// What the two slots hold.
    pub slots: [SlotView; 2],
}

/// What one slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotView {
    /// The same as the log.
    Same,
    /// What was kept before.
    Older,
    /// Something newer than the log knows.
    Newer,
    /// Nothing that can be read.
    Unreadable,
}

/// The rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RowsView {
    /// The last entry whose effect is in them.
    pub applied: u64,
    /// Its term.
    pub term: u64,
    /// How many there are.
    pub count: u64,
    /// What their keys and values come to.
    pub bytes: u64,
}

impl Inspection {
    /// Looks at the folder of a store. All of it is read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (folder, in_use) = Folder::look(path)?;
        let names = folder.list()?;
        let mut survey = Survey::default();
        let mut seen = Vec::new();
        for number in numbers(&names) {
            let file = folder.open_to_read(&name_of(number))?;
            let used = read_through(&folder, &file, number, &mut survey)?;
            seen.push((number, used, folder.len(&file)?));
        }
        let tail = survey.finish();
        let state = state_of(&folder, &names, &survey)?;
        let mut faults: Vec<String> = survey.faults.iter().map(Fault::to_string).collect();
        let has_rows = names.iter().any(|name| name == rows::NAME) && !in_use;
        let rows = if has_rows { look_at_rows(&folder, &mut faults)? } else { None };
        let mut inspection = Self {
            in_use,
            first: survey.map.first().0,
            last: survey.map.next().0 - 1,
            terms: survey
                .map
                .terms()
                .iter()
                .map(|(from, term)| TermRun { from: from.0, term: term.0 })
                .collect(),
            segments: segment_views(&survey, &seen),
            installs: survey.installs,
            state,
            rows: rows.as_ref().map(|rows| RowsView {
                applied: rows.reach.applied.index.0,
                term: rows.reach.applied.term.0,
                count: rows.rows,
                bytes: rows.bytes,
            }),
            torn_bytes: if let Tail::Torn(bytes) = tail { bytes } else { 0 },
            damaged: survey.map.damaged().iter().map(|(first, last)| (first.0, last.0)).collect(),
            suspect: survey.suspect,
            faults,
        };
        let installed = rows.is_some_and(|rows| rows.reach.installs > survey.installs);
        inspection.compare(seen.is_empty(), installed);
        Ok(inspection)
    }

    /// Whether anything is wrong. What has been made good since is told of in [`Self::faults`] and is not.
    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty() || self.suspect || self.state_is_unsure() || self.rows_are_unsure()
    }

    /// Whether what is kept beside the log has a copy that is not sound.
    pub fn state_is_unsure(&self) -> bool {
        !self.in_use
            && self.state.slots.iter().any(|slot| matches!(slot, SlotView::Unreadable | SlotView::Newer))
    }

    /// Whether rows are wanted and not there, or there and unreadable.
    pub fn rows_are_unsure(&self) -> bool {
        let applied = self.rows.map_or(0, |rows| rows.applied);
        !self.in_use
            && (self.first > applied + 1 || self.faults.iter().any(|fault| fault.starts_with(ROWS_FAULT)))
    }

    /// Holds the parts against each other.
    fn compare(&mut self, empty: bool, installed: bool) {
        let applied = self.rows.map_or(0, |rows| rows.applied);
        let Self { first, last, in_use, .. } = *self;
        if in_use {
            return;
        }
        if empty {
            self.faults.push(
                "there is no segment: this is not the folder of a log, or it has lost all of them".to_owned(),
            );
            self.suspect = true;
        } else if !installed && first > applied + 1 {
            self.faults.push(format!(
                "the log begins with entry {first}, and the rows reach to entry {applied} only"
            ));
        } else if !installed && last < applied {
            self.faults
                .push(format!("the log ends with entry {last}, and the rows reach to entry {applied}"));
            self.suspect = true;
        }
        for (place, slot) in self.state.slots.iter().enumerate() {
            let what = match slot {
                SlotView::Unreadable => "is unreadable",
                SlotView::Newer => "is newer than the log",
                SlotView::Same | SlotView::Older => continue,
            };
            self.faults.push(format!("slot {place} of the file {} {what}", slots::NAME));
        }
    }
}

fn segment_views(survey: &Survey, seen: &[(u64, u64, u64)]) -> Vec<SegmentView> {
    let view = |&(number, used_bytes, allocated_bytes): &(u64, u64, u64)| {
        let first = survey.map.first_from(number).max(survey.map.first()).0;
        let behind = survey.map.first_from(number + 1).0;
        let entries = (first < behind).then_some((first, behind - 1));
        SegmentView {
            file: name_of(number),
            first: entries.map(|(first, _)| first),
            last: entries.map(|(_, last)| last),
            used_bytes,
            allocated_bytes,
        }
    };
    seen.iter().map(view).collect()
}

fn state_of(folder: &Folder, names: &[String], survey: &Survey) -> io::Result<StateView> {
    let version = survey.version.max(NO_STATE);
    let mut pair = [None, None];
    if names.iter().any(|name| name == slots::NAME) {
        let file = folder.open_to_read(slots::NAME)?;
        pair = slots::read(folder, &file).map_err(|trouble| trouble.source)?;
    }
    let slots = pair.map(|slot| match slot {
        None => SlotView::Unreadable,
        Some((theirs, _)) if theirs > version => SlotView::Newer,
        Some((theirs, _)) if theirs < version => SlotView::Older,
        Some(_) => SlotView::Same,
    });
    Ok(StateView { version, bytes: survey.state.len() as u64, slots })
}

fn look_at_rows(folder: &Folder, faults: &mut Vec<String>) -> io::Result<Option<rows::Summary>> {
    let file = folder.open_to_read(rows::NAME)?;
    let len = folder.len(&file)?;
    let backend = Overlay {
        folder: folder.clone(),
        file,
        len,
        changed: Mutex::new(Changed { len, writes: Vec::new() }),
    };
    match rows::summarize(backend) {
        Ok(summary) => Ok(Some(summary)),
        Err(error) => {
            faults.push(format!("{ROWS_FAULT}: {error}"));
            Ok(None)
        }
    }
}

/// A file as a database wants it, that stays as it is: what the database writes while it opens after a crash is kept in memory.
#[derive(Debug)]
struct Overlay {
    folder: Folder,
    file: File,
    /// How long the file is.
    len: u64,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    len: u64,
    /// In the order in which they came.
    writes: Vec<(u64, Vec<u8>)>,
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().len)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let from_file = self.len.saturating_sub(offset).min(len as u64);
        let from_file = usize::try_from(from_file).expect("at most what was asked for");
        self.folder.read_at(&self.file, &mut bytes[..from_file], offset)?;
        for (at, written) in &self.changed().writes {
            let begin = (*at).max(offset);
            let end = (at + written.len() as u64).min(offset + len as u64);
            if begin < end {
                let range = |base: u64| place(begin - base)..place(end - base);
                bytes[range(offset)].copy_from_slice(&written[range(*at)]);
            }
        }
        Ok(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changed().len = len;
        Ok(())
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changed().writes.push((offset, data.to_vec()));
        Ok(())
    }
}

impl Overlay {
    fn changed(&self) -> std::sync::MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn place(bytes: u64) -> usize {
    usize::try_from(bytes).expect("within one read")
}

/// How a fault of the rows begins.
const ROWS_FAULT: &str = "the rows cannot be read";

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::agent::{Applied, Entry, Index, Row, Term, Write};
    use crate::store::LogStore;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut store = LogStore::open(folder.path()).expect("a new store").store;
        for index in 1..=10 {
            let record = Bytes::from(format!("record {index}"));
            let entry = Entry { index: Index(index), term: Term(1 + index / 6), record };
            store.write(&Write::Append { entry }).expect("written");
        }
        store.write(&Write::State { state: Bytes::from_static(b"vote") }).expect("written");
        let applied = Applied { index: Index(4), term: Term(1), meta: Bytes::new() };
        let rows = vec![Row { key: Bytes::from_static(b"key"), value: Some(Bytes::from_static(b"value")) }];
        store.write(&Write::Apply { applied, rows }).expect("written");
        store.sync().expect("synced");
        folder
    }

    /// All files with their contents.
    fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let folder = Folder::look(folder).expect("a folder").0;
        let mut names = folder.list().expect("a list");
        names.sort();
        let bytes = |name: &String| {
            let file = folder.open_to_read(name).expect("a file");
            let mut bytes = vec![0; place(folder.len(&file).expect("a length"))];
            folder.read_at(&file, &mut bytes, 0).expect("read");
            bytes
        };
        names.iter().map(|name| (name.clone(), bytes(name))).collect()
    }

    #[test]
    fn everything_is_seen_and_nothing_is_changed() {
        let folder = folder();
        let before = contents(folder.path());
        let seen = Inspection::of(folder.path()).expect("a look");
        assert!(!seen.is_damaged() && seen.faults.is_empty() && !seen.in_use, "{seen:?}");
        assert_eq!((seen.first, seen.last, seen.terms.len(), seen.segments.len()), (1, 10, 2, 1));
        assert_eq!(seen.state.slots, [SlotView::Same, SlotView::Older]);
        let rows = seen.rows.expect("there are some");
        assert_eq!((rows.applied, rows.count, rows.bytes), (4, 1, 8));
        assert!(contents(folder.path()) == before);
    }

    #[test]
    fn a_store_that_is_in_use_is_looked_at_without_its_rows() {
        let folder = folder();
        let store = LogStore::open(folder.path()).expect("opened").store;
        let seen = Inspection::of(folder.path()).expect("a look");
        assert!(seen.in_use && seen.rows.is_none() && !seen.is_damaged(), "{seen:?}");
        drop(store);
        assert!(!Inspection::of(folder.path()).expect("a look").in_use);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let folder = folder();
            let path = folder.path().join(name);
            let mut bytes = fs::read(&path).expect("a file");
            change(&mut bytes);
            fs::write(&path, bytes).expect("written");
            Inspection::of(folder.path()).expect("a look")
        };
        let flip = |what: &'static [u8]| {
            move |bytes: &mut Vec<u8>| {
                let place = bytes.windows(what.len()).position(|part| part == what).expect("it is there");
                bytes[place] ^= 1;
            }
        };
        let seen = change("0000000001.segment", &flip(b"record 3"));
        assert!(seen.is_damaged() && seen.damaged == [(3, 3)] && !seen.suspect, "{seen:?}");
        let seen = change("state", &flip(b"vote"));
        assert!(seen.is_damaged() && seen.state_is_unsure() && seen.damaged.is_empty(), "{seen:?}");
        let seen = change("rows.redb", &flip(b"value"));
        assert!(seen.is_damaged() && seen.rows_are_unsure() && seen.rows.is_none(), "{seen:?}");
    }

    #[test]
    fn a_folder_that_is_none_is_an_error_and_an_empty_one_holds_no_log() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        assert!(Inspection::of(&folder.path().join("nowhere")).is_err());
        let seen = Inspection::of(folder.path()).expect("a look");
        assert!(
            seen.is_damaged() && seen.faults.iter().any(|fault| fault.contains("no segment")),
            "{seen:?}"
        );
    }
}
