//! `ovid log` as a command: what it shows, and by which status it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ovid::agent::{Applied, Entry, Index, Row, Term, Write};
use ovid::store::LogStore;
use tempfile::TempDir;

fn ovid(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.args(arguments).arg(folder).output().expect("ovid runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A log of ten entries in two terms, with rows up to the fourth.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut store = LogStore::open(folder.path()).expect("a new store").store;
    for index in 1..=10 {
        let record = format!("record {index}").into();
        let entry = Entry { index: Index(index), term: Term(1 + index / 6), record };
        store.write(&Write::Append { entry }).expect("written");
    }
    store.write(&Write::State { state: "vote".into() }).expect("written");
    let applied = Applied { index: Index(4), term: Term(1), meta: "".into() };
    let rows = vec![Row { key: "key".into(), value: Some("value".into()) }];
    store.write(&Write::Apply { applied, rows }).expect("written");
    store.sync().expect("synced");
    folder
}

fn flip(path: &Path, what: &[u8]) {
    let mut bytes = fs::read(path).expect("a file");
    let place = bytes.windows(what.len()).position(|part| part == what).expect("it is there");
    bytes[place] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_sound_log_is_shown_in_lines_and_in_json_and_verified() {
    let folder = folder();
    let shown = text(&ovid(&["log", "inspect"], folder.path()));
    for line in ["entries 1 to 10", "term 2 from entry 6", "rows: 1 with 8 bytes, up to entry 4 of term 1"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let json = ovid(&["log", "inspect", "--json"], folder.path());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["last"], &json["state"]["slots"][0]), (&10.into(), &"same".into()));
    let verified = ovid(&["log", "verify"], folder.path());
    assert_eq!((verified.status.code(), text(&verified)), (Some(0), "ok: entries 1 to 10\n".to_owned()));
}

#[test]
fn damage_ends_with_status_1_its_place_and_what_to_do() {
    let folder = folder();
    flip(&folder.path().join("0000000001.segment"), b"record 7");
    let verified = ovid(&["log", "verify"], folder.path());
    let lines = text(&verified);
    assert_eq!(verified.status.code(), Some(1), "{lines}");
    assert!(lines.contains("unreadable") && lines.contains("lost: entries 7 to 7"), "{lines}");
    assert!(lines.contains("neither votes nor leads"), "{lines}");
}

#[test]
fn the_log_of_a_running_server_can_be_looked_at() {
    let folder = folder();
    let store = LogStore::open(folder.path()).expect("opened");
    let verified = ovid(&["log", "verify"], folder.path());
    assert_eq!(verified.status.code(), Some(0));
    assert!(text(&verified).contains("in use by a server"), "{}", text(&verified));
    drop(store);
}

#[test]
fn what_is_no_log_is_an_error_that_says_what_is_expected() {
    let folder = folder();
    let file = ovid(&["log", "verify"], &folder.path().join("state"));
    assert_eq!(file.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&file.stderr).contains("expected the folder of a log"));
    let nowhere = ovid(&["log", "inspect"], &folder.path().join("nowhere"));
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("nowhere"));
}
