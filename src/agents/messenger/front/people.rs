//! Who is there, here and on other servers, and who writes with whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::presence::Affected;
use super::{Front, Turn, wire};
use crate::agent::{Conn, Outbox, Peer};
use crate::agents::messenger::state::ACQUAINTANCES_MAX;
use crate::agents::messenger::{Kind, MessengerMessage, Sequence, State, UserId};
use crate::time::Time;
use crate::wire::proto::{
    Conversations, ErrorCode, Presence, Route, WhoRequest, conversations, message, presence, route,
};

impl Front {
    /// A client wants to know who is there, or whom it writes with.
    pub(super) fn people_request(&mut self, turn: &mut Turn<'_>, conn: Conn, asked: &Route) {
        let Some(user) = self.session(conn).map(|session| session.user) else { return };
        let presence = asked.who.as_ref().map(|who| self.presence(turn.state, user, who));
        let conversations = asked.conversations_request.map(|_| conversations(turn.state, user));
        let answer = if presence.is_none() && conversations.is_none() {
            wire::failed(asked.id, ErrorCode::Invalid, "nothing is asked for")
        } else {
            Route {
                id: asked.id,
                path: route::Path::Response.into(),
                presence,
                conversations,
                ..Route::default()
            }
        };
        self.answer(turn.now, conn, &answer);
    }

    /// Tells those who write with these users whether they are there.
    pub(super) fn tell_presence_of(&mut self, now: Time, state: &State, users: Affected) {
        for user in users {
            let Some(name) = state.user(user).map(|user| Arc::clone(&user.name)) else { continue };
            let online = self.is_online(user);
            self.tell(&state.acquaintances(user), |session| session.tell_presence(&name, online));
        }
        self.flush_soon(now);
    }

    pub(super) fn is_online(&self, user: UserId) -> bool {
        self.sessions.contains_key(&user) || self.elsewhere.is_online(user)
    }

    /// Whether those are there whom `user` writes with: all of them, or those that it names.
    fn presence(&self, state: &State, user: UserId, who: &WhoRequest) -> Presence {
        let named: BTreeSet<UserId> =
            who.users.iter().take(ACQUAINTANCES_MAX).filter_map(|name| state.find_user(name)).collect();
        let known = state.acquaintances(user).into_iter();
        let known = known.filter(|other| who.users.is_empty() || named.contains(other));
        let entries = known.filter_map(|other| {
            let user = state.user(other)?.name.to_string();
            Some(presence::Entry { user, online: self.is_online(other) })
        });
        Presence { entries: entries.collect() }
    }
}

/// Other servers.
impl Front {
    /// What another server is told first.
    pub(super) fn here(&self, answer: bool) -> MessengerMessage {
        MessengerMessage::Here {
            clients: self.advertise.clone(),
            sessions: self.session_count,
            online: self.sessions.keys().map(|user| user.0).collect(),
            answer,
        }
    }

    /// A link to another server is up.
    pub(in super::super) fn link_up(&mut self, peer: Peer, out: &mut Outbox<MessengerMessage>) {
        self.elsewhere.link_up(peer, self.here(false), out);
    }

    /// A link to another server is down.
    pub(in super::super) fn link_down(&mut self, turn: &mut Turn<'_>, peer: Peer) {
        let affected = self.elsewhere.link_down(peer);
        self.tell_presence_of(turn.now, turn.state, affected);
    }

    /// Another server has said something.
    pub(in super::super) fn heard(&mut self, turn: &mut Turn<'_>, peer: Peer, message: MessengerMessage) {
        if let MessengerMessage::Here { answer: false, .. } = message {
            turn.out.send(peer, self.here(true));
        }
        let affected = self.elsewhere.heard(peer, message);
        self.tell_presence_of(turn.now, turn.state, affected);
    }
}

/// What `user` belongs to.
fn conversations(state: &State, user: UserId) -> Conversations {
    let mut names = 0;
    let entries = state.conversations_of(user).filter_map(|id| {
        let conversation = state.conversation(id)?;
        let is_group =
            matches!(conversation.kind(), Kind::Group { .. } | Kind::Foreign { is_group: true, .. });
        let mut members = Vec::new();
        if let Kind::Group { maker, .. } = conversation.kind()
            && names < NAMES_MAX
        {
            let others = conversation.members().filter(|member| member != maker);
            let all = std::iter::once(*maker).chain(others);
            members = all.filter_map(|user| Some(state.user(user)?.name.to_string())).collect();
            names += members.len();
        }
        let cluster = match conversation.kind() {
            Kind::Foreign { cluster, .. } => Some(cluster.to_string()),
            _ => None,
        };
        let kind = if is_group { message::Type::Group } else { message::Type::Single };
        Some(conversations::Entry {
            conversation: id.0,
            name: state.name_of(id, user)?.to_string(),
            r#type: kind.into(),
            members,
            last: conversation.last().0,
            read: state.mark(user, id).map_or(0, |Sequence(mark)| mark),
            cluster,
        })
    });
    Conversations { entries: entries.collect() }
}

/// So many names of members are listed, before groups are listed without them.
const NAMES_MAX: usize = 20_000;
