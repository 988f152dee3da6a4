//! How a node gets neighbours (Section 4.3): tracked requests, each on a link of its own, one after the other and with pauses.

use std::time::Duration;

use super::links::{Link, Stage};
use super::{HyParView, NEVER};
use crate::agent::{Epoch, Why};
use crate::agents::overlay::{Control, Effect, Id};
use crate::time::Time;

/// What is asked of somebody, in the first message on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// `JOIN`.
    Join,
    /// `JOINREPLY`.
    JoinReply,
    /// `NEIGHBOUR`, to fill a free place. Whether it is of high priority is seen when it is sent.
    Neighbour,
    /// `NEIGHBOUR` of high priority to somebody in another island.
    Bridge,
    /// What it takes to become a neighbour in the place of another one.
    Exchange,
}

impl Ask {
    /// Whether it only fills a place that is free, and is pointless when there is none any more.
    fn fills(self) -> bool {
        self == Self::Neighbour
    }
}

/// The rhythm of the requests.
#[derive(Debug)]
pub(super) struct Requests<I> {
    /// Whom `join` has named, in that order; kept until this node leaves.
    pub(super) contacts: Vec<I>,
    /// Whether one of them has to be asked, whatever neighbours there are.
    pub(super) joining: bool,
    /// Which of them is asked next.
    pub(super) contact: usize,
    /// How many of them have been asked in this round.
    pub(super) contacts_asked: usize,
    /// Everybody has been asked, in vain. Only new names are asked before the pause is over.
    round_over: bool,
    /// How many rounds were in vain, one after the other.
    rounds: u8,
}

impl<I> Default for Requests<I> {
    fn default() -> Self {
        let (contacts, joining, contact, contacts_asked) = (Vec::new(), false, 0, 0);
        Self { contacts, joining, contact, contacts_asked, round_over: false, rounds: 0 }
    }
}

impl<I: Id> HyParView<I> {
    /// Opens a link to ask something. Whether that is on its way; not if there is another link, which has to be closed first.
    pub(super) fn request(&mut self, now: Time, peer: I, ask: Ask) -> bool {
        if let Some(index) = self.links.find(peer) {
            return match &mut self.links[index].stage {
                // What is asked anyway is asked in the stronger way.
                Stage::Connecting(old) => {
                    if old.fills() {
                        *old = ask;
                    }
                    true
                }
                Stage::Asked(_) => true,
                Stage::Incoming | Stage::Promised | Stage::Draining | Stage::Closing => false,
            };
        }
        self.counts.requests = self.counts.requests.wrapping_add(1);
        let (epoch, stage) = (Epoch::default(), Stage::Connecting(ask));
        self.links.push(Link { peer, epoch, stage, deadline: now + self.options.timeout });
        self.effects.push_back(Effect::Link(peer));
        true
    }

    /// The link is up: asks.
    pub(super) fn ask(&mut self, now: Time, index: usize, epoch: Epoch, ask: Ask) {
        // Of high priority only where there is no neighbour (Section 4.3), and none is about to become one.
        let high = self.active.is_empty() && !self.links.iter().any(Link::asked_for_place);
        // Several were asked at once by a node that was alone; one has been faster.
        let ask = if ask == Ask::Join && !high && !self.requests.joining { Ask::Neighbour } else { ask };
        let link = &mut self.links[index];
        link.epoch = epoch;
        link.stage = Stage::Asked(ask);
        let peer = link.peer;
        let control = match ask {
            Ask::Join => Control::Join,
            Ask::JoinReply => Control::JoinReply,
            Ask::Neighbour => Control::Neighbour { high },
            Ask::Bridge => Control::Neighbour { high: true },
            Ask::Exchange => self.exchange_linked(now),
        };
        self.send(peer, control);
        // What is not answered is always accepted.
        if !self.own_dialect() && matches!(ask, Ask::Join | Ask::JoinReply) {
            self.admit(now, index);
            self.tell_up(peer);
        }
    }

    /// `NEIGHBOUR`: may somebody become a neighbour? (Section 4.3)
    pub(super) fn asked(&mut self, now: Time, index: usize, high: bool) {
        let link = self.links[index];
        let wanted_too = link.asked_for_place();
        // Places for which others have been asked are not given away, so that their answers find them free.
        let promised = self.links.iter().filter(|link| link.asked_for_place()).count();
        let accept = high || wanted_too || self.active.len() + promised < self.options.active_size;
        if accept {
            self.admit(now, index);
        } else {
            self.links[index].stage = Stage::Closing;
            self.links[index].deadline = now + self.options.timeout;
        }
        self.send(link.peer, Control::NeighbourReply { accept });
        if accept {
            self.tell_up(link.peer);
        }
    }

    /// An answer has come.
    pub(super) fn answered(&mut self, now: Time, index: usize, ask: Ask, accept: bool) {
        let peer = self.links[index].peer;
        if !accept {
            self.counts.declined = self.counts.declined.wrapping_add(1);
            self.close(now, index);
            // Who declines stays known. Many who look for neighbours at once would refuse each other for ever if all kept step.
            self.pause(now);
            return self.refill(now);
        }
        self.counts.accepted = self.counts.accepted.wrapping_add(1);
        if ask.fills() && self.active.len() >= self.options.active_size {
            // Others have come in meanwhile who had to be taken.
            self.send(peer, Control::Disconnect);
            self.links[index].stage = Stage::Closing;
            self.links[index].deadline = now + self.options.timeout;
            return;
        }
        self.admit(now, index);
        self.tell_up(peer);
    }

    /// A request has come to nothing: nobody is there, or nobody answers.
    pub(super) fn request_failed(&mut self, now: Time, peer: I, ask: Ask, why: Why) {
        self.counts.failed = self.counts.failed.wrapping_add(1);
        // Section 4.3: who cannot be reached is dropped from the passive view.
        if why != Why::Closed
            && self.passive.remove(peer)
            && (why != Why::Unreachable || self.active.is_empty())
        {
            // To a node that is alone, nobody can be reached; perhaps it is not the others that are gone.
            self.remember_lost(peer);
        }
        if ask == Ask::Neighbour || ask == Ask::Join {
            self.refill(now);
        }
    }

    /// Makes a neighbour of whoever is on this link, in the place of another one if need be.
    pub(super) fn admit(&mut self, now: Time, index: usize) {
        let Link { peer, epoch, .. } = self.links.remove(index);
        self.exchange_over(now, peer);
        self.make_room(now);
        self.active.push(self.options.active_size, peer, now, epoch);
        self.passive.remove(peer);
        if self.requests.joining && self.requests.contacts.contains(&peer) {
            self.requests.joining = false;
        }
        if self.active.len() >= self.options.active_size {
            self.requests.rounds = 0;
            self.drop_needless_requests();
        }
    }

    /// Tells the layer, behind the answer on the link.
    pub(super) fn tell_up(&mut self, peer: I) {
        self.effects.push_back(Effect::Up(peer));
    }

    /// Gives up requests on links that are not up yet and for which there is no place any more.
    fn drop_needless_requests(&mut self) {
        let needless = |link: &Link<I>| link.stage == Stage::Connecting(Ask::Neighbour);
        while let Some(index) = self.links.iter().position(needless) {
            let link = self.links.remove(index);
            self.effects.push_back(Effect::Unlink(link.peer));
        }
    }

    /// There is a place more to fill.
    pub(super) fn neighbour_lost(&mut self, now: Time) {
        // A long pause belongs to a state that is no more.
        if self.requests.round_over {
            self.requests.rounds = 0;
            self.requests_at = self.requests_at.min(now + self.round_pause());
        } else if self.active.is_empty() {
            self.refresh();
        }
        self.refill(now);
    }

    /// Asks for as many neighbours as there are places; half of them, rounded up, at a time, so that others who ask find some free too.
    pub(super) fn refill(&mut self, now: Time) {
        if !self.running || (!self.requests.round_over && self.requests_at != NEVER && now < self.requests_at)
        {
            return;
        }
        if self.requests.joining {
            self.ask_a_contact(now);
        }
        loop {
            let count = |fits: fn(Ask) -> bool| {
                self.links.iter().filter(|link| link.asks().is_some_and(fits)).count()
            };
            let promised = count(|ask| matches!(ask, Ask::JoinReply | Ask::Bridge))
                + self.links.iter().filter(|link| link.stage == Stage::Promised).count();
            let asking = count(|ask| matches!(ask, Ask::Neighbour | Ask::Join));
            let free = self.options.active_size.saturating_sub(self.active.len() + promised);
            if asking >= free.div_ceil(2) {
                return;
            }
            let Some((candidate, ask)) = self.candidate() else {
                if asking == 0 && !self.requests.round_over {
                    self.end_round(now);
                }
                return;
            };
            self.request(now, candidate, ask);
        }
    }

    /// Whom to ask next: somebody of the passive view; where that is not even full, since most of it has died say, somebody remembered; for a node that
    /// is alone, its contacts as well.
    fn candidate(&mut self) -> Option<(I, Ask)> {
        while let Some(id) = self.passive.take_fresh(&mut self.rng) {
            if self.links.find(id).is_none() {
                return Some((id, Ask::Neighbour));
            }
        }
        let alone = self.active.is_empty();
        if self.passive.is_full() && !alone {
            return None;
        }
        while let Some(id) = self.memory.names().take_fresh(&mut self.rng) {
            let known = id == self.me || self.is_active(id) || self.passive.contains(id);
            if !known && self.links.find(id).is_none() {
                return Some((id, if alone { Ask::Join } else { Ask::Neighbour }));
            }
        }
        if !alone || self.is_joining_somebody() {
            return None;
        }
        self.next_contact().map(|contact| (contact, Ask::Join))
    }

    /// The next of the contacts that has not been asked in this round.
    fn next_contact(&mut self) -> Option<I> {
        let count = self.requests.contacts.len();
        while self.requests.contacts_asked < count {
            let contact = self.requests.contacts[self.requests.contact % count];
            self.requests.contact = self.requests.contact % count + 1;
            self.requests.contacts_asked += 1;
            if self.links.find(contact).is_none() && !self.is_active(contact) {
                return Some(contact);
            }
        }
        None
    }

    /// One contact is asked after the other: each that accepts has a neighbour displaced, and all its others told.
    fn is_joining_somebody(&self) -> bool {
        self.links.iter().any(|link| link.asks() == Some(Ask::Join))
    }

    /// Asks one contact, if none is being asked.
    fn ask_a_contact(&mut self, now: Time) {
        if self.is_joining_somebody() {
            return;
        }
        match self.next_contact() {
            Some(contact) => {
                self.request(now, contact, Ask::Join);
            }
            None if !self.requests.round_over => self.end_round(now),
            None => {}
        }
    }

    /// A short pause, of a random length.
    fn pause(&mut self, now: Time) {
        if !self.requests.round_over {
            self.requests_at = now + self.rng.duration(Duration::ZERO, self.options.timeout / 128);
        }
    }

    /// Everybody has been asked: a pause, longer each time, of a random length.
    pub(super) fn end_round(&mut self, now: Time) {
        let contacts =
            !self.requests.contacts.is_empty() && (self.requests.joining || self.active.is_empty());
        if self.passive.is_empty() && self.memory.is_empty() && !contacts {
            // There is nobody to ask, until a shuffle brings names.
            return;
        }
        self.requests.round_over = true;
        self.requests.rounds = (self.requests.rounds + 1).min(ROUNDS_MAX);
        self.requests_at = now + self.round_pause();
    }

    /// A new round: everybody may be asked.
    fn refresh(&mut self) {
        self.passive.refresh();
        self.memory.names().refresh();
        self.requests.contacts_asked = 0;
    }

    fn round_pause(&mut self) -> Duration {
        let longest = (self.options.timeout / 16) * (1 << self.requests.rounds);
        self.rng.duration(longest / 2, longest)
    }

    /// A pause is over.
    pub(super) fn ask_again(&mut self, now: Time) {
        self.requests_at = NEVER;
        if std::mem::take(&mut self.requests.round_over) {
            self.refresh();
        }
        self.refill(now);
    }
}

/// The pause between rounds doubles as often as that: up to four times the time-out of a request.
const ROUNDS_MAX: u8 = 6;
