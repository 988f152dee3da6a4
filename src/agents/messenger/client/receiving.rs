//! What servers say.

use std::time::Duration;

use prost::Message as _;

use super::link::{LOG_IN, Link};
use super::places::Spot;
use super::sending::Settled;
use super::{Answer, Client, ClientEvent, Place, Sequence};
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Message, MessagesResponse, ReadBy, Response, Route, presence, route};

impl Client {
    /// Frames of a connection, without their lengths.
    pub fn frames<'f>(&mut self, now: Time, dial: u64, frames: impl Iterator<Item = &'f [u8]>) {
        self.now = now;
        for frame in frames {
            if self.link.dial() != Some(dial) {
                break;
            }
            if let Link::On { heard_at, asked_at, .. } = &mut self.link {
                (*heard_at, *asked_at) = (now, None);
            }
            match Route::decode(frame) {
                Ok(route) => self.route(route),
                // Whoever this is, it is no server of a chat.
                Err(_) => self.give_up(),
            }
        }
        self.pump();
        self.end();
    }

    /// Everything up to here was read: the server is told so soon.
    pub(super) fn has_read(&mut self, spot: &Spot) {
        self.places.read(spot);
        self.acknowledge_soon();
    }

    fn acknowledge_soon(&mut self) {
        if self.places.is_to_acknowledge() {
            self.acknowledge_at.get_or_insert(self.now + GATHERED_FOR);
        }
    }

    /// Tells the server what was read since it was told last.
    pub(super) fn acknowledge_all(&mut self) {
        self.acknowledge_at = None;
        let acknowledged = self.places.take_unacknowledged();
        if !acknowledged.is_empty() {
            self.put(&Route { path: route::Path::Message.into(), acknowledged, ..Route::default() });
        }
    }

    fn route(&mut self, mut route: Route) {
        for read_by in std::mem::take(&mut route.read_by) {
            let ReadBy { user, position } = read_by;
            self.tell(ClientEvent::ReadBy { user, upto: position.into() });
        }
        match route.id {
            0 => self.pushed(route),
            LOG_IN => {
                if let Some(route::Payload::Response(response)) = route.payload {
                    self.log_in_answered(error(response), route.welcome);
                }
            }
            id if id > 0 => {
                if let Some(route::Payload::Response(response)) = route.payload {
                    let at = route.posted.and_then(|posted| posted.position).map(Place::from);
                    self.message_answered(id, error(response), at);
                }
            }
            id => {
                if let Some(request) = self.asked.remove(&id) {
                    let answer = answer(route);
                    self.tell(ClientEvent::Answer { request, answer });
                }
            }
        }
    }

    fn pushed(&mut self, route: Route) {
        // What is sent while it logs in once more, to go on as another client instance, comes again behind that.
        if let (true, Some(route::Payload::MessagesResponse(MessagesResponse { messages, .. }))) =
            (self.is_on(), route.payload)
        {
            for message in messages {
                self.message(message);
            }
        }
        for presence::Entry { user, online } in
            route.presence.into_iter().flat_map(|presence| presence.entries)
        {
            self.tell(ClientEvent::Presence { user, online });
        }
    }

    /// A message has come; it may have come before.
    fn message(&mut self, message: Message) {
        let Some(spot) = self.places.comes(&message) else { return self.acknowledge_soon() };
        self.tell(ClientEvent::Message { spot: spot.clone(), message: Box::new(message) });
        if self.options.acknowledges {
            self.has_read(&spot);
        }
    }

    fn message_answered(&mut self, id: i64, error: Option<(ErrorCode, String)>, place: Option<Place>) {
        let (code, why) = error.unzip();
        match self.sending.answered(self.now, id, code) {
            Settled::Nothing => {}
            Settled::Forgotten => self.begin_anew(),
            Settled::Ticket(ticket) => self.tell(match (code, why) {
                (Some(code), Some(why)) => ClientEvent::Refused { ticket, code, why },
                _ => ClientEvent::Accepted { ticket, place },
            }),
        }
        if code == Some(ErrorCode::NotLoggedIn) && self.is_on() {
            self.give_up();
        }
    }
}

/// What an answer says that is no success.
fn error(response: Response) -> Option<(ErrorCode, String)> {
    let code = ErrorCode::try_from(response.error_code()).unwrap_or(ErrorCode::Unknown);
    match (response.success, code) {
        (Some(true), _) => None,
        // A failure without a reason may be anything.
        (_, ErrorCode::None) => Some((ErrorCode::Unknown, response.message.unwrap_or_default())),
        (_, code) => Some((code, response.message.unwrap_or_default())),
    }
}

fn answer(route: Route) -> Answer {
    if let Some(presence) = route.presence {
        return Answer::Presence(
            presence.entries.into_iter().map(|entry| (entry.user, entry.online)).collect(),
        );
    }
    if let Some(conversations) = route.conversations {
        return Answer::Conversations(conversations.entries);
    }
    match route.payload {
        Some(route::Payload::MessagesResponse(MessagesResponse { messages, .. })) => {
            let before = route.history_end.filter(|end| end.more).and_then(|end| end.before).map(Sequence);
            Answer::History { messages, before }
        }
        Some(route::Payload::Response(response)) => match error(response) {
            None => Answer::Done,
            Some((code, why)) => Answer::Failed { code, why },
        },
        _ => Answer::Failed { code: ErrorCode::Unknown, why: "an answer that says nothing".to_owned() },
    }
}

/// How long acknowledgements are gathered.
const GATHERED_FOR: Duration = Duration::from_millis(20);
