//! What members of a Raft say to each other, and how it is written: one byte for what it is, then the fields.

use bytes::Bytes;

use super::codec::{Reader, put_bytes, put_list, put_number, put_word};
use super::membership::{Membership, put_history, read_history};
use crate::agent::{Applied, Entry, Index, Port, Row, Term, Wire, WireError};
use crate::agents::replicated::{Change, ChangeError};

/// A message between two members. Each carries the term of its sender, but for those that mean the same in every term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would the receiver vote for the sender in `term`? Nobody's term changes by it (thesis, section 9.6).
    PreVote(Candidacy),
    /// The answer: whether it would, and its own term if not.
    PreVoteReply {
        /// The term that was asked about, or the receiver's own if it would not.
        term: Term,
        /// Whether it would.
        granted: bool,
    },
    /// Vote for the sender (Raft, section 5.2).
    Vote(Candidacy),
    /// The answer.
    VoteReply {
        /// The term of whoever answers.
        term: Term,
        /// Whether the vote is given.
        granted: bool,
    },
    /// Entries (Raft, section 5.3).
    Append(Append),
    /// Everything up to `stored` is as the leader has it and on the sender's disk.
    Appended {
        /// The term of whoever answers.
        term: Term,
        /// The last such entry.
        stored: Index,
        /// Whether it does not count, since the sender's log is under repair.
        repairing: bool,
    },
    /// The entries could not be taken: the one before them is missing or another one.
    Rejected(Rejection),
    /// The sender leads. Answered at once, without waiting for the disk.
    Heartbeat {
        /// Its term.
        term: Term,
        /// Committed, as far as the receiver has shown to have it.
        committed: Index,
        /// Which round of heartbeats; 0 if no answer is wanted.
        round: u64,
    },
    /// The answer.
    HeartbeatReply {
        /// The term of whoever answers.
        term: Term,
        /// Which round.
        round: u64,
        /// Up to where its log is known to be as the leader's.
        agreed: Index,
        /// Up to where of that it is on its disk.
        stored: Index,
        /// Whether it does not count, since the sender's log is under repair.
        repairing: bool,
    },
    /// A part of the rows of the leader's service (Raft, section 7).
    Snapshot(Snapshot),
    /// The part is here; or, after the last one, everything is on the disk.
    SnapshotReply {
        /// The term of whoever answers.
        term: Term,
        /// Which snapshot.
        token: u64,
        /// Which part is wanted next.
        next: u64,
    },
    /// Records that the sender's service proposes.
    Forward {
        /// Its session.
        session: u64,
        /// The number of the first record.
        first: u64,
        /// They follow one another.
        records: Vec<Bytes>,
    },
    /// The leader waits for the record of this number before it takes others of the session.
    ForwardReply {
        /// Which session.
        session: u64,
        /// The number.
        next: u64,
    },
    /// The sender wants a session.
    Open {
        /// By what it will know that the session is its own.
        nonce: u64,
    },
    /// Up to where has a member to be before it answers a read?
    ReadIndex {
        /// Comes back in the answer.
        id: u64,
    },
    /// The answer.
    ReadIndexReply {
        /// Which question.
        id: u64,
        /// Up to here.
        index: Index,
    },
    /// Somebody wants a change at the sender's.
    Change {
        /// Comes back in the answer.
        id: u64,
        /// What is wanted.
        change: Change,
    },
    /// The answer.
    ChangeReply {
        /// Which question.
        id: u64,
        /// What became of it.
        result: Result<(), ChangeError>,
    },
    /// Begin an election without waiting for anything (thesis, section 3.10).
    TimeoutNow {
        /// The sender's term.
        term: Term,
    },
    /// The sender's log is damaged. What must it have before it may take part again?
    Repair {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// The answer.
    RepairReply {
        /// The term of whoever answers.
        term: Term,
        /// Which question.
        nonce: u64,
        /// Everything up to here.
        target: Index,
        /// Who belongs to the log.
        members: Vec<(Index, Membership)>,
    },
}

/// Who wants to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidacy {
    /// In which term.
    pub term: Term,
    /// The last entry of its log.
    pub last: Index,
    /// The term of that.
    pub last_term: Term,
    /// Whether the leader itself has asked it to.
    pub transfer: bool,
}

/// Entries from a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its term.
    pub term: Term,
    /// The entry before them.
    pub prev: Index,
    /// The term of that.
    pub prev_term: Term,
    /// The last entry that is committed.
    pub committed: Index,
    /// They follow one another.
    pub entries: Vec<Entry>,
}

/// Why entries could not be taken, and where to go on: a whole term is passed over at a time (end of section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The term of whoever answers.
    pub term: Term,
    /// The entry before those that were sent.
    pub prev: Index,
    /// The term of what stands there, or of the last entry if nothing does.
    pub conflict_term: Term,
    /// The first entry of that term that is known.
    pub conflict_first: Index,
    /// The last entry that could be the same.
    pub last: Index,
    /// Whether the sender's log is under repair, and so may have become shorter.
    pub repairing: bool,
}

/// A part of a service's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The leader's term.
    pub term: Term,
    /// Tells snapshots apart.
    pub token: u64,
    /// Which part, counted from 0.
    pub part: u64,
    /// How far all the rows reach.
    pub applied: Applied,
    /// The rows of this part.
    pub rows: Vec<Row>,
    /// Whether this is the last part.
    pub last: bool,
}

mod tag {
    pub(super) const PRE_VOTE: u8 = 1;
    pub(super) const PRE_VOTE_REPLY: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const VOTE_REPLY: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const APPENDED: u8 = 6;
    pub(super) const REJECTED: u8 = 7;
    pub(super) const HEARTBEAT: u8 = 8;
    pub(super) const HEARTBEAT_REPLY: u8 = 9;
    pub(super) const SNAPSHOT: u8 = 10;
    pub(super) const SNAPSHOT_REPLY: u8 = 11;
    pub(super) const FORWARD: u8 = 12;
    pub(super) const FORWARD_REPLY: u8 = 13;
    pub(super) const OPEN: u8 = 14;
    pub(super) const READ_INDEX: u8 = 15;
    pub(super) const READ_INDEX_REPLY: u8 = 16;
    pub(super) const CHANGE: u8 = 17;
    pub(super) const CHANGE_REPLY: u8 = 18;
    pub(super) const TIMEOUT_NOW: u8 = 19;
    pub(super) const REPAIR: u8 = 20;
    pub(super) const REPAIR_REPLY: u8 = 21;
}

impl Wire for Message {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::PreVote(candidacy) => candidacy.encode(tag::PRE_VOTE, bytes),
            Self::Vote(candidacy) => candidacy.encode(tag::VOTE, bytes),
            Self::PreVoteReply { term, granted } => {
                put(bytes, tag::PRE_VOTE_REPLY, &[term.0, u64::from(*granted)]);
            }
            Self::VoteReply { term, granted } => put(bytes, tag::VOTE_REPLY, &[term.0, u64::from(*granted)]),
            Self::Append(append) => append.encode(bytes),
            Self::Appended { term, stored, repairing } => {
                put(bytes, tag::APPENDED, &[term.0, stored.0, u64::from(*repairing)]);
            }
            Self::Rejected(rejection) => rejection.encode(bytes),
            Self::Heartbeat { term, committed, round } => {
                put(bytes, tag::HEARTBEAT, &[term.0, committed.0, *round]);
            }
            Self::HeartbeatReply { term, round, agreed, stored, repairing } => {
                let fields = [term.0, *round, agreed.0, stored.0, u64::from(*repairing)];
                put(bytes, tag::HEARTBEAT_REPLY, &fields);
            }
            Self::Snapshot(snapshot) => snapshot.encode(bytes),
            Self::SnapshotReply { term, token, next } => {
                put(bytes, tag::SNAPSHOT_REPLY, &[term.0, *token, *next]);
            }
            Self::TimeoutNow { term } => put(bytes, tag::TIMEOUT_NOW, &[term.0]),
            Self::Repair { nonce } => {
                bytes.push(tag::REPAIR);
                put_word(bytes, *nonce);
            }
            Self::RepairReply { term, nonce, target, members } => {
                put(bytes, tag::REPAIR_REPLY, &[term.0, target.0]);
                put_word(bytes, *nonce);
                put_history(bytes, members);
            }
            _ => self.encode_requests(bytes),
        }
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&bytes);
        let message = Self::read(&mut reader)?;
        reader.end()?;
        Ok(message)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::PreVote(_) => "pre-vote",
            Self::PreVoteReply { .. } => "pre-vote-reply",
            Self::Vote(_) => "vote",
            Self::VoteReply { .. } => "vote-reply",
            Self::Append(_) => "append",
            Self::Appended { .. } => "appended",
            Self::Rejected(_) => "rejected",
            Self::Heartbeat { .. } => "heartbeat",
            Self::HeartbeatReply { .. } => "heartbeat-reply",
            Self::Snapshot(_) => "snapshot",
            Self::SnapshotReply { .. } => "snapshot-reply",
            Self::Forward { .. } => "forward",
            Self::ForwardReply { .. } => "forward-reply",
            Self::Open { .. } => "open",
            Self::ReadIndex { .. } => "read-index",
            Self::ReadIndexReply { .. } => "read-index-reply",
            Self::Change { .. } => "change",
            Self::ChangeReply { .. } => "change-reply",
            Self::TimeoutNow { .. } => "timeout-now",
            Self::Repair { .. } => "repair",
            Self::RepairReply { .. } => "repair-reply",
        }
    }
}

impl Message {
    /// What members ask of the leader for their services, and the answers.
    fn encode_requests(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Forward { session, first, records } => {
                bytes.reserve(records.iter().map(|record| record.len() + LENGTH_BYTES).sum());
                put(bytes, tag::FORWARD, &[*session, *first]);
                put_list(bytes, records, |bytes, record| put_bytes(bytes, record));
            }
            Self::ForwardReply { session, next } => put(bytes, tag::FORWARD_REPLY, &[*session, *next]),
            Self::Open { nonce } => {
                bytes.push(tag::OPEN);
                put_word(bytes, *nonce);
            }
            Self::ReadIndex { id } => put(bytes, tag::READ_INDEX, &[*id]),
            Self::ReadIndexReply { id, index } => put(bytes, tag::READ_INDEX_REPLY, &[*id, index.0]),
            Self::Change { id, change } => {
                put(bytes, tag::CHANGE, &[*id]);
                put_change(bytes, change);
            }
            Self::ChangeReply { id, result } => {
                put(bytes, tag::CHANGE_REPLY, &[*id]);
                put_result(bytes, result);
            }
            _ => unreachable!("every other message is written elsewhere"),
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(match reader.byte()? {
            tag::PRE_VOTE => Self::PreVote(Candidacy::read(reader)?),
            tag::PRE_VOTE_REPLY => Self::PreVoteReply { term: reader.term()?, granted: reader.flag()? },
            tag::VOTE => Self::Vote(Candidacy::read(reader)?),
            tag::VOTE_REPLY => Self::VoteReply { term: reader.term()?, granted: reader.flag()? },
            tag::APPEND => Self::Append(Append::read(reader)?),
            tag::APPENDED => {
                Self::Appended { term: reader.term()?, stored: reader.index()?, repairing: reader.flag()? }
            }
            tag::REJECTED => Self::Rejected(Rejection::read(reader)?),
            tag::HEARTBEAT => {
                Self::Heartbeat { term: reader.term()?, committed: reader.index()?, round: reader.number()? }
            }
            tag::HEARTBEAT_REPLY => Self::HeartbeatReply {
                term: reader.term()?,
                round: reader.number()?,
                agreed: reader.index()?,
                stored: reader.index()?,
                repairing: reader.flag()?,
            },
            tag::SNAPSHOT => Self::Snapshot(Snapshot::read(reader)?),
            tag::SNAPSHOT_REPLY => {
                Self::SnapshotReply { term: reader.term()?, token: reader.number()?, next: reader.number()? }
            }
            tag::FORWARD => Self::Forward {
                session: reader.number()?,
                first: reader.number()?,
                records: reader.list(Reader::bytes)?,
            },
            tag::FORWARD_REPLY => Self::ForwardReply { session: reader.number()?, next: reader.number()? },
            tag::OPEN => Self::Open { nonce: reader.word()? },
            tag::READ_INDEX => Self::ReadIndex { id: reader.number()? },
            tag::READ_INDEX_REPLY => Self::ReadIndexReply { id: reader.number()?, index: reader.index()? },
            tag::CHANGE => Self::Change { id: reader.number()?, change: read_change(reader)? },
            tag::CHANGE_REPLY => Self::ChangeReply { id: reader.number()?, result: read_result(reader)? },
            tag::TIMEOUT_NOW => Self::TimeoutNow { term: reader.term()? },
            tag::REPAIR => Self::Repair { nonce: reader.word()? },
            tag::REPAIR_REPLY => {
                let (term, target) = (reader.term()?, reader.index()?);
                Self::RepairReply { term, target, nonce: reader.word()?, members: read_history(reader)? }
            }
            other => return Err(WireError::new(format!("no message is called {other}"))),
        })
    }
}

impl Candidacy {
    fn encode(&self, tag: u8, bytes: &mut Vec<u8>) {
        put(bytes, tag, &[self.term.0, self.last.0, self.last_term.0, u64::from(self.transfer)]);
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            term: reader.term()?,
            last: reader.index()?,
            last_term: reader.term()?,
            transfer: reader.flag()?,
        })
    }
}

impl Append {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.entries.iter().map(|entry| entry.record.len() + 2 * LENGTH_BYTES).sum());
        put(bytes, tag::APPEND, &[self.term.0, self.prev.0, self.prev_term.0, self.committed.0]);
        put_list(bytes, &self.entries, |bytes, entry| {
            put_number(bytes, entry.term.0);
            put_bytes(bytes, &entry.record);
        });
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        let (term, prev, prev_term) = (reader.term()?, reader.index()?, reader.term()?);
        let committed = reader.index()?;
        let mut index = prev;
        let entries = reader.list(|reader| {
            index =
                Index(index.0.checked_add(1).ok_or_else(|| WireError::new("an entry behind all others"))?);
            Ok(Entry { index, term: reader.term()?, record: reader.bytes()? })
        })?;
        Ok(Self { term, prev, prev_term, committed, entries })
    }
}

impl Rejection {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let Self { term, prev, conflict_term, conflict_first, last, repairing } = self;
        let fields = [term.0, prev.0, conflict_term.0, conflict_first.0, last.0, u64::from(*repairing)];
        put(bytes, tag::REJECTED, &fields);
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            term: reader.term()?,
            prev: reader.index()?,
            conflict_term: reader.term()?,
            conflict_first: reader.index()?,
            last: reader.index()?,
            repairing: reader.flag()?,
        })
    }
}

impl Snapshot {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, tag::SNAPSHOT, &[self.term.0, self.token, self.part, u64::from(self.last)]);
        put_number(bytes, self.applied.index.0);
        put_number(bytes, self.applied.term.0);
        put_bytes(bytes, &self.applied.meta);
        put_list(bytes, &self.rows, |bytes, row| {
            put_bytes(bytes, &row.key);
            put_bytes(bytes, row.value.as_deref().unwrap_or_default());
        });
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        let (term, token, part, last) = (reader.term()?, reader.number()?, reader.number()?, reader.flag()?);
        let applied = Applied { index: reader.index()?, term: reader.term()?, meta: reader.bytes()? };
        let rows = reader.list(|reader| Ok(Row { key: reader.bytes()?, value: Some(reader.bytes()?) }))?;
        Ok(Self { term, token, part, applied, rows, last })
    }
}

fn put(bytes: &mut Vec<u8>, tag: u8, fields: &[u64]) {
    bytes.push(tag);
    for field in fields {
        put_number(bytes, *field);
    }
}

fn put_change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::AddLearner(name) => put_words(bytes, 1, [name]),
        Change::SetVoters(names) => put_words(bytes, 2, names),
        Change::Remove(name) => put_words(bytes, 3, [name]),
        Change::Transfer(name) => put_words(bytes, 4, [name]),
    }
}

fn read_change(reader: &mut Reader) -> Result<Change, WireError> {
    let (kind, mut words) = (reader.byte()?, reader.list(Reader::text)?);
    let change = match (kind, words.len()) {
        (2, _) => return Ok(Change::SetVoters(words)),
        (1, 1) => Change::AddLearner,
        (3, 1) => Change::Remove,
        (4, 1) => Change::Transfer,
        _ => return Err(WireError::new("no such change")),
    };
    Ok(change(words.remove(0)))
}

fn put_result(bytes: &mut Vec<u8>, result: &Result<(), ChangeError>) {
    match result {
        Ok(()) => put_words(bytes, 0, []),
        Err(ChangeError::NoLeader) => put_words(bytes, 1, []),
        Err(ChangeError::Busy) => put_words(bytes, 2, []),
        Err(ChangeError::Refused(text)) => put_words(bytes, 3, [text]),
        Err(ChangeError::TimedOut(text)) => put_words(bytes, 4, [text]),
    }
}

fn read_result(reader: &mut Reader) -> Result<Result<(), ChangeError>, WireError> {
    let (kind, mut words) = (reader.byte()?, reader.list(Reader::text)?);
    Ok(match (kind, words.pop()) {
        (0, None) => Ok(()),
        (1, None) => Err(ChangeError::NoLeader),
        (2, None) => Err(ChangeError::Busy),
        (3, Some(text)) => Err(ChangeError::Refused(text)),
        (4, Some(text)) => Err(ChangeError::TimedOut(text)),
        _ => return Err(WireError::new("no such answer to a change")),
    })
}

fn put_words<'a>(bytes: &mut Vec<u8>, kind: u8, words: impl IntoIterator<Item = &'a String>) {
    bytes.push(kind);
    let words: Vec<&String> = words.into_iter().collect();
    put_list(bytes, &words, |bytes, word| put_bytes(bytes, word.as_bytes()));
}

/// Room enough for the length of a record in most cases; what it is reserved for grows otherwise.
const LENGTH_BYTES: usize = 5;
