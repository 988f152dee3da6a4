//! Groups.

use super::super::desk::*;
use crate::wire::proto::{
    ConversationsRequest, ErrorCode, Group, History, Route, group, message, messages_request, route,
};

fn group(action: group::Action, name: &str, user: Option<&str>) -> Route {
    let group =
        Group { gname: name.to_owned(), gid: None, action: action.into(), username: user.map(str::to_owned) };
    Route { path: route::Path::Group.into(), payload: Some(route::Payload::Group(group)), ..Route::default() }
}

#[test]
fn a_group_lives_from_its_making_to_its_end() {
    let mut desk = Desk::new(2);
    let (ann, bob, eve) = (desk.user(0, "ann"), desk.user(1, "bob"), desk.user(0, "eve"));
    assert_eq!(code(&desk.ask(ann, group(group::Action::Create, "tea", None))), ErrorCode::None);
    assert_eq!(code(&desk.ask(bob, group(group::Action::Create, "tea", None))), ErrorCode::NameTaken);
    assert_eq!(code(&desk.ask(eve, post_group("tea", "let me in"))), ErrorCode::Forbidden);
    assert_eq!(code(&desk.ask(eve, group(group::Action::Adduser, "tea", Some("eve")))), ErrorCode::Forbidden);
    desk.ask(ann, post_group("tea", "alone"));
    assert_eq!(code(&desk.ask(ann, group(group::Action::Adduser, "tea", Some("bob")))), ErrorCode::None);
    assert_eq!(code(&desk.ask(ann, group(group::Action::Adduser, "tea", Some("zoe")))), ErrorCode::NotFound);
    desk.ask(ann, post_group("tea", "welcome"));
    let message = desk.messages(bob).pop().expect("a message");
    assert_eq!((message.r#type(), message.receiver_id.as_str()), (message::Type::Group, "tea"));
    assert_eq!((message.payload.as_str(), desk.texts(eve)), ("welcome", vec![]));
    let history =
        Route { history: Some(History::default()), ..messages_request(messages_request::Type::Group, "tea") };
    assert_eq!(code(&desk.ask(eve, history.clone())), ErrorCode::NotFound);
    let seen: Vec<_> =
        messages_of(desk.ask(bob, history)).into_iter().map(|message| message.payload).collect();
    assert_eq!(seen, ["welcome"], "what was before it joined is not for it");

    let list = Route { conversations_request: Some(ConversationsRequest {}), ..Route::default() };
    let entry = desk.ask(bob, list.clone()).conversations.expect("a list").entries.pop().expect("a group");
    assert_eq!((entry.name.as_str(), entry.members), ("tea", vec!["ann".to_owned(), "bob".to_owned()]));
    assert_eq!((entry.last, entry.read), (2, 1));

    assert_eq!(
        code(&desk.ask(bob, group(group::Action::Removeuser, "tea", Some("ann")))),
        ErrorCode::Forbidden
    );
    assert_eq!(code(&desk.ask(bob, group(group::Action::Removeuser, "tea", None))), ErrorCode::None);
    desk.ask(ann, post_group("tea", "without bob"));
    assert_eq!(desk.texts(bob), [""; 0]);
    assert_eq!(code(&desk.ask(eve, group(group::Action::Delete, "tea", None))), ErrorCode::Forbidden);
    assert_eq!(code(&desk.ask(ann, group(group::Action::Delete, "tea", None))), ErrorCode::None);
    assert_eq!(code(&desk.ask(ann, post_group("tea", "anyone?"))), ErrorCode::NotFound);
    assert_eq!(desk.ask(ann, list).conversations.expect("a list").entries, []);
}

#[test]
fn who_reads_what_is_written_in_a_large_group_is_told_so() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.ask(ann, group(group::Action::Create, "all", None));
    desk.ask(ann, group(group::Action::Adduser, "all", Some("bob")));
    for number in 0..64 {
        let name = format!("u-{number}");
        let line = desk.user(0, &name);
        desk.close(line);
        let added = desk.ask(ann, group(group::Action::Adduser, "all", Some(&name)));
        assert_eq!(code(&added), ErrorCode::None);
    }
    desk.ask(ann, post_group("all", "hello"));
    let messages = desk.messages(bob);
    assert_eq!(messages.len(), 1);
    desk.acknowledge(bob, &messages);
    desk.advance(100);
    let mut told = |line| desk.routes(line).into_iter().flat_map(|route| route.read_by).count();
    assert_eq!((told(ann), told(bob)), (0, 1), "so many are not told of each other");
}
