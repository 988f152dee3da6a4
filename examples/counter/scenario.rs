//! Counters in the simulated world, and what has to hold there.

use ovid::agent::{Agent, Attrs, Configure, Peer, Port, Session, Setup};
use ovid::rng::Rng;
use ovid::sim::{Checker, Outcome, Plan, Scenario, Service, World, run_service};
use ovid::trace::Event;

use crate::broken::Adding;
use crate::{Counter, Counts};

/// Counters that all know each other.
struct Counters<A> {
    /// Makes of a counter what is to be tried: the counter itself, or one with a mistake.
    wrap: fn(Counter) -> A,
}

impl<A: Agent<Msg = Counts>> Service for Counters<A> {
    type Agent = A;

    fn make(&mut self, peer: Peer, seed: u64) -> A {
        let (id, attrs, routes) = (peer.to_string(), Attrs::default(), ["peers".to_owned()]);
        let counter = Counter::configure(&mut Setup::new(&id, &attrs, &routes, seed));
        (self.wrap)(counter.expect("nothing is missing"))
    }

    fn build(&mut self, world: &mut World<A>, plan: &Plan) {
        for peer in (0..plan.servers).map(Peer) {
            let agent = self.make(peer, world.seed_for(peer));
            world.add(agent);
            world.give_log(peer);
        }
        world.mesh("peers", Port(1));
    }

    fn act(&mut self, world: &mut World<A>, _step: u64, rng: &mut Rng) {
        let peers: Vec<Peer> = world.peers().collect();
        if let Some(&peer) = rng.pick(&peers) {
            world.command(peer, Session(0), &format!("add {}", rng.between(1..=9)));
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<A>>> {
        vec![Box::new(Sum::default())]
    }
}

/// Nobody ever counts more than was added, and in the end everybody counts all that is in the logs.
#[derive(Default)]
struct Sum {
    added: u64,
}

impl<A: Agent> Checker<A> for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn check(&mut self, world: &World<A>) -> Result<(), String> {
        for told in &world.happened().told {
            let number = told.line.strip_prefix("add ").and_then(|number| number.parse().ok());
            self.added += number.unwrap_or(0);
        }
        for &peer in &world.happened().touched {
            let value = value_of(peer, world);
            if value > self.added {
                return Err(format!("agent {peer} counts {value}, but only {} was added", self.added));
            }
        }
        Ok(())
    }

    fn settled(&mut self, world: &World<A>) -> Result<(), String> {
        let records = world.peers().flat_map(|peer| world.records(peer));
        let all: u64 = records.map(|(_, record)| serde_json::from_slice(&record).unwrap_or(0)).sum();
        match world.peers().find(|&peer| value_of(peer, world) != all) {
            Some(peer) => Err(format!("agent {peer} counts {}, not {all}", value_of(peer, world))),
            None => Ok(()),
        }
    }
}

/// What an agent counts; nothing while it has crashed.
fn value_of<A: Agent>(peer: Peer, world: &World<A>) -> u64 {
    world.agent(peer).map_or(0, |agent| agent.counters()[0].1)
}

/// What `sim` knows besides ovid's own scenarios.
pub(crate) fn all() -> Vec<Box<dyn Scenario>> {
    vec![Box::new(Right), Box::new(Broken)]
}

/// The counter as it is.
struct Right;

impl Scenario for Right {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn about(&self) -> &'static str {
        "counters that gossip, and come to know all that was added"
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Counters { wrap: |counter| counter }, plan, trace)
    }
}

/// A counter that merges wrongly.
struct Broken;

impl Scenario for Broken {
    fn name(&self) -> &'static str {
        "counter-adding"
    }

    fn about(&self) -> &'static str {
        "counters that add what they hear to what they know, which is wrong"
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Counters { wrap: Adding }, plan, trace)
    }
}

#[cfg(test)]
mod tests {
    use ovid::sim::{Carrier, replay_command, run_safely};

    use super::*;

    #[test]
    fn counters_agree_whatever_goes_wrong() {
        for (seed, carrier) in (0..100).flat_map(|seed| Right.carriers().iter().map(move |it| (seed, *it))) {
            let wire = seed % 2 == 0;
            let plan = Plan { seed, carrier, wire, faults: carrier.faults(), ..Right.default_plan() };
            let replay = replay_command("cargo run --example counter --", &Right, &plan);
            assert_eq!(run_safely(&Right, &plan, None).violation, None, "see it again: {replay}");
        }
    }

    #[test]
    fn counters_that_add_what_they_hear_are_found() {
        for carrier in [Carrier::Stream, Carrier::Datagram] {
            let plan = Plan { carrier, faults: carrier.faults(), ..Broken.default_plan() };
            let violation = run_safely(&Broken, &plan, None).violation.expect("a mistake");
            assert_eq!(violation.checker, "sum");
        }
    }
}
