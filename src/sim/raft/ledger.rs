//! The service of the scenario: it counts records and remembers the latest, in rows. Whatever it is handed it shows to the checkers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::agent::{Agent, Commands, Index, Input, NoMessage, Outbox, Peer, Refusal, Request, Row};
use crate::time::Time;

/// What ledgers were handed since the checkers looked.
pub(super) type Feed = Rc<RefCell<Vec<Handed>>>;

/// What a ledger was handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// Nothing yet: it begins.
    Nothing { to: Peer },
    /// A record.
    Record { to: Peer, index: Index, record: Bytes },
    /// The state that some records come to: the last of them, which one the rows say that it is, and the latest ones.
    State { to: Peer, last: Index, counted: Index, latest: Vec<Bytes> },
}

/// The ledger of one server, in one of its lives.
pub(super) struct Ledger {
    own: Peer,
    life: u64,
    /// The number of what it is asked next in this life.
    next: u64,
    last: Index,
    /// The latest records by the place where they are kept.
    latest: BTreeMap<u64, Bytes>,
    /// The rows that have changed and were not asked for yet.
    changed: BTreeMap<Bytes, Bytes>,
    appends: BTreeMap<u64, Request>,
    counts: BTreeMap<u64, Request>,
    feed: Feed,
}

/// Whose proposal a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) peer: Peer,
    pub(super) life: u64,
    pub(super) number: u64,
}

/// How many of the latest records are kept in rows.
const KEPT: u64 = 16;

/// Which records are kept in rows once this one is the last.
pub(super) fn latest_of(last: Index) -> impl Iterator<Item = u64> {
    (last.0 + 1).saturating_sub(KEPT).max(1)..=last.0
}

impl Origin {
    fn record(self) -> Vec<u8> {
        format!("{}.{}.{}", self.peer, self.life, self.number).into_bytes()
    }

    /// Whose record this is; `None` if it is no record of a ledger.
    pub(super) fn of(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        let mut parts = text.split('.');
        let (peer, life, number) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { peer: peer.parse().ok()?, life: life.parse().ok()?, number: number.parse().ok()? })
    }
}

impl Ledger {
    pub(super) fn new(own: Peer, life: u64, feed: Feed) -> Self {
        feed.borrow_mut().push(Handed::Nothing { to: own });
        Self {
            own,
            life,
            next: 1,
            last: Index(0),
            latest: BTreeMap::new(),
            changed: BTreeMap::new(),
            appends: BTreeMap::new(),
            counts: BTreeMap::new(),
            feed,
        }
    }

    /// `append` proposes a record, `count` asks how many there are.
    fn obey(&mut self, mut commands: Commands<'_>, out: &mut Outbox<NoMessage>) {
        let Some(line) = commands.take() else { return };
        let request = commands.will_answer();
        let number = self.next;
        self.next += 1;
        if line == b"append" {
            self.appends.insert(number, request);
            out.propose(Origin { peer: self.own, life: self.life, number }.record());
        } else {
            self.counts.insert(number, request);
            out.barrier(number);
        }
    }

    fn committed(&mut self, index: Index, record: &[u8], out: &mut Outbox<NoMessage>) {
        self.last = index;
        let place = index.0 % KEPT;
        let record = Bytes::copy_from_slice(record);
        self.latest.insert(place, record.clone());
        self.changed.insert(format!("latest-{place:02}").into(), record.clone());
        self.changed.insert("last".into(), index.0.to_string().into());
        self.feed.borrow_mut().push(Handed::Record { to: self.own, index, record: record.clone() });
        let own = Origin::of(&record).filter(|origin| (origin.peer, origin.life) == (self.own, self.life));
        if let Some(request) = own.and_then(|origin| self.appends.remove(&origin.number)) {
            out.reply(request, format!("ok {index}"));
        }
    }

    fn refused(&mut self, record: &[u8], why: &Refusal, out: &mut Outbox<NoMessage>) {
        let number = Origin::of(record).map_or(0, |origin| origin.number);
        if let Some(request) = self.appends.remove(&number) {
            out.reply(request, format!("refused: {why}"));
        }
    }

    fn restore(&mut self, rows: &[Row], first: bool, last: Option<Index>, out: &mut Outbox<NoMessage>) {
        if first {
            self.latest.clear();
            self.changed.clear();
            self.last = Index(0);
        }
        for row in rows {
            let (key, value) = (&row.key[..], row.value.clone().unwrap_or_default());
            let text = String::from_utf8_lossy(key);
            match text.strip_prefix("latest-").and_then(|place| place.parse().ok()) {
                Some(place) => drop(self.latest.insert(place, value)),
                None => self.last = Index(String::from_utf8_lossy(&value).parse().unwrap_or(u64::MAX)),
            }
        }
        if let Some(last) = last {
            let kept =
                latest_of(last).map(|index| self.latest.get(&(index % KEPT)).cloned().unwrap_or_default());
            let (to, counted, latest) = (self.own, self.last, kept.collect());
            self.feed.borrow_mut().push(Handed::State { to, last, counted, latest });
            // What it has proposed may be among what it was not handed.
            for (_, request) in std::mem::take(&mut self.appends) {
                out.reply(request, "unknown");
            }
        }
    }
}

impl Agent for Ledger {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Commands { commands } => self.obey(commands, out),
            Input::Committed { index, record } => self.committed(index, record, out),
            Input::NotCommitted { record, why } => self.refused(record, why, out),
            Input::Barrier { token } => {
                if let Some(request) = self.counts.remove(&token) {
                    out.reply(request, format!("count {}", self.last));
                }
            }
            Input::Restore { rows, first, last } => self.restore(rows, first, last, out),
            _ => {}
        }
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|(key, value)| Row { key, value: Some(value) }).collect()
    }
}
