//! Runs of stores that agree on a log and keep their states in rows, and of some that lose one.

use super::*;
use crate::agent::Row;
use crate::sim::kvs::ReplicatedKvsScenario;

/// A store that loses one key's row now and then.
struct Leaky {
    kvs: Kvs,
    /// Whether it loses it when it is restored, and not when it gives its rows away.
    restoring: bool,
}

impl Leaky {
    fn giving(clients: u32) -> Self {
        Self { kvs: Kvs::new(clients), restoring: false }
    }

    fn restoring(clients: u32) -> Self {
        Self { kvs: Kvs::new(clients), restoring: true }
    }
}

/// Loses the first row of a key.
fn leak(rows: &mut Vec<Row>) {
    if let Some(place) = rows.iter().position(|row| row.key.starts_with(b"k")) {
        rows.remove(place);
    }
}

impl Agent for Leaky {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        match input {
            Input::Restore { rows, first, last } if self.restoring => {
                let mut rows = rows.to_vec();
                leak(&mut rows);
                self.kvs.handle(now, Input::Restore { rows: &rows, first, last }, out);
            }
            input => self.kvs.handle(now, input, out),
        }
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        let mut rows = self.kvs.take_rows();
        if !self.restoring {
            leak(&mut rows);
        }
        rows
    }
}

/// What runs with these seeds come to: what went wrong, and in how many of them a store that ran got the state of another one.
fn runs<A: Agent<Msg = KvsMessage> + 'static>(
    carrier: Carrier,
    make: fn(u32) -> A,
) -> (Vec<Violation>, usize) {
    let (mut violations, mut replaced) = (Vec::new(), 0);
    for seed in 1..=SEEDS {
        let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
        let faults = ReplicatedKvsScenario.faults(carrier);
        let plan = Plan { seed, faults, carrier, failure_model, ..ReplicatedKvsScenario.default_plan() };
        let mut trace = Vec::new();
        let outcome = run_service(&mut Shop::replicated_of(&plan, make), &plan, Some(&mut trace));
        violations.extend(outcome.violation);
        let is_replaced =
            |what: &What| matches!(what, What::Note { text } if text.contains("was replaced by"));
        replaced += usize::from(trace.iter().any(|event| is_replaced(&event.what)));
    }
    (violations, replaced)
}

#[test]
fn stores_that_get_the_states_of_others_in_the_middle_of_a_run_keep_their_promises() {
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        let (violations, replaced) = runs(carrier, Kvs::new);
        assert_eq!(violations, []);
        assert!(replaced >= 5, "{replaced} of {SEEDS} runs on {}", carrier.name());
    }
}

#[test]
fn a_store_that_loses_a_row_when_it_is_restored_or_gives_them_away_is_caught() {
    for make in [Leaky::restoring, Leaky::giving] {
        let (violations, _) = runs(Carrier::Stream, make);
        let linearizable = violations.iter().filter(|violation| violation.checker == "linearizable");
        assert!(linearizable.count() > 0, "{violations:?}");
    }
}
