//! What is going to happen, in the order of its time; at one time, in the order in which it was put in.
//!
//! Simulated time never runs backwards, so a radix heap does (Ahuja, Mehlhorn, Orlin and Tarjan, "Faster Algorithms for the Shortest Path
//! Problem", 1990): an entry lies in the bucket of the highest bit in which its time differs from the time of the last entry taken, and
//! moves to lower buckets only. Each entry moves at most 64 times, mostly a handful, through memory that is read in order; and unlike in a
//! binary heap, equal times keep their order by themselves.

use std::collections::VecDeque;

use crate::time::Time;

/// The queue.
#[derive(Debug)]
pub(in crate::sim) struct Queue<E> {
    /// The time of the last entry taken.
    last: u64,
    /// What is due at that time.
    due: VecDeque<E>,
    /// What is due later, by the highest bit that differs.
    later: Vec<Bucket<E>>,
    /// Which buckets hold something: bit `i` for bucket `i`.
    filled: u64,
}

#[derive(Debug)]
struct Bucket<E> {
    entries: Vec<(u64, E)>,
    earliest: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        let bucket = || Bucket { entries: Vec::new(), earliest: u64::MAX };
        let later = std::iter::repeat_with(bucket).take(64).collect();
        Self { last: 0, due: VecDeque::new(), later, filled: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts in what is to happen at `at`; what should have happened already happens next.
    pub(in crate::sim) fn push(&mut self, at: Time, entry: E) {
        self.put(at.as_nanos().max(self.last), entry);
    }

    /// When the next entry is due.
    pub(in crate::sim) fn next_at(&self) -> Option<Time> {
        if !self.due.is_empty() {
            return Some(Time::from_nanos(self.last));
        }
        let bucket = self.later.get(self.filled.trailing_zeros() as usize)?;
        Some(Time::from_nanos(bucket.earliest))
    }

    /// Takes the next entry, if it is due by `limit`.
    pub(in crate::sim) fn pop(&mut self, limit: Time) -> Option<(Time, E)> {
        if self.next_at()? > limit {
            return None;
        }
        if self.due.is_empty() {
            let bucket = &mut self.later[self.filled.trailing_zeros() as usize];
            // What is alone in its bucket is next, and need not be spread. With few things on their way at a time that is so mostly.
            if bucket.entries.len() == 1
                && let Some((at, entry)) = bucket.entries.pop()
            {
                bucket.earliest = u64::MAX;
                self.last = at;
                self.filled &= self.filled - 1;
                return Some((Time::from_nanos(at), entry));
            }
            self.refill();
        }
        self.due.pop_front().map(|entry| (Time::from_nanos(self.last), entry))
    }

    #[inline]
    fn put(&mut self, at: u64, entry: E) {
        let differs = at ^ self.last;
        if differs == 0 {
            self.due.push_back(entry);
            return;
        }
        let place = differs.ilog2();
        let bucket = &mut self.later[place as usize];
        bucket.entries.push((at, entry));
        bucket.earliest = bucket.earliest.min(at);
        self.filled |= 1 << place;
    }

    /// Makes the earliest entries due and spreads their bucket over the ones below it.
    fn refill(&mut self) {
        let place = self.filled.trailing_zeros() as usize;
        let bucket = &mut self.later[place];
        let mut entries = std::mem::take(&mut bucket.entries);
        self.last = std::mem::replace(&mut bucket.earliest, u64::MAX);
        self.filled &= !(1 << place);
        for (at, entry) in entries.drain(..) {
            self.put(at, entry);
        }
        self.later[place].entries = entries;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FOREVER: Time = Time::from_nanos(u64::MAX);

    proptest! {
        #[test]
        fn entries_leave_by_time_and_then_by_age(
            batches in proptest::collection::vec((proptest::collection::vec(0u64..5_000, 0..20), 0usize..20, 0u64..3_000), 1..20)
        ) {
            let (mut queue, mut model) = (Queue::default(), BTreeSet::new());
            let (mut now, mut number) = (0, 0u64);
            for (delays, takes, limit) in batches {
                for delay in delays {
                    queue.push(Time::from_nanos(now + delay), number);
                    model.insert((now + delay, number));
                    number += 1;
                }
                let limit = now + limit;
                for _ in 0..takes {
                    let expected = model.first().copied().filter(|key| key.0 <= limit);
                    let taken = queue.pop(Time::from_nanos(limit));
                    prop_assert_eq!(taken.map(|(at, number)| (at.as_nanos(), number)), expected);
                    let Some(key) = expected else {
                        // Nothing is due before the limit, so that is what time it is; new entries may come in before
                        // those that wait.
                        now = limit;
                        break;
                    };
                    model.remove(&key);
                    now = key.0;
                }
            }
            while let Some((at, number)) = queue.pop(FOREVER) {
                prop_assert_eq!(model.pop_first(), Some((at.as_nanos(), number)));
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn the_ends_of_time_have_their_place() {
        let mut queue = Queue::default();
        queue.push(FOREVER, 'z');
        queue.push(Time::ZERO, 'a');
        assert_eq!(queue.pop(Time::ZERO), Some((Time::ZERO, 'a')));
        assert_eq!(queue.pop(Time::from_nanos(5)), None);
        queue.push(Time::from_nanos(5), 'b');
        assert_eq!(queue.pop(FOREVER), Some((Time::from_nanos(5), 'b')));
        assert_eq!(queue.pop(FOREVER), Some((FOREVER, 'z')));
        assert_eq!(queue.pop(FOREVER), None);
    }
}
