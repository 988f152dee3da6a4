//! One phase: a cluster under a load that stays the same, as fast as the cluster takes it; what came of it and what that cost.

use std::time::Duration;

use super::cluster::Cluster;
use super::load::{self, Client, Flow, Outcome, Until};
use crate::bench::figures::Figures;
use crate::bench::stats::{as_f64, percentile};
use crate::bench::usage::Usage;

/// What does not count, at the beginning of a phase.
pub(in crate::bench) const WARM_UP: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug)]
pub(in crate::bench) struct Phase {
    /// How many records were acknowledged in a second.
    pub(in crate::bench) records_per_s: f64,
    /// How long each took, in milliseconds, ascending.
    pub(in crate::bench) latencies_ms: Vec<f64>,
    /// The processor time of all servers, in microseconds for each record; `None` where it cannot be told.
    pub(in crate::bench) servers_cpu_us: Option<f64>,
    /// The processor time of the load, in percent of one core.
    pub(in crate::bench) load_percent: f64,
}

/// Keeps records under way, `in_flight` of them with `bytes` each, for so many seconds, over one connection to each server of `lanes`.
pub(in crate::bench) fn measure(
    cluster: &Cluster,
    lanes: &[usize],
    (in_flight, bytes): (usize, usize),
    seconds: f64,
) -> anyhow::Result<Phase> {
    let clients = lanes.iter().map(|&id| cluster.client(id)).collect::<anyhow::Result<Vec<Client>>>()?;
    let until = Until::Elapsed(Duration::from_secs_f64(seconds));
    let flow = Flow { in_flight, bytes, warm_up: WARM_UP, until };
    let (mut before, mut after) = (None, None);
    let outcome =
        load::run(clients, &flow, &mut || before = cluster.usage(), &mut || after = cluster.usage())
            .map_err(|error| cluster.explain(error))?;
    anyhow::ensure!(outcome.acknowledged > 0, "no record was acknowledged within --seconds");
    let Outcome { acknowledged, elapsed, latencies_ms, generator_cpu } = outcome;
    Ok(Phase {
        records_per_s: as_f64(acknowledged) / elapsed.as_secs_f64(),
        latencies_ms,
        servers_cpu_us: Usage::cpu_between(before, after).map(|ns| as_f64(ns) / 1e3 / as_f64(acknowledged)),
        load_percent: generator_cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
    })
}

impl Phase {
    /// Adds what each record costs the servers, below `name`.
    pub(in crate::bench) fn add_cost(&self, figures: &mut Figures, name: &str) {
        if let Some(us) = self.servers_cpu_us {
            figures.add(format!("{name}: servers' CPU us a record"), 1, us);
        }
    }

    /// Adds everything, below `name`.
    pub(in crate::bench) fn add_all(&self, figures: &mut Figures, name: &str) {
        figures.add(format!("{name}: records/s"), 0, self.records_per_s);
        figures.add(format!("{name}: p50 ms"), 3, percentile(&self.latencies_ms, 50.0));
        figures.add(format!("{name}: p99 ms"), 3, percentile(&self.latencies_ms, 99.0));
        self.add_cost(figures, name);
        figures.add(format!("{name}: load, % of a core"), 0, self.load_percent);
    }
}
