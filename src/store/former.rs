//! Logs of one file, as boxes kept them before logs had folders: each is read once more, and put into the folder that its agent has now.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::files::sync_folder;
use super::log_store::{LogStore, Opened};
use super::record::{Scan, scan};
use crate::agent::{Entry, Found, Index, Read, Term, Write};

impl LogStore {
    /// Opens the store in this folder as [`LogStore::open`] does. If a log of one file lies at `former`, its records become the first of the store; then
    /// the file has `.taken` behind its name, and nobody reads it any more. A crash in the middle of that loses nothing: the next opening goes on. A damaged file, and
    /// one beside a store that holds something else, is an error: which of them is right nobody can tell.
    pub fn open_with_former(path: &Path, former: &Path) -> Result<Opened, StoreError> {
        let Some(former) = Former::open(former)? else { return Self::open(path) };
        let Opened { mut store, recovered, .. } = Self::open(path)?;
        former.check(&mut store, recovered.last)?;
        former.hand_over(&mut store, recovered.last)?;
        // Closed first: what is there is found out by an opening like any other.
        drop(store);
        former.put_aside()?;
        Self::open(path)
    }
}

/// A log of one file, which nobody else has open.
struct Former {
    path: PathBuf,
    _lock: File,
    scan: Scan,
}

impl Former {
    /// Reads the file, if it is there.
    fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |doing| move |source| StoreError::Io { doing, path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open")(error)),
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => StoreError::InUse(path.to_owned()),
            other => failed("lock")(other.into()),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        // What a crash has left of an unfinished write at its end was never acknowledged.
        Ok(Some(Self { path: path.to_owned(), _lock: file, scan: scan(&bytes) }))
    }

    /// Makes sure that the store can have these records: it is empty, or holds the first of them.
    fn check(&self, store: &mut LogStore, last: Index) -> Result<(), StoreError> {
        if let Some(damage) = self.scan.damaged.first() {
            return Err(self.refused(format!(
                "{damage}. Restore it from a copy; or move it to another place, and the agent begins without all that is in it"
            )));
        }
        let mut records = self.scan.records.iter();
        let mut next = Index(1);
        while next <= last {
            let read = Read::Entries { from: next, upto: last, bytes_max: READ_BYTES };
            let Some(Found::Entries { entries, .. }) = store.read(&read)? else { break };
            let known = entries.iter().take_while(|entry| {
                records
                    .next()
                    .is_some_and(|(index, record)| (*index, &record[..]) == (entry.index, &entry.record[..]))
            });
            let known = known.count();
            if known == 0 || known < entries.len() {
                let store = store.path().display();
                return Err(self
                    .refused(format!("{store} holds other records. Move one of the two to another place")));
            }
            next = Index(next.0 + known as u64);
        }
        Ok(())
    }

    /// Puts the records behind the `last` one that the store has into it; they are durable when this returns.
    fn hand_over(&self, store: &mut LogStore, last: Index) -> Result<(), StoreError> {
        for (index, record) in self.scan.records.iter().filter(|(index, _)| *index > last) {
            let entry = Entry { index: *index, term: Term(0), record: record.clone().into() };
            store.write(&Write::Append { entry })?;
        }
        store.sync().map(drop)
    }

    /// Gives the file its other name.
    fn put_aside(&self) -> Result<(), StoreError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".taken");
        let taken = PathBuf::from(name);
        if taken.exists() {
            return Err(
                self.refused(format!("{} is in the way. Move that to another place", taken.display()))
            );
        }
        let failed = |source: io::Error| StoreError::Io { doing: "rename", path: self.path.clone(), source };
        fs::rename(&self.path, &taken).map_err(failed)?;
        sync_folder(taken.parent().unwrap_or(Path::new(".")))
    }

    fn refused(&self, what: String) -> StoreError {
        StoreError::Former { path: self.path.clone(), what }
    }
}

/// How much of the store is read at a time.
const READ_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::record::encode;

    /// A folder with a log of one file, of these records; its path, and that of the store.
    fn former(records: &[&str]) -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (file, store) = (folder.path().join("a.log"), folder.path().join("a.store"));
        let mut bytes = Vec::new();
        for (index, record) in (1..).zip(records) {
            encode(Index(index), record.as_bytes(), &mut bytes);
        }
        fs::write(&file, bytes).expect("written");
        (folder, file, store)
    }

    fn records(opened: &mut Opened) -> Vec<String> {
        let upto = opened.recovered.last;
        let found =
            opened.store.read(&Read::Entries { from: Index(1), upto, bytes_max: 1000 }).expect("read");
        let Some(Found::Entries { entries, .. }) = found else { panic!("{found:?}") };
        entries.iter().map(|entry| String::from_utf8(entry.record.to_vec()).expect("UTF-8")).collect()
    }

    fn append(store: &mut LogStore, index: u64, record: &str) {
        let entry = Entry { index: Index(index), term: Term(0), record: record.to_owned().into() };
        store.write(&Write::Append { entry }).expect("written");
        store.sync().expect("synced");
    }

    fn error(store: &Path, file: &Path) -> String {
        LogStore::open_with_former(store, file).expect_err("they do not go together").to_string()
    }

    #[test]
    fn a_log_of_one_file_is_taken_over_once() {
        let (_folder, file, store) = former(&["one", "two"]);
        let mut bytes = fs::read(&file).expect("there");
        let whole = bytes.len();
        encode(Index(3), b"torn", &mut bytes);
        fs::write(&file, &bytes[..whole + 7]).expect("written");
        let mut opened = LogStore::open_with_former(&store, &file).expect("opened");
        assert_eq!(records(&mut opened), ["one", "two"]);
        assert!(!file.exists() && file.with_extension("log.taken").exists());
        append(&mut opened.store, 3, "three");
        drop(opened);
        let mut opened = LogStore::open_with_former(&store, &file).expect("opened");
        assert_eq!(records(&mut opened), ["one", "two", "three"]);
    }

    #[test]
    fn a_taking_over_that_a_crash_has_cut_short_goes_on() {
        let (_folder, file, store) = former(&["one", "two", "three"]);
        let mut begun = LogStore::open(&store).expect("a store").store;
        append(&mut begun, 1, "one");
        append(&mut begun, 2, "two");
        assert!(matches!(LogStore::open_with_former(&store, &file), Err(StoreError::InUse(_))));
        drop(begun);
        let mut opened = LogStore::open_with_former(&store, &file).expect("opened");
        assert_eq!(records(&mut opened), ["one", "two", "three"]);
    }

    #[test]
    fn what_does_not_go_together_stays_as_it_is() {
        for other in [&["one", "other"][..], &["one", "two", "three"]] {
            let (_folder, file, store) = former(&["one", "two"]);
            let mut begun = LogStore::open(&store).expect("a store").store;
            for (index, record) in (1..).zip(other) {
                append(&mut begun, index, record);
            }
            drop(begun);
            let before = fs::read(&file).expect("there");
            let said = error(&store, &file);
            assert!(said.contains("a.store holds other records. Move one"), "{said}");
            assert_eq!(fs::read(&file).expect("still there"), before);
            assert_eq!(records(&mut LogStore::open(&store).expect("opened")), other);
        }
    }

    #[test]
    fn a_damaged_one_and_one_whose_other_name_is_taken_are_refused_with_advice() {
        let (_folder, file, store) = former(&["one", "two", "three"]);
        fs::write(file.with_extension("log.taken"), "").expect("written");
        let said = error(&store, &file);
        assert!(said.contains("a.log.taken is in the way. Move"), "{said}");
        let mut bytes = fs::read(&file).expect("there");
        let place = bytes.windows(3).position(|window| window == b"two").expect("written as it is");
        bytes[place] ^= 1;
        fs::write(&file, bytes).expect("written");
        let said = error(&store, &file);
        assert!(said.contains("bytes from byte") && said.contains("Restore it from a copy"), "{said}");
    }
}
