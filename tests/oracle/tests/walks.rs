//! One member of each Raft among imagined others: see the crate's documentation.

use std::panic::catch_unwind;

use ovid::agents::raft::Laws;
use ovid_oracle::walk::{Counts, walk};
use ovid_oracle::{first_seed, seeds};

const STEPS: u64 = 300;
const FREE: Laws = Laws { votes_wait_for_leases: false, ..Laws::ALL };

#[test]
fn one_member_does_as_the_other_would() {
    let mut sum = Counts::default();
    for seed in first_seed()..first_seed() + seeds() {
        for laws in [Laws::ALL, FREE] {
            let counts = walk(seed, STEPS, laws, laws.votes_wait_for_leases);
            sum += counts.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        }
    }
    println!("{sum:?}");
    if seeds() >= 20 {
        let Counts { steps: _, told, reigns, committed, learnt, cuts, restarts } = sum;
        for count in [told, reigns, committed, learnt, cuts, restarts] {
            assert!(count >= seeds() / 4, "the schedules do not reach far: {sum:?}");
        }
    }
}

/// Whether some walk shows that a law is broken: by a difference, or since the member itself finds something that cannot be.
fn is_found(laws: Laws, is_bound: bool) -> bool {
    (1..=300).any(|seed| {
        let found = catch_unwind(|| walk(seed, STEPS, laws, is_bound).is_err());
        found.unwrap_or(true)
    })
}

#[test]
fn a_member_that_gives_votes_to_old_logs_is_found() {
    assert!(is_found(Laws { vote_checks_log: false, ..Laws::ALL }, true));
}

#[test]
fn a_member_that_votes_twice_in_a_term_is_found() {
    assert!(is_found(Laws { one_vote_a_term: false, ..Laws::ALL }, true));
}

#[test]
fn a_member_that_forgets_its_leader_is_found() {
    assert!(is_found(FREE, true));
}

#[test]
fn a_leader_that_commits_by_counting_old_entries_is_found() {
    assert!(is_found(Laws { commit_needs_current_term: false, ..Laws::ALL }, true));
}

#[test]
fn a_member_that_keeps_what_conflicts_is_found() {
    assert!(is_found(Laws { truncate_conflicts: false, ..Laws::ALL }, true));
}

#[test]
fn a_member_that_acknowledges_before_its_disk_is_done_is_found() {
    assert!(is_found(Laws { acknowledge_after_sync: false, ..Laws::ALL }, true));
}

#[test]
fn a_member_that_gives_its_vote_before_its_disk_is_done_is_found() {
    assert!(is_found(Laws { vote_after_sync: false, ..Laws::ALL }, true));
}
