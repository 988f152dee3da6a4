//! One node: the membership, and a layer on top of it.

use std::sync::Arc;

use super::{Control, Effect, Happening, HyParView, Id, Layer, Message, Options, Sends};
use crate::agent::{Agent, Dest, Epoch, Input, Outbox, Peer, Port, Why, Wire};
use crate::time::Time;

/// What a node asks of whoever carries its messages; what each means stands at the outputs of [`Outbox`] with the same names.
pub trait Net<I, M> {
    /// Opens a link.
    fn link(&mut self, peer: I);
    /// Closes one.
    fn unlink(&mut self, peer: I);
    /// Sends over a link.
    fn send(&mut self, peer: I, message: Message<I, M>);
    /// Sends without one.
    fn post(&mut self, peer: I, message: Message<I, M>);
    /// Notes something for a trace.
    fn note(&mut self, text: impl FnOnce() -> String);
}

/// The entrance by which posted messages come in. Those of links come in by [`Port::ANSWERS`].
pub const BY_POST: Port = Port(1);

/// A node of an overlay.
#[derive(Debug)]
#[repr(C)]
pub struct Node<I, L: Layer<I>>
where
    I: Id,
{
    membership: HyParView<I>,
    layer: L,
    sends: Sends<I, L::Msg>,
}

impl<I: Id, L: Layer<I>> Node<I, L> {
    /// A node that is called `me` and draws from `seed`.
    pub fn new(me: I, options: impl Into<Arc<Options>>, seed: u64, layer: L) -> Self {
        Self { membership: HyParView::new(me, options, seed), layer, sends: Sends::default() }
    }

    /// The membership.
    pub fn membership(&self) -> &HyParView<I> {
        &self.membership
    }

    /// The layer.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// Begins.
    pub fn start(&mut self, now: Time, net: &mut impl Net<I, L::Msg>) {
        self.membership.start(now);
        self.carry_out(now, net);
    }

    /// Joins the overlay that `contact` is in, and asks it again as long as it does not answer.
    pub fn join(&mut self, now: Time, contact: I, net: &mut impl Net<I, L::Msg>) {
        self.membership.join(now, contact);
        self.carry_out(now, net);
    }

    /// Leaves: says good-bye to all neighbours and does nothing more until it joins again.
    pub fn leave(&mut self, now: Time, net: &mut impl Net<I, L::Msg>) {
        self.membership.leave(now);
        self.carry_out(now, net);
    }

    /// A link is up.
    pub fn link_up(&mut self, now: Time, peer: I, epoch: Epoch, net: &mut impl Net<I, L::Msg>) {
        self.membership.link_up(now, peer, epoch);
        self.carry_out(now, net);
    }

    /// A link is down, or did not come up.
    pub fn link_down(&mut self, now: Time, peer: I, epoch: Epoch, why: Why, net: &mut impl Net<I, L::Msg>) {
        self.membership.link_down(now, peer, epoch, why);
        self.carry_out(now, net);
    }

    /// A message came over a link.
    pub fn received(
        &mut self,
        now: Time,
        from: I,
        message: Message<I, L::Msg>,
        net: &mut impl Net<I, L::Msg>,
    ) {
        match message {
            Message::Control(control) => {
                self.membership.received(now, from, control);
                self.carry_out(now, net);
            }
            Message::Payload(message) => {
                if self.membership.heard(now, from) {
                    self.layer.handle(now, Happening::Message { from, message }, &mut self.sends);
                    self.send_all(now, net);
                }
            }
        }
    }

    /// A message came by post.
    pub fn received_by_post(&mut self, now: Time, control: Control<I>, net: &mut impl Net<I, L::Msg>) {
        self.membership.received_by_post(now, control);
        self.carry_out(now, net);
    }

    /// Does what is due. Early or repeated calls are harmless.
    pub fn timeout(&mut self, now: Time, net: &mut impl Net<I, L::Msg>) {
        if self.membership.deadline().is_some_and(|deadline| deadline <= now) {
            self.membership.timeout(now);
            self.carry_out(now, net);
        }
        if self.layer.deadline().is_some_and(|deadline| deadline <= now) {
            self.layer.handle(now, Happening::Timeout, &mut self.sends);
            self.send_all(now, net);
        }
    }

    /// When [`Node::timeout`] is to be called.
    pub fn deadline(&self) -> Option<Time> {
        match (self.membership.deadline(), self.layer.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Names and values of what the membership and the layer count.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        [self.membership.counters(), self.layer.counters()].concat()
    }

    /// Lets somebody do something with the layer, and sends what that leads to.
    pub fn act<R>(
        &mut self,
        now: Time,
        net: &mut impl Net<I, L::Msg>,
        act: impl FnOnce(&mut L, &mut Sends<I, L::Msg>) -> R,
    ) -> R {
        let result = act(&mut self.layer, &mut self.sends);
        self.send_all(now, net);
        result
    }

    /// Carries out what the membership has asked for, in order, and what the layer makes of it.
    fn carry_out(&mut self, now: Time, net: &mut impl Net<I, L::Msg>) {
        let mut changed = false;
        for effect in self.membership.take_effects() {
            match effect {
                Effect::Link(peer) => net.link(peer),
                Effect::Unlink(peer) => net.unlink(peer),
                Effect::Send(peer, control) => net.send(peer, Message::Control(control)),
                Effect::Post(peer, control) => net.post(peer, Message::Control(control)),
                Effect::Up(peer) => {
                    changed = true;
                    self.layer.handle(now, Happening::LinkUp(peer), &mut self.sends);
                    self.send_all(now, net);
                }
                Effect::Down(peer, reason) => {
                    changed = true;
                    self.layer.handle(now, Happening::LinkDown(peer, reason), &mut self.sends);
                    self.send_all(now, net);
                }
            }
        }
        if changed {
            net.note(|| {
                let active: Vec<String> = self.membership.active().map(|peer| peer.to_string()).collect();
                format!("active {}", active.join(","))
            });
        }
    }

    fn send_all(&mut self, now: Time, net: &mut impl Net<I, L::Msg>) {
        for (peer, message) in self.sends.messages.drain(..) {
            if self.membership.may_send(now, peer) {
                net.send(peer, Message::Payload(message));
            }
        }
    }
}

/// In the simulated world, where nodes are called by their numbers. Commands: `join <number>`, `leave`; others are the layer's.
impl<L: Layer<Peer>> Agent for Node<Peer, L> {
    type Msg = Message<Peer, L::Msg>;

    fn handle(&mut self, now: Time, input: Input<'_, Self::Msg>, out: &mut Outbox<Self::Msg>) {
        match input {
            Input::Message { port: BY_POST, message: Message::Control(control), .. } => {
                self.received_by_post(now, control, out);
            }
            Input::Message { port: BY_POST, .. } => {}
            Input::Message { from, message, .. } => self.received(now, from, message, out),
            Input::Timeout => self.timeout(now, out),
            Input::Start => self.start(now, out),
            Input::LinkUp { peer, epoch } => self.link_up(now, peer, epoch, out),
            Input::LinkDown { peer, epoch, why } => self.link_down(now, peer, epoch, why, out),
            Input::Commands { mut commands } => {
                while let Some(line) = commands.peek().and_then(|line| std::str::from_utf8(line).ok()) {
                    let contact = line.strip_prefix("join ").and_then(|contact| contact.parse().ok());
                    match (contact, line) {
                        (Some(contact), _) => self.join(now, contact, out),
                        (None, "leave") => self.leave(now, out),
                        (None, line)
                            if self.act(now, out, |layer, sends| layer.command(now, line, sends)) => {}
                        _ => break,
                    }
                    commands.take();
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        Node::deadline(self)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.layer.counters()
    }
}

impl<M: Wire> Net<Peer, M> for Outbox<Message<Peer, M>> {
    fn link(&mut self, peer: Peer) {
        Outbox::link(self, peer);
    }

    fn unlink(&mut self, peer: Peer) {
        Outbox::unlink(self, peer);
    }

    fn send(&mut self, peer: Peer, message: Message<Peer, M>) {
        Outbox::send(self, Dest::from(peer), message);
    }

    fn post(&mut self, peer: Peer, message: Message<Peer, M>) {
        Outbox::post(self, (peer, BY_POST), message);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        Outbox::note(self, text);
    }
}
