//! The events of a trace.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that happened at one server (a box, or a bare agent of the simulated world).
///
/// A send and a receive belong together if both name the same `id`; where they name none, the n-th send of a kind from one server to
/// another over one `link` belongs to the n-th receive of that kind there. A send without a receive was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: nanoseconds since the beginning of the run.
    pub at_ns: u64,
    /// Where. What is said here does not matter for what happens to the network as a whole: [`What::Partition`], [`What::Heal`].
    pub server: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The head of a trace that a real server wrote: its clock began at this time of the calendar, so that the traces of several
    /// processes can be laid beside each other.
    Origin {
        /// Nanoseconds since 1970, UTC.
        unix_ns: u64,
    },
    /// The server began, or began again after a crash.
    Start,
    /// It ended without a farewell.
    Crash,
    /// It ended in order.
    Stop,
    /// It stopped running for a while.
    Pause,
    /// It runs again.
    Resume,
    /// A link came up.
    Up {
        /// The other end.
        peer: String,
        /// Names this link at both of its ends and no other one.
        link: String,
    },
    /// A link went down.
    Down {
        /// The other end.
        peer: String,
        /// The link.
        link: String,
        /// Why.
        why: String,
    },
    /// A message left.
    Send {
        /// Where to.
        to: String,
        /// Over which link; empty where there are none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        link: String,
        /// What sort of message.
        kind: String,
        /// What it says.
        text: String,
        /// Names this message, where the carrier may lose, repeat or reorder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// A message arrived.
    Receive {
        /// Where from.
        from: String,
        /// Over which link; empty where there are none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        link: String,
        /// What sort of message.
        kind: String,
        /// What it says.
        text: String,
        /// As in the send.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// A message that was sent here will not arrive.
    Drop {
        /// Where to.
        to: String,
        /// As in the send.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Why.
        why: String,
    },
    /// From here on nothing that one of `from` sends reaches one of `to`.
    Partition {
        /// Names this partition.
        id: u64,
        /// The servers that are not heard.
        from: Vec<String>,
        /// The servers that do not hear them.
        to: Vec<String>,
    },
    /// A partition has ended.
    Heal {
        /// Which.
        id: u64,
    },
    /// Somebody who drives this server told it something.
    Command {
        /// What.
        text: String,
    },
    /// The server answered.
    Answer {
        /// What.
        text: String,
    },
    /// An agent's word about its own state.
    Note {
        /// What.
        text: String,
    },
}

impl What {
    /// The event's name, as it stands in the line of JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Origin { .. } => "origin",
            Self::Start => "start",
            Self::Crash => "crash",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Up { .. } => "up",
            Self::Down { .. } => "down",
            Self::Send { .. } => "send",
            Self::Receive { .. } => "receive",
            Self::Drop { .. } => "drop",
            Self::Partition { .. } => "partition",
            Self::Heal { .. } => "heal",
            Self::Command { .. } => "command",
            Self::Answer { .. } => "answer",
            Self::Note { .. } => "note",
        }
    }

    /// Whether it happens on the way between servers, so that no server knows of it: it has no place in the order of cause and
    /// effect.
    pub fn is_of_network(&self) -> bool {
        matches!(self, Self::Drop { .. } | Self::Partition { .. } | Self::Heal { .. })
    }

    /// The servers that it names, beside the one where it happens.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (one, some, more): (Option<&String>, &[String], &[String]) = match self {
            Self::Up { peer: name, .. }
            | Self::Down { peer: name, .. }
            | Self::Send { to: name, .. }
            | Self::Receive { from: name, .. }
            | Self::Drop { to: name, .. } => (Some(name), &[], &[]),
            Self::Partition { from, to, .. } => (None, from, to),
            _ => (None, &[], &[]),
        };
        one.into_iter().chain(some).chain(more).map(String::as_str)
    }
}

/// What happened, in words: `sends msg to 1: hello`.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin { unix_ns } => write!(f, "began {unix_ns} ns after 1970"),
            Self::Start => f.write_str("starts"),
            Self::Crash => f.write_str("crashes"),
            Self::Stop => f.write_str("stops"),
            Self::Pause => f.write_str("pauses"),
            Self::Resume => f.write_str("runs again"),
            Self::Up { peer, .. } => write!(f, "link to {peer} comes up"),
            Self::Down { peer, why, .. } => write!(f, "link to {peer} goes down: {why}"),
            Self::Send { to, kind, text, .. } => write!(f, "sends {kind} to {to}: {text}"),
            Self::Receive { from, kind, text, .. } => write!(f, "receives {kind} from {from}: {text}"),
            Self::Drop { to, why, .. } => write!(f, "a message to {to} is lost: {why}"),
            Self::Partition { from, to, .. } => {
                write!(f, "{} not heard by {} any more", from.join(", "), to.join(", "))
            }
            Self::Heal { id } => write!(f, "partition {id} is healed"),
            Self::Command { text } => write!(f, "is told: {text}"),
            Self::Answer { text } => write!(f, "answers: {text}"),
            Self::Note { text } => write!(f, "notes: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_flat_line_of_json() {
        let what = What::Send {
            to: "1".into(),
            link: "a-b".into(),
            kind: "msg".into(),
            text: "hello".into(),
            id: None,
        };
        let event = Event { at_ns: 5, server: "0".into(), what };
        let line = serde_json::to_string(&event).expect("plain fields");
        assert_eq!(
            line,
            r#"{"at_ns":5,"server":"0","event":"send","to":"1","link":"a-b","kind":"msg","text":"hello"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).expect("an event"), event);
    }
}
