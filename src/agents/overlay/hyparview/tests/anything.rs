//! Whatever a node is told, by whomever: its views stay in order, and what it does stays bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::net::{Net, Overlay, check_views};
use crate::agent::{Epoch, Peer, Why};
use crate::agents::overlay::{Control, Dialect, Effect, Island, Options};
use crate::time::Time;

/// One thing that happens to a node.
#[derive(Clone, Debug)]
enum Happens {
    Up(Peer),
    Down(Peer, Why),
    DownOfOld(Peer),
    Said(Peer, Control<Peer>),
    Posted(Control<Peer>),
    Payload(Peer),
    Join(Peer),
    Leave,
    /// So many parts of a second pass, and what is due is done; mostly.
    Time(u8, bool),
}

fn peer() -> impl Strategy<Value = Peer> {
    (0_u32..14).prop_map(Peer)
}

fn control() -> impl Strategy<Value = Control<Peer>> {
    let ids = || proptest::collection::vec(peer(), 0..30).prop_map(Into::into);
    let island = || (peer(), 0_u64..40).prop_map(|(root, beat)| Island { root, beat });
    prop_oneof![
        2 => Just(Control::Join),
        2 => (peer(), 0_u8..9).prop_map(|(joiner, ttl)| Control::ForwardJoin { joiner, ttl }),
        2 => Just(Control::JoinReply),
        2 => any::<bool>().prop_map(|high| Control::Neighbour { high }),
        4 => any::<bool>().prop_map(|accept| Control::NeighbourReply { accept }),
        1 => (peer(), 0_u32..9, any::<u8>(), ids())
            .prop_map(|(origin, number, ttl, ids)| Control::Shuffle { origin, number, ttl, ids }),
        1 => (0_u32..9, ids()).prop_map(|(number, ids)| Control::ShuffleReply { number, ids }),
        2 => Just(Control::Disconnect),
        1 => proptest::option::of(island()).prop_map(Control::KeepAlive),
        1 => (peer(), island()).prop_map(|(origin, island)| Control::Probe { origin, island }),
        1 => any::<bool>().prop_map(|ask| if ask { Control::Ping { number: 0 } } else { Control::Pong { number: 0 } }),
        2 => (peer(), any::<u32>()).prop_map(|(old, gain_us)| Control::Optimise { old, gain_us }),
        2 => (peer(), peer(), any::<u32>())
            .prop_map(|(initiator, old, limit_us)| Control::Replace { initiator, old, limit_us }),
        2 => (peer(), any::<bool>()).prop_map(|(initiator, accept)| Control::ReplaceReply { initiator, accept }),
        2 => peer().prop_map(|initiator| Control::Switch { initiator }),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    let why = prop_oneof![Just(Why::Closed), Just(Why::Broken), Just(Why::QueueFull), Just(Why::Unreachable)];
    prop_oneof![
        6 => peer().prop_map(Happens::Up),
        3 => (peer(), why).prop_map(|(peer, why)| Happens::Down(peer, why)),
        1 => peer().prop_map(Happens::DownOfOld),
        12 => (peer(), control()).prop_map(|(peer, control)| Happens::Said(peer, control)),
        2 => control().prop_map(Happens::Posted),
        1 => peer().prop_map(Happens::Payload),
        1 => peer().prop_map(Happens::Join),
        1 => Just(Happens::Leave),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(time, due)| Happens::Time(time, due)),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (1_usize..5, 1_usize..8, 0_u64..2, any::<bool>()).prop_map(
        |(active_size, passive_size, keep_alive, own)| Options {
            active_size,
            passive_size,
            k_active: active_size.min(3),
            k_passive: passive_size.min(4),
            memory_size: 8,
            keep_alive: Duration::from_secs(keep_alive),
            optimise_period: Duration::from_secs(2 * keep_alive),
            dialect: if own { Dialect::Own } else { Dialect::GenHypar },
            ..Options::default()
        },
    )
}

/// Effects of one input at most: good-byes to all neighbours or a newcomer's news to them, a new request for each place, and the links in hand.
const EFFECTS_MAX: usize = 60;

proptest! {
    #[test]
    fn whatever_happens_the_views_stay_in_order(
        options in options(), seed: u64, events in proptest::collection::vec(happens(), 1..200),
    ) {
        let mut node = Overlay::new(Peer(0), options.clone(), seed);
        let (mut now, mut epoch, mut told) = (Time::ZERO, 0, BTreeSet::new());
        node.start(now);
        for event in events {
            match event {
                Happens::Up(peer) => {
                    epoch += 1;
                    node.link_up(now, peer, Epoch(epoch));
                }
                Happens::Down(peer, why) => {
                    let known = node.neighbour(peer).map(|index| node.active.notes()[index].epoch);
                    let known = known.or_else(|| node.links.find(peer).map(|index| node.links[index].epoch));
                    node.link_down(now, peer, known.unwrap_or_default(), why);
                }
                Happens::DownOfOld(peer) => {
                    let before: Vec<Peer> = node.active().collect();
                    node.link_down(now, peer, Epoch(epoch + 1), Why::Broken);
                    prop_assert_eq!(before, node.active().collect::<Vec<_>>());
                }
                Happens::Said(peer, control) => node.received(now, peer, control),
                Happens::Posted(control) => node.received_by_post(now, control),
                Happens::Payload(peer) => {
                    prop_assert_eq!(node.heard(now, peer), told.contains(&peer));
                }
                Happens::Join(peer) => node.join(now, peer),
                Happens::Leave => node.leave(now),
                Happens::Time(parts, due) => {
                    now = now + Duration::from_millis(20) * u32::from(parts);
                    if due {
                        node.timeout(now);
                        prop_assert!(node.deadline().is_none_or(|deadline| deadline > now));
                    }
                }
            }
            let mut effects = 0;
            for effect in node.take_effects() {
                effects += 1;
                match effect {
                    Effect::Up(peer) => prop_assert!(told.insert(peer)),
                    Effect::Down(peer, _) => prop_assert!(told.remove(&peer)),
                    _ => {}
                }
            }
            prop_assert!(effects <= EFFECTS_MAX, "{} effects", effects);
            check_views(&node, &options);
            prop_assert!(node.active().all(|peer| told.contains(&peer)));
            prop_assert!(node.active().all(|peer| node.links.find(peer).is_none()));
            let asking = node.links.iter().filter(|link| link.asks().is_some()).count();
            prop_assert!(asking <= 2 * options.active_size + 2, "{} requests", asking);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn a_network_in_which_nodes_crash_join_and_leave_becomes_one_again(
        seed: u64, events in proptest::collection::vec((0_u8..4, 0_u32..30, 0_u64..4_000), 1..40),
    ) {
        let options = Options { shuffle_period: Duration::from_secs(2), ..Options::default() };
        let mut net = Net::joined(30, options, seed % 1_000, Duration::from_secs(5));
        for (what, id, time) in events {
            match what {
                0 if net.alive().len() > 8 => net.kill(id),
                1 => net.act(id, Overlay::leave),
                2 => net.act(id, |node, now| node.join(now, Peer((id + 7) % 30))),
                _ => net.revive(id, Peer((id + 1) % 30)),
            }
            net.run(Duration::from_millis(time));
        }
        // Whoever has left comes back, by somebody who is there.
        let contact = net.alive()[0];
        for id in net.alive() {
            net.act(id, |node, now| node.join(now, Peer(contact)));
        }
        net.run(Duration::from_secs(60));
        prop_assert_eq!(net.parts(), [net.alive().len()]);
        prop_assert_eq!(net.one_sided(), 0);
    }
}
