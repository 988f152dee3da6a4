//! The commands that a master gives a chatroom.

use crate::wire::is_utf8;

/// What a master may ask of a chatroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Answer with the log.
    Get,
    /// Put these bytes, UTF-8, into all logs; no answer.
    Broadcast(&'a [u8]),
}

/// A line that is no command of a chatroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    /// Somebody else may know it.
    Unknown,
    /// `broadcast` without a message or with bytes that are not UTF-8: dropped without an answer, because a lab's master would take
    /// that for the answer to its next command.
    Broadcast(&'static str),
}

impl<'a> Command<'a> {
    /// Reads one line, given without its newline.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let line = line.trim_ascii_start();
        if let Some(rest) = line.strip_prefix(b"broadcast") {
            return match rest {
                [] | [b' '] => Err(CommandError::Broadcast("no message")),
                [b' ', message @ ..] if is_utf8(message) => Ok(Self::Broadcast(message)),
                [b' ', ..] => Err(CommandError::Broadcast("not UTF-8")),
                [first, ..] if !first.is_ascii_whitespace() => Err(CommandError::Unknown),
                rest if rest.trim_ascii().is_empty() => Err(CommandError::Broadcast("no message")),
                _ => Err(CommandError::Broadcast("no blank after it")),
            };
        }
        if line.trim_ascii_end() == b"get" { Ok(Self::Get) } else { Err(CommandError::Unknown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_every_byte_after_the_blank() {
        assert_eq!(Command::parse(b" broadcast  a b \r"), Ok(Command::Broadcast(b" a b \r")));
        assert_eq!(Command::parse(b" get\r"), Ok(Command::Get));
    }

    #[test]
    fn broadcasts_that_cannot_be_sent_are_told_from_what_is_not_ours() {
        let bad = |line: &[u8]| matches!(Command::parse(line), Err(CommandError::Broadcast(_)));
        assert!(bad(b"broadcast") && bad(b"broadcast ") && bad(b"broadcast\r") && bad(b"broadcast\tx"));
        assert!(bad(b"broadcast \xff"));
        for line in [&b"broadcasts x"[..], b"alive", b"", b"get x"] {
            assert_eq!(Command::parse(line), Err(CommandError::Unknown));
        }
    }
}
