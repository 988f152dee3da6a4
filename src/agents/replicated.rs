//! Services on a log that several servers agree on.
//!
//! [`ReplicatedLog`] is the boundary: what carries the log (the embedded [`Raft`](super::raft), or another engine) stands behind it.

mod log;

pub use self::log::{
    Change, ChangeError, LogInput, LogOutbox, LogOutput, MemberId, ReplicatedLog, Standing, Status,
};
