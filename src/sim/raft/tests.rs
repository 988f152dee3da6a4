//! Runs of the sound Raft, and of ones that leave out one rule each: these prove that the checkers can fail, and that each rule is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Cluster, RaftScenario, run_service};
use crate::agents::raft::{Laws, Reads};
use crate::sim::{Carrier, FailureModel, Fault, Plan, Scenario, Violation, replay_command};

fn plan(seed: u64) -> Plan {
    let carrier = if seed.is_multiple_of(3) { Carrier::Datagram } else { Carrier::Stream };
    let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
    let faults = RaftScenario.faults(carrier);
    Plan { seed, carrier, faults, failure_model, wire: seed.is_multiple_of(5), ..RaftScenario.default_plan() }
}

/// Runs servers that leave out the rules that `without` switches off, in worlds that `tune` makes hard for them, until somebody notices. Which
/// checker it is.
fn caught(without: fn(&mut Laws), tune: fn(&mut Cluster), seeds_max: u64) -> &'static str {
    let mut laws = Laws::ALL;
    without(&mut laws);
    let found = (1..=seeds_max).find_map(|seed| {
        let plan = plan(seed);
        let mut cluster = Cluster::new(&plan, laws);
        tune(&mut cluster);
        run_service(&mut cluster, &plan, None).violation.map(|violation| (seed, violation))
    });
    let (seed, Violation { checker, what, .. }) =
        found.unwrap_or_else(|| panic!("nobody noticed in {seeds_max} runs"));
    println!("seed {seed}: {checker}: {what}");
    checker
}

fn as_it_is(_: &mut Cluster) {}

/// Small logs and short disks: what has to be on the disk is often not.
fn with_slow_disks(cluster: &mut Cluster) {
    cluster.setting.slow_disks = true;
}

fn with_changes(cluster: &mut Cluster) {
    cluster.setting.changes = true;
}

fn with_leases(cluster: &mut Cluster) {
    cluster.setting.options.reads = Reads::Lease;
    cluster.setting.counts = 39;
}

#[test]
fn a_sound_raft_keeps_its_promises() {
    for seed in 1..=SEEDS {
        let plan = plan(seed);
        let violation = RaftScenario.run(&plan, None).violation;
        assert_eq!(violation, None, "{}", replay_command("ovid", &RaftScenario, &plan));
    }
}

const SEEDS: u64 = 20;

#[test]
fn committing_what_an_earlier_term_left_by_counting_is_caught() {
    let checker = caught(|laws| laws.commit_needs_current_term = false, as_it_is, 1_000);
    assert!(["leader completeness", "same records"].contains(&checker), "{checker}");
}

#[test]
fn voting_for_whoever_has_an_older_log_is_caught() {
    assert_eq!(caught(|laws| laws.vote_checks_log = false, as_it_is, 1_000), "leader completeness");
}

#[test]
fn voting_twice_in_a_term_is_caught() {
    assert_eq!(caught(|laws| laws.one_vote_a_term = false, as_it_is, 1_000), "one leader a term");
}

#[test]
fn acknowledging_entries_before_they_are_on_the_disk_is_caught() {
    assert_eq!(caught(|laws| laws.acknowledge_after_sync = false, as_it_is, 1_000), "durable");
}

#[test]
fn voting_before_the_vote_is_on_the_disk_is_caught() {
    assert_eq!(caught(|laws| laws.vote_after_sync = false, with_slow_disks, 1_000), "one leader a term");
}

#[test]
fn keeping_what_conflicts_with_the_leader_is_caught() {
    assert_eq!(caught(|laws| laws.truncate_conflicts = false, as_it_is, 1_000), "log matching");
}

#[test]
fn changing_voters_in_one_step_is_caught() {
    assert_eq!(caught(|laws| laws.joint_consensus = false, with_changes, 1_000), "leader completeness");
}

#[test]
fn reading_without_asking_anybody_is_caught() {
    assert_eq!(caught(|laws| laws.reads_confirm = false, as_it_is, 1_000), "linearizable");
}

#[test]
fn breaking_the_promise_on_which_leases_rest_is_caught() {
    assert_eq!(caught(|laws| laws.votes_wait_for_leases = false, with_leases, 1_000), "linearizable");
}

#[test]
fn leases_that_allow_for_no_drift_of_clocks_are_caught() {
    assert_eq!(caught(|laws| laws.leases_allow_for_drift = false, with_leases, 1_000), "linearizable");
}

#[test]
fn taking_part_with_a_damaged_log_is_caught() {
    assert_eq!(caught(|laws| laws.damage_is_repaired = false, as_it_is, 1_000), "leader completeness");
}

#[test]
fn taking_repeated_proposals_for_new_ones_is_caught() {
    assert_eq!(caught(|laws| laws.sessions = false, as_it_is, 1_000), "same records");
}

#[test]
fn a_disk_that_loses_what_was_synced_is_caught() {
    let checker = caught(|_| (), |cluster| cluster.forgetful_disks = true, 1_000);
    assert!(["leader completeness", "one leader a term", "durable"].contains(&checker), "{checker}");
}

#[test]
fn the_same_plan_gives_the_same_run_on_every_machine() {
    let digests = [Carrier::Stream, Carrier::Datagram].map(|carrier| {
        let plan = Plan { carrier, faults: RaftScenario.faults(carrier), ..plan(42) };
        format!("{:016x}", RaftScenario.run(&plan, None).figures.digest)
    });
    assert_eq!(digests, GOLDEN);
}

/// Written down once: a change of it says that runs are not what they were, and seeds that somebody noted are worth nothing any more.
const GOLDEN: [&str; 2] = ["", ""];
