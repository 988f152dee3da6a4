//! Which links are branches of the tree.

use super::missing::Announcer;
use super::{Neighbour, Out, Plumtree, PlumtreeMessage, Run};
use crate::agents::overlay::{Id, MessageId, Payload};
use crate::time::Time;

impl<I: Id, P: Payload> Plumtree<I, P> {
    /// Algorithm 1: who sends a message again is pruned. But not if the one who sent it first is none of the tree any more, and that one is kept for a
    /// while: of two messages that are on their way at once, each may come first by another link.
    pub(super) fn came_again(&mut self, now: Time, id: &MessageId<I>, from: I, out: &mut Out<I, P>) {
        let first = self.cache.get(now, id).and_then(|cached| cached.from);
        let first = first.filter(|first| *first != from).and_then(|first| self.place(first));
        if first.is_some_and(|first| !self.neighbours[first].eager) {
            return;
        }
        if self.prune(now, from, out)
            && let Some(first) = first
        {
            self.neighbours[first].kept_until = now + self.options.backoff;
        }
    }

    /// Whether messages of this source shape the tree, now that one is heard.
    pub(super) fn shapes(&mut self, now: Time, source: I) -> bool {
        let hold = self.options.shaper_hold;
        let other = self.shaper.is_some_and(|(shaper, until)| shaper < source && until > now);
        if !other && !hold.is_zero() {
            self.shaper = Some((source, now + hold));
        }
        !other
    }

    /// Announcements that were gathered come after their messages. If the way over the announcer is much shorter, it is taken from now on.
    pub(super) fn optimise_late(
        &mut self,
        now: Time,
        id: &MessageId<I>,
        announcer: Announcer<I>,
        out: &mut Out<I, P>,
    ) {
        let other = self.shaper.is_some_and(|(shaper, until)| shaper < id.source && until > now);
        if self.options.optimisation_threshold.is_none() || other {
            return;
        }
        let cached = self.cache.get(now, id);
        let Some((from, hops)) = cached.and_then(|cached| Some((cached.from?, cached.round))) else { return };
        if self.find(from).is_some_and(|neighbour| neighbour.eager) {
            self.optimise(now, id, (from, hops.saturating_sub(1)), announcer, out);
        }
    }

    /// Exchanges the link over which a message has come for one over which it would have come in `threshold` steps less (Algorithm 3, Section 3.8).
    pub(super) fn optimise(
        &mut self,
        now: Time,
        id: &MessageId<I>,
        (from, round): (I, u16),
        (better, better_round): Announcer<I>,
        out: &mut Out<I, P>,
    ) {
        let Some(threshold) = self.options.optimisation_threshold else { return };
        let shorter = round > better_round && round - better_round >= threshold && better != from;
        let may_graft = self.find(better).is_some_and(|neighbour| neighbour.no_graft_before <= now);
        let may_prune = self.find(from).is_some_and(|neighbour| neighbour.may_be_pruned(now));
        if !shorter || !may_graft || !may_prune || !self.is_long_again(from) {
            return;
        }
        self.counts.optimised += 1;
        self.graft(now, better, None, out);
        self.prune(now, from, out);
        if let Some(cached) = self.cache.get_mut(now, id) {
            cached.from = Some(better);
            cached.round = better_round.saturating_add(1);
        }
    }

    /// A message has come first over this link.
    pub(super) fn came_first(&mut self, from: I) {
        if let Some(place) = self.place(from) {
            let neighbour = &mut self.neighbours[place];
            let was_long = std::mem::take(&mut neighbour.long_now);
            neighbour.long_before = if was_long { neighbour.long_before.saturating_add(1) } else { 0 };
        }
    }

    /// The message that came over this link would have come by a much shorter way: whether that was so of the last few too.
    fn is_long_again(&mut self, from: I) -> bool {
        let Some(place) = self.place(from) else { return false };
        let neighbour = &mut self.neighbours[place];
        neighbour.long_now = true;
        neighbour.long_before + 1 >= self.options.optimisation_patience
    }

    pub(super) fn graft(&mut self, now: Time, peer: I, run: Option<Run<I>>, out: &mut Out<I, P>) {
        self.make_eager(now, peer, out);
        self.set_no_prune(now, peer);
        self.counts.grafts_sent += 1;
        out.send(peer, PlumtreeMessage::Graft(run));
    }

    /// Takes a link out of the tree, unless it is to stay for a while; whether it has.
    pub(super) fn prune(&mut self, now: Time, peer: I, out: &mut Out<I, P>) -> bool {
        let Some(place) = self.place(peer).filter(|_| !self.options.flood) else { return false };
        let neighbour = &mut self.neighbours[place];
        if !neighbour.may_be_pruned(now) {
            return false;
        }
        neighbour.eager = false;
        neighbour.no_graft_before = now + self.options.backoff;
        // What is on its way already needs no PRUNE of its own.
        neighbour.no_prune_before = now + self.options.second_timeout;
        self.counts.prunes_sent += 1;
        out.send(peer, PlumtreeMessage::Prune);
        true
    }

    /// Algorithm 1, receipt of PRUNE.
    pub(super) fn pruned(&mut self, now: Time, peer: I) {
        let Some(place) = self.place(peer).filter(|_| !self.options.flood) else { return };
        let neighbour = &mut self.neighbours[place];
        // It has crossed our GRAFT, after which the link is eager at the other end.
        let crossed = neighbour.eager && neighbour.no_prune_before > now;
        if !crossed {
            neighbour.eager = false;
            neighbour.no_graft_before = now + self.options.backoff;
        }
    }

    /// From now on payloads are pushed to this neighbour. What was to be announced to it is announced first.
    pub(super) fn make_eager(&mut self, now: Time, peer: I, out: &mut Out<I, P>) {
        let Some(place) = self.place(peer).filter(|place| !self.neighbours[*place].eager) else { return };
        if !self.queue.is_empty() {
            self.announce(out);
        }
        self.neighbours[place].eager = true;
        self.neighbours[place].no_graft_before = now;
    }

    pub(super) fn set_no_prune(&mut self, now: Time, peer: I) {
        if let Some(place) = self.place(peer) {
            self.neighbours[place].no_prune_before = now + self.options.backoff;
        }
    }
}

impl<I> Neighbour<I> {
    fn may_be_pruned(&self, now: Time) -> bool {
        self.no_prune_before <= now && self.kept_until <= now
    }
}
