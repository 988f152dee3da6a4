//! Routes that clients are sent, as frames. What leaves most often, messages and the places that they got, is written straight into the buffer; a test reads it back.

use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::super::{ConversationId, Kind, Place, Stored};
use super::quirks;
use crate::wire::proto::{ErrorCode, HistoryEnd, Posted, Response, Route, messages_request, route};

/// Appends a frame. With `quirks` a client of the class of 2017 understands it.
pub(super) fn put_route(route: &Route, quirks: bool, bytes: &mut Vec<u8>) {
    let start = begin(bytes);
    route.encode(bytes).expect("a vector grows");
    end(start, quirks, bytes);
}

/// The answer to the request that its client calls `id`: it is done.
pub(super) fn done(id: i64) -> Route {
    let response = Response { success: Some(true), message: None, error_code: None };
    Route {
        id,
        path: route::Path::Response.into(),
        payload: Some(route::Payload::Response(response)),
        ..Route::default()
    }
}

/// The answer to the request that its client calls `id`: it is not done, or not known to be.
pub(super) fn failed(id: i64, code: ErrorCode, why: impl Into<String>) -> Route {
    let response =
        Response { success: Some(false), message: Some(why.into()), error_code: Some(code.into()) };
    Route {
        id,
        path: route::Path::Response.into(),
        payload: Some(route::Payload::Response(response)),
        ..Route::default()
    }
}

/// The answer to a message whose number is not the next one.
pub(super) fn out_of_order(id: i64, why: impl Into<String>, expected: u64) -> Route {
    let posted = Posted { position: None, time_ms: None, expected: Some(expected) };
    Route { posted: Some(posted), ..failed(id, ErrorCode::OutOfOrder, why) }
}

/// Appends the answer to a message that has its place now.
pub(super) fn put_posted(id: i64, place: Place, time_ms: u64, quirks: bool, bytes: &mut Vec<u8>) {
    let start = begin(bytes);
    put_number(ID, id.cast_unsigned(), bytes);
    put_number(PATH, 8, bytes);
    bytes.extend_from_slice(&[0x4a, 2, 0x08, 1]);
    let position_len = position_len(place);
    bytes.extend_from_slice(&POSTED);
    put_len(2 + position_len + 1 + encoded_len_varint(time_ms), bytes);
    bytes.push(0x0a);
    put_position(place, bytes);
    put_number(0x10, time_ms, bytes);
    end(start, quirks, bytes);
}

/// Appends a message as a field of the `MessagesResponse` that [`put_messages`] makes of such fields.
///
/// `to` is the other side's name: of two users that of the one who did not write it, else the group's or the user's.
pub(super) fn put_message(
    kind: &Kind,
    to: &str,
    conversation: ConversationId,
    message: &Stored,
    bytes: &mut Vec<u8>,
) {
    let place = Place { conversation, sequence: message.sequence };
    let (is_group, cluster) = match kind {
        Kind::Group { .. } => (true, None),
        Kind::Foreign { cluster, is_group, .. } => (*is_group, Some(cluster)),
        _ => (false, None),
    };
    let sender: &str = &message.sender_name;
    let text_len = |text: usize| 1 + encoded_len_varint(text as u64) + text;
    let cluster_len = cluster.map_or(0, |tag| 1 + text_len(tag.len()));
    let origin = message.there.and_then(|there| Some((there.cluster?, there.place)));
    let origin_len = origin.map_or(0, |(_, place)| 3 + origin_len(place));
    let position_len = position_len(place);
    let len = 2
        + text_len(sender.len())
        + text_len(message.payload.len())
        + text_len(to.len())
        + text_len(message.timestamp.len())
        + 4
        + (3 + position_len)
        + (2 + encoded_len_varint(message.time_ms))
        + cluster_len
        + origin_len;
    bytes.push(MESSAGES);
    put_len(len, bytes);
    put_number(0x08, u64::from(is_group), bytes);
    put_bytes(0x12, sender.as_bytes(), bytes);
    put_bytes(0x1a, &message.payload, bytes);
    put_bytes(0x22, to.as_bytes(), bytes);
    put_bytes(0x2a, message.timestamp.as_bytes(), bytes);
    // Active, and posted.
    bytes.extend_from_slice(&[0x30, 0, 0x38, 0]);
    bytes.extend_from_slice(&POSITION);
    put_position(place, bytes);
    bytes.push(TIME_MS[0]);
    put_number(TIME_MS[1], message.time_ms, bytes);
    if let Some(tag) = cluster {
        bytes.push(CLUSTER[0]);
        put_bytes(CLUSTER[1], tag.as_bytes(), bytes);
    }
    if let Some((identity, place)) = origin {
        bytes.extend_from_slice(&ORIGIN);
        put_len(self::origin_len(place), bytes);
        put_bytes(0x0a, &identity.0, bytes);
        bytes.push(0x12);
        put_position(place, bytes);
    }
}

/// Appends a frame with messages; `id` is 0 where nobody asked for them.
pub(super) fn put_messages(
    id: i64,
    of: (messages_request::Type, &str),
    messages: &[u8],
    history_end: Option<HistoryEnd>,
    quirks: bool,
    bytes: &mut Vec<u8>,
) {
    let start = begin(bytes);
    put_number(ID, id.cast_unsigned(), bytes);
    put_number(PATH, 6, bytes);
    let (kind, name) = of;
    bytes.push(MESSAGES_RESPONSE);
    put_len(2 + 1 + encoded_len_varint(name.len() as u64) + name.len() + messages.len(), bytes);
    put_number(0x08, u64::from(kind == messages_request::Type::Group), bytes);
    put_bytes(0x12, name.as_bytes(), bytes);
    bytes.extend_from_slice(messages);
    if let Some(history_end) = history_end {
        let rest = Route { history_end: Some(history_end), ..Route::default() };
        // Of a Route all but the id and the path, which are there already, and would come to the same.
        let rest = rest.encode_to_vec();
        bytes.extend_from_slice(&rest[4..]);
    }
    end(start, quirks, bytes);
}

/// Leaves room for a frame's length; where its `Route` begins.
fn begin(bytes: &mut Vec<u8>) -> usize {
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    bytes.len()
}

/// Writes the length of the frame that begins at `start` and ends here.
fn end(start: usize, quirks: bool, bytes: &mut Vec<u8>) {
    if quirks {
        quirks::pad(bytes, start);
    }
    let length = u32::try_from(bytes.len() - start).expect("frames are cut long before");
    bytes[start - LENGTH_BYTES..start].copy_from_slice(&length.to_be_bytes());
}

fn put_number(tag: u8, number: u64, bytes: &mut Vec<u8>) {
    bytes.push(tag);
    encode_varint(number, bytes);
}

fn put_len(len: usize, bytes: &mut Vec<u8>) {
    encode_varint(len as u64, bytes);
}

fn put_bytes(tag: u8, of: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(tag);
    put_len(of.len(), bytes);
    bytes.extend_from_slice(of);
}

/// The length of an `Origin` with this place, which itself takes one byte to write.
fn origin_len(place: Place) -> usize {
    2 + IDENTITY_BYTES + 2 + position_len(place)
}

/// The length of what [`put_position`] writes, without its own length of one byte.
fn position_len(place: Place) -> usize {
    2 + encoded_len_varint(place.conversation.0) + encoded_len_varint(place.sequence.0)
}

fn put_position(place: Place, bytes: &mut Vec<u8>) {
    put_len(position_len(place), bytes);
    put_number(0x08, place.conversation.0, bytes);
    put_number(0x10, place.sequence.0, bytes);
}

const LENGTH_BYTES: usize = 4;
const IDENTITY_BYTES: usize = 16;

// Tags: the number of the field times eight, and 2 where it has a length.
const ID: u8 = 0x08;
const PATH: u8 = 0x10;
const MESSAGES_RESPONSE: u8 = 0x42;
const MESSAGES: u8 = 0x1a;
const POSITION: [u8; 2] = [0xaa, 0x06];
const TIME_MS: [u8; 2] = [0xb0, 0x06];
const CLUSTER: [u8; 2] = [0xba, 0x06];
const ORIGIN: [u8; 2] = [0xc2, 0x06];
const POSTED: [u8; 2] = [0xea, 0x06];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{ClusterIdentity, Sequence, There, UserId};
    use super::*;
    use crate::wire::LengthFrames;
    use crate::wire::proto::{Message, MessagesResponse, Origin, Position};

    fn stored(place: Place, time_ms: u64, text: &str) -> Stored {
        Stored {
            sequence: place.sequence,
            sender: UserId(1),
            sender_name: "ann".into(),
            time_ms,
            timestamp: text.into(),
            payload: text.repeat(3).into(),
            there: None,
        }
    }

    fn expected(place: Place, time_ms: u64, text: &str, cluster: Option<&str>) -> Message {
        Message {
            r#type: i32::from(cluster.is_some()),
            sender_id: "ann".into(),
            payload: text.repeat(3),
            receiver_id: "bob".into(),
            timestamp: text.into(),
            status: Some(0),
            action: 0,
            number: None,
            position: Some(Position { conversation: place.conversation.0, sequence: place.sequence.0 }),
            time_ms: Some(time_ms.cast_signed()),
            cluster: cluster.map(Into::into),
            origin: None,
        }
    }

    /// Where a message stands that was fetched from another cluster, and how clients are told of it.
    fn whence(place: Place, identity: Option<[u8; 16]>) -> (There, Option<Origin>) {
        let told =
            identity.map(|identity| Origin { cluster: identity.to_vec().into(), position: place.into() });
        (There { cluster: identity.map(ClusterIdentity), place }, told)
    }

    fn only_route(bytes: &[u8]) -> Route {
        let (mut frames, rest) = LengthFrames::split(bytes, usize::MAX).expect("short");
        let route = Route::decode(frames.next().expect("a frame")).expect("a Route");
        assert_eq!((frames.next(), rest), (None, &[][..]));
        route
    }

    proptest! {
        #[test]
        fn what_is_written_by_hand_reads_as_what_is_meant(
            id: i64, conversation: u64, sequences in proptest::collection::vec(any::<u64>(), 0..4), time_ms: u64, text in ".{0,80}",
            foreign in proptest::option::of((any::<(u64, u64)>(), any::<Option<[u8; 16]>>())), before in proptest::option::of(any::<u64>()), quirks: bool,
        ) {
            let cluster = foreign.is_some().then_some("west");
            let whence = foreign.map(|((conversation, sequence), identity)| {
                whence(Place { conversation: ConversationId(conversation), sequence: Sequence(sequence) }, identity)
            });
            let kind = match cluster {
                Some(tag) => Kind::Foreign { user: UserId(2), cluster: tag.into(), name: "bob".into(), is_group: true },
                None => Kind::Direct(UserId(1), UserId(2)),
            };
            let conversation = ConversationId(conversation);
            let mut fields = Vec::new();
            let mut messages = Vec::new();
            for sequence in sequences {
                let place = Place { conversation, sequence: Sequence(sequence) };
                let (there, origin) = whence.clone().map_or((None, None), |(there, told)| (Some(there), told));
                let stored = Stored { there, ..stored(place, time_ms, &text) };
                put_message(&kind, "bob", conversation, &stored, &mut fields);
                messages.push(Message { origin, ..expected(place, time_ms, &text, cluster) });
            }
            let history_end = before.map(|before| HistoryEnd { more: true, before: Some(before) });
            let mut bytes = Vec::new();
            put_messages(id, (messages_request::Type::Group, &text), &fields, history_end, quirks, &mut bytes);
            let response = MessagesResponse { r#type: 1, id: Some(text), messages };
            prop_assert_eq!(only_route(&bytes), Route {
                id, path: 6, payload: Some(route::Payload::MessagesResponse(response)), history_end, ..Route::default()
            });
        }

        #[test]
        fn the_answer_with_a_place_reads_as_what_is_meant(
            id: i64, conversation: u64, sequence: u64, time_ms: u64, quirks: bool,
        ) {
            let place = Place { conversation: ConversationId(conversation), sequence: Sequence(sequence) };
            let mut bytes = Vec::new();
            put_posted(id, place, time_ms, quirks, &mut bytes);
            let position = Some(Position { conversation, sequence });
            let posted = Posted { position, time_ms: Some(time_ms.cast_signed()), expected: None };
            prop_assert_eq!(only_route(&bytes), Route { posted: Some(posted), ..done(id) });
        }
    }
}
