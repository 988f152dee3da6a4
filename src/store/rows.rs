//! The rows that have come of a log, and how far they reach, in a database (`redb`) of one file. It is made when it is first needed.
//!
//! Rows and how far they reach change in one transaction. Rows of another server are put aside in a table of their own until all are there; then that
//! table takes the other's place. Each value carries a checksum, since the database looks at its own only after a crash.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use redb::{
    AccessGuard, Builder, Database, Durability, Range, ReadableTableMetadata, StorageBackend, TableDefinition,
};

use super::files::Files;
use super::segments::Trouble;
use crate::agent::{Applied, Found, Index, Look, Looked, Row, Term};

/// The rows of one log.
#[derive(Debug)]
pub(super) struct Rows<F: Files> {
    files: F,
    database: Option<Database>,
    reach: Reach,
    readings: BTreeMap<u64, Reading>,
}

/// How far rows reach, and how many times they have been installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) applied: Applied,
    pub(super) installs: u64,
}

/// Rows as they were when somebody began to read them.
struct Reading {
    applied: Applied,
    /// Which part comes next.
    part: u64,
    rows: Option<Range<'static, &'static [u8], &'static [u8]>>,
    /// The row that did not fit into the part before.
    waiting: Option<Row>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("applied", &self.applied)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// What was found where rows are kept.
#[derive(Debug)]
pub(super) enum Opening<F: Files> {
    /// They, or that there are none.
    Sound(Rows<F>),
    /// A file that cannot be read; it has another name now. There are no rows.
    Damaged(Rows<F>, String),
}

impl<F: Files> Rows<F> {
    /// Opens the rows, if there are any. A file that is no sound database is put aside.
    pub(super) fn open(files: F) -> Result<Opening<F>, Trouble> {
        let names = files.list().map_err(trouble("list the files of"))?;
        if names.iter().any(|name| name == UNFINISHED) {
            files.remove(UNFINISHED).map_err(trouble("remove"))?;
        }
        let mut rows = Self { files, database: None, reach: Reach::default(), readings: BTreeMap::new() };
        if !names.iter().any(|name| name == NAME) {
            return Ok(Opening::Sound(rows));
        }
        let file = rows.files.open(NAME).map_err(trouble("open"))?;
        match open_database(Backend { files: rows.files.clone(), file }) {
            Ok((database, reach)) => {
                (rows.database, rows.reach) = (Some(database), reach);
                Ok(Opening::Sound(rows))
            }
            Err(error) if is_damage(&error) => {
                rows.files.rename(NAME, DAMAGED).map_err(trouble("put aside"))?;
                rows.files.sync_folder().map_err(trouble("sync the folder of"))?;
                Ok(Opening::Damaged(rows, error.to_string()))
            }
            Err(error) => Err(trouble("open")(error)),
        }
    }

    /// How far the rows reach.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Changes rows and how far they reach; durable when this returns.
    pub(super) fn apply(&mut self, applied: &Applied, rows: &[Row]) -> Result<(), Trouble> {
        let reach = Reach { applied: applied.clone(), installs: self.reach.installs };
        let done = self.database()?.change(|change| {
            {
                let mut table = change.open_table(ROWS).map_err(from_redb)?;
                put(&mut table, rows)?;
            }
            note(change, &reach)
        });
        done.map_err(trouble("write to"))?;
        self.reach = reach;
        Ok(())
    }

    /// Puts rows aside.
    pub(super) fn receive(&mut self, part: u64, rows: &[Row]) -> Result<(), Trouble> {
        let done = self.database()?.change(|change| {
            if part == 0 {
                change.delete_table(RECEIVED).map_err(from_redb)?;
            }
            put(&mut change.open_table(RECEIVED).map_err(from_redb)?, rows)
        });
        done.map_err(trouble("write to"))
    }

    /// Puts the rows that were put aside in the place of all rows, for the `installs`-th time; durable when this returns.
    pub(super) fn install(&mut self, applied: &Applied, installs: u64) -> Result<(), Trouble> {
        let reach = Reach { applied: applied.clone(), installs };
        let done = self.database()?.change(|change| {
            change.delete_table(ROWS).map_err(from_redb)?;
            // There is none if all parts were empty.
            drop(change.open_table(RECEIVED).map_err(from_redb)?);
            change.rename_table(RECEIVED, ROWS).map_err(from_redb)?;
            note(change, &reach)
        });
        done.map_err(trouble("write to"))?;
        self.reach = reach;
        Ok(())
    }

    /// Some rows.
    pub(super) fn look(&self, look: &Look) -> Result<Looked, Trouble> {
        sheltered(|| {
            let Some(range) =
                self.database.as_ref().map(|database| database.some_rows(look)).transpose()?.flatten()
            else {
                return look.gather(std::iter::empty());
            };
            if look.backwards {
                look.gather(range.rev().map(unsealed))
            } else {
                look.gather(range.map(unsealed))
            }
        })
        .map_err(trouble("read"))
    }

    /// The next part of rows as they were at part 0; nothing if that part does not come next.
    pub(super) fn read(&mut self, token: u64, part: u64, bytes_max: usize) -> Result<Option<Found>, Trouble> {
        if part == 0 {
            let reading = sheltered(|| self.begin_reading()).map_err(trouble("read"))?;
            self.readings.insert(token, reading);
        }
        let Some(reading) = self.readings.get_mut(&token).filter(|reading| reading.part == part) else {
            return Ok(None);
        };
        let rows = sheltered(|| reading.next(bytes_max)).map_err(trouble("read"))?;
        let last = reading.waiting.is_none();
        let applied = reading.applied.clone();
        if last {
            self.readings.remove(&token);
        }
        Ok(Some(Found::Rows { token, part, applied, rows, last }))
    }

    /// Gives up a reading.
    pub(super) fn end_reading(&mut self, token: u64) {
        self.readings.remove(&token);
    }

    fn begin_reading(&self) -> io::Result<Reading> {
        let applied = self.reach.applied.clone();
        let Some(database) = &self.database else {
            return Ok(Reading { applied, part: 0, rows: None, waiting: None });
        };
        let mut reading = Reading { applied, part: 0, rows: database.all_rows()?, waiting: None };
        reading.waiting = reading.pull()?;
        Ok(reading)
    }

    /// The database, which is made if there is none. It gets its name once it is whole.
    fn database(&mut self) -> Result<&Database, Trouble> {
        if self.database.is_none() {
            let made = self.make().inspect_err(|_| {
                // What room it has taken is not to be missing wherever the disk is full.
                let _ = self.files.remove(UNFINISHED);
            })?;
            self.database = Some(made);
        }
        Ok(self.database.as_ref().expect("it has just been made"))
    }

    fn make(&self) -> Result<Database, Trouble> {
        let file = self.files.create(UNFINISHED).map_err(trouble("create"))?;
        let backend = Backend { files: self.files.clone(), file };
        let database = make_database(backend, &self.reach).map_err(trouble("create"))?;
        self.files.rename(UNFINISHED, NAME).map_err(trouble("create"))?;
        self.files.sync_folder().map_err(trouble("sync the folder of"))?;
        Ok(database)
    }
}

impl Reading {
    /// Rows with at most so many bytes, but at least one if there is one.
    fn next(&mut self, bytes_max: usize) -> io::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while let Some(row) = &self.waiting {
            bytes += row.key.len() + row.value.as_ref().map_or(0, Bytes::len) + ROW_BYTES;
            if bytes > bytes_max && !rows.is_empty() {
                break;
            }
            rows.extend(self.waiting.take());
            self.waiting = self.pull()?;
        }
        self.part += 1;
        Ok(rows)
    }

    fn pull(&mut self) -> io::Result<Option<Row>> {
        let Some(row) = self.rows.as_mut().and_then(Iterator::next) else { return Ok(None) };
        unsealed(row).map(Some)
    }
}

/// What somebody who only looks wants to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    pub(super) reach: Reach,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Reads all rows of a database; an error is damage.
pub(super) fn summarize(backend: impl StorageBackend) -> io::Result<Summary> {
    sheltered(|| {
        let (database, reach) = open_database(backend)?;
        let mut summary = Summary { reach, ..Summary::default() };
        for row in database.all_rows()?.into_iter().flatten() {
            let (key, value) = row.map_err(from_redb)?;
            let value = unseal(key.value(), value.value())?;
            summary.rows += 1;
            summary.bytes += (key.value().len() + value.len()) as u64;
        }
        Ok(summary)
    })
}

/// What is done to a database here.
trait Changes {
    fn change(&self, changes: impl FnOnce(&redb::WriteTransaction) -> io::Result<()>) -> io::Result<()>;
    fn all_rows(&self) -> io::Result<Option<Range<'static, &'static [u8], &'static [u8]>>>;
    fn some_rows(&self, look: &Look) -> io::Result<Option<Range<'static, &'static [u8], &'static [u8]>>>;
}

impl Changes for Database {
    fn change(&self, changes: impl FnOnce(&redb::WriteTransaction) -> io::Result<()>) -> io::Result<()> {
        sheltered(|| {
            let mut change = self.begin_write().map_err(from_redb)?;
            change.set_durability(Durability::Immediate);
            // So that a start after a crash does not read through the whole database first.
            change.set_quick_repair(true);
            changes(&change)?;
            change.commit().map_err(from_redb)
        })
    }

    fn all_rows(&self) -> io::Result<Option<Range<'static, &'static [u8], &'static [u8]>>> {
        match self.begin_read().map_err(from_redb)?.open_table(ROWS) {
            Ok(table) if table.is_empty().map_err(from_redb)? => Ok(None),
            Ok(table) => Ok(Some(table.range::<&[u8]>(..).map_err(from_redb)?)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(from_redb(error)),
        }
    }

    fn some_rows(&self, look: &Look) -> io::Result<Option<Range<'static, &'static [u8], &'static [u8]>>> {
        let (from, until) = (&look.from[..], &look.until[..]);
        match self.begin_read().map_err(from_redb)?.open_table(ROWS) {
            // The database does not take a range that ends before it begins.
            Ok(_) if from >= until => Ok(None),
            Ok(table) => Ok(Some(table.range::<&[u8]>(from..until).map_err(from_redb)?)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(from_redb(error)),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).create_with_file_format_v3(true);
    builder
}

fn make_database(backend: impl StorageBackend, reach: &Reach) -> io::Result<Database> {
    let database = sheltered(|| builder().create_with_backend(backend).map_err(from_redb))?;
    database.change(|change| note(change, reach))?;
    Ok(database)
}

fn open_database(backend: impl StorageBackend) -> io::Result<(Database, Reach)> {
    sheltered(|| {
        if backend.len()? == 0 {
            return Err(io::Error::new(ErrorKind::InvalidData, "the file is empty"));
        }
        let database = builder().create_with_backend(backend).map_err(from_redb)?;
        let reach = {
            let reading = database.begin_read().map_err(from_redb)?;
            let table = reading.open_table(ABOUT).map_err(from_redb)?;
            let value = table.get(REACH).map_err(from_redb)?.ok_or_else(damaged)?;
            Reach::decode(unseal(REACH, value.value())?).ok_or_else(damaged)?
        };
        Ok((database, reach))
    })
}

type Pair<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// A row as it was kept; an error if it has changed since.
fn unsealed(row: Result<Pair<'_>, redb::StorageError>) -> io::Result<Row> {
    let (key, value) = row.map_err(from_redb)?;
    let key = Bytes::copy_from_slice(key.value());
    let value = unseal(&key, value.value())?;
    Ok(Row { value: Some(Bytes::copy_from_slice(value)), key })
}

type Table<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

fn put(table: &mut Table<'_>, rows: &[Row]) -> io::Result<()> {
    for row in rows {
        let key = &row.key[..];
        match &row.value {
            Some(value) => drop(table.insert(key, &seal(key, value)[..]).map_err(from_redb)?),
            None => drop(table.remove(key).map_err(from_redb)?),
        }
    }
    Ok(())
}

fn note(change: &redb::WriteTransaction, reach: &Reach) -> io::Result<()> {
    let mut table = change.open_table(ABOUT).map_err(from_redb)?;
    table.insert(REACH, &seal(REACH, &reach.encode())[..]).map(drop).map_err(from_redb)
}

impl Reach {
    fn encode(&self) -> Vec<u8> {
        let Applied { index, term, meta } = &self.applied;
        [&index.0.to_le_bytes()[..], &term.0.to_le_bytes(), &self.installs.to_le_bytes(), meta].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, rest) = bytes.split_first_chunk()?;
        let (term, rest) = rest.split_first_chunk()?;
        let (installs, meta) = rest.split_first_chunk()?;
        let applied = Applied {
            index: Index(u64::from_le_bytes(*index)),
            term: Term(u64::from_le_bytes(*term)),
            meta: Bytes::copy_from_slice(meta),
        };
        Some(Self { applied, installs: u64::from_le_bytes(*installs) })
    }
}

/// A value behind its checksum, which covers the key, too.
fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&checksum(key, value).to_le_bytes(), value].concat()
}

fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> io::Result<&'a [u8]> {
    let (sum, value) = sealed.split_first_chunk().ok_or_else(damaged)?;
    if u32::from_le_bytes(*sum) == checksum(key, value) { Ok(value) } else { Err(damaged()) }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key);
    checksum.update(value);
    checksum.finalize()
}

/// A database whose bytes have changed can make its code panic; that is damage of one log, and no reason to take the process down.
fn sheltered<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(damaged()))
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the rows are damaged")
}

/// Whether an error says that the bytes are wrong, and not that they cannot be had.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn from_redb(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error @ (redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::UpgradeRequired(_)) => io::Error::new(ErrorKind::InvalidData, error.to_string()),
        error => io::Error::other(error.to_string()),
    }
}

/// A file as the database wants it.
#[derive(Debug)]
struct Backend<F: Files> {
    files: F,
    file: F::File,
}

impl<F: Files> StorageBackend for Backend<F> {
    fn len(&self) -> io::Result<u64> {
        self.files.len(&self.file)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        if self.files.read_at(&self.file, &mut bytes, offset)? < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.files.set_len(&self.file, len)
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.files.sync(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.files.write_at(&self.file, data, offset)
    }
}

fn trouble(doing: &'static str) -> impl Fn(io::Error) -> Trouble {
    move |source| Trouble { doing, name: NAME.to_owned(), source }
}

/// What the file is called.
pub(super) const NAME: &str = "rows.redb";
const UNFINISHED: &str = "rows.unfinished";
/// Where a file goes that cannot be read.
pub(super) const DAMAGED: &str = "rows.damaged";
const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("rows");
/// Rows that were put aside.
const RECEIVED: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("received");
const ABOUT: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("about");
const REACH: &[u8] = b"reach";
/// How much of a database is kept in memory, in bytes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// What a row costs of the room for an answer beside its bytes.
const ROW_BYTES: usize = 8;

#[cfg(test)]
mod tests;
