//! Several members of each Raft over random schedules: see the crate's documentation.

use std::panic::catch_unwind;

use ovid::agents::raft::Laws;
use ovid_oracle::cluster::{Counts, cluster};
use ovid_oracle::{first_seed, seeds};

const EVENTS: u64 = 60;

#[test]
fn all_members_stand_as_the_others_do() {
    let mut sum = Counts::default();
    for seed in first_seed()..first_seed() + seeds() {
        let counts = cluster(seed, EVENTS, Laws::ALL);
        sum += counts.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    println!("{sum:?}");
    if seeds() >= 20 {
        let Counts { reigns, records, restarts, cuts } = sum;
        for count in [reigns, records, restarts, cuts] {
            assert!(count >= seeds(), "the schedules do not reach far: {sum:?}");
        }
    }
}

/// Whether some schedule shows that a law is broken: by a difference, or since a member itself finds something that cannot be.
fn is_found(laws: Laws) -> bool {
    (1..=300).any(|seed| catch_unwind(|| cluster(seed, EVENTS, laws).is_err()).unwrap_or(true))
}

#[test]
fn votes_for_old_logs_are_found() {
    assert!(is_found(Laws { vote_checks_log: false, ..Laws::ALL }));
}

#[test]
fn entries_that_stay_though_they_conflict_are_found() {
    assert!(is_found(Laws { truncate_conflicts: false, ..Laws::ALL }));
}

#[test]
fn acknowledgements_before_the_disk_is_done_are_found() {
    assert!(is_found(Laws { acknowledge_after_sync: false, ..Laws::ALL }));
}
