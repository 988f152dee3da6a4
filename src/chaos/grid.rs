//! The processes: the boxes of the store, and one for all clients, which is left alone.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use super::Options;
use super::network::Network;
use super::servers::{self, Cables, Launch, Servers, launch, own_program};
use super::strikes::Kind;
use crate::bench::boxes::BoxesFile;
use crate::bench::groups::Group;
use crate::config::CONTROL_PORT_ABOVE;

/// All boxes.
#[derive(Debug)]
pub struct Grid {
    folder: PathBuf,
    base_port: u16,
    /// Whether servers are at the ends of cables.
    has_cables: bool,
    count: usize,
    servers: Servers,
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
        let mut grid = Self {
            folder: options.folder.clone(),
            base_port: options.base_port,
            has_cables: network.is_some(),
            count: options.servers,
            servers: Servers::new(&options.folder, Vec::new(), None),
            clients: None,
        };
        grid.configuration(options.clients).write(&grid.configuration_path())?;
        let launches = (0..options.servers).map(|server| Launch {
            name: server_name(server),
            arguments: grid.arguments(grid.address(server)),
        });
        let cables = network.map(|network| Cables { network: Arc::new(network), first: 0 });
        grid.servers = Servers::new(&options.folder, launches.collect(), cables);
        Ok(grid)
    }

    /// Starts everything.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.servers.start_all()?;
        let mut command = Command::new(own_program()?);
        command.args(self.arguments(self.clients_address()));
        self.clients = Some(launch(&mut command, CLIENTS, &self.folder)?);
        Ok(())
    }

    /// The store's servers.
    pub fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    /// Whether everything runs that should.
    pub fn check(&self) -> anyhow::Result<()> {
        self.servers.check()?;
        servers::check(self.clients.as_ref(), CLIENTS, &self.folder)
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

    /// What starts a box.
    fn arguments(&self, on: SocketAddr) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["grid", "run"].map(OsString::from).into();
        arguments.extend([self.configuration_path().into(), on.to_string().into()]);
        arguments.extend(["--data".into(), self.folder.join("data").into()]);
        arguments.extend(["-v", "--die-with-parent"].map(OsString::from));
        arguments
    }

    fn configuration_path(&self) -> PathBuf {
        self.folder.join("grid.json")
    }

    fn address(&self, server: usize) -> SocketAddr {
        if self.has_cables {
            SocketAddr::new(Network::host(server), self.base_port)
        } else {
            on_loopback(self.base_port, server)
        }
    }

    fn clients_address(&self) -> SocketAddr {
        if self.has_cables {
            SocketAddr::new(Network::HUB, self.base_port)
        } else {
            on_loopback(self.base_port, self.count)
        }
    }

    fn configuration(&self, clients: usize) -> BoxesFile {
        let mut file = BoxesFile::default();
        let names: Vec<String> = (0..self.count).map(server_name).collect();
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

fn server_name(server: usize) -> String {
    format!("store-{}", server + 1)
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

/// What the box of all clients is called.
const CLIENTS: &str = "clients";
