//! `ovid chat`: servers from a file of nodes, and the whole of two clusters.

mod cases;
pub(crate) mod client;
mod nodes;

use std::fs;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::grid::free_ports;

pub(crate) fn chat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.arg("chat").args(arguments).stdin(Stdio::null());
    command
}

/// Runs the demonstration once, and holds it to what its two users have to read of each other.
pub(crate) fn demonstrate(more: &[&str]) {
    let (base, _) = free_ports(18);
    let demo = ["demo", "--once", "--base-port", &base.to_string()];
    let output = chat(&[&demo[..], more].concat()).output().expect("the binary runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{why}");
    for line in [
        "bob@west reads from alice (in east): hello bob, are you there in the west?",
        "alice@east reads from bob (in west): I am; it has found me across clusters",
    ] {
        assert_eq!(said.lines().filter(|other| *other == line).count(), 1, "{said}");
    }
}

/// A file of one node on these ports.
fn nodes(folder: &TempDir, base: u16, discovery: u16) -> String {
    let text = format!(
        r#"{{"groupTag": "solo", "secret": "sesame", "discoveryPort": {discovery},
  "nodes": [{{"id": 1, "host": "127.0.0.1", "internalPort": {base}, "clientPort": {}}}]}}"#,
        base + 1
    );
    let path = folder.path().join("nodes.json");
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn mistakes_in_a_file_of_nodes_are_told_with_their_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = nodes(&folder, 4001, 4003);
    let failed = |arguments: &[&str]| {
        let Output { status, stdout, stderr } = chat(arguments).output().expect("the binary runs");
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments:?}");
        String::from_utf8(stderr).expect("UTF-8")
    };
    let serve = ["serve", "--nodes", &file, "--id"];
    let said = failed(&[&serve[..], &["2"]].concat());
    assert!(said.contains("names no server \"2\"; it names 1"), "{said}");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, text.replace("127.0.0.1", "10.1.2.3")).expect("written");
    let said = failed(&[&serve[..], &["1"]].concat());
    assert!(said.contains("10.1.2.3 is not on this machine alone") && said.contains("--plain"), "{said}");
    fs::write(&file, text.replace("\"clientPort\": 4002", "\"clientPort\": \"here\"")).expect("written");
    let said = failed(&[&serve[..], &["1"]].concat());
    let place = format!("{file}:2:80: nodes.0.clientPort: expected a port");
    assert!(said.contains(&place), "{said}");
    let said = failed(&["serve", "--nodes", "nowhere.json", "--id", "1"]);
    assert!(said.contains("cannot read the configuration nowhere.json"), "{said}");
}

#[test]
fn users_write_to_each_other_across_clusters() {
    demonstrate(&[]);
}
