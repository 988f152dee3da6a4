//! What the world tells those who watch it, and how that looks in a trace.

use bytes::Bytes;

use crate::server::Door;
use crate::time::Time;
use crate::trace::{Event, What};

/// Something that happened at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: Time,
    /// At which server.
    pub server: u16,
    /// What.
    pub what: Seen,
}

/// What can be seen from outside the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It began, or began again.
    Started {
        /// Which incarnation it is.
        incarnation: u32,
    },
    /// It ended without a farewell.
    Crashed,
    /// It does not run for a while.
    Paused,
    /// It runs again.
    Resumed,
    /// It took this connection as its link to a peer.
    Up {
        /// The peer.
        peer: u16,
        /// Of which of its incarnations.
        peer_incarnation: u32,
        /// Names the connection at both of its ends.
        connection: u64,
    },
    /// That link is not the one to the peer any more.
    Down {
        /// The peer.
        peer: u16,
        /// The connection.
        connection: u64,
        /// Why.
        why: &'static str,
    },
    /// A whole line, its newline left out, was handed to the server. Heartbeats are not told.
    Read {
        /// Which server sent it; none where a master did.
        from: Option<u16>,
        /// On which connection.
        connection: u64,
        /// The line.
        line: Bytes,
    },
    /// A whole line left the server. Heartbeats are not told.
    Wrote {
        /// To which server; none where to a master.
        to: Option<u16>,
        /// On which connection.
        connection: u64,
        /// The line.
        line: Bytes,
    },
    /// From here on nothing that one of `from` sends reaches one of `to`.
    Parted {
        /// Names this partition.
        id: u64,
        /// Who is not heard.
        from: Vec<u16>,
        /// Who does not hear.
        to: Vec<u16>,
    },
    /// A partition has ended.
    Healed {
        /// Which.
        id: u64,
    },
}

impl Happening {
    /// The same as an event of a trace.
    pub fn event(&self) -> Event {
        let names = |servers: &[u16]| servers.iter().map(u16::to_string).collect();
        let text = |line: &Bytes| String::from_utf8_lossy(line).into_owned();
        let link = |connection: &u64| format!("c{connection}");
        let what = match &self.what {
            Seen::Started { .. } => What::Start,
            Seen::Crashed => What::Crash,
            Seen::Paused => What::Pause,
            Seen::Resumed => What::Resume,
            Seen::Up { peer, connection, .. } => What::Up { peer: peer.to_string(), link: link(connection) },
            Seen::Down { peer, connection, why } => {
                What::Down { peer: peer.to_string(), link: link(connection), why: (*why).to_owned() }
            }
            Seen::Read { from: None, line, .. } => What::Command { text: text(line) },
            Seen::Wrote { to: None, line, .. } => What::Answer { text: text(line) },
            Seen::Read { from: Some(from), connection, line } => {
                let (kind, text) = kind_and_text(line);
                What::Receive { from: from.to_string(), link: link(connection), kind, text, id: None }
            }
            Seen::Wrote { to: Some(to), connection, line } => {
                let (kind, text) = kind_and_text(line);
                What::Send { to: to.to_string(), link: link(connection), kind, text, id: None }
            }
            Seen::Parted { id, from, to } => What::Partition { id: *id, from: names(from), to: names(to) },
            Seen::Healed { id } => What::Heal { id: *id },
        };
        Event { at_ns: self.at.as_nanos(), server: self.server.to_string(), what }
    }
}

/// Whether a line is worth telling of: heartbeats are not.
pub(super) fn is_told(door: Door, line: &[u8]) -> bool {
    door != Door::Links || !line.starts_with(b"ping ")
}

/// `msg 1 hello` is a message of kind `msg` that says `hello`; who sent it is known. The body of a frame that is no text is told by its length.
fn kind_and_text(line: &[u8]) -> (String, String) {
    if line.iter().any(u8::is_ascii_control) {
        return ("bytes".to_owned(), format!("{} bytes", line.len()));
    }
    let line = String::from_utf8_lossy(line);
    let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let text = rest.split_once(' ').map_or(rest, |(_, text)| text);
    (kind.to_owned(), text.to_owned())
}
