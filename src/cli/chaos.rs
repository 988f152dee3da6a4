//! `ovid chaos`: attacks a replicated service of real processes and judges what its clients saw.

mod outcome;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::outcome::Outcome;
use crate::bench::groups::{self, Folder};
use crate::chaos::strikes::Kind;
use crate::chaos::{self, Options, chat, grid, network};

/// The exit status of a run that found something wrong.
const EXIT_FAILED: u8 = 1;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Service {
    /// The key-value store
    Kvs,
    /// Two clusters of the chat
    Chat,
}

#[derive(Debug, Args)]
pub(super) struct ChaosArgs {
    /// What is attacked
    #[arg(long, default_value = "kvs")]
    service: Service,
    /// How many servers it has, each cluster of a chat so many; a single one keeps its log for itself
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    servers: u8,
    /// How many clients use it; a chat has at least 4 [default: 8, of a chat 16]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    clients: Option<u8>,
    /// For how long servers are attacked
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What is drawn from: which servers are struck and when, and what clients ask
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is done to servers: killed (SIGKILL, all at once now and then), frozen (SIGSTOP), cut off (needs network namespaces)
    #[arg(long, value_delimiter = ',', default_value = "kill,freeze", value_name = "LIST")]
    faults: Vec<Kind>,
    /// How many operations each client begins in a second at the most, or how many messages a user of a chat writes on average [default: 100, of a chat 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// The first of the ports; control ports lie 10,000 above
    #[arg(long, default_value_t = 4500)]
    base_port: u16,
    /// Where configuration, logs and data go; it has to be empty. Without it they go to a folder of the system's and are removed if all was well
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
    /// This process already lives in namespaces of its own
    #[arg(long, hide = true)]
    inside: bool,
}

impl Service {
    /// How many clients there are, and at which rate each works, unless something else is asked for.
    fn usual(self) -> (u8, u32) {
        match self {
            Self::Kvs => (8, 100),
            Self::Chat => (16, 10),
        }
    }
}

#[expect(clippy::print_stdout, reason = "the outcome is what this command is for")]
pub(super) fn run(args: &ChaosArgs) -> anyhow::Result<ExitCode> {
    let mut kinds = args.faults.clone();
    kinds.sort_unstable();
    kinds.dedup();
    ensure!(!kinds.is_empty(), "--faults is empty: expected kill, freeze, cut or several of them");
    let (clients, rate) = args.service.usual();
    let clients = args.clients.unwrap_or(clients);
    match args.service {
        Service::Kvs => grid::check_ports(usize::from(args.servers), args.base_port)?,
        Service::Chat => {
            ensure!(
                clients >= 4,
                "--clients {clients}: expected 4 or more, so that both clusters have users of their own and common ones"
            );
            chat::clusters::check_ports(usize::from(args.servers), args.base_port)?;
        }
    }
    if kinds.contains(&Kind::Cut) && !args.inside {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        arguments.push("--inside".into());
        return network::enter(&arguments);
    }
    if args.inside {
        super::grid::parent::die_with_parent()?;
    }
    groups::end_on_signals()?;
    let place = Place::of(args.dir.as_deref())?;
    let options = Options {
        servers: usize::from(args.servers),
        clients: usize::from(clients),
        lasts: Duration::from_secs(args.seconds),
        seed: args.seed,
        kinds,
        rate: args.rate.unwrap_or(rate),
        folder: place.path().to_owned(),
        base_port: args.base_port,
    };
    let bar = ProgressBar::new(args.seconds);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} s {msg}").context("a progress bar")?);
    let progress = |at: Duration, what: &str| {
        bar.set_position(at.as_secs());
        bar.set_message(what.to_owned());
    };
    let outcome = match args.service {
        Service::Kvs => chaos::run(&options, &progress).map(Outcome::Kvs),
        Service::Chat => chat::run(&options, &progress).map(Outcome::Chat),
    };
    bar.finish_and_clear();
    let folder = options.folder.display();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            place.keep();
            return Err(error.context(format!("what was written is in {folder}")));
        }
    };
    if args.json {
        println!("{}", outcome.json(&options));
    } else {
        outcome.lines(&options).iter().for_each(|line| println!("{line}"));
    }
    if outcome.is_well() {
        return Ok(ExitCode::SUCCESS);
    }
    place.keep();
    println!("what was written is in {folder}");
    Ok(ExitCode::from(EXIT_FAILED))
}

/// Where a run writes.
enum Place {
    /// A folder that was asked for.
    Asked(PathBuf),
    /// One of the system's, which goes away unless it is kept.
    Own(Folder),
}

impl Place {
    fn of(asked: Option<&Path>) -> anyhow::Result<Self> {
        let Some(folder) = asked else {
            return Ok(Self::Own(Folder::create_in(&std::env::temp_dir(), "ovid-chaos")?));
        };
        ensure!(
            !grid::is_used(folder),
            "{} is not empty: choose another folder, the servers would go on with what is there",
            folder.display()
        );
        Ok(Self::Asked(folder.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Asked(path) => path,
            Self::Own(folder) => folder.path(),
        }
    }

    fn keep(self) {
        match self {
            Self::Asked(_) => {}
            Self::Own(folder) => folder.keep(),
        }
    }
}
