//! `ovid bench log`: replicated logs side by side.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::OutputArgs;
use crate::bench::log::{Chat, Engine, Options, run};

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The systems to measure side by side; ratios are the first one's to each other one's. Without it ours, and the peers given.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    systems: Option<Vec<SystemName>>,
    /// Measure an installed peer too.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    peer: Vec<Peer>,
    /// The program of a peer, such as `nats=/opt/nats-server`; without a name, that of the only peer.
    #[arg(long, value_delimiter = ',', value_name = "[PEER=]PATH", requires = "peer")]
    peer_bin: Vec<String>,
    /// How many servers the clusters have.
    #[arg(long, value_delimiter = ',', default_values_t = [3], value_name = "LIST")]
    servers: Vec<usize>,
    /// The length of a record.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// How many records are under way, one phase for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 256, 1024], value_name = "LIST")]
    in_flight: Vec<usize>,
    /// How many of them are under way in the phase that spreads them over all servers; 0 leaves it out.
    #[arg(long, default_value_t = 1024, value_name = "COUNT")]
    spread: usize,
    /// Over how many connections to the leader the records go.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    connections: usize,
    /// How long each phase takes, after a warm-up of 0.5 s.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often the leader is killed, over all repeats together.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    failovers: usize,
    /// How often it is frozen until another one has taken a record, over all repeats together.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    freezes: usize,
    /// How many records a log has that is killed and started again; 0 leaves that out.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    records: u64,
    /// How often that is done.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    restarts: usize,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    repeats: usize,
    /// The folder in which the servers write, on the disk that is to be measured; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SystemName {
    Ovid,
    Rows,
    Local,
    Echo,
    Messenger,
    Etcd,
    Nats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    Etcd,
    Nats,
}

impl Peer {
    /// Its name on the command line, and its program where none is given.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Etcd => ("etcd", "etcd"),
            Self::Nats => ("nats", "nats-server"),
        }
    }

    fn engine(self, program: PathBuf) -> Engine {
        match self {
            Self::Etcd => Engine::Etcd(program),
            Self::Nats => Engine::Nats(program),
        }
    }
}

impl LogArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let engines = self.engines()?;
        let options = Options {
            servers: self.servers,
            repeats: self.repeats,
            bytes: self.bytes,
            in_flight: self.in_flight,
            spread: self.spread,
            connections: self.connections,
            seconds: self.seconds,
            failovers: self.failovers,
            freezes: self.freezes,
            records: self.records,
            restarts: self.restarts,
            data: self.data.unwrap_or_else(std::env::temp_dir),
        };
        self.output.finish(run(&engines, &options, self.output.ports()))
    }

    fn engines(&self) -> anyhow::Result<Vec<Engine>> {
        let peers = self.peer.iter().map(|&peer| Ok((peer, peer.engine(self.program(peer)?))));
        let peers = peers.collect::<anyhow::Result<Vec<(Peer, Engine)>>>()?;
        let Some(names) = &self.systems else {
            return Ok([Engine::Ours]
                .into_iter()
                .chain(peers.into_iter().map(|(_, engine)| engine))
                .collect());
        };
        let peer = |wanted: Peer| {
            let found = peers.iter().find(|(peer, _)| *peer == wanted);
            let (_, engine) = found.with_context(|| {
                let (name, _) = wanted.names();
                format!("the system `{name}` needs --peer {name}")
            })?;
            Ok(engine.clone())
        };
        let engine = |name: &SystemName| match name {
            SystemName::Ovid => Ok(Engine::Ours),
            SystemName::Rows => Ok(Engine::Rows),
            SystemName::Local => Ok(Engine::Local),
            SystemName::Echo => Ok(Engine::Echo),
            SystemName::Messenger => Ok(Engine::Messenger(Chat::default())),
            SystemName::Etcd => peer(Peer::Etcd),
            SystemName::Nats => peer(Peer::Nats),
        };
        names.iter().map(engine).collect()
    }

    /// The program of a peer: as --peer-bin says, or as it is called.
    fn program(&self, peer: Peer) -> anyhow::Result<PathBuf> {
        let (name, program) = peer.names();
        for given in &self.peer_bin {
            match given.split_once('=') {
                Some((whose, path)) if whose == name => return Ok(path.into()),
                Some((whose, _)) if self.peer.iter().any(|other| other.names().0 == whose) => {}
                Some((whose, _)) => anyhow::bail!("--peer-bin names `{whose}`, which is no --peer"),
                None if self.peer.len() == 1 => return Ok(given.into()),
                None => anyhow::bail!("--peer-bin must say whose program `{given}` is: {name}={given}"),
            }
        }
        Ok(program.into())
    }
}
