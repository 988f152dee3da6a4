//! All servers killed at once with many records in their logs, and started again.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::load::{self, Flow, Until};
use crate::bench::stats::as_f64;

const RESTART_LIMIT: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Debug)]
pub(super) struct Restart {
    /// From the first exec until a record is acknowledged, in seconds.
    pub(super) acknowledges_s: f64,
    /// From the first exec until every server has everything that was there before.
    pub(super) applied_s: f64,
    /// The most memory of any server while the records were written, in MiB.
    pub(super) filled_mib: f64,
    /// The most memory of any server after the restart.
    pub(super) resident_mib: f64,
    /// What each server's files take for each record.
    pub(super) disk_bytes_per_record: f64,
}

/// Writes records until there are as many as asked for, kills all servers and starts them again.
pub(super) fn measure(cluster: &mut Cluster, records: u64, flow: &Flow) -> anyhow::Result<Restart> {
    let leader = cluster.await_leader(RESTART_LIMIT)?;
    let fill = Flow { warm_up: Duration::ZERO, until: Until::Records(records), ..*flow };
    load::run(vec![cluster.client(leader)?], &fill, &mut || (), &mut || ())
        .map_err(|error| cluster.explain(error))?;
    cluster.await_all_applied(0)?;
    let before = cluster.standings().into_iter().flatten().map(|standing| standing.applied).max();
    let filled_mib = cluster.resident_mib_max();
    let disk_bytes_per_record = as_f64(cluster.disk_bytes()) / as_f64(records) / as_f64(cluster.len() as u64);
    cluster.kill_all();
    let begin = Instant::now();
    for id in 0..cluster.len() {
        cluster.start_server(id)?;
    }
    cluster.await_leader(RESTART_LIMIT)?;
    let acknowledges_s = begin.elapsed().as_secs_f64();
    cluster.await_all_applied(before.unwrap_or(0))?;
    let applied_s = begin.elapsed().as_secs_f64();
    let resident_mib = cluster.resident_mib_max();
    Ok(Restart { acknowledges_s, applied_s, filled_mib, resident_mib, disk_bytes_per_record })
}
