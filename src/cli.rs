//! The command line: one file a subcommand. It reads arguments, starts the right room and turns errors into a line on
//! standard error and an exit status. It knows no protocol rule.

mod bench;
mod cert;
mod chaos;
mod chat;
mod files;
mod grid;
mod log;
mod overlay;
mod server;
mod sim;
mod trace;

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ::log::info;
use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::agent::Registry;
use crate::reactor::{End, Reactor};
use crate::server::Server;
use crate::sim::Scenario;
use crate::trace::{Event, What, Writer};

/// The exit status of a mistake in the arguments or of a port that cannot be had.
pub const EXIT_USAGE: u8 = 2;

/// A grid of servers for teaching, building and running distributed services.
#[derive(Debug, Parser)]
#[command(name = "ovid", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Each defines its arguments only when it is called: a server of the lab would else keep the pages that defined all of them.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run one server of a grid.
    Server(server::ServerArgs),
    /// Run grids of boxes from a configuration: check it, start it, look at it, change it, talk to its agents.
    Grid(grid::GridArgs),
    /// Measure grids of servers: throughput, latency, start-up, failure detection, idle cost.
    Bench(bench::BenchArgs),
    /// Attack a replicated store of real processes, and judge what its clients saw.
    Chaos(chaos::ChaosArgs),
    /// Run a chat: a server of one, or a whole one to look at.
    #[command(subcommand)]
    Chat(chat::ChatCommand),
    /// Look at the logs that servers keep on their disks.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Draw traces of runs: a page for a browser, `ShiViz`'s log, a table.
    #[command(subcommand)]
    Trace(trace::TraceCommand),
    /// Make certificates for encrypted connections: for tests, and for grids of one's own.
    Cert(cert::CertArgs),
    /// Run a service in the simulated world, where every failure can be replayed.
    Sim(sim::SimArgs),
}

/// Runs the command that the process was started with; configurations may name the agents of `registry`.
pub fn run(registry: Registry) -> ExitCode {
    run_with(registry, Vec::new())
}

/// As [`run`]; and besides those that ovid brings along, `sim` knows `scenarios`.
#[expect(clippy::needless_pass_by_value, reason = "the last thing that a `main` does with it")]
pub fn run_with(registry: Registry, scenarios: Vec<Box<dyn Scenario>>) -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Grid(args) => grid::run(args, &registry),
        Command::Bench(args) => bench::run(args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Chat(command) => chat::run(&command, &registry),
        Command::Log(command) => log::run(&command),
        Command::Trace(command) => trace::run(&command),
        Command::Cert(args) => cert::run(&args),
        Command::Sim(args) => sim::run(&args, scenarios),
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

/// Whether a person can type to this process. A background process that read from its terminal would be stopped by it.
fn in_foreground() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal()
        && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Runs a server to its end.
fn run_server(reactor: &mut Reactor, server: &mut Server) -> anyhow::Result<ExitCode> {
    match reactor.run(server)? {
        End::Signal => info!("server: ended by a signal"),
        End::Stop => info!("server: ended by a command"),
        End::Crash => {
            // As hard as a crash can be: no destructor, no farewell, no exit status of our own.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            bail!("the process outlived its own SIGKILL")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets `reactor` write the trace of `server` into the file `path`, which begins with when the server began to count its time.
fn write_trace(reactor: &mut Reactor, path: &Path, server: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("trace folder {}", folder.display()))?;
    }
    let file = File::create(path).with_context(|| format!("trace {}", path.display()))?;
    let unix_ns = u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX);
    let unix_ns = unix_ns.saturating_sub(reactor.now().as_nanos());
    let mut writer = Writer::new(file, TRACE_BYTES_MAX);
    writer.write(&Event { at_ns: 0, server: server.to_owned(), what: What::Origin { unix_ns } });
    reactor.write_trace(writer);
    Ok(())
}

/// The calendar, by which traces of several processes are laid beside each other and the lives of a server are told apart.
#[expect(clippy::disallowed_methods, reason = "nothing is timed by it")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The most that one server writes into its trace, in bytes.
const TRACE_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::*;

    fn abouts(command: &clap::Command, path: &str, found: &mut BTreeMap<String, String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            found.insert(path.clone(), about);
            abouts(sub, &path, found);
        }
    }

    #[test]
    fn each_command_says_what_it_does_in_the_list_and_in_its_own_help() {
        let mut command = Cli::command();
        let (mut listed, mut built) = (BTreeMap::new(), BTreeMap::new());
        abouts(&command, "ovid", &mut listed);
        command.build();
        abouts(&command, "ovid", &mut built);
        for (path, about) in &listed {
            assert_eq!(built.get(path), Some(about), "{path}");
        }
        for (path, about) in &built {
            assert!(!about.is_empty(), "{path}");
            let same = built.iter().find(|(other, said)| *other != path && *said == about);
            assert_eq!(same, None, "{path} says the same");
        }
    }
}
