//! What a command came to.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::{ConversationId, Place, Progress, Stored, UserId};
use crate::agent::WireError;
use crate::agents::codec::{Reader, put_number};
use crate::agents::messenger::Origin;

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or was before.
    Done(Vec<Effect>),
    /// Nothing has changed, but that the number of a message may be used up.
    Refused(Refused),
}

/// Something that has changed, for those who are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Somebody is a user.
    Registered(UserId),
    /// Somebody is none any more.
    Unregistered {
        /// Who.
        user: UserId,
        /// How they were called.
        name: Arc<str>,
        /// Those whom they wrote with, as [`State::acquaintances`](super::State::acquaintances) has it.
        acquaintances: BTreeSet<UserId>,
    },
    /// A message stands in a conversation. Its row may not be written yet.
    Posted {
        /// Which one.
        conversation: ConversationId,
        /// The message.
        message: Stored,
    },
    /// This message was accepted before.
    Repeated,
    /// A user has read further, up to this place. That who writes has read its own message goes without saying.
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
    /// Messages of another cluster are in, new or not: it may be told so.
    Imported {
        /// In which conversation they stand there.
        conversation: ConversationId,
        /// How far that one has come here.
        progress: Progress,
    },
    /// A user has read messages of another cluster, up to this place there: it may be told so.
    ReadThere {
        /// Who.
        user: UserId,
        /// Which cluster.
        from: Origin,
        /// How far.
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
    #[error("a name has 1 to 64 letters (a to z, A to Z), digits, '.', '_' or '-'")]
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
    /// The other one has too many messages to read. A message's number is not used up by that: it may be sent again later.
    #[error("too many messages wait for the other side")]
    InboxFull,
    /// Some limit has been reached. A message's number is not used up by that, either.
    #[error("there are too many of these already")]
    TooMany,
    /// The message would begin a conversation, of which one of the two has too many already. Others are not to wait until that changes.
    #[error("one of the two has too many conversations already")]
    Crowded,
    /// Something is too long.
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

impl Refused {
    /// Whether a message that is refused so uses up its number.
    pub fn is_for_good(self) -> bool {
        !matches!(self, Self::InboxFull | Self::TooMany | Self::OutOfOrder { .. } | Self::Forgotten)
    }

    pub(in super::super) fn encode(self, bytes: &mut Vec<u8>) {
        put_number(
            bytes,
            match self {
                Self::NameTaken => 1,
                Self::BadName => 2,
                Self::NoUser => 3,
                Self::NoGroup => 4,
                Self::Forbidden => 5,
                Self::InboxFull => 6,
                Self::TooMany => 7,
                Self::TooLong => 8,
                Self::OutOfOrder { .. } => 9,
                Self::Forgotten => 10,
                Self::Crowded => 11,
            },
        );
        if let Self::OutOfOrder { expected } = self {
            put_number(bytes, expected);
        }
    }

    pub(in super::super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(match reader.number()? {
            1 => Self::NameTaken,
            2 => Self::BadName,
            3 => Self::NoUser,
            4 => Self::NoGroup,
            5 => Self::Forbidden,
            6 => Self::InboxFull,
            7 => Self::TooMany,
            8 => Self::TooLong,
            9 => Self::OutOfOrder { expected: reader.number()? },
            10 => Self::Forgotten,
            11 => Self::Crowded,
            other => return Err(WireError::new(format!("no refusal is called {other}"))),
        })
    }
}
