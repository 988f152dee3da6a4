//! Letting things go wrong: which fault when, to whom and for how long, drawn from a seed of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::agent::{Agent, Peer};
use crate::rng::{Probability, Rng};
use crate::sim::{ConnectionId, Fault, PartitionId, Plan, World};
use crate::time::Time;

/// How often and how long things go wrong.
#[derive(Clone, Debug)]
pub struct Severity {
    /// How likely a step begins a fault, where all kinds are wanted; accordingly less where fewer are.
    pub per_step: Probability,
    /// The longest that a pause, a stall, a partition or a crash lasts.
    pub longest: Duration,
    /// How many agents may be down at a time.
    pub crashed_max: usize,
    /// Whether disks are among what goes wrong: then the kinds of faults are drawn from more of them.
    pub disks: bool,
}

impl Severity {
    /// What is drawn from the seed of a plan: a fault in every fiftieth, twentieth or fifth step, each for at most 0.1 or 1 s. A third of the
    /// agents, but at least one, may be down at a time. Some runs are nearly calm, and others have hardly a calm moment: each kind
    /// finds what the other hides.
    pub fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ SEVERITY);
        let percent = [2, 5, 20][rng.index(3)];
        let longest = Duration::from_millis([100, 1_000][rng.index(2)]);
        let agents = usize::try_from(plan.servers).expect("a number of agents");
        Self {
            per_step: Probability::percent(percent),
            longest,
            crashed_max: (agents / 3).max(1),
            disks: false,
        }
    }
}

/// Any number that no seed is likely to be near.
const SEVERITY: u64 = 0x7365_7665_7269_7479;

/// Lets things go wrong in a world, and mends them.
#[derive(Debug)]
pub struct Faults {
    rng: Rng,
    /// The faults that are wanted.
    kinds: BTreeSet<Fault>,
    severity: Severity,
    /// When something that went wrong is mended, in the order in which it began.
    mends: Vec<(Time, Mend)>,
}

/// How something that went wrong is mended.
#[derive(Clone, Copy, Debug)]
enum Mend {
    Partition(PartitionId),
    Pause(Peer),
    Crash(Peer),
    Disk(Peer),
}

impl Faults {
    /// The faults of `plan`, drawn from `rng`.
    pub fn new(plan: &Plan, severity: Severity, rng: Rng) -> Self {
        Self { rng, kinds: plan.faults.clone(), severity, mends: Vec::new() }
    }

    /// When the next thing is mended.
    pub fn next_mend(&self) -> Option<Time> {
        self.mends.iter().map(|&(at, _)| at).min()
    }

    /// Mends what is to be mended by now. Agents that start again are made by `make`, from a seed.
    pub fn mend<A: Agent>(&mut self, world: &mut World<A>, mut make: impl FnMut(Peer, u64) -> A) {
        let now = world.now();
        let due: Vec<Mend> = self.mends.iter().filter(|(at, _)| *at <= now).map(|&(_, mend)| mend).collect();
        self.mends.retain(|&(at, _)| at > now);
        for mend in due {
            Self::mend_one(world, mend, &mut make);
        }
    }

    /// Mends everything at once, and lets no message go wrong any more.
    pub fn heal<A: Agent>(&mut self, world: &mut World<A>, mut make: impl FnMut(Peer, u64) -> A) {
        world.calm();
        for (_, mend) in std::mem::take(&mut self.mends) {
            Self::mend_one(world, mend, &mut make);
        }
    }

    fn mend_one<A: Agent>(world: &mut World<A>, mend: Mend, make: &mut impl FnMut(Peer, u64) -> A) {
        match mend {
            Mend::Partition(id) => world.heal(id),
            Mend::Pause(peer) => world.resume(peer),
            Mend::Disk(peer) | Mend::Crash(peer) => {
                if world.is_alive(peer) {
                    if !world.has_failed(peer) {
                        return;
                    }
                    world.crash(peer);
                }
                let agent = make(peer, world.seed_for(peer));
                world.restart(peer, agent);
            }
        }
    }

    /// Perhaps lets something go wrong, but no disk of an agent that is to be spared.
    pub fn step<A: Agent>(&mut self, world: &mut World<A>, spared: impl Fn(&World<A>, Peer) -> bool) {
        // A stream for each step, and a kind out of all kinds: so a plan that wants fewer of them lets the same things go
        // wrong at the same steps, but for those that it does not want.
        let mut rng = self.rng.fork();
        let Some(&kind) =
            rng.pick(if self.severity.disks { &BEGINNING } else { &BEGINNING[..WITHOUT_DISKS] })
        else {
            return;
        };
        if !rng.chance(self.severity.per_step) || !self.kinds.contains(&kind) {
            return;
        }
        let lasts = rng.duration(Duration::ZERO, self.severity.longest);
        let until = world.now() + lasts;
        let peers: Vec<Peer> = world.peers().collect();
        let Some(&peer) = rng.pick(&peers) else { return };
        match kind {
            Fault::Break | Fault::Stall => {
                if let Some(&way) = rng.pick(&ways(world, peer)) {
                    way.disturb(world, peer, (kind == Fault::Stall).then_some(lasts));
                }
            }
            Fault::Partition | Fault::OneWay => self.partition(world, kind, &mut rng, until),
            Fault::Pause => {
                if world.is_alive(peer) && !world.is_paused(peer) {
                    world.pause(peer);
                    self.mends.push((until, Mend::Pause(peer)));
                }
            }
            Fault::Crash => self.crash(world, peer, until),
            Fault::Damage => {
                if !spared(world, peer) {
                    self.crash(world, peer, until);
                    if !world.is_alive(peer)
                        && let Some(damage) = world.some_damage(peer, &mut rng)
                    {
                        world.damage(peer, damage);
                    }
                }
            }
            Fault::DiskError => {
                if !spared(world, peer) && world.fail_store(peer) {
                    self.mends.push((until, Mend::Disk(peer)));
                }
            }
            Fault::Loss | Fault::Duplicate | Fault::Reorder | Fault::Torn | Fault::Drift => {}
        }
    }

    /// Cuts the agents into two groups, unless they are cut already.
    fn partition<A: Agent>(&mut self, world: &mut World<A>, kind: Fault, rng: &mut Rng, until: Time) {
        let cut = |mend: &(Time, Mend)| matches!(mend.1, Mend::Partition(_));
        if self.mends.iter().any(cut) {
            return;
        }
        let mut one: Vec<Peer> = world.peers().collect();
        rng.shuffle(&mut one);
        let other = one.split_off(rng.index(one.len() + 1));
        if one.is_empty() || other.is_empty() {
            return;
        }
        if kind == Fault::OneWay {
            self.mends.push((until, Mend::Partition(world.partition_one_way(&one, &other))));
        } else {
            let both = world.partition(&one, &other);
            self.mends.extend(both.map(|id| (until, Mend::Partition(id))));
        }
    }

    fn crash<A: Agent>(&mut self, world: &mut World<A>, peer: Peer, until: Time) {
        let crashed = self.mends.iter().filter(|mend| matches!(mend.1, Mend::Crash(_))).count();
        if crashed < self.severity.crashed_max && world.is_alive(peer) {
            world.crash(peer);
            self.mends.push((until, Mend::Crash(peer)));
        }
    }
}

/// A way on which an agent reaches another.
#[derive(Clone, Copy, Debug)]
enum Way {
    Link(Peer),
    Connection(ConnectionId),
}

/// The ways of an agent that are open: its links, then its connections.
fn ways<A: Agent>(world: &World<A>, peer: Peer) -> Vec<Way> {
    let links = world.links_of(peer).filter(|link| link.up).map(|link| Way::Link(link.peer));
    let connections = world.connections().filter(|(_, ends)| ends.contains(&peer));
    links.chain(connections.map(|(id, _)| Way::Connection(id))).collect()
}

impl Way {
    /// Lets nothing arrive on this way of `peer` for as long as is said, or breaks it.
    fn disturb<A: Agent>(self, world: &mut World<A>, peer: Peer, stalled: Option<Duration>) {
        match (self, stalled) {
            (Self::Link(other), None) => drop(world.break_link(peer, other)),
            (Self::Link(other), Some(lasts)) => drop(world.stall(peer, other, lasts)),
            (Self::Connection(id), None) => drop(world.break_connection(id)),
            (Self::Connection(id), Some(lasts)) => drop(world.stall_connection(id, lasts)),
        }
    }
}

/// The faults that begin at some step, those of disks last. Loss, repetition, reordering and clocks are settings of the world, torn writes are
/// what a crash leaves.
const BEGINNING: [Fault; 8] = [
    Fault::Break,
    Fault::Stall,
    Fault::Partition,
    Fault::OneWay,
    Fault::Pause,
    Fault::Crash,
    Fault::Damage,
    Fault::DiskError,
];
const WITHOUT_DISKS: usize = 6;

impl Fault {
    /// All faults, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Break,
        Self::Stall,
        Self::Partition,
        Self::OneWay,
        Self::Pause,
        Self::Crash,
        Self::Torn,
        Self::Damage,
        Self::DiskError,
        Self::Drift,
    ];

    /// The name by which the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Break => "break",
            Self::Stall => "stall",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Pause => "pause",
            Self::Crash => "crash",
            Self::Torn => "torn",
            Self::Damage => "damage",
            Self::DiskError => "disk-error",
            Self::Drift => "drift",
        }
    }

    /// The names of several faults, comma-separated; `none` if there are none.
    pub fn names(faults: &BTreeSet<Self>) -> String {
        let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(",") }
    }
}
