//! `ovid grid up`: all boxes of a configuration that belong to this machine, as processes of this one.
//!
//! One thread decides everything; others bring it news through a bounded channel: signals, what boxes print, and what they answer to
//! `status`. Nothing is restarted: a box that died is told, with how it died.

mod board;
mod news;
mod process;

use std::ffi::OsString;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use self::board::Board;
use self::news::{News, Newsroom};
use self::process::Process;
use super::experiments::Experiments;
use super::file;
use crate::agent::Registry;
use crate::grid::BoxAddress;

/// How long boxes may take to end in order before they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long boxes that have ended may keep somebody waiting for what they printed last.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    file: PathBuf,
    #[command(flatten)]
    experiments: Experiments,
    /// The folder for what has to survive a restart, in place of what the configuration says
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Let each box write what happens to a file in this folder, one event a line, to be drawn later
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// Let boxes log more: -v agents and boxes, -vv each message, -vvv bytes
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub(super) fn run(args: &UpArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let configuration = file::read(&args.file, registry)?;
    let (local, elsewhere): (Vec<_>, Vec<_>) =
        configuration.boxes().into_iter().partition(|on| is_local(*on));
    if local.is_empty() {
        bail!("no box of {} belongs to this machine", args.file.display());
    }
    if let Some(folder) = &args.trace {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let program = std::env::current_exe().context("cannot find the program that this is")?;
    let orders: Vec<Order> = (0..)
        .zip(&local)
        .map(|(number, on)| Order {
            on: *on,
            program: program.clone(),
            arguments: arguments(args, *on, number),
        })
        .collect();
    let mut board = Board::open(&local);
    for on in elsewhere {
        let command = format!("ovid grid run {} {on}", args.file.display());
        board.say(&format!("{on} is not of this machine; start it there: {command}"));
    }
    let (newsroom, news) = Newsroom::open(&[SIGCHLD, SIGHUP, SIGINT, SIGTERM])?;
    let mut fleet = Fleet::start(&orders, &newsroom, &mut board)?;
    newsroom.watch(&configuration, &local)?;
    fleet.attend(&news, &mut board)
}

/// How one box is to be started.
struct Order {
    on: BoxAddress,
    program: PathBuf,
    arguments: Vec<OsString>,
}

fn arguments(args: &UpArgs, on: BoxAddress, number: u64) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec!["grid".into(), "run".into(), args.file.clone().into(), on.to_string().into()];
    arguments.push("--die-with-parent".into());
    arguments.extend(args.experiments.arguments(number));
    let mut option = |name: &str, value: Option<PathBuf>| {
        if let Some(value) = value {
            arguments.extend([name.into(), value.into()]);
        }
    };
    option("--data", args.data.clone());
    option("--trace", args.trace.as_ref().map(|folder| trace_file(folder, on)));
    arguments.extend((0..args.verbose).map(|_| "-v".into()));
    arguments
}

fn trace_file(folder: &Path, on: BoxAddress) -> PathBuf {
    folder.join(format!("{}.jsonl", on.to_string().replace(':', "-")))
}

/// Whether the address is one of this machine's. The kernel knows: it lets nobody else listen there.
fn is_local(on: BoxAddress) -> bool {
    on.ip().is_loopback() || UdpSocket::bind((on.ip(), 0)).is_ok()
}

/// The processes, and how far their end has come.
struct Fleet {
    processes: Vec<Process>,
    /// How many streams may still bring lines: two a process, for as long as somebody holds their other ends.
    streams: usize,
    stop: Stop,
    /// Whether a box ended that nobody asked to, or one had to be killed.
    marred: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody has asked for it.
    No,
    /// All were asked to end by then.
    Asked(Instant),
    /// All that were left were killed.
    Killed,
}

impl Fleet {
    fn start(orders: &[Order], newsroom: &Newsroom, board: &mut Board) -> anyhow::Result<Self> {
        let mut fleet = Self { processes: Vec::new(), streams: 0, stop: Stop::No, marred: false };
        for order in orders {
            let (process, streams) = Process::start(order.on, &order.program, &order.arguments)?;
            board.started(order.on, process.pid());
            fleet.processes.push(process);
            newsroom.listen(order.on, streams)?;
            fleet.streams += 2;
        }
        Ok(fleet)
    }

    /// Attends to the boxes until all have ended.
    fn attend(&mut self, news: &Receiver<News>, board: &mut Board) -> anyhow::Result<ExitCode> {
        loop {
            match self.next(news) {
                Ok(News::Signal(SIGCHLD)) => self.reap(board)?,
                Ok(News::Signal(_)) if self.stop == Stop::No => {
                    board.say("stopping all boxes");
                    self.stop_all(board);
                }
                Ok(News::Signal(_)) | Err(RecvTimeoutError::Timeout) => self.kill_all(board),
                // Who was told to stop need not answer any more.
                Ok(News::Status { status: Err(_), .. }) if self.stop != Stop::No => {}
                Ok(News::Status { on, status }) => board.status(on, status),
                Ok(news) => self.printed(news, board),
                Err(RecvTimeoutError::Disconnected) => bail!("the threads that bring news have ended"),
            }
            if self.processes.iter().all(|process| !process.runs()) {
                // Why the last one died is often the last thing that it said.
                while self.streams > 0
                    && let Ok(news) = news.recv_timeout(LAST_WORDS_LIMIT)
                {
                    self.printed(news, board);
                }
                return Ok(if self.marred { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
        }
    }

    /// Shows what boxes print; other news is none here.
    fn printed(&mut self, news: News, board: &mut Board) {
        match news {
            News::Output { on, line } => board.output(on, &line),
            News::Skipped { on, lines } => {
                board.output(on, &format!("({lines} lines were too many to show)"));
            }
            News::Hushed => self.streams -= 1,
            News::Signal(_) | News::Status { .. } => {}
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the command line is the clock of the boxes that it stops")]
    fn next(&self, news: &Receiver<News>) -> Result<News, RecvTimeoutError> {
        match self.stop {
            Stop::Asked(limit) => news.recv_timeout(limit.saturating_duration_since(Instant::now())),
            Stop::No | Stop::Killed => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Takes note of all processes that have ended.
    fn reap(&mut self, board: &mut Board) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.reap()? {
                let asked = self.stop != Stop::No;
                self.marred |= !asked || !status.success();
                board.ended(process.on(), status, asked);
            }
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the command line is the clock of the boxes that it stops")]
    fn stop_all(&mut self, board: &mut Board) {
        for process in self.processes.iter().filter(|process| process.runs()) {
            if let Err(error) = process.ask_to_end() {
                board.say(&format!("{} cannot be asked to end: {error}", process.on()));
            }
        }
        self.stop = Stop::Asked(Instant::now() + STOP_LIMIT);
    }

    fn kill_all(&mut self, board: &mut Board) {
        for process in self.processes.iter().filter(|process| process.runs()) {
            board.say(&format!("{} does not end; it is killed", process.on()));
            if let Err(error) = process.kill() {
                board.say(&format!("{} cannot be killed: {error}", process.on()));
            }
        }
        self.marred = true;
        self.stop = Stop::Killed;
    }
}

#[cfg(test)]
mod tests;
