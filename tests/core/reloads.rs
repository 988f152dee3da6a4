//! What a change of a box's configuration, or the end of a session, leaves behind: nothing.

use std::time::Duration;

use ovid::agent::{Index, Recovered};
use ovid::server::{Action, ConnId, Door, LogId, Server};
use ovid::time::Time;

use crate::boxes::{address, attach, box_of, lines, read, relays, start, status};
use crate::world::World;

/// One box without a world: its host is the test.
struct Bare {
    server: Server,
    now: Time,
}

impl Bare {
    fn new(configuration: &str) -> Self {
        Self { server: box_of(0, configuration, Time::ZERO), now: Time::ZERO }
    }

    fn session(&mut self, agent: &str) -> ConnId {
        let conn = self.server.accepted(Door::Masters, self.now);
        assert_eq!(self.ask(conn, &format!("attach {agent}")), [format!("attached {agent}")]);
        conn
    }

    /// Says something on `conn`; the lines that wait for it then.
    fn ask(&mut self, conn: ConnId, text: &str) -> Vec<String> {
        self.server.received(conn, format!("{text}\n").as_bytes(), self.now);
        self.lines(conn)
    }

    fn lines(&mut self, conn: ConnId) -> Vec<String> {
        let mut bytes = Vec::new();
        while let Some(part) = self.server.outgoing(conn).and_then(ovid::server::OutQueue::front) {
            bytes.extend_from_slice(&part);
            self.server.wrote(conn, part.len(), self.now);
        }
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn turn(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.server.timeout(self.now);
    }

    fn reload(&mut self, configuration: &str) -> String {
        let control = self.server.accepted(Door::Masters, self.now);
        self.ask(control, &format!("reload {}", read(configuration).to_line())).concat()
    }

    /// The log that the box has asked for last.
    fn log(&mut self) -> LogId {
        let actions = std::iter::from_fn(|| self.server.next_action());
        let opened = actions.filter_map(|action| match action {
            Action::OpenStore { log, .. } => Some(log),
            _ => None,
        });
        opened.last().expect("a log is wanted")
    }
}

/// Agent `a` of that version sends to `b`, on the same box.
fn pair(version: u32, b_attrs: &str) -> String {
    format!(
        r#"{{
            "a": {{"type": "relay", "box": "127.0.0.1:3000", "attrs": {{"version": {version}}}, "routes": {{"to": {{"b": 1}}}}}},
            "b": {{"type": "relay", "box": "127.0.0.1:3000", "attrs": {{{b_attrs}}}, "routes": {{"to": {{"a": 1}}}}}}
        }}"#
    )
}

#[test]
fn what_an_agent_owed_is_answered_when_it_is_gone() {
    let mut bare = Bare::new(&pair(1, ""));
    let session = bare.session("a");
    assert!(bare.ask(session, "later\ncount").is_empty(), "answers keep the order of the commands");
    bare.reload(&pair(2, ""));
    assert_eq!(bare.lines(session), ["error agent a was restarted before it answered", "0 lines", "up"]);
    assert!(bare.ask(session, "later").is_empty());
    bare.reload("{}");
    assert_eq!(bare.lines(session), ["error agent a is gone, and has not answered"]);
    assert_eq!(bare.ask(session, "count"), ["error agent a is gone"]);
}

#[test]
fn what_a_restarted_agent_had_sent_does_not_come_after_it() {
    let mut bare = Bare::new(&pair(1, ""));
    let (a, b) = (bare.session("a"), bare.session("b"));
    // More than is handed over in one turn.
    bare.ask(a, &"x\n".repeat(6000));
    bare.reload(&pair(2, ""));
    for _ in 0..4 {
        bare.turn();
    }
    let seen = bare.lines(b);
    let down = seen.iter().position(|line| line == "down: removed").expect("it went down");
    assert_eq!(seen[down..], ["down: removed", "up"]);
}

#[test]
fn an_agent_begins_before_anything_else_happens_to_it() {
    let waiting = r#""log": "local", "restless": true"#;
    let mut bare = Bare::new(&pair(1, waiting));
    let (a, b) = (bare.session("a"), bare.session("b"));
    let log = bare.log();
    let rerouted = pair(1, waiting).replace(r#"{"a": 1}"#, r#"{"a": 2}"#);
    assert_eq!(bare.reload(&rerouted), "reloaded added= removed= rerouted=b restarted=");
    bare.ask(a, "too early");
    bare.turn();
    let control = bare.server.accepted(Door::Masters, bare.now);
    assert!(bare.ask(control, "status").concat().contains(r#""frames_dropped":1"#));
    let recovered = Recovered { first: Index(1), ..Recovered::default() };
    bare.server.store_recovered(log, &recovered, bare.now);
    assert_eq!(bare.lines(b), ["routes: to", "up"]);
}

#[test]
fn sessions_wait_while_their_box_has_more_to_do_than_it_can() {
    let mut bare = Bare::new(&pair(1, ""));
    let a = bare.session("a");
    let control = bare.server.accepted(Door::Masters, bare.now);
    assert!(bare.server.may_read(a, bare.now));
    bare.ask(a, &"x\n".repeat(32_000));
    assert!(!bare.server.may_read(a, bare.now));
    assert!(bare.server.may_read(control, bare.now), "who controls the box can always stop it");
    for _ in 0..8 {
        bare.turn();
    }
    assert!(bare.server.may_read(a, bare.now));
}

#[test]
fn agents_learn_that_one_of_them_has_moved() {
    let relay = |id: &str, on: u16, routes: &str| {
        format!(r#""{id}": {{"type": "relay", "box": "{}", "routes": {{{routes}}}}}"#, address(on))
    };
    let moved_to = |on: u16| {
        let fixed = [relay("r0", 0, r#""to": {"m": 7}"#), relay("k1", 1, ""), relay("k2", 2, "")];
        format!("{{{}, {}}}", fixed.join(", "), relay("m", on, ""))
    };
    let mut world = World::of_machines(3, 14);
    for id in 0..3 {
        start(&mut world, id, &moved_to(1));
    }
    world.run_ms(300);
    let session = attach(&mut world, 0, "r0");
    for (on, agent) in [(2, "m"), (0, "m"), (1, "m")] {
        let line = format!("reload {}", read(&moved_to(on)).to_line());
        for id in [on, (on + 1) % 3, (on + 2) % 3] {
            assert!(world.ask(id, &line).starts_with("reloaded "));
        }
        assert_eq!(lines(&mut world, session), ["down: removed", "up"], "now on box {on}");
        let there = attach(&mut world, on, agent);
        world.send(session, b"hello\n");
        assert_eq!(lines(&mut world, there), ["port 7: hello"]);
    }
    assert_eq!(status(&mut world, 0).frames_dropped, 0);
}

#[test]
fn a_box_that_comes_back_into_the_configuration_is_found_again() {
    let mut world = World::of_machines(2, 15);
    let both = relays(&[0, 1]);
    start(&mut world, 0, &both);
    start(&mut world, 1, &both);
    world.run_ms(300);
    let session = attach(&mut world, 0, "r0");
    let alone = format!(r#"{{"r0": {{"type": "relay", "box": "{}"}}}}"#, address(0));
    world.ask(0, &format!("reload {}", read(&alone).to_line()));
    assert_eq!(lines(&mut world, session), ["down: removed", "routes: "]);
    world.ask(0, &format!("reload {}", read(&both).to_line()));
    // The other one dials, and waits up to a second after it was turned away.
    world.run_ms(1500);
    assert_eq!(lines(&mut world, session), ["routes: to", "up"]);
}
