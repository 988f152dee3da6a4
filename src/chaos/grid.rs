//! The processes: the boxes of the store, and one for all clients, which is left alone.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use super::Options;
use super::network::Network;
use super::strikes::Kind;
use crate::bench::boxes::BoxesFile;
use crate::bench::groups::Group;
use crate::config::CONTROL_PORT_ABOVE;

/// All boxes.
#[derive(Debug)]
pub struct Grid {
    program: PathBuf,
    folder: PathBuf,
    base_port: u16,
    /// Cables that can be pulled, where they were asked for.
    network: Option<Network>,
    servers: Vec<Option<Group>>,
    clients: Option<Group>,
}

impl Grid {
    /// Writes the configuration; nothing runs yet.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        check_ports(options.servers, options.base_port)?;
        let network =
            options.kinds.contains(&Kind::Cut).then(|| Network::lay(options.servers)).transpose()?;
        fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot make the folder {}", options.folder.display()))?;
        let grid = Self {
            program: std::env::current_exe().context("cannot find the program that this is")?,
            folder: options.folder.clone(),
            base_port: options.base_port,
            network,
            servers: (0..options.servers).map(|_| None).collect(),
            clients: None,
        };
        grid.configuration(options.clients).write(&grid.configuration_path())?;
        Ok(grid)
    }

    /// Starts everything.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for server in 0..self.servers.len() {
            self.start(server)?;
        }
        let on = self.clients_address();
        let mut command = Command::new(&self.program);
        self.clients = Some(self.box_of(&mut command, on, "clients")?);
        Ok(())
    }

    /// Starts a server, with what its disk holds.
    pub fn start(&mut self, server: usize) -> anyhow::Result<()> {
        let mut command = match &self.network {
            Some(network) => network.command(server, &self.program),
            None => Command::new(&self.program),
        };
        let group = self.box_of(&mut command, self.address(server), &Self::server_name(server))?;
        self.servers[server] = Some(group);
        Ok(())
    }

    /// Ends a server as a crash does.
    pub fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// Stops a server where it stands.
    pub fn freeze(&self, server: usize) -> anyhow::Result<()> {
        self.signal(server, Signal::STOP)
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self, server: usize) -> anyhow::Result<()> {
        self.signal(server, Signal::CONT)
    }

    /// Pulls a server's cable.
    pub fn cut(&self, server: usize) -> anyhow::Result<()> {
        self.network.as_ref().context("there are no cables")?.pull(server)
    }

    /// Puts a server's cable back.
    pub fn mend(&self, server: usize) -> anyhow::Result<()> {
        self.network.as_ref().context("there are no cables")?.plug(server)
    }

    /// Whether everything runs that should: a server that ended by itself is a fault.
    pub fn check(&self) -> anyhow::Result<()> {
        let servers =
            self.servers.iter().enumerate().map(|(server, group)| (Self::server_name(server), group));
        for (name, group) in servers.chain([("clients".to_owned(), &self.clients)]) {
            if let Some(end) = group.as_ref().and_then(Group::leader_end) {
                bail!("the box of {name} {end} by itself; see {}", self.log_path(&name).display());
            }
        }
        Ok(())
    }

    /// An error, with what may have caused it.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.check() {
            Ok(()) => error,
            Err(cause) => error.context(cause),
        }
    }

    /// Where the clients' agents are driven.
    pub fn clients_control(&self) -> SocketAddr {
        control_of(self.clients_address())
    }

    /// What the agent of a client is called.
    pub fn client_name(number: usize) -> String {
        format!("client-{}", number + 1)
    }

    fn server_name(server: usize) -> String {
        format!("store-{}", server + 1)
    }

    fn signal(&self, server: usize, signal: Signal) -> anyhow::Result<()> {
        self.servers[server].as_ref().context("the server does not run")?.signal(signal)
    }

    /// Starts a box; `command` begins with the program.
    fn box_of(&self, command: &mut Command, on: SocketAddr, name: &str) -> anyhow::Result<Group> {
        let path = self.log_path(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        command.args(["grid", "run"]).arg(self.configuration_path()).arg(on.to_string());
        command.arg("--data").arg(self.folder.join("data")).args(["-v", "--die-with-parent"]);
        Group::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn configuration_path(&self) -> PathBuf {
        self.folder.join("grid.json")
    }

    fn address(&self, server: usize) -> SocketAddr {
        match &self.network {
            Some(_) => SocketAddr::new(Network::host(server), self.base_port),
            None => on_loopback(self.base_port, server),
        }
    }

    fn clients_address(&self) -> SocketAddr {
        match &self.network {
            Some(_) => SocketAddr::new(Network::HUB, self.base_port),
            None => on_loopback(self.base_port, self.servers.len()),
        }
    }

    fn configuration(&self, clients: usize) -> BoxesFile {
        let mut file = BoxesFile::default();
        let names: Vec<String> = (0..self.servers.len()).map(Self::server_name).collect();
        let log = if names.len() == 1 { json!("local") } else { json!({"members": names}) };
        for (server, name) in names.iter().enumerate() {
            let on = self.address(server);
            file.agent(name, "kvs", on, &json!({"log": log}), &json!({}));
            file.settings(on, control_of(on), None);
        }
        let routes: Map<String, Value> =
            names.iter().map(|name| (name.replace("store", "kvs"), json!({name: 1}))).collect();
        let (on, routes) = (self.clients_address(), Value::Object(routes));
        let attrs = json!({"retry_ms": 200, "retry_ms_max": 800, "give_up_ms": 5000});
        for client in 0..clients {
            file.agent(&Self::client_name(client), "client", on, &attrs, &routes);
        }
        file.settings(on, control_of(on), None);
        file
    }
}

/// Whether every box can have the ports that it needs.
pub fn check_ports(servers: usize, base_port: u16) -> anyhow::Result<()> {
    let boxes = u16::try_from(servers + 1)?;
    let base_port_max = (u16::MAX - CONTROL_PORT_ABOVE).saturating_sub(boxes - 1);
    ensure!(
        (1..=base_port_max).contains(&base_port),
        "--base-port {base_port}: expected 1 to {base_port_max}, since each of {boxes} boxes takes a port from there on, and another one {CONTROL_PORT_ABOVE} above"
    );
    Ok(())
}

/// Where a box is controlled.
fn control_of(on: SocketAddr) -> SocketAddr {
    SocketAddr::new(on.ip(), on.port() + CONTROL_PORT_ABOVE)
}

fn on_loopback(base_port: u16, number: usize) -> SocketAddr {
    let number = u16::try_from(number).expect("there are few boxes");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), base_port + number)
}

/// Whether `folder` holds what an earlier run has left, which a new one would go on with.
pub fn is_used(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
