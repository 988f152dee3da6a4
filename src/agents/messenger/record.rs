//! What stands in the log.

use bytes::Bytes;

use super::{ConversationId, Place, UserId};

/// One record: who waits for it, and what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which life of which server has proposed it; a number at random.
    pub life: u64,
    /// How that one calls it.
    pub number: u64,
    /// When that was, by its clock: milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// What is to be done.
    pub command: Command,
}

/// What is to be done. Everything that only the state of the moment can tell (whether a name is free, a member still one) is decided when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The key by which tokens are signed. The first one stays.
    Key {
        /// At random.
        key: [u8; 32],
    },
    /// Somebody wants to be a user.
    Register {
        /// By this name.
        name: String,
        /// Where to write, if they like.
        email: Option<String>,
        /// The password's hash, in PHC's form.
        hash: String,
    },
    /// A user is no more, and with it what is written with it alone.
    Unregister {
        /// Who.
        user: UserId,
    },
    /// A message.
    Post {
        /// Who writes.
        from: UserId,
        /// To whom.
        to: Target,
        /// By which client instance, under which number; none if it counts none.
        client: Option<(ClientInstance, u64)>,
        /// The time as the client calls it; carried along.
        timestamp: String,
        /// What it says.
        payload: Bytes,
    },
    /// Users have read up to these places.
    Read {
        /// They.
        marks: Vec<(UserId, Place)>,
    },
    /// A group begins, with one member.
    CreateGroup {
        /// Who makes it.
        by: UserId,
        /// What it is called.
        name: String,
    },
    /// A group gets another member.
    AddMember {
        /// Which.
        group: ConversationId,
        /// A member of it.
        by: UserId,
        /// Who joins.
        user: UserId,
    },
    /// Somebody leaves a group. Others than oneself only its maker can make leave.
    RemoveMember {
        /// Which.
        group: ConversationId,
        /// Who wants it.
        by: UserId,
        /// Who leaves.
        user: UserId,
    },
    /// A group ends. Only its maker can do that.
    DeleteGroup {
        /// Which.
        group: ConversationId,
        /// Who wants it.
        by: UserId,
    },
    /// Messages to a user of this cluster that were sent in another one.
    Import {
        /// That one's tag.
        cluster: String,
        /// Whose they are.
        user: UserId,
        /// They; those of one place there come in the order of their numbers.
        messages: Vec<Imported>,
    },
}

/// To whom a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a user.
    User(UserId),
    /// To all members of a group.
    Group(ConversationId),
}

/// A running client: sixteen bytes at random. It numbers its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientInstance(pub [u8; 16]);

/// A message of another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Where it stands there. What is not behind the last that was imported from that conversation there is passed over.
    pub place: Place,
    /// Who wrote it there.
    pub sender: String,
    /// The group that it was written to there, if it was one.
    pub group: Option<String>,
    /// When it was accepted there.
    pub time_ms: u64,
    /// The time as its client called it.
    pub timestamp: String,
    /// What it says.
    pub payload: Bytes,
}
