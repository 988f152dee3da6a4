//! What a membership wants done, until somebody does it.

use smallvec::SmallVec;

use super::Effect;

/// Effects, in order. Mostly there is one, for which nothing has to be allocated.
#[derive(Debug)]
pub(super) struct Effects<I>(SmallVec<[Effect<I>; 1]>);

impl<I> Default for Effects<I> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<I> Effects<I> {
    #[inline]
    pub(super) fn push_back(&mut self, effect: Effect<I>) {
        self.0.push(effect);
    }

    pub(super) fn extend(&mut self, effects: impl IntoIterator<Item = Effect<I>>) {
        self.0.extend(effects);
    }
}

impl<I> IntoIterator for Effects<I> {
    type Item = Effect<I>;
    type IntoIter = smallvec::IntoIter<[Effect<I>; 1]>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
