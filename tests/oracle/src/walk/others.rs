//! What the others could have in their logs: so that whatever they say is what members of one Raft can say.

use std::collections::BTreeMap;

use bytes::Bytes;
use ovid::rng::Rng;

use crate::Line;

/// A member that leads in some term, or led.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Who.
    pub(super) who: u64,
    /// Its log, which only grows while it leads.
    pub(super) log: Vec<Line>,
    /// Up to where it knows its log to be committed.
    pub(super) committed: usize,
}

/// All of them, by their terms.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    pub(super) leaders: BTreeMap<u64, Leader>,
    /// What is committed: each leader from now on has it.
    floor: Vec<Line>,
}

impl Others {
    pub(super) fn newest(&self) -> u64 {
        self.leaders.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether a log holds all that is committed, so that its member could be elected.
    pub(super) fn could_lead(&self, log: &[Line]) -> bool {
        log.starts_with(&self.floor)
    }

    /// The member that is looked at has been elected.
    pub(super) fn elected(&mut self, term: u64, who: u64, log: Vec<Line>) {
        self.leaders.entry(term).or_insert(Leader { who, log, committed: 0 });
    }

    /// It leads, and its log is this; what it has committed by what was drawn is committed.
    pub(super) fn leads(&mut self, term: u64, log: Vec<Line>, committed: usize) {
        if committed > self.floor.len() {
            self.floor = log[..committed].to_vec();
        }
        if let Some(leader) = self.leaders.get_mut(&term) {
            leader.committed = leader.committed.max(committed);
            leader.log = log;
        }
    }

    /// Another one is elected in a later term than any before: its log is a part of one that there is, with all that is committed, and entries of its own.
    pub(super) fn elect(&mut self, rng: &mut Rng, who: u64, own: u64, own_log: &[Line]) {
        let later = if rng.below(3) > 0 { self.newest().max(own) } else { self.newest() };
        let term = later + rng.between(1..=2);
        let mut logs: Vec<&[Line]> = self.leaders.values().map(|leader| leader.log.as_slice()).collect();
        logs.push(own_log);
        logs.retain(|log| log.starts_with(&self.floor));
        let source = rng.pick(&logs).copied().unwrap_or(&self.floor);
        let len = source.len().max(self.floor.len());
        let cut = self.floor.len() + rng.index(len - self.floor.len() + 1);
        let log = source[..cut].to_vec();
        self.leaders.insert(term, Leader { who, log, committed: 0 });
        self.grow(rng, term, 3);
    }

    /// The newest leader may have put more into its log, and may have committed more of what it put there.
    pub(super) fn grow(&mut self, rng: &mut Rng, term: u64, most: u64) {
        if term != self.newest() {
            return;
        }
        let Some(leader) = self.leaders.get_mut(&term) else { return };
        for _ in 0..rng.between(0..=most) {
            let record = Bytes::from(format!("{}/{term}", leader.log.len() + 1));
            leader.log.push(Line { term, record });
        }
        let own = leader.log.iter().filter(|line| line.term == term).count();
        let first = leader.log.len() - own;
        if own > 0 && rng.below(6) == 0 {
            let committed = first + 1 + rng.index(own);
            leader.committed = leader.committed.max(committed);
            if leader.committed > self.floor.len() {
                self.floor = leader.log[..leader.committed].to_vec();
            }
        }
    }
}
