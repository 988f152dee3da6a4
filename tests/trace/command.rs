//! `ovid trace` as its users call it.

use std::path::Path;
use std::process::{Command, Output};

use crate::chatroom;

/// Calls `ovid trace` in a folder.
fn trace(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ovid"))
        .arg("trace")
        .args(words)
        .current_dir(folder)
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// One file a server, as real servers write them: each clock begins with its own process.
fn write_traces(folder: &Path) -> usize {
    let events = chatroom::run(1, 3, 8);
    for (server, late_ns) in [("0", 0), ("1", 5_000_000), ("2", 11_000_000)] {
        let unix_ns = 1_700_000_000_000_000_000u64 + late_ns;
        let mut lines =
            format!("{{\"at_ns\":0,\"server\":\"{server}\",\"event\":\"origin\",\"unix_ns\":{unix_ns}}}\n");
        for event in events.iter().filter(|event| event.server == server) {
            let mut event = event.clone();
            event.at_ns = event.at_ns.saturating_sub(late_ns);
            lines += &(serde_json::to_string(&event).expect("JSON") + "\n");
        }
        std::fs::write(folder.join(format!("server-{server}.jsonl")), lines).expect("written");
    }
    events.iter().filter(|event| !event.server.is_empty()).count()
}

#[test]
fn traces_of_several_servers_become_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = write_traces(folder.path());
    let stats = trace(folder.path(), &["stats", "."]);
    assert!(
        text(&stats.stdout).starts_with(&format!("{count} events at 3 servers in 1.")),
        "{}",
        text(&stats.stdout)
    );

    let html = trace(
        folder.path(),
        &["html", "server-0.jsonl", "server-1.jsonl", "server-2.jsonl", "-o", "run.html"],
    );
    assert!(html.status.success() && html.stdout.is_empty() && html.stderr.is_empty(), "{html:?}");
    let page = std::fs::read_to_string(folder.path().join("run.html")).expect("written");
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("\"title\":\"server-0, server-1, server-2\"")
    );

    let log = text(&trace(folder.path(), &["shiviz", "."]).stdout);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["(?<event>.*)\\n(?<host>\\S+) (?<clock>\\{.*\\})", ""]);
    let drops = log.matches("is lost").count();
    assert_eq!(drops, 0, "drops have no clock");
    // As ShiViz demands: each server's own entry counts 1, 2, 3 ...
    let mut counts = [0; 3];
    for pair in lines[2..].chunks(2) {
        let (host, clock) = pair[1].split_once(' ').expect("a host and a clock");
        let clock: serde_json::Value = serde_json::from_str(clock).expect("JSON");
        let server: usize = host.parse().expect("a number");
        counts[server] += 1;
        assert_eq!(clock[host], counts[server], "{pair:?}");
    }
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    write_traces(folder.path());
    let cut = folder.path().join("server-1.jsonl");
    let whole = std::fs::read_to_string(&cut).expect("written");
    std::fs::write(&cut, &whole[..whole.len() - 9]).expect("written");
    let stats = trace(folder.path(), &["stats", "."]);
    assert!(stats.status.success());
    let line = whole.lines().count();
    assert_eq!(
        text(&stats.stderr),
        format!("ovid: ./server-1.jsonl:{line}: the last line is cut off; it was left out\n")
    );

    std::fs::write(&cut, "hello\n").expect("written");
    let html = trace(folder.path(), &["html", ".", "-o", "run.html"]);
    assert_eq!(html.status.code(), Some(2));
    assert!(
        text(&html.stderr).starts_with("ovid: ./server-1.jsonl:1: this is no event of a trace: "),
        "{html:?}"
    );
    assert!(!folder.path().join("run.html").exists(), "nothing half done is left");

    let html = trace(folder.path(), &["html", "server-0.jsonl", "-o", "no/such/folder.html"]);
    assert!(text(&html.stderr).starts_with("ovid: cannot write no/such/folder.html: "), "{html:?}");
}
