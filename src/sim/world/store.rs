//! Disks of agents that are logs themselves ([`Write`] and [`Read`]).
//!
//! What is written until a syncing begins becomes durable in one go when it is done. A crash leaves what is durable, and of the other writes
//! none, or, with [`Settings::torn`](super::Settings::torn), those up to some place; one that was cut in the middle counts as not begun, since each is there
//! whole or not at all. A disk that has failed takes nothing more for as long as its agent lives.

use std::collections::{BTreeMap, VecDeque};

use super::contents::{Contents, Damage, Reading, begins_reading};
use super::disk::Disk;
use super::{Agent, Event, World, mark};
use crate::agent::{Found, Index, Input, Lsn, Peer, Read, Write};
use crate::rng::{Probability, Rng};
use crate::trace::What;

/// The disk of one agent that is a log itself.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// What a crash leaves for sure.
    durable: Contents,
    /// What all writes come to.
    seen: Contents,
    /// What was written and is not durable.
    pending: VecDeque<(Lsn, Write)>,
    /// The number of the last write.
    last: Lsn,
    /// Up to where everything is durable once the syncing that is going on is done.
    syncing: Option<Lsn>,
    /// What was read and has not come back.
    found: VecDeque<Found>,
    readings: BTreeMap<u64, Reading>,
    failed: bool,
}

impl Store {
    /// Makes the first `count` of the writes that are not durable so.
    fn settle(&mut self, count: usize) {
        for (_, write) in self.pending.drain(..count) {
            self.durable.write(&write).expect("it made sense when it was asked for");
        }
    }

    fn take_synced(&mut self) -> Option<Lsn> {
        let upto = self.syncing.take()?;
        self.settle(self.pending.partition_point(|&(lsn, _)| lsn <= upto));
        Some(upto)
    }

    /// Loses what a crash loses.
    fn crash(&mut self, torn: bool, forgets: bool, rng: &mut Rng) {
        if torn || self.failed {
            self.settle(rng.index(self.pending.len() + 1));
        }
        if forgets && rng.chance(Probability::percent(50)) {
            self.durable = Contents::default();
        }
        let durable = std::mem::take(&mut self.durable);
        *self = Self { seen: durable.clone(), durable, ..Self::default() };
    }

    fn read(&mut self, read: &Read) -> Option<Found> {
        if let Some(token) = begins_reading(read) {
            self.readings.insert(token, self.seen.reading());
        }
        match *read {
            Read::Look(ref look) => Some(self.seen.look(look)),
            Read::Entries { from, upto, bytes_max } => Some(self.seen.read(from, upto, bytes_max)),
            Read::Rows { token, part, bytes_max } => {
                self.readings.get_mut(&token).map(|reading| reading.next(token, part, bytes_max))
            }
            Read::EndRows { token } => {
                self.readings.remove(&token);
                None
            }
        }
    }
}

impl<A: Agent> World<A> {
    /// Gives an agent a disk for a log that it is itself, empty at first. Its first input is [`Input::Recovered`] from now on.
    pub fn give_store(&mut self, peer: Peer) {
        self.disk_mut(peer).store.get_or_insert_default();
    }

    /// What the disk of an agent that is a log itself holds as that agent sees it, durable or not.
    pub fn written(&self, peer: Peer) -> Option<&Contents> {
        self.store(peer).map(|store| &store.seen)
    }

    /// The part of it that a crash leaves for sure.
    pub fn durable(&self, peer: Peer) -> Option<&Contents> {
        self.store(peer).map(|store| &store.durable)
    }

    /// Whether all that an agent which is a log itself has asked to be written is durable.
    pub fn is_synced(&self, peer: Peer) -> bool {
        self.store(peer).is_none_or(|store| store.pending.is_empty())
    }

    /// Whether the disk of an agent that is a log itself has failed in this life.
    pub fn has_failed(&self, peer: Peer) -> bool {
        self.store(peer).is_some_and(|store| store.failed)
    }

    /// Damages the disk of an agent that has crashed; whether there was something to be damaged.
    ///
    /// # Panics
    /// If the agent runs: a disk changes only under somebody who does not look.
    pub fn damage(&mut self, peer: Peer, damage: Damage) -> bool {
        assert!(!self.is_alive(peer), "agent {peer} runs, so its disk cannot be damaged unseen");
        let Some(store) = self.node_mut(peer).disk.as_mut().and_then(|disk| disk.store.as_mut()) else {
            return false;
        };
        let done = store.durable.damage(damage);
        store.seen = store.durable.clone();
        if done {
            self.tell(peer, |_| What::Note { text: format!("its disk is damaged: {damage:?}") });
        }
        done
    }

    /// Damage that fits the disk of an agent: mostly an entry or some, seldom all that is known of the end of the log, or of what is kept beside it.
    pub(in crate::sim) fn some_damage(&self, peer: Peer, rng: &mut Rng) -> Option<Damage> {
        let contents = self.durable(peer)?;
        let (first, last) = (contents.first(), contents.last());
        let kind = rng.below(10);
        let from = Index(rng.between(first.0..=last.0.max(first.0)));
        let length = rng.below(8);
        Some(match kind {
            0..=5 => Damage::Entries { from, upto: from },
            6..=7 => Damage::Entries { from, upto: Index(from.0 + length) },
            // Not below what the rows cover: they are kept elsewhere.
            8 => Damage::Tail {
                from: Index(last.0.saturating_sub(length)).max(Index(contents.applied().index.0 + 1)),
            },
            _ => Damage::State,
        })
    }

    /// Lets the disk of an agent that is a log itself fail, until that agent is made again. It learns of that a while later. Whether it had not failed before.
    pub fn fail_store(&mut self, peer: Peer) -> bool {
        if !self.is_alive(peer) {
            return false;
        }
        let after = self.settings.syncing.draw(&mut self.disks);
        let at = self.now + after;
        let node = self.node_mut(peer);
        let incarnation = node.incarnation;
        let Some(store) = node.disk.as_mut().and_then(|disk| disk.store.as_mut()) else { return false };
        if std::mem::replace(&mut store.failed, true) {
            return false;
        }
        store.syncing = None;
        self.digest(mark::FAIL, peer, 0);
        self.tell(peer, |_| What::Note { text: "its disk fails".to_owned() });
        self.push(at, Event::StoreFailed { peer, incarnation });
        true
    }

    fn store(&self, peer: Peer) -> Option<&Store> {
        self.node(peer).disk.as_ref()?.store.as_deref()
    }

    /// The store of an agent that has asked something of it; without one it breaks a law.
    fn store_mut(&mut self, peer: Peer) -> Option<&mut Store> {
        if self.store(peer).is_none() {
            self.break_law("outputs", format!("agent {peer} is a log itself and was given no disk for it"));
        }
        self.nodes[peer.index()].disk.as_mut().and_then(|disk| disk.store.as_deref_mut())
    }

    pub(super) fn write(&mut self, peer: Peer, write: Write) {
        self.digest(mark::WRITE, peer, 0);
        self.tell(peer, |_| What::Note { text: format!("writes {write:?}") });
        let write = self.as_the_disk_likes(write);
        let Some(store) = self.store_mut(peer) else { return };
        if store.failed {
            return;
        }
        store.last = store.last.next();
        if let Err(why) = store.seen.write(&write) {
            return self.break_law("disk", format!("{write:?} of agent {peer} makes no sense: {why}"));
        }
        store.pending.push_back((store.last, write.clone()));
        self.happened.written.push((peer, write));
        self.sync_store(peer);
    }

    /// A disk may keep entries that may go: it forgets whole files.
    fn as_the_disk_likes(&mut self, write: Write) -> Write {
        match write {
            Write::Compact { upto } if self.disks.chance(Probability::percent(50)) => {
                Write::Compact { upto: Index(upto.0.saturating_sub(self.disks.below(16))) }
            }
            other => other,
        }
    }

    fn sync_store(&mut self, peer: Peer) {
        let node = &mut self.nodes[peer.index()];
        let incarnation = node.incarnation;
        let Some(store) = node.disk.as_mut().and_then(|disk| disk.store.as_mut()) else { return };
        if store.syncing.is_some() || store.pending.is_empty() {
            return;
        }
        store.syncing = Some(store.last);
        let at = self.now + self.settings.syncing.draw(&mut self.disks);
        self.push(at, Event::Stored { peer, incarnation });
    }

    pub(super) fn stored(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Stored { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        let upto = self.store_mut(peer).and_then(Store::take_synced);
        let Some(upto) = upto else { return };
        self.digest(mark::STORED, peer, upto.0);
        self.tell(peer, |_| What::Note { text: format!("write {upto} and those before are durable") });
        self.hand(peer, Input::Stored { upto });
        self.sync_store(peer);
    }

    pub(super) fn store_failed(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::StoreFailed { peer, incarnation };
        if self.node(peer).incarnation == incarnation && !self.hold(peer, event) {
            self.hand(peer, Input::StoreFailed { why: "the disk is broken" });
        }
    }

    pub(super) fn read(&mut self, peer: Peer, read: &Read) {
        let incarnation = self.node(peer).incarnation;
        let Some(store) = self.store_mut(peer) else { return };
        let Some(found) = store.read(read) else { return };
        store.found.push_back(found);
        let at = self.now + self.settings.syncing.draw(&mut self.disks);
        self.push(at, Event::Found { peer, incarnation });
    }

    pub(super) fn found(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::Found { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        // They come back in the order in which they were asked for.
        if let Some(found) = self.store_mut(peer).and_then(|store| store.found.pop_front()) {
            self.digest(mark::FOUND, peer, 0);
            self.hand(peer, Input::Found { found });
        }
    }

    /// Hands an agent that is a log itself what its disk holds.
    pub(super) fn recover_store(&mut self, peer: Peer) {
        let Some(recovered) = self.store(peer).map(|store| store.seen.recovered()) else { return };
        self.digest(mark::RECOVER, peer, recovered.last.0);
        self.tell(peer, |_| What::Note { text: format!("finds on its disk: {recovered:?}") });
        self.hand(peer, Input::Recovered { recovered: &recovered });
    }
}

impl Disk {
    pub(super) fn crash_store(&mut self, torn: bool, forgets: bool, rng: &mut Rng) {
        if let Some(store) = &mut self.store {
            store.crash(torn, forgets, rng);
        }
    }
}
