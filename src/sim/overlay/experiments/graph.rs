//! What can be said of a graph: who knows whom.

use super::samples::{float, percent};
use crate::rng::Rng;

/// A directed graph of nodes that are numbered from 0.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// Where the neighbours of each node begin in `targets`; one entry more than there are nodes.
    begins: Vec<u32>,
    targets: Vec<u32>,
}

/// How far nodes are from each other, over directed edges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distances {
    /// The mean over all pairs of two nodes of which one reaches the other.
    pub(crate) mean: f64,
    /// The largest.
    pub(crate) longest: u32,
    /// How many pairs of two nodes are not connected.
    pub(crate) unreachable: u64,
    /// Which share of the connected pairs lies at each distance, from 1 on, in percent.
    pub(crate) shares: Vec<f64>,
}

/// From how many nodes distances are measured, where there are so many that all would take too long.
const SOURCES_MAX: usize = 20_000;
const SAMPLE: usize = 1_024;

impl Graph {
    /// The graph in which each node has these neighbours.
    pub(crate) fn new<N: IntoIterator<Item = u32>>(neighbours: impl IntoIterator<Item = N>) -> Self {
        let (mut begins, mut targets) = (vec![0], Vec::new());
        for neighbours in neighbours {
            targets.extend(neighbours);
            begins.push(u32::try_from(targets.len()).expect("fewer than 2^32 edges"));
        }
        Self { begins, targets }
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.begins.len() - 1
    }

    fn of(&self, node: usize) -> &[u32] {
        &self.targets[self.begins[node] as usize..self.begins[node + 1] as usize]
    }

    /// How many nodes know each node.
    pub(crate) fn in_degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0; self.len()];
        for &target in &self.targets {
            degrees[target as usize] += 1;
        }
        degrees
    }

    /// How many edges have no edge back.
    pub(crate) fn one_way(&self) -> usize {
        let knows = |from: u32, to: u32| self.of(from as usize).contains(&to);
        let numbered = (0u32..).take(self.len());
        numbered.map(|node| self.of(node as usize).iter().filter(|&&other| !knows(other, node)).count()).sum()
    }

    /// The component of each node, the direction of edges left out: its smallest node.
    fn components(&self) -> Vec<u32> {
        let mut parents: Vec<u32> = (0u32..).take(self.len()).collect();
        for node in 0..self.len() {
            for &other in self.of(node) {
                let (one, other) = (root(&mut parents, node), root(&mut parents, other as usize));
                let (low, high) = (one.min(other), one.max(other));
                parents[high] = u32::try_from(low).expect("a node");
            }
        }
        (0..self.len()).map(|node| u32::try_from(root(&mut parents, node)).expect("a node")).collect()
    }

    /// How many nodes each component has, the largest first.
    pub(crate) fn component_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.len()];
        for root in self.components() {
            sizes[root as usize] += 1;
        }
        sizes.retain(|&size| size > 0);
        sizes.sort_unstable_by(|one, other| other.cmp(one));
        sizes
    }

    /// How many nodes are in the component of each node, itself counted.
    pub(crate) fn reach(&self) -> Vec<usize> {
        let components = self.components();
        let mut sizes = vec![0; self.len()];
        for &root in &components {
            sizes[root as usize] += 1;
        }
        components.into_iter().map(|root| sizes[root as usize]).collect()
    }

    /// The mean over all nodes of how many of the pairs of a node's neighbours know each other, in either direction (Watts and Strogatz,
    /// "Collective dynamics of small-world networks", 1998). Nodes with fewer than two neighbours count as 0.
    pub(crate) fn clustering(&self) -> f64 {
        let knows = |from: u32, to: u32| self.of(from as usize).contains(&to);
        let of_one = |node: usize| {
            let neighbours = self.of(node);
            let pairs = neighbours.len() * neighbours.len().saturating_sub(1) / 2;
            let linked = |place: usize| {
                let one = neighbours[place];
                let later = neighbours[place + 1..].iter();
                later.filter(|&&other| knows(one, other) || knows(other, one)).count()
            };
            let closed: usize = (0..neighbours.len()).map(linked).sum();
            if pairs == 0 { 0.0 } else { float(closed as u64) / float(pairs as u64) }
        };
        (0..self.len()).map(of_one).sum::<f64>() / float(self.len().max(1) as u64)
    }

    /// How far all nodes are from all others; from a sample drawn from `seed` where there are very many.
    pub(crate) fn distances(&self, seed: u64) -> Distances {
        let mut sources: Vec<usize> = (0..self.len()).collect();
        if sources.len() > SOURCES_MAX {
            Rng::new(seed).shuffle(&mut sources);
            sources.truncate(SAMPLE);
        }
        let mut pairs: Vec<u64> = Vec::new();
        for sources in sources.chunks(64) {
            self.walk(sources, |distance, reached| {
                pairs.resize(pairs.len().max(distance), 0);
                pairs[distance - 1] += reached;
            });
        }
        let all = sources.len() as u64 * (self.len() as u64).saturating_sub(1);
        let connected: u64 = pairs.iter().sum();
        let sum: u64 = (1u64..).zip(&pairs).map(|(distance, pairs)| distance * pairs).sum();
        Distances {
            mean: float(sum) / float(connected.max(1)),
            longest: u32::try_from(pairs.len()).expect("shorter than there are nodes"),
            unreachable: all - connected,
            shares: pairs.iter().map(|&pairs| percent(pairs, connected)).collect(),
        }
    }

    /// Walks away from up to 64 sources at once, one bit for each: a step costs as much as from one. `reached` is told how many pairs of a
    /// source and a node have each distance.
    fn walk(&self, sources: &[usize], mut reached: impl FnMut(usize, u64)) {
        let mut seen = vec![0u64; self.len()];
        let mut frontier = vec![0u64; self.len()];
        for (bit, &source) in sources.iter().enumerate() {
            seen[source] |= 1 << bit;
            frontier[source] |= 1 << bit;
        }
        let mut next = vec![0u64; self.len()];
        for distance in 1.. {
            for (node, &bits) in frontier.iter().enumerate().filter(|(_, bits)| **bits != 0) {
                for &other in self.of(node) {
                    next[other as usize] |= bits;
                }
            }
            let mut count = 0;
            for (next, seen) in next.iter_mut().zip(&mut seen) {
                *next &= !*seen;
                *seen |= *next;
                count += u64::from(next.count_ones());
            }
            if count == 0 {
                return;
            }
            reached(distance, count);
            std::mem::swap(&mut frontier, &mut next);
            next.fill(0);
        }
    }
}

/// The root of the tree in which `node` is; the way to it is halved.
fn root(parents: &mut [u32], mut node: usize) -> usize {
    while parents[node] as usize != node {
        let grandparent = parents[parents[node] as usize];
        parents[node] = grandparent;
        node = grandparent as usize;
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of `len` nodes, each with its two neighbours.
    fn ring(len: u32) -> Graph {
        Graph::new((0..len).map(|node| [(node + 1) % len, (node + len - 1) % len]))
    }

    #[test]
    fn a_ring_is_as_long_as_it_should_be() {
        let distances = ring(101).distances(1);
        // From each node there are two at every distance from 1 to 50.
        assert_eq!((distances.mean, distances.longest, distances.unreachable), (25.5, 50, 0));
        assert_eq!(distances.shares, vec![2.0; 50]);
        assert!(ring(101).clustering().abs() < f64::EPSILON);
        assert_eq!((ring(101).in_degrees(), ring(101).one_way()), (vec![2; 101], 0));
    }

    #[test]
    fn a_ring_is_so_long_by_a_sample_as_well() {
        let len = u32::try_from(SOURCES_MAX).expect("small") + 1;
        // All know node 0, and it knows all: nothing is farther than two.
        let star = Graph::new((0..len).map(|node| if node == 0 { (1..len).collect() } else { vec![0] }));
        let distances = star.distances(7);
        assert_eq!((distances.longest, distances.unreachable), (2, 0));
        assert!((1.99..2.0).contains(&distances.mean), "{}", distances.mean);
    }

    #[test]
    fn triangles_cluster() {
        // Two triangles with a node in common: four nodes with a closed pair, one with two closed pairs of six.
        let bow = Graph::new([vec![1, 2], vec![0, 2], vec![0, 1, 3, 4], vec![2, 4], vec![2, 3]]);
        let expected = (4.0 + 2.0 / 6.0) / 5.0;
        assert!((bow.clustering() - expected).abs() < 1e-12);
        assert_eq!(bow.component_sizes(), [5]);
    }

    #[test]
    fn islands_are_counted_and_edges_without_a_way_back() {
        let graph = Graph::new([vec![1], vec![], vec![3], vec![2], vec![]]);
        assert_eq!(graph.component_sizes(), [2, 2, 1]);
        assert_eq!(graph.reach(), [2, 2, 2, 2, 1]);
        assert_eq!(graph.one_way(), 1);
        let distances = graph.distances(1);
        assert_eq!((distances.longest, distances.unreachable), (1, 20 - 3));
    }

    #[test]
    fn nothing_at_all_has_no_figures_that_are_no_numbers() {
        let empty = Graph::new(Vec::<Vec<u32>>::new());
        assert_eq!(
            empty.distances(1),
            Distances { mean: 0.0, longest: 0, unreachable: 0, shares: Vec::new() }
        );
        assert!(empty.clustering().abs() < f64::EPSILON);
        assert!(empty.component_sizes().is_empty());
    }
}
