//! The client against a server that is played.

mod breaking;

use prost::Message as _;

use super::*;
use crate::agents::messenger::{ConversationId, Sequence};
use crate::rng::Rng;
use crate::wire::LengthFrames;
use crate::wire::proto::{
    MessagesResponse, Position, Posted, Response, Welcome, message, messages_request, route, user,
};

fn server(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 4000))
}

/// A client with what it has asked for.
struct Desk {
    client: Client,
    now: Time,
    dials: Vec<(u64, SocketAddr)>,
    hung_up: Vec<u64>,
    sent: Vec<Route>,
    events: Vec<ClientEvent>,
}

impl Desk {
    fn new(options: ClientOptions, seed: u64) -> Self {
        let client = Client::new(options, Rng::new(seed));
        let (dials, hung_up, sent, events) = Default::default();
        Self { client, now: Time::ZERO, dials, hung_up, sent, events }
    }

    fn with_servers(servers: u8) -> Self {
        let servers = (1..=servers).map(server).collect();
        Self::new(ClientOptions::new("ann", "secret", servers), 1)
    }

    /// A client that has logged in with the first server.
    fn logged_in(servers: u8) -> Self {
        let mut desk = Self::with_servers(servers);
        desk.client.connect(desk.now, &[]);
        desk.log_in();
        desk
    }

    fn gather(&mut self) {
        for output in self.client.take_outputs() {
            match output {
                ClientOutput::Dial { dial, to } => self.dials.push((dial, to)),
                ClientOutput::HangUp { dial } => self.hung_up.push(dial),
                ClientOutput::Event(event) => self.events.push(event),
                ClientOutput::Frames { bytes, .. } => {
                    let (frames, rest) = LengthFrames::split(&bytes, 1 << 20).expect("short frames");
                    assert!(rest.is_empty(), "whole frames");
                    self.sent.extend(frames.map(|frame| Route::decode(frame).expect("a Route")));
                }
            }
        }
    }

    fn dial(&self) -> u64 {
        self.dials.last().expect("it has dialled").0
    }

    fn open(&mut self) -> bool {
        let is_wanted = self.client.opened(self.now, self.dial());
        self.gather();
        is_wanted
    }

    fn say(&mut self, route: &Route) {
        let mut bytes = Vec::new();
        put_frame(route, &mut bytes);
        let (frames, _) = LengthFrames::split(&bytes, 1 << 20).expect("a short frame");
        self.client.frames(self.now, self.dial(), frames);
        self.gather();
    }

    fn log_in(&mut self) -> Route {
        self.gather();
        assert!(self.open());
        let asked = self.sent.pop().expect("it wants to log in");
        let welcome = Welcome { token: Some(Bytes::from_static(b"token")), ..Welcome::default() };
        self.say(&Route { welcome: Some(welcome), ..answer(asked.id, None) });
        asked
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(deadline) = self.client.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.client.timeout(self.now);
            self.gather();
        }
        self.now = until;
    }

    fn break_link(&mut self) {
        self.client.closed(self.now, self.dial());
        self.gather();
    }

    fn send(&mut self, payload: &str) -> u64 {
        let ticket = self.client.send(self.now, Recipient::User("bob".into()), payload);
        self.gather();
        ticket
    }

    /// The messages that were sent since this was asked last: their numbers and payloads. The ids are left for answers.
    fn messages(&mut self) -> Vec<(i64, u64, String)> {
        let messages = std::mem::take(&mut self.sent).into_iter().filter_map(|route| match route.payload {
            Some(route::Payload::Message(message)) => {
                Some((route.id, message.number.expect("a number"), message.payload))
            }
            _ => None,
        });
        messages.collect()
    }

    fn numbers(&mut self) -> Vec<u64> {
        self.messages().into_iter().map(|(_, number, _)| number).collect()
    }

    fn accepted(&mut self) -> Vec<u64> {
        let ticket = |event| match event {
            ClientEvent::Accepted { ticket, .. } => Some(ticket),
            _ => None,
        };
        std::mem::take(&mut self.events).into_iter().filter_map(ticket).collect()
    }
}

fn answer(id: i64, code: Option<ErrorCode>) -> Route {
    let response = Response {
        success: Some(code.is_none()),
        message: code.map(|_| "why".to_owned()),
        error_code: code.map(Into::into),
    };
    let payload = Some(route::Payload::Response(response));
    Route { id, path: route::Path::Response.into(), payload, ..Route::default() }
}

fn push(sequence: u64, payload: &str) -> Route {
    let message = Message {
        r#type: message::Type::Single.into(),
        sender_id: "bob".into(),
        receiver_id: "ann".into(),
        payload: payload.into(),
        position: Some(Position { conversation: 1, sequence }),
        ..Message::default()
    };
    let response = MessagesResponse {
        r#type: messages_request::Type::User.into(),
        id: Some("ann".into()),
        messages: vec![message],
    };
    Route { payload: Some(route::Payload::MessagesResponse(response)), ..Route::default() }
}

#[test]
fn it_logs_in_by_password_and_later_by_token() {
    let mut desk = Desk::with_servers(2);
    desk.client.connect(desk.now, &[]);
    let asked = desk.log_in();
    let (Some(route::Payload::User(user)), Some(login)) = (&asked.payload, &asked.login) else {
        panic!("{asked:?}")
    };
    assert_eq!((user.uname.as_str(), user.password.as_deref()), ("ann", Some("secret")));
    assert_eq!((user.action(), login.client.as_ref().map(Bytes::len)), (user::Action::Access, Some(16)));
    assert_eq!(std::mem::take(&mut desk.events), [ClientEvent::LoggedIn { server: server(1) }]);
    desk.break_link();
    let again = desk.log_in();
    let (Some(route::Payload::User(user)), Some(login_again)) = (&again.payload, &again.login) else {
        panic!("{again:?}")
    };
    assert_eq!((&user.password, login_again.token.as_deref()), (&None, Some(&b"token"[..])));
    assert_eq!(login_again.client, login.client, "its numbers count on");
    assert_eq!(desk.events, [ClientEvent::Disconnected, ClientEvent::LoggedIn { server: server(2) }]);
}

#[test]
fn a_name_that_is_taken_and_a_token_that_is_refused_lead_to_the_password_and_a_wrong_one_to_an_end() {
    let mut desk = Desk::new(
        ClientOptions { register: true, ..ClientOptions::new("ann", "secret", vec![server(1)]) },
        1,
    );
    desk.client.connect(desk.now, &[]);
    desk.gather();
    desk.open();
    let action = |route: &Route| match &route.payload {
        Some(route::Payload::User(user)) => (user.action(), user.password.is_some()),
        other => panic!("{other:?}"),
    };
    let asked = desk.sent.pop().expect("it wants to be registered");
    assert_eq!(action(&asked), (user::Action::Register, true));
    desk.say(&answer(asked.id, Some(ErrorCode::NameTaken)));
    let asked = desk.sent.pop().expect("it wants to log in");
    assert_eq!(action(&asked), (user::Action::Access, true));
    let welcome = Welcome { token: Some(Bytes::from_static(b"old")), ..Welcome::default() };
    desk.say(&Route { welcome: Some(welcome), ..answer(asked.id, None) });
    desk.break_link();
    desk.wait(100);
    assert!(desk.open());
    let asked = desk.sent.pop().expect("it wants to log in");
    assert_eq!(action(&asked), (user::Action::Access, false));
    desk.say(&answer(asked.id, Some(ErrorCode::WrongPassword)));
    let asked = desk.sent.pop().expect("it wants to log in");
    assert_eq!(action(&asked), (user::Action::Access, true));
    desk.say(&answer(asked.id, Some(ErrorCode::WrongPassword)));
    assert_eq!(desk.events.pop(), Some(ClientEvent::LogInFailed { why: "why".into() }));
    assert_eq!((desk.hung_up.len(), desk.client.deadline()), (1, None));
}

#[test]
fn what_was_not_answered_is_sent_again_under_its_number_and_told_of_once() {
    let mut desk = Desk::logged_in(2);
    let tickets: Vec<u64> = ["a", "b", "c"].map(|text| desk.send(text)).into();
    let sent = desk.messages();
    assert_eq!(sent.iter().map(|(_, number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    let posted = Posted { position: Some(Position { conversation: 9, sequence: 4 }), ..Posted::default() };
    desk.say(&Route { posted: Some(posted), ..answer(sent[0].0, None) });
    let place = Place { conversation: ConversationId(9), sequence: Sequence(4) };
    assert_eq!(desk.events.pop(), Some(ClientEvent::Accepted { ticket: tickets[0], place: Some(place) }));
    desk.break_link();
    desk.log_in();
    let again = desk.messages();
    let texts: Vec<_> = again.iter().map(|(_, number, text)| (*number, text.as_str())).collect();
    assert_eq!(texts, [(2, "b"), (3, "c")]);
    // The answers may come twice, and those of the connection before, too.
    for id in [again[0].0, again[0].0, sent[1].0, again[1].0] {
        desk.say(&answer(id, None));
    }
    assert_eq!(desk.accepted(), tickets[1..]);
    assert_eq!(desk.client.waiting(), 0);
}

#[test]
fn a_window_is_under_way_and_what_is_busy_is_tried_again_from_there() {
    let mut desk = Desk::logged_in(1);
    desk.client.sending.limit(3);
    for text in ["a", "b", "c", "d", "e"] {
        desk.send(text);
    }
    let sent = desk.messages();
    assert_eq!(sent.len(), 3);
    desk.say(&answer(sent[0].0, None));
    assert_eq!(desk.numbers(), [4]);
    desk.say(&answer(sent[1].0, Some(ErrorCode::Busy)));
    desk.say(&answer(sent[2].0, Some(ErrorCode::OutOfOrder)));
    assert_eq!(desk.numbers(), [0; 0]);
    desk.wait(20);
    assert_eq!(desk.numbers(), [2, 3, 4], "once for both answers");
    // An answer to what was sent before says nothing about what is under way now; unless it says that a message is in.
    desk.say(&answer(sent[2].0, Some(ErrorCode::OutOfOrder)));
    desk.wait(1);
    assert_eq!(desk.numbers(), [0; 0]);
    desk.say(&answer(sent[1].0, None));
    assert_eq!(desk.numbers(), [5]);
    assert_eq!(desk.accepted(), [1, 2]);
}

#[test]
fn a_message_that_is_refused_for_good_uses_up_its_number() {
    let mut desk = Desk::logged_in(1);
    for text in ["a", "b"] {
        desk.send(text);
    }
    let sent = desk.messages();
    desk.say(&answer(sent[0].0, Some(ErrorCode::NotFound)));
    let refused = ClientEvent::Refused { ticket: 1, code: ErrorCode::NotFound, why: "why".into() };
    assert_eq!(desk.events.pop(), Some(refused));
    desk.say(&answer(sent[1].0, None));
    assert_eq!(desk.accepted(), [2]);
    desk.send("c");
    assert_eq!(desk.numbers(), [3]);
}

#[test]
fn a_client_that_was_forgotten_begins_anew_with_what_was_never_sent() {
    let mut desk = Desk::logged_in(1);
    desk.client.sending.limit(1);
    for text in ["a", "b"] {
        desk.send(text);
    }
    let sent = desk.messages();
    assert_eq!(sent.len(), 1);
    desk.events.clear();
    desk.say(&answer(sent[0].0, Some(ErrorCode::ClientForgotten)));
    let [ClientEvent::Refused { ticket: 1, code: ErrorCode::ClientForgotten, .. }] = desk.events[..] else {
        panic!("{:?}", desk.events)
    };
    let asked = desk.sent.pop().expect("it logs in again");
    desk.say(&answer(asked.id, None));
    let texts: Vec<_> = desk.messages().into_iter().map(|(_, number, text)| (number, text)).collect();
    assert_eq!(texts, [(1, "b".to_owned())]);
}

#[test]
fn what_was_had_is_dropped_and_what_was_told_of_is_acknowledged_on_each_connection() {
    let mut desk = Desk::logged_in(2);
    for sequence in [1, 2, 2, 1, 4] {
        desk.say(&push(sequence, "text"));
    }
    let told: Vec<u64> = desk
        .events
        .iter()
        .filter_map(|event| match event {
            ClientEvent::Message { spot, .. } => Some(spot.place.sequence.0),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 2, 4]);
    let acknowledged = |desk: &mut Desk| {
        let routes = std::mem::take(&mut desk.sent);
        routes.into_iter().flat_map(|route| route.acknowledged).map(|at| at.sequence).collect::<Vec<_>>()
    };
    assert_eq!(acknowledged(&mut desk), [0; 0]);
    desk.wait(20);
    assert_eq!(acknowledged(&mut desk), [4]);
    desk.break_link();
    let asked = desk.log_in();
    assert_eq!(asked.login.expect("a login").have, [Position { conversation: 1, sequence: 4 }]);
    assert_eq!(acknowledged(&mut desk), [4], "the one before may be lost");
}

#[test]
fn a_silent_server_is_left_for_the_next_within_two_seconds() {
    let mut desk = Desk::logged_in(2);
    desk.wait(599);
    assert_eq!(desk.sent, []);
    desk.wait(1);
    assert_eq!(desk.sent.pop().map(|route| route.path()), Some(route::Path::Ping));
    // Whatever it says shows that it lives.
    desk.wait(300);
    desk.say(&push(1, "text"));
    desk.wait(599);
    desk.sent.clear();
    desk.wait(602);
    assert_eq!(desk.hung_up, [1]);
    assert_eq!(desk.dials, [(1, server(1)), (2, server(2))]);
    assert!(!desk.client.opened(desk.now, 1), "nobody wants the old one");
    desk.log_in();
    assert!(desk.client.is_on());
    assert!(desk.now.since(Time::ZERO) < Duration::from_millis(900 + 2000));
}

#[test]
fn when_nobody_is_there_all_servers_are_tried_more_and_more_seldom() {
    let mut desk = Desk::with_servers(3);
    desk.client.connect(desk.now, &[]);
    desk.gather();
    let mut rounds = Vec::new();
    for _ in 0..12 {
        rounds.push(desk.now);
        for number in 1..=3 {
            assert_eq!(desk.dials.pop().map(|(_, to)| to), Some(server(number)));
            desk.client.unreachable(desk.now, desk.client.link.dial().expect("it dials"));
            desk.gather();
        }
        assert_eq!(desk.dials, [], "it waits");
        desk.now = desk.client.deadline().expect("it goes on");
        desk.client.timeout(desk.now);
        desk.gather();
    }
    let pauses: Vec<Duration> = rounds.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(pauses[0] <= Duration::from_millis(50), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(2)), "{pauses:?}");
    assert!(pauses[10] >= Duration::from_secs(1), "{pauses:?}");
    // Discovery knows somebody: at once.
    desk.client.unreachable(desk.now, desk.client.link.dial().expect("it dials"));
    desk.gather();
    assert_eq!(desk.dials.last().map(|(_, to)| *to), Some(server(2)));
}

#[test]
fn what_is_asked_is_answered_and_be_it_that_the_connection_is_lost() {
    let mut desk = Desk::logged_in(1);
    let first = desk.client.ask(desk.now, Route::default());
    let second = desk.client.ask(desk.now, Route::default());
    desk.gather();
    let id = desk.sent[0].id;
    desk.events.clear();
    desk.say(&answer(id, None));
    assert_eq!(desk.events, [ClientEvent::Answer { request: first, answer: Answer::Done }]);
    desk.break_link();
    let [_, ClientEvent::Disconnected, ClientEvent::Answer { request, answer: Answer::Failed { code, .. } }] =
        &desk.events[..]
    else {
        panic!("{:?}", desk.events)
    };
    assert_eq!((*request, *code), (second, ErrorCode::Unknown));
}

#[test]
fn a_cluster_that_was_begun_anew_is_told_from_the_one_before() {
    let mut desk = Desk::with_servers(1);
    desk.client.connect(desk.now, &[]);
    let in_cluster = |desk: &mut Desk, cluster: &'static [u8]| {
        let asked = desk.sent.pop().expect("it wants to log in");
        let welcome = Welcome { cluster: Some(Bytes::from_static(cluster)), ..Welcome::default() };
        desk.say(&Route { welcome: Some(welcome), ..answer(asked.id, None) });
        asked.login.expect("a log-in")
    };
    desk.gather();
    assert!(desk.open());
    let first = in_cluster(&mut desk, b"one");
    desk.say(&push(7, "seen"));
    desk.send("lost?");
    desk.sent.clear();
    desk.break_link();
    assert!(desk.open());
    let again = in_cluster(&mut desk, b"two");
    assert_eq!((&again.client, again.have.len()), (&first.client, 1));
    assert_eq!(again.cluster.as_deref(), Some(&b"one"[..]), "what it has, it has there");
    // It is about to say what it has here: what it is sent before that comes again.
    desk.say(&push(2, "for another instance"));
    // It logs in once more, on the same connection.
    let anew = in_cluster(&mut desk, b"two");
    assert!(anew.client != first.client && anew.have.is_empty());
    assert_eq!(anew.cluster.as_deref(), Some(&b"two"[..]));
    desk.say(&push(2, "of this cluster"));
    let shown = |event: &ClientEvent| matches!(event, ClientEvent::Message { message, .. } if message.payload == "of this cluster");
    assert_eq!(desk.events.iter().filter(|event| shown(event)).count(), 1);
    let forgotten =
        |event: &ClientEvent| matches!(event, ClientEvent::Refused { code: ErrorCode::ClientForgotten, .. });
    assert_eq!(desk.events.iter().filter(|event| forgotten(event)).count(), 1);
    assert!(desk.client.is_on());
}

#[test]
fn a_message_that_nobody_would_take_is_refused_at_once() {
    let mut desk = Desk::with_servers(1);
    desk.client.connect(desk.now, &[]);
    desk.log_in();
    desk.send(&"x".repeat(PAYLOAD_BYTES_MOST + 1));
    assert_eq!(desk.client.waiting(), 0);
    let refused = |event: &ClientEvent| {
        matches!(event, ClientEvent::Refused { ticket: 1, code: ErrorCode::TooLong, .. })
    };
    assert!(desk.events.iter().any(refused));
    desk.send("short");
    assert_eq!(desk.numbers(), [1]);
}
