//! The chat as processes: clients with real connections, passwords that are really hashed, servers that die.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ovid::wire::LengthCutter;
use ovid::wire::proto::{
    History, Login, Message, MessagesRequest, Position, Response, Route, User, message, messages_request,
    route, user,
};
use prost::Message as _;

use crate::boxes::Boxes;
use crate::grid::wait_until;
use crate::replicated::{MEMBERS, configuration_with, leader, start};

/// Cheap passwords, and ports that the kernel chooses.
const ATTRS: &str =
    r#", "clients": "127.0.0.1:0", "group_tag": "east", "password": {"memory_kib": 64, "passes": 1}"#;

/// A connection of a client.
struct Client {
    stream: TcpStream,
    cutter: LengthCutter,
    read: std::collections::VecDeque<Route>,
    ids: i64,
}

impl Client {
    /// Connects to the server on a box, once it can be connected to.
    fn connect(boxes: &Boxes, id: u16) -> Self {
        let mut session = boxes.attach(id, &format!("s{id}"));
        let mut at = String::new();
        wait_until("the server has a port for clients", || {
            at = session.ask("clients");
            at.starts_with("ok ")
        });
        let stream = TcpStream::connect(&at[3..]).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        Self { stream, cutter: LengthCutter::new(1 << 20), read: std::collections::VecDeque::new(), ids: 0 }
    }

    fn send(&mut self, mut route: Route) -> i64 {
        self.ids += 1;
        route.id = self.ids;
        let bytes = route.encode_to_vec();
        let mut frame = u32::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        frame.extend_from_slice(&bytes);
        // What a dead server does not take is not answered either.
        let _ = self.stream.write_all(&frame);
        self.ids
    }

    /// The next Route; `None` once the connection is gone.
    fn next(&mut self) -> Option<Route> {
        while self.read.is_empty() {
            let mut bytes = [0; 16_384];
            let length = self.stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
            let mut rest = &bytes[..length];
            while !rest.is_empty() {
                let frames = self.cutter.cut(&mut rest).expect("short frames");
                self.read.extend(frames.map(|frame| Route::decode(frame).expect("a Route")));
            }
        }
        self.read.pop_front()
    }

    /// Asks, and takes the answer; messages that come before it are kept for later.
    fn ask(&mut self, route: Route) -> Option<Route> {
        let id = self.send(route);
        let mut others = Vec::new();
        let answer = loop {
            match self.next()? {
                route if route.id == id => break route,
                other => others.push(other),
            }
        };
        for other in others.into_iter().rev() {
            self.read.push_front(other);
        }
        Some(answer)
    }

    /// The next message that is pushed.
    fn message(&mut self, seen: &mut BTreeSet<(u64, u64)>, into: &mut Vec<String>) {
        let before = into.len();
        while into.len() == before {
            let route = self.next().expect("the server lives");
            for message in messages_of(route) {
                let Position { conversation, sequence } = message.position.expect("a place");
                if seen.insert((conversation, sequence)) {
                    into.push(message.payload);
                }
            }
        }
    }
}

fn user_route(name: &str, action: user::Action, have: Vec<Position>) -> Route {
    let user = User {
        uname: name.to_owned(),
        password: Some(format!("password of {name}")),
        action: action.into(),
        ..User::default()
    };
    let mut client = [b'.'; 16];
    client[..name.len()].copy_from_slice(name.as_bytes());
    let login = Login { client: Some(client.to_vec().into()), have, ..Login::default() };
    Route { payload: Some(route::Payload::User(user)), login: Some(login), ..Route::default() }
}

fn post(to: &str, number: u64) -> Route {
    let message = Message {
        r#type: message::Type::Single.into(),
        payload: format!("message {number}"),
        receiver_id: to.to_owned(),
        action: message::Action::Post.into(),
        number: Some(number),
        ..Message::default()
    };
    Route { payload: Some(route::Payload::Message(message)), ..Route::default() }
}

fn messages_of(route: Route) -> Vec<Message> {
    match route.payload {
        Some(route::Payload::MessagesResponse(response)) => response.messages,
        _ => Vec::new(),
    }
}

fn is_done(answer: &Route) -> bool {
    matches!(&answer.payload, Some(route::Payload::Response(Response { success: Some(true), .. })))
}

/// Asks on this server until it is done, as a client does that is told "busy" or "unknown".
fn log_in(boxes: &Boxes, id: u16, name: &str, have: &[Position]) -> Client {
    let mut client = Client::connect(boxes, id);
    let mut action = user::Action::Register;
    wait_until("the user is logged in", || {
        let answer = client.ask(user_route(name, action, have.to_vec())).expect("the server lives");
        action = user::Action::Access;
        is_done(&answer)
    });
    client
}

#[test]
fn messages_arrive_once_and_in_order_although_the_leader_is_killed() {
    let mut boxes = Boxes::new(3, &configuration_with("messenger", ATTRS, ""));
    start(&mut boxes, &MEMBERS);
    let first = leader(&boxes, &MEMBERS);
    let rest: Vec<u16> = MEMBERS.into_iter().filter(|id| *id != first).collect();
    let mut bob = log_in(&boxes, rest[0], "bob", &[]);
    let mut ann = log_in(&boxes, first, "ann", &[]);
    let (mut seen, mut got) = (BTreeSet::new(), Vec::new());
    for number in 1..=50 {
        assert!(is_done(&ann.ask(post("bob", number)).expect("the server lives")));
    }
    while got.len() < 50 {
        bob.message(&mut seen, &mut got);
    }
    for number in 51..=200 {
        ann.send(post("bob", number));
    }
    boxes.kill(first);
    // Which of those were accepted nobody knows; another server does, and takes the others.
    let mut ann = log_in(&boxes, rest[1], "ann", &[]);
    let mut next = 51;
    wait_until("all are accepted", || {
        while next <= 250 {
            if !is_done(&ann.ask(post("bob", next)).expect("the server lives")) {
                return false;
            }
            next += 1;
        }
        true
    });
    while got.len() < 250 {
        bob.message(&mut seen, &mut got);
    }
    let expected: Vec<String> = (1..=250).map(|number| format!("message {number}")).collect();
    assert_eq!(got, expected);
    // The one that was killed has missed some, and serves all.
    boxes.start(first, &[]);
    let conversation = seen.first().expect("there are some").0;
    let mut bob = log_in(&boxes, first, "bob", &[Position { conversation, sequence: 240 }]);
    let (mut seen, mut again) = (BTreeSet::new(), Vec::new());
    while again.len() < 10 {
        bob.message(&mut seen, &mut again);
    }
    assert_eq!(again, expected[240..]);
    let request = MessagesRequest { r#type: messages_request::Type::User.into(), id: "ann".into() };
    let history = History { before: Some(20), limit: Some(5), ..History::default() };
    let payload = Some(route::Payload::MessagesRequest(request));
    let answer =
        bob.ask(Route { payload, history: Some(history), ..Route::default() }).expect("the server lives");
    let texts: Vec<String> = messages_of(answer).into_iter().map(|message| message.payload).collect();
    assert_eq!(texts, expected[14..19]);
}

#[test]
fn a_wrong_password_is_found_out_by_the_hash_on_every_server() {
    let mut boxes = Boxes::new(3, &configuration_with("messenger", ATTRS, ""));
    start(&mut boxes, &MEMBERS);
    leader(&boxes, &MEMBERS);
    log_in(&boxes, 0, "ann", &[]);
    for id in MEMBERS {
        let mut client = Client::connect(&boxes, id);
        let mut wrong = user_route("ann", user::Action::Access, Vec::new());
        if let Some(route::Payload::User(user)) = &mut wrong.payload {
            user.password = Some("a guess".into());
        }
        let answer = client.ask(wrong).expect("the server lives");
        let Some(route::Payload::Response(response)) = answer.payload else { panic!("no answer") };
        assert_eq!((response.success, response.error_code), (Some(false), Some(3)));
        let right = user_route("ann", user::Action::Access, Vec::new());
        assert!(is_done(&client.ask(right).expect("the server lives")));
    }
}
