//! What all nodes of an overlay agree on.

use std::time::Duration;

use thiserror::Error;

/// The numbers of an overlay, under the names of the paper (Section 5.1, Table 1) where it has them, with its values as defaults. They should be the
/// same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many links a node keeps.
    pub active_size: usize,
    /// How many other nodes it knows that could take their place.
    pub passive_size: usize,
    /// Active random walk length: how far news of a joining node travels.
    pub arwl: u8,
    /// Passive random walk length: with how many steps left that news puts the newcomer into passive views.
    pub prwl: u8,
    /// How many ids of the active view are in a shuffle.
    pub k_active: usize,
    /// How many ids of the passive view are in a shuffle.
    pub k_passive: usize,
    /// How often a node shuffles. Each waits a random part of it at first.
    pub shuffle_period: Duration,
    /// How many of a node's first shuffles come sooner, each in half the time of the one behind it: a node that has hardly heard of anybody would be
    /// alone for good if its neighbours and its contact died together. Not in the paper.
    pub early_shuffles: u8,
    /// How often a link carries something, a `KEEPALIVE` where there is nothing else; a peer that is silent for three times that is given up.
    /// Zero: never, a death is learned from the links alone.
    pub keep_alive: Duration,
    /// How long a request may take, from the dial to the answer, before somebody else is asked.
    pub timeout: Duration,
    /// How many addresses are remembered beyond the passive view, for a node that is left alone. Not in the paper.
    pub memory_size: usize,
    /// How often a node looks whether one that it remembers is in another island. Needs `keep_alive`; zero: never. Not in the paper.
    pub probe_period: Duration,
    /// How often a node tries to change a slow link for a faster one, keeping its degree. Zero: never. After X-BOT (Leitão, Marques, Pereira and
    /// Rodrigues, SRDS 2009).
    pub optimise_period: Duration,
    /// What is spoken.
    pub dialect: Dialect,
}

/// What nodes speak to each other. The rules are the same; what the wire has no room for is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Everything: requests are all answered, shuffles numbered, islands named.
    #[default]
    Own,
    /// What `gen_hypar` (Erlang, 2012) speaks: `JOIN` and `JOINREPLY` are not answered, shuffles have no number, islands no name.
    GenHypar,
}

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} = {value}: {rule}")]
pub struct OptionsError {
    /// Which option.
    pub name: &'static str,
    /// What it is.
    pub value: u64,
    /// What it should be.
    pub rule: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            active_size: 5,
            passive_size: 30,
            arwl: 6,
            prwl: 3,
            k_active: 3,
            k_passive: 4,
            shuffle_period: Duration::from_secs(10),
            early_shuffles: 6,
            keep_alive: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            memory_size: 256,
            probe_period: Duration::from_secs(10),
            optimise_period: Duration::ZERO,
            dialect: Dialect::Own,
        }
    }
}

impl Options {
    /// Whether an overlay can work with them.
    pub fn check(&self) -> Result<(), OptionsError> {
        let limits = [
            ("active_size", self.active_size, 1..=100, "a node has 1 to 100 links"),
            ("passive_size", self.passive_size, 1..=10_000, "a node knows 1 to 10,000 others"),
            ("k_active", self.k_active, 0..=self.active_size, "at most active_size"),
            ("k_passive", self.k_passive, 0..=self.passive_size.min(120), "at most passive_size, and 120"),
            ("prwl", usize::from(self.prwl), 0..=usize::from(self.arwl), "at most arwl"),
            ("early_shuffles", usize::from(self.early_shuffles), 0..=16, "at most 16"),
            ("memory_size", self.memory_size, 0..=100_000, "at most 100,000"),
        ];
        for (name, value, range, rule) in limits {
            if !range.contains(&value) {
                return Err(OptionsError { name, value: value as u64, rule });
            }
        }
        for (name, value) in [("shuffle_period", self.shuffle_period), ("timeout", self.timeout)] {
            if value.is_zero() {
                return Err(OptionsError { name, value: 0, rule: "longer than nothing" });
            }
        }
        Ok(())
    }

    /// How many ids a shuffle has at most, its origin not counted.
    pub fn shuffle_size(&self) -> usize {
        self.k_active + self.k_passive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_numbers_are_fine_and_nonsense_is_named() {
        assert_eq!(Options::default().check(), Ok(()));
        let error = Options { k_active: 6, ..Options::default() }.check().expect_err("more than there are");
        assert_eq!(error.to_string(), "k_active = 6: at most active_size");
        assert!(Options { timeout: Duration::ZERO, ..Options::default() }.check().is_err());
        assert!(Options { active_size: 0, ..Options::default() }.check().is_err());
    }
}
