//! What all servers agree on.

use std::collections::BTreeSet;

use bytes::Bytes;
use thiserror::Error;

use super::{ClientInstance, Command};
use crate::agent::{Look, Row};

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

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which one of its conversation.
    pub sequence: Sequence,
    /// Who wrote it; of another cluster's, and of users who are gone, 0.
    pub sender: UserId,
    /// Their name then.
    pub sender_name: String,
    /// When it was accepted, in milliseconds since 1970 (UTC); never goes back within a conversation.
    pub time_ms: u64,
    /// The time as the client called it.
    pub timestamp: String,
    /// What it says.
    pub payload: Bytes,
}

/// Who belongs to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two users; or one, who writes to itself.
    Direct(UserId, UserId),
    /// A group.
    Group {
        /// What it is called.
        name: String,
        /// Who has made it.
        maker: UserId,
        /// Who belongs to it.
        members: BTreeSet<UserId>,
    },
    /// A user, and somebody of another cluster or a group there.
    Foreign {
        /// The user.
        user: UserId,
        /// The tag of the other cluster.
        cluster: String,
        /// The name there: a user's, or a group's.
        name: String,
        /// Whether it is a group's.
        is_group: bool,
    },
}

/// What is kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub payload_bytes_max: usize,
    /// Messages of one conversation between two that one of them has not read; a group's older ones are simply not unread any more.
    pub unread_max: u64,
    /// Messages of one conversation; older ones go.
    pub history_max: u64,
    /// Users.
    pub users_max: usize,
    /// Conversations of one user.
    pub conversations_max: usize,
    /// Members of a group.
    pub members_max: usize,
    /// Client instances that are remembered; those that were used longest ago are forgotten.
    pub clients_max: usize,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or was before.
    Done(Vec<Effect>),
    /// Nothing has changed.
    Refused(Refused),
}

/// Something that has changed, for those who are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Somebody is a user.
    Registered(UserId),
    /// Somebody is none any more.
    Unregistered(UserId),
    /// A message stands in a conversation. Its row may not be written yet.
    Posted {
        /// Which one.
        conversation: ConversationId,
        /// The message.
        message: Stored,
    },
    /// This message was accepted before.
    Repeated,
    /// A user has read further, up to this place.
    Read {
        /// Who.
        user: UserId,
        /// How far.
        upto: Place,
    },
    /// Something about a group.
    Group {
        /// Which.
        group: ConversationId,
        /// What.
        change: GroupChange,
    },
    /// Another cluster's messages are in up to here, new or not: it may be told so.
    Imported {
        /// Where they stand there.
        upto: Place,
    },
}

/// What has happened to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// It was made.
    Created,
    /// It has another member.
    Joined(UserId),
    /// It has a member less.
    Left(UserId),
    /// It is no more.
    Deleted,
}

/// Why a command has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Another user or group is called so.
    #[error("the name is taken")]
    NameTaken,
    /// No name: empty, too long, or with characters that it may not have.
    #[error("a name has 1 to 64 letters, digits, '.', '_' or '-'")]
    BadName,
    /// The user is no more.
    #[error("there is no such user")]
    NoUser,
    /// The group is no more.
    #[error("there is no such group")]
    NoGroup,
    /// They may not do that.
    #[error("only members may do that, and some things only the maker of a group")]
    Forbidden,
    /// The other one has too many messages to read.
    #[error("too many messages wait for the other side")]
    InboxFull,
    /// Some limit has been reached.
    #[error("there are too many of these already")]
    TooMany,
    /// A message is too long.
    #[error("the message is too long")]
    TooLong,
    /// Not the number that comes next for this client instance.
    #[error("message {expected} of this client comes next")]
    OutOfOrder {
        /// That one.
        expected: u64,
    },
    /// The client instance is not known any more.
    #[error("this client instance was forgotten")]
    Forgotten,
}
