//! `ovid chat`: a chat that people can use.

mod demo;
mod serve;

use std::process::ExitCode;

use clap::Subcommand;

use crate::agent::Registry;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum ChatCommand {
    /// Run one server of a chat, which a file of nodes describes
    Serve(serve::ServeArgs),
    /// Run two clusters of five servers with two users who write to each other, until Ctrl-C
    Demo(demo::DemoArgs),
}

pub(super) fn run(command: &ChatCommand, registry: &Registry) -> anyhow::Result<ExitCode> {
    match command {
        ChatCommand::Serve(args) => serve::run(args, registry),
        ChatCommand::Demo(args) => demo::run(args),
    }
}
