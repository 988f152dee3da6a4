//! The events of a schedule, and what has to be alike after each.

use bytes::Bytes;
use ovid::agent::Why;
use ovid::agents::raft::Laws;
use ovid::agents::replicated::LogInput;
use ovid::rng::Rng;

use super::network::Network;
use crate::{Line, NOTHING, Ours, Theirs, differences, follow_proposals, id, name, names, numbers};

/// How often something came about: so that a test sees that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Terms that have had a leader.
    pub reigns: u64,
    /// Records that were handed over, by the member that handed over the most.
    pub records: u64,
    /// Members that began again.
    pub restarts: u64,
    /// Times at which the network was cut.
    pub cuts: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reigns += other.reigns;
        self.records += other.records;
        self.restarts += other.restarts;
        self.cuts += other.cuts;
    }
}

pub(super) struct Schedule {
    rng: Rng,
    members: u64,
    ours: Vec<Ours>,
    theirs: Vec<Theirs>,
    network: Network,
    /// What was done, for whoever has to find out.
    steps: Vec<String>,
    proposed: u64,
    counts: Counts,
}

/// After so many heartbeats over a network that only is cut, whatever can arrive has.
const BEATS: u64 = 4;

impl Schedule {
    pub(super) fn new(seed: u64, laws: Laws) -> Self {
        let mut rng = Rng::new(seed);
        let members = if rng.below(2) == 0 { 3 } else { 5 };
        let ours = |number| Ours::new(&name(number), &names(members), laws, seed);
        let theirs = |number| Theirs::new(number, &numbers(members), false);
        Self {
            rng,
            members,
            ours: (1..=members).map(ours).collect(),
            theirs: (1..=members).map(theirs).collect(),
            network: Network::default(),
            steps: vec![format!("seed {seed}, {members} members")],
            proposed: 0,
            counts: Counts::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let records = self.ours.iter().map(|ours| ours.records.len()).max().unwrap_or(0);
        Counts { records: records as u64, ..self.counts }
    }

    pub(super) fn event(&mut self) -> Result<(), String> {
        let place = self.rng.index(self.ours.len());
        match self.rng.below(20) {
            0..5 => self.elect(place),
            5..11 => self.propose(place),
            11 => self.cut_off(),
            12 => self.cut_way(),
            13..15 => {
                self.steps.push("heals".to_owned());
                self.network.cut.clear();
            }
            15 => self.restart(place),
            16 | 17 => self.lose(place),
            _ => {
                self.steps.push("is noisy".to_owned());
                self.network.is_noisy = true;
                self.propose(place);
                self.beat();
                self.network.is_noisy = false;
            }
        }
        for _ in 0..BEATS {
            self.beat();
        }
        self.look().map_err(|what| format!("{what}\n  after: {}", self.steps.join("\n         ")))
    }

    /// Carries ours until nothing is on its way, then the others with what our leaders have taken in.
    fn settle(&mut self) {
        self.network.settle(&mut self.rng, &mut self.ours);
        self.network.settle(&mut self.rng, &mut self.theirs);
        for (ours, theirs) in self.ours.iter().zip(&mut self.theirs) {
            follow_proposals(ours, theirs);
        }
        self.network.settle(&mut self.rng, &mut self.theirs);
    }

    fn elect(&mut self, place: usize) {
        if self.ours[place].leads() {
            return;
        }
        self.steps.push(format!("{} runs into its time-out", place + 1));
        self.ours[place].run_into_time_out();
        self.theirs[place].campaign();
        self.settle();
        self.counts.reigns += u64::from(self.ours[place].leads());
    }

    fn propose(&mut self, place: usize) {
        self.proposed += 1;
        self.steps.push(format!("{} proposes record {}", place + 1, self.proposed));
        let record = Bytes::from(format!("record {}", self.proposed));
        self.ours[place].tell(LogInput::Propose { record });
        self.settle();
    }

    fn beat(&mut self) {
        for (ours, theirs) in self.ours.iter_mut().zip(&mut self.theirs) {
            if ours.leads() {
                ours.pass(ours.heartbeat());
                if !ours.leads() {
                    // It has reached no majority for some time.
                    theirs.step_down();
                }
            }
            theirs.beat();
        }
        self.settle();
    }

    /// Nothing goes between some members and the others.
    fn cut_off(&mut self) {
        self.counts.cuts += 1;
        let apart: Vec<u64> = (1..=self.members).filter(|_| self.rng.below(2) == 0).collect();
        self.steps.push(format!("{apart:?} are cut off"));
        for from in 1..=self.members {
            for to in 1..=self.members {
                if apart.contains(&from) != apart.contains(&to) {
                    self.network.cut.insert((from, to));
                }
            }
        }
    }

    /// Nothing arrives on one way while something happens, though it does on the way back.
    fn cut_way(&mut self) {
        self.counts.cuts += 1;
        let (from, to) = (self.rng.between(1..=self.members), self.rng.between(1..=self.members));
        self.steps.push(format!("nothing goes from {from} to {to}"));
        let before = self.network.cut.clone();
        self.network.cut.insert((from, to));
        let place = self.rng.index(self.ours.len());
        if self.rng.below(3) > 0 {
            self.elect(place);
        } else {
            self.propose(place);
        }
        self.network.cut = before;
    }

    fn restart(&mut self, place: usize) {
        self.counts.restarts += 1;
        self.steps.push(format!("{} begins again", place + 1));
        let gone = id(place as u64 + 1);
        for (other, ours) in self.ours.iter_mut().enumerate() {
            if other != place {
                ours.tell(LogInput::MemberDown(gone, Why::Broken));
            }
        }
        self.ours[place].restart();
        self.theirs[place].restart();
        for (other, ours) in self.ours.iter_mut().enumerate() {
            if other != place {
                ours.tell(LogInput::MemberUp(gone));
            }
        }
        self.settle();
    }

    /// A member's disk is not done while something happens, and then the member begins again without what was not on it.
    fn lose(&mut self, place: usize) {
        self.steps.push(format!("the disk of {} is not done", place + 1));
        self.network.lagging = Some(place as u64 + 1);
        let other = self.rng.index(self.ours.len());
        if self.rng.below(2) == 0 {
            self.elect(other);
        } else {
            self.propose(other);
        }
        self.network.lagging = None;
        self.restart(place);
    }

    fn look(&self) -> Result<(), String> {
        for (number, (ours, theirs)) in (1..).zip(self.ours.iter().zip(&self.theirs)) {
            let mut found = differences(self.members, ours, theirs);
            if !hands_over(&ours.records, &theirs.log()[..committed(theirs)]) {
                found.push("it has handed over what the other one has not committed".to_owned());
            }
            if !found.is_empty() {
                return Err(format!("member {number}: {}", found.join("; ")));
            }
        }
        Ok(())
    }
}

fn committed(theirs: &Theirs) -> usize {
    usize::try_from(theirs.committed()).expect("a short log")
}

/// Whether these records are those of the log, in its order, but for entries that repeat one.
fn hands_over(records: &[Bytes], log: &[Line]) -> bool {
    let mut lines = log.iter().filter(|line| !line.record.is_empty() && line.record != NOTHING);
    records.iter().all(|record| lines.any(|line| line.record.ends_with(record)))
}
