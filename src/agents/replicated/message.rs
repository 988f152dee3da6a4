//! What the servers of a replicated service say to each other.

use super::MemberId;
use crate::agent::{Port, Wire, WireError};

/// A message of the log or of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicatedMessage<L, S> {
    /// Who I am.
    Hello {
        /// What the sender is called.
        name: String,
        /// Which life of it this is.
        life: u64,
        /// Whether this answers a greeting, and is not to be answered.
        answer: bool,
    },
    /// For the log.
    Log {
        /// Who sent it.
        from: MemberId,
        /// What it says.
        message: L,
    },
    /// For the service.
    Service(S),
}

impl<L: Wire, S: Wire> Wire for ReplicatedMessage<L, S> {
    /// What is for the log begins with its sort, one byte; what is for the service is as the service encodes it. They come in by different ports.
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Hello { name, life, answer } => {
                bytes.push(if *answer { ANSWER } else { HELLO });
                bytes.extend_from_slice(&life.to_le_bytes());
                bytes.extend_from_slice(name.as_bytes());
            }
            Self::Log { from, message } => {
                bytes.push(LOG);
                bytes.extend_from_slice(&from.0.to_le_bytes());
                message.encode(bytes);
            }
            Self::Service(message) => message.encode(bytes),
        }
    }

    fn decode(port: Port, bytes: &[u8]) -> Result<Self, WireError> {
        if port != Port::LOG {
            return S::decode(port, bytes).map(Self::Service);
        }
        let too_short = || WireError::new("a message of a log that is cut short");
        let (sort, rest) = bytes.split_first().ok_or_else(too_short)?;
        let (number, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let number = u64::from_le_bytes(*number);
        match *sort {
            HELLO | ANSWER => {
                let name =
                    std::str::from_utf8(rest).map_err(|_| WireError::new("a name that is not UTF-8"))?;
                Ok(Self::Hello { name: name.to_owned(), life: number, answer: *sort == ANSWER })
            }
            LOG => Ok(Self::Log { from: MemberId(number), message: L::decode(port, rest)? }),
            other => Err(WireError::new(format!("no message of a log begins with {other}"))),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Log { message, .. } => message.kind(),
            Self::Service(message) => message.kind(),
        }
    }
}

const HELLO: u8 = 0;
const ANSWER: u8 = 1;
const LOG: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::Text;

    type Message = ReplicatedMessage<Text, Text>;

    proptest! {
        #[test]
        fn messages_come_back_as_they_were_sent(name: String, life: u64, answer: bool, port in 0..u16::MAX) {
            let from = MemberId(life);
            let messages = [
                (Port::LOG, Message::Hello { name: name.clone(), life, answer }),
                (Port::LOG, Message::Log { from, message: Text(name.clone()) }),
                (Port(port), Message::Service(Text(name.clone()))),
            ];
            for (port, message) in messages {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                prop_assert_eq!(Message::decode(port, &bytes), Ok(message));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Message::decode(Port::LOG, &bytes);
            prop_assert_eq!(Message::decode(Port(1), &bytes).is_ok(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
