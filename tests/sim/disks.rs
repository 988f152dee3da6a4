//! Disks: what survives a crash.

use std::collections::BTreeSet;

use ovid::agent::Peer;
use ovid::sim::{Settings, World};

use crate::probe::{Probe, Told, heard, ms, tell, wait, world};

const A: Peer = Peer(0);

fn with_log(change: impl FnOnce(&mut Settings)) -> World<Probe> {
    let mut world = world(1, change);
    world.give_log(A);
    world
}

/// What comes back to an agent that starts again: records before it starts.
fn replayed(world: &mut World<Probe>) -> Vec<String> {
    world.crash(A);
    world.restart(A, Probe::default());
    let told = heard(world, 0);
    let start = told.iter().position(|told| *told == Told::Start).expect("it starts");
    assert_eq!(start, told.len() - 1, "records come first");
    let record = |(place, told)| match told {
        Told::Committed(index, record) if index == place + 1 => record,
        other => panic!("{other:?}"),
    };
    (0u64..).zip(told.into_iter().take(start)).map(record).collect()
}

#[test]
fn proposals_come_back_in_order_once_they_are_synced() {
    let mut world = with_log(|_| ());
    tell(&mut world, 0, "propose a");
    tell(&mut world, 0, "propose b");
    wait(&mut world, 1);
    tell(&mut world, 0, "propose c");
    assert_eq!(heard(&world, 0), [Told::Start]);
    wait(&mut world, 1);
    // The second syncing begins when the first is done.
    assert_eq!(heard(&world, 0)[1..], [Told::Committed(1, "a".into())]);
    wait(&mut world, 2);
    let rest = [Told::Committed(2, "b".into()), Told::Committed(3, "c".into())];
    assert_eq!(heard(&world, 0)[2..], rest);
    assert_eq!(world.happened().committed.len(), 3);
}

#[test]
fn a_crash_loses_what_was_not_synced_and_nothing_else() {
    let mut world = with_log(|_| ());
    tell(&mut world, 0, "propose a");
    wait(&mut world, 5);
    tell(&mut world, 0, "propose b");
    wait(&mut world, 1);
    assert_eq!(replayed(&mut world), ["a"]);
    tell(&mut world, 0, "propose c");
    wait(&mut world, 5);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Committed(2, "c".into())));
    assert_eq!(replayed(&mut world), ["a", "c"]);
}

#[test]
fn a_torn_write_leaves_a_prefix_of_what_was_written() {
    let mut left = BTreeSet::new();
    let mut torn = false;
    for seed in 0..200 {
        let mut world = with_log(|settings| {
            settings.seed = seed;
            settings.torn = true;
        });
        tell(&mut world, 0, "propose sure");
        wait(&mut world, 5);
        let sure = world.log(A).len();
        for record in ["b", "c", "d"] {
            tell(&mut world, 0, &format!("propose {record}"));
        }
        let written = world.log(A).to_vec();
        world.crash(A);
        let kept = world.log(A).to_vec();
        assert!(kept.len() >= sure && written.starts_with(&kept));
        world.restart(A, Probe::default());
        torn |= world.log(A).len() < kept.len();
        let records = replayed(&mut world);
        assert!(["sure", "b", "c", "d"].iter().zip(&records).all(|(one, other)| one == other), "{records:?}");
        left.insert(records.len());
    }
    assert_eq!(left, BTreeSet::from([1, 2, 3, 4]));
    assert!(torn, "a part of a record was left at least once, and cut off");
}

#[test]
fn a_damaged_record_is_not_replayed() {
    let mut world = with_log(|_| ());
    tell(&mut world, 0, "propose first");
    tell(&mut world, 0, "propose second");
    wait(&mut world, 10);
    world.crash(A);
    let log = world.log_mut(A);
    let place = log.windows(5).position(|bytes| bytes == b"first").expect("it is there as it was written");
    log[place] ^= 1;
    world.restart(A, Probe::default());
    assert_eq!(heard(&world, 0), [Told::Committed(2, "second".into()), Told::Start]);
}

#[test]
fn a_forgetful_disk_loses_what_it_said_it_had() {
    let mut fewest = usize::MAX;
    for seed in 0..50 {
        let mut world = with_log(|settings| {
            settings.seed = seed;
            settings.forgetful_disks = true;
        });
        tell(&mut world, 0, "propose a");
        wait(&mut world, 5);
        assert_eq!(heard(&world, 0).last(), Some(&Told::Committed(1, "a".into())));
        fewest = fewest.min(replayed(&mut world).len());
    }
    assert_eq!(fewest, 0);
}

#[test]
fn who_has_no_log_is_refused() {
    let mut world = world(1, |_| ());
    tell(&mut world, 0, "propose a");
    assert_eq!(heard(&world, 0), [Told::Start], "not while its outputs are carried out");
    wait(&mut world, 0);
    assert_eq!(heard(&world, 0).last(), Some(&Told::NotCommitted("this agent has no log".into())));
}

#[test]
fn a_paused_agent_learns_of_its_records_when_it_runs_again() {
    let mut world = with_log(|_| ());
    tell(&mut world, 0, "propose a");
    world.pause(A);
    world.run_until(world.now() + ms(50));
    assert_eq!(heard(&world, 0), [Told::Start]);
    world.resume(A);
    assert_eq!(heard(&world, 0).last(), Some(&Told::Committed(1, "a".into())));
}
