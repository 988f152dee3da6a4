//! What was received lately and can be asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::{Id, MessageId, Payload};
use crate::time::Time;

/// The latest messages, bounded by their number, their bytes and their age.
#[derive(Debug)]
pub(super) struct Cache<I, P> {
    entries: BTreeMap<MessageId<I>, Cached<I, P>>,
    /// From the oldest to the latest.
    order: VecDeque<MessageId<I>>,
    bytes: usize,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) count: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

/// One message.
#[derive(Debug)]
pub(super) struct Cached<I, P> {
    pub(super) payload: P,
    /// The round with which it is sent on.
    pub(super) round: u16,
    /// Whom it came from, unless it is this node's own.
    pub(super) from: Option<I>,
    /// When it came, here or, if somebody else had kept it, there.
    pub(super) at: Time,
}

impl<I: Id, P: Payload> Cache<I, P> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0, limits }
    }

    /// Keeps a message, and drops older ones for it.
    pub(super) fn insert(&mut self, now: Time, id: MessageId<I>, cached: Cached<I, P>) {
        self.bytes += cached.payload.size_bytes();
        if let Some(old) = self.entries.insert(id, cached) {
            self.bytes -= old.payload.size_bytes();
        } else {
            self.order.push_back(id);
        }
        while let Some(oldest) = self.order.front() {
            let full = self.order.len() > self.limits.count || self.bytes > self.limits.bytes;
            let old = self.entries.get(oldest).is_some_and(|entry| now.since(entry.at) > self.limits.age);
            if !full && !old {
                break;
            }
            if let Some(old) = self.entries.remove(oldest) {
                self.bytes -= old.payload.size_bytes();
            }
            self.order.pop_front();
        }
    }

    /// A message that is there and not too old.
    pub(super) fn get(&self, now: Time, id: &MessageId<I>) -> Option<&Cached<I, P>> {
        self.entries.get(id).filter(|entry| now.since(entry.at) <= self.limits.age)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, now: Time, id: &MessageId<I>) -> Option<&mut Cached<I, P>> {
        let age_max = self.limits.age;
        self.entries.get_mut(id).filter(|entry| now.since(entry.at) <= age_max)
    }

    /// What is there of one life of a source, from `first` on.
    pub(super) fn from(
        &self,
        now: Time,
        first: MessageId<I>,
    ) -> impl Iterator<Item = (&MessageId<I>, &Cached<I, P>)> {
        let entries = self.entries.range(first..=MessageId { seq: u64::MAX, ..first });
        entries.filter(move |(_, entry)| now.since(entry.at) <= self.limits.age)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::Blob;
    use super::*;
    use crate::agent::Peer;

    fn id(seq: u64) -> MessageId<Peer> {
        MessageId { source: Peer(9), incarnation: 1, seq }
    }

    fn at(seconds: u64) -> Time {
        Time::since_start(Duration::from_secs(seconds))
    }

    fn there(cache: &Cache<Peer, Blob>, now: Time) -> Vec<u64> {
        (1..=9).filter(|seq| cache.get(now, &id(*seq)).is_some()).collect()
    }

    #[test]
    fn it_is_bounded_by_count_bytes_and_age() {
        let limits = Limits { count: 3, bytes: 10, age: Duration::from_secs(5) };
        let mut cache = Cache::new(limits);
        let blob = |length: usize| Blob(Bytes::from(vec![0; length]));
        let insert = |cache: &mut Cache<Peer, Blob>, seconds, seq, length| {
            let cached = Cached { payload: blob(length), round: 0, from: None, at: at(seconds) };
            cache.insert(at(seconds), id(seq), cached);
        };
        for seq in 1..=4 {
            insert(&mut cache, seq, seq, 1);
        }
        assert_eq!(there(&cache, at(4)), [2, 3, 4]);
        insert(&mut cache, 5, 5, 9);
        assert_eq!(there(&cache, at(5)), [4, 5]);
        assert_eq!(there(&cache, at(10)), [5]);
        assert_eq!(there(&cache, at(11)), [] as [u64; 0]);
        insert(&mut cache, 20, 6, 11);
        assert_eq!(there(&cache, at(20)), [] as [u64; 0], "too long to be kept");
        assert_eq!((cache.bytes, cache.order.len(), cache.entries.len()), (0, 0, 0));
    }
}
