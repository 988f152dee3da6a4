//! The files of one folder: what a store asks of the system, all of it. Behind this boundary tests put files that fail, tear and forget.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use super::error::StoreError;

/// The files of one folder. Nothing is durable before [`Files::sync`], and no name before [`Files::sync_folder`].
pub trait Files: Clone + Debug + Send + Sync + 'static {
    /// A file that is open.
    type File: Debug + Send + Sync + 'static;

    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// How long it is, in bytes.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Reads from byte `at` on; fewer bytes than there is room for only at the file's end.
    fn read_at(&self, file: &Self::File, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` from byte `at` on.
    fn write_at(&self, file: &Self::File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes it longer, by zeros, or shorter.
    fn set_len(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Makes it as long as that, by zeros, and makes sure that there is room for all of it.
    fn preallocate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Returns once everything that was written is on the disk, and how long the file is.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Gives a file another name, in place of whatever had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns once all names are on the disk.
    fn sync_folder(&self) -> io::Result<()>;
}

/// A folder of this machine.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held for as long as anybody uses the folder; `None` for one that is only looked at.
    _lock: Option<Arc<File>>,
}

impl Folder {
    /// Opens the folder, or makes it, with those above it. Only one process at a time has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        let failed = |doing| move |source| StoreError::Io { doing, path: path.join(LOCK), source };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(failed("open"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(Arc::new(lock)) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(path.to_owned())),
            Err(error) => Err(failed("lock")(error.into())),
        }
    }

    /// A folder that is only looked at, and whether somebody uses it at this moment. While the answer is kept, nobody begins to.
    pub(super) fn look(path: &Path) -> io::Result<(Self, bool)> {
        fs::read_dir(path)?;
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((Self { path: path.to_owned(), _lock: None }, false));
            }
            Err(error) => return Err(error),
        };
        let in_use = match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => false,
            Err(rustix::io::Errno::WOULDBLOCK) => true,
            Err(error) => return Err(error.into()),
        };
        Ok((Self { path: path.to_owned(), _lock: Some(Arc::new(lock)) }, in_use))
    }

    /// Opens a file for reading only.
    pub(super) fn open_to_read(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

impl Files for Folder {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string()));
        // A name that is no text is none of ours.
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().filter_map(Result::ok).collect())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&self, file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn preallocate(&self, file: &File, len: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Not every file system can: then there is only the length.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                file.set_len(len.max(self.len(file)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Makes `folder` and those above it, each so that it survives a crash of the machine.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        // Another box of the same grid makes it at the same time.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(source) => {
            return Err(StoreError::Io { doing: "make the folder", path: folder.to_owned(), source });
        }
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(above)
}

/// Makes sure that the entries of `folder` are on the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| StoreError::Io {
        doing: "sync the folder",
        path: folder.to_owned(),
        source,
    })
}

/// The file by which processes see that the folder is in use.
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_cannot_be_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        let error = Folder::open(&file.join("a.store")).expect_err("a file is no folder");
        assert!(error.to_string().contains("make the folder"), "{error}");
    }
}
