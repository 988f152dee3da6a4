//! A client of the chat, as tests need one: it sends what it is told and shows what comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::TcpStream;

use ovid::wire::LengthCutter;
use ovid::wire::proto::{
    ConversationsRequest, ErrorCode, Login, Message, Position, Response, Route, User, message, put_frame,
    route, user,
};
use prost::Message as _;

use crate::grid::{LIMIT, wait_until};

/// A connection of a client.
pub(crate) struct Client {
    stream: TcpStream,
    cutter: LengthCutter,
    read: VecDeque<Route>,
    ids: i64,
}

impl Client {
    /// A connection to a server that listens; none if it does not.
    pub(crate) fn connect(at: &str) -> Option<Self> {
        let stream = TcpStream::connect(at).ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.set_write_timeout(Some(LIMIT)).expect("a limit");
        Some(Self { stream, cutter: LengthCutter::new(1 << 20), read: VecDeque::new(), ids: 0 })
    }

    /// A session of the user `name`, who is registered if need be, on the server at an address: asked for until it is there, as a client does that is told "busy" or "unknown".
    pub(crate) fn log_in(at: &str, name: &str, have: &[Position]) -> Self {
        let mut action = user::Action::Register;
        let mut client = None;
        wait_until(&format!("{name} is logged in at {at}"), || {
            let Some(mut fresh) = Self::connect(at) else { return false };
            let answer = fresh.ask(user_route(name, action, have.to_vec()));
            if answer.as_ref().and_then(refusal) == Some(ErrorCode::NameTaken) {
                action = user::Action::Access;
            }
            let is_in = answer.as_ref().is_some_and(is_done);
            client = Some(fresh);
            is_in
        });
        client.expect("just made")
    }

    /// Sends a request; how it is called.
    pub(crate) fn send(&mut self, route: Route) -> i64 {
        self.send_all([route])
    }

    /// Sends requests in one write; how the last one is called.
    pub(crate) fn send_all(&mut self, routes: impl IntoIterator<Item = Route>) -> i64 {
        let mut frames = Vec::new();
        for mut route in routes {
            self.ids += 1;
            route.id = self.ids;
            put_frame(&route, &mut frames);
        }
        // What a dead server does not take is not answered either.
        let _ = self.stream.write_all(&frames);
        self.ids
    }

    /// The next Route; `None` once the connection is gone.
    pub(crate) fn next(&mut self) -> Option<Route> {
        while self.read.is_empty() {
            let mut bytes = [0; 16_384];
            let length = match self.stream.read(&mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing has come in {LIMIT:?}")
                }
                Err(_) => 0,
            };
            let mut rest = &bytes[..length];
            if rest.is_empty() {
                return None;
            }
            while !rest.is_empty() {
                let frames = self.cutter.cut(&mut rest).expect("short frames");
                self.read.extend(frames.map(|frame| Route::decode(frame).expect("a Route")));
            }
        }
        self.read.pop_front()
    }

    /// Asks, and takes the answer; messages that come before it are kept for later. `None` once the connection is gone.
    pub(crate) fn ask(&mut self, route: Route) -> Option<Route> {
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

    /// Posts messages under these numbers until each is accepted, as a client does that is told "busy" or "unknown".
    pub(crate) fn post_all(&mut self, to: &str, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            wait_until(&format!("message {number} is accepted"), || {
                is_done(&self.ask(post(to, number)).expect("the server lives"))
            });
        }
    }

    /// Posts messages under these numbers, a thousand under way at a time, until each is accepted.
    pub(crate) fn post_many(&mut self, to: &str, numbers: std::ops::RangeInclusive<u64>) {
        let (mut next, last) = numbers.into_inner();
        while next <= last {
            let batch: Vec<u64> = (next..=last).take(1000).collect();
            let last_id = self.send_all(batch.iter().map(|number| post(to, *number)));
            let first_id = last_id + 1 - i64::try_from(batch.len()).expect("small");
            let mut accepted = BTreeSet::new();
            let mut answers = 0;
            while answers < batch.len() {
                let answer = self.next().expect("the server lives");
                if (first_id..=last_id).contains(&answer.id) {
                    answers += 1;
                    if is_done(&answer) {
                        accepted.insert(next + (answer.id - first_id).unsigned_abs());
                    }
                }
            }
            // Behind one that was not accepted none is.
            next += (next..=last).take_while(|number| accepted.contains(number)).count() as u64;
        }
    }

    /// Says that all these have been read.
    pub(crate) fn acknowledge(&mut self, heard: &Heard) {
        let mut last = BTreeMap::new();
        for (conversation, sequence) in &heard.seen {
            last.insert(*conversation, *sequence);
        }
        let position = |(conversation, sequence)| Position { conversation, sequence };
        let acknowledged = last.into_iter().map(position).collect();
        self.send(Route { acknowledged, ..Route::default() });
    }

    /// How many messages of its conversations the user has not read.
    pub(crate) fn unread(&mut self) -> u64 {
        let conversations_request = Some(ConversationsRequest {});
        let answer = self.ask(Route { conversations_request, ..Route::default() }).expect("the server lives");
        let conversations = answer.conversations.expect("they were asked for");
        conversations.entries.iter().map(|entry| entry.last - entry.read).sum()
    }

    /// Waits for the next messages that are pushed, and puts what was not seen before behind the others.
    pub(crate) fn hear(&mut self, heard: &mut Heard) {
        let before = heard.messages.len();
        while heard.messages.len() == before {
            let route = self.next().expect("the server lives");
            heard.take(messages_of(route));
        }
    }

    /// The same until there are so many.
    pub(crate) fn hear_upto(&mut self, heard: &mut Heard, count: usize) {
        while heard.messages.len() < count {
            self.hear(heard);
        }
    }
}

/// The messages that a user has got, each once.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) seen: BTreeSet<(u64, u64)>,
    pub(crate) messages: Vec<Message>,
}

impl Heard {
    fn take(&mut self, messages: Vec<Message>) {
        for message in messages {
            let Position { conversation, sequence } = message.position.expect("a place");
            if self.seen.insert((conversation, sequence)) {
                self.messages.push(message);
            }
        }
    }

    /// What they say.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.payload.as_str()).collect()
    }
}

/// Registers a user, or logs them in. Of each user there is one client instance.
pub(crate) fn user_route(name: &str, action: user::Action, have: Vec<Position>) -> Route {
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

/// The message that a client instance counts as this one.
pub(crate) fn post(to: &str, number: u64) -> Route {
    let message = Message {
        r#type: message::Type::Single.into(),
        payload: text(number),
        receiver_id: to.to_owned(),
        action: message::Action::Post.into(),
        number: Some(number),
        ..Message::default()
    };
    Route { payload: Some(route::Payload::Message(message)), ..Route::default() }
}

/// What the message of this number says.
pub(crate) fn text(number: u64) -> String {
    format!("message {number}")
}

/// What messages of these numbers say.
pub(crate) fn texts(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

/// The messages that a Route carries.
pub(crate) fn messages_of(route: Route) -> Vec<Message> {
    match route.payload {
        Some(route::Payload::MessagesResponse(response)) => response.messages,
        _ => Vec::new(),
    }
}

/// Whether a request was carried out.
pub(crate) fn is_done(answer: &Route) -> bool {
    matches!(&answer.payload, Some(route::Payload::Response(Response { success: Some(true), .. })))
}

/// Why a request was not carried out; `None` if it was.
pub(crate) fn refusal(answer: &Route) -> Option<ErrorCode> {
    match &answer.payload {
        Some(route::Payload::Response(response)) if response.success != Some(true) => {
            Some(response.error_code.and_then(|code| code.try_into().ok()).expect("a reason"))
        }
        _ => None,
    }
}
