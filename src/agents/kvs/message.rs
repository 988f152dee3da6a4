//! What clients and a key-value store say to each other, and what the store puts into its log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::agent::JsonMessage;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// One message. What a client sends is, as it is, also the record that the store proposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvsMessage {
    /// A client wants to be remembered; answered by `Opened`.
    Open {
        /// Drawn by the client, so that it knows the answer.
        nonce: u64,
    },
    /// A client wants something done; answered by `Answer`.
    Ask(Ask),
    /// The client is remembered from now on.
    Opened {
        /// By this name.
        session: ClientSession,
    },
    /// What became of a request.
    Answer {
        /// Whose request.
        session: ClientSession,
        /// Which one.
        number: u64,
        /// What became of it.
        answer: Answer,
    },
}

/// A client as the store remembers it. No two have the same place in the log, and a store that has not this client's record there knows by
/// the nonce that it is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientSession {
    /// Where in the log the client was first heard of.
    pub index: u64,
    /// What the client drew.
    pub nonce: u64,
}

/// One request. It may be sent any number of times and changes the store at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub session: ClientSession,
    /// Which of its requests this is: each larger than those before it.
    pub number: u64,
    /// What is to be done.
    pub operation: Operation,
}

/// What a store can do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Gives a key a value, whatever it had.
    Put {
        /// The key.
        key: String,
        /// Its value from now on.
        value: String,
    },
    /// Asks for the value of a key.
    Get {
        /// The key.
        key: String,
    },
    /// Takes a key and its value away.
    Delete {
        /// The key.
        key: String,
    },
}

impl Operation {
    /// Which key it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Get { key } | Self::Delete { key } => key,
        }
    }

    /// Whether it leaves the store as it is, so that it can be done twice.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Get { .. })
    }

    /// What is wrong with its key or value, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let key = self.key();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("a key is one word".to_owned());
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(format!("a key has at most {KEY_BYTES_MAX} bytes, not {}", key.len()));
        }
        match self {
            Self::Put { value, .. } if value.is_empty() || value.contains('\n') => {
                Err("a value is the rest of the line and not empty".to_owned())
            }
            Self::Put { value, .. } if value.len() > VALUE_BYTES_MAX => {
                Err(format!("a value has at most {VALUE_BYTES_MAX} bytes, not {}", value.len()))
            }
            _ => Ok(()),
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The key has its new value, or is gone.
    Done,
    /// The value of the key.
    Value(String),
    /// The key has no value.
    Nothing,
    /// Nothing was done, and asking again does not help.
    Refused(String),
    /// It may have been done or not.
    Unknown(String),
    /// The store does not remember this client any more, so it cannot tell whether this is a repetition. Nothing was done for *this* message.
    Forgotten,
}

impl KvsMessage {
    /// Whether it is a request that changes what keys have.
    pub(super) fn changes_keys(&self) -> bool {
        matches!(self, Self::Ask(ask) if !ask.operation.only_reads())
    }
}

impl JsonMessage for KvsMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Ask(Ask { operation: Operation::Put { .. }, .. }) => "put",
            Self::Ask(Ask { operation: Operation::Get { .. }, .. }) => "get",
            Self::Ask(Ask { operation: Operation::Delete { .. }, .. }) => "delete",
            Self::Opened { .. } => "opened",
            Self::Answer { .. } => "answer",
        }
    }
}

impl fmt::Display for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}", self.index, self.nonce)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "put {key} {value}"),
            Self::Get { key } => write!(f, "get {key}"),
            Self::Delete { key } => write!(f, "delete {key}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("ok"),
            Self::Value(value) => write!(f, "value {value}"),
            Self::Nothing => f.write_str("nothing"),
            Self::Refused(why) => write!(f, "error {why}"),
            Self::Unknown(why) => write!(f, "unknown {why}; it may have happened or not"),
            Self::Forgotten => Self::Unknown("the store does not remember this client".to_owned()).fmt(f),
        }
    }
}
