//! Messages on their way: numbered, in a window, sent again until they are answered.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Recipient, put_frame};
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Message, Route, message, route};

/// Messages that were not answered, in their order.
#[derive(Debug)]
pub(super) struct Sending {
    waiting: VecDeque<Outgoing>,
    /// The number of the first of them.
    first: u64,
    tickets: u64,
    /// How many of them are under way on this connection, counted from the first.
    under_way: usize,
    window: usize,
    /// Which going is on. An answer of an earlier one says nothing about what has to be sent again.
    going: u64,
    /// When it goes on after a server wanted it to wait, and for how long that was.
    again_at: Option<Time>,
    pause: Duration,
}

#[derive(Debug)]
struct Outgoing {
    ticket: u64,
    to: Recipient,
    payload: String,
    /// Whether a server may have it.
    was_sent: bool,
    /// Whether it was answered before one that stands in front of it.
    is_settled: bool,
}

/// What an answer to a message comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Settled {
    /// It is told of.
    Ticket(u64),
    /// It was known, or says nothing that counts any more.
    Nothing,
    /// The server does not know this client instance any more.
    Forgotten,
}

impl Sending {
    pub(super) fn new(window: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 1,
            tickets: 0,
            under_way: 0,
            window: window.max(1),
            going: 0,
            again_at: None,
            pause: PAUSE_MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn again_at(&self) -> Option<Time> {
        self.again_at
    }

    /// The number of the first message that was not answered, or that comes next.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// What the next message is called.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(super) fn add(&mut self, to: Recipient, payload: String) -> u64 {
        let ticket = self.ticket();
        self.waiting.push_back(Outgoing { ticket, to, payload, was_sent: false, is_settled: false });
        ticket
    }

    /// A server takes at most so many at once.
    pub(super) fn limit(&mut self, in_flight_max: usize) {
        self.window = self.window.min(in_flight_max).max(1);
    }

    /// Sends again from the first on: on a new connection.
    pub(super) fn start_over(&mut self) {
        self.under_way = 0;
        self.again_at = None;
        self.pause = PAUSE_MIN;
        self.going += 1;
    }

    /// Writes the frames of those whose turn has come.
    pub(super) fn pump(&mut self, now: Time, sender: &str, frames: &mut Vec<u8>) {
        if self.again_at.is_some_and(|at| at > now) {
            return;
        }
        self.again_at = None;
        while self.under_way < self.window.min(self.waiting.len()) {
            let number = self.first + self.under_way as u64;
            let outgoing = &mut self.waiting[self.under_way];
            self.under_way += 1;
            if !outgoing.is_settled {
                outgoing.was_sent = true;
                put_frame(&outgoing.route(number, self.going, sender), frames);
            }
        }
    }

    /// An answer to a message: `code` is none if it was accepted.
    pub(super) fn answered(&mut self, now: Time, id: i64, code: Option<ErrorCode>) -> Settled {
        let (number, going) = number_and_going(id);
        let Some(place) = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok()) else {
            return Settled::Nothing;
        };
        let is_of_now = going == self.going % GOINGS;
        match code {
            None => {}
            Some(code) if is_for_good(code) => {}
            Some(ErrorCode::ClientForgotten) if is_of_now => return Settled::Forgotten,
            Some(_) => {
                if is_of_now {
                    self.go_back(now);
                }
                return Settled::Nothing;
            }
        }
        let Some(outgoing) = self.waiting.get_mut(place).filter(|outgoing| !outgoing.is_settled) else {
            return Settled::Nothing;
        };
        outgoing.is_settled = true;
        let ticket = outgoing.ticket;
        self.pause = PAUSE_MIN;
        while self.waiting.front().is_some_and(|first| first.is_settled) {
            self.waiting.pop_front();
            self.first += 1;
            self.under_way = self.under_way.saturating_sub(1);
        }
        Settled::Ticket(ticket)
    }

    /// Begins to count from 1: for a new client instance. The tickets of those of which nobody knows what became of them.
    pub(super) fn renumber(&mut self) -> Vec<u64> {
        let lost = self.waiting.iter().filter(|one| one.was_sent && !one.is_settled).map(|one| one.ticket);
        let lost = lost.collect();
        self.waiting.retain(|one| !one.was_sent);
        self.first = 1;
        self.start_over();
        lost
    }

    /// The server did not take one: what stands from the first on is sent again, after a pause.
    fn go_back(&mut self, now: Time) {
        self.under_way = 0;
        self.going += 1;
        self.again_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

impl Outgoing {
    fn route(&self, number: u64, going: u64, sender: &str) -> Route {
        let (kind, to) = match &self.to {
            Recipient::User(name) => (message::Type::Single, name),
            Recipient::Group(name) => (message::Type::Group, name),
        };
        let message = Message {
            r#type: kind.into(),
            sender_id: sender.to_owned(),
            payload: self.payload.clone(),
            receiver_id: to.clone(),
            action: message::Action::Post.into(),
            number: Some(number),
            ..Message::default()
        };
        Route {
            id: id(number, going),
            path: route::Path::Message.into(),
            payload: Some(route::Payload::Message(message)),
            ..Route::default()
        }
    }
}

/// What a message is called: its number, and which going it belongs to.
fn id(number: u64, going: u64) -> i64 {
    ((number << GOING_BITS) | (going % GOINGS)).cast_signed() & i64::MAX
}

fn number_and_going(id: i64) -> (u64, u64) {
    let id = id.cast_unsigned();
    (id >> GOING_BITS, id % GOINGS)
}

/// Whether a message that is refused so has used up its number.
fn is_for_good(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::Unknown
            | ErrorCode::OutOfOrder
            | ErrorCode::NotLoggedIn
            | ErrorCode::ClientForgotten
    )
}

const GOING_BITS: u32 = 8;
const GOINGS: u64 = 1 << GOING_BITS;
/// How long it waits before it sends again what a server did not take, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
