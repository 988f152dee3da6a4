//! What a damaged disk does and does not do (Alagappan et al., FAST 2018).

use crate::agent::{Index, Term};
use crate::agents::raft::message::{Candidacy, Message};
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Laws, Options};
use crate::agents::replicated::{LogInput, Standing};

/// Everything is on the disks of a and b; that of b is damaged in the middle. c was away.
fn with_b_damaged(laws: Laws) -> Cluster {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], Options::default());
    cluster.obeying(laws);
    cluster.start_all();
    cluster.elect("a");
    cluster.crash("c");
    for number in 0..10 {
        cluster.propose("a", &number.to_string());
        cluster.settle();
    }
    assert_eq!(cluster.records("a").len(), 10);
    cluster.crash("b");
    cluster.crash("a");
    cluster.node_mut("b").durable.damaged.insert(Index(6));
    cluster
}

#[test]
fn what_was_acknowledged_is_not_lost_with_a_damaged_log() {
    for damage_is_repaired in [true, false] {
        let mut cluster = with_b_damaged(Laws { damage_is_repaired, ..Laws::ALL });
        // Of the two that could elect a leader now, one knows little and the other has forgotten what it knew.
        cluster.restart("b");
        cluster.restart("c");
        cluster.advance(ms(3000));
        assert_eq!(cluster.leaders().is_empty(), damage_is_repaired, "{:?}", cluster.leaders());
        cluster.restart("a");
        cluster.advance(ms(3000));
        if damage_is_repaired {
            for name in ["a", "b", "c"] {
                assert_eq!(cluster.records(name).len(), 10, "{name}");
            }
            assert_eq!(cluster.status("b").standing, Standing::Follower);
        }
    }
}

#[test]
fn a_damaged_member_neither_votes_nor_campaigns_and_says_what_it_does() {
    let mut cluster = with_b_damaged(Laws::ALL);
    cluster.restart("b");
    assert_eq!(cluster.status("b").standing, Standing::Repairing);
    cluster.advance(ms(2000));
    assert_eq!(cluster.node("b").raft.counters.elections, 0);
    let candidacy = Candidacy { term: Term(50), last: Index(99), last_term: Term(49), transfer: false };
    for message in [Message::PreVote(candidacy), Message::Vote(candidacy)] {
        cluster.input(id("b"), LogInput::Message { from: id("c"), message });
        cluster.sync("b");
    }
    for (_, _, message) in &cluster.flights {
        let granted = matches!(
            message,
            Message::VoteReply { granted: true, .. } | Message::PreVoteReply { granted: true, .. }
        );
        assert!(!granted, "{message:?}");
    }
}

#[test]
fn under_repair_its_acknowledgements_count_for_nothing() {
    let mut cluster = with_b_damaged(Laws::ALL);
    for name in ["a", "c"] {
        cluster.restart(name);
    }
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.crash("c");
    cluster.restart("b");
    cluster.advance(ms(150));
    let committed = cluster.status("a").committed;
    assert_eq!(cluster.status("b").last, cluster.status("a").last, "it gets everything");
    assert!(committed < cluster.status("a").last, "the entry that was made for it is not committed by it");
    assert_eq!(cluster.status("b").standing, Standing::Repairing);
    cluster.restart("c");
    cluster.advance(ms(1000));
    assert_eq!(cluster.status("b").standing, Standing::Follower);
}

#[test]
fn a_repair_that_was_not_finished_goes_on_after_a_crash() {
    let mut cluster = with_b_damaged(Laws::ALL);
    cluster.restart("b");
    cluster.settle();
    assert!(cluster.node("b").durable.damaged.is_empty(), "cut off: nothing shows on the disk any more");
    cluster.crash("b");
    cluster.restart("b");
    assert_eq!(cluster.status("b").standing, Standing::Repairing);
    cluster.restart("a");
    cluster.restart("c");
    cluster.advance(ms(2000));
    cluster.crash("b");
    cluster.restart("b");
    assert_eq!(cluster.status("b").standing, Standing::Follower, "done once, it is not begun again");
}

#[test]
fn after_its_repair_a_member_counts_again() {
    let mut cluster = with_b_damaged(Laws::ALL);
    for name in ["a", "b", "c"] {
        cluster.restart(name);
    }
    cluster.advance(ms(2000));
    cluster.crash("c");
    cluster.elect("a");
    cluster.propose("a", "x");
    cluster.advance(ms(200));
    assert_eq!(cluster.records("b").last().map(String::as_str), Some("x"));
}

#[test]
fn a_forgotten_vote_is_not_given_twice() {
    // c has voted for b in term 7, and b waits for more votes; then c forgets everything beside its log.
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"]);
    cluster.elect("a");
    cluster.propose("a", "x");
    cluster.settle();
    let last = cluster.status("c").last;
    let candidacy = Candidacy { term: Term(7), last, last_term: Term(1), transfer: true };
    cluster.cut.insert((id("c"), id("b")));
    cluster.input(id("c"), LogInput::Message { from: id("b"), message: Message::Vote(candidacy) });
    cluster.sync("c");
    assert_eq!(cluster.raft_of("c").voted(), Some(id("b")));
    cluster.flights.clear();
    cluster.crash("c");
    cluster.node_mut("c").durable.state_lost = true;
    cluster.isolate("b");
    cluster.restart("c");
    let before = cluster.status("a").last;
    assert_eq!(cluster.status("c").standing, Standing::Repairing);
    cluster.advance(ms(1000));
    assert_eq!(cluster.status("c").standing, Standing::Follower);
    // Before it votes again an entry was committed that no log has of those it may have voted for.
    assert!(cluster.status("c").stored > before);
    let mut others = ["a", "d", "e"].map(|name| cluster.status(name).committed);
    others.sort_unstable();
    assert!(others[0] > before);
    let message = Message::Vote(candidacy);
    for name in ["a", "d", "e"] {
        cluster.input(id(name), LogInput::Message { from: id("b"), message: message.clone() });
        cluster.sync(name);
    }
    let granted = |message: &Message| matches!(message, Message::VoteReply { granted: true, .. });
    assert!(!cluster.flights.iter().any(|(_, to, message)| *to == id("b") && granted(message)));
}

#[test]
fn who_belongs_to_the_log_is_learned_again_with_a_lost_state() {
    use crate::agents::replicated::Change;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add_node("d");
    cluster.restart("d");
    cluster.elect("a");
    cluster.change("a", 1, Change::SetVoters(["a", "b", "d"].map(str::to_owned).to_vec()));
    cluster.advance(ms(300));
    cluster.crash("b");
    cluster.node_mut("b").durable.state_lost = true;
    cluster.restart("b");
    cluster.advance(ms(500));
    let members = cluster.raft_of("b").members.latest().clone();
    assert_eq!(
        (&members, cluster.status("b").standing),
        (cluster.raft_of("a").members.latest(), Standing::Follower)
    );
}

#[test]
fn damage_to_what_rows_hold_anyway_needs_no_repair() {
    let options = Options { compact_bytes: 100_000, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    for name in ["a", "b", "c"] {
        cluster.node_mut(name).keeps = true;
    }
    cluster.elect("a");
    for number in 0..10 {
        cluster.propose("a", &number.to_string());
        cluster.advance(ms(1100));
    }
    cluster.crash("b");
    assert!(cluster.node("b").durable.applied.index > Index(8));
    cluster.node_mut("b").durable.damaged.insert(Index(5));
    cluster.restart("b");
    assert_eq!(cluster.status("b").standing, Standing::Follower);
    cluster.advance(ms(500));
    assert_eq!(cluster.records("b").len(), 10);
    assert!(!cluster.node("b").durable.entries.contains_key(&Index(5)));
}

#[test]
fn an_entry_that_cannot_be_read_any_more_stops_a_member_instead_of_being_passed_over() {
    let options = Options { cache_bytes_max: 300, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    cluster.elect("a");
    cluster.crash("c");
    for number in 0..100 {
        cluster.propose("a", &number.to_string());
        cluster.settle();
    }
    cluster.node_mut("a").seen.damaged.insert(Index(50));
    cluster.restart("c");
    cluster.advance(ms(2000));
    assert_eq!(cluster.status("a").standing, Standing::Failed);
    assert!(cluster.status("a").trouble.unwrap().contains("entry 50"));
    assert_eq!(cluster.records("c").len(), 100, "from the next leader");
}
