//! The attack on real servers: that it finds what is lost, and what it leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::grid::{free_ports, wait_for_exit, wait_until};

fn chaos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.arg("chaos").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A base port for two clusters of so many servers.
fn chat_port(servers: u16) -> String {
    free_ports(4 * servers + 2).1.to_string()
}

/// A base port for a single server and the box of its clients.
fn base_port() -> String {
    free_ports(2).1.to_string()
}

/// The folders of all logs of agents below `folder` that hold more than their beginning.
fn logs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = entries.filter(|path| path.is_dir());
    let (logs, others): (Vec<_>, Vec<_>) =
        folders.partition(|path| path.extension().is_some_and(|end| end == "local"));
    let below = others.iter().flat_map(|folder| logs_in(folder));
    logs.into_iter().filter(|log| holds_records(log)).chain(below).collect()
}

fn holds_records(log: &Path) -> bool {
    let segment = fs::read(log.join("0000000001.segment"));
    segment.is_ok_and(|bytes| bytes.iter().skip(4096).any(|byte| *byte != 0))
}

#[test]
fn a_store_that_loses_what_it_acknowledged_is_found_out() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().to_str().expect("UTF-8");
    let port = base_port();
    let words = ["--servers", "1", "--faults", "kill", "--seconds", "5", "--base-port", &port, "--dir", path];
    let mut attacked = chaos(&words).spawn().expect("the binary runs");
    let mut lost = 0;
    wait_until("it has ended", || {
        // Whoever writes it goes on with files without names, and finds none after the next kill.
        for log in logs_in(&folder.path().join("data")) {
            lost += usize::from(fs::remove_dir_all(log).is_ok());
        }
        attacked.try_wait().expect("our child").is_some()
    });
    let output = attacked.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(lost > 0, "there was a log to be lost: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("WRONG: no order of the calls explains that Get of k"), "{said}");
    assert!(said.contains(&format!("what was written is in {path}")), "{said}");
}

#[test]
fn a_chat_that_loses_what_it_acknowledged_is_found_out() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().to_str().expect("UTF-8");
    let port = chat_port(1);
    let words =
        ["--service", "chat", "--servers", "1", "--clients", "4", "--faults", "kill", "--seconds", "5"];
    let words = [&words[..], &["--base-port", &port, "--dir", path]].concat();
    let attacked = chaos(&words).spawn().expect("the binary runs");
    wait_until("users are there", || folder.path().join("strikes.log").exists());
    // Whoever writes there goes on with files without names, and finds none after the next kill.
    let stores = fs::read_dir(folder.path().join("data")).into_iter().flatten().flatten();
    let lost = stores.filter(|store| fs::remove_dir_all(store.path()).is_ok()).count();
    let output = attacked.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(lost > 0, "there was something to be lost: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("WRONG: ") && said.contains(" cannot log in: "), "{said}");
    assert!(said.contains(&format!("what was written is in {path}")), "{said}");
}

#[test]
fn a_chat_survives_an_attack() {
    let port = chat_port(3);
    let words = ["--service", "chat", "--clients", "8", "--seconds", "5", "--base-port", &port, "--json"];
    let output = chaos(&words).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\"service\":\"chat\"") && said.contains("\"violations\":[]"), "{said}");
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a scratch folder");
    let port = base_port();
    let words = ["--servers", "1", "--faults", "kill", "--seconds", "600", "--base-port", &port];
    let mut run = chaos(&words).env("TMPDIR", temporary.path()).spawn().expect("the binary runs");
    let is_empty = || fs::read_dir(temporary.path()).expect("there").next().is_none();
    wait_until("a server has written something", || !logs_in(temporary.path()).is_empty());
    kill_process(Pid::from_child(&run), Signal::INT).expect("it runs");
    assert_eq!(wait_for_exit(&mut run).code(), Some(128 + Signal::INT.as_raw()));
    assert!(is_empty(), "{:?}", logs_in(temporary.path()));
}

#[test]
fn ports_that_cannot_be_are_refused_before_anything_is_started() {
    for (port, servers) in [("0", "3"), ("55533", "3"), ("55535", "1"), ("65535", "9")] {
        let temporary = tempfile::tempdir().expect("a scratch folder");
        let mut run = chaos(&["--base-port", port, "--servers", servers]);
        let output = run.env("TMPDIR", temporary.path()).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("--base-port {port}: expected 1 to 555")), "{said}");
        assert!(fs::read_dir(temporary.path()).expect("there").next().is_none(), "nothing is left");
    }
}
