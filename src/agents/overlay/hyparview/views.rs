//! What a node knows beyond its neighbours: names.

use crate::rng::Rng;

/// Names, in no particular order but one: whom nobody has asked in this round stands in front. The passive view is one such set, the memory another.
#[derive(Debug)]
pub(super) struct Names<I> {
    ids: Vec<I>,
    /// How many of them have not been asked in this round.
    fresh: usize,
    size: usize,
}

impl<I: Copy + PartialEq> Names<I> {
    pub(super) fn new(size: usize) -> Self {
        Self { ids: Vec::new(), fresh: 0, size }
    }

    pub(super) fn ids(&self) -> &[I] {
        &self.ids
    }

    pub(super) fn contains(&self, id: I) -> bool {
        // To compare with all of them is faster than to stop at the first: the compiler does several at a time.
        self.ids.iter().filter(|other| **other == id).count() > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= self.size
    }

    /// Adds a name. Where there is no room, one at random has to go, and is given back. Whether it is in there already, the caller knows: in the passive
    /// view that matters, in the memory a look would cost more than the place.
    pub(super) fn insert(&mut self, id: I, fresh: bool, rng: &mut Rng) -> Option<I> {
        if self.size == 0 {
            return Some(id);
        }
        let evicted = self.is_full().then(|| self.remove_at(rng.index(self.ids.len())));
        self.ids.push(id);
        if fresh {
            let last = self.ids.len() - 1;
            self.ids.swap(self.fresh, last);
            self.fresh += 1;
        }
        evicted
    }

    /// Removes somebody; whether it was there.
    pub(super) fn remove(&mut self, id: I) -> bool {
        let Some(index) = self.ids.iter().position(|other| *other == id) else { return false };
        self.remove_at(index);
        true
    }

    fn remove_at(&mut self, mut index: usize) -> I {
        if index < self.fresh {
            self.fresh -= 1;
            self.ids.swap(index, self.fresh);
            index = self.fresh;
        }
        self.ids.swap_remove(index)
    }

    /// Somebody who has not been asked in this round, and is from now on one who has. The name stays.
    pub(super) fn take_fresh(&mut self, rng: &mut Rng) -> Option<I> {
        if self.fresh == 0 {
            return None;
        }
        let index = rng.index(self.fresh);
        self.fresh -= 1;
        self.ids.swap(index, self.fresh);
        Some(self.ids[self.fresh])
    }

    /// A new round: nobody has been asked.
    pub(super) fn refresh(&mut self) {
        self.fresh = self.ids.len();
    }
}

/// Puts `count` entries of `ids`, each at most once, behind what is in `chosen`; all of them if there are fewer. No entry of `ids` may be in there before.
///
/// Floyd's sampling (Bentley and Floyd, "A sample of brilliance", 1987): one draw for each entry that is chosen.
pub(super) fn sample<I: Copy + PartialEq>(rng: &mut Rng, ids: &[I], count: usize, chosen: &mut Vec<I>) {
    let count = count.min(ids.len());
    for last in ids.len() - count..ids.len() {
        let id = ids[rng.index(last + 1)];
        chosen.push(if chosen.contains(&id) { ids[last] } else { id });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Names, sample};
    use crate::rng::Rng;

    proptest! {
        #[test]
        fn a_sample_has_no_entry_twice(seed: u64, len in 0_u32..40, count in 0_usize..50) {
            let ids: Vec<u32> = (0..len).collect();
            let mut chosen = Vec::new();
            sample(&mut Rng::new(seed), &ids, count, &mut chosen);
            prop_assert_eq!(chosen.len(), count.min(ids.len()));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), count.min(ids.len()));
        }
    }

    #[test]
    fn everybody_is_asked_once_in_a_round() {
        let (mut rng, mut passive) = (Rng::new(1), Names::new(9));
        for id in 0..8 {
            assert_eq!(passive.insert(id, id < 6, &mut rng), None);
        }
        passive.remove(3);
        passive.remove(7);
        let mut asked: Vec<u32> = std::iter::from_fn(|| passive.take_fresh(&mut rng)).collect();
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 2, 4, 5]);
        passive.refresh();
        assert_eq!(std::iter::from_fn(|| passive.take_fresh(&mut rng)).count(), 6);
        assert_eq!(passive.ids().len(), 6);
    }
}
