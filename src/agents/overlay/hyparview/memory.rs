//! Names for worse times.

use super::views::Names;
use crate::rng::Rng;

/// Names that had no room in the passive view. They are many and hardly ever looked at, and nearly every shuffle brings some: with thousands of nodes
/// in one process, each would have to wait for a line of memory of its own. So those that come are put down first, and take their places several at a time.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Memory<I> {
    /// New names, each with the place of the one that it drives out: drawn already, so that nothing depends on when they move.
    late: Vec<(u32, I)>,
    names: Names<I>,
}

impl<I: Copy + PartialEq> Memory<I> {
    pub(super) fn new(size: usize) -> Self {
        Self { names: Names::new(size), late: Vec::new() }
    }

    /// Adds a name. Where there is no room, one at random has to go.
    pub(super) fn insert(&mut self, id: I, fresh: bool, rng: &mut Rng) {
        if !fresh {
            self.names().insert(id, fresh, rng);
            return;
        }
        let Some(place) = self.names.draw_place(rng) else {
            self.names.insert(id, fresh, rng);
            return;
        };
        if self.late.capacity() == 0 {
            self.late.reserve_exact(LATE_MAX);
        }
        self.late.push((place, id));
        if self.late.len() >= LATE_MAX {
            self.settle();
        }
    }

    /// All of them.
    pub(super) fn names(&mut self) -> &mut Names<I> {
        self.settle();
        &mut self.names
    }

    /// Looks at where the next name will be put down.
    #[inline]
    pub(super) fn look_ahead(&self) {
        std::hint::black_box(self.late.last().copied());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn settle(&mut self) {
        for (place, id) in self.late.drain(..) {
            self.names.replace_fresh(place, id);
        }
    }
}

/// How many names are put down first. They fill four lines of the processor's cache where names are numbers, and then fall upon sixteen.
const LATE_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Memory, Names};
    use crate::rng::Rng;

    /// What is done with a memory.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, bool),
        Take,
        Refresh,
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..100_u32, prop::bool::weighted(0.95)).prop_map(|(id, fresh)| Step::Insert(id, fresh)),
            1 => Just(Step::Take),
            1 => Just(Step::Refresh),
            1 => (0..100_u32).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_is_as_if_each_name_had_taken_its_place_at_once(size in 0..50_usize, steps in prop::collection::vec(step(), 0..400)) {
            let (mut memory, mut names) = (Memory::new(size), Names::new(size));
            let (mut one, mut other) = (Rng::new(1), Rng::new(1));
            for step in steps {
                match step {
                    Step::Insert(id, fresh) => {
                        memory.insert(id, fresh, &mut one);
                        names.insert(id, fresh, &mut other);
                    }
                    Step::Take => prop_assert_eq!(memory.names().take_fresh(&mut one), names.take_fresh(&mut other)),
                    Step::Refresh => {
                        memory.names().refresh();
                        names.refresh();
                    }
                    Step::Remove(id) => prop_assert_eq!(memory.names().remove(id), names.remove(id)),
                }
                prop_assert_eq!(memory.is_empty(), names.is_empty());
            }
            prop_assert_eq!(memory.names().ids(), names.ids());
            prop_assert_eq!(one.number(), other.number());
        }
    }
}
