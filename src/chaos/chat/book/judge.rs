//! What is missing in the end, and what comes of a run.

use std::time::Duration;

use super::{Book, Fate, Life, at, conversation, name};
use crate::agents::messenger::{Place, Sequence};
use crate::bench::stats;
use crate::chaos::chat::plan::bit;

/// How often what was done or seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were written.
    pub written: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Those that were refused, and had to be.
    pub refused: u64,
    /// Those of which their client never learned what became of them: it crashed.
    pub unknown: u64,
    /// Messages that came to clients.
    pub got: u64,
    /// Those of them that their user had not got before: on an earlier client, or in the other cluster.
    pub first: u64,
    /// Log-ins.
    pub log_ins: u64,
    /// How often users left and came back.
    pub leaves: u64,
    /// How often they went to the other cluster.
    pub moves: u64,
    /// How often their clients crashed.
    pub crashes: u64,
    /// Users who were registered during the attack and logged in again after it.
    pub guests: u64,
    /// Faults.
    pub wrong: u64,
}

/// A time in which nothing that was written in a cluster was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// In which.
    pub cluster: usize,
    /// From when on, as `strikes.log` counts.
    pub from: Duration,
    /// For how long.
    pub lasts: Duration,
}

/// What comes of a run.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// How often what happened.
    pub counts: Counts,
    /// How long it took until a message was answered: the median, 99 of 100, the longest.
    pub answers: [Duration; 3],
    /// How long clients looked for a server when theirs was lost: the same.
    pub absences: [Duration; 3],
    /// The longest silence.
    pub silence: Silence,
    /// What is wrong, for people; the first of it.
    pub wrong: Vec<String>,
}

impl Judgement {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.counts.wrong == 0
    }
}

impl Book {
    /// Whether nothing is wrong so far.
    pub fn is_well(&self) -> bool {
        self.counts.wrong == 0
    }

    /// What is not there yet and has to be, once all is well: each in words, up to `most`.
    pub fn missing(&self, most: usize) -> Vec<String> {
        let mut missing: Vec<String> = self.unanswered().take(most).collect();
        missing.extend(self.lost().take(most.saturating_sub(missing.len())));
        for life in self.lives.iter().filter(|life| !life.has_ended) {
            if missing.len() >= most {
                break;
            }
            missing.extend(self.lacks(life).take(most - missing.len()));
        }
        missing
    }

    /// Judges, when all that can come has come.
    pub fn judge(mut self) -> Judgement {
        for what in self.missing(super::WRONG_MAX) {
            self.fault(what);
        }
        let spread = |seconds: &[f64]| {
            let sorted = stats::sorted(seconds);
            if sorted.is_empty() {
                return [Duration::ZERO; 3];
            }
            [50.0, 99.0, 100.0].map(|percent| Duration::from_secs_f64(stats::percentile(&sorted, percent)))
        };
        Judgement {
            counts: self.counts,
            answers: spread(&self.answers),
            absences: spread(&self.absences),
            silence: self.silence,
            wrong: self.wrong,
        }
    }

    fn unanswered(&self) -> impl Iterator<Item = String> {
        let open = |(user, number)| self.message((user, number)).fate == Fate::Open;
        let ids = self.ids().filter(move |id| open(*id));
        ids.map(|id| format!("{} of {} is not answered", name(id), self.plan.users[id.0].name))
    }

    /// What was accepted and has not come to everybody that it is for.
    fn lost(&self) -> impl Iterator<Item = String> {
        self.ids().filter_map(|id| {
            let written = self.message(id);
            let missing = self.plan.receivers(id.0, written.to) & !written.got;
            if written.fate != Fate::Accepted || missing == 0 {
                return None;
            }
            let users = self.plan.users.iter().enumerate().filter(|(user, _)| missing & bit(*user) != 0);
            let names: Vec<&str> = users.map(|(_, user)| user.name.as_str()).collect();
            let stands = written.places.first().map_or(String::new(), |(_, place)| {
                format!(", which stands at {}", at(written.cluster, *place))
            });
            Some(format!(
                "{}, accepted, written at {:.3} s{stands}, has not come to {}",
                name(id),
                written.at.as_secs_f64(),
                names.join(", ")
            ))
        })
    }

    /// What a client has not got of conversations of which it has got something, and what it has got and does not count as read.
    fn lacks<'a>(&'a self, life: &'a Life) -> impl Iterator<Item = String> + 'a {
        let user = &self.plan.users[life.user].name;
        life.got.iter().flat_map(move |(&id, got)| {
            let first = got.messages.first().map_or(Sequence(1), |(sequence, _)| *sequence);
            let last = got.messages.last().map_or(Sequence(0), |(sequence, _)| *sequence);
            let place = |sequence| Place { conversation: id, sequence };
            let all = self.placed[life.cluster].range(place(first)..=place(Sequence(u64::MAX)));
            let mut have = got.messages.iter().map(|(sequence, _)| *sequence).peekable();
            let lacking = all.filter(move |(place, message)| {
                while have.next_if(|sequence| *sequence < place.sequence).is_some() {}
                message.0 != life.user && have.peek() != Some(&place.sequence)
            });
            let lacking = lacking.map(move |(place, message)| {
                format!("a client of {user} lacks {} at {}", name(*message), at(life.cluster, *place))
            });
            let unread = (got.read < last).then(|| {
                let (of, upto) = (conversation(life.cluster, id), got.read.0);
                format!("{user} has got {of} up to {}, and counts as having read up to {upto}", last.0)
            });
            lacking.chain(unread)
        })
    }

    fn ids(&self) -> impl Iterator<Item = (usize, usize)> {
        let users = self.written.iter().enumerate();
        users.flat_map(|(user, written)| (0..written.len()).map(move |number| (user, number)))
    }
}
