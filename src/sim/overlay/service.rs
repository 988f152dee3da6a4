//! The course of a run: who joins through whom, and what users do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::checkers::{Alive, Connected, Degrees, LayerContract, Links, Order, Reach, Views};
use super::member::{Flaw, Member, options};
use crate::agent::{Peer, Session};
use crate::agents::overlay::Options;
use crate::rng::{Probability, Rng};
use crate::sim::{Checker, Delay, Plan, Service, Settings, Severity, World};

/// The overlay as a service.
#[derive(Debug)]
pub(super) struct Overlay {
    servers: u32,
    optimise_period: Duration,
    flaw: Option<Flaw>,
    /// How many lives of each server there have been.
    lives: BTreeMap<Peer, u64>,
    /// Who has left and not joined again.
    left: BTreeSet<Peer>,
    /// Who speaks in the end.
    speakers: Vec<Peer>,
    /// Draws through whom servers join at first, and who speaks.
    rng: Rng,
}

impl Overlay {
    pub(super) fn new(plan: &Plan, optimise_period: Duration, flaw: Option<Flaw>) -> Self {
        let mut rng = Rng::new(plan.seed ^ OVERLAY);
        let mut speakers: Vec<Peer> = (0..plan.servers).map(Peer).collect();
        rng.shuffle(&mut speakers);
        speakers.truncate(SPEAKERS);
        let (lives, left) = (BTreeMap::new(), BTreeSet::new());
        Self { servers: plan.servers, optimise_period, flaw, lives, left, speakers, rng }
    }

    fn make_member(&mut self, me: Peer, seed: u64, contacts: Vec<Peer>) -> Member {
        let life = self.lives.entry(me).or_default();
        // Whoever is taken for dead goes on to the next number, too; these stay below the next life's.
        *life += 1_000_000;
        let options = Options { optimise_period: self.optimise_period, ..options() };
        Member::new(me, *life, seed, options, contacts, self.flaw)
    }

    /// Anybody else, and one whom all name. If all that were told of each other could forget it, there might be two groups that know nothing of each
    /// other, which nobody could join.
    fn contacts(&self, me: Peer, rng: &mut Rng) -> Vec<Peer> {
        let picky = self.flaw == Some(Flaw::Picky);
        let fits = |peer: &Peer| *peer != me && (!picky || peer.0 % 2 == me.0 % 2);
        let others: Vec<Peer> = (0..self.servers).map(Peer).filter(fits).collect();
        rng.pick(&others).into_iter().chain(others.first()).copied().collect()
    }

    /// Whoever has left comes back.
    fn join(&self, world: &mut World<Member>, peer: Peer, rng: &mut Rng) {
        for contact in self.contacts(peer, rng) {
            world.command(peer, USER, &format!("join {contact}"));
        }
    }
}

impl Service for Overlay {
    type Agent = Member;

    fn make(&mut self, peer: Peer, seed: u64) -> Member {
        self.left.remove(&peer);
        let contacts = self.contacts(peer, &mut Rng::new(seed));
        // Not the numbers that have drawn the contact.
        self.make_member(peer, !seed, contacts)
    }

    /// All join through the first one: in some runs one after the other, in others all at once, which leaves islands.
    fn build(&mut self, world: &mut World<Member>, plan: &Plan) {
        let pause = Duration::from_millis([0, 5, 40][self.rng.index(3)]);
        for peer in (0..plan.servers).map(Peer) {
            let picky = self.flaw == Some(Flaw::Picky);
            let first = if picky { Peer(peer.0 % 2) } else { Peer(0) };
            let contacts = Some(first).filter(|first| *first != peer).into_iter().collect();
            let member = self.make_member(peer, world.seed_for(peer), contacts);
            world.add(member);
            world.run_until(world.now() + pause);
        }
    }

    fn act(&mut self, world: &mut World<Member>, step: u64, rng: &mut Rng) {
        let Some(&peer) = rng.pick(&world.peers().collect::<Vec<_>>()) else { return };
        if !world.is_alive(peer) {
            return;
        }
        if self.left.remove(&peer) {
            self.join(world, peer, rng);
        } else if rng.chance(LEAVES) && self.servers > 1 {
            self.left.insert(peer);
            world.command(peer, USER, "leave");
        } else {
            world.command(peer, USER, &format!("broadcast {step}"));
        }
    }

    fn checkers(&mut self) -> Vec<Box<dyn Checker<Member>>> {
        vec![
            Box::new(Views),
            Box::new(LayerContract),
            Box::new(Order::default()),
            Box::new(Links::default()),
            Box::new(Connected),
            Box::new(Degrees),
            Box::new(Reach::new(&self.speakers)),
            Box::new(Alive),
        ]
    }

    /// Whoever has left comes back, and some go on speaking.
    fn last_act(&mut self, world: &mut World<Member>) {
        for peer in std::mem::take(&mut self.left) {
            let mut rng = self.rng.fork();
            self.join(world, peer, &mut rng);
        }
        for &speaker in &self.speakers {
            world.command(speaker, USER, "speak");
        }
    }

    fn pace(&self) -> Delay {
        Delay::uniform_ms(0, 60)
    }

    /// Some of what goes wrong lasts for longer than a neighbour may be silent, and than it takes until somebody is unreachable.
    fn severity(&self, plan: &Plan) -> Severity {
        let usual = Severity::of(plan);
        Severity { longest: usual.longest * 5, ..usual }
    }

    /// Where delays have a long tail it is cut before a signal of life: a neighbour whose signal takes longer is given up, and with a tail that goes on
    /// after healing somebody always is.
    fn settings(&self, plan: &Plan) -> Settings {
        let mut settings = Settings::of(plan);
        if let Delay::LongTailed { usual_excess, .. } = &mut settings.delay {
            *usual_excess = Duration::from_micros(250);
        }
        settings.distance = Some(DISTANCE).filter(|_| !self.optimise_period.is_zero());
        settings
    }

    fn patience(&self) -> Duration {
        // Of one that is broken on purpose nothing is expected.
        Duration::from_secs(if self.flaw.is_none() { 60 } else { 12 })
    }
}

/// How likely a server leaves instead of saying something.
const LEAVES: Probability = Probability::percent(3);
/// How far servers are from each other, where they optimise.
pub(super) const DISTANCE: Delay = Delay::uniform_ms(0, 40);
/// How many go on speaking in the end.
const SPEAKERS: usize = 5;
const USER: Session = Session(0);
/// Any number that no seed is likely to be near.
const OVERLAY: u64 = 0x6F76_6572_6C61_7973;
