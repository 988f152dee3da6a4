//! A counter with a mistake, for trying what its scenario finds.

use ovid::agent::{Agent, Input, Outbox};
use ovid::time::Time;

use crate::{Counter, Counts};

/// Adds what it hears to what it knows, where it should take the larger of the two.
pub(crate) struct Adding(pub(crate) Counter);

impl Agent for Adding {
    type Msg = Counts;

    fn handle(&mut self, now: Time, input: Input<'_, Counts>, out: &mut Outbox<Counts>) {
        match input {
            Input::Message { message: Counts(theirs), .. } => {
                for (name, count) in theirs {
                    let known = self.0.counts.0.entry(name).or_default();
                    *known = known.saturating_add(count);
                }
            }
            other => self.0.handle(now, other, out),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.0.counters()
    }
}
