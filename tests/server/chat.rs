//! `ovid chat`: servers from a file of nodes, and the whole of two clusters.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ovid::wire::proto::network_discovery_packet::{Mode, Sender};
use ovid::wire::proto::route::{Path, Payload};
use ovid::wire::proto::{NetworkDiscoveryPacket, Route};
use prost::Message as _;
use tempfile::TempDir;

use crate::grid::{free_ports, wait_for_exit, wait_until};

fn chat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.arg("chat").args(arguments).stdin(Stdio::null());
    command
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

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it still runs");
        wait_for_exit(&mut self.0);
    }
}

#[test]
fn a_server_of_a_file_of_nodes_answers_who_looks_for_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, _) = free_ports(3);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
    // A port for datagrams that nobody has.
    let discovery =
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port");
    let file = nodes(&folder, base, discovery.port());
    let data = folder.path().join("data");
    let mut command =
        chat(&["serve", "--nodes", &file, "--id", "1", "--data", data.to_str().expect("UTF-8")]);
    let _server = Running(command.stderr(Stdio::null()).spawn().expect("the binary runs"));
    let packet = NetworkDiscoveryPacket {
        mode: Mode::Request.into(),
        sender: Sender::EndUserClient.into(),
        node_address: "127.0.0.1".to_owned(),
        node_port: 1,
        secret: "sesame".to_owned(),
        ..NetworkDiscoveryPacket::default()
    };
    let payload = Some(Payload::NetworkDiscoveryPacket(packet));
    let question = Route { id: 7, path: Path::NetworkDiscovery.into(), payload, ..Route::default() };
    let mut answer = None;
    wait_until("the server answers", || {
        // As long as it has not begun, nobody takes the question, of which the next call is told.
        let _ = socket.send_to(&question.encode_to_vec(), discovery);
        let mut bytes = [0; 2048];
        answer = socket.recv(&mut bytes).ok().map(|count| Route::decode(&bytes[..count]).expect("a Route"));
        answer.is_some()
    });
    let Some(Route { id: 7, payload: Some(Payload::NetworkDiscoveryPacket(told)), .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((told.mode(), told.group_tag()), (Mode::Response, "solo"));
    assert_eq!((told.node_address.as_str(), told.node_port), ("127.0.0.1", i64::from(base + 1)));
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
    let (base, _) = free_ports(18);
    let output =
        chat(&["demo", "--once", "--base-port", &base.to_string()]).output().expect("the binary runs");
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
