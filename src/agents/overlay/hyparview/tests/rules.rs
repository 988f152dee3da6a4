//! The rules of the paper, one by one, on a single node.

use super::lone::{ACCEPT, DECLINE, Effects, Lone, linked, options, sent, sorted};
use crate::agent::{Peer, Why};
use crate::agents::overlay::{Control, Effect, Options, Reason};
use crate::time::Time;

fn news(ttl: u8) -> Control<Peer> {
    Control::ForwardJoin { joiner: Peer(9), ttl }
}

// Section 4.2; Algorithm 1, Join.
#[test]
fn join_is_always_accepted_and_forwarded_with_arwl_to_all_others() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    let effects = lone.opened(9, Control::Join);
    let sent = sent(&effects);
    let dropped: Vec<u32> =
        sent.iter().filter(|(_, control)| *control == Control::Disconnect).map(|(peer, _)| *peer).collect();
    assert_eq!(dropped.len(), 1);
    assert!(sent.contains(&(9, ACCEPT)));
    let told = sent.iter().filter(|(_, control)| *control == news(6)).map(|(peer, _)| *peer);
    let others: Vec<u32> = (1..=5).filter(|peer| !dropped.contains(peer)).collect();
    assert_eq!(sorted(told.collect()), others);
    assert_eq!(sent.len(), 1 + 1 + 4);
    assert_eq!(lone.active(), [&others[..], &[9]].concat());
    assert_eq!(lone.passive(), dropped);
}

// Section 4.2; Algorithm 1, ForwardJoin.
#[test]
fn forwardjoin_ends_at_ttl_zero_where_the_node_links_to_the_joiner() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    assert_eq!(linked(&lone.hear(1, news(0))), [9]);
    // A neighbour only once it has confirmed.
    assert!(!lone.active().contains(&9));
    assert_eq!(sent(&lone.up(9)), [(9, Control::JoinReply)]);
    let effects = lone.hear(9, ACCEPT);
    assert!(effects.contains(&Effect::Up(Peer(9))));
    assert_eq!(sent(&effects).len(), 1, "somebody has made room");
    assert!(lone.active().contains(&9));
}

// Algorithm 1, ForwardJoin: "or #activeView = 1".
#[test]
fn forwardjoin_ends_where_there_is_one_neighbour() {
    let mut lone = Lone::new(options(), &[1], &[]);
    assert_eq!(linked(&lone.hear(1, news(6))), [9]);
}

// Section 4.2; Algorithm 1, ForwardJoin.
#[test]
fn forwardjoin_puts_the_joiner_into_the_passive_view_at_prwl_only() {
    for ttl in 1..=6 {
        let mut lone = Lone::new(options(), &[1, 2, 3], &[]);
        lone.hear(1, news(ttl));
        assert_eq!(lone.passive().contains(&9), ttl == 3, "ttl {ttl}");
    }
}

// Algorithm 1, ForwardJoin: "n in activeView and n not sender".
#[test]
fn forwardjoin_goes_on_to_anybody_but_its_sender_and_the_joiner_with_one_step_less() {
    let mut seen = Vec::new();
    let mut lone = Lone::new(options(), &[1, 2, 3, 9], &[]);
    for _ in 0..50 {
        let sent = sent(&lone.hear(1, news(5)));
        assert_eq!((sent.len(), &sent[0].1), (1, &news(4)));
        seen.push(sent[0].0);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [2, 3]);
}

#[test]
fn forwardjoin_of_oneself_and_steps_beyond_arwl_do_no_harm() {
    let mut lone = Lone::new(options(), &[1, 2], &[]);
    assert!(lone.hear(1, Control::ForwardJoin { joiner: Peer(0), ttl: 0 }).is_empty());
    assert_eq!(sent(&lone.hear(1, news(255))), [(2, news(5))]);
}

// Section 4.2: the end of a walk links to the newcomer, which takes it.
#[test]
fn joinreply_is_always_accepted() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    let effects = lone.opened(9, Control::JoinReply);
    assert!(sent(&effects).contains(&(9, ACCEPT)));
    assert!(lone.active().contains(&9));
    assert_eq!(lone.active().len(), 5);
}

// Section 4.3.
#[test]
fn neighbour_is_of_high_priority_only_if_there_is_no_neighbour() {
    let mut lone = Lone::new(options(), &[1], &[7]);
    assert_eq!(linked(&lone.down(1, Why::Broken)), [7, 1]);
    assert_eq!(sent(&lone.up(7)), [(7, Control::Neighbour { high: true })]);
    let mut lone = Lone::new(options(), &[1, 2], &[7]);
    assert_eq!(linked(&lone.down(1, Why::Broken)), [7]);
    assert_eq!(sent(&lone.up(7)), [(7, Control::Neighbour { high: false })]);
}

// Section 4.3.
#[test]
fn neighbour_of_high_priority_is_accepted_in_the_place_of_another() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    let effects = lone.opened(9, Control::Neighbour { high: true });
    assert!(sent(&effects).contains(&(9, ACCEPT)));
    assert_eq!(sent(&effects).iter().filter(|(_, control)| *control == Control::Disconnect).count(), 1);
    assert!(lone.active().contains(&9));
}

// Section 4.3.
#[test]
fn neighbour_of_low_priority_is_accepted_only_if_there_is_room() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4], &[]);
    assert_eq!(sent(&lone.opened(8, Control::Neighbour { high: false })), [(8, ACCEPT)]);
    assert_eq!(sent(&lone.opened(9, Control::Neighbour { high: false })), [(9, DECLINE)]);
    assert_eq!(lone.active(), [1, 2, 3, 4, 8]);
}

// Section 4.3: "p removes q from its passive view and randomly selects another"; "keeps q in its passive view" if q declines.
#[test]
fn who_cannot_be_reached_leaves_the_passive_view_and_who_declines_stays() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[7, 8]);
    let first = linked(&lone.down(1, Why::Broken));
    let second = linked(&lone.down(first[0], Why::Unreachable));
    assert_eq!(sorted([&first[..], &second[..]].concat()), [7, 8]);
    assert_eq!(lone.passive(), second);
    lone.up(second[0]);
    assert_eq!(lone.hear(second[0], DECLINE), [Effect::Unlink(Peer(second[0]))]);
    assert_eq!(lone.passive(), second);
}

// Section 4.3, with the pauses that the paper leaves open.
#[test]
fn who_has_declined_is_asked_again_after_all_others_and_a_pause() {
    let mut lone = Lone::new(Options { memory_size: 0, ..options() }, &[1, 2, 3, 4, 5], &[6, 7, 8]);
    let mut asked = linked(&lone.down(1, Why::Broken));
    let (mut all, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..24 {
        assert_eq!(asked.len(), 1, "there is one place");
        all.push(asked[0]);
        lone.up(asked[0]);
        lone.hear(asked[0], DECLINE);
        lone.down(asked[0], Why::Closed);
        let before = lone.now;
        asked = lone.wait_for_link();
        pauses.push(lone.now.since(before));
    }
    for round in all.chunks(3) {
        assert_eq!(sorted(round.to_vec()), [6, 7, 8]);
    }
    // New names would be asked at once; these are asked ever more seldom.
    assert!(pauses[23] > pauses[2] * 4, "{pauses:?}");
}

// Section 4.4.
#[test]
fn shuffle_carries_its_origin_and_ka_active_and_kp_passive_ids_with_arwl() {
    let passive: Vec<u32> = (10..30).collect();
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &passive);
    let sent = sent(&lone.wait());
    let [(to, Control::Shuffle { origin: Peer(0), ttl: 6, ids, .. })] = &sent[..] else { panic!("{sent:?}") };
    let ids: Vec<u32> = ids.iter().map(|id| id.0).collect();
    assert!((1..=5).contains(to) && !ids.contains(to));
    assert_eq!(ids.iter().filter(|id| (1..=5).contains(*id)).count(), 3);
    assert_eq!(ids.iter().filter(|id| passive.contains(id)).count(), 4);
    assert_eq!(ids.len(), 7);
}

fn sample(ttl: u8) -> Control<Peer> {
    Control::Shuffle { origin: Peer(50), number: 3, ttl, ids: [Peer(51), Peer(0), Peer(2)].into() }
}

// Section 4.4: "if the time to live is greater than zero and the number of nodes in q's active view is greater than 1".
#[test]
fn shuffle_walks_to_anybody_but_its_sender_while_there_are_steps_and_others() {
    let mut lone = Lone::new(options(), &[1, 2], &[]);
    assert_eq!(sent(&lone.hear(1, sample(6))), [(2, sample(5))]);
    assert_eq!(sent(&lone.hear(1, sample(200))), [(2, sample(5))]);
    assert!(sent(&lone.hear(1, sample(1))).is_empty());
    let mut lone = Lone::new(options(), &[1], &[]);
    assert!(sent(&lone.hear(1, sample(6))).is_empty());
}

// Section 4.4.
#[test]
fn shuffle_is_answered_where_it_ends_with_as_many_passive_ids_as_came() {
    let passive: Vec<u32> = (10..30).collect();
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &passive);
    let effects = lone.hear(1, sample(1));
    let [Effect::Post(Peer(50), Control::ShuffleReply { number: 3, ids })] = &effects[..] else {
        panic!("{effects:?}")
    };
    // Three, and the origin.
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| passive.contains(&id.0)));
    let now = lone.passive();
    assert!(now.contains(&50) && now.contains(&51));
    assert!(!now.contains(&0) && !now.contains(&2));
}

// Section 4.4: "first, the nodes that were sent".
#[test]
fn what_was_sent_in_a_shuffle_makes_room_first() {
    let passive: Vec<u32> = (10..40).collect();
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &passive);
    let effects = lone.wait();
    let sent = sent(&effects);
    let Control::Shuffle { number, ids, .. } = &sent[0].1 else { panic!("{sent:?}") };
    let given: Vec<u32> = ids.iter().map(|id| id.0).filter(|id| passive.contains(id)).collect();
    assert_eq!(given.len(), 4);
    let new = [Peer(60), Peer(61), Peer(62), Peer(63)];
    lone.node.received_by_post(lone.now, Control::ShuffleReply { number: *number, ids: new.into() });
    let kept: Vec<u32> = passive.iter().copied().filter(|id| !given.contains(id)).collect();
    assert_eq!(lone.passive(), [&kept[..], &[60, 61, 62, 63]].concat());
}

#[test]
fn a_shuffle_reply_is_taken_only_if_asked_for_and_once_and_no_more_than_agreed_on() {
    let mut lone = Lone::new(options(), &[1], &[]);
    let reply = |number, from: u32| {
        let ids: Vec<Peer> = (from..from + 20).map(Peer).collect();
        Control::ShuffleReply { number, ids: ids.into() }
    };
    lone.node.received_by_post(lone.now, reply(1, 100));
    lone.node.received_by_post(lone.now, reply(0, 100));
    assert!(lone.passive().is_empty());
    lone.wait();
    lone.node.received_by_post(lone.now, reply(2, 100));
    assert!(lone.passive().is_empty());
    lone.node.received_by_post(lone.now, reply(1, 200));
    lone.node.received_by_post(lone.now, reply(1, 300));
    assert_eq!(lone.passive(), (200..208).collect::<Vec<_>>());
}

// Section 4.2; Algorithm 1, Disconnect.
#[test]
fn disconnect_moves_the_sender_to_the_passive_view_and_its_place_is_filled() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[7]);
    let effects = lone.hear(3, Control::Disconnect);
    assert_eq!(effects[..2], [Effect::Down(Peer(3), Reason::Demoted), Effect::Unlink(Peer(3))]);
    assert_eq!(linked(&effects), [7]);
    assert_eq!(lone.passive(), [3, 7]);
}

#[test]
fn disconnect_of_a_stranger_is_harmless() {
    let mut lone = Lone::new(options(), &[1, 2], &[7]);
    assert!(lone.hear(9, Control::Disconnect).is_empty());
    lone.up(8);
    assert_eq!(lone.hear(8, Control::Disconnect), [Effect::Unlink(Peer(8))]);
    assert_eq!((lone.active(), lone.passive()), (vec![1, 2], vec![7]));
}

// Section 4.2, with the drain that the paper leaves open.
#[test]
fn a_neighbour_that_is_sent_off_is_heard_until_it_closes_the_link() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    lone.opened(9, Control::Join);
    let off = lone.passive()[0];
    let now = lone.now;
    assert!(lone.node.heard(now, Peer(off)) && !lone.node.may_send(now, Peer(off)));
    assert_eq!(lone.down(off, Why::Closed), [Effect::Down(Peer(off), Reason::Demoted)]);
    assert!(!lone.node.heard(now, Peer(off)));
}

#[test]
fn who_is_sent_off_and_does_not_close_the_link_is_cut_off() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[]);
    lone.opened(9, Control::Join);
    let off = Peer(lone.passive()[0]);
    loop {
        let effects = lone.wait();
        if effects.contains(&Effect::Unlink(off)) {
            assert!(effects.contains(&Effect::Down(off, Reason::Demoted)));
            break;
        }
    }
    assert!(lone.now <= Time::ZERO + lone.node.options.timeout);
}

// Section 4.3: every neighbour that is lost is replaced, if there is somebody.
#[test]
fn each_loss_is_made_good_from_the_passive_view() {
    let losses: [fn(&mut Lone) -> Effects; 3] = [
        |lone| lone.down(1, Why::Broken),
        |lone| lone.hear(1, Control::Disconnect),
        |lone| loop {
            (2..=5).for_each(|peer| assert!(lone.node.heard(lone.now, Peer(peer))));
            let effects = lone.wait();
            if effects.contains(&Effect::Down(Peer(1), Reason::Silent)) {
                return effects;
            }
        },
    ];
    for loss in losses {
        let mut lone = Lone::new(Options::default(), &[1, 2, 3, 4, 5], &[7]);
        assert_eq!(linked(&loss(&mut lone)), [7]);
    }
}
