//! `ovid grid run`: one box of a configuration, in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::experiments::Experiments;
use crate::agent::Registry;
use crate::grid::BoxAddress;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    pub(super) file: PathBuf,
    /// Which of its boxes to run
    #[arg(value_name = "BOX")]
    pub(super) on: BoxAddress,
    #[command(flatten)]
    pub(super) experiments: Experiments,
    /// The folder for what has to survive a restart
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
    /// Where to await those who control the box, in place of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub(super) control: Option<SocketAddr>,
    /// Write what happens to this file, one event a line, to be drawn later
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Log more on standard error: -v agents and boxes, -vv each message, -vvv bytes; `RUST_LOG` goes before it
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// End when standard input, a pipe from the process that started this one, comes to its end
    #[arg(long, hide = true)]
    pub(super) die_with_parent: bool,
}

pub(super) fn run(args: &RunArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    crate::cli::start_log(args.verbose);
    let mut settings = super::file::read(&args.file, registry)?.settings_of(args.on);
    args.experiments.apply(&mut settings);
    if args.die_with_parent {
        super::parent::die_with_parent()?;
    }
    bail!("not built yet")
}
