//! The world of bare agents: it hosts agents of one type by the thousand, each on a server of its own, moves their messages without
//! encoding them, and lets go wrong whatever its user asks for.
//!
//! **What holds.** On the carrier `stream` an agent reaches those to whom it has a link that is up; within one epoch of a link messages
//! arrive in their order, each once, and none after [`Input::LinkDown`](crate::agent::Input::LinkDown). A partition and a stall hold messages up; a break,
//! and a crash of the receiver, drop what is on its way. Links are wanted by the world's user ([`World::link`]), then they come up again whenever they
//! have gone down; or opened by an agent ([`Output::Link`](crate::agent::Output::Link)), then they do not. On `datagram` there are no links: each message travels alone and is lost in a partition.
//! What agents reach outside of the grid, connections and datagrams by addresses, goes wrong in the same ways; see `outside`.
//! Whatever else happens is drawn from [`Settings::seed`], so the same calls give the same run.

mod carrying;
mod clock;
mod computing;
mod contents;
mod disk;
mod event;
mod failing;
mod flights;
mod happened;
mod hosting;
mod linking;
mod links;
mod mark;
mod opening;
mod outside;
mod partitions;
mod settings;
mod store;
mod telling;

use std::collections::{BTreeMap, VecDeque};

use self::computing::Workers;
pub(in crate::sim) use self::contents::Reading;
pub use self::contents::{Contents, Damage};
use self::disk::Disk;
use self::event::{Event, Held};
use self::flights::Flights;
pub use self::happened::{Answer, Happened, Said, Told};
pub use self::hosting::Heard;
pub use self::linking::LinkState;
use self::links::Links;
use self::opening::News;
pub use self::outside::ConnectionId;
use self::outside::{Outside, PipeEnd};
pub use self::partitions::PartitionId;
use self::partitions::Partitions;
pub use self::settings::Settings;
use crate::agent::{Agent, Outbox, Peer, Port, Session};
use crate::rng::Rng;
use crate::sim::queue::Queue;
use crate::sim::{Delay, Digest, Figures, scramble};
use crate::time::Time;
use crate::trace;

/// A simulated world of agents of type `A`.
///
/// ```
/// use ovid::agent::{Agent, Input, Outbox, Peer, Port, Session, Text};
/// use ovid::sim::{Carrier, Settings, World};
/// use ovid::time::Time;
///
/// /// Greets whoever it can reach when it is told to, and shows what it hears.
/// struct Greeter;
///
/// impl Agent for Greeter {
///     type Msg = Text;
///
///     fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
///         match input {
///             Input::Commands { mut commands } => {
///                 commands.take();
///                 out.send("friends", Text("hello".to_owned()));
///             }
///             Input::Message { message, .. } => out.say(message.0),
///             _ => {}
///         }
///     }
/// }
///
/// let mut world = World::new(Settings::new(1, Carrier::Stream));
/// let (a, b) = (world.add(Greeter), world.add(Greeter));
/// world.link(a, b);
/// world.route(a, "friends", &[(b, Port(1))]);
/// world.run_until(Time::from_nanos(1_000_000_000));
/// world.command(a, Session(0), "greet");
/// world.run_until(Time::from_nanos(2_000_000_000));
/// assert_eq!(world.take_happened().said[0].line, "hello");
/// ```
#[derive(Debug)]
pub struct World<A: Agent> {
    settings: Settings,
    now: Time,
    queue: Queue<Event>,
    nodes: Vec<Node<A>>,
    links: Links,
    news: VecDeque<News>,
    partitions: Partitions,
    outside: Outside,
    workers: Workers,
    flights: Flights<A::Msg>,
    outbox: Outbox<A::Msg>,
    /// What the network draws from.
    network: Rng,
    /// What the disks draw from.
    disks: Rng,
    requests: BTreeMap<(Peer, Session), u64>,
    next_message: u64,
    encoded: Vec<u8>,
    happened: Happened,
    wrong: Option<Wrong>,
    figures: Figures,
    digest: Digest,
    trace: Option<Vec<trace::Event>>,
}

/// A law of the world itself that an agent has broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which law.
    pub law: &'static str,
    /// How it was broken, for people.
    pub what: String,
}

/// The server of one agent. What each event looks at lies together, in front: with many agents it is not in the processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
struct Node<A> {
    timer: Timer,
    /// Counts its lives.
    incarnation: u32,
    /// By how many millionths its clock runs too fast.
    drift_ppm: i32,
    started: bool,
    paused: bool,
    /// `None` while it has crashed.
    agent: Option<A>,
    /// How many timeouts there were at this time, to notice an agent that wants one for ever.
    timeouts: (Time, u32),
    held: Vec<Held>,
    routes: Vec<Route>,
    disk: Option<Box<Disk>>,
    name: String,
}

#[derive(Debug)]
struct Route {
    name: String,
    targets: Vec<(Peer, Port)>,
}

#[derive(Debug, Default)]
struct Timer {
    /// For when a timeout stands in the queue of events.
    scheduled: Option<Time>,
    generation: u32,
}

impl<A: Agent> World<A> {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        let mut rng = Rng::new(settings.seed);
        Self {
            network: rng.fork(),
            disks: rng.fork(),
            outside: Outside::new(rng.fork()),
            workers: Workers::new(rng.fork()),
            settings,
            now: Time::ZERO,
            queue: Queue::default(),
            nodes: Vec::new(),
            links: Links::default(),
            news: VecDeque::new(),
            partitions: Partitions::default(),
            flights: Flights::default(),
            outbox: Outbox::default(),
            requests: BTreeMap::new(),
            next_message: 0,
            encoded: Vec::new(),
            happened: Happened::default(),
            wrong: None,
            figures: Figures::default(),
            digest: Digest::default(),
            trace: None,
        }
    }

    /// Adds an agent, which starts as soon as time goes on or somebody gives it a command. Agents are numbered from 0 in the order in which
    /// they come.
    pub fn add(&mut self, agent: A) -> Peer {
        let peer = Peer(u32::try_from(self.nodes.len()).expect("fewer than 2^32 agents"));
        self.nodes.push(Node {
            name: peer.to_string(),
            agent: Some(agent),
            started: false,
            paused: false,
            held: Vec::new(),
            incarnation: 0,
            drift_ppm: 0,
            timer: Timer::default(),
            timeouts: (Time::ZERO, 0),
            routes: Vec::new(),
            disk: None,
        });
        self.links.add_peer();
        self.push(self.now, Event::Start { peer });
        peer
    }

    /// Gives an agent a name for traces; without one it is called by its number.
    pub fn name(&mut self, peer: Peer, name: impl Into<String>) {
        self.node_mut(peer).name = name.into();
    }

    /// A seed for the life that an agent begins: another one for each agent and each of its lives.
    pub fn seed_for(&self, peer: Peer) -> u64 {
        let life = self.nodes.get(peer.index()).map_or(0, |node| node.incarnation);
        scramble(scramble(self.settings.seed ^ u64::from(peer.0)) ^ u64::from(life))
    }

    /// Lets one thing happen, if one is due by `limit`; whether it was. Time goes on to when it happened.
    pub fn step(&mut self, limit: Time) -> bool {
        let Some((at, event)) = self.queue.pop(limit) else { return false };
        self.now = at;
        self.happen(event);
        true
    }

    /// Lets everything happen that is due by `time`, and time go on to it.
    pub fn run_until(&mut self, time: Time) {
        while self.step(time) {}
        self.now = self.now.max(time);
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<Time> {
        self.queue.next_at()
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How the world behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All agents.
    pub fn peers(&self) -> impl Iterator<Item = Peer> + use<A> {
        (0..u32::try_from(self.nodes.len()).expect("fewer than 2^32 agents")).map(Peer)
    }

    /// An agent; `None` while it has crashed.
    pub fn agent(&self, peer: Peer) -> Option<&A> {
        self.node(peer).agent.as_ref()
    }

    /// Whether an agent has not crashed.
    pub fn is_alive(&self, peer: Peer) -> bool {
        self.node(peer).agent.is_some()
    }

    /// Whether an agent is paused.
    pub fn is_paused(&self, peer: Peer) -> bool {
        self.node(peer).paused
    }

    /// How often an agent has crashed.
    pub fn crashes_of(&self, peer: Peer) -> u32 {
        self.node(peer).incarnation
    }

    /// What has happened since this was last forgotten. It grows until then.
    pub fn happened(&self) -> &Happened {
        &self.happened
    }

    /// Forgets what has happened.
    pub fn forget_happened(&mut self) {
        self.happened.clear();
    }

    /// Takes what has happened since this was last forgotten.
    pub fn take_happened(&mut self) -> Happened {
        std::mem::take(&mut self.happened)
    }

    /// The law of the world that an agent has broken first, if one has: its message does not survive its codec, it wants a timeout
    /// for ever, it sends a lab's lines.
    pub fn wrong(&self) -> Option<&Wrong> {
        self.wrong.as_ref()
    }

    /// What was counted so far.
    pub fn figures(&self) -> Figures {
        Figures { simulated_ns: self.now.as_nanos(), digest: self.digest.value(), ..self.figures }
    }

    /// From now on no message is lost, repeated or reordered any more. Partitions, pauses and crashes are ended by whoever began them.
    pub fn calm(&mut self) {
        let kind = Settings::new(self.settings.seed, self.settings.carrier);
        self.settings.loss = kind.loss;
        self.settings.duplicate = kind.duplicate;
        self.settings.reorder = kind.reorder;
    }

    /// From now on messages take this long, and disks this long to sync.
    pub fn set_delays(&mut self, delay: Delay, syncing: Delay) {
        (self.settings.delay, self.settings.syncing) = (delay, syncing);
    }

    fn node(&self, peer: Peer) -> &Node<A> {
        &self.nodes[peer.index()]
    }

    fn node_mut(&mut self, peer: Peer) -> &mut Node<A> {
        &mut self.nodes[peer.index()]
    }

    /// Looks at what the next input of an agent will look at, all at once. With many agents nothing of it is in the processor's cache; to wait for it now,
    /// while other things are waited for, costs less than to wait for one place after the other then.
    #[inline]
    fn look_ahead(&self, peer: Peer) {
        let Some(node) = self.nodes.get(peer.index()) else { return };
        std::hint::black_box(node.timer.generation);
        std::hint::black_box(node.agent.as_ref().and_then(Agent::deadline));
        std::hint::black_box(self.links.of(peer).len());
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { peer } => self.start(peer),
            Event::Timeout { peer, generation } => self.time_out(peer, generation),
            Event::Lane { link, from_high, generation } => self.lane_due(link, from_high, generation),
            Event::Datagram { slot } => self.datagram_due(slot),
            Event::Own { slot, incarnation } => self.own_due(slot, incarnation),
            Event::Connect { link, generation } => self.connect_due(link, generation),
            Event::GiveUp { link, generation } => self.give_up(link, generation),
            Event::News => self.tell_news(),
            Event::Noticed { link, generation } => self.noticed(link, generation),
            Event::Synced { peer, incarnation } => self.synced(peer, incarnation),
            Event::Refused { peer, incarnation } => self.refused(peer, incarnation),
            Event::Barrier { peer, incarnation } => self.barrier_due(peer, incarnation),
            Event::Stored { peer, incarnation } => self.stored(peer, incarnation),
            Event::Found { peer, incarnation } => self.found(peer, incarnation),
            Event::StoreFailed { peer, incarnation } => self.store_failed(peer, incarnation),
            Event::Full { link, generation } => self.full(link, generation),
            Event::OutsideNews { peer, incarnation } => self.tell_outside_news(peer, incarnation),
            Event::Dial { dial } => self.dial_due(dial),
            Event::Stretch { pipe, from_acceptor } => self.stretch_due(pipe, from_acceptor),
            Event::CutPipe { pipe, by_acceptor, why } => {
                self.cut_pipe(PipeEnd { pipe, end: usize::from(by_acceptor) }, why);
            }
            Event::Letter { letter } => self.letter_due(letter),
            Event::Computed { peer, incarnation } => self.computed(peer, incarnation),
        }
    }

    /// Plans an event. What should have happened already (it was held up) happens now: time does not run backwards.
    fn push(&mut self, at: Time, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Holds an event back if the agent cannot take it now; whether it was held.
    fn hold(&mut self, peer: Peer, event: Event) -> bool {
        let node = &mut self.nodes[peer.index()];
        if node.paused {
            node.held.push(Held::Event(event));
        }
        node.paused
    }

    fn break_law(&mut self, law: &'static str, what: String) {
        self.wrong.get_or_insert(Wrong { law, what });
    }
}
