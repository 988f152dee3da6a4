//! The messages among the lines of a lab's link.

use std::fmt;

use log::warn;
use memchr::memchr;

use super::{PeerLine, is_utf8};
use crate::grid::ServerId;
use crate::seldom;

/// The messages in a region of whole lines, cut out as they are asked for. Heartbeats are passed over, lines that are not
/// of the contract are dropped and noted.
pub struct Messages<'a> {
    rest: &'a [u8],
    peer: ServerId,
    msg_prefix: &'a [u8],
    utf8: bool,
    bad_lines: &'a mut u64,
}

impl<'a> Messages<'a> {
    /// The messages of `peer` in `region`, whole lines with their newlines. Its messages begin with `msg_prefix`; lines that
    /// are not of the contract are counted in `bad_lines`.
    pub fn new(region: &'a [u8], peer: ServerId, msg_prefix: &'a [u8], bad_lines: &'a mut u64) -> Self {
        // Checked for the whole region at once: nearly always it is, and then no line needs a check of its own.
        Self { rest: region, peer, msg_prefix, utf8: is_utf8(region), bad_lines }
    }

    /// The contents of all messages that are left, without taking them or noting what is none.
    pub fn peek_all(&self) -> impl Iterator<Item = &'a [u8]> {
        let peer = self.peer;
        self.rest.split(|byte| *byte == b'\n').filter_map(move |line| match PeerLine::parse(line) {
            Ok(PeerLine::Msg { sender, contents }) if sender == peer => Some(contents.as_bytes()),
            _ => None,
        })
    }

    /// A line that is no message of the peer in its usual spelling: the contents if it is a message after all.
    #[cold]
    fn other_line(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        match PeerLine::parse(line) {
            Ok(PeerLine::Ping { sender }) if sender == self.peer => None,
            Ok(PeerLine::Msg { sender, contents }) if sender == self.peer => Some(contents.as_bytes()),
            Ok(other) => {
                let what = format!("speaks for server {}", other.sender());
                note_bad_line(self.bad_lines, self.peer, &what);
                None
            }
            Err(error) => {
                note_bad_line(self.bad_lines, self.peer, &error.to_string());
                None
            }
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let end = memchr(b'\n', self.rest)?;
            let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
            self.rest = rest;
            match line.strip_prefix(self.msg_prefix) {
                Some(contents) if self.utf8 => return Some(contents),
                _ => {
                    if let Some(contents) = self.other_line(line) {
                        return Some(contents);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("peer", &self.peer).field("bytes", &self.rest.len()).finish()
    }
}

/// Counts a line that was dropped, and says so now and then.
pub fn note_bad_line(bad_lines: &mut u64, peer: ServerId, what: &str) {
    if seldom::count(bad_lines) {
        warn!("link: bad line dropped peer={peer} what=\"{what}\" so_far={bad_lines}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ahead_sees_what_is_handed_out() {
        let region = b"ping 1\nmsg 1 a\nmsg 01 b\nmsg 1\nmsg 1 \xff\nmsg 2 c\nrubbish\nmsg 1 d\n";
        let mut bad_lines = 0;
        let messages = Messages::new(region, ServerId(1), b"msg 1 ", &mut bad_lines);
        let seen: Vec<&[u8]> = messages.peek_all().collect();
        assert_eq!(seen, [&b"a"[..], b"b", b"", b"d"]);
        assert_eq!(messages.collect::<Vec<_>>(), seen);
        assert_eq!(bad_lines, 3);
    }
}
