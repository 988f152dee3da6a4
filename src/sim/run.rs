//! Running scenarios: which plans make sense, what becomes of a panic, and the command that replays a run.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

use crate::sim::{Carrier, Fault, Figures, Outcome, Plan, Scenario, Violation};
use crate::trace::Event;

/// Why a plan makes no sense. Nothing was run; whoever made the plan is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// No such scenario.
    #[error("there is no scenario {name:?}; known are {known}")]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such fault.
    #[error("there is no fault {name:?}; known are {known}, and none and all")]
    UnknownFault {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The scenario does not run on this carrier.
    #[error("{scenario} does not run on {}; it runs on {known}", carrier.name())]
    UnfittingCarrier {
        /// The scenario.
        scenario: &'static str,
        /// What was asked for.
        carrier: Carrier,
        /// On what it runs.
        known: String,
    },
    /// The scenario cannot stand this fault, or the carrier does not know it.
    #[error("{scenario} on {} takes no fault {:?}; it takes {known}", carrier.name(), fault.name())]
    UnfittingFault {
        /// The scenario.
        scenario: &'static str,
        /// The carrier.
        carrier: Carrier,
        /// What was asked for.
        fault: Fault,
        /// What it takes.
        known: String,
    },
    /// A torn write is what a crash leaves.
    #[error("torn writes are what crashes leave: add crash to the faults")]
    TornWithoutCrash,
    /// Nobody is there.
    #[error("{0} needs at least one server")]
    NoServers(&'static str),
    /// The service cannot have that many.
    #[error("{scenario} can have at most {max} servers")]
    TooManyServers {
        /// The scenario.
        scenario: &'static str,
        /// How many it can have.
        max: u32,
    },
}

/// The faults of a comma-separated list of names, where `all` means `possible`.
pub fn parse_faults(list: &str, possible: &BTreeSet<Fault>) -> Result<BTreeSet<Fault>, PlanError> {
    let mut faults = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        match name {
            "all" => faults.extend(possible),
            "none" | "" => {}
            _ => {
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                faults.insert(fault.ok_or_else(|| PlanError::UnknownFault {
                    name: name.to_owned(),
                    known: Fault::names(&Fault::ALL.into()),
                })?);
            }
        }
    }
    Ok(faults)
}

/// Whether `scenario` can run `plan`.
pub fn validate(scenario: &dyn Scenario, plan: &Plan) -> Result<(), PlanError> {
    let carriers = scenario.carriers();
    if plan.servers == 0 {
        return Err(PlanError::NoServers(scenario.name()));
    }
    if plan.servers > scenario.servers_max() {
        let (scenario, max) = (scenario.name(), scenario.servers_max());
        return Err(PlanError::TooManyServers { scenario, max });
    }
    if !carriers.contains(&plan.carrier) {
        let known: Vec<&str> = carriers.iter().map(|carrier| carrier.name()).collect();
        let (scenario, known) = (scenario.name(), known.join(", "));
        return Err(PlanError::UnfittingCarrier { scenario, carrier: plan.carrier, known });
    }
    let possible = scenario.faults(plan.carrier);
    if let Some(&fault) = plan.faults.difference(&possible).next() {
        let (scenario, carrier, known) = (scenario.name(), plan.carrier, Fault::names(&possible));
        return Err(PlanError::UnfittingFault { scenario, carrier, fault, known });
    }
    if plan.faults.contains(&Fault::Torn) && !plan.faults.contains(&Fault::Crash) {
        return Err(PlanError::TornWithoutCrash);
    }
    Ok(())
}

/// Runs a plan. A panic is a violation like any other.
pub fn run_safely(scenario: &dyn Scenario, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario.run(plan, trace)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let what =
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no word about why").to_owned();
        let violation = Violation { checker: "panic", step: plan.steps, at_ns: 0, what };
        Outcome { figures: Figures::default(), violation: Some(violation) }
    })
}

/// The command that runs exactly this plan; `program` is what it begins with, such as `ovid`.
pub fn replay_command(program: &str, scenario: &dyn Scenario, plan: &Plan) -> String {
    let Plan { servers, seed, faults, steps, carrier, failure_model, wire } = plan;
    format!(
        "{program} sim {} --servers {servers} --seed {seed} --faults {} --steps {steps} --carrier {} --failure-model {}{}{}",
        scenario.name(),
        Fault::names(faults),
        carrier.name(),
        failure_model.name(),
        if *wire { " --wire" } else { "" },
        scenario.options(),
    )
}
