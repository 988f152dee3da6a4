//! What a simulation tells people, and programs.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::batch::Batch;
use crate::sim::{Fault, Plan, Scenario, Shrunk, Violation, replay_command};

/// A run that failed, and the small one that it was made into.
pub(super) struct Failure {
    pub(super) plan: Plan,
    pub(super) violation: Violation,
    pub(super) shrunk: Shrunk,
}

/// What came of it all.
pub(super) struct Report<'a> {
    /// How this program is started.
    pub(super) program: &'a str,
    pub(super) scenario: &'a dyn Scenario,
    pub(super) plan: &'a Plan,
    pub(super) runs: u64,
    pub(super) batch: &'a Batch,
    pub(super) failure: Option<&'a Failure>,
}

/// Shows all scenarios.
pub(super) fn list(scenarios: &[Box<dyn Scenario>], out: &mut impl Write) -> io::Result<()> {
    for scenario in scenarios {
        let plan = scenario.default_plan();
        writeln!(out, "{}: {}", scenario.name(), scenario.about())?;
        writeln!(out, "    usually {} servers, {} steps", plan.servers, plan.steps)?;
        for &carrier in scenario.carriers() {
            writeln!(out, "    faults on {}: {}", carrier.name(), Fault::names(&scenario.faults(carrier)))?;
        }
    }
    Ok(())
}

impl Report<'_> {
    /// Prints it, as text or as one line of JSON. `trace` is the file of the trace, if one was wanted, with the number of its events.
    pub(super) fn print(
        &self,
        out: &mut impl Write,
        json: bool,
        trace: Option<(&Path, usize)>,
    ) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", self.json());
        }
        self.head(out)?;
        if let Some(failure) = self.failure {
            self.failure(out, failure)?;
        }
        match trace {
            Some((path, 0)) => {
                writeln!(
                    out,
                    "trace: nothing in {}, since no run failed; run one seed to see it",
                    path.display()
                )
            }
            Some((path, events)) => writeln!(out, "trace: {events} events in {}", path.display()),
            None => Ok(()),
        }
    }

    fn head(&self, out: &mut impl Write) -> io::Result<()> {
        let (plan, batch) = (self.plan, self.batch);
        writeln!(
            out,
            "{}: {} servers, carrier {}, failure model {}{}, faults {}, {} steps",
            self.scenario.name(),
            plan.servers,
            plan.carrier.name(),
            plan.failure_model.name(),
            if plan.wire { ", through the codec" } else { "" },
            Fault::names(&plan.faults),
            plan.steps,
        )?;
        let seeds = match batch.runs {
            1 => format!("seed {}", plan.seed),
            runs => format!("seeds {} to {}", plan.seed, plan.seed.wrapping_add(runs - 1)),
        };
        writeln!(
            out,
            "{seeds}: {} events, {} messages, {} s simulated in {:.3} s, {} events/s, digest {:016x}",
            batch.events,
            batch.messages,
            seconds(batch.simulated_ns),
            batch.elapsed.as_secs_f64(),
            self.events_per_second(),
            batch.digest,
        )?;
        match self.failure {
            None => writeln!(out, "{} of {} runs done, nothing went wrong", batch.runs, self.runs),
            Some(_) => writeln!(out, "run {} of {} went wrong", batch.runs, self.runs),
        }
    }

    fn failure(&self, out: &mut impl Write, failure: &Failure) -> io::Result<()> {
        let Failure { plan, violation, shrunk } = failure;
        writeln!(out, "\nVIOLATION with seed {}", plan.seed)?;
        violated(out, plan, violation)?;
        writeln!(
            out,
            "made small in {} runs: {} -> {} steps, {} -> {} servers, faults {} -> {}",
            shrunk.runs,
            plan.steps,
            shrunk.plan.steps,
            plan.servers,
            shrunk.plan.servers,
            Fault::names(&plan.faults),
            Fault::names(&shrunk.plan.faults),
        )?;
        violated(out, &shrunk.plan, &shrunk.violation)?;
        writeln!(out, "replay: {}", replay_command(self.program, self.scenario, &shrunk.plan))
    }

    /// Zero for a run so short that no clock can tell.
    fn events_per_second(&self) -> u128 {
        let nanoseconds = self.batch.elapsed.as_nanos();
        (u128::from(self.batch.events) * 1_000_000_000).checked_div(nanoseconds).unwrap_or(0)
    }

    fn json(&self) -> Value {
        let (plan, batch) = (self.plan, self.batch);
        json!({
            "scenario": self.scenario.name(),
            "servers": plan.servers,
            "carrier": plan.carrier.name(),
            "failure_model": plan.failure_model.name(),
            "wire": plan.wire,
            "faults": names(plan),
            "steps": plan.steps,
            "seed": plan.seed,
            "runs_wanted": self.runs,
            "runs": batch.runs,
            "events": batch.events,
            "messages": batch.messages,
            "simulated_ns": batch.simulated_ns,
            "elapsed_us": u64::try_from(batch.elapsed.as_micros()).unwrap_or(u64::MAX),
            "events_per_second": u64::try_from(self.events_per_second()).unwrap_or(u64::MAX),
            "digest": format!("{:016x}", batch.digest),
            "violation": self.failure.map(|failure| json!({
                "found": violation_json(&failure.plan, &failure.violation),
                "shrunk": violation_json(&failure.shrunk.plan, &failure.shrunk.violation),
                "shrinking_runs": failure.shrunk.runs,
                "replay": replay_command(self.program, self.scenario, &failure.shrunk.plan),
            })),
        })
    }
}

fn violated(out: &mut impl Write, plan: &Plan, violation: &Violation) -> io::Result<()> {
    let Violation { checker, step, at_ns, what } = violation;
    let when = if *step < plan.steps { format!("step {step}") } else { format!("after all {step} steps") };
    writeln!(out, "  {when}, {} s: {checker}: {what}", seconds(*at_ns))
}

fn violation_json(plan: &Plan, violation: &Violation) -> Value {
    json!({
        "seed": plan.seed,
        "servers": plan.servers,
        "faults": names(plan),
        "steps": plan.steps,
        "checker": violation.checker,
        "step": violation.step,
        "at_ns": violation.at_ns,
        "what": violation.what,
    })
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.faults.iter().map(|fault| fault.name()).collect()
}

fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:06}", nanoseconds / 1_000_000_000, nanoseconds / 1_000 % 1_000_000)
}
