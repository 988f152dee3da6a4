//! A person at a terminal: lines can be edited while others come in, and are remembered from one session to the next.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, bail};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};

use crate::agents::tty::printable;
use crate::config::AgentId;

/// How many lines are remembered.
const HISTORY_LINES_MAX: usize = 1000;

/// A terminal on which lines can be edited.
pub(super) struct Terminal {
    editor: Editor<(), DefaultHistory>,
    printer: Box<dyn ExternalPrinter + Send>,
    history: Option<PathBuf>,
}

impl Terminal {
    /// `None` if this terminal cannot do that: it is then as good as a pipe.
    pub(super) fn open() -> Option<Self> {
        let config =
            Config::builder().max_history_size(HISTORY_LINES_MAX).ok()?.auto_add_history(true).build();
        let mut editor: Editor<(), DefaultHistory> = Editor::with_config(config).ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        let history = history_file();
        if let Some(history) = &history {
            // There is none the first time.
            let _ = editor.load_history(history);
        }
        Some(Self { editor, printer, history })
    }

    /// Lets the person talk to `agent` until Ctrl-D or Ctrl-C, or until the box closes the connection.
    pub(super) fn talk(mut self, stream: BufReader<TcpStream>, agent: &AgentId) -> anyhow::Result<ExitCode> {
        let mut outwards = stream.get_ref().try_clone().context("cannot use the connection")?;
        let closed = Arc::new(AtomicBool::new(false));
        let (told, printer) = (Arc::clone(&closed), self.printer);
        thread::Builder::new()
            .name("answers".to_owned())
            .spawn(move || show_lines(stream, printer, &told))?;
        let prompt = format!("{agent}> ");
        loop {
            let line = match self.editor.readline(&prompt) {
                Ok(line) => line,
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(ExitCode::SUCCESS),
                Err(error) => return Err(error).context("cannot read from the terminal"),
            };
            if let Some(history) = &self.history {
                // Not to remember is no reason to stop talking.
                let _ = self.editor.append_history(history);
            }
            let sent = outwards.write_all(format!("{line}\n").as_bytes());
            if closed.load(Ordering::Relaxed) || sent.is_err() {
                bail!("the box has closed the connection");
            }
        }
    }
}

fn show_lines(
    mut stream: BufReader<TcpStream>,
    mut printer: Box<dyn ExternalPrinter + Send>,
    closed: &AtomicBool,
) {
    loop {
        let mut line = Vec::new();
        match stream.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if printer.print(format!("{}\n", printable(text.trim_end_matches('\n')))).is_err() {
                    break;
                }
            }
        }
    }
    closed.store(true, Ordering::Relaxed);
    let _ = printer.print("the box has closed the connection; Enter leaves\n".to_owned());
}

/// Where lines are remembered: among the state of this person's programs.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("ovid");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("attach-history"))
}
