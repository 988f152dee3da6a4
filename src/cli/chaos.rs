//! `ovid chaos`: attacks a replicated store of real processes and judges what its clients saw.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::bench::groups::{self, Folder};
use crate::chaos::strikes::Kind;
use crate::chaos::{self, Options, Report, grid, network};

/// The exit status of a run that found something wrong.
const EXIT_FAILED: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct ChaosArgs {
    /// How many servers the store has; a single one keeps its log for itself
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    servers: u8,
    /// How many clients use it
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    clients: u8,
    /// For how long servers are attacked
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What is drawn from: which servers are struck and when, and what clients ask
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is done to servers: killed (SIGKILL, all at once now and then), frozen (SIGSTOP), cut off (needs network namespaces)
    #[arg(long, value_delimiter = ',', default_value = "kill,freeze", value_name = "LIST")]
    faults: Vec<Kind>,
    /// How many operations each client begins in a second, at the most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// The link port of the first server; the others follow, and control ports lie 10,000 above
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

#[expect(clippy::print_stdout, reason = "where to look is part of the outcome")]
pub(super) fn run(args: &ChaosArgs) -> anyhow::Result<ExitCode> {
    let mut kinds = args.faults.clone();
    kinds.sort_unstable();
    kinds.dedup();
    ensure!(!kinds.is_empty(), "--faults is empty: expected kill, freeze, cut or several of them");
    grid::check_ports(usize::from(args.servers), args.base_port)?;
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
        clients: usize::from(args.clients),
        lasts: Duration::from_secs(args.seconds),
        seed: args.seed,
        kinds,
        rate: args.rate,
        folder: place.path().to_owned(),
        base_port: args.base_port,
    };
    let bar = ProgressBar::new(args.seconds);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} s {msg}").context("a progress bar")?);
    let outcome = chaos::run(&options, |at, what| {
        bar.set_position(at.as_secs());
        bar.set_message(what.to_owned());
    });
    bar.finish_and_clear();
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            place.keep();
            let folder = options.folder.display();
            return Err(error.context(format!("what was written is in {folder}")));
        }
    };
    print(args, &report);
    if report.judgement.is_well() {
        return Ok(ExitCode::SUCCESS);
    }
    place.keep();
    println!("what was written is in {}", options.folder.display());
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

#[expect(clippy::print_stdout, reason = "the outcome is what this command is for")]
fn print(args: &ChaosArgs, report: &Report) {
    let judgement = &report.judgement;
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    let [median, p99, longest] = judgement.latency.map(ms);
    if args.json {
        let strikes: serde_json::Map<String, serde_json::Value> =
            report.strikes.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        let line = json!({
            "servers": args.servers, "clients": args.clients, "seconds": args.seconds, "seed": args.seed,
            "strikes": strikes, "operations": judgement.operations, "unknown": judgement.unknown, "keys": judgement.keys,
            "latency_ms": {"p50": median, "p99": p99, "longest": longest},
            "longest_silence_ms": ms(judgement.longest_silence),
            "violations": judgement.violations, "undecided": judgement.undecided,
        });
        println!("{line}");
        return;
    }
    let strikes: Vec<String> =
        report.strikes.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    println!(
        "{} servers, {} clients, seed {}: {}",
        args.servers,
        args.clients,
        args.seed,
        strikes.join(", ")
    );
    println!(
        "{} operations on {} keys in {:.0} s, {} of them with an unknown outcome",
        judgement.operations,
        judgement.keys,
        report.took.as_secs_f64(),
        judgement.unknown
    );
    println!("answered after {median} ms (median), {p99} ms (99 of 100), {longest} ms (longest)");
    println!("the longest time without an answer to anybody: {} ms", ms(judgement.longest_silence));
    for key in &judgement.undecided {
        println!("undecided: the history of {key} took too many trials");
    }
    for violation in &judgement.violations {
        println!("WRONG: {violation}");
    }
    if judgement.is_well() {
        println!("linearizable, and nothing that was acknowledged was lost");
    }
}
