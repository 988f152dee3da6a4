//! Connections through partitions, stalls, breaks, pauses and crashes.

use ovid::sim::{ConnectionId, FailureModel};

use super::caller::{
    A, B, Caller, apart, connected, dial, frames, heard, later, news, send_many, tell, wait,
};
use crate::probe::ms;

#[test]
fn a_partition_holds_dials_up_until_it_heals_or_they_give_up() {
    let mut world = apart(|_| ());
    let partition = world.partition_one_way(&[B], &[A]);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 3_000);
    assert_eq!(news(&world, A), ["dial 77: nobody answers"]);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 500);
    world.heal(partition);
    wait(&mut world, 600);
    assert_eq!(news(&world, A).len(), 2);
    assert!(news(&world, A)[1].starts_with("opened to"));
}

#[test]
fn a_break_drops_what_is_on_its_way_and_both_learn_of_it() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send lost");
    let (id, ends) = world.connections().next().expect("one");
    assert_eq!((id, ends), (ConnectionId(0), [A, B]));
    assert!(world.break_connection(id));
    assert!(!world.break_connection(id));
    wait(&mut world, 100);
    assert!(frames(&world, B).is_empty());
    for peer in [A, B] {
        assert_eq!(later(&world, peer), ["closed: broken"]);
    }
    // The next one is another one.
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    tell(&mut world, A, "send found");
    wait(&mut world, 5);
    assert_eq!(frames(&world, B), ["found"]);
    assert_eq!(world.connections().next().map(|(id, _)| id), Some(ConnectionId(1)));
}

#[test]
fn partitions_stalls_and_pauses_hold_frames_up() {
    for hold in ["partition", "pause", "stall"] {
        let mut world = connected(|_| ());
        let mut partitions = Vec::new();
        match hold {
            "partition" => partitions.extend(world.partition(&[A], &[B])),
            "pause" => world.pause(B),
            _ => assert!(world.stall_connection(ConnectionId(0), ms(100))),
        }
        let texts = send_many(&mut world, 20);
        tell(&mut world, A, "hang-up");
        wait(&mut world, 99);
        assert!(frames(&world, B).is_empty(), "{hold}");
        for id in partitions {
            world.heal(id);
        }
        world.resume(B);
        wait(&mut world, 1);
        assert_eq!(frames(&world, B), texts, "{hold}");
        assert_eq!(later(&world, B), ["closed: closed"], "{hold}");
    }
}

#[test]
fn a_partition_in_one_direction_holds_up_that_one_alone() {
    let mut world = connected(|_| ());
    let partition = world.partition_one_way(&[A], &[B]);
    tell(&mut world, A, "send there");
    tell(&mut world, B, "send back");
    wait(&mut world, 100);
    assert_eq!((frames(&world, A), frames(&world, B).len()), (vec!["back".to_owned()], 0));
    world.heal(partition);
    wait(&mut world, 0);
    assert_eq!(frames(&world, B), ["there"]);
}

#[test]
fn a_crash_is_learned_at_once_or_when_something_is_sent() {
    let mut world = connected(|_| ());
    tell(&mut world, B, "send last");
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!(later(&world, A), ["closed: broken"]);
    assert!(frames(&world, A).is_empty(), "the reset overtakes it");

    let mut world = connected(|settings| settings.failure_model = FailureModel::Send);
    tell(&mut world, B, "send last");
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!((frames(&world, A), later(&world, A).len()), (vec!["last".to_owned()], 0));
    world.restart(B, Caller::default());
    tell(&mut world, A, "send you");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: broken"]);
    assert_eq!(heard(&world, B).len(), 2, "a new life knows nothing of the connections of the one before");

    // A partition hides the death for as long as it holds.
    let mut world = connected(|_| ());
    let partitions = world.partition(&[A], &[B]);
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!(later(&world, A).len(), 0);
    for id in partitions {
        world.heal(id);
    }
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: broken"]);
}
