//! Logs of one agent on real disks: damage, rows, and the files that they were before they had folders.

use std::fs;

use ovid::agent::Index;
use ovid::store::encode;

use crate::boxes::{Boxes, KVS};

/// A ledger with a log of its own; `more` belongs to its attributes.
fn ledger(more: &str) -> String {
    format!(r#""l": {{"type": "ledger", "box": "{{0}}", "attrs": {{"log": "local"{more}}}}}"#)
}

#[test]
fn a_store_survives_a_torn_tail_and_a_damaged_record() {
    let mut boxes = Boxes::new(2, KVS);
    boxes.start(0, &[]);
    boxes.start(1, &[]);
    let mut client = boxes.attach(1, "client");
    for key in ["a", "b", "c", "d"] {
        assert_eq!(client.ask(&format!("put {key} value-of-{key}")), "ok");
    }
    boxes.kill(0);
    let segment = boxes.data_of(0).join("store.local/0000000001.segment");
    let mut bytes = fs::read(&segment).expect("there");
    let place = |value: &[u8]| {
        bytes.windows(value.len()).position(|window| window == value).expect("written as it is")
    };
    let (second, last) = (place(b"value-of-b"), place(b"value-of-d"));
    // A bit of the second value flips; the last record loses its end.
    bytes[second + 9] ^= 1;
    bytes.truncate(last + 8);
    fs::write(&segment, &bytes).expect("written");
    let verified = boxes.log("verify", 0, "store.local");
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(said.contains("its agent goes on without these records"), "{said}");
    boxes.start(0, &[]);
    assert_eq!(client.ask("get a"), "value value-of-a");
    assert_eq!(client.ask("get b"), "nothing", "never what nobody wrote");
    assert_eq!(client.ask("get c"), "value value-of-c");
    assert_eq!(client.ask("get d"), "nothing");
    assert_eq!(client.ask("put d again"), "ok");
    boxes.kill(0);
    boxes.start(0, &[]);
    assert_eq!(client.ask("get d"), "value again");
}

#[test]
fn a_log_of_one_file_is_taken_over_where_that_is_sound() {
    let mut boxes = Boxes::new(1, &ledger(""));
    let (folder, mut bytes) = (boxes.data_of(0), Vec::new());
    for (index, line) in (1..).zip(["one", "two", "three"]) {
        // Behind the number of the ledger's life, and that of the line in it.
        encode(Index(index), &[&[7; 16], line.as_bytes()].concat(), &mut bytes);
    }
    let mut damaged = bytes.clone();
    let place = damaged.windows(3).position(|window| window == b"two").expect("written as it is");
    damaged[place] ^= 1;
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("l.log"), damaged).expect("written");
    boxes.start(0, &[]);
    let told = boxes.attach(0, "l").ask("append four");
    assert!(told.starts_with("error unknown ") && told.contains("l.log is a log of one file"), "{told}");
    boxes.kill(0);
    fs::write(folder.join("l.log"), bytes).expect("written");
    for lines in [4, 5] {
        boxes.start(0, &[]);
        let mut session = boxes.attach(0, "l");
        assert_eq!(session.ask("append another"), format!("ok {lines}"));
        assert_eq!(session.ask("read 2"), "ok two");
        assert!(folder.join("l.log.taken").exists() && !folder.join("l.log").exists());
        boxes.kill(0);
    }
}

#[test]
fn a_log_forgets_what_has_become_rows_and_the_agent_does_not() {
    let mut boxes = Boxes::new(1, &ledger(r#", "rows": true"#));
    boxes.start(0, &[]);
    let mut session = boxes.attach(0, "l");
    let line = "x".repeat(1024 * 1024);
    for number in 1..=10 {
        assert_eq!(session.ask(&format!("append {number} {line}")), format!("ok {number}"));
    }
    let counted = session.ask("count");
    boxes.kill(0);
    let shown = boxes.log("inspect", 0, "l.local");
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("rows: 8 with") && line.ends_with("up to entry 8 of term 0")),
        "{shown}"
    );
    assert!(!shown.starts_with("entries 1 to"), "{shown}");
    boxes.start(0, &[]);
    let mut session = boxes.attach(0, "l");
    assert_eq!(session.ask("count"), counted);
    assert_eq!(session.ask("read 1"), format!("ok 1 {line}"));
    assert_eq!(session.ask("append more"), "ok 11");
    boxes.kill(0);
    // Without rows nobody knows the first lines.
    boxes.write(1, &ledger(""));
    boxes.start(0, &[]);
    let told = boxes.attach(0, "l").ask("append more");
    assert!(told.contains("which this agent was not told to keep"), "{told}");
}
