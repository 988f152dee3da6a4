//! The command line: one file a subcommand. It reads arguments, starts the right room and turns errors into a line on
//! standard error and an exit status. It knows no protocol rule.

mod bench;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::agent::Registry;

/// The exit status of a mistake in the arguments or of a port that cannot be had.
pub const EXIT_USAGE: u8 = 2;

/// A grid of servers for teaching, building and running distributed services.
#[derive(Debug, Parser)]
#[command(name = "ovid", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server of a grid.
    Server(server::ServerArgs),
    /// Measure grids of servers: throughput, latency, start-up, failure detection, idle cost.
    Bench(bench::BenchArgs),
}

/// Runs the command that the process was started with; configurations may name the agents of `registry`.
#[expect(clippy::needless_pass_by_value, reason = "the last thing that a `main` does with it")]
pub fn run(registry: Registry) -> ExitCode {
    let _registry = &registry;
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Bench(args) => bench::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// One line on standard error: the whole chain of what went wrong.
#[expect(clippy::print_stderr, reason = "the one place where an error of the command line is shown")]
fn report(error: &anyhow::Error) {
    eprintln!("ovid: {error:#}");
}

/// Logs go to standard error. `RUST_LOG` decides what is seen; without it, the number of `-v` does.
fn start_log(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
}
