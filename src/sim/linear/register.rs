//! One key of a key-value store.

use super::Model;

/// Holds one value or none.
#[derive(Clone, Copy, Debug)]
pub struct Register;

/// What can be asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterInput {
    /// Gives it a value.
    Put(String),
    /// Asks for its value.
    Get,
    /// Takes its value away.
    Delete,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOutput {
    /// It was changed.
    Done,
    /// The value.
    Value(String),
    /// There is no value; to a delete: there was none.
    Nothing,
}

impl RegisterInput {
    /// The key that a command to a client of the store is about (`put <key> <value>`, `get <key>`, `delete <key>`), and what it asks.
    pub fn of_command(line: &str) -> Option<(String, Self)> {
        let mut words = line.split(' ');
        let (verb, key, value) = (words.next()?, words.next()?, words.next());
        let input = match (verb, value) {
            ("put", Some(value)) => Self::Put(value.to_owned()),
            ("get", None) => Self::Get,
            ("delete", None) => Self::Delete,
            _ => return None,
        };
        Some((key.to_owned(), input))
    }
}

impl RegisterOutput {
    /// What the answer of a client of the store says; nothing if the client does not know, or was refused.
    pub fn of_answer(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            None if line == "ok" => Some(Self::Done),
            None if line == "nothing" => Some(Self::Nothing),
            Some(("value", value)) => Some(Self::Value(value.to_owned())),
            _ => None,
        }
    }
}

impl Model for Register {
    type State = Option<String>;
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn start() -> Option<String> {
        None
    }

    fn step(
        state: &Option<String>,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Option<String>> {
        let (next, truth) = match (input, state) {
            (RegisterInput::Put(value), _) => (Some(value.clone()), RegisterOutput::Done),
            (RegisterInput::Get, Some(value)) => (state.clone(), RegisterOutput::Value(value.clone())),
            (RegisterInput::Delete, Some(_)) => (None, RegisterOutput::Done),
            (RegisterInput::Get | RegisterInput::Delete, None) => (None, RegisterOutput::Nothing),
        };
        output.is_none_or(|output| *output == truth).then_some(next)
    }

    fn only_reads(input: &RegisterInput, output: &RegisterOutput) -> bool {
        matches!((input, output), (RegisterInput::Get, _) | (RegisterInput::Delete, RegisterOutput::Nothing))
    }
}
