//! What happens around the boxes, brought to the one thread that decides.

use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use signal_hook::iterator::Signals;

use super::process::Streams;
use crate::cli::grid::control::{Control, ControlError, Status};
use crate::config::Configuration;
use crate::grid::BoxAddress;

/// How much news may wait.
const NEWS_MAX: usize = 1024;
/// The longest line of a box that is shown as a whole, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// How often a box is asked how it is, once it is up; before that more often, since somebody waits.
const ASK_PAUSE: Duration = Duration::from_millis(500);
const ASK_PAUSE_FIRST: Duration = Duration::from_millis(50);

pub(super) enum News {
    /// A signal to this process.
    Signal(i32),
    /// A box printed a line.
    Output { on: BoxAddress, line: String },
    /// A box printed more lines than could be shown.
    Skipped { on: BoxAddress, lines: u64 },
    /// A box prints nothing more on one of its two streams.
    Hushed,
    /// A box was asked how it is.
    Status { on: BoxAddress, status: Result<Status, ControlError> },
}

/// Where the threads that bring news come from.
pub(super) struct Newsroom {
    sender: Sender<News>,
    /// Those who ask boxes stop when this is gone.
    closed: Receiver<()>,
    _open: Sender<()>,
}

impl Newsroom {
    /// Begins to take `signals`, which then do nothing else to this process.
    pub(super) fn open(signals: &[i32]) -> anyhow::Result<(Self, Receiver<News>)> {
        let (sender, receiver) = bounded(NEWS_MAX);
        let (open, closed) = bounded(0);
        let mut signals = Signals::new(signals).context("cannot take signals")?;
        let told = sender.clone();
        spawn("signals", move || {
            for signal in signals.forever() {
                if told.send(News::Signal(signal)).is_err() {
                    break;
                }
            }
        })?;
        Ok((Self { sender, closed, _open: open }, receiver))
    }

    /// A signal that nobody sent.
    #[cfg(test)]
    pub(super) fn pretend(&self, signal: i32) {
        self.sender.send(News::Signal(signal)).expect("somebody who takes it");
    }

    /// Brings what the box prints.
    pub(super) fn listen(&self, on: BoxAddress, streams: Streams) -> anyhow::Result<()> {
        if let Some(stdout) = streams.stdout {
            let sender = self.sender.clone();
            spawn("output", move || read_lines(on, stdout, &sender))?;
        }
        if let Some(stderr) = streams.stderr {
            let sender = self.sender.clone();
            spawn("output", move || read_lines(on, stderr, &sender))?;
        }
        Ok(())
    }

    /// Asks these boxes again and again how they are.
    pub(super) fn watch(&self, configuration: &Configuration, boxes: &[BoxAddress]) -> anyhow::Result<()> {
        for on in boxes.iter().copied() {
            let (sender, closed, configuration) =
                (self.sender.clone(), self.closed.clone(), configuration.clone());
            spawn("status", move || ask(&configuration, on, &sender, &closed))?;
        }
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(())
}

/// Reads lines as fast as they come. What cannot be shown in time is counted instead, since a box that waits for its own log would do
/// nothing else.
fn read_lines(on: BoxAddress, stream: impl Read, sender: &Sender<News>) {
    let mut stream = BufReader::new(stream);
    let mut skipped = 0;
    loop {
        let mut line = Vec::new();
        match (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if skipped > 0 && sender.try_send(News::Skipped { on, lines: skipped }).is_ok() {
            skipped = 0;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match sender.try_send(News::Output { on, line }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => skipped += 1,
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    if skipped > 0 {
        let _ = sender.send(News::Skipped { on, lines: skipped });
    }
    let _ = sender.send(News::Hushed);
}

/// Asks one box, over one connection for as long as that holds.
fn ask(configuration: &Configuration, on: BoxAddress, sender: &Sender<News>, closed: &Receiver<()>) {
    let mut control = None;
    let mut was_up = false;
    loop {
        let asked = match control.take() {
            Some(control) => Ok(control),
            None => Control::connect(configuration, on),
        };
        let status = asked.and_then(|mut asked| {
            let status = asked.status()?;
            control = Some(asked);
            Ok(status)
        });
        let hopeless = matches!(status, Err(ControlError::NoPort));
        was_up |= status.is_ok();
        if let Err(TrySendError::Disconnected(_)) = sender.try_send(News::Status { on, status }) {
            return;
        }
        let pause = if was_up { ASK_PAUSE } else { ASK_PAUSE_FIRST };
        if hopeless || closed.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
