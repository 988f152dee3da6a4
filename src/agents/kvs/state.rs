//! What a store holds: a function of the records that were committed, and of nothing else.

mod rows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::rows::Changed;
use super::message::{Answer, Ask, ClientSession, KvsMessage, Operation};
use crate::agent::Index;

/// Keys with their values, and what clients were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    entries: BTreeMap<String, String>,
    /// The clients that are remembered, by the place in the log where each was first heard of.
    clients: BTreeMap<u64, Remembered>,
    /// The same, by the place where each was last heard of: the first is the next to be forgotten.
    by_use: BTreeMap<u64, u64>,
    clients_max: usize,
    /// The place of the last record.
    applied: Index,
    /// The places whose records never came: a log that was damaged. First and last of each stretch.
    missing: Vec<(u64, u64)>,
    /// Which rows have changed since somebody asked for them. Nobody does where the log is read from its beginning; then nothing is noted.
    changed: Option<Changed>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    nonce: u64,
    used: u64,
    /// The number of its last request that could change something, and what it was told. Reads are not remembered: they can be
    /// done again, and what they found may be long.
    last: Option<(u64, Answer)>,
}

/// What the committed state says about a request that has just come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: it has to go through the log.
    New,
    /// It was done: this was the answer.
    Answered(Answer),
    /// Its client has had the answer and gone on; nobody waits for another one.
    Past,
    /// Its client is not remembered, or not yet: the log knows.
    Stranger,
}

impl State {
    /// An empty store that remembers at most `clients_max` clients.
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            clients: BTreeMap::new(),
            by_use: BTreeMap::new(),
            clients_max,
            applied: Index(0),
            missing: Vec::new(),
            changed: None,
        }
    }

    /// How many keys have a value.
    pub(super) fn keys(&self) -> usize {
        self.entries.len()
    }

    /// How many clients are remembered.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The place of the last record.
    pub(super) fn applied(&self) -> Index {
        self.applied
    }

    /// How many records never came.
    pub(super) fn missing(&self) -> u64 {
        self.missing.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether a request was done before.
    pub(super) fn known(&self, ask: &Ask) -> Known {
        if ask.operation.only_reads() {
            return Known::New;
        }
        let Some(client) = self.remembered(ask.session) else {
            return Known::Stranger;
        };
        match &client.last {
            Some((number, answer)) if *number == ask.number => Known::Answered(answer.clone()),
            Some((number, _)) if *number > ask.number => Known::Past,
            _ => Known::New,
        }
    }

    /// Does what the record at `index` says, and says what its client is to be told; nothing if it has gone on.
    pub(super) fn apply(&mut self, index: Index, record: &KvsMessage) -> Option<KvsMessage> {
        self.advance(index);
        match record {
            KvsMessage::Open { nonce } => {
                let session = ClientSession { index: index.0, nonce: *nonce };
                self.remember(session, index);
                Some(KvsMessage::Opened { session })
            }
            KvsMessage::Ask(ask) => {
                let answer = self.answer(index, ask)?;
                Some(KvsMessage::Answer { session: ask.session, number: ask.number, answer })
            }
            KvsMessage::Opened { .. } | KvsMessage::Answer { .. } => None,
        }
    }

    /// Counts a record, whatever it says.
    pub(super) fn advance(&mut self, index: Index) {
        if index.0 > self.applied.0 + 1 {
            self.missing.push((self.applied.0 + 1, index.0 - 1));
            self.missing_changed();
        }
        self.applied = self.applied.max(index);
    }

    fn answer(&mut self, index: Index, ask: &Ask) -> Option<Answer> {
        let opened_at = ask.session.index;
        let lost = self.missing.iter().any(|(first, last)| (*first..=*last).contains(&opened_at));
        if lost && !self.clients.contains_key(&opened_at) {
            // The record by which the client was heard of first is gone. What it asked later was done then, and has to be done now.
            self.remember(ask.session, index);
        }
        // Here, and not when the request came in, is decided whether it is a repetition: both copies may have been proposed.
        let answer = match self.known(ask) {
            Known::New => self.perform(&ask.operation),
            Known::Answered(answer) => return Some(answer),
            Known::Past => return None,
            Known::Stranger => return Some(Answer::Forgotten),
        };
        if let Some(client) = self.clients.get_mut(&ask.session.index) {
            self.by_use.remove(&client.used);
            self.by_use.insert(index.0, ask.session.index);
            client.used = index.0;
            if !ask.operation.only_reads() {
                client.last = Some((ask.number, answer.clone()));
            }
            self.client_changed(ask.session.index);
        }
        Some(answer)
    }

    fn perform(&mut self, operation: &Operation) -> Answer {
        if !operation.only_reads() {
            self.key_changed(operation.key());
        }
        match operation {
            Operation::Put { key, value } => {
                self.entries.insert(key.clone(), value.clone());
                Answer::Done
            }
            Operation::Get { key } => match self.entries.get(key) {
                Some(value) => Answer::Value(value.clone()),
                None => Answer::Nothing,
            },
            Operation::Delete { key } => match self.entries.remove(key) {
                Some(_) => Answer::Done,
                None => Answer::Nothing,
            },
        }
    }

    fn remember(&mut self, session: ClientSession, used: Index) {
        self.clients.insert(session.index, Remembered { nonce: session.nonce, used: used.0, last: None });
        self.by_use.insert(used.0, session.index);
        self.client_changed(session.index);
        self.forget_some();
    }

    fn remembered(&self, session: ClientSession) -> Option<&Remembered> {
        self.clients.get(&session.index).filter(|client| client.nonce == session.nonce)
    }

    /// Forgets those who were not heard of for longest.
    fn forget_some(&mut self) {
        while self.clients.len() > self.clients_max {
            let Some((_, client)) = self.by_use.pop_first() else { return };
            self.clients.remove(&client);
            self.client_changed(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(session: ClientSession, number: u64, operation: Operation) -> KvsMessage {
        KvsMessage::Ask(Ask { session, number, operation })
    }

    fn put(value: &str) -> Operation {
        Operation::Put { key: "k".into(), value: value.into() }
    }

    fn get() -> Operation {
        Operation::Get { key: "k".into() }
    }

    fn open(state: &mut State, index: u64) -> ClientSession {
        let opened = state.apply(Index(index), &KvsMessage::Open { nonce: index * 100 });
        let session = ClientSession { index, nonce: index * 100 };
        assert_eq!(opened, Some(KvsMessage::Opened { session }));
        session
    }

    fn answer(message: Option<KvsMessage>) -> Option<Answer> {
        message.map(|message| match message {
            KvsMessage::Answer { answer, .. } => answer,
            other => panic!("no answer: {other:?}"),
        })
    }

    #[test]
    fn a_request_that_comes_twice_is_done_once() {
        let mut state = State::new(10);
        let (ann, bob) = (open(&mut state, 1), open(&mut state, 2));
        let delete = ask(ann, 2, Operation::Delete { key: "k".into() });
        assert_eq!(answer(state.apply(Index(3), &ask(ann, 1, put("old")))), Some(Answer::Done));
        assert_eq!(answer(state.apply(Index(4), &delete)), Some(Answer::Done));
        assert_eq!(answer(state.apply(Index(5), &ask(bob, 1, put("new")))), Some(Answer::Done));
        // The repetition is told what the first was told, and the new value stays; what is older still is told nothing.
        assert_eq!(answer(state.apply(Index(6), &delete)), Some(Answer::Done));
        assert_eq!(state.apply(Index(7), &ask(ann, 1, put("old"))), None);
        assert_eq!(answer(state.apply(Index(8), &ask(ann, 3, get()))), Some(Answer::Value("new".into())));
    }

    #[test]
    fn a_read_is_done_each_time() {
        let mut state = State::new(10);
        let ann = open(&mut state, 1);
        assert_eq!(answer(state.apply(Index(2), &ask(ann, 1, get()))), Some(Answer::Nothing));
        state.apply(Index(3), &ask(ann, 2, put("v")));
        assert_eq!(answer(state.apply(Index(4), &ask(ann, 1, get()))), Some(Answer::Value("v".into())));
    }

    #[test]
    fn whoever_was_not_heard_of_for_longest_is_forgotten_and_can_change_nothing_any_more() {
        let mut state = State::new(2);
        let (ann, bob) = (open(&mut state, 1), open(&mut state, 2));
        state.apply(Index(3), &ask(ann, 1, put("ann")));
        let carol = open(&mut state, 4);
        assert_eq!(state.clients(), 2);
        assert_eq!(answer(state.apply(Index(5), &ask(bob, 1, put("bob")))), Some(Answer::Forgotten));
        assert_eq!(answer(state.apply(Index(6), &ask(ann, 1, put("ann")))), Some(Answer::Done));
        assert_eq!(answer(state.apply(Index(7), &ask(carol, 1, get()))), Some(Answer::Value("ann".into())));
    }

    #[test]
    fn a_client_whose_first_record_was_lost_is_taken_for_known() {
        let mut state = State::new(2);
        let ann = ClientSession { index: 1, nonce: 9 };
        assert_eq!(answer(state.apply(Index(4), &ask(ann, 1, put("v")))), Some(Answer::Done));
        assert_eq!((state.keys(), state.missing(), state.applied()), (1, 3, Index(4)));
        assert_eq!(answer(state.apply(Index(5), &ask(ann, 1, put("w")))), Some(Answer::Done));
        assert_eq!(answer(state.apply(Index(6), &ask(ann, 2, get()))), Some(Answer::Value("v".into())));
    }

    #[test]
    fn a_client_of_another_store_is_not_mistaken_for_one_of_this() {
        let mut state = State::new(2);
        let ann = open(&mut state, 1);
        let stranger = ClientSession { nonce: ann.nonce + 1, ..ann };
        assert_eq!(answer(state.apply(Index(2), &ask(stranger, 1, put("x")))), Some(Answer::Forgotten));
        assert_eq!(state.keys(), 0);
    }
}
