//! Raft, section 7; thesis, chapter 5.

use bytes::Bytes;

use crate::agent::{Index, Look, Read, Row};
use crate::agents::raft::Options;
use crate::agents::raft::message::Message;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::replicated::LogInput;

fn small() -> Options {
    Options { compact_bytes: 1600, part_bytes_max: 300, cache_bytes_max: 2000, ..Options::default() }
}

/// Servers whose services keep rows, of which c is away while the log is forgotten that it needs.
fn with_c_behind() -> Cluster {
    let mut cluster = Cluster::with(&["a", "b", "c"], small());
    for name in ["a", "b", "c"] {
        cluster.node_mut(name).keeps = true;
    }
    cluster.elect("a");
    propose(&mut cluster, 0..20);
    cluster.crash("c");
    propose(&mut cluster, 20..200);
    cluster
}

fn propose(cluster: &mut Cluster, numbers: std::ops::Range<u64>) {
    for number in numbers {
        cluster.propose("a", &format!("{number:060}"));
        cluster.settle();
        if number % 5 == 4 {
            cluster.advance(ms(1100));
        }
    }
}

#[test]
fn section_7_the_log_is_forgotten_when_the_rows_reach_far_enough_but_for_its_newer_half() {
    let cluster = with_c_behind();
    for name in ["a", "b"] {
        let status = cluster.status(name);
        assert!(status.first > Index(100) && status.first < status.kept, "{name}: {status:?}");
        let durable = &cluster.node(name).durable;
        assert_eq!(*durable.entries.keys().next().unwrap(), status.first);
        assert_eq!(durable.rows.len(), 200);
    }
}

#[test]
fn a_log_whose_service_keeps_no_rows_is_never_forgotten() {
    let mut cluster = Cluster::with(&["a", "b", "c"], small());
    cluster.elect("a");
    propose(&mut cluster, 0..100);
    assert_eq!((cluster.status("a").first, cluster.status("a").kept), (Index(1), Index(0)));
}

#[test]
fn rows_are_asked_for_when_many_bytes_were_handed_over_and_some_time_after_few() {
    let mut cluster = Cluster::with(&["a"], Options::default());
    cluster.node_mut("a").keeps = true;
    cluster.elect("a");
    cluster.propose("a", "few");
    cluster.settle();
    cluster.advance(ms(900));
    assert_eq!(cluster.status("a").kept, Index(0));
    cluster.advance(ms(200));
    let few = cluster.status("a").kept;
    assert_eq!((few, cluster.node("a").durable.rows.len()), (cluster.status("a").applied, 1));
    for _ in 0..8 {
        assert_eq!(cluster.status("a").kept, few);
        cluster.propose("a", &"x".repeat(1024 * 1024 / 2));
        cluster.settle();
    }
    assert_eq!((cluster.status("a").kept, cluster.node("a").durable.rows.len()), (Index(few.0 + 8), 9));
    cluster.advance(ms(5000));
    assert_eq!(cluster.status("a").kept, Index(few.0 + 8), "nothing has changed since");
}

#[test]
fn a_service_that_keeps_no_rows_is_not_asked_again_and_again() {
    let mut cluster = Cluster::with(&["a"], Options::default());
    cluster.elect("a");
    for _ in 0..3 {
        cluster.propose("a", "x");
        cluster.settle();
        cluster.advance(ms(1100));
    }
    assert_eq!(cluster.node("a").asked_for_rows, 1);
}

#[test]
fn a_look_finds_the_rows_that_were_given_before_and_nothing_while_the_service_is_made_from_them() {
    let mut cluster = with_c_behind();
    let key = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let look =
        |token| Look { token, from: key(5), until: key(100), backwards: false, rows_max: 2, bytes_max: 1000 };
    cluster.input(id("a"), LogInput::Look(look(7)));
    cluster.settle();
    let looked = cluster.node_mut("a").looked.pop().expect("an answer");
    let row = |number: u64| Row { key: key(number), value: Some(format!("{:060}", number - 1).into()) };
    assert_eq!((looked.token, looked.rows, looked.more), (7, vec![row(5), row(6)], true));
    cluster.restart("c");
    assert!(cluster.raft_of("c").rows.is_restoring());
    cluster.input(id("c"), LogInput::Look(look(8)));
    cluster.advance(ms(1000));
    assert_eq!((cluster.node("c").records.len(), cluster.node("c").looked.len()), (200, 0));
}

#[test]
fn section_7_who_needs_what_was_forgotten_gets_the_rows_in_parts() {
    let mut cluster = with_c_behind();
    cluster.take_delivered();
    cluster.restart("c");
    cluster.advance(ms(1000));
    assert_eq!(cluster.records("c").len(), 200);
    assert!(cluster.records("c") == cluster.records("a"));
    let delivered = cluster.take_delivered();
    let parts = delivered.iter().filter(|(_, _, message)| matches!(message, Message::Snapshot(_))).count();
    assert!(parts > 30, "{parts} parts of 300 bytes");
    cluster.propose("c", "after");
    cluster.advance(ms(100));
    assert_eq!(cluster.records("b").last().map(String::as_str), Some("after"));
    assert_eq!(cluster.records("c").len(), 201);
}

#[test]
fn section_7_lost_parts_are_sent_again() {
    let mut cluster = with_c_behind();
    cluster.restart("c");
    for round in 0..400 {
        cluster.advance(ms(20));
        if round % 3 == 0 {
            cluster.input(id("a"), LogInput::Timeout);
            cluster.flights.clear();
        }
        let lossy = cluster.cut.is_empty();
        cluster.cut.clear();
        if lossy && round % 7 == 0 {
            cluster.cut.insert((id("a"), id("c")));
        }
    }
    assert_eq!(cluster.records("c").len(), 200);
}

#[test]
fn section_7_a_crash_in_the_middle_of_a_snapshot_leaves_the_old_state_or_the_new_one() {
    for steps in (1..400).step_by(29) {
        let mut cluster = with_c_behind();
        cluster.restart("c");
        for _ in 0..steps {
            cluster.deliver_one();
            for name in ["a", "b", "c"] {
                cluster.input(id(name), LogInput::Timeout);
                cluster.sync(name);
                cluster.serve(name);
            }
        }
        cluster.crash("c");
        let rows = cluster.node("c").durable.rows.len();
        assert!(rows <= 20 || rows == 200, "after {steps} steps: {rows}");
        cluster.restart("c");
        cluster.advance(ms(1000));
        assert_eq!(cluster.records("c").len(), 200, "after {steps} steps");
    }
}

#[test]
fn section_7_after_a_restart_the_service_begins_with_the_rows_and_goes_on_with_the_log() {
    let mut cluster = with_c_behind();
    cluster.propose("a", "not in the rows");
    cluster.settle();
    let kept = cluster.status("b").kept;
    cluster.crash("b");
    cluster.restart("b");
    cluster.settle();
    assert_eq!(cluster.status("b").kept, kept);
    assert!(cluster.records("b").len() >= 200, "without waiting for anybody");
    cluster.advance(ms(500));
    assert_eq!(cluster.records("b").len(), 201);
}

#[test]
fn section_7_entries_that_were_acknowledged_are_not_thrown_away_for_an_old_snapshot() {
    use crate::agent::{Applied, Term};
    use crate::agents::raft::message::Snapshot;
    use crate::agents::replicated::LogInput;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "x");
    cluster.settle();
    cluster.part("b", "a");
    let status = cluster.status("b");
    let applied = Applied { index: Index(2), term: status.term, meta: Bytes::new() };
    let snapshot = Snapshot { term: status.term, token: 1, part: 0, applied, rows: Vec::new(), last: true };
    assert_eq!(status.term, Term(1));
    cluster.input(id("b"), LogInput::Message { from: id("a"), message: Message::Snapshot(snapshot) });
    assert_eq!((cluster.status("b").last, cluster.records("b").len()), (status.last, 1));
}

#[test]
fn section_6_3_sessions_and_members_are_part_of_a_snapshot() {
    let mut cluster = with_c_behind();
    cluster.restart("c");
    cluster.advance(ms(1000));
    let (a, c) = (cluster.raft_of("a"), cluster.raft_of("c"));
    assert_eq!(a.sessions, c.sessions);
    assert_eq!(a.members.latest(), c.members.latest());
    assert_eq!(a.records, c.records);
}

#[test]
fn what_a_server_proposed_before_it_took_a_snapshot_is_not_handed_over_twice() {
    let mut cluster = with_c_behind();
    cluster.restart("c");
    cluster.advance(ms(1000));
    // Its proposals reach the leader; what follows reaches it only as a snapshot.
    cluster.cut.insert((id("b"), id("c")));
    for number in 0..5 {
        cluster.propose("c", &format!("c{number}"));
    }
    cluster.input(id("c"), LogInput::Timeout);
    while !cluster.flights.is_empty() {
        let is_forward = matches!(cluster.flights[0], (_, _, Message::Forward { .. } | Message::Open { .. }));
        if is_forward || cluster.flights[0].1 != id("c") {
            cluster.deliver_one();
        } else {
            cluster.flights.pop_front();
        }
    }
    cluster.cut.insert((id("a"), id("c")));
    cluster.cut.insert((id("c"), id("a")));
    propose(&mut cluster, 200..400);
    cluster.heal();
    cluster.advance(ms(2000));
    let own = |name: &str| cluster.records(name).iter().filter(|record| record.starts_with('c')).count();
    assert_eq!((own("a"), own("c")), (5, 5));
    assert!(cluster.records("c") == cluster.records("a"));
}

#[test]
fn readings_of_rows_are_given_up_when_the_link_or_the_reign_ends() {
    let mut cluster = with_c_behind();
    cluster.restart("c");
    for _ in 0..3 {
        cluster.input(id("a"), LogInput::Timeout);
        cluster.deliver_one();
        cluster.deliver_one();
    }
    let has_begun = cluster.node("a").reads.iter().any(|read| matches!(read, Read::Rows { part: 0, .. }));
    assert!(has_begun, "{:?}", cluster.node("a").reads);
    cluster.crash("c");
    assert!(matches!(cluster.node("a").reads.back(), Some(Read::EndRows { .. })));
}
