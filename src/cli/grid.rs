//! `ovid grid`: grids of boxes whose agents and routes stand in a configuration file.
//!
//! Everything but `run` looks at boxes from outside, through the file and through their control ports.

mod attach;
mod check;
mod control;
mod experiments;
mod file;
pub(super) mod parent;
mod picture;
mod reload;
mod run;
mod status;
mod table;
mod up;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

pub(super) use self::file::read_as;
pub(super) use self::run::{RunArgs, by_chance, run_box};
use crate::agent::Registry;

#[derive(Debug, Args)]
pub(super) struct GridArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Find all mistakes of a configuration; if there are none, show the grid that it describes
    Check(check::CheckArgs),
    /// Run one box of a configuration
    Run(RunArgs),
    /// Run all boxes of a configuration that belong to this machine, and show who is up
    Up(up::UpArgs),
    /// Show what the boxes of a configuration say about themselves
    Status(status::StatusArgs),
    /// Bring running boxes to what the changed file says, without a restart
    Reload(reload::ReloadArgs),
    /// Talk to an agent of a running grid
    Attach(attach::AttachArgs),
}

pub(super) fn run(args: GridArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check::run(&args, registry),
        Command::Run(args) => run::run(&args, registry),
        Command::Up(args) => up::run(&args, registry),
        Command::Status(args) => status::run(&args, registry),
        Command::Reload(args) => reload::run(&args, registry),
        Command::Attach(args) => attach::run(&args, registry),
    }
}

/// Prints lines on standard output. That nobody reads them any more, as behind `| head`, is no mistake.
pub(super) fn show(lines: &[String]) -> anyhow::Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the answer")
        }
        _ => Ok(()),
    }
}
