//! Runs of the sound Raft, and of ones that leave out one rule each: these prove that the checkers can fail, and that each rule is needed.

use std::time::Duration;

use super::{Cluster, RaftScenario, run_service};
use crate::agents::raft::{Laws, Reads};
use crate::rng::Probability;
use crate::sim::{Carrier, FailureModel, Fault, Plan, Scenario, Severity, Violation, replay_command};

fn plan(seed: u64) -> Plan {
    let carrier = if seed.is_multiple_of(3) { Carrier::Datagram } else { Carrier::Stream };
    let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
    let faults = RaftScenario.faults(carrier);
    Plan { seed, carrier, faults, failure_model, wire: seed.is_multiple_of(5), ..RaftScenario.default_plan() }
}

/// Runs servers that leave out the rules that `without` switches off, in worlds that `tune` makes hard for them, until somebody notices. Which
/// checker it is.
fn caught(without: fn(&mut Laws), tune: fn(&mut Plan, &mut Cluster), first_seed: u64) -> &'static str {
    let mut laws = Laws::ALL;
    without(&mut laws);
    let found = (first_seed..first_seed + RUNS).find_map(|seed| {
        let violation = tuned(laws, tune, seed);
        // Whoever gets stuck breaks no promise that these rules are about.
        violation
            .filter(|violation| !violation.what.contains("after healing"))
            .map(|violation| (seed, violation))
    });
    let (seed, Violation { checker, what, .. }) =
        found.unwrap_or_else(|| panic!("nobody noticed in {RUNS} runs"));
    println!("seed {seed}: {checker}: {what}");
    checker
}

fn tuned(laws: Laws, tune: fn(&mut Plan, &mut Cluster), seed: u64) -> Option<Violation> {
    let mut plan = plan(seed);
    // What is drawn for the run is drawn with all faults; then there are those that the rule is about.
    let mut cluster = Cluster::new(&plan, laws);
    tune(&mut plan, &mut cluster);
    run_service(&mut cluster, &plan, None).violation
}

fn often(percent: u32, longest_ms: u64) -> Severity {
    let (per_step, longest) = (Probability::percent(percent), Duration::from_millis(longest_ms));
    Severity { per_step, longest, crashed_max: 7, disks: false }
}

fn as_it_is(_: &mut Plan, _: &mut Cluster) {}

/// Servers crash for a moment again and again, and their disks are slow: what has to be on the disk often is not.
fn with_short_crashes(plan: &mut Plan, cluster: &mut Cluster) {
    plan.faults = [Fault::Crash, Fault::OneWay].into();
    plan.steps = 400;
    cluster.severity = Some(often(100, 30));
    let setting = &mut cluster.setting;
    (setting.slow_disks, setting.changes, setting.options.reads) = (true, false, Reads::Index);
    setting.options.election = Duration::from_millis(60);
    setting.options.heartbeat = Duration::from_millis(12);
}

/// Leaders change often, with little of what they have passed on.
fn with_short_reigns(plan: &mut Plan, cluster: &mut Cluster) {
    plan.faults = [Fault::Crash, Fault::OneWay, Fault::Partition, Fault::Break].into();
    plan.steps = 400;
    cluster.severity = Some(often(60, 150));
    let setting = &mut cluster.setting;
    (setting.changes, setting.appends, setting.counts) = (false, 100, 0);
    setting.options.election = Duration::from_millis(60);
    setting.options.heartbeat = Duration::from_millis(12);
    (setting.options.batch_bytes_max, setting.options.inflight_max) = (40, 1);
}

fn with_changes(plan: &mut Plan, cluster: &mut Cluster) {
    plan.faults = [Fault::Crash, Fault::OneWay, Fault::Partition, Fault::Break].into();
    plan.steps = 400;
    cluster.severity = Some(often(40, 300));
    let setting = &mut cluster.setting;
    (setting.changes, setting.changes_percent, setting.appends, setting.counts) = (true, 40, 40, 20);
    setting.options.election = Duration::from_millis(100);
    setting.options.heartbeat = Duration::from_millis(20);
}

/// Leaders read under their leases, and now and then somebody does not hear his.
fn with_leases(plan: &mut Plan, cluster: &mut Cluster) {
    (plan.carrier, cluster.setting.carrier) = (Carrier::Stream, Carrier::Stream);
    plan.faults = [Fault::Stall].into();
    plan.steps = 400;
    cluster.severity = Some(often(100, 800));
    let setting = &mut cluster.setting;
    (setting.changes, setting.appends, setting.counts) = (false, 50, 50);
    setting.options.reads = Reads::Lease;
}

/// The same with clocks that differ much, and leases that know it; who leads changes, so that some who lead have slow clocks.
fn with_wild_clocks(plan: &mut Plan, cluster: &mut Cluster) {
    with_leases(plan, cluster);
    plan.faults = [Fault::OneWay, Fault::Partition].into();
    plan.steps = 800;
    cluster.severity = Some(often(30, 1_500));
    let setting = &mut cluster.setting;
    setting.options.election = Duration::from_millis(600);
    (setting.changes, setting.changes_percent, setting.appends, setting.counts) = (true, 10, 40, 50);
    setting.options.drift_permille = 400;
    setting.drifts = (0..7).map(|server| if server % 2 == 0 { 180_000 } else { -180_000 }).collect();
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
fn what_is_hard_for_others_is_not_too_hard_for_a_sound_raft() {
    for tune in [with_short_crashes, with_short_reigns, with_changes, with_leases, with_wild_clocks] {
        for seed in 1..=5 {
            let violation = tuned(Laws::ALL, tune, seed);
            assert!(
                violation.as_ref().is_none_or(|it| it.what.contains("after healing")),
                "{seed}: {violation:?}"
            );
        }
    }
}

#[test]
fn committing_what_an_earlier_term_left_by_counting_is_caught() {
    let checker = caught(|laws| laws.commit_needs_current_term = false, with_short_reigns, 200);
    assert!(["leader completeness", "same records"].contains(&checker), "{checker}");
}

#[test]
fn voting_for_whoever_has_an_older_log_is_caught() {
    assert_eq!(caught(|laws| laws.vote_checks_log = false, as_it_is, 1), "leader completeness");
}

#[test]
fn voting_twice_in_a_term_is_caught() {
    assert_eq!(caught(|laws| laws.one_vote_a_term = false, as_it_is, 1), "one leader a term");
}

#[test]
fn acknowledging_entries_before_they_are_on_the_disk_is_caught() {
    assert_eq!(caught(|laws| laws.acknowledge_after_sync = false, as_it_is, 1), "durable");
}

#[test]
fn voting_before_the_vote_is_on_the_disk_is_caught() {
    assert_eq!(caught(|laws| laws.vote_after_sync = false, with_short_crashes, 118), "one leader a term");
}

#[test]
fn keeping_what_conflicts_with_the_leader_is_caught() {
    let checker = caught(|laws| laws.truncate_conflicts = false, as_it_is, 1);
    assert!(["log matching", "durable", "leader completeness"].contains(&checker), "{checker}");
}

#[test]
fn changing_voters_in_one_step_is_caught() {
    let checker = caught(|laws| laws.joint_consensus = false, with_changes, 84);
    assert!(["one leader a term", "leader completeness", "durable"].contains(&checker), "{checker}");
}

#[test]
fn reading_without_asking_anybody_is_caught() {
    assert_eq!(caught(|laws| laws.reads_confirm = false, with_leases, 35), "linearizable");
}

#[test]
fn breaking_the_promise_on_which_leases_rest_is_caught() {
    assert_eq!(caught(|laws| laws.votes_wait_for_leases = false, with_leases, 950), "linearizable");
}

#[test]
fn leases_that_allow_for_no_drift_of_clocks_are_caught() {
    assert_eq!(caught(|laws| laws.leases_allow_for_drift = false, with_wild_clocks, 60), "linearizable");
}

#[test]
fn taking_part_with_a_damaged_log_is_caught() {
    let checker = caught(|laws| laws.damage_is_repaired = false, as_it_is, 150);
    assert!(["leader completeness", "one leader a term", "durable"].contains(&checker), "{checker}");
}

#[test]
fn taking_repeated_proposals_for_new_ones_is_caught() {
    assert_eq!(caught(|laws| laws.sessions = false, as_it_is, 1), "same records");
}

#[test]
fn a_disk_that_loses_what_was_synced_is_caught() {
    let checker = caught(|_| (), |_, cluster| cluster.forgetful_disks = true, 1);
    assert!(
        ["leader completeness", "one leader a term", "durable", "same records"].contains(&checker),
        "{checker}"
    );
}

/// In so many runs at most each of them is caught. Where that takes many, the tests begin shortly before the first that does it.
const RUNS: u64 = 1_000;
