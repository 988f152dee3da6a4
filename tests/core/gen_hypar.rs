//! Servers that speak the frames of `gen_hypar`: one by itself among peers that are played here, byte by byte, as the Erlang node says it;
//! and whole grids over simulated streams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ovid::agents::overlay::Dialect;
use ovid::rng::Rng;
use ovid::server::{Action, ConnId, Door, OverlaySetup, Server};
use ovid::sim::servers::overlay_lab;
use ovid::time::Time;
use ovid::wire::{HyparCutter, HyparFrame};

use crate::world::World;

/// A server by itself, and what it has asked of its host.
struct Alone {
    server: Server,
    now: Time,
    /// Where it has dialled, and the connection that is to become; taken by [`Alone::dialled`].
    dials: Vec<(ConnId, SocketAddr)>,
    /// Connections that it has closed, or ended.
    closed: BTreeSet<ConnId>,
    /// What it has said and nobody has looked at.
    said: BTreeMap<ConnId, Vec<u8>>,
    master: ConnId,
}

impl Alone {
    /// A server at 127.0.0.1:3000 that asks `contact` to be let in.
    fn with_contact(contact: Option<&str>) -> Self {
        let contact: Option<SocketAddr> = contact.map(|contact| contact.parse().expect("an address"));
        let mut maker = overlay_lab(2, move |_, setup| {
            tune(setup);
            setup.contacts.retain(|_| false);
            setup.contacts.extend(contact.map(ovid::grid::BoxAddress::new));
        });
        let mut server = maker(0, 1, Time::ZERO);
        let master = server.accepted(Door::Masters, Time::ZERO);
        let (dials, closed, said) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        let mut alone = Self { server, now: Time::ZERO, dials, closed, said, master };
        alone.ask("watch");
        alone
    }

    /// Carries out what the server asks for.
    fn carry_out(&mut self) {
        loop {
            while let Some(action) = self.server.next_action() {
                match action {
                    Action::Dial { conn, address } => self.dials.push((conn, address)),
                    Action::Drain(conn) => self.server.drained(conn, self.now),
                    Action::Close(conn) | Action::Finish(conn) => {
                        self.closed.insert(conn);
                    }
                    action => panic!("unexpected {action:?}"),
                }
            }
            let Some(conn) = self.server.next_touched() else { break };
            let Some(queue) = self.server.outgoing(conn) else { continue };
            let bytes: Vec<u8> = queue.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                continue;
            }
            self.said.entry(conn).or_default().extend_from_slice(&bytes);
            self.server.wrote(conn, bytes.len(), self.now);
        }
    }

    /// The next dial, which has to be to `address`.
    fn dialled(&mut self, address: &str) -> ConnId {
        self.carry_out();
        assert!(!self.dials.is_empty(), "{address} is not dialled");
        let (conn, to) = self.dials.remove(0);
        assert_eq!(to, address.parse().expect("an address"));
        conn
    }

    /// Refuses whatever is dialled until it is `address`.
    fn refuse_all_but(&mut self, address: &str) {
        let address = address.parse().expect("an address");
        for _ in 0..100 {
            self.carry_out();
            let (wanted, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.dials).into_iter().partition(|(_, to)| *to == address);
            self.dials = wanted;
            for (conn, _) in others {
                self.server.failed(conn, "refused", self.now);
            }
            if !self.dials.is_empty() {
                return;
            }
            self.wait_ms(100);
        }
    }

    /// The next dial, to `address`, succeeds.
    fn connected(&mut self, address: &str) -> ConnId {
        let conn = self.dialled(address);
        self.server.connected(conn, self.now);
        self.server.timeout(self.now);
        self.carry_out();
        conn
    }

    /// Somebody connects and says this, a byte at a time.
    fn visited(&mut self, bytes: &[u8]) -> ConnId {
        let conn = self.server.accepted(Door::Links, self.now);
        for byte in bytes {
            self.hears(conn, &[*byte]);
        }
        conn
    }

    fn hears(&mut self, conn: ConnId, bytes: &[u8]) {
        self.server.received(conn, bytes, self.now);
        self.carry_out();
    }

    fn said(&mut self, conn: ConnId) -> Vec<u8> {
        self.carry_out();
        self.said.remove(&conn).unwrap_or_default()
    }

    /// A command, and everything that the master has been told since the last one.
    fn ask(&mut self, command: &str) -> String {
        self.hears(self.master, format!("{command}\n").as_bytes());
        String::from_utf8(self.said(self.master)).expect("UTF-8")
    }

    fn wait_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = self.server.deadline().max(self.now + Duration::from_millis(1)).min(end);
            self.server.timeout(self.now);
            self.carry_out();
        }
    }
}

fn tune(setup: &mut OverlaySetup) {
    setup.options.dialect = Dialect::GenHypar;
    setup.options.shuffle_period = Duration::from_secs(1);
    setup.options.timeout = Duration::from_secs(1);
}

fn frame(frame: &HyparFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// What a connection begins with that is opened by this frame.
fn opened(first: &HyparFrame<'_>) -> Vec<u8> {
    [&b"hypar"[..], &frame(first)].concat()
}

fn id(address: &str) -> std::net::SocketAddrV4 {
    address.parse().expect("an address")
}

const ME: &str = "127.0.0.1:3000";
const ERLANG: &str = "10.0.0.9:5000";
const OTHER: &str = "10.0.0.8:5000";

#[test]
fn joining_takes_one_frame_and_no_answer() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let conn = alone.connected(ERLANG);
    assert_eq!(alone.said(conn), b"hypar\0\0\0\x07\x02\x7f\0\0\x01\x0b\xb8");
    assert_eq!(alone.ask("peers"), format!("link_up {ERLANG}\npeers {ERLANG}\n"));
    assert_eq!(alone.ask(&format!("send {ERLANG} aGk=")), format!("sent {ERLANG}\n"));
    assert_eq!(alone.said(conn), b"\0\0\0\x03\x01hi");
    alone.hears(conn, b"\0\0\0\x03\x01ho");
    assert_eq!(alone.ask("alive"), format!("message {ERLANG} aG8=\nalive 0\n"));
}

#[test]
fn a_newcomer_is_let_in_without_an_answer_and_others_hear_of_it() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let contact = alone.connected(ERLANG);
    alone.said(contact);
    let newcomer = alone.visited(&opened(&HyparFrame::Join(id(OTHER))));
    assert_eq!(alone.said(newcomer), b"", "there is no answer to a join");
    assert_eq!(alone.said(contact), frame(&HyparFrame::ForwardJoin { joiner: id(OTHER), ttl: 6 }));
    assert_eq!(alone.ask("peers"), format!("link_up {ERLANG}\nlink_up {OTHER}\npeers {OTHER},{ERLANG}\n"));
}

#[test]
fn where_a_newcomers_walk_ends_it_is_told_so_on_a_link_of_its_own() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let contact = alone.connected(ERLANG);
    alone.hears(contact, &frame(&HyparFrame::ForwardJoin { joiner: id(OTHER), ttl: 6 }));
    let newcomer = alone.connected(OTHER);
    assert_eq!(alone.said(newcomer), opened(&HyparFrame::JoinReply(id(ME))));
    assert!(alone.ask("peers").ends_with(&format!("peers {OTHER},{ERLANG}\n")));
}

#[test]
fn a_neighbour_that_asks_gets_one_byte() {
    let mut alone = Alone::with_contact(None);
    for number in 1..=5 {
        let asker = id(&format!("10.0.0.{number}:5000"));
        let conn = alone.visited(&opened(&HyparFrame::Neighbour { asker, high: false }));
        assert_eq!(alone.said(conn), b"\0\0\0\x01\x01", "there is room");
    }
    let conn = alone.visited(&opened(&HyparFrame::Neighbour { asker: id(OTHER), high: false }));
    assert_eq!(alone.said(conn), b"\0\0\0\x01\0", "there is none");
    let high = HyparFrame::Neighbour { asker: id(ERLANG), high: true };
    let conn = alone.visited(&opened(&high));
    assert_eq!(alone.said(conn), b"\0\0\0\x01\x01", "one that is alone is always taken");
    let last_words: Vec<&Vec<u8>> = alone.said.values().filter(|said| said.ends_with(&[9])).collect();
    assert_eq!(last_words, [b"\0\0\0\x01\x09"], "one had to go");
}

#[test]
fn who_is_asked_to_be_a_neighbour_answers_before_anything_else() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let contact = alone.connected(ERLANG);
    alone.said(contact);
    // Its shuffle ends here: that is answered, and since there is room, whoever has sent it is asked.
    let shuffle = HyparFrame::Shuffle { origin: id(OTHER), ttl: 0, ids: vec![id(OTHER)] };
    alone.hears(contact, &frame(&shuffle));
    let question = opened(&HyparFrame::Neighbour { asker: id(ME), high: false });
    let conns = [alone.connected(OTHER), alone.connected(OTHER)];
    let asked = conns.into_iter().find(|conn| alone.said.get(conn) == Some(&question));
    let conn = asked.expect("it is asked");
    assert!(alone.ask("peers").ends_with(&format!("peers {ERLANG}\n")), "not before it has agreed");
    // The answer and an empty message have the same bytes.
    alone.hears(conn, b"\0\0\0\x01\x01\0\0\0\x01\x01");
    let told = alone.ask("peers");
    assert!(
        told.ends_with(&format!("link_up {OTHER}\nmessage {OTHER} \npeers {OTHER},{ERLANG}\n")),
        "{told}"
    );
}

#[test]
fn shuffles_are_answered_on_a_connection_of_their_own_without_a_name() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let contact = alone.connected(ERLANG);
    alone.said(contact);
    alone.wait_ms(1_000);
    let shuffle = frame(&HyparFrame::Shuffle { origin: id(ME), ttl: 6, ids: vec![id(ME)] });
    let said = alone.said(contact);
    assert!(said.windows(shuffle.len()).any(|bytes| bytes == shuffle), "its own name is in front: {said:?}");
    let answer = alone.visited(&opened(&HyparFrame::ShuffleReply { ids: vec![id(OTHER)] }));
    assert!(alone.closed.contains(&answer) && alone.said(answer).is_empty());
    // There is room, so that who was named is asked.
    let asked = alone.connected(OTHER);
    assert_eq!(alone.said(asked), opened(&HyparFrame::Neighbour { asker: id(ME), high: false }));
    let origin = "10.0.0.7:5000";
    let ids = vec![id(origin), id("10.0.0.6:5000")];
    alone.hears(contact, &frame(&HyparFrame::Shuffle { origin: id(origin), ttl: 0, ids }));
    let letter = alone.connected(origin);
    let answer = opened(&HyparFrame::ShuffleReply { ids: vec![id(OTHER)] });
    assert_eq!(alone.said(letter), answer, "the passive view, which is of one");
    assert!(alone.closed.contains(&letter));
}

#[test]
fn who_is_sent_off_closes_the_link_since_the_other_side_waits_for_that() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    let contact = alone.connected(ERLANG);
    alone.ask("peers");
    alone.hears(contact, &frame(&HyparFrame::Disconnect));
    assert!(alone.closed.contains(&contact));
    let told = alone.ask("alive");
    assert!(told.starts_with(&format!("link_down {ERLANG} demoted\n")), "{told}");
}

#[test]
fn a_neighbour_that_gives_no_sign_of_life_stays_one() {
    let mut alone = Alone::with_contact(Some(ERLANG));
    alone.connected(ERLANG);
    alone.wait_ms(600_000);
    assert!(alone.ask("peers").ends_with(&format!("peers {ERLANG}\n")), "nodes of gen_hypar never give one");
}

#[test]
fn of_two_that_dial_each_other_one_link_is_left_and_it_carries_one_question() {
    // 127.0.0.1 is the larger address, so that the dial of this side is the one that stays.
    let mut alone = Alone::with_contact(Some(ERLANG));
    let ours = alone.connected(ERLANG);
    let theirs = alone.visited(&opened(&HyparFrame::Join(id(ERLANG))));
    assert!(alone.closed.contains(&theirs) && !alone.closed.contains(&ours));
    assert_eq!(alone.said(ours), opened(&HyparFrame::Join(id(ME))));
    // Of a larger one, its own; what we have asked on ours is not asked again.
    let larger = "192.168.0.1:5000";
    let mut alone = Alone::with_contact(Some(larger));
    let ours = alone.dialled(larger);
    let theirs = alone.visited(&opened(&HyparFrame::Neighbour { asker: id(larger), high: true }));
    assert_eq!(alone.said(theirs), b"\0\0\0\x01\x01");
    alone.server.connected(ours, alone.now);
    alone.carry_out();
    assert!(alone.closed.contains(&ours) && !alone.closed.contains(&theirs));
    assert!(alone.ask("peers").ends_with(&format!("peers {larger}\n")));
}

#[test]
fn what_is_no_frame_or_has_no_place_closes_the_connection() {
    let mut alone = Alone::with_contact(None);
    let message = frame(&HyparFrame::Message(b"x"));
    let join = opened(&HyparFrame::Join(id(OTHER)));
    for rubbish in [
        b"ping 127.0.0.1:3001\n".to_vec(),
        b"hypar\xff\xff\xff\xff".to_vec(),
        b"hypar\0\0\0\0".to_vec(),
        [&b"hypar"[..], &message].concat(),
        opened(&HyparFrame::Join(id("10.0.0.1:0"))),
        opened(&HyparFrame::Join(id(ME))),
        [&join[..], &join[5..]].concat(),
        [&join[..], b"\0\0\0\x01\0"].concat(),
    ] {
        let conn = alone.visited(&rubbish);
        assert!(alone.closed.contains(&conn), "{rubbish:?}");
    }
    let conn = alone.visited(b"hyp");
    alone.wait_ms(3_000);
    assert!(alone.closed.contains(&conn), "nor is it waited for");
    let told = alone.ask("alive");
    assert!(told.ends_with("alive 0\n"), "{told}");
    // Whoever used this server's own name has not taken it away.
    alone.ask(&format!("join {ERLANG}"));
    alone.refuse_all_but(ERLANG);
    let link = alone.connected(ERLANG);
    assert_eq!(alone.said(link), opened(&HyparFrame::Join(id(ME))));
}

/// Everything that the server says on one connection is read here as its peer would read it.
enum Ear {
    /// This is where the frames of a link are cut.
    Link(HyparCutter),
    /// The peer has left a letter, or nothing that can be understood.
    Deaf,
}

impl Ear {
    /// Of somebody who has opened a connection with these bytes.
    fn of_opener(first: &HyparFrame<'_>) -> Self {
        let mut cutter = HyparCutter::dialled(FRAME_BYTES_MAX);
        match first {
            HyparFrame::Join(_) | HyparFrame::JoinReply(_) => {}
            HyparFrame::Neighbour { .. } => cutter.expect_answer(),
            _ => return Self::Deaf,
        }
        Self::Link(cutter)
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Deaf => assert!(bytes.is_empty(), "{bytes:?} to somebody who cannot hear it"),
            Self::Link(cutter) => while cutter.cut(&mut bytes).expect("in its place").is_some() {},
        }
    }
}

const FRAME_BYTES_MAX: usize = 10_000;

fn some_id(rng: &mut Rng) -> std::net::SocketAddrV4 {
    // Some are smaller than this server's and some larger; one is its own.
    id(["10.0.0.1:5000", "10.0.0.2:5000", "10.0.0.3:5000", "200.0.0.1:5000", "200.0.0.2:5000", ME]
        [rng.index(6)])
}

fn some_opening(rng: &mut Rng) -> HyparFrame<'static> {
    match rng.index(5) {
        0 => HyparFrame::Join(some_id(rng)),
        1 => HyparFrame::JoinReply(some_id(rng)),
        2 => HyparFrame::ShuffleReply { ids: vec![some_id(rng)] },
        3 => HyparFrame::Disconnect,
        _ => HyparFrame::Neighbour { asker: some_id(rng), high: rng.index(2) == 0 },
    }
}

fn some_frame(rng: &mut Rng) -> HyparFrame<'static> {
    let ttl = u8::try_from(rng.index(256)).expect("small");
    match rng.index(9) {
        0 => HyparFrame::Message(b"hello"),
        1 | 2 => HyparFrame::ForwardJoin { joiner: some_id(rng), ttl: ttl % 8 },
        3 | 4 => HyparFrame::Shuffle { origin: some_id(rng), ttl, ids: vec![some_id(rng), some_id(rng)] },
        5 => HyparFrame::Disconnect,
        6 => HyparFrame::KeepAlive,
        7 => HyparFrame::Answer { accept: rng.index(2) == 0 },
        _ => some_opening(rng),
    }
}

#[test]
fn whatever_peers_do_each_hears_only_what_has_its_place() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut alone = Alone::with_contact(Some("10.0.0.1:5000"));
        let mut ears: BTreeMap<ConnId, Ear> = BTreeMap::new();
        for _ in 0..100 {
            let conns: Vec<ConnId> = ears.keys().copied().collect();
            match rng.index(6) {
                0 => {
                    let first = some_opening(&mut rng);
                    let conn = alone.visited(&opened(&first));
                    ears.insert(conn, Ear::of_opener(&first));
                }
                1 if !alone.dials.is_empty() => {
                    let (conn, _) = alone.dials.remove(rng.index(alone.dials.len()));
                    if rng.index(4) == 0 {
                        alone.server.failed(conn, "refused", alone.now);
                    } else {
                        ears.insert(conn, Ear::Link(HyparCutter::accepted(FRAME_BYTES_MAX)));
                        alone.server.connected(conn, alone.now);
                    }
                }
                2 if !conns.is_empty() => {
                    let conn = conns[rng.index(conns.len())];
                    ears.remove(&conn);
                    alone.server.ended(conn, alone.now);
                }
                3 => alone.wait_ms(1 + rng.number() % 1_000),
                _ if !conns.is_empty() => {
                    alone.hears(conns[rng.index(conns.len())], &frame(&some_frame(&mut rng)));
                }
                _ => {}
            }
            alone.carry_out();
            for (conn, ear) in &mut ears {
                ear.hear(&alone.said.remove(conn).unwrap_or_default());
            }
            for conn in std::mem::take(&mut alone.closed) {
                ears.remove(&conn);
                alone.dials.retain(|(dialled, _)| *dialled != conn);
                alone.server.ended(conn, alone.now);
            }
            alone.carry_out();
            let told = alone.ask("peers");
            let peers = told.lines().find_map(|line| line.strip_prefix("peers ")).expect("an answer");
            assert!(peers.split(',').count() <= 5 && !peers.contains(ME), "seed {seed}: {peers}");
        }
    }
}

/// Servers that have joined through the first one.
fn grid(n: u16, seed: u64) -> World {
    let mut world = World::of_machines(n, seed);
    let mut maker = overlay_lab(n, |_, setup| {
        tune(setup);
        setup.contacts.truncate(1);
    });
    for id in 0..n {
        let server = maker(id, 1, world.now());
        world.host(id, server);
        world.run_ms(100);
    }
    world
}

fn neighbours(world: &mut World, id: u16) -> BTreeSet<u16> {
    let answer = world.ask(id, "peers");
    let ports = answer.split(':').skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
    ports.map(|port| port.parse::<u16>().expect("a port") - 3000).collect()
}

/// Whether links are mutual and lead from everybody to everybody.
fn is_one(world: &mut World) -> bool {
    let running = world.running();
    let views: BTreeMap<u16, BTreeSet<u16>> =
        running.iter().map(|id| (*id, neighbours(world, *id))).collect();
    let mutual = views
        .iter()
        .all(|(id, view)| view.iter().all(|other| views.get(other).is_some_and(|v| v.contains(id))));
    let mut seen = BTreeSet::new();
    let mut next = vec![running[0]];
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            next.extend(views.get(&id).into_iter().flatten());
        }
    }
    mutual && seen.len() == running.len()
}

fn await_one(world: &mut World) {
    let found = (0..300).any(|_| {
        world.run_ms(100);
        is_one(world)
    });
    assert!(found, "still in pieces, or with links that one side does not know");
}

#[test]
fn servers_form_one_overlay_and_mend_it_when_half_of_them_die() {
    for seed in 0..10 {
        let mut world = grid(16, seed);
        await_one(&mut world);
        for id in 0..16 {
            assert!((1..=5).contains(&neighbours(&mut world, id).len()));
        }
        for id in (0..16).filter(|id| id % 2 == 0) {
            world.kill(id);
        }
        await_one(&mut world);
    }
}

#[test]
fn broadcasts_have_no_place_there_and_direct_messages_do() {
    let mut world = grid(3, 1);
    await_one(&mut world);
    let watcher = world.connect(1, Door::Masters);
    world.send(watcher, b"watch\n");
    world.run_ms(10);
    world.take(watcher);
    let master = world.connect(0, Door::Masters);
    world.send(master, b"broadcast to all\nsend 127.0.0.1:3001 dG8gb25l\n");
    world.run_ms(500);
    assert_eq!(world.log(0), ["to all"]);
    assert_eq!(world.log(1), [""; 0]);
    assert_eq!(world.take(watcher), b"message 127.0.0.1:3000 dG8gb25l\n");
}
