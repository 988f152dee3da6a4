//! A store as rows: which of them have changed since somebody asked, and how a store is made from them.
//!
//! A key's row is its value as it is; a client's says what is remembered of it, in JSON; one more says which records never came. What the state holds beside
//! them comes of these.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::State;
use crate::agent::{Index, Row};

/// What has changed since rows were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    keys: BTreeSet<String>,
    clients: BTreeSet<u64>,
    missing: bool,
}

impl State {
    /// The rows that have changed since this was asked for last, or since the store was made from rows; all of them if neither has happened.
    pub(in crate::agents::kvs) fn take_rows(&mut self) -> Vec<Row> {
        let changed = self.changed.replace(Changed::default()).unwrap_or_else(|| Changed {
            keys: self.entries.keys().cloned().collect(),
            clients: self.clients.keys().copied().collect(),
            missing: !self.missing.is_empty(),
        });
        let keys = changed.keys.iter().map(|key| self.row_of_key(key));
        let clients = changed.clients.iter().map(|index| self.row_of_client(*index));
        let missing = changed.missing.then(|| Row { key: MISSING.into(), value: Some(json(&self.missing)) });
        keys.chain(clients).chain(missing).collect()
    }

    /// Forgets everything, to be made from rows.
    pub(in crate::agents::kvs) fn begin_restoring(&mut self) {
        *self = Self { changed: Some(Changed::default()), ..Self::new(self.clients_max) };
    }

    /// Takes a row; whether it was understood.
    pub(in crate::agents::kvs) fn restore(&mut self, row: &Row) -> bool {
        let (Some((sort, name)), Some(value)) = (row.key.split_first(), &row.value) else { return false };
        let taken = match *sort {
            KEY => self.restore_key(name, value),
            CLIENT => self.restore_client(name, value),
            _ if row.key == MISSING => {
                serde_json::from_slice(value).ok().map(|missing| self.missing = missing)
            }
            _ => None,
        };
        taken.is_some()
    }

    /// All rows are here; they have come of the records up to this one.
    pub(in crate::agents::kvs) fn end_restoring(&mut self, last: Index) {
        self.applied = last;
    }

    /// A key has another value, or none any more.
    pub(super) fn key_changed(&mut self, key: &str) {
        if let Some(changed) = self.changed.as_mut().filter(|changed| !changed.keys.contains(key)) {
            changed.keys.insert(key.to_owned());
        }
    }

    /// Something else is remembered of a client, or nothing any more.
    pub(super) fn client_changed(&mut self, index: u64) {
        if let Some(changed) = &mut self.changed {
            changed.clients.insert(index);
        }
    }

    /// Records are missing that were not before.
    pub(super) fn missing_changed(&mut self) {
        if let Some(changed) = &mut self.changed {
            changed.missing = true;
        }
    }

    fn row_of_key(&self, key: &str) -> Row {
        let value = self.entries.get(key).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Row { key: [&[KEY], key.as_bytes()].concat().into(), value }
    }

    fn row_of_client(&self, index: u64) -> Row {
        let key = [&[CLIENT][..], &index.to_be_bytes()].concat().into();
        Row { key, value: self.clients.get(&index).map(json) }
    }

    fn restore_key(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let (name, value) = (std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
        self.entries.insert(name.to_owned(), value.to_owned());
        Some(())
    }

    fn restore_client(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let index = u64::from_be_bytes(name.try_into().ok()?);
        let client: super::Remembered = serde_json::from_slice(value).ok()?;
        self.by_use.insert(client.used, index);
        self.clients.insert(index, client);
        Some(())
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("numbers and texts only").into()
}

/// With what the rows of keys begin.
const KEY: u8 = b'k';
/// With what those of clients begin; the place in the log follows where the client was first heard of.
const CLIENT: u8 = b'c';
/// The row that says which records never came.
const MISSING: &[u8] = b"missing";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::super::message::{Ask, ClientSession, KvsMessage, Operation};
    use super::*;

    /// What happens to a store: a record of one of a few clients about one of a few keys, a record that is missing, or that rows are asked for.
    #[derive(Clone, Debug)]
    enum Step {
        Open,
        Ask { client: usize, number: u64, operation: Operation },
        Miss,
        TakeRows,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || (0..4_u8).prop_map(|number| format!("k{number}"));
        let operation = prop_oneof![
            (key(), "[a-z]{1,3}").prop_map(|(key, value)| Operation::Put { key, value }),
            key().prop_map(|key| Operation::Get { key }),
            key().prop_map(|key| Operation::Delete { key }),
        ];
        prop_oneof![
            2 => Just(Step::Open),
            8 => (0..6_usize, 1..6_u64, operation)
                .prop_map(|(client, number, operation)| Step::Ask { client, number, operation }),
            1 => Just(Step::Miss),
            2 => Just(Step::TakeRows),
        ]
    }

    /// What is kept of a store, and how it goes on.
    #[derive(Default)]
    struct Kept(BTreeMap<Bytes, Bytes>);

    impl Kept {
        fn take(&mut self, rows: Vec<Row>) {
            let keys: BTreeSet<Bytes> = rows.iter().map(|row| row.key.clone()).collect();
            assert_eq!(keys.len(), rows.len(), "each key once");
            for Row { key, value } in rows {
                match value {
                    Some(value) => drop(self.0.insert(key, value)),
                    None => drop(self.0.remove(&key)),
                }
            }
        }

        fn restored(&self, mut state: State, last: Index) -> State {
            state.begin_restoring();
            for (key, value) in self.0.clone() {
                assert!(state.restore(&Row { key, value: Some(value) }));
            }
            state.end_restoring(last);
            state
        }
    }

    proptest! {
        #[test]
        fn a_store_made_from_rows_is_as_the_one_that_did_everything(steps in vec(step(), 0..60), from in 0..60_usize) {
            let mut state = State::new(3);
            let mut kept = Kept::default();
            let (mut index, mut sessions) = (0, Vec::new());
            for (place, step) in steps.iter().enumerate() {
                if place == from {
                    // Another store goes on in place of this one.
                    kept.take(state.take_rows());
                    let applied = state.applied();
                    state = kept.restored(State::new(3), applied);
                }
                index += u64::from(!matches!(step, Step::TakeRows));
                match step {
                    Step::Open => {
                        sessions.push(ClientSession { index, nonce: index * 7 });
                        state.apply(Index(index), &KvsMessage::Open { nonce: index * 7 });
                    }
                    Step::Ask { client, number, operation } => {
                        let session = sessions.iter().rev().nth(*client).copied();
                        let session = session.unwrap_or(ClientSession { index: 1, nonce: 1 });
                        let ask = Ask { session, number: *number, operation: operation.clone() };
                        state.apply(Index(index), &KvsMessage::Ask(ask));
                    }
                    Step::Miss => {}
                    Step::TakeRows => kept.take(state.take_rows()),
                }
            }
            kept.take(state.take_rows());
            let other = State { entries: [("x".to_owned(), "y".to_owned())].into(), ..State::new(3) };
            prop_assert_eq!(kept.restored(other, state.applied()), state);
        }
    }

    #[test]
    fn nothing_is_noted_for_somebody_who_never_asks() {
        let mut state = State::new(3);
        state.apply(Index(1), &KvsMessage::Open { nonce: 1 });
        assert_eq!(state.changed, None);
        assert_eq!(state.take_rows().len(), 1);
        assert_eq!(state.take_rows(), []);
        state.apply(Index(2), &KvsMessage::Open { nonce: 2 });
        assert_eq!(state.take_rows().len(), 1);
    }

    #[test]
    fn a_row_that_says_nothing_is_not_taken() {
        let mut state = State::new(3);
        for (key, value) in [("", "x"), ("x", "y"), ("c", "{}"), ("missing", "x")] {
            assert!(!state.restore(&Row { key: key.into(), value: Some(value.into()) }), "{key}");
        }
        assert!(!state.restore(&Row { key: "k1".into(), value: None }));
    }
}
