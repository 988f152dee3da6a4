//! What other threads do for the loop: the disk's, and the one for long work. Each is started when it is needed first.

use std::sync::Arc;

use anyhow::Context;
use mio::Waker;

use super::disk::{Answer, Disk, Request};
use super::worker::Worker;
use super::{Reactor, WAKER};
use crate::agent::{Done, Work};
use crate::server::{LogId, Server, WorkId};

impl Reactor {
    /// What other threads wake the loop with.
    pub(super) fn waker(&mut self) -> anyhow::Result<Arc<Waker>> {
        if self.waker.is_none() {
            self.waker = Some(Arc::new(Waker::new(self.poll.registry(), WAKER).context("no waker")?));
        }
        self.waker.clone().context("no waker")
    }

    /// Asks the disk thread, which is started for the first request.
    pub(super) fn ask_disk(&mut self, log: LogId, request: Request, server: &mut Server) {
        if self.disk.is_none() {
            match self.waker().and_then(|waker| Disk::start(waker).context("no thread for the disk")) {
                Ok(disk) => self.disk = Some(disk),
                Err(error) => return server.log_failed(log, &format!("{error:#}"), self.now()),
            }
        }
        if let Some(disk) = &mut self.disk {
            disk.ask(request);
        }
    }

    /// Hands on what the disk thread has done.
    pub(super) fn attend_disk(&mut self, server: &mut Server) {
        while let Some(answer) = self.disk.as_mut().and_then(Disk::next_answer) {
            let now = self.now();
            match answer {
                Answer::Opened { log, recovered } => server.store_recovered(log, &recovered, now),
                Answer::Stored { log, upto } => server.store_stored(log, upto, now),
                Answer::Found { log, found } => server.store_found(log, found, now),
                Answer::Failed { log, why } => server.log_failed(log, &why, now),
            }
            self.settle(server);
        }
    }

    /// Has a piece of work done by the thread for that, which is started for the first one.
    pub(super) fn ask_worker(&mut self, id: WorkId, work: Work, server: &mut Server) {
        if self.worker.is_none() {
            match self.waker().and_then(|waker| Worker::start(waker).context("no thread for long work")) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => return server.computed(id, Done::Failed(format!("{error:#}")), self.now()),
            }
        }
        if let Some(done) = self.worker.as_mut().and_then(|worker| worker.ask(id, work)) {
            server.computed(id, done, self.now());
        }
    }

    /// Hands on what that thread has done.
    pub(super) fn attend_worker(&mut self, server: &mut Server) {
        while let Some((id, done)) = self.worker.as_mut().and_then(Worker::next_result) {
            server.computed(id, done, self.now());
            self.settle(server);
        }
    }
}
