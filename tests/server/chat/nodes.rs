//! A cluster of the chat as an operator runs it: a file of nodes, and `ovid chat serve` for each of them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ovid::wire::proto::network_discovery_packet::{Mode, Sender};
use ovid::wire::proto::route::{Path, Payload};
use ovid::wire::proto::{NetworkDiscoveryPacket, Route};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::grid::{Master, connect, free_ports, wait_for_exit, wait_until};

/// What clusters and those who look for a server share.
pub(crate) const SECRET: &str = "sesame";

/// The servers of a cluster, some of which run.
pub(crate) struct Nodes {
    folder: TempDir,
    tag: String,
    servers: Vec<Server>,
    discovery: SocketAddr,
    /// What the file says besides.
    more: Value,
}

struct Server {
    internal: u16,
    client: u16,
    running: Option<Child>,
}

impl Nodes {
    /// A cluster of `count` servers on free ports, none of which runs.
    pub(crate) fn new(tag: &str, count: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (internal, client) = free_ports(count);
        let server = |number| Server { internal: internal + number, client: client + number, running: None };
        // A port for datagrams that nobody has.
        let discovery = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        Self {
            folder,
            tag: tag.to_owned(),
            servers: (0..count).map(server).collect(),
            discovery: discovery.expect("a port"),
            more: json!({}),
        }
    }

    /// What else stands in the file of servers that are started from now on.
    pub(crate) fn say(&mut self, more: Value) {
        self.more = more;
    }

    /// From now on a server awaits its clients elsewhere.
    pub(crate) fn move_clients(&mut self, number: usize) {
        let (_, client) = free_ports(1);
        self.servers[number].client = client;
    }

    fn write(&self) -> PathBuf {
        let node = |(number, server): (usize, &Server)| {
            let (internal, client) = (server.internal, server.client);
            json!({"id": number, "host": "127.0.0.1", "internalPort": internal, "clientPort": client})
        };
        let mut file = json!({
            "groupTag": self.tag,
            "secret": SECRET,
            "discoveryPort": self.discovery.port(),
            "nodes": self.servers.iter().enumerate().map(node).collect::<Vec<_>>(),
        });
        for (name, value) in self.more.as_object().expect("an object") {
            file[name] = value.clone();
        }
        let [new, path] = ["new", "nodes.conf"].map(|name| self.folder.path().join(name));
        // Another server may be reading it just now.
        fs::write(&new, file.to_string()).and_then(|()| fs::rename(new, &path)).expect("written");
        path
    }

    /// Starts a server with what it has stored.
    pub(crate) fn start(&mut self, number: usize) {
        let nodes = self.write();
        let said = File::options().create(true).append(true).open(self.said_path(number));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
        command.args(["chat", "serve", "-v", "--id", &number.to_string(), "--nodes"]).arg(nodes);
        command.arg("--data").arg(self.folder.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.expect("a file"));
        self.servers[number].running = Some(command.spawn().expect("the binary runs"));
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.servers.len()).for_each(|number| self.start(number));
    }

    /// Kills a server.
    pub(crate) fn kill(&mut self, number: usize) {
        let mut child = self.servers[number].running.take().expect("it was started");
        child.kill().expect("it still runs");
        wait_for_exit(&mut child);
    }

    fn said_path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.log"))
    }

    /// All that a server has logged, over all its lives.
    pub(crate) fn said(&self, number: usize) -> String {
        fs::read_to_string(self.said_path(number)).expect("it was started")
    }

    /// Where a server awaits its clients.
    pub(crate) fn at(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.servers[number].client)
    }

    /// Where whoever looks for a server asks.
    pub(crate) fn discovery(&self) -> SocketAddr {
        self.discovery
    }

    fn running(&self) -> Vec<usize> {
        let is_running = |number: &usize| self.servers[*number].running.is_some();
        (0..self.servers.len()).filter(is_running).collect()
    }

    /// The leader, once all servers that run see the same one, and that is one of them.
    pub(crate) fn leader(&self) -> usize {
        let running = self.running();
        let session = |number: &usize| {
            // Where a server's box is controlled, unless something else is said.
            let port = self.servers[*number].internal + 10_000;
            let mut session = Master::new(connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
            wait_until("the agent is there", || {
                session.ask(&format!("attach chat-{number}")).starts_with("attached")
            });
            session
        };
        let mut sessions: Vec<Master> = running.iter().map(session).collect();
        let mut leader = None;
        wait_until("all see one leader", || {
            let mut seen = sessions.iter_mut().map(|session| leader_in(&session.ask("log status")));
            let first = seen.next().flatten();
            leader = first.filter(|first| running.contains(first) && seen.all(|other| other == Some(*first)));
            leader.is_some()
        });
        leader.expect("just seen")
    }

    /// Asks for a server as a client does, from this socket: the answer, if one comes soon.
    pub(crate) fn ask_for_server(&self, socket: &UdpSocket, node_address: &str) -> Option<String> {
        let packet = NetworkDiscoveryPacket {
            mode: Mode::Request.into(),
            sender: Sender::EndUserClient.into(),
            node_address: node_address.to_owned(),
            node_port: 1,
            secret: SECRET.to_owned(),
            ..NetworkDiscoveryPacket::default()
        };
        let payload = Some(Payload::NetworkDiscoveryPacket(packet));
        let question = Route { id: 7, path: Path::NetworkDiscovery.into(), payload, ..Route::default() };
        // While nobody has the port, nobody takes the question, of which the next call is told.
        let _ = socket.send_to(&question.encode_to_vec(), self.discovery);
        self.answer_on(socket)
    }

    /// The server that an answer on this socket names, if one comes soon.
    pub(crate) fn answer_on(&self, socket: &UdpSocket) -> Option<String> {
        let mut bytes = [0; 2048];
        let count = socket.recv(&mut bytes).ok()?;
        let answer = Route::decode(&bytes[..count]).expect("a Route");
        let Route { id: 7, payload: Some(Payload::NetworkDiscoveryPacket(told)), .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!((told.mode(), told.group_tag()), (Mode::Response, self.tag.as_str()));
        Some(format!("{}:{}", told.node_address, told.node_port))
    }
}

impl Drop for Nodes {
    #[expect(clippy::print_stderr, reason = "whoever reads why a test has failed sees what the servers said")]
    fn drop(&mut self) {
        for child in self.servers.iter_mut().filter_map(|server| server.running.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for number in 0..self.servers.len() {
                let said = fs::read_to_string(self.said_path(number)).unwrap_or_default();
                eprintln!("server {number} of {}:\n{said}", self.tag);
            }
        }
    }
}

/// A socket that waits for answers for a moment.
pub(crate) fn socket_at(ip: Ipv4Addr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, port))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// The number of the server that `log status` says leads.
fn leader_in(status: &str) -> Option<usize> {
    status.split_once(" leader=chat-")?.1.split(' ').next()?.parse().ok()
}
