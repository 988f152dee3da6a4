//! One client's connection, and the session of the user who has logged in on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::{ClientInstance, ConversationId, Kind, Place, Sequence, Stored, UserId};
use super::wire;
use crate::time::Time;
use crate::wire::proto::{Position, Presence, ReadBy, Route, messages_request, presence, route};

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) who: Who,
    /// Whether something is under way before which nothing more is done for this client; and what it has asked meanwhile.
    pub(super) holds: bool,
    pub(super) held: Held,
    /// What of that waits for time, the log or a computation.
    pub(super) step: Option<StepKey>,
    /// Since when the same request is done later and later.
    pub(super) later_since: Option<Time>,
    /// Requests under way.
    pub(super) unanswered: usize,
    /// Frames that leave with the end of this turn.
    pub(super) outgoing: Vec<u8>,
    /// Bytes that were sent since it was told that all had left.
    pub(super) sent_bytes: usize,
    /// Whether it stands among those that something is sent to.
    pub(super) is_touched: bool,
}

/// Where something stands that a client waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum StepKey {
    /// Among what is under way.
    Now(u64),
    /// Among what waits for its time.
    Later(Time, u64),
}

/// Requests that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Held {
    routes: VecDeque<(Route, usize)>,
    bytes: usize,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Who {
    /// Nobody has logged in.
    Nobody,
    /// A user.
    User(Box<Session>),
    /// A server of another cluster, of which others take care.
    OtherCluster,
}

/// A user's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) user: UserId,
    pub(super) name: Arc<str>,
    /// Which running client this is, if it numbers its messages.
    pub(super) instance: Option<ClientInstance>,
    /// Whether it acknowledges and understands what the class of 2017 did not know.
    pub(super) is_ours: bool,
    /// Whether it wants what its own user has sent elsewhere.
    pub(super) echo: bool,
    /// The conversations that are not live here: what was sent of them last. All others get each message as it is applied.
    pub(super) behind: BTreeMap<ConversationId, Sequence>,
    /// Whether rows are being looked at for it.
    pub(super) is_looking: bool,
    /// Of a client that does not acknowledge: how far it was sent messages since its last request; and what leaves with the end of this turn.
    pub(super) pushed: BTreeMap<ConversationId, Sequence>,
    leaving: BTreeMap<ConversationId, Sequence>,
    /// Messages that leave with the end of this turn.
    fresh: Vec<u8>,
    read_by: BTreeMap<(Arc<str>, ConversationId), Sequence>,
    presence: BTreeMap<Arc<str>, bool>,
}

impl Client {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            who: Who::Nobody,
            holds: false,
            held: Held::default(),
            step: None,
            later_since: None,
            unanswered: 0,
            outgoing: Vec::new(),
            sent_bytes: 0,
            is_touched: false,
        }
    }

    /// The session, if somebody has logged in.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.who {
            Who::User(session) => Some(session),
            Who::Nobody | Who::OtherCluster => None,
        }
    }

    /// The session, if somebody has logged in.
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.who {
            Who::User(session) => Some(session),
            Who::Nobody | Who::OtherCluster => None,
        }
    }

    /// Whether one more request of so many bytes may wait. Who has not logged in needs no more than a log-in and what follows it at once.
    pub(super) fn may_hold(&self, bytes: usize) -> bool {
        let bytes_max = if self.session().is_some() { HELD_BYTES_MAX } else { HELD_BYTES_STRANGER_MAX };
        self.held.bytes + bytes <= bytes_max
    }

    /// Whether so much is on its way to it that it is answered nothing more.
    pub(super) fn is_deaf(&self) -> bool {
        self.sent_bytes + self.outgoing.len() >= DEAF_BYTES
    }

    /// Whether so much is on its way to it that messages have to wait.
    pub(super) fn is_crowded(&self) -> bool {
        let fresh = self.session().map_or(0, |session| session.fresh.len());
        self.sent_bytes + self.outgoing.len() + fresh >= CROWDED_BYTES
    }

    /// Adds a message to what is sent at the end of this turn.
    pub(super) fn push(
        &mut self,
        kind: &Kind,
        to: &str,
        conversation: ConversationId,
        message: &Stored,
        quirks: bool,
    ) {
        let Self { who: Who::User(session), outgoing, .. } = self else { return };
        wire::put_message(kind, to, conversation, message, &mut session.fresh);
        if !session.is_ours {
            let pushed = session.leaving.entry(conversation).or_default();
            *pushed = message.sequence.max(*pushed);
        }
        let batch_bytes = if quirks { BATCH_BYTES_QUIRKS } else { BATCH_BYTES };
        if session.fresh.len() >= batch_bytes {
            session.finish_messages(quirks, outgoing);
        }
    }

    /// All that is to leave now.
    pub(super) fn leave(&mut self, quirks: bool) -> Vec<u8> {
        self.finish(quirks);
        if let Who::User(session) = &mut self.who {
            for (conversation, sequence) in std::mem::take(&mut session.leaving) {
                let pushed = session.pushed.entry(conversation).or_default();
                *pushed = sequence.max(*pushed);
            }
        }
        self.sent_bytes += self.outgoing.len();
        std::mem::take(&mut self.outgoing)
    }

    /// Writes all that is to leave into `outgoing`.
    pub(super) fn finish(&mut self, quirks: bool) {
        let Self { who: Who::User(session), outgoing, .. } = self else { return };
        if !session.fresh.is_empty() {
            session.finish_messages(quirks, outgoing);
        }
        if !session.read_by.is_empty() || !session.presence.is_empty() {
            session.finish_news(quirks, outgoing);
        }
    }
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Puts a request of so many bytes behind the others.
    pub(super) fn push(&mut self, route: Route, bytes: usize) {
        self.bytes += bytes;
        self.routes.push_back((route, bytes));
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Route> {
        let (route, bytes) = self.routes.pop_front()?;
        self.bytes -= bytes;
        Some(route)
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<Route> {
        std::mem::take(self).routes.into_iter().map(|(route, _)| route).collect()
    }
}

impl Session {
    pub(super) fn new(
        user: UserId,
        name: Arc<str>,
        instance: Option<ClientInstance>,
        is_ours: bool,
        echo: bool,
    ) -> Self {
        Self {
            user,
            name,
            instance,
            is_ours,
            echo,
            behind: BTreeMap::new(),
            is_looking: false,
            pushed: BTreeMap::new(),
            leaving: BTreeMap::new(),
            fresh: Vec::new(),
            read_by: BTreeMap::new(),
            presence: BTreeMap::new(),
        }
    }

    /// Somebody else has read up to a place.
    pub(super) fn tell_read(&mut self, name: &Arc<str>, upto: Place) {
        if self.is_ours {
            let mark = self.read_by.entry((Arc::clone(name), upto.conversation)).or_default();
            *mark = upto.sequence.max(*mark);
        }
    }

    /// Somebody has come, or is gone.
    pub(super) fn tell_presence(&mut self, name: &Arc<str>, online: bool) {
        if self.is_ours {
            self.presence.insert(Arc::clone(name), online);
        }
    }

    fn finish_messages(&mut self, quirks: bool, bytes: &mut Vec<u8>) {
        let of = (messages_request::Type::User, &*self.name);
        wire::put_messages(0, of, &self.fresh, None, quirks, bytes);
        self.fresh.clear();
        self.fresh.shrink_to(BATCH_BYTES_KEPT);
    }

    fn finish_news(&mut self, quirks: bool, bytes: &mut Vec<u8>) {
        let read_by =
            std::mem::take(&mut self.read_by).into_iter().map(|((user, conversation), sequence)| {
                let position = Position { conversation: conversation.0, sequence: sequence.0 };
                ReadBy { user: user.to_string(), position }
            });
        let entries = std::mem::take(&mut self.presence)
            .into_iter()
            .map(|(user, online)| presence::Entry { user: user.to_string(), online });
        let entries: Vec<_> = entries.collect();
        let news = Route {
            path: route::Path::Header.into(),
            read_by: read_by.collect(),
            presence: (!entries.is_empty()).then_some(Presence { entries }),
            ..Route::default()
        };
        wire::put_route(&news, quirks, bytes);
    }
}

/// Messages wait while so many bytes are on their way; not below [`crate::agent::DRAINED_BYTES`], so that the end of that is told.
const CROWDED_BYTES: usize = 256 * 1024;
/// So many bytes of requests wait behind one of a user that is under way; and behind the log-in of who is none yet.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
const HELD_BYTES_STRANGER_MAX: usize = 64 * 1024;
/// Who has so many bytes to read asks in vain.
const DEAF_BYTES: usize = 4 * 1024 * 1024;
/// So many bytes of messages leave as one frame, or a little more.
const BATCH_BYTES: usize = 32 * 1024;
/// The same for clients that take what one `recv` returns for a whole.
const BATCH_BYTES_QUIRKS: usize = 1024;
const BATCH_BYTES_KEPT: usize = 4096;
