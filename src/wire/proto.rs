//! What clients of the chat and servers of other clusters speak: the messages of `chat.proto`, which lies beside this file.

/// The messages, as `prost` makes them of `chat.proto`. A test makes them again and compares.
#[allow(clippy::pedantic, missing_docs, reason = "made by a program; the comments stand in chat.proto")]
#[rustfmt::skip]
mod chat;

pub use self::chat::*;
