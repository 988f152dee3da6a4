//! Messages on their way to sessions.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::connection::{Client, Who};
use super::history::Job;
use super::{Front, Turn, touch};
use crate::agent::{Conn, Looked};
use crate::agents::messenger::state::ACQUAINTANCES_MAX;
use crate::agents::messenger::{
    Conversation, ConversationId, Effect, GroupChange, Kind, Messages, Place, Reading, Sequence, State,
    Stored, UserId, Wanted,
};

impl Front {
    /// Tells whom it concerns what has changed. `from` is the connection that has asked for it.
    pub(super) fn effect(&mut self, turn: &mut Turn<'_>, from: Option<Conn>, effect: &Effect) {
        match effect {
            Effect::Posted { conversation, message } => {
                if message.sequence == Sequence(1) {
                    self.introduce(turn, *conversation);
                }
                self.posted(turn, from, *conversation, message);
            }
            Effect::Group { group, change: GroupChange::Joined(_) } => self.introduce(turn, *group),
            Effect::Read { user, upto } => self.read(turn, *user, *upto),
            Effect::Unregistered { user, name, acquaintances } => {
                // The state does not know any more whom that concerns.
                if self.is_online(*user) {
                    self.tell(acquaintances, |session| session.tell_presence(name, false));
                    self.flush_soon(turn.now);
                }
                for conn in self.sessions.get(user).cloned().unwrap_or_default() {
                    self.hang_up(turn, conn);
                }
            }
            Effect::Registered(_)
            | Effect::Repeated
            | Effect::Group { .. }
            | Effect::Imported { .. }
            | Effect::ReadThere { .. } => {}
        }
    }

    /// Those who begin to write with each other learn who of them is there. News of that may have come before, when they were strangers.
    fn introduce(&mut self, turn: &Turn<'_>, id: ConversationId) {
        let Some(conversation) = turn.state.conversation(id) else { return };
        let members = conversation.members().take(ACQUAINTANCES_MAX).collect();
        self.tell_presence_of(turn.now, turn.state, members);
    }

    /// A message stands in its place: sessions that are live get it.
    fn posted(&mut self, turn: &mut Turn<'_>, from: Option<Conn>, id: ConversationId, message: &Stored) {
        let Some(conversation) = turn.state.conversation(id) else { return };
        let Self { clients, sessions, touched, counts, .. } = self;
        // Looked up once somebody gets it: most of the time that is another server's user.
        let (mut to, mut pushed) = (None, 0);
        for member in conversation.members() {
            for conn in sessions.get(&member).into_iter().flatten() {
                let Some(client) = clients.get_mut(conn) else { continue };
                let is_crowded = client.is_crowded();
                let Some(session) = client.session_mut() else { continue };
                let is_own = message.sender == member && !is_with_itself(conversation.kind());
                if Some(*conn) == from || (is_own && !session.echo) || session.behind.contains_key(&id) {
                    continue;
                }
                if is_crowded {
                    session.behind.insert(id, Sequence(message.sequence.0 - 1));
                    continue;
                }
                let Some(to) = to.get_or_insert_with(|| receiver(turn.state, conversation, message)) else {
                    return;
                };
                client.push(conversation.kind(), to, id, message, self.settings.quirks);
                touch(touched, *conn, client);
                pushed += 1;
            }
        }
        counts.pushed += pushed;
        self.flush_soon(turn.now);
    }

    /// Somebody has read further: their other sessions learn it, and those who write with them, if these are not very many.
    fn read(&mut self, turn: &mut Turn<'_>, user: UserId, upto: Place) {
        let Some(conversation) = turn.state.conversation(upto.conversation) else { return };
        let Some(name) = turn.state.user(user).map(|user| Arc::clone(&user.name)) else { return };
        let is_large = conversation.members().len() > TOLD_MAX;
        let told = if is_large { [user].into() } else { conversation.members().collect() };
        self.tell(&told, |session| session.tell_read(&name, upto));
        self.flush_soon(turn.now);
    }

    /// Tells the sessions of these users something that leaves with the end of this turn.
    pub(super) fn tell(
        &mut self,
        users: &BTreeSet<UserId>,
        mut what: impl FnMut(&mut super::connection::Session),
    ) {
        let Self { clients, sessions, touched, .. } = self;
        for conn in users.iter().filter_map(|user| sessions.get(user)).flatten() {
            if let Some(client) = clients.get_mut(conn)
                && let Some(session) = client.session_mut()
                && session.is_ours
            {
                what(session);
                touch(touched, *conn, client);
            }
        }
    }

    /// Everything that was sent to a client has left: it gets more of what it is behind with.
    pub(in super::super) fn drained(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.sent_bytes = 0;
        }
        self.pump(turn, conn);
    }

    /// Sends a session what it is behind with, for as long as its client takes it.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        loop {
            let Some(client) = self.clients.get(&conn) else { return };
            let Some(session) = client.session() else { return };
            if session.is_looking || client.is_crowded() {
                return;
            }
            let Some((conversation, &behind)) = session.behind.first_key_value() else { return };
            let wanted = Wanted {
                from: Sequence(behind.0 + 1),
                messages_max: AT_ONCE_MAX,
                bytes_max: AT_ONCE_BYTES_MAX,
                ..Wanted::all(session.user, *conversation)
            };
            let token = self.token();
            match turn.state.read(token, &wanted) {
                Reading::Messages(messages) => self.caught_up(turn, conn, &wanted, &messages),
                Reading::Look { look, wanted } => {
                    if let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) {
                        session.is_looking = true;
                    }
                    self.jobs.insert(token, Job::CatchUp { conn, behind, wanted });
                    return turn.out.look(look);
                }
            }
        }
    }

    /// Rows were looked at.
    pub(in super::super) fn looked(&mut self, turn: &mut Turn<'_>, looked: &Looked) {
        match self.jobs.remove(&looked.token) {
            Some(Job::CatchUp { conn, behind, wanted }) => {
                let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
                session.is_looking = false;
                // Somebody else may have logged in on the same connection meanwhile, or have asked for all once more.
                if session.user == wanted.reader && session.behind.get(&wanted.conversation) == Some(&behind)
                {
                    let messages = turn.state.read_looked(&wanted, &looked.rows);
                    self.caught_up(turn, conn, &wanted, &messages);
                }
                self.pump(turn, conn);
            }
            Some(Job::History(job)) => {
                let messages = turn.state.read_looked(&job.wanted, &looked.rows);
                self.history_read(turn, job, messages);
            }
            None => {}
        }
    }

    /// A session gets messages that it is behind with.
    fn caught_up(&mut self, turn: &Turn<'_>, conn: Conn, wanted: &Wanted, read: &Messages) {
        let id = wanted.conversation;
        let Self { clients, touched, counts, .. } = self;
        let Some(client) = clients.get_mut(&conn) else { return };
        if let (Some(conversation), Who::User(session)) = (turn.state.conversation(id), &client.who) {
            let (user, echo) = (session.user, session.echo);
            for message in &read.messages {
                let is_own = message.sender == user && !is_with_itself(conversation.kind());
                if is_own && !echo {
                    continue;
                }
                if let Some(to) = receiver(turn.state, conversation, message) {
                    client.push(conversation.kind(), &to, id, message, self.settings.quirks);
                    counts.pushed += 1;
                }
            }
            touch(touched, conn, client);
        }
        let last = turn.state.conversation(id).map(Conversation::last);
        if let Some(session) = client.session_mut() {
            match read.next {
                Some(next) => session.behind.insert(id, Sequence(next.0 - 1)),
                // What was looked for ends with what was the last message then.
                None if last > Some(wanted.upto) => session.behind.insert(id, wanted.upto),
                None => session.behind.remove(&id),
            };
        }
        self.flush_soon(turn.now);
    }
}

/// To whom a message was written, as everybody calls that one. The name of a user who is gone is not known any more.
pub(super) fn receiver(state: &State, conversation: &Conversation, message: &Stored) -> Option<Arc<str>> {
    let name = |user: UserId| state.user(user).map(|user| Arc::clone(&user.name));
    match conversation.kind() {
        Kind::Direct(one, other) => name(if message.sender == *one { *other } else { *one }),
        Kind::Former { user, name: gone } => {
            if message.sender == *user {
                Some(Arc::clone(gone))
            } else {
                name(*user)
            }
        }
        Kind::Group { name, .. } => Some(Arc::clone(name)),
        Kind::Foreign { user, name: group, is_group, .. } => {
            if *is_group {
                Some(Arc::clone(group))
            } else {
                name(*user)
            }
        }
    }
}

fn is_with_itself(kind: &Kind) -> bool {
    matches!(kind, Kind::Direct(one, other) if one == other)
}

/// How many messages, of how many bytes, are read at once for a session that is behind.
const AT_ONCE_MAX: usize = 500;
const AT_ONCE_BYTES_MAX: usize = 128 * 1024;
/// In larger groups nobody is told who else has read how far.
const TOLD_MAX: usize = 64;
