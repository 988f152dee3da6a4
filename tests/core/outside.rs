//! What agents of a box do outside of the grid, over byte streams that the test cuts as it likes: its host is the test.

mod doorkeeper;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ovid::agent::{DRAINED_BYTES, Done, QUEUE_BYTES_MAX, Registry};
use ovid::rng::Rng;
use ovid::server::{Action, BoxStatus, ConnId, Door, EntranceId, Server, WorkId};
use ovid::time::Time;
use proptest::prelude::*;

use self::doorkeeper::{Doorkeeper, frame};
use crate::boxes::box_with;

/// The port for connections: the first that the box gives a name to.
const PORT: EntranceId = EntranceId(1);

/// A box with a doorkeeper, somebody who listens to it, and what the box has asked of its host.
struct Host {
    server: Server,
    session: ConnId,
    now: Time,
    actions: Vec<Action>,
}

impl Host {
    fn new() -> Self {
        let registry = Registry::builtin().with::<Doorkeeper>("doorkeeper");
        let mut server = box_with(0, &configuration(1), registry, Time::ZERO);
        let session = server.accepted(Door::Masters, Time::ZERO);
        let mut host = Self { server, session, now: Time::ZERO, actions: Vec::new() };
        host.server.received(session, b"attach keeper\n", host.now);
        assert_eq!(host.said(), ["attached keeper"]);
        host
    }

    /// Both ports are open.
    fn open() -> Self {
        let mut host = Self::new();
        for entrance in host.asked_to_listen() {
            host.server.listening(entrance, address(4000), host.now);
        }
        assert_eq!(host.said(), ["listening 1 127.0.0.1:4000 v1", "listening 2 127.0.0.1:4000 v1"]);
        host
    }

    fn take_actions(&mut self) -> Vec<Action> {
        self.actions.extend(std::iter::from_fn(|| self.server.next_action()));
        std::mem::take(&mut self.actions)
    }

    fn asked_to_listen(&mut self) -> Vec<EntranceId> {
        let listen = |action: &Action| match action {
            Action::Listen { entrance, .. } => Some(*entrance),
            _ => None,
        };
        self.take_actions().iter().filter_map(listen).collect()
    }

    /// What the agent has said since the last call.
    fn said(&mut self) -> Vec<String> {
        String::from_utf8(self.sent(self.session)).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    /// Takes all that waits for a connection.
    fn sent(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(part) = self.server.outgoing(conn).and_then(ovid::server::OutQueue::front) {
            bytes.extend_from_slice(&part);
            self.server.wrote(conn, part.len(), self.now);
        }
        bytes
    }

    fn command(&mut self, line: &str) {
        self.server.received(self.session, format!("{line}\n").as_bytes(), self.now);
    }

    fn reload(&mut self, configuration: &str) {
        let registry = Registry::builtin().with::<Doorkeeper>("doorkeeper");
        let configuration = crate::boxes::read_with(configuration, &registry);
        let control = self.server.accepted(Door::Masters, self.now);
        let line = format!("reload {}\n", configuration.to_line());
        self.server.received(control, line.as_bytes(), self.now);
        assert!(String::from_utf8(self.sent(control)).expect("UTF-8").starts_with("reloaded"));
    }

    /// Somebody connects to the port for connections.
    fn client(&mut self) -> ConnId {
        let conn = self.server.came_in(PORT, address(9), self.now).expect("there is room");
        assert_eq!(self.said(), ["opened accepted 1 127.0.0.1:9"]);
        assert_eq!(self.sent(conn), frame("welcome"));
        conn
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.server.timeout(self.now);
    }

    fn status(&mut self) -> BoxStatus {
        let control = self.server.accepted(Door::Masters, self.now);
        self.server.received(control, b"status\n", self.now);
        let status = serde_json::from_slice(&self.sent(control)).expect("a status");
        self.server.failed(control, "gone", self.now);
        status
    }
}

fn configuration(version: u64) -> String {
    format!(
        r#"{{"keeper": {{"type": "doorkeeper", "box": "127.0.0.1:3000", "attrs": {{"version": {version}}}}}}}"#
    )
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

proptest! {
    #[test]
    fn any_split_of_what_a_client_sends_gives_the_agent_the_same_frames(
        texts in proptest::collection::vec("[a-z]{0,30}", 1..20),
        seed: u64,
    ) {
        let mut host = Host::open();
        let conn = host.client();
        let stream: Vec<u8> = texts.iter().flat_map(|text| frame(text)).collect();
        let (mut rng, mut rest) = (Rng::new(seed), stream.as_slice());
        while !rest.is_empty() {
            let (read, after) = rest.split_at(1 + rng.index(rest.len().min(50)));
            host.server.received(conn, read, host.now);
            rest = after;
        }
        // Each is answered by itself, whatever else was in the read; "bye" would end it.
        let texts: Vec<String> = texts.into_iter().take_while(|text| text != "bye" && text != "flood" && text != "block").collect();
        let answers: Vec<u8> = texts.iter().flat_map(|text| frame(text)).collect();
        prop_assert!(host.sent(conn).starts_with(&answers));
        let said: Vec<String> = texts.iter().map(|text| format!("frame {text}")).collect();
        prop_assert!(host.said().starts_with(&said));
    }
}

#[test]
fn all_that_a_turn_has_led_to_is_named_once() {
    let mut host = Host::open();
    let conn = host.client();
    assert_eq!(host.server.next_touched_outside(), Some(conn), "the welcome");
    for text in ["one", "two", "three"] {
        host.server.received(conn, &frame(text), host.now);
    }
    assert_eq!(host.server.touched_outside(), 1);
    assert_eq!(host.server.next_touched_outside(), Some(conn));
    assert_eq!(host.server.next_touched_outside(), None);
    host.server.received(conn, &frame("four"), host.now);
    assert_eq!(host.server.next_touched_outside(), Some(conn));
}

#[test]
fn a_port_that_cannot_be_opened_is_told_of_and_can_be_asked_for_again() {
    let mut host = Host::new();
    let entrances = host.asked_to_listen();
    host.server.not_listening(entrances[0], "in use", host.now);
    assert_eq!(host.said(), ["not listening 1 in use"]);
    host.command("again");
    let again = host.asked_to_listen();
    assert_eq!(again.len(), 1);
    host.command("again");
    assert_eq!(host.said(), ["not listening 1 this agent has a port of that number already"]);
    host.command("shut");
    assert_eq!(host.take_actions(), [Action::Shut(again[0])]);
    host.server.listening(again[0], address(4000), host.now);
    assert!(host.said().is_empty(), "it is shut already");
    assert_eq!(host.server.came_in(again[0], address(9), host.now), None);
}

#[test]
fn a_frame_that_is_too_long_ends_its_connection_and_no_other() {
    let mut host = Host::open();
    let (rude, other) = (host.client(), host.client());
    let mut bytes = frame("before").to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 101]);
    host.server.received(rude, &bytes, host.now);
    assert_eq!(host.said(), ["frame before", "closed broken"]);
    assert_eq!(host.take_actions(), [Action::Close(rude)]);
    host.server.received(rude, &frame("after"), host.now);
    host.server.ended(rude, host.now);
    assert!(host.said().is_empty());
    host.server.received(other, &frame("hello"), host.now);
    assert_eq!(host.said(), ["frame hello"]);
}

#[test]
fn a_client_that_sends_its_end_still_gets_what_waits_for_it() {
    let mut host = Host::open();
    let conn = host.client();
    host.server.received(conn, &frame("question"), host.now);
    host.server.received(conn, &frame("half")[..5], host.now);
    host.server.ended(conn, host.now);
    assert_eq!(host.said(), ["frame question", "closed closed"]);
    assert!(host.take_actions().is_empty(), "not before it is sent");
    assert_eq!(host.sent(conn), frame("question"));
    assert_eq!(host.take_actions(), [Action::Close(conn)]);
    assert!(host.said().is_empty());
}

#[test]
fn a_reset_is_told_once() {
    let mut host = Host::open();
    let conn = host.client();
    host.server.received(conn, &frame("hello"), host.now);
    host.server.failed(conn, "reset", host.now);
    assert_eq!(host.said(), ["frame hello", "closed broken"]);
    host.server.failed(conn, "reset", host.now);
    host.after(60);
    assert!(host.said().is_empty());
    assert!(host.sent(conn).is_empty());
}

#[test]
fn who_is_hung_up_on_gets_all_that_was_sent_before_and_nothing_of_him_is_heard_after() {
    let mut host = Host::open();
    let conn = host.client();
    host.server.received(conn, &[frame("one"), frame("bye")].concat(), host.now);
    host.server.received(conn, &frame("late"), host.now);
    assert_eq!(host.said(), ["frame one", "frame bye"]);
    assert_eq!(host.sent(conn), frame("one"));
    assert_eq!(host.said(), ["closed closed"]);
    assert_eq!(host.take_actions(), [Action::Finish(conn)], "so that he can read it in peace");
    host.server.received(conn, &frame("later"), host.now);
    host.server.ended(conn, host.now);
    assert_eq!(host.take_actions(), [Action::Close(conn)]);
    assert!(host.said().is_empty());

    // With nothing to wait for it is the end at once; if the other side does not see it, after a while.
    let conn = host.client();
    host.server.received(conn, &frame("bye"), host.now);
    assert_eq!(host.said(), ["frame bye", "closed closed"]);
    assert_eq!(host.take_actions(), [Action::Finish(conn)]);
    host.after(3);
    assert_eq!(host.take_actions(), [Action::Close(conn)]);

    // Who does not read is not waited for.
    let conn = host.client();
    host.server.received(conn, &[frame("one"), frame("bye")].concat(), host.now);
    host.after(11);
    assert_eq!(host.take_actions(), [Action::Close(conn)]);
    assert_eq!(host.said(), ["frame one", "frame bye", "closed broken"]);
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_in_the_end_dropped() {
    let mut host = Host::open();
    let (lazy, other) = (host.client(), host.client());
    host.server.received(lazy, &frame("flood 1023"), host.now);
    assert!(host.server.may_read(lazy, host.now));
    host.server.received(lazy, &frame("flood 2"), host.now);
    assert!(!host.server.may_read(lazy, host.now));
    assert!(host.server.may_read(other, host.now));
    host.server.received(lazy, &frame(&format!("block {}", QUEUE_BYTES_MAX - (2 << 20))), host.now);
    assert!(host.take_actions().is_empty(), "there is room");
    host.server.received(lazy, &frame("flood 1024"), host.now);
    assert_eq!(host.take_actions(), [Action::Close(lazy)]);
    let said = host.said();
    assert_eq!(said.last().map(String::as_str), Some("closed queue full"));
    assert_eq!(said.len(), 5, "the end is told once: {said:?}");
}

#[test]
fn an_agent_that_has_sent_much_is_told_when_it_has_left_and_one_that_had_to_wait_too() {
    let mut host = Host::open();
    let conn = host.client();
    host.server.received(conn, &frame("flood 60"), host.now);
    host.sent(conn);
    assert_eq!(host.said(), ["frame flood 60"], "it is not worth an input");
    host.server.received(conn, &frame("flood 8"), host.now);
    let waiting = host.server.outgoing(conn).expect("it is there").bytes();
    host.server.wrote(conn, waiting - 1, host.now);
    assert_eq!(host.said(), ["frame flood 8"], "not before the last byte");
    host.server.wrote(conn, 1, host.now);
    assert_eq!(host.said(), ["drained"], "{DRAINED_BYTES} since the beginning");
    host.server.received(conn, &frame("little"), host.now);
    host.server.held_up(conn);
    host.sent(conn);
    assert_eq!(host.said(), ["frame little", "drained"]);
}

#[test]
fn a_dial_succeeds_or_fails_or_takes_too_long_and_is_told_of_once() {
    let mut host = Host::open();
    for (end, expected) in [
        ("succeeds", "opened dialled 7 10.0.0.1:80"),
        ("fails", "unreachable 7 refused"),
        ("takes too long", "unreachable 7 nobody has answered in time"),
    ] {
        host.command("dial");
        let actions = host.take_actions();
        let [Action::Call { conn, tls: false, .. }] = actions[..] else { panic!("{actions:?}") };
        match end {
            "succeeds" => host.server.connected(conn, host.now),
            "fails" => host.server.failed(conn, "refused", host.now),
            _ => host.after(6),
        }
        assert_eq!(host.said(), [expected]);
        if end == "succeeds" {
            host.server.received(conn, &frame("flood 2000"), host.now);
            assert!(host.server.may_read(conn, host.now), "two hosts must not wait for each other");
            assert_eq!(host.status().agents[0].dialled, 1);
            host.server.failed(conn, "broken", host.now);
            host.said();
        } else if end == "takes too long" {
            assert_eq!(host.take_actions(), [Action::Close(conn)]);
            host.server.connected(conn, host.now);
            assert!(host.said().is_empty());
        }
    }
}

#[test]
fn agents_are_told_of_encrypted_connections_once_both_sides_have_agreed() {
    let mut host = Host::open();
    host.command("encrypt");
    let port = host.asked_to_listen()[0];
    host.server.listening(port, address(4001), host.now);
    assert_eq!(host.said(), ["listening 3 127.0.0.1:4001 v1"]);
    let come = |host: &mut Host| host.server.came_in(port, address(9), host.now).expect("there is room");
    let (good, broken, silent) = (come(&mut host), come(&mut host), come(&mut host));
    assert!(host.said().is_empty());
    assert_eq!(host.status().agents[0].ports[2].connections, 0);
    host.server.agreed(good, host.now);
    host.server.agreed(good, host.now);
    assert_eq!(host.said(), ["opened accepted 3 127.0.0.1:9"]);
    host.server.failed(broken, "no TLS", host.now);
    host.after(4);
    assert!(host.take_actions().is_empty());
    host.after(1);
    assert_eq!(host.take_actions(), [Action::Close(silent)]);
    host.server.agreed(silent, host.now);
    assert!(host.said().is_empty(), "it was never open");
    host.after(60);
    host.server.received(good, &frame("hello"), host.now);
    assert_eq!(host.said(), ["frame hello"]);
}

#[test]
fn what_all_connections_hold_is_bounded_and_the_heaviest_goes_first() {
    let mut host = Host::open();
    let conns: Vec<ConnId> = (0..4).map(|_| host.client()).collect();
    // 32 MiB for a host of eight connections; nobody reads.
    for (conn, mib) in conns.iter().zip([9, 11, 10]) {
        host.server.received(*conn, &frame(&format!("block {}", mib << 20)), host.now);
    }
    assert!(host.said().iter().all(|line| line.starts_with("frame block")));
    assert!(host.take_actions().is_empty());
    host.server.received(conns[3], &frame(&format!("block {}", 3 << 20)), host.now);
    assert_eq!(host.said(), ["frame block 3145728", "closed queue full"]);
    assert_eq!(host.take_actions(), [Action::Close(conns[1])]);
    // What is gone weighs no more, nor what was sent.
    host.server.received(conns[3], &frame(&format!("block {}", 7 << 20)), host.now);
    assert_eq!(host.said(), ["frame block 7340032"]);
    host.server.wrote(conns[0], 9 << 20, host.now);
    host.server.received(conns[3], &frame(&format!("block {}", 3 << 20)), host.now);
    assert!(host.take_actions().is_empty());
}

#[test]
fn connections_are_bounded_and_counted() {
    let mut host = Host::open();
    let clients: Vec<ConnId> = (0..8).map(|_| host.client()).collect();
    assert_eq!(host.server.came_in(PORT, address(9), host.now), None);
    host.command("dial");
    assert_eq!(host.said(), ["unreachable 7 too many connections"]);
    let status = host.status();
    let ports = &status.agents[0].ports;
    assert_eq!(
        (ports[0].connections, ports[0].carries.as_str(), ports[0].at),
        (8, "frames", Some(address(4000)))
    );
    assert_eq!((ports[1].connections, ports[1].carries.as_str()), (0, "datagrams"));
    assert_eq!(status.connections_refused, 2);
    host.server.ended(clients[3], host.now);
    assert_eq!(host.said(), ["closed closed"]);
    host.client();
}

#[test]
fn an_agent_that_is_made_anew_begins_without_ports_connections_and_work() {
    let mut host = Host::open();
    let conn = host.client();
    host.server.received(conn, &frame("hello"), host.now);
    host.command("dial");
    host.command("hash");
    let actions = host.take_actions();
    let [Action::Call { conn: dialled, .. }, Action::Compute { id, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    host.said();
    host.reload(&configuration(2));
    let actions = host.take_actions();
    assert_eq!(
        actions[..4],
        [
            Action::Shut(EntranceId(1)),
            Action::Shut(EntranceId(2)),
            Action::Close(conn),
            Action::Close(dialled)
        ]
    );
    let [Action::Listen { entrance, .. }, Action::Listen { .. }] = actions[4..] else {
        panic!("{actions:?}")
    };
    host.server.received(conn, &frame("late"), host.now);
    host.server.connected(dialled, host.now);
    host.server.computed(id, Done::Matches(true), host.now);
    assert!(host.said().is_empty(), "that was another one's");
    host.server.listening(entrance, address(4000), host.now);
    assert_eq!(host.said(), ["listening 1 127.0.0.1:4000 v2"]);
    host.reload("{}");
    assert!(host.take_actions().contains(&Action::Shut(entrance)));
}

#[test]
fn datagrams_come_in_and_are_sent_from_their_port_only() {
    let mut host = Host::open();
    let port = EntranceId(2);
    host.server.datagram(port, address(5), b"question", host.now);
    assert_eq!(host.said(), ["datagram 2 127.0.0.1:5"]);
    let bytes = Bytes::from_static(b"question");
    assert_eq!(host.take_actions(), [Action::Datagram { entrance: port, to: address(5), bytes }]);
    assert_eq!(host.server.came_in(port, address(5), host.now), None, "nobody connects to it");
}

#[test]
fn work_is_asked_for_and_its_end_told_under_the_agents_own_token() {
    let mut host = Host::open();
    host.command("hash");
    let actions = host.take_actions();
    let [Action::Compute { id, work }] = &actions[..] else { panic!("{actions:?}") };
    let (id, done) = (*id, ovid::compute::compute(work));
    assert!(host.said().is_empty());
    host.server.computed(WorkId(id.0 + 1), done.clone(), host.now);
    host.server.computed(id, done, host.now);
    host.server.computed(id, Done::Matches(true), host.now);
    let said = host.said();
    assert!(said.len() == 1 && said[0].starts_with("computed 3: Hash("), "{said:?}");
}
