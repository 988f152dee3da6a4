//! `ovid grid run`: one box of a configuration, in this process.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use log::{info, warn};

use super::experiments::Experiments;
use crate::agent::{Registry, Secret};
use crate::config::{AgentId, BoxSettings, Configuration};
use crate::grid::BoxAddress;
use crate::reactor::{Credentials, Doors, Reactor};
use crate::server::{BoxSetup, LinkSettings, ReplyFraming, Roster, Server, Settings};
use crate::time::Time;

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    pub(super) file: PathBuf,
    /// Which of its boxes to run
    #[arg(value_name = "BOX")]
    pub(super) on: BoxAddress,
    #[command(flatten)]
    pub(super) experiments: Experiments,
    /// The folder for what has to survive a restart
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<String>,
    /// Where to await those who control the box, in place of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub(super) control: Option<SocketAddr>,
    /// Drive this agent from standard input; in a terminal, the box's only agent of type `tty` if there is just one
    #[arg(long, value_name = "AGENT")]
    pub(super) attach: Option<AgentId>,
    /// Write what happens to this file, one event a line, to be drawn later
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Log more on standard error: -v agents and boxes, -vv each message, -vvv bytes; `RUST_LOG` goes before it
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// End when standard input, a pipe from the process that started this one, comes to its end
    #[arg(long, hide = true)]
    pub(in crate::cli) die_with_parent: bool,
}

impl RunArgs {
    /// What runs the box `on` of what `file` describes, and nothing else.
    pub(in crate::cli) fn plain(file: PathBuf, on: BoxAddress) -> Self {
        Self {
            file,
            on,
            experiments: Experiments::default(),
            data: None,
            control: None,
            attach: None,
            trace: None,
            verbose: 0,
            die_with_parent: false,
        }
    }
}

pub(super) fn run(args: &RunArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    crate::cli::start_log(args.verbose);
    run_box(args, super::file::read(&args.file, registry)?, registry)
}

/// Runs a box of a configuration that was read.
pub(in crate::cli) fn run_box(
    args: &RunArgs,
    mut configuration: Configuration,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    if !configuration.boxes().contains(&args.on) {
        let known: Vec<String> = configuration.boxes().iter().map(ToString::to_string).collect();
        bail!("{} names no box {}; it names {}", args.file.display(), args.on, known.join(", "));
    }
    let console = console(args, &configuration)?;
    let mut own = configuration.settings_of(args.on);
    args.experiments.apply(&mut own);
    let seed = own.seed.unwrap_or_else(by_chance);
    let data = PathBuf::from(args.data.clone().unwrap_or_else(|| own.data.clone()));
    let control = args.control.or(own.control);
    let experiment = args.experiments.setup();
    configuration.settings.insert(args.on, own);
    let settings = settings(args, &configuration)?;

    let mut reactor = Reactor::new(&Doors { links: args.on.socket(), masters: control })?;
    reactor.keep_logs_in(data);
    if let Some(credentials) = credentials(args.on, &configuration.settings_of(args.on), &args.file)? {
        reactor.use_tls(credentials);
    }
    if let Some(path) = &args.trace {
        crate::cli::write_trace(&mut reactor, path, &args.on.to_string())?;
    }
    if args.die_with_parent {
        super::parent::die_with_parent()?;
    }
    let unix_ms_at_start = unix_ms_at(reactor.now());
    let registry = registry.clone();
    let (address, secret) = (args.on, Some(secret()?));
    let setup = BoxSetup { address, configuration, registry, seed, secret, unix_ms_at_start, experiment };
    let mut server = Server::of_box(settings, setup, reactor.now());
    let control = control.map_or_else(|| "none".to_owned(), |address| address.to_string());
    info!("server: started box={} control={control} seed={seed}", args.on);
    if let Some(agent) = console {
        let conn = reactor.open_console(&mut server)?;
        server.attach(conn, &agent);
    }
    crate::cli::run_server(&mut reactor, &mut server)
}

/// Which agent standard input drives, if any.
fn console(args: &RunArgs, configuration: &Configuration) -> anyhow::Result<Option<AgentId>> {
    if let Some(agent) = &args.attach {
        if args.die_with_parent {
            bail!("--attach needs standard input, which --die-with-parent has taken");
        }
        if !configuration.agents_on(args.on).any(|(id, _)| id == agent) {
            let known: Vec<&str> = configuration.agents_on(args.on).map(|(id, _)| id.as_str()).collect();
            bail!("--attach {agent}: no such agent on box {}; there are {}", args.on, known.join(", "));
        }
        return Ok(Some(agent.clone()));
    }
    if args.die_with_parent || !crate::cli::in_foreground() {
        return Ok(None);
    }
    let mut terminals = configuration.agents_on(args.on).filter(|(_, entry)| entry.kind == "tty");
    let only = terminals.next().filter(|_| terminals.next().is_none());
    Ok(only.map(|(id, _)| id.clone()))
}

/// What the calendar said when the reactor's clock began, which shows `now`.
fn unix_ms_at(now: Time) -> u64 {
    let began = crate::cli::since_1970().saturating_sub(now.since(Time::ZERO));
    u64::try_from(began.as_millis()).unwrap_or(u64::MAX)
}

/// What the box shows to others, where its settings say so; a warning where strangers could listen in on its links.
fn credentials(on: BoxAddress, own: &BoxSettings, file: &Path) -> anyhow::Result<Option<Credentials>> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let load = |tls| {
        let credentials = Credentials::load(tls, folder)?;
        credentials.check(on.ip())?;
        anyhow::Ok(credentials)
    };
    let credentials = own.tls.as_ref().map(load);
    if !own.tls.as_ref().is_some_and(|tls| tls.links) && !own.plain && !on.ip().is_loopback() {
        warn!(
            "server: links of {on} are not encrypted, and anybody on the way can read them and speak on them: \
             set \"tls\" with \"links\": true in the settings of all boxes, or \"plain\": true if that is meant so"
        );
    }
    credentials.transpose()
}

fn settings(args: &RunArgs, configuration: &Configuration) -> anyhow::Result<Settings> {
    let settings = Settings {
        links: LinkSettings {
            roster: Roster::of_box(args.on),
            heartbeat: HEARTBEAT,
            silence_max: SILENCE_MAX,
            line_bytes_max: FRAME_BYTES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            strangers_max: STRANGERS_MAX.max(configuration.boxes().len()),
        },
        reply_framing: ReplyFraming::Newline,
        masters_max: SESSIONS_MAX,
        connections_max: CONNECTIONS_MAX,
        tracing: args.trace.is_some(),
    };
    crate::cli::files::fit_limit(settings, configuration.boxes().len())
}

/// What keys are made of: the system's chance, also where the seed is given, since that stands in the log.
fn secret() -> anyhow::Result<Secret> {
    let mut secret = vec![0; 32];
    let chance = rustls::crypto::ring::default_provider().secure_random;
    chance
        .fill(&mut secret)
        .map_err(|_| anyhow!("the system gives no random bytes, of which keys are made"))?;
    Ok(Secret(secret.into()))
}

/// A seed that nobody has chosen, from what the standard library asks the system for to make its maps unpredictable. It is
/// logged, so that a run can be repeated with the same one.
pub(in crate::cli) fn by_chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// As a lab's server does: a heartbeat this often, or half as often while other traffic flows.
const HEARTBEAT: Duration = Duration::from_millis(240);
/// A box that was silent for this long is suspected.
const SILENCE_MAX: Duration = Duration::from_millis(800);
/// The longest body of a frame, and the longest line of a session, in bytes: a configuration of thousands of agents is one line.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// The most that may wait for one box, in bytes, before its link is dropped.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How many who have not said who they are may be connected at a time, in a grid of fewer boxes than that.
const STRANGERS_MAX: usize = 256;
/// How many may control the box, or drive its agents, at a time.
const SESSIONS_MAX: usize = 256;
/// How many connections agents may have with others than agents at a time.
const CONNECTIONS_MAX: usize = 65_536;
