//! Order, repair, newcomers, lives: the rules, one by one, on a single node.

use std::time::Duration;

use super::lone::{
    Node, Said, answer, ask, ask_all, ask_of, contents, gossip, gossip_of, highest, id, mark, whole_answer,
};
use crate::agent::Peer;
use crate::agents::overlay::payload::SEQ_MAX;
use crate::agents::overlay::{
    Blob, BroadcastOptions, Happening, Kept, MessageId, News, PlumtreeMessage, Reason, Sends,
};

#[test]
fn messages_are_delivered_in_order_each_once() {
    let mut node = Node::new(2);
    for seq in [1, 3, 4, 2, 3, 5, 1] {
        node.hear(1, gossip(seq));
    }
    assert_eq!(node.delivered(), [1, 2, 3, 4, 5]);
    assert_eq!(node.wait(10_000), [], "the gap is gone and nobody is asked");
}

#[test]
fn a_gap_is_asked_for_first_of_whom_it_was_learned_from_then_of_the_others() {
    let mut node = Node::new(3);
    node.hear(1, gossip(1));
    node.hear(2, gossip(4));
    assert_eq!(node.wait(190), []);
    assert_eq!(node.wait(10), [(2, ask(2, 3))]);
    assert_eq!(node.hear(2, answer(2, [])), [(1, ask(2, 3))], "who has nothing is done with at once");
    assert_eq!(node.wait(990), []);
    assert_eq!(node.wait(10), [(3, ask(2, 3))], "and so is who does not answer in time");
    node.hear(3, answer(2, [2, 3]));
    assert_eq!(node.delivered(), [1, 2, 3, 4]);
    assert_eq!((node.counter("gaps_repaired"), node.counter("gaps_skipped")), (2, 0));
}

#[test]
fn what_nobody_has_is_skipped_after_the_timeout_and_counted() {
    let mut node = Node::new(1);
    node.hear(1, gossip(1));
    node.hear(1, gossip(4));
    node.wait(200);
    node.hear(1, answer(2, [3]));
    node.wait(4_700);
    assert_eq!(node.delivered(), [1]);
    node.wait(100);
    assert_eq!(node.delivered(), [3, 4]);
    assert_eq!(node.counter("gaps_skipped"), 1);
    node.hear(1, gossip(2));
    assert_eq!(node.delivered(), [] as [u64; 0], "never backwards");
}

#[test]
fn who_is_cut_off_waits_until_somebody_can_be_asked() {
    let mut node = Node::new(1);
    node.hear(1, gossip(1));
    node.hear(1, gossip(3));
    node.tell(Happening::LinkDown(Peer(1), Reason::Silent));
    node.wait(20_000);
    assert_eq!(node.delivered(), [1]);
    node.tell(Happening::LinkUp(Peer(2)));
    node.hear(2, highest(3));
    assert_eq!(node.wait(200), [(2, ask(2, 2))]);
    node.hear(2, answer(2, [2]));
    assert_eq!(node.delivered(), [2, 3]);
}

#[test]
fn what_was_got_by_asking_can_be_asked_for_and_neighbours_are_told() {
    let mut node = Node::new(2);
    node.hear(1, gossip(1));
    node.hear(1, highest(3));
    assert_eq!(node.wait(200), [(1, ask(2, 3))]);
    node.hear(1, answer(2, [2, 3]));
    assert_eq!(node.wait(100), [(1, highest(3)), (2, highest(3))]);
    assert_eq!(node.hear(2, ask_all(1, 9)), [(2, answer(1, [1, 2, 3]))]);
    assert_eq!(node.hear(2, ask_all(7, 9)), [(2, answer(7, []))]);
}

#[test]
fn a_long_history_is_fetched_piece_by_piece() {
    let mut node = Node::new(1);
    node.hear(1, gossip(1));
    node.hear(1, highest(1000));
    assert_eq!(node.wait(200), [(1, ask(2, 1000))]);
    assert_eq!(node.hear(1, answer(2, 2..=257)), [(1, ask(258, 1000))]);
    assert_eq!(node.delivered().len(), 257);
}

#[test]
fn links_begin_with_how_far_each_side_is() {
    let mut node = Node::new(1);
    assert_eq!(node.tell(Happening::LinkUp(Peer(2))), []);
    node.hear(1, gossip(1));
    node.hear(1, gossip(3));
    let mut out = Sends::default();
    node.broadcast.broadcast(node.now, "mine".into(), &mut out).expect("short");
    let own = MessageId { source: Peer(0), incarnation: 1, seq: 1 };
    assert_eq!(
        node.tell(Happening::LinkUp(Peer(3))),
        [(3, Said::Highest([mark(own, 0), mark(id(3), 0)].into()))]
    );
}

#[test]
fn who_was_there_gets_what_was_said_while_he_was_cut_off() {
    let mut node = Node::new(1);
    // He knew the one source, and the other is new to him.
    node.hear(1, gossip(1));
    let other = |seq| MessageId { source: Peer(8), incarnation: 1, seq };
    node.hear(1, Said::Highest([mark(id(2), 0), mark(other(1), 0)].into()));
    let asks = node.wait(200);
    assert_eq!(asks, [(1, ask_of(other(1), 1)), (1, ask(2, 2))]);
}

#[test]
fn of_a_source_that_is_new_to_one_who_was_there_everything_is_got_that_anybody_still_has() {
    let mut node = Node::new(2);
    node.hear(1, highest(1000));
    assert_eq!(node.wait(200), [(1, ask(1, 1000))]);
    assert_eq!(node.hear(1, answer(1, 900..=1000)), [(2, ask(1, 899))]);
    assert_eq!(node.hear(2, answer(1, [])), []);
    node.wait(4_800);
    assert_eq!(node.delivered(), (900..=1000).collect::<Vec<u64>>());
}

#[test]
fn a_newcomer_begins_behind_what_is_older_than_itself() {
    let mut node = Node::newcomer(2, BroadcastOptions::default());
    node.now = node.now + Duration::from_millis(100);
    node.hear(1, Said::Highest([mark(id(7), 101)].into()));
    assert_eq!(node.wait(1000), []);
    node.hear(1, gossip(7));
    node.hear(2, gossip(8));
    assert_eq!(node.delivered(), [8]);
    assert_eq!(node.counter("gaps_skipped"), 0);
}

#[test]
fn a_newcomer_gets_what_is_younger_than_itself_from_the_first_on() {
    let mut node = Node::newcomer(2, BroadcastOptions::default());
    node.now = node.now + Duration::from_millis(100);
    node.hear(1, Said::Highest([mark(id(7), 99)].into()));
    node.hear(2, gossip(9));
    node.now = node.now + Duration::from_millis(200);
    let asked = node.tell_with_ages(Happening::Timeout);
    assert_eq!(asked, [(1, Said::Ask { first: id(1), last: 8, age_max: Duration::from_millis(300) })]);
    assert_eq!(node.hear(1, answer(1, [7])), [(2, ask(1, 6))], "he was not there all the time");
    node.hear(2, whole_answer(1, [6]));
    assert_eq!(node.delivered(), [6, 7], "what is before is older than this node");
    assert_eq!(node.wait(200), [(1, highest(9)), (2, highest(9)), (2, ask(8, 8))]);
    assert_eq!(node.hear(2, whole_answer(8, [])), [(1, ask(8, 8))]);
    assert_eq!(node.delivered(), [] as [u64; 0], "but what is missing in between is not");
}

#[test]
fn only_what_is_young_enough_is_answered_and_whether_that_is_all() {
    let mut node = Node::newcomer(2, BroadcastOptions::default());
    node.hear(1, gossip(1));
    node.wait(1000);
    node.hear(1, gossip(2));
    node.wait(1000);
    let mut answer_to = |age_max_ms, last| {
        let age_max = Duration::from_millis(age_max_ms);
        node.hear(2, Said::Ask { first: id(1), last, age_max })
    };
    assert_eq!(answer_to(1500, 2), [(2, whole_answer(1, [2]))]);
    assert_eq!(answer_to(2000, 2), [(2, whole_answer(1, [1, 2]))]);
    assert_eq!(answer_to(2001, 2), [(2, answer(1, [1, 2]))], "it was not there before");
    assert_eq!(answer_to(1500, 3), [(2, answer(1, [2]))], "it has not got that far");
    let mut out = Sends::default();
    node.broadcast.broadcast(node.now, "mine".into(), &mut out).expect("short");
    let own = MessageId { source: Peer(0), incarnation: 1, seq: 1 };
    let said = node.hear(2, Said::Ask { first: own, last: 1, age_max: Duration::from_secs(99) });
    assert!(matches!(&said[..], [(2, Said::Answer { whole: true, .. })]), "{said:?}");
}

#[test]
fn what_is_repaired_keeps_its_age() {
    let mut node = Node::new(2);
    node.hear(1, highest(1));
    node.wait(200);
    let kept = Kept { seq: 1, age: Duration::from_secs(7), contents: contents(1) };
    node.hear(1, Said::Answer { first: id(1), whole: false, messages: [kept].into() });
    node.now = node.now + Duration::from_secs(1);
    let said = node.tell_with_ages(Happening::LinkUp(Peer(7)));
    assert_eq!(said, [(7, Said::Highest([mark(id(1), 8000)].into()))]);
    assert_eq!(
        node.hear(2, Said::Ask { first: id(1), last: 1, age_max: Duration::from_secs(7) }),
        [(2, whole_answer(1, []))]
    );
}

#[test]
fn a_later_life_ends_an_earlier_one() {
    let mut node = Node::new(1);
    let reborn = |seq| MessageId { incarnation: 6, ..id(seq) };
    node.hear(1, gossip(1));
    node.hear(1, gossip(3));
    node.hear(1, gossip_of(reborn(1)));
    node.hear(1, gossip(2));
    node.hear(1, gossip(4));
    node.hear(1, highest(9));
    let lives: Vec<(u64, u64)> = node
        .news()
        .into_iter()
        .filter_map(|news| match news {
            News::Delivered(delivered) => Some((delivered.incarnation, delivered.seq)),
            _ => None,
        })
        .collect();
    assert_eq!(lives, [(5, 1), (5, 3), (6, 1)]);
    assert_eq!(node.wait(6000), []);
}

#[test]
fn nothing_comes_back_to_its_source() {
    let mut node = Node::new(1);
    let own = |incarnation, seq| MessageId { source: Peer(0), incarnation, seq };
    for (incarnation, seq) in [(0, 7), (1, 1), (2, 1)] {
        node.hear(1, gossip_of(own(incarnation, seq)));
        node.hear(1, Said::Highest([mark(own(incarnation, 9), 0)].into()));
    }
    assert_eq!(node.delivered(), [] as [u64; 0]);
    assert_eq!(node.wait(6000), []);
}

#[test]
fn hearsay_alone_moves_no_stream() {
    let mut node = Node::new(1);
    node.hear(1, gossip(1));
    node.hear(1, highest(SEQ_MAX));
    node.wait(6000);
    assert_eq!(node.wait(10_000), [], "nobody is asked for ever");
    assert_eq!(node.tell(Happening::LinkUp(Peer(2))), [(2, highest(1))]);
    node.hear(1, gossip(2));
    assert_eq!(node.delivered(), [1, 2]);
    node.hear(1, gossip(5));
    assert_eq!(node.delivered(), [5], "what was waited for once is not waited for again");
    assert_eq!(node.counter("gaps_skipped"), 2);
}

#[test]
fn a_node_whose_clock_was_set_back_begins_a_later_life() {
    let mut node = Node::new(1);
    let mut out = Sends::default();
    node.broadcast.broadcast(node.now, "unheard".into(), &mut out).expect("short");
    let earlier = MessageId { source: Peer(0), incarnation: 8, seq: 70 };
    node.hear(1, Said::Highest([mark(earlier, 100)].into()));
    out.drain().for_each(drop);
    node.broadcast.broadcast(node.now, "heard".into(), &mut out).expect("short");
    let said: Vec<_> = out.drain().map(|(_, message)| message).collect();
    let id = MessageId { incarnation: 9, seq: 1, ..earlier };
    assert_eq!(said, [Said::Tree(PlumtreeMessage::Gossip { id, round: 0, payload: Blob("heard".into()) })]);
}

#[test]
fn direct_messages_reach_a_neighbour_and_nobody_else() {
    let mut node = Node::new(1);
    let mut out = Sends::default();
    assert_eq!(node.broadcast.direct(Peer(1), "hi".into(), &mut out), Ok(()));
    let refused = node.broadcast.direct(Peer(7), "hi".into(), &mut out).expect_err("a stranger");
    assert_eq!(refused.to_string(), "7 is no neighbour");
    assert_eq!(out.drain().collect::<Vec<_>>(), [(Peer(1), Said::Direct("hi".into()))]);
    node.hear(1, Said::Direct("ho".into()));
    assert_eq!(node.news(), [News::Direct(Peer(1), "ho".into())]);
}
