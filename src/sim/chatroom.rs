//! The chatroom of the lab, whole: servers with their links, masters who broadcast and ask, and networks and processes that fail. What
//! must hold of the logs is said in `checker.rs`; what must come after all faults are mended:
//!
//! - *alive*: within 8 s of simulated time every server says that exactly those are alive that run, and goes on saying so. Where the time goes: a
//!   cut or frozen stream goes on within as long again as it was held (3 s); a dial that nobody heard is given up after 3 s; a server that was
//!   refused dials again within 1 s, one that is silent is suspected after 0.8 s.
//! - *reach*: then a broadcast of each server is in every log within 5 s.
//!
//! Servers on an overlay have 30 s and 15 s for the two.

mod checker;
mod faults;
mod masters;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use self::checker::{Checker, Life, Wrong, alive_ids};
use self::faults::Faults;
use self::masters::Masters;
use crate::grid::{LINK_BASE_DEFAULT, MASTER_PORT_MIN};
use crate::rng::{Probability, Rng};
use crate::sim::servers::{
    Happening, Maker, Saboteur, Seen, ServerWorld, Streams, lab, lab_addresses, overlay_lab,
};
use crate::sim::{Carrier, Delay, Fault, Figures, Outcome, Plan, Scenario, Violation};
use crate::time::Time;
use crate::trace::Event;

/// For so long everybody must go on seeing who is there: longer than a silence may last.
const ALIVE_KEPT: Duration = Duration::from_millis(1500);
/// How often one looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The time between two steps.
const PACE: Delay = Delay::LongTailed { shortest: Duration::ZERO, usual_excess: Duration::from_millis(4) };
/// Servers start within this time, each at its own.
const STARTS_WITHIN: Duration = Duration::from_millis(300);

/// The scenario: servers with links to all others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chatroom;

/// The same rules for servers that speak through an overlay, but for *gap*: whether a message is lost is not a matter of one link there.
#[derive(Clone, Copy, Debug, Default)]
pub struct OverlayChatroom;

/// How the servers of a run are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Graph {
    Complete,
    Overlay,
}

impl Graph {
    /// Within this time after healing everybody must see who is there.
    fn alive_limit(self) -> Duration {
        match self {
            Self::Complete => Duration::from_secs(8),
            // Who was forgotten by everybody is heard of with its next refresh; who was never told to be dead is forgotten after three.
            Self::Overlay => Duration::from_secs(30),
        }
    }

    /// Within this time broadcasts must be everywhere then.
    fn reach_limit(self) -> Duration {
        match self {
            Self::Complete => Duration::from_secs(5),
            // What comes behind a gap that nobody can mend waits until that is skipped, and there may be one behind another.
            Self::Overlay => Duration::from_secs(15),
        }
    }

    fn maker(self, n: u16) -> Maker {
        // Guests who have gone count as masters until a server that stood still learns of it; nobody is to be pushed out for that.
        const MASTERS_MAX: usize = 10_000;
        match self {
            Self::Complete => lab(n, |settings| settings.server.masters_max = MASTERS_MAX),
            Self::Overlay => overlay_lab(n, |settings, setup| {
                settings.server.masters_max = MASTERS_MAX;
                setup.options.shuffle_period = Duration::from_secs(1);
                setup.options.keep_alive = Duration::from_millis(200);
                setup.options.probe_period = Duration::from_secs(1);
                setup.options.timeout = Duration::from_secs(1);
            }),
        }
    }
}

impl Scenario for Chatroom {
    fn name(&self) -> &'static str {
        "chatroom"
    }

    fn about(&self) -> &'static str {
        "whole chatroom servers over byte streams: order, no repeats, no loss while a link is up, who is alive"
    }

    fn carriers(&self) -> &'static [Carrier] {
        &[Carrier::Stream]
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        // A lab's servers have no disk on which a write could be torn.
        carrier.faults().into_iter().filter(|fault| *fault != Fault::Torn).collect()
    }

    fn servers_max(&self) -> u32 {
        u32::from(MASTER_PORT_MIN - LINK_BASE_DEFAULT)
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        Run::new(plan, Graph::Complete, trace, None).run()
    }
}

impl Scenario for OverlayChatroom {
    fn name(&self) -> &'static str {
        "overlay-chatroom"
    }

    fn about(&self) -> &'static str {
        "whole chatroom servers on an overlay: order, no repeats, who is alive, and that broadcasts reach all in the end"
    }

    fn default_plan(&self) -> Plan {
        Plan { servers: 9, ..Chatroom.default_plan() }
    }

    fn carriers(&self) -> &'static [Carrier] {
        Chatroom.carriers()
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        Chatroom.faults(carrier)
    }

    fn servers_max(&self) -> u32 {
        Chatroom.servers_max()
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        Run::new(plan, Graph::Overlay, trace, None).run()
    }
}

/// One run.
struct Run<'a> {
    plan: &'a Plan,
    graph: Graph,
    n: u16,
    world: ServerWorld,
    checker: Checker,
    masters: Masters,
    faults: Faults,
    pace: Rng,
    acts: Rng,
    starts: Vec<(Time, u16)>,
    step: u64,
    trace: Option<&'a mut Vec<Event>>,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        graph: Graph,
        trace: Option<&'a mut Vec<Event>>,
        saboteur: Option<Box<dyn Saboteur>>,
    ) -> Self {
        let n = u16::try_from(plan.servers).expect("the plan was checked");
        let mut rng = Rng::new(plan.seed);
        let streams = streams(&mut rng.fork());
        let mut world = ServerWorld::new(lab_addresses(n), streams, rng.number(), graph.maker(n));
        world.watch();
        if let Some(saboteur) = saboteur {
            world.sabotage(saboteur);
        }
        let (pace, acts) = (rng.fork(), rng.fork());
        let faults = Faults::new(plan, n, rng.fork());
        let starts =
            (0..n).map(|id| (Time::ZERO + rng.duration(Duration::ZERO, STARTS_WITHIN), id)).collect();
        let (checker, masters) = (Checker::new(graph == Graph::Complete), Masters::default());
        Self { plan, graph, n, world, checker, masters, faults, pace, acts, starts, step: 0, trace }
    }

    fn run(mut self) -> Outcome {
        let result = self.steps().and_then(|()| self.settle());
        let violation = result.err().map(|(checker, what)| {
            let at_ns = self.world.now().as_nanos();
            Violation { checker, step: self.step, at_ns, what }
        });
        let figures = Figures {
            events: self.world.inputs(),
            messages: self.checker.delivered(),
            simulated_ns: self.world.now().as_nanos(),
            digest: self.world.digest(),
        };
        Outcome { figures, violation }
    }

    /// Commands and faults.
    fn steps(&mut self) -> Result<(), Wrong> {
        while self.step < self.plan.steps {
            let wait = PACE.draw(&mut self.pace);
            self.run_for(wait)?;
            if let Some(id) = self.faults.step(&mut self.world) {
                self.masters.crash(&mut self.world, id);
            }
            self.observe()?;
            let mut rng = self.acts.fork();
            let checker = &self.checker;
            self.masters.act(&mut self.world, &mut rng, |life| checker.log_bytes(life));
            self.observe()?;
            self.step += 1;
        }
        Ok(())
    }

    /// Everything is mended, and progress is demanded.
    fn settle(&mut self) -> Result<(), Wrong> {
        for (at, _) in &mut self.starts {
            *at = self.world.now();
        }
        self.start_due();
        self.observe()?;
        self.faults.heal(&mut self.world);
        self.observe()?;
        let mut right_since = None;
        let limit = self.graph.alive_limit();
        let give_up = self.world.now() + limit;
        while right_since.is_none_or(|since| self.world.now().since(since) < ALIVE_KEPT) {
            self.run_for(LOOK_EVERY)?;
            match self.who_is_wrong() {
                None => drop(right_since.get_or_insert(self.world.now())),
                Some(what) if self.world.now() >= give_up => {
                    return Err(("alive", format!("{what}, {limit:?} after all was mended")));
                }
                Some(_) => right_since = None,
            }
        }
        let mut rng = self.acts.fork();
        let messages = self.masters.broadcast_everywhere(&mut self.world, &mut rng);
        let give_up = self.world.now() + self.graph.reach_limit();
        while let Some(missing) = self.not_reached(&messages) {
            if self.world.now() >= give_up {
                return Err(("reach", missing));
            }
            self.run_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Lets time pass, mends on the way what is to be mended, and checks after everything that happens.
    fn run_for(&mut self, duration: Duration) -> Result<(), Wrong> {
        let until = self.world.now() + duration;
        loop {
            let start = self.starts.iter().map(|(at, _)| *at).min();
            let limit = [self.faults.next_mend(), start].into_iter().flatten().fold(until, Time::min);
            while self.world.advance(limit) {
                self.observe()?;
            }
            let started = self.start_due();
            if !self.faults.mend(&mut self.world) && !started && limit == until {
                return Ok(());
            }
            self.observe()?;
        }
    }

    /// Starts who is to start by now; whether there was anybody.
    fn start_due(&mut self) -> bool {
        let now = self.world.now();
        let due: Vec<u16> = self.starts.iter().filter(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        self.starts.retain(|(at, _)| *at > now);
        for id in &due {
            self.world.start(*id);
        }
        !due.is_empty()
    }

    /// Looks at what has happened.
    fn observe(&mut self) -> Result<(), Wrong> {
        loop {
            let happenings = self.world.take_happenings();
            let mut touched = BTreeSet::new();
            for happening in &happenings {
                if let Some(trace) = &mut self.trace {
                    trace.push(happening.event());
                }
                if self.note(happening) {
                    touched.insert(happening.server);
                }
            }
            for id in touched {
                self.look_at_log(id)?;
            }
            for (life, connection, answer) in self.masters.read(&mut self.world) {
                self.checker.answered(life, connection, self.n, &answer)?;
            }
            // Masters that come to a server that has started make something happen themselves.
            if happenings.is_empty() {
                return Ok(());
            }
        }
    }

    /// Tells the checker of a happening; whether the server's log may have changed.
    fn note(&mut self, happening: &Happening) -> bool {
        let id = happening.server;
        match &happening.what {
            Seen::Started { incarnation } => {
                let life = Life { server: id, incarnation: *incarnation };
                self.checker.started(life);
                self.masters.started(&mut self.world, life);
            }
            Seen::Crashed => {
                self.checker.crashed(id);
                self.masters.crashed(id);
                self.faults.crashed(id, happening.at);
            }
            Seen::Up { peer, peer_incarnation, connection } => {
                let peer = Life { server: *peer, incarnation: *peer_incarnation };
                self.checker.up(id, peer, *connection);
            }
            Seen::Down { peer, connection, .. } => self.checker.down(id, *peer, *connection),
            Seen::Read { from, connection, line } => {
                if from.is_none() {
                    self.checker.command(id, *connection, line);
                }
                return true;
            }
            Seen::Paused | Seen::Resumed | Seen::Wrote { .. } | Seen::Parted { .. } | Seen::Healed { .. } => {
            }
        }
        false
    }

    fn look_at_log(&mut self, id: u16) -> Result<(), Wrong> {
        if !self.world.runs(id) {
            return Ok(());
        }
        let answer = self.world.ask_inside(id, "get");
        let settled = self.masters.are_read(&self.world, id);
        self.checker.log(self.life(id), &answer, settled)
    }

    fn life(&self, id: u16) -> Life {
        Life { server: id, incarnation: self.world.incarnation(id) }
    }

    /// Who does not say that exactly those are alive that run.
    fn who_is_wrong(&mut self) -> Option<String> {
        let running = self.world.running();
        running.iter().find_map(|id| {
            let answer = self.world.ask_inside(*id, "alive").concat();
            let said = alive_ids(answer.trim_ascii_end());
            let life = self.life(*id);
            (said.as_ref() != Some(&running)).then(|| format!("{life} sees {said:?}; {running:?} run"))
        })
    }

    /// Where a message is missing.
    fn not_reached(&self, messages: &[Vec<u8>]) -> Option<String> {
        self.world.running().into_iter().find_map(|id| {
            let life = self.life(id);
            let missing = messages.iter().find(|message| !self.checker.has(life, message))?;
            Some(format!("{life} lacks {:?}", String::from_utf8_lossy(missing)))
        })
    }
}

/// How the streams of a run behave: mostly as within a house, sometimes as across a continent, sometimes with very small buffers.
fn streams(rng: &mut Rng) -> Streams {
    let usual = Streams::default();
    let delay = match rng.below(4) {
        0 => Delay::uniform_ms(1, 30),
        1 => Delay::LongTailed {
            shortest: Duration::from_micros(50),
            usual_excess: Duration::from_micros(100),
        },
        _ => usual.delay,
    };
    let pipe_bytes = *rng.pick(&[256 * 1024, 256 * 1024, 4096, 400]).expect("there are some");
    let short_reads = Probability::percent(*rng.pick(&[0, 10, 50]).expect("there are some"));
    Streams { delay, pipe_bytes, short_reads, ..usual }
}
