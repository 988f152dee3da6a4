//! A process that another one started for its own purposes ends when that one is gone, however it went.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Signal, getpid, kill_process};

/// How long the process may take to end in order.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Ends this process, first politely, when standard input ends. Standard input has to be a pipe whose other end the parent alone
/// holds: the kernel closes it, even if the parent was killed. On Linux a process that was stopped at that moment is woken for
/// it; elsewhere it ends as soon as somebody wakes it.
pub(in crate::cli) fn die_with_parent() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT))
        .context("cannot ask to be woken when the parent is gone")?;
    thread::Builder::new().name("parent".to_owned()).spawn(wait_and_end).context("cannot start a thread")?;
    Ok(())
}

fn wait_and_end() {
    let mut scrap = [0; 64];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut scrap) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What cannot be read tells nothing about the parent any more.
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    log::info!("ending with the process that started this one");
    let _ = kill_process(getpid(), Signal::TERM);
    let _ = crossbeam_channel::after(STOP_LIMIT).recv();
    let _ = kill_process(getpid(), Signal::KILL);
}
