//! Simulated disks: a log for each agent that has one, in the bytes that real logs have.
//!
//! What an agent proposes is written at once and synced a while later, whatever was written until the syncing began in one go; then it comes back
//! as committed. A crash leaves what was synced, and of the rest nothing, or, with [`Settings::torn`](super::Settings::torn), the
//! bytes up to some place.

use std::collections::VecDeque;

use super::store::Store;
use super::{Agent, Event, World, mark};
use crate::agent::{Index, Input, Peer, Refusal};
use crate::rng::Rng;
use crate::store::{RECORD_BYTES_MAX, encode, scan};

/// The disk of one agent.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Whether the agent has a log at all.
    has_log: bool,
    bytes: Vec<u8>,
    /// How many of the bytes survive a crash.
    synced_bytes: usize,
    /// How many will once the syncing that is going on is done.
    syncing_bytes: Option<usize>,
    /// The last index in the log.
    last: Index,
    /// What was written and has not come back, with the place where it ends.
    written: VecDeque<Written>,
    /// What was proposed to no purpose.
    refused: VecDeque<(Vec<u8>, Refusal)>,
    /// Questions whether the log is up to date that have not come back.
    barriers: VecDeque<u64>,
    /// The disk of an agent that is a log itself.
    pub(super) store: Option<Box<Store>>,
}

#[derive(Debug)]
struct Written {
    index: Index,
    record: Vec<u8>,
    end: usize,
}

impl Disk {
    fn write(&mut self, record: Vec<u8>) {
        self.last = Index(self.last.0 + 1);
        encode(self.last, &record, &mut self.bytes);
        self.written.push_back(Written { index: self.last, record, end: self.bytes.len() });
    }

    /// Takes what has come to be synced, in order.
    fn take_synced(&mut self) -> Vec<Written> {
        self.synced_bytes = self.syncing_bytes.take().unwrap_or(self.synced_bytes);
        let done = self.written.partition_point(|written| written.end <= self.synced_bytes);
        self.written.drain(..done).collect()
    }

    /// Loses what a crash loses: everything behind some place.
    fn crash(&mut self, torn: bool, forgets: bool, rng: &mut Rng) {
        let sure = if forgets { 0 } else { self.synced_bytes };
        let kept = if torn || forgets { sure + rng.index(self.bytes.len() - sure + 1) } else { sure };
        self.bytes.truncate(kept);
        self.written.clear();
        self.refused.clear();
        self.barriers.clear();
        self.syncing_bytes = None;
        self.crash_store(torn, forgets, rng);
    }

    /// Reads what is left, as a server does that starts.
    fn reopen(&mut self) -> Vec<(Index, Vec<u8>)> {
        let scan = scan(&self.bytes);
        self.bytes.truncate(scan.kept_bytes);
        self.synced_bytes = self.bytes.len();
        self.last = Index(scan.next.0 - 1);
        scan.records
    }
}

impl<A: Agent> World<A> {
    /// Gives an agent a log on a disk of its own, empty at first.
    pub fn give_log(&mut self, peer: Peer) {
        self.disk_mut(peer).has_log = true;
    }

    /// The bytes of an agent's log, synced or not.
    pub fn log(&self, peer: Peer) -> &[u8] {
        self.node(peer).disk.as_ref().map_or(&[], |disk| &disk.bytes)
    }

    /// The records in an agent's log, synced or not. They are read anew each time, so this is for checkers of short logs.
    pub fn records(&self, peer: Peer) -> Vec<(Index, Vec<u8>)> {
        scan(self.log(peer)).records
    }

    /// The bytes of the log of an agent that has crashed, to be damaged.
    ///
    /// # Panics
    /// If the agent runs: a disk changes only under somebody who does not look.
    pub fn log_mut(&mut self, peer: Peer) -> &mut Vec<u8> {
        assert!(!self.is_alive(peer), "agent {peer} runs, so its log cannot be damaged unseen");
        &mut self.disk_mut(peer).bytes
    }

    pub(super) fn disk_mut(&mut self, peer: Peer) -> &mut Disk {
        self.node_mut(peer).disk.get_or_insert_default()
    }

    pub(super) fn propose(&mut self, peer: Peer, record: Vec<u8>) {
        self.digest(mark::PROPOSE, peer, 0);
        self.digest.bytes(&record);
        let incarnation = self.node(peer).incarnation;
        let disk = self.disk_mut(peer);
        let refusal = if !disk.has_log {
            Refusal::NoLog
        } else if record.len() > RECORD_BYTES_MAX {
            Refusal::TooLong { bytes: record.len(), bytes_max: RECORD_BYTES_MAX }
        } else {
            disk.write(record);
            return self.sync(peer);
        };
        disk.refused.push_back((record, refusal));
        self.push(self.now, Event::Refused { peer, incarnation });
    }

    /// Begins to sync what was written, unless that is going on.
    fn sync(&mut self, peer: Peer) {
        let after = self.settings.syncing.draw(&mut self.disks);
        let now = self.now;
        let node = &mut self.nodes[peer.index()];
        let Some(disk) = &mut node.disk else { return };
        if disk.syncing_bytes.is_none() && !disk.written.is_empty() {
            disk.syncing_bytes = Some(disk.bytes.len());
            let incarnation = node.incarnation;
            self.push(now + after, Event::Synced { peer, incarnation });
        }
    }

    pub(super) fn synced(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Synced { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        for Written { index, record, .. } in self.disk_mut(peer).take_synced() {
            self.happened.committed.push((peer, index));
            self.commit(peer, index, &record);
        }
        self.sync(peer);
    }

    pub(super) fn refused(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Refused { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        if let Some((record, why)) = self.disk_mut(peer).refused.pop_front() {
            self.hand(peer, Input::NotCommitted { record: &record, why: &why });
        }
    }

    /// Answers at once, behind everything that is committed: nobody else writes into this log.
    pub(super) fn barrier(&mut self, peer: Peer, token: u64) {
        let incarnation = self.node(peer).incarnation;
        let disk = self.disk_mut(peer);
        if disk.has_log {
            disk.barriers.push_back(token);
            self.push(self.now, Event::Barrier { peer, incarnation });
        }
    }

    pub(super) fn barrier_due(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Barrier { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        if let Some(token) = self.disk_mut(peer).barriers.pop_front() {
            self.hand(peer, Input::Barrier { token });
        }
    }

    fn commit(&mut self, peer: Peer, index: Index, record: &[u8]) {
        self.digest(mark::COMMIT, peer, index.0);
        self.hand(peer, Input::Committed { index, record });
    }

    pub(super) fn crash_disk(&mut self, peer: Peer) {
        let (torn, forgets) = (self.settings.torn, self.settings.forgetful_disks);
        if let Some(disk) = &mut self.nodes[peer.index()].disk {
            disk.crash(torn, forgets, &mut self.disks);
        }
    }

    /// Hands an agent that is about to start what its log holds.
    pub(super) fn replay_disk(&mut self, peer: Peer) {
        let Some(disk) = &mut self.nodes[peer.index()].disk else { return };
        for (index, record) in disk.reopen() {
            self.commit(peer, index, &record);
        }
    }
}
