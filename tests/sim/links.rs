//! Links: order, breaks, stalls, partitions, limits.

use ovid::agent::{Peer, Port, Session, Why};
use ovid::sim::{Delay, Heard};

use crate::probe::{NOTHING, Told, UNREADABLE, caught, heard, ms, tell, wait, world};

const A: Peer = Peer(0);
const B: Peer = Peer(1);

#[test]
fn a_link_comes_up_at_both_ends_and_carries_messages_in_order() {
    let mut world = world(2, |settings| settings.delay = Delay::uniform_ms(1, 50));
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 0 100");
    wait(&mut world, 10);
    tell(&mut world, 0, "throw 1 100 100");
    assert!(caught(&world, 1, 0).len() < 200, "messages take their time");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1)]);
    assert_eq!(heard(&world, 1)[..2], [Told::Start, Told::Up(0, 1)]);
    assert_eq!(caught(&world, 1, 0), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_break_drops_what_is_on_its_way_and_begins_a_new_epoch() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 1 1");
    wait(&mut world, 6);
    tell(&mut world, 0, "throw 1 2 1");
    wait(&mut world, 2);
    assert!(world.break_link(B, A));
    assert!(!world.break_link(A, B), "it is down already");
    tell(&mut world, 0, "throw 1 3 1");
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 4 1");
    wait(&mut world, 20);
    let told = [
        Told::Start,
        Told::Up(0, 1),
        Told::Ball(0, 1),
        Told::Down(0, 1, Why::Broken),
        Told::Up(0, 2),
        Told::Ball(0, 4),
    ];
    assert_eq!(heard(&world, 1), told);
    assert_eq!(
        heard(&world, 0),
        [Told::Start, Told::Up(1, 1), Told::Down(1, 1, Why::Broken), Told::Up(1, 2)]
    );
}

#[test]
fn a_stall_holds_up_both_directions_and_keeps_the_order() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 0 3");
    wait(&mut world, 1);
    assert!(world.stall(A, B, ms(100)));
    tell(&mut world, 0, "throw 1 3 3");
    tell(&mut world, 1, "throw 0 7 1");
    wait(&mut world, 98);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![], vec![]));
    wait(&mut world, 10);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), ((0..6).collect(), vec![7]));
}

#[test]
fn a_partition_holds_messages_up_until_it_heals() {
    let mut world = world(3, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 0 1");
    let partition = world.partition(&[A], &[B]);
    tell(&mut world, 0, "throw 1 1 2");
    tell(&mut world, 1, "throw 0 5 1");
    tell(&mut world, 0, "throw 2 9 1");
    wait(&mut world, 1_000);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![], vec![]));
    assert_eq!(caught(&world, 2, 0), [9], "others are reached");
    for id in partition {
        world.heal(id);
    }
    wait(&mut world, 1);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![0, 1, 2], vec![5]));
}

#[test]
fn a_one_way_partition_holds_up_one_direction() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    let partition = world.partition_one_way(&[A], &[B]);
    tell(&mut world, 0, "throw 1 1 1");
    tell(&mut world, 1, "throw 0 2 1");
    wait(&mut world, 50);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![], vec![2]));
    // To connect, both have to hear each other.
    world.break_link(A, B);
    wait(&mut world, 50);
    assert!(world.links_of(A).all(|link| !link.up));
    world.heal(partition);
    wait(&mut world, 50);
    assert!(world.links_of(A).all(|link| link.up));
    assert_eq!(caught(&world, 1, 0), NOTHING, "what was on its way is gone with the link");
}

#[test]
fn several_partitions_hold_at_once_and_end_one_by_one() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    let first = world.partition_one_way(&[A], &[B]);
    let second = world.partition_one_way(&[A], &[B]);
    tell(&mut world, 0, "throw 1 1 1");
    world.heal(first);
    wait(&mut world, 50);
    assert_eq!(caught(&world, 1, 0), NOTHING);
    world.heal(second);
    wait(&mut world, 50);
    assert_eq!(caught(&world, 1, 0), [1]);
}

#[test]
fn a_link_that_is_closed_does_not_come_up_again_until_it_is_wanted() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 1 1");
    world.unlink(A, B);
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 1), Told::Down(0, 1, Why::Closed)]);
    assert_eq!(world.links_of(A).count(), 0);
    world.link(B, A);
    wait(&mut world, 100);
    assert!(world.links_of(A).all(|link| link.up));
}

#[test]
fn a_link_whose_queue_is_full_goes_down_after_the_outputs_are_carried_out() {
    let mut world = world(3, |settings| settings.queue_messages_max = 10);
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 0 10");
    wait(&mut world, 20);
    assert_eq!(caught(&world, 1, 0).len(), 10);
    tell(&mut world, 0, "throw 1 10 11");
    wait(&mut world, 50);
    assert_eq!(caught(&world, 1, 0).len(), 10);
    let down = Told::Down(1, 1, Why::QueueFull);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1), Told::Up(2, 1), down, Told::Up(1, 2)]);
}

#[test]
fn multicasts_reach_all_targets_and_oneself() {
    let mut world = world(3, |_| ());
    world.route(A, "all", &[(A, Port(1)), (B, Port(1)), (Peer(2), Port(1))]);
    wait(&mut world, 20);
    tell(&mut world, 0, "multicast 4");
    wait(&mut world, 5);
    assert_eq!([0, 1, 2].map(|peer| caught(&world, peer, 0)), [[4], [4], [4]]);
    world.route(A, "all", &[(B, Port(1))]);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Rerouted(vec!["all".to_owned()])));
}

#[test]
fn what_nobody_can_carry_is_dropped() {
    let mut world = world(2, |_| ());
    world.start_trace();
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 77 1 1");
    tell(&mut world, 0, "multicast 4");
    world.unlink(A, B);
    tell(&mut world, 0, "throw 1 1 1");
    wait(&mut world, 20);
    assert_eq!(caught(&world, 1, 0), NOTHING);
    let trace: Vec<String> = world.take_trace().iter().map(|event| format!("{:?}", event.what)).collect();
    for why in ["there is no such agent", "no route", "there is no link"] {
        assert!(trace.iter().any(|event| event.contains(why)), "{why}: {trace:?}");
    }
}

#[test]
fn through_the_codec_messages_come_back_or_a_law_is_broken() {
    let mut world = world(2, |settings| settings.wire = true);
    wait(&mut world, 20);
    tell(&mut world, 0, "throw 1 1 1");
    wait(&mut world, 20);
    assert_eq!((caught(&world, 1, 0), world.wrong()), (vec![1], None));
    tell(&mut world, 0, &format!("throw 1 {UNREADABLE} 1"));
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("wire"));
}

#[test]
fn commands_are_answered_counted_and_refused() {
    let mut world = world(1, |_| ());
    let ask = |world: &mut ovid::sim::World<_>, session| match world.command(A, Session(session), "ask") {
        Heard::Taken(Some(request)) => (request.session.0, request.number),
        other => panic!("{other:?}"),
    };
    assert_eq!([ask(&mut world, 3), ask(&mut world, 3), ask(&mut world, 4)], [(3, 0), (3, 1), (4, 0)]);
    assert_eq!(heard(&world, 0), [Told::Start], "it starts before it hears a command");
    assert_eq!(world.command(A, Session(3), "nonsense"), Heard::NotUnderstood);
    tell(&mut world, 0, "say hello");
    let happened = world.take_happened();
    assert_eq!(happened.answers.iter().map(|answer| answer.line.as_str()).collect::<Vec<_>>(), ["told"; 3]);
    assert_eq!(happened.said[0].line, "hello");
    assert_eq!(happened.told.len(), 4);
    assert!(world.happened().answers.is_empty());
}
