//! What one grid goes through, in this order, and what is measured of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use serde::Serialize;

use super::Options;
use super::graph::Graph;
use super::listener::{Broadcast, Heard, Listener, Signals};
use crate::bench::broadcast::await_messages;
use crate::bench::feed::feed;
use crate::bench::fleet::Fleet;
use crate::bench::latency::{sleep_exactly, sleep_until};
use crate::bench::master::Master;
use crate::bench::report::milliseconds;
use crate::bench::stats::{Shuffle, as_f64, median, percentile, sorted};
use crate::bench::system::{Ports, System};
use crate::bench::usage::Usage;
use crate::bench::verify::{Expected, push_message};

const MESSAGE_BYTES: usize = 32;
/// After the start a grid still settles: trees, late pages, allocations given back.
const SETTLE: Duration = Duration::from_secs(1);
/// A broadcast that has not come by then is lost.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);
/// How long after the kill every survivor must have what the survivors broadcast right after it.
const HEALING_LIMIT: Duration = Duration::from_secs(5);
/// How long after the kill `alive` may be wrong.
const ALIVE_LIMIT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(1);
/// A survivor that still takes dead servers for alive is asked again after this.
const ALIVE_PAUSE: Duration = Duration::from_millis(10);
const KIB_PER_MIB: f64 = 1024.0;
const SEED: u64 = 0x07_1d;

/// What was measured of one grid.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) start: Start,
    pub(super) idle: Idle,
    pub(super) single: Single,
    pub(super) burst: Burst,
    pub(super) failure: Failure,
}

/// Coming together.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    /// From just before the last exec until the last server has answered `alive` with all ids.
    pub(super) all_seen_ms: f64,
    /// How many links a server has then.
    pub(super) neighbours_mean: f64,
}

/// Nobody says anything.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    /// Of one core, one server.
    pub(super) cpu_percent: f64,
    /// Of one server.
    pub(super) wakeups_per_second: f64,
    /// What the median server holds, the program's pages counted as if they were its own.
    pub(super) resident_mib: f64,
    /// What the median server holds, pages that are shared by many counted in parts.
    pub(super) proportional_mib: f64,
    /// The same of all servers together, which is what they really take.
    pub(super) grid_mib: f64,
}

/// Broadcasts at a steady rate, each by another server.
#[derive(Debug)]
pub(super) struct Single {
    /// From when each was due until the last server had it; sorted.
    pub(super) to_last_ms: Vec<f64>,
    /// The same until each server had it; sorted.
    pub(super) to_each_ms: Vec<f64>,
    /// How much too late the generator itself was, at the 99th percentile.
    pub(super) late_ms: f64,
    /// Processor time of all servers, listening to them included, for one message that reaches one server.
    pub(super) cpu_ns_per_delivery: f64,
}

/// Broadcasts as fast as they are taken.
#[derive(Debug, Serialize)]
pub(super) struct Burst {
    pub(super) millions_per_second: f64,
    pub(super) cpu_ns_per_delivery: f64,
}

/// Many die in one moment.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) survivors: f64,
    /// How many groups of survivors had no link to each other in that moment.
    pub(super) islands: f64,
    /// From the first kill until each broadcast had reached those whom links connected to its sender at that moment.
    pub(super) connected_ms: f64,
    /// From the first kill until each broadcast had reached all survivors.
    pub(super) all_ms: f64,
    /// From the first kill until all survivors report exactly the survivors alive.
    pub(super) alive_ms: f64,
    /// How many links a survivor has at the end.
    pub(super) neighbours_mean: f64,
}

/// A grid on its way through the phases.
struct Story<'a> {
    n: usize,
    options: &'a Options,
    ports: Ports,
    fleet: Fleet,
    masters: BTreeMap<usize, Master>,
    /// How many messages each server has broadcast.
    sent: Vec<u64>,
}

/// Runs the whole story of one grid; `say` is told each phase.
pub(super) fn measure(
    n: usize,
    repeat: usize,
    options: &Options,
    ports: Ports,
    say: &dyn Fn(&str),
) -> anyhow::Result<Run> {
    say("starting");
    let (mut story, start) = Story::begin(n, options, ports)?;
    say("idle");
    let idle = story.idle()?;
    say("one by one");
    let single = story.single()?;
    say("pipelined");
    let burst = story.burst()?;
    say("killing");
    let failure = story.failure(repeat)?;
    Ok(Run { start, idle, single, burst, failure })
}

impl<'a> Story<'a> {
    fn begin(n: usize, options: &'a Options, ports: Ports) -> anyhow::Result<(Self, Start)> {
        let mut fleet = Fleet::new(&System::Overlay, n, ports)?;
        let mut last_exec = Instant::now();
        for id in 0..n {
            last_exec = Instant::now();
            fleet.start(id)?;
        }
        let all: Vec<usize> = (0..n).collect();
        let masters = fleet.await_alive(&all, &all)?;
        let all_seen_ms = milliseconds(last_exec.elapsed());
        let masters = masters.into_iter().enumerate().collect();
        let mut story = Self { n, options, ports, fleet, masters, sent: vec![0; n] };
        let neighbours_mean = story.graph()?.degree_mean();
        Ok((story, Start { all_seen_ms, neighbours_mean }))
    }

    fn idle(&self) -> anyhow::Result<Idle> {
        thread::sleep(SETTLE);
        let before = self.fleet.usage()?;
        let start = Instant::now();
        thread::sleep(Duration::from_secs_f64(self.options.seconds));
        let elapsed = start.elapsed().as_secs_f64();
        let after = self.fleet.usage()?;
        let memory = self.fleet.memory()?;
        let mib = |kib: u64| as_f64(kib) / KIB_PER_MIB;
        let proportional: Vec<f64> = memory.iter().map(|memory| mib(memory.proportional_kib)).collect();
        let resident: Vec<f64> = memory.iter().map(|memory| mib(memory.resident_kib)).collect();
        let server_seconds = elapsed * as_f64(self.n as u64);
        let wakeups = after.voluntary_switches.saturating_sub(before.voluntary_switches);
        Ok(Idle {
            cpu_percent: as_f64(after.cpu_ns.saturating_sub(before.cpu_ns)) / 1e9 / server_seconds * 100.0,
            wakeups_per_second: as_f64(wakeups) / server_seconds,
            resident_mib: median(&resident),
            proportional_mib: median(&proportional),
            grid_mib: proportional.iter().sum(),
        })
    }

    /// Broadcasts one by one. Each server sends one first that does not count: then there is a tree.
    fn single(&mut self) -> anyhow::Result<Single> {
        let listener = Listener::connect(0..self.n, self.ports)?;
        let usage_before = self.fleet.usage().ok();
        let total = self.n as u64 + self.options.broadcasts;
        let expected = total * (self.n as u64 - 1);
        let (sends, heard) =
            self.heard_by(listener, expected, ARRIVAL_LIMIT, |story| story.send_paced(total))?;
        let cpu = Usage::cpu_between(usage_before, self.fleet.usage().ok());
        self.check_logs()?;
        let mut to_last = Vec::new();
        let mut to_each = Vec::new();
        let mut late = Vec::new();
        for send in &sends[self.n..] {
            let since_due = |(_, at): (usize, Instant)| milliseconds(at.saturating_duration_since(send.due));
            let times: Vec<f64> = heard.arrivals(send.broadcast).map(since_due).collect();
            to_last.push(times.iter().copied().fold(0.0, f64::max));
            to_each.extend(times);
            late.push(milliseconds(send.written.saturating_duration_since(send.due)));
        }
        Ok(Single {
            to_last_ms: sorted(&to_last),
            to_each_ms: sorted(&to_each),
            late_ms: percentile(&sorted(&late), 99.0),
            cpu_ns_per_delivery: cpu.map_or(f64::NAN, |cpu| as_f64(cpu) / as_f64(expected)),
        })
    }

    fn send_paced(&mut self, total: u64) -> anyhow::Result<Vec<Sent>> {
        let period = Duration::from_secs_f64(1.0 / self.options.rate);
        sleep_exactly();
        let mut due = Instant::now() + period;
        let mut sends = Vec::new();
        for (_, sender) in (0..total).zip((0..self.n).cycle()) {
            sleep_until(due);
            let written = Instant::now();
            sends.push(Sent { broadcast: self.broadcast(sender)?, due, written });
            due += period;
        }
        Ok(sends)
    }

    /// All masters broadcast at once, as fast as their servers take it.
    fn burst(&mut self) -> anyhow::Result<Burst> {
        let each = self.options.pipelined;
        if each == 0 {
            return Ok(Burst { millions_per_second: f64::NAN, cpu_ns_per_delivery: f64::NAN });
        }
        let load = |sender: usize| {
            let mut load = Vec::new();
            for number in self.sent[sender]..self.sent[sender] + each {
                push_command(&mut load, sender, number);
            }
            load
        };
        let loads: Vec<Vec<u8>> = (0..self.n).map(load).collect();
        for sent in &mut self.sent {
            *sent += each;
        }
        let usage_before = self.fleet.usage().ok();
        let start = Instant::now();
        let streams: Vec<&TcpStream> = self.masters.values().map(Master::stream).collect();
        feed(&streams, &loads).map_err(|error| self.fleet.explain(error.connection, error.into()))?;
        let expected = self.expected();
        for (id, master) in &mut self.masters {
            master.stream().set_nonblocking(false)?;
            await_messages(master, &System::Overlay, &expected)
                .map_err(|error| self.fleet.explain(*id, error))?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = Usage::cpu_between(usage_before, self.fleet.usage().ok());
        self.check_logs()?;
        let deliveries = as_f64(each * (self.n * self.n) as u64);
        Ok(Burst {
            millions_per_second: deliveries / seconds / 1e6,
            cpu_ns_per_delivery: cpu.map_or(f64::NAN, |cpu| as_f64(cpu) / deliveries),
        })
    }

    /// Kills a part of the servers and has every survivor broadcast at once.
    fn failure(&mut self, repeat: usize) -> anyhow::Result<Failure> {
        let mut victims: Vec<usize> = (0..self.n).collect();
        Shuffle::new(SEED + repeat as u64).shuffle(&mut victims);
        let survivors = victims.split_off(self.n * usize::from(self.options.killed_percent) / 100);
        let survivors: BTreeSet<usize> = survivors.into_iter().collect();
        let islands = self.graph()?.islands(&survivors);
        let listener = Listener::connect(survivors.iter().copied(), self.ports)?;
        let expected = (survivors.len() * (survivors.len() - 1)) as u64;
        let ((start, alive_ms), heard) =
            self.heard_by(listener, expected, HEALING_LIMIT, |story| story.kill(&victims, &survivors))?;
        let broadcasts: Vec<Broadcast> = survivors.iter().map(|&id| (id, self.sent[id] - 1)).collect();
        let mut failure = Failure {
            survivors: as_f64(survivors.len() as u64),
            islands: as_f64(islands.len() as u64),
            connected_ms: 0.0,
            all_ms: 0.0,
            alive_ms,
            neighbours_mean: 0.0,
        };
        for broadcast in broadcasts {
            let island = islands.iter().find(|island| island.contains(&broadcast.0));
            for (server, at) in heard.arrivals(broadcast) {
                let took = milliseconds(at.saturating_duration_since(start));
                failure.all_ms = failure.all_ms.max(took);
                if island.is_some_and(|island| island.contains(&server)) {
                    failure.connected_ms = failure.connected_ms.max(took);
                }
            }
        }
        anyhow::ensure!(
            failure.all_ms <= milliseconds(HEALING_LIMIT),
            "what the survivors broadcast right after the kill had reached them all only {:.0} ms later",
            failure.all_ms
        );
        self.check_logs()?;
        failure.neighbours_mean = self.graph()?.degree_mean();
        Ok(failure)
    }

    /// Kills, broadcasts, and asks for `alive` until it is right. Returns when the killing began and how long that took.
    fn kill(&mut self, victims: &[usize], survivors: &BTreeSet<usize>) -> anyhow::Result<(Instant, f64)> {
        let start = Instant::now();
        for &id in victims {
            self.fleet.group(id)?.signal(Signal::KILL)?;
        }
        for &id in survivors {
            self.broadcast(id)?;
        }
        for &id in victims {
            self.fleet.kill(id);
            self.masters.remove(&id);
        }
        for (&id, master) in &mut self.masters {
            await_alive(master, survivors, start + ALIVE_LIMIT)
                .map_err(|error| self.fleet.explain(id, error))?;
        }
        Ok((start, milliseconds(start.elapsed())))
    }

    /// Does something that leads to `expected` deliveries, listening, and waits for these for `limit` from then on.
    fn heard_by<R>(
        &mut self,
        listener: Listener,
        expected: u64,
        limit: Duration,
        act: impl FnOnce(&mut Self) -> anyhow::Result<R>,
    ) -> anyhow::Result<(R, Heard)> {
        let signals = Signals::default();
        thread::scope(|scope| {
            let listening = scope.spawn(|| {
                let heard = listener.listen(&signals);
                signals.stop.store(true, Ordering::Relaxed);
                heard
            });
            let done = act(self);
            let deadline = Instant::now() + limit;
            let count = || signals.deliveries.load(Ordering::Relaxed);
            while done.is_ok()
                && count() < expected
                && !signals.stop.load(Ordering::Relaxed)
                && Instant::now() < deadline
            {
                thread::sleep(POLL_PAUSE);
            }
            let came = count();
            signals.stop.store(true, Ordering::Relaxed);
            // What the listener met explains why the others could not go on.
            let heard = listening.join().expect("the listener does not panic")?;
            let done = done?;
            anyhow::ensure!(
                came >= expected,
                "{came} of {expected} deliveries came within {} s: broadcasts are lost, or still on their way",
                limit.as_secs()
            );
            Ok((done, heard))
        })
    }

    /// Has one server broadcast one message.
    fn broadcast(&mut self, sender: usize) -> anyhow::Result<Broadcast> {
        let number = self.sent[sender];
        let mut command = Vec::new();
        push_command(&mut command, sender, number);
        let master =
            self.masters.get_mut(&sender).with_context(|| format!("server {sender} has no master"))?;
        master.write(&command).map_err(|error| self.fleet.explain(sender, error))?;
        self.sent[sender] += 1;
        Ok((sender, number))
    }

    fn graph(&mut self) -> anyhow::Result<Graph> {
        Graph::ask(&mut self.masters, self.ports.link_base)
    }

    fn expected(&self) -> Expected {
        Expected { counts: self.sent.clone(), bytes: MESSAGE_BYTES }
    }

    /// Reads the log of every server that runs: it must hold everything that was ever sent, in order, once.
    fn check_logs(&mut self) -> anyhow::Result<()> {
        let expected = self.expected();
        for (&id, master) in &mut self.masters {
            let log = master.log().map_err(|error| self.fleet.explain(id, error))?;
            expected.check(&log).with_context(|| format!("wrong log of server {id} of {}", self.n))?;
        }
        Ok(())
    }
}

/// One broadcast of the steady rate.
struct Sent {
    broadcast: Broadcast,
    due: Instant,
    written: Instant,
}

fn push_command(to: &mut Vec<u8>, sender: usize, number: u64) {
    to.extend_from_slice(b"broadcast ");
    push_message(to, sender, number, MESSAGE_BYTES);
    to.push(b'\n');
}

fn await_alive(master: &mut Master, expected: &BTreeSet<usize>, deadline: Instant) -> anyhow::Result<()> {
    loop {
        let alive = master.alive()?;
        if alive.iter().eq(expected) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "it reports {alive:?} alive instead of {expected:?}");
        thread::sleep(ALIVE_PAUSE);
    }
}
