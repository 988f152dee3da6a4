//! The scenario `kvs`: clients put, get and delete at one key-value store whose log lies on a simulated disk.
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
use self::node::{Node, Store};
use crate::agent::{Peer, Port, Session};
use crate::agents::kvs::{Client, Kvs, Patience};
use crate::rng::{Probability, Rng};
use crate::sim::{Checker, Delay, Outcome, Plan, Scenario, Service, Settings, Severity, World, run_service};
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

/// One store and its clients.
struct Shop {
    clients: u32,
    make_store: fn(u32) -> Store,
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

/// Where the store lives; the clients come after it.
const STORE: Peer = Peer(0);
/// Where the store hears requests.
const REQUESTS: Port = Port(1);
/// How many keys there are: few, so that clients meet.
const KEYS: u64 = 4;
/// Who gives a client its commands.
const USER: Session = Session(1);

impl Shop {
    fn new(plan: &Plan, make_store: fn(u32) -> Store) -> Self {
        let clients = plan.servers.saturating_sub(1).max(1);
        Self { clients, make_store, forgetful_disks: false, users: Rc::default() }
    }

    fn clients(&self) -> impl Iterator<Item = Peer> + use<> {
        (1..=self.clients).map(Peer)
    }
}

impl Service for Shop {
    type Agent = Node;

    fn make(&mut self, peer: Peer, seed: u64) -> Node {
        if peer == STORE {
            // So few that clients which start again and again make it forget some.
            return Node::Store((self.make_store)(self.clients + 2));
        }
        // They give up now and then, and then the checkers have to do with calls that have no answer.
        let patience = Patience {
            first: Duration::from_millis(40),
            longest: Duration::from_millis(300),
            give_up: Duration::from_millis(1500),
        };
        Node::Client(Box::new(Client::new(Rng::new(seed), patience, &["kvs".to_owned()])))
    }

    fn build(&mut self, world: &mut World<Node>, _: &Plan) {
        let clients = self.clients();
        let mut add = |world: &mut World<Node>, peer: Peer, name: String| {
            let agent = self.make(peer, world.seed_for(peer));
            assert_eq!(world.add(agent), peer, "agents are numbered in the order in which they come");
            world.name(peer, name);
        };
        add(world, STORE, "store".to_owned());
        world.give_log(STORE);
        for client in clients {
            add(world, client, format!("client-{client}"));
            world.link(STORE, client);
            world.route(client, "kvs", &[(STORE, REQUESTS)]);
        }
    }

    fn act(&mut self, world: &mut World<Node>, step: u64, rng: &mut Rng) {
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

    fn last_act(&mut self, world: &mut World<Node>) {
        self.users.borrow_mut().closing = true;
        for client in self.clients() {
            for key in 0..KEYS {
                world.command(client, USER, &format!("get k{key}"));
            }
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Node>>> {
        vec![
            Box::new(Linearizable::new(Rc::clone(&self.users))),
            Box::new(Durable::default()),
            Box::new(Answered::new(Rc::clone(&self.users))),
        ]
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
            ..usual
        }
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
