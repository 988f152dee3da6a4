//! A connection to another cluster that stands: who is asked for on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;

use super::super::pull::Pull;
use super::super::wire::{frame, route, subscription};
use crate::agent::{Conn, Outbox, Outward};
use crate::agents::messenger::{ConversationId, Origin, Place, Progress, Sequence, State, UserId};
use crate::time::Time;
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{History, MessagesResponse, Position, Route, messages_request};

/// Such a connection.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) conn: Conn,
    pub(super) at: SocketAddr,
    /// Which cluster it is.
    pub(super) from: Origin,
    pub(super) heard: Time,
    /// Whether it was asked for a sign of life.
    pub(super) asked: bool,
    /// Since when nobody needs it.
    pub(super) idle: Option<Time>,
    pub(super) next_id: i64,
    pub(super) pulls: BTreeMap<UserId, Pull>,
    /// Those that may have something to propose.
    pub(super) ready: BTreeSet<UserId>,
    /// When something is to be done about which of them.
    pub(super) timers: BTreeSet<(Time, UserId)>,
}

impl Up {
    pub(super) fn new(conn: Conn, at: SocketAddr, from: Origin, now: Time) -> Self {
        let (pulls, ready, timers) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { conn, at, from, heard: now, asked: false, idle: None, next_id: 1, pulls, ready, timers }
    }

    /// Asks for a user's messages; but for those that are here, and wait to be read. How far these are read may not have been told yet.
    pub(super) fn subscribe<M>(&mut self, user: UserId, name: &str, state: &State, out: &mut Outbox<M>) {
        self.next_id += 1;
        self.pulls.insert(user, Pull::new(self.next_id));
        let (arrived, acknowledged) = positions(state.unread_imports(user, &self.from));
        let bytes = frame(&Route { arrived, acknowledged, ..subscription(self.next_id, name) });
        out.outside(Outward::Frames { conn: self.conn, bytes });
    }

    pub(super) fn end<M>(&mut self, user: UserId, name: &str, out: &mut Outbox<M>) {
        let Some(pull) = self.pulls.remove(&user) else { return };
        if let Some(due) = pull.due() {
            self.timers.remove(&(due, user));
        }
        let bytes = frame(&ending(pull.id, name));
        out.outside(Outward::Frames { conn: self.conn, bytes });
    }

    /// Takes nothing of a user until then.
    pub(super) fn pause(&mut self, user: UserId, until: Time) {
        if let Some(pull) = self.pulls.get_mut(&user) {
            pull.end(until);
            self.timers.insert((until, user));
        }
    }
}

/// What ends the subscription to a user.
pub(super) fn ending(id: i64, name: &str) -> Route {
    let history = Some(History { limit: Some(0), ..History::default() });
    Route { history, ..subscription(id, name) }
}

/// What says that a user's messages are in the log here, up to some places, and were read up to some others.
pub(super) fn receipt(id: i64, name: &str, arrived: Vec<Position>, acknowledged: Vec<Position>) -> Bytes {
    let kind = messages_request::Type::User.into();
    let response = MessagesResponse { r#type: kind, id: Some(name.to_owned()), messages: Vec::new() };
    let route = route(id, Path::MessagesResponse, Some(Payload::MessagesResponse(response)));
    frame(&Route { arrived, acknowledged, ..route })
}

/// The same of whole conversations there.
pub(super) fn receipt_of(
    id: i64,
    name: &str,
    conversations: impl Iterator<Item = (ConversationId, Progress)>,
) -> Bytes {
    let (arrived, acknowledged) = positions(conversations);
    receipt(id, name, arrived, acknowledged)
}

/// What of conversations there has come here, and what of that is read.
fn positions(
    conversations: impl Iterator<Item = (ConversationId, Progress)>,
) -> (Vec<Position>, Vec<Position>) {
    let (mut arrived, mut acknowledged) = (Vec::new(), Vec::new());
    for (conversation, Progress { upto, read }) in conversations {
        let position = |sequence: Sequence| Position::from(Place { conversation, sequence });
        arrived.push(position(upto));
        if read.0 > 0 {
            acknowledged.push(position(read));
        }
    }
    (arrived, acknowledged)
}
