//! Services on a log that three boxes agree on, over simulated byte streams.

use ovid::sim::servers::Visitor;

use crate::boxes::{address, attach, lines, read, start, status};
use crate::world::World;

/// The boxes of the log; the one of the client comes behind them.
const MEMBERS: [u16; 3] = [0, 1, 2];
const CLIENT: u16 = 3;

/// Three stores, and a client that asks one after the other.
fn kvs() -> String {
    let routes = r#""kvs-1": {"s0": 1}, "kvs-2": {"s1": 1}, "kvs-3": {"s2": 1}"#;
    let client =
        format!(r#""client": {{"type": "client", "box": "{}", "routes": {{{routes}}}}}"#, address(CLIENT));
    format!("{{{}, {client}}}", members("kvs", &MEMBERS, ""))
}

/// The entries of the members `on` of one log; `more` stands among the attributes of each.
fn members(kind: &str, on: &[u16], more: &str) -> String {
    let names: Vec<String> = on.iter().map(|id| format!(r#""s{id}""#)).collect();
    let names = names.join(", ");
    let member = |id: &u16| {
        let attrs = format!(r#"{{"log": {{"members": [{names}], "voters": ["s0", "s1", "s2"]}}{more}}}"#);
        format!(r#""s{id}": {{"type": "{kind}", "box": "{}", "attrs": {attrs}}}"#, address(*id))
    };
    on.iter().map(member).collect::<Vec<_>>().join(", ")
}

fn world(boxes: u16, seed: u64, configuration: &str) -> World {
    let mut world = World::of_machines(boxes, seed);
    for id in 0..boxes {
        start(&mut world, id, configuration);
    }
    world.run_ms(1500);
    world
}

/// The one answer to a line.
fn ask(world: &mut World, session: Visitor, line: &str) -> String {
    world.send(session, format!("{line}\n").as_bytes());
    for _ in 0..400 {
        world.run_ms(10);
        let answer = world.take(session);
        if !answer.is_empty() {
            return String::from_utf8(answer).expect("UTF-8").trim_end().to_owned();
        }
    }
    panic!("no answer to {line}");
}

/// Which of these boxes leads, as all of them see it.
fn leader(world: &mut World, among: &[u16]) -> u16 {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..50 {
        seen = among
            .iter()
            .map(|id| {
                let about = status(world, *id).agents.into_iter().find_map(|agent| agent.about);
                let about = about.expect("a log says how it stands");
                about.split(' ').find_map(|word| word.strip_prefix("leader=")).expect("a leader").to_owned()
            })
            .collect();
        if let Some(id) = seen[0].strip_prefix('s')
            && seen.iter().all(|other| *other == seen[0])
        {
            return id.parse().expect("a number");
        }
        world.run_ms(100);
    }
    panic!("they see {seen:?}");
}

#[test]
fn a_store_becomes_replicated_by_its_configuration_and_outlives_any_of_its_boxes() {
    for dies in MEMBERS {
        let configuration = kvs();
        let mut world = world(4, 100 + u64::from(dies), &configuration);
        let client = attach(&mut world, CLIENT, "client");
        assert_eq!(ask(&mut world, client, "put k one"), "ok");
        world.kill(dies);
        assert_eq!(ask(&mut world, client, "get k"), "value one");
        assert_eq!(ask(&mut world, client, "put k two"), "ok");
        start(&mut world, dies, &configuration);
        world.run_ms(1500);
        // Whoever has missed it must have it now.
        let other = (dies + 1) % 3;
        world.kill(other);
        assert_eq!(ask(&mut world, client, "get k"), "value two");
    }
}

#[test]
fn the_leader_dies_and_another_one_leads() {
    let configuration = kvs();
    let mut world = world(4, 7, &configuration);
    let client = attach(&mut world, CLIENT, "client");
    assert_eq!(ask(&mut world, client, "put k one"), "ok");
    let first = leader(&mut world, &MEMBERS);
    world.kill(first);
    assert_eq!(ask(&mut world, client, "put k two"), "ok");
    let rest: Vec<u16> = MEMBERS.into_iter().filter(|id| *id != first).collect();
    let second = leader(&mut world, &rest);
    assert!(rest.contains(&second));
    assert_eq!(ask(&mut world, client, "get k"), "value two");
}

#[test]
fn everything_is_there_after_all_boxes_have_started_again() {
    let configuration = kvs();
    let mut world = world(4, 8, &configuration);
    let client = attach(&mut world, CLIENT, "client");
    for number in 0..20 {
        assert_eq!(ask(&mut world, client, &format!("put k{number} v{number}")), "ok");
    }
    for id in MEMBERS {
        world.kill(id);
    }
    for id in MEMBERS {
        start(&mut world, id, &configuration);
    }
    for number in 0..20 {
        assert_eq!(ask(&mut world, client, &format!("get k{number}")), format!("value v{number}"));
    }
}

#[test]
fn a_log_says_how_it_stands_and_can_be_told_who_leads() {
    let configuration = format!("{{{}}}", members("ledger", &MEMBERS, ""));
    let mut world = world(3, 9, &configuration);
    let leads = leader(&mut world, &MEMBERS);
    let session = attach(&mut world, 0, "s0");
    assert_eq!(ask(&mut world, session, "append one"), "ok 1");
    let status = ask(&mut world, session, "log status");
    assert!(status.starts_with("ok standing=") && status.contains(&format!(" leader=s{leads} ")), "{status}");
    let members = ask(&mut world, session, "log members");
    assert!(members.contains("s0=voter,here") && members.contains(&format!("s{leads}=voter,")), "{members}");
    let next = (leads + 1) % 3;
    assert_eq!(ask(&mut world, session, &format!("log transfer s{next}")), "ok");
    world.run_ms(200);
    assert_eq!(leader(&mut world, &MEMBERS), next);
    let answer = ask(&mut world, session, "log add s9");
    assert!(answer.starts_with("error unknown no server \"s9\""), "{answer}");
}

#[test]
fn many_lines_of_one_read_are_appended_in_their_order() {
    let configuration = format!("{{{}}}", members("ledger", &MEMBERS, ""));
    let mut world = world(3, 10, &configuration);
    for id in MEMBERS {
        let session = attach(&mut world, id, &format!("s{id}"));
        let before = u64::from(id) * 300;
        let appends: Vec<String> = (1..=300).map(|number| format!("append line {number}")).collect();
        world.send(session, format!("{}\n", appends.join("\n")).as_bytes());
        let expected: Vec<String> = (1..=300).map(|number| format!("ok {}", before + number)).collect();
        assert_eq!(lines(&mut world, session), expected);
        assert_eq!(ask(&mut world, session, &format!("read {}", before + 300)), "ok line 300");
    }
    let counts: Vec<String> = MEMBERS
        .iter()
        .map(|id| {
            let session = attach(&mut world, *id, &format!("s{id}"));
            ask(&mut world, session, "count")
        })
        .collect();
    assert!(counts[0].starts_with("ok 900 ") && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn members_are_added_by_the_configuration_and_a_command() {
    let before = format!("{{{}}}", members("ledger", &MEMBERS, ""));
    let mut world = World::of_machines(4, 11);
    for id in MEMBERS {
        start(&mut world, id, &before);
    }
    world.run_ms(1500);
    let session = attach(&mut world, 0, "s0");
    assert_eq!(ask(&mut world, session, "append one"), "ok 1");
    let after = format!("{{{}}}", members("ledger", &[0, 1, 2, 3], ""));
    start(&mut world, 3, &after);
    for id in MEMBERS {
        let answer = world.ask(id, &format!("reload {}", read(&after).to_line()));
        assert_eq!(answer, format!("reloaded added= removed= rerouted=s{id} restarted="));
    }
    world.run_ms(500);
    assert_eq!(ask(&mut world, session, "log voters s0 s1 s2 s3"), "ok");
    let fourth = attach(&mut world, 3, "s3");
    assert_eq!(ask(&mut world, fourth, "read 1"), "ok one");
    assert_eq!(ask(&mut world, fourth, "append two"), "ok 2");
    assert_eq!(ask(&mut world, session, "log remove s1"), "ok");
    let members = ask(&mut world, session, "log members");
    assert!(!members.contains("s1=") && members.contains("s3=voter,up"), "{members}");
}

#[test]
fn local_logs_answer_barriers_behind_what_is_committed() {
    for log in [r#""log": "local""#, r#""log": "memory""#] {
        let configuration =
            format!(r#"{{"l": {{"type": "ledger", "box": "{}", "attrs": {{{log}}}}}}}"#, address(0));
        let mut world = world(1, 12, &configuration);
        let session = attach(&mut world, 0, "l");
        world.send(session, b"append one\nread 1\nappend two\n");
        let answers = lines(&mut world, session);
        assert_eq!((answers[0].as_str(), answers[2].as_str()), ("ok 1", "ok 2"));
        assert_eq!(ask(&mut world, session, "read 2"), "ok two");
    }
}

#[test]
fn an_agent_whose_log_keeps_no_rows_finds_none() {
    for attrs in [r#"{"log": "local"}"#, r#"{"log": "memory"}"#, "{}"] {
        let configuration =
            format!(r#"{{"r": {{"type": "relay", "box": "{}", "attrs": {attrs}}}}}"#, address(0));
        let mut world = world(1, 13, &configuration);
        let session = attach(&mut world, 0, "r");
        assert_eq!(ask(&mut world, session, "look"), "looked 7: []");
    }
}
