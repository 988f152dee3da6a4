//! A key-value store and its client.
//!
//! **Problem.** Clients put, get and delete. What a client was told is done stays done, whatever crashes; each operation seems to take effect
//! at one moment between its question and its answer (linearizability: Herlihy and Wing, TOPLAS 1990), however often messages are lost,
//! repeated or overtaken and however often the store starts again.
//!
//! **State.** The store's state ([`state`]) is a function of the records in its log: keys with values, and for each client the number of its last
//! change with the answer. It changes only when a record comes back as committed. So whether that log is one file or many
//! servers' agreement is the configuration's choice, and the store does not know.
//!
//! **Messages.** A client opens a session, which is a record of its own: its place in the log is a name that nobody had before.
//! Then it asks, one request at a time, each with a number, as often as it takes until the answer comes (Ongaro, "Consensus:
//! Bridging Theory and Practice", 2014, section 6.3). The store answers once the record is committed.
//!
//! **Invariants.**
//! - Nothing is answered that is not committed.
//! - A change is done at most once: a repetition finds its number in the state and is told what the first one was told. A client that the store
//!   has forgotten (it remembers a bounded number) can change nothing until it opens a new session.
//! - Reads go through the log as well. A store that read its own state at once could be one that has been replaced without
//!   knowing it, and would answer with what was true long ago. With a log of its own that cannot happen, but the
//!   store does not know which log it has.
//!
//! - A damaged log costs what its damaged records said, and no more: the store goes on with the others and counts the missing ones. If it was a
//!   client's opening that is gone, what the client asked later is done all the same.
//! - All of its state is in its rows, so a log that several servers agree on can be cut. What has changed is noted by name from the first time on that somebody asks
//!   for rows. When rows of another server take the place of its state, whoever waits is not answered: what he asked may have been done, and he asks again.
//!
//! **Where we differ.** Reads are not remembered: a repeated read is done again, which is just as linearizable and costs no memory.

mod client;
mod command;
mod message;
mod state;

use std::collections::BTreeMap;

pub use self::client::{Client, ClientMessage, Patience};
pub use self::message::{Answer, Ask, ClientSession, KEY_BYTES_MAX, KvsMessage, Operation, VALUE_BYTES_MAX};
use self::state::{Known, State};
use crate::agent::{Agent, Configure, Index, Input, Mistake, Outbox, Peer, Refusal, Row, Setup, Wire};
use crate::grid::Port;
use crate::time::Time;

/// The store: agent `kvs`. Requests come in by any port.
#[derive(Debug)]
pub struct Kvs {
    state: State,
    /// Who waits for which proposal.
    waiting: BTreeMap<RequestId, Peer>,
    counts: Counts,
}

/// What a client calls its request; for the opening of a session all but the nonce is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestId {
    session: ClientSession,
    number: u64,
}

#[derive(Debug, Default)]
struct Counts {
    repeated: u64,
    refused: u64,
    not_committed: u64,
    not_understood: u64,
}

impl Configure for Kvs {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let clients_max: u32 = setup.attr_or("clients", CLIENTS_DEFAULT)?;
        if clients_max == 0 {
            return Err(Mistake::in_attr("clients", "expected at least 1 client that is remembered"));
        }
        Ok(Self::new(clients_max))
    }
}

impl Kvs {
    /// An empty store that remembers the last answers of at most `clients_max` clients.
    pub fn new(clients_max: u32) -> Self {
        let clients_max = usize::try_from(clients_max).unwrap_or(usize::MAX);
        Self { state: State::new(clients_max), waiting: BTreeMap::new(), counts: Counts::default() }
    }

    fn asked(&mut self, from: Peer, message: &KvsMessage, out: &mut Outbox<KvsMessage>) {
        let Some(id) = RequestId::of(message) else {
            self.counts.not_understood += 1;
            return;
        };
        if let KvsMessage::Ask(ask) = message {
            let known = match ask.operation.check() {
                Ok(()) => self.state.known(ask),
                Err(why) => {
                    self.counts.refused += 1;
                    Known::Answered(Answer::Refused(why))
                }
            };
            match known {
                Known::New | Known::Stranger => {}
                Known::Answered(answer) => {
                    self.counts.repeated += 1;
                    out.send(from, id.answer(answer));
                    return;
                }
                Known::Past => return,
            }
        }
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&id) {
            // Whoever is not heard asks again.
            self.counts.refused += 1;
            return;
        }
        if self.waiting.insert(id, from).is_some() {
            self.counts.repeated += 1;
            return;
        }
        let mut record = Vec::new();
        message.encode(&mut record);
        out.propose(record);
    }

    fn committed(&mut self, index: Index, record: &[u8], out: &mut Outbox<KvsMessage>) {
        let Ok(message) = KvsMessage::decode(Port::ANSWERS, record) else {
            self.state.advance(index);
            self.counts.not_understood += 1;
            return;
        };
        let answer = self.state.apply(index, &message);
        out.note(|| match (&message, &answer) {
            (KvsMessage::Ask(ask), Some(KvsMessage::Answer { answer, .. })) => {
                format!("record {index}: {} -> {answer}", ask.operation)
            }
            _ => format!("record {index}: {}", message.kind()),
        });
        let waits = RequestId::of(&message).and_then(|id| self.waiting.remove(&id));
        if let (Some(peer), Some(answer)) = (waits, answer) {
            out.send(peer, answer);
        }
    }

    fn restore(&mut self, rows: &[Row], first: bool, last: Option<Index>) {
        if first {
            // What was proposed may be among what the rows have come of, and does not come back then. Whoever asks again is answered from the state, or it is
            // proposed once more, and done once.
            self.waiting.clear();
            self.state.begin_restoring();
        }
        for row in rows {
            if !self.state.restore(row) {
                self.counts.not_understood += 1;
            }
        }
        if let Some(last) = last {
            self.state.end_restoring(last);
        }
    }

    fn not_committed(&mut self, record: &[u8], why: &Refusal, out: &mut Outbox<KvsMessage>) {
        self.counts.not_committed += 1;
        let Ok(message) = KvsMessage::decode(Port::ANSWERS, record) else { return };
        let Some(id) = RequestId::of(&message) else { return };
        let Some(peer) = self.waiting.remove(&id) else { return };
        let answer = match why {
            // Nothing was written, and the client asks again in a while.
            Refusal::Busy => return,
            Refusal::NoLog => {
                Answer::Refused(format!("{why}: its attributes have to name one, as in \"log\": \"local\""))
            }
            Refusal::Failed(_) if message.changes_keys() => Answer::Unknown(why.to_string()),
            Refusal::Failed(_) | Refusal::TooLong { .. } => Answer::Refused(why.to_string()),
        };
        out.send(peer, id.answer(answer));
    }
}

impl Agent for Kvs {
    type Msg = KvsMessage;

    fn handle(&mut self, _: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        match input {
            Input::Message { from, message, .. } => self.asked(from, &message, out),
            Input::Committed { index, record } => self.committed(index, record, out),
            Input::NotCommitted { record, why } => self.not_committed(record, why, out),
            Input::Restore { rows, first, last } => self.restore(rows, first, last),
            _ => {}
        }
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.state.take_rows()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("records", self.state.applied().0),
            ("missing", self.state.missing()),
            ("keys", self.state.keys() as u64),
            ("clients", self.state.clients() as u64),
            ("waiting", self.waiting.len() as u64),
            ("repeated", self.counts.repeated),
            ("refused", self.counts.refused),
            ("not_committed", self.counts.not_committed),
            ("not_understood", self.counts.not_understood),
        ]
    }
}

impl RequestId {
    /// What a client calls this; `None` if it is nothing that a client sends.
    fn of(message: &KvsMessage) -> Option<Self> {
        match message {
            KvsMessage::Open { nonce } => {
                Some(Self { session: ClientSession { index: 0, nonce: *nonce }, number: 0 })
            }
            KvsMessage::Ask(ask) => Some(Self { session: ask.session, number: ask.number }),
            KvsMessage::Opened { .. } | KvsMessage::Answer { .. } => None,
        }
    }

    fn answer(self, answer: Answer) -> KvsMessage {
        KvsMessage::Answer { session: self.session, number: self.number, answer }
    }
}

/// How many clients are remembered where the configuration says nothing.
const CLIENTS_DEFAULT: u32 = 10_000;
/// How many proposals may wait to be committed.
const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Attrs, Dest, Output};

    const ANN: Peer = Peer(1);

    /// A store with its log beside it: what is proposed waits until somebody commits it.
    struct Store {
        kvs: Kvs,
        log: Vec<Vec<u8>>,
        committed: usize,
        sent: Vec<(Dest, KvsMessage)>,
    }

    impl Store {
        fn new() -> Self {
            Self { kvs: Kvs::new(10), log: Vec::new(), committed: 0, sent: Vec::new() }
        }

        fn input(&mut self, input: Input<'_, KvsMessage>) {
            let mut out = Outbox::default();
            self.kvs.handle(Time::ZERO, input, &mut out);
            for output in out.drain() {
                match output {
                    Output::Propose { record } => self.log.push(record),
                    Output::Send { to, message } => self.sent.push((to, message)),
                    other => panic!("not expected of a store: {other:?}"),
                }
            }
        }

        fn hears(&mut self, from: Peer, message: KvsMessage) {
            self.input(Input::Message { from, port: Port(1), message });
        }

        fn commit_all(&mut self) {
            while let Some(record) = self.log.get(self.committed).cloned() {
                self.committed += 1;
                self.input(Input::Committed { index: Index(self.committed as u64), record: &record });
            }
        }

        fn open(&mut self) -> ClientSession {
            self.hears(ANN, KvsMessage::Open { nonce: 7 });
            self.commit_all();
            match self.sent.pop() {
                Some((_, KvsMessage::Opened { session })) => session,
                other => panic!("not opened: {other:?}"),
            }
        }

        fn restart(&mut self) {
            (self.kvs, self.committed) = (Kvs::new(10), 0);
            self.commit_all();
            assert_eq!(self.sent, [], "nobody waits after a restart");
            self.input(Input::Start);
        }

        fn told(&mut self) -> Vec<(Dest, Answer)> {
            let answers = self.sent.drain(..).map(|(to, message)| match message {
                KvsMessage::Answer { answer, .. } => (to, answer),
                other => panic!("no answer: {other:?}"),
            });
            answers.collect()
        }
    }

    fn put(session: ClientSession, number: u64) -> KvsMessage {
        let operation = Operation::Put { key: "k".into(), value: format!("v{number}") };
        KvsMessage::Ask(Ask { session, number, operation })
    }

    fn get(session: ClientSession, number: u64) -> KvsMessage {
        KvsMessage::Ask(Ask { session, number, operation: Operation::Get { key: "k".into() } })
    }

    #[test]
    fn nothing_changes_and_nothing_is_answered_before_the_record_is_committed() {
        let mut store = Store::new();
        let session = store.open();
        store.hears(ANN, put(session, 1));
        store.hears(ANN, get(session, 2));
        assert_eq!((store.kvs.state.keys(), store.told()), (0, vec![]));
        store.commit_all();
        assert_eq!(store.told(), [(ANN.into(), Answer::Done), (ANN.into(), Answer::Value("v1".into()))]);
    }

    #[test]
    fn a_repetition_under_way_is_not_proposed_again_and_its_sender_is_told() {
        let mut store = Store::new();
        let session = store.open();
        store.hears(ANN, put(session, 1));
        store.hears(Peer(2), put(session, 1));
        assert_eq!(store.log.len(), 2);
        store.commit_all();
        assert_eq!(store.told(), [(Peer(2).into(), Answer::Done)]);
        store.hears(ANN, put(session, 1));
        assert_eq!((store.log.len(), store.told()), (2, vec![(ANN.into(), Answer::Done)]));
    }

    #[test]
    fn a_store_that_starts_again_knows_from_its_log_what_it_has_done() {
        let mut store = Store::new();
        let session = store.open();
        store.hears(ANN, put(session, 1));
        store.commit_all();
        store.sent.clear();
        let before = store.kvs.state.clone();
        store.restart();
        assert_eq!(store.kvs.state, before);
        store.hears(ANN, put(session, 1));
        assert_eq!((store.log.len(), store.told()), (2, vec![(ANN.into(), Answer::Done)]));
    }

    #[test]
    fn whoever_waits_while_rows_take_the_place_of_the_state_asks_again_and_is_told_what_was_done() {
        let mut store = Store::new();
        let session = store.open();
        store.hears(ANN, put(session, 1));
        store.hears(ANN, get(session, 2));
        // The other server has done the first, and not the second.
        let mut other = Store::new();
        other.log = store.log[..2].to_vec();
        other.commit_all();
        let rows = other.kvs.take_rows();
        let (some, rest) = rows.split_at(1);
        store.input(Input::Restore { rows: some, first: true, last: None });
        store.input(Input::Restore { rows: rest, first: false, last: Some(Index(2)) });
        assert_eq!((store.told(), store.kvs.state.applied()), (vec![], Index(2)));
        store.hears(ANN, put(session, 1));
        assert_eq!((store.log.len(), store.told()), (3, vec![(ANN.into(), Answer::Done)]));
        store.hears(ANN, get(session, 2));
        assert_eq!(store.log.len(), 4, "proposed again");
        store.committed = 2;
        store.commit_all();
        assert_eq!(store.told(), [(ANN.into(), Answer::Value("v1".into()))], "once for both");
    }

    #[test]
    fn what_the_log_does_not_take_is_answered_by_what_is_known_of_it() {
        let mut store = Store::new();
        let session = store.open();
        let mut told = |message: KvsMessage, why: Refusal| {
            store.hears(ANN, message);
            let record = store.log.pop().expect("a proposal");
            store.input(Input::NotCommitted { record: &record, why: &why });
            store.told().pop().map(|(_, answer)| answer)
        };
        assert_eq!(told(put(session, 1), Refusal::Busy), None);
        assert!(
            matches!(told(put(session, 1), Refusal::NoLog), Some(Answer::Refused(why)) if why.contains("local"))
        );
        let failed = Refusal::Failed("disk".into());
        assert!(matches!(told(put(session, 1), failed.clone()), Some(Answer::Unknown(_))));
        assert!(matches!(told(get(session, 2), failed.clone()), Some(Answer::Refused(_))));
        assert!(matches!(told(KvsMessage::Open { nonce: 1 }, failed), Some(Answer::Refused(_))));
    }

    #[test]
    fn what_is_no_request_changes_nothing() {
        let mut store = Store::new();
        let session = store.open();
        let operation = Operation::Put { key: "two words".into(), value: "v".into() };
        store.hears(ANN, KvsMessage::Ask(Ask { session, number: 1, operation }));
        assert_eq!(store.told(), [(ANN.into(), Answer::Refused("a key is one word".into()))]);
        store.hears(ANN, KvsMessage::Opened { session });
        store.input(Input::Committed { index: Index(2), record: b"{\"drop\": \"all\"}" });
        assert_eq!((store.log.len(), store.told()), (1, vec![]));
        assert!(store.kvs.counters().contains(&("not_understood", 2)));
    }

    #[test]
    fn a_store_that_remembers_nobody_is_refused() {
        let attrs: Attrs = serde_json::from_str(r#"{"clients": 0}"#).expect("an object");
        let error = Kvs::configure(&mut Setup::new("k", &attrs, &[], 1)).expect_err("useless");
        assert_eq!(error.to_string(), "attrs.clients: expected at least 1 client that is remembered");
    }
}
