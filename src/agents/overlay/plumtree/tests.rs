//! One test for each rule of the paper, on a single node; and what comes out of all of them.

mod networks;

use std::time::Duration;

use super::super::{Blob, MessageId, Sends};
use super::{Plumtree, PlumtreeMessage, PlumtreeOptions, Run};
use crate::agent::Peer;
use crate::time::Time;

type Tree = Plumtree<Peer, Blob>;
type Said = PlumtreeMessage<Peer, Blob>;

/// A node and what it says, for its neighbours 1, 2, ...
struct Node {
    tree: Tree,
    now: Time,
}

impl Node {
    fn new(neighbours: u32) -> Self {
        Self::with(neighbours, options())
    }

    fn with(neighbours: u32, options: PlumtreeOptions) -> Self {
        let mut tree = Tree::new(Peer(0), 1, options);
        (1..=neighbours).for_each(|peer| tree.link_up(Peer(peer)));
        Self { tree, now: Time::ZERO }
    }

    /// Whom it tells what when a neighbour says something.
    fn hear(&mut self, from: u32, message: Said) -> Vec<(u32, Said)> {
        let mut out = Sends::default();
        self.tree.receive(self.now, Peer(from), message, &mut out);
        out.drain().map(|(to, message)| (to.0, message)).collect()
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<(u32, Said)> {
        self.now = self.now + Duration::from_millis(milliseconds);
        let mut out = Sends::default();
        self.tree.timeout(self.now, &mut out);
        out.drain().map(|(to, message)| (to.0, message)).collect()
    }

    fn eager(&self) -> Vec<u32> {
        self.tree.eager().map(|peer| peer.0).collect()
    }

    fn lazy(&self) -> Vec<u32> {
        self.tree.lazy().map(|peer| peer.0).collect()
    }
}

/// Announcements at once; the times are the tests' own.
fn options() -> PlumtreeOptions {
    PlumtreeOptions {
        announce_period: Duration::ZERO,
        first_timeout: Duration::from_millis(500),
        second_timeout: Duration::from_millis(250),
        backoff: Duration::from_secs(1),
        optimisation_threshold: Some(3),
        optimisation_patience: 1,
        ..PlumtreeOptions::default()
    }
}

fn id(seq: u64) -> MessageId<Peer> {
    MessageId { source: Peer(9), incarnation: 1, seq }
}

fn gossip(seq: u64, round: u16) -> Said {
    Said::Gossip { id: id(seq), round, payload: Blob("hi".into()) }
}

fn i_have(seq: u64, round: u16) -> Said {
    Said::IHave(Run::one(id(seq), round))
}

fn graft(seq: u64, round: u16) -> Said {
    Said::Graft(Some(Run::one(id(seq), round)))
}

// Section 3.5, Algorithm 1.

#[test]
fn a_broadcast_is_pushed_to_eager_neighbours_and_announced_to_lazy_ones() {
    let mut node = Node::new(3);
    node.hear(2, Said::Prune);
    let mut out = Sends::default();
    let id = node.tree.broadcast(node.now, Blob("hi".into()), &mut out).expect("short");
    let said: Vec<(Peer, Said)> = out.drain().collect();
    let pushed = Said::Gossip { id, round: 0, payload: Blob("hi".into()) };
    assert_eq!(said, [(Peer(1), pushed.clone()), (Peer(3), pushed), (Peer(2), Said::IHave(Run::one(id, 0)))]);
    assert_eq!(node.tree.counts().delivered, 0, "own messages are not delivered");
}

#[test]
fn what_is_new_is_passed_on_one_round_later_but_not_back() {
    let mut node = Node::new(4);
    node.hear(3, Said::Prune);
    node.hear(4, Said::Prune);
    assert_eq!(node.hear(1, gossip(1, 4)), [(2, gossip(1, 5)), (3, i_have(1, 5)), (4, i_have(1, 5))]);
    assert_eq!(node.tree.last_delivered(), Some((id(1), 5)));
    assert_eq!(node.hear(3, gossip(2, 0)).len(), 3, "a lazy sender gets no announcement of its own message");
}

#[test]
fn who_sends_something_new_becomes_eager() {
    let mut node = Node::new(2);
    node.hear(1, Said::Prune);
    node.wait(1000);
    assert_eq!(node.lazy(), [1]);
    node.hear(1, gossip(1, 0));
    assert_eq!(node.eager(), [1, 2]);
}

#[test]
fn who_sends_something_again_is_pruned() {
    let mut node = Node::new(2);
    node.hear(1, gossip(1, 0));
    assert_eq!(node.hear(2, gossip(1, 3)), [(2, Said::Prune)]);
    assert_eq!((node.eager(), node.lazy()), (vec![1], vec![2]));
    assert_eq!(node.tree.counts().duplicates, 1);
}

#[test]
fn who_prunes_becomes_lazy() {
    let mut node = Node::new(2);
    assert_eq!(node.hear(1, Said::Prune), []);
    assert_eq!((node.eager(), node.lazy()), (vec![2], vec![1]));
}

// Section 3.6, Algorithm 2.

#[test]
fn what_was_announced_is_grafted_after_the_first_timeout() {
    let mut node = Node::new(2);
    node.hear(1, Said::Prune);
    assert_eq!(node.wait(1000), []);
    assert_eq!(node.hear(1, i_have(1, 4)), []);
    assert_eq!(node.wait(499), []);
    assert_eq!(node.wait(1), [(1, graft(1, 4))]);
    assert_eq!(node.eager(), [1, 2]);
}

#[test]
fn the_next_announcer_is_grafted_after_the_second_timeout_which_is_shorter() {
    let mut node = Node::new(3);
    node.hear(1, i_have(1, 4));
    node.wait(100);
    node.hear(2, i_have(1, 2));
    assert_eq!(node.wait(400), [(1, graft(1, 4))]);
    assert_eq!(node.wait(249), []);
    assert_eq!(node.wait(1), [(2, graft(1, 2))]);
    assert_eq!(node.wait(250), [], "nobody is left");
    assert_eq!(node.tree.next_timeout(), None);
}

#[test]
fn a_message_that_comes_in_time_cancels_its_timer() {
    let mut node = Node::new(3);
    node.hear(1, i_have(1, 4));
    node.wait(300);
    node.hear(2, gossip(1, 4));
    assert_eq!(node.tree.next_timeout(), None);
    assert_eq!(node.wait(1000), []);
}

#[test]
fn what_was_seen_is_not_missing() {
    let mut node = Node::new(3);
    node.hear(2, gossip(1, 4));
    node.hear(1, i_have(1, 4));
    assert_eq!(node.tree.next_timeout(), None);
}

#[test]
fn a_graft_makes_the_link_eager_and_is_answered_with_the_message() {
    let mut node = Node::new(2);
    node.hear(1, Said::Prune);
    node.hear(2, gossip(1, 4));
    assert_eq!(node.hear(1, graft(1, 5)), [(1, gossip(1, 5))]);
    assert_eq!(node.eager(), [1, 2]);
    assert_eq!(node.hear(1, graft(7, 5)), [], "what is not there cannot be sent");
}

// Section 3.7, Algorithm 3.

#[test]
fn a_new_neighbour_is_eager() {
    let mut node = Node::new(2);
    node.tree.link_up(Peer(7));
    node.tree.link_up(Peer(7));
    assert_eq!(node.eager(), [1, 2, 7]);
}

#[test]
fn a_lost_neighbour_is_in_no_set_and_is_not_asked() {
    let mut node = Node::new(3);
    node.hear(2, Said::Prune);
    node.hear(1, i_have(1, 1));
    node.hear(3, i_have(1, 1));
    node.hear(1, i_have(2, 1));
    node.tree.link_down(Peer(1));
    node.tree.link_down(Peer(2));
    assert_eq!((node.eager(), node.lazy()), (vec![3], vec![]));
    assert_eq!(node.wait(500), [(3, graft(1, 1))]);
}

// Section 3.8, Algorithm 3.

#[test]
fn a_way_that_is_shorter_by_the_threshold_is_taken() {
    let mut node = Node::new(3);
    node.hear(2, Said::Prune);
    node.wait(1000);
    node.hear(2, i_have(1, 4));
    let said = node.hear(1, gossip(1, 7));
    assert_eq!(said[1..], [(2, i_have(1, 8)), (2, Said::Graft(None)), (1, Said::Prune)]);
    assert_eq!((node.eager(), node.lazy()), (vec![2, 3], vec![1]));
}

#[test]
fn a_way_that_is_shorter_by_less_is_not_taken() {
    let mut node = Node::new(3);
    node.hear(2, i_have(1, 5));
    assert_eq!(node.hear(1, gossip(1, 7)).len(), 2);
    assert_eq!(node.tree.counts().optimised, 0);
}

#[test]
fn of_several_ways_the_shortest_is_taken() {
    let mut node = Node::new(4);
    for (peer, round) in [(2, 3), (3, 1), (4, 2)] {
        node.hear(peer, i_have(1, round));
    }
    let said = node.hear(1, gossip(1, 9));
    assert_eq!(said[3..], [(3, Said::Graft(None)), (1, Said::Prune)]);
}

// What is not in the paper.

#[test]
fn an_announcement_that_comes_after_its_message_can_shorten_the_way_too() {
    let mut node = Node::new(3);
    node.hear(2, Said::Prune);
    node.wait(1000);
    node.hear(1, gossip(1, 7));
    assert_eq!(node.hear(2, i_have(1, 4)), [(2, Said::Graft(None)), (1, Said::Prune)]);
    assert_eq!(node.hear(3, i_have(1, 1)), [], "once for each message: the way that was taken is lazy now");
}

#[test]
fn a_prune_that_crosses_a_graft_loses_at_both_ends() {
    let (mut one, mut other) = (Node::new(1), Node::new(1));
    // One misses a message that the other has, and the other has just pruned.
    for node in [&mut one, &mut other] {
        node.wait(1000);
    }
    one.hear(1, i_have(1, 0));
    let grafts = one.wait(500);
    other.hear(1, gossip(1, 0));
    let prunes = other.hear(1, gossip(1, 0));
    assert_eq!((grafts.len(), prunes.len()), (1, 1));
    one.hear(1, Said::Prune);
    assert_eq!(other.hear(1, grafts[0].1.clone()), [(1, gossip(1, 1))]);
    assert_eq!((one.eager(), other.eager()), (vec![1], vec![1]));
}

#[test]
fn a_grafted_link_is_not_pruned_within_the_backoff() {
    let mut node = Node::new(2);
    node.hear(2, gossip(1, 0));
    node.hear(1, graft(1, 1));
    assert_eq!(node.hear(1, gossip(1, 0)), []);
    node.wait(1000);
    assert_eq!(node.hear(1, gossip(1, 0)), [(1, Said::Prune)]);
}

#[test]
fn a_pruned_link_is_fetched_from_but_not_grafted_within_the_backoff() {
    let mut node = Node::new(2);
    node.hear(1, Said::Prune);
    node.hear(1, i_have(1, 4));
    assert_eq!(node.wait(500), [(1, Said::Fetch(Run::one(id(1), 4)))]);
    node.hear(1, gossip(1, 4));
    assert_eq!(node.lazy(), [1], "the other end keeps it lazy too");
    let mut other = Node::new(1);
    other.hear(1, gossip(1, 0));
    other.hear(1, Said::Prune);
    assert_eq!(other.hear(1, Said::Fetch(Run::one(id(1), 4))), [(1, gossip(1, 1))]);
    assert_eq!(other.lazy(), [1]);
}

/// A node in whose tree one source's messages make the shape.
fn shaped(neighbours: u32) -> Node {
    Node::with(neighbours, PlumtreeOptions { shaper_hold: Duration::from_secs(5), ..options() })
}

fn gossip_of(source: u32, seq: u64) -> Said {
    Said::Gossip { id: MessageId { source: Peer(source), ..id(seq) }, round: 0, payload: Blob("hi".into()) }
}

#[test]
fn where_many_send_only_the_smallest_source_shapes_the_tree() {
    let mut node = shaped(3);
    node.hear(1, gossip_of(7, 1));
    node.hear(2, gossip_of(8, 1));
    assert_eq!(node.hear(1, gossip_of(8, 1)), [], "8 is not the smallest");
    assert_eq!(node.hear(2, gossip_of(7, 1)), [(2, Said::Prune)]);
    node.wait(5000);
    node.hear(1, gossip_of(8, 2));
    assert_eq!(node.hear(3, gossip_of(8, 2)), [(3, Said::Prune)], "7 was not heard for long");
}

#[test]
fn the_link_for_which_another_was_pruned_is_kept_for_a_while() {
    let mut node = Node::new(2);
    node.hear(1, gossip(1, 0));
    node.hear(2, gossip(2, 0));
    assert_eq!(node.hear(2, gossip(1, 0)), [(2, Said::Prune)]);
    assert_eq!(node.hear(1, gossip(2, 0)), [], "both would be lost");
    assert_eq!(node.eager(), [1]);
}

#[test]
fn for_many_missing_messages_one_link_is_grafted() {
    let mut node = Node::new(3);
    for peer in 1..=3 {
        node.hear(peer, Said::Prune);
    }
    node.wait(1000);
    for (seq, peers) in [(1, [1, 2]), (2, [2, 1]), (3, [3, 3])] {
        for peer in peers {
            node.hear(peer, i_have(seq, 0));
        }
    }
    let both = Run { first: id(1), count: 2, round: 0 };
    assert_eq!(node.wait(500), [(1, Said::Graft(Some(both))), (3, Said::Fetch(Run::one(id(3), 0)))]);
    assert_eq!(node.wait(250), [(2, Said::Graft(Some(both)))], "1 does not answer");
}

#[test]
fn nodes_of_a_lost_branch_do_not_all_ask_at_once() {
    let spread = PlumtreeOptions { first_timeout_spread: Duration::from_millis(160), ..options() };
    let due = |me: u32| {
        let mut tree = Tree::new(Peer(me), 1, spread.clone());
        tree.link_up(Peer(99));
        tree.receive(Time::ZERO, Peer(99), i_have(1, 0), &mut Sends::default());
        tree.next_timeout().expect("it waits").as_nanos() / 1_000_000
    };
    let times: std::collections::BTreeSet<u64> = (0..64).map(due).collect();
    assert!(times.len() > 8, "{times:?}");
    assert!(times.iter().all(|time| (500..660).contains(time)), "{times:?}");
}

#[test]
fn with_patience_a_link_is_exchanged_only_if_it_is_long_several_times_in_a_row() {
    let mut node = Node::with(2, PlumtreeOptions { optimisation_patience: 2, ..options() });
    node.hear(2, Said::Prune);
    node.wait(1000);
    let mut exchanged = Vec::new();
    for (seq, other_round) in [(1, 0), (2, 9), (3, 0), (4, 0)] {
        node.hear(1, gossip(seq, 9));
        exchanged.push(!node.hear(2, i_have(seq, other_round)).is_empty());
    }
    assert_eq!(exchanged, [false, false, false, true]);
}

#[test]
fn announcements_are_gathered_and_what_follows_one_another_is_one_run() {
    let period = Duration::from_millis(100);
    let mut node = Node::with(3, PlumtreeOptions { announce_period: period, ..options() });
    node.hear(2, Said::Prune);
    node.hear(3, Said::Prune);
    for (from, seq) in [(1, 1), (1, 2), (3, 3)] {
        assert_eq!(node.hear(from, gossip(seq, 0)).len(), usize::from(from != 1));
    }
    let two = Run { first: id(1), count: 2, round: 1 };
    let third = Run::one(id(3), 1);
    assert_eq!(node.wait(100), [(2, Said::IHaves([two, third].into())), (3, Said::IHave(two))]);
    assert_eq!(node.wait(100), []);
}

#[test]
fn who_becomes_eager_has_heard_of_everything_before() {
    let period = Duration::from_millis(100);
    let mut node = Node::with(2, PlumtreeOptions { announce_period: period, ..options() });
    node.hear(2, Said::Prune);
    node.hear(1, gossip(1, 0));
    node.hear(1, gossip(2, 0));
    let both = Said::IHave(Run { first: id(1), count: 2, round: 1 });
    assert_eq!(node.hear(2, graft(1, 1)), [(2, both), (2, gossip(1, 1))]);
}

#[test]
fn a_run_of_what_is_missing_is_asked_for_at_once() {
    let mut node = Node::new(1);
    node.hear(1, Said::IHave(Run { first: id(1), count: 5, round: 2 }));
    assert_eq!(node.wait(500), [(1, Said::Graft(Some(Run { first: id(1), count: 5, round: 2 })))]);
}

#[test]
fn what_is_too_long_is_refused_and_can_come_again_shorter() {
    let mut node = Node::with(1, PlumtreeOptions { payload_bytes_max: 1, ..options() });
    assert_eq!(node.hear(1, gossip(1, 0)), []);
    assert_eq!((node.tree.counts().refused, node.tree.counts().delivered), (1, 0));
    assert_eq!(node.tree.broadcast(Time::ZERO, Blob("ab".into()), &mut Sends::default()), None);
}

#[test]
fn announcements_beyond_the_limit_are_not_noted() {
    let mut node = Node::with(1, PlumtreeOptions { missing_max: 2, ..options() });
    node.hear(1, Said::IHave(Run { first: id(1), count: 5, round: 2 }));
    assert_eq!(node.tree.counts().refused, 3);
    assert_eq!(node.tree.take_overflow(), Some((Peer(1), id(5))));
    assert_eq!(node.wait(500), [(1, Said::Graft(Some(Run { first: id(1), count: 2, round: 2 })))]);
}

#[test]
fn what_is_too_old_to_tell_is_given_to_the_owner_and_goes_no_further() {
    let mut node = Node::new(2);
    node.hear(1, gossip(200, 0));
    let mut out = Sends::default();
    let arrival = node.tree.receive(node.now, Peer(1), gossip(50, 0), &mut out).expect("it may be new");
    assert!(!arrival.fresh && out.drain().next().is_none());
}

#[test]
fn what_was_got_in_another_way_can_be_asked_for_and_is_not_delivered_again() {
    let mut node = Node::new(2);
    node.hear(1, i_have(1, 0));
    node.tree.adopt(node.now, id(1), Blob("hi".into()), node.now);
    assert_eq!(node.wait(500), []);
    assert_eq!(node.hear(2, graft(1, 1)).len(), 1);
    assert_eq!(node.hear(1, gossip(1, 1)), [(1, Said::Prune)]);
    let first = MessageId { seq: 1, ..id(1) };
    let cached: Vec<u64> = node.tree.cached_from(node.now, first).map(|(seq, ..)| seq).collect();
    assert_eq!(cached, [1]);
}

#[test]
fn strangers_are_not_answered() {
    let mut node = Node::new(1);
    for message in [i_have(1, 1), Said::Prune, graft(1, 1), gossip(1, 0), gossip(1, 0)] {
        let said = node.hear(8, message);
        assert!(said.iter().all(|(to, _)| *to == 1), "{said:?}");
    }
    assert_eq!(node.wait(500), []);
}
