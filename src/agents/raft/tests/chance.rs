//! What holds at all times, looked at while a seed decides what happens: messages lost, delayed and out of order, crashes, disks that lag, cut links, changes of
//! members, damage. The simulated world does the same with whole servers and for longer.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::agent::{Index, Term};
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::raft::{Laws, Options, Reads};
use crate::agents::replicated::{Change, LogInput, MemberId, Standing};
use crate::rng::{Probability, Rng};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

struct Run {
    cluster: Cluster,
    rng: Rng,
    leaders: BTreeMap<Term, MemberId>,
    /// What was handed over anywhere, by its index.
    known: Vec<Bytes>,
    proposed: BTreeMap<&'static str, u64>,
    tokens: u64,
    /// How many records were known when a question was asked.
    asked: BTreeMap<(&'static str, u64), usize>,
    /// Whether disks are damaged. Then who has a vote does not change: with two voters, one of them damaged, nothing could go on.
    damages: bool,
    damaged: Option<&'static str>,
}

impl Run {
    fn new(seed: u64, laws: Laws) -> Self {
        let mut rng = Rng::new(seed);
        let options = Options {
            cache_bytes_max: 600,
            batch_bytes_max: 100,
            compact_bytes: 800,
            part_bytes_max: 100,
            sessions_max: 4,
            reads: if rng.chance(Probability::percent(30)) { Reads::Lease } else { Reads::Index },
            ..Options::default()
        };
        let mut cluster = Cluster::unstarted(&NAMES[..3], options);
        cluster.obeying(laws);
        for spare in &NAMES[3..] {
            cluster.add_node(spare);
        }
        let keeps = rng.chance(Probability::percent(70));
        for name in NAMES {
            cluster.node_mut(name).keeps = keeps;
        }
        cluster.start_all();
        let damages = rng.chance(Probability::percent(50));
        Self {
            cluster,
            rng,
            damages,
            leaders: BTreeMap::new(),
            known: Vec::new(),
            proposed: BTreeMap::new(),
            tokens: 0,
            asked: BTreeMap::new(),
            damaged: None,
        }
    }

    fn pick(&mut self) -> &'static str {
        NAMES[self.rng.index(NAMES.len())]
    }

    fn step(&mut self) {
        let name = self.pick();
        let lives = self.cluster.node(name).lives;
        match self.rng.below(100) {
            0..40 => self.deliver(),
            40..55 if lives => self.cluster.sync(name),
            55..62 if lives => self.cluster.serve(name),
            62..75 if lives => self.cluster.input(id(name), LogInput::Timeout),
            75..83 if lives => {
                let number = self.proposed.entry(name).or_insert(0);
                *number += 1;
                let record = format!("{name} {number}");
                self.cluster.propose(name, &record);
            }
            83..86 if lives => {
                self.tokens += 1;
                self.asked.insert((name, self.tokens), self.known.len());
                self.cluster.ask(name, self.tokens);
            }
            86..94 => self.cluster.now = self.cluster.now + ms(self.rng.below(60)),
            94 => self.crash_or_restart(name),
            95 => {
                let other = self.pick();
                self.cluster.cut.insert((id(name), id(other)));
            }
            96..98 => self.cluster.heal(),
            98 if lives => self.change(name),
            _ => {}
        }
        self.look();
    }

    /// Mostly in order, sometimes not, sometimes twice, sometimes never.
    fn deliver(&mut self) {
        let flights = &mut self.cluster.flights;
        match self.rng.below(20) {
            0 if !flights.is_empty() => {
                let place = self.rng.index(flights.len());
                flights.swap(0, place);
            }
            1 => {
                if let Some(flight) = flights.front().cloned() {
                    flights.push_back(flight);
                }
            }
            2 => {
                flights.pop_front();
            }
            _ => {}
        }
        self.cluster.deliver_one();
    }

    fn crash_or_restart(&mut self, name: &'static str) {
        if !self.cluster.node(name).lives {
            return self.cluster.restart(name);
        }
        self.cluster.crash(name);
        // One server at a time may have a damaged disk: a majority is whole.
        let is_another = self
            .damaged
            .is_some_and(|one| one != name || self.cluster.status(one).standing == Standing::Repairing);
        if !self.damages || is_another {
            return;
        }
        let indexes: Vec<Index> = self.cluster.node(name).durable.entries.keys().copied().collect();
        if let Some(index) = self.rng.pick(&indexes).copied()
            && self.rng.chance(Probability::percent(30))
        {
            self.damaged = Some(name);
            let state_lost = self.rng.chance(Probability::percent(30));
            let image = &mut self.cluster.node_mut(name).durable;
            image.state_lost = state_lost;
            if index > image.applied.index {
                image.damaged.insert(index);
            }
        }
    }

    fn change(&mut self, name: &'static str) {
        self.tokens += 1;
        let some = |rng: &mut Rng| NAMES[rng.index(NAMES.len())].to_owned();
        let change = match self.rng.below(if self.damages { 3 } else { 4 }) {
            0 => Change::AddLearner(some(&mut self.rng)),
            1 if !self.damages => Change::Remove(some(&mut self.rng)),
            1 | 2 => Change::Transfer(some(&mut self.rng)),
            _ => {
                let mut names = NAMES.map(str::to_owned);
                self.rng.shuffle(&mut names);
                let count = 1 + self.rng.index(5);
                Change::SetVoters(names[..count].to_vec())
            }
        };
        self.cluster.change(name, self.tokens, change);
    }

    /// Election safety, state machine safety, order and uniqueness of each proposer's records, reads that are not stale.
    fn look(&mut self) {
        for name in NAMES {
            let node = self.cluster.node(name);
            if !node.lives {
                continue;
            }
            let raft = &node.raft;
            if raft.leads() {
                let known = *self.leaders.entry(raft.term).or_insert(id(name));
                assert_eq!(known, id(name), "two lead in term {}", raft.term);
            }
            for (index, record) in node.records.iter().enumerate() {
                match self.known.get(index) {
                    Some(known) => assert_eq!(known, record, "{name} was handed another record {index}"),
                    None => self.known.push(record.clone()),
                }
            }
            for token in &node.barriers {
                if let Some(count) = self.asked.remove(&(name, *token)) {
                    assert!(node.records.len() >= count, "{name} answered a stale read");
                }
            }
        }
    }

    /// Whatever was proposed or asked by those who belong to the log has its answer.
    fn check_nobody_waits(&self, leader: &str) {
        let members = self.cluster.raft_of(leader).members.latest();
        for name in NAMES.into_iter().filter(|name| members.contains(id(name))) {
            let raft = self.cluster.raft_of(name);
            assert!(
                !raft.proposals.is_waiting(),
                "{name} has proposals that nobody takes: {:?}",
                raft.proposals
            );
            assert!(!raft.asked.is_waiting(), "{name} has asked what nobody answers: {:?}", raft.asked);
        }
    }

    fn finish(mut self) {
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        // What is needed to go on: everybody lives and can reach each other.
        self.cluster.heal();
        for name in NAMES {
            if !self.cluster.node(name).lives {
                self.cluster.restart(name);
            }
        }
        let before = self.known.len();
        self.cluster.advance(ms(12_000));
        self.look();
        let leaders = self.cluster.leaders();
        let states = || NAMES.map(|name| (name, self.cluster.status(name)));
        assert_eq!(leaders.len(), 1, "{:#?} after everything is well again: {leaders:?}", states());
        let leader = leaders[0].to_owned();
        self.check_nobody_waits(&leader);
        self.cluster.propose(&leader, "the last");
        self.cluster.advance(ms(2000));
        self.look();
        assert!(self.known.len() > before && self.known.last().is_some_and(|record| record == "the last"));
        for record in &self.known {
            let text = std::str::from_utf8(record).unwrap();
            if let Some((name, number)) = text.split_once(' ').filter(|(name, _)| name.len() == 1) {
                let number: u64 = number.parse().unwrap();
                let last = next.entry(name).or_insert(0);
                assert!(number > *last, "{text} after {last}");
                *last = number;
            }
        }
    }
}

fn run(seed: u64, steps: u32, laws: Laws) {
    let mut run = Run::new(seed, laws);
    for _ in 0..steps {
        run.step();
    }
    run.finish();
}

#[test]
fn nothing_that_must_not_happen_does() {
    let count = std::env::var("OVID_RAFT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let first = std::env::var("OVID_RAFT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + count {
        let result = std::panic::catch_unwind(|| run(seed, 3000, Laws::ALL));
        assert!(result.is_ok(), "with OVID_RAFT_SEED={seed} OVID_RAFT_SEEDS=1");
    }
}

/// The first seed below `limit` with which something happens that must not.
fn caught(limit: u64, laws: Laws) -> Option<u64> {
    (0..limit).find(|seed| std::panic::catch_unwind(|| run(*seed, 3000, laws)).is_err())
}

#[test]
fn without_one_of_its_laws_something_happens_that_must_not() {
    let broken = [
        ("vote_checks_log", Laws { vote_checks_log: false, ..Laws::ALL }),
        ("one_vote_a_term", Laws { one_vote_a_term: false, ..Laws::ALL }),
        ("acknowledge_after_sync", Laws { acknowledge_after_sync: false, ..Laws::ALL }),
        ("vote_after_sync", Laws { vote_after_sync: false, ..Laws::ALL }),
        ("truncate_conflicts", Laws { truncate_conflicts: false, ..Laws::ALL }),
        ("joint_consensus", Laws { joint_consensus: false, ..Laws::ALL }),
        ("damage_is_repaired", Laws { damage_is_repaired: false, ..Laws::ALL }),
        ("sessions", Laws { sessions: false, ..Laws::ALL }),
    ];
    let found = broken.map(|(name, laws)| (name, caught(200, laws)));
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "{found:?}");
}
