//! Servers that part, fall behind, and have too much to do.

use super::super::desk::*;
use crate::agent::{Agent as _, Refusal};
use crate::wire::proto::{ErrorCode, Route, WhoRequest};

#[test]
fn what_the_log_does_not_answer_in_time_is_answered_with_unknown() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(1, "bob"));
    desk.is_up = false;
    let newcomer = desk.connect(0);
    desk.say(newcomer, &access("bob", PASSWORD, None));
    desk.say(newcomer, &post("ann", "behind the log-in", None));
    for number in 1..=3 {
        desk.say(ann, &Route { id: number, ..post("bob", "hello", Some(number.cast_unsigned())) });
    }
    desk.say(ann, &Route { id: 4, ..post("nobody", "hello", None) });
    desk.advance(4_900);
    assert_eq!(desk.routes(ann), []);
    desk.advance(200);
    let answers: Vec<_> = desk.routes(ann).iter().map(|answer| (answer.id, code(answer))).collect();
    assert_eq!(answers, [1, 2, 3, 4].map(|id| (id, ErrorCode::Unknown)));
    let answers: Vec<_> = desk.routes(newcomer).iter().map(code).collect();
    assert_eq!(answers, [ErrorCode::Unknown, ErrorCode::NotLoggedIn]);
    // What is committed in the end is there once, however often it is asked for again.
    desk.is_up = true;
    for number in 1..=3 {
        assert_eq!(code(&desk.ask(ann, post("bob", "hello", Some(number)))), ErrorCode::None);
    }
    assert_eq!(desk.messages(bob).len(), 3);
}

#[test]
fn what_the_log_does_not_take_is_answered_by_what_is_known_of_it() {
    let mut desk = Desk::new(1);
    let ann = desk.user(0, "ann");
    desk.is_up = false;
    let cases = [
        (Refusal::Busy, ErrorCode::Busy),
        (Refusal::Failed("disk".into()), ErrorCode::Unknown),
        (Refusal::NoLog, ErrorCode::Invalid),
    ];
    for (why, expected) in cases {
        desk.say(ann, &post("ann", "hello", None));
        desk.refuse_proposals(&why);
        assert_eq!(desk.routes(ann).iter().map(code).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn a_log_that_takes_nothing_does_not_lose_who_has_read_what() {
    let mut desk = Desk::new(1);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(0, "bob"));
    desk.ask(ann, post("bob", "1", None));
    let messages = desk.messages(bob);
    desk.is_up = false;
    desk.acknowledge(bob, &messages);
    desk.advance(100);
    desk.refuse_proposals(&Refusal::Busy);
    desk.is_up = true;
    desk.advance(100);
    desk.close(bob);
    let bob = desk.log_in(0, "bob", login("bob"));
    assert_eq!(desk.texts(bob), [""; 0]);
}

#[test]
fn a_client_with_too_much_under_way_is_told_that_the_server_is_busy() {
    let mut desk = Desk::with(1, r#"{"limits": {"in_flight_max": 4}}"#);
    let ann = desk.user(0, "ann");
    desk.is_up = false;
    for id in 1..=6 {
        desk.say(ann, &Route { id, ..post("ann", "hello", None) });
    }
    let answers: Vec<_> = desk.routes(ann).iter().map(|answer| (answer.id, code(answer))).collect();
    assert_eq!(answers, [(5, ErrorCode::Busy), (6, ErrorCode::Busy)]);
    desk.is_up = true;
    let ids: Vec<_> = desk.routes(ann).iter().map(|answer| (answer.id, code(answer))).collect();
    assert_eq!(ids, [1, 2, 3, 4].map(|id| (id, ErrorCode::None)));
    assert_eq!(code(&desk.ask(ann, post("ann", "now", None))), ErrorCode::None);
}

#[test]
fn when_the_state_is_replaced_in_mid_run_everybody_has_to_come_again_and_misses_nothing() {
    let mut desk = Desk::new(2);
    let (ann, bob) = (desk.user(0, "ann"), desk.user(1, "bob"));
    desk.ask(ann, post("bob", "1", None));
    assert_eq!(desk.texts(bob), ["1"]);
    desk.is_up = false;
    desk.say(bob, &post("ann", "lost?", None));
    desk.is_up = true;
    desk.replace(1, 0);
    assert!(desk.servers[1].gone.contains(&bob.conn));
    assert!(!desk.servers[0].gone.contains(&ann.conn));
    desk.ask(ann, post("bob", "2", None));
    let bob = desk.log_in(1, "bob", login("bob"));
    assert_eq!(desk.texts(bob), ["1", "2"]);
    assert_eq!(desk.texts(ann), ["lost?"], "what was proposed is not lost");
    let sessions =
        |server: &Server| server.messenger.counters().into_iter().find(|(name, _)| *name == "sessions");
    assert_eq!(sessions(&desk.servers[1]), Some(("sessions", 1)));
}

#[test]
fn who_is_there_is_known_after_the_state_was_replaced_too() {
    let mut desk = Desk::new(2);
    let (ann, _bob) = (desk.user(0, "ann"), desk.user(1, "bob"));
    desk.ask(ann, post("bob", "1", None));
    desk.advance(100);
    // Nobody tells others of that before the state of the other server is being replaced.
    desk.close(ann);
    desk.replace(1, 0);
    let bob = desk.log_in(1, "bob", login("bob"));
    desk.advance(100);
    let told = desk.ask(bob, Route { who: Some(WhoRequest::default()), ..Route::default() });
    let told = told.presence.expect("an answer").entries;
    assert_eq!(told.iter().map(|entry| (&*entry.user, entry.online)).collect::<Vec<_>>(), [("ann", false)]);
}

#[test]
fn a_server_that_starts_again_knows_its_users_and_their_tokens() {
    let mut desk = Desk::new(1);
    let line = desk.connect(0);
    let welcome = desk.ask(line, registration("ann", Some(login("ann")))).welcome.expect("a welcome");
    desk.restart(0, "{}");
    let line = desk.connect(0);
    let mut by_token = access("ann", "", Some(login("ann")));
    if let Some(login) = &mut by_token.login {
        login.token = welcome.token;
    }
    assert_eq!(code(&desk.ask(line, by_token)), ErrorCode::None);
}

#[test]
fn what_a_leader_wants_agreed_on_is_proposed_until_it_is() {
    let attrs = r#"{"limits": {"users_max": 1}}"#;
    let mut desk = Desk::silent(1, attrs);
    desk.refuse_proposals(&Refusal::Busy);
    desk.advance(1_500);
    desk.refuse_proposals(&Refusal::Failed("disk".into()));
    desk.is_up = true;
    desk.advance(1_500);
    let line = desk.connect(0);
    let answer = desk.ask(line, registration("ann", Some(login("ann"))));
    assert!(answer.welcome.expect("a welcome").token.is_some(), "there is a key");
    let line = desk.connect(0);
    assert_eq!(code(&desk.ask(line, registration("bob", None))), ErrorCode::Busy, "there is a limit");
}

#[test]
fn nobody_is_a_user_before_the_servers_have_agreed_on_their_key() {
    let mut desk = Desk::silent(2, "{}");
    desk.refuse_proposals(&Refusal::Busy);
    desk.is_up = true;
    let line = desk.connect(1);
    desk.say(line, &registration("ann", Some(login("ann"))));
    desk.advance(500);
    assert_eq!(desk.routes(line), [], "it waits");
    desk.advance(1_500);
    let answers = desk.routes(line);
    let welcome = answers[0].welcome.as_ref().expect("a welcome");
    assert!(welcome.cluster.is_some() && welcome.token.is_some());
}

#[test]
fn who_waits_for_a_key_that_does_not_come_is_told_so() {
    let mut desk = Desk::silent(2, "{}");
    desk.refuse_proposals(&Refusal::Busy);
    let line = desk.connect(1);
    desk.say(line, &registration("ann", Some(login("ann"))));
    // The servers agree, but on nothing new.
    for _ in 0..60 {
        desk.is_up = true;
        desk.advance(40);
        desk.is_up = false;
        desk.advance(60);
        desk.refuse_proposals(&Refusal::Busy);
    }
    assert_eq!(desk.routes(line).iter().map(code).collect::<Vec<_>>(), [ErrorCode::Unknown]);
}

#[test]
fn rows_that_are_not_understood_are_told_of_and_nobody_is_let_in() {
    let mut desk = Desk::new(1);
    desk.user(0, "ann");
    desk.restart_with_damage(0);
    let line = desk.connect(0);
    desk.settle();
    assert!(desk.servers[0].gone.contains(&line.conn));
    let about = desk.servers[0].messenger.about().expect("something");
    assert!(about.contains("not understood"), "{about}");
}
