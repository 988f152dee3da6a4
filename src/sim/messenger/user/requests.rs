//! What clients ask, as messages of their protocol.

use crate::wire::proto::{
    Group, History, Message, MessagesRequest, Route, User, WhoRequest, group, message, messages_request,
    route, user,
};

/// Somebody wants to be a user.
pub(super) fn register(name: &str) -> User {
    User { action: user::Action::Register.into(), ..access(name) }
}

/// Somebody wants to log in.
pub(super) fn access(name: &str) -> User {
    User {
        uname: name.to_owned(),
        email: None,
        password: Some(password(name)),
        recent_active_time: None,
        action: user::Action::Access.into(),
    }
}

/// What a user logs in with.
pub(super) fn password(name: &str) -> String {
    format!("the password of {name}")
}

/// A user wants to be none any more.
pub(super) fn delete(name: &str) -> Route {
    let user = User { action: user::Action::Delete.into(), ..access(name) };
    Route { path: 2, payload: Some(route::Payload::User(user)), ..Route::default() }
}

/// Whether a name is that of a group.
pub(in super::super) fn is_group(name: &str) -> bool {
    name.starts_with('g')
}

/// A message of a client that does not number what it writes.
pub(super) fn message(from: &str, to: &str, payload: String) -> Message {
    let kind = if is_group(to) { message::Type::Group } else { message::Type::Single };
    Message {
        r#type: kind.into(),
        sender_id: from.to_owned(),
        payload,
        receiver_id: to.to_owned(),
        timestamp: "now".to_owned(),
        action: message::Action::Post.into(),
        ..Message::default()
    }
}

/// What makes a group, and takes users into it. Each may be asked again.
pub(super) fn group(name: &str, members: &[String]) -> Vec<Route> {
    let adds = members.iter().map(|member| of_group(name, group::Action::Adduser, Some(member)));
    [of_group(name, group::Action::Create, None)].into_iter().chain(adds).collect()
}

/// Whoever asks belongs to a group no more.
pub(super) fn leave_group(name: &str) -> Route {
    of_group(name, group::Action::Removeuser, None)
}

fn of_group(name: &str, action: group::Action, member: Option<&String>) -> Route {
    let group = Group { gname: name.to_owned(), gid: None, action: action.into(), username: member.cloned() };
    Route { path: 4, payload: Some(route::Payload::Group(group)), ..Route::default() }
}

/// Who is there of those with whom the user writes.
pub(super) fn who() -> Route {
    Route { who: Some(WhoRequest::default()), ..Route::default() }
}

/// What was said in a conversation before a message: so many messages.
pub(super) fn history(of: &str, before: Option<u64>, limit: u32) -> Route {
    let kind = if is_group(of) { messages_request::Type::Group } else { messages_request::Type::User };
    let request = MessagesRequest { r#type: kind.into(), id: of.to_owned() };
    let history = History { before, limit: Some(limit), ..History::default() };
    let payload = Some(route::Payload::MessagesRequest(request));
    Route { path: 5, payload, history: Some(history), ..Route::default() }
}
