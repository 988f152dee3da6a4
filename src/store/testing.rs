//! Files for tests: in memory, with everything that a disk may do when the power goes, and with errors at any call.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::files::Files;
use crate::rng::Rng;

/// A folder in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    inner: Arc<Mutex<Inner>>,
}

/// What becomes of what was not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// All of it is gone.
    All,
    /// None of it is: a process that died, and not a machine.
    Nothing,
    /// Writes are there up to some byte of some write.
    Torn,
    /// Of each write any blocks are there.
    Holes,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Disk>,
    /// Names as they are seen, and as they are on the disk.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that are not durable, in order.
    renamed: Vec<BTreeMap<String, usize>>,
    /// How many calls have changed something.
    calls: u64,
    /// Which of them goes wrong; those behind it do, too, if the power is gone.
    fails_at: Option<u64>,
    power_goes: bool,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Disk {
    fn change(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(at, new) => {
                let end = at + new.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(new);
            }
            Change::Len(len) => bytes.resize(*len, 0),
        }
    }

    fn lose(&mut self, loss: Loss, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let kept = match loss {
            Loss::All => 0,
            Loss::Nothing => pending.len(),
            Loss::Torn | Loss::Holes => rng.index(pending.len() + 1),
        };
        for (place, change) in pending.into_iter().enumerate() {
            match change {
                Change::Write(at, bytes) if loss == Loss::Holes => {
                    for (block, part) in bytes.chunks(BLOCK_BYTES).enumerate() {
                        if rng.below(2) == 0 {
                            let part = Change::Write(at + block * BLOCK_BYTES, part.to_vec());
                            Self::change(&mut self.durable, &part);
                        }
                    }
                }
                Change::Write(at, bytes) if loss == Loss::Torn && place == kept => {
                    let part = bytes[..rng.index(bytes.len() + 1)].to_vec();
                    Self::change(&mut self.durable, &Change::Write(at, part));
                }
                change if place < kept => Self::change(&mut self.durable, &change),
                _ => {}
            }
        }
        self.seen = self.durable.clone();
    }
}

impl Memory {
    /// From now on the `call`-th change goes wrong; and all behind it, if the power is gone with it.
    pub(super) fn fail_at(&self, call: u64, power_goes: bool) {
        let mut inner = self.inner();
        (inner.calls, inner.fails_at, inner.power_goes) = (0, Some(call), power_goes);
    }

    /// Whether the call that was to go wrong has come.
    pub(super) fn has_failed(&self) -> bool {
        let inner = self.inner();
        inner.fails_at.is_some_and(|at| inner.calls >= at)
    }

    /// The power comes back; what is there now.
    pub(super) fn restart(&self, loss: Loss, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let inner = self.inner();
        let mut files = inner.files.clone();
        for file in &mut files {
            file.lose(loss, &mut rng);
        }
        let kept = match loss {
            Loss::All => 0,
            Loss::Nothing => inner.renamed.len(),
            Loss::Torn | Loss::Holes => rng.index(inner.renamed.len() + 1),
        };
        let names = kept.checked_sub(1).map_or(&inner.durable_names, |last| &inner.renamed[last]).clone();
        let durable_names = names.clone();
        Self { inner: Arc::new(Mutex::new(Inner { files, names, durable_names, ..Inner::default() })) }
    }

    /// The bytes of a file, to be damaged, on the disk and wherever else.
    pub(super) fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let file = inner.names[name];
        damage(&mut inner.files[file].seen);
        inner.files[file].durable = inner.files[file].seen.clone();
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let inner = self.inner();
        inner.files[inner.names[name]].seen.clone()
    }

    /// Another folder with the same files.
    pub(super) fn copy(&self) -> Self {
        self.restart(Loss::Nothing, 0)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds this")
    }

    /// A call that changes something.
    fn changing(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        inner.calls += 1;
        match inner.fails_at {
            Some(at) if inner.calls == at || inner.power_goes && inner.calls > at => {
                Err(io::Error::from(ErrorKind::StorageFull))
            }
            _ => Ok(inner),
        }
    }

    fn rename_all(inner: &mut Inner, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut inner.names);
        let names = inner.names.clone();
        inner.renamed.push(names);
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("tests are small")
}

impl Files for Memory {
    type File = usize;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        let mut inner = self.changing()?;
        inner.files.push(Disk::default());
        let file = inner.files.len() - 1;
        Self::rename_all(&mut inner, |names| {
            names.insert(name.to_owned(), file);
        });
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        self.inner().names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn len(&self, file: &usize) -> io::Result<u64> {
        Ok(self.inner().files[*file].seen.len() as u64)
    }

    fn read_at(&self, file: &usize, into: &mut [u8], at: u64) -> io::Result<usize> {
        let inner = self.inner();
        let bytes = &inner.files[*file].seen;
        let from = place(at).min(bytes.len());
        let upto = (from + into.len()).min(bytes.len());
        into[..upto - from].copy_from_slice(&bytes[from..upto]);
        Ok(upto - from)
    }

    fn write_at(&self, file: &usize, bytes: &[u8], at: u64) -> io::Result<()> {
        let change = Change::Write(place(at), bytes.to_vec());
        let failed = self.changing().map(drop);
        // A write that goes wrong may have gone some way.
        let mut inner = self.inner();
        let disk = &mut inner.files[*file];
        if failed.is_ok() {
            Disk::change(&mut disk.seen, &change);
        }
        disk.pending.push(change);
        failed
    }

    fn set_len(&self, file: &usize, len: u64) -> io::Result<()> {
        let mut inner = self.changing()?;
        let disk = &mut inner.files[*file];
        let change = Change::Len(place(len));
        Disk::change(&mut disk.seen, &change);
        disk.pending.push(change);
        Ok(())
    }

    fn preallocate(&self, file: &usize, len: u64) -> io::Result<()> {
        let len = len.max(self.len(file)?);
        self.set_len(file, len)
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let mut inner = self.changing()?;
        let disk = &mut inner.files[*file];
        for change in std::mem::take(&mut disk.pending) {
            Disk::change(&mut disk.durable, &change);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.changing()?;
        Self::rename_all(&mut inner, |names| {
            let file = names.remove(from).expect("it is there");
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.changing()?;
        Self::rename_all(&mut inner, |names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut inner = self.changing()?;
        inner.durable_names = inner.names.clone();
        inner.renamed.clear();
        Ok(())
    }
}

/// What a disk writes whole or not at all.
const BLOCK_BYTES: usize = 64;
