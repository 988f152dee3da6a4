//! Who is linked to whom, as the servers say, and which of them can still reach each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::bench::master::Master;
use crate::bench::stats::as_f64;

/// The neighbours of each server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Graph(BTreeMap<usize, BTreeSet<usize>>);

impl Graph {
    /// Asks each server for its neighbours.
    pub(super) fn ask(masters: &mut BTreeMap<usize, Master>, link_base: u16) -> anyhow::Result<Self> {
        let ask = |(&id, master): (&usize, &mut Master)| {
            let answer = master.ask("peers").with_context(|| format!("server {id}"))?;
            Ok((id, parse(&String::from_utf8_lossy(&answer), link_base)?))
        };
        masters.iter_mut().map(ask).collect::<anyhow::Result<_>>().map(Self)
    }

    /// How many neighbours a server has, on average.
    pub(super) fn degree_mean(&self) -> f64 {
        let count = |number: usize| as_f64(number as u64);
        count(self.0.values().map(BTreeSet::len).sum()) / count(self.0.len())
    }

    /// The groups among `ids` that are connected by links between them alone, each link one that both ends know of; the largest first.
    pub(super) fn islands(&self, ids: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let mut left = ids.clone();
        let mut islands = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut island = BTreeSet::from([first]);
            let mut open = vec![first];
            while let Some(id) = open.pop() {
                let near: Vec<usize> = left.iter().copied().filter(|&other| self.linked(id, other)).collect();
                for other in near {
                    left.remove(&other);
                    island.insert(other);
                    open.push(other);
                }
            }
            islands.push(island);
        }
        islands.sort_by_key(|island| std::cmp::Reverse(island.len()));
        islands
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let knows = |a, b| self.0.get(&a).is_some_and(|near| near.contains(&b));
        knows(a, b) && knows(b, a)
    }
}

/// The ids in an answer to `peers`: each server listens on the base plus its id.
fn parse(answer: &str, link_base: u16) -> anyhow::Result<BTreeSet<usize>> {
    let addresses =
        answer.strip_prefix("peers").with_context(|| format!("`{answer}` is no answer to `peers`"))?;
    let id = |address: &str| {
        let port: Option<u16> = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let id = port.and_then(|port| port.checked_sub(link_base));
        id.map(usize::from).with_context(|| format!("`{address}` is the address of no server of the grid"))
    };
    addresses.trim().split(',').filter(|address| !address.is_empty()).map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(links: &[(usize, &[usize])]) -> Graph {
        Graph(links.iter().map(|(id, near)| (*id, near.iter().copied().collect())).collect())
    }

    #[test]
    fn addresses_become_ids() {
        assert_eq!(parse("peers 127.0.0.1:3002,127.0.0.1:3000", 3000).unwrap(), BTreeSet::from([0, 2]));
        assert_eq!(parse("peers ", 3000).unwrap(), BTreeSet::new());
        assert!(parse("peers 127.0.0.1:2999", 3000).is_err());
        assert!(parse("error unknown", 3000).is_err());
    }

    #[test]
    fn islands_are_what_is_left_without_the_others() {
        let graph = graph(&[(0, &[1]), (1, &[0, 2]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3])]);
        let all = BTreeSet::from([0, 1, 2, 3, 4]);
        assert_eq!(graph.islands(&all), std::slice::from_ref(&all));
        let without = BTreeSet::from([0, 1, 3, 4]);
        assert_eq!(graph.islands(&without), [BTreeSet::from([0, 1]), BTreeSet::from([3, 4])]);
        assert!((graph.degree_mean() - 1.6).abs() < 1e-9);
    }

    #[test]
    fn a_link_that_one_end_alone_knows_of_connects_nobody() {
        let graph = graph(&[(0, &[1]), (1, &[])]);
        assert_eq!(graph.islands(&BTreeSet::from([0, 1])).len(), 2);
    }
}
