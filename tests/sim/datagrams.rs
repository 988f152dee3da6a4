//! Datagrams: they are lost, repeated and reordered where that is wanted, and only there.

use std::collections::BTreeSet;

use ovid::agent::Peer;
use ovid::rng::Probability;
use ovid::sim::{Carrier, Delay, Settings, World};

use crate::probe::{NOTHING, Probe, Told, caught, heard, tell, wait, world};

const COUNT: u64 = 10_000;

/// What arrives of ten thousand datagrams.
fn arrived(change: impl FnOnce(&mut Settings)) -> Vec<u64> {
    let mut world = datagrams(change);
    for first in (0..COUNT).step_by(10) {
        tell(&mut world, 0, &format!("throw 1 {first} 10"));
        wait(&mut world, 1);
    }
    wait(&mut world, 1_000);
    caught(&world, 1, 0)
}

fn datagrams(change: impl FnOnce(&mut Settings)) -> World<Probe> {
    world(2, |settings| {
        settings.carrier = Carrier::Datagram;
        settings.delay = Delay::uniform_ms(1, 20);
        change(settings);
    })
}

fn in_order(numbers: &[u64]) -> bool {
    numbers.is_sorted()
}

#[test]
fn a_kind_world_delivers_all_of_them_in_order_and_knows_no_links() {
    assert_eq!(arrived(|_| ()), (0..COUNT).collect::<Vec<_>>());
    let mut world = datagrams(|_| ());
    wait(&mut world, 100);
    assert_eq!(heard(&world, 0), [Told::Start]);
}

#[test]
fn each_fault_does_what_it_says_and_nothing_else() {
    let all = usize::try_from(COUNT).expect("small");
    let quarter = all / 4 - all / 50..all / 4 + all / 50;

    let lost = arrived(|settings| settings.loss = Probability::percent(25));
    assert!(quarter.contains(&(all - lost.len())), "{}", lost.len());
    assert!(in_order(&lost) && lost.iter().collect::<BTreeSet<_>>().len() == lost.len());

    let repeated = arrived(|settings| settings.duplicate = Probability::percent(25));
    assert!(quarter.contains(&(repeated.len() - all)), "{}", repeated.len());
    assert!(in_order(&repeated) && repeated.iter().collect::<BTreeSet<_>>().len() == all);

    let mut reordered = arrived(|settings| settings.reorder = true);
    let overtaken = reordered.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > all / 10, "{overtaken}");
    reordered.sort_unstable();
    assert_eq!(reordered, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_world_that_was_calmed_is_kind() {
    let mut world = datagrams(|settings| {
        settings.loss = Probability::percent(50);
        settings.duplicate = Probability::percent(50);
        settings.reorder = true;
    });
    world.calm();
    tell(&mut world, 0, "throw 1 0 1000");
    wait(&mut world, 100);
    assert_eq!(caught(&world, 1, 0), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_partition_loses_datagrams_even_those_on_their_way() {
    let mut world = datagrams(|settings| settings.delay = Delay::uniform_ms(10, 10));
    wait(&mut world, 1);
    tell(&mut world, 0, "throw 1 1 1");
    let partition = world.partition_one_way(&[Peer(0)], &[Peer(1)]);
    tell(&mut world, 0, "throw 1 2 1");
    tell(&mut world, 1, "throw 0 3 1");
    wait(&mut world, 20);
    world.heal(partition);
    tell(&mut world, 0, "throw 1 4 1");
    wait(&mut world, 20);
    assert_eq!((caught(&world, 1, 0), caught(&world, 0, 1)), (vec![4], vec![3]));
}

#[test]
fn a_datagram_may_reach_the_next_life() {
    let mut world = datagrams(|settings| settings.delay = Delay::uniform_ms(10, 10));
    wait(&mut world, 1);
    tell(&mut world, 0, "throw 1 1 1");
    world.crash(Peer(1));
    world.restart(Peer(1), Probe::default());
    tell(&mut world, 0, "throw 1 2 1");
    wait(&mut world, 5);
    world.crash(Peer(1));
    wait(&mut world, 20);
    world.restart(Peer(1), Probe::default());
    wait(&mut world, 20);
    assert_eq!(caught(&world, 1, 0), NOTHING, "nobody was there when they came");
    tell(&mut world, 0, "throw 1 3 1");
    world.crash(Peer(1));
    world.restart(Peer(1), Probe::default());
    wait(&mut world, 20);
    assert_eq!(caught(&world, 1, 0), [3]);
}
