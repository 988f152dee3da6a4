//! Servers of an overlay: whole servers, over simulated streams.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ovid::agent::{Port, Wire};
use ovid::agents::overlay::{
    Blob, BroadcastMessage, Control, Message, MessageId, PlumtreeMessage, ServiceMessage,
};
use ovid::grid::BoxAddress;
use ovid::server::{ConnId, Door, OverlayStatus, Server};
use ovid::sim::servers::{Visitor, overlay_lab};
use ovid::time::Time;
use ovid::wire::frame;

use crate::world::World;

/// Something in which links and active views differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// A connection that is no neighbour's, or one of two to the same neighbour.
    Connection { server: u16, connection: u64 },
    /// A neighbour to whom there is no connection, or to whom the server is none.
    Neighbour { server: u16, neighbour: u16 },
}

impl World {
    fn overlay_status(&mut self, id: u16) -> OverlayStatus {
        serde_json::from_str(&self.ask_now(id, "status")).expect("a status")
    }

    /// The neighbours of a server, by number.
    fn neighbours(&mut self, id: u16) -> BTreeSet<u16> {
        let answer = self.ask_now(id, "peers");
        let peers = answer.strip_prefix("peers ").expect("an answer to peers");
        let number = |peer: &str| peer.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        peers.split(',').filter_map(number).map(|port| port - 3000).collect()
    }

    /// In what links and active views differ now.
    fn differences(&mut self) -> BTreeSet<Difference> {
        let running = self.running();
        let neighbours: BTreeMap<u16, BTreeSet<u16>> =
            running.into_iter().map(|id| (id, self.neighbours(id))).collect();
        let mut differences = BTreeSet::new();
        for (id, theirs) in &neighbours {
            let mut unlinked = theirs.clone();
            for (connection, other) in self.connections(*id) {
                if !other.is_some_and(|other| unlinked.remove(&other)) {
                    differences.insert(Difference::Connection { server: *id, connection });
                }
            }
            let knows = |other: &u16| neighbours.get(other).is_some_and(|theirs| theirs.contains(id));
            let alone = theirs.iter().filter(|other| unlinked.contains(other) || !knows(other));
            differences.extend(alone.map(|other| Difference::Neighbour { server: *id, neighbour: *other }));
        }
        differences
    }

    /// A master that watches server `id`.
    fn watcher(&mut self, id: u16) -> Visitor {
        let watcher = self.connect(id, Door::Masters);
        self.send(watcher, b"watch\n");
        self.run_ms(50);
        assert_eq!(self.lines(watcher), ["watching"]);
        watcher
    }

    fn lines(&mut self, visitor: Visitor) -> Vec<String> {
        let bytes = self.take(visitor);
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn broadcast(&mut self, id: u16, text: &str) {
        assert_eq!(self.ask_now(id, &format!("broadcast {text}")), "");
    }

    /// Waits until the log of every server that runs ends with these messages, in any order.
    fn await_in_all_logs(&mut self, messages: &[String]) {
        let wanted: BTreeSet<&String> = messages.iter().collect();
        self.wait_until("all logs hold the last messages", |world| {
            world.running().into_iter().all(|id| {
                let answer = world.ask_now(id, "get");
                let log: BTreeSet<String> =
                    answer.trim_start_matches("messages ").split(',').map(str::to_owned).collect();
                wanted.iter().all(|message| log.contains(*message))
            })
        });
    }
}

#[test]
fn messages_reach_everybody_in_their_senders_order() {
    let mut world = World::of_overlay(20, 1);
    for id in 0..20 {
        assert!(world.neighbours(id).len() <= 5, "a sparse graph");
    }
    let mut messages = Vec::new();
    for round in 0..10 {
        for id in 0..20 {
            messages.push(format!("{id}-{round}"));
            world.broadcast(id, &format!("{id}-{round}"));
        }
        world.run_ms(5);
    }
    world.await_in_all_logs(&messages);
    for id in 0..20 {
        let log = world.log(id);
        assert_eq!(log.len(), messages.len(), "each once");
        for sender in 0..20 {
            let theirs: Vec<&String> =
                log.iter().filter(|message| message.starts_with(&format!("{sender}-"))).collect();
            let expected: Vec<String> = (0..10).map(|round| format!("{sender}-{round}")).collect();
            assert_eq!(theirs, expected.iter().collect::<Vec<_>>(), "at server {id}");
        }
    }
}

/// Letters have connections of their own, and neighbours come and go: at any single moment there may be more connections than neighbours, so what counts
/// is that nothing of the kind lasts. Letters leave at the same moment of each second here, so looks that are whole seconds apart would show one each time.
#[test]
fn links_are_those_of_the_active_views() {
    const LASTS_MS_MAX: u32 = 50;
    for seed in [2, 3] {
        let mut world = World::of_overlay(15, seed);
        world.run_ms(10_000);
        let (mut lasting, mut seen) = (BTreeMap::new(), 0);
        for _ in 0..5_000 {
            world.run_ms(1);
            let differences = world.differences();
            lasting.retain(|difference, _| differences.contains(difference));
            for difference in differences {
                let ms = lasting.entry(difference).or_insert(0);
                *ms += 1;
                seen += u32::from(*ms == 1);
                assert!(*ms <= LASTS_MS_MAX, "seed {seed}: {difference:?}, for {ms} ms at {:?}", world.now());
            }
        }
        assert!(seen > 0, "no letter was ever seen under way");
    }
}

#[test]
fn the_dead_are_missed_and_the_living_stay_connected() {
    let mut world = World::of_overlay(20, 3);
    for id in (0..20).filter(|id| id % 2 == 0) {
        world.kill(id);
    }
    let living: Vec<u16> = (0..20).filter(|id| id % 2 == 1).collect();
    world.await_all_see(&living);
    let messages: Vec<String> = living.iter().map(|id| format!("after-{id}")).collect();
    for id in &living {
        world.broadcast(*id, &format!("after-{id}"));
    }
    world.await_in_all_logs(&messages);
    world.start(4);
    let living: Vec<u16> = (0..20).filter(|id| id % 2 == 1 || *id == 4).collect();
    world.await_all_see(&living);
}

#[test]
fn islands_find_each_other_again() {
    let mut world = World::of_overlay(16, 4);
    let (west, east): (Vec<u16>, Vec<u16>) = (0..16).partition(|id| id % 2 == 0);
    let cuts = [world.part(&west, &east), world.part(&east, &west)];
    world.run_ms(20_000);
    for id in &west {
        let neighbours = world.neighbours(*id);
        assert!(neighbours.iter().all(|other| west.contains(other)), "{id} has given up {neighbours:?}");
    }
    for cut in cuts {
        world.heal(cut);
    }
    world.await_all_see(&(0..16).collect::<Vec<_>>());
    world.broadcast(0, "together again");
    world.await_in_all_logs(&["together again".to_owned()]);
}

#[test]
fn programs_hear_of_neighbours_and_of_what_they_send() {
    let mut world = World::of_overlay(3, 5);
    assert_eq!(world.neighbours(0), BTreeSet::from([1, 2]));
    let watcher = world.watcher(0);
    assert_eq!(world.ask(1, "send 127.0.0.1:3000 aGVsbG8="), "sent 127.0.0.1:3000");
    world.run_ms(100);
    assert_eq!(world.lines(watcher), ["message 127.0.0.1:3001 aGVsbG8="]);
    world.kill(2);
    world.run_ms(2_000);
    let lines = world.lines(watcher);
    assert!(
        lines.iter().any(
            |line| line == "link_down 127.0.0.1:3002 broken" || line == "link_down 127.0.0.1:3002 closed"
        ),
        "{lines:?}"
    );
    world.start(2);
    world.wait_until("2 is back", |world| world.neighbours(0).contains(&2));
    let lines = world.lines(watcher);
    assert!(lines.contains(&"link_up 127.0.0.1:3002".to_owned()), "{lines:?}");
}

/// What a server has said over a connection, as lines.
fn said(server: &mut Server, conn: ConnId, now: Time) -> Vec<String> {
    let Some(queue) = server.outgoing(conn) else { return Vec::new() };
    let bytes = queue.slices().iter().map(|slice| slice.to_vec()).collect::<Vec<_>>().concat();
    if !bytes.is_empty() {
        server.wrote(conn, bytes.len(), now);
    }
    String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
}

fn says(message: &Message<BoxAddress, ServiceMessage<BoxAddress>>) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    frame("overlay", "overlay", Port::ANSWERS, &bytes)
}

/// A broadcast of server 7.
fn gossip(seq: u64, text: &str) -> Bytes {
    let id = MessageId { source: "127.0.0.1:3007".parse().expect("an address"), incarnation: 1, seq };
    // The first byte says that it is the chatroom's.
    let payload = Blob(format!("\0msg 7 {text}\n").into());
    let gossip = PlumtreeMessage::Gossip { id, round: 0, payload };
    says(&Message::Payload(ServiceMessage::Broadcast(BroadcastMessage::Tree(gossip))))
}

/// With room for one neighbour only: the first one has to go when the second comes, and is gone for those who watch when its link has not been closed for
/// as long as a request may take. At that very moment a gap is skipped, so that the message behind it is delivered in the same turn.
#[test]
fn who_watches_hears_of_links_and_broadcasts_in_the_order_in_which_they_happened() {
    let mut now = Time::ZERO;
    let mut server = overlay_lab(10, |_, setup| {
        setup.options.active_size = 1;
        setup.options.k_active = 1;
        setup.options.keep_alive = Duration::ZERO;
        setup.options.timeout = Duration::from_secs(5);
        setup.contacts.clear();
    })(0, 1, now);
    let master = server.accepted(Door::Masters, now);
    server.received(master, b"watch broadcasts\n", now);
    for (number, broadcasts) in [(1, vec![gossip(1, "one"), gossip(3, "three")]), (2, Vec::new())] {
        let link = server.accepted(Door::Links, now);
        server.received(link, format!("ping 127.0.0.1:300{number}\n").as_bytes(), now);
        server.received(link, &says(&Message::Control(Control::Join)), now);
        for broadcast in broadcasts {
            server.received(link, &broadcast, now);
        }
    }
    let expected = ["watching", "link_up 127.0.0.1:3001", "msg 7 one", "link_up 127.0.0.1:3002"];
    assert_eq!(said(&mut server, master, now), expected);
    while now < Time::ZERO + Duration::from_secs(5) {
        assert_eq!(said(&mut server, master, now), [""; 0], "at {now:?}");
        now = server.deadline();
        server.timeout(now);
    }
    assert_eq!(now, Time::ZERO + Duration::from_secs(5));
    assert_eq!(said(&mut server, master, now), ["link_down 127.0.0.1:3001 demoted", "msg 7 three"]);
}

#[test]
fn commands_that_cannot_be_carried_out_say_why() {
    let mut world = World::of_overlay(2, 6);
    assert_eq!(world.ask(0, "peers"), "peers 127.0.0.1:3001");
    assert_eq!(world.ask(0, "join 127.0.0.1:3001"), "joining 127.0.0.1:3001");
    for (command, word) in [
        ("join nowhere", "address"),
        ("join 127.0.0.1:3000", "address"),
        ("send 127.0.0.1:3001", "usage"),
        ("send 127.0.0.1:3009 aGk=", "peer"),
        ("send 127.0.0.1:3001 %%%", "base64"),
    ] {
        let answer = world.ask(0, command);
        assert!(answer.starts_with(&format!("error {word} ")), "{command}: {answer}");
    }
    assert!(world.ask(0, "dance").starts_with("error unknown command"));
    assert_eq!(world.ask(0, "alive"), "alive 0,1");
    let status = world.overlay_status(0);
    assert_eq!((status.id, status.n, status.active), (0, 2, vec!["127.0.0.1:3001".to_owned()]));
}

#[test]
fn the_longest_line_breaks_no_link() {
    let mut world = World::of_overlay(3, 9);
    let watcher = world.watcher(1);
    let message = "x".repeat((1 << 20) - "broadcast ".len() - 1);
    let master = world.connect(0, Door::Masters);
    world.send(master, format!("broadcast before\nbroadcast {message}\nbroadcast behind\n").as_bytes());
    world.await_in_all_logs(&["before".to_owned(), message, "behind".to_owned()]);
    assert_eq!(world.lines(watcher), [""; 0], "no link has gone down");
}

#[test]
fn a_letter_is_short() {
    let mut world = World::of_overlay(2, 10);
    let stranger = world.connect(0, Door::Links);
    world.send(stranger, b"letter 127.0.0.1:9\nframe overlay overlay 1 1000000\n");
    world.run_ms(100);
    assert!(world.is_closed(stranger), "nobody keeps a million bytes of a stranger");
}

#[test]
fn strangers_with_rubbish_harm_nobody() {
    let mut world = World::of_overlay(5, 7);
    let rubbish: [&[u8]; 7] = [
        b"ping 127.0.0.1:9\nframe overlay overlay 0 3\n\xff\xff\xff",
        b"ping 127.0.0.1:9\nframe a b 0 99999999999\n",
        b"letter 127.0.0.1:9\nframe overlay overlay 1 2\n\x07\x00",
        b"letter 127.0.0.1:9\nno frame at all\n",
        b"letter nobody\n",
        b"ping 3\n",
        b"\n\n\n",
    ];
    for round in 0..200 {
        let id = u16::try_from(world.random(5)).expect("small");
        let stranger = world.connect(id, Door::Links);
        let piece = rubbish[world.random(rubbish.len())];
        world.send(stranger, piece);
        if round % 3 == 0 {
            world.hang_up(stranger);
        }
        world.run_ms(20);
    }
    // Names that nobody answers to, more than there may be numbers.
    for port in 20_000..21_500 {
        let stranger = world.connect(0, Door::Links);
        world.send(stranger, format!("ping 127.0.0.1:{port}\n").as_bytes());
        world.run_ms(1);
        world.hang_up(stranger);
    }
    world.run_ms(3_000);
    world.await_all_see(&[0, 1, 2, 3, 4]);
    world.broadcast(3, "still here");
    world.await_in_all_logs(&["still here".to_owned()]);
}

#[test]
fn a_frozen_server_is_missed_and_comes_back() {
    let mut world = World::of_overlay(8, 8);
    world.pause(3);
    let others: Vec<u16> = (0..8).filter(|id| *id != 3).collect();
    world.wait_until("3 is missed", |world| {
        others.iter().all(|id| !world.ask_now(*id, "alive").split([' ', ',']).any(|word| word == "3"))
    });
    world.resume(3);
    world.await_all_see(&(0..8).collect::<Vec<_>>());
}
