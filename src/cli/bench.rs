//! `ovid bench`: measures grids of servers.

use std::process::ExitCode;

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {}

pub(super) fn run(_args: BenchArgs) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
