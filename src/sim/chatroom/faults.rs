//! Letting things go wrong between and with servers, and mending them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rng::{Probability, Rng};
use crate::sim::servers::ServerWorld;
use crate::sim::{Carrier, FailureModel, Fault, Plan};
use crate::time::Time;

/// How likely a step begins a fault: one of these for the whole run, in percent.
const PER_STEP_PERCENT: [u32; 3] = [4, 12, 40];
/// Of crashes where the machine lives: how many are asked for by a master.
const BY_COMMAND: Probability = Probability::percent(30);
/// The longest that a fault lasts: one of these for the whole run, in milliseconds.
const LONGEST_MS: [u64; 3] = [200, 1000, 3000];

/// How something that went wrong is mended.
#[derive(Clone, Copy, Debug)]
enum Mend {
    Heal(u64),
    Resume(u16),
    Start(u16),
}

/// What goes wrong, and when it is mended.
#[derive(Debug)]
pub(super) struct Faults {
    rng: Rng,
    /// Those that can happen, wanted or not.
    kinds: Vec<Fault>,
    wanted: BTreeSet<Fault>,
    model: FailureModel,
    n: u16,
    per_step: Probability,
    longest: Duration,
    mends: Vec<(Time, Mend)>,
    /// Who was told to crash, and how long it is to be down then.
    told_to_crash: BTreeMap<u16, Duration>,
}

impl Faults {
    pub(super) fn new(plan: &Plan, n: u16, mut rng: Rng) -> Self {
        let longest = Duration::from_millis(*rng.pick(&LONGEST_MS).expect("there are some"));
        let per_step = Probability::percent(*rng.pick(&PER_STEP_PERCENT).expect("there are some"));
        let kinds = Carrier::Stream.faults().into_iter().filter(|fault| *fault != Fault::Torn).collect();
        let wanted = plan.faults.clone();
        let (mends, told_to_crash) = (Vec::new(), BTreeMap::new());
        Self { rng, kinds, wanted, model: plan.failure_model, n, per_step, longest, mends, told_to_crash }
    }

    /// When something is mended next.
    pub(super) fn next_mend(&self) -> Option<Time> {
        self.mends.iter().map(|(at, _)| *at).min()
    }

    /// Mends what is to be mended by now; whether that was anything.
    pub(super) fn mend(&mut self, world: &mut ServerWorld) -> bool {
        let now = world.now();
        let due: Vec<Mend> = self.mends.iter().filter(|(at, _)| *at <= now).map(|(_, mend)| *mend).collect();
        self.mends.retain(|(at, _)| *at > now);
        for mend in &due {
            match *mend {
                Mend::Heal(id) => world.heal(id),
                Mend::Resume(id) if world.runs(id) => world.resume(id),
                Mend::Start(id) if !world.runs(id) => world.start(id),
                Mend::Resume(_) | Mend::Start(_) => {}
            }
        }
        !due.is_empty()
    }

    /// Everything is mended now, and whoever still obeys an earlier word to crash starts again at once. If crashes are among the faults, one
    /// server may be down for good.
    pub(super) fn heal(&mut self, world: &mut ServerWorld) {
        let mut rng = self.rng.fork();
        for (at, _) in &mut self.mends {
            *at = world.now();
        }
        for down_for in self.told_to_crash.values_mut() {
            *down_for = Duration::ZERO;
        }
        if self.wanted.contains(&Fault::Crash) && self.n > 1 && rng.chance(Probability::percent(50)) {
            let gone = u16::try_from(rng.index(self.n.into())).expect("one of them");
            self.told_to_crash.remove(&gone);
            self.mends.retain(|(_, mend)| !matches!(mend, Mend::Start(id) if *id == gone));
            if world.runs(gone) {
                self.crash_now(world, gone);
            }
        }
        self.mend(world);
    }

    /// A server has crashed. If it was told to, it starts again after a while.
    pub(super) fn crashed(&mut self, id: u16, now: Time) {
        if let Some(down_for) = self.told_to_crash.remove(&id) {
            self.mends.push((now + down_for, Mend::Start(id)));
        }
    }

    /// Perhaps lets something go wrong; the server that is to be told to crash, if one is.
    pub(super) fn step(&mut self, world: &mut ServerWorld) -> Option<u16> {
        // A stream for each step, so that what one step draws does not shift what the next one does.
        let mut rng = self.rng.fork();
        if !rng.chance(self.per_step) {
            return None;
        }
        // One that is not wanted leaves the others as they are: a failure with fewer faults is still the same failure.
        let kind = *rng.pick(&self.kinds).filter(|kind| self.wanted.contains(kind))?;
        let lasts = rng.duration(Duration::from_millis(5), self.longest);
        let until = world.now() + lasts;
        let mut ids: Vec<u16> = (0..self.n).collect();
        rng.shuffle(&mut ids);
        let (one, other) = (ids[0], ids[ids.len() - 1]);
        match kind {
            Fault::Break => world.break_between(one, other),
            Fault::Stall => world.stall_between(one, other, lasts),
            Fault::Partition | Fault::OneWay => self.part(world, &mut rng, &ids, kind, until),
            Fault::Pause if world.runs(one) && !world.is_paused(one) => {
                world.pause(one);
                self.mends.push((until, Mend::Resume(one)));
            }
            Fault::Crash if world.runs(one) && !self.told_to_crash.contains_key(&one) => {
                if self.model == FailureModel::Rst && rng.chance(BY_COMMAND) {
                    self.told_to_crash.insert(one, lasts);
                    return Some(one);
                }
                self.crash_now(world, one);
                self.mends.push((until, Mend::Start(one)));
            }
            _ => {}
        }
        None
    }

    fn crash_now(&mut self, world: &mut ServerWorld, id: u16) {
        match self.model {
            FailureModel::Rst => world.kill(id),
            FailureModel::Send => world.vanish(id),
        }
    }

    /// Cuts the servers into two groups, unless they are cut already.
    fn part(&mut self, world: &mut ServerWorld, rng: &mut Rng, ids: &[u16], kind: Fault, until: Time) {
        let is_cut = self.mends.iter().any(|(_, mend)| matches!(mend, Mend::Heal(_)));
        let (one, other) = ids.split_at(rng.index(ids.len()));
        if is_cut || one.is_empty() {
            return;
        }
        self.mends.push((until, Mend::Heal(world.part(one, other))));
        if kind == Fault::Partition {
            self.mends.push((until, Mend::Heal(world.part(other, one))));
        }
    }
}
