//! Crashes, the two failure models, restarts, pauses and deadlines.

use ovid::agent::{Peer, Session, Why};
use ovid::sim::{Carrier, FailureModel, Heard, World};

use crate::probe::{NOTHING, Probe, Told, caught, heard, tell, wait, world};

const A: Peer = Peer(0);
const B: Peer = Peer(1);

#[test]
fn with_rst_all_neighbours_learn_of_a_crash_at_once() {
    let mut world = world(3, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 1, "throw 0 1 1");
    world.crash(B);
    world.crash(B);
    assert_eq!((world.is_alive(B), world.crashes_of(B)), (false, 1));
    for neighbour in [0, 2] {
        assert_eq!(heard(&world, neighbour).last(), Some(&Told::Down(1, 1, Why::Broken)));
    }
    assert_eq!(world.command(B, Session(0), "ask"), Heard::Dead);
    wait(&mut world, 100);
    assert_eq!(caught(&world, 0, 1), NOTHING, "nothing comes after the end of the link");
    assert_eq!(heard(&world, 0).len(), 4);
}

#[test]
fn with_send_a_crash_is_noticed_by_whoever_sends() {
    let mut world = world(3, |settings| settings.failure_model = FailureModel::Send);
    wait(&mut world, 20);
    tell(&mut world, 1, "throw 0 1 1");
    world.crash(B);
    wait(&mut world, 1_000);
    assert_eq!(caught(&world, 0, 1), [1], "what the dead had sent arrives");
    assert_eq!(heard(&world, 2).len(), 3, "nobody has noticed");
    tell(&mut world, 0, "throw 1 5 2");
    wait(&mut world, 0);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Down(1, 1, Why::Broken)));
    assert_eq!(heard(&world, 2).len(), 3, "only the sender has");

    world.restart(B, Probe::default());
    wait(&mut world, 20);
    assert_eq!(heard(&world, 2)[3..], [Told::Down(1, 1, Why::Broken), Told::Up(1, 2)]);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Up(1, 2)));
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 2), Told::Up(2, 2)]);
    assert_eq!(caught(&world, 1, 0), NOTHING);
}

#[test]
fn a_reset_does_not_cross_a_partition() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    let partition = world.partition(&[A], &[B]);
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start, Told::Up(1, 1)]);
    for id in partition {
        world.heal(id);
    }
    assert_eq!(heard(&world, 0).last(), Some(&Told::Down(1, 1, Why::Broken)));
}

#[test]
fn one_that_starts_again_knows_nothing_and_has_other_chances() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    let before = world.seed_for(B);
    assert_ne!(before, world.seed_for(A));
    tell(&mut world, 1, "wake 30");
    world.crash(B);
    assert_ne!(world.seed_for(B), before);
    world.restart(B, Probe::default());
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1), [Told::Start, Told::Up(0, 2)], "the old deadline died with it");
}

#[test]
fn a_pause_holds_everything_up_and_loses_nothing() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    tell(&mut world, 1, "wake 10");
    tell(&mut world, 0, "throw 1 0 1");
    world.pause(B);
    tell(&mut world, 0, "throw 1 1 2");
    assert_eq!(world.command(B, Session(0), "throw 0 9 1"), Heard::Later);
    wait(&mut world, 1_000);
    assert_eq!((heard(&world, 1).len(), world.is_paused(B)), (2, true));
    world.resume(B);
    wait(&mut world, 10);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![0, 1, 2], vec![9]));
    assert_eq!(heard(&world, 1).iter().filter(|&told| *told == Told::Timeout).count(), 1);
}

#[test]
fn a_paused_agent_learns_of_a_break_before_the_next_epoch() {
    let mut world = world(2, |_| ());
    wait(&mut world, 20);
    world.pause(B);
    tell(&mut world, 0, "throw 1 1 1");
    world.break_link(A, B);
    wait(&mut world, 100);
    assert!(world.links_of(A).all(|link| !link.up), "nobody answers at the other end");
    world.resume(B);
    wait(&mut world, 100);
    assert_eq!(heard(&world, 1)[2..], [Told::Down(0, 1, Why::Broken), Told::Up(0, 2)]);
}

#[test]
fn a_paused_agent_that_crashes_forgets_what_waited_for_it() {
    let mut world = world(2, |settings| settings.carrier = Carrier::Datagram);
    wait(&mut world, 20);
    world.pause(B);
    tell(&mut world, 0, "throw 1 1 1");
    tell(&mut world, 1, "throw 0 2 1");
    wait(&mut world, 20);
    world.crash(B);
    world.restart(B, Probe::default());
    assert!(!world.is_paused(B));
    wait(&mut world, 20);
    assert_eq!((heard(&world, 1), caught(&world, 0, 1)), (vec![Told::Start], vec![]));
}

#[test]
fn deadlines_come_in_time_and_may_be_moved() {
    let mut world = world(1, |_| ());
    let times = |world: &World<Probe>| {
        let told = &world.agent(A).expect("alive").told;
        told.iter()
            .filter(|(_, told)| *told == Told::Timeout)
            .map(|(at, _)| at / 1_000_000)
            .collect::<Vec<_>>()
    };
    tell(&mut world, 0, "wake 50");
    tell(&mut world, 0, "wake 20");
    wait(&mut world, 30);
    tell(&mut world, 0, "wake 10");
    tell(&mut world, 0, "wake 100");
    wait(&mut world, 200);
    assert_eq!(times(&world), [20, 130]);
}

#[test]
fn an_agent_that_wants_a_timeout_for_ever_breaks_a_law() {
    let mut world = world(1, |_| ());
    world.crash(A);
    world.restart(A, Probe { impatient: true, ..Probe::default() });
    tell(&mut world, 0, "wake 5");
    wait(&mut world, 10);
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("deadline"));
}

#[test]
#[should_panic(expected = "has not crashed")]
fn nobody_takes_the_place_of_one_who_lives() {
    world(1, |_| ()).restart(A, Probe::default());
}
