//! Disks that are full or cannot be written, for real: the data of some boxes lies on small file systems.

use std::collections::BTreeMap;

use crate::boxes::Boxes;
use crate::grid::{Master, wait_until};
use crate::replicated::{MEMBERS, configuration_with, leader, start};
use crate::small_disks::SmallDisks;

/// How much room each small file system has: for a log of a few segments.
const DISK_BYTES: u64 = 24 * 1024 * 1024;
/// How much of it is left when there is little.
const LEFT_BYTES: u64 = 4 * 1024 * 1024;
/// How long the lines are with which logs are filled.
const LINE_BYTES: usize = 4000;
/// Far more lines than there is room for.
const LINES_MAX: u64 = 4000;

/// Boxes of the grid of `text`, those of `small` on file systems of their own; nothing where there can be none, which is said aloud.
fn on_small_disks(text: &str, small: &[u16]) -> Option<Boxes> {
    let mut boxes = Boxes::new(3, text);
    let folders: Vec<_> = small.iter().map(|id| boxes.data_of(*id)).collect();
    boxes.put_on(SmallDisks::mount(&folders, DISK_BYTES)?);
    Some(boxes)
}

fn disks(boxes: &Boxes) -> &SmallDisks {
    boxes.disks().expect("they are on small disks")
}

fn fill(boxes: &Boxes, id: u16) {
    disks(boxes).fill(&boxes.data_of(id), LEFT_BYTES);
}

fn make_room(boxes: &Boxes, id: u16) {
    disks(boxes).make_room(&boxes.data_of(id));
}

/// Lines that were acknowledged, by their places.
#[derive(Default)]
struct Lines {
    asked: u64,
    acknowledged: BTreeMap<u64, String>,
}

impl Lines {
    /// Appends lines, ten at a time, until it is `enough`.
    fn append_until(&mut self, session: &mut Master, mut enough: impl FnMut() -> bool) {
        while !enough() {
            assert!(self.asked < LINES_MAX, "the disk is never full");
            for refusal in self.append(session) {
                assert!(refusal.starts_with("error "), "{refusal}");
            }
        }
    }

    /// Appends ten lines; what was said of those that were not acknowledged.
    fn append(&mut self, session: &mut Master) -> Vec<String> {
        let mut refusals = Vec::new();
        let lines: Vec<String> = (self.asked..self.asked + 10)
            .map(|number| format!("{number} {}", "x".repeat(LINE_BYTES)))
            .collect();
        self.asked += 10;
        let text: Vec<String> = lines.iter().map(|line| format!("append {line}")).collect();
        session.send(&text.join("\n"));
        for line in lines {
            let answer = session.answer();
            match answer.strip_prefix("ok ") {
                Some(place) => {
                    let before = self.acknowledged.insert(place.parse().expect("a number"), line);
                    assert_eq!(before, None, "one place for one line");
                }
                None => refusals.push(answer),
            }
        }
        refusals
    }

    /// Every line that was acknowledged can be read at each of these members.
    fn check(&self, boxes: &Boxes, members: &[u16]) {
        for id in members {
            let mut session = boxes.attach(*id, &format!("s{id}"));
            // One that has just begun may have to read its rows before.
            wait_until("it takes questions", || session.ask("count").starts_with("ok "));
            let places: Vec<&u64> = self.acknowledged.keys().collect();
            for some in places.chunks(100) {
                let reads: Vec<String> = some.iter().map(|place| format!("read {place}")).collect();
                session.send(&reads.join("\n"));
                for place in some {
                    assert_eq!(session.answer(), format!("ok {}", self.acknowledged[*place]), "at s{id}");
                }
            }
        }
    }
}

/// The disk of the leader of three becomes full.
fn a_leader_with_a_full_disk(attrs: &str) {
    let Some(mut boxes) = on_small_disks(&configuration_with("ledger", attrs, ""), &[0]) else { return };
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    let (mut full, mut other) = (boxes.attach(0, "s0"), boxes.attach(1, "s1"));
    wait_until("s0 leads", || {
        full.ask("log transfer s0");
        full.ask("log status").contains("standing=leader")
    });
    fill(&boxes, 0);
    let mut lines = Lines::default();
    lines.append_until(&mut other, || full.ask("log status").contains("standing=failed"));
    assert!(lines.acknowledged.len() > 100, "there was room for more than {}", lines.acknowledged.len());
    let status = full.ask("log status");
    assert!(status.contains("trouble=\"cannot ") && status.contains("No space left on device"), "{status}");
    let said = boxes.said_by(0);
    assert!(said.lines().any(|line| line.contains("disk: failed why=\"cannot ")), "{said}");
    let told = full.ask("append one more");
    assert!(told.starts_with("error unknown ") && told.contains("No space left on device"), "{told}");

    // The others go on.
    let second = leader(&boxes, &[1, 2]);
    assert_ne!(second, 0);
    let before = lines.acknowledged.len();
    assert_eq!(lines.append(&mut other), Vec::<String>::new());
    assert_eq!(lines.acknowledged.len(), before + 10);
    lines.check(&boxes, &[1, 2]);

    // A full disk is no damage, and once there is room nothing is missing.
    boxes.kill(0);
    let verified = boxes.log("verify", 0, "s0.store");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    make_room(&boxes, 0);
    start(&mut boxes, &[0]);
    lines.check(&boxes, &[0]);
    // It counts: without one of the others there is a majority only with it.
    boxes.kill(2);
    assert_ne!(leader(&boxes, &[0, 1]), 2);
    assert_eq!(lines.append(&mut boxes.attach(1, "s1")), Vec::<String>::new());
    lines.check(&boxes, &[0, 1]);
}

#[test]
fn a_leader_whose_disk_is_full_steps_down_and_loses_nothing() {
    a_leader_with_a_full_disk("");
}

#[test]
fn a_leader_whose_disk_has_no_room_for_rows_steps_down_and_loses_nothing() {
    a_leader_with_a_full_disk(r#", "rows": true"#);
}

#[test]
fn where_all_disks_are_full_nothing_is_acknowledged_and_afterwards_nothing_is_missing() {
    let Some(mut boxes) =
        on_small_disks(&configuration_with("ledger", r#", "patience_ms": 1000"#, ""), &MEMBERS)
    else {
        return;
    };
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    for id in MEMBERS {
        fill(&boxes, id);
    }
    let mut sessions: Vec<Master> = MEMBERS.iter().map(|id| boxes.attach(*id, &format!("s{id}"))).collect();
    let mut lines = Lines::default();
    // The last one may have room left, and is no majority.
    let mut asking = boxes.attach(1, "s1");
    lines.append_until(&mut asking, || {
        let mut failed = 0;
        for session in &mut sessions {
            failed += usize::from(session.ask("log status").contains("standing=failed"));
        }
        failed >= 2
    });
    let before = lines.acknowledged.len();
    assert!(before > 100, "there was room for more than {before}");
    for session in &mut sessions {
        let refusals = lines.append(session);
        assert_eq!(refusals.len(), 10, "all are answered, and none is acknowledged");
        assert!(refusals.iter().all(|said| said.starts_with("error unknown ")), "{refusals:?}");
    }
    assert_eq!(lines.acknowledged.len(), before);
    for id in MEMBERS {
        boxes.kill(id);
        make_room(&boxes, id);
    }
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    lines.check(&boxes, &MEMBERS);
    assert_eq!(lines.append(&mut boxes.attach(2, "s2")), Vec::<String>::new());
    lines.check(&boxes, &MEMBERS);
}

#[test]
fn a_client_of_a_member_with_a_full_disk_is_served_by_the_others() {
    let routes = r#"{"kvs-1": {"s0": 1}, "kvs-2": {"s1": 1}, "kvs-3": {"s2": 1}}"#;
    let client = format!(r#", "client": {{"type": "client", "box": "{{1}}", "routes": {routes}}}"#);
    let Some(mut boxes) = on_small_disks(&configuration_with("kvs", "", &client), &[0]) else { return };
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    fill(&boxes, 0);
    let (mut full, mut client) = (boxes.attach(0, "s0"), boxes.attach(1, "client"));
    let mut lines = 0;
    let value = "x".repeat(40_000);
    // The client asks s0, as long as that can answer.
    wait_until("the disk is full", || {
        lines += 1;
        assert_eq!(client.ask(&format!("put key-{lines} {lines}-{value}")), "ok");
        full.ask("log status").contains("standing=failed")
    });
    for line in 1..=lines {
        assert_eq!(client.ask(&format!("get key-{line}")), format!("value {line}-{value}"));
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_told_of_at_the_start() {
    let local = r#", "alone": {"type": "ledger", "box": "{0}", "attrs": {"log": "local"}}"#;
    let Some(mut boxes) = on_small_disks(&configuration_with("ledger", "", local), &[0]) else { return };
    let data = boxes.data_of(0);
    disks(&boxes).set_read_only(&data, true);
    start(&mut boxes, &MEMBERS);
    let mut session = boxes.attach(0, "s0");
    wait_until("it says so", || session.ask("log status").contains("standing=failed"));
    let status = session.ask("log status");
    assert!(status.contains("trouble=\"cannot ") && status.contains("Read-only file system"), "{status}");
    let said = boxes.said_by(0);
    assert!(said.contains("a log has failed agent=s0") && said.contains("agent=alone"), "{said}");
    let told = boxes.attach(0, "alone").ask("append a line");
    assert!(told.starts_with("error unknown ") && told.contains("Read-only file system"), "{told}");
    let mut lines = Lines::default();
    leader(&boxes, &[1, 2]);
    assert_eq!(lines.append(&mut boxes.attach(1, "s1")), Vec::<String>::new());
    boxes.kill(0);
    disks(&boxes).set_read_only(&data, false);
    start(&mut boxes, &[0]);
    lines.check(&boxes, &[0]);
    assert_eq!(boxes.attach(0, "alone").ask("append a line"), "ok 1");
}
