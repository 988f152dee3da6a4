//! What is announced instead of sent, and asked for when it does not come.

use super::{Out, Plumtree, PlumtreeMessage, Run};
use crate::agents::overlay::{Id, MessageId, Payload};
use crate::time::Time;

impl<I: Id, P: Payload> Plumtree<I, P> {
    /// Announces what has gathered to the lazy neighbours. One that was eager until now has got some of it, and does not mind.
    pub(super) fn announce(&mut self, out: &mut Out<I, P>) {
        self.announce_at = None;
        if let [(from, run)] = self.queue[..] {
            for neighbour in &self.neighbours {
                if !neighbour.eager && Some(neighbour.peer) != from {
                    self.counts.ihaves_sent += 1;
                    out.send(neighbour.peer, PlumtreeMessage::IHave(run));
                }
            }
        } else {
            for neighbour in self.neighbours.iter().filter(|neighbour| !neighbour.eager) {
                let others = self.queue.iter().filter(|(from, _)| *from != Some(neighbour.peer));
                let runs: Vec<Run<I>> = others.map(|(_, run)| *run).collect();
                if !runs.is_empty() {
                    self.counts.ihaves_sent += 1;
                    out.send(neighbour.peer, PlumtreeMessage::announcing(&runs));
                }
            }
        }
        self.queue.clear();
    }

    /// Algorithm 2, receipt of IHAVE.
    pub(super) fn announced(&mut self, now: Time, from: I, run: Run<I>, out: &mut Out<I, P>) {
        if self.place(from).is_none() {
            return;
        }
        let due = now + self.first_timeout;
        for id in run.ids() {
            if self.seen.contains(&id) {
                self.optimise_late(now, &id, (from, run.round), out);
            } else if self.missing.announce(id, (from, run.round), due).is_err() {
                self.counts.refused += 1;
                self.overflow = Some((from, id));
            }
        }
    }

    /// Algorithm 2, the timer: asks one who has it for each message that has not come. One new link is enough for what was lost by one cause, so what
    /// another one has is only fetched, unless the first does not answer.
    pub(super) fn ask_for_missing(&mut self, now: Time, out: &mut Out<I, P>) {
        let mut asks: Vec<((I, bool), Run<I>)> = Vec::new();
        while let Some((id, again)) = self.missing.expired(now) {
            let (neighbours, chosen) = (&self.neighbours, asks.first().map(|((peer, _), _)| *peer));
            let better = |peer| match chosen {
                Some(chosen) => peer == chosen,
                None => neighbours.iter().any(|known| known.peer == peer && known.no_graft_before <= now),
            };
            if let Some((peer, round)) = self.missing.ask(now, &id, self.options.second_timeout, better) {
                add_to_runs(&mut asks, (peer, again), &id, round);
            }
        }
        let mut grafted = None;
        for ((peer, again), run) in asks {
            let Some(neighbour) = self.find(peer) else { continue };
            let first = self.grafted_until <= now || again;
            let may_graft = neighbour.no_graft_before <= now && first;
            if (may_graft && grafted.is_none()) || grafted == Some(peer) {
                grafted = Some(peer);
                self.graft(now, peer, Some(run), out);
            } else {
                self.counts.grafts_sent += 1;
                out.send(peer, PlumtreeMessage::Fetch(run));
            }
        }
        if grafted.is_some() {
            self.grafted_until = now + self.options.backoff;
        }
    }

    /// Sends what somebody asks for, as far as it is there.
    pub(super) fn serve(&mut self, now: Time, to: I, run: Option<Run<I>>, out: &mut Out<I, P>) {
        for id in run.iter().flat_map(|run| run.ids()) {
            if let Some(cached) = self.cache.get(now, &id) {
                self.counts.payloads_sent += 1;
                let (round, payload) = (cached.round, cached.payload.clone());
                out.send(to, PlumtreeMessage::Gossip { id, round, payload });
            }
        }
    }
}

/// Appends a broadcast to the last run if that is of the same neighbour and goes on with it.
pub(super) fn add_to_runs<K: PartialEq, I: Id>(
    runs: &mut Vec<(K, Run<I>)>,
    key: K,
    id: &MessageId<I>,
    round: u16,
) {
    let goes_on = runs.last_mut().is_some_and(|(last, run)| *last == key && run.extend(id, round));
    if !goes_on {
        runs.push((key, Run::one(*id, round)));
    }
}
