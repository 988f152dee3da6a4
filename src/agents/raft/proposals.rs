//! What this member's service proposes: kept until it is handed over, sent to whoever leads, again if need be; and what others send to a leader.

use std::collections::VecDeque;

use bytes::Bytes;

use super::entry::{Chunk, Payload};
use super::message::Message;
use super::{RECORD_BYTES_MAX, Raft};
use crate::agent::{Index, Refusal, Term};
use crate::agents::replicated::{LogOutput, MemberId};
use crate::rng::Rng;

/// The proposals that were not handed over yet.
#[derive(Debug)]
pub(super) struct Proposals {
    session: Session,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// The number of the first that waits.
    first: u64,
    /// How many of them were sent to the leader of now, or are in the own log of this reign.
    sent: usize,
    /// The greatest number that was ever sent in this session.
    sent_ever: u64,
    /// The first that waited when somebody last looked, to see whether it goes on.
    marked: Option<u64>,
    /// The number from which on everything was sent again, since the leader missed it.
    sent_again: Option<u64>,
    chunk: Chunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// None yet; it will be known by this, and was asked for in this term.
    Wanted {
        nonce: u64,
        asked: Option<Term>,
    },
    Open(u64),
}

impl Proposals {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            session: Session::Wanted { nonce: rng.number(), asked: None },
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            first: 1,
            sent: 0,
            sent_ever: 0,
            marked: None,
            sent_again: None,
            chunk: Chunk::default(),
        }
    }

    pub(super) fn session(&self) -> Option<u64> {
        match self.session {
            Session::Open(session) => Some(session),
            Session::Wanted { .. } => None,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whoever was sent proposals does not lead any more, or cannot have got them.
    pub(super) fn forget_sent(&mut self) {
        self.sent = 0;
        self.sent_again = None;
        if let Session::Wanted { asked, .. } = &mut self.session {
            *asked = None;
        }
    }

    pub(super) fn mark(&mut self) {
        self.marked = self.is_waiting().then_some(self.first);
    }

    /// Whether the first that waited at the mark waits still.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_waiting() && self.marked == Some(self.first)
    }

    /// A record was handed over: it may be one of those.
    pub(super) fn resolved(&mut self, session: u64, number: u64) {
        if self.session == Session::Open(session) && number == self.first {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(record) = self.waiting.pop_front() {
            self.waiting_bytes -= record.len();
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// A session was opened at `index`. Whether it is the own one.
    pub(super) fn opened(&mut self, wanted: u64, index: Index) -> bool {
        match self.session {
            Session::Wanted { nonce, .. } if nonce == wanted => {
                self.session = Session::Open(index.0);
                (self.first, self.sent, self.sent_ever) = (1, 0, 0);
                true
            }
            _ => false,
        }
    }

    /// The session is known to nobody any more. What was not handed over by now will not be under it.
    pub(super) fn lose_session(&mut self, rng: &mut Rng) {
        self.session = Session::Wanted { nonce: rng.number(), asked: None };
        (self.first, self.sent, self.sent_ever) = (1, 0, 0);
    }

    /// Everything before number `next` of the own session is part of a snapshot that has replaced the service's state.
    pub(super) fn skip_to(&mut self, next: u64) {
        while self.first < next && !self.waiting.is_empty() {
            self.drop_first();
        }
        self.first = self.first.max(next);
    }

    /// Takes those out that were ever sent.
    pub(super) fn take_sent(&mut self) -> Vec<Bytes> {
        let mut taken = Vec::new();
        while self.first <= self.sent_ever {
            let Some(record) = self.waiting.front().cloned() else { break };
            taken.push(record);
            self.drop_first();
        }
        taken
    }

    pub(super) fn take_all(&mut self) -> Vec<Bytes> {
        (self.waiting_bytes, self.sent) = (0, 0);
        self.waiting.drain(..).collect()
    }

    /// The next ones to be sent, as many as fit into one message, with the number of the first.
    fn next_batch(&mut self, bytes_max: usize) -> Option<(u64, Vec<Bytes>)> {
        let number = self.first + self.sent as u64;
        let mut bytes = 0;
        let mut batch = Vec::new();
        for record in self.waiting.range(self.sent..) {
            bytes += record.len();
            if !batch.is_empty() && bytes > bytes_max {
                break;
            }
            batch.push(record.clone());
        }
        self.sent += batch.len();
        self.sent_ever = self.sent_ever.max(self.first + self.sent as u64 - 1);
        (!batch.is_empty()).then_some((number, batch))
    }
}

impl Raft {
    pub(super) fn propose(&mut self, record: Bytes) {
        let (bytes, waiting) = (record.len(), &self.proposals);
        let why = if bytes > RECORD_BYTES_MAX {
            Refusal::TooLong { bytes, bytes_max: RECORD_BYTES_MAX }
        } else if waiting.waiting.len() >= self.options.pending_records_max
            || waiting.waiting_bytes + bytes > self.options.pending_bytes_max.max(RECORD_BYTES_MAX)
        {
            Refusal::Busy
        } else {
            self.proposals.waiting_bytes += bytes;
            self.proposals.waiting.push_back(record);
            return self.gather(bytes);
        };
        self.out.push(LogOutput::Refused { record, why });
    }

    /// Brings what waits to the leader.
    pub(super) fn submit(&mut self) {
        if !self.proposals.is_waiting() {
            return;
        }
        match self.leader {
            Some(leader) if leader == self.id => self.submit_here(),
            Some(leader) if self.up.contains(&leader) => self.submit_to(leader),
            _ => {}
        }
        self.arm_retry();
    }

    fn submit_here(&mut self) {
        let Some(reign) = &self.reign else { return };
        if !reign.is_ready || self.is_transferring() {
            return;
        }
        match self.proposals.session {
            Session::Wanted { nonce, asked } => {
                if asked != Some(self.term) {
                    self.proposals.session = Session::Wanted { nonce, asked: Some(self.term) };
                    self.append(Payload::Open { nonce }.to_bytes());
                }
            }
            Session::Open(session) => {
                while let Some((first, records)) = self.proposals.next_batch(usize::MAX) {
                    self.take_in(session, first, &records);
                }
            }
        }
    }

    fn submit_to(&mut self, leader: MemberId) {
        match self.proposals.session {
            Session::Wanted { nonce, asked } => {
                if asked != Some(self.term) {
                    self.proposals.session = Session::Wanted { nonce, asked: Some(self.term) };
                    self.send(leader, Message::Open { nonce });
                }
            }
            Session::Open(session) => {
                let bytes_max = self.options.batch_bytes_max;
                while let Some((first, records)) = self.proposals.next_batch(bytes_max) {
                    self.counters.forwarded += records.len() as u64;
                    self.send(leader, Message::Forward { session, first, records });
                }
            }
        }
    }

    /// Puts records into the leader's log, those that are new. Returns the number that has to come first, if that is an earlier one.
    fn take_in(&mut self, session: u64, first: u64, records: &[Bytes]) -> Option<u64> {
        let known = self.sessions.next(session);
        let expected = match (self.reign.as_ref()?.expected.get(&session), known) {
            (Some(expected), _) => *expected,
            (None, Some(next)) => next,
            // Whoever has it learns from the log that nobody knows it any more.
            (None, None) => return None,
        };
        let expected = if self.laws.sessions { expected } else { first };
        if first > expected {
            return Some(expected);
        }
        let old = usize::try_from(expected - first).unwrap_or(usize::MAX);
        let mut number = expected;
        for record in records.get(old..).unwrap_or_default() {
            let record = self.proposals.chunk.record(session, number, record);
            self.append(record);
            number += 1;
        }
        self.reign.as_mut()?.expected.insert(session, number);
        None
    }

    pub(super) fn on_forward(&mut self, from: MemberId, session: u64, first: u64, records: Vec<Bytes>) {
        if self.is_early() {
            let bytes = records.iter().map(Bytes::len).sum();
            return self.put_off(from, Message::Forward { session, first, records }, bytes);
        }
        if !self.leads() || self.is_transferring() {
            return;
        }
        match self.take_in(session, first, &records) {
            Some(next) => self.send(from, Message::ForwardReply { session, next }),
            None => self.gather(records.iter().map(Bytes::len).sum()),
        }
    }

    pub(super) fn on_forward_reply(&mut self, from: MemberId, session: u64, next: u64) {
        let proposals = &mut self.proposals;
        let sent_upto = proposals.first + proposals.sent as u64;
        if self.leader == Some(from)
            && proposals.session == Session::Open(session)
            && (proposals.first..sent_upto).contains(&next)
            && proposals.sent_again != Some(next)
        {
            // Several messages that came behind the one that is missing are answered, each of them: sending everything again once is enough.
            proposals.sent_again = Some(next);
            proposals.sent = usize::try_from(next - proposals.first).unwrap_or(0);
            self.counters.repeated += 1;
            self.flush_due = true;
        }
    }

    pub(super) fn on_open(&mut self, from: MemberId, nonce: u64) {
        if self.is_early() {
            return self.put_off(from, Message::Open { nonce }, 0);
        }
        if self.is_transferring() {
            return;
        }
        // Where it is asked for again, since the entry takes its time, one session is enough.
        if self.reign.as_mut().is_some_and(|reign| reign.opened.insert(nonce)) {
            self.append(Payload::Open { nonce }.to_bytes());
        }
    }

    /// Whether this member leads, but does not know yet what exactly its log holds of each session.
    pub(super) fn is_early(&self) -> bool {
        self.reign.as_ref().is_some_and(|reign| !reign.is_ready)
    }

    /// Keeps a message until the reign is ready, if there is room; whoever sent it will do so again.
    pub(super) fn put_off(&mut self, from: MemberId, message: Message, bytes: usize) {
        let bytes_max = self.options.pending_bytes_max;
        let Some(reign) = &mut self.reign else { return };
        if reign.early_bytes + bytes <= bytes_max && reign.early.len() < self.options.pending_records_max {
            reign.early_bytes += bytes;
            reign.early.push((from, message));
        }
    }
}
