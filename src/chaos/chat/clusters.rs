//! The processes: two clusters of the chat that know each other.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::plan::TAGS;
use crate::chaos::Options;
use crate::chaos::network::Network;
use crate::chaos::servers::{Cables, Launch, Servers};
use crate::chaos::strikes::Kind;
use crate::config::CONTROL_PORT_ABOVE;

/// Where everybody is.
#[derive(Clone, Copy, Debug)]
struct Map {
    /// Of each cluster.
    servers: usize,
    base_port: u16,
    has_cables: bool,
}

/// Both clusters.
#[derive(Debug)]
pub struct Clusters {
    /// Their servers.
    pub servers: [Servers; 2],
    /// Where clients connect.
    pub clients_at: [Vec<SocketAddr>; 2],
}

impl Clusters {
    /// Writes the files of nodes; nothing runs yet.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let &Options { servers, base_port, .. } = options;
        check_ports(servers, base_port)?;
        let network =
            options.kinds.contains(&Kind::Cut).then(|| Network::lay(TAGS.len() * servers)).transpose()?;
        let network = network.map(Arc::new);
        let map = Map { servers, base_port, has_cables: network.is_some() };
        fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot make the folder {}", options.folder.display()))?;
        let mut clusters = Vec::new();
        for (cluster, tag) in TAGS.iter().enumerate() {
            let path = options.folder.join(format!("{tag}.json"));
            let text = serde_json::to_string_pretty(&map.nodes(cluster)).context("cannot write JSON")?;
            fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
            let launches = (0..servers).map(|server| Launch {
                name: format!("{tag}-{}", server + 1),
                arguments: map.arguments(&path, server, &options.folder),
            });
            let cables = network.clone().map(|network| Cables { network, first: map.number(cluster, 0) });
            clusters.push(Servers::new(&options.folder, launches.collect(), cables));
        }
        let clients_at =
            [0, 1].map(|cluster| (0..servers).map(|server| map.clients(cluster, server)).collect());
        let servers = clusters.try_into().ok().context("there are two clusters")?;
        Ok(Self { servers, clients_at })
    }

    /// Starts all servers.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.servers.iter_mut().try_for_each(Servers::start_all)
    }

    /// Whether all run that should.
    pub fn check(&self) -> anyhow::Result<()> {
        self.servers.iter().try_for_each(Servers::check)
    }

    /// An error, with what may have caused it.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.check() {
            Ok(()) => error,
            Err(cause) => error.context(cause),
        }
    }
}

impl Map {
    /// The place of a server among those of both clusters.
    fn number(self, cluster: usize, server: usize) -> usize {
        cluster * self.servers + server
    }

    fn host(self, cluster: usize, server: usize) -> IpAddr {
        if self.has_cables {
            Network::host(self.number(cluster, server))
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
    }

    fn port(self, offset: usize) -> u16 {
        self.base_port + u16::try_from(offset).expect("there are few servers")
    }

    fn clients(self, cluster: usize, server: usize) -> SocketAddr {
        let offset = TAGS.len() * self.servers + self.number(cluster, server);
        SocketAddr::new(self.host(cluster, server), self.port(offset))
    }

    fn discovery_port(self, cluster: usize) -> u16 {
        self.port(2 * TAGS.len() * self.servers + cluster)
    }

    /// The file of a cluster's servers.
    fn nodes(self, cluster: usize) -> Value {
        let node = |server: usize| {
            json!({
                "id": server + 1,
                "host": self.host(cluster, server).to_string(),
                "internalPort": self.port(self.number(cluster, server)),
                "clientPort": self.clients(cluster, server).port(),
            })
        };
        let other = 1 - cluster;
        let servers: Vec<String> =
            (0..self.servers).map(|server| self.clients(other, server).to_string()).collect();
        let mut ask: Vec<String> = (0..self.servers)
            .map(|server| SocketAddr::new(self.host(other, server), self.discovery_port(other)).to_string())
            .collect();
        ask.dedup();
        json!({
            "groupTag": TAGS[cluster],
            "secret": "a secret of both clusters",
            "discoveryPort": self.discovery_port(cluster),
            "nodes": (0..self.servers).map(node).collect::<Vec<_>>(),
            "clusters": {TAGS[other]: servers},
            "ask": ask,
        })
    }

    /// What starts a server.
    fn arguments(self, nodes: &Path, server: usize, folder: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["chat", "serve", "--nodes"].map(OsString::from).into();
        arguments.extend([nodes.into(), "--id".into(), (server + 1).to_string().into()]);
        arguments.extend(["--data".into(), folder.join("data").into()]);
        arguments.extend(["-v", "--die-with-parent"].map(OsString::from));
        // Nobody else is on that network.
        arguments.extend(self.has_cables.then(|| "--plain".into()));
        arguments
    }
}

/// Whether every server can have the ports that it needs.
pub fn check_ports(servers: usize, base_port: u16) -> anyhow::Result<()> {
    let ports = u16::try_from(2 * TAGS.len() * servers + TAGS.len())?;
    let base_port_max = u16::MAX - CONTROL_PORT_ABOVE - ports;
    ensure!(
        (1..=base_port_max).contains(&base_port),
        "--base-port {base_port}: expected 1 to {base_port_max}, since {ports} ports from there on are taken, and others {CONTROL_PORT_ABOVE} above"
    );
    Ok(())
}
