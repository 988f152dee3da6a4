//! The course of a run of bare agents: steps with commands and faults, checkers after everything that happens, then healing, then the
//! demand for progress.

use std::time::Duration;

use crate::agent::{Agent, Peer};
use crate::rng::Rng;
use crate::sim::{Delay, Faults, Outcome, Plan, Settings, Severity, Violation, World};
use crate::time::Time;
use crate::trace::Event;

/// What must hold. It is asked after everything that happens, so it looks at what that has touched, not at the whole world.
pub trait Checker<A: Agent> {
    /// The name by which violations call it.
    fn name(&self) -> &'static str;

    /// Safety: whether what has happened may happen; an error says what is wrong. [`World::happened`] says what was touched since
    /// the last time.
    fn check(&mut self, _world: &World<A>) -> Result<(), String> {
        Ok(())
    }

    /// Liveness: asked again and again once the world has healed, until there is no error any more or patience is at its end. An
    /// error says what is still missing.
    fn settled(&mut self, _world: &World<A>) -> Result<(), String> {
        Ok(())
    }
}

/// A service in the simulated world: its agents, its commands and its checkers.
pub trait Service {
    /// Its agents.
    type Agent: Agent;

    /// Makes an agent, at the beginning and after each crash. `seed` is for what it draws in this life.
    fn make(&mut self, peer: Peer, seed: u64) -> Self::Agent;

    /// Fills the world: adds the agents, their routes, links and logs.
    fn build(&mut self, world: &mut World<Self::Agent>, plan: &Plan);

    /// One step of those who use the service: usually a command. What is drawn comes from `rng`, which is new for each step.
    fn act(&mut self, world: &mut World<Self::Agent>, step: u64, rng: &mut Rng);

    /// What must hold.
    fn checkers(&mut self) -> Vec<Box<dyn Checker<Self::Agent>>>;

    /// The last thing that users do, once the world has healed.
    fn last_act(&mut self, _world: &mut World<Self::Agent>) {}

    /// The time from one step to the next.
    fn pace(&self) -> Delay {
        Delay::uniform_ms(0, 20)
    }

    /// How often and how long things go wrong.
    fn severity(&self, plan: &Plan) -> Severity {
        Severity::of(plan)
    }

    /// Whether the disk of this agent must not be damaged or fail now, since too few others are whole.
    fn spares(&self, _world: &World<Self::Agent>, _peer: Peer) -> bool {
        false
    }

    /// How long after healing progress may take, in simulated time.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// The world, where the usual one of a plan is not what is wanted.
    fn settings(&self, plan: &Plan) -> Settings {
        Settings::of(plan)
    }
}

/// Runs a service through a plan. What happens goes into `trace`, if somebody wants it.
pub fn run_service<S: Service>(service: &mut S, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
    let mut world = World::new(service.settings(plan));
    if trace.is_some() {
        world.start_trace();
    }
    // Not the numbers that the world draws its own streams from.
    let mut rng = Rng::new(plan.seed ^ COURSE);
    let (pace, acts, faults) = (rng.fork(), rng.fork(), rng.fork());
    let faults = Faults::new(plan, service.severity(plan), faults);
    service.build(&mut world, plan);
    let checkers = service.checkers();
    let mut course = Course { world, service, checkers, faults, pace, acts };
    let violation = course.run(plan).err();
    if let Some(trace) = trace {
        *trace = course.world.take_trace();
    }
    Outcome { figures: course.world.figures(), violation }
}

/// Any number that no seed is likely to be near.
const COURSE: u64 = 0x6F76_6964_2E73_696D;

struct Course<'a, S: Service> {
    world: World<S::Agent>,
    service: &'a mut S,
    checkers: Vec<Box<dyn Checker<S::Agent>>>,
    faults: Faults,
    pace: Rng,
    acts: Rng,
}

impl<S: Service> Course<'_, S> {
    fn run(&mut self, plan: &Plan) -> Result<(), Violation> {
        let pace = self.service.pace();
        for step in 0..plan.steps {
            let until = self.world.now() + pace.draw(&mut self.pace);
            self.run_until(until, step)?;
            let service = &*self.service;
            self.faults.step(&mut self.world, |world, peer| service.spares(world, peer));
            self.check(step)?;
            let mut rng = self.acts.fork();
            self.service.act(&mut self.world, step, &mut rng);
            self.check(step)?;
        }
        let service = &mut *self.service;
        self.faults.heal(&mut self.world, |peer, seed| service.make(peer, seed));
        self.check(plan.steps)?;
        self.service.last_act(&mut self.world);
        self.check(plan.steps)?;
        self.settle(plan.steps)
    }

    /// Lets time go on, and mends on the way what is to be mended.
    fn run_until(&mut self, until: Time, step: u64) -> Result<(), Violation> {
        loop {
            let mend = self.faults.next_mend().filter(|&at| at <= until);
            let limit = mend.unwrap_or(until);
            while self.world.step(limit) {
                self.check(step)?;
            }
            self.world.run_until(limit);
            if mend.is_none() {
                return Ok(());
            }
            let service = &mut *self.service;
            self.faults.mend(&mut self.world, |peer, seed| service.make(peer, seed));
            self.check(step)?;
        }
    }

    fn check(&mut self, step: u64) -> Result<(), Violation> {
        if let Some(wrong) = self.world.wrong() {
            return Err(self.violation(wrong.law, step, wrong.what.clone()));
        }
        for place in 0..self.checkers.len() {
            let checker = &mut self.checkers[place];
            if let Err(what) = checker.check(&self.world) {
                let name = checker.name();
                return Err(self.violation(name, step, what));
            }
        }
        self.world.forget_happened();
        Ok(())
    }

    fn violation(&self, checker: &'static str, step: u64, what: String) -> Violation {
        Violation { checker, step, at_ns: self.world.now().as_nanos(), what }
    }

    /// Asks whether all has come right, seldom at first and then more and more seldom: the question may be expensive.
    fn settle(&mut self, step: u64) -> Result<(), Violation> {
        let give_up = self.world.now() + self.service.patience();
        let mut wait = FIRST_QUESTION;
        loop {
            let Some((checker, what)) = self.unsettled() else { return Ok(()) };
            if self.world.now() >= give_up {
                let patience = self.service.patience();
                let what = format!("{patience:?} after healing: {what}");
                return Err(self.violation(checker, step, what));
            }
            let until = give_up.min(self.world.now() + wait);
            self.run_until(until, step)?;
            wait = wait.saturating_mul(2).min(LAST_QUESTION);
        }
    }

    fn unsettled(&mut self) -> Option<(&'static str, String)> {
        let world = &self.world;
        self.checkers.iter_mut().find_map(|checker| {
            let name = checker.name();
            checker.settled(world).err().map(|what| (name, what))
        })
    }
}

const FIRST_QUESTION: Duration = Duration::from_millis(20);
const LAST_QUESTION: Duration = Duration::from_secs(2);
