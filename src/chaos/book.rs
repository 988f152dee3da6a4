//! What the clients saw, in the order in which it happened, and the judgement of it.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::bench::stats;
use crate::sim::linear::{CallId, History, Register, RegisterInput, RegisterOutput, Verdict};

/// Something that a client did. Sent before its command leaves, and after its answer has come, so that the order of events in the channel is
/// one in which they can have happened.
#[derive(Debug)]
pub enum Event {
    /// It asks.
    Asked {
        /// Who.
        client: usize,
        /// About which key.
        key: String,
        /// What.
        input: RegisterInput,
        /// When.
        at: Instant,
    },
    /// It is answered.
    Answered {
        /// Who.
        client: usize,
        /// What; `None` if the outcome is unknown.
        output: Option<RegisterOutput>,
        /// When.
        at: Instant,
    },
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// How many operations were begun.
    pub operations: u64,
    /// How many of them had an outcome that nobody knows.
    pub unknown: u64,
    /// How many keys they were about.
    pub keys: usize,
    /// How long answers took: the median, 99 of 100, the longest.
    pub latency: [Duration; 3],
    /// The longest time during which no client was answered.
    pub longest_silence: Duration,
    /// What is wrong, for people; one line a key.
    pub violations: Vec<String>,
    /// Keys about which nothing could be found out within reasonable work.
    pub undecided: Vec<String>,
}

impl Judgement {
    /// Whether every key has been judged, and nothing is wrong with any.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

/// Takes down what happens, on a thread of its own.
#[derive(Debug)]
pub struct Book {
    thread: JoinHandle<Pages>,
}

#[derive(Default)]
struct Pages {
    keys: BTreeMap<String, History<Register>>,
    open: BTreeMap<usize, (String, CallId, Instant)>,
    unknown: u64,
    took: Vec<f64>,
    last_answer: Option<Instant>,
    longest_silence: Duration,
}

impl Book {
    /// An empty book, and where events go.
    pub fn open() -> anyhow::Result<(Self, Sender<Event>)> {
        let (sender, events) = bounded(EVENTS_MAX);
        let thread = thread::Builder::new()
            .name("book".into())
            .spawn(move || Pages::take_down(&events))
            .context("no thread for the book")?;
        Ok((Self { thread }, sender))
    }

    /// Judges, once nobody writes any more.
    pub fn close(self) -> anyhow::Result<Judgement> {
        self.thread.join().map(Pages::judge).map_err(|_| anyhow!("the book's thread has panicked"))
    }
}

impl Pages {
    fn take_down(events: &Receiver<Event>) -> Self {
        let mut pages = Self::default();
        for event in events {
            pages.note(event);
        }
        pages
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Asked { client, key, input, at } => {
                let call = self.keys.entry(key.clone()).or_default().ask(input);
                self.open.insert(client, (key, call, at));
                self.last_answer.get_or_insert(at);
            }
            Event::Answered { client, output, at } => {
                let Some((key, call, asked)) = self.open.remove(&client) else { return };
                let Some(output) = output else {
                    self.unknown += 1;
                    return;
                };
                self.took.push((at - asked).as_secs_f64());
                if let Some(last) = self.last_answer.replace(at) {
                    self.longest_silence = self.longest_silence.max(at.saturating_duration_since(last));
                }
                if let Some(history) = self.keys.get_mut(&key) {
                    history.answer(call, output);
                }
            }
        }
    }

    fn judge(self) -> Judgement {
        let mut judgement = Judgement {
            operations: (self.took.len() + self.open.len()) as u64 + self.unknown,
            unknown: self.unknown + self.open.len() as u64,
            keys: self.keys.len(),
            longest_silence: self.longest_silence,
            ..Judgement::default()
        };
        for (key, history) in &self.keys {
            match history.check(WORK_MAX) {
                Verdict::Linearizable => {}
                Verdict::Undecided => judgement.undecided.push(key.clone()),
                Verdict::NotLinearizable(call) => judgement.violations.push(format!(
                    "no order of the calls explains that {:?} of {key} was answered by {:?}",
                    history.input(call),
                    history.output(call)
                )),
            }
        }
        let sorted = stats::sorted(&self.took);
        if !sorted.is_empty() {
            judgement.latency = [50.0, 99.0, 100.0]
                .map(|percent| Duration::from_secs_f64(stats::percentile(&sorted, percent)));
        }
        judgement
    }
}

/// How many events may wait for the book; whoever has more waits.
const EVENTS_MAX: usize = 4096;
/// How many trials the history of one key may take.
const WORK_MAX: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(script: &[(usize, &str, Option<&str>)]) -> Judgement {
        let mut pages = Pages::default();
        let at = Instant::now();
        for &(client, asked, answer) in script {
            let (key, input) = RegisterInput::of_command(asked).expect("a command");
            pages.note(Event::Asked { client, key, input, at });
            let output = answer.and_then(RegisterOutput::of_answer);
            pages.note(Event::Answered { client, output, at });
        }
        pages.judge()
    }

    #[test]
    fn what_one_copy_could_have_shown_is_right() {
        let judgement = judge(&[
            (0, "put a 1", Some("ok")),
            (1, "get a", Some("value 1")),
            (1, "put a 2", Some("unknown no answer")),
            (0, "get a", Some("value 2")),
            (0, "delete b", Some("nothing")),
        ]);
        assert_eq!((judgement.violations.len(), judgement.undecided.len()), (0, 0));
        assert_eq!((judgement.operations, judgement.unknown, judgement.keys), (5, 1, 2));
    }

    #[test]
    fn a_lost_write_is_found() {
        let judgement = judge(&[(0, "put a 1", Some("ok")), (1, "get a", Some("nothing"))]);
        assert_eq!(judgement.violations.len(), 1, "{judgement:?}");
        assert!(judgement.violations[0].contains("Get of a was answered by Some(Nothing)"), "{judgement:?}");
    }
}
