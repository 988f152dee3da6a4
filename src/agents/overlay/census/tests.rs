//! The rules of the table, and services that tell each other who is alive.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::testing::Network;
use super::super::{Happening, Layer, News, Sends, Service, ServiceMessage, ServiceOptions};
use super::*;
use crate::agent::{Peer, Port, Wire};
use crate::rng::Rng;

fn at(seconds: u64) -> Time {
    Time::since_start(Duration::from_secs(seconds))
}

const REFRESH: Duration = Duration::from_secs(5);

fn entry(number: u16, incarnation: u64, state: State) -> Entry {
    Entry { number, incarnation, state, age: Duration::ZERO, refresh: REFRESH }
}

fn old(entry: Entry, seconds: u64) -> Entry {
    Entry { age: Duration::from_secs(seconds), ..entry }
}

/// The table of server 0 in life 1, which has the neighbours 1 and 2 in their first lives.
fn census() -> Census<Peer> {
    let mut census = Census::new(0, 1, REFRESH);
    for number in [1, 2] {
        let peer = Peer(number.into());
        census.link_up(Time::ZERO, peer);
        census.received(Time::ZERO, peer, &[entry(number, 1, State::Alive)]);
    }
    census
}

fn alive(census: &Census<Peer>) -> Vec<u16> {
    census.alive().collect()
}

/// What is passed on of an entry that comes from neighbour 1.
fn hear(census: &mut Census<Peer>, now: Time, heard: Entry) -> Vec<Entry> {
    census.received(now, Peer(1), &[entry(1, 1, State::Alive), heard]).0
}

#[test]
fn what_is_news_is_passed_on_once() {
    let mut census = census();
    let third = entry(3, 1, State::Alive);
    assert_eq!(hear(&mut census, at(1), third), [third]);
    assert_eq!(hear(&mut census, at(2), third), []);
    assert_eq!(alive(&census), [0, 1, 2, 3]);
}

#[test]
fn of_one_life_the_death_holds_and_a_later_life_holds_against_all() {
    let mut census = census();
    for (incarnation, state, news) in [
        (5, State::Alive, true),
        (5, State::Dead, true),
        (5, State::Alive, false),
        (4, State::Alive, false),
        (6, State::Alive, true),
        (5, State::Dead, false),
        (6, State::Left, true),
        (6, State::Dead, false),
    ] {
        let heard = entry(3, incarnation, state);
        assert_eq!(!hear(&mut census, at(1), heard).is_empty(), news, "{heard:?}");
    }
    assert_eq!(census.entry(at(1), 3), Some(entry(3, 6, State::Left)));
}

#[test]
fn a_neighbour_that_is_lost_is_dead_and_one_that_is_demoted_is_not() {
    for (reason, dead) in [
        (Reason::Lost(Why::Broken), true),
        (Reason::Lost(Why::Closed), true),
        (Reason::Silent, true),
        (Reason::Demoted, false),
        (Reason::Left, false),
        (Reason::Lost(Why::QueueFull), false),
    ] {
        let mut census = census();
        let told = census.link_down(at(1), Peer(1), reason);
        assert_eq!(told, dead.then_some(entry(1, 1, State::Dead)), "{reason}");
        assert_eq!(alive(&census).contains(&1), !dead);
    }
}

#[test]
fn who_lives_again_does_not_die_with_its_earlier_life() {
    let mut census = census();
    hear(&mut census, at(1), entry(2, 2, State::Alive));
    assert_eq!(census.link_down(at(1), Peer(2), Reason::Silent), None);
    assert_eq!(alive(&census), [0, 1, 2]);
}

#[test]
fn who_hears_of_his_own_death_goes_on_to_a_later_life() {
    let mut census = census();
    for (heard, refuted) in [(1, true), (1, false), (7, true)] {
        let dead = [entry(1, 1, State::Alive), entry(0, heard, State::Dead)];
        assert_eq!(census.received(at(1), Peer(1), &dead), (vec![], refuted));
    }
    assert_eq!(census.own(at(1)), entry(0, 8, State::Alive));
}

#[test]
fn who_is_silent_for_three_refreshes_is_taken_for_dead() {
    let mut census = census();
    census.refreshed(at(4), 1, 1, REFRESH);
    for seconds in 0..=18 {
        census.timeout(at(seconds));
        assert_eq!(alive(&census).contains(&2), seconds <= 15, "at {seconds}");
    }
    assert_eq!(alive(&census), [0, 1]);
    census.refreshed(at(18), 2, 1, REFRESH);
    assert_eq!(alive(&census), [0, 1, 2], "and for alive again when it speaks");
    for seconds in 19..60 {
        census.timeout(at(seconds));
    }
    assert_eq!(census.entry(at(60), 2), None, "at last it is forgotten");
    assert_eq!(alive(&census), [0]);
}

#[test]
fn the_more_servers_there_are_the_more_seldom_each_says_that_it_is_alive() {
    for (servers, seconds) in [(250, 5), (1_000, 20), (7_000, 140)] {
        let mut census = census();
        let seldom = Duration::from_secs(1_000);
        let others = (1..servers).map(|number| Entry { refresh: seldom, ..entry(number, 1, State::Alive) });
        census.received(at(1), Peer(1), &others.collect::<Vec<Entry>>());
        let said: Vec<(u64, Entry)> =
            (1..=700).filter_map(|second| Some((second, census.timeout(at(second))?))).collect();
        let refresh = Duration::from_secs(seconds);
        assert!(said.iter().all(|said| said.1 == Entry { refresh, ..entry(0, 1, State::Alive) }));
        let pauses: Vec<u64> = said.windows(2).map(|said| said[1].0 - said[0].0).collect();
        // The first is shorter where it has grown, since others have learned of them at the same moment.
        assert!(pauses[0] <= seconds && pauses[1..].iter().all(|pause| *pause == seconds), "{pauses:?}");
        assert!(pauses.len() >= 4, "{pauses:?}");
    }
}

#[test]
fn who_says_that_it_is_heard_more_seldom_is_waited_for_longer() {
    let mut census = census();
    census.refreshed(at(0), 3, 1, Duration::from_secs(140));
    for seconds in 0..=420 {
        census.timeout(at(seconds));
        assert!(alive(&census).contains(&3), "at {seconds}");
    }
    for seconds in 421..=423 {
        census.timeout(at(seconds));
    }
    assert!(!alive(&census).contains(&3));
    census.refreshed(at(424), 3, 1, Duration::MAX);
    census.timeout(at(5_000));
    assert!(!alive(&census).contains(&3), "but not for ever");
}

#[test]
fn passing_an_entry_on_does_not_make_it_younger() {
    let mut census = census();
    assert_eq!(hear(&mut census, at(20), old(entry(3, 1, State::Alive), 14)).len(), 1);
    census.timeout(at(21));
    assert!(alive(&census).contains(&3));
    census.timeout(at(23));
    assert!(!alive(&census).contains(&3));
    assert_eq!(hear(&mut census, at(40), old(entry(4, 1, State::Alive), 16)), []);
    assert!(!alive(&census).contains(&4));
    let told = census.link_up(at(23), Peer(7));
    assert!(told.iter().all(|entry| entry.number != 3), "{told:?}");
}

#[test]
fn a_death_is_told_until_it_is_forgotten() {
    let mut census = census();
    hear(&mut census, at(0), entry(3, 1, State::Dead));
    census.timeout(at(20));
    assert!(census.link_up(at(20), Peer(7)).contains(&old(entry(3, 1, State::Dead), 20)));
    census.timeout(at(31));
    assert_eq!(census.entry(at(31), 3), None);
}

#[test]
fn who_is_dead_here_and_speaks_is_told_so_at_most_once_a_refresh() {
    let mut census = census();
    hear(&mut census, at(10), entry(3, 1, State::Dead));
    assert_eq!(census.refreshed(at(11), 3, 1, REFRESH), Some(old(entry(3, 1, State::Dead), 1)));
    assert_eq!(census.refreshed(at(12), 3, 1, REFRESH), None);
    assert_eq!(census.refreshed(at(17), 3, 2, REFRESH), None, "a later life");
    assert!(alive(&census).contains(&3));
}

#[test]
fn who_leaves_is_not_alive_until_it_comes_back() {
    let mut census = census();
    census.leave(at(1));
    assert_eq!(census.own(at(1)), entry(0, 1, State::Left));
    assert_eq!(census.timeout(at(20)), None, "it does not say that it is alive");
    assert_eq!(alive(&census).first(), None);
    census.link_up(at(21), Peer(7));
    assert_eq!(census.own(at(21)), entry(0, 2, State::Alive));
}

#[test]
fn a_life_that_nobody_could_follow_is_not_believed() {
    let mut census = census();
    let last = [entry(1, 1, State::Alive), entry(0, u64::MAX, State::Dead), entry(2, u64::MAX, State::Dead)];
    assert_eq!(census.received(at(1), Peer(1), &last), (vec![], false));
    assert_eq!(alive(&census), [0, 1, 2]);
}

#[test]
fn one_that_has_just_started_does_not_bring_the_silent_back() {
    let mut service = Service::new(Peer(0), 0, 1, ServiceOptions::default());
    let mut out = Sends::default();
    let mut tell = |service: &mut Service<Peer>, seconds, happening| {
        service.handle(at(seconds), happening, &mut out);
        out.drain().collect::<Vec<_>>()
    };
    for peer in [1, 2] {
        tell(&mut service, 1, Happening::LinkUp(Peer(peer)));
    }
    let entries = [entry(1, 1, State::Alive), old(entry(7, 1, State::Alive), 14)].into();
    let message = ServiceMessage::Entries(entries);
    let said = tell(&mut service, 1, Happening::Message { from: Peer(1), message });
    let [(Peer(2), ServiceMessage::Entries(passed_on))] = &said[..] else { panic!("{said:?}") };
    assert_eq!(passed_on[2..], [old(entry(7, 1, State::Alive), 14)]);
    assert!(service.alive().any(|number| number == 7));
    for seconds in 2..5 {
        tell(&mut service, seconds, Happening::Timeout);
    }
    assert!(service.alive().all(|number| number != 7));
}

proptest! {
    #[test]
    fn the_order_of_entries_does_not_matter(
        entries in prop::collection::vec((1..4_u16, 0..4_u64, 0..3_u8), 1..12), seed: u64
    ) {
        let state = |state| [State::Alive, State::Dead, State::Left][usize::from(state)];
        let mut entries: Vec<Entry> =
            entries.into_iter().map(|(number, life, kind)| entry(number, life, state(kind))).collect();
        let table = |entries: &[Entry]| {
            let mut census = Census::<Peer>::new(0, 1, REFRESH);
            for entry in entries {
                census.received(at(1), Peer(1), &[*entry]);
            }
            (1..4).map(|number| census.entry(at(1), number)).collect::<Vec<_>>()
        };
        let one = table(&entries);
        Rng::new(seed).shuffle(&mut entries);
        prop_assert_eq!(one, table(&entries));
    }

    #[test]
    fn messages_survive_their_bytes(
        entries in prop::collection::vec((any::<u16>(), any::<u64>(), 0..3_u8, any::<u32>(), any::<u32>()), 0..20)
    ) {
        let state = |state| [State::Alive, State::Dead, State::Left][usize::from(state)];
        let entries = entries.into_iter().map(|(number, incarnation, kind, age_ms, refresh_ms)| Entry {
            number,
            incarnation,
            state: state(kind),
            age: Duration::from_millis(age_ms.into()),
            refresh: Duration::from_millis(refresh_ms.into()),
        });
        let message = ServiceMessage::<Peer>::Entries(entries.collect());
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert_eq!(ServiceMessage::decode(Port(0), &bytes), Ok(message));
    }

    #[test]
    fn no_bytes_are_too_odd(mut bytes: Vec<u8>, tag in 0..4_u8) {
        let _ = ServiceMessage::<Peer>::decode(Port(0), &bytes);
        bytes.insert(0, tag);
        let _ = ServiceMessage::<Peer>::decode(Port(0), &bytes);
    }

    #[test]
    fn nothing_a_neighbour_says_ends_this_server(
        said in prop::collection::vec((0..3_u16, any::<u64>(), 0..3_u8, any::<u32>(), any::<u32>()), 0..40)
    ) {
        let mut service = Service::new(Peer(0), 0, 1, ServiceOptions::default());
        let mut out = Sends::default();
        service.handle(Time::ZERO, Happening::LinkUp(Peer(1)), &mut out);
        for (number, incarnation, kind, age_ms, refresh_ms) in said {
            let state = [State::Alive, State::Dead, State::Left][usize::from(kind)];
            let [age, refresh] = [age_ms, refresh_ms].map(|ms| Duration::from_millis(ms.into()));
            let entry = Entry { number, incarnation, state, age, refresh };
            let message = ServiceMessage::Entries([entry].into());
            service.handle(at(1), Happening::Message { from: Peer(1), message }, &mut out);
            prop_assert_eq!(service.alive().next(), Some(0));
        }
        service.handle(at(1), Happening::LinkDown(Peer(1), Reason::Silent), &mut out);
        prop_assert_eq!(service.alive().next(), Some(0));
    }
}

// Whole networks.

fn network(count: u32) -> Network<Service<Peer>> {
    let number = |peer: Peer| u16::try_from(peer.0).unwrap();
    Network::new(count, |peer| Service::new(peer, number(peer), 1, ServiceOptions::default()))
}

fn all_say(network: &Network<Service<Peer>>, among: impl Fn(u32) -> bool, expected: &BTreeSet<u16>) {
    for (number, service) in (0..).zip(&network.layers).filter(|(number, _)| among(*number)) {
        let alive: BTreeSet<u16> = service.alive().collect();
        assert_eq!(alive, *expected, "at {number}");
    }
}

#[test]
fn all_know_of_all_soon_after_their_links_are_up_and_for_as_long_as_they_live() {
    let mut network = network(40);
    network.link_at_random(2, &mut Rng::new(1));
    network.run(Duration::from_millis(50));
    all_say(&network, |_| true, &(0..40).collect());
    network.run(Duration::from_secs(60));
    all_say(&network, |_| true, &(0..40).collect());
}

#[test]
fn a_crash_is_known_everywhere_as_soon_as_a_neighbour_has_noticed() {
    let mut network = network(40);
    network.link_at_random(3, &mut Rng::new(2));
    network.run(Duration::from_secs(10));
    (10..20).for_each(|node| network.cut_off(node));
    network.run(Duration::from_millis(50));
    let expected = (0..40).filter(|number| !(10..20).contains(number)).collect();
    all_say(&network, |number| !(10..20).contains(&number), &expected);
}

#[test]
fn one_that_only_lost_a_link_is_alive_again_at_once() {
    let mut network = network(20);
    network.link_at_random(2, &mut Rng::new(3));
    network.run(Duration::from_secs(10));
    let other = network.neighbours(5)[0];
    network.unlink(5, other, Reason::Lost(Why::Broken));
    network.run(Duration::from_millis(50));
    all_say(&network, |_| true, &(0..20).collect());
    assert!(network.layers[5].counters().contains(&("own_deaths_refuted", 1)));
}

#[test]
fn after_a_partition_all_know_of_all_again() {
    for seconds in [1, 10, 20, 28, 40, 100] {
        let mut network = network(20);
        for node in 0..20 {
            network.link(node, node / 10 * 10 + (node + 1) % 10);
        }
        network.link(3, 14);
        network.link(4, 15);
        network.run(Duration::from_secs(10));
        network.unlink(3, 14, Reason::Silent);
        network.unlink(4, 15, Reason::Demoted);
        network.run(Duration::from_secs(seconds));
        if seconds >= 20 {
            all_say(&network, |number| number < 10, &(0..10).collect());
        }
        network.link(7, 18);
        network.run(Duration::from_secs(6));
        all_say(&network, |_| true, &(0..20).collect());
    }
}

#[test]
fn who_leaves_is_gone_at_once() {
    let mut network = network(10);
    network.link_at_random(2, &mut Rng::new(4));
    network.run(Duration::from_secs(3));
    network.act(4, Service::leave);
    network.run(Duration::from_millis(50));
    all_say(&network, |_| true, &(0..10).filter(|number| *number != 4).collect());
}

#[test]
fn what_users_say_is_delivered_as_they_said_it() {
    let mut network = network(10);
    network.link_at_random(2, &mut Rng::new(5));
    network.run(Duration::from_secs(7));
    for text in ["one", "", "three"] {
        network.act(4, |service, now, out| service.broadcast(now, text.as_bytes(), out)).expect("short");
        network.run(Duration::from_secs(6));
    }
    for (number, service) in network.layers.iter_mut().enumerate() {
        let mut heard = Vec::new();
        while let Some(news) = service.next_news() {
            if let News::Delivered(delivered) = news {
                heard.push(delivered.payload);
            }
        }
        let expected: &[&str] = if number == 4 { &[] } else { &["one", "", "three"] };
        assert_eq!(heard, expected, "at {number}");
    }
}

#[test]
fn a_payload_of_the_longest_length_gets_through() {
    let mut network = network(2);
    network.link(0, 1);
    let (longest, longer) = (vec![7; 1 << 20], vec![7; (1 << 20) + 1]);
    network.act(0, |service, now, out| service.broadcast(now, &longest, out)).expect("not too long");
    network.act(0, |service, now, out| service.broadcast(now, &longer, out)).expect_err("too long");
    network.run(Duration::from_secs(1));
    let news = std::iter::from_fn(|| network.layers[1].next_news());
    let lengths: Vec<usize> = news
        .filter_map(|news| match news {
            News::Delivered(delivered) => Some(delivered.payload.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [1 << 20]);
}
