//! A counter that gossips: each agent counts what it was told to add, in its log, and tells the others again and again what it knows of
//! everybody's counts. What it stands is everything: messages that are lost, links that break, crashes, torn writes.
//!
//! Source: a grow-only counter of the state-based kind (Shapiro, Preguiça, Baquero and Zawirski, "Conflict-free Replicated Data Types",
//! SSS 2011). Only the owner adds to its own count, and of two reports about one count the larger is the later one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, Input, JsonMessage, Outbox, Peer, Port, Request, Session};
use crate::rng::Rng;
use crate::sim::{Carrier, Checker, Outcome, Plan, Scenario, Service, Settings, World, run_service};
use crate::time::Time;
use crate::trace::Event;

/// What an agent knows: whose count is how high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts(BTreeMap<u32, u64>);

impl JsonMessage for Counts {
    fn kind(&self) -> &'static str {
        "counts"
    }
}

/// The agent.
#[derive(Debug)]
pub(super) struct Gossip {
    me: u32,
    /// Everybody's counts as far as they are known, its own among them.
    known: BTreeMap<u32, u64>,
    /// Who waits for which of the proposals that have not come back.
    waiting: VecDeque<Request>,
    others: u32,
    next: Time,
    rng: Rng,
    flaw: Option<Flaw>,
}

/// How an agent may be broken, for the tests of the checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// It answers before the record is committed.
    Hasty,
    /// It counts every tenth addition twice.
    Generous,
    /// It believes one more than it is told about others.
    Credulous,
    /// It does not listen to the others.
    Deaf,
}

/// How often an agent tells somebody what it knows.
const PERIOD: Duration = Duration::from_millis(20);

impl Gossip {
    fn new(me: Peer, others: u32, seed: u64, flaw: Option<Flaw>) -> Self {
        let (known, waiting) = (BTreeMap::new(), VecDeque::new());
        Self { me: me.0, known, waiting, others, next: Time::ZERO, rng: Rng::new(seed), flaw }
    }

    /// What it knows about the count of `peer`.
    fn count(&self, peer: Peer) -> u64 {
        self.known.get(&peer.0).copied().unwrap_or(0)
    }

    fn own(&self) -> u64 {
        self.count(Peer(self.me))
    }

    fn committed(&mut self, out: &mut Outbox<Counts>) {
        let own = self.known.entry(self.me).or_default();
        *own += 1;
        if self.flaw == Some(Flaw::Generous) && own.is_multiple_of(10) {
            *own += 1;
        }
        let own = *own;
        out.note(|| format!("counts {own}"));
        if let Some(request) = self.waiting.pop_front() {
            out.reply(request, own.to_string());
        }
    }

    fn merge(&mut self, Counts(counts): Counts) {
        if self.flaw == Some(Flaw::Deaf) {
            return;
        }
        for (peer, count) in counts {
            let wrong = u64::from(self.flaw == Some(Flaw::Credulous));
            let known = self.known.entry(peer).or_default();
            *known = count.saturating_add(wrong).max(*known);
        }
    }
}

impl Agent for Gossip {
    type Msg = Counts;

    fn handle(&mut self, now: Time, input: Input<'_, Counts>, out: &mut Outbox<Counts>) {
        match input {
            Input::Timeout if now >= self.next => {
                self.next = now + PERIOD;
                let to = self.rng.below(u64::from(self.others));
                out.send(to.to_string(), Counts(self.known.clone()));
            }
            Input::Message { message, .. } => self.merge(message),
            Input::Commands { mut commands } if commands.peek() == Some(b"add") => {
                commands.take();
                out.propose(b"add".to_vec());
                let request = commands.will_answer();
                if self.flaw == Some(Flaw::Hasty) {
                    out.reply(request, (self.own() + 1).to_string());
                } else {
                    self.waiting.push_back(request);
                }
            }
            Input::Committed { .. } => self.committed(out),
            Input::NotCommitted { why, .. } => {
                if let Some(request) = self.waiting.pop_front() {
                    out.reply(request, format!("error {why}"));
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        (self.others > 0).then_some(self.next)
    }
}

/// The scenario `gossip`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GossipScenario;

impl Scenario for GossipScenario {
    fn name(&self) -> &'static str {
        "gossip"
    }

    fn about(&self) -> &'static str {
        "counters with a log each that tell each other what they know, and agree in the end"
    }

    fn carriers(&self) -> &'static [Carrier] {
        &[Carrier::Datagram, Carrier::Stream]
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Counters::default(), plan, trace)
    }
}

#[derive(Debug, Default)]
struct Counters {
    servers: u32,
    flaw: Option<Flaw>,
    forgetful_disks: bool,
}

impl Service for Counters {
    type Agent = Gossip;

    fn settings(&self, plan: &Plan) -> Settings {
        Settings { forgetful_disks: self.forgetful_disks, ..Settings::of(plan) }
    }

    fn make(&mut self, peer: Peer, seed: u64) -> Gossip {
        Gossip::new(peer, self.servers - 1, seed, self.flaw)
    }

    fn build(&mut self, world: &mut World<Gossip>, plan: &Plan) {
        self.servers = plan.servers;
        for peer in (0..plan.servers).map(Peer) {
            let agent = self.make(peer, world.seed_for(peer));
            world.add(agent);
            world.give_log(peer);
            (0..peer.0).for_each(|other| world.link(peer, Peer(other)));
        }
        // Only now does everybody exist who can be sent to.
        for peer in world.peers() {
            let others = world.peers().filter(|&other| other != peer);
            for (number, other) in others.enumerate() {
                world.route(peer, &number.to_string(), &[(other, Port(1))]);
            }
        }
    }

    fn act(&mut self, world: &mut World<Gossip>, _: u64, rng: &mut Rng) {
        let peers: Vec<Peer> = world.peers().collect();
        if let Some(&peer) = rng.pick(&peers) {
            world.command(peer, Session(0), "add");
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Gossip>>> {
        vec![Box::new(Overcount::default()), Box::new(Durability::default()), Box::new(Agreement)]
    }
}

/// Nobody counts more than was added, nor believes that somebody else has counted more than that one ever has.
#[derive(Default)]
struct Overcount {
    added: BTreeMap<Peer, u64>,
    counted: BTreeMap<Peer, u64>,
}

impl Checker<Gossip> for Overcount {
    fn name(&self) -> &'static str {
        "overcount"
    }

    fn check(&mut self, world: &World<Gossip>) -> Result<(), String> {
        let happened = world.happened();
        for told in &happened.told {
            *self.added.entry(told.to).or_default() += 1;
        }
        let touched = happened.touched.iter().filter_map(|&peer| Some((peer, world.agent(peer)?)));
        for (peer, agent) in touched {
            let counted = self.counted.entry(peer).or_default();
            *counted = agent.own().max(*counted);
            let added = self.added.get(&peer).copied().unwrap_or(0);
            if *counted > added {
                return Err(format!("agent {peer} counts {counted}, but was told {added} times to add"));
            }
            for other in agent.known.keys().copied().map(Peer) {
                let (known, counted) = (agent.count(other), self.counted.get(&other).copied().unwrap_or(0));
                if known > counted {
                    return Err(format!(
                        "agent {peer} believes that {other} counts {known}, but that one has come to {counted}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What was answered is not forgotten.
#[derive(Default)]
struct Durability {
    answered: BTreeMap<Peer, u64>,
}

impl Checker<Gossip> for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn check(&mut self, world: &World<Gossip>) -> Result<(), String> {
        let happened = world.happened();
        for answer in &happened.answers {
            let count: u64 = answer
                .line
                .parse()
                .map_err(|_| format!("agent {} answered {:?}", answer.from, answer.line))?;
            let answered = self.answered.entry(answer.from).or_default();
            *answered = count.max(*answered);
        }
        for &peer in &happened.started {
            let answered = self.answered.get(&peer).copied().unwrap_or(0);
            let Some(own) = world.agent(peer).map(Gossip::own).filter(|&own| own < answered) else {
                continue;
            };
            return Err(format!("agent {peer} starts with a count of {own} and had answered {answered}"));
        }
        Ok(())
    }
}

/// In the end everybody knows everybody's count, and everybody has answered.
struct Agreement;

impl Checker<Gossip> for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn settled(&mut self, world: &World<Gossip>) -> Result<(), String> {
        let agents = || world.peers().filter_map(|peer| Some((peer, world.agent(peer)?)));
        for (owner, right) in agents() {
            if !right.waiting.is_empty() {
                return Err(format!("agent {owner} owes {} answers", right.waiting.len()));
            }
            let own = right.own();
            if let Some((peer, agent)) = agents().find(|(_, agent)| agent.count(owner) != own) {
                let known = agent.count(owner);
                return Err(format!("agent {owner} counts {own}, and agent {peer} believes {known}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes wrong with one of the first seeds.
    fn found(flaw: Option<Flaw>, forgetful_disks: bool) -> Option<&'static str> {
        (0..20).find_map(|seed| {
            let plan = Plan { seed, ..GossipScenario.default_plan() };
            let mut service = Counters { flaw, forgetful_disks, ..Counters::default() };
            run_service(&mut service, &plan, None).violation.map(|violation| violation.checker)
        })
    }

    #[test]
    fn each_checker_finds_an_agent_that_breaks_its_rule() {
        assert_eq!(found(None, false), None);
        assert_eq!(found(Some(Flaw::Generous), false), Some("overcount"));
        assert_eq!(found(Some(Flaw::Credulous), false), Some("overcount"));
        assert_eq!(found(Some(Flaw::Hasty), false), Some("durability"));
        assert_eq!(found(Some(Flaw::Deaf), false), Some("agreement"));
    }

    #[test]
    fn a_disk_that_forgets_is_found() {
        assert_eq!(found(None, true), Some("durability"));
    }
}
