//! What other clusters fetch here: their connections, the users that they have subscribed to, and how far each of those has been sent and acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use log::{info, warn};
use prost::Message as _;

use super::feed::{Feed, Pumped};
use super::wire::{frame, packet, route};
use super::{ClusterSettings, LOOK_TOKENS_FROM};
use crate::agent::{Conn, Looked, Outbox, Outward};
use crate::agents::messenger::{ConversationId, Place, State, Stored, UserId};
use crate::seldom;
use crate::wire::LengthFrames;
use crate::wire::proto::network_discovery_packet::{Mode, Sender};
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{
    ErrorCode, Message, MessagesRequest, MessagesResponse, NetworkDiscoveryPacket, Response, Route, Welcome,
    messages_request,
};

/// The sessions of other clusters on this server.
#[derive(Debug)]
pub(super) struct Serving {
    settings: ClusterSettings,
    sessions: BTreeMap<Conn, Session>,
    /// Who has subscribed to whom.
    subscribed: BTreeMap<UserId, BTreeSet<Conn>>,
    /// Rows that are looked at, and for which feed.
    looks: BTreeMap<u64, (Conn, UserId)>,
    look_token: u64,
    marks: Vec<(UserId, Place)>,
    counts: Counts,
}

#[derive(Debug)]
struct Session {
    tag: String,
    feeds: BTreeMap<UserId, Feed>,
    /// The connection is being closed.
    leaves: bool,
}

#[derive(Debug, Default)]
struct Counts {
    strangers: u64,
    strange: u64,
    sent: u64,
    acknowledged: u64,
}

impl Serving {
    pub(super) fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            sessions: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            looks: BTreeMap::new(),
            look_token: LOOK_TOKENS_FROM,
            marks: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn reached_at(&mut self, own: &str) {
        own.clone_into(&mut self.settings.own);
    }

    /// Takes a connection over on which another cluster has said who it is; whether it may. If not, nothing is answered.
    pub(super) fn adopt<M>(
        &mut self,
        conn: Conn,
        peer: SocketAddr,
        id: i64,
        said: &NetworkDiscoveryPacket,
        welcome: Welcome,
        out: &mut Outbox<M>,
    ) -> bool {
        let tag = said.group_tag.clone().unwrap_or_default();
        let knows = self.settings.between.as_ref().is_some_and(|secret| secret.is(&said.secret));
        let fits = said.mode() == Mode::Request
            && said.sender() == Sender::ExternalServerNode
            && tag != self.settings.group_tag
            && super::check_tag(&tag).is_ok();
        let secret = self.settings.between.as_ref();
        let answer = packet(&self.settings, secret, Mode::Response, &self.settings.own);
        let Some(answer) = answer.filter(|_| knows && fits && self.sessions.len() < SESSIONS_MAX) else {
            if seldom::count(&mut self.counts.strangers) {
                warn!("messenger: somebody says to be another cluster, which is not taken peer={peer}");
            }
            return false;
        };
        info!("messenger: another cluster has connected cluster={tag} peer={peer}");
        let mut route = route(id, Path::NetworkDiscovery, Some(Payload::NetworkDiscoveryPacket(answer)));
        route.welcome = Some(welcome);
        out.outside(Outward::Frames { conn, bytes: frame(&route) });
        self.sessions.insert(conn, Session { tag, feeds: BTreeMap::new(), leaves: false });
        true
    }

    pub(super) fn owns(&self, conn: Conn) -> bool {
        self.sessions.contains_key(&conn)
    }

    pub(super) fn closed(&mut self, conn: Conn) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        for user in session.feeds.keys() {
            self.unsubscribe(*user, conn);
        }
    }

    /// Forgets all sessions: their connections are being closed.
    pub(super) fn reset(&mut self) {
        self.sessions.clear();
        self.subscribed.clear();
        self.looks.clear();
        self.marks.clear();
    }

    pub(super) fn frames<M>(
        &mut self,
        conn: Conn,
        frames: LengthFrames<'_>,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        for bytes in frames {
            match Route::decode(bytes) {
                Ok(route) => self.said(conn, &route, state, out),
                Err(_) => self.give_up(conn, out),
            }
        }
    }

    /// Takes what another cluster has said.
    pub(super) fn said<M>(&mut self, conn: Conn, said: &Route, state: &State, out: &mut Outbox<M>) {
        let leaves = self.sessions.get(&conn).is_none_or(|session| session.leaves);
        if !leaves && self.route(conn, said, state, out).is_none() {
            self.give_up(conn, out);
        }
    }

    /// Closes the connection of somebody who says what makes no sense.
    fn give_up<M>(&mut self, conn: Conn, out: &mut Outbox<M>) {
        let Some(session) = self.sessions.get_mut(&conn).filter(|session| !session.leaves) else { return };
        session.leaves = true;
        if seldom::count(&mut self.counts.strange) {
            warn!("messenger: another cluster asks what is not understood cluster={}", session.tag);
        }
        out.outside(Outward::HangUp { conn });
    }

    /// Takes one Route; none if it makes no sense.
    fn route<M>(&mut self, conn: Conn, said: &Route, state: &State, out: &mut Outbox<M>) -> Option<()> {
        match &said.payload {
            Some(Payload::MessagesRequest(MessagesRequest { id, .. })) => {
                match said.history.as_ref().and_then(|history| history.limit) {
                    Some(0) => self.end(conn, state.find_user(id)),
                    Some(_) => return None,
                    None => self.subscribe(conn, said, id, state, out),
                }
            }
            Some(Payload::MessagesResponse(MessagesResponse { id: Some(name), .. })) => {
                if let Some(user) = state.find_user(name) {
                    self.arrived(conn, user, said, state, out);
                }
            }
            // A sign of life is asked for.
            None => {
                let answer = route(said.id, Path::Ping, None);
                out.outside(Outward::Frames { conn, bytes: frame(&answer) });
            }
            Some(_) => return None,
        }
        Some(())
    }

    fn subscribe<M>(&mut self, conn: Conn, said: &Route, name: &str, state: &State, out: &mut Outbox<M>) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let found = state.find_user(name);
        let full = session.feeds.len() >= FEEDS_MAX;
        let (error, message) = match found {
            None => (ErrorCode::NotFound, NO_USER),
            Some(_) if full => (ErrorCode::Busy, "too many users are asked for"),
            Some(user) => {
                session.feeds.insert(user, Feed::new(said.id, user, state));
                self.subscribed.entry(user).or_default().insert(conn);
                return self.arrived(conn, user, said, state, out);
            }
        };
        let bytes = frame(&failure(said.id, error, message));
        out.outside(Outward::Frames { conn, bytes });
    }

    /// A user is gone. Who asks again finds whoever is called so then.
    pub(super) fn unregistered<M>(&mut self, user: UserId, out: &mut Outbox<M>) {
        for conn in self.subscribed.remove(&user).unwrap_or_default() {
            let session = self.sessions.get_mut(&conn);
            let Some(feed) = session.and_then(|session| session.feeds.remove(&user)) else { continue };
            let bytes = frame(&failure(feed.id, ErrorCode::NotFound, NO_USER));
            out.outside(Outward::Frames { conn, bytes });
        }
    }

    fn end(&mut self, conn: Conn, user: Option<UserId>) {
        let session = self.sessions.get_mut(&conn);
        if let (Some(session), Some(user)) = (session, user)
            && session.feeds.remove(&user).is_some()
        {
            self.unsubscribe(user, conn);
        }
    }

    fn unsubscribe(&mut self, user: UserId, conn: Conn) {
        if let Some(conns) = self.subscribed.get_mut(&user) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.subscribed.remove(&user);
            }
        }
    }

    /// Another cluster says what it has of a user's messages, and what of that the user has read there.
    fn arrived<M>(&mut self, conn: Conn, user: UserId, said: &Route, state: &State, out: &mut Outbox<M>) {
        let feed = self.sessions.get_mut(&conn).and_then(|session| session.feeds.get_mut(&user));
        let Some(feed) = feed else { return };
        for position in &said.arrived {
            feed.arrived(Place::from(*position), state);
        }
        for place in said.acknowledged.iter().copied().map(Place::from) {
            if feed.arrived(place, state) && state.mark(user, place.conversation) < Some(place.sequence) {
                self.counts.acknowledged += 1;
                self.marks.push((user, place));
            }
        }
        self.pump(conn, user, state, out);
    }

    /// Read marks that are to be moved.
    pub(super) fn take_marks(&mut self) -> Vec<(UserId, Place)> {
        std::mem::take(&mut self.marks)
    }

    /// A message stands in a conversation.
    pub(super) fn posted<M>(
        &mut self,
        conversation: ConversationId,
        message: &Stored,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        if self.subscribed.is_empty() {
            return;
        }
        let Some(found) = state.conversation(conversation).filter(|found| super::feed::is_served(found))
        else {
            return;
        };
        let subscribed: Vec<UserId> =
            found.members().filter(|member| self.subscribed.contains_key(member)).collect();
        for user in subscribed {
            for conn in self.subscribed.get(&user).cloned().unwrap_or_default() {
                let session = self.sessions.get_mut(&conn);
                let Some(feed) = session.and_then(|session| session.feeds.get_mut(&user)) else { continue };
                if feed.posted(conversation, message.sequence) {
                    self.pump(conn, user, state, out);
                }
            }
        }
    }

    /// Sends a user's messages for as long as they can be had and may be sent.
    fn pump<M>(&mut self, conn: Conn, user: UserId, state: &State, out: &mut Outbox<M>) {
        loop {
            let feed = self.sessions.get_mut(&conn).and_then(|session| session.feeds.get_mut(&user));
            let Some(feed) = feed else { return };
            match feed.pump(self.look_token + 1, state) {
                Pumped::Rests => return,
                Pumped::Look(look) => {
                    self.look_token += 1;
                    self.looks.insert(self.look_token, (conn, user));
                    out.look(look);
                    return;
                }
                Pumped::Messages(messages) => self.send(conn, user, messages, state, out),
            }
        }
    }

    /// Rows that were looked at.
    pub(super) fn looked<M>(&mut self, looked: &Looked, state: &State, out: &mut Outbox<M>) {
        let Some((conn, user)) = self.looks.remove(&looked.token) else { return };
        let feed = self.sessions.get_mut(&conn).and_then(|session| session.feeds.get_mut(&user));
        // It may have ended, and another one begun, meanwhile.
        let Some(messages) = feed.and_then(|feed| feed.looked(looked, state)) else { return };
        self.send(conn, user, messages, state, out);
        self.pump(conn, user, state, out);
    }

    fn send<M>(
        &mut self,
        conn: Conn,
        user: UserId,
        messages: Vec<Message>,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        let feed = self.sessions.get(&conn).and_then(|session| session.feeds.get(&user));
        let (Some(feed), Some(found)) = (feed, state.user(user)) else { return };
        if messages.is_empty() {
            return;
        }
        self.counts.sent += messages.len() as u64;
        let id = Some(found.name.to_string());
        let response = MessagesResponse { r#type: messages_request::Type::User.into(), id, messages };
        let route = route(feed.id, Path::MessagesResponse, Some(Payload::MessagesResponse(response)));
        out.outside(Outward::Frames { conn, bytes: frame(&route) });
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("clusters_served", self.sessions.len() as u64),
            ("clusters_strangers", self.counts.strangers),
            ("clusters_messages_sent", self.counts.sent),
            ("clusters_acknowledged", self.counts.acknowledged),
        ]
    }
}

/// What a subscription is answered that cannot be had.
fn failure(id: i64, code: ErrorCode, why: &str) -> Route {
    let (message, error_code) = (Some(why.to_owned()), Some(code.into()));
    let response = Response { success: Some(false), message, error_code };
    route(id, Path::Response, Some(Payload::Response(response)))
}

const NO_USER: &str = "there is no such user here";
/// How many connections other clusters may have to this server.
const SESSIONS_MAX: usize = 256;
/// How many users may be asked for on one connection.
const FEEDS_MAX: usize = 65_536;
