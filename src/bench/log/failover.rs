//! The leader killed or frozen, until the next record is acknowledged; and whether there were ever two leaders at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::attempts::Attempts;
use super::cluster::{Cluster, Place};
use super::engine::Engine;

/// How often all servers are asked who leads.
const STANDINGS_EVERY: Duration = Duration::from_millis(10);
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
/// How long a cluster that is whole again is left alone before the next blow.
const SETTLE: Duration = Duration::from_millis(500);

/// What happens to a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// SIGKILL; then it is started again.
    Kill,
    /// SIGSTOP; it goes on as if nothing had been once another one has taken a record.
    Freeze,
}

impl Blow {
    /// What the table calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Freeze => "SIGSTOP",
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Failovers {
    /// From the signal to the next acknowledged record, in milliseconds.
    pub(super) milliseconds: Vec<f64>,
    /// Who said that it led, by term; empty where the engine tells no terms.
    pub(super) leaders: BTreeMap<u64, BTreeSet<usize>>,
}

impl Failovers {
    /// Adds what was seen of leaders another time.
    pub(super) fn add_leaders(&mut self, others: BTreeMap<u64, BTreeSet<usize>>) {
        for (term, ids) in others {
            self.leaders.entry(term).or_default().extend(ids);
        }
    }

    /// An error if two servers led in the same term.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let twice = self.leaders.iter().find(|(_, leaders)| leaders.len() > 1);
        match twice {
            None => Ok(()),
            Some((term, leaders)) => anyhow::bail!("two servers led in term {term}: {leaders:?}"),
        }
    }
}

/// Strikes the leader `count` times, each time after everything is whole again.
pub(super) fn measure(
    cluster: &mut Cluster,
    blow: Blow,
    count: usize,
    bytes: usize,
) -> anyhow::Result<Failovers> {
    let (engine, places) = (cluster.engine().clone(), cluster.places().to_vec());
    let is_over = AtomicBool::new(false);
    let (milliseconds, leaders) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&engine, &places, &is_over));
        let milliseconds = (0..count).map(|_| strike(cluster, blow, bytes)).collect::<anyhow::Result<_>>();
        is_over.store(true, Ordering::Relaxed);
        (milliseconds, watching.join().expect("the watcher does not panic"))
    });
    let failovers = Failovers { milliseconds: milliseconds?, leaders };
    failovers.check()?;
    Ok(failovers)
}

/// Strikes the leader once, and makes everything whole again; how many milliseconds nobody took a record.
fn strike(cluster: &mut Cluster, blow: Blow, bytes: usize) -> anyhow::Result<f64> {
    let leader = cluster.await_leader(FAILOVER_LIMIT)?;
    thread::sleep(SETTLE);
    let mut attempts = Attempts::new(bytes, FAILOVER_LIMIT);
    for id in (0..cluster.len()).filter(|&id| id != leader) {
        attempts.add(id, cluster.client(id)?, true)?;
    }
    // Others do not say at which place of the log a record is, so nothing could be made of what they acknowledge when they go on.
    let tells_places = matches!(cluster.engine(), Engine::Ours | Engine::Rows);
    if blow == Blow::Freeze && tells_places {
        attempts.add(leader, cluster.client(leader)?, false)?;
    }
    let explain = |cluster: &Cluster, error: anyhow::Error| {
        cluster.explain(error.context(format!("{} of server {leader}", blow.name())))
    };
    let took = match blow {
        Blow::Kill => cluster.kill(leader),
        Blow::Freeze => cluster.freeze(leader),
    };
    let took = took.and_then(|begin| attempts.first_acknowledged(begin));
    let took = took.map_err(|error| explain(cluster, error))?;
    match blow {
        Blow::Kill => {
            drop(attempts);
            cluster.start_server(leader)?;
        }
        Blow::Freeze => {
            cluster.thaw(leader)?;
            if tells_places {
                attempts.settle().map_err(|error| explain(cluster, error))?;
            }
        }
    }
    cluster.await_leader(FAILOVER_LIMIT)?;
    cluster.await_all_applied(0)?;
    Ok(took.as_secs_f64() * 1e3)
}

/// Asks all servers who leads, again and again.
fn watch(engine: &Engine, places: &[Place], is_over: &AtomicBool) -> BTreeMap<u64, BTreeSet<usize>> {
    let mut leaders: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    // Peers are left alone: they tell no term that belongs to the leader they name.
    let mut goes_on = *engine == Engine::Ours;
    while goes_on {
        // Asked once more when it is over: a frozen server holds up the questions to all.
        goes_on = !is_over.load(Ordering::Relaxed);
        for (id, standing) in engine.standings(places).into_iter().enumerate() {
            if let Some((true, Some(term))) = standing.map(|standing| (standing.is_leader, standing.term)) {
                leaders.entry(term).or_default().insert(id);
            }
        }
        thread::sleep(STANDINGS_EVERY);
    }
    leaders
}
