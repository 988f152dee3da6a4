//! What clients of the chat and servers of other clusters speak: the messages of `chat.proto`, which lies beside this file.

/// The messages, as `prost` makes them of `chat.proto`. A test makes them again and compares.
#[allow(clippy::pedantic, missing_docs, reason = "made by a program; the comments stand in chat.proto")]
#[rustfmt::skip]
mod chat;

use prost::Message as _;

pub use self::chat::*;

/// Appends a Route as a frame, its length included.
pub fn put_frame(route: &Route, bytes: &mut Vec<u8>) {
    let length = u32::try_from(route.encoded_len()).expect("a Route has far less than 4 GiB");
    bytes.extend_from_slice(&length.to_be_bytes());
    route.encode(bytes).expect("a vector grows");
}
