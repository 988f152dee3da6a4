//! Raft, section 6; thesis, chapter 4.

use crate::agent::Index;
use crate::agents::raft::message::Message;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Laws, Options};
use crate::agents::replicated::{Change, ChangeError, Standing};

fn voters(names: &[&str]) -> Change {
    Change::SetVoters(names.iter().map(|name| (*name).to_owned()).collect())
}

fn with_spares(names: &[&str], spares: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(names);
    for spare in spares {
        cluster.add_node(spare);
        cluster.restart(spare);
    }
    cluster.elect(names[0]);
    cluster.propose(names[0], "first");
    cluster.settle();
    cluster
}

fn named(members: &[(crate::agents::replicated::MemberId, String)]) -> Vec<&str> {
    let mut names: Vec<&str> = members.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_server_that_the_log_does_not_know_begins_no_election() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d"]);
    cluster.isolate("d");
    cluster.advance(ms(3000));
    assert_eq!((cluster.status("d").standing, cluster.status("d").term.0), (Standing::Learner, 0));
}

#[test]
fn section_4_2_1_a_learner_gets_everything_and_counts_for_nothing() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d"]);
    cluster.change("a", 1, Change::AddLearner("d".to_owned()));
    cluster.advance(ms(100));
    assert_eq!((&cluster.node("a").changed[..], cluster.records("d").len()), (&[(1, Ok(()))][..], 1));
    assert_eq!(named(&cluster.status("b").learners), ["d"]);
    cluster.isolate("b");
    cluster.isolate("c");
    cluster.propose("a", "x");
    cluster.advance(ms(100));
    assert_eq!(cluster.records("a").len(), 1, "the learner's disk is not a voter's");
}

#[test]
fn section_6_several_voters_change_in_one_step() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d", "e"]);
    cluster.change("b", 5, voters(&["a", "d", "e"]));
    cluster.advance(ms(500));
    assert_eq!(cluster.node("b").changed, [(5, Ok(()))]);
    let status = cluster.status("d");
    assert_eq!((named(&status.voters), status.changing), (vec!["a", "d", "e"], false));
    cluster.crash("b");
    cluster.crash("c");
    cluster.propose("d", "x");
    cluster.advance(ms(500));
    assert_eq!(cluster.records("e"), ["first", "x"]);
}

#[test]
fn section_6_while_voters_change_both_majorities_are_needed() {
    for joint_consensus in [true, false] {
        let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
        cluster.obeying(Laws { joint_consensus, ..Laws::ALL });
        for spare in ["d", "e"] {
            cluster.add_node(spare);
        }
        cluster.start_all();
        cluster.elect("a");
        for spare in ["d", "e"] {
            cluster.change("a", 1, Change::AddLearner(spare.to_owned()));
            cluster.settle();
        }
        // The new side has its majority of a, d and e; of the old side only a can be reached.
        cluster.isolate("b");
        cluster.isolate("c");
        cluster.part("b", "c");
        cluster.cut.remove(&(id("b"), id("c")));
        cluster.cut.remove(&(id("c"), id("b")));
        cluster.change("a", 2, voters(&["a", "d", "e"]));
        cluster.advance(ms(300));
        let is_done = cluster.node("a").changed.contains(&(2, Ok(())));
        assert_eq!(is_done, !joint_consensus);
        // Meanwhile the old side elects a leader of its own, which is the harm of doing it at once.
        cluster.advance(ms(2000));
        let leaders = cluster.leaders().len();
        assert_eq!(leaders, if joint_consensus { 1 } else { 2 });
    }
}

#[test]
fn section_6_a_member_acts_by_the_newest_membership_in_its_log_committed_or_not() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d"]);
    cluster.isolate("b");
    cluster.isolate("c");
    cluster.change("a", 1, Change::AddLearner("d".to_owned()));
    cluster.settle();
    let status = cluster.status("a");
    assert!(status.changing && named(&status.learners) == ["d"]);
    assert_eq!(
        named(&cluster.status("d").learners),
        ["d"],
        "it gets the log, though that cannot be committed"
    );
    cluster.isolate("a");
    cluster.cut.retain(|(from, to)| *from == id("a") || *to == id("a"));
    cluster.elect("b");
    cluster.heal();
    cluster.advance(ms(300));
    assert!(named(&cluster.status("a").learners).is_empty(), "with its entry it went again");
}

#[test]
fn section_6_one_change_at_a_time() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d", "e"]);
    cluster.isolate("b");
    cluster.isolate("c");
    cluster.change("a", 1, Change::AddLearner("d".to_owned()));
    cluster.change("a", 2, Change::AddLearner("e".to_owned()));
    cluster.settle();
    assert_eq!(cluster.node("a").changed, [(2, Err(ChangeError::Busy))]);
}

#[test]
fn section_4_2_1_a_new_voter_that_does_not_catch_up_is_not_taken() {
    let mut cluster = with_spares(&["a", "b", "c"], &[]);
    cluster.change("a", 1, voters(&["a", "b", "c", "ghost"]));
    cluster.advance(ms(4000));
    assert!(cluster.node("a").changed.is_empty());
    assert_eq!(named(&cluster.status("a").voters), ["a", "b", "c"], "the old ones decide meanwhile");
    cluster.advance(ms(2000));
    assert!(matches!(cluster.node("a").changed[..], [(1, Err(ChangeError::TimedOut(_)))]));
    assert!(named(&cluster.status("a").learners).is_empty());
    cluster.change("a", 2, Change::Remove("c".to_owned()));
    cluster.advance(ms(200));
    assert_eq!(cluster.node("a").changed[1], (2, Ok(())));
}

#[test]
fn section_4_2_2_a_leader_that_is_taken_out_leads_until_that_is_committed() {
    let mut cluster = with_spares(&["a", "b", "c"], &[]);
    cluster.change("a", 1, Change::Remove("a".to_owned()));
    cluster.advance(ms(50));
    assert_eq!(cluster.node("a").changed, [(1, Ok(()))]);
    assert!(!cluster.leaders().contains(&"a"));
    assert_eq!(cluster.leaders().len(), 1, "another one was asked to take over");
    cluster.propose("b", "x");
    cluster.settle();
    assert_eq!(cluster.records("c"), ["first", "x"]);
    cluster.advance(ms(3000));
    assert_eq!(cluster.leaders().len(), 1);
    assert_eq!(cluster.status("a").standing, Standing::Learner);
}

#[test]
fn section_4_2_3_a_member_that_was_taken_out_disturbs_nobody() {
    let mut cluster = with_spares(&["a", "b", "c", "d"], &[]);
    cluster.isolate("d");
    cluster.change("a", 1, Change::Remove("d".to_owned()));
    cluster.advance(ms(1000));
    assert_eq!(cluster.node("a").changed, [(1, Ok(()))]);
    let term = cluster.status("a").term;
    cluster.heal();
    cluster.advance(ms(3000));
    assert_eq!((cluster.leaders(), cluster.status("a").term), (vec!["a"], term));
    cluster.act("d", |raft| raft.heard = None);
    for _ in 0..10 {
        cluster.act("d", |raft| raft.election_at = Some(raft.now));
        cluster.advance(ms(20));
    }
    assert_eq!((cluster.leaders(), cluster.status("a").term), (vec!["a"], term));
}

#[test]
fn whoever_is_taken_out_is_told_so() {
    let mut cluster = with_spares(&["a", "b", "c"], &[]);
    cluster.change("a", 1, Change::Remove("c".to_owned()));
    cluster.advance(ms(300));
    assert_eq!(
        (cluster.status("c").standing, named(&cluster.status("c").voters)),
        (Standing::Learner, vec!["a", "b"])
    );
    cluster.take_delivered();
    cluster.advance(ms(300));
    assert!(cluster.take_delivered().iter().all(|(_, to, _)| *to != id("c")), "then it is left alone");
}

#[test]
fn what_makes_no_sense_is_refused_and_says_why() {
    let mut cluster = with_spares(&["a", "b", "c"], &[]);
    let wanted = [
        Change::AddLearner("b".to_owned()),
        Change::AddLearner(String::new()),
        Change::Remove("x".to_owned()),
        voters(&[]),
        Change::Transfer("x".to_owned()),
    ];
    for (token, change) in (0..).zip(wanted) {
        cluster.change("b", token, change);
        cluster.settle();
        assert!(
            matches!(&cluster.node("b").changed[..], [.., (known, Err(ChangeError::Refused(_)))] if *known == token)
        );
    }
    cluster.change("b", 9, voters(&["c", "b", "a"]));
    cluster.settle();
    assert_eq!(cluster.node("b").changed.last(), Some(&(9, Ok(()))), "nothing to do");
}

#[test]
fn without_a_leader_nothing_is_changed() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.change("a", 1, Change::Remove("b".to_owned()));
    assert_eq!(cluster.node("a").changed, [(1, Err(ChangeError::NoLeader))]);
}

#[test]
fn a_leader_that_is_replaced_in_the_middle_of_a_change_leaves_one_that_is_brought_to_its_end() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d", "e"]);
    for (token, spare) in [(1, "d"), (2, "e")] {
        cluster.change("a", token, Change::AddLearner(spare.to_owned()));
        cluster.advance(ms(100));
    }
    cluster.change("a", 3, voters(&["c", "d", "e"]));
    // The entry in which both sides have a vote reaches all; the leader hears of nothing that follows.
    let is_joint = |cluster: &Cluster, name: &str| cluster.raft_of(name).members.latest().is_joint();
    for _ in 0..100 {
        if ["b", "c", "d", "e"].iter().all(|name| is_joint(&cluster, name)) {
            break;
        }
        for name in ["a", "b", "c", "d", "e"] {
            cluster.input(id(name), crate::agents::replicated::LogInput::Timeout);
            cluster.sync(name);
        }
        cluster.deliver_one();
    }
    assert!(is_joint(&cluster, "d"));
    cluster.isolate("a");
    cluster.settle();
    cluster.elect("c");
    cluster.advance(ms(700));
    let status = cluster.status("c");
    assert_eq!((named(&status.voters), status.changing), (vec!["c", "d", "e"], false));
    cluster.heal();
    cluster.advance(ms(1000));
    assert_eq!(cluster.node("a").changed.last(), Some(&(3, Err(ChangeError::NoLeader))));
}

#[test]
fn who_belongs_to_the_log_outlives_a_crash() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d"]);
    cluster.change("a", 1, voters(&["a", "b", "d"]));
    cluster.advance(ms(300));
    for name in ["a", "b", "c", "d"] {
        cluster.crash(name);
    }
    for name in ["a", "b", "d"] {
        cluster.restart(name);
        assert_eq!(named(&cluster.status(name).voters), ["a", "b", "d"]);
    }
    cluster.advance(ms(1500));
    assert_eq!(cluster.leaders().len(), 1);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_and_the_change_made_once() {
    let mut cluster = with_spares(&["a", "b", "c"], &["d"]);
    cluster.change("b", 1, Change::AddLearner("d".to_owned()));
    for _ in 0..200 {
        cluster.flights.retain(|(_, _, message)| !matches!(message, Message::ChangeReply { .. }));
        if cluster.flights.is_empty() && cluster.status("b").committed > Index(3) {
            break;
        }
        let timeouts = ["a", "b", "c", "d"];
        for name in timeouts {
            cluster.input(id(name), crate::agents::replicated::LogInput::Timeout);
            cluster.sync(name);
        }
        cluster.deliver_one();
    }
    let last = cluster.status("a").last;
    assert!(cluster.node("b").changed.is_empty());
    cluster.advance(ms(800));
    assert_eq!((&cluster.node("b").changed[..], cluster.status("a").last), (&[(1, Ok(()))][..], last));
}
