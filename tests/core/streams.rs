//! Networks and machines that fail: partitions, stalls, vanished machines, dials that nobody hears.

use std::time::Duration;

use ovid::server::{Door, PeerState};
use ovid::sim::servers::Streams;

use crate::world::World;

/// Server `id` broadcasts `count` messages.
fn broadcast(world: &mut World, id: u16, count: usize) {
    let master = world.connect(id, Door::Masters);
    let lines: Vec<String> = (0..count).map(|number| format!("broadcast {id}:{number}\n")).collect();
    world.send(master, lines.concat().as_bytes());
}

fn sorted_log(world: &mut World, id: u16) -> Vec<String> {
    let mut log = world.log(id);
    log.sort();
    log
}

#[test]
fn a_partition_hides_servers_from_each_other_and_loses_nothing() {
    let mut world = World::linked(3, 1);
    let cuts = [world.part(&[0], &[1, 2]), world.part(&[1, 2], &[0])];
    world.run_ms(1100);
    assert_eq!(world.ask(0, "alive"), "alive 0");
    assert_eq!(world.ask(1, "alive"), "alive 1,2");
    assert_eq!(world.status(0).peers[0].state, PeerState::Suspected);
    for id in 0..3 {
        broadcast(&mut world, id, 10);
    }
    world.run_ms(100);
    assert_eq!(world.log(0).len(), 10);
    assert_eq!(world.log(1).len(), 20);
    for cut in cuts {
        world.heal(cut);
    }
    // What was held is sent again within as long again as it was held.
    world.run_ms(1300);
    world.assert_all_see(&[0, 1, 2]);
    let everything = sorted_log(&mut world, 0);
    assert_eq!(everything.len(), 30);
    assert!((1..3).all(|id| sorted_log(&mut world, id) == everything));
}

#[test]
fn of_two_servers_only_the_one_that_hears_nothing_suspects_the_other() {
    let mut world = World::linked(2, 2);
    let cut = world.part(&[0], &[1]);
    world.run_ms(1100);
    assert_eq!(world.ask(0, "alive"), "alive 0,1");
    assert_eq!(world.ask(1, "alive"), "alive 1");
    broadcast(&mut world, 0, 1);
    broadcast(&mut world, 1, 1);
    world.run_ms(20);
    assert_eq!(sorted_log(&mut world, 0), ["0:0", "1:0"]);
    assert_eq!(world.log(1), ["1:0"]);
    world.heal(cut);
    world.run_ms(1300);
    world.assert_all_see(&[0, 1]);
    assert_eq!(sorted_log(&mut world, 1), ["0:0", "1:0"]);
}

#[test]
fn what_a_partition_does_not_acknowledge_fills_the_senders_buffers() {
    let mut world = World::linked(2, 3);
    // Server 0 is heard, but hears nothing: not even that it was heard.
    let cut = world.part(&[1], &[0]);
    let master = world.connect(0, Door::Masters);
    world.send(master, format!("broadcast {}\n", "x".repeat(1000)).repeat(400).as_bytes());
    world.run_ms(500);
    let queued = world.status(0).bytes_queued;
    assert!((100_000..200_000).contains(&queued), "{queued} of 400 KB wait, the streams hold 256 KiB");
    world.heal(cut);
    world.run_ms(1000);
    assert_eq!(world.status(0).bytes_queued, 0);
    assert_eq!(world.status(1).messages, 400);
}

#[test]
fn a_dial_that_nobody_hears_is_tried_again_until_somebody_does() {
    let mut world = World::new(2, 4);
    let cut = world.part(&[0], &[1]);
    world.start(0);
    world.start(1);
    world.run_ms(5000);
    assert!(world.connections(1).count() <= 1, "a server dials one connection at a time");
    assert_eq!(world.ask(1, "alive"), "alive 1");
    world.heal(cut);
    // The longest wait between two attempts of one dial is 2 s; after 3 s the server gives up and dials anew.
    world.run_ms(2100);
    world.assert_all_see(&[0, 1]);
}

#[test]
fn a_dial_to_a_machine_that_is_gone_is_not_answered_but_one_to_a_dead_process_is_refused() {
    let mut world = World::linked(2, 5);
    world.kill(0);
    world.run_ms(1000);
    // A refused dial leaves nothing behind; the next one comes within 50 ms.
    world.start(0);
    world.run_ms(60);
    world.assert_all_see(&[0, 1]);
    world.vanish(0);
    world.run_ms(1000);
    // The link to it looks as if it were only silent.
    assert_eq!(world.status(1).peers[0].state, PeerState::Suspected);
    assert_eq!(world.connections(1).count(), 1);
    world.start(0);
    // The larger id dials again once it has heard, by a reset, that its link is none any more.
    world.run_ms(1300);
    world.assert_all_see(&[0, 1]);
}

#[test]
fn a_stall_delays_everything_and_changes_nothing() {
    let mut world = World::linked(2, 6);
    world.stall_between(0, 1, Duration::from_millis(600));
    broadcast(&mut world, 0, 50);
    world.run_ms(500);
    assert_eq!(world.log(1).len(), 0);
    world.run_ms(150);
    assert_eq!(world.log(1), (0..50).map(|number| format!("0:{number}")).collect::<Vec<_>>());
}

#[test]
fn a_full_backlog_is_not_answered() {
    let mut world = World::over(Streams { backlog_max: 4, ..Streams::default() }, 12, 7);
    world.start(0);
    world.pause(0);
    for id in 1..12 {
        world.start(id);
    }
    world.run_ms(900);
    world.resume(0);
    let alive =
        |world: &World| world.status(0).peers.iter().filter(|peer| peer.state == PeerState::Alive).count();
    world.run_ms(20);
    // Those whom the backlog held are there at once, the others when they knock again, a second after their first attempt.
    assert_eq!(alive(&world), 4);
    world.run_ms(200);
    assert_eq!(alive(&world), 11);
}

#[test]
fn an_idle_grid_costs_a_few_inputs_a_second() {
    let mut world = World::linked(5, 8);
    let before = world.inputs();
    world.run_ms(60_000);
    // 20 pings about every 200 ms are 6,000 in a minute; one in four comes in two reads.
    let inputs = world.inputs() - before;
    assert!((5_000..12_000).contains(&inputs), "{inputs} inputs in a minute");
    world.assert_all_see(&[0, 1, 2, 3, 4]);
}
