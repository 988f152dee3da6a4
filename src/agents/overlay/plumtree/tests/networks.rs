//! What comes out of all rules together: hundreds of nodes.

use std::time::Duration;

use super::options;
use crate::agent::Peer;
use crate::agents::overlay::plumtree::{Plumtree, PlumtreeOptions};
use crate::agents::overlay::testing::Network;
use crate::agents::overlay::{Layer, Nothing, Reason};
use crate::rng::Rng;

fn network(count: u32, seed: u64, options: &PlumtreeOptions) -> Network<Plumtree<Peer, Nothing>> {
    let mut network = Network::new(count, |peer| Plumtree::new(peer, 1, options.clone()));
    network.link_at_random(2, &mut Rng::new(seed));
    network
}

/// Broadcasts once and lets it get everywhere: how many have got it, after how many hops at most, and how many payloads were sent.
fn broadcast(network: &mut Network<Plumtree<Peer, Nothing>>, node: u32) -> (usize, u16, u64) {
    let sent = |network: &Network<Plumtree<Peer, Nothing>>| network.sent.get("gossip").copied().unwrap_or(0);
    let before = sent(network);
    let id = network.act(node, |tree, now, out| tree.broadcast(now, Nothing, out)).expect("short");
    network.run(Duration::from_secs(10));
    let hops = network.layers.iter().filter_map(Plumtree::last_delivered);
    let hops: Vec<u16> = hops.filter(|last| last.0 == id).map(|last| last.1).collect();
    (hops.len() + 1, hops.iter().copied().max().unwrap_or(0), sent(network) - before)
}

fn ends_agree(network: &Network<Plumtree<Peer, Nothing>>) {
    for (number, tree) in (0..).zip(&network.layers) {
        for other in tree.eager() {
            assert!(
                network.layers[other.0 as usize].eager().any(|peer| peer == Peer(number)),
                "{number} pushes to {other}, which does not push to it"
            );
        }
    }
}

#[test]
fn with_one_sender_every_node_gets_one_payload_about_as_early_as_by_a_flood() {
    let mut tree = network(300, 1, &options());
    let (reached, flood_hops, _) = broadcast(&mut tree, 7);
    assert_eq!(reached, 300);
    for _ in 0..3 {
        broadcast(&mut tree, 7);
    }
    let (reached, hops, payloads) = broadcast(&mut tree, 7);
    assert_eq!((reached, payloads), (300, 299));
    assert!(hops <= flood_hops + 1, "{hops} instead of {flood_hops}");
    ends_agree(&tree);
}

#[test]
fn with_many_senders_every_node_gets_one_payload() {
    let many = PlumtreeOptions { optimisation_threshold: Some(7), ..options() };
    let mut tree = network(300, 2, &many);
    let mut rng = Rng::new(5);
    let mut payloads = 0;
    for number in 0..60 {
        let (reached, _, sent) = broadcast(&mut tree, u32::try_from(rng.below(300)).unwrap());
        assert_eq!(reached, 300);
        payloads += if number < 30 { 0 } else { sent };
    }
    assert!(payloads * 100 <= 30 * 299 * 101, "{payloads} payloads instead of {}", 30 * 299);
    ends_agree(&tree);
}

#[test]
fn a_tree_that_has_lost_nodes_is_mended_by_what_was_announced() {
    let mut tree = network(300, 3, &options());
    for _ in 0..5 {
        broadcast(&mut tree, 0);
    }
    for node in 1..60 {
        tree.cut_off(node);
    }
    let (reached, _, _) = broadcast(&mut tree, 0);
    assert_eq!(reached, reachable(&tree, 0));
    broadcast(&mut tree, 0);
    let (reached, _, payloads) = broadcast(&mut tree, 0);
    assert_eq!(payloads, reached as u64 - 1);
    ends_agree(&tree);
}

#[test]
fn when_all_send_at_once_the_tree_settles_and_stays() {
    let shaped = PlumtreeOptions { shaper_hold: Duration::from_secs(5), ..PlumtreeOptions::default() };
    let mut tree = network(64, 7, &shaped);
    let mut rng = Rng::new(8);
    for round in 0..40 {
        let before = tree.sent.clone();
        for _ in 0..64 {
            let node = u32::try_from(rng.below(64)).unwrap();
            tree.act(node, |tree, now, out| tree.broadcast(now, Nothing, out)).expect("short");
            tree.run(Duration::from_millis(rng.below(3)));
        }
        tree.run(Duration::from_millis(100));
        let since = |kind| tree.sent.get(kind).unwrap_or(&0) - before.get(kind).unwrap_or(&0);
        if round >= 20 {
            assert_eq!(
                (since("gossip"), since("graft"), since("fetch")),
                (64 * 63, 0, 0),
                "in round {round}"
            );
        }
    }
}

fn reachable(tree: &Network<Plumtree<Peer, Nothing>>, start: u32) -> usize {
    let mut known = std::collections::BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some(node) = next.pop() {
        next.extend(tree.neighbours(node).into_iter().filter(|other| known.insert(*other)));
    }
    known.len()
}

#[test]
fn a_burst_on_links_that_come_and_go_reaches_everybody_in_the_end() {
    let gathered = PlumtreeOptions { announce_period: Duration::from_millis(50), ..options() };
    let mut tree = network(60, 4, &gathered);
    let mut rng = Rng::new(6);
    for _ in 0..40 {
        for _ in 0..5 {
            let node = u32::try_from(rng.below(60)).unwrap();
            tree.act(node, |tree, now, out| tree.broadcast(now, Nothing, out)).expect("short");
        }
        let node = u32::try_from(rng.below(60)).unwrap();
        if let Some(&other) = rng.pick(&tree.neighbours(node)) {
            tree.unlink(node, other, Reason::Demoted);
        }
        tree.link(node, u32::try_from(rng.below(60)).unwrap());
        tree.run(Duration::from_millis(20));
    }
    // Nobody can be asked for what was sent over a link as it went down; what comes later does reach everybody.
    tree.run(Duration::from_secs(5));
    for node in 0..60 {
        let (reached, _, _) = broadcast(&mut tree, node);
        assert_eq!(reached, 60);
    }
    assert!(tree.layers.iter().all(|layer| layer.deadline().is_none()), "no timer is left over");
    ends_agree(&tree);
}
