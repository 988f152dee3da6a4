//! A log in one file: append and sync, nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::record::{RECORD_BYTES_MAX, Scan, encode, scan};
use crate::agent::Index;

/// How long a log may become, in bytes: it is read into memory when it is opened.
pub const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A log that is open for appending. Only one process at a time has it open.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    file: File,
    len: u64,
    len_max: u64,
    next: Index,
    /// What went wrong once: from then on nobody knows what is on the disk.
    failed: Option<String>,
    /// Kept from call to call, so that its room is.
    batch: Vec<u8>,
}

/// Why a log could not be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused something. When opening, nothing has changed but that folders may have been made. When
    /// appending, the records may or may not be on the disk, and the log takes no more: see [`StoreError::Failed`].
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the log open. Nothing has changed; stop the other one, or give this box another data folder.
    #[error("{0} is in use by another process: stop that one, or choose another folder for the data")]
    InUse(PathBuf),
    /// The record is longer than [`RECORD_BYTES_MAX`]. Nothing was written; whoever proposed it is at fault.
    #[error("a record of {bytes} bytes is longer than {RECORD_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The log would become longer than it may. Nothing was written.
    #[error("{path} would become longer than {bytes_max} bytes")]
    Full {
        /// Which log.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// An agent that is a log itself asked for something that cannot be done with it. Nothing was written; the agent is at fault.
    #[error("{path} cannot do what was asked for: {what}")]
    Senseless {
        /// Which log.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// An earlier write or sync went wrong. A sync that failed once is not tried again: the system may have dropped what it could not
    /// write and report success the next time. Opening the log again finds out what is there.
    #[error("{path} takes no more records since {reason}")]
    Failed {
        /// Which log.
        path: PathBuf,
        /// What went wrong then.
        reason: String,
    },
}

impl FileLog {
    /// Opens the log at `path`, or makes it, with the folders above it. The torn tail of a write that was cut short is
    /// cut off, durably; damaged records are left where they are and told of in the scan, and it is the caller's to decide whether to go on.
    pub fn open(path: &Path) -> Result<(Self, Scan), StoreError> {
        let failed = |doing| move |source| StoreError::Io { doing, path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("open"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => StoreError::InUse(path.to_owned()),
            other => StoreError::Io { doing: "lock", path: path.to_owned(), source: other.into() },
        })?;
        let bytes_now = file.metadata().map_err(failed("measure"))?.len();
        if bytes_now > LOG_BYTES_MAX {
            return Err(StoreError::Full { path: path.to_owned(), bytes_max: LOG_BYTES_MAX });
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(failed("read"))?;
        let scan = scan(&bytes);
        let len = scan.kept_bytes as u64;
        if scan.torn_bytes > 0 {
            file.set_len(len).map_err(failed("cut the torn tail off"))?;
        }
        // What was read may have been in the system's memory only: a process that died, not a machine. It is about to be relied on.
        file.sync_all().map_err(failed("sync"))?;
        // The file's entry in its folder too: whoever made it may have died before this.
        sync_folder(folder)?;
        let next = scan.next;
        let log = Self {
            path: path.to_owned(),
            file,
            len,
            len_max: LOG_BYTES_MAX,
            next,
            failed: None,
            batch: Vec::new(),
        };
        Ok((log, scan))
    }

    /// Appends `records` with one write, under the indexes from [`Self::next`] on, and returns once they are on the disk. After an error of
    /// the disk the log takes no more.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), StoreError> {
        if let Some(reason) = &self.failed {
            return Err(StoreError::Failed { path: self.path.clone(), reason: reason.clone() });
        }
        if records.is_empty() {
            return Ok(());
        }
        self.batch.clear();
        let mut next = self.next;
        for record in records {
            let record = record.as_ref();
            if record.len() > RECORD_BYTES_MAX {
                return Err(StoreError::TooLong { bytes: record.len() });
            }
            encode(next, record, &mut self.batch);
            next = Index(next.0 + 1);
        }
        let len = self.len + self.batch.len() as u64;
        if len > self.len_max {
            return Err(StoreError::Full { path: self.path.clone(), bytes_max: self.len_max });
        }
        let written = self.file.write_all(&self.batch).map_err(|error| ("write to", error));
        let stored = written.and_then(|()| self.file.sync_data().map_err(|error| ("sync", error)));
        self.batch.shrink_to(BATCH_BYTES_KEPT);
        if let Err((doing, source)) = stored {
            let error = StoreError::Io { doing, path: self.path.clone(), source };
            self.failed = Some(error.to_string());
            return Err(error);
        }
        (self.len, self.next) = (len, next);
        Ok(())
    }

    /// The index that the next record will have.
    pub fn next(&self) -> Index {
        self.next
    }

    /// How long the log is, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes `folder` and those above it, each so that it survives a crash of the machine.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        // Another box of the same grid makes it at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(source) => {
            return Err(StoreError::Io { doing: "make the folder", path: folder.to_owned(), source });
        }
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(above)
}

/// Makes sure that the entries of `folder` are on the disk.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| StoreError::Io {
        doing: "sync the folder",
        path: folder.to_owned(),
        source,
    })
}

/// How much room an empty batch may keep, in bytes.
const BATCH_BYTES_KEPT: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a scratch folder")
    }

    fn records(scan: &Scan) -> Vec<&[u8]> {
        scan.records.iter().map(|(_, record)| &record[..]).collect()
    }

    #[test]
    fn what_was_appended_is_there_when_the_log_is_opened_again() {
        let folder = folder();
        let path = folder.path().join("data/127.0.0.1-4000/store.log");
        let (mut log, scan) = FileLog::open(&path).expect("a new log");
        assert_eq!((scan.records.len(), log.next()), (0, Index(1)));
        log.append(&[&b"one"[..], b"two"]).expect("appended");
        log.append::<&[u8]>(&[]).expect("nothing to do");
        log.append(&[b"three"]).expect("appended");
        let len = log.len_bytes();
        drop(log);
        let (mut log, scan) = FileLog::open(&path).expect("the same log");
        assert_eq!(records(&scan), [&b"one"[..], b"two", b"three"]);
        assert_eq!((log.next(), log.len_bytes()), (Index(4), len));
        log.append(&[b"four"]).expect("appended");
        drop(log);
        assert_eq!(FileLog::open(&path).expect("once more").1.records[3], (Index(4), b"four".to_vec()));
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_anything_is_appended() {
        let folder = folder();
        let path = folder.path().join("a.log");
        let (mut log, _) = FileLog::open(&path).expect("a new log");
        log.append(&[&b"kept"[..], b"torn"]).expect("appended");
        drop(log);
        let whole = fs::read(&path).expect("a file");
        for cut in 1..=5 {
            fs::write(&path, &whole[..whole.len() - cut]).expect("cut");
            let (mut log, scan) = FileLog::open(&path).expect("torn, not damaged");
            assert_eq!(records(&scan), [b"kept"]);
            assert!(scan.torn_bytes > 0 && scan.damaged.is_empty());
            log.append(&[b"new"]).expect("appended");
            drop(log);
            let (_, scan) = FileLog::open(&path).expect("whole");
            assert_eq!((records(&scan), scan.torn_bytes), (vec![&b"kept"[..], b"new"], 0));
        }
    }

    #[test]
    fn a_damaged_record_is_told_of_and_stays_where_it_is() {
        let folder = folder();
        let path = folder.path().join("a.log");
        let (mut log, _) = FileLog::open(&path).expect("a new log");
        log.append(&[b"one", b"two", b"six"]).expect("appended");
        drop(log);
        let mut bytes = fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&path, &bytes).expect("flipped");
        let (log, scan) = FileLog::open(&path).expect("opened all the same");
        assert_eq!(records(&scan), [b"one", b"six"]);
        assert_eq!((scan.damaged.len(), log.next()), (2, Index(4)));
        drop(log);
        assert_eq!(fs::read(&path).expect("a file"), bytes);
    }

    #[test]
    fn a_log_has_one_owner() {
        let folder = folder();
        let path = folder.path().join("a.log");
        let (log, _) = FileLog::open(&path).expect("a new log");
        assert!(matches!(FileLog::open(&path), Err(StoreError::InUse(busy)) if busy == path));
        drop(log);
        FileLog::open(&path).expect("free again");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let folder = folder();
        let path = folder.path().join("a.log");
        let (mut log, _) = FileLog::open(&path).expect("a new log");
        let too_much = vec![1; RECORD_BYTES_MAX + 1];
        assert!(matches!(log.append(&[&b"fits"[..], &too_much]), Err(StoreError::TooLong { .. })));
        log.len_max = 60;
        log.append(&[b"fits"]).expect("short enough");
        let full = log.append(&[vec![b'x'; 100]]);
        assert!(matches!(full, Err(StoreError::Full { bytes_max: 60, .. })), "{full:?}");
        log.append(&[b"fits"]).expect("still usable");
        drop(log);
        assert_eq!(records(&FileLog::open(&path).expect("whole").1), [b"fits", b"fits"]);
    }

    #[test]
    fn a_log_that_failed_once_takes_no_more() {
        let folder = folder();
        let path = folder.path().join("a.log");
        let (mut log, _) = FileLog::open(&path).expect("a new log");
        // Opened for reading only, so that the system refuses the write.
        let writable = std::mem::replace(&mut log.file, File::open(&path).expect("the same file"));
        assert!(matches!(log.append(&[b"lost"]), Err(StoreError::Io { doing: "write to", .. })));
        log.file = writable;
        let error = log.append(&[b"more"]).expect_err("final");
        assert!(error.to_string().contains("takes no more records since cannot write to"), "{error}");
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error_that_names_it() {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        let error = FileLog::open(&file.join("a.log")).expect_err("a file is no folder");
        assert!(error.to_string().contains("make the folder"), "{error}");
    }
}
