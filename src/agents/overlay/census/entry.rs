//! What is said about one server.

use std::time::Duration;

use super::super::broadcast::{decode_ms, encode_ms};
use super::super::id::take;
use crate::agent::WireError;

/// What somebody knows about a server of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u16,
    /// Its life: the larger, the later. It goes up with each start, and when the server is told of its own death.
    pub incarnation: u64,
    /// How it is.
    pub state: State,
    /// How long ago that was heard, with each hop's waiting but without its way.
    pub age: Duration,
    /// How long after that it says at the latest again that it is alive.
    pub refresh: Duration,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has said that it is alive.
    Alive,
    /// A neighbour has lost it.
    Dead,
    /// It has said that it goes.
    Left,
}

impl Entry {
    /// The number, the life, the state, the age and the refresh in milliseconds.
    pub(in super::super) fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.push(match self.state {
            State::Alive => 0,
            State::Dead => 1,
            State::Left => 2,
        });
        encode_ms(self.age, bytes);
        encode_ms(self.refresh, bytes);
    }

    /// Takes it from the front of `bytes`.
    pub(in super::super) fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        let (number, incarnation) = (u16::from_be_bytes(take(bytes)?), u64::from_be_bytes(take(bytes)?));
        let state = match take(bytes)? {
            [0] => State::Alive,
            [1] => State::Dead,
            [2] => State::Left,
            [state] => return Err(WireError::new(format!("no server is in the state {state}"))),
        };
        let (age, refresh) = (decode_ms(bytes)?, decode_ms(bytes)?);
        Ok(Self { number, incarnation, state, age, refresh })
    }
}
