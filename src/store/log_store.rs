//! The disk of an agent that is a log itself: its log in segments, what is kept beside it, and the rows that have come of it.
//!
//! **How they fit together.** Entries are durable before rows that have come of them. Rows that are installed are durable before the log is begun anew
//! behind them; both count installations, so that an opening finds out that a crash came in between, and begins the log anew then. What is kept beside
//! the log is durable there before it is put into its slots.

use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::files::{Files, Folder};
use super::item::STATE_BYTES_MAX;
use super::record::RECORD_BYTES_MAX;
use super::rows::{self, Rows};
use super::segments::{NO_STATE, Segments, Sizes, Trouble};
use super::slots::{Pair, Slots};
use crate::agent::{Applied, Found, Index, Lsn, Read, Recovered, Write};

/// The disk of one agent that is a log itself, open for writing.
#[derive(Debug)]
pub struct LogStore<F: Files = Folder> {
    path: PathBuf,
    files: F,
    log: Segments<F>,
    slots: Option<Slots<F>>,
    rows: Rows<F>,
    /// The number of the last write.
    last: Lsn,
    /// Whether what is kept beside the log is newer than the slots.
    slots_due: bool,
    /// What went wrong once: from then on nobody knows what is on the disk.
    failed: Option<String>,
}

/// What comes of opening a store.
#[derive(Debug)]
pub struct Opened<F: Files = Folder> {
    /// The store.
    pub store: LogStore<F>,
    /// What it holds.
    pub recovered: Recovered,
    /// How many bytes of a write were cut off that a crash had cut short.
    pub torn_bytes: u64,
    /// What is wrong with it, for people.
    pub faults: Vec<String>,
}

impl LogStore {
    /// Opens the store in this folder, or makes it, with the folders above. Only one process at a time has it open. What is damaged is told of, and left as
    /// it is.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        Self::open_in(Folder::open(path)?, path, SIZES)
    }
}

impl<F: Files> LogStore<F> {
    pub(super) fn open_in(files: F, path: &Path, sizes: Sizes) -> Result<Opened<F>, StoreError> {
        Self::try_open(files, path, sizes).map_err(|trouble| trouble.at(path))
    }

    fn try_open(files: F, path: &Path, sizes: Sizes) -> Result<Opened<F>, Trouble> {
        let (log, opening) = Segments::open(files.clone(), sizes)?;
        let mut faults: Vec<String> = opening.faults.iter().map(ToString::to_string).collect();
        let slots = Slots::open(files.clone())?;
        let rows = match Rows::open(files.clone())? {
            rows::Opening::Sound(rows) => rows,
            rows::Opening::Damaged(rows, why) => {
                faults.push(format!("the rows cannot be read ({why}); the file is {} now", rows::DAMAGED));
                rows
            }
        };
        let (last, slots_due, failed) = (Lsn(0), false, None);
        let mut store = Self { path: path.to_owned(), files, log, slots, rows, last, slots_due, failed };
        let state_lost = store.settle_state(opening.new, opening.torn_bytes > 0, &mut faults)?;
        store.settle_rows(!opening.faults.is_empty(), &mut faults)?;
        let recovered = store.recovered(state_lost);
        Ok(Opened { store, recovered, torn_bytes: opening.torn_bytes, faults })
    }

    /// Finds out which is the newest of all copies of what is kept beside the log, and puts it wherever it is not. Whether a newer one may be lost.
    fn settle_state(&mut self, new: bool, torn: bool, faults: &mut Vec<String>) -> Result<bool, Trouble> {
        let unreadable: Pair = [None, None];
        let slots = self.slots.as_ref().map_or(&unreadable, Slots::pair);
        let all_sound = slots.iter().all(Option::is_some);
        let newest = slots.iter().flatten().max_by_key(|(version, _)| *version).cloned();
        let (version, state) = self.log.state();
        let (version, state) = (version, state.to_vec());
        let behind = newest.as_ref().is_some_and(|(slot, _)| *slot > version);
        let missed = self.log.is_unsure();
        // The log has it first, so one that knows of nothing missing and is behind has lost its end.
        let end_lost = behind && !missed || new && newest.is_some();
        if end_lost {
            faults.push("the end of the log is missing: what is kept beside it is newer".to_owned());
        }
        let unsure = missed || torn || end_lost;
        let lost = unsure && !all_sound;
        // What is missing was on its way to the slots, and so was everything behind it; or it was something else.
        if end_lost || missed && !behind {
            self.log.doubt()?;
        }
        if lost {
            faults.push(
                "what was kept beside the log may be lost: not all copies of it can be read".to_owned(),
            );
            self.log.doubt_state()?;
            return Ok(true);
        }
        let (version, state) = match newest {
            Some(newest) if newest.0 > version || unsure && newest.0 == version => newest,
            _ => (version, state),
        };
        if missed || behind {
            self.log.keep(version, &state)?;
            self.log.sync()?;
        }
        match &mut self.slots {
            None => self.slots = Some(Slots::create(self.files.clone(), version, &state)?),
            Some(slots) if !all_sound || !slots.hold(version, &state) => slots.write(version, &state)?,
            Some(_) => {}
        }
        Ok(false)
    }

    /// Makes sure that the log goes on where the rows end.
    fn settle_rows(&mut self, log_damaged: bool, faults: &mut Vec<String>) -> Result<(), Trouble> {
        let reach = self.rows.reach().clone();
        let rows_end = reach.applied.index;
        if reach.installs > self.log.installs() {
            // A crash came between the rows and the log; or the log has lost more than that.
            let suspect = log_damaged || self.log.is_suspect();
            self.log.restart(Index(rows_end.0 + 1), reach.installs, suspect)?;
        } else if self.log.map().next() <= rows_end {
            let last = self.log.map().next().0 - 1;
            faults.push(format!("the log ends with entry {last}, and the rows reach to entry {rows_end}"));
            self.log.restart(Index(rows_end.0 + 1), self.log.installs(), true)?;
        }
        let covered = self.log.map().damaged().iter().take_while(|(first, _)| *first <= rows_end).last();
        if let Some(&(_, last)) = covered {
            // Nobody needs them who has the rows.
            self.log.forget_before(Index(last.0.min(rows_end.0) + 1));
        }
        let first = self.log.map().first();
        if first.0 > rows_end.0 + 1 {
            faults.push(format!(
                "the log begins with entry {first}, and the rows reach to entry {rows_end} only"
            ));
            self.log.doubt()?;
        }
        Ok(())
    }

    fn recovered(&self, state_lost: bool) -> Recovered {
        let map = self.log.map();
        let (version, state) = self.log.state();
        Recovered {
            state: (version > NO_STATE && !state_lost).then(|| state.to_vec().into()),
            state_lost,
            applied: self.rows.reach().applied.clone(),
            first: map.first(),
            last: Index(map.next().0 - 1),
            terms: map.terms(),
            damaged: map.damaged().to_vec(),
            suspect: self.log.is_suspect(),
        }
    }

    /// Takes a write. Durable after the next [`LogStore::sync`], or before. After an error the store takes no more.
    pub fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.check_alive()?;
        let done = match self.objection(write) {
            Some(what) => Err(StoreError::Senseless { path: self.path.clone(), what }),
            None => self.carry_out(write).map_err(|trouble| trouble.at(&self.path)),
        };
        self.last = self.last.next();
        self.mind(done)
    }

    /// Returns once every write is durable: the number of the last one.
    pub fn sync(&mut self) -> Result<Lsn, StoreError> {
        self.check_alive()?;
        let done = self.sync_all().map_err(|trouble| trouble.at(&self.path));
        self.mind(done)?;
        Ok(self.last)
    }

    /// Reads something, all writes before included. Nothing comes back if nothing has to, or if the part of rows is not the next one.
    pub fn read(&mut self, read: &Read) -> Result<Option<Found>, StoreError> {
        self.check_alive()?;
        let found = match *read {
            Read::Look(ref look) => self.rows.look(look).map(|looked| Some(Found::Looked(looked))),
            Read::Entries { from, upto, bytes_max } => {
                self.log.read(from, upto, bytes_max).map(|entries| Some(Found::Entries { from, entries }))
            }
            Read::Rows { token, part, bytes_max } => self.rows.read(token, part, bytes_max),
            Read::EndRows { token } => {
                self.rows.end_reading(token);
                Ok(None)
            }
        };
        let found = found.map_err(|trouble| trouble.at(&self.path));
        self.mind(found)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(StoreError::Failed { path: self.path.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn mind<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            self.failed = Some(error.to_string());
        }
        done
    }

    fn carry_out(&mut self, write: &Write) -> Result<(), Trouble> {
        match write {
            Write::State { state } => {
                // One version for all that goes into the slots together.
                let version = self.log.state().0 + u64::from(!self.slots_due);
                self.log.keep(version, state)?;
                self.slots_due = true;
                Ok(())
            }
            Write::Append { entry } => self.log.append(entry),
            Write::Truncate { from } => self.log.truncate(*from),
            Write::Apply { applied, rows } => {
                self.log.sync()?;
                self.rows.apply(applied, rows)
            }
            Write::Receive { part, rows } => self.rows.receive(*part, rows),
            Write::Install { applied } => {
                self.sync_all()?;
                let installs = self.rows.reach().installs.max(self.log.installs()) + 1;
                self.rows.install(applied, installs)?;
                self.log.restart(Index(applied.index.0 + 1), installs, false)
            }
            Write::Compact { upto } => self.log.compact(*upto),
        }
    }

    fn sync_all(&mut self) -> Result<(), Trouble> {
        self.log.sync()?;
        if self.slots_due {
            let (version, state) = self.log.state();
            match &mut self.slots {
                Some(slots) => slots.write(version, state)?,
                None => self.slots = Some(Slots::create(self.files.clone(), version, state)?),
            }
            self.slots_due = false;
        }
        Ok(())
    }

    /// Why a write makes no sense.
    fn objection(&self, write: &Write) -> Option<String> {
        let next = self.log.map().next();
        let Applied { index: reached, .. } = self.rows.reach().applied;
        let long = |bytes: usize, bytes_max: usize| {
            (bytes > bytes_max).then(|| format!("{bytes} bytes where {bytes_max} are the most"))
        };
        match write {
            Write::State { state } => long(state.len(), STATE_BYTES_MAX),
            Write::Append { entry } if entry.index != next => {
                Some(format!("entry {} where entry {next} comes next", entry.index))
            }
            Write::Append { entry } => long(entry.record.len(), RECORD_BYTES_MAX),
            Write::Truncate { from } => (*from <= reached || *from > next)
                .then(|| format!("to remove entry {from}; rows reach to {reached}, entry {next} comes next")),
            Write::Apply { applied: Applied { index, .. }, .. } => {
                (*index < reached || *index >= next).then(|| {
                    format!("rows up to entry {index}; they reach to {reached}, entry {next} comes next")
                })
            }
            Write::Install { applied: Applied { index, .. } } => (*index < reached)
                .then(|| format!("rows up to entry {index} in place of some up to {reached}")),
            Write::Compact { upto } => {
                (*upto > reached).then(|| format!("to forget entry {upto}; rows reach to {reached}"))
            }
            Write::Receive { .. } => None,
        }
    }
}

impl Trouble {
    /// As an error of the store at `path`.
    fn at(self, path: &Path) -> StoreError {
        StoreError::Io { doing: self.doing, path: path.join(self.name), source: self.source }
    }
}

/// How long segments of real logs are.
const SIZES: Sizes = Sizes { first: 1024 * 1024, most: 64 * 1024 * 1024 };

#[cfg(test)]
mod tests;
