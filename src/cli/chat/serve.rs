//! `ovid chat serve`: one server of a chat.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use log::warn;

use crate::agent::Registry;
use crate::cli::grid::{RunArgs, read_as, run_box};
use crate::config::{AgentId, Configuration, Format, Nodes, read, read_nodes};

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    /// The file of the cluster's servers: JSON, or TOML where its name ends in .toml
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Which of them this is
    #[arg(long, value_name = "ID")]
    id: String,
    /// The folder for what has to survive a restart
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Write frames so that the client of the class of 2017 understands them
    #[arg(long)]
    class_client_quirks: bool,
    /// Speak plainly on other than loopback addresses, too: for networks that can be trusted. Without it, such servers need "tls"
    /// in the file
    #[arg(long)]
    plain: bool,
    /// Log more on standard error: -v agents and boxes, -vv each message, -vvv bytes; `RUST_LOG` goes before it
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// End when standard input, a pipe from the process that started this one, comes to its end
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

pub(super) fn run(args: &ServeArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    crate::cli::start_log(args.verbose);
    let nodes = read_as(&args.nodes, read_nodes)?;
    let configuration = configuration(args, &nodes, registry)?;
    let own = Nodes::agent(&args.id).parse::<AgentId>().ok();
    let Some(entry) = own.and_then(|id| configuration.agents.get(&id)) else {
        let known: Vec<&str> = nodes.nodes.iter().map(|node| node.id.as_str()).collect();
        bail!("{} names no server {:?}; it names {}", args.nodes.display(), args.id, known.join(", "));
    };
    let mut run = RunArgs::plain(args.nodes.clone(), entry.on);
    run.data.clone_from(&args.data);
    run.die_with_parent = args.die_with_parent;
    run_box(&run, configuration, registry)
}

/// What the file of nodes stands for.
fn configuration(args: &ServeArgs, nodes: &Nodes, registry: &Registry) -> anyhow::Result<Configuration> {
    let json = nodes.configuration(args.class_client_quirks, args.plain, resolve)?;
    let file = args.nodes.display();
    for node in &nodes.nodes {
        if args.plain && node.tls.is_some() {
            bail!("--plain says that nothing is encrypted, and {file} has \"tls\": leave one of them out");
        }
        if !args.plain && node.tls.is_none() && !is_on_this_machine(&node.host) {
            bail!(
                "{file}: {} is not on this machine alone, and what servers and clients say is not encrypted: \
                 either let \"tls\" in that file name a certificate (`ovid cert` makes one), or say by --plain that its network can be trusted",
                node.host
            );
        }
    }
    let is_told = nodes.secret.is_some() && nodes.discovery_port.is_some();
    let is_encrypted = nodes.nodes.iter().any(|node| node.tls.is_some());
    if is_told && is_encrypted && nodes.nodes.iter().any(|node| !is_on_this_machine(&node.host)) {
        warn!(
            "chat: {file} wants discovery, whose datagrams are not encrypted: whoever listens in learns the secret, by which other clusters read messages; \
             without \"discoveryPort\" and \"ask\" there is none"
        );
    }
    read(&json.to_string(), Format::Json, registry).map_err(|findings| {
        // Their places are those of a text that nobody has written.
        let what: Vec<String> =
            findings.iter().map(|finding| format!("{}: {}", finding.field.join("."), finding.what)).collect();
        anyhow::anyhow!("{} cannot be used: {}", args.nodes.display(), what.join("; "))
    })
}

/// Nobody else can listen in.
fn is_on_this_machine(host: &str) -> bool {
    resolve(host).is_ok_and(|ip| ip.is_loopback())
}

/// The address of a host; of several, one of IPv4 if there is one.
fn resolve(host: &str) -> anyhow::Result<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let found = (host, 0).to_socket_addrs().with_context(|| format!("nobody knows the host {host:?}"))?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    let first = found.iter().find(|ip| ip.is_ipv4()).or(found.first());
    first.copied().with_context(|| format!("the host {host:?} has no address"))
}
