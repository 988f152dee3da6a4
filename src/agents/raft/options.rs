//! What can be set about a Raft.

use std::time::Duration;

use thiserror::Error;

/// The settings of one member; all members of a log should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A follower that has heard nothing of a leader for a random time between this and twice this begins an election (Raft, section 5.2).
    pub election: Duration,
    /// How often a leader that has nothing to say says so.
    pub heartbeat: Duration,
    /// How reads are made sure of.
    pub reads: Reads,
    /// By how much the clocks of two members may differ over a time, in thousandths of it. What a leader that reads under its lease relies on.
    pub drift_permille: u32,
    /// The most records that one message carries, in bytes.
    pub batch_bytes_max: usize,
    /// The most messages with entries that are under way to one member without an answer.
    pub inflight_max: usize,
    /// The most entries that are kept in memory for members that are nearly up to date, in bytes; what is older is read from the disk.
    pub cache_bytes_max: usize,
    /// The most that this member's own proposals may hold that are not committed, in bytes; and how many they may be.
    pub pending_bytes_max: usize,
    /// See `pending_bytes_max`.
    pub pending_records_max: usize,
    /// Once this much of the log lies behind the rows that are kept, it may be forgotten, but for the newest half of it.
    pub compact_bytes: u64,
    /// A service is asked for the rows that have changed once the first record of which they may have come was handed over so long ago, or 4 MiB of them were.
    pub keep_after: Duration,
    /// The most that one part of a snapshot holds, in bytes.
    pub part_bytes_max: usize,
    /// How many other members' sessions are remembered to tell repeated proposals from new ones.
    pub sessions_max: usize,
}

/// How a leader makes sure, before it answers a read, that it has not been replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// It asks a majority (Raft thesis, section 6.4, "read index"): right whatever the clocks do.
    #[default]
    Index,
    /// It relies on nobody being elected within the shortest election time-out after a majority answered (section 6.4.1): right for as long as clocks
    /// drift by no more than [`Options::drift_permille`].
    Lease,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election: Duration::from_millis(250),
            heartbeat: Duration::from_millis(50),
            reads: Reads::Index,
            drift_permille: 50,
            batch_bytes_max: 256 * 1024,
            inflight_max: 64,
            cache_bytes_max: 16 * 1024 * 1024,
            pending_bytes_max: 16 * 1024 * 1024,
            pending_records_max: 65_536,
            compact_bytes: 256 * 1024 * 1024,
            keep_after: Duration::from_secs(1),
            part_bytes_max: 256 * 1024,
            sessions_max: 1024,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// A leader could not keep its followers from electing another.
    #[error(
        "heartbeats every {heartbeat:?} are too seldom for elections after {election:?}: at least two have to fit"
    )]
    HeartbeatTooSlow {
        /// What was asked for.
        heartbeat: Duration,
        /// What was asked for.
        election: Duration,
    },
    /// A limit is 0, and nothing could ever happen.
    #[error("{0} has to be at least 1")]
    Zero(&'static str),
    /// A clock that may drift by all of the time leaves no lease.
    #[error("a drift of {0} thousandths leaves no lease: expected fewer than 500")]
    Drift(u32),
}

impl Options {
    /// Whether a Raft can run with these.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.heartbeat.is_zero() {
            return Err(OptionsError::Zero("heartbeat"));
        }
        if self.heartbeat * 2 > self.election {
            return Err(OptionsError::HeartbeatTooSlow {
                heartbeat: self.heartbeat,
                election: self.election,
            });
        }
        if self.drift_permille >= 500 {
            return Err(OptionsError::Drift(self.drift_permille));
        }
        let limits = [
            ("batch_bytes_max", self.batch_bytes_max),
            ("inflight_max", self.inflight_max),
            ("cache_bytes_max", self.cache_bytes_max),
            ("pending_bytes_max", self.pending_bytes_max),
            ("pending_records_max", self.pending_records_max),
            ("part_bytes_max", self.part_bytes_max),
            ("sessions_max", self.sessions_max),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(OptionsError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_work_is_refused_and_the_default_is_not() {
        assert_eq!(Options::default().check(), Ok(()));
        let slow = Options { heartbeat: Duration::from_millis(130), ..Options::default() };
        assert!(matches!(slow.check(), Err(OptionsError::HeartbeatTooSlow { .. })));
        let none = Options { inflight_max: 0, ..Options::default() };
        assert_eq!(none.check(), Err(OptionsError::Zero("inflight_max")));
        let wild = Options { drift_permille: 500, ..Options::default() };
        assert_eq!(wild.check(), Err(OptionsError::Drift(500)));
    }
}
