//! What is kept beside a log, a second time: a file of two slots that are written in turn, so that one of them is always whole. The log holds it, too, and has
//! it first.

use super::files::Files;
use super::item::{self, Found, Item, MARK, STATE_BYTES_MAX, What};
use super::segments::Trouble;
use crate::agent::Index;

/// The file of the two slots, open for writing.
#[derive(Debug)]
pub(super) struct Slots<F: Files> {
    files: F,
    file: F::File,
    pair: Pair,
}

/// Both slots: which version and what; `None` for one that cannot be read.
pub(super) type Pair = [Option<(u64, Vec<u8>)>; 2];

impl<F: Files> Slots<F> {
    /// Opens the file, if there is one.
    pub(super) fn open(files: F) -> Result<Option<Self>, Trouble> {
        let names = files.list().map_err(trouble("list the files of"))?;
        if names.iter().any(|name| name == UNFINISHED) {
            files.remove(UNFINISHED).map_err(trouble("remove"))?;
        }
        if !names.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = files.open(NAME).map_err(trouble("open"))?;
        let pair = read(&files, &file)?;
        Ok(Some(Self { files, file, pair }))
    }

    /// Makes the file, with this in both slots, once as if it had been there before.
    pub(super) fn create(files: F, version: u64, state: &[u8]) -> Result<Self, Trouble> {
        let file = files.create(UNFINISHED).map_err(trouble("create"))?;
        for version in [version - 1, version] {
            files.write_at(&file, &encode(version, state), at_byte(version)).map_err(trouble("write to"))?;
        }
        files.sync(&file).map_err(trouble("sync"))?;
        files.rename(UNFINISHED, NAME).map_err(trouble("create"))?;
        files.sync_folder().map_err(trouble("sync the folder of"))?;
        let pair = read(&files, &file)?;
        Ok(Self { files, file, pair })
    }

    /// What they hold.
    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Whether this is what the slot of its version holds.
    pub(super) fn hold(&self, version: u64, state: &[u8]) -> bool {
        self.pair[slot_of(version)].as_ref().is_some_and(|slot| slot.0 == version && slot.1 == state)
    }

    /// Puts this, which is durable in the log, into its slot; durable when this returns.
    pub(super) fn write(&mut self, version: u64, state: &[u8]) -> Result<(), Trouble> {
        self.put(version, state)?;
        // A slot that cannot be read would leave in doubt whether it has held something newer.
        if self.pair.iter().any(Option::is_none) {
            self.put(version - 1, state)?;
        }
        Ok(())
    }

    fn put(&mut self, version: u64, state: &[u8]) -> Result<(), Trouble> {
        let bytes = encode(version, state);
        self.files.write_at(&self.file, &bytes, at_byte(version)).map_err(trouble("write to"))?;
        self.files.sync(&self.file).map_err(trouble("sync"))?;
        self.pair[slot_of(version)] = Some((version, state.to_vec()));
        Ok(())
    }
}

/// What both slots of an open file hold.
pub(super) fn read<F: Files>(files: &F, file: &F::File) -> Result<Pair, Trouble> {
    let mut slots = [None, None];
    for (place, slot) in (0u64..).zip(&mut slots) {
        let mut bytes = vec![0; SLOT_BYTES];
        let read = files.read_at(file, &mut bytes, place * SLOT_BYTES as u64).map_err(trouble("read"))?;
        *slot = decode(&bytes[..read]).filter(|&(version, _)| version % 2 == place);
    }
    Ok(slots)
}

/// What the file is called.
pub(super) const NAME: &str = "state";
const UNFINISHED: &str = "state.unfinished";
/// How far apart slots are: no write to one touches a block of the disk that holds the other.
const SLOT_BYTES: usize = 4096;

fn slot_of(version: u64) -> usize {
    usize::from(version % 2 == 1)
}

fn at_byte(version: u64) -> u64 {
    version % 2 * SLOT_BYTES as u64
}

fn encode(version: u64, state: &[u8]) -> Vec<u8> {
    assert!(state.len() <= STATE_BYTES_MAX, "whoever writes refuses longer ones");
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    item::encode(&Item { seq: version, next: Index(0), what: What::State { version, state } }, &mut bytes);
    bytes.resize(SLOT_BYTES, MARK);
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let behind = bytes.strip_prefix(&[MARK])?;
    let length = memchr::memchr(MARK, behind)?;
    // Whatever is behind it has been written by nobody.
    let clean = behind[length..].iter().all(|byte| *byte == MARK);
    let mut plain = Vec::new();
    match item::read(&behind[..length], &mut plain) {
        Found::Item(Item { what: What::State { version, state }, .. }) if clean => {
            Some((version, state.to_vec()))
        }
        _ => None,
    }
}

fn trouble(doing: &'static str) -> impl FnOnce(std::io::Error) -> Trouble {
    move |source| Trouble { doing, name: NAME.to_owned(), source }
}
