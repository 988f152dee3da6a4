//! Which types of agents a configuration can name.

use std::collections::BTreeMap;
use std::fmt;

use super::{Agent, Configure, ErasedAgent, Mistake, Setup};

/// Makes an agent of one type.
type Make = fn(&mut Setup<'_>) -> Result<Box<dyn ErasedAgent>, Mistake>;

/// The types of agents, by the names that configurations call them.
#[derive(Clone, Default)]
pub struct Registry {
    makers: BTreeMap<String, Make>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.makers.keys()).finish()
    }
}

impl Registry {
    /// No types at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds agents of type `A` under `name`; a type that had that name is replaced.
    #[must_use]
    pub fn with<A: Configure>(mut self, name: &str) -> Self
    where
        <A as Agent>::Msg: Send,
    {
        self.makers.insert(name.to_owned(), |setup| A::configure(setup).map(<dyn ErasedAgent>::of));
        self
    }

    /// Makes an agent of the type `name`; `None` if there is no such type.
    pub fn make(&self, name: &str, setup: &mut Setup<'_>) -> Option<Result<Box<dyn ErasedAgent>, Mistake>> {
        self.makers.get(name).map(|make| make(setup))
    }

    /// Whether there is a type `name`.
    pub fn knows(&self, name: &str) -> bool {
        self.makers.contains_key(name)
    }

    /// The names of all types, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.makers.keys().map(String::as_str)
    }
}
