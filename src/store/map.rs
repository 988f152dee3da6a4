//! Where the entries of a log stand. Not every one: one in so many bytes, and each from which on one must not simply read on.

use std::collections::VecDeque;

use crate::agent::{Index, Term};

/// Where an item begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The number of its segment.
    pub(super) segment: u64,
    /// How many bytes of the segment lie before it.
    pub(super) at_byte: u64,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) index: Index,
    pub(super) place: Place,
}

/// The entries of a log: which there are, of which terms, and where. Entries that were truncated, and then written anew, stand in the
/// segments twice; between one point and the next there is each at most once.
#[derive(Clone, Debug)]
pub(super) struct Map {
    first: Index,
    next: Index,
    /// Ascending, and so are their places.
    points: VecDeque<Point>,
    terms: VecDeque<(Index, Term)>,
    /// Entries that are lost: first and last of each stretch, ascending.
    damaged: Vec<(Index, Index)>,
    /// Whether the next entry has to get a point.
    point_due: bool,
}

impl Default for Map {
    fn default() -> Self {
        Self {
            first: Index(1),
            next: Index(1),
            points: VecDeque::new(),
            terms: VecDeque::new(),
            damaged: Vec::new(),
            point_due: true,
        }
    }
}

impl Map {
    /// The first entry that is there or would be.
    pub(super) fn first(&self) -> Index {
        self.first
    }

    /// The index of the entry that comes next.
    pub(super) fn next(&self) -> Index {
        self.next
    }

    /// From which entry on which term holds, from the first entry on.
    pub(super) fn terms(&self) -> Vec<(Index, Term)> {
        let before = self.terms.partition_point(|&(index, _)| index <= self.first).saturating_sub(1);
        let within = self.terms.iter().skip(before).filter(|_| self.first < self.next);
        within.map(|&(index, term)| (index.max(self.first), term)).collect()
    }

    /// The entries that are lost.
    pub(super) fn damaged(&self) -> &[(Index, Index)] {
        &self.damaged
    }

    /// The first stretch of lost entries that does not end before this entry.
    pub(super) fn damage_behind(&self, index: Index) -> Option<(Index, Index)> {
        self.damaged.iter().copied().find(|&(_, last)| last >= index)
    }

    /// How many points are kept.
    #[cfg(test)]
    pub(super) fn points(&self) -> usize {
        self.points.len()
    }

    /// The next entry stands there.
    pub(super) fn append(&mut self, term: Term, place: Place) {
        let index = self.next;
        self.next = Index(index.0 + 1);
        let far = self.points.back().is_none_or(|point| {
            point.place.segment != place.segment || place.at_byte - point.place.at_byte >= POINT_BYTES
        });
        if far || self.point_due {
            self.points.push_back(Point { index, place });
            self.point_due = false;
        }
        if self.terms.back().is_none_or(|&(_, last)| last != term) {
            self.terms.push_back((index, term));
        }
    }

    /// The entries from this one on are gone.
    pub(super) fn cut(&mut self, from: Index) {
        self.first = self.first.min(from);
        self.next = from;
        self.points.truncate(self.points.partition_point(|point| point.index < from));
        self.terms.truncate(self.terms.partition_point(|&(index, _)| index < from));
        self.damaged.truncate(self.damaged.partition_point(|&(first, _)| first < from));
        if let Some((_, last)) = self.damaged.last_mut() {
            *last = Index(last.0.min(from.0 - 1));
        }
        self.point_due = true;
    }

    /// All entries are gone, and the log goes on with this one.
    pub(super) fn restart(&mut self, next: Index) {
        *self = Self { first: next, next, ..Self::default() };
    }

    /// The next entries up to before this one are lost.
    pub(super) fn lose(&mut self, upto: Index) {
        if self.next < upto {
            self.damage(self.next, Index(upto.0 - 1));
            self.next = upto;
        }
    }

    /// These entries are lost; none behind them is known to be.
    pub(super) fn damage(&mut self, mut first: Index, mut last: Index) {
        self.point_due = true;
        while let Some(&(begin, end)) = self.damaged.last()
            && end.0 + 1 >= first.0
        {
            (first, last) = (first.min(begin), last.max(end));
            self.damaged.pop();
        }
        self.damaged.push((first, last));
    }

    /// The next entry gets a point: something is between it and the one before.
    pub(super) fn break_off(&mut self) {
        self.point_due = true;
    }

    /// The entries before this one are not there any more.
    pub(super) fn forget_before(&mut self, first: Index) {
        let first = first.clamp(self.first, self.next);
        self.first = first;
        let keep = |index: Index| index <= first;
        let points = self.points.partition_point(|point| keep(point.index)).saturating_sub(1);
        self.points.drain(..points);
        let terms = self.terms.partition_point(|&(index, _)| keep(index)).saturating_sub(1);
        self.terms.drain(..terms);
        self.damaged.retain_mut(|(from, upto)| {
            *from = first.max(*from);
            *from <= *upto
        });
    }

    /// The first entry that stands in this segment or behind it; the next one if none does.
    pub(super) fn first_from(&self, segment: u64) -> Index {
        let point = self.points.partition_point(|point| point.place.segment < segment);
        self.points.get(point).map_or(self.next, |point| point.index)
    }

    /// The place from which on one has to read to find the entry, and the first entry that has to be looked for elsewhere.
    pub(super) fn find(&self, index: Index) -> Option<(Place, Index)> {
        let behind = self.points.partition_point(|point| point.index <= index);
        let point = self.points.get(behind.checked_sub(1)?)?;
        let end = self.points.get(behind).map_or(self.next, |point| point.index);
        Some((point.place, end))
    }
}

/// How far apart points are that nothing else asks for, in bytes: what is read in vain to find an entry, against what is kept in memory.
const POINT_BYTES: u64 = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, at_byte: u64) -> Place {
        Place { segment, at_byte }
    }

    /// Entries 1 to 6, of which 4 to 6 were written twice, in two segments.
    fn map() -> Map {
        let mut map = Map::default();
        for at in 0..5 {
            map.append(Term(1), place(1, at * 10));
        }
        map.cut(Index(4));
        for at in 6..9 {
            map.append(Term(2), place(1 + at / 8, at * 10));
        }
        map
    }

    #[test]
    fn an_entry_that_was_written_again_is_found_where_it_was_written_last() {
        let map = map();
        assert_eq!((map.first(), map.next()), (Index(1), Index(7)));
        assert_eq!(map.find(Index(3)), Some((place(1, 0), Index(4))));
        assert_eq!(map.find(Index(5)), Some((place(1, 60), Index(6))));
        assert_eq!(map.find(Index(6)), Some((place(2, 80), Index(7))));
        assert_eq!(map.terms(), [(Index(1), Term(1)), (Index(4), Term(2))]);
        assert_eq!((map.first_from(2), map.first_from(3), map.points()), (Index(6), Index(7), 3));
    }

    #[test]
    fn what_is_forgotten_leaves_terms_and_damage_of_the_rest() {
        let mut map = map();
        map.damage(Index(2), Index(5));
        map.forget_before(Index(3));
        assert_eq!(
            (map.terms(), map.damaged()),
            (vec![(Index(3), Term(1)), (Index(4), Term(2))], &[(Index(3), Index(5))][..])
        );
        map.forget_before(Index(9));
        assert_eq!(
            (map.first(), map.next(), map.terms(), map.damaged().len()),
            (Index(7), Index(7), vec![], 0)
        );
        map.append(Term(2), place(3, 0));
        assert_eq!(map.terms(), [(Index(7), Term(2))]);
    }

    #[test]
    fn damage_goes_with_the_entries_that_it_has_struck() {
        let mut map = map();
        map.lose(Index(10));
        map.append(Term(3), place(2, 200));
        map.damage(Index(9), Index(9));
        assert_eq!(map.damaged(), [(Index(7), Index(9))]);
        map.cut(Index(8));
        assert_eq!((map.damaged(), map.next()), (&[(Index(7), Index(7))][..], Index(8)));
        map.cut(Index(5));
        assert!(map.damaged().is_empty());
        map.restart(Index(50));
        assert_eq!((map.first(), map.next(), map.find(Index(50))), (Index(50), Index(50), None));
    }
}
