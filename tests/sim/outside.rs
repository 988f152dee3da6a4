//! What agents reach outside of the grid: ports, connections and datagrams, and the long work that they have done.

mod caller;
mod connections;
mod datagrams;
mod faults;

use ovid::agent::{Peer, Why};
use ovid::rng::Probability;
use ovid::sim::{Carrier, Settings, World};

use self::caller::{A, Caller, address, apart, caller, dial, news, tell, wait};

#[test]
fn long_work_is_done_one_piece_after_the_other_and_lost_in_a_crash() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "hash one");
    tell(&mut world, A, "hash two");
    tell(&mut world, A, "look");
    wait(&mut world, 20);
    assert_eq!(news(&world, A), ["0 rows for 77", "hashed 77"]);
    wait(&mut world, 19);
    assert_eq!(news(&world, A).len(), 2);
    wait(&mut world, 1);
    assert_eq!(news(&world, A).len(), 3);
    tell(&mut world, A, "hash three");
    world.crash(A);
    world.restart(A, Caller::default());
    tell(&mut world, A, "hash four");
    wait(&mut world, 100);
    assert_eq!(news(&world, A), ["hashed 77"]);
}

/// The digest and the trace of a run in which much goes wrong.
fn a_wild_run(seed: u64) -> (u64, String) {
    let mut settings = Settings::new(seed, Carrier::Stream);
    (settings.on_the_way_bytes_max, settings.reorder) = (300, true);
    settings.loss = Probability::percent(20);
    let mut world = World::new(settings);
    world.start_trace();
    for _ in 0..4 {
        world.add(Caller { echoes: true, ..Caller::default() });
    }
    for round in 0..60_u32 {
        let (one, other) = (Peer(round % 4), Peer((round / 4) % 4));
        if world.is_alive(one) {
            tell(&mut world, one, &dial(other));
            tell(&mut world, one, &format!("letter {}:8888 {round}", address(other)));
            if caller(&world, one).conn.is_some() {
                tell(&mut world, one, &format!("send hello-{round} how-are-you"));
            }
        }
        match round % 10 {
            3 => world.crash(one),
            6 => {
                let first = world.connections().next().map(|(id, _)| id);
                first.map(|id| world.break_connection(id));
            }
            7 => world.pause(one),
            9 => {
                for peer in world.peers().collect::<Vec<_>>() {
                    world.resume(peer);
                    if !world.is_alive(peer) {
                        world.restart(peer, Caller { echoes: true, ..Caller::default() });
                    }
                }
            }
            _ => {}
        }
        wait(&mut world, 17);
    }
    (world.figures().digest, format!("{:?}", world.take_trace()))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = a_wild_run(5);
    assert_eq!(first, a_wild_run(5));
    assert_ne!(first.0, a_wild_run(6).0);
    for word in ["frames", "datagram", "connection 3", "broken", "nobody is there", "closed"] {
        assert!(first.1.contains(word), "{word}");
    }
    assert!(!first.1.contains(Why::QueueFull.to_string().as_str()));
}
