//! How slow links are changed for faster ones, off by default.
//!
//! After Leitão, Marques, Pereira and Rodrigues, "X-BOT: a protocol for resilient optimization of unstructured overlay networks", SRDS 2009: two links are
//! replaced by two others between the same four nodes, so that everybody keeps its number of neighbours. The *initiator* `i` knows a *candidate* `c` that
//! is nearer than its *old* neighbour `o`; `c` has no place, but a neighbour *displaced* by that, `d`, which takes `o` in exchange:
//!
//! ```text
//!   i ---- o           i      o
//!                =>    |      |
//!   c ---- d           c      d
//! ```
//!
//! First all four promise: `i` asks `c` (`OPTIMISE`), `c` asks `d` (`REPLACE`), `d` asks `o` (`SWITCH`). Then `i` puts `c` in the place of `o`, `c` puts `i` in
//! the place of `d`, and the `DISCONNECT`s that the other two get make them neighbours. Each node takes part in one such exchange at a time, and each
//! promise hangs on a link of its own and ends with that, so nothing is lost where somebody does not answer.
//!
//! Costs are measured: the round trip of a `PING`. The slowest neighbour of each node is left alone: a graph of near links only would fall apart
//! into neighbourhoods (the paper's unbiased neighbours).

use std::time::Duration;

use super::links::Stage;
use super::requests::Ask;
use super::{HyParView, NEVER};
use crate::agents::overlay::{Control, Effect, Id};
use crate::time::Time;

/// What a node does about it.
#[derive(Debug)]
pub(super) struct Optimising<I> {
    at: Time,
    /// Which round of `PING`s the last one was, and when it was sent.
    number: u32,
    pinged: Time,
    exchange: Option<Exchange<I>>,
}

/// The part that a node has in an exchange.
#[derive(Clone, Copy, Debug)]
enum Exchange<I> {
    Initiator { candidate: I, old: I, old_rtt_us: u32, asked: Time },
    Candidate { initiator: I, displaced: I, agreed: bool },
    Displaced { by: I, initiator: I, old: I, limit_us: u32, asked: Time, promised: bool },
    Old { initiator: I, instead: I },
}

impl<I: Copy> Exchange<I> {
    /// To whom the link is that this part hangs on.
    fn link(&self) -> I {
        match *self {
            Self::Initiator { candidate, .. } => candidate,
            Self::Candidate { initiator, .. } => initiator,
            Self::Displaced { old, .. } => old,
            Self::Old { instead, .. } => instead,
        }
    }
}

impl<I: Id> HyParView<I> {
    pub(super) fn start_optimising(&mut self, now: Time) {
        let period = self.options.optimise_period;
        if !period.is_zero() && self.own_dialect() {
            let at = now + self.rng.duration(Duration::ZERO, period);
            self.optimising = Some(Box::new(Optimising { at, number: 0, pinged: now, exchange: None }));
        }
    }

    pub(super) fn optimising_due(&self) -> Time {
        self.optimising.as_ref().map_or(NEVER, |optimising| optimising.at)
    }

    /// Once in a period: measures all neighbours, and looks whether somebody else is nearer than one of them.
    pub(super) fn optimise(&mut self, now: Time) {
        let Some(optimising) = &mut self.optimising else { return };
        optimising.at = now + self.options.optimise_period;
        optimising.number = optimising.number.wrapping_add(1);
        optimising.pinged = now;
        let (number, busy) = (optimising.number, optimising.exchange.is_some());
        for index in 0..self.active.len() {
            let peer = self.active.peers()[index];
            self.send_to_neighbour(now, peer, Control::Ping { number });
        }
        if busy {
            return;
        }
        let Some((old, old_rtt_us)) = self.slow_neighbour() else { return };
        let Some(candidate) = self.rng.pick(self.passive.ids()).copied() else { return };
        if self.links.find(candidate).is_none() {
            self.exchange(Some(Exchange::Initiator { candidate, old, old_rtt_us, asked: now }));
            self.request(now, candidate, Ask::Exchange);
        }
    }

    /// The slowest neighbour but one, if there is no place free and all are measured.
    fn slow_neighbour(&self) -> Option<(I, u32)> {
        if self.active.len() < self.options.active_size {
            return None;
        }
        let mut costs: Vec<(u32, I)> =
            self.active.notes().iter().map(|notes| notes.rtt_us).zip(self.active()).collect();
        costs.sort_unstable();
        let measured = costs.first().is_some_and(|(rtt_us, _)| *rtt_us > 0);
        let (rtt_us, peer) = *costs.iter().rev().nth(1).filter(|_| measured)?;
        Some((peer, rtt_us))
    }

    fn exchange(&mut self, exchange: Option<Exchange<I>>) {
        if let Some(optimising) = &mut self.optimising {
            optimising.exchange = exchange;
        }
    }

    /// The part in an exchange that hangs on the link to `peer`.
    fn exchange_with(&self, peer: I) -> Option<Exchange<I>> {
        self.optimising.as_ref()?.exchange.filter(|exchange| exchange.link() == peer)
    }

    fn can_exchange(&self) -> bool {
        self.optimising.as_ref().is_some_and(|optimising| optimising.exchange.is_none())
    }

    /// The link to somebody is up: it is measured before anything is asked.
    pub(super) fn exchange_linked(&mut self, now: Time) -> Control<I> {
        if let Some(Exchange::Initiator { asked, .. } | Exchange::Displaced { asked, .. }) =
            self.optimising.as_mut().and_then(|optimising| optimising.exchange.as_mut())
        {
            *asked = now;
        }
        Control::Ping { number: 0 }
    }

    /// A neighbour has answered a `PING`.
    pub(super) fn neighbour_measured(&mut self, now: Time, index: usize, number: u32) {
        if let Some(optimising) = &self.optimising
            && optimising.number == number
        {
            self.active.notes_mut()[index].rtt_us = microseconds(now.since(optimising.pinged));
        }
    }

    /// Somebody who might become a neighbour has answered a `PING`.
    pub(super) fn candidate_measured(&mut self, now: Time, index: usize) {
        let peer = self.links[index].peer;
        match self.exchange_with(peer) {
            Some(Exchange::Initiator { old, old_rtt_us, asked, .. }) => {
                let rtt_us = microseconds(now.since(asked));
                // A gain of less than an eighth is not worth it, and may be chance.
                if rtt_us < old_rtt_us - old_rtt_us / 8 && self.is_active(old) {
                    self.send(peer, Control::Optimise { old, gain_us: old_rtt_us - rtt_us });
                } else {
                    self.close(now, index);
                    self.exchange_over(now, peer);
                }
            }
            Some(Exchange::Displaced { initiator, limit_us, asked, .. })
                if microseconds(now.since(asked)) < limit_us =>
            {
                self.send(peer, Control::Switch { initiator });
            }
            _ => {
                self.close(now, index);
                self.exchange_over(now, peer);
            }
        }
    }

    /// `OPTIMISE`: somebody would take this node in the place of `old`, and gain by that.
    pub(super) fn optimise_asked(&mut self, now: Time, index: usize, old: I, gain_us: u32) {
        let initiator = self.links[index].peer;
        let slow = self.slow_neighbour().filter(|(peer, _)| *peer != old && self.can_exchange());
        let Some((displaced, rtt_us)) = slow else { return self.refuse(now, index) };
        self.promise(now, index, Exchange::Candidate { initiator, displaced, agreed: false });
        let limit_us = rtt_us.saturating_add(gain_us);
        self.send_to_neighbour(now, displaced, Control::Replace { initiator, old, limit_us });
    }

    /// `REPLACE`: a neighbour would take `initiator` in the place of this node, which could take `old` instead, if that is near enough.
    pub(super) fn replace_asked(&mut self, now: Time, by: I, initiator: I, old: I, limit_us: u32) {
        let fits = self.can_exchange() && old != self.me && !self.is_active(old);
        if fits && self.links.find(old).is_none() {
            let (asked, promised) = (now, false);
            self.exchange(Some(Exchange::Displaced { by, initiator, old, limit_us, asked, promised }));
            self.request(now, old, Ask::Exchange);
        } else {
            self.send_to_neighbour(now, by, Control::ReplaceReply { initiator, accept: false });
        }
    }

    /// `SWITCH`: somebody would take the place of `initiator`, which is to get another neighbour.
    pub(super) fn switch_asked(&mut self, now: Time, index: usize, initiator: I) {
        let instead = self.links[index].peer;
        if !self.can_exchange() || !self.is_active(initiator) {
            return self.refuse(now, index);
        }
        self.promise(now, index, Exchange::Old { initiator, instead });
        self.send(instead, Control::NeighbourReply { accept: true });
    }

    fn refuse(&mut self, now: Time, index: usize) {
        self.send(self.links[index].peer, Control::NeighbourReply { accept: false });
        self.links[index].stage = Stage::Closing;
        self.links[index].deadline = now + self.options.timeout;
    }

    fn promise(&mut self, now: Time, index: usize, exchange: Exchange<I>) {
        self.links[index].stage = Stage::Promised;
        self.links[index].deadline = now + self.options.timeout;
        self.exchange(Some(exchange));
    }

    /// The answer to `REPLACE`.
    pub(super) fn replace_answered(&mut self, now: Time, from: I, initiator: I, accept: bool) {
        let (Some(Exchange::Candidate { displaced, .. }), Some(index)) =
            (self.exchange_with(initiator), self.links.find(initiator))
        else {
            return;
        };
        if displaced != from {
            return;
        }
        if accept {
            self.exchange(Some(Exchange::Candidate { initiator, displaced, agreed: true }));
            self.send(initiator, Control::NeighbourReply { accept: true });
        } else {
            self.exchange(None);
            self.refuse(now, index);
        }
    }

    /// The answer to `OPTIMISE` or `SWITCH`, or its repetition, which says that the other side has made its change.
    pub(super) fn exchange_answered(&mut self, now: Time, index: usize, accept: bool) {
        let peer = self.links[index].peer;
        match self.exchange_with(peer) {
            Some(Exchange::Initiator { old, .. }) if accept && self.is_active(old) => {
                self.swap(now, old, peer);
            }
            Some(Exchange::Displaced { by, initiator, old, limit_us, asked, promised: false }) if accept => {
                let promised = true;
                self.exchange(Some(Exchange::Displaced { by, initiator, old, limit_us, asked, promised }));
                self.send_to_neighbour(now, by, Control::ReplaceReply { initiator, accept: true });
            }
            Some(Exchange::Displaced { by, promised: true, .. }) if accept => self.swap(now, by, peer),
            Some(Exchange::Candidate { displaced, agreed: true, .. }) if accept => {
                self.swap(now, displaced, peer);
            }
            Some(Exchange::Old { initiator, .. }) if accept => self.swap(now, initiator, peer),
            _ => {
                self.close(now, index);
                self.exchange_over(now, peer);
            }
        }
    }

    /// Puts `new`, to which there is a link, in the place of `old`.
    fn swap(&mut self, now: Time, old: I, new: I) {
        self.exchange(None);
        if let Some(index) = self.neighbour(old) {
            self.demote(now, index);
        }
        let Some(index) = self.links.find(new) else { return };
        if self.active.len() >= self.options.active_size {
            // Somebody else has got the place meanwhile.
            self.send(new, Control::Disconnect);
            self.links[index].stage = Stage::Closing;
            self.links[index].deadline = now + self.options.timeout;
            return;
        }
        self.admit(now, index);
        self.send(new, Control::NeighbourReply { accept: true });
        self.tell_up(new);
        self.counts.exchanged = self.counts.exchanged.wrapping_add(1);
    }

    /// Somebody is no neighbour any more. Where that is what an exchange has waited for, another one comes in its place.
    pub(super) fn exchange_lost(&mut self, now: Time, peer: I) {
        let Some(exchange) = self.optimising.as_ref().and_then(|optimising| optimising.exchange) else {
            return;
        };
        match exchange {
            Exchange::Displaced { by, old, promised: true, .. } if by == peer => self.swap(now, peer, old),
            Exchange::Old { initiator, instead } if initiator == peer => self.swap(now, peer, instead),
            _ => {}
        }
    }

    /// The link that a part in an exchange hangs on is gone, or serves something else.
    pub(super) fn exchange_over(&mut self, now: Time, peer: I) {
        let Some(exchange) = self.exchange_with(peer) else { return };
        self.exchange(None);
        if let Exchange::Displaced { by, initiator, .. } = exchange {
            self.send_to_neighbour(now, by, Control::ReplaceReply { initiator, accept: false });
        }
    }

    /// `PING`: answered at once, over the same link.
    pub(super) fn pinged(&mut self, from: I, number: u32) {
        self.effects.push_back(Effect::Send(from, Control::Pong { number }));
    }
}

/// At least one: none says that nothing was measured.
fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1)
}
