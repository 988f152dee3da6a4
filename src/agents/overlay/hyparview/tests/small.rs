//! Small overlays as a whole.

use std::time::Duration;

use super::net::{LATENCY, Net};
use crate::agent::Peer;
use crate::agents::overlay::Options;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Where only the paper's rules are at work, and links tell of deaths.
fn paper() -> Options {
    Options { keep_alive: Duration::ZERO, ..Options::default() }
}

#[test]
fn nodes_that_join_one_after_the_other_become_one_regular_graph() {
    for seed in 0..4 {
        let net = Net::joined(60, paper(), seed, seconds(500));
        assert_eq!(net.parts(), [60], "seed {seed}");
        assert_eq!(net.one_sided(), 0, "seed {seed}");
        let full = net.alive().iter().filter(|id| net.node(**id).active().count() == 5).count();
        assert!(full >= 57, "seed {seed}: {full}");
    }
}

#[test]
fn survivors_find_together_and_come_to_rest() {
    for seed in 0..4 {
        let mut net = Net::joined(100, paper(), seed, seconds(200));
        net.kill_some(80);
        net.run(seconds(100));
        assert_eq!(net.parts(), [20], "seed {seed}");
        assert_eq!(net.one_sided(), 0, "seed {seed}");
        for id in net.alive() {
            let told = &net.told[id as usize];
            assert!(net.node(id).active().all(|peer: Peer| told.contains(&peer)), "seed {seed}, node {id}");
        }
        net.run(seconds(600));
        let before = net.sent;
        net.run(seconds(100));
        let sent = net.sent - before;
        // A shuffle of each in each of ten periods, of at most arwl steps and an answer; and seldom a round of requests by who has a place free.
        assert!(sent <= 10 * 20 * 7 + 400, "seed {seed}: {sent}");
    }
}

#[test]
fn halves_that_were_cut_off_from_each_other_grow_together_again() {
    for seed in 0..2 {
        let mut net = Net::joined(40, Options::default(), seed, seconds(60));
        assert_eq!(roots(&net), [Peer(0)], "seed {seed}");
        net.cut(20);
        net.run(seconds(60));
        assert_eq!(net.parts(), [20, 20], "seed {seed}");
        assert_eq!(roots(&net), [Peer(0), Peer(20)], "seed {seed}");
        net.mend();
        net.run(seconds(30));
        assert_eq!(net.parts(), [40], "seed {seed}");
        assert_eq!(net.one_sided(), 0, "seed {seed}");
        assert_eq!(roots(&net), [Peer(0)], "seed {seed}");
    }
}

/// The names of islands that are in use, without their beats.
fn roots(net: &Net) -> Vec<Peer> {
    let mut roots: Vec<Peer> =
        net.alive().iter().filter_map(|id| net.node(*id).island().map(|island| island.root)).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

#[test]
fn those_who_are_started_again_together_with_their_contact_find_the_survivors() {
    let dead = [0, 2, 3, 5, 6, 8, 9, 11];
    let mut islands = 0;
    // The survivors' name is young, old, about to be given up, and given up long ago.
    for (age, away) in [(5, 1), (30, 1), (30, 8), (30, 15), (30, 40)] {
        for seed in 0..12 {
            let mut net = Net::joined(16, Options::default(), seed, seconds(age));
            for id in dead {
                net.kill(id);
            }
            net.run(seconds(away));
            for id in dead {
                net.revive(id, Peer(0));
                net.run(LATENCY * 2);
            }
            net.run(seconds(2));
            islands += usize::from(net.parts() != [16]);
            net.run(seconds(18));
            let story = format!("killed after {age} s, started {away} s later, seed {seed}");
            assert_eq!(net.parts(), [16], "{story}");
            assert_eq!(roots(&net), [Peer(0)], "{story}");
        }
    }
    assert!(islands >= 15, "only {islands} of 60 were islands at all");
}

#[test]
fn a_young_overlay_that_loses_its_contact_and_half_of_its_nodes_does_not_fall_apart() {
    for seed in 0..100 {
        let mut net = Net::joined(6, Options::default(), seed, Duration::from_millis(2500));
        for id in [0, 3, 5] {
            net.kill(id);
        }
        net.run(seconds(20));
        assert_eq!(net.parts(), [3], "seed {seed}");
    }
}

#[test]
fn slow_links_are_changed_for_faster_ones_and_nobody_loses_a_neighbour() {
    for seed in 0..2 {
        let options = Options { optimise_period: seconds(2), ..paper() };
        let mut net = Net::new(60, options, seed);
        (0..60_u8).for_each(|id| net.town[usize::from(id)] = id % 3);
        for id in 1..60 {
            net.act(id, |node, now| node.join(now, Peer(0)));
            net.run(Duration::from_millis(200));
        }
        let (far, degrees) = net.measure();
        // Six links of ten would be between towns by chance alone.
        assert!(far * 10 > degrees * 5, "seed {seed}: {far} of {degrees}");
        let mut least = degrees;
        for _ in 0..600 {
            net.run(Duration::from_millis(500));
            least = least.min(net.measure().1);
        }
        let (far_after, degrees_after) = net.measure();
        assert!(far_after * 2 < far, "seed {seed}: {far} links between towns, then {far_after}");
        assert!(
            degrees_after >= degrees && least + 8 >= degrees,
            "seed {seed}: {degrees}, {least}, {degrees_after}"
        );
        assert_eq!(net.parts(), [60], "seed {seed}");
        assert_eq!(net.one_sided(), 0, "seed {seed}");
    }
}
