//! One member of each Raft, told the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use ovid::agent::{Entry, Index, Term};
use ovid::agents::raft::{Append, Candidacy, Laws, Message};
use ovid::agents::replicated::{LogInput, Standing};
use raft::eraftpb::{self, MessageType};

use crate::{Line, Ours, Theirs, differences, follow_proposals, id, name, names, number, numbers};

/// Something that another member says.
#[derive(Clone, Debug)]
pub(super) enum Told {
    PreVote { term: u64, last: u64, last_term: u64 },
    PreVoteReply { term: u64, granted: bool },
    Vote { term: u64, last: u64, last_term: u64, transfer: bool },
    VoteReply { term: u64, granted: bool },
    Append { term: u64, prev: u64, prev_term: u64, committed: u64, lines: Vec<Line> },
    Heartbeat { term: u64, committed: u64 },
    Appended { term: u64, stored: u64 },
    TimeoutNow { term: u64 },
}

/// The member that is looked at, twice. Its number is 1.
pub(super) struct Pair {
    pub(super) members: u64,
    pub(super) ours: Ours,
    pub(super) theirs: Theirs,
    elections: u64,
    /// The entries before those that were sent by a leader of the member's own term, and by one of an older term.
    asked: BTreeSet<u64>,
    asked_in_vain: BTreeSet<u64>,
    /// The greatest entries that both have acknowledged in this life, in which term.
    acknowledged: (u64, u64, u64),
    /// In which term it last gave up its leader.
    gave_up: Option<u64>,
}

/// What was said about the term of now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// To whom a vote was given, and to whom one would be.
    votes: BTreeSet<u64>,
    pre_votes: BTreeSet<(u64, u64)>,
    acknowledged: u64,
    rejected: BTreeSet<u64>,
}

impl Pair {
    pub(super) fn new(members: u64, laws: Laws, is_bound: bool, seed: u64) -> Self {
        let ours = Ours::new(&name(1), &names(members), laws, seed);
        let theirs = Theirs::new(1, &numbers(members), is_bound);
        let (asked, asked_in_vain) = (BTreeSet::new(), BTreeSet::new());
        Self {
            members,
            ours,
            theirs,
            elections: 0,
            asked,
            asked_in_vain,
            acknowledged: (0, 0, 0),
            gave_up: None,
        }
    }

    pub(super) fn term(&self) -> u64 {
        self.ours.status().term.0
    }

    pub(super) fn committed(&self) -> u64 {
        self.ours.status().committed.0
    }

    pub(super) fn standing(&self) -> Standing {
        self.ours.status().standing
    }

    /// Who leads, as far as it knows; 0 for nobody.
    pub(super) fn leader(&self) -> u64 {
        number(self.members, self.ours.status().leader)
    }

    pub(super) fn tell(&mut self, from: u64, told: &Told) {
        let own = self.term();
        match told {
            Told::Append { term, prev, .. } if *term >= own => self.asked.insert(*prev),
            Told::Append { prev, .. } => self.asked_in_vain.insert(*prev),
            // Ours answers it as if it had carried entries from the beginning on.
            Told::Heartbeat { term, .. } if *term < own => self.asked_in_vain.insert(0),
            _ => false,
        };
        let committed = self.committed();
        self.ours.tell(LogInput::Message { from: id(from), message: to_ours(told) });
        self.theirs.tell(to_theirs(from, told, own, committed));
        self.follow();
    }

    /// What ours has done by itself, the other one does, too.
    fn follow(&mut self) {
        let elections = self.ours.elections();
        if elections > self.elections && self.standing() == Standing::PreCandidate {
            self.gave_up = Some(self.term());
            self.theirs.campaign();
        }
        self.elections = elections;
        follow_proposals(&self.ours, &mut self.theirs);
    }

    pub(super) fn run_into_time_out(&mut self) {
        self.ours.run_into_time_out();
        self.follow();
    }

    /// So much time goes by that nobody is bound to a leader any more.
    pub(super) fn pass(&mut self) {
        self.ours.pass(self.ours.patience());
        self.theirs.pass();
        self.follow();
    }

    pub(super) fn propose(&mut self, record: String) {
        self.ours.tell(LogInput::Propose { record: Bytes::from(record) });
        self.follow();
    }

    /// The disk is done; both have said the same.
    pub(super) fn sync(&mut self) -> Result<(), String> {
        self.ours.sync();
        self.theirs.sync();
        self.follow();
        // What followed may have been written, too.
        self.ours.sync();
        self.theirs.sync();
        let (mut ours, mut theirs) = (self.ours_said(), self.theirs_said());
        let before = self.acknowledged;
        if before.0 == self.term() {
            ours.acknowledged = ours.acknowledged.max(before.1);
            theirs.acknowledged = theirs.acknowledged.max(before.2);
        }
        if self.gave_up == Some(self.term()) && ours.acknowledged < theirs.acknowledged {
            // What was not on the disk when it gave up its leader, ours does not acknowledge to it any more.
            ours.acknowledged = theirs.acknowledged;
        }
        self.acknowledged = (self.term(), ours.acknowledged, theirs.acknowledged);
        self.asked.clear();
        self.asked_in_vain.clear();
        self.ours.sent.clear();
        self.theirs.sent.clear();
        if ours == theirs { Ok(()) } else { Err(format!("said: {ours:?}, and the other one {theirs:?}")) }
    }

    /// What is not on the disk is lost, and with it what was not said.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let given = self.ours.sent.iter().filter_map(|(to, message)| match message {
            Message::VoteReply { term, granted: true } => Some((*term, *to)),
            _ => None,
        });
        let given: Vec<_> = given.collect();
        self.asked.clear();
        self.asked_in_vain.clear();
        self.ours.restart();
        self.theirs.restart();
        self.elections = 0;
        self.acknowledged = (0, 0, 0);
        self.gave_up = None;
        let forgotten = given.into_iter().find(|(term, to)| {
            let own = self.ours.status().term;
            own < *term || own == *term && self.ours.voted() != Some(*to)
        });
        match forgotten {
            Some((term, _)) => Err(format!("a vote in term {term} was given and is forgotten")),
            None => Ok(()),
        }
    }

    pub(super) fn compare(&self) -> Result<(), String> {
        let found = differences(self.members, &self.ours, &self.theirs);
        if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
    }

    fn is_rejection(&self, prev: u64) -> bool {
        self.asked.contains(&prev) && !self.asked_in_vain.contains(&prev)
    }

    fn ours_said(&self) -> Said {
        let own = self.ours.status().term;
        let mut said = Said { acknowledged: self.committed(), ..Said::default() };
        for (to, message) in &self.ours.sent {
            let to = number(self.members, Some(*to));
            match message {
                Message::VoteReply { term, granted: true } if *term == own => {
                    said.votes.insert(to);
                }
                Message::PreVoteReply { term, granted: true } => {
                    said.pre_votes.insert((to, term.0));
                }
                Message::Appended { term, stored, .. } if *term == own => {
                    said.acknowledged = said.acknowledged.max(stored.0);
                }
                Message::Rejected(rejection)
                    if rejection.term == own && self.is_rejection(rejection.prev.0) =>
                {
                    said.rejected.insert(rejection.prev.0);
                }
                _ => {}
            }
        }
        said
    }

    fn theirs_said(&self) -> Said {
        let own = self.theirs.term();
        let mut said = Said { acknowledged: self.theirs.committed(), ..Said::default() };
        for message in &self.theirs.sent {
            let is_own = message.term == own;
            match message.get_msg_type() {
                MessageType::MsgRequestVoteResponse if is_own && !message.reject => {
                    said.votes.insert(message.to);
                }
                MessageType::MsgRequestPreVoteResponse if !message.reject => {
                    said.pre_votes.insert((message.to, message.term));
                }
                MessageType::MsgAppendResponse if is_own && !message.reject => {
                    said.acknowledged = said.acknowledged.max(message.index);
                }
                MessageType::MsgAppendResponse if is_own && self.is_rejection(message.index) => {
                    said.rejected.insert(message.index);
                }
                _ => {}
            }
        }
        said
    }
}

fn to_ours(told: &Told) -> Message {
    match told {
        Told::PreVote { term, last, last_term } => {
            Message::PreVote(candidacy(*term, *last, *last_term, false))
        }
        Told::Vote { term, last, last_term, transfer } => {
            Message::Vote(candidacy(*term, *last, *last_term, *transfer))
        }
        Told::PreVoteReply { term, granted } => {
            Message::PreVoteReply { term: Term(*term), granted: *granted }
        }
        Told::VoteReply { term, granted } => Message::VoteReply { term: Term(*term), granted: *granted },
        Told::Append { term, prev, prev_term, committed, lines } => {
            let entries = (prev + 1..).zip(lines).map(|(index, line)| Entry {
                index: Index(index),
                term: Term(line.term),
                record: line.record.clone(),
            });
            Message::Append(Append {
                term: Term(*term),
                prev: Index(*prev),
                prev_term: Term(*prev_term),
                committed: Index(*committed),
                entries: entries.collect(),
            })
        }
        Told::Heartbeat { term, committed } => {
            Message::Heartbeat { term: Term(*term), committed: Index(*committed), round: 1 }
        }
        Told::Appended { term, stored } => {
            Message::Appended { term: Term(*term), stored: Index(*stored), repairing: false }
        }
        Told::TimeoutNow { term } => Message::TimeoutNow { term: Term(*term) },
    }
}

fn candidacy(term: u64, last: u64, last_term: u64, transfer: bool) -> Candidacy {
    Candidacy { term: Term(term), last: Index(last), last_term: Term(last_term), transfer }
}

/// `own` is the term of whoever is told, and `known` what it knows to be committed.
fn to_theirs(from: u64, told: &Told, own: u64, known: u64) -> eraftpb::Message {
    let mut message = eraftpb::Message { from, to: 1, ..eraftpb::Message::default() };
    let (kind, term) = match told {
        Told::PreVote { term, last, last_term } => {
            (message.index, message.log_term) = (*last, *last_term);
            (MessageType::MsgRequestPreVote, term)
        }
        Told::Vote { term, last, last_term, transfer } => {
            (message.index, message.log_term) = (*last, *last_term);
            if *transfer {
                message.context = b"CampaignTransfer".as_slice().into();
            }
            (MessageType::MsgRequestVote, term)
        }
        Told::PreVoteReply { term, granted } => {
            message.reject = !granted;
            (MessageType::MsgRequestPreVoteResponse, term)
        }
        Told::VoteReply { term, granted } => {
            message.reject = !granted;
            (MessageType::MsgRequestVoteResponse, term)
        }
        Told::Append { term, prev, prev_term, committed, lines } => {
            let end = prev + lines.len() as u64;
            let is_cut = *term >= own && *prev < known && known < end;
            let skip = if is_cut { usize::try_from(known - prev).expect("a short log") } else { 0 };
            let before = if skip > 0 { lines[skip - 1].term } else { *prev_term };
            (message.index, message.log_term) = (prev + skip as u64, before);
            message.commit = *committed;
            let entries = (message.index + 1..).zip(&lines[skip..]).map(|(index, line)| eraftpb::Entry {
                index,
                term: line.term,
                data: line.record.to_vec().into(),
                ..eraftpb::Entry::default()
            });
            message.entries = entries.collect::<Vec<_>>().into();
            (MessageType::MsgAppend, term)
        }
        Told::Heartbeat { term, committed } => {
            message.commit = *committed;
            (MessageType::MsgHeartbeat, term)
        }
        Told::Appended { term, stored } => {
            message.index = *stored;
            (MessageType::MsgAppendResponse, term)
        }
        Told::TimeoutNow { term } => (MessageType::MsgTimeoutNow, term),
    };
    message.set_msg_type(kind);
    message.term = *term;
    message
}
