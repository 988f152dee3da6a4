//! The boundary behind which a replicated log stands: what it is told and what it answers. A service sees less still: it proposes, and gets
//! records back; see [`Replicated`](super::Replicated).

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::agent::{Found, Index, Look, Looked, Lsn, Read, Recovered, Refusal, Row, Term, Why, Wire, Write};
use crate::time::Time;

/// A log that several servers agree on. Sans-io like an agent: one input, then all its outputs in order, then the next input.
///
/// **What holds of every implementation.**
/// - All members hand over the same records under the same indexes, ascending from 1 without gaps.
/// - A record that was proposed at a member is handed over at most once at each, and those of one member's one life in the order of
///   their proposals. It is handed over at last if that member lives and a majority of the members can reach each other; unless it was refused.
/// - Nothing is handed over that is not on the disks of a majority.
/// - A barrier is answered only after every record has been handed over that was committed anywhere before the question.
pub trait ReplicatedLog {
    /// What members say to each other.
    type Msg: Wire;

    /// Takes one input and puts what is to be done into `out`.
    fn handle(&mut self, now: Time, input: LogInput<'_, Self::Msg>, out: &mut LogOutbox<Self::Msg>);

    /// When [`LogInput::Timeout`] is wanted next.
    fn deadline(&self) -> Option<Time>;

    /// What stands where, for people and for checkers.
    fn status(&self) -> Status;

    /// Names and values of what is counted.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

/// A member of a replicated log: a number that stays with its name on all servers and over all restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl MemberId {
    /// The number of the member `name`: FNV-1a, 64 bits (Fowler, Noll, Vo). Two names of one log with the same number are refused where
    /// the log is made.
    pub fn of(name: &str) -> Self {
        let hash =
            name.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        Self(hash)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One thing that a replicated log is told.
#[derive(Debug)]
pub enum LogInput<'a, M> {
    /// What the disk holds; always the first input.
    Recovered(&'a Recovered),
    /// The log begins; everything may be asked of the host from now on.
    Start,
    /// The deadline has come; or not quite, or a second time.
    Timeout,
    /// Messages can reach the member.
    MemberUp(MemberId),
    /// They cannot any more; what was under way is lost.
    MemberDown(MemberId, Why),
    /// A message of another member.
    Message {
        /// Who sent it.
        from: MemberId,
        /// What it says.
        message: M,
    },
    /// The service of this server wants a record in the log.
    Propose {
        /// The record.
        record: Bytes,
    },
    /// The service wants to know that its state is up to date.
    Barrier {
        /// Comes back with the answer.
        token: u64,
    },
    /// Somebody wants to change who belongs to the log, or who leads it.
    Change {
        /// Comes back with the answer.
        token: u64,
        /// What is wanted.
        change: Change,
    },
    /// What the service has answered to [`LogOutput::WantsRows`]: the rows that have changed, as the records up to the last one that was handed over have left
    /// them. Comes when all the outputs of the input are carried out that led to the question, before any other input that hands over records. A service that
    /// keeps no rows does not answer.
    Keep {
        /// They, each key once.
        rows: Vec<Row>,
    },
    /// The service wants to look at its rows that are kept. Not answered if they are about to be replaced ([`LogOutput::Restore`]).
    Look(Look),
    /// The writes up to this one are durable.
    Stored(Lsn),
    /// The disk has failed, for good.
    StoreFailed(&'a str),
    /// What was to be read.
    Found(Found),
}

/// One thing that a replicated log asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput<M> {
    /// Send a message to a member.
    Send(MemberId, M),
    /// Put something on this server's disk. The host counts writes as [`Lsn`] says.
    Write(Write),
    /// Read something from this server's disk.
    Read(Read),
    /// Hand a record to the service.
    Committed {
        /// Which one it is: 1 for the first record of the log, without gaps.
        index: Index,
        /// The record.
        record: Bytes,
    },
    /// Tell the service that its proposal came to nothing.
    Refused {
        /// What was proposed.
        record: Bytes,
        /// Why.
        why: Refusal,
    },
    /// Tell the service that its state is up to date.
    Barrier {
        /// Which question.
        token: u64,
    },
    /// Ask the service for its rows that have changed; answered by [`LogInput::Keep`].
    WantsRows,
    /// Tell the service whether this member leads from now on; at first it does not. A member that leads says so when it has handed over every record from before
    /// its term.
    Leads(bool),
    /// Rows that the service wanted to look at.
    Looked(Looked),
    /// Replace the service's state, as [`Input::Restore`](crate::agent::Input::Restore) says. Between the first and the last part no record is handed over, and no
    /// barrier answered.
    Restore {
        /// Rows.
        rows: Vec<Row>,
        /// Whether this is the first part.
        first: bool,
        /// If this is the last part: the record up to which they reach.
        last: Option<Index>,
    },
    /// What became of a change that was wanted here.
    Changed {
        /// Which.
        token: u64,
        /// How it ended.
        result: Result<(), ChangeError>,
    },
    /// Something worth seeing in a trace.
    Note(String),
}

/// What a log has asked for, in order.
#[derive(Debug)]
pub struct LogOutbox<M> {
    outputs: Vec<LogOutput<M>>,
    tracing: bool,
}

impl<M> LogOutbox<M> {
    /// An empty outbox; notes are kept only when `tracing`.
    pub fn new(tracing: bool) -> Self {
        Self { outputs: Vec::new(), tracing }
    }

    /// Asks for something, after everything that was asked for before.
    pub fn push(&mut self, output: LogOutput<M>) {
        self.outputs.push(output);
    }

    /// Notes something, worked out only if somebody looks at it.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tracing {
            self.outputs.push(LogOutput::Note(text()));
        }
    }

    /// Takes all outputs, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, LogOutput<M>> {
        self.outputs.drain(..)
    }
}

/// A change of who belongs to a log or leads it. It may be asked for at any member; one that does not lead passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes in a member that gets everything and has no vote.
    AddLearner(String),
    /// Gives exactly these members a vote, in one step for all of them; members with no place in the list are learners no more and leave.
    /// New ones catch up first.
    SetVoters(Vec<String>),
    /// Takes a member out, voter or learner.
    Remove(String),
    /// Lets this voter lead.
    Transfer(String),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Nobody leads just now, or whoever led has lost that while it was under way: it may or may not have been made.
    #[error("nobody leads the log now: ask again")]
    NoLeader,
    /// Another change is under way; nothing was changed.
    #[error("another change is under way: ask again when it is done")]
    Busy,
    /// It makes no sense; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// It was given up after some time: a new member did not catch up, or the voter did not take over. Nothing was changed.
    #[error("{0}")]
    TimedOut(String),
}

/// What a member does in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It takes what the leader sends.
    #[default]
    Follower,
    /// It asks whether it would be elected (Raft thesis, section 9.6).
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
    /// It gets everything and has no vote.
    Learner,
    /// Its log is damaged: it neither votes nor leads until it has got back from the others whatever it may have acknowledged.
    Repairing,
    /// Its disk has failed: it does nothing any more.
    Failed,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Learner => "learner",
            Self::Repairing => "repairing",
            Self::Failed => "failed",
        })
    }
}

/// What stands where in one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub standing: Standing,
    /// Its term.
    pub term: Term,
    /// Who leads in this term, as far as it knows.
    pub leader: Option<MemberId>,
    /// Who has a vote; while a change is under way (joint consensus, Raft section 6), those of both sides.
    pub voters: Vec<(MemberId, String)>,
    /// Who has none.
    pub learners: Vec<(MemberId, String)>,
    /// Whether a change is under way.
    pub changing: bool,
    /// The first entry that it still has.
    pub first: Index,
    /// Its last entry.
    pub last: Index,
    /// The last entry that is on its own disk.
    pub stored: Index,
    /// The last entry that it knows to be committed.
    pub committed: Index,
    /// The last entry that was handed over or passed over.
    pub applied: Index,
    /// How many records were handed over since the log began: the index of the last of them.
    pub records: Index,
    /// How far the rows reach that are kept.
    pub kept: Index,
    /// What went wrong with the disk, if something did.
    pub trouble: Option<String>,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_members_are_those_of_the_published_hash() {
        // The examples of draft-eastlake-fnv: the empty text, "a" and "foobar".
        assert_eq!(MemberId::of(""), MemberId(0xcbf2_9ce4_8422_2325));
        assert_eq!(MemberId::of("a"), MemberId(0xaf63_dc4c_8601_ec8c));
        assert_eq!(MemberId::of("foobar"), MemberId(0x8594_4171_f739_67e8));
    }
}
