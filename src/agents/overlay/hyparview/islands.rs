//! How islands find each other. Not in the paper, which has overlays that are split stay so.
//!
//! Each island has a name that all its nodes learn from `KEEPALIVE`s: its smallest node, its *root*, with a number that the root counts up, its *beat*. A
//! name that is not renewed is given up. Now and then a node sends its name to somebody whom it remembers (`PROBE`); who is in another island makes the
//! sender its neighbour, and so the two grow together.
//!
//! Two islands can have the same root: one that it was cut off from, or in which it has died, keeps its name for a while, and a root that was started anew
//! names another. They are told apart by their beats, which are almost equal within an island. For that a root begins to count at a number at random.
//!
//! A name is believed only as far as it can do no harm: whatever a stranger probes for, a node asks for at most one neighbour in a period.

use std::time::Duration;

use super::HyParView;
use super::requests::Ask;
use crate::agents::overlay::{Control, Effect, Id, Island};
use crate::rng::Probability;
use crate::time::Time;

/// What a node knows of islands.
#[derive(Debug)]
pub(super) struct Islands<I> {
    name: Island<I>,
    /// Since when this one, but for beats that follow one another.
    since: Time,
    /// When the name was renewed last.
    renewed: Time,
    /// How far this node has counted; it does while it is the root.
    own_beat: u64,
    /// Names that were given up, and until when they are believed only if they are renewed.
    stale: Vec<(Island<I>, Time)>,
    /// When to probe next.
    probe_at: Time,
    /// When a probe may be followed next.
    bridge_at: Time,
}

impl<I: Id> Islands<I> {
    /// Whether a name is another island's. Within one, the latest beat is on its way for some periods.
    fn is_another(&self, island: Island<I>) -> bool {
        island.root != self.name.root || island.beat.abs_diff(self.name.beat) > BEATS_APART
    }

    /// Whether a name would be taken in the place of this one, once the two islands are one.
    fn prevails(&self, island: Island<I>) -> bool {
        island.root < self.name.root || (island.root == self.name.root && island.beat > self.name.beat)
    }

    /// Whether a name is an echo of one that was given up. A beat far below is none, but the root's, started anew.
    fn is_stale(&self, now: Time, island: Island<I>) -> bool {
        let is_echo = |stale: &Island<I>| {
            stale.root == island.root
                && stale.beat.checked_sub(island.beat).is_some_and(|beats| beats <= BEATS_APART)
        };
        self.stale.iter().any(|(stale, until)| is_echo(stale) && now < *until)
    }
}

impl<I: Id> HyParView<I> {
    pub(super) fn start_islands(&mut self, now: Time) {
        if self.options.probe_period.is_zero() || !self.own_dialect() {
            return;
        }
        let probe_at = now + self.rng.duration(Duration::ZERO, self.options.probe_period);
        let own_beat = self.rng.below(FIRST_BEATS);
        self.islands = Some(Box::new(Islands {
            name: Island { root: self.me, beat: own_beat },
            since: now,
            renewed: now,
            own_beat,
            stale: Vec::new(),
            probe_at,
            bridge_at: now,
        }));
    }

    /// The name of the island that this node believes to be in, where islands are looked for.
    pub fn island(&self) -> Option<Island<I>> {
        self.islands.as_ref().map(|islands| islands.name)
    }

    /// Once in a keep-alive period: a root renews the name, others give it up if nobody does; the name to be told.
    pub(super) fn island_beats(&mut self, now: Time) -> Option<Island<I>> {
        let period = self.options.keep_alive;
        let islands = self.islands.as_mut()?;
        if islands.name.root != self.me && now.since(islands.renewed) > period * NAME_PERIODS {
            if islands.stale.len() >= STALE_MAX {
                islands.stale.remove(0);
            }
            // Those who have not given it up yet repeat it for a while.
            islands.stale.push((islands.name, now + period * STALE_PERIODS));
            islands.name = Island { root: self.me, beat: islands.own_beat };
            islands.since = now;
        }
        if islands.name.root == self.me {
            islands.own_beat = islands.own_beat.saturating_add(1);
            islands.name.beat = islands.own_beat;
            islands.renewed = now;
            self.active.notes_mut().iter_mut().for_each(|notes| notes.told = false);
        }
        let name = islands.name;
        if islands.probe_at <= now {
            islands.probe_at = now + self.options.probe_period;
            self.probe(now);
        }
        Some(name)
    }

    /// A neighbour has told the name of its island, so of this one.
    pub(super) fn island_heard(&mut self, now: Time, island: Island<I>) {
        let Some(islands) = &mut self.islands else { return };
        if island.root == self.me {
            // Said by this node before it was started anew. It has to be louder to be heard.
            if island.beat - islands.own_beat.min(island.beat) < BEATS_AHEAD_MAX {
                islands.own_beat = islands.own_beat.max(island.beat);
            }
            return;
        }
        if !islands.prevails(island) || islands.is_stale(now, island) {
            return;
        }
        let is_another = islands.is_another(island);
        islands.name = island;
        islands.renewed = now;
        self.active.notes_mut().iter_mut().for_each(|notes| notes.told = false);
        if is_another {
            islands.since = now;
            self.signs_soon(now);
        }
    }

    /// This node itself did not run for a while.
    pub(super) fn island_slept(&mut self, time: Duration) {
        if let Some(islands) = &mut self.islands {
            islands.renewed = islands.renewed + time;
            islands.since = islands.since + time;
        }
    }

    /// `PROBE`s somebody who is remembered. The contacts, which are the same for many, are mostly left to the root of the island.
    fn probe(&mut self, now: Time) {
        let Some(island) = self.settled_island(now) else { return };
        if self.active.is_empty() {
            return;
        }
        let (memory, passive) = (self.memory.names().ids(), self.passive.ids());
        let count = memory.len() + passive.len();
        if count > 0 {
            let index = self.rng.index(count);
            let somebody = memory.get(index).or_else(|| passive.get(index - memory.len())).copied();
            self.post_probe(somebody, island);
        }
        if island.root == self.me || self.rng.chance(CONTACT_PROBED) {
            let contact = self.rng.pick(&self.requests.contacts).copied();
            self.post_probe(contact, island);
        }
    }

    fn post_probe(&mut self, to: Option<I>, island: Island<I>) {
        if let Some(to) = to.filter(|to| *to != self.me && self.neighbour(*to).is_none()) {
            self.effects.push_back(Effect::Post(to, Control::Probe { origin: self.me, island }));
        }
    }

    /// Somebody asks whether this node is in another island.
    pub(super) fn probed(&mut self, now: Time, origin: I, island: Island<I>) {
        if self.settled_island(now).is_none() {
            return self.ignore();
        }
        let is_neighbour = self.neighbour(origin).is_some();
        let Some(islands) = &mut self.islands else { return };
        let same = !islands.is_another(island) || islands.is_stale(now, island);
        if same || origin == self.me || now < islands.bridge_at || is_neighbour {
            return;
        }
        islands.bridge_at = now + self.options.keep_alive;
        if !self.links.iter().any(|link| link.asks() == Some(Ask::Bridge)) {
            self.request(now, origin, Ask::Bridge);
        }
    }

    /// The name of the island, if it has been the same for some time. While names spread, different ones mean nothing.
    fn settled_island(&self, now: Time) -> Option<Island<I>> {
        let islands = self.islands.as_ref()?;
        (now.since(islands.since) > self.options.keep_alive * SETTLED_PERIODS).then_some(islands.name)
    }
}

/// After how many keep-alive periods a name that nobody renews is given up. News of it take up to one for each hop.
const NAME_PERIODS: u32 = 20;

/// A root that was started anew takes over its former beat up to so far ahead; nobody has lived for longer. More is made up, and would leave it no
/// room to be louder.
const BEATS_AHEAD_MAX: u64 = 1 << 32;

/// For how many periods a name that was given up is not believed again.
const STALE_PERIODS: u32 = 60;

/// How many such names are kept in mind.
const STALE_MAX: usize = 4;

/// After how many periods without change a name is taken to be the same on the whole island.
const SETTLED_PERIODS: u32 = 4;

/// How far apart beats may be within an island. Each is on its way for up to a period for each hop.
const BEATS_APART: u64 = 10;

/// The first beat of a root is less. It is a number at random, since a root that was started anew does not know how far it had counted.
const FIRST_BEATS: u64 = 1 << 31;

/// How likely it is that a node which is no root probes a contact as well.
const CONTACT_PROBED: Probability = Probability::millionths(15_625);
