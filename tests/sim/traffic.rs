//! What links promise, under all faults at once: agents that number what they send, anew for each epoch of each link, and complain about
//! whatever they should not have received.

use std::collections::BTreeMap;
use std::time::Duration;

use ovid::agent::{Agent, Epoch, Input, JsonMessage, Outbox, Peer, Port, Session, Why};
use ovid::rng::Rng;
use ovid::sim::{
    Carrier, Checker, FailureModel, Fault, Outcome, Plan, Service, Settings, World, run_service,
};
use ovid::time::Time;
use ovid::trace::Event;
use serde::{Deserialize, Serialize};

/// The `number`-th message of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Numbered {
    epoch: u32,
    number: u64,
    /// Whether its sender closes the link behind it.
    last: bool,
}

impl JsonMessage for Numbered {}

/// One link as its agent sees it.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "an agent under test writes down everything")]
struct Line {
    epoch: u32,
    up: bool,
    sent: u64,
    received: u64,
    /// Whether the last message of the other end has come.
    last: bool,
    /// Whether this end has closed it, and has not been told so.
    closed: bool,
    /// Whether this end has asked for it, and has not been answered.
    asked: bool,
}

/// How an agent misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Leaves a number out once it has sent 20.
    Skips,
    /// Sends a number twice once it has sent 20.
    Repeats,
    /// Numbers on in the epoch before.
    OldEpoch,
    /// Sends something more behind its last message.
    TalksOn,
    /// Asks for a link and forgets that it has.
    Forgets,
}

#[derive(Debug)]
struct Talker {
    lines: BTreeMap<Peer, Line>,
    next: Time,
    complaint: Option<String>,
    flaw: Option<Flaw>,
    /// Who opens and closes links, if it does.
    roams: Option<Roamer>,
}

/// Draws which links are opened and closed.
#[derive(Clone, Debug)]
struct Roamer {
    rng: Rng,
    me: Peer,
    /// How many there are.
    count: u32,
}

const PERIOD: Duration = Duration::from_millis(4);

impl Talker {
    fn new(flaw: Option<Flaw>, roams: Option<Roamer>) -> Self {
        Self { lines: BTreeMap::new(), next: Time::ZERO, complaint: None, flaw, roams }
    }

    /// Perhaps opens or closes a link, or both.
    fn roam(&mut self, out: &mut Outbox<Numbered>) {
        let Some(Roamer { rng, me, count }) = &mut self.roams else { return };
        let (choice, others) = (rng.below(8), (0..*count).map(Peer).filter(|peer| peer != me));
        let Some(&peer) = rng.pick(&others.collect::<Vec<_>>()) else { return };
        let line = self.lines.entry(peer).or_default();
        if choice < 2 && (line.up || line.asked) {
            if line.up {
                let last = Numbered { epoch: line.epoch, number: line.sent, last: true };
                if self.flaw == Some(Flaw::TalksOn) {
                    out.send((peer, Port(1)), last.clone());
                }
                out.send((peer, Port(1)), last);
            }
            line.closed |= line.up;
            (line.up, line.asked) = (false, false);
            out.unlink(peer);
        }
        if choice > 0 && choice < 4 && !line.up {
            line.asked = self.flaw != Some(Flaw::Forgets);
            out.link(peer);
        }
    }

    fn talk(&mut self, out: &mut Outbox<Numbered>) {
        for (&peer, line) in self.lines.iter_mut().filter(|(_, line)| line.up) {
            let mut message = Numbered { epoch: line.epoch, number: line.sent, last: false };
            line.sent += 1;
            match self.flaw.filter(|_| line.sent == 20) {
                Some(Flaw::Skips) => message.number += 1,
                Some(Flaw::Repeats) => out.send((peer, Port(1)), message.clone()),
                Some(Flaw::OldEpoch) => message.epoch -= 1,
                _ => {}
            }
            out.send((peer, Port(1)), message);
        }
    }

    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    fn up(&mut self, peer: Peer, Epoch(epoch): Epoch) {
        let line = self.lines.entry(peer).or_default();
        let before = std::mem::replace(line, Line { epoch, up: true, ..Line::default() });
        if before.up || before.closed || epoch <= before.epoch {
            self.complain(format!("the link to {peer} came up as {epoch} after {before:?}"));
        }
    }

    fn down(&mut self, peer: Peer, Epoch(epoch): Epoch, why: Why) {
        let line = self.lines.entry(peer).or_default();
        let before = *line;
        let fits = match why {
            Why::Unreachable => std::mem::take(&mut line.asked) && !before.up && epoch > before.epoch,
            Why::Closed if before.closed => {
                line.closed = false;
                epoch == before.epoch
            }
            _ => {
                line.up = false;
                before.up && epoch == before.epoch && before.last == (why == Why::Closed)
            }
        };
        if !fits {
            self.complain(format!("the link to {peer} went down as {epoch}, {why}, after {before:?}"));
        }
    }

    fn receive(&mut self, from: Peer, message: &Numbered) {
        let line = self.lines.entry(from).or_default();
        let before = *line;
        line.received += 1;
        line.last = message.last;
        if !before.up || before.last || message.epoch != before.epoch || message.number != before.received {
            self.complain(format!("{message:?} of {from} came after {before:?}"));
        }
    }
}

impl Agent for Talker {
    type Msg = Numbered;

    fn handle(&mut self, now: Time, input: Input<'_, Numbered>, out: &mut Outbox<Numbered>) {
        match input {
            Input::Timeout if now >= self.next => {
                self.next = now + PERIOD;
                self.talk(out);
                self.roam(out);
            }
            Input::LinkUp { peer, epoch } => {
                self.up(peer, epoch);
                self.talk(out);
            }
            Input::LinkDown { peer, epoch, why } => self.down(peer, epoch, why),
            Input::Message { from, message, .. } => self.receive(from, &message),
            Input::Commands { mut commands } => {
                if commands.take() == Some(b"rest") {
                    self.roams = None;
                }
                self.talk(out);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }
}

struct Traffic {
    flaw: Option<Flaw>,
    queue_messages_max: u32,
    /// Of how many agents, where these open their links themselves.
    roaming: Option<u32>,
}

impl Service for Traffic {
    type Agent = Talker;

    fn settings(&self, plan: &Plan) -> Settings {
        Settings { queue_messages_max: self.queue_messages_max, ..Settings::of(plan) }
    }

    fn make(&mut self, me: Peer, seed: u64) -> Talker {
        let roams = self.roaming.map(|count| Roamer { rng: Rng::new(seed), me, count });
        Talker::new(self.flaw, roams)
    }

    fn build(&mut self, world: &mut World<Talker>, plan: &Plan) {
        for peer in (0..plan.servers).map(Peer) {
            let talker = self.make(peer, world.seed_for(peer));
            world.add(talker);
        }
        let peers: Vec<Peer> = world.peers().filter(|_| self.roaming.is_none()).collect();
        for &one in &peers {
            peers.iter().filter(|&&other| other < one).for_each(|&other| world.link(one, other));
        }
    }

    fn act(&mut self, world: &mut World<Talker>, _: u64, rng: &mut Rng) {
        let peers: Vec<Peer> = world.peers().collect();
        let peer = *rng.pick(&peers).expect("somebody");
        world.command(peer, Session(0), "talk");
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Talker>>> {
        match self.roaming {
            Some(_) => vec![Box::new(LinkLaws), Box::new(Rest)],
            None => vec![Box::new(LinkLaws), Box::new(Meshed)],
        }
    }

    fn last_act(&mut self, world: &mut World<Talker>) {
        for peer in world.peers().collect::<Vec<_>>() {
            world.command(peer, Session(0), "rest");
        }
    }
}

/// In order, each once, nothing before a link is up or after it went down, and nothing lost while it stays up.
struct LinkLaws;

impl Checker<Talker> for LinkLaws {
    fn name(&self) -> &'static str {
        "link laws"
    }

    fn check(&mut self, world: &World<Talker>) -> Result<(), String> {
        let touched = world.happened().touched.iter().filter_map(|&peer| Some((peer, world.agent(peer)?)));
        for (peer, agent) in touched {
            if let Some(complaint) = &agent.complaint {
                return Err(format!("agent {peer}: {complaint}"));
            }
        }
        Ok(())
    }
}

/// In the end everybody hears everybody.
struct Meshed;

impl Checker<Talker> for Meshed {
    fn name(&self) -> &'static str {
        "mesh"
    }

    fn settled(&mut self, world: &World<Talker>) -> Result<(), String> {
        for one in world.peers() {
            for other in world.peers().filter(|&other| other != one) {
                let line =
                    |at: Peer, to: Peer| world.agent(at).and_then(|agent| agent.lines.get(&to).copied());
                let (Some(there), Some(here)) = (line(one, other), line(other, one)) else {
                    return Err(format!("{one} and {other} have never been linked since they started"));
                };
                // What is on its way is the last of what was sent.
                if !there.up || there.epoch != here.epoch || here.received + 1_000 < there.sent {
                    return Err(format!("{one} and {other} do not hear each other: {there:?}, {here:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Once nobody opens or closes a link any more, all questions are answered, and both ends and the world agree about each link.
struct Rest;

impl Checker<Talker> for Rest {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn settled(&mut self, world: &World<Talker>) -> Result<(), String> {
        for one in world.peers() {
            let links: Vec<Peer> = world.links_of(one).map(|link| link.peer).collect();
            let agent = world.agent(one).ok_or("somebody is dead")?;
            for other in world.peers() {
                let line = agent.lines.get(&other).copied().unwrap_or_default();
                let there = world.agent(other).and_then(|agent| agent.lines.get(&one).copied());
                let there = there.unwrap_or_default();
                if line.asked || line.closed || line.up != there.up || line.up != links.contains(&other) {
                    return Err(format!("{one} and {other}: {line:?}, {there:?}"));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn plan(seed: u64, failure_model: FailureModel) -> Plan {
    let faults =
        [Fault::Break, Fault::Stall, Fault::Partition, Fault::OneWay, Fault::Pause, Fault::Crash].into();
    Plan { servers: 4, seed, faults, steps: 150, carrier: Carrier::Stream, failure_model, wire: false }
}

pub(crate) fn run(flaw: Option<Flaw>, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
    // Some worlds have so little room that queues run full in stalls and partitions.
    let queue_messages_max = if plan.seed.is_multiple_of(2) { 40 } else { 1_000_000 };
    run_service(&mut Traffic { flaw, queue_messages_max, roaming: None }, plan, trace)
}

/// The same with agents that open and close their links themselves.
fn run_roaming(flaw: Option<Flaw>, plan: &Plan) -> Outcome {
    let queue_messages_max = if plan.seed.is_multiple_of(2) { 40 } else { 1_000_000 };
    run_service(&mut Traffic { flaw, queue_messages_max, roaming: Some(plan.servers) }, plan, None)
}

#[test]
fn links_keep_their_promises_whatever_happens() {
    for seed in 0..40 {
        for failure_model in [FailureModel::Rst, FailureModel::Send] {
            let outcome = run(None, &plan(seed, failure_model), None);
            assert_eq!(outcome.violation, None, "seed {seed}, {failure_model:?}");
            assert!(outcome.figures.messages > 1_000, "seed {seed}: {:?}", outcome.figures);
        }
    }
}

#[test]
fn links_that_agents_open_and_close_keep_their_promises_whatever_happens() {
    for seed in 0..40 {
        for failure_model in [FailureModel::Rst, FailureModel::Send] {
            let outcome = run_roaming(None, &plan(seed, failure_model));
            assert_eq!(outcome.violation, None, "seed {seed}, {failure_model:?}");
            assert!(outcome.figures.messages > 500, "seed {seed}: {:?}", outcome.figures);
        }
    }
}

#[test]
fn whoever_breaks_the_laws_of_links_is_found() {
    for flaw in [Flaw::Skips, Flaw::Repeats, Flaw::OldEpoch] {
        let violation = run(Some(flaw), &plan(1, FailureModel::Rst), None).violation.expect("found");
        assert_eq!(violation.checker, "link laws", "{flaw:?}");
    }
    for flaw in [Flaw::TalksOn, Flaw::Forgets] {
        // It takes a link to somebody dead to find who forgets.
        let violation = |seed| run_roaming(Some(flaw), &plan(seed, FailureModel::Rst)).violation;
        let found = (1..10).find_map(violation).map(|violation| violation.checker);
        assert_eq!(found, Some("link laws"), "{flaw:?}");
    }
}
