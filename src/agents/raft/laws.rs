//! The rules that make Raft safe, each of which can be switched off: so that the simulated world can show that its checkers notice.

/// Which rules a member obeys. Servers obey [`Laws::ALL`]; only tests of the checkers leave one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and all but one are on in any test"
)]
pub struct Laws {
    /// A leader commits by counting only what was put into the log in its own term (Raft, section 5.4.2).
    pub commit_needs_current_term: bool,
    /// A vote goes only to a candidate whose log is at least as new (section 5.4.1).
    pub vote_checks_log: bool,
    /// At most one vote a term (section 5.2).
    pub one_vote_a_term: bool,
    /// Entries count for a member only when they are on its disk.
    pub acknowledge_after_sync: bool,
    /// Term and vote are on the disk before anybody hears of them.
    pub vote_after_sync: bool,
    /// What conflicts with the leader's log goes, with all that follows it (section 5.3).
    pub truncate_conflicts: bool,
    /// Voters change by way of a time in which both majorities are needed (section 6).
    pub joint_consensus: bool,
    /// A leader asks a majority before it answers a read (thesis, section 6.4), or holds a lease.
    pub reads_confirm: bool,
    /// Who has heard of a leader lately votes for nobody (thesis, sections 4.2.3 and 6.4.1).
    pub votes_wait_for_leases: bool,
    /// A lease is shorter than the promise on which it rests, by as much as clocks may differ.
    pub leases_allow_for_drift: bool,
    /// A member with a damaged log takes no part until it has got everything back.
    pub damage_is_repaired: bool,
    /// Repeated proposals are told from new ones (thesis, section 6.3).
    pub sessions: bool,
}

impl Laws {
    /// All of them.
    pub const ALL: Self = Self {
        commit_needs_current_term: true,
        vote_checks_log: true,
        one_vote_a_term: true,
        acknowledge_after_sync: true,
        vote_after_sync: true,
        truncate_conflicts: true,
        joint_consensus: true,
        reads_confirm: true,
        votes_wait_for_leases: true,
        leases_allow_for_drift: true,
        damage_is_repaired: true,
        sessions: true,
    };
}

impl Default for Laws {
    fn default() -> Self {
        Self::ALL
    }
}
