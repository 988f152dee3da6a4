//! Logs that three boxes agree on, as processes: kills at the wrong moment, files, control ports.

use std::collections::BTreeMap;

use crate::boxes::Boxes;
use crate::grid::{Master, wait_until};

pub(crate) const MEMBERS: [u16; 3] = [0, 1, 2];

/// Three members of type `kind`, and what else there is.
fn configuration(kind: &str, more: &str) -> String {
    configuration_with(kind, "", more)
}

/// As [`configuration`], the members with these attributes, each behind a comma.
pub(crate) fn configuration_with(kind: &str, attrs: &str, more: &str) -> String {
    let attrs = format!(r#"{{"log": {{"members": ["s0", "s1", "s2"]}}{attrs}}}"#);
    let member = |id: u16| format!(r#""s{id}": {{"type": "{kind}", "box": "{{{id}}}", "attrs": {attrs}}}"#);
    let members: Vec<String> = MEMBERS.into_iter().map(member).collect();
    format!("{}{more}", members.join(",\n"))
}

pub(crate) fn start(boxes: &mut Boxes, ids: &[u16]) {
    for id in ids {
        boxes.start(*id, &[]);
    }
}

/// The leader, once all of these see the same one.
pub(crate) fn leader(boxes: &Boxes, among: &[u16]) -> u16 {
    let mut sessions: Vec<Master> = among.iter().map(|id| boxes.attach(*id, &format!("s{id}"))).collect();
    let mut leader = String::new();
    wait_until("all see one leader", || {
        let status = sessions.iter_mut().map(|session| session.ask("log status"));
        let seen =
            status.filter_map(|line| Some(line.split_once(" leader=s")?.1.split(' ').next()?.to_owned()));
        let mut seen: Vec<String> = seen.collect();
        let all = seen.len() == among.len();
        seen.dedup();
        leader = seen[..].first().cloned().unwrap_or_default();
        all && seen.len() == 1
    });
    leader.parse().expect("a number")
}

#[test]
fn what_a_log_of_three_has_acknowledged_survives_the_kill_of_its_leader_and_of_all() {
    let mut boxes = Boxes::new(3, &configuration("ledger", ""));
    start(&mut boxes, &MEMBERS);
    let first = leader(&boxes, &MEMBERS);
    let rest: Vec<u16> = MEMBERS.into_iter().filter(|id| *id != first).collect();
    let mut session = boxes.attach(rest[0], &format!("s{}", rest[0]));
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    let append = |session: &mut Master,
                  from: u64,
                  acknowledged: &mut BTreeMap<u64, String>,
                  meanwhile: &mut dyn FnMut()| {
        let lines: Vec<String> = (from..from + 200).map(|number| format!("line {number}")).collect();
        let text: Vec<String> = lines.iter().map(|line| format!("append {line}")).collect();
        session.send(&text.join("\n"));
        meanwhile();
        for line in lines {
            let answer = session.answer();
            if let Some(index) = answer.strip_prefix("ok ") {
                let before = acknowledged.insert(index.parse().expect("a number"), line);
                assert_eq!(before, None, "one place for one line");
            } else {
                assert!(answer.starts_with("error "), "{answer}");
            }
        }
    };
    append(&mut session, 0, &mut acknowledged, &mut || {});
    assert_eq!(acknowledged.len(), 200, "nothing was in the way");
    append(&mut session, 200, &mut acknowledged, &mut || boxes.kill(first));
    let second = leader(&boxes, &rest);
    assert!(rest.contains(&second));
    append(&mut session, 400, &mut acknowledged, &mut || {});
    assert!(acknowledged.len() >= 400);
    let check = |session: &mut Master| {
        let reads: Vec<String> = acknowledged.keys().map(|index| format!("read {index}")).collect();
        session.send(&reads.join("\n"));
        for line in acknowledged.values() {
            assert_eq!(session.answer(), format!("ok {line}"));
        }
    };
    check(&mut session);
    for id in &rest {
        boxes.kill(*id);
    }
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    for id in MEMBERS {
        check(&mut boxes.attach(id, &format!("s{id}")));
    }
}

#[test]
fn a_store_is_replicated_by_its_configuration_and_a_status_shows_its_log() {
    let client = r#",
        "client": {"type": "client", "box": "{3}", "routes": {"kvs-1": {"s0": 1}, "kvs-2": {"s1": 1}, "kvs-3": {"s2": 1}}}"#;
    let mut boxes = Boxes::new(4, &configuration("kvs", client));
    start(&mut boxes, &[0, 1, 2, 3]);
    let mut client = boxes.attach(3, "client");
    assert_eq!(client.ask("put city Tomis by the sea"), "ok");
    let first = leader(&boxes, &MEMBERS);
    let status = boxes.ovid(&["status", "grid.json"]);
    let status = String::from_utf8(status.stdout).expect("UTF-8");
    let says = format!("s{first}     standing=leader term=");
    assert!(status.lines().any(|line| line.starts_with(&says)), "{status}");
    boxes.kill(first);
    assert_eq!(client.ask("get city"), "value Tomis by the sea");
    assert_eq!(client.ask("put river Hister"), "ok");
    let rest: Vec<u16> = MEMBERS.into_iter().filter(|id| *id != first).collect();
    // One of three is no majority: it may not answer from what it knows.
    boxes.kill(rest[0]);
    client.send("get river");
    boxes.start(first, &[]);
    assert_eq!(client.answer(), "value Hister");
}

/// Three members whose logs keep next to nothing behind their rows.
fn cut_soon(kind: &str, more: &str) -> String {
    let log = r#""log": {"members": ["s0", "s1", "s2"], "compact_bytes": 20000, "keep_after_ms": 50}"#;
    let member =
        |id: u16| format!(r#""s{id}": {{"type": "{kind}", "box": "{{{id}}}", "attrs": {{{log}{more}}}}}"#);
    MEMBERS.map(member).join(",\n")
}

/// A number of the status of member `id`'s log.
fn status(session: &mut Master, name: &str) -> u64 {
    let line = session.ask("log status");
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn a_member_that_was_away_while_the_log_was_cut_gets_the_rows_and_so_does_one_that_is_killed() {
    let client = |id: u16| {
        format!(r#""c{id}": {{"type": "client", "box": "{{3}}", "routes": {{"kvs": {{"s{id}": 1}}}}}}"#)
    };
    let mut boxes = Boxes::new(4, &format!("{},\n{}", cut_soon("kvs", ""), MEMBERS.map(client).join(",\n")));
    start(&mut boxes, &[0, 1, 2, 3]);
    // Each of them asks one member alone.
    let mut clients = MEMBERS.map(|id| boxes.attach(3, &format!("c{id}")));
    for client in &mut clients {
        assert_eq!(client.ask("put first here"), "ok");
    }
    let first = leader(&boxes, &MEMBERS);
    let [away, stays] = MEMBERS.into_iter().filter(|id| *id != first).collect::<Vec<_>>()[..] else {
        panic!("three members")
    };
    boxes.kill(away);
    let value = "v".repeat(500);
    let mut log = boxes.attach(first, &format!("s{first}"));
    let client = &mut clients[usize::from(first)];
    for number in 0..100 {
        assert_eq!(client.ask(&format!("put k{} {value}-{number}", number % 10)), "ok");
    }
    assert_eq!(client.ask("delete k3"), "ok");
    wait_until("the log is cut", || {
        // Whatever comes last is not cut before rows cover it.
        client.ask("put last one") == "ok" && status(&mut log, "first") > 50
    });
    boxes.start(away, &[]);
    let mut back = boxes.attach(away, &format!("s{away}"));
    wait_until("it has caught up", || status(&mut back, "applied") == status(&mut log, "applied"));
    assert!(status(&mut back, "first") > 50, "its log begins behind what was cut");
    let check = |client: &mut Master| {
        for number in (0..10).filter(|number| *number != 3) {
            assert_eq!(client.ask(&format!("get k{number}")), format!("value {value}-{}", 90 + number));
        }
        assert_eq!((client.ask("get first"), client.ask("get k3")), ("value here".into(), "nothing".into()));
    };
    boxes.kill(stays);
    check(&mut clients[usize::from(away)]);
    // Now from their own rows, all of them at once.
    boxes.kill(first);
    boxes.kill(away);
    start(&mut boxes, &MEMBERS);
    clients.iter_mut().for_each(check);
}

#[test]
fn a_ledger_that_keeps_its_lines_as_rows_has_them_all_after_its_log_was_cut_and_all_were_killed() {
    let mut boxes = Boxes::new(3, &cut_soon("ledger", r#", "rows": true"#));
    start(&mut boxes, &MEMBERS);
    let first = leader(&boxes, &MEMBERS);
    let mut session = boxes.attach(first, &format!("s{first}"));
    let mut lines: Vec<String> = Vec::new();
    wait_until("the log is cut", || {
        let fresh: Vec<String> =
            (0..50).map(|number| format!("line {} {number} {}", lines.len(), "x".repeat(100))).collect();
        let appends: Vec<String> = fresh.iter().map(|line| format!("append {line}")).collect();
        session.send(&appends.join("\n"));
        for line in fresh {
            lines.push(line);
            assert_eq!(session.answer(), format!("ok {}", lines.len()));
        }
        status(&mut session, "first") > 1
    });
    let count = session.ask("count");
    for id in MEMBERS {
        boxes.kill(id);
    }
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    for id in MEMBERS {
        let mut session = boxes.attach(id, &format!("s{id}"));
        assert_eq!(session.ask("count"), count);
        assert_eq!(session.ask("read 1"), format!("ok {}", lines[0]));
    }
}
