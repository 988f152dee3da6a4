//! All of it on whole networks, which lose links.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::agent::{Peer, Why};
use crate::agents::overlay::testing::Network;
use crate::agents::overlay::{Broadcast, BroadcastOptions, Delivered, Layer, News, PlumtreeOptions, Reason};
use crate::rng::Rng;

fn network(count: u32, flood: bool) -> Network<Broadcast<Peer>> {
    let tree = PlumtreeOptions { flood, ..PlumtreeOptions::default() };
    let options = BroadcastOptions { tree, ..BroadcastOptions::default() };
    Network::new(count, move |peer| Broadcast::new(peer, 1, options.clone()))
}

fn broadcast(network: &mut Network<Broadcast<Peer>>, node: u32) {
    let text = Bytes::from(format!("from {node}"));
    network.act(node, |layer, now, out| layer.broadcast(now, text, out)).expect("short");
}

/// What each node has delivered, by source, checking that it came in order, whole, and each once.
fn all_delivered(network: &mut Network<Broadcast<Peer>>) -> Vec<BTreeMap<u32, u64>> {
    let mut all = Vec::new();
    for layer in &mut network.layers {
        let mut counts = BTreeMap::new();
        while let Some(news) = layer.next_news() {
            if let News::Delivered(Delivered { source, seq, .. }) = news {
                let count = counts.entry(source.0).or_insert(0);
                *count += 1;
                assert_eq!(seq, *count, "in order and without a gap");
            }
        }
        all.push(counts);
    }
    all
}

#[test]
fn everybody_gets_everything_on_links_that_come_and_go() {
    for flood in [false, true] {
        let mut network = network(30, flood);
        let mut rng = Rng::new(u64::from(flood) + 1);
        network.link_at_random(2, &mut rng);
        let mut sent = vec![0; 30];
        for _ in 0..200 {
            let node = rng.index(30);
            sent[node] += 1;
            broadcast(&mut network, u32::try_from(node).unwrap());
            let (one, other) = (u32::try_from(rng.below(30)).unwrap(), u32::try_from(rng.below(30)).unwrap());
            if let Some(&neighbour) = rng.pick(&network.neighbours(one)) {
                network.unlink(one, neighbour, Reason::Lost(Why::Broken));
            }
            network.link(one, other);
            network.run(rng.duration(Duration::ZERO, Duration::from_millis(20)));
        }
        network.link_at_random(1, &mut rng);
        network.run(Duration::from_secs(30));
        for (node, counts) in all_delivered(&mut network).into_iter().enumerate() {
            let others = sent.iter().enumerate().filter(|(source, count)| *source != node && **count > 0);
            let expected: BTreeMap<u32, u64> =
                others.map(|(source, count)| (u32::try_from(source).unwrap(), *count)).collect();
            assert_eq!(counts, expected, "at {node}");
        }
        assert!(network.layers.iter().all(|layer| layer.deadline().is_none()), "no timer is left over");
    }
}

#[test]
fn after_a_partition_both_sides_have_what_was_said_on_either() {
    let mut network = network(20, false);
    for node in 0..20 {
        network.link(node, node / 10 * 10 + (node + 1) % 10);
        network.link(node, node / 10 * 10 + (node + 3) % 10);
    }
    network.link(3, 14);
    for node in 0..20 {
        broadcast(&mut network, node);
    }
    network.run(Duration::from_secs(1));
    network.unlink(3, 14, Reason::Lost(Why::Broken));
    for round in 0..30 {
        (0..20).filter(|node| round % 3 == 0 || node % 2 == 0).for_each(|node| broadcast(&mut network, node));
        network.run(Duration::from_millis(500));
    }
    network.link(7, 18);
    network.run(Duration::from_secs(5));
    for (node, counts) in (0..).zip(all_delivered(&mut network)) {
        assert_eq!(counts.len(), 19, "at {node}");
        for (source, count) in counts {
            assert_eq!(count, if source % 2 == 0 { 31 } else { 11 }, "of {source} at {node}");
        }
    }
}
