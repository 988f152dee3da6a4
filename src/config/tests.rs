//! Reading and writing whole configurations.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AgentId, BoxSettings, Configuration, Entry, Format, LogChoice, RouteTargets, TlsSettings, read};
use crate::agent::{Agent, Attrs, Configure, Input, Mistake, Outbox, Port, Registry, Setup, Text};
use crate::grid::BoxAddress;
use crate::rng::Probability;
use crate::time::Time;

/// An agent with attributes of any sort, of which one has to be a number.
struct Open;

impl Configure for Open {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        setup.all_routes();
        setup.attr::<u64>("number")?;
        setup.attr::<Value>("any")?;
        Ok(Self)
    }
}

impl Agent for Open {
    type Msg = Text;

    fn handle(&mut self, _: Time, _: Input<'_, Text>, _: &mut Outbox<Text>) {}
}

fn registry() -> Registry {
    Registry::builtin().with::<Open>("open")
}

fn right(text: &str, format: Format) -> Configuration {
    read(text, format, &registry()).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn wrong(text: &str) -> Vec<String> {
    let findings = read(text, Format::Json, &registry()).expect_err("mistakes");
    findings.iter().map(ToString::to_string).collect()
}

/// The one mistake in an agent whose entry has `fields`.
fn wrong_fields(fields: &str) -> String {
    let text = format!("{{\"a\": {{\"type\": \"open\", \"box\": \"127.0.0.1:4000\", {fields}}}}}");
    let wrong = wrong(&text);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    wrong[0].split_once(": ").expect("a place").1.to_owned()
}

/// The one mistake in the settings of a box.
fn wrong_settings(attrs: &str) -> String {
    let text =
        format!("{{\"s\": {{\"type\": \"box\", \"box\": \"127.0.0.1:4000\", \"attrs\": {{{attrs}}}}}}}");
    let wrong = wrong(&text);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    wrong[0].split_once(": ").expect("a place").1.to_owned()
}

fn on(text: &str) -> BoxAddress {
    text.parse().expect("an address")
}

/// The mistakes of two members of a log, `log` being the attribute of the first and `other` that of the second.
fn wrong_logs(log: &str, other: &str) -> Vec<String> {
    let member = |id: &str, log: &str| {
        format!(r#""{id}": {{"type": "open", "box": "127.0.0.1:4000", "attrs": {{"log": {log}}}}}"#)
    };
    let wrong = wrong(&format!("{{{}, {}}}", member("a", log), member("b", other)));
    wrong.iter().map(|wrong| wrong.split_once(": ").expect("a place").1.to_owned()).collect()
}

#[test]
fn members_of_a_log_get_routes_to_each_other_that_are_not_written() {
    let text = r#"{
        "a": {"type": "open", "box": "127.0.0.1:4000", "attrs": {"log": {"members": ["a", "b", "c"], "voters": ["a", "b"]}}},
        "b": {"type": "open", "box": "127.0.0.1:4001", "attrs": {"log": {"members": ["c", "a", "b"], "voters": ["b", "a"]}},
              "routes": {"x": {"a": 1}}},
        "c": {"type": "open", "box": "127.0.0.1:4002", "attrs": {"log": {"members": ["b", "c", "a"], "voters": ["a", "b"]}}},
        "lone": {"type": "open", "box": "127.0.0.1:4002", "attrs": {"log": {"members": ["lone"]}}}
    }"#;
    let configuration = right(text, Format::Json);
    let id = |id: &str| -> AgentId { id.parse().expect("valid") };
    let route = &configuration.agents[&id("b")].routes["log"].0;
    assert_eq!(route.iter().collect::<Vec<_>>(), [(&id("a"), &Port::LOG), (&id("c"), &Port::LOG)]);
    let line = configuration.to_line();
    assert!(!line.contains("65535"), "{line}");
    assert_eq!(right(&line, Format::Json), configuration);
    let LogChoice::Replicated(log) = &configuration.agents[&id("c")].log else { panic!("replicated") };
    assert_eq!((log.members.len(), log.voters.len()), (3, 2));
    assert_eq!(configuration.shared_logs().len(), 2);
}

#[test]
fn what_is_wrong_with_a_replicated_log_is_said_with_its_cure() {
    let good = r#"{"members": ["a", "b"]}"#;
    let cases = [
        (
            r#""file""#,
            r#"a.attrs.log: expected "local", "memory" or {"members": ["<agent>", ...]}, found "file""#,
        ),
        (
            r#"{"member": ["a"]}"#,
            "a.attrs.log.member: unknown field; known are members, voters, election_ms, heartbeat_ms, reads, compact_bytes, keep_after_ms",
        ),
        ("{}", "a.attrs.log.members: is needed and missing"),
        (
            r#"{"members": ["a", "b"], "compact_bytes": "1 MiB"}"#,
            r#"a.attrs.log.compact_bytes: expected a whole number of bytes, at least 1, found "1 MiB""#,
        ),
        (r#"{"members": []}"#, "a.attrs.log.members: names nobody; name the agents that belong to the log"),
        (
            r#"{"members": ["a", 1]}"#,
            r#"a.attrs.log.members: expected a list of the ids of agents, found ["a",1]"#,
        ),
        (r#"{"members": ["a", "b", "a"]}"#, "a.attrs.log.members: names a twice"),
        (
            r#"{"members": ["a"], "voters": ["b"]}"#,
            "a.attrs.log.voters: b has a vote and is none of the members",
        ),
        (
            r#"{"members": ["a", "b"], "reads": "now"}"#,
            r#"a.attrs.log.reads: expected "index" or "lease", found "now""#,
        ),
        (
            r#"{"members": ["a", "b"], "heartbeat_ms": 0}"#,
            "a.attrs.log.heartbeat_ms: expected whole milliseconds from 1 to 600000, found 0",
        ),
        (
            r#"{"members": ["a", "b"], "heartbeat_ms": 400}"#,
            "a.attrs.log: heartbeats every 400ms are too seldom for elections after 250ms: at least two have to fit",
        ),
    ];
    for (log, expected) in cases {
        assert_eq!(wrong_logs(log, good)[0], expected);
    }
    let same = "has another \"log\": all members of a log have the same";
    assert_eq!(
        wrong_logs(good, r#"{"members": ["a", "b"], "reads": "lease"}"#),
        [format!("a.attrs.log.members: b {same}"), format!("b.attrs.log.members: a {same}")]
    );
    assert_eq!(wrong_logs(good, r#""local""#), [format!("a.attrs.log.members: b {same}")]);
    assert_eq!(
        wrong_logs(r#"{"members": ["a", "bb"]}"#, r#"{"members": ["a"]}"#),
        [
            r#"a.attrs.log.members: there is no agent "bb""#.to_owned(),
            format!("b.attrs.log.members: a {same}"),
            "b.attrs.log.members: an agent belongs to its own log, and b is not among these".to_owned(),
        ]
    );
    let text = r#"{
        "a": {"type": "open", "box": "127.0.0.1:1", "attrs": {"log": {"members": ["a", "b"]}},
              "routes": {"log": {"b": 1}, "x": {"b": 65535}}},
        "b": {"type": "dummy", "box": "127.0.0.1:1", "attrs": {"log": {"members": ["a", "b"]}}}
    }"#;
    assert_eq!(
        wrong(text),
        [
            r#"2:82: a.attrs.log.members: b is of type "dummy", and all members of a log are of one type, here "open""#,
            "3:26: a.routes.log: is made of the members of the replicated log; take it away",
            "3:54: a.routes.x.b: port 65535 is for the members of replicated logs; choose another",
            r#"4:83: b.attrs.log.members: a is of type "open", and all members of a log are of one type, here "dummy""#,
        ]
    );
}

#[test]
fn an_agent_goes_on_when_only_the_members_of_its_log_are_others() {
    let entry = |log: Value| Entry {
        kind: "open".into(),
        on: on("127.0.0.1:1"),
        log: LogChoice::None,
        attrs: Attrs(serde_json::from_value(json!({"log": log})).expect("an object")),
        routes: BTreeMap::new(),
    };
    let before = entry(json!({"members": ["a"]}));
    assert!(before.can_become(&entry(json!({"members": ["a", "b"], "voters": ["a"]}))));
    assert!(!before.can_become(&entry(json!({"members": ["a"], "reads": "lease"}))));
    assert!(!before.can_become(&entry(json!("local"))));
}

const JSON: &str = r#"{
  "a": {"type": "open", "box": "[::ffff:127.0.0.1]:4000", "attrs": {"number": 7, "log": "local"},
        "routes": {"all": {"b": 1, "c": 2}, "self": {"a": 0}}},
  "b": {"type": "dummy", "box": "127.0.0.1:4001"},
  "c": {"type": "dummy", "box": "127.0.0.1:4000"},
  "lossy": {"type": "box", "box": "127.0.0.1:4001",
            "attrs": {"control": false, "data": "d", "loss": 0.01, "duplicate": "0.5", "delay_ms": 20, "seed": 9}}
}"#;

const TOML: &str = r#"
[a]
type = "open"
box = "127.0.0.1:4000"
attrs = { number = 7, log = "local" }
routes.all = { b = 1, c = 2 }
routes.self.a = 0
[b]
type = "dummy"
box = "127.0.0.1:4001"
[c]
type = "dummy"
box = "127.0.0.1:4000"
[lossy]
type = "box"
box = "127.0.0.1:4001"
attrs = { control = false, data = "d", loss = 0.01, duplicate = "0.5", delay_ms = 20, seed = 9 }
"#;

#[test]
fn everything_that_stands_there_is_read() {
    let configuration = right(JSON, Format::Json);
    let a = &configuration.agents[&"a".parse().expect("an id")];
    assert_eq!((a.kind.as_str(), a.on), ("open", on("127.0.0.1:4000")));
    assert_eq!(Value::Object(a.attrs.0.clone()), json!({"number": 7, "log": "local"}));
    let all: Vec<(&str, u16)> = a.routes["all"].0.iter().map(|(id, port)| (id.as_str(), port.0)).collect();
    assert_eq!(all, [("b", 1), ("c", 2)]);
    assert_eq!(
        configuration.settings_of(on("127.0.0.1:4001")),
        BoxSettings {
            control: None,
            data: "d".to_owned(),
            loss: Probability::percent(1),
            duplicate: Probability::percent(50),
            delay: Duration::from_millis(20),
            seed: Some(9),
            tls: None,
            plain: false,
        }
    );
    let control = configuration.settings_of(on("127.0.0.1:4000")).control;
    assert_eq!(control, Some("127.0.0.1:14000".parse().expect("an address")));
    assert_eq!(configuration.boxes().len(), 2);
}

#[test]
fn what_is_wrong_about_encryption_is_told_each_by_itself() {
    let text = r#"{"s": {"type": "box", "box": "127.0.0.1:1", "attrs": {
        "tls": {"certificate": 1, "key": "k", "link": true, "names": {"here": "a", "10.0.0.1": ["b", 7]}}, "plain": "no"}}}"#;
    let found = wrong(text);
    assert_eq!(found.len(), 6, "{found:?}");
    for expected in [
        "s.attrs.tls.names.here: expected an address such as \"10.0.0.1\" as the name of this field",
        "s.attrs.tls.names.10.0.0.1: expected a name, or a list of names",
        "s.attrs.tls.certificate: expected the name of a file as a string, found a number",
        "s.attrs.tls.authority: is missing; expected the name of a file",
        "s.attrs.tls.link: unknown",
        "s.attrs.plain: expected true or false, found a string",
    ] {
        assert!(found.iter().any(|finding| finding.contains(expected)), "{expected}: {found:?}");
    }
    let text = r#"{"s": {"type": "box", "box": "127.0.0.1:1", "attrs": {"tls": true}}}"#;
    assert!(wrong(text)[0].contains("s.attrs.tls: expected {\"certificate\""), "{:?}", wrong(text));
}

#[test]
fn toml_of_the_same_shape_means_the_same() {
    assert_eq!(right(TOML, Format::Toml), right(JSON, Format::Json));
    assert_eq!(Format::of_file_name("grid.TOML"), Format::Toml);
    assert_eq!(Format::of_file_name("grid"), Format::Json);
}

#[test]
fn all_mistakes_come_at_once_with_their_places() {
    let text = r#"{
  "a": {"type": "dumy", "box": "localhost:1", "routs": {}},
  "b c": {"type": "dummy"},
  "d": {"type": "open", "box": "127.0.0.1:1", "attrs": {"number": "x", "stray": 1},
        "routes": {"to": {"aa": 1, "s": 1, "a": 70000}, "none": {}}},
  "s": {"type": "box", "box": "127.0.0.1:1", "routes": {}},
  "d": 1
}"#;
    assert_eq!(wrong(text), [
        "2:17: a.type: unknown type \"dumy\" (do you mean \"dummy\"?); types of agents are TYPES, and \"box\" for the settings of a box"
            .replace("TYPES", &registry().names().collect::<Vec<_>>().join(", ")),
        "2:32: a.box: expected an address and a port, such as 127.0.0.1:4000 or [::1]:4000, not \"localhost:1\"".to_owned(),
        "2:47: a.routs: unknown field (do you mean \"routes\"?); known are type, box, attrs, routes".to_owned(),
        "3:3: b c: an agent's id has 1 to 64 letters, digits or characters of \"-_.@/\"; \"b c\" has not".to_owned(),
        "3:3: b c.box: is missing; name the box on which this is, such as \"127.0.0.1:4000\"".to_owned(),
        "4:67: d.attrs.number: invalid type: string \"x\", expected u64".to_owned(),
        "5:27: d.routes.to.aa: there is no agent \"aa\"".to_owned(),
        "5:36: d.routes.to.s: \"s\" holds the settings of a box and is no agent".to_owned(),
        "5:49: d.routes.to.a: expected a port, a whole number from 0 to 65535, found 70000".to_owned(),
        "5:65: d.routes.none: leads to nobody; name an agent and its port, or take the route away".to_owned(),
        "6:46: s.routes: the settings of a box have no routes".to_owned(),
        "7:3: d: this name stands here a second time, first in line 4; take one of the two away".to_owned(),
    ]);
}

#[test]
fn wrong_values_are_told_from_right_ones() {
    assert_eq!(wrong("[]"), ["1:1: expected an object with an entry for each agent, found a list"]);
    assert_eq!(wrong("{\"a\": 1}"), ["1:7: a: expected an object with a type and a box, found a number"]);
    assert_eq!(wrong_fields("\"attrs\": []"), "a.attrs: expected an object, found a list");
    assert_eq!(wrong_fields("\"routes\": 1"), "a.routes: expected an object, found a number");
    assert!(wrong_fields("\"routes\": {\"x\": \"a\"}").starts_with("a.routes.x: expected an object such as"));
    for port in ["-1", "1.5", "\"1\"", "65536", "null", "1e2"] {
        let wrong = wrong_fields(&format!("\"routes\": {{\"x\": {{\"a\": {port}}}}}"));
        assert!(wrong.starts_with("a.routes.x.a: expected a port"), "{wrong}");
    }
    assert!(
        wrong_fields("\"routes\": {\"a b\": {\"a\": 1}}").starts_with("a.routes.a b: the name of a route")
    );
    assert_eq!(
        wrong_fields("\"attrs\": {\"log\": \"disk\"}"),
        "a.attrs.log: expected \"local\", \"memory\" or {\"members\": [\"<agent>\", ...]}, found \"disk\""
    );
    assert_eq!(
        wrong_fields("\"attrs\": {\"nmber\": 1}"),
        "a.attrs.nmber: unknown attribute; known are any, number"
    );
    assert_eq!(
        wrong_fields("\"attrs\": {\"any\": [{\"x\": 1, \"x\": 2}]}"),
        "a.attrs.any.x: this name stands here a second time, first in line 1; take one of the two away"
    );
    assert!(
        wrong("{\"a\": {\"type\": 3, \"box\": 4}}")[0].contains("a.type: expected a string, found a number")
    );
    assert!(wrong("{\"a\": {\"type\": 3, \"box\": 4}}")[1].contains("a.box: expected a string such as"));
}

#[test]
fn wrong_settings_are_told_from_right_ones() {
    for (attrs, begin) in [
        ("\"control\": true", "s.attrs.control: expected an address and a port such as"),
        ("\"control\": \"127.0.0.1\"", "s.attrs.control: expected an address and a port such as"),
        ("\"control\": \"127.0.0.1:0\"", "s.attrs.control: nobody can find port 0"),
        ("\"data\": \"\"", "s.attrs.data: expected the name of a folder"),
        ("\"loss\": 1.5", "s.attrs.loss: expected a probability between 0 and 1"),
        (
            "\"loss\": 0.0000001",
            "s.attrs.loss: expected a probability between 0 and 1 with at most 6 decimals",
        ),
        ("\"duplicate\": null", "s.attrs.duplicate: expected a probability between 0 and 1, found null"),
        ("\"delay_ms\": 3600001", "s.attrs.delay_ms: expected a whole number from 0 to 3600000"),
        ("\"seed\": -1", "s.attrs.seed: expected a whole number"),
        ("\"los\": 0", "s.attrs.los: unknown field (do you mean \"loss\"?)"),
    ] {
        let wrong = wrong_settings(attrs);
        assert!(wrong.starts_with(begin), "{wrong}");
    }
}

#[test]
fn two_cannot_have_one_place() {
    let twice = r#"{"s": {"type": "box", "box": "127.0.0.1:1"}, "t": {"type": "box", "box": "[::ffff:127.0.0.1]:1"}}"#;
    assert_eq!(
        wrong(twice),
        ["1:46: t: 127.0.0.1:1 has its settings in \"s\" already; bring the two together"]
    );
    let clash = |control: &str, other: &str| {
        let text = format!(
            r#"{{"s": {{"type": "box", "box": "127.0.0.1:1", "attrs": {{"control": "{control}"}}}}, "a": {{"type": "dummy", "box": "{other}"}}}}"#
        );
        read(&text, Format::Json, &registry()).map(|_| ()).map_err(|findings| findings[0].to_string())
    };
    assert_eq!(clash("127.0.0.1:9", "127.0.0.1:2"), Ok(()));
    assert_eq!(clash("127.0.0.1:2", "127.0.0.2:2"), Ok(()));
    let begin = "1:66: s.attrs.control: the control port 127.0.0.1:2 of box 127.0.0.1:1 is taken by the box 127.0.0.1:2 itself;";
    for control in ["127.0.0.1:2", "0.0.0.0:2", "[::ffff:127.0.0.1]:2"] {
        let wrong = clash(control, "127.0.0.1:2").expect_err("a clash");
        assert!(wrong.starts_with(begin), "{wrong}");
    }
    let wrong = clash("127.0.0.1:1", "127.0.0.1:2").expect_err("a clash");
    assert!(wrong.contains("taken by the box 127.0.0.1:1 itself"), "{wrong}");
    let wrong = clash("127.0.0.1:10002", "127.0.0.1:2").expect_err("the other's control port by default");
    assert!(
        wrong.contains("127.0.0.1:10002 of box 127.0.0.1:2 is taken by the control of box 127.0.0.1:1"),
        "{wrong}"
    );
}

#[test]
fn a_mark_at_the_beginning_is_no_mistake() {
    assert_eq!(right("\u{feff}{}", Format::Json), Configuration::default());
    assert_eq!(wrong("\u{feff}[]")[0].split_once(": ").expect("a place").0, "1:1");
}

fn ids() -> impl Strategy<Value = AgentId> {
    "[a-zäé0-9@/._-]{1,8}|box[1-3]".prop_map(|id| id.parse().expect("an id"))
}

/// Values of JSON, among them numbers that are hard to read back.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_map(|number| serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn settings() -> impl Strategy<Value = BoxSettings> {
    let control = proptest::option::of((any::<[u8; 4]>(), 20_000u16..60_000));
    let chances = (0u32..=1_000_000, 0u32..=1_000_000);
    let file = "[a-z/.]{1,9}";
    let names = proptest::collection::btree_set("[a-z.]{1,9}", 1..3);
    let names = proptest::collection::btree_map(any::<[u8; 4]>().prop_map(IpAddr::from), names, 0..3);
    let tls =
        (file, file, file, any::<bool>(), names).prop_map(|(certificate, key, authority, links, names)| {
            TlsSettings { certificate, key, authority, links, names }
        });
    let tls = (proptest::option::of(tls), any::<bool>());
    (control, "[a-z /]{1,9}", chances, 0u64..=3_600_000, any::<Option<u64>>(), tls).prop_map(
        |(control, data, (loss, duplicate), delay_ms, seed, (tls, plain))| BoxSettings {
            control: control.map(SocketAddr::from),
            data,
            loss: Probability::millionths(loss),
            duplicate: Probability::millionths(duplicate),
            delay: Duration::from_millis(delay_ms),
            seed,
            tls,
            plain,
        },
    )
}

/// Any configuration whose boxes do not want each other's places.
fn configurations() -> impl Strategy<Value = Configuration> {
    let boxes =
        proptest::sample::select(vec!["127.0.0.1:4000", "[::1]:4000", "10.0.0.1:70", "[2001:db8::1]:9"]);
    let boxes = boxes.prop_map(on);
    let route = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u16>()), 1..4);
    let agent =
        (boxes.clone(), any::<u64>(), values(), proptest::collection::btree_map("[a-z]{1,3}", route, 0..3));
    let agents = proptest::collection::btree_map(ids(), agent, 0..5);
    (agents, proptest::collection::btree_map(boxes, settings(), 0..3)).prop_filter_map(
        "boxes that want one place",
        |(agents, settings)| {
            let names: Vec<AgentId> = agents.keys().cloned().collect();
            let mut configuration = Configuration { agents: BTreeMap::new(), settings };
            for (id, (on, number, any, routes)) in agents {
                let attrs = Attrs(
                    [("number".to_owned(), number.into()), ("any".to_owned(), any)].into_iter().collect(),
                );
                let targets = |targets: Vec<(proptest::sample::Index, u16)>| {
                    RouteTargets(
                        targets
                            .iter()
                            .map(|(index, port)| (index.get(&names).clone(), Port(*port)))
                            .collect(),
                    )
                };
                let routes = routes.into_iter().map(|(name, to)| (name, targets(to))).collect();
                let log = LogChoice::None;
                configuration.agents.insert(id, Entry { kind: "open".to_owned(), on, attrs, log, routes });
            }
            let boxes = configuration.boxes();
            super::control::clashes(&configuration, boxes.into_iter()).is_empty().then_some(configuration)
        },
    )
}

proptest! {
    #[test]
    fn a_line_is_read_back_as_what_was_written(configuration in configurations()) {
        let line = configuration.to_line();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(read(&line, Format::Json, &registry()), Ok(configuration));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text: String, json in values()) {
        for format in [Format::Json, Format::Toml] {
            let _ = read(&text, format, &registry());
            let _ = read(&json.to_string(), format, &registry());
        }
    }

    #[test]
    fn a_text_that_somebody_damaged_is_read_without_a_panic(
        at: proptest::sample::Index, with in ".{0,3}", drop in 0usize..9,
    ) {
        for (text, format) in [(JSON, Format::Json), (TOML, Format::Toml)] {
            let at = at.index(text.len());
            let end = (at + drop).min(text.len());
            let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
            let _ = read(&damaged, format, &registry());
        }
    }
}
