//! The membership protocol.
//!
//! **The problem.** Everybody should be reachable over the links of a few neighbours each, also right after most nodes have died, and nobody
//! knows everybody.
//!
//! **The state.** A small *active view*: the neighbours, over links that both ends hold open. A larger *passive view*: others, known by name,
//! that take the place of neighbours that are lost. Beyond the paper, a *memory* of names that had no room there, for a node that is left alone.
//!
//! **The messages** are those of [`Control`]. A newcomer sends `JOIN`; news of it walks through the overlay as `FORWARDJOIN` and ends in
//! `JOINREPLY`s; a lost neighbour is replaced with `NEIGHBOUR`; one too many is sent off with `DISCONNECT`; passive views are kept fresh by
//! `SHUFFLE`.
//!
//! **The invariants.**
//! - The active view has at most `active_size` entries, the passive view at most `passive_size`; nobody is in both, nobody is in one twice, and
//!   nobody is in its own.
//! - Somebody is a neighbour only after an answer on a link that is up ([`Effect::Up`]), and stays one no longer than that link.
//! - Each request is tracked on a link of its own, with one deadline. Those that only fill free places are fewer than these.
//! - All that a message can make a node do is bounded: ids beyond a shuffle's size are ignored, walks are no longer than agreed on.
//!
//! **The source.** Leitão, Pereira and Rodrigues, "`HyParView`: a membership protocol for reliable gossip-based broadcast", DSN 2007, Section 4 and
//! Algorithm 1. **Where we differ:** requests are answered and tracked; a neighbour that is sent off is *drained* (what it has sent before it knew
//! still reaches the layer, which is told of the loss when the link is closed); there is a memory; islands find each other.

mod active;
mod demotion;
mod effects;
mod islands;
mod joining;
mod links;
mod memory;
mod optimise;
mod requests;
mod shuffling;
mod signs;
mod views;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use self::active::Active;
use self::effects::Effects;
use self::islands::Islands;
use self::links::{Link, Links, Stage};
use self::memory::Memory;
use self::optimise::Optimising;
use self::requests::{Ask, Requests};
use self::shuffling::Shuffling;
use self::views::Names;
use super::{Control, Dialect, Id, Options};
use crate::agent::{Epoch, Why};
use crate::rng::Rng;
use crate::time::Time;

/// What a membership wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<I> {
    /// Open a link; once. It comes up, or it is down.
    Link(I),
    /// Close a link, or give up opening it; what was sent before still arrives.
    Unlink(I),
    /// Send over a link that is up.
    Send(I, Control<I>),
    /// Send without a link.
    Post(I, Control<I>),
    /// Tell the layer: a neighbour more.
    Up(I),
    /// Tell the layer: a neighbour less.
    Down(I, Reason),
}

/// Why somebody is no neighbour any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its link went down.
    Lost(Why),
    /// It was silent for too long.
    Silent,
    /// It made room for somebody else, there or here. It lives, and remains known.
    Demoted,
    /// This node has left the overlay.
    Left,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => why.fmt(f),
            Self::Silent => f.write_str("silent"),
            Self::Demoted => f.write_str("demoted"),
            Self::Left => f.write_str("left"),
        }
    }
}

/// The views of one node. Many thousand of them may lie in the memory of a simulated world, and then each line of the processor's cache comes from far
/// away. So what the steps of a walk look at stands in front, what their end looks at behind that, and in most of these lines there is something that
/// [`HyParView::deadline`] looks at: whoever asks for that has all of them brought at once.
#[derive(Debug)]
#[repr(C)]
pub struct HyParView<I> {
    rng: Rng,
    effects: Effects<I>,
    /// When the next request may be made, after a pause.
    requests_at: Time,
    /// When this node shuffles next.
    shuffle_at: Time,
    /// All links that are no neighbours': those that are being opened, asked on, and closed.
    links: Links<I>,
    options: Arc<Options>,
    active: Active<I>,
    passive: Names<I>,
    /// Only where links are changed for faster ones.
    optimising: Option<Box<Optimising<I>>>,
    /// When to look who gives signs of life.
    signs_at: Time,
    /// Names that had no room in the passive view, the latest among them; also some that could not be reached. Some old ones stay for long, and with them
    /// some of whoever a partition has cut off.
    memory: Memory<I>,
    me: I,
    /// Between `start` and `leave`. Otherwise it answers nobody.
    running: bool,
    shuffling: Shuffling<I>,
    requests: Requests<I>,
    /// Only where islands are looked for.
    islands: Option<Box<Islands<I>>>,
    counts: Counts,
}

/// What never comes due.
const NEVER: Time = Time::from_nanos(u64::MAX);

/// What is counted, for a status. Each wraps around.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    joins: u32,
    requests: u32,
    accepted: u32,
    declined: u32,
    failed: u32,
    shuffles: u32,
    demoted: u32,
    exchanged: u32,
    lost: u32,
    ignored: u32,
}

impl<I: Id> HyParView<I> {
    /// A node that is called `me`, knows nobody, and draws from `seed`.
    pub fn new(me: I, options: impl Into<Arc<Options>>, seed: u64) -> Self {
        let options = options.into();
        Self {
            me,
            rng: Rng::new(seed),
            running: false,
            active: Active::new(),
            passive: Names::new(options.passive_size),
            memory: Memory::new(options.memory_size),
            links: Links::default(),
            requests: Requests::default(),
            shuffling: Shuffling::default(),
            requests_at: NEVER,
            shuffle_at: NEVER,
            signs_at: NEVER,
            islands: None,
            optimising: None,
            counts: Counts::default(),
            effects: Effects::default(),
            options,
        }
    }

    /// What it is called.
    pub fn me(&self) -> I {
        self.me
    }

    /// Its neighbours, in no particular order.
    pub fn active(&self) -> impl Iterator<Item = I> {
        self.active.peers().iter().copied()
    }

    /// Whether somebody is a neighbour.
    pub fn is_active(&self, peer: I) -> bool {
        self.neighbour(peer).is_some()
    }

    /// Whom it knows besides, in no particular order.
    pub fn passive(&self) -> impl Iterator<Item = I> {
        self.passive.ids().iter().copied()
    }

    /// Takes what is to be done, in order.
    #[inline]
    pub fn take_effects(&mut self) -> impl Iterator<Item = Effect<I>> + use<I> {
        std::mem::take(&mut self.effects).into_iter()
    }

    /// Names and values of what is counted, since the start and modulo 2^32.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        [
            ("joins", counts.joins),
            ("requests", counts.requests),
            ("requests_accepted", counts.accepted),
            ("requests_declined", counts.declined),
            ("requests_failed", counts.failed),
            ("shuffles", counts.shuffles),
            ("neighbours_demoted", counts.demoted),
            ("neighbours_exchanged", counts.exchanged),
            ("neighbours_lost", counts.lost),
            ("control_ignored", counts.ignored),
        ]
        .map(|(name, value)| (name, u64::from(value)))
        .into()
    }

    /// Begins: answers others, and shuffles. It is alone until it joins or is joined.
    pub fn start(&mut self, now: Time) {
        if !self.running {
            self.running = true;
            self.start_shuffling(now);
            self.start_signs(now);
            self.start_optimising(now);
        }
    }

    /// Leaves: says good-bye to all neighbours, and answers nobody until it joins again.
    pub fn leave(&mut self, _now: Time) {
        while !self.active.is_empty() {
            let (peer, _) = self.active.remove(0);
            self.send(peer, Control::Disconnect);
            self.effects.extend([Effect::Down(peer, Reason::Left), Effect::Unlink(peer)]);
            self.add_passive(peer, false);
        }
        while let Some(link) = self.links.pop() {
            if link.stage == Stage::Draining {
                self.effects.push_back(Effect::Down(link.peer, Reason::Left));
            }
            self.effects.push_back(Effect::Unlink(link.peer));
        }
        self.running = false;
        self.requests = Requests::default();
        self.shuffling = Shuffling::default();
        (self.requests_at, self.shuffle_at, self.signs_at) = (NEVER, NEVER, NEVER);
        self.islands = None;
        self.optimising = None;
    }

    /// A link is up: one that was asked for, or one that somebody else has opened.
    pub fn link_up(&mut self, now: Time, peer: I, epoch: Epoch) {
        if !self.running || peer == self.me {
            self.effects.push_back(Effect::Unlink(peer));
            return;
        }
        // The host says that there is a new link; whatever was on an older one is over.
        if let Some(index) = self.neighbour(peer) {
            self.lose(now, index, Reason::Lost(Why::Broken));
        } else if let Some(index) = self.links.find(peer)
            && !matches!(self.links[index].stage, Stage::Connecting(_))
        {
            self.link_is_down(now, index, Why::Broken);
        }
        if let Some(index) = self.links.find(peer)
            && let Stage::Connecting(ask) = self.links[index].stage
        {
            return self.ask(now, index, epoch, ask);
        }
        self.make_room_for_a_link();
        self.links.push(Link { peer, epoch, stage: Stage::Incoming, deadline: now + self.options.timeout });
    }

    /// A link is down, or did not come up.
    pub fn link_down(&mut self, now: Time, peer: I, epoch: Epoch, why: Why) {
        if let Some(index) = self.neighbour(peer) {
            // Of an older link, it says nothing about this one.
            if self.active.notes()[index].epoch == epoch {
                self.lose(now, index, Reason::Lost(why));
            }
        } else if let Some(index) = self.links.find(peer) {
            let link = self.links[index];
            let about_it = match link.stage {
                // A link that never was up has no epoch yet. That some link was closed does not speak of this one.
                Stage::Connecting(_) => why != Why::Closed,
                _ => link.epoch == epoch,
            };
            if about_it {
                self.link_is_down(now, index, why);
            }
        }
    }

    /// A message came over a link.
    pub fn received(&mut self, now: Time, from: I, control: Control<I>) {
        if let Some(index) = self.neighbour(from) {
            if !self.options.keep_alive.is_zero() {
                self.active.notes_mut()[index].heard = now;
            }
            self.received_of_neighbour(now, index, control);
        } else if let Control::ShuffleReply { number, ids } = control {
            self.shuffle_answered(now, number, &ids);
        } else if let Some(index) = self.links.find(from) {
            self.received_on_link(now, index, control);
        } else {
            self.ignore();
        }
    }

    /// A message came by post.
    pub fn received_by_post(&mut self, now: Time, control: Control<I>) {
        match control {
            Control::ShuffleReply { number, ids } => self.shuffle_answered(now, number, &ids),
            Control::Probe { origin, island } => self.probed(now, origin, island),
            _ => self.ignore(),
        }
    }

    /// A message of a layer came over a link. Whether the layer may have it: its sender is a neighbour, or was one until just now and may not know yet.
    #[must_use]
    pub fn heard(&mut self, now: Time, from: I) -> bool {
        if let Some(index) = self.neighbour(from) {
            if !self.options.keep_alive.is_zero() {
                self.active.notes_mut()[index].heard = now;
            }
            return true;
        }
        let Some(index) = self.links.find(from) else {
            self.ignore();
            return false;
        };
        if self.links[index].stage == Stage::Draining {
            return true;
        }
        self.correct(now, index);
        false
    }

    /// A layer wants to send. Whether it may: the receiver is a neighbour.
    #[must_use]
    pub fn may_send(&mut self, now: Time, to: I) -> bool {
        let Some(index) = self.neighbour(to) else { return false };
        if !self.options.keep_alive.is_zero() {
            self.active.notes_mut()[index].sent = now;
        }
        true
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        self.forgive_own_sleep(now);
        while let Some(index) = self.links.due(now) {
            self.link_is_late(now, index);
        }
        if self.requests_at <= now {
            self.ask_again(now);
        }
        if self.shuffle_at <= now {
            self.shuffle(now);
        }
        if self.signs_at <= now {
            self.give_signs(now);
        }
        if self.optimising_due() <= now {
            self.optimise(now);
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.links.deadline().min(self.requests_at).min(self.shuffle_at);
        let due = due.min(self.signs_at).min(self.optimising_due());
        (due != NEVER).then_some(due)
    }

    fn received_of_neighbour(&mut self, now: Time, index: usize, control: Control<I>) {
        let from = self.active.peers()[index];
        match control {
            Control::ForwardJoin { joiner, ttl } => self.forward_join(now, from, joiner, ttl),
            Control::Shuffle { origin, number, ttl, ids } => {
                self.shuffle_walks(now, from, origin, number, ttl, ids);
            }
            Control::ShuffleReply { number, ids } => self.shuffle_answered(now, number, &ids),
            Control::Disconnect | Control::NeighbourReply { accept: false } => self.sent_off(now, index),
            // Both have asked each other at once; this is the answer to what is settled.
            Control::NeighbourReply { accept: true } => {}
            Control::KeepAlive(island) => self.sign_given(now, index, island),
            Control::Join | Control::JoinReply => self.acknowledge(from),
            Control::Neighbour { .. } => self.send(from, Control::NeighbourReply { accept: true }),
            Control::Ping { number } => self.pinged(from, number),
            Control::Pong { number } => self.neighbour_measured(now, index, number),
            Control::Replace { initiator, old, limit_us } => {
                self.replace_asked(now, from, initiator, old, limit_us);
            }
            Control::ReplaceReply { initiator, accept } => {
                self.replace_answered(now, from, initiator, accept);
            }
            Control::Probe { .. } | Control::Optimise { .. } | Control::Switch { .. } => self.ignore(),
        }
    }

    fn received_on_link(&mut self, now: Time, index: usize, control: Control<I>) {
        let link = self.links[index];
        match (link.stage, control) {
            // Both have sent each other off at once. All that it has said has arrived.
            (Stage::Draining, Control::Disconnect) => {
                self.effects.push_back(Effect::Down(link.peer, Reason::Demoted));
                self.close(now, index);
            }
            (Stage::Draining | Stage::Closing | Stage::Connecting(_), _) => {}
            (Stage::Asked(Ask::Exchange) | Stage::Promised, Control::NeighbourReply { accept }) => {
                self.exchange_answered(now, index, accept);
            }
            (Stage::Asked(Ask::Exchange) | Stage::Promised, Control::Disconnect) => {
                self.exchange_answered(now, index, false);
            }
            (Stage::Asked(Ask::Exchange), Control::Pong { .. }) => self.candidate_measured(now, index),
            (Stage::Incoming | Stage::Promised, Control::Ping { number }) => self.pinged(link.peer, number),
            (Stage::Incoming, Control::Optimise { old, gain_us }) => {
                self.optimise_asked(now, index, old, gain_us);
            }
            (Stage::Incoming, Control::Switch { initiator }) => self.switch_asked(now, index, initiator),
            (Stage::Incoming | Stage::Asked(_), Control::Join) => self.joined(now, index),
            (Stage::Incoming | Stage::Asked(_), Control::JoinReply) => {
                self.admit(now, index);
                self.acknowledge(link.peer);
                self.tell_up(link.peer);
            }
            (Stage::Incoming | Stage::Asked(_), Control::Neighbour { high }) => {
                self.asked(now, index, high);
            }
            (Stage::Asked(ask), Control::NeighbourReply { accept }) => {
                self.answered(now, index, ask, accept);
            }
            (Stage::Asked(ask), Control::Disconnect) => self.answered(now, index, ask, false),
            (Stage::Incoming, Control::Disconnect) => self.close(now, index),
            (_, Control::ForwardJoin { .. } | Control::Shuffle { .. } | Control::KeepAlive(_)) => {
                self.correct(now, index);
            }
            _ => self.ignore(),
        }
    }

    /// Somebody says what only neighbours say, and is none. It is told so, and repairs its view.
    fn correct(&mut self, now: Time, index: usize) {
        self.ignore();
        if self.links[index].stage == Stage::Incoming {
            self.send(self.links[index].peer, Control::Disconnect);
            self.links[index].stage = Stage::Closing;
            self.links[index].deadline = now + self.options.timeout;
        }
    }

    /// The place in the active view.
    #[inline]
    fn neighbour(&self, peer: I) -> Option<usize> {
        self.active.find(peer)
    }

    /// A neighbour at random that is none of `others`.
    fn random_neighbour(&mut self, others: [I; 2]) -> Option<I> {
        let fits = |peer: &&I| !others.contains(*peer);
        let count = self.active.peers().iter().filter(fits).count();
        if count == 0 {
            return None;
        }
        let nth = self.rng.index(count);
        self.active.peers().iter().filter(fits).nth(nth).copied()
    }

    fn send(&mut self, to: I, control: Control<I>) {
        self.effects.push_back(Effect::Send(to, control));
    }

    /// Sends to a neighbour, and notes when.
    fn send_to_neighbour(&mut self, now: Time, to: I, control: Control<I>) {
        if self.may_send(now, to) {
            self.send(to, control);
        }
    }

    fn ignore(&mut self) {
        self.counts.ignored = self.counts.ignored.wrapping_add(1);
    }

    fn own_dialect(&self) -> bool {
        self.options.dialect == Dialect::Own
    }
}
