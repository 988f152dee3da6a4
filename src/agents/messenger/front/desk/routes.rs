//! What clients of tests say.

use bytes::Bytes;

use crate::wire::proto::{
    ErrorCode, Login, Message, MessagesRequest, MessagesResponse, Route, User, message, messages_request,
    route, user,
};

pub(in super::super) const PASSWORD: &str = "open sesame";

pub(in super::super) fn registration(name: &str, login: Option<Login>) -> Route {
    Route { login, ..user_route(name, Some(PASSWORD), user::Action::Register) }
}

pub(in super::super) fn access(name: &str, password: &str, login: Option<Login>) -> Route {
    Route { login, ..user_route(name, Some(password), user::Action::Access) }
}

pub(in super::super) fn user_route(name: &str, password: Option<&str>, action: user::Action) -> Route {
    let user = User {
        uname: name.to_owned(),
        email: None,
        password: password.map(str::to_owned),
        recent_active_time: None,
        action: action.into(),
    };
    Route { path: route::Path::User.into(), payload: Some(route::Payload::User(user)), ..Route::default() }
}

/// The log-in of a client instance that is called as its user.
pub(in super::super) fn login(name: &str) -> Login {
    let mut client = [b'.'; 16];
    client[..name.len()].copy_from_slice(name.as_bytes());
    Login { client: Some(Bytes::copy_from_slice(&client)), ..Login::default() }
}

pub(in super::super) fn post(to: &str, text: &str, number: Option<u64>) -> Route {
    posting(message::Type::Single, to, text, number)
}

pub(in super::super) fn post_group(to: &str, text: &str) -> Route {
    posting(message::Type::Group, to, text, None)
}

fn posting(kind: message::Type, to: &str, text: &str, number: Option<u64>) -> Route {
    let message = Message {
        r#type: kind.into(),
        sender_id: "whoever".to_owned(),
        payload: text.to_owned(),
        receiver_id: to.to_owned(),
        timestamp: "noon".to_owned(),
        action: message::Action::Post.into(),
        number,
        ..Message::default()
    };
    let payload = Some(route::Payload::Message(message));
    Route { path: route::Path::Message.into(), payload, ..Route::default() }
}

pub(in super::super) fn messages_request(kind: messages_request::Type, id: &str) -> Route {
    let request = MessagesRequest { r#type: kind.into(), id: id.to_owned() };
    let payload = Some(route::Payload::MessagesRequest(request));
    Route { path: route::Path::MessagesRequest.into(), payload, ..Route::default() }
}

/// What an answer says; no error for what is no `Response`.
pub(in super::super) fn code(route: &Route) -> ErrorCode {
    match &route.payload {
        Some(route::Payload::Response(response)) => {
            let code = response.error_code.unwrap_or_default();
            assert_eq!(response.success(), code == 0, "{route:?}");
            ErrorCode::try_from(code).expect("a code")
        }
        _ => ErrorCode::None,
    }
}

pub(in super::super) fn messages_of(route: Route) -> Vec<Message> {
    match route.payload {
        Some(route::Payload::MessagesResponse(MessagesResponse { messages, .. })) => messages,
        _ => Vec::new(),
    }
}
