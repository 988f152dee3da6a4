//! Links between servers: who is up, who is alive, what is in the logs, whatever the streams do.

use std::time::Duration;

use ovid::server::{Door, PeerState};
use proptest::prelude::*;

use crate::world::World;

fn broadcast(world: &mut World, id: u16, messages: impl IntoIterator<Item = String>) {
    let master = world.connect(id, Door::Masters);
    for message in messages {
        world.send(master, format!("broadcast {message}\n").as_bytes());
    }
}

fn numbered(sender: u16, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{sender}:{number}")).collect()
}

/// The messages of one sender, in the order of a log.
fn of_sender(log: &[String], sender: u16) -> Vec<String> {
    log.iter().filter(|message| message.starts_with(&format!("{sender}:"))).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn servers_find_each_other_in_any_order_of_starts(
        order in Just((0u16..6).collect::<Vec<_>>()).prop_shuffle(),
        pauses_ms in proptest::collection::vec(0u64..400, 6),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(6, seed);
        for (id, pause_ms) in order.into_iter().zip(pauses_ms) {
            world.start(id);
            world.run_ms(pause_ms);
        }
        world.run_ms(150);
        world.assert_all_see(&[0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn every_log_has_each_senders_messages_once_and_in_order(seed in any::<u64>()) {
        let mut world = World::linked(4, seed);
        let counts: Vec<usize> = (0..4).map(|_| world.random(300)).collect();
        for (sender, count) in (0..).zip(&counts) {
            broadcast(&mut world, sender, numbered(sender, *count));
        }
        world.run_ms(300);
        for id in 0..4 {
            let log = world.log(id);
            prop_assert_eq!(log.len(), counts.iter().sum::<usize>());
            for (sender, count) in (0..).zip(&counts) {
                prop_assert_eq!(of_sender(&log, sender), numbered(sender, *count));
            }
        }
    }

    #[test]
    fn a_kill_in_a_burst_leaves_a_prefix_of_it_in_every_log(seed in any::<u64>()) {
        let mut world = World::linked(4, seed);
        broadcast(&mut world, 2, numbered(2, 500));
        let pause_ms = world.random(4) as u64;
        world.run_ms(pause_ms);
        world.kill(2);
        world.run_ms(100);
        world.assert_all_see(&[0, 1, 3]);
        broadcast(&mut world, 0, ["after".to_owned()]);
        world.run_ms(50);
        for id in [0, 1, 3] {
            let log = world.log(id);
            let burst = of_sender(&log, 2);
            prop_assert_eq!(&burst[..], &numbered(2, 500)[..burst.len()]);
            prop_assert_eq!(log.last().map(String::as_str), Some("after"));
        }
    }

    #[test]
    fn resets_in_a_burst_lose_messages_but_never_double_or_swap_them(seed in any::<u64>()) {
        let mut world = World::linked(4, seed);
        let masters: Vec<_> = (0..4).map(|id| world.connect(id, Door::Masters)).collect();
        for number in 0..60 {
            for (sender, master) in masters.iter().enumerate() {
                world.send(*master, format!("broadcast {sender}:{number}\n").as_bytes());
            }
            world.run_ms(1);
            if world.random(4) == 0 {
                let one = u16::try_from(world.random(4)).expect("small");
                let other = (one + 1 + u16::try_from(world.random(3)).expect("small")) % 4;
                world.break_between(one, other);
            }
        }
        world.run_ms(1500);
        world.assert_all_see(&[0, 1, 2, 3]);
        for (sender, master) in masters.iter().enumerate() {
            world.send(*master, format!("broadcast {sender}:60\n").as_bytes());
        }
        world.run_ms(50);
        for id in 0..4 {
            let log = world.log(id);
            for sender in 0..4 {
                let numbers: Vec<usize> = of_sender(&log, sender)
                    .iter()
                    .map(|message| message[2..].parse().expect("a number"))
                    .collect();
                prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", numbers);
                prop_assert_eq!(numbers.last(), Some(&60));
                prop_assert!(id != sender || numbers.len() == 61, "its own log lacks something");
            }
        }
    }

    #[test]
    fn any_bytes_of_strangers_and_peers_leave_the_grid_as_it_was(
        seed in any::<u64>(),
        rubbish in proptest::collection::vec(proptest::collection::vec(
            prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b' ')], 0..600), 1..6),
        named in any::<bool>(),
    ) {
        let mut world = World::new(4, seed);
        for id in 0..3 {
            world.start(id);
        }
        world.run_ms(100);
        for bytes in rubbish {
            let stranger = world.connect(0, Door::Links);
            if named {
                world.send(stranger, b"ping 3\n");
            }
            world.send(stranger, &bytes);
            world.run_ms(20);
            world.hang_up(stranger);
        }
        world.run_ms(100);
        world.assert_all_see(&[0, 1, 2]);
        broadcast(&mut world, 1, ["still here".to_owned()]);
        world.run_ms(50);
        for id in 0..3 {
            let log = world.log(id);
            prop_assert_eq!(log.last().map(String::as_str), Some("still here"));
        }
    }
}

#[test]
fn a_frozen_server_is_suspected_and_gets_everything_once_it_thaws() {
    let mut world = World::linked(3, 1);
    broadcast(&mut world, 1, ["1:0".to_owned()]);
    world.run_ms(50);
    world.pause(1);
    world.run_ms(500);
    world.assert_all_see(&[0, 1, 2]);
    world.run_ms(301);
    world.assert_all_see(&[0, 2]);
    // More than the streams hold, so that much of it waits in the queue.
    let long: Vec<String> = (0..400).map(|number| format!("0:{number}{}", "x".repeat(1500))).collect();
    broadcast(&mut world, 0, long.clone());
    world.run_ms(2000);
    assert_eq!(world.status(0).peers[0].state, PeerState::Suspected);
    assert!(world.status(0).bytes_queued > 100_000, "{:?}", world.status(0));
    world.resume(1);
    world.run_ms(400);
    world.assert_all_see(&[0, 1, 2]);
    assert!(of_sender(&world.log(1), 0) == long, "lost, doubled or out of order");
    assert_eq!(world.status(0).links_dropped, 0);
}

#[test]
fn a_frozen_peer_does_not_hold_back_masters() {
    let mut world = World::linked(3, 2);
    world.pause(2);
    world.run_ms(900);
    let messages: Vec<String> = (0..200).map(|number| format!("0:{number}{}", "x".repeat(50_000))).collect();
    broadcast(&mut world, 0, messages.clone());
    world.run_ms(3000);
    assert_eq!(world.status(0).messages, 200);
    assert_eq!(world.status(1).messages, 200);
}

#[test]
fn a_queue_past_its_limit_drops_the_link_and_the_peer_comes_back() {
    let mut world = World::new(2, 3);
    world.tune(|settings| settings.server.links.queue_bytes_max = 1_000_000);
    world.start(0);
    world.start(1);
    world.run_ms(100);
    world.pause(1);
    world.run_ms(900);
    for _ in 0..40 {
        broadcast(&mut world, 0, ["y".repeat(50_000)]);
        world.run_ms(5);
    }
    assert_eq!(world.status(0).links_dropped, 1);
    assert_eq!(world.status(0).peers[0].state, PeerState::Absent);
    assert!(world.status(0).bytes_queued < 1_000_000);
    world.resume(1);
    world.run_ms(300);
    world.assert_all_see(&[0, 1]);
    broadcast(&mut world, 0, ["0:after".to_owned()]);
    world.run_ms(50);
    assert_eq!(of_sender(&world.log(1), 0), ["0:after"]);
}

#[test]
fn a_peer_restarted_while_its_old_connection_looks_alive_takes_its_place() {
    for seed in 0..20 {
        let mut world = World::linked(3, seed);
        world.vanish(2);
        world.start(2);
        world.run_ms(100);
        world.assert_all_see(&[0, 1, 2]);
        assert!(world.log(2).is_empty(), "a restarted server begins with an empty log");
        broadcast(&mut world, 0, numbered(0, 20));
        broadcast(&mut world, 2, numbered(2, 20));
        world.run_ms(100);
        for id in 0..3 {
            let log = world.log(id);
            assert_eq!(of_sender(&log, 0), numbered(0, 20));
            assert_eq!(of_sender(&log, 2), numbered(2, 20));
        }
    }
}

#[test]
fn what_the_old_connection_delivered_is_read_before_the_new_one_comes_up() {
    let mut world = World::new(3, 4);
    world.start(0);
    let old = world.connect(0, Door::Links);
    world.send(old, b"ping 2\n");
    world.run_ms(10);
    let new = world.connect(0, Door::Links);
    // Both have something to read in the same turn; whichever the host reads first, the old messages come first.
    world.pause(0);
    let lines: Vec<String> = (0..500).map(|number| format!("msg 2 2:{number}\n")).collect();
    world.send(old, lines.concat().as_bytes());
    world.send(new, b"ping 2\nmsg 2 2:500\n");
    world.run_ms(5);
    world.resume(0);
    world.run_ms(20);
    assert!(world.is_closed(old));
    assert!(!world.is_closed(new));
    assert_eq!(world.log(0), numbered(2, 501));
}

#[test]
fn when_both_sides_dial_the_larger_ids_connection_lives() {
    let mut world = World::new(3, 5);
    world.start(1);
    // A server of another implementation, id 0, dials although its id is smaller: good enough while there is nothing better.
    let wrong_way = world.connect(1, Door::Links);
    world.send(wrong_way, b"ping 0\nmsg 0 0:0\n");
    world.run_ms(20);
    assert_eq!(world.ask(1, "alive"), "alive 0,1");
    assert!(!world.is_closed(wrong_way));
    // Id 2 has a link the right way round; a second one the same way replaces it, as after a restart.
    let first = world.connect(1, Door::Links);
    world.send(first, b"ping 2\n");
    world.run_ms(20);
    let second = world.connect(1, Door::Links);
    world.send(second, b"ping 2\n");
    world.run_ms(20);
    assert!(world.is_closed(first));
    assert!(!world.is_closed(second));
    // Now id 0 really runs and is found by dialling: the connection it had made gives way, what it said is kept.
    world.hang_up(wrong_way);
    world.start(0);
    world.run_ms(100);
    let late = world.connect(1, Door::Links);
    world.send(late, b"ping 0\nmsg 0 0:1\n");
    world.run_ms(20);
    assert!(world.is_closed(late));
    assert_eq!(of_sender(&world.log(1), 0), numbered(0, 2));
    assert_eq!(world.ask(0, "alive"), "alive 0,1");
}

#[test]
fn who_does_not_belong_is_turned_away() {
    let mut world = World::linked(3, 6);
    for first_line in ["ping 3\n", "ping 0\n", "hello\n", "ping\n", "msg x y\n", "ping -1\n"] {
        let stranger = world.connect(0, Door::Links);
        world.send(stranger, first_line.as_bytes());
        world.run_ms(20);
        assert!(world.is_closed(stranger), "{first_line:?}");
    }
    let endless = world.connect(0, Door::Links);
    world.send(endless, &vec![b'x'; 200_000]);
    world.run_ms(100);
    assert!(world.is_closed(endless));
    world.assert_all_see(&[0, 1, 2]);
}

#[test]
fn who_never_says_who_it_is_has_to_go() {
    let mut world = World::linked(2, 7);
    let silent = world.connect(0, Door::Links);
    world.run_ms(1900);
    assert!(!world.is_closed(silent));
    world.run_ms(200);
    assert!(world.is_closed(silent));
    // A thousand at once: the oldest make room.
    let crowd: Vec<_> = (0..1000).map(|_| world.connect(0, Door::Links)).collect();
    world.run_ms(10);
    let open = crowd.iter().filter(|conn| !world.is_closed(**conn)).count();
    assert!(open <= 256, "{open} strangers are kept");
    world.assert_all_see(&[0, 1]);
}

#[test]
fn a_link_is_up_only_after_the_peers_first_line() {
    let mut world = World::new(2, 8);
    world.start(0);
    let peer = world.connect(0, Door::Links);
    world.run_ms(50);
    assert_eq!(world.ask(0, "alive"), "alive 0");
    world.send(peer, b"ping 1");
    world.run_ms(50);
    assert_eq!(world.ask(0, "alive"), "alive 0");
    world.send(peer, b"\n");
    world.run_ms(50);
    assert_eq!(world.ask(0, "alive"), "alive 0,1");
}

#[test]
fn a_ping_comes_at_least_every_500_ms_whatever_the_traffic() {
    for traffic in [false, true] {
        let mut world = World::new(2, 9);
        world.start(0);
        let peer = world.connect(0, Door::Links);
        world.send(peer, b"ping 1\n");
        world.run_ms(50);
        let _ = world.take(peer);
        let master = world.connect(0, Door::Masters);
        let (mut quiet_ms, mut pings, mut unread) = (0, 0, Vec::new());
        for _ in 0..4000 {
            if traffic {
                world.send(master, b"broadcast x\n");
            }
            world.send(peer, b"ping 1\n");
            world.run_ms(1);
            unread.extend(world.take(peer));
            let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines: Vec<u8> = unread.drain(..whole).collect();
            let came = lines.split(|byte| *byte == b'\n').filter(|line| *line == b"ping 0").count();
            quiet_ms = if came > 0 { 0 } else { quiet_ms + 1 };
            pings += came;
            assert!(quiet_ms <= 500, "{quiet_ms} ms without a ping, traffic {traffic}");
        }
        let expected = if traffic { 8..=11 } else { 16..=21 };
        assert!(expected.contains(&pings), "{pings} pings in 4 s, traffic {traffic}");
    }
}

#[test]
fn a_server_that_did_not_run_does_not_blame_its_peers() {
    let mut world = World::linked(3, 10);
    // All of them stand still, as when their machine does.
    world.skip(Duration::from_secs(30));
    world.run_ms(1);
    world.assert_all_see(&[0, 1, 2]);
    // One of them dies while the others stand still; that is seen within the usual time.
    world.pause(2);
    world.skip(Duration::from_secs(30));
    world.run_ms(1100);
    world.assert_all_see(&[0, 1]);
}

#[test]
fn a_peer_of_another_implementation_speaks_only_ping_and_msg() {
    let mut world = World::new(3, 11);
    world.start(0);
    world.start(1);
    let links: Vec<_> = (0..2).map(|id| world.connect(id, Door::Links)).collect();
    for link in &links {
        world.send(*link, b"ping 2\n");
    }
    world.run_ms(100);
    world.assert_all_see(&[0, 1, 2]);
    broadcast(&mut world, 0, ["to you, too".to_owned()]);
    for link in &links {
        world.send(*link, "msg 2 grüße  an alle \n".as_bytes());
    }
    world.run_ms(50);
    let got = String::from_utf8(world.take(links[0])).expect("UTF-8");
    assert!(got.contains("msg 0 to you, too\n"), "{got:?}");
    assert_eq!(world.ask(1, "get").matches("grüße  an alle ").count(), 1);
    // Then it falls silent for good.
    world.run_ms(900);
    world.assert_all_see(&[0, 1]);
}

#[test]
fn lines_that_speak_for_somebody_else_are_dropped() {
    let mut world = World::new(3, 12);
    world.start(0);
    let peer = world.connect(0, Door::Links);
    world.send(peer, b"ping 1\nmsg 2 forged\nping 2\nmsg 1 own\nmsg 1 \xff\xfe\nmsg 1 last\n");
    world.run_ms(50);
    assert_eq!(world.log(0), ["own", "last"]);
    assert_eq!(world.ask(0, "alive"), "alive 0,1");
}

#[test]
fn a_peer_that_lives_but_reads_slowly_holds_back_masters_and_memory_stays_bounded() {
    let mut world = World::new(2, 13);
    world.start(0);
    let peer = world.connect(0, Door::Links);
    world.send(peer, b"ping 1\n");
    world.run_ms(20);
    let master = world.connect(0, Door::Masters);
    let line = format!("broadcast {}\n", "z".repeat(990));
    world.send(master, line.repeat(40_000).as_bytes());
    let mut read = 0;
    for _ in 0..400 {
        world.send(peer, b"ping 1\n");
        world.run_ms(1);
        read += world.take(peer).len();
        assert!(world.status(0).bytes_queued < 5 << 20, "{:?}", world.status(0));
    }
    assert!(read > 1 << 20, "{read} bytes read");
    assert_eq!(world.status(0).links_dropped, 0);
}

#[test]
fn of_two_connections_the_one_opened_later_lives_whichever_speaks_first() {
    let mut world = World::new(2, 14);
    world.start(0);
    let older = world.connect(0, Door::Links);
    let newer = world.connect(0, Door::Links);
    world.send(newer, b"ping 1\n");
    world.run_ms(20);
    world.send(older, b"ping 1\nmsg 1 late\n");
    world.run_ms(20);
    assert!(world.is_closed(older));
    assert!(!world.is_closed(newer));
    assert_eq!(world.log(0), ["late"]);
}

#[test]
fn a_peer_is_dialled_once_at_a_time_whoever_pretends_to_be_it() {
    let mut world = World::new(2, 15);
    world.start(0);
    world.pause(0);
    world.start(1);
    for _ in 0..30 {
        let pretender = world.connect(1, Door::Links);
        world.send(pretender, b"ping 0\n");
        world.run_ms(20);
        world.hang_up(pretender);
        world.run_ms(30);
    }
    assert_eq!(world.connections(1).count(), 1);
    world.resume(0);
    world.run_ms(50);
    world.assert_all_see(&[0, 1]);
}

#[test]
fn many_due_dials_do_not_hide_a_silent_peer() {
    let mut world = World::new(7000, 16);
    world.start(0);
    world.start(6999);
    world.run_ms(5);
    world.assert_all_see(&[0, 6999]);
    world.pause(0);
    // A host whose turns take 20 ms has dials that are due for longer than it may be absent.
    for _ in 0..50 {
        world.skip(Duration::from_millis(19));
        world.run_ms(1);
    }
    world.assert_all_see(&[6999]);
}

#[test]
fn a_peer_that_always_hangs_up_is_dialled_more_and_more_seldom() {
    let mut world = World::new(2, 14);
    world.start(1);
    // Somebody in the place of server 0 says its name and hangs up, as a server of a grid with another n does.
    world.start(0);
    let mut links = 0;
    for _ in 0..200 {
        world.run_ms(20);
        if world.status(1).peers[0].state == PeerState::Alive {
            links += 1;
            world.kill(0);
            world.start(0);
        }
    }
    assert!((5..60).contains(&links), "{links} links in 4 s");
    // Once it holds it is found as soon as ever.
    world.run_ms(1200);
    world.assert_all_see(&[0, 1]);
    world.run_ms(1000);
    world.kill(0);
    world.start(0);
    world.run_ms(60);
    world.assert_all_see(&[0, 1]);
}
