//! How messages become bytes, where they have to.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::Port;

/// Why bytes are no message. The message is dropped, its sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct WireError(pub String);

impl WireError {
    /// An error that says `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A message that can travel between processes. Whoever only wants it to can implement [`JsonMessage`] instead.
pub trait Wire: Clone + Debug {
    /// Appends the message to `bytes`.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// Reads a message that came in by `port`. Whatever the bytes are, it may not panic.
    fn decode(port: Port, bytes: &[u8]) -> Result<Self, WireError>;

    /// What sort of message this is, in one word: what traces are filtered by.
    fn kind(&self) -> &'static str {
        "message"
    }
}

/// A message that travels as JSON: readable on the wire, and no code to write.
pub trait JsonMessage: Clone + Debug + Serialize + DeserializeOwned {
    /// What sort of message this is, in one word: what traces are filtered by.
    fn kind(&self) -> &'static str {
        "message"
    }
}

impl<M: JsonMessage> Wire for M {
    fn encode(&self, bytes: &mut Vec<u8>) {
        // Only a map with keys that are no strings could fail, and such a type never works.
        serde_json::to_writer(bytes, self).expect("a message that can be written as JSON");
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        serde_json::from_slice(bytes).map_err(|error| WireError::new(error.to_string()))
    }

    fn kind(&self) -> &'static str {
        JsonMessage::kind(self)
    }
}

/// The messages of an agent that sends and receives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {}

impl Wire for NoMessage {
    fn encode(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    fn decode(_: Port, _: &[u8]) -> Result<Self, WireError> {
        Err(WireError::new("this agent takes no messages"))
    }
}

/// A line of plain text: what terminals say to agents, and agents to terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Wire for Text {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.0.as_bytes());
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::new("not UTF-8"))?;
        Ok(Self(text.to_owned()))
    }

    fn kind(&self) -> &'static str {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Greeting {
        Hello { name: String },
        Bye,
    }

    impl JsonMessage for Greeting {}

    proptest! {
        #[test]
        fn messages_come_back_as_they_were_sent(text: String) {
            let mut bytes = Vec::new();
            Text(text.clone()).encode(&mut bytes);
            prop_assert_eq!(Text::decode(Port(1), &bytes), Ok(Text(text.clone())));
            for greeting in [Greeting::Hello { name: text.clone() }, Greeting::Bye] {
                let mut bytes = Vec::new();
                greeting.encode(&mut bytes);
                prop_assert_eq!(Greeting::decode(Port(1), &bytes), Ok(greeting));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Greeting::decode(Port(1), &bytes);
            prop_assert_eq!(Text::decode(Port(1), &bytes).is_ok(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
