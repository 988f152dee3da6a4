//! The scenario `messenger`: users of a chat whose servers agree on a log. They register, write to each other and to a group, read, leave and come back, while servers
//! and users crash and stand still, connections and links break, disks tear, and parts of the network do not hear each other.
//!
//! There is one cluster of servers, or there are two, which the seed says. Where there are two, everybody registers in both and goes from one to the other, and clusters part; at the
//! end one of them may be out of reach for good, and everybody is in the other one.
//!
//! What must hold is judged by what users see, on their connections and of their answers: see the checkers.

mod book;
mod checkers;
mod node;
#[cfg(test)]
mod tests;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use self::book::{Book, Lives, Seen};
use self::checkers::{
    Answered, ClassReads, Delivered, Heirs, History, Judge, Marks, Once, Order, Presence, Remembered, Shown,
    Strangers,
};
use self::node::{Node, Server};
use self::user::{Identity as UserIdentity, Kind, User};
use crate::agent::{Agent, Attrs, Configure, Peer, Port, Session, Setup};
use crate::agents::messenger::Messenger;
use crate::agents::raft::{Options, Raft};
use crate::agents::replicated::{Identity, LOG_ROUTE, Replicated};
use crate::rng::{Probability, Rng};
use crate::sim::{
    Carrier, Checker, Delay, FailureModel, Fault, Outcome, PartitionId, Plan, Scenario, Service, Settings,
    Severity, World, run_service,
};
use crate::time::Time;
use crate::trace::Event;

/// The scenario `messenger`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessengerScenario;

impl Scenario for MessengerScenario {
    fn name(&self) -> &'static str {
        "messenger"
    }

    fn about(&self) -> &'static str {
        "a chat of one or two clusters of three servers (0 to 5) and its users: what is acknowledged arrives, once and in order, and nobody reads what is not for them"
    }

    fn default_plan(&self) -> Plan {
        let carrier = Carrier::Stream;
        let (faults, failure_model) = (self.faults(carrier), FailureModel::Rst);
        Plan { servers: 12, seed: 1, faults, steps: 200, carrier, failure_model, wire: false }
    }

    fn carriers(&self) -> &'static [Carrier] {
        &[Carrier::Stream]
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        carrier.faults().into_iter().chain([Fault::Damage, Fault::DiskError, Fault::Drift]).collect()
    }

    fn servers_max(&self) -> u32 {
        64
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Chat::new(plan, Setting::of(plan), |messenger| messenger), plan, trace)
    }
}

/// A service of servers: the messenger, or something that passes itself off as one.
type MakeServer = Box<dyn Fn(Raft, Messenger, Identity) -> Server>;

/// The servers and the users.
struct Chat {
    setting: Setting,
    make_server: MakeServer,
    users: Vec<UserIdentity>,
    book: Book,
    lives: Lives,
    /// Partitions between clusters, and until when they last.
    parted: Option<([PartitionId; 2], Time)>,
    /// How often and how long things go wrong, where that is not to be drawn.
    severity: Option<Severity>,
}

/// What is drawn for a whole run.
struct Setting {
    options: Options,
    /// Attributes of the servers beside their addresses.
    open_bytes_max: u64,
    on_the_way_bytes_max: usize,
    drifts: Vec<i32>,
    /// How many steps of a hundred write something, of each user.
    writes: u32,
    clusters: usize,
    /// How many steps of a hundred go to another cluster, of each user.
    moves: u32,
    /// How many steps of a hundred part the clusters, if they are not parted.
    parts: u32,
    /// Which cluster is out of reach at the end.
    lost: Option<usize>,
    /// Whether users leave their groups.
    leaves_groups: bool,
    /// Whether one of the users is deleted now and then.
    deletes: bool,
    /// Whether servers speak as the class's client needs it.
    quirks: bool,
}

/// Of each cluster.
const SERVERS: u32 = 3;
/// What the clusters are called.
const TAGS: [&str; 2] = ["east", "west"];
const CLIENTS_PORT: u16 = 4001;
const GROUP: &str = "g0";
/// Who is deleted now and then: somebody with one client, of ours, that belongs to no group.
const MORTAL: &str = "u4";
/// Who gives users their commands.
const COMMANDER: Session = Session(1);
/// Clocks run by at most so many millionths too fast or too slow.
const DRIFT_PPM_MAX: u64 = 24_000;
/// The calendar at the beginning of a run: any time will do.
const UNIX_MS: u64 = 1_700_000_000_000;
/// Any number that no seed is likely to be near.
const SETTING: u64 = 0x6D65_7373_656E_6765;

impl Setting {
    fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ SETTING);
        let options = Options {
            cache_bytes_max: [500, 1_000_000][rng.index(2)],
            compact_bytes: [1_000, 20_000, 1_000_000][rng.index(3)],
            keep_after: Duration::from_millis([20, 300, 2_000][rng.index(3)]),
            part_bytes_max: [300, 10_000][rng.index(2)],
            ..Options::default()
        };
        // Everything is drawn whether it is wanted or not, so that the rest stays the same when the plan wants less.
        let clusters = [1, 2][rng.index(2)];
        let drifts = (0..2 * SERVERS).map(|_| {
            let drift = i32::try_from(rng.below(2 * DRIFT_PPM_MAX + 1)).expect("a small number") - 24_000;
            if plan.faults.contains(&Fault::Drift) { drift } else { 0 }
        });
        let drifts = drifts.collect();
        let (moves, parts, lost) =
            ([1, 3][rng.index(2)], [0, 2, 10][rng.index(3)], [0, 1, 2, 2][rng.index(4)]);
        let parting = clusters > 1 && plan.faults.contains(&Fault::Partition);
        Self {
            options,
            drifts,
            open_bytes_max: [300, 1_000_000][rng.index(2)],
            on_the_way_bytes_max: [500, 256 * 1024][rng.index(2)],
            writes: [10, 40][rng.index(2)],
            clusters,
            moves: if clusters > 1 { moves } else { 0 },
            parts: if parting { parts } else { 0 },
            lost: (parting && lost < clusters).then_some(lost),
            leaves_groups: rng.index(2) == 0,
            deletes: rng.index(3) == 0,
            quirks: rng.index(4) == 0,
        }
    }

    /// The servers of all clusters.
    fn servers(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..self.clusters).flat_map(servers_of)
    }
}

/// The servers of a cluster.
fn servers_of(cluster: usize) -> impl Iterator<Item = Peer> {
    let first = u32::try_from(cluster).expect("a small number") * SERVERS;
    (first..first + SERVERS).map(Peer)
}

/// The cluster of a server.
fn cluster_of(server: Peer) -> usize {
    server.index() / SERVERS as usize
}

/// Where a node is reached, as [`World::address`] says.
fn address(peer: Peer) -> SocketAddr {
    let [_, high, middle, low] = (peer.0 + 1).to_be_bytes();
    SocketAddr::from(([10, high, middle, low], CLIENTS_PORT))
}

/// The devices of a plan: two of the first user, then one of each, every third one of a client of the class; some of them in a group.
fn users(plan: &Plan, clusters: usize) -> Vec<UserIdentity> {
    let servers: Vec<Vec<SocketAddr>> =
        (0..clusters).map(|cluster| servers_of(cluster).map(address).collect()).collect();
    let first = u32::try_from(servers.iter().flatten().count()).expect("a small number");
    let count = plan.servers.saturating_sub(first).max(3);
    let name = |device: u32| format!("u{}", device.max(1));
    let members: Vec<String> = (2..count).filter(|device| device % 4 != 0).map(name).collect();
    let identity = |device: u32| UserIdentity {
        device: Peer(first + device),
        name: name(device),
        kind: if device % 3 == 2 { Kind::Class } else { Kind::Ours },
        servers: servers.clone(),
        makes: (device == 0).then(|| (GROUP.to_owned(), members.clone())),
    };
    (0..count).map(identity).collect()
}

fn server_name(peer: Peer) -> String {
    format!("server-{}", peer.0 + 1)
}

impl Chat {
    /// With servers whose messengers are made into something by `make`.
    fn new<M>(plan: &Plan, setting: Setting, make: fn(Messenger) -> M) -> Self
    where
        M: Agent<Msg = crate::agents::messenger::MessengerMessage> + 'static,
    {
        let make_server: MakeServer = Box::new(move |raft, messenger, identity| {
            Box::new(Replicated::new(raft, make(messenger), identity))
        });
        let (book, lives) = (Book::default(), Lives::default());
        let users = users(plan, setting.clusters);
        Self { setting, make_server, users, book, lives, parted: None, severity: None }
    }

    fn server(&self, peer: Peer, seed: u64) -> Server {
        let cluster = cluster_of(peer);
        let names: Vec<String> = servers_of(cluster).map(server_name).collect();
        let name = server_name(peer);
        let open_bytes_max = self.setting.open_bytes_max;
        let others = (0..self.setting.clusters).filter(|other| *other != cluster);
        let others = others.map(|other| {
            let servers: Vec<String> = servers_of(other).map(|server| address(server).to_string()).collect();
            (TAGS[other], servers)
        });
        let attrs = serde_json::json!({
            "clients": address(peer).to_string(),
            "group_tag": TAGS[cluster],
            "secret": "open sesame",
            "clusters": others.collect::<BTreeMap<_, _>>(),
            "quirks": self.setting.quirks,
            "password": {"memory_kib": 8, "passes": 1},
            "limits": {"open_bytes_max": open_bytes_max},
        });
        let attrs: Attrs = serde_json::from_value(attrs).expect("an object");
        let mut setup = Setup::new(&name, &attrs, &[], seed).begun_at_unix_ms(UNIX_MS);
        let messenger = Messenger::configure(&mut setup).expect("the attributes are right");
        let raft = Raft::new(self.setting.options.clone(), &name, &names, seed);
        (self.make_server)(raft, messenger, Identity { name, life: seed, greets: None })
    }

    /// Who belongs to the group.
    fn members(&self) -> BTreeMap<String, BTreeSet<String>> {
        let makers = self.users.iter().filter_map(|user| Some((user, user.makes.as_ref()?)));
        let members = makers.map(|(user, (group, members))| {
            (group.clone(), members.iter().chain([&user.name]).cloned().collect())
        });
        members.collect()
    }

    /// Somebody, or the group, to write to.
    fn receiver(&self, writer: &UserIdentity, rng: &mut Rng) -> String {
        let is_member = self.members().get(GROUP).is_some_and(|members| members.contains(&writer.name));
        if is_member && rng.chance(Probability::percent(30)) {
            return GROUP.to_owned();
        }
        rng.pick(&self.users).map_or_else(String::new, |user| user.name.clone())
    }

    /// How a user may call a conversation of theirs.
    fn conversation(&self, user: &UserIdentity, rng: &mut Rng) -> String {
        let with = self.receiver(user, rng);
        let tag = TAGS[rng.index(TAGS.len())];
        if rng.index(3) == 0 { format!("{with}@{tag}") } else { with }
    }

    /// Lets clusters part, or find each other again. At times nobody at all reaches the first of them.
    fn part(&mut self, world: &mut World<Node>, rng: &mut Rng) {
        if self.parted.is_some_and(|(_, until)| until <= world.now()) {
            self.join(world);
        }
        let (parts, lasts) = (rng.chance(Probability::percent(self.setting.parts)), rng.between(50..=2_000));
        let (cluster, alone) = (rng.index(self.setting.clusters), rng.index(3) == 0);
        if parts && self.parted.is_none() {
            let others: Vec<Peer> = if alone {
                world.peers().filter(|peer| !servers_of(cluster).any(|server| server == *peer)).collect()
            } else {
                self.setting.servers().filter(|server| cluster_of(*server) != cluster).collect()
            };
            let one: Vec<Peer> = servers_of(cluster).collect();
            let until = world.now() + Duration::from_millis(lasts);
            self.parted = Some((world.partition(&one, &others), until));
        }
    }

    fn join(&mut self, world: &mut World<Node>) {
        for id in self.parted.take().into_iter().flat_map(|(both, _)| both) {
            world.heal(id);
        }
    }
}

impl Service for Chat {
    type Agent = Node;

    fn make(&mut self, peer: Peer, seed: u64) -> Node {
        match self.users.iter().find(|user| user.device == peer) {
            None => Node::Server(self.server(peer, seed)),
            Some(who) => Node::User(User::new(who.clone(), seed, &self.book, &self.lives)),
        }
    }

    fn build(&mut self, world: &mut World<Node>, _: &Plan) {
        for peer in self.setting.servers() {
            let agent = self.make(peer, world.seed_for(peer));
            assert_eq!(world.add(agent), peer, "agents are numbered in the order in which they come");
            world.name(peer, server_name(peer));
            world.give_store(peer);
            world.drift(peer, self.setting.drifts[peer.index()]);
            let others = || servers_of(cluster_of(peer)).filter(move |other| *other != peer);
            for other in others().filter(|other| *other < peer) {
                world.link(other, peer);
            }
            let others: Vec<(Peer, Port)> = others().map(|other| (other, Port::LOG)).collect();
            world.route(peer, LOG_ROUTE, &others);
        }
        for user in self.users.clone() {
            let agent = self.make(user.device, world.seed_for(user.device));
            assert_eq!(world.add(agent), user.device, "agents are numbered in the order in which they come");
            world.name(user.device, format!("{}-{}", user.name, user.device));
        }
    }

    fn act(&mut self, world: &mut World<Node>, _: u64, rng: &mut Rng) {
        self.part(world, rng);
        for user in &self.users {
            let (writes, leaves) =
                (rng.chance(Probability::percent(self.setting.writes)), rng.below(100) < 2);
            let (to, burst) = (self.receiver(user, rng), [1, 1, 1, 8][rng.index(4)]);
            let bytes = [0, 50, 200, 3_000][rng.index(4)];
            let (moves, cluster) =
                (rng.chance(Probability::percent(self.setting.moves)), rng.index(self.setting.clusters));
            let (parts, looks_back, deletes) = (rng.below(100) == 0, rng.below(100) == 0, rng.below(60) == 0);
            let of = self.conversation(user, rng);
            if looks_back {
                world.command(user.device, COMMANDER, &format!("back {of}"));
            }
            if parts && self.setting.leaves_groups {
                world.command(user.device, COMMANDER, &format!("part {GROUP}"));
            }
            if deletes && self.setting.deletes && user.name == MORTAL {
                world.command(user.device, COMMANDER, "delete");
            }
            if moves {
                world.command(user.device, COMMANDER, &format!("move {cluster}"));
            } else if leaves {
                world.command(user.device, COMMANDER, "leave");
            } else if writes {
                for _ in 0..burst {
                    world.command(user.device, COMMANDER, &format!("write {to} {bytes}"));
                }
            }
        }
    }

    fn last_act(&mut self, world: &mut World<Node>) {
        world.set_delays(Delay::uniform_ms(1, 10), Delay::uniform_ms(0, 5));
        self.join(world);
        let lost = self.setting.lost;
        if let Some(cluster) = lost {
            let is_lost = |peer: &Peer| servers_of(cluster).any(|server| server == *peer);
            let (one, others): (Vec<Peer>, Vec<Peer>) = world.peers().partition(is_lost);
            world.partition(&one, &others);
        }
        for user in &self.users {
            world.command(user.device, COMMANDER, "settle");
            match lost {
                Some(cluster) => {
                    world.command(user.device, COMMANDER, &format!("move {}", 1 - cluster));
                }
                None if self.setting.clusters > 1 => {
                    world.command(user.device, COMMANDER, "round");
                }
                None => {}
            }
        }
        self.book.borrow_mut().push(Seen::Closing { lost });
        for (place, user) in self.users.iter().enumerate() {
            let other = &self.users[(place + 1) % self.users.len()];
            world.command(user.device, COMMANDER, &format!("write {} 0", other.name));
            world.command(user.device, COMMANDER, &format!("back {}", other.name));
            if user.kind == Kind::Class {
                world.command(user.device, COMMANDER, "visit");
            }
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Node>>> {
        let (book, lives, members) = (&self.book, &self.lives, self.members());
        let ours = self.users.iter().filter(|user| user.kind == Kind::Ours);
        let ours: BTreeSet<String> = ours.map(|user| user.name.clone()).collect();
        vec![
            Box::new(Judge::new(Strangers::new(members.clone()), book, lives)),
            Box::new(Judge::new(Once::default(), book, lives)),
            Box::new(Judge::new(Order::default(), book, lives)),
            Box::new(Judge::new(Shown::default(), book, lives)),
            Box::new(Judge::new(Remembered, book, lives)),
            Box::new(Judge::new(Marks::new(ours.clone()), book, lives)),
            Box::new(Judge::new(Heirs::default(), book, lives)),
            Box::new(Judge::new(History::default(), book, lives)),
            Box::new(Judge::new(ClassReads::default(), book, lives)),
            Box::new(Judge::new(Answered::default(), book, lives)),
            Box::new(Judge::new(Delivered::new(members, ours.clone()), book, lives)),
            Box::new(Judge::new(Presence::new(ours), book, lives)),
        ]
    }

    fn pace(&self) -> Delay {
        Delay::uniform_ms(0, 40)
    }

    fn severity(&self, plan: &Plan) -> Severity {
        self.severity.clone().unwrap_or_else(|| Severity { disks: true, ..Severity::of(plan) })
    }

    fn spares(&self, world: &World<Node>, peer: Peer) -> bool {
        let well = |server: Peer| {
            let contents = world.durable(server);
            let repairs = |about: String| about.contains("standing=repairing");
            world.is_alive(server)
                && contents.is_some_and(crate::sim::Contents::is_whole)
                && world.is_synced(server)
                && !world.has_failed(server)
                && !world.agent(server).and_then(Agent::about).is_some_and(repairs)
        };
        if self.setting.servers().all(|server| server != peer) {
            return false;
        }
        !servers_of(cluster_of(peer)).filter(|server| *server != peer).all(well)
    }

    fn patience(&self) -> Duration {
        // A cluster that was out of reach is tried again after up to 15 s; then everybody may still have to go round.
        Duration::from_secs(if self.setting.clusters > 1 { 100 } else { 60 })
    }

    fn settings(&self, plan: &Plan) -> Settings {
        let mut settings = Settings::of(plan);
        settings.on_the_way_bytes_max = self.setting.on_the_way_bytes_max;
        // The tail of delays has to fit into the time-outs of elections.
        if let Delay::LongTailed { usual_excess, .. } = &mut settings.delay {
            *usual_excess /= 4;
        }
        settings
    }
}
