//! What others say takes no more room than it may, and brings nothing out of order, whatever it is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::NEWS_MAX;
use super::lone::{Node, Said, answer, ask, ask_all, contents, gossip, gossip_of, id, mark};
use crate::agent::Peer;
use crate::agents::overlay::payload::SEQ_MAX;
use crate::agents::overlay::{
    Blob, BroadcastOptions, Delivered, Happening, Kept, MessageId, News, PlumtreeMessage, PlumtreeOptions,
    Reason, Run, Sends,
};

#[test]
fn an_answer_is_bounded_and_has_at_least_one_message() {
    let mut node = Node::new(2);
    for seq in 1..=3 {
        let payload = Blob(Bytes::from(vec![0; 300 << 10]));
        node.hear(1, Said::Tree(PlumtreeMessage::Gossip { id: id(seq), round: 0, payload }));
    }
    let said = node.hear(2, ask_all(1, 3));
    let [(2, Said::Answer { messages, .. })] = &said[..] else { panic!("{said:?}") };
    assert_eq!(messages.len(), 1);
}

#[test]
fn numbers_at_their_end_are_survived() {
    let mut node = Node::new(1);
    for incarnation in 1..5 {
        node.hear(1, gossip_of(MessageId { source: Peer(9), incarnation, seq: SEQ_MAX }));
    }
    node.wait(6000);
    assert_eq!(node.delivered(), [SEQ_MAX; 4]);
}

#[test]
fn short_messages_that_wait_are_bounded_too() {
    let options = BroadcastOptions { early_bytes_max: 1000, ..BroadcastOptions::default() };
    let mut node = Node::newcomer(1, options);
    for seq in 2..100 {
        let payload = Blob(Bytes::new());
        node.hear(1, Said::Tree(PlumtreeMessage::Gossip { id: id(seq), round: 0, payload }));
    }
    assert_eq!(node.counter("broadcasts_refused"), 98 - 7);
}

#[test]
fn what_is_too_long_is_refused() {
    let mut node = Node::new(1);
    let mut out = Sends::default();
    let long = Bytes::from(vec![0; (1 << 20) + 1]);
    let refused = node.broadcast.broadcast(node.now, long.clone(), &mut out).expect_err("too long");
    assert_eq!(refused.to_string(), "a message has at most 1048576 bytes, this one 1048577");
    assert!(node.broadcast.direct(Peer(1), long, &mut out).is_err());
    assert_eq!(out.drain().count(), 0);
}

#[test]
fn what_waits_is_bounded_and_can_be_asked_for_later() {
    let options =
        BroadcastOptions { early_count_max: 2, early_bytes_max: 300, ..BroadcastOptions::default() };
    let mut node = Node::newcomer(1, options);
    for seq in [1, 3, 4, 5, 12] {
        node.hear(1, gossip(seq));
    }
    assert_eq!(node.counter("broadcasts_refused"), 2);
    assert_eq!(node.wait(200), [(1, ask(2, 2))]);
    assert_eq!(node.hear(1, answer(2, [2])), [(1, ask(5, 12))]);
    assert_eq!(node.delivered(), [1, 2, 3, 4]);
}

#[test]
fn sources_are_bounded_and_those_that_were_silent_for_long_make_room() {
    let options = BroadcastOptions { sources_max: 2, ..BroadcastOptions::default() };
    let mut node = Node::newcomer(1, options);
    for source in 7..=9 {
        node.hear(1, gossip_of(MessageId { source: Peer(source), ..id(1) }));
    }
    assert_eq!(node.delivered().len(), 2);
    node.wait(121_000);
    node.hear(1, gossip(2));
    assert_eq!(node.wait(210), [(1, ask(1, 1))], "there is room for it now");
}

#[test]
fn an_owner_that_takes_no_news_loses_the_oldest() {
    let mut node = Node::new(1);
    for _ in 0..NEWS_MAX + 3 {
        node.hear(1, Said::Direct(Bytes::new()));
    }
    assert_eq!(node.news().len(), NEWS_MAX);
    assert_eq!(node.counter("news_dropped"), 3);
}

#[test]
fn announcements_for_which_there_is_no_room_show_a_gap() {
    let tree = PlumtreeOptions { missing_max: 0, ..PlumtreeOptions::default() };
    let mut node = Node::newcomer(1, BroadcastOptions { tree, ..BroadcastOptions::default() });
    let run = Run { first: id(1), count: 3, round: 0 };
    node.hear(1, Said::Tree(PlumtreeMessage::IHave(run)));
    assert_eq!(node.wait(200), [(1, ask(1, 3))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever neighbours say: what is delivered of one life of a source ascends, and nothing panics.
    #[test]
    fn nothing_a_neighbour_says_brings_it_out_of_order(
        steps in prop::collection::vec((0..7_u8, 1..4_u32, 1..3_u32, 0..3_u64, 1..40_u64, 0..40_u64), 1..200)
    ) {
        let mut node = Node::newcomer(3, BroadcastOptions::default());
        let mut latest: BTreeMap<Peer, (u64, u64)> = BTreeMap::new();
        for (kind, from, source, incarnation, seq, other) in steps {
            let id = MessageId { source: Peer(source), incarnation, seq };
            match kind {
                0 | 1 => { node.hear(from, gossip_of(id)); }
                2 => { node.hear(from, Said::Highest([mark(id, other * 20)].into())); }
                3 => { node.hear(from, Said::Ask { first: id, last: other, age_max: Duration::from_secs(other) }); }
                4 => {
                    let kept = |seq| Kept { seq, age: Duration::from_millis(other), contents: contents(seq) };
                    let messages = (seq..seq + other).map(kept).collect();
                    node.hear(from, Said::Answer { first: id, whole: seq % 2 == 0, messages });
                }
                5 => { node.wait(other * 50); }
                _ => {
                    node.tell(Happening::LinkDown(Peer(from), Reason::Silent));
                    node.tell(Happening::LinkUp(Peer(from)));
                }
            }
            for news in node.news() {
                if let News::Delivered(Delivered { source, incarnation, seq, .. }) = news {
                    let before = latest.insert(source, (incarnation, seq));
                    prop_assert!(before < Some((incarnation, seq)));
                }
            }
        }
    }
}
