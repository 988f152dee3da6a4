//! The graph of the active views: degrees, clustering, paths (`HyParView`, Section 5.4, Figure 5, Table 1).

use super::network::{CYCLES, flooding};
use super::plot::{Axis, Plot, Series};
use super::samples::{float, percent, shown};
use super::{Bespoke, Experiment, Goal, Graph, Report, Sample, Samples, Setup, Table, Unit, paper};

/// The experiment on degrees and clustering.
pub(super) struct Degree;

/// The experiment on paths and hops.
pub(super) struct Paths;

const BROADCASTS: u32 = 100;

impl Experiment for Degree {
    fn name(&self) -> &'static str {
        "degree"
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let network = flooding(setup, unit.seed);
        let graph = network.graph();
        let degrees = graph.in_degrees();
        let count = |wanted: u32| float(degrees.iter().filter(|&&degree| degree == wanted).count() as u64);
        let highest = degrees.iter().copied().max().unwrap_or(0);
        let mut samples: Vec<Sample> =
            (0..=highest).map(|degree| Sample::new("nodes", u64::from(degree), count(degree))).collect();
        let full = u32::try_from(setup.options.active_size).unwrap_or(u32::MAX);
        let passive = network.passive_in_degrees();
        let sum: u64 = passive.iter().map(|&degree| u64::from(degree)).sum();
        samples.extend([
            Sample::new("full", 0, 100.0 * count(full) / float(degrees.len().max(1) as u64)),
            Sample::new("clustering", 0, graph.clustering()),
            Sample::new("one way", 0, float(graph.one_way() as u64)),
            Sample::new("islands", 0, float(graph.component_sizes().len() as u64)),
            Sample::new("passive mean", 0, float(sum) / float(passive.len().max(1) as u64)),
            Sample::new("passive least", 0, f64::from(passive.iter().copied().min().unwrap_or(0))),
            Sample::new("passive most", 0, f64::from(passive.iter().copied().max().unwrap_or(0))),
        ]);
        let rules = by_rules(setup, unit.seed);
        let full_by_rules = rules.in_degrees().into_iter().filter(|&degree| degree == full).count() as u64;
        samples.push(Sample::new("full by rules", 0, percent(full_by_rules, rules.len() as u64)));
        samples.push(Sample::new("clustering by rules", 0, rules.clustering()));
        samples
    }

    fn report(&self, setup: &Setup, samples: &Samples) -> Report {
        let mean = |what: &str, digits| shown(samples.mean(what, 0), digits);
        let mut table = table();
        let spread = |what: &str, digits| {
            format!("{} .. {}", shown(samples.min(what, 0), digits), shown(samples.max(what, 0), digits))
        };
        let full = format!("nodes with in-degree {}, %", setup.options.active_size);
        let paper_full = shown(Some(paper::FULL_OF_10_000 / 100.0), 2);
        table.row([full, paper_full, mean("full by rules", 3), mean("full", 3), spread("full", 2)]);
        let paper_clustering = shown(Some(paper::CLUSTERING), 5);
        table.row([
            "clustering coefficient".to_owned(),
            paper_clustering,
            mean("clustering by rules", 5),
            mean("clustering", 5),
            spread("clustering", 5),
        ]);
        for (what, name) in [
            ("one way", "edges without one back"),
            ("islands", "islands (1: connected)"),
            ("passive least", "in-degree in passive views: least"),
            ("passive mean", "in-degree in passive views: mean"),
            ("passive most", "in-degree in passive views: most"),
        ] {
            table.row([name.to_owned(), "-".to_owned(), "-".to_owned(), mean(what, 1), spread(what, 1)]);
        }
        let mut histogram = Table::new(["in-degree", "nodes: mean"]);
        for degree in samples.places("nodes") {
            // A degree that some seeds do not have at all was counted by the others only.
            let sum: f64 = samples.all("nodes", degree).iter().sum();
            histogram.row([degree.to_string(), shown(Some(sum / float(setup.seeds.max(1))), 1)]);
        }
        let goal = Goal::at_least("nodes with full in-degree", 99.8, " %", samples.mean("full", 0));
        let method = format!(
            "Active views after {CYCLES} cycles of shuffling, each edge from who knows to who is known."
        );
        Report { method: vec![method], tables: vec![table, histogram], goals: vec![goal], plots: Vec::new() }
    }
}

impl Experiment for Paths {
    fn name(&self) -> &'static str {
        "paths"
    }

    fn run(&self, setup: &Setup, unit: Unit) -> Vec<Sample> {
        let mut network = flooding(setup, unit.seed);
        let distances = network.graph().distances(unit.seed);
        let mut samples = vec![
            Sample::new("mean", 0, distances.mean),
            Sample::new("longest", 0, f64::from(distances.longest)),
            Sample::new("unreachable", 0, float(distances.unreachable)),
        ];
        let shares = (1u64..).zip(distances.shares);
        samples.extend(shares.map(|(distance, share)| Sample::new("pairs", distance, share)));
        let mut hops = 0;
        for _ in 0..BROADCASTS {
            let Some(source) = network.any() else { break };
            hops += u64::from(network.broadcast(source).hops);
        }
        samples.push(Sample::new("hops", 0, float(hops) / f64::from(BROADCASTS)));
        samples.push(Sample::new("mean by rules", 0, by_rules(setup, unit.seed).distances(unit.seed).mean));
        samples
    }

    fn report(&self, _: &Setup, samples: &Samples) -> Report {
        let mut table = table();
        for (what, name, paper) in [
            ("mean", "average shortest path", shown(Some(paper::SHORTEST_PATH), 3)),
            ("longest", "longest shortest path", "-".to_owned()),
            ("unreachable", "pairs without a path", "-".to_owned()),
            ("hops", "hops to the last delivery of a flood", shown(Some(paper::LAST_HOP), 1)),
        ] {
            let spread = format!("{} .. {}", shown(samples.min(what, 0), 3), shown(samples.max(what, 0), 3));
            let rules = shown(samples.mean(&format!("{what} by rules"), 0), 3);
            table.row([name.to_owned(), paper, rules, shown(samples.mean(what, 0), 3), spread]);
        }
        let plot = Plot {
            name: "overlay-paths",
            title: "How far nodes are from each other".to_owned(),
            x: Axis::linear("links on the shortest path"),
            y: Axis::linear("pairs of nodes, %"),
            series: vec![Series::ours("ovid", samples.series("pairs"))],
        };
        let method = format!(
            "Active views after {CYCLES} cycles of shuffling; shortest paths from all nodes to all others (from a sample of 1,024 nodes where there are \
             more than 20,000); {BROADCASTS} floods from random nodes."
        );
        let goal = Goal::at_most("average shortest path", 6.40, "", samples.mean("mean", 0));
        Report { method: vec![method], tables: vec![table], goals: vec![goal], plots: vec![plot] }
    }
}

/// What the active views are like, beside the paper's figures.
fn table() -> Table {
    Table::new([
        "of the active views",
        "HyParView (paper)",
        "the rules alone",
        "ours: mean",
        "seeds from .. to",
    ])
}

/// The graph to which the paper's rules by themselves lead.
fn by_rules(setup: &Setup, seed: u64) -> Graph {
    let mut rules = Bespoke::build(setup.nodes, &setup.options, seed);
    (0..CYCLES).for_each(|_| rules.cycle());
    rules.graph()
}
