//! What links promise, under all faults at once: agents that number what they send, anew for each epoch of each link, and complain about
//! whatever they should not have received.

use std::collections::BTreeMap;
use std::time::Duration;

use ovid::agent::{Agent, Epoch, Input, JsonMessage, Outbox, Peer, Port, Session};
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
}

impl JsonMessage for Numbered {}

/// One link as its agent sees it.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    epoch: u32,
    up: bool,
    sent: u64,
    received: u64,
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
}

#[derive(Debug)]
struct Talker {
    lines: BTreeMap<Peer, Line>,
    next: Time,
    complaint: Option<String>,
    flaw: Option<Flaw>,
}

const PERIOD: Duration = Duration::from_millis(4);

impl Talker {
    fn new(flaw: Option<Flaw>) -> Self {
        Self { lines: BTreeMap::new(), next: Time::ZERO, complaint: None, flaw }
    }

    fn talk(&mut self, out: &mut Outbox<Numbered>) {
        for (&peer, line) in self.lines.iter_mut().filter(|(_, line)| line.up) {
            let mut message = Numbered { epoch: line.epoch, number: line.sent };
            line.sent += 1;
            match self.flaw.filter(|_| line.sent == 20) {
                Some(Flaw::Skips) => message.number += 1,
                Some(Flaw::Repeats) => out.send((peer, Port(1)), message.clone()),
                Some(Flaw::OldEpoch) => message.epoch -= 1,
                None => {}
            }
            out.send((peer, Port(1)), message);
        }
    }

    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    fn up(&mut self, peer: Peer, Epoch(epoch): Epoch) {
        let line = self.lines.entry(peer).or_default();
        let before = std::mem::replace(line, Line { epoch, up: true, sent: 0, received: 0 });
        if before.up || epoch <= before.epoch {
            self.complain(format!("the link to {peer} came up as {epoch} after {before:?}"));
        }
    }

    fn down(&mut self, peer: Peer, Epoch(epoch): Epoch) {
        let line = self.lines.entry(peer).or_default();
        let before = *line;
        line.up = false;
        if !before.up || epoch != before.epoch {
            self.complain(format!("the link to {peer} went down as {epoch} after {before:?}"));
        }
    }

    fn receive(&mut self, from: Peer, message: &Numbered) {
        let line = self.lines.entry(from).or_default();
        let before = *line;
        line.received += 1;
        if !before.up || message.epoch != before.epoch || message.number != before.received {
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
            }
            Input::LinkUp { peer, epoch } => {
                self.up(peer, epoch);
                self.talk(out);
            }
            Input::LinkDown { peer, epoch, .. } => self.down(peer, epoch),
            Input::Message { from, message, .. } => self.receive(from, &message),
            Input::Commands { mut commands } => {
                commands.take();
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
}

impl Service for Traffic {
    type Agent = Talker;

    fn settings(&self, plan: &Plan) -> Settings {
        Settings { queue_messages_max: self.queue_messages_max, ..Settings::of(plan) }
    }

    fn make(&mut self, _: Peer, _: u64) -> Talker {
        Talker::new(self.flaw)
    }

    fn build(&mut self, world: &mut World<Talker>, plan: &Plan) {
        let peers: Vec<Peer> = (0..plan.servers).map(|_| world.add(Talker::new(self.flaw))).collect();
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
        vec![Box::new(LinkLaws)]
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

pub(crate) fn plan(seed: u64, failure_model: FailureModel) -> Plan {
    let faults =
        [Fault::Break, Fault::Stall, Fault::Partition, Fault::OneWay, Fault::Pause, Fault::Crash].into();
    Plan { servers: 4, seed, faults, steps: 150, carrier: Carrier::Stream, failure_model, wire: false }
}

pub(crate) fn run(flaw: Option<Flaw>, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
    // Some worlds have so little room that queues run full in stalls and partitions.
    let queue_messages_max = if plan.seed.is_multiple_of(2) { 40 } else { 1_000_000 };
    run_service(&mut Traffic { flaw, queue_messages_max }, plan, trace)
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
fn whoever_breaks_the_laws_of_links_is_found() {
    for flaw in [Flaw::Skips, Flaw::Repeats, Flaw::OldEpoch] {
        let violation = run(Some(flaw), &plan(1, FailureModel::Rst), None).violation.expect("found");
        assert_eq!(violation.checker, "link laws", "{flaw:?}");
    }
}
