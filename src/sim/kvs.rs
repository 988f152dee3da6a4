//! The scenarios `kvs` and `kvs-replicated`: clients put, get and delete at one key-value store whose log lies on a simulated disk, or at three stores whose
//! log is one that they agree on. The store is the same agent.
//!
//! What must hold: the history that the clients see is linearizable; nothing that was committed is gone after a crash; and once the world
//! has healed, every command of a client that lives is answered, and every client can read every key.

mod checkers;
mod node;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use self::checkers::{Answered, Durable, Linearizable};
use self::node::{Carries, Node, Store};
use crate::agent::{Agent, Peer, Port, Session};
use crate::agents::kvs::{Client, Kvs, KvsMessage, Patience};
use crate::agents::raft::{Message, Options, Raft};
use crate::agents::replicated::{Identity, LOG_ROUTE, Replicated, ReplicatedMessage};
use crate::rng::{Probability, Rng};
use crate::sim::{
    Carrier, Checker, Delay, Fault, Outcome, Plan, Scenario, Service, Settings, Severity, World, run_service,
};
use crate::trace::Event;

/// The scenario `kvs`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KvsScenario;

impl Scenario for KvsScenario {
    fn name(&self) -> &'static str {
        "kvs"
    }

    fn about(&self) -> &'static str {
        "a key-value store with a log (server 0) and its clients: linearizable, durable, and everybody gets an answer"
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Shop::new(plan, |clients| Box::new(Kvs::new(clients))), plan, trace)
    }
}

/// The scenario `kvs-replicated`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplicatedKvsScenario;

impl Scenario for ReplicatedKvsScenario {
    fn name(&self) -> &'static str {
        "kvs-replicated"
    }

    fn about(&self) -> &'static str {
        "three key-value stores on a log that they agree on (servers 0 to 2), and clients that ask all of them: as one store that is never lost"
    }

    fn default_plan(&self) -> Plan {
        let usual = KvsScenario.default_plan();
        Plan { servers: 7, faults: self.faults(usual.carrier), ..usual }
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        carrier.faults().into_iter().chain([Fault::Damage, Fault::DiskError, Fault::Drift]).collect()
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Shop::replicated(plan), plan, trace)
    }
}

/// Makes the store that lives at a peer, in a life with this seed; it remembers so many clients.
type MakeStore<M> = Box<dyn Fn(u32, Peer, u64) -> Store<M>>;

/// Stores and their clients.
struct Shop<M = KvsMessage> {
    stores: u32,
    clients: u32,
    make_store: MakeStore<M>,
    /// By how many millionths the clock of each store runs too fast.
    drifts: Vec<i32>,
    /// As [`Settings::forgetful_disks`].
    forgetful_disks: bool,
    users: Rc<RefCell<Users>>,
}

/// What is known of those who give the clients their commands.
#[derive(Default)]
struct Users {
    /// The clients whose user waits for an answer. Nobody asks for the next thing before that: what is asked early and done late
    /// can be explained by so many orders that nobody could try them.
    waiting: BTreeSet<Peer>,
    /// Whether the world has healed and the last commands are given.
    closing: bool,
}

/// Where the only store lives, or the first one; the other stores and then the clients come after it.
const STORE: Peer = Peer(0);
/// How many stores there are where they agree on a log.
const STORES: u32 = 3;
/// Where a store hears requests.
const REQUESTS: Port = Port(1);
/// How many keys there are: few, so that clients meet.
const KEYS: u64 = 4;
/// Who gives a client its commands.
const USER: Session = Session(1);
/// Clocks of stores run by at most so many millionths too fast or too slow.
const DRIFT_PPM_MAX: i32 = 24_000;

impl Shop {
    /// One store with a log of its own.
    fn new(plan: &Plan, make_store: fn(u32) -> Store) -> Self {
        Self::with(plan, 1, Box::new(move |clients, _, _| make_store(clients)))
    }
}

impl Shop<ReplicatedMessage<Message, KvsMessage>> {
    /// Three stores with a log on which they agree.
    fn replicated(plan: &Plan) -> Self {
        Self::replicated_of(plan, Kvs::new)
    }

    /// As these, of stores that `make_kvs` makes.
    fn replicated_of<A: Agent<Msg = KvsMessage> + 'static>(plan: &Plan, make_kvs: fn(u32) -> A) -> Self {
        let options = options(plan.seed);
        let greets = (plan.carrier == Carrier::Datagram).then_some((Duration::from_millis(100), 2));
        let make_store = move |clients: u32, peer: Peer, seed: u64| {
            let names: Vec<String> = (0..STORES).map(store_name).collect();
            let name = store_name(peer.0);
            let raft = Raft::new(options.clone(), &name, &names, seed);
            let identity = Identity { name, life: seed, greets };
            Box::new(Replicated::new(raft, make_kvs(clients), identity)) as Store<_>
        };
        let mut shop = Self::with(plan, STORES, Box::new(make_store));
        if plan.faults.contains(&Fault::Drift) {
            let mut rng = Rng::new(plan.seed ^ DRIFTS);
            let (fastest, span) = (DRIFT_PPM_MAX, 2 * DRIFT_PPM_MAX.unsigned_abs() + 1);
            let drift = |_| i32::try_from(rng.below(u64::from(span))).expect("a small number") - fastest;
            shop.drifts = (0..STORES).map(drift).collect();
        }
        shop
    }
}

/// Two runs of three keep so little of their logs that whoever was away for a while gets the rows of another store.
fn options(seed: u64) -> Options {
    let mut rng = Rng::new(seed ^ OPTIONS);
    Options {
        cache_bytes_max: [200, 2_000, 1_000_000][rng.index(3)],
        compact_bytes: [400, 2_000, 1_000_000][rng.index(3)],
        keep_after: Duration::from_millis([20, 200][rng.index(2)]),
        part_bytes_max: [60, 1_000][rng.index(2)],
        ..Options::default()
    }
}

fn store_name(number: u32) -> String {
    format!("store-{}", number + 1)
}

/// Any number that no seed is likely to be near.
const DRIFTS: u64 = 0x6472_6966_7473_0000;
/// And another one.
const OPTIONS: u64 = 0x6f70_7469_6f6e_7300;

impl<M: Carries> Shop<M> {
    fn with(plan: &Plan, stores: u32, make_store: MakeStore<M>) -> Self {
        let clients = plan.servers.saturating_sub(stores).max(1);
        let drifts = Vec::new();
        Self { stores, clients, make_store, drifts, forgetful_disks: false, users: Rc::default() }
    }

    fn stores(&self) -> impl Iterator<Item = Peer> + Clone + use<M> {
        (0..self.stores).map(Peer)
    }

    fn clients(&self) -> impl Iterator<Item = Peer> + use<M> {
        (self.stores..self.stores + self.clients).map(Peer)
    }

    fn add(&mut self, world: &mut World<Node<M>>, peer: Peer, name: String) {
        let agent = self.make(peer, world.seed_for(peer));
        assert_eq!(world.add(agent), peer, "agents are numbered in the order in which they come");
        world.name(peer, name);
    }

    /// Gives a store what carries its log.
    fn connect_store(&self, world: &mut World<Node<M>>, store: Peer) {
        if self.stores == 1 {
            return world.give_log(store);
        }
        world.give_store(store);
        if let Some(&drift) = self.drifts.get(store.index()) {
            world.drift(store, drift);
        }
        let others = self.stores().filter(|other| *other != store);
        let others: Vec<(Peer, Port)> = others.map(|other| (other, Port::LOG)).collect();
        world.route(store, LOG_ROUTE, &others);
        for other in (0..store.0).map(Peer) {
            world.link(other, store);
        }
    }
}

impl<M: Carries> Service for Shop<M> {
    type Agent = Node<M>;

    fn make(&mut self, peer: Peer, seed: u64) -> Node<M> {
        if peer.0 < self.stores {
            // So few that clients which start again and again make it forget some.
            return Node::Store((self.make_store)(self.clients + 2, peer, seed));
        }
        // They give up now and then, and then the checkers have to do with calls that have no answer.
        let patience = Patience {
            first: Duration::from_millis(40),
            longest: Duration::from_millis(300),
            give_up: Duration::from_millis(1500),
        };
        Node::Client(Box::new(Client::new(Rng::new(seed), patience, &["kvs".to_owned()])))
    }

    fn build(&mut self, world: &mut World<Node<M>>, _: &Plan) {
        let (stores, clients) = (self.stores(), self.clients());
        for store in stores.clone() {
            self.add(world, store, if self.stores == 1 { "store".to_owned() } else { store_name(store.0) });
            self.connect_store(world, store);
        }
        for client in clients {
            self.add(world, client, format!("client-{client}"));
            let targets: Vec<(Peer, Port)> = stores.clone().map(|store| (store, REQUESTS)).collect();
            for &(store, _) in &targets {
                world.link(store, client);
            }
            world.route(client, "kvs", &targets);
        }
    }

    fn act(&mut self, world: &mut World<Node<M>>, step: u64, rng: &mut Rng) {
        let mut users = self.users.borrow_mut();
        for client in self.clients() {
            let free = world.is_alive(client) && !users.waiting.contains(&client);
            if !rng.chance(Probability::percent(50)) || !free {
                continue;
            }
            users.waiting.insert(client);
            let key = rng.below(KEYS);
            let line = match rng.below(20) {
                0..9 => format!("put k{key} v{step}-{client}"),
                9..17 => format!("get k{key}"),
                _ => format!("delete k{key}"),
            };
            world.command(client, USER, &line);
        }
    }

    fn last_act(&mut self, world: &mut World<Node<M>>) {
        self.users.borrow_mut().closing = true;
        for client in self.clients() {
            for key in 0..KEYS {
                world.command(client, USER, &format!("get k{key}"));
            }
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Node<M>>>> {
        let mut checkers: Vec<Box<dyn Checker<Node<M>>>> = vec![
            Box::new(Linearizable::new(Rc::clone(&self.users))),
            Box::new(Answered::new(Rc::clone(&self.users))),
        ];
        if self.stores == 1 {
            checkers.insert(1, Box::new(Durable::default()));
        }
        checkers
    }

    fn pace(&self) -> Delay {
        Delay::uniform_ms(0, 40)
    }

    fn severity(&self, plan: &Plan) -> Severity {
        let usual = Severity::of(plan);
        Severity {
            // There is one store among all, and only what happens to it is interesting: often, then, and not for long.
            per_step: Probability::percent(40),
            longest: usual.longest.min(Duration::from_millis(400)),
            disks: self.stores > 1,
            ..usual
        }
    }

    fn spares(&self, world: &World<Node<M>>, peer: Peer) -> bool {
        let well = |store: Peer| {
            let contents = world.durable(store);
            let repairs = |about: String| about.contains("standing=repairing");
            world.is_alive(store)
                && contents.is_some_and(crate::sim::Contents::is_whole)
                && world.is_synced(store)
                && !world.has_failed(store)
                && !world.agent(store).and_then(Agent::about).is_some_and(repairs)
        };
        !self.stores().filter(|store| *store != peer).all(well)
    }

    fn settings(&self, plan: &Plan) -> Settings {
        let mut settings = Settings::of(plan);
        settings.forgetful_disks = self.forgetful_disks;
        // A slow disk: so that crashes often come between the question and its record.
        settings.syncing = Delay::uniform_ms(0, 20);
        // A shorter tail: in a world that is well nobody may have to give up, and a session with its first request is four messages.
        if let Delay::LongTailed { usual_excess, .. } = &mut settings.delay {
            *usual_excess /= 10;
        }
        settings
    }
}

#[cfg(test)]
mod tests;
