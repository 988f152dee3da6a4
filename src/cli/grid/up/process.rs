//! A box as a process of this one.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::grid::BoxAddress;

/// What a process prints.
pub(super) struct Streams {
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// A process in a group of its own, so that Ctrl-C reaches it only by way of this one. Its standard input is a pipe that it reads to
/// learn of this one's end. Dropping it kills it, with all that it may have started.
#[derive(Debug)]
pub(super) struct Process {
    on: BoxAddress,
    child: Child,
    runs: bool,
}

impl Process {
    pub(super) fn start(
        on: BoxAddress,
        program: &Path,
        arguments: &[OsString],
    ) -> anyhow::Result<(Self, Streams)> {
        let mut child = Command::new(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the box {on} with {}", program.display()))?;
        let streams = Streams { stdout: child.stdout.take(), stderr: child.stderr.take() };
        Ok((Self { on, child, runs: true }, streams))
    }

    pub(super) fn on(&self) -> BoxAddress {
        self.on
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether nobody has seen its end yet; only then is its number surely its own.
    pub(super) fn runs(&self) -> bool {
        self.runs
    }

    /// How it ended, once, if it has.
    pub(super) fn reap(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if !self.runs {
            return Ok(None);
        }
        let ended = self.child.try_wait().with_context(|| format!("cannot wait for the box {}", self.on))?;
        self.runs = ended.is_none();
        Ok(ended)
    }

    pub(super) fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        // One that somebody has stopped would not hear it.
        self.signal(Signal::CONT)
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(kill_process_group(pid, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.runs {
            let _ = self.kill();
            let _ = self.child.wait();
        }
    }
}
