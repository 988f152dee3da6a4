//! Links that agents open and close. They differ from wanted ones in that they are forgotten once they are down.
//!
//! What an agent asks for in its outputs may not hand inputs to it, or to others, before all of them are carried out: whatever it has to be told
//! at once waits as [`News`] for the next event.

use std::time::Duration;

use super::links::{LaneId, LinkId};
use super::{Agent, Event, World, mark};
use crate::agent::{Epoch, Peer, Why};
use crate::sim::Carrier;
use crate::trace::What;

/// For so long an agent that asks for a link waits while a partition or a pause lies between; then the other is unreachable. Somebody dead is
/// so as soon as connecting has taken its time.
const CONNECTING_LIMIT: Duration = Duration::from_secs(3);

/// A link of which an agent is still to be told that it is down.
#[derive(Debug)]
pub(super) struct News {
    to: Peer,
    /// In which of its lives it is to be told.
    incarnation: u32,
    peer: Peer,
    epoch: Epoch,
    why: Why,
}

impl<A: Agent> World<A> {
    /// Carries out [`Output::Link`](crate::agent::Output::Link).
    pub(super) fn open_link(&mut self, peer: Peer, other: Peer) {
        self.digest(mark::LINK, peer, u64::from(other.0));
        self.tell(peer, |world| What::Note { text: format!("opens a link to {}", world.name_of(other)) });
        if self.settings.carrier == Carrier::Datagram {
            return self
                .break_law("outputs", format!("agent {peer} asked for a link; datagrams travel without"));
        }
        if other == peer || other.index() >= self.nodes.len() {
            let epoch = self.links.next_epoch();
            return self.bring_news(peer, other, epoch, Why::Unreachable);
        }
        let id = self.links.find(peer, other).or_else(|| self.links.add(peer, other, false));
        let id = id.expect("it was added where there was none");
        let link = self.links.get_mut(id);
        let end = link.end(peer);
        if link.wanted || link.up[end] || link.asked[end] {
            return;
        }
        link.asked[end] = true;
        if link.closer.is_some() {
            // The one before has to come to its end first.
            self.limit(id);
        } else if !link.connecting && !link.limited {
            self.begin_to_connect(id);
        }
    }

    /// Carries out [`Output::Unlink`](crate::agent::Output::Unlink).
    pub(super) fn close_link(&mut self, peer: Peer, other: Peer) {
        self.digest(mark::UNLINK, peer, u64::from(other.0));
        self.tell(peer, |world| What::Note { text: format!("closes its link to {}", world.name_of(other)) });
        if peer == other || other.index() >= self.nodes.len() {
            return;
        }
        let Some(id) = self.links.find(peer, other).filter(|&id| !self.links.get(id).wanted) else { return };
        let link = self.links.get_mut(id);
        let (end, epoch) = (link.end(peer), link.epoch);
        let was_up = std::mem::take(&mut link.up[end]);
        link.asked[end] = false;
        if was_up {
            let other_is_up = link.up[1 - end];
            self.drop_lane(LaneId { link: id, from_end: 1 - end }, "the receiver closed the link");
            self.bring_news(peer, other, epoch, Why::Closed);
            if other_is_up {
                return self.send_end(LaneId { link: id, from_end: end });
            }
        }
        let link = self.links.get(id);
        if link.is_down() && (was_up || !link.is_asked_for()) {
            self.end_down(id);
        }
    }

    /// Lets the end of a link follow what was sent over it.
    fn send_end(&mut self, lane: LaneId) {
        let after = self.settings.delay.draw(&mut self.network);
        let link = self.links.get_mut(lane.link);
        link.closer = Some(lane.from_end == 1);
        let generation = link.generation;
        let state = &mut link.lanes[lane.from_end];
        if state.chain.len() == 0 {
            state.scheduled = true;
            let from_high = lane.from_end == 1;
            self.push(self.now + after, Event::Lane { link: lane.link, from_high, generation });
        }
    }

    /// All that was sent in one direction of a link has arrived. If it was closed there, so has its end.
    pub(super) fn lane_ended(&mut self, lane: LaneId) {
        if self.links.get(lane.link).closed_by(lane.from_end) {
            self.take_down(lane.link, Why::Closed);
        }
    }

    /// A link cannot be connected now. Wanted ones come up when whatever holds them up has ended.
    pub(super) fn cannot_connect(&mut self, id: LinkId) {
        let link = self.links.get(id);
        if link.wanted || !link.is_asked_for() {
            return;
        }
        if link.ends.iter().any(|&peer| !self.is_alive(peer)) {
            self.answer_unreachable(id);
        } else {
            self.limit(id);
        }
    }

    /// Limits the time until those who have asked for a link are answered.
    fn limit(&mut self, id: LinkId) {
        let link = self.links.get_mut(id);
        if !link.limited {
            link.limited = true;
            let generation = link.generation;
            self.push(self.now + CONNECTING_LIMIT, Event::GiveUp { link: id, generation });
        }
    }

    pub(super) fn give_up(&mut self, id: LinkId, generation: u32) {
        if self.links.current(id, generation).is_some() {
            self.answer_unreachable(id);
        }
    }

    /// Tells those who have asked for a link that there will be none.
    fn answer_unreachable(&mut self, id: LinkId) {
        let link = self.links.get_mut(id);
        let (ends, asked) = (link.ends, std::mem::take(&mut link.asked));
        link.limited = false;
        link.connecting = false;
        if link.is_down() {
            self.links.remove(id);
        }
        for end in [0, 1] {
            if asked[end] {
                let epoch = self.links.next_epoch();
                self.tell_down(ends[end], ends[1 - end], epoch, Why::Unreachable);
            }
        }
    }

    /// Lets an agent be told that a link is down, once its outputs are carried out.
    fn bring_news(&mut self, to: Peer, peer: Peer, epoch: Epoch, why: Why) {
        let incarnation = self.node(to).incarnation;
        self.news.push_back(News { to, incarnation, peer, epoch, why });
        self.push(self.now, Event::News);
    }

    pub(super) fn tell_news(&mut self) {
        let Some(News { to, incarnation, peer, epoch, why }) = self.news.pop_front() else { return };
        if self.node(to).incarnation == incarnation {
            self.tell_down(to, peer, epoch, why);
        }
    }
}
