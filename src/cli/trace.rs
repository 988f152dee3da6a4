//! `ovid trace`: traces as pages for a browser, as logs for `ShiViz`, as tables.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::trace::{History, Trace, page, shiviz, stats::Stats};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum TraceCommand {
    /// Write one page that shows the run as a space-time diagram; it needs nothing but a browser, not even a network
    Html {
        #[command(flatten)]
        traces: TraceArgs,
        /// Where the page goes; - is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// What the page is called; the names of the traces if nothing else is said
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
    },
    /// Write the log that `ShiViz` reads, with vector clocks
    Shiviz {
        #[command(flatten)]
        traces: TraceArgs,
        /// Where the log goes; - is standard output
        #[arg(short, long, default_value = "-", value_name = "FILE")]
        output: PathBuf,
    },
    /// Count events and messages, what was lost, and what is odd
    Stats {
        #[command(flatten)]
        traces: TraceArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Traces as JSON lines, or folders of *.jsonl; those of several servers are laid beside each other
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
}

pub(super) fn run(command: &TraceCommand) -> anyhow::Result<ExitCode> {
    match command {
        TraceCommand::Html { traces, output, title } => {
            let history = traces.history()?;
            let title = title.clone().unwrap_or_else(|| traces.title());
            write(output, |out| page::write(&history, &title, out))?;
        }
        TraceCommand::Shiviz { traces, output } => {
            let history = traces.history()?;
            write(output, |out| shiviz::write(&history, out))?;
        }
        TraceCommand::Stats { traces } => {
            let stats = Stats::of(&traces.history()?);
            write(Path::new("-"), |out| write!(out, "{stats}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl TraceArgs {
    fn history(&self) -> anyhow::Result<History> {
        let trace = Trace::read(&self.traces)?;
        for remark in &trace.remarks {
            tell(remark);
        }
        Ok(History::of(trace))
    }

    fn title(&self) -> String {
        let names: Vec<_> = self.traces.iter().filter_map(|path| path.file_stem()).collect();
        names.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
    }
}

#[expect(clippy::print_stderr, reason = "what is odd about a trace belongs beside the result, not into it")]
fn tell(remark: &str) {
    eprintln!("ovid: {remark}");
}

/// Lets `fill` write to `path`; a reader of standard output that goes away is no error.
fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        return match fill(&mut out).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("standard output"),
        };
    }
    let place = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(place)?);
    fill(&mut out).and_then(|()| out.flush()).with_context(place)
}
