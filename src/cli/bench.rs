//! `ovid bench`: measures grids of servers.

mod chat;
mod log;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use crate::bench::fleet::PortInUse;
use crate::bench::report::Report;
use crate::bench::system::{Ports, ProcessSpec, System};
use crate::bench::{
    BadOption, Setup, baseline, broadcast, detect, groups, idle, latency, node, overlay, startup,
};

/// The exit status of a bench whose grid failed: a server died or hung, or a message was lost.
const EXIT_FAILED: u8 = 1;

/// What the benches of speed are compared with; the others know no baseline that does the same work.
const BASELINES: [SystemName; 2] = [SystemName::Bare, SystemName::Naive];

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Throughput: all masters pipeline broadcasts until every server has every message.
    Broadcast(BroadcastArgs),
    /// Single broadcasts at a steady rate, seen by another member: p50, p90, p99.
    Latency(LatencyArgs),
    /// From the last exec until all servers see all.
    Startup(StartupArgs),
    /// How fast killed, frozen and woken servers are noticed.
    Detect(DetectArgs),
    /// Processor time, memory and wake-ups of a grid that nobody talks to.
    Idle(IdleArgs),
    /// A grid on an overlay: all join through one contact, broadcast, and half of them are killed at once.
    Overlay(OverlayArgs),
    /// Replicated logs: one record at a time, many in flight, the leader killed, a restart; beside etcd and nats-server.
    Log(log::LogArgs),
    /// The chat: messages between clients, to other clusters, to many at once; beside the bare log.
    Chat(chat::ChatArgs),
    /// A server of a baseline.
    #[command(hide = true)]
    Node(NodeArgs),
}

#[derive(Debug, Args)]
struct NodeArgs {
    kind: baseline::Kind,
    id: usize,
    n: usize,
    port: u16,
    #[arg(long, default_value_t = 3000)]
    link_base: u16,
}

/// What all benches have in common.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Measure this implementation instead of ours; split as a shell splits words. Without placeholders `<id> <n>
    /// <port>` are appended; `{link_base}` is known too. Given again, the next one is `process2` and so on, which
    /// compares two builds of a server.
    #[arg(long, value_name = "CMD {id} {n} {port}")]
    process: Vec<String>,
    /// The servers of --process answer `status` with one line of JSON that holds `"messages":<count>`.
    #[arg(long, requires = "process")]
    process_status: bool,
    /// The systems to measure side by side; ratios are the first one's to each other one's.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    systems: Option<Vec<SystemName>>,
    /// How many servers the grids have.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5, 16], value_name = "LIST")]
    servers: Vec<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where the servers listen and where the figures go.
#[derive(Debug, Args)]
struct OutputArgs {
    /// The first master port; server `i` gets this plus `i`.
    #[arg(long, default_value_t = 10000, value_name = "PORT")]
    master_base: u16,
    /// The first port between servers; server `i` gets this plus `i`. An implementation that cannot choose uses 3000.
    #[arg(long, default_value_t = 3000, value_name = "PORT")]
    link_base: u16,
    /// Write every sample, the machine and the command as JSON; `-` is standard output, instead of the table.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SystemName {
    Ovid,
    Overlay,
    Bare,
    Naive,
    Process,
    Nats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    Nats,
}

#[derive(Debug, Args)]
struct BroadcastArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The lengths of the messages.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 200], value_name = "LIST")]
    bytes: Vec<usize>,
    /// How many messages each master sends. Without it a run takes about a second.
    #[arg(long, value_name = "COUNT")]
    messages: Option<u64>,
    /// Only one master sends, 200,000 messages unless --messages says otherwise.
    #[arg(long)]
    one_sender: bool,
    /// How large the logs of all servers together may grow, in MiB.
    #[arg(long, default_value_t = 400, value_name = "MIB")]
    log_mib_max: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    repeats: usize,
    /// Measure a broker with the same fan-out too.
    #[arg(long)]
    peer: Option<Peer>,
    /// The broker's program.
    #[arg(long, default_value = "nats-server", value_name = "PATH")]
    peer_bin: PathBuf,
}

#[derive(Debug, Args)]
struct LatencyArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Broadcasts a second.
    #[arg(long, default_value_t = 1000.0, value_name = "NUMBER")]
    rate: f64,
    /// How long each run takes, after a warm-up of 0.3 s.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    repeats: usize,
}

#[derive(Debug, Args)]
struct StartupArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// How often everything is measured.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    repeats: usize,
}

#[derive(Debug, Args)]
struct DetectArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// How many servers are killed in each grid, one after the other.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    kills: usize,
    /// How many servers are frozen and woken in each grid, one after the other.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    stops: usize,
}

#[derive(Debug, Args)]
struct OverlayArgs {
    /// How many servers the grids have.
    #[arg(long, value_delimiter = ',', default_values_t = [64], value_name = "LIST")]
    servers: Vec<usize>,
    /// How many broadcasts are sent one by one, by all servers in turn.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    broadcasts: u64,
    /// How many of these a second.
    #[arg(long, default_value_t = 100.0, value_name = "NUMBER")]
    rate: f64,
    /// How many broadcasts each master then sends as fast as its server takes them.
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    pipelined: u64,
    /// How many of a hundred servers are killed at once.
    #[arg(long, default_value_t = 50, value_name = "PERCENT")]
    kill: u8,
    /// How long each grid is left alone, after a second to settle.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    repeats: usize,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct IdleArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// How long each grid is watched, after a second to settle.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    repeats: usize,
}

pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    // A baseline's server has nothing to end but itself.
    if !matches!(args.bench, Bench::Node(_)) {
        groups::end_on_signals()?;
    }
    match args.bench {
        Bench::Broadcast(args) => args.run(),
        Bench::Latency(args) => {
            let setup = args.common.setup(&BASELINES, None, args.repeats)?;
            let options = latency::Options { rate: args.rate, seconds: args.seconds };
            args.common.output.finish(latency::run(&setup, &options))
        }
        Bench::Startup(args) => {
            let setup = args.common.setup(&[], None, args.repeats)?;
            args.common.output.finish(startup::run(&setup))
        }
        Bench::Detect(args) => {
            let setup = args.common.setup(&[], None, 1)?;
            args.common
                .output
                .finish(detect::run(&setup, &detect::Options { kills: args.kills, stops: args.stops }))
        }
        Bench::Idle(args) => {
            let setup = args.common.setup(&[], None, args.repeats)?;
            args.common.output.finish(idle::run(&setup, args.seconds))
        }
        Bench::Overlay(args) => args.run(),
        Bench::Log(args) => args.run(),
        Bench::Chat(args) => args.run(),
        Bench::Node(args) => {
            let node = node::Node { id: args.id, n: args.n, port: args.port, link_base: args.link_base };
            baseline::run(args.kind, &node).map(|()| ExitCode::SUCCESS)
        }
    }
}

impl BroadcastArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let peer = self.peer.map(|Peer::Nats| &self.peer_bin);
        let setup = self.common.setup(&BASELINES, peer, self.repeats)?;
        let options = broadcast::Options {
            bytes: self.bytes,
            messages: self.messages.or(self.one_sender.then_some(200_000)),
            one_sender: self.one_sender,
            log_bytes_max: self.log_mib_max * 1024 * 1024,
        };
        self.common.output.finish(broadcast::run(&setup, &options))
    }
}

impl OverlayArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(self.repeats > 0, "nothing to measure: no repeat");
        let setup = Setup {
            systems: vec![System::Overlay],
            servers: self.servers,
            repeats: self.repeats,
            ports: self.output.ports(),
        };
        let options = overlay::Options {
            broadcasts: self.broadcasts,
            rate: self.rate,
            pipelined: self.pipelined,
            seconds: self.seconds,
            killed_percent: self.kill,
        };
        self.output.finish(overlay::run(&setup, &options))
    }
}

impl CommonArgs {
    /// Turns names into systems. Without --systems: ours or the given process, then the bench's baselines.
    fn setup(
        &self,
        baselines: &[SystemName],
        peer: Option<&PathBuf>,
        repeats: usize,
    ) -> anyhow::Result<Setup> {
        let parse = |(place, line): (usize, &String)| {
            ProcessSpec::parse(line, place, self.process_status).map(System::Process)
        };
        let processes = self.process.iter().enumerate().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
        let names = self.systems.clone().unwrap_or_else(|| {
            let first = if processes.is_empty() { SystemName::Ovid } else { SystemName::Process };
            let last = peer.is_some().then_some(SystemName::Nats);
            [first].into_iter().chain(baselines.iter().copied()).chain(last).collect()
        });
        let mut systems = Vec::new();
        for name in names {
            match name {
                SystemName::Ovid => systems.push(System::Ours),
                SystemName::Overlay => systems.push(System::Overlay),
                SystemName::Bare => systems.push(System::Bare),
                SystemName::Naive => systems.push(System::Naive),
                SystemName::Process if processes.is_empty() => {
                    anyhow::bail!("the system `process` needs --process")
                }
                SystemName::Process => systems.extend(processes.iter().cloned()),
                SystemName::Nats => {
                    systems.push(System::Nats(peer.context("the system `nats` needs --peer nats")?.clone()));
                }
            }
        }
        anyhow::ensure!(!systems.is_empty() && repeats > 0, "nothing to measure: no system or no repeat");
        Ok(Setup { systems, servers: self.servers.clone(), repeats, ports: self.output.ports() })
    }
}

impl OutputArgs {
    fn ports(&self) -> Ports {
        Ports { master_base: self.master_base, link_base: self.link_base }
    }

    /// Prints the table and writes the JSON, also of a run that failed half-way: what was measured is not lost. A grid
    /// that failed is an error of the run, not of the arguments.
    fn finish(&self, (mut report, outcome): (Report, anyhow::Result<()>)) -> anyhow::Result<ExitCode> {
        if outcome.is_err() {
            report.note("INCOMPLETE: the run failed, see the error".to_owned());
        }
        if outcome.is_ok() || !report.samples.is_empty() {
            self.show(&report)?;
        }
        match outcome {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.is::<PortInUse>() || error.is::<BadOption>() => Err(error),
            Err(error) => {
                super::report(&error);
                Ok(ExitCode::from(EXIT_FAILED))
            }
        }
    }

    fn show(&self, report: &Report) -> anyhow::Result<()> {
        let json = || serde_json::to_string_pretty(&report.json());
        match &self.json {
            Some(path) if path.as_os_str() == "-" => println!("{}", json()?),
            Some(path) => {
                print!("{report}");
                fs::write(path, json()? + "\n")
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("{report}"),
        }
        Ok(())
    }
}
