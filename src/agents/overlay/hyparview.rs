//! The membership protocol.

use std::collections::VecDeque;
use std::fmt;

use super::{Control, Id, Options};
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

/// The views of one node.
#[derive(Debug)]
pub struct HyParView<I> {
    me: I,
    options: Options,
    rng: Rng,
    active: Vec<I>,
    passive: Vec<I>,
    effects: VecDeque<Effect<I>>,
}

impl<I: Id> HyParView<I> {
    /// A node that is called `me`, knows nobody, and draws from `seed`.
    pub fn new(me: I, options: Options, seed: u64) -> Self {
        let (active, passive, effects) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { me, options, rng: Rng::new(seed), active, passive, effects }
    }

    /// What it is called.
    pub fn me(&self) -> I {
        self.me
    }

    /// Its neighbours, in no particular order.
    pub fn active(&self) -> impl Iterator<Item = I> {
        self.active.iter().copied()
    }

    /// Whether `peer` is a neighbour.
    pub fn is_active(&self, peer: I) -> bool {
        self.active.contains(&peer)
    }

    /// Whom it knows besides, in no particular order.
    pub fn passive(&self) -> impl Iterator<Item = I> {
        self.passive.iter().copied()
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect<I>> {
        self.effects.pop_front()
    }

    /// Begins.
    pub fn start(&mut self, _now: Time) {}

    /// Joins the overlay that `contact` is in.
    pub fn join(&mut self, _now: Time, _contact: I) {}

    /// Leaves.
    pub fn leave(&mut self, _now: Time) {}

    /// A link is up.
    pub fn link_up(&mut self, _now: Time, _peer: I, _epoch: Epoch) {}

    /// A link is down, or did not come up.
    pub fn link_down(&mut self, _now: Time, _peer: I, _epoch: Epoch, _why: Why) {}

    /// A message came over a link.
    pub fn received(&mut self, _now: Time, _from: I, _control: Control<I>) {}

    /// A message came by post.
    pub fn received_by_post(&mut self, _now: Time, _control: Control<I>) {}

    /// A message of a layer came over a link. Whether the layer may have it: its sender is a neighbour.
    #[must_use]
    pub fn heard(&mut self, _now: Time, from: I) -> bool {
        self.active.contains(&from)
    }

    /// A layer wants to send. Whether it may: the receiver is a neighbour.
    #[must_use]
    pub fn may_send(&mut self, _now: Time, to: I) -> bool {
        self.active.contains(&to)
    }

    /// Does what is due.
    pub fn timeout(&mut self, _now: Time) {
        let _ = (&self.options, &self.rng);
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Time> {
        None
    }
}
