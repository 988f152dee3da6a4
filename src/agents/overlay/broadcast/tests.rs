//! Order, repair, newcomers; and all of it on a network that loses links.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::payload::SEQ_MAX;
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

    /// What it says, and to whom; ages are left out.
    fn tell(&mut self, happening: Happening<Peer, Said>) -> Vec<(u32, Said)> {
        let mut said = self.tell_with_ages(happening);
        for (_, message) in &mut said {
            match message {
                Said::Ask { age_max, .. } => *age_max = Duration::ZERO,
                Said::Answer { messages, .. } => {
                    for kept in messages {
                        kept.age = Duration::ZERO;
                    }
                }
                Said::Highest(marks) => {
                    for mark in marks {
                        mark.age = Duration::ZERO;
                    }
                }
                _ => {}
            }
        }
        said
    }

    fn tell_with_ages(&mut self, happening: Happening<Peer, Said>) -> Vec<(u32, Said)> {
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

fn mark(id: MessageId<Peer>, age_ms: u64) -> Mark<Peer> {
    Mark { id, age: Duration::from_millis(age_ms) }
}

fn highest(seq: u64) -> Said {
    Said::Highest([mark(id(seq), 0)].into())
}

fn ask(first: u64, last: u64) -> Said {
    ask_of(id(first), last)
}

fn ask_of(first: MessageId<Peer>, last: u64) -> Said {
    Said::Ask { first, last, age_max: Duration::ZERO }
}

/// Of any age.
fn ask_all(first: u64, last: u64) -> Said {
    Said::Ask { first: id(first), last, age_max: Duration::from_secs(1000) }
}

fn answer(first: u64, numbers: impl IntoIterator<Item = u64>) -> Said {
    let kept = |seq| Kept { seq, age: Duration::ZERO, contents: contents(seq) };
    Said::Answer { first: id(first), whole: false, messages: numbers.into_iter().map(kept).collect() }
}

fn whole_answer(first: u64, numbers: impl IntoIterator<Item = u64>) -> Said {
    let Said::Answer { first, messages, .. } = answer(first, numbers) else { unreachable!() };
    Said::Answer { first, whole: true, messages }
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
fn numbers_at_their_end_are_survived() {
    let mut node = Node::new(1);
    for incarnation in 1..5 {
        node.hear(1, gossip_of(MessageId { source: Peer(9), incarnation, seq: SEQ_MAX }));
    }
    node.wait(6000);
    assert_eq!(node.delivered(), [SEQ_MAX; 4]);
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
    let run = super::super::Run { first: id(1), count: 3, round: 0 };
    node.hear(1, Said::Tree(PlumtreeMessage::IHave(run)));
    assert_eq!(node.wait(200), [(1, ask(1, 3))]);
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
