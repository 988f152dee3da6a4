//! The active view.

use smallvec::SmallVec;

use crate::agent::Epoch;
use crate::time::Time;

/// The neighbours, in no particular order. Their names stand apart from what is noted of each: to look for a name is most of what is done with them.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Active<I> {
    /// Of so few as the paper has, the names stand in the node itself.
    peers: SmallVec<[I; 5]>,
    notes: Vec<Notes>,
}

/// What is noted of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notes {
    pub(super) epoch: Epoch,
    /// When something was sent there last. Kept only where there is a keep-alive.
    pub(super) sent: Time,
    /// When something came from there last. Kept only where there is a keep-alive.
    pub(super) heard: Time,
    /// How long the round trip is, where that is measured; otherwise zero.
    pub(super) rtt_us: u32,
    /// Whether it has sent a `KEEPALIVE`.
    pub(super) gives_signs: bool,
    /// Whether it knows the present name of the island.
    pub(super) told: bool,
}

impl<I: Copy + PartialEq> Active<I> {
    pub(super) fn new() -> Self {
        Self { peers: SmallVec::new(), notes: Vec::new() }
    }

    pub(super) fn peers(&self) -> &[I] {
        &self.peers
    }

    pub(super) fn notes(&self) -> &[Notes] {
        &self.notes
    }

    pub(super) fn notes_mut(&mut self) -> &mut [Notes] {
        &mut self.notes
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    #[inline]
    pub(super) fn find(&self, peer: I) -> Option<usize> {
        self.peers.iter().position(|other| *other == peer)
    }

    /// Adds a neighbour, to a view that will have up to `size` of them.
    pub(super) fn push(&mut self, size: usize, peer: I, now: Time, epoch: Epoch) {
        if self.notes.capacity() == 0 {
            self.peers.reserve_exact(size);
            self.notes.reserve_exact(size);
        }
        self.peers.push(peer);
        self.notes.push(Notes { epoch, sent: now, heard: now, rtt_us: 0, gives_signs: false, told: false });
    }

    pub(super) fn remove(&mut self, index: usize) -> (I, Epoch) {
        (self.peers.swap_remove(index), self.notes.swap_remove(index).epoch)
    }
}
