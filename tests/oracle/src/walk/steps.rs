//! What is done next, drawn from what can be.

use std::collections::BTreeSet;

use ovid::agents::raft::Laws;
use ovid::agents::replicated::Standing;
use ovid::rng::Rng;
use ovid::time::Time;

use super::others::Others;
use super::pair::{Pair, Told};
use crate::Line;

/// How often what was done and came about: so that a test sees that it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Steps.
    pub steps: u64,
    /// Messages that the member was told.
    pub told: u64,
    /// Times at which the member was elected.
    pub reigns: u64,
    /// Entries that it came to know as committed, as a leader.
    pub committed: u64,
    /// Entries that were committed by others' word.
    pub learnt: u64,
    /// Times at which a part of its log was replaced.
    pub cuts: u64,
    /// Times at which it lost what was not on its disk.
    pub restarts: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.told += other.told;
        self.reigns += other.reigns;
        self.committed += other.committed;
        self.learnt += other.learnt;
        self.cuts += other.cuts;
        self.restarts += other.restarts;
    }
}

pub(super) struct Walk {
    rng: Rng,
    pair: Pair,
    others: Others,
    counts: Counts,
    /// What was done, for whoever has to find out.
    steps: Vec<String>,
    /// When ours last heard of a leader, in this life.
    heard: Option<Time>,
    /// Who has answered the ballot of now, and its number.
    answered: BTreeSet<u64>,
    /// Whether anything is not on the disk.
    is_unsynced: bool,
    /// Up to where the member's log was found to be as its leader's, in this life; and of that, what it has acknowledged. In which term.
    matched: (u64, usize),
    acknowledged: (u64, usize),
    records: u64,
    /// Its log after the last step.
    log: Vec<Line>,
}

impl Walk {
    pub(super) fn new(seed: u64, laws: Laws, is_bound: bool) -> Self {
        let mut rng = Rng::new(seed);
        let members = if rng.below(2) == 0 { 3 } else { 5 };
        let pair = Pair::new(members, laws, is_bound, seed);
        Self {
            rng,
            pair,
            others: Others::default(),
            counts: Counts::default(),
            steps: vec![format!("seed {seed}, {members} members")],
            heard: None,
            answered: BTreeSet::new(),
            is_unsynced: false,
            matched: (0, 0),
            acknowledged: (0, 0),
            records: 0,
            log: Vec::new(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn step(&mut self) -> Result<(), String> {
        self.counts.steps += 1;
        self.draw()
            .and_then(|()| self.look())
            .map_err(|what| format!("{what}\n  after: {}", self.steps.join("\n         ")))
    }

    fn draw(&mut self) -> Result<(), String> {
        let standing = self.pair.standing();
        let is_candidate = matches!(standing, Standing::PreCandidate | Standing::Candidate);
        match self.rng.below(100) {
            0..60 if is_candidate => self.answer_ballot(standing),
            0..30 if standing == Standing::Leader => self.acknowledge(),
            30..50 if standing == Standing::Leader => self.propose(),
            0..35 | 50..55 => self.append(),
            35..42 => self.heartbeat(),
            55..64 => self.ask_for_vote(),
            64..70 => return self.time_out(),
            70..72 => self.timeout_now(),
            72..74 => return self.restart(),
            74..76 => self.pass(),
            76..100 => return self.sync(),
            _ => {}
        }
        Ok(())
    }

    /// Both stand alike, and what is imagined goes on from there.
    fn look(&mut self) -> Result<(), String> {
        self.pair.compare()?;
        let (term, log) = (self.pair.term(), self.pair.ours.log());
        if !log.starts_with(&self.log) {
            self.counts.cuts += 1;
        }
        if self.pair.standing() == Standing::Leader {
            if !self.others.leaders.contains_key(&term) {
                self.counts.reigns += 1;
                self.others.elected(term, 1, log.clone());
            }
            let committed = usize::try_from(self.pair.committed()).expect("a short log");
            self.others.leads(term, log.clone(), committed);
        }
        self.log = log;
        Ok(())
    }

    fn tell(&mut self, from: u64, told: &Told) {
        self.counts.told += 1;
        self.steps.push(format!("{from} says {told:?}"));
        self.pair.tell(from, told);
        self.is_unsynced = true;
    }

    fn other(&mut self) -> u64 {
        self.rng.between(2..=self.pair.members)
    }

    /// The term of a leader that says something: mostly the newest, sometimes an old one, sometimes one that is elected only now.
    fn leader_of(&mut self) -> Option<u64> {
        if self.rng.below(4) == 0 {
            let who = self.other();
            let own_log = self.pair.ours.log();
            let own = self.pair.term();
            self.others.elect(&mut self.rng, who, own, &own_log);
        }
        let newest = self.others.newest();
        self.others.grow(&mut self.rng, newest, 2);
        let terms: Vec<u64> =
            self.others.leaders.iter().filter(|(_, leader)| leader.who != 1).map(|(term, _)| *term).collect();
        if self.rng.below(4) > 0 { terms.last().copied() } else { self.rng.pick(&terms).copied() }
    }

    /// What is known to be the leader's of this term in this life.
    fn matched(&self, term: u64) -> usize {
        let committed = usize::try_from(self.pair.committed()).expect("a short log");
        if self.matched.0 == term { self.matched.1.max(committed) } else { committed }
    }

    fn append(&mut self) {
        let Some(term) = self.leader_of() else { return };
        let leader = self.others.leaders[&term].clone();
        let len = leader.log.len();
        // Mostly near the end of what the member has, sometimes anywhere.
        let near = self.log.len().min(len);
        let prev = match self.rng.below(3) {
            0 => self.rng.index(len + 1),
            1 => near,
            _ => near.saturating_sub(self.rng.index(4)),
        };
        let end = (prev + self.rng.index(5)).min(len);
        let known = self.matched(term);
        let limit = if end >= known { leader.committed } else { leader.committed.min(end) };
        let committed = if self.rng.below(2) == 0 { limit } else { self.rng.index(limit + 1) };
        let prev_term = if prev == 0 { 0 } else { leader.log[prev - 1].term };
        let before = self.pair.committed();
        let told = Told::Append {
            term,
            prev: prev as u64,
            prev_term,
            committed: committed as u64,
            lines: leader.log[prev..end].to_vec(),
        };
        self.tell(leader.who, &told);
        if self.pair.term() == term {
            self.heard = Some(self.pair.ours.now());
            let log = self.pair.ours.log();
            if log.len() >= end && log[..end] == leader.log[..end] {
                self.matched = (term, self.matched(term).max(end));
            }
        }
        self.counts.learnt += self.pair.committed() - before;
    }

    fn heartbeat(&mut self) {
        let Some(term) = self.leader_of() else { return };
        let leader = &self.others.leaders[&term];
        let known = if self.acknowledged.0 == term { self.acknowledged.1 } else { 0 };
        let (who, committed) = (leader.who, leader.committed.min(known));
        let before = self.pair.committed();
        self.tell(who, &Told::Heartbeat { term, committed: committed as u64 });
        if self.pair.term() == term {
            self.heard = Some(self.pair.ours.now());
        }
        self.counts.learnt += self.pair.committed() - before;
    }

    fn is_bound(&self) -> bool {
        let (now, patience) = (self.pair.ours.now(), self.pair.ours.patience());
        self.heard.is_some_and(|heard| now.since(heard) < patience)
    }

    fn ask_for_vote(&mut self) {
        let own = self.pair.term();
        let from = self.other();
        let (pre, transfer) = (self.rng.below(2) == 0, self.rng.below(5) == 0);
        let term = (own + [0, 1, 1, 1, 2, 3][self.rng.index(6)]).saturating_sub(self.rng.below(2)).max(1);
        if pre && term == own {
            return;
        }
        // Only its own knowledge of a leader binds the other one.
        if self.is_bound() && self.pair.leader() == 0 {
            self.pass();
        }
        let log = self.pair.ours.log();
        let last = (log.len() as u64 + self.rng.below(4)).saturating_sub(2);
        let last_term = log.last().map_or(0, |line| line.term);
        let last_term =
            (last_term + self.rng.below(4)).saturating_sub(if self.rng.below(2) == 0 { 2 } else { 1 });
        let told = if pre {
            Told::PreVote { term, last, last_term }
        } else {
            Told::Vote { term, last, last_term, transfer }
        };
        self.tell(from, &told);
    }

    fn time_out(&mut self) -> Result<(), String> {
        // Ours begins no election while its vote is on its way to the disk; the other one would.
        if self.is_unsynced {
            self.sync()?;
        }
        if self.pair.standing() == Standing::Leader {
            return Ok(());
        }
        self.steps.push("runs into its time-out".to_owned());
        self.pair.run_into_time_out();
        self.begin_ballot();
        // It has given up its leader, and what it has of that leader's log is found out anew.
        self.matched = (0, 0);
        self.acknowledged = (0, 0);
        Ok(())
    }

    fn begin_ballot(&mut self) {
        self.answered.clear();
        self.is_unsynced = true;
    }

    fn answer_ballot(&mut self, standing: Standing) {
        let (own, from) = (self.pair.term(), self.other());
        if self.rng.below(12) == 0 {
            // Somebody is ahead.
            let term = own + self.rng.between(1..=2);
            let told = if standing == Standing::Candidate {
                Told::VoteReply { term, granted: false }
            } else {
                Told::PreVoteReply { term, granted: false }
            };
            return self.tell(from, &told);
        }
        if standing == Standing::Candidate && self.is_unsynced || !self.answered.insert(from) {
            return;
        }
        let granted = self.rng.below(4) > 0;
        if standing == Standing::PreCandidate {
            let term = if granted { own + 1 } else { own };
            self.tell(from, &Told::PreVoteReply { term, granted });
            if self.pair.standing() == Standing::Candidate {
                self.begin_ballot();
            }
            return;
        }
        let could_win = self.others.newest() < own && self.others.could_lead(&self.pair.ours.log());
        self.tell(from, &Told::VoteReply { term: own, granted: granted && could_win });
    }

    fn acknowledge(&mut self) {
        let own = self.pair.term();
        if self.others.newest() > own {
            return;
        }
        let from = self.other();
        let last = self.log.len() as u64;
        let stored = if self.rng.below(2) == 0 { last } else { self.rng.between(0..=last) };
        let before = self.pair.committed();
        self.tell(from, &Told::Appended { term: own, stored });
        self.counts.committed += self.pair.committed() - before;
    }

    fn propose(&mut self) {
        self.records += 1;
        self.steps.push(format!("proposes record {}", self.records));
        self.pair.propose(format!("record {}", self.records));
        self.is_unsynced = true;
    }

    fn timeout_now(&mut self) {
        let (term, leader) = (self.pair.term(), self.pair.leader());
        if leader > 1 {
            self.tell(leader, &Told::TimeoutNow { term });
            self.begin_ballot();
        }
    }

    fn restart(&mut self) -> Result<(), String> {
        self.counts.restarts += 1;
        self.steps.push("begins again".to_owned());
        self.pair.restart()?;
        self.begin_ballot();
        self.heard = None;
        self.is_unsynced = false;
        self.matched = (0, 0);
        self.acknowledged = (0, 0);
        self.log = self.pair.ours.log();
        Ok(())
    }

    fn pass(&mut self) {
        if self.pair.standing() != Standing::Leader {
            self.steps.push("waits".to_owned());
            self.pair.pass();
        }
    }

    fn sync(&mut self) -> Result<(), String> {
        self.steps.push("writes to its disk".to_owned());
        self.pair.sync()?;
        self.is_unsynced = false;
        self.acknowledged = self.matched;
        Ok(())
    }
}
