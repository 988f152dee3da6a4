//! What runs on top of the membership.

use super::{Id, Reason};
use crate::agent::{NoMessage, Wire};
use crate::time::Time;

/// A state machine that lives on a node's links: a broadcast, say. It changes only when it is handed something, and has no clock and no chance of its own.
pub trait Layer<I: Id> {
    /// What it says to its like on other nodes.
    type Msg: Wire;

    /// Takes what has happened and puts what it has to say into `out`.
    fn handle(&mut self, now: Time, happening: Happening<I, Self::Msg>, out: &mut Sends<I, Self::Msg>);

    /// When [`Happening::Timeout`] is wanted next. Asked for after each input, so it has to be cheap.
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// A line of whoever drives this node, where it is no command to the membership. Whether it was understood.
    fn command(&mut self, _now: Time, _line: &str, _out: &mut Sends<I, Self::Msg>) -> bool {
        false
    }

    /// Names and values of what it counts.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// What a layer is told. A link comes up before anything arrives on it, and nothing arrives after it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening<I, M> {
    /// The deadline has come; or not quite, or a second time.
    Timeout,
    /// A neighbour more.
    LinkUp(I),
    /// A neighbour less.
    LinkDown(I, Reason),
    /// A neighbour says something.
    Message {
        /// Who.
        from: I,
        /// What.
        message: M,
    },
}

/// What a layer sends, in order. What is for nobody who is a neighbour is dropped.
#[derive(Debug)]
pub struct Sends<I, M> {
    pub(super) messages: Vec<(I, M)>,
}

impl<I, M> Default for Sends<I, M> {
    fn default() -> Self {
        Self { messages: Vec::new() }
    }
}

impl<I, M> Sends<I, M> {
    /// Sends `message` to a neighbour.
    #[inline]
    pub fn send(&mut self, to: I, message: M) {
        self.messages.push((to, message));
    }

    /// Takes what was sent, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = (I, M)> {
        self.messages.drain(..)
    }
}

/// No layer: a membership by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLayer;

impl<I: Id> Layer<I> for NoLayer {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, _: Happening<I, NoMessage>, _: &mut Sends<I, NoMessage>) {}
}
