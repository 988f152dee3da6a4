//! Which broadcasts a node has seen, in little room.

use std::collections::BTreeMap;

use super::{Id, MessageId};

/// The broadcasts that a node has seen: of each source the latest number, and which of the 128 up to it. What is older than these counts as seen, and
/// so does what is of an earlier life of its source. Of at most so many sources; beyond that, those that were silent for longest are forgotten.
#[derive(Debug)]
pub(super) struct Seen<I> {
    windows: BTreeMap<I, Window>,
    sources_max: usize,
    /// Counts what was seen, to know who was silent for longest.
    clock: u32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    incarnation: u64,
    highest: u64,
    /// Bit `n`: whether `highest - n` was seen. Two halves, the lower one first, since one number of 128 bits would be aligned to 16 bytes.
    bits: [u64; 2],
    used: u32,
}

impl<I: Id> Seen<I> {
    pub(super) fn new(sources_max: usize) -> Self {
        Self { windows: BTreeMap::new(), sources_max: sources_max.max(1), clock: 0 }
    }

    /// Whether a broadcast was seen, or is too old to tell.
    pub(super) fn contains(&self, id: &MessageId<I>) -> bool {
        self.windows.get(&id.source).is_some_and(|window| window.contains(id.incarnation, id.seq))
    }

    /// Whether a broadcast of the latest life of its source is too old to tell.
    pub(super) fn is_too_old(&self, id: &MessageId<I>) -> bool {
        let window = self.windows.get(&id.source);
        window.is_some_and(|window| {
            id.incarnation == window.incarnation && window.highest.saturating_sub(id.seq) >= 128
        })
    }

    /// Notes that a broadcast is seen; whether it is new.
    pub(super) fn insert(&mut self, id: &MessageId<I>) -> bool {
        self.clock = self.clock.wrapping_add(1);
        if let Some(window) = self.windows.get_mut(&id.source) {
            let new = window.insert(id.incarnation, id.seq);
            if new {
                window.used = self.clock;
            }
            return new;
        }
        if self.windows.len() >= self.sources_max {
            self.forget();
        }
        let window = Window { incarnation: id.incarnation, highest: id.seq, bits: [1, 0], used: self.clock };
        self.windows.insert(id.source, window);
        true
    }

    /// Forgets an eighth of the sources, at least one, so that it is not done for every message.
    fn forget(&mut self) {
        let mut ages: Vec<u32> =
            self.windows.values().map(|window| self.clock.wrapping_sub(window.used)).collect();
        let place = ages.len() - 1 - ages.len() / 8;
        let (_, &mut age_max, _) = ages.select_nth_unstable(place);
        let clock = self.clock;
        self.windows.retain(|_, window| clock.wrapping_sub(window.used) < age_max);
    }
}

impl Window {
    fn bits(&self) -> u128 {
        u128::from(self.bits[0]) | u128::from(self.bits[1]) << 64
    }

    fn contains(&self, incarnation: u64, seq: u64) -> bool {
        if incarnation != self.incarnation {
            return incarnation < self.incarnation;
        }
        match self.highest.checked_sub(seq) {
            None => false,
            Some(age) if age < 128 => self.bits() >> age & 1 == 1,
            Some(_) => true,
        }
    }

    fn insert(&mut self, incarnation: u64, seq: u64) -> bool {
        if self.contains(incarnation, seq) {
            return false;
        }
        let bits = if incarnation > self.incarnation {
            self.incarnation = incarnation;
            self.highest = seq;
            1
        } else if let Some(further) = seq.checked_sub(self.highest).filter(|further| *further > 0) {
            self.highest = seq;
            let by = u32::try_from(further).unwrap_or(u32::MAX);
            self.bits().checked_shl(by).unwrap_or(0) | 1
        } else {
            self.bits() | 1 << (self.highest - seq)
        };
        self.bits = [low_half(bits), low_half(bits >> 64)];
        true
    }
}

fn low_half(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::agent::Peer;

    fn id(source: u32, incarnation: u64, seq: u64) -> MessageId<Peer> {
        MessageId { source: Peer(source), incarnation, seq }
    }

    proptest! {
        #[test]
        fn within_the_window_it_is_a_set(numbers in prop::collection::vec(1..200_u64, 0..300)) {
            let mut seen = Seen::new(4);
            let mut model = BTreeSet::new();
            let mut highest = 0;
            for seq in numbers {
                let old = highest >= seq + 128;
                prop_assert_eq!(seen.contains(&id(1, 1, seq)), old || model.contains(&seq));
                prop_assert_eq!(seen.insert(&id(1, 1, seq)), !old && model.insert(seq));
                highest = highest.max(seq);
            }
        }
    }

    #[test]
    fn far_jumps_forget_what_is_behind_them() {
        let mut seen = Seen::new(4);
        for seq in [1, u64::MAX] {
            assert!(seen.insert(&id(1, 1, seq)));
            assert!(!seen.insert(&id(1, 1, seq)));
        }
        assert!(!seen.insert(&id(1, 1, 2)) && seen.is_too_old(&id(1, 1, 2)));
        assert!(seen.insert(&id(1, 1, u64::MAX - 127)));
    }

    #[test]
    fn an_earlier_life_is_over() {
        let mut seen = Seen::new(4);
        assert!(seen.insert(&id(1, 2, 5)));
        assert!(!seen.insert(&id(1, 1, 9)));
        assert!(seen.insert(&id(1, 3, 1)));
        assert!(!seen.insert(&id(1, 2, 6)) && !seen.is_too_old(&id(1, 2, 6)));
    }

    #[test]
    fn who_was_silent_for_longest_is_forgotten_first() {
        let mut seen = Seen::new(8);
        for source in 0..8 {
            assert!(seen.insert(&id(source, 1, 1)));
        }
        assert!(seen.insert(&id(0, 1, 2)));
        assert!(seen.insert(&id(8, 1, 1)));
        assert!(seen.contains(&id(0, 1, 1)));
        assert!(!seen.contains(&id(1, 1, 1)));
        assert!(seen.windows.len() <= 8);
    }
}
