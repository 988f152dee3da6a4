//! The disk thread: writes the logs of agents, everything that waits with one write and one sync a log. It is asked through a bounded channel
//! that the loop never waits for, and its answers always have room in the end, since the loop never waits while it takes them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Select, Sender, TrySendError, bounded};
use log::{info, warn};
use mio::Waker;

use crate::agent::Index;
use crate::server::LogId;
use crate::store::{FileLog, Scan};

/// How many requests, or answers, may lie between the loop and the thread.
const CHANNEL_ENTRIES: usize = 4096;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Open { log: LogId, path: PathBuf },
    Append { log: LogId, index: Index, record: Bytes },
    Close(LogId),
}

/// What it has done.
#[derive(Debug)]
pub(super) enum Answer {
    Opened { log: LogId, scan: Scan },
    Stored { log: LogId, upto: Index },
    Failed { log: LogId, why: String },
}

/// The loop's ends of the channels.
#[derive(Debug)]
pub(super) struct Disk {
    requests: Option<Sender<Request>>,
    /// Requests for which the channel had no room. What they hold is bounded by whoever makes them.
    backlog: VecDeque<Request>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (requests, request_receiver) = bounded(CHANNEL_ENTRIES);
        let (answer_sender, answers) = bounded(CHANNEL_ENTRIES);
        let thread = thread::Builder::new()
            .name("disk".into())
            .spawn(move || Logs::default().serve(&request_receiver, &answer_sender, &waker))?;
        Ok(Self { requests: Some(requests), backlog: VecDeque::new(), answers, thread: Some(thread) })
    }

    /// Asks for something; it is done after everything that was asked for before.
    pub(super) fn ask(&mut self, request: Request) {
        self.backlog.push_back(request);
        self.send_backlog();
    }

    /// The next answer, if there is one now.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.send_backlog();
        self.answers.try_recv().ok()
    }

    fn send_backlog(&mut self) {
        let Some(requests) = &self.requests else { return };
        while let Some(request) = self.backlog.pop_front() {
            match requests.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request)) => return self.backlog.push_front(request),
                // The thread ends only with the process, or by a defect that has been reported.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

impl Drop for Disk {
    /// What was asked for is written before the process ends in order.
    fn drop(&mut self) {
        // While it is to take a request, the thread may wait for room for an answer that nobody wants any more.
        while let (Some(requests), Some(request)) = (&self.requests, self.backlog.pop_front()) {
            let mut choice = Select::new();
            let sending = choice.send(requests);
            choice.recv(&self.answers);
            let chosen = choice.select();
            if chosen.index() == sending {
                if chosen.send(requests, request).is_err() {
                    break;
                }
            } else {
                self.backlog.push_front(request);
                if chosen.recv(&self.answers).is_err() {
                    break;
                }
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
    open: BTreeMap<LogId, FileLog>,
}

impl Logs {
    fn serve(mut self, requests: &Receiver<Request>, answers: &Sender<Answer>, waker: &Waker) {
        while let Ok(first) = requests.recv() {
            let batch: Vec<Request> = std::iter::once(first).chain(requests.try_iter()).collect();
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

    /// Does what was asked for, in order but for records of different logs; records of one log that follow one another are
    /// written together.
    fn carry_out(&mut self, batch: Vec<Request>) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut waiting: BTreeMap<LogId, (Index, Vec<Bytes>)> = BTreeMap::new();
        for request in batch {
            match request {
                Request::Append { log, index, record } => {
                    let (upto, records) = waiting.entry(log).or_default();
                    *upto = index;
                    records.push(record);
                }
                Request::Open { log, path } => {
                    self.append_all(&mut waiting, &mut answers);
                    answers.push(self.open(log, &path));
                }
                Request::Close(log) => {
                    self.append_all(&mut waiting, &mut answers);
                    self.open.remove(&log);
                }
            }
        }
        self.append_all(&mut waiting, &mut answers);
        answers
    }

    fn append_all(&mut self, waiting: &mut BTreeMap<LogId, (Index, Vec<Bytes>)>, answers: &mut Vec<Answer>) {
        for (log, (upto, records)) in std::mem::take(waiting) {
            let Some(file) = self.open.get_mut(&log) else {
                answers.push(Answer::Failed { log, why: "it is not open".into() });
                continue;
            };
            answers.push(match file.append(&records) {
                Ok(()) => Answer::Stored { log, upto },
                Err(error) => Answer::Failed { log, why: error.to_string() },
            });
        }
    }

    fn open(&mut self, log: LogId, path: &Path) -> Answer {
        match FileLog::open(path) {
            Ok((file, scan)) => {
                let (records, torn_bytes) = (scan.records.len(), scan.torn_bytes);
                info!("disk: opened path={} records={records} torn_bytes={torn_bytes}", path.display());
                for damage in &scan.damaged {
                    warn!("disk: damaged path={} what=\"{damage}\"", path.display());
                }
                self.open.insert(log, file);
                Answer::Opened { log, scan }
            }
            Err(error) => Answer::Failed { log, why: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_written_together_and_is_there_after_opening_again() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("box/a.log");
        let log = LogId(1);
        let mut logs = Logs::default();
        let append = |number: u64| Request::Append { log, index: Index(number), record: vec![1; 3].into() };
        let batch =
            vec![Request::Open { log, path: path.clone() }, append(1), append(2), Request::Close(log)];
        let answers = logs.carry_out(batch);
        assert!(matches!(answers[..], [Answer::Opened { .. }, Answer::Stored { upto: Index(2), .. }]));
        let again = LogId(2);
        let answers = logs.carry_out(vec![Request::Open { log: again, path }]);
        let [Answer::Opened { scan, .. }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(scan.records.len(), 2);
        let answers = logs.carry_out(vec![append(3)]);
        assert!(matches!(answers[..], [Answer::Failed { .. }]), "a log that is closed takes nothing");
    }

    #[test]
    fn the_end_comes_however_many_answers_nobody_has_taken() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let mut disk = Disk::start(waker).expect("a thread");
        for number in 0..20 * CHANNEL_ENTRIES as u64 {
            // A file is no folder, so each of them is answered.
            disk.ask(Request::Open { log: LogId(number), path: "/dev/null/box/a.log".into() });
        }
        for number in 0..2 * CHANNEL_ENTRIES as u64 {
            disk.ask(Request::Close(LogId(number)));
        }
        drop(disk);
    }
}
