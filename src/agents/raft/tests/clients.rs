//! Raft, section 8; thesis, section 6.3: what services propose, wherever they do, is handed over once and in order.

use crate::agent::{Index, Refusal};
use crate::agents::raft::message::Message;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Options, RECORD_BYTES_MAX};
use crate::agents::replicated::LogInput;

fn numbers(from: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{from}{number}")).collect()
}

fn from<'a>(records: &'a [String], who: &str) -> Vec<&'a String> {
    records.iter().filter(|record| record.starts_with(who)).collect()
}

#[test]
fn section_8_whoever_does_not_lead_passes_proposals_on() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    for name in ["b", "c"] {
        for record in numbers(name, 100) {
            cluster.propose(name, &record);
        }
    }
    cluster.settle();
    let records = cluster.records("a");
    assert_eq!(records.len(), 200);
    for name in ["b", "c"] {
        assert!(from(&records, name).into_iter().eq(&numbers(name, 100)), "{name}");
        assert_eq!(cluster.records(name), records);
    }
}

#[test]
fn section_8_proposals_wait_until_somebody_leads() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.propose("b", "x");
    cluster.settle();
    assert!(cluster.records("b").is_empty());
    cluster.elect("a");
    assert_eq!(cluster.records("b"), ["x"]);
}

#[test]
fn section_6_3_what_a_dead_leader_may_have_committed_is_handed_over_once() {
    // The leader dies with the proposals on 1 disk, on 2, and on 3.
    for synced in [vec![], vec!["b"], vec!["b", "c"]] {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        cluster.elect("a");
        cluster.propose("c", "c-first");
        cluster.settle();
        for name in ["b", "c"] {
            cluster.node_mut(name).syncs = synced.contains(&name);
        }
        for record in numbers("c", 10) {
            cluster.propose("c", &record);
        }
        cluster.settle();
        cluster.crash("a");
        for name in ["b", "c"] {
            cluster.node_mut(name).syncs = true;
        }
        cluster.advance(ms(1000));
        cluster.restart("a");
        cluster.advance(ms(1000));
        for name in ["a", "b", "c"] {
            let records = cluster.records(name);
            assert!(records[1..].iter().eq(&numbers("c", 10)), "{synced:?}: {records:?}");
        }
    }
}

#[test]
fn section_6_3_what_was_lost_on_its_way_to_the_leader_is_sent_again_and_stays_in_order() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("b", "b-first");
    cluster.settle();
    for (number, record) in numbers("b", 9).iter().enumerate() {
        cluster.propose("b", record);
        cluster.input(id("b"), LogInput::Timeout);
        if number % 3 == 0 {
            cluster.flights.retain(|(_, _, message)| !matches!(message, Message::Forward { .. }));
        }
    }
    cluster.settle();
    assert!(cluster.records("a")[1..].iter().eq(&numbers("b", 9)), "the gap was noticed");
    cluster.propose("b", "b-last");
    cluster.input(id("b"), LogInput::Timeout);
    cluster.flights.clear();
    cluster.settle();
    assert_eq!(cluster.records("a").len(), 10);
    cluster.advance(ms(600));
    assert_eq!(cluster.records("a").len(), 11, "sent again after some time");
}

#[test]
fn section_6_3_without_sessions_a_record_would_come_twice() {
    for sessions in [true, false] {
        let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
        cluster.obeying(crate::agents::raft::Laws { sessions, ..Default::default() });
        cluster.start_all();
        cluster.elect("a");
        cluster.propose("b", "first");
        cluster.settle();
        cluster.propose("b", "x");
        cluster.input(id("b"), LogInput::Timeout);
        let forward = cluster.flights[0].clone();
        cluster.flights.push_back(forward);
        cluster.settle();
        let records = cluster.node("c").records.len();
        assert_eq!(records, if sessions { 2 } else { 3 });
    }
}

#[test]
fn section_6_3_sessions_are_bounded_and_a_forgotten_one_is_replaced() {
    let options = Options { sessions_max: 2, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    cluster.elect("a");
    for round in 0..5 {
        for name in ["a", "b", "c"] {
            for record in 0..3 {
                cluster.propose(name, &format!("{name}{round}{record}"));
            }
            cluster.settle();
        }
    }
    cluster.advance(ms(600));
    let records = cluster.records("a");
    assert_eq!(records.len(), 45);
    for name in ["a", "b", "c"] {
        let own = from(&records, name);
        assert!(own.is_sorted(), "{own:?}");
        assert_eq!(cluster.records(name), records);
    }
}

#[test]
fn a_server_that_begins_again_is_not_taken_for_its_former_self() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    for life in 0..4 {
        for record in 0..3 {
            cluster.propose("c", &format!("{life}{record}"));
        }
        cluster.settle();
        cluster.crash("c");
        cluster.restart("c");
        cluster.advance(ms(100));
    }
    assert_eq!(cluster.records("c").len(), 12);
}

#[test]
fn too_much_and_too_long_is_refused_at_once() {
    let options = Options { pending_records_max: 2, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    for _ in 0..3 {
        cluster.propose("a", "x");
    }
    assert_eq!(cluster.node("a").refused, [Refusal::Busy]);
    cluster.propose("b", &"x".repeat(RECORD_BYTES_MAX + 1));
    assert!(matches!(cluster.node("b").refused[..], [Refusal::TooLong { .. }]));
}

#[test]
fn a_failed_disk_ends_a_reign_and_others_go_on() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "first");
    cluster.settle();
    cluster.node_mut("a").syncs = false;
    cluster.propose("a", "x");
    cluster.input(id("a"), LogInput::StoreFailed("no space left"));
    assert!(matches!(&cluster.node("a").refused[..], [Refusal::Failed(why)] if why == "no space left"));
    assert_eq!(cluster.status("a").trouble.as_deref(), Some("no space left"));
    cluster.settle();
    assert_eq!(cluster.leaders().len(), 1, "without waiting for a time-out");
    cluster.propose("b", "y");
    cluster.settle();
    assert_eq!(cluster.records("c"), ["first", "y"]);
    cluster.propose("a", "z");
    assert_eq!(cluster.node("a").refused.len(), 2);
}

#[test]
fn entries_of_the_log_s_own_leave_no_gap_among_the_records() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    for (name, record) in [("a", "1"), ("b", "2"), ("c", "3")] {
        cluster.elect(name);
        cluster.propose(name, record);
        cluster.settle();
    }
    let status = cluster.status("a");
    assert_eq!(
        (status.records, status.last),
        (Index(3), Index(9)),
        "an election, a session and a record each"
    );
}
