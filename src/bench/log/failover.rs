//! SIGKILL of whoever leads, until the next record is acknowledged; and whether there were ever two leaders at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Place};
use super::engine::Engine;
use super::load::Client;
use super::wire::Answer;

/// How often every survivor is asked to take a record, until one has taken one.
const ATTEMPT_EVERY: Duration = Duration::from_millis(5);
/// How often all servers are asked who leads.
const STANDINGS_EVERY: Duration = Duration::from_millis(10);
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
/// How long a cluster that is whole again is left alone before the next kill.
const SETTLE: Duration = Duration::from_millis(500);
const NAP: Duration = Duration::from_micros(200);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Failovers {
    /// From the signal to the next acknowledged record, in milliseconds.
    pub(super) milliseconds: Vec<f64>,
    /// Who said that it led, by term; empty where the engine tells no terms.
    pub(super) leaders: BTreeMap<u64, BTreeSet<usize>>,
}

impl Failovers {
    /// An error if two servers led in the same term.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let twice = self.leaders.iter().find(|(_, leaders)| leaders.len() > 1);
        match twice {
            None => Ok(()),
            Some((term, leaders)) => anyhow::bail!("two servers led in term {term}: {leaders:?}"),
        }
    }
}

/// Kills the leader `count` times, each time after everything is whole again.
pub(super) fn measure(cluster: &mut Cluster, count: usize, bytes: usize) -> anyhow::Result<Failovers> {
    let (engine, places) = (cluster.engine().clone(), cluster.places().to_vec());
    let is_over = AtomicBool::new(false);
    let (milliseconds, leaders) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&engine, &places, &is_over));
        let milliseconds = kill_again_and_again(cluster, count, bytes);
        is_over.store(true, Ordering::Relaxed);
        (milliseconds, watching.join().expect("the watcher does not panic"))
    });
    let failovers = Failovers { milliseconds: milliseconds?, leaders };
    failovers.check()?;
    Ok(failovers)
}

fn kill_again_and_again(cluster: &mut Cluster, count: usize, bytes: usize) -> anyhow::Result<Vec<f64>> {
    let mut milliseconds = Vec::new();
    for _ in 0..count {
        let leader = cluster.await_leader(FAILOVER_LIMIT)?;
        thread::sleep(SETTLE);
        let survivors: Vec<usize> = (0..cluster.len()).filter(|&id| id != leader).collect();
        let mut clients =
            survivors.iter().map(|&id| cluster.client(id)).collect::<anyhow::Result<Vec<Client>>>()?;
        let took = cluster.kill(leader).and_then(|begin| first_acknowledged(&mut clients, begin, bytes));
        let took =
            took.map_err(|error| cluster.explain(error.context(format!("server {leader} was killed"))))?;
        milliseconds.push(took.as_secs_f64() * 1e3);
        drop(clients);
        cluster.start_server(leader)?;
        cluster.await_leader(FAILOVER_LIMIT)?;
        cluster.await_all_applied(0)?;
    }
    Ok(milliseconds)
}

/// Asks all servers who leads, again and again.
fn watch(engine: &Engine, places: &[Place], is_over: &AtomicBool) -> BTreeMap<u64, BTreeSet<usize>> {
    let mut leaders: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    // Peers are left alone: they tell no term that belongs to the leader they name.
    while !is_over.load(Ordering::Relaxed) && *engine == Engine::Ours {
        for (id, standing) in engine.standings(places).into_iter().enumerate() {
            if let Some((true, Some(term))) = standing.map(|standing| (standing.is_leader, standing.term)) {
                leaders.entry(term).or_default().insert(id);
            }
        }
        thread::sleep(STANDINGS_EVERY);
    }
    leaders
}

/// Sends a new record to every survivor every few milliseconds, and returns when the first of them is acknowledged. None of them was sent before the
/// kill, and no answer is waited for: what went to a leader that is dead must not hide one that lives.
fn first_acknowledged(clients: &mut [Client], begin: Instant, bytes: usize) -> anyhow::Result<Duration> {
    for client in clients.iter() {
        client.set_nonblocking()?;
    }
    let record = vec![b'x'; bytes];
    let mut buffer = vec![0; 65_536];
    let mut outs = vec![Vec::new(); clients.len()];
    let mut answers: Vec<Answer> = Vec::new();
    let mut next_attempt = Instant::now();
    let mut number = 0;
    loop {
        anyhow::ensure!(
            begin.elapsed() < FAILOVER_LIMIT,
            "no record was acknowledged within {} s",
            FAILOVER_LIMIT.as_secs()
        );
        if Instant::now() >= next_attempt {
            for (client, out) in clients.iter_mut().zip(&mut outs) {
                client.append(number, &record, out)?;
            }
            number += 1;
            next_attempt += ATTEMPT_EVERY;
        }
        for (client, out) in clients.iter_mut().zip(&mut outs) {
            client.exchange(out, &mut buffer, &mut answers)?;
        }
        if answers.drain(..).any(|answer| answer.refusal.is_none()) {
            return Ok(begin.elapsed());
        }
        thread::sleep(NAP);
    }
}
