//! The links between agents: a sparse set, so that ten thousand agents may each have a few. Tables only; what links do stands in
//! `linking` and `carrying`.

use smallvec::SmallVec;

use super::flights::Chain;
use crate::agent::{Epoch, Peer};
use crate::time::Time;

/// Where a link lies in the table. A place is used again once its link is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId(pub(super) u32);

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId {
    pub(super) link: LinkId,
    /// Which of the link's ends sends here.
    pub(super) from_end: usize,
}

/// A link, whether it is up or not. With many links nearly each message is the first in a while to look at its own, so a
/// link lies in one line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Link {
    /// The two agents, the smaller one first.
    pub(super) ends: [Peer; 2],
    /// How often it has come up.
    pub(super) epoch: Epoch,
    /// Whether each end takes it for up. Only one does where the other has died and that is not known yet.
    pub(super) up: [bool; 2],
    /// Whether somebody is connecting.
    pub(super) connecting: bool,
    /// Whether the world's user wants it, so that it comes up again whenever it has gone down. The others are opened by agents and, once
    /// they are down, forgotten.
    pub(super) wanted: bool,
    /// Which ends have asked for it and have not been answered.
    pub(super) asked: [bool; 2],
    /// Whether the time until which those who have asked are answered is limited already.
    pub(super) limited: bool,
    /// The end that has closed it while what it had sent before is still on its way: whether that is the higher one.
    pub(super) closer: Option<bool>,
    /// Nothing arrives until then.
    pub(super) stalled_until: Time,
    /// What is on its way from each end.
    pub(super) lanes: [Lane; 2],
    /// Changes with everything that makes an event for this link void.
    pub(super) generation: u32,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) chain: Chain,
    /// Whether the arrival of the first message stands in the queue of events. It does not where something holds it up whose end
    /// is not known: a partition, a pause.
    pub(super) scheduled: bool,
}

impl Link {
    /// Which end `peer` is.
    pub(super) fn end(&self, peer: Peer) -> usize {
        usize::from(self.ends[1] == peer)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up == [true, true]
    }

    pub(super) fn is_down(&self) -> bool {
        self.up == [false, false]
    }

    /// Whether this end has closed it, and that is on its way.
    pub(super) fn closed_by(&self, end: usize) -> bool {
        self.closer == Some(end == 1)
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.asked != [false, false]
    }
}

/// The links of one agent, ascending by the agent at the other end. Of an agent that has a few, they lie in one line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Few(SmallVec<[(Peer, LinkId); 7]>);

/// All links.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: Vec<Option<Link>>,
    free: Vec<LinkId>,
    of: Vec<Few>,
    generation: u32,
    /// The last number that was given to a link that an agent opened.
    epoch: Epoch,
}

impl Links {
    /// Makes room for one agent more.
    pub(super) fn add_peer(&mut self) {
        self.of.push(Few::default());
    }

    /// The link between two agents.
    #[inline]
    pub(super) fn find(&self, one: Peer, other: Peer) -> Option<LinkId> {
        let links = &self.of[one.index()].0;
        let place = links.binary_search_by_key(&other, |&(peer, _)| peer).ok()?;
        Some(links[place].1)
    }

    /// The links of an agent, ascending by the agent at the other end.
    pub(super) fn of(&self, peer: Peer) -> &[(Peer, LinkId)] {
        &self.of[peer.index()].0
    }

    /// All links, in the order of the table.
    pub(super) fn ids(&self) -> Vec<LinkId> {
        let id = |place: usize| LinkId(u32::try_from(place).expect("fewer than 2^32 links"));
        (0..self.table.len()).filter(|&place| self.table[place].is_some()).map(id).collect()
    }

    /// A link that is there.
    #[inline]
    pub(super) fn get(&self, id: LinkId) -> &Link {
        self.table[id.0 as usize].as_ref().expect("the link is there")
    }

    /// A link that is there.
    #[inline]
    pub(super) fn get_mut(&mut self, id: LinkId) -> &mut Link {
        self.table[id.0 as usize].as_mut().expect("the link is there")
    }

    /// The link for which an event was made, unless that has become void.
    #[inline]
    pub(super) fn current(&self, id: LinkId, generation: u32) -> Option<&Link> {
        self.table[id.0 as usize].as_ref().filter(|link| link.generation == generation)
    }

    /// Whether there is a link in that place.
    pub(super) fn is_there(&self, id: LinkId) -> bool {
        self.table[id.0 as usize].is_some()
    }

    /// The number of the next link that an agent opens. These are forgotten when they go down, and so is how often each pair was linked: one
    /// count for all of them grows for each pair, too.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.epoch.0 += 1;
        self.epoch
    }

    /// Makes all events for a link void, and gives the generation that those have which are made from now on.
    pub(super) fn void_events(&mut self, id: LinkId) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let link = self.get_mut(id);
        link.generation = generation;
        link.limited = false;
        for lane in &mut link.lanes {
            lane.scheduled = false;
        }
        generation
    }

    /// Adds a link that is down. `None` if there is one already.
    pub(super) fn add(&mut self, one: Peer, other: Peer, wanted: bool) -> Option<LinkId> {
        assert!(one != other, "an agent has no link to itself");
        let place = self.of[one.index()].0.binary_search_by_key(&other, |&(peer, _)| peer).err()?;
        self.generation = self.generation.wrapping_add(1);
        let link = Link {
            ends: [one.min(other), one.max(other)],
            epoch: Epoch(0),
            up: [false, false],
            connecting: false,
            wanted,
            asked: [false, false],
            limited: false,
            closer: None,
            stalled_until: Time::ZERO,
            lanes: [Lane::default(), Lane::default()],
            generation: self.generation,
        };
        let id = if let Some(id) = self.free.pop() {
            self.table[id.0 as usize] = Some(link);
            id
        } else {
            self.table.push(Some(link));
            LinkId(u32::try_from(self.table.len() - 1).expect("fewer than 2^32 links"))
        };
        self.of[one.index()].0.insert(place, (other, id));
        let place = self.of[other.index()].0.partition_point(|&(peer, _)| peer < one);
        self.of[other.index()].0.insert(place, (one, id));
        Some(id)
    }

    /// Removes a link on which nothing is on its way.
    pub(super) fn remove(&mut self, id: LinkId) {
        let ends = self.get(id).ends;
        for end in ends {
            self.of[end.index()].0.retain(|&mut (_, other)| other != id);
        }
        self.table[id.0 as usize] = None;
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_fits_into_a_line_of_the_cache() {
        assert_eq!(size_of::<Option<Link>>(), 64);
    }

    #[test]
    fn links_are_found_from_both_ends_and_their_places_are_used_again() {
        let mut links = Links::default();
        (0..4).for_each(|_| links.add_peer());
        let first = links.add(Peer(2), Peer(1), true).expect("new");
        assert!(links.add(Peer(1), Peer(2), true).is_none());
        let second = links.add(Peer(1), Peer(3), true).expect("new");
        links.add(Peer(1), Peer(0), true).expect("new");
        assert_eq!(links.find(Peer(1), Peer(2)), Some(first));
        assert_eq!(links.find(Peer(3), Peer(1)), Some(second));
        assert_eq!(links.find(Peer(3), Peer(2)), None);
        let of_one: Vec<Peer> = links.of(Peer(1)).iter().map(|&(peer, _)| peer).collect();
        assert_eq!(of_one, [Peer(0), Peer(2), Peer(3)]);

        let generation = links.get(first).generation;
        links.remove(first);
        assert_eq!(links.find(Peer(1), Peer(2)), None);
        let again = links.add(Peer(2), Peer(3), true).expect("new");
        assert_eq!(again, first);
        assert!(
            links.current(again, generation).is_none(),
            "an event for the old link must not reach the new one"
        );
        assert_eq!(links.ids().len(), 3);
    }
}
