//! Which peer is which member of the log, and which of them can hear us.

use std::collections::{BTreeMap, BTreeSet};

use super::{Identity, MemberId};
use crate::agent::Peer;
use crate::time::Time;

/// The members that have been heard of since this server began.
#[derive(Debug)]
pub(super) struct Members {
    own: Identity,
    known: BTreeMap<Peer, Known>,
    peers: BTreeMap<MemberId, Peer>,
    greets_at: Option<Time>,
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    member: MemberId,
    /// Which life of it has greeted last.
    life: Option<u64>,
    /// Whether it has been heard since its link came up.
    up: bool,
}

/// To whom a greeting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// To wherever the route of the log leads: nobody knows yet who is behind a link.
    Everyone,
    One(Peer),
}

/// What it means that a member was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// It can be reached.
    Up,
    /// It has started again without its link having gone down.
    Again,
}

impl Members {
    pub(super) fn new(own: Identity) -> Self {
        let (known, peers, names) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::from([own.name.clone()]));
        Self { own, known, peers, greets_at: None, names }
    }

    /// This member.
    pub(super) fn own(&self) -> &Identity {
        &self.own
    }

    /// The number of this member.
    pub(super) fn own_id(&self) -> MemberId {
        MemberId::of(&self.own.name)
    }

    /// This member begins.
    pub(super) fn start(&mut self, now: Time) {
        self.greets_at = self.own.greets.filter(|(_, others)| *others > 0).map(|_| now);
    }

    /// When the others are to be greeted without an occasion.
    pub(super) fn greets_at(&self) -> Option<Time> {
        self.greets_at
    }

    /// Whether they are to be greeted now.
    pub(super) fn has_to_greet(&mut self, now: Time) -> bool {
        let Some((every, others)) = self.own.greets else { return false };
        if self.greets_at.is_none_or(|at| at > now) {
            return false;
        }
        let all = self.peers.len() >= others;
        self.greets_at = (!all).then(|| now + every);
        !all
    }

    /// Messages can reach a peer; whom to greet.
    pub(super) fn link_up(&self, peer: Peer) -> Greeting {
        if self.known.contains_key(&peer) { Greeting::One(peer) } else { Greeting::Everyone }
    }

    /// Messages do not reach a peer any more; which member is down by that.
    pub(super) fn link_down(&mut self, peer: Peer) -> Option<MemberId> {
        let known = self.known.get_mut(&peer)?;
        std::mem::take(&mut known.up).then_some(known.member)
    }

    /// `member` was heard from `peer`; by a greeting, what it is called and which life of it this is.
    pub(super) fn heard(&mut self, peer: Peer, member: MemberId, greeting: Option<(String, u64)>) -> News {
        if member == self.own_id() {
            return News::Nothing;
        }
        let life = greeting.as_ref().map(|(_, life)| *life);
        if let Some((name, _)) = greeting {
            self.names.insert(name);
        }
        if self.known.get(&peer).is_none_or(|known| known.member != member) {
            self.forget(peer);
            if let Some(before) = self.peers.insert(member, peer) {
                self.known.remove(&before);
            }
            self.known.insert(peer, Known { member, life, up: true });
            return News::Up;
        }
        let Some(known) = self.known.get_mut(&peer) else { return News::Nothing };
        let another = life.is_some() && known.life.is_some() && known.life != life;
        known.life = life.or(known.life);
        match (std::mem::replace(&mut known.up, true), another) {
            (false, _) => News::Up,
            (true, true) => News::Again,
            (true, false) => News::Nothing,
        }
    }

    fn forget(&mut self, peer: Peer) {
        if let Some(known) = self.known.remove(&peer) {
            self.peers.remove(&known.member);
        }
    }

    /// The peer behind which a member stands, as far as it is known.
    pub(super) fn peer(&self, member: MemberId) -> Option<Peer> {
        self.peers.get(&member).copied()
    }

    /// Whether a member can be reached.
    pub(super) fn is_up(&self, member: MemberId) -> bool {
        self.peer(member).and_then(|peer| self.known.get(&peer)).is_some_and(|known| known.up)
    }

    /// Whether a server of this name has been heard of, or is this one.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ANN: MemberId = MemberId(7);

    fn members(greets: Option<(Duration, usize)>) -> Members {
        Members::new(Identity { name: "me".into(), life: 1, greets })
    }

    fn hello(life: u64) -> (String, u64) {
        ("ann".to_owned(), life)
    }

    #[test]
    fn a_member_is_up_once_it_was_heard_on_a_link_and_down_with_that_link() {
        let mut members = members(None);
        assert_eq!(members.link_up(Peer(1)), Greeting::Everyone);
        assert!(!members.is_up(ANN));
        assert_eq!(members.heard(Peer(1), ANN, Some(hello(5))), News::Up);
        assert_eq!(members.heard(Peer(1), ANN, None), News::Nothing);
        assert_eq!((members.peer(ANN), members.is_up(ANN)), (Some(Peer(1)), true));
        assert_eq!(members.link_down(Peer(1)), Some(ANN));
        assert_eq!((members.link_down(Peer(1)), members.link_down(Peer(2))), (None, None));
        assert_eq!(members.link_up(Peer(1)), Greeting::One(Peer(1)));
        assert!(!members.is_up(ANN), "the link is there, and its server may not have begun");
        assert_eq!(members.heard(Peer(1), ANN, Some(hello(6))), News::Up);
    }

    #[test]
    fn a_member_that_has_started_again_was_down_although_its_link_was_not() {
        let mut members = members(None);
        members.heard(Peer(1), ANN, Some(hello(5)));
        assert_eq!(members.heard(Peer(1), ANN, Some(hello(5))), News::Nothing);
        assert_eq!(members.heard(Peer(1), ANN, Some(hello(6))), News::Again);
    }

    #[test]
    fn a_member_stands_behind_one_peer_and_is_never_this_server() {
        let mut members = members(None);
        members.heard(Peer(1), ANN, Some(hello(5)));
        assert_eq!(members.heard(Peer(2), ANN, Some(hello(5))), News::Up);
        assert_eq!((members.peer(ANN), members.link_down(Peer(1))), (Some(Peer(2)), None));
        assert_eq!(members.heard(Peer(2), MemberId(8), None), News::Up);
        assert_eq!((members.peer(ANN), members.peer(MemberId(8))), (None, Some(Peer(2))));
        let own = MemberId::of("me");
        assert_eq!(members.heard(Peer(3), own, Some(hello(1))), News::Nothing);
        assert_eq!(members.peer(own), None);
    }

    #[test]
    fn without_links_the_others_are_greeted_until_all_are_known() {
        let every = Duration::from_millis(500);
        let mut members = members(Some((every, 1)));
        assert_eq!(members.greets_at(), None);
        members.start(Time::ZERO);
        assert!(members.has_to_greet(Time::ZERO));
        assert!(!members.has_to_greet(Time::ZERO), "not before its time");
        assert_eq!(members.greets_at(), Some(Time::ZERO + every));
        members.heard(Peer(1), ANN, None);
        assert!(!members.has_to_greet(Time::ZERO + every));
        assert_eq!(members.greets_at(), None);
    }
}
