//! What a member says of itself.

use super::{Phase, Raft};
use crate::agents::replicated::{Standing, Status};

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) elections: u64,
    pub(super) reigns: u64,
    pub(super) appends: u64,
    pub(super) entries: u64,
    pub(super) rejected: u64,
    pub(super) snapshots: u64,
    pub(super) forwarded: u64,
    pub(super) repeated: u64,
    pub(super) repairs: u64,
}

impl Counters {
    /// Each with its name.
    pub(super) fn named(&self) -> Vec<(&'static str, u64)> {
        let counters = self;
        vec![
            ("elections", counters.elections),
            ("reigns", counters.reigns),
            ("appends", counters.appends),
            ("entries", counters.entries),
            ("rejected", counters.rejected),
            ("snapshots", counters.snapshots),
            ("forwarded", counters.forwarded),
            ("repeated", counters.repeated),
            ("repairs", counters.repairs),
        ]
    }
}

impl Raft {
    pub(super) fn describe(&self) -> Status {
        let members = self.members.latest();
        let standing = match &self.phase {
            Phase::Failed(_) => Standing::Failed,
            _ if self.leads() => Standing::Leader,
            _ if self.repair.is_some() => Standing::Repairing,
            _ => match &self.ballot {
                Some(ballot) if ballot.pre => Standing::PreCandidate,
                Some(_) => Standing::Candidate,
                None if members.is_voter(self.id) => Standing::Follower,
                None => Standing::Learner,
            },
        };
        Status {
            standing,
            term: self.term,
            leader: self.leader,
            voters: members.named(&members.all_voters()),
            learners: members.named(&members.learners),
            changing: members.is_joint() || self.members.latest_index() > self.committed,
            first: self.log.first(),
            last: self.log.last(),
            stored: self.disk.stored_index(),
            committed: self.committed,
            applied: self.applied,
            records: self.records,
            kept: self.rows.kept(),
            trouble: match &self.phase {
                Phase::Failed(why) => Some(why.clone()),
                _ => None,
            },
        }
    }
}
