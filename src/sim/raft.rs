//! The scenario `raft`: servers that agree on a log by Raft, each with a disk of its own and a service that counts records.
//!
//! What must hold is what Raft's paper promises (figure 3), what its users may rely on, and that a majority which is well gets on with it. Whatever
//! may go wrong goes wrong, with one limit: disks are damaged and fail at so few servers at a time that a majority of every set of voters stays whole.
//! While the voters change (which they do in half of all runs) that is one server; else the smaller half of them.

mod answers;
mod ledger;
mod logs;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use self::answers::{Acknowledged, Chosen, Progress, SameRecords};
use self::ledger::{Feed, Ledger};
use self::logs::{Completeness, Durable, Matching};
use self::watch::{OneLeader, Shared, Watch};
use crate::agent::{Peer, Port, Session};
use crate::agents::raft::{Laws, Options, Raft, Reads};
use crate::agents::replicated::{Identity, LOG_ROUTE, MemberId, Replicated};
use crate::rng::{Probability, Rng};
use crate::sim::{
    Carrier, Checker, Delay, Fault, Outcome, Plan, Scenario, Service, Settings, Severity, World, run_service,
};
use crate::trace::Event;

/// The scenario `raft`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RaftScenario;

impl Scenario for RaftScenario {
    fn name(&self) -> &'static str {
        "raft"
    }

    fn about(&self) -> &'static str {
        "a log that 3, 5 or 7 of the servers agree on: safe whatever happens, and on its way again 2 s after it"
    }

    fn default_plan(&self) -> Plan {
        let carrier = Carrier::Stream;
        let (faults, failure_model) = (self.faults(carrier), crate::sim::FailureModel::Rst);
        Plan { servers: 7, seed: 1, faults, steps: 200, carrier, failure_model, wire: false }
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        carrier.faults().into_iter().chain([Fault::Damage, Fault::DiskError, Fault::Drift]).collect()
    }

    fn servers_max(&self) -> u32 {
        64
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Cluster::new(plan, Laws::ALL), plan, trace)
    }
}

/// What the first so many servers are called.
fn names(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

/// A server: a Raft, and a ledger that lies on it.
type Node = Replicated<Raft, Ledger>;

/// The servers, and what is known of them.
struct Cluster {
    setting: Setting,
    laws: Laws,
    /// As [`Settings::forgetful_disks`].
    forgetful_disks: bool,
    /// How often and how long things go wrong, where that is not to be drawn.
    severity: Option<Severity>,
    members: Rc<[MemberId]>,
    views: Shared,
    feed: Feed,
    records: Chosen,
}

/// What is drawn for a whole run.
struct Setting {
    servers: u32,
    /// The first so many servers are the first voters.
    voters: u32,
    /// Whether voters change.
    changes: bool,
    /// Whether a removal could leave too few voters for a damaged one.
    removals: bool,
    options: Options,
    carrier: Carrier,
    /// By how many millionths each server's clock runs too fast.
    drifts: Vec<i32>,
    /// Whether disks take up to 50 ms to sync, so that crashes often come in between.
    slow_disks: bool,
    /// How many steps of a hundred change who belongs to the log, if that changes.
    changes_percent: u64,
    /// How many steps of a hundred propose something, and ask something.
    appends: u64,
    counts: u64,
}

/// Who gives the servers their commands while things go wrong.
const USER: Session = Session(1);
/// Who gives them the last ones, when all is well.
const USER_LAST: Session = Session(2);
/// Clocks run by at most so many millionths too fast or too slow: two of them differ by less than the 50 thousandths that are allowed for.
const DRIFT_PPM_MAX: u64 = 24_000;

impl Setting {
    fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ SETTING);
        let sizes: Vec<u32> = [3, 5, 7].into_iter().filter(|size| *size <= plan.servers).collect();
        let voters = rng.pick(&sizes).copied().unwrap_or(plan.servers);
        // At most two beside the voters: each costs time, and what happens to them is not new.
        let spares = u32::try_from(rng.below(3)).expect("few");
        let changes = rng.chance(Probability::percent(50)) && voters >= 3;
        let reads = [Reads::Index, Reads::Lease][rng.index(2)];
        let election = Duration::from_millis([100, 150, 250][rng.index(3)]);
        let options = Options {
            election,
            heartbeat: election / 5,
            reads,
            batch_bytes_max: [200, 1_000, 100_000][rng.index(3)],
            inflight_max: [1, 3, 64][rng.index(3)],
            cache_bytes_max: [100, 1_000, 1_000_000][rng.index(3)],
            compact_bytes: [200, 1_000, 1_000_000][rng.index(3)],
            keep_after: Duration::from_millis([20, 300][rng.index(2)]),
            part_bytes_max: [100, 1_000][rng.index(2)],
            sessions_max: [16, 1_024][rng.index(2)],
            ..Options::default()
        };
        let drifts = (0..plan.servers).map(|_| {
            let drift = i32::try_from(rng.below(2 * DRIFT_PPM_MAX + 1)).expect("a small number") - 24_000;
            if plan.faults.contains(&Fault::Drift) { drift } else { 0 }
        });
        let drifts = drifts.collect();
        let removals = !plan.faults.contains(&Fault::Damage) && !plan.faults.contains(&Fault::DiskError);
        Self {
            servers: (voters + if changes { spares } else { 0 }).min(plan.servers),
            voters,
            changes,
            removals,
            options,
            carrier: plan.carrier,
            drifts,
            slow_disks: rng.chance(Probability::percent(25)),
            changes_percent: 5,
            appends: [20, 60][rng.index(2)],
            counts: [5, 25][rng.index(2)],
        }
    }

    /// A change of who belongs to the log.
    fn change(&self, rng: &mut Rng) -> String {
        let mut names = names(self.servers);
        rng.shuffle(&mut names);
        match rng.below(10) {
            0..=1 => format!("log add {}", names[0]),
            2..=3 => format!("log transfer {}", names[0]),
            4 if self.removals => format!("log remove {}", names[0]),
            _ => {
                let sizes = [3, 4, 5, 7].into_iter().filter(|size| *size <= names.len());
                let sizes: Vec<usize> = sizes.collect();
                names.truncate(rng.pick(&sizes).copied().unwrap_or(names.len()));
                format!("log voters {}", names.join(" "))
            }
        }
    }
}

/// How often servers greet the others on a carrier without links, until they know them all.
const GREETS_EVERY: Duration = Duration::from_millis(100);

/// Any number that no seed is likely to be near.
const SETTING: u64 = 0x7261_6674_2E73_696D;

impl Cluster {
    fn new(plan: &Plan, laws: Laws) -> Self {
        let setting = Setting::of(plan);
        let members = names(setting.servers).iter().map(|name| MemberId::of(name)).collect();
        Self {
            setting,
            laws,
            forgetful_disks: false,
            severity: None,
            members,
            views: Shared::default(),
            feed: Feed::default(),
            records: Chosen::default(),
        }
    }

    /// A server that runs, if any does.
    fn somebody(world: &World<Node>, rng: &mut Rng) -> Option<Peer> {
        let peers: Vec<Peer> = world.peers().filter(|peer| world.is_alive(*peer)).collect();
        rng.pick(&peers).copied()
    }
}

impl Service for Cluster {
    type Agent = Node;

    fn make(&mut self, peer: Peer, seed: u64) -> Node {
        let voters = names(self.setting.voters);
        let name = format!("s{peer}");
        let raft = Raft::new(self.setting.options.clone(), &name, &voters, seed).obeying(self.laws);
        let ledger = Ledger::new(peer, seed, Rc::clone(&self.feed));
        let greets =
            (self.setting.carrier == Carrier::Datagram).then_some((GREETS_EVERY, self.members.len() - 1));
        Node::new(raft, ledger, Identity { name, life: seed, greets })
    }

    fn build(&mut self, world: &mut World<Node>, _: &Plan) {
        for number in 0..self.setting.servers {
            let peer = Peer(number);
            let agent = self.make(peer, world.seed_for(peer));
            assert_eq!(world.add(agent), peer, "agents are numbered in the order in which they come");
            world.name(peer, format!("s{number}"));
            world.give_store(peer);
            world.drift(peer, self.setting.drifts[peer.index()]);
            for other in 0..number {
                world.link(Peer(other), peer);
            }
            let others = (0..self.setting.servers).filter(|other| *other != number);
            let others: Vec<(Peer, Port)> = others.map(|other| (Peer(other), Port::LOG)).collect();
            world.route(peer, LOG_ROUTE, &others);
        }
    }

    fn act(&mut self, world: &mut World<Node>, _: u64, rng: &mut Rng) {
        let Some(peer) = Self::somebody(world, rng) else { return };
        let drawn = rng.below(100);
        let (appends, counts) = (self.setting.appends, self.setting.counts);
        if drawn < appends {
            let burst = [1, 1, 1, 5][rng.index(4)];
            for _ in 0..burst {
                world.command(peer, USER, "append");
            }
        } else if drawn < appends + counts {
            world.command(peer, USER, "count");
        } else if drawn < appends + counts + self.setting.changes_percent && self.setting.changes {
            world.command(peer, USER, &self.setting.change(rng));
        }
    }

    fn last_act(&mut self, world: &mut World<Node>) {
        // How long progress may take can be said only if it is known how long messages and disks do.
        world.set_delays(Delay::uniform_ms(1, 10), Delay::uniform_ms(0, 5));
        for peer in world.peers() {
            for line in ["append", "count"] {
                world.command(peer, USER_LAST, line);
            }
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Node>>> {
        let views = || Rc::clone(&self.views);
        let records = || Rc::clone(&self.records);
        vec![
            Box::new(Watch::new(views(), Rc::clone(&self.feed))),
            Box::new(OneLeader::new(views(), Rc::clone(&self.members))),
            Box::new(Matching::new(views())),
            Box::new(Completeness::new(views())),
            Box::new(Durable::new(views())),
            Box::new(SameRecords::new(views(), records())),
            Box::new(Acknowledged::new(views(), records())),
            Box::new(Progress::new(views(), records())),
        ]
    }

    fn severity(&self, plan: &Plan) -> Severity {
        let usual = self.severity.clone().unwrap_or_else(|| Severity::of(plan));
        let servers = usize::try_from(plan.servers).expect("a number of servers");
        Severity { crashed_max: servers, disks: true, ..usual }
    }

    fn spares(&self, world: &World<Node>, peer: Peer) -> bool {
        let views = self.views.borrow();
        let broken = |other: &Peer| {
            let damaged = world.durable(*other).is_some_and(|contents| !contents.is_whole());
            damaged || world.has_failed(*other) || views.broken.contains(other)
        };
        let others = world.peers().filter(|other| *other != peer && broken(other)).count();
        let voters = if self.setting.changes { 3 } else { self.setting.voters };
        others >= usize::try_from(voters.saturating_sub(1) / 2).expect("a number of servers")
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn settings(&self, plan: &Plan) -> Settings {
        let mut settings = Settings::of(plan);
        settings.forgetful_disks = self.forgetful_disks;
        if self.setting.slow_disks {
            settings.syncing = Delay::uniform_ms(0, 50);
        }
        // The tail of delays has to fit into the time-outs of elections.
        if let Delay::LongTailed { usual_excess, .. } = &mut settings.delay {
            *usual_excess /= 4;
        }
        settings
    }
}
