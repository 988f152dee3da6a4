//! What users of the simulated chat have done and seen, in its order: what the checkers read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::agent::Peer;

/// All of it, since the run began.
pub(super) type Book = Rc<RefCell<Vec<Seen>>>;

/// A conversation of a cluster, which are called 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Room {
    pub(super) cluster: usize,
    pub(super) conversation: u64,
}

/// A message's place: its conversation, and which one of that it is.
pub(super) type Place = (Room, u64);

/// Which client: its device, and which of that device's lives. A device that crashes begins another one, and so does a client that goes to another cluster, which knows nothing of it.
pub(super) type Life = (Peer, u64);

/// Which life each device is in.
pub(super) type Lives = Rc<RefCell<BTreeMap<Peer, u64>>>;

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
    Acknowledged { text: String, cluster: usize, place: Option<Place> },
    /// A server has refused it for good, or its client will never know.
    GaveUp { text: String },
    /// A message came on a connection, perhaps not for the first time.
    Got(Got),
    /// A client of ours shows a message to its user, who knows its conversation by that name.
    Shown { life: Life, user: String, of: String, text: String, place: Place },
    /// A client has told its server that it has a conversation's messages up to here.
    Acknowledges { user: String, upto: Place },
    /// A client has been told that a user has read up to here.
    ToldRead { life: Life, connection: u64, user: String, upto: Place },
    /// A client of ours asks to be let in. From now on its server may take it for being there, which it does not know yet.
    LogsIn { user: String, cluster: usize },
    /// A user's client has logged in.
    LoggedIn { life: Life, user: String, cluster: usize },
    /// A client that was logged in is not any more.
    LoggedOut { life: Life },
    /// A client that says who it is, and is who it says, is not let in.
    TurnedAway { user: String, why: String },
    /// A client has gone to another cluster. What it had not sent yet, it sends there.
    Moved { user: String, from: Life, to: Life },
    /// Somebody begins to make a group in a cluster.
    MakesGroup { cluster: usize, group: String },
    /// Everybody who is to belong to a cluster's group does.
    GroupComplete {
        cluster: usize,
        group: String,
        /// Whether nothing that was asked for it can still be done a second time.
        is_clean: bool,
    },
    /// A user wants to belong to a group no more.
    Leaves { user: String, cluster: usize, group: String },
    /// That is done.
    HasLeft { user: String, cluster: usize, group: String },
    /// A client has gone through the whole past of a conversation, from the newest page to the oldest.
    LookedBack(LookedBack),
    /// A client has been told whether somebody is there.
    ToldPresence { life: Life, user: String, online: bool },
    /// A client has been told who is there, and who is not, of all with whom its user writes.
    Asked { life: Life, told: Vec<(String, bool)> },
    /// A user is to be none any more.
    Deletes { user: String, cluster: usize },
    /// That is done. Whoever is called so from now on is somebody else.
    IsDeleted { user: String, cluster: usize },
    /// Nothing goes wrong any more; what is written from now on is the last. One cluster may be out of reach for good.
    Closing { lost: Option<usize> },
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

/// The past of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LookedBack {
    pub(super) life: Life,
    pub(super) user: String,
    pub(super) cluster: usize,
    /// How its user calls the conversation.
    pub(super) of: String,
    /// How much was in the book when the client began.
    pub(super) begun: usize,
    /// Messages, the oldest first: where they stand, who has written them, and what they are known by.
    pub(super) messages: Vec<(Place, String, String)>,
}

/// Who has written a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) user: String,
    pub(super) life: Life,
    /// Where its client is.
    pub(super) cluster: usize,
    /// The how manieth message of this device that is, since it crashed last.
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
    /// The tag of the cluster from where it was fetched, if it was.
    pub(super) from: Option<String>,
    pub(super) text: String,
    pub(super) place: Place,
}
