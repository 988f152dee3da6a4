//! `ovid server`: one server of a grid, the chatroom of the lab.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use log::info;

use super::overlay::{OverlayOptions, Wire};
use crate::agents::overlay::{Dialect, Options};
use crate::grid::{BoxAddress, Grid, LINK_BASE_DEFAULT, ServerId, check_master_port};
use crate::reactor::{Doors, Reactor};
use crate::server::{LinkSettings, OverlaySetup, ReplyFraming, Roster, Server, Settings};

/// The shortest line limit: a whole read has to fit.
const LINE_BYTES_MIN: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server's number, 0 to N - 1
    id: u16,
    /// How many servers the grid has
    n: u16,
    /// The port for masters, 10000 or more
    port: u16,
    /// The link port of server 0; server i listens on this + i
    #[arg(long, default_value_t = LINK_BASE_DEFAULT, value_name = "PORT")]
    link_base: u16,
    /// The address on which other servers are awaited
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    bind: IpAddr,
    /// The address on which masters are awaited
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    master_bind: IpAddr,
    /// Where server ID listens, if not on the address of --bind and the port of its number; may be given for each server
    #[arg(long = "peer", value_name = "ID=HOST:PORT", value_parser = parse_peer)]
    peers: Vec<(u16, SocketAddr)>,
    /// Read commands from standard input too (the default in the foreground of a terminal)
    #[arg(long, overrides_with = "no_stdin")]
    stdin: bool,
    /// Leave standard input alone
    #[arg(long, overrides_with = "stdin")]
    no_stdin: bool,
    /// How answers to masters are framed
    #[arg(long, value_enum, default_value_t = Framing::Newline)]
    reply_framing: Framing,
    /// How often a heartbeat is sent, in milliseconds; half as often while other traffic flows
    #[arg(long, default_value_t = 240, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=240))]
    heartbeat_ms: u64,
    /// After how much silence a server is suspected, in milliseconds
    #[arg(long, default_value_t = 800, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..=3_600_000))]
    silence_ms_max: u64,
    /// The longest line that is understood, in bytes
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(LINE_BYTES_MIN..=1 << 30))]
    line_bytes_max: u64,
    /// The most that the message log takes, in bytes
    #[arg(long, default_value_t = 1 << 30, value_name = "BYTES")]
    log_bytes_max: u64,
    /// The most that may wait to be sent to one server, in bytes, before its link is dropped
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(8 << 20..))]
    queue_bytes_max: u64,
    /// How many masters may be connected at a time
    #[arg(long, default_value_t = 256, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    masters_max: u64,
    /// Send messages along a sparse overlay instead of over links to all servers: for grids of hundreds
    #[arg(long)]
    overlay: bool,
    /// With --overlay: whom to ask to be let in; may be given several times. Without it: the other servers of the grid, from 0 on
    #[arg(long = "join", value_name = "HOST:PORT", requires = "overlay", value_parser = parse_address)]
    contacts: Vec<SocketAddr>,
    #[command(flatten)]
    options: OverlayOptions,
    /// With --overlay: what the servers speak to each other
    #[arg(long, value_enum, default_value = "own", requires = "overlay")]
    wire: Wire,
    /// Write what happens into DIR/server-ID-PID.jsonl, for `ovid trace`
    #[arg(long, value_name = "DIR", env = "OVID_TRACE_DIR")]
    trace_dir: Option<PathBuf>,
    /// Log more on standard error: -v masters, roles and membership, -vv each message, -vvv bytes; `RUST_LOG` goes before it
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Framing {
    /// A newline ends each answer
    Newline,
    /// Its length and a dash stand before each answer, as in the lab's edition of 2018
    Length,
}

pub(super) fn run(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    super::start_log(args.verbose);
    let grid = Grid::new(args.id, args.n, args.link_base)?;
    let doors = Doors {
        links: SocketAddr::new(args.bind, grid.link_port(grid.id())),
        masters: Some(SocketAddr::new(args.master_bind, check_master_port(args.port)?)),
    };
    let settings = settings(args, grid)?;
    let settings = super::files::fit_limit(settings, usize::from(args.n))?;
    let log_bytes_max = usize::try_from(args.log_bytes_max).context("--log-bytes-max")?;
    let mut reactor = Reactor::new(&doors)?;
    if let Some(folder) = &args.trace_dir {
        let name = format!("server-{}-{}.jsonl", args.id, std::process::id());
        super::write_trace(&mut reactor, &folder.join(name), &args.id.to_string())?;
    }
    if !args.overlay && args.options.options()? != Options::default() {
        bail!("the options of an overlay need --overlay");
    }
    let mut server = if args.overlay {
        let (settings, setup) = overlay(args, settings, grid)?;
        Server::of_overlay(settings, setup, log_bytes_max, reactor.now())
    } else {
        Server::lab(settings, log_bytes_max, reactor.now())
    };
    info!(
        "server: started id={} n={} links={} masters={}:{}",
        args.id, args.n, doors.links, args.master_bind, args.port
    );
    if args.stdin || (!args.no_stdin && super::in_foreground()) {
        reactor.open_console(&mut server)?;
    }
    super::run_server(&mut reactor, &mut server)
}

fn settings(args: &ServerArgs, grid: Grid) -> anyhow::Result<Settings> {
    if args.silence_ms_max <= args.heartbeat_ms {
        bail!("--silence-ms-max {} is not above --heartbeat-ms {}", args.silence_ms_max, args.heartbeat_ms);
    }
    if args.line_bytes_max > args.queue_bytes_max / 2 {
        bail!(
            "--line-bytes-max {} is more than half of --queue-bytes-max {}: one such line would drop every link",
            args.line_bytes_max,
            args.queue_bytes_max
        );
    }
    let addresses = addresses(args, grid)?;
    Ok(Settings {
        links: LinkSettings {
            roster: Roster::lab(grid, addresses),
            heartbeat: Duration::from_millis(args.heartbeat_ms),
            silence_max: Duration::from_millis(args.silence_ms_max),
            line_bytes_max: usize::try_from(args.line_bytes_max).context("--line-bytes-max")?,
            queue_bytes_max: usize::try_from(args.queue_bytes_max).context("--queue-bytes-max")?,
            strangers_max: STRANGERS_MAX.max(usize::from(args.n)),
        },
        reply_framing: match args.reply_framing {
            Framing::Newline => ReplyFraming::Newline,
            Framing::Length => ReplyFraming::Length,
        },
        masters_max: usize::try_from(args.masters_max).context("--masters-max")?,
        connections_max: 0,
        tracing: args.trace_dir.is_some(),
    })
}

/// What makes a lab's server one of an overlay.
fn overlay(
    args: &ServerArgs,
    mut settings: Settings,
    grid: Grid,
) -> anyhow::Result<(Settings, OverlaySetup)> {
    let addresses = addresses(args, grid)?;
    let own = addresses.get(&grid.id()).copied();
    let own = own.unwrap_or_else(|| SocketAddr::new(reached_at(args.bind), grid.link_port(grid.id())));
    let address = BoxAddress::new(own);
    let contacts: Vec<BoxAddress> = if args.contacts.is_empty() {
        grid.others().filter_map(|peer| addresses.get(&peer)).map(|at| BoxAddress::new(*at)).collect()
    } else {
        args.contacts.iter().map(|at| BoxAddress::new(*at)).collect()
    };
    let options = Options { dialect: args.wire.into(), ..args.options.options()? };
    if options.dialect == Dialect::GenHypar
        && let Some(address) = contacts.iter().chain([&address]).find(|address| address.ip().is_ipv6())
    {
        bail!(
            "{address}: --wire gen_hypar knows servers by IPv4 addresses only; see --bind, --peer and --join"
        );
    }
    settings.links.roster = Roster::of_overlay(address);
    // Whether a neighbour lives is the membership's to say.
    settings.links.heartbeat = OVERLAY_PERIOD;
    settings.links.silence_max = OVERLAY_PERIOD * 2;
    let since_1970 = super::since_1970();
    let incarnation = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let seed =
        u64::try_from(since_1970.as_nanos() & u128::from(u64::MAX)).unwrap_or_default() ^ u64::from(args.id);
    Ok((settings, OverlaySetup { grid, address, contacts, options, incarnation, seed }))
}

/// How often links of an overlay carry a ping of the link manager's: not needed, but for firewalls that forget quiet connections.
const OVERLAY_PERIOD: Duration = Duration::from_secs(60);

/// Where each server listens for the others; the own entry only where it was given.
fn addresses(args: &ServerArgs, grid: Grid) -> anyhow::Result<BTreeMap<ServerId, SocketAddr>> {
    let host = reached_at(args.bind);
    let mut addresses: BTreeMap<ServerId, SocketAddr> =
        grid.others().map(|peer| (peer, SocketAddr::new(host, grid.link_port(peer)))).collect();
    for (id, address) in &args.peers {
        if !grid.holds(ServerId(*id)) {
            bail!("--peer {id}={address}: server id {id} is not below the number of servers, {}", args.n);
        }
        // The own entry is allowed, so that one list of peers can serve the whole grid.
        addresses.insert(ServerId(*id), *address);
    }
    Ok(addresses)
}

/// Where others of the same machine reach who listens on `address`: one that listens on every address, on loopback.
fn reached_at(address: IpAddr) -> IpAddr {
    match address {
        address if !address.is_unspecified() => address,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text:?}: {error}"))?;
    found.next().ok_or_else(|| format!("{text:?} has no address"))
}

fn parse_peer(text: &str) -> Result<(u16, SocketAddr), String> {
    let (id, address) = text.split_once('=').ok_or("expected ID=HOST:PORT")?;
    let id = id.parse().map_err(|_| format!("{id:?} is not a server's number"))?;
    parse_address(address).map(|address| (id, address))
}
/// How many who have not said who they are may be connected at a time, in a grid of fewer servers than that.
const STRANGERS_MAX: usize = 256;
