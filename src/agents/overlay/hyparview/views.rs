//! What a node knows beyond its neighbours: names.

use crate::rng::Rng;

/// Names, in no particular order but one: whom nobody has asked in this round stands in front. The passive view is one such set, the memory another.
#[derive(Debug)]
pub(super) struct Names<I> {
    ids: Vec<I>,
    /// How many of them have not been asked in this round.
    fresh: u32,
    size: u32,
}

impl<I: Copy + PartialEq> Names<I> {
    pub(super) fn new(size: usize) -> Self {
        Self { ids: Vec::new(), fresh: 0, size: u32::try_from(size).unwrap_or(u32::MAX) }
    }

    pub(super) fn ids(&self) -> &[I] {
        &self.ids
    }

    #[inline]
    pub(super) fn contains(&self, id: I) -> bool {
        self.find(id).is_some()
    }

    /// Where a name stands. Eight are compared at a time, which the compiler does at once.
    #[inline]
    fn find(&self, id: I) -> Option<usize> {
        let (eights, rest) = self.ids.as_chunks::<8>();
        #[expect(clippy::needless_bitwise_bool, reason = "no branch: all eight are compared at once")]
        let is_in = |ids: &[I; 8]| ids.iter().fold(false, |found, other| found | (*other == id));
        if let Some(place) = eights.iter().position(is_in) {
            let within = eights[place].iter().position(|other| *other == id)?;
            return Some(8 * place + within);
        }
        rest.iter().position(|other| *other == id).map(|place| 8 * eights.len() + place)
    }

    /// Looks at where the names lie, all at once, since they come from far away.
    #[inline]
    pub(super) fn look_ahead(&self) {
        std::hint::black_box((
            self.ids.first().copied(),
            self.ids.get(self.ids.len() / 2).copied(),
            self.ids.last().copied(),
        ));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= self.size as usize
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
            self.ids.swap(self.fresh as usize, last);
            self.fresh += 1;
        }
        evicted
    }

    /// Draws whom a fresh name would drive out, by its place; `None` where it would drive out nobody, or not all are fresh.
    pub(super) fn draw_place(&self, rng: &mut Rng) -> Option<u32> {
        let all_fresh = self.size > 0 && self.is_full() && self.fresh as usize == self.ids.len();
        all_fresh.then(|| u32::try_from(rng.index(self.ids.len())).expect("options allow fewer names"))
    }

    /// Puts a fresh name where the one at `place`, which was drawn, is driven out. The order becomes what [`Names::insert`] makes of it.
    pub(super) fn replace_fresh(&mut self, place: u32, id: I) {
        let last = self.ids.len() - 1;
        self.ids[place as usize] = self.ids[last];
        self.ids[last] = id;
    }

    /// Removes somebody; whether it was there.
    pub(super) fn remove(&mut self, id: I) -> bool {
        let Some(index) = self.find(id) else { return false };
        self.remove_at(index);
        true
    }

    fn remove_at(&mut self, mut index: usize) -> I {
        if index < self.fresh as usize {
            self.fresh -= 1;
            self.ids.swap(index, self.fresh as usize);
            index = self.fresh as usize;
        }
        self.ids.swap_remove(index)
    }

    /// Somebody who has not been asked in this round, and is from now on one who has. The name stays.
    pub(super) fn take_fresh(&mut self, rng: &mut Rng) -> Option<I> {
        if self.fresh == 0 {
            return None;
        }
        let index = rng.index(self.fresh as usize);
        self.fresh -= 1;
        self.ids.swap(index, self.fresh as usize);
        Some(self.ids[self.fresh as usize])
    }

    /// A new round: nobody has been asked.
    pub(super) fn refresh(&mut self) {
        self.fresh = u32::try_from(self.ids.len()).expect("options allow fewer names");
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
