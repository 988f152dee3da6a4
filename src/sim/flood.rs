//! Flooding: rumours that everybody passes on to all neighbours. The smallest service that uses a whole world, and so the one by which the world
//! itself is measured and tried.

use std::collections::BTreeSet;

use crate::agent::{Agent, Input, Outbox, Peer, Port, Wire, WireError};
use crate::rng::Rng;
use crate::sim::{
    Carrier, Checker, FailureModel, Fault, Outcome, Plan, Scenario, Service, World, run_service,
};
use crate::time::Time;
use crate::trace::Event;

/// A rumour, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rumour(u32);

impl Wire for Rumour {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        let number = bytes.try_into().map_err(|_| WireError::new("a rumour has 4 bytes"))?;
        Ok(Self(u32::from_le_bytes(number)))
    }

    fn kind(&self) -> &'static str {
        "rumour"
    }
}

/// An agent that passes on what it hears for the first time, to its route `neighbours`; and all it knows to whoever comes back.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// What it knows, ascending.
    known: Vec<u32>,
    /// What it learned last.
    latest: Option<u32>,
    flaw: Option<Flaw>,
}

/// How an agent may be broken, for the tests of the checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// It passes on every tenth rumour with another number.
    Garbles,
    /// It passes nothing on.
    Silent,
}

/// Where rumours come in.
const RUMOURS: Port = Port(1);

impl Flood {
    fn learn(&mut self, rumour: Rumour, out: &mut Outbox<Rumour>) {
        if let Err(place) = self.known.binary_search(&rumour.0) {
            self.known.insert(place, rumour.0);
            self.latest = Some(rumour.0);
            out.note(|| format!("knows {} rumours, the latest is {}", self.known.len(), rumour.0));
            let garbled = self.flaw == Some(Flaw::Garbles) && rumour.0 % 10 == 9;
            if self.flaw != Some(Flaw::Silent) {
                out.send("neighbours", Rumour(rumour.0 + 1_000_000 * u32::from(garbled)));
            }
        }
    }
}

impl Agent for Flood {
    type Msg = Rumour;

    fn handle(&mut self, _: Time, input: Input<'_, Rumour>, out: &mut Outbox<Rumour>) {
        match input {
            Input::Message { message, .. } => self.learn(message, out),
            Input::LinkUp { peer, .. } if self.flaw.is_none() => {
                for &number in &self.known {
                    out.send((peer, RUMOURS), Rumour(number));
                }
            }
            Input::Commands { mut commands } => {
                let number = commands.peek().and_then(|line| line.strip_prefix(b"tell "));
                let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
                if let Some(number) = number {
                    commands.take();
                    self.learn(Rumour(number), out);
                }
            }
            _ => {}
        }
    }
}

/// The scenario `flood`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FloodScenario;

/// How many neighbours an agent has, where there are that many others.
const NEIGHBOURS: u32 = 10;

impl Scenario for FloodScenario {
    fn name(&self) -> &'static str {
        "flood"
    }

    fn about(&self) -> &'static str {
        "rumours that everybody passes on to 10 neighbours: by this one the world itself is measured"
    }

    fn default_plan(&self) -> Plan {
        Plan {
            servers: 16,
            seed: 1,
            faults: self.faults(Carrier::Stream),
            steps: 200,
            carrier: Carrier::Stream,
            failure_model: FailureModel::Rst,
            wire: false,
        }
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        match carrier {
            Carrier::Stream => {
                [Fault::Break, Fault::Stall, Fault::Partition, Fault::OneWay, Fault::Pause, Fault::Crash]
                    .into()
            }
            // Nobody repeats anything here, so what is lost stays lost.
            Carrier::Datagram => [Fault::Duplicate, Fault::Reorder, Fault::Pause].into(),
        }
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Rumours { flaw: None }, plan, trace)
    }
}

struct Rumours {
    flaw: Option<Flaw>,
}

impl Service for Rumours {
    type Agent = Flood;

    fn make(&mut self, _: Peer, _: u64) -> Flood {
        Flood { flaw: self.flaw, ..Flood::default() }
    }

    fn build(&mut self, world: &mut World<Flood>, plan: &Plan) {
        for _ in 0..plan.servers {
            world.add(Flood { flaw: self.flaw, ..Flood::default() });
        }
        connect(world, plan.seed);
    }

    fn act(&mut self, world: &mut World<Flood>, step: u64, rng: &mut Rng) {
        let peers: Vec<Peer> = world.peers().collect();
        if let Some(&peer) = rng.pick(&peers) {
            world.command(peer, crate::agent::Session(0), &format!("tell {step}"));
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Flood>>> {
        vec![Box::new(Invented::default()), Box::new(Agreement)]
    }
}

/// Links each agent with its neighbours: all lie on a circle, and each knows those at certain distances, which are drawn. So each has as many
/// neighbours as the others, and everybody is a few steps from everybody.
fn connect<A: Agent>(world: &mut World<A>, seed: u64) {
    let peers: Vec<Peer> = world.peers().collect();
    let len = peers.len();
    let mut distances: Vec<usize> = (2..len.div_ceil(2)).collect();
    Rng::new(seed).shuffle(&mut distances);
    // The next one is always a neighbour, so that nobody is cut off.
    distances.insert(0, 1);
    distances.truncate(NEIGHBOURS as usize / 2);
    // The one opposite, where the others do not fill the number.
    if len <= NEIGHBOURS as usize + 1 && len.is_multiple_of(2) {
        distances.push(len / 2);
    }
    for (place, &peer) in peers.iter().enumerate() {
        let others = distances.iter().flat_map(|distance| [place + distance, place + len - distance]);
        let neighbours: BTreeSet<Peer> =
            others.map(|other| peers[other % len]).filter(|&other| other != peer).collect();
        for &other in &neighbours {
            world.link(peer, other);
        }
        let targets: Vec<(Peer, Port)> = neighbours.into_iter().map(|other| (other, RUMOURS)).collect();
        world.route(peer, "neighbours", &targets);
    }
}

/// Nobody knows a rumour that was not told.
#[derive(Default)]
struct Invented {
    told: BTreeSet<u32>,
}

impl Checker<Flood> for Invented {
    fn name(&self) -> &'static str {
        "invented"
    }

    fn check(&mut self, world: &World<Flood>) -> Result<(), String> {
        let happened = world.happened();
        let number = |line: &str| line.strip_prefix("tell ")?.parse::<u32>().ok();
        self.told.extend(happened.told.iter().filter_map(|told| number(&told.line)));
        for &peer in &happened.touched {
            let Some(latest) = world.agent(peer).and_then(|agent| agent.latest) else { continue };
            if !self.told.contains(&latest) {
                return Err(format!("agent {peer} knows rumour {latest}, which nobody was told"));
            }
        }
        Ok(())
    }
}

/// In the end everybody knows what anybody knows.
struct Agreement;

impl Checker<Flood> for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn settled(&mut self, world: &World<Flood>) -> Result<(), String> {
        let agents = || world.peers().filter_map(|peer| Some((peer, world.agent(peer)?)));
        let Some((first, best)) = agents().max_by_key(|(_, agent)| agent.known.len()) else { return Ok(()) };
        for (peer, agent) in agents() {
            if best.known != agent.known {
                let (most, fewer) = (best.known.len(), agent.known.len());
                return Err(format!(
                    "agent {first} knows {most} rumours, agent {peer} others or only {fewer}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Settings;

    #[test]
    fn each_checker_finds_an_agent_that_breaks_its_rule() {
        let found = |flaw| {
            let outcome = run_service(&mut Rumours { flaw }, &FloodScenario.default_plan(), None);
            outcome.violation.map(|violation| violation.checker)
        };
        assert_eq!(found(None), None);
        assert_eq!(found(Some(Flaw::Garbles)), Some("invented"));
        assert_eq!(found(Some(Flaw::Silent)), Some("agreement"));
    }

    #[test]
    fn everybody_has_ten_neighbours_or_all_others() {
        for count in [1, 2, 3, 10, 11, 12, 13, 100, 1_001] {
            let mut world = World::new(Settings::new(1, Carrier::Stream));
            for _ in 0..count {
                world.add(Flood::default());
            }
            connect(&mut world, 7);
            for peer in world.peers() {
                assert_eq!(
                    world.links_of(peer).count(),
                    NEIGHBOURS.min(count - 1) as usize,
                    "{peer} of {count}"
                );
            }
        }
    }
}
