//! What clients ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::{Client, Who};
use super::log_in::is_short;
use super::proposals::{Asked, Then, Waiter};
use super::{Front, Turn, refusal, touch, wire};
use crate::agent::Conn;
use crate::agents::messenger::{
    ClientInstance, Command, Conversation, ConversationId, Place, Refused, Sequence, TIMESTAMP_BYTES_MAX,
    Target, UserId,
};
use crate::wire::proto::{
    ErrorCode, Group, Message, NetworkDiscoveryPacket, Position, Route, User, group, message,
    network_discovery_packet, route, user,
};

impl Front {
    /// A client has sent this; it is done now, or behind what is under way.
    pub(super) fn take(&mut self, turn: &mut Turn<'_>, conn: Conn, route: Route, bytes: usize) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        // Whether the server lives is not to wait for a password that is looked at.
        let waits = client.holds && !is_ping(&route);
        if wants_answer(&route) {
            client.unanswered += 1;
            let busy = if client.unanswered > self.settings.in_flight_max {
                Some(format!("at most {} requests at once", self.settings.in_flight_max))
            } else if client.is_deaf() {
                Some("read what was answered before".to_owned())
            } else if waits && !client.may_hold(bytes) {
                Some("too much waits for what was asked before".to_owned())
            } else {
                None
            };
            if let Some(why) = busy {
                return self.answer(turn.now, conn, &wire::failed(route.id, ErrorCode::Busy, why));
            }
        }
        if !waits {
            return self.request(turn, conn, route, false);
        }
        if client.held.len() >= 2 * self.settings.in_flight_max || !client.may_hold(bytes) {
            // Nothing but a flood of what needs no answer gets here.
            return self.hang_up(turn, conn);
        }
        client.held.push(route, bytes);
    }

    /// Does what a client asks for. If it names somebody who is not known, that is believed only when `sure`: when the state is up to date.
    pub(super) fn request(&mut self, turn: &mut Turn<'_>, conn: Conn, mut route: Route, sure: bool) {
        self.marks_of(turn, conn, &route.acknowledged);
        let id = route.id;
        let logged_in = matches!(self.clients.get(&conn), Some(Client { who: Who::User(_), .. }));
        if is_ping(&route) {
            return self.answer(turn.now, conn, &wire::done(id));
        }
        match route.payload.take() {
            Some(route::Payload::User(user)) => self.user(turn, conn, (id, user), route.login.take(), sure),
            Some(route::Payload::NetworkDiscoveryPacket(packet)) => self.greeting(turn, conn, id, packet),
            Some(route::Payload::MessagesResponse(_) | route::Payload::Response(_)) => {}
            None if !wants_answer(&route) => {}
            _ if !logged_in => {
                let why = "nobody has logged in on this connection";
                self.answer(turn.now, conn, &wire::failed(id, ErrorCode::NotLoggedIn, why));
            }
            Some(route::Payload::Message(message)) => self.message(turn, conn, (route, message), sure),
            Some(route::Payload::Group(group)) => self.group(turn, conn, (route, group), sure),
            Some(route::Payload::MessagesRequest(request)) => {
                self.messages_request(turn, conn, id, &request, route.history.as_ref());
            }
            None => self.people_request(turn, conn, &route),
        }
    }

    fn user(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        (id, user): (i64, User),
        login: Option<crate::wire::proto::Login>,
        sure: bool,
    ) {
        match user.action() {
            // Nobody is there before the key: by that all know which cluster this is.
            user::Action::Register if turn.state.key().is_none() && is_short(&user) => {
                let payload = Some(route::Payload::User(user));
                let path = route::Path::User.into();
                let route = Route { id, path, payload, login, ..Route::default() };
                if sure { self.do_later(turn.now, conn, route) } else { self.make_sure(turn, conn, route) }
            }
            user::Action::Register => self.register(turn, conn, id, user, login),
            user::Action::Access => self.log_in(turn, conn, id, user, login),
            user::Action::Delete => match self.session(conn).map(|session| (session.user, &session.name)) {
                None => {
                    let why = "a user is deleted on a connection on which it has logged in";
                    self.answer(turn.now, conn, &wire::failed(id, ErrorCode::NotLoggedIn, why));
                }
                Some((_, name)) if **name != *user.uname => {
                    let why = "a user can only delete itself";
                    self.answer(turn.now, conn, &wire::failed(id, ErrorCode::Forbidden, why));
                }
                Some((user, _)) => {
                    let waiter = Waiter::Client(conn, Asked { id, then: Then::Answer });
                    self.propose(turn, Command::Unregister { user }, waiter);
                }
            },
        }
    }

    /// A server of another cluster says so; others look at what it says.
    fn greeting(&mut self, turn: &mut Turn<'_>, conn: Conn, id: i64, packet: NetworkDiscoveryPacket) {
        let is_server = packet.sender() == network_discovery_packet::Sender::ExternalServerNode
            && packet.mode() == network_discovery_packet::Mode::Request;
        match self.clients.get_mut(&conn) {
            Some(client) if is_server && matches!(client.who, Who::Nobody) => {
                client.holds = true;
                self.strangers.push((conn, id, packet));
            }
            _ => {
                let why = "discovery is asked by a datagram";
                self.answer(turn.now, conn, &wire::failed(id, ErrorCode::Invalid, why));
            }
        }
    }

    fn message(&mut self, turn: &mut Turn<'_>, conn: Conn, (route, message): (Route, Message), sure: bool) {
        let Some(session) = self.session(conn) else { return };
        let (from, instance, id) = (session.user, session.instance, route.id);
        let invalid = match (message.action(), message.number, instance) {
            // A client of the class of 2017 says so that it has read something; that counts already.
            (message::Action::Update, ..) => return self.answer(turn.now, conn, &wire::done(id)),
            (message::Action::Delete, ..) => Some("messages are not deleted one by one"),
            (_, Some(0), _) => Some("messages are numbered from 1"),
            (_, Some(_), None) => Some("whoever numbers messages names its client instance when it logs in"),
            _ => None,
        };
        if let Some(why) = invalid {
            return self.answer(turn.now, conn, &wire::failed(id, ErrorCode::Invalid, why));
        }
        let client = instance.zip(message.number);
        if message.payload.len() > turn.state.limits().payload_bytes_max
            || message.timestamp.len() > TIMESTAMP_BYTES_MAX
        {
            return self.turn_down(turn, conn, id, (from, client), Refused::TooLong);
        }
        let (to, missing) = match message.r#type() {
            message::Type::Single => {
                (turn.state.find_user(&message.receiver_id).map(Target::User), Refused::NoUser)
            }
            message::Type::Group => {
                (turn.state.find_group(&message.receiver_id).map(Target::Group), Refused::NoGroup)
            }
        };
        match to {
            Some(to) => {
                let Message { timestamp, payload, .. } = message;
                let command = Command::Post { from, to, client, timestamp, payload: payload.into() };
                self.propose(turn, command, Waiter::Client(conn, Asked { id, then: Then::Posted }));
            }
            None if sure => self.turn_down(turn, conn, id, (from, client), missing),
            None => {
                let payload = Some(route::Payload::Message(message));
                self.make_sure(turn, conn, Route { payload, ..route });
            }
        }
    }

    /// A message is not taken. If it has a number, that is used up, in its turn, so that those behind it can be taken.
    fn turn_down(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        id: i64,
        (from, client): (UserId, Option<(ClientInstance, u64)>),
        why: Refused,
    ) {
        match client {
            None => self.answer(turn.now, conn, &refusal(id, why)),
            Some((client, number)) => {
                let waiter = Waiter::Client(conn, Asked { id, then: Then::TurnedDown });
                self.propose(turn, Command::Refuse { from, client, number, why }, waiter);
            }
        }
    }

    fn group(&mut self, turn: &mut Turn<'_>, conn: Conn, (route, group): (Route, Group), sure: bool) {
        let Some(session) = self.session(conn) else { return };
        let (by, id) = (session.user, route.id);
        let found = turn.state.find_group(&group.gname);
        let name = group.username.as_deref().filter(|name| !name.is_empty());
        let user = name.map_or(Some(by), |name| turn.state.find_user(name));
        let command = match (group.action(), found, user) {
            (group::Action::Create, ..) => Ok(Command::CreateGroup { by, name: group.gname.clone() }),
            (_, None, _) => Err(Refused::NoGroup),
            (group::Action::Delete, Some(group), _) => Ok(Command::DeleteGroup { group, by }),
            (_, Some(_), None) => Err(Refused::NoUser),
            (group::Action::Adduser, Some(group), Some(user)) => Ok(Command::AddMember { group, by, user }),
            (group::Action::Removeuser, Some(group), Some(user)) => {
                Ok(Command::RemoveMember { group, by, user })
            }
        };
        match command {
            Ok(command) => {
                self.propose(turn, command, Waiter::Client(conn, Asked { id, then: Then::Answer }));
            }
            Err(why) if sure => self.answer(turn.now, conn, &refusal(id, why)),
            Err(_) => {
                let payload = Some(route::Payload::Group(group));
                self.make_sure(turn, conn, Route { payload, ..route });
            }
        }
    }

    /// What a client has read: as far as it says so, or, if it never does, what it was sent before this. If that moves no mark, of which all sessions would be told, its own is.
    fn marks_of(&mut self, turn: &mut Turn<'_>, conn: Conn, acknowledged: &[Position]) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let (is_deaf, mut is_told) = (client.is_deaf(), false);
        let Some(session) = client.session_mut() else { return };
        let said = acknowledged.iter().map(|at| (ConversationId(at.conversation), Sequence(at.sequence)));
        let mut upto: BTreeMap<ConversationId, Sequence> = std::mem::take(&mut session.pushed);
        for (conversation, sequence) in said {
            let mark = upto.entry(conversation).or_default();
            *mark = sequence.max(*mark);
        }
        for (conversation, sequence) in upto {
            let last = turn.state.conversation(conversation).map(Conversation::last);
            let (Some(mark), Some(last)) = (turn.state.mark(session.user, conversation), last) else {
                continue;
            };
            let sequence = sequence.min(last);
            if sequence > mark {
                self.marks.read(turn.now, session.user, Place { conversation, sequence });
            } else if session.is_ours && !is_deaf {
                let name = Arc::clone(&session.name);
                session.tell_read(&name, Place { conversation, sequence: mark });
                is_told = true;
            }
        }
        if is_told {
            touch(&mut self.touched, conn, client);
            self.flush_soon(turn.now);
        }
        self.propose_marks(turn);
    }

    /// Proposes marks that have been gathered for long enough.
    pub(super) fn propose_marks(&mut self, turn: &mut Turn<'_>) {
        while let Some(marks) = self.marks.take(turn.now) {
            self.propose(turn, Command::Read { marks: marks.clone() }, Waiter::Marks(marks));
        }
    }
}

/// Whether this is to be answered. What says only how far somebody has read is not, nor what is itself an answer.
fn wants_answer(route: &Route) -> bool {
    match &route.payload {
        Some(route::Payload::MessagesResponse(_) | route::Payload::Response(_)) => false,
        Some(_) => true,
        None => route.acknowledged.is_empty() || route.who.is_some() || route.conversations_request.is_some(),
    }
}

fn is_ping(route: &Route) -> bool {
    route.path() == route::Path::Ping
        && route.payload.is_none()
        && route.acknowledged.is_empty()
        && !asks_for_people(route)
}

fn asks_for_people(route: &Route) -> bool {
    route.who.is_some() || route.conversations_request.is_some()
}
