//! Registration and log-in.

use super::super::desk::*;
use crate::wire::proto::{ErrorCode, Login, Route, WhoRequest, messages_request, route, user};

#[test]
fn who_registers_is_logged_in_and_welcome() {
    let mut desk = Desk::new(2);
    let line = desk.connect(1);
    let answer = desk.ask(line, registration("ann", Some(login("ann"))));
    let welcome = answer.welcome.expect("a welcome");
    assert_eq!(welcome.servers, ["127.0.0.1:4002", "127.0.0.1:4001"], "its own server is the first");
    assert_eq!((welcome.expected, welcome.group_tag.as_deref()), (Some(1), Some("east")));
    assert_eq!((welcome.payload_bytes_max, welcome.in_flight_max), (Some(65_536), Some(1024)));
    let other = desk.connect(0);
    assert_eq!(code(&desk.ask(other, registration("ann", None))), ErrorCode::NameTaken);
    assert_eq!(code(&desk.ask(other, registration("an n", None))), ErrorCode::Invalid);
    let empty = user_route("bob", Some(""), user::Action::Register);
    assert_eq!(code(&desk.ask(other, empty)), ErrorCode::Invalid);
    assert_eq!(code(&desk.ask(other, access("ann", PASSWORD, None))), ErrorCode::None, "it can go on");
}

#[test]
fn nobody_does_anything_without_a_log_in_but_asking_whether_the_server_lives() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    let line = desk.connect(0);
    let who = Route { who: Some(WhoRequest::default()), ..Route::default() };
    let requests = [
        post("ann", "hello", None),
        messages_request(messages_request::Type::User, "ann"),
        user_route("ann", None, user::Action::Delete),
        who,
    ];
    for request in requests {
        assert_eq!(code(&desk.ask(line, request)), ErrorCode::NotLoggedIn);
    }
    let ping = Route { path: route::Path::Ping.into(), ..Route::default() };
    assert_eq!(code(&desk.ask(line, ping)), ErrorCode::None);
}

#[test]
fn a_wrong_password_and_an_unknown_name_are_told_the_same() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    let line = desk.connect(0);
    let wrong = desk.ask(line, access("ann", "guess", None));
    let mut nobody = desk.ask(line, access("bob", "guess", None));
    assert_eq!(code(&wrong), ErrorCode::WrongPassword);
    nobody.id = wrong.id;
    assert_eq!(wrong, nobody);
    assert_eq!(
        code(&desk.ask(line, user_route("ann", None, user::Action::Access))),
        ErrorCode::WrongPassword
    );
}

#[test]
fn wrong_passwords_slow_down_who_tries_the_same_name() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    for _ in 0..7 {
        let line = desk.connect(0);
        desk.say(line, &access("ann", "guess", None));
        desk.advance(1_000);
        assert_eq!(desk.routes(line).len(), 1);
    }
    let line = desk.connect(0);
    desk.say(line, &access("ann", PASSWORD, None));
    desk.say(line, &post("ann", "waits for the log-in before it", None));
    assert_eq!(desk.routes(line), []);
    let ping = Route { path: route::Path::Ping.into(), ..Route::default() };
    assert_eq!(
        code(&desk.ask(line, ping)),
        ErrorCode::None,
        "who asks whether the server lives does not wait"
    );
    // The password was looked at a step later than it was asked for.
    desk.advance(1_100);
    let answers = desk.routes(line);
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [ErrorCode::None; 2], "{answers:?}");
    // Somebody else does not wait.
    desk.user(0, "bob");
    let other = desk.connect(0);
    assert_eq!(code(&desk.ask(other, access("ann", PASSWORD, None))), ErrorCode::None, "and it is forgiven");
}

#[test]
fn a_token_logs_in_on_every_server_without_a_password() {
    let mut desk = Desk::new(2);
    let line = desk.connect(0);
    let welcome = desk.ask(line, registration("ann", Some(login("ann")))).welcome.expect("a welcome");
    let token = welcome.token.expect("a token");
    let with = |token: &[u8]| Login { token: Some(token.to_vec().into()), ..login("ann") };
    let other = desk.connect(1);
    let by_token = |token: &[u8], name: &str| Route {
        login: Some(with(token)),
        ..user_route(name, None, user::Action::Access)
    };
    assert_eq!(code(&desk.ask(other, by_token(&token[1..], "ann"))), ErrorCode::WrongPassword);
    desk.user(0, "bob");
    assert_eq!(code(&desk.ask(other, by_token(&token, "bob"))), ErrorCode::WrongPassword);
    let answer = desk.ask(other, by_token(&token, "ann"));
    assert!(answer.welcome.expect("a welcome").token.is_some());
    assert_eq!(code(&desk.ask(other, post("ann", "hello", None))), ErrorCode::None);
}

#[test]
fn a_user_who_is_deleted_is_gone_from_every_server() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    let elsewhere = desk.log_in(1, "ann", login("ann"));
    let other = user_route("bob", None, user::Action::Delete);
    assert_eq!(code(&desk.ask(ann, other)), ErrorCode::Forbidden);
    assert_eq!(code(&desk.ask(ann, user_route("ann", None, user::Action::Delete))), ErrorCode::None);
    assert!(desk.servers[0].gone.contains(&ann.conn));
    assert!(desk.servers[1].gone.contains(&elsewhere.conn));
    let line = desk.connect(0);
    assert_eq!(code(&desk.ask(line, access("ann", PASSWORD, None))), ErrorCode::WrongPassword);
    assert_eq!(code(&desk.ask(bob, post("ann", "still there?", None))), ErrorCode::NotFound);
}

#[test]
fn a_user_has_so_many_sessions_and_a_server_so_many_connections() {
    let mut desk = Desk::with(1, r#"{"limits": {"sessions_max": 2, "connections_max": 4}}"#);
    let bob = desk.user(0, "bob");
    desk.close(bob);
    let first = desk.user(0, "ann");
    desk.log_in(0, "ann", login("ann"));
    let third = desk.connect(0);
    assert_eq!(code(&desk.ask(third, access("ann", PASSWORD, None))), ErrorCode::Busy);
    desk.close(first);
    assert_eq!(code(&desk.ask(third, access("ann", PASSWORD, None))), ErrorCode::None);
    desk.log_in(0, "bob", login("bob"));
    desk.log_in(0, "bob", login("bob"));
    let beyond = desk.connect(0);
    assert!(desk.servers[0].gone.contains(&beyond.conn));
}

#[test]
fn bytes_that_are_no_route_end_the_connection_only() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.say_bytes(ann, &[0, 0, 0, 2, 0xff, 0xff]);
    assert!(desk.servers[0].gone.contains(&ann.conn));
    assert_eq!(code(&desk.ask(bob, post("ann", "hello", None))), ErrorCode::None);
}
