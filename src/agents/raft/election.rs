//! Who leads: time-outs, asking whether one would be elected, votes (Raft, section 5.2 and 5.4.1; thesis, sections 4.2.3, 6.2 and 9.6).

use std::collections::BTreeSet;
use std::time::Duration;

use super::disk::{Deferred, HardState};
use super::message::{Candidacy, Message};
use super::{Phase, Raft};
use crate::agent::{Index, Term, Write};
use crate::agents::raft::Reads;
use crate::agents::replicated::{ChangeError, MemberId};

/// The answers that a candidate has got.
#[derive(Clone, Debug)]
pub(super) struct Ballot {
    /// Whether it only asks what would be.
    pub(super) pre: bool,
    /// Whether the old leader wished it, so that those who have just heard of it need not wait.
    transfer: bool,
    granted: BTreeSet<MemberId>,
    refused: BTreeSet<MemberId>,
}

impl Ballot {
    fn new(pre: bool, transfer: bool) -> Self {
        Self { pre, transfer, granted: BTreeSet::new(), refused: BTreeSet::new() }
    }
}

impl Raft {
    /// Nothing was heard of a leader for too long, or no election has been won.
    pub(super) fn election_timeout(&mut self) {
        self.set_election_timer();
        // A vote that is still on its way to the disk: another one would only have to wait behind it.
        if self.leads() || !self.may_campaign() || self.is_writing_vote() {
            return;
        }
        self.counters.elections += 1;
        self.lose_leader();
        self.ballot = Some(Ballot::new(true, false));
        let candidacy = self.candidacy(self.term.next(), false);
        self.ask_voters(&Message::PreVote(candidacy));
        self.count_pre_vote(self.id);
    }

    /// Whoever is taken out may still be needed as a leader until the entry that says so is committed (thesis, section 4.2.2): nobody else may have it.
    fn may_campaign(&self) -> bool {
        let has_vote = || self.members.history().iter().any(|(_, members)| members.is_voter(self.id));
        self.phase == Phase::Running && self.repair.is_none() && has_vote()
    }

    fn candidacy(&self, term: Term, transfer: bool) -> Candidacy {
        Candidacy { term, last: self.log.last(), last_term: self.log.last_term(), transfer }
    }

    fn ask_voters(&mut self, message: &Message) {
        for id in self.members.latest().all_voters() {
            if id != self.id {
                self.send(id, message.clone());
            }
        }
    }

    /// Would this member vote for that one? It changes nothing by saying so.
    pub(super) fn on_pre_vote(&mut self, from: MemberId, candidacy: Candidacy) {
        let granted = candidacy.term > self.term && !self.is_bound() && self.may_vote_for(candidacy);
        let term = if granted { candidacy.term } else { self.term };
        self.send(from, Message::PreVoteReply { term, granted });
    }

    /// Whether a leader was heard of so lately that nobody else may be elected: the leader may rely on it (thesis, section 6.4.1), and a server that was
    /// cut off, or taken out, disturbs nobody (section 4.2.3).
    fn is_bound(&self) -> bool {
        let election = self.options.election;
        self.laws.votes_wait_for_leases
            && (self.leads() || self.heard.is_some_and(|heard| self.now.since(heard) < election))
    }

    fn may_vote_for(&self, candidacy: Candidacy) -> bool {
        let is_new =
            !self.laws.vote_checks_log || self.log.is_no_newer_than(candidacy.last, candidacy.last_term);
        is_new && self.repair.is_none()
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: MemberId, term: Term, granted: bool) {
        if !granted {
            self.observe(term);
        }
        let Some(ballot) = self.ballot.as_mut().filter(|ballot| ballot.pre) else { return };
        if granted && term == self.term.next() {
            self.count_pre_vote(from);
        } else if !granted {
            ballot.refused.insert(from);
            // It may be that the other has not noticed yet that the leader is gone.
            let election = self.options.election;
            let soon = self.now + self.rng.duration(election / 4, election / 2);
            self.election_at = self.election_at.map(|at| at.min(soon));
        }
    }

    fn count_pre_vote(&mut self, from: MemberId) {
        let Some(ballot) = &mut self.ballot else { return };
        ballot.granted.insert(from);
        if self.members.latest().agrees(|id| ballot.granted.contains(&id)) {
            self.campaign(false);
        }
    }

    /// A new term, and this member's own vote in it. Nobody is asked before that is on the disk: a server that forgot it could ask twice in one term,
    /// with two different logs.
    pub(super) fn campaign(&mut self, transfer: bool) {
        self.set_term(self.term.next());
        self.voted = Some(self.id);
        self.persist();
        self.out.note(|| format!("raft: became candidate term={}", self.term));
        self.candidacies = self.candidacies.saturating_add(1);
        self.ballot = Some(Ballot::new(false, transfer));
        if self.laws.vote_after_sync {
            self.disk.defer(self.state_lsn, Deferred::Campaign(self.term));
        } else {
            self.ask_for_votes(self.term);
        }
    }

    /// The own vote is on the disk.
    pub(super) fn ask_for_votes(&mut self, term: Term) {
        let Some(ballot) = self.ballot.as_ref().filter(|ballot| !ballot.pre && term == self.term) else {
            return;
        };
        let candidacy = self.candidacy(term, ballot.transfer);
        self.ask_voters(&Message::Vote(candidacy));
        self.count_vote(self.id);
    }

    pub(super) fn on_vote(&mut self, from: MemberId, candidacy: Candidacy) {
        if candidacy.term > self.term {
            if self.is_bound() && !candidacy.transfer {
                return;
            }
            self.observe(candidacy.term);
        }
        let is_free = match self.voted {
            None => self.leader.is_none(),
            Some(voted) => voted == from,
        };
        let granted = candidacy.term == self.term
            && !self.leads()
            && (is_free || !self.laws.one_vote_a_term)
            && self.may_vote_for(candidacy);
        if granted && self.voted != Some(from) {
            self.voted = Some(from);
            self.persist();
        }
        if granted {
            self.set_election_timer();
        }
        self.answer(from, Message::VoteReply { term: self.term, granted });
    }

    pub(super) fn on_vote_reply(&mut self, from: MemberId, term: Term, granted: bool) {
        self.observe(term);
        let Some(ballot) = self.ballot.as_mut().filter(|ballot| !ballot.pre) else { return };
        if term != self.term {
            return;
        }
        if granted {
            self.count_vote(from);
        } else {
            ballot.refused.insert(from);
            self.give_up_if_lost();
        }
    }

    fn count_vote(&mut self, from: MemberId) {
        let Some(ballot) = &mut self.ballot else { return };
        ballot.granted.insert(from);
        if self.members.latest().agrees(|id| ballot.granted.contains(&id)) {
            self.ballot = None;
            self.lead();
        }
    }

    /// An election that cannot be won any more need not run into its time-out: the next one comes soon, at a time of its own.
    fn give_up_if_lost(&mut self) {
        let Some(ballot) = &self.ballot else { return };
        let may_vote = |id: MemberId| id == self.id || self.up.contains(&id) && !ballot.refused.contains(&id);
        if !self.members.latest().agrees(may_vote) {
            self.ballot = None;
            let election = self.options.election;
            self.election_at = Some(self.now + self.rng.duration(election / 4, election));
        }
    }

    /// The leader asks this member to take over (thesis, section 3.10).
    pub(super) fn on_timeout_now(&mut self, from: MemberId, term: Term) {
        if term == self.term && self.leader == Some(from) && !self.leads() && self.may_campaign() {
            self.counters.elections += 1;
            self.set_election_timer();
            self.campaign(true);
        }
    }

    /// The link to the leader is down. Where nobody reads under a lease there is nothing to wait for: if the leader lives, the others know it and refuse.
    /// Otherwise the shortest lease has to be over.
    pub(super) fn leader_is_gone(&mut self) {
        let election = self.options.election;
        let begin = match self.options.reads {
            Reads::Index => {
                self.heard = None;
                self.now
            }
            Reads::Lease => self.heard.map_or(self.now, |heard| heard + election).max(self.now),
        };
        let soon = begin + self.rng.duration(Duration::ZERO, election / 2);
        self.election_at = self.election_at.map(|at| at.min(soon));
    }

    /// Whoever has stood for election again and again, and knows of no leader, waits twice as long each time: where disks take longer for votes than the time-out lasts, nobody would ever
    /// be elected (Raft, section 5.6, asks for far quicker ones).
    pub(super) fn set_election_timer(&mut self) {
        let doublings = self.candidacies.saturating_sub(1).min(DOUBLINGS_MAX);
        let election = self.options.election * (1 << doublings);
        self.election_at = Some(self.now + self.rng.duration(election, election * 2));
    }

    fn is_writing_vote(&self) -> bool {
        self.laws.vote_after_sync && !self.disk.has(self.state_lsn)
    }

    /// A message of this term has come: if that is greater than the own one, that one is over.
    pub(super) fn observe(&mut self, term: Term) {
        if term > self.term {
            self.set_term(term);
            self.persist();
        }
    }

    /// Moves to another term, in which this member has not voted and knows no leader. The caller persists it.
    pub(super) fn set_term(&mut self, term: Term) {
        self.term = term;
        self.voted = None;
        self.agreed = self.committed;
        self.acknowledged = Index(0);
        self.step_down();
        self.disk.forget_sends();
    }

    /// Stops leading, or wanting to.
    pub(super) fn step_down(&mut self) {
        if self.leads() {
            self.out.note(|| format!("raft: stepped down term={}", self.term));
            self.end_reign(ChangeError::NoLeader);
            self.set_election_timer();
        }
        self.ballot = None;
        self.lose_leader();
    }

    /// Somebody leads: the next election is the first one again.
    pub(super) fn forget_candidacies(&mut self) {
        self.candidacies = 0;
    }

    /// Nobody is known to lead. What was asked of whoever did is asked again of the next one.
    pub(super) fn lose_leader(&mut self) {
        self.leader = None;
        self.proposals.forget_sent();
        self.asked.forget_sent();
    }

    /// Puts on the disk what must not be forgotten: term, vote, and who belongs to the log.
    pub(super) fn persist(&mut self) {
        let state = HardState {
            term: self.term,
            voted: self.voted,
            repairing: self.repair.is_some(),
            members: self.members.history().to_vec(),
        };
        self.state_lsn = self.write(Write::State { state: state.to_bytes() });
    }
}

/// How often the time-out is doubled at most.
const DOUBLINGS_MAX: u32 = 4;
