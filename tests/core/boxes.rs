//! Boxes of a configuration over simulated byte streams.

use std::time::Duration;

use ovid::agent::{Agent, Audience, Configure, Input, Look, Mistake, Outbox, Registry, Request, Setup, Text};
use ovid::config::{self, Configuration, Format};
use ovid::grid::{BoxAddress, LINK_BASE_DEFAULT};
use ovid::server::{
    BoxSetup, BoxStatus, Door, ExperimentSetup, LinkSettings, ReplyFraming, Roster, Server, Settings,
};
use ovid::sim::servers::Visitor;
use ovid::time::Time;

use crate::world::World;

/// Sends the lines of its sessions to the route `to`, and shows what comes in, which links come and go, and what is committed.
struct Relay {
    lines: u64,
    /// Messages go on to `to`, for ever.
    echoes: bool,
    /// It wants to be woken, whatever the time is.
    restless: bool,
    started: bool,
    /// What it will answer when it is told to.
    owed: Vec<Request>,
}

impl Configure for Relay {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        setup.all_routes();
        setup.attr::<u64>("version")?;
        Ok(Self {
            lines: 0,
            echoes: setup.attr_or("echoes", false)?,
            restless: setup.attr_or("restless", false)?,
            started: false,
            owed: Vec::new(),
        })
    }
}

impl Agent for Relay {
    type Msg = Text;

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("lines", self.lines)]
    }

    fn deadline(&self) -> Option<Time> {
        self.restless.then_some(Time::ZERO)
    }

    fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
        let early = matches!(input, Input::Start | Input::Committed { .. });
        assert!(self.started || early, "before its start: {input:?}");
        match input {
            Input::Start => self.started = true,
            Input::Commands { mut commands } => {
                while let Some(line) = commands.peek() {
                    let text = String::from_utf8_lossy(line).into_owned();
                    if text == "count" {
                        commands.take();
                        return out.reply(commands.will_answer(), format!("{} lines", self.lines));
                    }
                    if text == "what?" {
                        return;
                    }
                    commands.take();
                    if text == "later" {
                        self.owed.push(commands.will_answer());
                        return;
                    }
                    if text == "now" {
                        self.owed.drain(..).for_each(|request| out.reply(request, "at last"));
                        continue;
                    }
                    if text == "both" {
                        out.say("first");
                        out.reply(commands.will_answer(), "second");
                        return out.say("third");
                    }
                    if text == "raw" {
                        out.send_lines(Audience::Everyone, "frame r9 r1 7 1\nx".into());
                        continue;
                    }
                    if text == "look" {
                        let (from, until) = ("a".into(), "z".into());
                        out.look(Look {
                            token: 7,
                            from,
                            until,
                            backwards: false,
                            rows_max: 10,
                            bytes_max: 100,
                        });
                    } else if let Some(record) = text.strip_prefix("propose ") {
                        out.propose(record.into());
                    } else {
                        self.lines += 1;
                        out.send("to", Text(text));
                    }
                }
            }
            Input::Message { message, .. } if self.echoes => {
                self.lines += 1;
                out.send("to", message);
            }
            Input::Message { port, message, .. } => out.say(format!("port {port}: {}", message.0)),
            Input::LinkUp { .. } => out.say("up"),
            Input::LinkDown { why, .. } => out.say(format!("down: {why}")),
            Input::Rerouted { routes } => out.say(format!("routes: {}", routes.join(" "))),
            Input::Committed { index, record } => {
                self.lines += 1;
                out.say(format!("committed {index}: {}", String::from_utf8_lossy(record)));
            }
            Input::Looked { looked } => out.say(format!("looked {}: {:?}", looked.token, looked.rows)),
            Input::NotCommitted { why, .. } => out.say(format!("not committed: {why}")),
            _ => {}
        }
    }
}

pub(crate) fn registry() -> Registry {
    Registry::builtin().with::<Relay>("relay")
}

pub(crate) fn read(text: &str) -> Configuration {
    read_with(text, &registry())
}

pub(crate) fn read_with(text: &str, registry: &Registry) -> Configuration {
    config::read(text, Format::Json, registry).unwrap_or_else(|findings| panic!("{findings:?}"))
}

pub(crate) fn address(id: u16) -> BoxAddress {
    format!("127.0.0.1:{}", LINK_BASE_DEFAULT + id).parse().expect("valid")
}

/// A relay on each of the boxes `on`; each sends to all others.
pub(crate) fn relays(on: &[u16]) -> String {
    let relay = |id: &u16| {
        let others = on.iter().filter(|other| *other != id);
        let targets: Vec<String> = others.map(|other| format!(r#""r{other}": 7"#)).collect();
        format!(
            r#""r{id}": {{"type": "relay", "box": "{}", "routes": {{"to": {{{}}}}}}}"#,
            address(*id),
            targets.join(", ")
        )
    };
    let entries: Vec<String> = on.iter().map(relay).collect();
    format!("{{{}}}", entries.join(", "))
}

pub(crate) fn start(world: &mut World, id: u16, configuration: &str) {
    start_with(world, id, configuration, ExperimentSetup::default());
}

fn start_with(world: &mut World, id: u16, configuration: &str, experiment: ExperimentSetup) {
    let server = make(id, configuration, registry(), experiment, world.now());
    world.host(id, server);
}

/// The box `id`, without a world.
pub(crate) fn box_of(id: u16, configuration: &str, now: Time) -> Server {
    box_with(id, configuration, registry(), now)
}

/// The same, with other types of agents.
pub(crate) fn box_with(id: u16, configuration: &str, registry: Registry, now: Time) -> Server {
    make(id, configuration, registry, ExperimentSetup::default(), now)
}

fn make(id: u16, configuration: &str, registry: Registry, experiment: ExperimentSetup, now: Time) -> Server {
    let settings = Settings {
        links: LinkSettings {
            roster: Roster::of_box(address(id)),
            heartbeat: Duration::from_millis(240),
            silence_max: Duration::from_millis(800),
            line_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            strangers_max: 256,
        },
        reply_framing: ReplyFraming::Newline,
        masters_max: 8,
        connections_max: 8,
        tracing: false,
    };
    let (address, configuration, seed) = (address(id), read_with(configuration, &registry), u64::from(id));
    let (secret, unix_ms_at_start) = (None, 0);
    let setup = BoxSetup { address, configuration, registry, seed, secret, unix_ms_at_start, experiment };
    Server::of_box(settings, setup, now)
}

/// Somebody drives the agent of box `id`.
pub(crate) fn attach(world: &mut World, id: u16, agent: &str) -> Visitor {
    let conn = world.connect(id, Door::Masters);
    world.send(conn, format!("attach {agent}\n").as_bytes());
    assert_eq!(lines(world, conn), [format!("attached {agent}")]);
    conn
}

/// Everything that comes within a while.
pub(crate) fn lines(world: &mut World, conn: Visitor) -> Vec<String> {
    let mut bytes = Vec::new();
    for _ in 0..100 {
        world.run_ms(5);
        bytes.extend(world.take(conn));
    }
    String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
}

pub(crate) fn status(world: &mut World, id: u16) -> BoxStatus {
    serde_json::from_str(&world.ask(id, "status")).expect("a status")
}

#[test]
fn agents_on_different_boxes_talk_by_their_routes() {
    let mut world = World::of_machines(3, 1);
    let configuration = relays(&[0, 1, 2]);
    for id in 0..3 {
        start(&mut world, id, &configuration);
    }
    world.run_ms(300);
    let (first, second) = (attach(&mut world, 0, "r0"), attach(&mut world, 1, "r1"));
    let third = attach(&mut world, 2, "r2");
    world.send(first, b"hello\nwith  blanks \n");
    let expected = ["port 7: hello", "port 7: with  blanks "];
    assert_eq!(lines(&mut world, second), expected);
    assert_eq!(lines(&mut world, third), expected);
    world.send(first, b"count\nwhat?\ncount\n");
    assert_eq!(lines(&mut world, first), ["2 lines", "error agent r0 does not understand that", "2 lines"]);
}

#[test]
fn a_session_sees_what_an_agent_says_and_answers_in_that_order() {
    let mut world = World::of_machines(1, 11);
    start(&mut world, 0, r#"{"r0": {"type": "relay", "box": "127.0.0.1:3000"}}"#);
    let (session, other) = (attach(&mut world, 0, "r0"), attach(&mut world, 0, "r0"));
    world.send(session, b"later\nboth\nnow\n");
    assert_eq!(lines(&mut world, session), ["first", "third", "at last", "second"]);
    assert_eq!(lines(&mut world, other), ["first", "third"]);
    world.send(session, b"both\n");
    assert_eq!(lines(&mut world, session), ["first", "second", "third"]);
}

#[test]
fn the_lines_of_a_lab_have_no_place_between_boxes() {
    let mut world = World::of_machines(2, 12);
    let configuration = relays(&[0, 1]);
    start(&mut world, 0, &configuration);
    start(&mut world, 1, &configuration);
    world.run_ms(300);
    let (first, second) = (attach(&mut world, 0, "r0"), attach(&mut world, 1, "r1"));
    world.send(first, b"raw\nhello\n");
    assert_eq!(lines(&mut world, second), ["port 7: hello"], "the link is as it was");
    assert_eq!((status(&mut world, 0).frames_dropped, status(&mut world, 1).frames_dropped), (1, 0));
}

#[test]
fn agents_of_one_box_talk_without_a_network() {
    let configuration = r#"{
        "a": {"type": "relay", "box": "127.0.0.1:3000", "routes": {"to": {"b": 3}}},
        "b": {"type": "relay", "box": "[::ffff:127.0.0.1]:3000"}
    }"#;
    let mut world = World::of_machines(1, 2);
    start(&mut world, 0, configuration);
    let (a, b) = (attach(&mut world, 0, "a"), attach(&mut world, 0, "b"));
    world.send(a, b"hello\n");
    assert_eq!(lines(&mut world, b), ["port 3: hello"]);
    assert_eq!(world.connections(0).count(), 2, "the two sessions and nothing else");
}

#[test]
fn agents_that_never_stop_talking_do_not_stop_their_box() {
    let configuration = r#"{
        "a": {"type": "relay", "box": "127.0.0.1:3000", "attrs": {"echoes": true}, "routes": {"to": {"b": 1}}},
        "b": {"type": "relay", "box": "127.0.0.1:3000", "attrs": {"echoes": true}, "routes": {"to": {"a": 1}}}
    }"#;
    let mut world = World::of_machines(1, 10);
    start(&mut world, 0, configuration);
    let a = attach(&mut world, 0, "a");
    world.send(a, b"begin\n");
    // A simulated machine's turns take no time, so the talk goes on within one instant.
    for _ in 0..100 {
        world.advance(Time::from_nanos(u64::MAX));
    }
    let status = world.ask_inside(0, "status").concat();
    let status: BoxStatus = serde_json::from_slice(&status).expect("a status");
    assert!(status.agents.iter().all(|agent| agent.counters["lines"] > 1000), "{status:?}");
}

#[test]
fn an_agent_that_always_wants_to_be_woken_does_not_stop_its_box() {
    let configuration = r#"{"a": {"type": "relay", "box": "127.0.0.1:3000", "attrs": {"restless": true}}}"#;
    let mut world = World::of_machines(1, 13);
    start(&mut world, 0, configuration);
    assert_eq!(status(&mut world, 0).agents.len(), 1);
}

#[test]
fn agents_learn_when_a_box_dies_and_when_it_is_back() {
    let mut world = World::of_machines(2, 3);
    let configuration = relays(&[0, 1]);
    start(&mut world, 0, &configuration);
    let first = attach(&mut world, 0, "r0");
    start(&mut world, 1, &configuration);
    assert_eq!(lines(&mut world, first), ["up"]);
    world.kill(1);
    assert_eq!(lines(&mut world, first), ["down: closed"]);
    world.send(first, b"lost\n");
    world.run_ms(100);
    assert_eq!(status(&mut world, 0).frames_dropped, 1);
    start(&mut world, 1, &configuration);
    assert_eq!(lines(&mut world, first), ["up"]);
}

#[test]
fn a_changed_configuration_adds_removes_and_reroutes_without_restarting_others() {
    let mut world = World::of_machines(3, 4);
    let before = relays(&[0, 1]);
    start(&mut world, 0, &before);
    start(&mut world, 1, &before);
    start(&mut world, 2, &relays(&[0, 1, 2]));
    world.run_ms(300);
    let first = attach(&mut world, 0, "r0");
    world.send(first, b"one\n");
    let after = relays(&[0, 1, 2]);
    for id in 0..2 {
        let answer = world.ask(id, &format!("reload {}", read(&after).to_line()));
        assert_eq!(answer, format!("reloaded added= removed= rerouted=r{id} restarted="));
    }
    assert_eq!(lines(&mut world, first), ["routes: to", "up"]);
    let third = attach(&mut world, 2, "r2");
    world.send(first, b"two\ncount\n");
    assert_eq!(lines(&mut world, third), ["port 7: two"]);
    assert_eq!(lines(&mut world, first), ["2 lines"], "it was not restarted");
    // Box 1 goes.
    let gone = relays(&[0, 2]);
    assert_eq!(
        world.ask(1, &format!("reload {}", read(&gone).to_line())),
        "reloaded added= removed=r1 rerouted= restarted="
    );
    world.ask(0, &format!("reload {}", read(&gone).to_line()));
    assert_eq!(lines(&mut world, first), ["down: removed", "routes: to"]);
    assert_eq!(status(&mut world, 0).boxes.len(), 1);
    // What is wrong changes nothing.
    let answer = world.ask(0, r#"reload {"r0": {"type": "relay"}}"#);
    assert!(answer.starts_with("error "), "{answer}");
    assert_eq!(status(&mut world, 0).boxes.len(), 1);
    assert!(world.ask(0, "nonsense").starts_with("error unknown command"));
}

#[test]
fn an_agent_with_other_attributes_is_another_agent() {
    let configuration = |version: u32| {
        format!(
            r#"{{"a": {{"type": "relay", "box": "127.0.0.1:3000", "attrs": {{"version": {version}}}, "routes": {{"to": {{"a": 1}}}}}}}}"#
        )
    };
    let mut world = World::of_machines(1, 5);
    start(&mut world, 0, &configuration(1));
    let session = attach(&mut world, 0, "a");
    world.send(session, b"x\n");
    assert_eq!(lines(&mut world, session), ["port 1: x"]);
    let answer = world.ask(0, &format!("reload {}", read(&configuration(2)).to_line()));
    assert_eq!(answer, "reloaded added= removed= rerouted= restarted=a");
    world.send(session, b"count\n");
    assert_eq!(lines(&mut world, session), ["0 lines"]);
    world.ask(0, "reload {}");
    world.send(session, b"stop\n");
    assert_eq!(lines(&mut world, session), ["error agent a is gone"], "and the box goes on");
}

#[test]
fn what_an_agent_proposes_survives_in_its_local_log() {
    let configuration = r#"{"a": {"type": "relay", "box": "127.0.0.1:3000", "attrs": {"log": "local"}}, "b": {"type": "relay", "box": "127.0.0.1:3000"}}"#;
    let mut world = World::of_machines(1, 6);
    start(&mut world, 0, configuration);
    let session = attach(&mut world, 0, "a");
    world.send(session, b"propose x\npropose y\n");
    assert_eq!(lines(&mut world, session), ["committed 1: x", "committed 2: y"]);
    world.kill(0);
    start(&mut world, 0, configuration);
    let session = attach(&mut world, 0, "a");
    world.send(session, b"count\npropose z\n");
    assert_eq!(lines(&mut world, session), ["2 lines", "committed 3: z"]);
    let session = attach(&mut world, 0, "b");
    world.send(session, b"propose z\n");
    assert_eq!(lines(&mut world, session), ["not committed: this agent has no log"]);
}

#[test]
fn frames_are_lost_on_purpose_as_the_box_is_told() {
    let mut world = World::of_machines(2, 7);
    let configuration = relays(&[0, 1]);
    let loss = Some("0.5".parse().expect("valid"));
    start_with(&mut world, 0, &configuration, ExperimentSetup { loss, ..ExperimentSetup::default() });
    start(&mut world, 1, &configuration);
    world.run_ms(300);
    let (first, second) = (attach(&mut world, 0, "r0"), attach(&mut world, 1, "r1"));
    world.send(first, "x\n".repeat(200).as_bytes());
    let arrived = lines(&mut world, second).len();
    assert!((60..140).contains(&arrived), "{arrived} of 200");
    assert_eq!(status(&mut world, 0).frames_lost_on_purpose, 200 - arrived as u64);
}

#[test]
fn strangers_and_liars_are_turned_away() {
    let mut world = World::of_machines(3, 8);
    start(&mut world, 0, &relays(&[0, 1]));
    // The last one encrypts: nobody waits for the end of that line.
    let tls = "\u{16}\u{3}\u{1}\0";
    for hello in ["ping 1\n", "ping 127.0.0.1:3002\n", "msg 1 x\n", "frame r1 r0 7 1\nx", tls] {
        let conn = world.connect(0, Door::Links);
        world.send(conn, hello.as_bytes());
        world.run_ms(50);
        assert!(world.is_closed(conn), "{hello:?}");
    }
    // A box speaks for its own agents only, and rubbish behind its name ends the link.
    let session = attach(&mut world, 0, "r0");
    let conn = world.connect(0, Door::Links);
    world.send(
        conn,
        b"ping 127.0.0.1:3001\nframe r0 r0 7 1\nxframe r9 r0 7 1\nyframe r1 r9 7 1\nzframe r1 r0 7 2\nok",
    );
    assert_eq!(lines(&mut world, session), ["up", "port 7: ok"]);
    assert_eq!(status(&mut world, 0).frames_dropped, 3);
    world.send(conn, b"rubbish\n");
    world.run_ms(50);
    assert!(world.is_closed(conn));
    assert_eq!(lines(&mut world, session), ["down: broken"]);
}

#[test]
fn a_flood_between_boxes_arrives_whole_and_in_order() {
    let mut world = World::of_machines(2, 9);
    let configuration = relays(&[0, 1]);
    start(&mut world, 0, &configuration);
    start(&mut world, 1, &configuration);
    world.run_ms(300);
    let (first, second) = (attach(&mut world, 0, "r0"), attach(&mut world, 1, "r1"));
    let numbers: Vec<String> = (0..5000).map(|number: u32| number.to_string()).collect();
    world.send(first, (numbers.join("\n") + "\n").as_bytes());
    let mut arrived = Vec::new();
    for _ in 0..20 {
        arrived.extend(lines(&mut world, second));
    }
    let expected: Vec<String> = numbers.iter().map(|number| format!("port 7: {number}")).collect();
    assert_eq!(arrived, expected);
}
