//! What strangers and careless clients can make a server keep, and do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::desk::*;
use crate::wire::proto::{ErrorCode, History, Route, messages_request};

/// How many of what a client is sent are answers of this kind.
fn count(routes: &[Route], expected: ErrorCode) -> usize {
    routes.iter().filter(|route| code(route) == expected).count()
}

#[test]
fn what_waits_behind_a_log_in_is_bounded_in_bytes() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    desk.is_up = false;
    let line = desk.connect(0);
    desk.say(line, &access("ann", PASSWORD, None));
    for _ in 0..50 {
        desk.say(line, &post("ann", &"x".repeat(60_000), None));
    }
    let routes = desk.routes(line);
    assert!(count(&routes, ErrorCode::Busy) >= 48, "{}", count(&routes, ErrorCode::Busy));
    desk.is_up = true;
    let routes = desk.routes(line);
    let accepted = count(&routes, ErrorCode::None) - 1;
    assert!((1..=2).contains(&accepted), "what was kept is done: {accepted}");
}

#[test]
fn what_waits_behind_a_question_of_a_user_is_bounded_in_bytes() {
    let mut desk = Desk::new(1);
    let ann = desk.user(0, "ann");
    desk.is_up = false;
    desk.say(ann, &post("nobody", "holds up the others until that is sure", None));
    for _ in 0..200 {
        desk.say(ann, &post("ann", &"x".repeat(60_000), None));
    }
    let busy = count(&desk.routes(ann), ErrorCode::Busy);
    assert!((100..190).contains(&busy), "{busy}");
}

#[test]
fn names_and_passwords_that_nobody_can_have_are_not_looked_at() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    desk.is_up = false;
    let (long, text) = ("x".repeat(100_000), "y".repeat(100_000));
    for (name, password) in [(long.as_str(), PASSWORD), ("", PASSWORD), ("a b", PASSWORD), ("ann", &text)] {
        let line = desk.connect(0);
        desk.say(line, &access(name, password, None));
        let routes = desk.routes(line);
        assert_eq!(routes.iter().map(code).collect::<Vec<_>>(), [ErrorCode::WrongPassword]);
    }
}

#[test]
fn an_address_that_tries_too_much_does_not_keep_others_from_a_name() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    let bad = Ipv4Addr::new(10, 6, 6, 6);
    // So many that this address has to wait for long.
    for number in 0..32 {
        let line = desk.connect_from(0, bad);
        desk.say(line, &access(&format!("nobody-{number}"), "guess", None));
        desk.advance(9_000);
    }
    for _ in 0..5 {
        let line = desk.connect(0);
        desk.say(line, &access("ann", "mistyped", None));
        desk.advance(1_000);
    }
    for _ in 0..200 {
        let line = desk.connect_from(0, bad);
        desk.say(line, &access("ann", "guess", None));
    }
    let line = desk.connect(0);
    desk.say(line, &access("ann", PASSWORD, None));
    desk.advance(2_000);
    let answers = desk.routes(line);
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [ErrorCode::None], "few wrong ones cost little");
}

#[test]
fn who_has_a_whole_network_is_one_address() {
    let mut desk = Desk::new(1);
    let mut answered = 0;
    for number in 0..60_u16 {
        let address = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, number));
        let line = desk.connect_from(0, address);
        desk.say(line, &access(&format!("nobody-{number}"), "guess", None));
        answered += desk.routes(line).len();
    }
    assert!((20..40).contains(&answered), "{answered} at once");
}

#[test]
fn who_never_logs_in_makes_room_for_who_comes() {
    let mut desk = Desk::with(1, r#"{"limits": {"connections_max": 4}}"#);
    let ann = desk.user(0, "ann");
    let idle: Vec<Line> = (0..3).map(|_| desk.connect(0)).collect();
    let bob = desk.user(0, "bob");
    let gone = |desk: &Desk, line: &Line| desk.servers[0].gone.contains(&line.conn);
    assert_eq!(idle.iter().map(|line| gone(&desk, line)).collect::<Vec<_>>(), [true, false, false]);
    let more: Vec<Line> = (0..4).map(|_| desk.connect(0)).collect();
    desk.settle();
    assert!(gone(&desk, &idle[1]) && gone(&desk, &idle[2]) && gone(&desk, &more[0]));
    assert!(!gone(&desk, &ann) && !gone(&desk, &bob) && !gone(&desk, &more[3]), "users stay");
}

#[test]
fn who_asks_much_and_reads_nothing_is_told_that_the_server_is_busy() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    for _ in 0..16 {
        desk.ask(ann, post("bob", &"x".repeat(60_000), None));
    }
    let messages = desk.messages(bob);
    desk.acknowledge(bob, &messages);
    desk.advance(100);
    desk.routes(bob);
    desk.servers[0].is_slow = true;
    let history = Some(History { limit: Some(16), ..History::default() });
    let question = Route { history, ..messages_request(messages_request::Type::User, "ann") };
    for _ in 0..40 {
        desk.say(bob, &question);
    }
    let bytes = desk.bytes(bob);
    assert!((2_000_000..7_000_000).contains(&bytes.len()), "{} bytes", bytes.len());
    desk.acknowledge(bob, &messages);
    assert_eq!(desk.routes(bob), [], "nor is it told what it knows");
    desk.servers[0].drain(bob);
    desk.settle();
    desk.acknowledge(bob, &messages);
    let told = desk.routes(bob).into_iter().flat_map(|route| route.read_by);
    assert_eq!(told.map(|read| read.position.sequence).collect::<Vec<_>>(), [16]);
    assert_eq!(code(&desk.ask(bob, question)), ErrorCode::None, "it is asked again later");
}

#[test]
fn messages_are_numbered_from_1() {
    let mut desk = Desk::new(1);
    let ann = desk.user(0, "ann");
    assert_eq!(code(&desk.ask(ann, post("ann", "1", Some(1)))), ErrorCode::None);
    assert_eq!(code(&desk.ask(ann, post("ann", "none of them", Some(0)))), ErrorCode::Invalid);
    assert_eq!(code(&desk.ask(ann, post("ann", "2", Some(2)))), ErrorCode::None);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_kept() {
    let mut desk = Desk::new(1);
    desk.is_up = false;
    for _ in 0..100 {
        let line = desk.connect(0);
        desk.say(line, &access("ann", PASSWORD, None));
        desk.close(line);
    }
    assert_eq!(desk.servers[0].messenger.front.steps.len(), 0);
}
