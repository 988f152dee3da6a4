//! Who does not hear whom.

use crate::agent::Peer;

/// Names a partition, for as long as the world lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionId(pub u64);

/// All partitions that hold now.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    current: Vec<Partition>,
    next: u64,
}

#[derive(Debug)]
struct Partition {
    id: PartitionId,
    /// For each agent: whether it is not heard, whether it does not hear.
    sides: Vec<(bool, bool)>,
}

impl Partitions {
    /// From now on nothing that one of `from` sends reaches one of `to`.
    pub(super) fn begin(&mut self, from: &[Peer], to: &[Peer]) -> PartitionId {
        let id = PartitionId(self.next);
        self.next += 1;
        let len = from.iter().chain(to).map(|peer| peer.index() + 1).max().unwrap_or(0);
        let mut sides = vec![(false, false); len];
        for peer in from {
            sides[peer.index()].0 = true;
        }
        for peer in to {
            sides[peer.index()].1 = true;
        }
        self.current.push(Partition { id, sides });
        id
    }

    /// Ends a partition; whether it was there.
    pub(super) fn end(&mut self, id: PartitionId) -> bool {
        let before = self.current.len();
        self.current.retain(|partition| partition.id != id);
        self.current.len() < before
    }

    /// Whether what `from` sends does not reach `to`.
    #[inline]
    pub(super) fn between(&self, from: Peer, to: Peer) -> bool {
        self.current.iter().any(|partition| {
            let side = |peer: Peer| partition.sides.get(peer.index()).copied().unwrap_or_default();
            side(from).0 && side(to).1
        })
    }
}
