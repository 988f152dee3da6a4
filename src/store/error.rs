//! What can go wrong with a log on disk.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

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
    /// A log of one file, as boxes kept them before, cannot be taken over. No record has changed.
    #[error("{path} is a log of one file, from before logs had folders, and cannot be taken over: {what}")]
    Former {
        /// Which file.
        path: PathBuf,
        /// What is in the way, and what to do.
        what: String,
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
