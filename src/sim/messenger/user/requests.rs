//! What clients ask, as messages of their protocol.

use crate::wire::proto::{Group, Login, Message, Position, Route, User, group, message, route, user};

/// Somebody wants to be a user.
pub(super) fn register(name: &str) -> User {
    User { action: user::Action::Register.into(), ..access(name) }
}

/// Somebody wants to log in.
pub(super) fn access(name: &str) -> User {
    User {
        uname: name.to_owned(),
        email: None,
        password: Some(format!("the password of {name}")),
        recent_active_time: None,
        action: user::Action::Access.into(),
    }
}

/// What a client of ours says of itself when it logs in.
pub(super) fn login(instance: &[u8; 16], have: Vec<Position>) -> Login {
    Login { client: Some(instance.to_vec().into()), token: None, have, echo: None }
}

/// A message to a user, or to a group, whose names begin with `g`.
pub(super) fn message(from: &str, to: &str, payload: String) -> Message {
    let kind = if to.starts_with('g') { message::Type::Group } else { message::Type::Single };
    Message {
        r#type: kind.into(),
        sender_id: from.to_owned(),
        payload,
        receiver_id: to.to_owned(),
        timestamp: "now".to_owned(),
        status: None,
        action: message::Action::Post.into(),
        number: None,
        position: None,
        time_ms: None,
        cluster: None,
    }
}

/// What makes a group, and takes users into it. Each may be asked again.
pub(super) fn group(name: &str, members: &[String]) -> Vec<Route> {
    let route = |action: group::Action, username: Option<String>| {
        let group = Group { gname: name.to_owned(), gid: None, action: action.into(), username };
        Route { path: 4, payload: Some(route::Payload::Group(group)), ..Route::default() }
    };
    let adds = members.iter().map(|member| route(group::Action::Adduser, Some(member.clone())));
    [route(group::Action::Create, None)].into_iter().chain(adds).collect()
}
