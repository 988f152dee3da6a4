//! What users of the simulated chat have done and seen, in its order: what the checkers read.

use std::cell::RefCell;
use std::rc::Rc;

use crate::agent::Peer;

/// All of it, since the run began.
pub(super) type Book = Rc<RefCell<Vec<Seen>>>;

/// A message's place: its conversation, and which one of that it is.
pub(super) type Place = (u64, u64);

/// Which client: its device, and which of that device's lives.
pub(super) type Life = (Peer, u64);

/// Something that a user's client has done or seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Somebody has written a message, which is to be sent.
    Wrote {
        /// What it is known by; no other begins so.
        text: String,
        by: Writer,
        /// A user's name, or a group's.
        to: String,
    },
    /// A server has said that it is accepted, and where it stands if it knew.
    Acknowledged { text: String, place: Option<Place> },
    /// A server has refused it for good, or its client will never know.
    GaveUp { text: String },
    /// A message came.
    Got(Got),
    /// A client has told its server that it has a conversation's messages up to here.
    Acknowledges { user: String, upto: Place },
    /// A client has been told that a user has read up to here.
    ToldRead { life: Life, connection: u64, user: String, upto: Place },
    /// A user's client has logged in.
    LoggedIn { user: String },
    /// Everybody who is to belong to a group does.
    GroupComplete { group: String },
    /// Nothing goes wrong any more; what is written from now on is the last.
    Closing,
    /// A client of the class is asked to look twice what it is sent.
    AskedToVisit { life: Life },
    /// A server does not know a client any more.
    Forgotten { life: Life },
    /// A client of the class, which acknowledges nothing, begins to look what it is sent, for the first time or the second.
    Visits { life: Life, again: bool },
    /// It makes a request: what it was sent until now counts as read.
    Requests { life: Life },
    /// It has looked at everything for the second time.
    HasVisited { life: Life },
}

/// Who has written a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) user: String,
    pub(super) life: Life,
    /// The how manieth message of this client that is.
    pub(super) number: u64,
    /// Whether its messages are accepted in their order, and once, whatever happens: of a client that numbers them for its servers.
    pub(super) is_ours: bool,
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) user: String,
    pub(super) life: Life,
    pub(super) connection: u64,
    pub(super) sender: String,
    pub(super) text: String,
    pub(super) place: Place,
    /// Whether its client has not had it before.
    pub(super) is_new: bool,
}
