//! Links that agents open and close, and what they post without one.

use ovid::agent::{Peer, Session, Why};
use ovid::sim::{Carrier, FailureModel, World};

use crate::probe::{NOTHING, Probe, Told, apart, caught, heard, ms, tell, wait};

const A: Peer = Peer(0);
const B: Peer = Peer(1);

/// Two agents with a link that the first has opened.
fn opened() -> World<Probe> {
    let mut world = apart(2, |_| ());
    tell(&mut world, 0, "link 1");
    wait(&mut world, 10);
    world
}

fn links(world: &World<Probe>) -> usize {
    world.peers().map(|peer| world.links_of(peer).count()).sum()
}

#[test]
fn a_link_that_is_asked_for_comes_up_at_both_ends_once() {
    let mut world = apart(2, |_| ());
    tell(&mut world, 0, "link 1");
    wait(&mut world, 5);
    tell(&mut world, 1, "link 0");
    tell(&mut world, 0, "link 1");
    wait(&mut world, 5);
    tell(&mut world, 0, "link 1");
    tell(&mut world, 0, "throw 1 0 2");
    tell(&mut world, 1, "throw 0 0 1");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1), Told::Ball(1, 0)]);
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 1), Told::Ball(0, 0), Told::Ball(0, 1)]);
}

#[test]
fn what_was_sent_before_a_link_is_closed_still_arrives_and_nothing_comes_back() {
    let mut world = opened();
    tell(&mut world, 1, "throw 0 7 1");
    wait(&mut world, 1);
    tell(&mut world, 0, "throw 1 0 3");
    tell(&mut world, 0, "unlink 1");
    tell(&mut world, 0, "throw 1 3 1");
    wait(&mut world, 0);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::Closed)], "the closer knows at once");
    tell(&mut world, 1, "throw 0 8 1");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::Closed)]);
    let balls = [0, 1, 2].map(|ball| Told::Ball(0, ball));
    assert_eq!(heard(&world, 1)[2..5], balls);
    assert_eq!(heard(&world, 1)[5..], [Told::Down(0, 1, Why::Closed)]);
    assert_eq!(links(&world), 0);
}

#[test]
fn the_end_of_a_link_takes_its_time_and_waits_for_what_holds_messages_up() {
    let mut world = opened();
    tell(&mut world, 0, "unlink 1");
    wait(&mut world, 4);
    assert_eq!(heard(&world, 1).len(), 2);
    wait(&mut world, 1);
    assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Closed)]);

    for hold in ["partition", "pause", "stall"] {
        let mut world = opened();
        let mut partitions = Vec::new();
        match hold {
            "partition" => partitions.extend(world.partition(&[A], &[B])),
            "pause" => world.pause(B),
            _ => assert!(world.stall(A, B, ms(100))),
        }
        tell(&mut world, 0, "throw 1 5 1");
        tell(&mut world, 0, "unlink 1");
        wait(&mut world, 99);
        assert_eq!(heard(&world, 1).len(), 2, "{hold}");
        for id in partitions {
            world.heal(id);
        }
        world.resume(B);
        wait(&mut world, 1);
        assert_eq!(heard(&world, 1)[2..], [Told::Ball(0, 5), Told::Down(0, 1, Why::Closed)], "{hold}");
        assert_eq!(links(&world), 0);
    }
}

#[test]
fn a_link_asked_for_while_the_last_one_ends_comes_up_behind_it() {
    let mut world = opened();
    tell(&mut world, 0, "throw 1 5 1");
    tell(&mut world, 0, "again 1");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::Closed), Told::Up(1, 2)]);
    assert_eq!(heard(&world, 1)[2..], [Told::Ball(0, 5), Told::Down(0, 1, Why::Closed), Told::Up(0, 2)]);
    // Both close it, one asks again.
    tell(&mut world, 0, "unlink 1");
    tell(&mut world, 1, "again 0");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[4..], [Told::Down(1, 2, Why::Closed), Told::Up(1, 3)]);
    assert_eq!(heard(&world, 1)[5..], [Told::Down(0, 2, Why::Closed), Told::Up(0, 3)]);
}

#[test]
fn nobody_is_told_of_a_link_that_was_given_up_before_it_came_up() {
    let mut world = apart(2, |_| ());
    tell(&mut world, 0, "link 1");
    tell(&mut world, 0, "unlink 1");
    wait(&mut world, 5);
    assert_eq!(links(&world), 0);
    // Unless the other wants it, too.
    tell(&mut world, 0, "link 1");
    tell(&mut world, 1, "link 0");
    tell(&mut world, 0, "unlink 1");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1)]);
    tell(&mut world, 0, "again 1");
    tell(&mut world, 0, "unlink 1");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 1), Told::Down(0, 1, Why::Closed)]);
    assert_eq!(links(&world), 0);
}

#[test]
fn the_dead_and_those_who_never_were_are_unreachable() {
    let mut world = opened();
    world.crash(B);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::Broken)]);
    wait(&mut world, 100);
    assert_eq!(links(&world), 0, "it does not come back by itself");
    tell(&mut world, 0, "link 1");
    wait(&mut world, 9);
    assert_eq!(heard(&world, 0).len(), 3);
    wait(&mut world, 1);
    assert_eq!(heard(&world, 0)[3..], [Told::Down(1, 2, Why::Unreachable)]);
    tell(&mut world, 0, "link 0");
    tell(&mut world, 0, "link 99");
    tell(&mut world, 0, "unlink 99");
    wait(&mut world, 0);
    let unreachable = |peer, epoch| Told::Down(peer, epoch, Why::Unreachable);
    assert_eq!(heard(&world, 0)[4..], [unreachable(0, 3), unreachable(99, 4)]);
    assert_eq!(links(&world), 0);

    // One who dies while somebody connects to it, and one who starts again in time.
    world.restart(B, Probe::default());
    tell(&mut world, 0, "link 1");
    wait(&mut world, 5);
    world.crash(B);
    wait(&mut world, 5);
    assert_eq!(heard(&world, 0).last(), Some(&unreachable(1, 5)));
    tell(&mut world, 0, "link 1");
    world.restart(B, Probe::default());
    wait(&mut world, 10);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Up(1, 6)));
}

#[test]
fn one_who_dies_while_it_connects_leaves_nothing_behind() {
    let mut world = apart(2, |_| ());
    tell(&mut world, 0, "link 1");
    wait(&mut world, 5);
    world.crash(A);
    world.restart(A, Probe::default());
    wait(&mut world, 100);
    assert_eq!((heard(&world, 0), heard(&world, 1)), (vec![Told::Start], vec![Told::Start]));
    assert_eq!(links(&world), 0);
    // Nor does one learn in its next life how the one before ended.
    tell(&mut world, 0, "link 1");
    wait(&mut world, 10);
    tell(&mut world, 0, "unlink 1");
    world.crash(A);
    world.restart(A, Probe::default());
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start]);
    assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Broken)], "a reset overtakes the end");
    assert_eq!(links(&world), 0);
}

#[test]
fn with_send_the_end_of_a_link_arrives_after_its_sender_is_dead() {
    let mut world = apart(2, |settings| settings.failure_model = FailureModel::Send);
    tell(&mut world, 0, "link 1");
    wait(&mut world, 10);
    tell(&mut world, 0, "throw 1 5 1");
    tell(&mut world, 0, "unlink 1");
    world.crash(A);
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1)[2..], [Told::Ball(0, 5), Told::Down(0, 1, Why::Closed)]);

    // Whoever has not noticed the death of the other learns of it when it sends, or when the other links with it again.
    for send in [true, false] {
        let mut world = apart(2, |settings| settings.failure_model = FailureModel::Send);
        tell(&mut world, 0, "link 1");
        wait(&mut world, 10);
        world.crash(A);
        world.restart(A, Probe::default());
        wait(&mut world, 100);
        assert_eq!(heard(&world, 1).len(), 2);
        tell(&mut world, 1, "link 0");
        if send {
            tell(&mut world, 1, "throw 0 1 1");
            wait(&mut world, 0);
            assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Broken)]);
            assert_eq!(links(&world), 0);
        }
        tell(&mut world, 0, "link 1");
        wait(&mut world, 100);
        assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Broken), Told::Up(0, 2)]);
        assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 2)]);
    }
}

#[test]
fn a_break_is_for_good_unless_somebody_asks_again() {
    let mut world = opened();
    tell(&mut world, 0, "throw 1 5 1");
    assert!(world.break_link(A, B));
    wait(&mut world, 100);
    for (peer, other) in [(0, 1), (1, 0)] {
        assert_eq!(heard(&world, peer)[2..], [Told::Down(other, 1, Why::Broken)]);
    }
    assert_eq!(links(&world), 0);
    tell(&mut world, 1, "link 0");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[3..], [Told::Up(1, 2)]);
}

#[test]
fn agents_may_ask_again_while_they_are_told_of_an_end() {
    let mut world = apart(3, |_| ());
    for peer in world.peers().collect::<Vec<_>>() {
        world.crash(peer);
        world.restart(peer, Probe { stubborn: true, ..Probe::default() });
    }
    for line in ["link 1", "link 2"] {
        tell(&mut world, 0, line);
    }
    wait(&mut world, 100);
    assert!(world.break_link(A, B));
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[3..], [Told::Down(1, 1, Why::Broken), Told::Up(1, 3)]);
    world.crash(A);
    world.restart(A, Probe::default());
    wait(&mut world, 100);
    let ups: Vec<Told> = heard(&world, 0).split_off(1);
    assert_eq!(ups, [Told::Up(1, 4), Told::Up(2, 5)], "its neighbours asked again");
    assert_eq!(links(&world), 4);
}

#[test]
fn a_partition_holds_a_link_up_for_three_seconds_at_most() {
    for one_way in [true, false] {
        let mut world = apart(2, |_| ());
        let partitions = if one_way {
            vec![world.partition_one_way(&[B], &[A])]
        } else {
            world.partition(&[A], &[B]).to_vec()
        };
        tell(&mut world, 0, "link 1");
        wait(&mut world, 3_009);
        assert_eq!(heard(&world, 0), [Told::Start]);
        wait(&mut world, 1);
        assert_eq!(heard(&world, 0), [Told::Start, Told::Down(1, 1, Why::Unreachable)]);
        tell(&mut world, 0, "link 1");
        wait(&mut world, 1_000);
        for id in partitions {
            world.heal(id);
        }
        wait(&mut world, 9);
        assert_eq!(heard(&world, 1), [Told::Start]);
        wait(&mut world, 3_000);
        assert_eq!(heard(&world, 0)[2..], [Told::Up(1, 2)]);
        assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 2)]);
    }
}

#[test]
fn who_asks_again_while_the_end_is_held_up_is_answered_within_three_seconds() {
    let mut world = opened();
    let partitions = world.partition(&[A], &[B]);
    tell(&mut world, 0, "throw 1 5 1");
    tell(&mut world, 0, "again 1");
    wait(&mut world, 3_000);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::Closed), Told::Down(1, 2, Why::Unreachable)]);
    for id in partitions {
        world.heal(id);
    }
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1)[2..], [Told::Ball(0, 5), Told::Down(0, 1, Why::Closed)]);
    assert_eq!(links(&world), 0);
}

#[test]
fn a_link_to_one_that_is_paused_comes_up_when_it_runs_again() {
    let mut world = apart(2, |_| ());
    world.pause(B);
    tell(&mut world, 0, "link 1");
    wait(&mut world, 1_000);
    assert_eq!(heard(&world, 0), [Told::Start]);
    world.resume(B);
    wait(&mut world, 10);
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 1)]);
    // One that is paused learns of its own closing later, too.
    tell(&mut world, 1, "unlink 0");
    world.pause(B);
    wait(&mut world, 100);
    assert_eq!((heard(&world, 1).len(), heard(&world, 0).len()), (2, 3));
    world.resume(B);
    assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Closed)]);
}

#[test]
fn a_queue_that_is_full_ends_an_opened_link() {
    let mut world = apart(2, |settings| settings.queue_messages_max = 10);
    tell(&mut world, 0, "link 1");
    wait(&mut world, 10);
    tell(&mut world, 0, "throw 1 0 11");
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0)[2..], [Told::Down(1, 1, Why::QueueFull)]);
    assert_eq!(links(&world), 0);
}

#[test]
fn letters_need_no_link_and_arrive_where_somebody_can_be_reached() {
    let mut world = apart(3, |_| ());
    tell(&mut world, 0, "post 1 4");
    tell(&mut world, 0, "post 0 6");
    wait(&mut world, 0);
    assert_eq!(caught(&world, 0, 0), [6], "to oneself it is not far");
    wait(&mut world, 14);
    assert_eq!(caught(&world, 1, 0), NOTHING);
    wait(&mut world, 1);
    assert_eq!((caught(&world, 1, 0), links(&world)), (vec![4], 0));

    world.crash(B);
    world.partition_one_way(&[Peer(2)], &[A]);
    for line in ["post 1 1", "post 2 1", "post 99 1"] {
        tell(&mut world, 0, line);
    }
    wait(&mut world, 100);
    assert_eq!((caught(&world, 2, 0), heard(&world, 0).len()), (vec![], 2), "nobody learns of it");
    // One that is paused reads its letters later.
    world.restart(B, Probe::default());
    tell(&mut world, 0, "post 1 2");
    world.pause(B);
    wait(&mut world, 100);
    world.resume(B);
    assert_eq!(caught(&world, 1, 0), [2]);
}

#[test]
fn wanted_links_are_not_the_agents_to_close() {
    let mut world = apart(2, |_| ());
    world.link(A, B);
    wait(&mut world, 20);
    for line in ["unlink 1", "link 1"] {
        tell(&mut world, 0, line);
    }
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1)]);
    // But its user may close theirs.
    world.unlink(A, B);
    tell(&mut world, 0, "link 1");
    wait(&mut world, 100);
    world.unlink(A, B);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Down(1, 1, Why::Closed)));
    assert_eq!(links(&world), 0);
}

#[test]
fn on_datagrams_there_are_letters_and_no_links() {
    let mut world = apart(2, |settings| settings.carrier = Carrier::Datagram);
    tell(&mut world, 0, "post 1 4");
    wait(&mut world, 5);
    assert_eq!((caught(&world, 1, 0), world.wrong()), (vec![4], None));
    assert!(matches!(world.command(A, Session(0), "link 1"), ovid::sim::Heard::Taken(None)));
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("outputs"));
}
