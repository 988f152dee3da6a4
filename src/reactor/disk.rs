//! The disk thread: writes the logs of agents, everything that waits with one write and one sync a log. What one turn of the loop asks for goes to it as
//! one batch, through a bounded channel that the loop never waits for; its answers always have room in the end, since the loop never waits while
//! it takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Select, Sender, TrySendError, bounded};
use log::{error, info, warn};
use mio::Waker;

use crate::agent::{Found, Lsn, Read, Recovered, Write};
use crate::server::LogId;
use crate::store::{LogStore, Opened, StoreError};

/// How many batches of requests may lie between the loop and the thread.
const CHANNEL_BATCHES: usize = 64;
/// How many answers may lie there.
const CHANNEL_ANSWERS: usize = 4096;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    /// Open the folder of a log, taking over the file that was one before; answered by `Opened`.
    Open { log: LogId, path: PathBuf, former: Option<PathBuf> },
    /// Write something there. Writes are counted from 1 from each opening on.
    Write { log: LogId, write: Write },
    /// Read something there, after all writes before.
    Read { log: LogId, read: Read },
    /// Close a log; no answer.
    Close(LogId),
}

/// What it has done.
#[derive(Debug)]
pub(super) enum Answer {
    Opened {
        log: LogId,
        recovered: Recovered,
    },
    Stored {
        log: LogId,
        upto: Lsn,
    },
    Found {
        log: LogId,
        found: Found,
    },
    /// It could not be opened, or takes no more.
    Failed {
        log: LogId,
        why: String,
    },
}

/// The loop's ends of the channels.
#[derive(Debug)]
pub(super) struct Disk {
    requests: Option<Sender<Vec<Request>>>,
    /// What was asked for and not handed to the thread. What it holds is bounded by whoever asks.
    backlog: Vec<Request>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (requests, request_receiver) = bounded(CHANNEL_BATCHES);
        let (answer_sender, answers) = bounded(CHANNEL_ANSWERS);
        let thread = thread::Builder::new()
            .name("disk".into())
            .spawn(move || Logs::default().serve(&request_receiver, &answer_sender, &waker))?;
        Ok(Self { requests: Some(requests), backlog: Vec::new(), answers, thread: Some(thread) })
    }

    /// Asks for something; it is done after everything that was asked for before, and not before [`Self::flush`].
    pub(super) fn ask(&mut self, request: Request) {
        self.backlog.push(request);
    }

    /// Hands everything that was asked for to the thread, in one piece: so it is written with one sync. Where there is no room for another
    /// piece it waits for the next call; the thread's next answer leads to one.
    pub(super) fn flush(&mut self) {
        let Some(requests) = self.requests.as_ref().filter(|_| !self.backlog.is_empty()) else { return };
        match requests.try_send(std::mem::take(&mut self.backlog)) {
            Err(TrySendError::Full(batch)) => self.backlog = batch,
            // The thread ends only with the process, or by a defect that has been reported.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// The next answer, if there is one now.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Disk {
    /// What was asked for is written before the process ends in order.
    fn drop(&mut self) {
        // While it is to take the last batch, the thread may wait for room for an answer that nobody wants any more.
        while let (Some(requests), false) = (&self.requests, self.backlog.is_empty()) {
            let mut choice = Select::new();
            let sending = choice.send(requests);
            choice.recv(&self.answers);
            let chosen = choice.select();
            if chosen.index() == sending {
                if chosen.send(requests, std::mem::take(&mut self.backlog)).is_err() {
                    break;
                }
            } else if chosen.recv(&self.answers).is_err() {
                break;
            }
        }
        self.requests = None;
        while self.answers.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's logs.
#[derive(Debug, Default)]
struct Logs {
    open: BTreeMap<LogId, LogStore>,
    /// Those that were written since they were last synced.
    unsynced: BTreeSet<LogId>,
}

impl Logs {
    fn serve(mut self, requests: &Receiver<Vec<Request>>, answers: &Sender<Answer>, waker: &Waker) {
        while let Ok(first) = requests.recv() {
            let batch: Vec<Request> = first.into_iter().chain(requests.try_iter().flatten()).collect();
            for answer in self.carry_out(batch) {
                if let Err(TrySendError::Full(answer)) = answers.try_send(answer) {
                    let _ = waker.wake();
                    if answers.send(answer).is_err() {
                        return;
                    }
                }
            }
            if waker.wake().is_err() {
                return;
            }
        }
    }

    /// Does what was asked for, in order but for different logs; what is written to one log is synced once.
    fn carry_out(&mut self, batch: Vec<Request>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for request in batch {
            match request {
                Request::Write { log, write } => self.write(log, &write, &mut answers),
                Request::Read { log, read } => self.read(log, &read, &mut answers),
                Request::Open { log, path, former } => answers.push(self.open(log, &path, former.as_deref())),
                Request::Close(log) => {
                    self.sync(&mut answers);
                    self.open.remove(&log);
                }
            }
        }
        self.sync(&mut answers);
        answers
    }

    /// Makes everything durable that was written.
    fn sync(&mut self, answers: &mut Vec<Answer>) {
        for log in std::mem::take(&mut self.unsynced) {
            let Some(store) = self.open.get_mut(&log) else { continue };
            match store.sync() {
                Ok(upto) => answers.push(Answer::Stored { log, upto }),
                Err(error) => self.fail(log, &error, answers),
            }
        }
    }

    fn write(&mut self, log: LogId, write: &Write, answers: &mut Vec<Answer>) {
        // One that has failed has been told of, and is gone.
        let Some(store) = self.open.get_mut(&log) else { return };
        match store.write(write) {
            Ok(()) => drop(self.unsynced.insert(log)),
            Err(error) => self.fail(log, &error, answers),
        }
    }

    fn read(&mut self, log: LogId, read: &Read, answers: &mut Vec<Answer>) {
        let Some(store) = self.open.get_mut(&log) else { return };
        match store.read(read) {
            Ok(Some(found)) => answers.push(Answer::Found { log, found }),
            Ok(None) if matches!(read, Read::EndRows { .. }) => {}
            Ok(None) => warn!("disk: a part of rows that does not come next path={}", store.path().display()),
            Err(error) => self.fail(log, &error, answers),
        }
    }

    /// The store takes no more. Its folder stays in use until it is closed, so it is kept.
    fn fail(&mut self, log: LogId, error: &StoreError, answers: &mut Vec<Answer>) {
        self.unsynced.remove(&log);
        if !matches!(error, StoreError::Failed { .. }) {
            error!("disk: failed why=\"{error}\"");
            answers.push(Answer::Failed { log, why: error.to_string() });
        }
    }

    fn open(&mut self, log: LogId, path: &Path, former: Option<&Path>) -> Answer {
        let opened = match former {
            Some(former) => LogStore::open_with_former(path, former),
            None => LogStore::open(path),
        };
        match opened {
            Ok(Opened { store, recovered, torn_bytes, faults }) => {
                let (first, last) = (recovered.first, recovered.last);
                info!(
                    "disk: opened path={} first={first} last={last} torn_bytes={torn_bytes}",
                    path.display()
                );
                for fault in &faults {
                    warn!("disk: damaged path={} what=\"{fault}\"", path.display());
                }
                self.open.insert(log, store);
                Answer::Opened { log, recovered }
            }
            Err(error) => Answer::Failed { log, why: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Entry, Index, Term};

    #[test]
    fn a_store_answers_writes_with_one_sync_and_reads_what_was_written_before() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (log, path) = (LogId(1), folder.path().join("box/a.store"));
        let append = |number: u64| {
            let entry = Entry { index: Index(number), term: Term(1), record: vec![1; 3].into() };
            Request::Write { log, write: Write::Append { entry } }
        };
        let read =
            Request::Read { log, read: Read::Entries { from: Index(1), upto: Index(9), bytes_max: 1000 } };
        let mut logs = Logs::default();
        let answers = logs.carry_out(vec![
            Request::Open { log, path: path.clone(), former: None },
            append(1),
            read,
            append(2),
        ]);
        let [Answer::Opened { recovered, .. }, Answer::Found { found, .. }, Answer::Stored { upto, .. }] =
            &answers[..]
        else {
            panic!("{answers:?}")
        };
        assert_eq!((recovered.last, *upto), (Index(0), Lsn(2)));
        assert!(matches!(found, Found::Entries { entries, .. } if entries.len() == 1));
        // One that makes no sense is the last that is answered.
        let answers = logs.carry_out(vec![append(7), append(3)]);
        assert!(
            matches!(&answers[..], [Answer::Failed { why, .. }] if why.contains("entry 7")),
            "{answers:?}"
        );
        let busy = logs.carry_out(vec![Request::Open { log: LogId(2), path: path.clone(), former: None }]);
        assert!(matches!(&busy[..], [Answer::Failed { why, .. }] if why.contains("in use")), "{busy:?}");
        let again =
            logs.carry_out(vec![Request::Close(log), Request::Open { log: LogId(3), path, former: None }]);
        let [Answer::Opened { recovered, .. }] = &again[..] else { panic!("{again:?}") };
        assert_eq!((recovered.first, recovered.last), (Index(1), Index(2)));
    }

    #[test]
    fn the_end_comes_however_many_answers_nobody_has_taken() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let mut disk = Disk::start(waker).expect("a thread");
        for number in 0..20 * CHANNEL_ANSWERS as u64 {
            // A file is no folder, so each of them is answered.
            disk.ask(Request::Open {
                log: LogId(number),
                path: "/dev/null/box/a.store".into(),
                former: None,
            });
            disk.flush();
        }
        for number in 0..2 * CHANNEL_ANSWERS as u64 {
            disk.ask(Request::Close(LogId(number)));
        }
        drop(disk);
    }
}
