//! An agent that does what it is told and writes down what it hears.

use std::time::Duration;

use ovid::agent::{Agent, Commands, Index, Input, Outbox, Peer, Port, Session, Why, Wire, WireError};
use ovid::sim::{Carrier, Delay, Heard, Settings, World};
use ovid::time::Time;

/// A number, thrown from one agent to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ball(pub(crate) u64);

/// What nobody has caught.
pub(crate) const NOTHING: [u64; 0] = [];

/// What its own codec cannot read back.
pub(crate) const UNREADABLE: u64 = 666;

impl Wire for Ball {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        match bytes.try_into().map(u64::from_be_bytes) {
            Ok(UNREADABLE) | Err(_) => Err(WireError::new("no ball")),
            Ok(number) => Ok(Self(number)),
        }
    }
}

/// One thing that a probe was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Start,
    Timeout,
    Rerouted(Vec<String>),
    Up(u32, u32),
    Down(u32, u32, Why),
    Ball(u32, u64),
    Committed(u64, String),
    NotCommitted(String),
}

/// The agent.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// What it was told and when, in order.
    pub(crate) told: Vec<(u64, Told)>,
    pub(crate) deadline: Option<Time>,
    /// Whether it opens each link again that goes down, and closes it, and opens it.
    pub(crate) stubborn: bool,
    /// Whether it forgets to put its deadline off when the time has come.
    pub(crate) impatient: bool,
}

impl Probe {
    /// What it was told, without the times.
    pub(crate) fn heard(&self) -> Vec<Told> {
        self.told.iter().map(|(_, told)| told.clone()).collect()
    }

    /// The balls that it caught from one agent.
    pub(crate) fn caught(&self, from: u32) -> Vec<u64> {
        let ball = |(_, told): &(u64, Told)| match told {
            Told::Ball(thrower, number) if *thrower == from => Some(*number),
            _ => None,
        };
        self.told.iter().filter_map(ball).collect()
    }

    /// `link <peer>`, `unlink <peer>`, `again <peer>` (both, in one go), `post <peer> <number>`, `throw <peer> <first> <count>`, `multicast <number>`, `propose <text>`, `wake <ms>`, `ask`.
    fn obey(&mut self, now: Time, mut commands: Commands<'_>, out: &mut Outbox<Ball>) {
        let Some(line) = commands.peek() else { return };
        let line = std::str::from_utf8(line).expect("commands of tests are text");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().expect("a number");
        let peer = || Peer(words[1].parse().expect("a peer"));
        match words[0] {
            "link" => out.link(peer()),
            "unlink" => out.unlink(peer()),
            "again" => {
                out.unlink(peer());
                out.link(peer());
            }
            "post" => out.post((peer(), Port(2)), Ball(number(2))),
            "throw" => {
                let to = peer();
                for ball in number(2)..number(2) + number(3) {
                    out.send((to, Port(1)), Ball(ball));
                }
            }
            "multicast" => out.send("all", Ball(number(1))),
            "propose" => out.propose(words[1].as_bytes().to_vec()),
            "wake" => self.deadline = Some(now + Duration::from_millis(number(1))),
            "say" => out.say(words[1].to_owned()),
            "ask" => {
                commands.take();
                return out.reply(commands.will_answer(), "told");
            }
            _ => return,
        }
        commands.take();
    }
}

impl Agent for Probe {
    type Msg = Ball;

    fn handle(&mut self, now: Time, input: Input<'_, Ball>, out: &mut Outbox<Ball>) {
        let told = match input {
            Input::Start => Told::Start,
            Input::Timeout => {
                if !self.impatient {
                    self.deadline = None;
                }
                Told::Timeout
            }
            Input::Rerouted { routes } => Told::Rerouted(routes.to_vec()),
            Input::LinkUp { peer, epoch } => Told::Up(peer.0, epoch.0),
            Input::LinkDown { peer, epoch, why } => {
                if self.stubborn {
                    out.link(peer);
                    out.unlink(peer);
                    out.link(peer);
                }
                Told::Down(peer.0, epoch.0, why)
            }
            Input::Message { from, message, .. } => Told::Ball(from.0, message.0),
            Input::Committed { index: Index(index), record } => {
                Told::Committed(index, String::from_utf8_lossy(record).into_owned())
            }
            Input::NotCommitted { why, .. } => Told::NotCommitted(why.to_string()),
            Input::Commands { commands } => return self.obey(now, commands, out),
            Input::Lines { .. }
            | Input::Barrier { .. }
            | Input::Leads { .. }
            | Input::Looked { .. }
            | Input::Outside(_)
            | Input::Computed { .. }
            | Input::Restore { .. }
            | Input::Recovered { .. }
            | Input::Stored { .. }
            | Input::StoreFailed { .. }
            | Input::Found { .. } => return,
        };
        self.told.push((now.as_nanos(), told));
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

/// A world of `count` probes, all linked with each other, in which every message takes 5 ms, connecting 10 ms and syncing 2 ms.
pub(crate) fn world(count: u32, change: impl FnOnce(&mut Settings)) -> World<Probe> {
    let mut world = apart(count, change);
    let peers: Vec<Peer> = world.peers().collect();
    for (place, &one) in peers.iter().enumerate() {
        for &other in &peers[..place] {
            world.link(one, other);
        }
    }
    world
}

/// The same without links.
pub(crate) fn apart(count: u32, change: impl FnOnce(&mut Settings)) -> World<Probe> {
    let mut settings = Settings::new(1, Carrier::Stream);
    settings.delay = Delay::Fixed(ms(5));
    settings.connecting = Delay::Fixed(ms(10));
    settings.syncing = Delay::Fixed(ms(2));
    change(&mut settings);
    let mut world = World::new(settings);
    for _ in 0..count {
        world.add(Probe::default());
    }
    world
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Lets a world go on for so many milliseconds.
pub(crate) fn wait(world: &mut World<Probe>, milliseconds: u64) {
    world.run_until(world.now() + ms(milliseconds));
}

/// Tells one probe something that it understands.
pub(crate) fn tell(world: &mut World<Probe>, peer: u32, line: &str) {
    let heard = world.command(Peer(peer), Session(0), line);
    assert!(matches!(heard, Heard::Taken(_) | Heard::Later), "{line}: {heard:?}");
}

/// What one probe heard.
pub(crate) fn heard(world: &World<Probe>, peer: u32) -> Vec<Told> {
    world.agent(Peer(peer)).expect("alive").heard()
}

/// The balls that one probe caught from another.
pub(crate) fn caught(world: &World<Probe>, peer: u32, from: u32) -> Vec<u64> {
    world.agent(Peer(peer)).expect("alive").caught(from)
}
