//! Raft, sections 5.3, 5.4.2 and 8.

use crate::agent::{Index, Lsn, Term};
use crate::agents::raft::message::{Append, Message};
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Options, Rejection};
use crate::agents::replicated::LogInput;

#[test]
fn section_5_3_records_reach_all_in_the_order_of_their_proposals() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let wanted: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for record in &wanted {
        cluster.propose("a", record);
    }
    cluster.settle();
    for name in ["a", "b", "c"] {
        assert_eq!(cluster.records(name), wanted, "{name}");
    }
}

#[test]
fn what_one_turn_proposes_goes_out_as_one_message_a_member() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "first");
    cluster.settle();
    cluster.take_delivered();
    for number in 0..256 {
        cluster.propose("a", &number.to_string());
    }
    cluster.settle();
    let delivered = cluster.take_delivered();
    let appends = delivered.iter().filter(|(_, _, message)| matches!(message, Message::Append(_)));
    assert_eq!(appends.count(), 2);
    assert!(delivered.len() <= 6, "appends, answers, and the news that all is committed: {delivered:?}");
}

#[test]
fn section_5_3_an_entry_is_committed_when_a_majority_has_it() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"]);
    cluster.elect("a");
    cluster.propose("a", "open the session");
    cluster.settle();
    for name in ["c", "d", "e"] {
        cluster.node_mut(name).syncs = false;
    }
    cluster.propose("a", "x");
    cluster.settle();
    assert_eq!(cluster.records("a").len(), 1, "two disks of five");
    cluster.sync("e");
    cluster.settle();
    assert_eq!(cluster.records("a").len(), 2);
}

#[test]
fn an_entry_counts_for_nobody_before_it_is_on_his_disk_not_even_for_the_leader() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "open the session");
    cluster.settle();
    for name in ["a", "b", "c"] {
        cluster.node_mut(name).syncs = false;
    }
    cluster.propose("a", "x");
    cluster.settle();
    assert_eq!(cluster.status("c").last, cluster.status("a").last, "sent before the leader's own sync");
    cluster.sync("b");
    cluster.settle();
    assert_eq!(cluster.records("a").len(), 1, "one disk of three");
    cluster.sync("c");
    cluster.settle();
    assert_eq!(cluster.records("a").len(), 2, "two disks, of which none is the leader's");
}

#[test]
fn section_5_3_followers_learn_what_is_committed() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "x");
    cluster.settle();
    let committed = cluster.status("a").committed;
    assert!(committed > Index(1));
    for name in ["b", "c"] {
        assert_eq!((cluster.status(name).committed, cluster.records(name).len()), (committed, 1));
    }
}

fn append(term: u64, prev: u64, prev_term: u64) -> Message {
    Message::Append(Append {
        term: Term(term),
        prev: Index(prev),
        prev_term: Term(prev_term),
        committed: Index(0),
        entries: Vec::new(),
    })
}

#[test]
fn section_5_3_a_follower_refuses_entries_that_do_not_follow_its_log() {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
    cluster.fill("a", &[1, 1, 2, 2], 3);
    cluster.start_all();
    for (prev, prev_term, first, last) in [(6, 3, 3, 4), (4, 3, 3, 3), (2, 2, 1, 1)] {
        cluster.flights.clear();
        cluster.input(id("a"), LogInput::Message { from: id("b"), message: append(3, prev, prev_term) });
        let Some((_, _, Message::Rejected(rejection))) = cluster.flights.pop_front() else { panic!("taken") };
        let Rejection { conflict_first, last: found, .. } = rejection;
        assert_eq!((conflict_first, found), (Index(first), Index(last)), "{prev} {prev_term}");
    }
    cluster.input(id("a"), LogInput::Message { from: id("b"), message: append(3, 4, 2) });
    assert!(matches!(cluster.flights.pop_back(), Some((_, _, Message::Appended { stored: Index(4), .. }))));
}

#[test]
fn section_5_3_a_follower_with_another_log_gets_the_leader_s_a_term_at_a_time() {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
    let old: Vec<u64> = std::iter::repeat_n(1, 10).collect();
    let mine: Vec<u64> = old.iter().copied().chain(std::iter::repeat_n(4, 500)).collect();
    let others: Vec<u64> = old.into_iter().chain(std::iter::repeat_n(2, 300)).chain([3; 200]).collect();
    cluster.fill("a", &mine, 5);
    cluster.fill("b", &others, 5);
    cluster.fill("c", &mine, 5);
    cluster.start_all();
    cluster.elect("a");
    assert_eq!(cluster.log("b"), cluster.log("a"));
    let rejected = cluster.delivered.iter().filter(|(_, _, message)| matches!(message, Message::Rejected(_)));
    assert!(rejected.count() <= 3, "one for each term that differs");
}

#[test]
fn section_5_4_2_entries_of_earlier_terms_are_committed_only_with_one_of_this_term() {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
    cluster.fill("a", &[1, 2], 2);
    cluster.fill("b", &[1, 2], 2);
    cluster.start_all();
    cluster.campaign("a");
    cluster.sync("a");
    cluster.node_mut("a").syncs = false;
    cluster.node_mut("b").syncs = true;
    cluster.node_mut("c").syncs = false;
    cluster.settle();
    // Entries 1 and 2 are on the disks of a and b, which is a majority; that of this term is on b's only.
    assert_eq!(cluster.status("a").committed, Index(0));
    cluster.sync("a");
    cluster.settle();
    assert_eq!(cluster.status("a").committed, Index(3));
}

#[test]
fn section_8_a_new_leader_puts_an_entry_of_its_own_into_the_log() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    assert_eq!((cluster.log("a"), cluster.status("b").committed), (vec![1], Index(1)));
}

#[test]
fn section_5_3_a_leader_goes_on_sending_to_who_was_away() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.crash("c");
    for number in 0..10 {
        cluster.propose("a", &number.to_string());
    }
    cluster.settle();
    cluster.restart("c");
    cluster.advance(ms(200));
    assert_eq!(cluster.records("c").len(), 10);
}

#[test]
fn who_is_far_behind_gets_what_memory_does_not_hold_from_the_disk_in_pieces() {
    let options =
        Options { cache_bytes_max: 2000, batch_bytes_max: 500, inflight_max: 3, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    cluster.elect("a");
    cluster.crash("c");
    for number in 0..1000 {
        cluster.propose("a", &format!("{number:0100}"));
        if number % 10 == 0 {
            cluster.settle();
        }
    }
    cluster.settle();
    assert!(cluster.raft_of("a").entries().count() < 30, "memory is bounded");
    cluster.restart("c");
    cluster.advance(ms(200));
    assert_eq!(cluster.records("c").len(), 1000);
    assert!(cluster.records("c") == cluster.records("a"));
    assert!(cluster.raft_of("c").entries().count() < 30, "memory is bounded");
}

#[test]
fn section_5_3_messages_that_are_lost_are_sent_again() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "x");
    cluster.settle();
    for number in 0..5 {
        cluster.propose("a", &number.to_string());
        cluster.input(id("a"), LogInput::Timeout);
        cluster.flights.clear();
    }
    cluster.settle();
    assert_eq!(cluster.records("b").len(), 1);
    cluster.advance(ms(150));
    assert_eq!(cluster.records("b").len(), 6);
}

#[test]
fn section_5_3_messages_that_come_twice_or_late_do_no_harm() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    for number in 0..5 {
        cluster.propose("a", &number.to_string());
        cluster.settle();
    }
    let again = cluster.take_delivered();
    for (from, to, message) in again.into_iter().rev() {
        cluster.input(to, LogInput::Message { from, message });
        cluster.settle();
    }
    cluster.advance(ms(1000));
    for name in ["a", "b", "c"] {
        assert_eq!(cluster.records(name), ["0", "1", "2", "3", "4"], "{name}");
    }
}

#[test]
fn what_is_not_on_the_disk_is_not_acknowledged_after_a_crash_either() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.node_mut("b").syncs = false;
    cluster.node_mut("c").syncs = false;
    cluster.propose("a", "x");
    cluster.settle();
    assert_eq!(cluster.status("b").last, cluster.status("a").last);
    cluster.crash("b");
    cluster.node_mut("b").syncs = true;
    cluster.restart("b");
    assert!(cluster.status("b").last < cluster.status("a").last);
    cluster.advance(ms(100));
    assert_eq!(cluster.records("a"), ["x"], "sent again, stored, and counted");
}

#[test]
fn everything_acknowledged_outlives_a_crash_of_all() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    for number in 0..50 {
        cluster.propose("b", &number.to_string());
    }
    cluster.settle();
    let records = cluster.records("b");
    assert_eq!(records.len(), 50);
    for name in ["a", "b", "c"] {
        cluster.crash(name);
    }
    for name in ["a", "b", "c"] {
        cluster.restart(name);
    }
    cluster.advance(ms(1500));
    for name in ["a", "b", "c"] {
        assert_eq!(cluster.records(name), records);
    }
}

#[test]
fn a_write_is_counted_when_its_own_number_is_stored() {
    let mut cluster = Cluster::new(&["a"]);
    cluster.node_mut("a").syncs = false;
    cluster.settle();
    cluster.sync("a");
    cluster.settle();
    cluster.sync("a");
    let before = cluster.status("a");
    assert_eq!(before.stored, Index(1));
    cluster.propose("a", "x");
    cluster.settle();
    cluster.input(id("a"), LogInput::Stored(Lsn(1)));
    assert_eq!(cluster.status("a").stored, Index(1), "an old number says nothing new");
}
