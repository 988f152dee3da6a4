//! The thread for long work: does one piece after the other, so that the loop goes on meanwhile. Few pieces wait for it; who asks for more is told that it is busy.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;

use crate::agent::{Done, Work};
use crate::compute::compute;
use crate::server::WorkId;

/// How many pieces may wait: at some hundredths of a second each, whoever comes last has to wait for a few seconds.
const PIECES_MAX: usize = 64;

/// The loop's ends of the channels. The thread ends with them, after the piece that it has begun.
#[derive(Debug)]
pub(super) struct Worker {
    pieces: Sender<(WorkId, Work)>,
    results: Receiver<(WorkId, Done)>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (pieces, waiting) = bounded(PIECES_MAX);
        let (done, results) = bounded(PIECES_MAX);
        thread::Builder::new().name("worker".into()).spawn(move || serve(&waiting, &done, &waker))?;
        Ok(Self { pieces, results })
    }

    /// Has a piece of work done; what it comes to at once, if it cannot be.
    pub(super) fn ask(&mut self, id: WorkId, work: Work) -> Option<Done> {
        match self.pieces.try_send((id, work)) {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => Some(Done::Failed("busy".into())),
            Err(TrySendError::Disconnected(_)) => Some(Done::Failed("the thread for it has ended".into())),
        }
    }

    /// The next result, if there is one now.
    pub(super) fn next_result(&mut self) -> Option<(WorkId, Done)> {
        self.results.try_recv().ok()
    }
}

fn serve(pieces: &Receiver<(WorkId, Work)>, done: &Sender<(WorkId, Done)>, waker: &Waker) {
    while let Ok((id, work)) = pieces.recv() {
        let result = compute(&work);
        // There is room in the end: the loop never waits while it takes results.
        if done.send((id, result)).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::agent::{PasswordCost, Secret};

    #[test]
    fn every_piece_that_was_taken_comes_back_and_the_rest_are_refused_at_once() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let mut worker = Worker::start(waker).expect("a thread");
        let work = Work::HashPassword {
            password: Secret(Bytes::from_static(b"secret")),
            salt: [1; 16],
            cost: PasswordCost { memory_kib: 1024, passes: 1 },
        };
        // Results are taken by nobody meanwhile, so this ends however fast the thread is.
        let mut refused = 0;
        let mut asked = 0;
        while refused == 0 {
            asked += 1;
            if let Some(done) = worker.ask(WorkId(asked), work.clone()) {
                assert_eq!(done, Done::Failed("busy".into()));
                refused += 1;
            }
        }
        assert!(asked > PIECES_MAX as u64);
        let Worker { pieces, results } = worker;
        drop(pieces);
        let done: Vec<u64> = results.iter().map(|(id, _)| id.0).collect();
        assert_eq!(done, (1..asked).collect::<Vec<_>>());
    }
}
