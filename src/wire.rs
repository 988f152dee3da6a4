//! What travels between servers, as bytes: lines, cut out of a stream and put into one. Pure; no sockets.
//!
//! The chatroom lab's links speak two lines, newline-ended UTF-8: `ping <sender>`, a heartbeat, and
//! `msg <sender> <contents>`, a message. A peer is known by the first line it sends.
//!
//! Boxes and servers of an overlay speak frames of their own ([`frame`]); an overlay can speak those of `gen_hypar`, too ([`HyparFrame`]).

mod frames;
mod hypar;
mod lengths;
mod lines;
mod messages;
mod numbers;
pub mod proto;

use bytes::Bytes;
use thiserror::Error;

pub use self::frames::{
    Frame, FrameCutter, FrameError, box_of_first_line, box_ping_line, frame, letter_line, overlay_first_line,
};
pub use self::hypar::{HYPAR_OPENER, HyparCutter, HyparError, HyparFrame};
pub use self::lengths::{FrameTooLong, LengthCutter, LengthFrames};
pub use self::lines::{Cut, LineCutter};
pub use self::messages::{Messages, note_bad_line};
pub use self::numbers::{NUMBER_BYTES_MAX, NumberError, put_number, take_number};
use crate::grid::ServerId;

/// One line of a link, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLine<'a> {
    /// `ping <sender>`: the sender lives.
    Ping {
        /// Who says so.
        sender: ServerId,
    },
    /// `msg <sender> <contents>`: a message for the log.
    Msg {
        /// Who broadcast it.
        sender: ServerId,
        /// The rest of the line, blanks and all.
        contents: &'a str,
    },
}

/// Why a line of a peer was not understood. The line is dropped, the peer is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is no line, but a record of TLS.
    #[error("what comes is TLS, and links are not encrypted here")]
    Encrypted,
    /// Lines are UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Neither `ping` nor `msg`.
    #[error("neither ping nor msg")]
    UnknownVerb,
    /// The word after the verb is not a server's number.
    #[error("sender is not a number")]
    BadSender,
}

impl<'a> PeerLine<'a> {
    /// Reads one line, given without its newline.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let line = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
        let (verb, rest) = line.split_once(' ').ok_or(LineError::UnknownVerb)?;
        match verb {
            "ping" => Ok(Self::Ping { sender: parse_id(rest.trim_end())? }),
            "msg" => {
                let (sender, contents) = rest.split_once(' ').unwrap_or((rest, ""));
                Ok(Self::Msg { sender: parse_id(sender)?, contents })
            }
            _ => Err(LineError::UnknownVerb),
        }
    }

    /// Who the line says it is from.
    pub fn sender(&self) -> ServerId {
        match self {
            Self::Ping { sender } | Self::Msg { sender, .. } => *sender,
        }
    }
}

fn parse_id(word: &str) -> Result<ServerId, LineError> {
    // `u16::from_str` would take a leading plus sign, which no server writes.
    if word.starts_with('+') {
        return Err(LineError::BadSender);
    }
    word.parse().map(ServerId).map_err(|_| LineError::BadSender)
}

/// The heartbeat of `sender`, newline included.
pub fn ping_line(sender: ServerId) -> Bytes {
    Bytes::from(format!("ping {sender}\n"))
}

/// What every message line of `sender` begins with: `msg <sender> `.
pub fn msg_prefix(sender: ServerId) -> Vec<u8> {
    format!("msg {sender} ").into_bytes()
}

/// Whether `bytes` is UTF-8. Nearly everything is ASCII, and that is seen several times faster.
pub fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Whether what stands at the front of a connection begins a record of TLS: its kind, and a version whose first byte is 3. Neither a line nor a frame of ours begins so.
pub fn is_tls(front: &[u8]) -> bool {
    matches!(front, [0x14..=0x17, 3, ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was_written(sender in 0u16..7000, contents in "[^\n]*") {
            let mut line = msg_prefix(ServerId(sender));
            line.extend_from_slice(contents.as_bytes());
            let read = PeerLine::parse(&line);
            prop_assert_eq!(read, Ok(PeerLine::Msg { sender: ServerId(sender), contents: &contents }));
        }

        #[test]
        fn a_ping_comes_back_as_it_was_written(sender in 0u16..7000) {
            let line = ping_line(ServerId(sender));
            let read = PeerLine::parse(line.strip_suffix(b"\n").expect("ends in a newline"));
            prop_assert_eq!(read, Ok(PeerLine::Ping { sender: ServerId(sender) }));
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let utf8 = std::str::from_utf8(&line).is_ok();
            prop_assert_eq!(is_utf8(&line), utf8);
            prop_assert_eq!(PeerLine::parse(&line) == Err(LineError::NotUtf8), !utf8);
        }
    }

    #[test]
    fn lines_that_are_not_of_the_contract_are_told_apart() {
        assert_eq!(PeerLine::parse(b""), Err(LineError::UnknownVerb));
        assert_eq!(PeerLine::parse(b"pong 1"), Err(LineError::UnknownVerb));
        assert_eq!(PeerLine::parse(b"ping x"), Err(LineError::BadSender));
        assert_eq!(PeerLine::parse(b"ping +1"), Err(LineError::BadSender));
        assert_eq!(PeerLine::parse(b"ping 70000"), Err(LineError::BadSender));
        assert_eq!(PeerLine::parse(b"msg -1 hello"), Err(LineError::BadSender));
        assert_eq!(PeerLine::parse(b"msg 1 \xff"), Err(LineError::NotUtf8));
    }

    #[test]
    fn a_message_may_be_empty() {
        let empty = PeerLine::Msg { sender: ServerId(4), contents: "" };
        assert_eq!(PeerLine::parse(b"msg 4 "), Ok(empty));
        assert_eq!(PeerLine::parse(b"msg 4"), Ok(empty));
    }
}
