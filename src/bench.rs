//! Measuring grids from outside: the load generator, the baselines and the tables.
//!
//! Every bench drives processes through the lab's contract alone: it starts them in process groups of their own, speaks
//! to their master ports, and ends every group on every way out. So our servers, the two baselines in this room (the
//! [`bare`] and the [`naive`] grid) and any other implementation are measured in the same way, in one run, repeat by
//! repeat side by side: on a machine that others use too, only the ratio of two such figures means something.
//!
//! This room knows nothing of the server's inside and never uses its modules: what it measures, users see too.

#![expect(clippy::disallowed_methods, reason = "to measure is to read a clock and to wait")]

pub mod bare;
pub mod baseline;
pub mod boxes;
pub mod broadcast;
pub mod chat;
pub mod detect;
pub mod feed;
mod figures;
pub mod fleet;
pub mod groups;
pub mod idle;
pub mod latency;
pub mod log;
pub mod machine;
pub mod master;
pub mod naive;
pub mod nats;
pub mod node;
pub mod observer;
pub mod overlay;
pub mod report;
pub mod sample;
pub mod startup;
pub mod stats;
pub mod system;
pub mod usage;
pub mod verify;

use system::{Ports, System};

/// What was asked for cannot be measured. Nothing has been started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadOption(String);

/// An error of the arguments unless the condition holds.
fn require(is_met: bool, message: impl Into<String>) -> anyhow::Result<()> {
    if is_met { Ok(()) } else { Err(BadOption(message.into()).into()) }
}

/// What all benches have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The systems to measure side by side; ratios are the first one's to each other one's.
    pub systems: Vec<System>,
    /// How many servers each measured grid has.
    pub servers: Vec<usize>,
    /// How often everything is measured; the systems take turns within one repeat.
    pub repeats: usize,
    /// Where the servers listen.
    pub ports: Ports,
}

impl Setup {
    /// The systems in the order of one repeat: each repeat begins with another one, so that none always comes first.
    fn turn(&self, repeat: usize) -> impl Iterator<Item = (usize, &System)> {
        let count = self.systems.len();
        (0..count).map(move |place| (place + repeat) % count).map(|index| (index, &self.systems[index]))
    }

    /// A table's cell: the ratios of the first system's samples to another's, pair by pair within one repeat. Both
    /// samples of a pair were taken within seconds, so what else the machine did hit both.
    fn ratio_cell(&self, index: usize, samples: &[Vec<f64>]) -> String {
        if index == 0 {
            return if self.systems.len() == 1 { "-".to_owned() } else { "1".to_owned() };
        }
        let pairs = samples[0].iter().zip(&samples[index]);
        let ratios: Vec<f64> = pairs.map(|(first, other)| first / other).collect();
        report::spread(&ratios, if stats::median(&ratios) < 0.1 { 4 } else { 2 })
    }
}
