//! What all servers agree on.
//!
//! **Problem.** A function of the records of the log, and of nothing else: users, conversations, who has read how far, which messages of which client instance were taken. There may be
//! far more messages than memory.
//!
//! **How it is kept.** Everything but the messages is in memory, and in rows of its own. Messages lie in pages: the last page of each conversation that is in use is in memory,
//! the others only on the disk. Memory knows of each page where and when it begins, so that a place or a time is found without searching the disk: 16 bytes a page.
//!
//! **Invariants.**
//! - The same records give the same outcomes and, in the end, the same rows, whenever rows are taken, and also behind a restore: an order that matters (which page is closed, which client instance
//!   is forgotten, which row goes next) is kept in the rows, too.
//! - Ids are never used again. Whoever takes a name that was free again gets nothing of who had it before.
//! - A conversation's messages are numbered without gaps and their times never go back; marks never go back, either.
//! - What was fetched from another cluster counts as read there only as far as it is read here.
//! - A member of a group sees what was written from its joining on. A conversation lives for as long as somebody belongs to it: what was written to a user stays when its writer goes.
//! - What has to be removed in great numbers (the pages of a conversation that has ended) goes some with each record.

mod clients;
mod conversation;
mod imports;
mod limits;
mod outcome;
mod pages;
mod people;
mod posts;
mod reading;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use self::clients::Clients;
pub use self::conversation::Conversation;
use self::imports::Imports;
pub use self::imports::Progress;
pub use self::limits::Limits;
pub(super) use self::limits::{EMAIL_BYTES_MAX, TIMESTAMP_BYTES_MAX};
pub use self::outcome::{Effect, GroupChange, Outcome, Refused};
use self::pages::Pages;
pub use self::reading::{Messages, Reading, Wanted};
use super::{ClientInstance, ClusterIdentity, ClusterKey, Command};
use crate::wire::proto::Position;

/// A user, by a number that is never used again: who takes the name of somebody who is gone gets nothing of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserId(pub u64);

/// A conversation: two users, a group, or a user and somebody of another cluster. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConversationId(pub u64);

/// Which message of its conversation, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// A message's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which conversation.
    pub conversation: ConversationId,
    /// Which message of it.
    pub sequence: Sequence,
}

impl From<Position> for Place {
    fn from(Position { conversation, sequence }: Position) -> Self {
        Self { conversation: ConversationId(conversation), sequence: Sequence(sequence) }
    }
}

impl From<Place> for Position {
    fn from(Place { conversation, sequence }: Place) -> Self {
        Self { conversation: conversation.0, sequence: sequence.0 }
    }
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which one of its conversation.
    pub sequence: Sequence,
    /// Who wrote it, who may be gone since; 0 where it came from another cluster.
    pub sender: UserId,
    /// Their name then.
    pub sender_name: Arc<str>,
    /// When it was accepted, in milliseconds since 1970 (UTC); never goes back within a conversation.
    pub time_ms: u64,
    /// The time as the client called it.
    pub timestamp: String,
    /// What it says.
    pub payload: Bytes,
    /// Where it stands in the cluster that it was fetched from, if it was.
    pub there: Option<There>,
}

/// A message's place in another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct There {
    /// Which one; none if it does not say.
    pub cluster: Option<ClusterIdentity>,
    /// Its place there.
    pub place: Place,
}

/// What a conversation is. Who belongs to it is told by [`Conversation::members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two users, the lower id first; or one, who writes to itself.
    Direct(UserId, UserId),
    /// A user, and what it wrote with somebody who is no user any more. Nothing is added to it.
    Former {
        /// Who is left.
        user: UserId,
        /// How the other one was called.
        name: Arc<str>,
    },
    /// A group.
    Group {
        /// What it is called.
        name: Arc<str>,
        /// Who has made it; where that one has left, the member with the lowest id.
        maker: UserId,
    },
    /// A user, and somebody of another cluster or a group there.
    Foreign {
        /// The user.
        user: UserId,
        /// The tag of the other cluster.
        cluster: Arc<str>,
        /// The name there: a user's, or a group's.
        name: Arc<str>,
        /// Whether it is a group's.
        is_group: bool,
    },
}

/// A user as the servers know it.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// What it is called.
    pub name: Arc<str>,
    /// Where to write, if it said so.
    pub email: Option<String>,
    /// The password's hash, in PHC's form.
    pub hash: String,
    conversations: BTreeSet<ConversationId>,
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    User(UserId),
    Group(ConversationId),
}

/// What makes things different that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    /// Records that were applied.
    records: u64,
    /// Users that there ever were.
    users: u64,
    /// Conversations that there ever were.
    conversations: u64,
}

/// Somebody or some group of another cluster, as a user of this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ForeignName {
    user: UserId,
    cluster: Arc<str>,
    name: Arc<str>,
    is_group: bool,
}

/// The state.
#[derive(Clone, Debug, Default)]
pub struct State {
    limits: Limits,
    key: Option<ClusterKey>,
    numbers: Numbers,
    users: BTreeMap<UserId, User>,
    names: BTreeMap<Arc<str>, Named>,
    conversations: BTreeMap<ConversationId, Conversation>,
    direct: BTreeMap<(UserId, UserId), ConversationId>,
    foreign: BTreeMap<ForeignName, ConversationId>,
    clients: Clients,
    imports: Imports,
    pages: Pages,
    dirty: rows::Dirty,
}

impl State {
    /// What there is before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does what a record says. `at_ms` is when it was proposed, in milliseconds since 1970 (UTC).
    pub fn apply(&mut self, at_ms: u64, command: Command) -> Outcome {
        self.numbers.records += 1;
        self.pages.sweep();
        let done = match command {
            Command::Key { key } => {
                self.set_key(key);
                Ok(Vec::new())
            }
            Command::Limits { limits } => {
                self.set_limits(limits);
                Ok(Vec::new())
            }
            Command::Register { name, email, hash } => self.register(&name, email, hash),
            Command::Unregister { user } => self.unregister(user),
            Command::Post { from, to, client, timestamp, payload } => {
                self.post(from, to, client, posts::Written { at_ms, timestamp, payload, there: None })
            }
            Command::Refuse { from, client, number, why } => self.refuse(from, client, number, why),
            Command::Read { marks } => Ok(self.read_marks(&marks)),
            Command::CreateGroup { by, name } => self.create_group(by, &name),
            Command::AddMember { group, by, user } => self.add_member(group, by, user),
            Command::RemoveMember { group, by, user } => self.remove_member(group, by, user),
            Command::DeleteGroup { group, by } => self.delete_group(group, by),
            Command::Import { from, user, messages } => self.import(at_ms, &from, user, messages),
        };
        match done {
            Ok(effects) => Outcome::Done(effects),
            Err(refused) => Outcome::Refused(refused),
        }
    }

    /// What is kept at most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The key of the cluster, once there is one.
    pub fn key(&self) -> Option<&ClusterKey> {
        self.key.as_ref()
    }

    /// The user of this name.
    pub fn find_user(&self, name: &str) -> Option<UserId> {
        match self.names.get(name)? {
            Named::User(user) => Some(*user),
            Named::Group(_) => None,
        }
    }

    /// A user.
    pub fn user(&self, user: UserId) -> Option<&User> {
        self.users.get(&user)
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The group of this name.
    pub fn find_group(&self, name: &str) -> Option<ConversationId> {
        match self.names.get(name)? {
            Named::User(_) => None,
            Named::Group(group) => Some(*group),
        }
    }

    /// A conversation.
    pub fn conversation(&self, conversation: ConversationId) -> Option<&Conversation> {
        self.conversations.get(&conversation)
    }

    /// The conversation of two users, once one of them has written to the other.
    pub fn direct(&self, one: UserId, other: UserId) -> Option<ConversationId> {
        self.direct.get(&(one.min(other), one.max(other))).copied()
    }

    /// What `user` has with somebody of another cluster, or with a group there.
    pub fn foreign(&self, user: UserId, cluster: &str, name: &str, is_group: bool) -> Option<ConversationId> {
        let (cluster, name) = (Arc::from(cluster), Arc::from(name));
        self.foreign.get(&ForeignName { user, cluster, name, is_group }).copied()
    }

    /// What a user belongs to, ascending.
    pub fn conversations_of(&self, user: UserId) -> impl Iterator<Item = ConversationId> {
        self.users.get(&user).into_iter().flat_map(|user| user.conversations.iter().copied())
    }

    /// Those whom `user` writes with; of somebody who writes with very many, the first of them.
    pub fn acquaintances(&self, user: UserId) -> BTreeSet<UserId> {
        let mut known = BTreeSet::new();
        for id in self.conversations_of(user) {
            let Some(conversation) = self.conversation(id) else { continue };
            known.extend(conversation.members().take(ACQUAINTANCES_MAX));
            if known.len() >= ACQUAINTANCES_MAX {
                break;
            }
        }
        known.remove(&user);
        known
    }

    /// The other user's name, or the group's, as `user` sees it; its own if it writes to itself.
    pub fn name_of(&self, conversation: ConversationId, user: UserId) -> Option<Arc<str>> {
        let name = |user| self.users.get(&user).map(|user| Arc::clone(&user.name));
        self.conversations.get(&conversation)?.name(user, name)
    }

    /// The last message of a conversation that `user` has read, or need not read any more: what is behind it is unread. `None` if it does not belong to it.
    pub fn mark(&self, user: UserId, conversation: ConversationId) -> Option<Sequence> {
        let conversation = self.conversations.get(&conversation)?;
        let member = conversation.member(user)?;
        let mut mark = member.mark.max(Sequence(conversation.first().0 - 1));
        if let Kind::Group { .. } = conversation.kind {
            mark = mark.max(Sequence(conversation.last.0.saturating_sub(self.limits.unread_max)));
        }
        Some(mark)
    }

    /// Where `user` has something to read: the conversations, ascending, with the first message behind its mark.
    pub fn unread(&self, user: UserId) -> impl Iterator<Item = (ConversationId, Sequence)> {
        self.conversations_of(user).filter_map(move |id| {
            let mark = self.mark(user, id)?;
            (mark < self.conversations.get(&id)?.last).then_some((id, Sequence(mark.0 + 1)))
        })
    }

    /// The number of the message that comes next of a client instance; `None` if this one is not known, then it is 1.
    pub fn expected(&self, user: UserId, instance: ClientInstance) -> Option<u64> {
        self.clients.expected(user, instance)
    }

    /// How much there is of what, for people: bytes are those of pages in memory.
    pub fn counters(&self) -> [(&'static str, u64); 7] {
        [
            ("users", self.users.len() as u64),
            ("conversations", self.conversations.len() as u64),
            ("client_instances", self.clients.len() as u64),
            ("pages", self.pages.kept as u64),
            ("pages_open_bytes", self.pages.open_bytes() as u64),
            ("pages_unwritten_bytes", self.pages.closed_bytes() as u64),
            ("pages_to_remove", self.pages.doomed() as u64),
        ]
    }
}

impl std::fmt::Debug for User {
    /// All but the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether somebody may be called so: 1 to 64 ASCII letters, digits, '.', '_' and '-'. Other scripts have letters that look alike and ways to write one letter
/// twice, and what counts as a letter changes from one edition of Unicode to the next, on which servers would have to agree.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// So many people are looked for among those whom a user writes with, and so many of one conversation.
pub(super) const ACQUAINTANCES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 64;
