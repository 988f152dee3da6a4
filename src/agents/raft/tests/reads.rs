//! Thesis, section 6.4: reads without entries that are never stale.

use crate::agents::raft::message::Message;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Laws, Options, Reads};
use crate::agents::replicated::LogInput;

fn with_leases() -> Options {
    Options { reads: Reads::Lease, ..Options::default() }
}

#[test]
fn section_6_4_a_read_waits_for_a_majority_that_still_follows() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.ask("a", 7);
    cluster.input(id("a"), LogInput::Timeout);
    assert!(cluster.node("a").barriers.is_empty());
    cluster.settle();
    assert_eq!(cluster.node("a").barriers, [7]);
}

#[test]
fn section_6_4_a_leader_that_was_replaced_answers_no_read() {
    for reads_confirm in [true, false] {
        let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
        cluster.obeying(Laws { reads_confirm, ..Laws::ALL });
        cluster.start_all();
        cluster.elect("a");
        cluster.isolate("a");
        cluster.elect("b");
        cluster.propose("b", "x");
        cluster.settle();
        cluster.ask("a", 7);
        cluster.settle();
        let is_stale = cluster.records("a").is_empty() && !cluster.node("a").barriers.is_empty();
        assert_eq!(is_stale, !reads_confirm);
        cluster.heal();
        cluster.advance(ms(600));
        assert_eq!((cluster.records("a"), &cluster.node("a").barriers[..]), (vec!["x".to_owned()], &[7][..]));
    }
}

#[test]
fn section_6_4_a_new_leader_answers_only_when_something_of_its_term_is_committed() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    for name in ["a", "b", "c"] {
        cluster.node_mut(name).syncs = false;
    }
    cluster.campaign("b");
    for name in ["b", "a"] {
        cluster.sync(name);
        while cluster.deliver_one() {}
    }
    assert_eq!(cluster.leaders(), ["b"]);
    cluster.ask("b", 7);
    cluster.settle();
    assert!(cluster.node("b").barriers.is_empty());
    for name in ["a", "b", "c"] {
        cluster.node_mut(name).syncs = true;
    }
    cluster.settle();
    assert_eq!(cluster.node("b").barriers, [7]);
}

#[test]
fn section_6_4_followers_read_too_once_they_have_what_was_committed() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.cut.insert((id("a"), id("c")));
    cluster.propose("a", "x");
    cluster.settle();
    cluster.ask("c", 7);
    cluster.settle();
    assert!(cluster.node("c").barriers.is_empty());
    cluster.heal();
    cluster.advance(ms(600));
    assert_eq!((cluster.records("c").len(), &cluster.node("c").barriers[..]), (1, &[7][..]));
}

#[test]
fn section_6_4_reads_of_one_turn_share_one_round() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.take_delivered();
    for token in 0..100 {
        cluster.ask("a", token);
    }
    cluster.settle();
    let delivered = cluster.take_delivered();
    let rounds =
        delivered.iter().filter(|(_, _, message)| matches!(message, Message::Heartbeat { .. })).count();
    assert_eq!((rounds, cluster.node("a").barriers.len()), (2, 100), "one to each of the others");
}

#[test]
fn section_6_4_what_a_lost_leader_was_asked_the_next_one_answers() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.isolate("a");
    cluster.ask("a", 1);
    cluster.cut.insert((id("c"), id("a")));
    cluster.ask("c", 2);
    cluster.settle();
    cluster.elect("b");
    assert_eq!(cluster.node("c").barriers, [2]);
    cluster.heal();
    cluster.advance(ms(600));
    assert_eq!(cluster.node("a").barriers, [1]);
}

#[test]
fn section_6_4_1_under_a_lease_nobody_is_asked() {
    let mut cluster = Cluster::with(&["a", "b", "c"], with_leases());
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.take_delivered();
    cluster.ask("a", 7);
    cluster.input(id("a"), LogInput::Timeout);
    assert_eq!(cluster.node("a").barriers, [7]);
    assert!(cluster.flights.is_empty());
}

#[test]
fn section_6_4_1_a_lease_is_shorter_than_the_shortest_time_out_by_what_clocks_may_differ() {
    let mut cluster = Cluster::with(&["a", "b", "c"], with_leases());
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.isolate("a");
    cluster.advance(ms(180));
    cluster.ask("a", 1);
    cluster.settle();
    assert_eq!(cluster.node("a").barriers, [1]);
    cluster.advance(ms(60));
    cluster.ask("a", 2);
    cluster.settle();
    assert_eq!(cluster.node("a").barriers, [1], "250 ms, less a twentieth, after the last round");
}

#[test]
fn section_6_4_1_after_a_transfer_there_is_no_lease() {
    use crate::agents::replicated::Change;
    let mut cluster = Cluster::with(&["a", "b", "c"], with_leases());
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.change("a", 1, Change::Transfer("b".to_owned()));
    cluster.ask("a", 2);
    cluster.input(id("a"), LogInput::Timeout);
    assert!(cluster.node("a").barriers.is_empty());
}

#[test]
fn section_6_4_1_a_server_that_begins_again_keeps_what_it_may_have_promised() {
    let mut cluster = Cluster::with(&["a", "b", "c"], with_leases());
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.isolate("a");
    cluster.crash("b");
    cluster.restart("b");
    for _ in 0..5 {
        cluster.act("c", |raft| {
            raft.heard = None;
            raft.election_at = Some(raft.now);
        });
        cluster.settle();
        assert!(!cluster.leaders().contains(&"c"));
    }
    cluster.advance(ms(1200));
    assert!(cluster.leaders().iter().any(|leader| *leader != "a"));
}

#[test]
fn a_follower_that_gave_up_its_leader_and_hears_of_it_again_goes_on_where_it_was() {
    for begins_again in [false, true] {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        cluster.elect("a");
        cluster.cut.insert((id("a"), id("c")));
        cluster.node_mut("b").syncs = false;
        cluster.heal();
        cluster.propose("a", "x");
        cluster.settle();
        // c has the record, and does not know that it is committed.
        cluster.cut.insert((id("a"), id("c")));
        cluster.node_mut("b").syncs = true;
        cluster.settle();
        if begins_again {
            cluster.restart("c");
        } else {
            cluster.act("c", |raft| raft.election_at = Some(raft.now));
            cluster.settle();
        }
        cluster.heal();
        cluster.ask("c", 7);
        cluster.advance(ms(600));
        assert_eq!((cluster.leaders(), cluster.records("c").len()), (vec!["a"], 1));
        assert_eq!(cluster.node("c").barriers, [7]);
    }
}
