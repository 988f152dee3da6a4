//! The example configurations: they are right, they mean what docs/grid.md says, and their agents do what it shows.
//!
//! The agents run in a host without boxes or a network: every message arrives at once and in order. Real boxes are tested
//! elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ovid::agent::{
    AgentBytes, Commands, Dest, ErasedAgent, Index, Input, Outbox, Output, Peer, Port, Registry, Request,
    Session, Setup, Taken,
};
use ovid::config::{self, AgentId, Configuration, Format, LOG_ATTR};
use ovid::time::Time;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

fn example(name: &str) -> Configuration {
    let text = fs::read_to_string(folder().join(name)).expect("an example");
    config::read(&text, Format::of_file_name(name), &Registry::builtin())
        .unwrap_or_else(|findings| panic!("{name}: {findings:#?}"))
}

/// All agents of a configuration in one place.
struct Host {
    configuration: Configuration,
    ids: Vec<AgentId>,
    agents: Vec<Box<dyn ErasedAgent>>,
    messages: VecDeque<(Peer, Peer, Port, AgentBytes)>,
    /// What each agent has shown or answered.
    lines: BTreeMap<AgentId, Vec<String>>,
    proposed: u64,
}

impl Host {
    fn of(configuration: Configuration) -> Self {
        let registry = Registry::builtin();
        let make = |(id, entry): (&AgentId, &config::Entry)| {
            let mut attrs = entry.attrs.clone();
            attrs.0.remove(LOG_ATTR);
            let routes: Vec<String> = entry.routes.keys().cloned().collect();
            let made = registry.make(&entry.kind, &mut Setup::new(id.as_str(), &attrs, &routes, 1));
            made.expect("a known type").expect("an agent")
        };
        let agents = configuration.agents.iter().map(make).collect();
        let ids = configuration.agents.keys().cloned().collect();
        let (messages, lines) = (VecDeque::new(), BTreeMap::new());
        let mut host = Self { configuration, ids, agents, messages, lines, proposed: 0 };
        for index in 0..host.agents.len() {
            host.handle(index, Input::Start);
        }
        host.run();
        host
    }

    fn index(&self, id: &str) -> usize {
        self.ids.iter().position(|known| known.as_str() == id).expect("an agent")
    }

    /// Somebody says a line to an agent; all that follows from it happens.
    fn say(&mut self, id: &str, line: &str) {
        let (taken, region) = (Taken::default(), format!("{line}\n"));
        let request = Request { session: Session(1), number: 1 };
        let commands = Commands::new(region.as_bytes(), true, request, &taken);
        self.handle(self.index(id), Input::Commands { commands });
        assert_eq!(taken.bytes_left(), 0, "{id} does not understand {line:?}");
        self.run();
    }

    /// What an agent has shown and answered since the last time.
    fn heard(&mut self, id: &str) -> Vec<String> {
        self.lines.remove(&self.ids[self.index(id)]).unwrap_or_default()
    }

    fn counter(&self, id: &str, name: &str) -> u64 {
        let counters = self.agents[self.index(id)].counters();
        counters.into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    fn run(&mut self) {
        while let Some((from, to, port, message)) = self.messages.pop_front() {
            self.handle(to.index(), Input::Message { from, port, message });
        }
    }

    fn handle(&mut self, index: usize, input: Input<'_, AgentBytes>) {
        let mut out = Outbox::default();
        self.agents[index].handle(Time::default(), input, &mut out).expect("a message that is understood");
        let outputs: Vec<_> = out.drain().collect();
        for output in outputs {
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output<AgentBytes>) {
        let from = Peer(u32::try_from(index).expect("few agents"));
        let id = self.ids[index].clone();
        match output {
            Output::Send { to: Dest::Peer(to, port), message } => {
                self.messages.push_back((from, to, port, message));
            }
            Output::Send { to: Dest::Route(route), message } => {
                let targets = self.configuration.agents[&id].routes[route.as_ref()].0.clone();
                for (to, port) in targets {
                    let to = Peer(u32::try_from(self.index(to.as_str())).expect("few agents"));
                    self.messages.push_back((from, to, port, message.clone()));
                }
            }
            Output::Reply { parts, .. } => {
                let line = String::from_utf8(parts.concat()).expect("UTF-8");
                self.lines.entry(id).or_default().push(line);
            }
            Output::Say { line } => {
                self.lines.entry(id).or_default().push(String::from_utf8_lossy(&line).into_owned());
            }
            Output::Propose { record } => {
                assert!(self.configuration.agents[&id].attrs.0.contains_key(LOG_ATTR), "{id} has no log");
                self.proposed += 1;
                self.handle(index, Input::Committed { index: Index(self.proposed), record: &record });
            }
            Output::Lines { .. }
            | Output::Note { .. }
            | Output::Link { .. }
            | Output::Unlink { .. }
            | Output::Post { .. }
            | Output::Barrier { .. }
            | Output::Look(_)
            | Output::Outside(_)
            | Output::Compute { .. }
            | Output::Write(_)
            | Output::Read(_) => {}
        }
    }
}

#[test]
fn every_example_is_right_and_shown_by_check() {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder()).expect("examples").map(|entry| entry.expect("an example").path()).collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for path in names {
        let scratch = tempfile::tempdir().expect("a folder");
        let picture = scratch.path().join("grid.svg");
        let output = Command::new(env!("CARGO_BIN_EXE_ovid"))
            .args(["grid", "check"])
            .arg(&path)
            .arg("--svg")
            .arg(&picture)
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}: {output:?}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let agents = example(&name).agents.len();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains(&format!(", {agents} agents\n")), "{shown}");
        let picture = fs::read_to_string(&picture).expect("a picture");
        assert_eq!(picture.matches("class=\"agent\"").count(), agents);
    }
}

#[test]
fn mistakes_are_printed_with_their_places_and_end_with_status_1() {
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("grid.json");
    let text = fs::read_to_string(folder().join("dummy.json")).expect("an example");
    fs::write(
        &path,
        text.replace("\"type\": \"dummy\"", "\"type\": \"dumy\"").replace("\"there\": 1", "\"thre\": 1"),
    )
    .expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_ovid")).args(["grid", "check"]).arg(&path).output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    let place = format!(
        "{}:2:86: terminal.routes.app.thre: there is no agent \"thre\" (do you mean \"there\"?)",
        path.display()
    );
    assert_eq!(lines[0], place);
    assert!(
        lines[1].starts_with(&format!("{}:3:20: here.type: unknown type \"dumy\"", path.display())),
        "{shown}"
    );
}

#[test]
fn toml_says_the_same_as_json() {
    assert_eq!(example("chat.toml"), example("chat.json"));
}

#[test]
fn the_examples_can_run_side_by_side() {
    let boxes: Vec<_> =
        ["chat.json", "kvs.json", "dummy.json"].iter().flat_map(|name| example(name).boxes()).collect();
    let different: std::collections::BTreeSet<_> = boxes.iter().collect();
    assert_eq!(different.len(), boxes.len(), "{boxes:?}");
}

#[test]
fn people_chat() {
    let mut host = Host::of(example("chat.json"));
    host.say("alice-tty", "hello, everybody");
    assert_eq!(host.heard("bob-tty"), ["Alice: hello, everybody"]);
    assert_eq!(host.heard("carol-tty"), ["Alice: hello, everybody"]);
    host.say("bob-tty", "/to alice psst");
    assert_eq!(host.heard("alice-tty"), ["Bob: psst"]);
    assert_eq!(host.heard("carol-tty"), Vec::<String>::new());
    host.say("carol-tty", "/who");
    assert_eq!(host.heard("carol-tty"), ["Alice is here", "Bob is here"]);
    host.say("alice-tty", "!!");
    assert_eq!(host.heard("bob-tty"), ["Alice: hello, everybody"]);
}

#[test]
fn a_store_is_used_from_a_terminal() {
    let mut host = Host::of(example("kvs.json"));
    for (line, answer) in [
        ("put city Tomis", "ok"),
        ("get city", "value Tomis"),
        ("delete city", "ok"),
        ("get city", "nothing"),
    ] {
        host.say("terminal", line);
        assert_eq!(host.heard("terminal"), [answer], "{line}");
    }
}

#[test]
fn a_multicast_reaches_every_dummy() {
    let mut host = Host::of(example("dummy.json"));
    host.say("terminal", "to all");
    host.say("terminal", "again");
    for id in ["here", "there", "elsewhere"] {
        assert_eq!(host.counter(id, "messages"), 2, "{id}");
    }
}

#[test]
fn a_ledger_keeps_rows_only_where_somebody_takes_them() {
    let ledger = |log: &str| {
        let text = format!(
            r#"{{"l": {{"type": "ledger", "box": "127.0.0.1:4000", "attrs": {{"rows": true{log}}}}}}}"#
        );
        config::read(&text, Format::Json, &Registry::builtin())
    };
    for log in ["", r#", "log": "memory""#] {
        let findings = ledger(log).expect_err("nobody takes them");
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains("1:69: l.attrs.rows: only a log on a disk keeps rows"), "{shown:?}");
    }
    for log in [r#", "log": "local""#, r#", "log": {"members": ["l"]}"#] {
        assert!(ledger(log).is_ok(), "{log}");
    }
    let findings = ledger(r#", "log": "none""#).expect_err("no such log");
    assert_eq!(findings.len(), 1, "nothing is said of the rows: {findings:?}");
}
