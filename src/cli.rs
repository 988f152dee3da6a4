//! The command line: one file a subcommand. It reads arguments, starts the right room and turns errors into a line on
//! standard error and an exit status. It knows no protocol rule.

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Measure grids of servers: throughput, latency, start-up, failure detection, idle cost.
    Bench(bench::BenchArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
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
