//! Making a failing run small, so that people can look at it: fewer steps, then fewer kinds of faults, then fewer servers.

use std::collections::BTreeSet;

use crate::sim::{Plan, Violation};

/// A small plan that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What goes wrong in it.
    pub violation: Violation,
    /// How many runs it took to find it.
    pub runs: u32,
}

/// How many runs the search may take: failing runs are small at last, but the first ones need not be.
const RUNS_MAX: u32 = 300;

/// Makes `plan`, which ended in `violation`, smaller. Each smaller plan is run, by `run`, and taken only if the same checker complains. `valid`
/// says which plans make sense.
pub fn shrink(
    plan: &Plan,
    violation: &Violation,
    valid: impl Fn(&Plan) -> bool,
    run: impl FnMut(&Plan) -> Option<Violation>,
) -> Shrunk {
    let best = Shrunk { plan: plan.clone(), violation: violation.clone(), runs: 0 };
    let mut search = Search { best, valid, run };
    search.fewer_steps();
    loop {
        let before = search.best.plan.clone();
        search.fewer_faults();
        search.fewer_servers();
        if search.best.plan == before {
            return search.best;
        }
        search.fewer_steps();
    }
}

struct Search<V, R> {
    best: Shrunk,
    valid: V,
    run: R,
}

impl<V: Fn(&Plan) -> bool, R: FnMut(&Plan) -> Option<Violation>> Search<V, R> {
    /// Takes `plan` if it fails in the same way; whether it does.
    fn fails(&mut self, plan: Plan) -> bool {
        if self.best.runs >= RUNS_MAX || !(self.valid)(&plan) {
            return false;
        }
        self.best.runs += 1;
        match (self.run)(&plan) {
            Some(violation) if violation.checker == self.best.violation.checker => {
                self.best.plan = plan;
                self.best.violation = violation;
                true
            }
            _ => false,
        }
    }

    /// A plan with fewer steps is a prefix, so what went wrong during a step goes wrong without the later ones. Below that the search
    /// halves; where failing comes and goes with the number of steps, it ends at a place before which the run does not fail.
    fn fewer_steps(&mut self) {
        let steps = |best: &Shrunk| best.plan.steps.min(best.violation.step.saturating_add(1));
        let first = steps(&self.best);
        if first < self.best.plan.steps {
            self.fails(Plan { steps: first, ..self.best.plan.clone() });
        }
        let mut holds_below = 0;
        while holds_below < self.best.plan.steps {
            let middle = holds_below + (self.best.plan.steps - holds_below) / 2;
            if !self.fails(Plan { steps: middle, ..self.best.plan.clone() }) {
                holds_below = middle + 1;
            }
        }
    }

    fn fewer_faults(&mut self) {
        for fault in self.best.plan.faults.clone() {
            let faults: BTreeSet<_> =
                self.best.plan.faults.iter().copied().filter(|&other| other != fault).collect();
            self.fails(Plan { faults, ..self.best.plan.clone() });
        }
    }

    fn fewer_servers(&mut self) {
        loop {
            let servers = self.best.plan.servers;
            let fewer = [1, servers / 4, servers / 2, servers - servers / 4, servers.saturating_sub(1)];
            let fewer: BTreeSet<u32> =
                fewer.into_iter().filter(|&fewer| fewer > 0 && fewer < servers).collect();
            if !fewer.into_iter().any(|servers| self.fails(Plan { servers, ..self.best.plan.clone() })) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Carrier, FailureModel, Fault};

    fn plan(servers: u32, steps: u64, faults: &[Fault]) -> Plan {
        Plan {
            servers,
            seed: 9,
            faults: faults.iter().copied().collect(),
            steps,
            carrier: Carrier::Stream,
            failure_model: FailureModel::Rst,
            wire: false,
        }
    }

    fn violation(checker: &'static str, step: u64) -> Violation {
        Violation { checker, step, at_ns: step * 10, what: String::new() }
    }

    /// Fails at step 37, wherever there are pauses and at least three servers.
    fn known(plan: &Plan) -> Option<Violation> {
        let fails = plan.steps > 37 && plan.servers >= 3 && plan.faults.contains(&Fault::Pause);
        fails.then(|| violation("known", 37))
    }

    #[test]
    fn a_failure_at_a_known_step_shrinks_to_just_that() {
        let plan = plan(100, 100_000, &Fault::ALL);
        let shrunk = shrink(&plan, &known(&plan).expect("fails"), |_| true, known);
        assert_eq!(shrunk.plan, Plan { servers: 3, steps: 38, faults: [Fault::Pause].into(), ..plan });
        assert_eq!(shrunk.violation, violation("known", 37));
        assert!(shrunk.runs < 60, "{}", shrunk.runs);
    }

    #[test]
    fn a_failure_after_healing_shrinks_to_the_step_that_causes_it() {
        // Seen only after all steps, whatever their number.
        let run = |plan: &Plan| (plan.steps >= 12_345).then(|| violation("late", plan.steps));
        let plan = plan(1, 1_000_000, &[]);
        let shrunk = shrink(&plan, &run(&plan).expect("fails"), |_| true, run);
        assert_eq!((shrunk.plan.steps, shrunk.violation.step), (12_345, 12_345));
    }

    #[test]
    fn another_failure_on_the_way_is_not_taken_for_the_first() {
        let run = |plan: &Plan| {
            Some(if plan.steps < 50 { violation("other", 1) } else { violation("first", plan.steps) })
        };
        let plan = plan(1, 80, &[]);
        let shrunk = shrink(&plan, &run(&plan).expect("fails"), |_| true, run);
        assert_eq!((shrunk.plan.steps, shrunk.violation.checker), (50, "first"));
    }

    #[test]
    fn plans_that_make_no_sense_are_not_run() {
        let plan = plan(64, 10, &[Fault::Crash, Fault::Torn]);
        let valid = |plan: &Plan| {
            plan.servers >= 5 && (plan.faults.contains(&Fault::Crash) || plan.faults.is_empty())
        };
        let run = |plan: &Plan| {
            assert!(valid(plan));
            plan.faults.contains(&Fault::Torn).then(|| violation("any", 0))
        };
        let shrunk = shrink(&plan, &violation("any", 0), valid, run);
        assert_eq!(shrunk.plan, Plan { servers: 5, steps: 0, ..plan });
    }

    #[test]
    fn the_search_ends() {
        let plan = plan(u32::MAX, u64::MAX / 1_000, &Fault::ALL);
        // Fails by chance, as it seems: of no use to bisection.
        let mut calls = 0u32;
        let run = |plan: &Plan| {
            calls += 1;
            calls.is_multiple_of(3).then(|| violation("odd", plan.steps))
        };
        assert!(shrink(&plan, &violation("odd", 5), |_| true, run).runs <= RUNS_MAX);
    }
}
