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
