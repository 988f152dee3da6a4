//! Clients of the class of 2017, which do not acknowledge, and read lengths as fields.

use proptest::prelude::*;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::super::desk::*;
use crate::wire::proto::{ErrorCode, Message, Route, message, messages_request};

const QUIRKS: &str = r#"{"quirks": true}"#;

/// Parses as that client does: what `recv` returned, with the lengths, in which fields that cannot be are passed over.
fn lenient(mut bytes: &[u8]) -> Route {
    let mut clean = Vec::new();
    while !bytes.is_empty() {
        let before = bytes;
        // The parser of this project takes no field 0, that one does.
        if bytes[0] == 0 {
            bytes = &bytes[1..];
            decode_varint(&mut bytes).expect("a number");
            continue;
        }
        let (field, kind) = decode_key(&mut bytes).expect("a field");
        match kind {
            WireType::Varint => {
                decode_varint(&mut bytes).expect("a number");
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut bytes).expect("a length")).expect("short");
                bytes = &bytes[len..];
            }
            other => panic!("no field of these messages is a {other:?}"),
        }
        // A number where the field holds something else is not the field.
        if kind == WireType::LengthDelimited || field <= 2 {
            clean.extend_from_slice(&before[..before.len() - bytes.len()]);
        }
    }
    Route::decode(clean.as_slice()).expect("a Route")
}

#[test]
fn what_was_pushed_before_its_next_request_counts_as_read() {
    let mut desk = Desk::with(1, QUIRKS);
    let ann = desk.user(0, "ann");
    let bob = desk.connect(0);
    assert_eq!(code(&desk.ask(bob, registration("bob", None))), ErrorCode::None);
    desk.ask(ann, post("bob", "1", None));
    desk.close(bob);
    let bob = desk.connect(0);
    desk.ask(bob, access("bob", PASSWORD, None));
    assert_eq!(desk.texts(bob), ["1"], "nothing was asked after the first push");
    desk.close(bob);
    let bob = desk.connect(0);
    desk.ask(bob, access("bob", PASSWORD, None));
    assert_eq!(desk.texts(bob), ["1"]);
    assert_eq!(code(&desk.ask(bob, post("ann", "thanks", None))), ErrorCode::None);
    desk.ask(ann, post("bob", "2", None));
    desk.advance(100);
    desk.close(bob);
    let bob = desk.connect(0);
    desk.ask(bob, access("bob", PASSWORD, None));
    assert_eq!(desk.texts(bob), ["2"]);
    let answer = desk.ask(bob, messages_request(messages_request::Type::User, "bob"));
    assert_eq!(code(&answer), ErrorCode::None);
}

#[test]
fn what_had_not_left_when_it_asked_does_not_count_as_read() {
    let mut desk = Desk::with(1, QUIRKS);
    let ann = desk.user(0, "ann");
    let bob = desk.connect(0);
    desk.ask(bob, registration("bob", None));
    desk.say(ann, &post("bob", "1", None));
    desk.commit();
    // The message and his next request cross each other.
    desk.say(bob, &messages_request(messages_request::Type::User, "bob"));
    desk.close(bob);
    desk.advance(200);
    let bob = desk.connect(0);
    desk.ask(bob, access("bob", PASSWORD, None));
    assert_eq!(desk.texts(bob), ["1"]);
}

#[test]
fn such_a_client_may_say_that_it_has_read_and_may_not_delete() {
    let mut desk = Desk::with(1, QUIRKS);
    let ann = desk.connect(0);
    desk.ask(ann, registration("ann", None));
    let mut update = post("ann", "1", None);
    let mut delete = update.clone();
    for (route, action) in [(&mut update, message::Action::Update), (&mut delete, message::Action::Delete)] {
        if let Some(crate::wire::proto::route::Payload::Message(message)) = &mut route.payload {
            message.action = action.into();
            message.status = Some(message::Status::Stale.into());
        }
    }
    assert_eq!(code(&desk.ask(ann, update)), ErrorCode::None);
    assert_eq!(code(&desk.ask(ann, delete)), ErrorCode::Invalid);
}

#[test]
fn nothing_is_pushed_to_it_but_messages() {
    let mut desk = Desk::with(1, QUIRKS);
    let (ann, bob) = (desk.connect(0), desk.user(0, "bob"));
    desk.ask(ann, registration("ann", None));
    desk.ask(ann, post("bob", "hello", None));
    let messages = desk.messages(bob);
    desk.acknowledge(bob, &messages);
    desk.advance(100);
    desk.close(bob);
    desk.advance(100);
    assert_eq!(desk.routes(ann), [], "neither who has read nor who is gone");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn its_parser_finds_all_messages_also_of_frames_that_come_together(
        batches in proptest::collection::vec(proptest::collection::vec("[a-z]{0,400}", 1..12), 1..4),
    ) {
        let mut desk = Desk::with(1, QUIRKS);
        let ann = desk.user(0, "ann");
        let bob = desk.connect(0);
        desk.ask(bob, registration("bob", None));
        let mut bytes = Vec::new();
        for batch in &batches {
            for text in batch {
                desk.say(ann, &post("bob", text, None));
            }
            // Frames of several turns, that one `recv` returns together.
            bytes.extend(desk.bytes(bob));
        }
        let texts: Vec<String> = messages_of(lenient(&bytes)).into_iter().map(|Message { payload, .. }| payload).collect();
        prop_assert_eq!(texts, batches.concat());
    }
}
