//! A member's log as it knows it: where it begins and ends, which terms, and the newest entries themselves. Older ones are on the disk only.

use std::collections::VecDeque;

use crate::agent::{Entry, Index, Term};

/// The log. Entry 0 stands before all others and has term 0.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// The entry from which on terms are known; the first that can be read is the one behind it.
    base: Index,
    /// From which entry on which term holds, ascending; the first begins at `base`.
    runs: Vec<(Index, Term)>,
    last: Index,
    /// The newest entries, up to the last one.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// The last entry that was handed to the disk.
    written: Index,
}

/// What an entry costs beside its record.
const ENTRY_BYTES: usize = size_of::<Entry>();

impl Log {
    /// A log that ends with the entry `base`, of which only the term is known.
    pub(super) fn new(base: Index, term: Term, cache_bytes_max: usize) -> Self {
        Self {
            base,
            runs: vec![(base, term)],
            last: base,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            written: base,
        }
    }

    /// A log that is on the disk, as far as `last`. `runs` begins with `base`.
    pub(super) fn recovered(runs: Vec<(Index, Term)>, last: Index, cache_bytes_max: usize) -> Self {
        let (base, term) = runs[0];
        Self { runs, last, written: last, ..Self::new(base, term, cache_bytes_max) }
    }

    /// The entry before the first that can be read.
    pub(super) fn base(&self) -> Index {
        self.base
    }

    pub(super) fn first(&self) -> Index {
        Index(self.base.0 + 1)
    }

    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn last_term(&self) -> Term {
        self.runs.last().expect("never empty").1
    }

    /// The first entry that is in memory; one more than the last if none is.
    pub(super) fn cache_first(&self) -> Index {
        Index(self.last.0 + 1 - self.cache.len() as u64)
    }

    /// The terms that are known, each from its first entry on.
    pub(super) fn runs(&self) -> &[(Index, Term)] {
        &self.runs
    }

    /// The term of an entry; `None` if it is not there, or not any more.
    pub(super) fn term(&self, index: Index) -> Option<Term> {
        if index < self.base || index > self.last {
            return None;
        }
        // Almost always it is one of the newest.
        self.runs.iter().rev().find(|(from, _)| *from <= index).map(|(_, term)| *term)
    }

    /// The first entry of the term that `index` has, as far back as is known.
    pub(super) fn first_of_term(&self, index: Index) -> Index {
        self.runs.iter().rev().find(|(from, _)| *from <= index).map_or(self.base, |(from, _)| *from)
    }

    /// The last entry up to `index` whose term is at most `term`; the base if there is none.
    pub(super) fn last_up_to_term(&self, index: Index, term: Term) -> Index {
        let mut upto = index.min(self.last);
        for (from, of) in self.runs.iter().rev() {
            if *from <= upto {
                if *of <= term {
                    return upto;
                }
                upto = Index(from.0.saturating_sub(1));
            }
        }
        self.base
    }

    /// Whether a log that ends so is at least as new as this one (Raft, section 5.4.1).
    pub(super) fn is_no_newer_than(&self, last: Index, last_term: Term) -> bool {
        (last_term, last) >= (self.last_term(), self.last)
    }

    /// Puts an entry behind the last one.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index.0, self.last.0 + 1, "entries follow one another");
        if entry.term != self.last_term() {
            self.runs.push((entry.index, entry.term));
        }
        self.last = entry.index;
        self.cache_bytes += entry.record.len() + ENTRY_BYTES;
        self.cache.push_back(entry);
    }

    /// Removes this entry and all behind it. The base stays.
    pub(super) fn truncate(&mut self, from: Index) {
        while self.cache.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.cache.pop_back().expect("it was there");
            self.cache_bytes -= entry.record.len() + ENTRY_BYTES;
        }
        self.last = self.last.min(Index(from.0.saturating_sub(1))).max(self.base);
        self.runs.retain(|(first, _)| *first < from || *first == self.base);
        self.written = self.written.min(self.last);
        if self.cache.is_empty() {
            self.cache_bytes = 0;
        }
    }

    /// Forgets the entries up to this one.
    pub(super) fn compact(&mut self, upto: Index) {
        let Some(term) = self.term(upto) else { return };
        if upto <= self.base {
            return;
        }
        self.runs.retain(|(first, _)| *first > upto);
        self.runs.insert(0, (upto, term));
        self.base = upto;
        while self.cache.front().is_some_and(|entry| entry.index <= upto) {
            self.drop_oldest();
        }
    }

    /// The entries from `from` on that were not handed to the disk yet are, now.
    pub(super) fn take_unwritten(&mut self) -> impl Iterator<Item = &Entry> {
        let first = self.written.0 + 1;
        let skip = self.cache.partition_point(|entry| entry.index.0 < first);
        self.written = self.last;
        self.cache.range(skip..)
    }

    /// The entries from `from` on whose records together have at most so many bytes, but at least one; `None` if the first is not in memory.
    pub(super) fn cached(&self, from: Index, upto: Index, bytes_max: usize) -> Option<Vec<Entry>> {
        let skip = usize::try_from(from.0.checked_sub(self.cache_first().0)?).ok()?;
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.cache.range(skip.min(self.cache.len())..) {
            bytes += entry.record.len();
            if entry.index > upto || count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        (count > 0).then(|| self.cache.range(skip..skip + count).cloned().collect())
    }

    /// The entries in memory, for whoever checks them.
    pub(super) fn cache(&self) -> impl Iterator<Item = &Entry> {
        self.cache.iter()
    }

    /// Gives back memory that is more than allowed; nothing that the disk has not been handed.
    pub(super) fn shrink(&mut self) {
        while self.cache_bytes > self.cache_bytes_max
            && self.cache.front().is_some_and(|entry| entry.index <= self.written)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= entry.record.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: Index(index), term: Term(term), record: Bytes::from(vec![0; 10]) }
    }

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(Index(0), Term(0), usize::MAX);
        for (index, term) in (1..).zip(terms) {
            log.push(entry(index, *term));
        }
        log
    }

    #[test]
    fn terms_are_known_from_the_base_to_the_last_entry() {
        let mut log = log(&[1, 1, 4, 4, 5]);
        assert_eq!(log.term(Index(0)), Some(Term(0)));
        assert_eq!(log.term(Index(4)), Some(Term(4)));
        assert_eq!(log.term(Index(6)), None);
        assert_eq!(log.first_of_term(Index(4)), Index(3));
        assert_eq!(log.last_up_to_term(Index(5), Term(3)), Index(2));
        assert_eq!(log.last_up_to_term(Index(5), Term(0)), Index(0));
        log.compact(Index(4));
        assert_eq!((log.term(Index(3)), log.term(Index(4)), log.last_term()), (None, Some(Term(4)), Term(5)));
        assert_eq!(log.cached(Index(4), Index(9), 100), None);
        assert_eq!(log.cached(Index(5), Index(9), 100), Some(vec![entry(5, 5)]));
        assert_eq!(log.cached(Index(6), Index(9), 100), None);
    }

    #[test]
    fn what_is_cut_off_is_forgotten_with_its_terms() {
        let mut log = log(&[1, 1, 4, 4, 5]);
        assert_eq!(log.take_unwritten().count(), 5);
        log.truncate(Index(3));
        assert_eq!((log.last(), log.last_term(), log.written), (Index(2), Term(1), Index(2)));
        log.push(entry(3, 6));
        assert_eq!(log.take_unwritten().map(|entry| entry.index).collect::<Vec<_>>(), [Index(3)]);
        assert_eq!(log.runs(), [(Index(0), Term(0)), (Index(1), Term(1)), (Index(3), Term(6))]);
    }

    #[test]
    fn memory_is_given_back_only_for_what_the_disk_has() {
        let mut log = log(&[1, 1, 1]);
        log.cache_bytes_max = 10 + ENTRY_BYTES;
        log.shrink();
        assert_eq!(log.cache_first(), Index(1));
        assert_eq!(log.take_unwritten().count(), 3);
        log.shrink();
        assert_eq!((log.cache_first(), log.last()), (Index(3), Index(3)));
        assert_eq!(log.cached(Index(2), Index(3), 100), None);
    }

    #[test]
    fn a_log_is_newer_by_its_last_term_first_and_by_its_length_then() {
        let log = log(&[1, 2]);
        assert!(log.is_no_newer_than(Index(1), Term(3)));
        assert!(log.is_no_newer_than(Index(2), Term(2)));
        assert!(!log.is_no_newer_than(Index(1), Term(2)));
        assert!(!log.is_no_newer_than(Index(9), Term(1)));
    }
}
