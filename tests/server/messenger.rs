//! The chat as processes: a leader that is killed while much is under way.

use ovid::wire::proto::{History, MessagesRequest, Position, Route, messages_request, route};

use crate::boxes::Boxes;
use crate::chat::client::{Client, Heard, messages_of, post, texts};
use crate::grid::wait_until;
use crate::replicated::{MEMBERS, configuration_with, leader, start};

/// Cheap passwords, and ports that the kernel chooses.
const ATTRS: &str =
    r#", "clients": "127.0.0.1:0", "group_tag": "east", "password": {"memory_kib": 64, "passes": 1}"#;

/// A session on the server on a box.
fn log_in(boxes: &Boxes, id: u16, name: &str, have: &[Position]) -> Client {
    let mut session = boxes.attach(id, &format!("s{id}"));
    let mut at = String::new();
    wait_until("the server has a port for clients", || {
        at = session.ask("clients");
        at.starts_with("ok ")
    });
    Client::log_in(&at[3..], name, have)
}

#[test]
fn a_server_alone_with_a_log_of_its_own_is_a_chat() {
    let attrs = format!(r#""log": "local"{ATTRS}"#);
    let mut boxes =
        Boxes::new(1, &format!(r#""s0": {{"type": "messenger", "box": "{{0}}", "attrs": {{{attrs}}}}}"#));
    boxes.start(0, &[]);
    let mut ann = log_in(&boxes, 0, "ann", &[]);
    log_in(&boxes, 0, "bob", &[]);
    ann.post_all("bob", 1..=20);
    boxes.kill(0);
    boxes.start(0, &[]);
    let mut heard = Heard::default();
    log_in(&boxes, 0, "bob", &[]).hear_upto(&mut heard, 20);
    assert_eq!(heard.texts(), texts(1..=20));
}

#[test]
fn messages_arrive_once_and_in_order_although_the_leader_is_killed() {
    let mut boxes = Boxes::new(3, &configuration_with("messenger", ATTRS, ""));
    start(&mut boxes, &MEMBERS);
    let first = leader(&boxes, &MEMBERS);
    let rest: Vec<u16> = MEMBERS.into_iter().filter(|id| *id != first).collect();
    let mut bob = log_in(&boxes, rest[0], "bob", &[]);
    let mut ann = log_in(&boxes, first, "ann", &[]);
    let mut heard = Heard::default();
    ann.post_all("bob", 1..=50);
    bob.hear_upto(&mut heard, 50);
    ann.send_all((51..=200).map(|number| post("bob", number)));
    boxes.kill(first);
    // Which of those were accepted nobody knows; another server does, and takes the others.
    log_in(&boxes, rest[1], "ann", &[]).post_all("bob", 51..=250);
    bob.hear_upto(&mut heard, 250);
    let expected = texts(1..=250);
    assert_eq!(heard.texts(), expected);
    // The one that was killed has missed some, and serves all.
    boxes.start(first, &[]);
    let conversation = heard.seen.first().expect("there are some").0;
    let mut bob = log_in(&boxes, first, "bob", &[Position { conversation, sequence: 240 }]);
    let mut again = Heard::default();
    bob.hear_upto(&mut again, 10);
    assert_eq!(again.texts(), expected[240..]);
    let request = MessagesRequest { r#type: messages_request::Type::User.into(), id: "ann".into() };
    let history = History { before: Some(20), limit: Some(5), ..History::default() };
    let payload = Some(route::Payload::MessagesRequest(request));
    let answer =
        bob.ask(Route { payload, history: Some(history), ..Route::default() }).expect("the server lives");
    let past: Vec<String> = messages_of(answer).into_iter().map(|message| message.payload).collect();
    assert_eq!(past, expected[14..19]);
}
