//! Order, repair, newcomers; and all of it on a network that loses links.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::Network;
use super::super::{Blob, PlumtreeMessage, PlumtreeOptions};
use super::*;
use crate::agent::{Peer, Why};
use crate::rng::Rng;

type Said = BroadcastMessage<Peer>;

/// A node with neighbours 1, 2, ..., which has had them for long enough to be no newcomer.
struct Node {
    broadcast: Broadcast<Peer>,
    now: Time,
}

impl Node {
    fn new(neighbours: u32) -> Self {
        let mut node = Self::newcomer(neighbours, BroadcastOptions::default());
        node.wait(10_000);
        node
    }

    fn newcomer(neighbours: u32, options: BroadcastOptions) -> Self {
        let mut node = Self { broadcast: Broadcast::new(Peer(0), 1, options), now: Time::ZERO };
        for peer in 1..=neighbours {
            node.tell(Happening::LinkUp(Peer(peer)));
        }
        node.news();
        node
    }

    fn tell(&mut self, happening: Happening<Peer, Said>) -> Vec<(u32, Said)> {
        let mut out = Sends::default();
        self.broadcast.handle(self.now, happening, &mut out);
        out.drain().map(|(to, message)| (to.0, message)).collect()
    }

    fn hear(&mut self, from: u32, message: Said) -> Vec<(u32, Said)> {
        self.tell(Happening::Message { from: Peer(from), message })
    }

    /// Lets time go on; what is asked of neighbours meanwhile.
    fn wait(&mut self, milliseconds: u64) -> Vec<(u32, Said)> {
        let mut said = Vec::new();
        for _ in 0..milliseconds / 10 {
            self.now = self.now + Duration::from_millis(10);
            said.extend(self.tell(Happening::Timeout));
        }
        said.retain(|(_, message)| !matches!(message, Said::Tree(_)));
        said
    }

    fn news(&mut self) -> Vec<News<Peer>> {
        std::iter::from_fn(|| self.broadcast.next_news()).collect()
    }

    /// The numbers of what was delivered.
    fn delivered(&mut self) -> Vec<u64> {
        let numbers = |news| match news {
            News::Delivered(delivered) => Some(delivered.seq),
            _ => None,
        };
        self.news().into_iter().filter_map(numbers).collect()
    }

    fn counter(&self, name: &str) -> u64 {
        self.broadcast.counters().iter().find(|counter| counter.0 == name).unwrap().1
    }
}

fn id(seq: u64) -> MessageId<Peer> {
    MessageId { source: Peer(9), incarnation: 5, seq }
}

fn gossip_of(id: MessageId<Peer>) -> Said {
    Said::Tree(PlumtreeMessage::Gossip { id, round: 0, payload: Blob(contents(id.seq)) })
}

fn gossip(seq: u64) -> Said {
    gossip_of(id(seq))
}

fn contents(seq: u64) -> Bytes {
    Bytes::from(seq.to_string())
}

fn highest(seq: u64) -> Said {
    Said::Highest([id(seq)].into())
}

fn ask(first: u64, last: u64) -> Said {
    Said::Ask { first: id(first), last }
}

fn answer(first: u64, numbers: impl IntoIterator<Item = u64>) -> Said {
    let messages = numbers.into_iter().map(|seq| (seq, contents(seq))).collect();
    Said::Answer { first: id(first), messages }
}

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
    assert_eq!(node.wait(490), []);
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
    node.wait(600);
    node.hear(1, answer(2, [3]));
    node.wait(4_300);
    assert_eq!(node.delivered(), [1]);
    node.wait(200);
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
    assert_eq!(node.wait(500), [(2, ask(2, 2))]);
    node.hear(2, answer(2, [2]));
    assert_eq!(node.delivered(), [2, 3]);
}

#[test]
fn what_was_got_by_asking_can_be_asked_for_and_neighbours_are_told() {
    let mut node = Node::new(2);
    node.hear(1, gossip(1));
    node.hear(1, highest(3));
    assert_eq!(node.wait(500), [(1, ask(2, 3))]);
    node.hear(1, answer(2, [2, 3]));
    assert_eq!(node.wait(100), [(1, highest(3)), (2, highest(3))]);
    assert_eq!(node.hear(2, ask(1, 9)), [(2, answer(1, [1, 2, 3]))]);
    assert_eq!(node.hear(2, ask(7, 9)), [(2, answer(7, []))]);
}

#[test]
fn a_long_history_is_fetched_piece_by_piece() {
    let mut node = Node::new(1);
    node.hear(1, gossip(1));
    node.hear(1, highest(1000));
    assert_eq!(node.wait(500), [(1, ask(2, 1000))]);
    assert_eq!(node.hear(1, answer(2, 2..=257)), [(1, ask(258, 1000))]);
    assert_eq!(node.delivered().len(), 257);
}

#[test]
fn an_answer_is_bounded_and_has_at_least_one_message() {
    let mut node = Node::new(2);
    for seq in 1..=3 {
        let payload = Blob(Bytes::from(vec![0; 200 << 10]));
        node.hear(1, Said::Tree(PlumtreeMessage::Gossip { id: id(seq), round: 0, payload }));
    }
    let said = node.hear(2, ask(1, 3));
    let [(2, Said::Answer { messages, .. })] = &said[..] else { panic!("{said:?}") };
    assert_eq!(messages.len(), 2);
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
    assert_eq!(node.tell(Happening::LinkUp(Peer(3))), [(3, Said::Highest([own, id(1)].into()))]);
}

#[test]
fn who_was_there_gets_what_was_said_while_he_was_cut_off() {
    let mut node = Node::new(1);
    // He knew the one source, and the other is new to him.
    node.hear(1, gossip(1));
    let other = |seq| MessageId { source: Peer(8), incarnation: 1, seq };
    node.hear(1, Said::Highest([id(2), other(1)].into()));
    let asks = node.wait(500);
    assert_eq!(asks, [(1, Said::Ask { first: other(1), last: 1 }), (1, ask(2, 2))]);
}

#[test]
fn of_a_source_that_is_new_to_one_who_was_there_everything_is_got_that_anybody_still_has() {
    let mut node = Node::new(2);
    node.hear(1, highest(1000));
    assert_eq!(node.wait(500), [(1, ask(1, 1000))]);
    assert_eq!(node.hear(1, answer(1, 900..=1000)), [(2, ask(1, 899))]);
    assert_eq!(node.hear(2, answer(1, [])), []);
    node.wait(4_500);
    assert_eq!(node.delivered(), (900..=1000).collect::<Vec<u64>>());
}

#[test]
fn a_newcomer_has_no_past() {
    let mut node = Node::newcomer(2, BroadcastOptions::default());
    node.hear(1, highest(7));
    assert_eq!(node.wait(1000), []);
    node.hear(1, gossip(7));
    node.hear(2, gossip(8));
    assert_eq!(node.delivered(), [8]);
}

#[test]
fn a_newcomer_in_mid_stream_waits_a_moment_for_what_is_slightly_older() {
    let mut node = Node::newcomer(2, BroadcastOptions::default());
    node.hear(1, gossip(57));
    node.hear(2, gossip(55));
    node.wait(150);
    node.hear(2, gossip(56));
    assert_eq!(node.delivered(), [] as [u64; 0]);
    node.wait(100);
    assert_eq!(node.delivered(), [55, 56, 57]);
    node.hear(2, gossip(54));
    node.hear(2, gossip(58));
    assert_eq!(node.delivered(), [58]);
    node.hear(1, gossip_of(MessageId { source: Peer(8), ..id(1) }));
    assert_eq!(node.delivered(), [1], "nothing is older than the first");
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
        node.hear(1, Said::Highest([own(incarnation, 9)].into()));
    }
    assert_eq!(node.delivered(), [] as [u64; 0]);
    assert_eq!(node.wait(6000), []);
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
    let options = BroadcastOptions { early_count_max: 2, early_bytes_max: 3, ..BroadcastOptions::default() };
    let mut node = Node::newcomer(1, options);
    node.wait(2000);
    for seq in [1, 3, 4, 5, 12] {
        node.hear(1, gossip(seq));
    }
    assert_eq!(node.counter("broadcasts_refused"), 2);
    assert_eq!(node.wait(500), [(1, ask(2, 2))]);
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
    assert_eq!(node.wait(510), [(1, ask(1, 1))], "there is room for it now");
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
    node.wait(2000);
    let run = super::super::Run { first: id(1), count: 3, round: 0 };
    node.hear(1, Said::Tree(PlumtreeMessage::IHave(run)));
    assert_eq!(node.wait(500), [(1, ask(1, 3))]);
}

// Whole networks.

fn network(count: u32, flood: bool) -> Network<Broadcast<Peer>> {
    let tree = PlumtreeOptions { flood, ..PlumtreeOptions::default() };
    let options = BroadcastOptions { tree, ..BroadcastOptions::default() };
    Network::new(count, move |peer| Broadcast::new(peer, 1, options.clone()))
}

fn broadcast(network: &mut Network<Broadcast<Peer>>, node: u32) {
    let text = Bytes::from(format!("from {node}"));
    network.act(node, |layer, now, out| layer.broadcast(now, text, out)).expect("short");
}

/// What each node has delivered, by source, checking that it came in order, whole, and each once.
fn all_delivered(network: &mut Network<Broadcast<Peer>>) -> Vec<BTreeMap<u32, u64>> {
    let mut all = Vec::new();
    for layer in &mut network.layers {
        let mut counts = BTreeMap::new();
        while let Some(news) = layer.next_news() {
            if let News::Delivered(Delivered { source, seq, .. }) = news {
                let count = counts.entry(source.0).or_insert(0);
                *count += 1;
                assert_eq!(seq, *count, "in order and without a gap");
            }
        }
        all.push(counts);
    }
    all
}

#[test]
fn everybody_gets_everything_on_links_that_come_and_go() {
    for flood in [false, true] {
        let mut network = network(30, flood);
        let mut rng = Rng::new(u64::from(flood) + 1);
        network.link_at_random(2, &mut rng);
        network.run(Duration::from_secs(3));
        let mut sent = vec![0; 30];
        for _ in 0..200 {
            let node = rng.index(30);
            sent[node] += 1;
            broadcast(&mut network, u32::try_from(node).unwrap());
            let (one, other) = (u32::try_from(rng.below(30)).unwrap(), u32::try_from(rng.below(30)).unwrap());
            if let Some(&neighbour) = rng.pick(&network.neighbours(one)) {
                network.unlink(one, neighbour, Reason::Lost(Why::Broken));
            }
            network.link(one, other);
            network.run(rng.duration(Duration::ZERO, Duration::from_millis(20)));
        }
        network.link_at_random(1, &mut rng);
        network.run(Duration::from_secs(30));
        for (node, counts) in all_delivered(&mut network).into_iter().enumerate() {
            let others = sent.iter().enumerate().filter(|(source, count)| *source != node && **count > 0);
            let expected: BTreeMap<u32, u64> =
                others.map(|(source, count)| (u32::try_from(source).unwrap(), *count)).collect();
            assert_eq!(counts, expected, "at {node}");
        }
        assert!(network.layers.iter().all(|layer| layer.deadline().is_none()), "no timer is left over");
    }
}

#[test]
fn after_a_partition_both_sides_have_what_was_said_on_either() {
    let mut network = network(20, false);
    for node in 0..20 {
        network.link(node, node / 10 * 10 + (node + 1) % 10);
        network.link(node, node / 10 * 10 + (node + 3) % 10);
    }
    network.link(3, 14);
    network.run(Duration::from_secs(3));
    for node in 0..20 {
        broadcast(&mut network, node);
    }
    network.run(Duration::from_secs(1));
    network.unlink(3, 14, Reason::Lost(Why::Broken));
    for round in 0..30 {
        (0..20).filter(|node| round % 3 == 0 || node % 2 == 0).for_each(|node| broadcast(&mut network, node));
        network.run(Duration::from_millis(500));
    }
    network.link(7, 18);
    network.run(Duration::from_secs(5));
    for (node, counts) in (0..).zip(all_delivered(&mut network)) {
        assert_eq!(counts.len(), 19, "at {node}");
        for (source, count) in counts {
            assert_eq!(count, if source % 2 == 0 { 31 } else { 11 }, "of {source} at {node}");
        }
    }
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
                2 => { node.hear(from, Said::Highest([id].into())); }
                3 => { node.hear(from, Said::Ask { first: id, last: other }); }
                4 => {
                    let messages = (seq..seq + other).map(|seq| (seq, contents(seq))).collect();
                    node.hear(from, Said::Answer { first: id, messages });
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
