//! A program built upon ovid that brings an agent of its own: a counter that gossips. `docs/agents.md` explains it line by line.

mod broken;
mod scenario;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use ovid::agent::{Agent, Configure, Input, JsonMessage, Mistake, Outbox, Registry, Setup};
use ovid::time::Time;
use serde::{Deserialize, Serialize};

/// How much was added at each counter: what a counter knows, and what it tells others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counts(BTreeMap<String, u32>);

impl JsonMessage for Counts {}

/// The agent `counter`.
struct Counter {
    me: String,
    period: Duration,
    tell_at: Time,
    counts: Counts,
}

impl Configure for Counter {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        setup.need_route("peers")?;
        let period = setup.ms_or("period_ms", Duration::from_millis(100))?;
        Ok(Self { me: setup.id().to_owned(), period, tell_at: Time::ZERO, counts: Counts::default() })
    }
}

impl Agent for Counter {
    type Msg = Counts;

    fn handle(&mut self, now: Time, input: Input<'_, Counts>, out: &mut Outbox<Counts>) {
        match input {
            Input::Timeout if now >= self.tell_at => {
                self.tell_at = now + self.period;
                out.send("peers", self.counts.clone());
            }
            Input::Message { message: Counts(theirs), .. } => {
                for (name, count) in theirs {
                    let known = self.counts.0.entry(name).or_default();
                    *known = count.max(*known);
                }
            }
            Input::Commands { commands } => commands.obey(out, |line, out| {
                match line.strip_prefix("add ").map(str::parse::<u32>) {
                    Some(Ok(number)) => out.propose(number.to_string().into()),
                    _ if line == "value" => return Some(self.value().to_string()),
                    _ => return Some(format!("error expected add <number> or value, not {line:?}")),
                }
                None
            }),
            Input::Committed { record, .. } => {
                let mine = self.counts.0.entry(self.me.clone()).or_default();
                *mine = mine.saturating_add(serde_json::from_slice(record).unwrap_or(0));
            }
            Input::NotCommitted { why, .. } => out.say(format!("error not added: {why}")),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.tell_at)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("value", self.value())]
    }
}

impl Counter {
    fn value(&self) -> u64 {
        self.counts.0.values().map(|count| u64::from(*count)).sum()
    }
}

fn main() -> ExitCode {
    let registry = Registry::builtin().with::<Counter>("counter");
    ovid::cli::run_with(registry, scenario::all())
}
