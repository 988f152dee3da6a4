//! Messages on their way.

use super::super::desk::*;
use crate::wire::proto::{
    ErrorCode, History, Login, Position, Posted, Route, WhoRequest, messages_request, user,
};

fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| text.trim_end_matches('.').parse().expect("a number")).collect()
}

#[test]
fn a_message_reaches_who_is_here_who_is_elsewhere_and_who_comes_later() {
    let mut desk = Desk::new(2);
    let (ann, bob, cid) = (desk.user(0, "ann"), desk.user(0, "bob"), desk.user(1, "cid"));
    let dan = desk.user(1, "dan");
    desk.close(dan);
    let answer = desk.ask(ann, post("bob", "hello", Some(1)));
    let Some(Posted { position: Some(position), time_ms: Some(time_ms), .. }) = answer.posted else {
        panic!("no place in {answer:?}");
    };
    assert_eq!(position.sequence, 1);
    assert!(time_ms >= 1_000_000_000_000);
    let message = desk.messages(bob).pop().expect("a message");
    assert_eq!((message.sender_id.as_str(), message.receiver_id.as_str()), ("ann", "bob"));
    assert_eq!((message.payload.as_str(), message.timestamp.as_str()), ("hello", "noon"));
    for (number, name) in [(2, "cid"), (3, "dan")] {
        assert_eq!(code(&desk.ask(ann, post(name, "hi", Some(number)))), ErrorCode::None);
    }
    assert_eq!(desk.texts(cid), ["hi"]);
    let dan = desk.log_in(0, "dan", login("dan"));
    assert_eq!(desk.texts(dan), ["hi"]);
    assert_eq!(desk.texts(ann), [""; 0], "who has not asked for it does not get its own");
}

#[test]
fn every_session_gets_a_message_and_the_senders_other_ones_if_they_like() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    let bob_again = desk.log_in(1, "bob", login("bob 2"));
    let echo = Login { echo: Some(true), ..login("ann 2") };
    let (ann_again, ann_third) = (desk.log_in(1, "ann", echo), desk.log_in(0, "ann", login("ann 3")));
    desk.ask(ann, post("bob", "hello", None));
    assert_eq!((desk.texts(bob), desk.texts(bob_again)), (vec!["hello".into()], vec!["hello".into()]));
    let message = desk.messages(ann_again).pop().expect("its own");
    assert_eq!((message.sender_id.as_str(), message.receiver_id.as_str()), ("ann", "bob"));
    assert_eq!((desk.texts(ann), desk.texts(ann_third)), (vec![], vec![]));
    // To itself.
    desk.ask(ann, post("ann", "do not forget", None));
    assert_eq!(desk.texts(ann_third), ["do not forget"]);
}

#[test]
fn numbers_are_taken_in_their_order_each_once() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    assert_eq!(code(&desk.ask(ann, post("bob", "one", Some(1)))), ErrorCode::None);
    let answer = desk.ask(ann, post("bob", "three", Some(3)));
    assert_eq!(code(&answer), ErrorCode::OutOfOrder);
    assert_eq!(answer.posted.expect("it says what is expected").expected, Some(2));
    // The same client on another server, which says what is expected there.
    let elsewhere = desk.connect(1);
    let answer = desk.ask(elsewhere, access("ann", PASSWORD, Some(login("ann"))));
    assert_eq!(answer.welcome.expect("a welcome").expected, Some(2));
    let again = desk.ask(elsewhere, post("bob", "one", Some(1)));
    assert_eq!((code(&again), again.posted.map(|posted| posted.position)), (ErrorCode::None, None));
    assert_eq!(code(&desk.ask(elsewhere, post("bob", "two", Some(2)))), ErrorCode::None);
    assert_eq!(desk.texts(bob), ["one", "two"]);
    let bare = desk.log_in(0, "ann", Login::default());
    assert_eq!(code(&desk.ask(bare, post("bob", "?", Some(1)))), ErrorCode::Invalid);
}

#[test]
fn a_numbered_message_that_is_turned_down_does_not_hold_up_those_behind_it() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    let long = "x".repeat(65_537);
    for (number, (to, text)) in (1_u32..).zip([("nobody", "?"), ("bob", &long), ("bob", "hello")]) {
        desk.say(ann, &Route { id: number.into(), ..post(to, text, Some(number.into())) });
    }
    let routes = desk.routes(ann);
    let answers = routes.iter().filter(|route| route.id != 0);
    let mut answers: Vec<_> = answers.map(|answer| (answer.id, code(answer))).collect();
    answers.sort_by_key(|(id, _)| *id);
    assert_eq!(answers, [(1, ErrorCode::NotFound), (2, ErrorCode::TooLong), (3, ErrorCode::None)]);
    assert_eq!(desk.texts(bob), ["hello"]);
    assert_eq!(code(&desk.ask(ann, post("nobody", "?", Some(1)))), ErrorCode::NotFound, "and said again");
}

#[test]
fn what_is_not_acknowledged_comes_again_and_what_is_does_not() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(1, "bob"));
    for text in ["1", "2", "3"] {
        desk.ask(ann, post("bob", text, None));
    }
    let messages = desk.messages(bob);
    desk.acknowledge(bob, &messages[..2]);
    desk.advance(100);
    let read_by: Vec<_> = desk.routes(ann).into_iter().flat_map(|route| route.read_by).collect();
    assert_eq!(read_by.len(), 1, "{read_by:?}");
    assert_eq!((read_by[0].user.as_str(), read_by[0].position.sequence), ("bob", 2));
    desk.close(bob);
    let bob = desk.log_in(0, "bob", login("bob"));
    assert_eq!(desk.texts(bob), ["3"]);
    // A client that has less wants more, one that has more less.
    let have = |sequence| {
        let conversation = messages[0].position.expect("a place").conversation;
        Login { have: vec![Position { conversation, sequence }], ..login("bob 2") }
    };
    let second = desk.log_in(0, "bob", have(1));
    assert_eq!(desk.texts(second), ["2", "3"]);
    let third = desk.log_in(0, "bob", have(3));
    assert_eq!(desk.texts(third), [""; 0]);
}

#[test]
fn who_acknowledges_what_counts_as_read_already_is_told_so_and_nobody_else_is() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(1, "bob"));
    for text in ["1", "2", "3"] {
        desk.ask(ann, post("bob", text, None));
    }
    let messages = desk.messages(bob);
    let conversation = messages[0].position.expect("a place").conversation;
    let again = desk.log_in(1, "bob", login("bob 2"));
    let class = desk.connect(1);
    desk.ask(class, access("bob", PASSWORD, None));
    let all = [ann, bob, again, class];
    let told = |desk: &mut Desk, line| {
        let read_by = desk.routes(line).into_iter().flat_map(|route| route.read_by);
        read_by
            .map(|read| (read.user, read.position.conversation, read.position.sequence))
            .collect::<Vec<_>>()
    };
    let read = |sequence| vec![("bob".to_owned(), conversation, sequence)];
    desk.acknowledge(bob, &messages);
    desk.advance(100);
    assert_eq!(all.map(|line| told(&mut desk, line)), [read(3), read(3), read(3), vec![]]);
    // The mark is told as it stands, at once, and nothing is proposed.
    desk.is_up = false;
    desk.acknowledge(again, &messages[..2]);
    desk.acknowledge(class, &messages);
    assert_eq!(all.map(|line| told(&mut desk, line)), [vec![], vec![], read(3), vec![]]);
    desk.is_up = true;
    // Of what one does not belong to, nothing is told.
    let eve = desk.user(1, "eve");
    desk.acknowledge(eve, &messages);
    desk.advance(100);
    assert_eq!(told(&mut desk, eve), []);
    // Who acknowledges more than there is is told what there is.
    let beyond = vec![Position { conversation, sequence: 99 }];
    desk.say(again, &Route { acknowledged: beyond, ..Route::default() });
    assert_eq!(told(&mut desk, again), read(3));
}

#[test]
fn marks_of_others_and_of_conversations_of_others_do_not_move() {
    let mut desk = Desk::new(1);
    let (ann, bob, eve) = (desk.user(0, "ann"), desk.user(0, "bob"), desk.user(0, "eve"));
    desk.ask(ann, post("bob", "secret", None));
    let messages = desk.messages(bob);
    desk.acknowledge(eve, &messages);
    desk.advance(100);
    desk.close(bob);
    let bob = desk.log_in(0, "bob", login("bob"));
    assert_eq!(desk.texts(bob), ["secret"]);
    // Nor does one get further than the end.
    let position = messages[0].position.expect("a place");
    let beyond = Position { sequence: 99, ..position };
    desk.say(bob, &Route { acknowledged: vec![beyond], ..Route::default() });
    desk.advance(100);
    desk.ask(ann, post("bob", "another", None));
    desk.close(bob);
    let bob = desk.log_in(0, "bob", login("bob"));
    assert_eq!(desk.texts(bob), ["another"]);
    let history = history(messages_request::Type::User, "ann", History::default());
    assert_eq!(code(&desk.ask(eve, history)), ErrorCode::NotFound);
}

fn history(kind: messages_request::Type, id: &str, history: History) -> Route {
    Route { history: Some(history), ..messages_request(kind, id) }
}

#[test]
fn history_comes_page_by_page_and_by_time_also_from_the_disk() {
    let mut desk = Desk::new(1);
    let ann = desk.user(0, "ann");
    desk.user(0, "bob");
    for number in 1..=300 {
        desk.ask(ann, post("bob", &format!("{number}{}", ".".repeat(100)), None));
        desk.advance(10);
    }
    desk.restart(0, "{}");
    let ann = desk.log_in(0, "ann", login("ann"));
    let (mut before, mut pages) = (None, Vec::new());
    loop {
        let wanted = History { before, limit: Some(110), ..History::default() };
        let answer = desk.ask(ann, history(messages_request::Type::User, "bob", wanted));
        let end = answer.history_end.expect("it says whether there is more");
        let texts: Vec<_> = messages_of(answer).into_iter().map(|message| message.payload).collect();
        assert!(!texts.is_empty() && texts.len() <= 110);
        pages.push(numbers(&texts));
        before = end.before;
        if !end.more {
            break;
        }
    }
    assert!(desk.servers[0].looks > 0, "what is asked for lies on the disk");
    pages.reverse();
    assert_eq!(pages.concat(), (1..=300).collect::<Vec<_>>());
    // The messages were written ten milliseconds apart.
    let last = messages_of(desk.ask(ann, history(messages_request::Type::User, "bob", History::default())));
    let at = |number: i64| last.last().expect("the last").time_ms() - (300 - number) * 10;
    let wanted = History { since_ms: Some(at(40)), until_ms: Some(at(45)), ..History::default() };
    let answer = desk.ask(ann, history(messages_request::Type::User, "bob", wanted));
    let texts: Vec<_> = messages_of(answer).into_iter().map(|message| message.payload).collect();
    assert_eq!(numbers(&texts), [40, 41, 42, 43, 44]);
}

#[test]
fn unread_messages_come_once_more_to_who_asks_for_them() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.ask(ann, post("bob", "1", None));
    assert_eq!(desk.texts(bob), ["1"]);
    desk.say(bob, &Route { id: 9, ..messages_request(messages_request::Type::User, "bob") });
    let routes = desk.routes(bob);
    assert!(routes.iter().any(|route| route.id == 9), "it is answered, too");
    assert_eq!(routes.into_iter().flat_map(messages_of).count(), 1);
    let nobody = messages_request(messages_request::Type::User, "nobody");
    assert_eq!(code(&desk.ask(bob, nobody)), ErrorCode::NotFound);
}

#[test]
fn who_asks_for_what_is_unread_misses_nothing_that_it_is_behind_with() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    for number in 0..60 {
        desk.ask(ann, post("bob", &format!("{number}{}", ".".repeat(10_000)), None));
    }
    let read = desk.messages(bob);
    desk.acknowledge(bob, &read);
    desk.advance(100);
    desk.ask(ann, post("bob", "60", None));
    // Another program of his has none of that, and takes little at once.
    desk.servers[0].is_slow = true;
    let place = read[0].position;
    let other = desk.log_in(0, "bob", Login { have: place.into_iter().collect(), ..login("other") });
    desk.say(other, &messages_request(messages_request::Type::User, "bob"));
    let mut seen: Vec<usize> = Vec::new();
    for _ in 0..10 {
        seen.extend(numbers(&desk.texts(other)));
        desk.servers[0].drain(other);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..61).collect::<Vec<_>>());
}

#[test]
fn a_slow_client_gets_what_it_takes_and_misses_nothing() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.servers[0].is_slow = true;
    for number in 0..100 {
        desk.ask(ann, post("bob", &format!("{number}{}", ".".repeat(10_000)), None));
        desk.servers[0].drain(ann);
    }
    let first = desk.texts(bob);
    assert!((20..40).contains(&first.len()), "{} at once", first.len());
    let mut texts = first;
    for _ in 0..10 {
        desk.write_rows(0);
        desk.servers[0].drain(bob);
        texts.extend(desk.texts(bob));
    }
    assert_eq!(numbers(&texts), (0..100).collect::<Vec<_>>());
    desk.ask(ann, post("bob", "100", None));
    assert_eq!(desk.texts(bob), ["100"], "and then they come at once again");
}

#[test]
fn a_long_absence_is_caught_up_with_from_the_disk_in_order() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.close(bob);
    for number in 0..2000 {
        desk.say(ann, &post("bob", &number.to_string(), None));
        if number % 500 == 0 {
            desk.settle();
        }
    }
    desk.settle();
    desk.restart(0, "{}");
    let bob = desk.log_in(0, "bob", login("bob"));
    assert_eq!(numbers(&desk.texts(bob)), (0..2000).collect::<Vec<_>>());
    assert!(desk.servers[0].looks > 0);
}

#[test]
fn those_who_write_with_each_other_learn_who_is_there() {
    let mut desk = Desk::new(2);
    let (ann, bob, eve) = (desk.user(0, "ann"), desk.user(1, "bob"), desk.user(0, "eve"));
    // Both were there before they knew each other.
    desk.advance(100);
    desk.ask(ann, post("bob", "hello", None));
    desk.advance(100);
    let who = |users: &[&str]| {
        let users = users.iter().map(|name| (*name).to_owned()).collect();
        Route { who: Some(WhoRequest { users }), ..Route::default() }
    };
    let seen = |route: Route| {
        let entries = route.presence.into_iter().flat_map(|presence| presence.entries);
        entries.map(|entry| (entry.user, entry.online)).collect::<Vec<_>>()
    };
    let told: Vec<_> = desk.routes(bob).into_iter().flat_map(seen).collect();
    assert_eq!(told, [("ann".to_owned(), true)]);
    assert_eq!(seen(desk.ask(ann, who(&[]))), [("bob".to_owned(), true)]);
    assert_eq!(seen(desk.ask(eve, who(&["ann", "bob"]))), [], "a stranger does not");
    desk.routes(ann);
    desk.close(bob);
    desk.advance(100);
    let told: Vec<_> = desk.routes(ann).into_iter().flat_map(seen).collect();
    assert_eq!(told, [("bob".to_owned(), false)]);
    assert_eq!(seen(desk.ask(ann, who(&["bob"]))), [("bob".to_owned(), false)]);
    desk.log_in(1, "bob", login("bob"));
    desk.advance(100);
    let told: Vec<_> = desk.routes(ann).into_iter().flat_map(seen).collect();
    assert_eq!(told, [("bob".to_owned(), true)]);
    assert_eq!(desk.routes(eve), []);
}

#[test]
fn those_who_write_with_a_user_who_is_deleted_while_online_learn_that_it_is_gone() {
    let mut desk = Desk::new(2);
    let (ann, bob, cid) = (desk.user(0, "ann"), desk.user(0, "bob"), desk.user(1, "cid"));
    let (eve, dan) = (desk.user(1, "eve"), desk.user(1, "dan"));
    desk.ask(ann, post("bob", "hello", None));
    desk.ask(ann, post("cid", "hello", None));
    desk.ask(dan, post("cid", "hello", None));
    desk.close(dan);
    desk.advance(100);
    let told = |desk: &mut Desk, line| {
        let entries = desk.routes(line).into_iter().filter_map(|route| route.presence);
        let entries = entries.flat_map(|presence| presence.entries);
        entries.map(|entry| (entry.user, entry.online)).collect::<Vec<_>>()
    };
    for line in [ann, bob, cid, eve] {
        told(&mut desk, line);
    }
    desk.say(ann, &user_route("ann", Some(PASSWORD), user::Action::Delete));
    desk.advance(100);
    assert!(desk.servers[0].gone.contains(&ann.conn), "it is deleted");
    for line in [bob, cid] {
        assert_eq!(told(&mut desk, line), [("ann".to_owned(), false)]);
    }
    assert_eq!(told(&mut desk, eve), [], "a stranger does not");
    // Who has gone before that is not gone once more.
    let dan = desk.log_in(0, "dan", login("dan"));
    desk.advance(100);
    told(&mut desk, cid);
    desk.is_up = false;
    desk.say(dan, &user_route("dan", Some(PASSWORD), user::Action::Delete));
    desk.close(dan);
    desk.advance(100);
    assert_eq!(told(&mut desk, cid), [("dan".to_owned(), false)]);
    desk.is_up = true;
    desk.advance(100);
    assert_eq!(told(&mut desk, cid), []);
    let answer = desk.ask(cid, post("dan", "are you there?", None));
    assert_eq!(code(&answer), ErrorCode::NotFound);
}

#[test]
fn messages_of_one_turn_leave_in_one_frame() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    let mut bytes = Vec::new();
    for number in 0..50 {
        super::super::wire::put_route(&post("bob", &number.to_string(), None), false, &mut bytes);
    }
    desk.say_bytes(ann, &bytes);
    let frames = desk.routes(bob);
    assert!(frames.len() < 50, "{} frames", frames.len());
    let texts: Vec<_> = frames.into_iter().flat_map(messages_of).map(|message| message.payload).collect();
    assert_eq!(numbers(&texts), (0..50).collect::<Vec<_>>());
}
