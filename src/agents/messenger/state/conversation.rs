//! One conversation: who belongs to it, how far each has read, where its messages lie.

use std::collections::VecDeque;
use std::sync::Arc;

use super::pages::{OpenPage, PageStart};
use super::{Kind, Sequence, UserId};

/// A conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub(super) kind: Kind,
    pub(super) last: Sequence,
    /// Of the last message.
    pub(super) time_ms: u64,
    /// Ascending by users.
    pub(super) members: Vec<Member>,
    /// Of all pages that are kept, ascending.
    pub(super) pages: VecDeque<PageStart>,
    /// The last page, if more can be written into it.
    pub(super) open: Option<OpenPage>,
    /// Whether its row, or that of its open page, has changed since rows were taken.
    pub(super) dirty: bool,
}

/// Somebody who belongs to a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) user: UserId,
    /// The last message that it has read.
    pub(super) mark: Sequence,
    /// The last message before it joined: up to here it sees nothing.
    pub(super) since: Sequence,
    /// Whether its row has changed since rows were taken.
    pub(super) dirty: bool,
}

impl Conversation {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            last: Sequence(0),
            time_ms: 0,
            members: Vec::new(),
            pages: VecDeque::new(),
            open: None,
            dirty: false,
        }
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Its last message; 0 if there never was one.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Its first message that is kept; the one that comes next if none is.
    pub fn first(&self) -> Sequence {
        self.pages.front().map_or(Sequence(self.last.0 + 1), |page| page.first)
    }

    /// When its last message was accepted, in milliseconds since 1970 (UTC).
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Who belongs to it, ascending.
    pub fn members(&self) -> impl ExactSizeIterator<Item = UserId> {
        self.members.iter().map(|member| member.user)
    }

    /// Whether `user` belongs to it.
    pub fn is_member(&self, user: UserId) -> bool {
        self.member(user).is_some()
    }

    /// The other user's name, or the group's, as `user` sees it; the other one's own if it writes to itself. `name` is how a user is called.
    pub fn name(&self, user: UserId, name: impl FnOnce(UserId) -> Option<Arc<str>>) -> Option<Arc<str>> {
        match &self.kind {
            Kind::Direct(one, other) => name(if *one == user { *other } else { *one }),
            Kind::Former { name, .. } | Kind::Group { name, .. } | Kind::Foreign { name, .. } => {
                Some(Arc::clone(name))
            }
        }
    }

    pub(super) fn member(&self, user: UserId) -> Option<&Member> {
        let place = self.members.binary_search_by_key(&user, |member| member.user).ok()?;
        self.members.get(place)
    }

    pub(super) fn member_mut(&mut self, user: UserId) -> Option<&mut Member> {
        let place = self.members.binary_search_by_key(&user, |member| member.user).ok()?;
        self.members.get_mut(place)
    }

    /// Makes `user` a member that sees what comes from now on; whether it was none.
    pub(super) fn add_member(&mut self, user: UserId) -> bool {
        match self.members.binary_search_by_key(&user, |member| member.user) {
            Ok(_) => false,
            Err(place) => {
                let (mark, since) = (self.last, self.last);
                self.members.insert(place, Member { user, mark, since, dirty: false });
                true
            }
        }
    }

    pub(super) fn remove_member(&mut self, user: UserId) -> bool {
        match self.members.binary_search_by_key(&user, |member| member.user) {
            Ok(place) => {
                self.members.remove(place);
                true
            }
            Err(_) => false,
        }
    }
}
