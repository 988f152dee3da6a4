//! `ovid sim`: runs services in the simulated world, looks for what goes wrong, and makes it small.

mod batch;
mod report;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use self::batch::Batch;
use self::report::{Failure, Report};
use crate::sim::{
    Carrier, FailureModel, Fault, Plan, PlanError, Scenario, Violation, parse_faults, run_safely, scenarios,
    shrink, validate,
};
use crate::trace::Event;

/// The exit status of a run in which something went wrong that must not.
const EXIT_VIOLATION: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// Which scenario, or `list` to see all with their faults.
    scenario: String,
    /// How many servers (or agents) there are.
    #[arg(long, value_name = "COUNT")]
    servers: Option<u32>,
    /// What everything is drawn from; the first seed, if there are several runs.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// What may go wrong: names with commas between them, `none` or `all`. Without it: all that the scenario stands.
    #[arg(long, value_name = "LIST")]
    faults: Option<String>,
    /// How many steps a run has: commands and faults. Then everything heals, and progress is demanded.
    #[arg(long, value_name = "COUNT")]
    steps: Option<u64>,
    /// How many runs there are, each with the next seed.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    runs: u64,
    /// How many runs go on at a time. Without it: one for each processor.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZero<usize>>,
    /// How messages travel.
    #[arg(long, value_name = "NAME")]
    carrier: Option<CarrierName>,
    /// How the death of a peer is learned: by all neighbours at once (rst), or by each when it sends next (send).
    #[arg(long, value_name = "NAME")]
    failure_model: Option<FailureModelName>,
    /// Encode and decode each message on its way.
    #[arg(long)]
    wire: bool,
    /// Write what happened, one event a line: in the only run, or in the one that failed, made small.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the report as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CarrierName {
    Stream,
    Datagram,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailureModelName {
    Rst,
    Send,
}

pub(super) fn run(args: &SimArgs) -> anyhow::Result<ExitCode> {
    let scenarios = scenarios();
    if args.scenario == "list" {
        report::list(&scenarios)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenario = find(&scenarios, &args.scenario)?;
    let plan = args.plan(scenario)?;
    ensure!(args.runs > 0, "--runs 0: nothing to run");
    // A file that cannot be written is better found before the runs than behind them.
    let trace_file = args.trace.as_deref().map(create).transpose()?;
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);

    let batch = batch::run(scenario, &plan, args.runs, jobs);
    let failure = batch.failure.as_ref().map(|(seed, violation)| {
        let failing = Plan { seed: *seed, ..plan.clone() };
        made_small(scenario, failing, violation)
    });
    let traced = match trace_file {
        Some(file) => write_trace(file, scenario, &plan, &batch, failure.as_ref())?,
        None => None,
    };
    let report = Report { scenario, plan: &plan, runs: args.runs, batch: &batch, failure: failure.as_ref() };
    report.print(args.json, args.trace.as_deref(), traced)?;
    Ok(if failure.is_some() { ExitCode::from(EXIT_VIOLATION) } else { ExitCode::SUCCESS })
}

fn find<'a>(scenarios: &'a [Box<dyn Scenario>], name: &str) -> Result<&'a dyn Scenario, PlanError> {
    let found = scenarios.iter().find(|scenario| scenario.name() == name);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name()).collect();
        PlanError::UnknownScenario { name: name.to_owned(), known: known.join(", ") }
    })
}

impl SimArgs {
    /// The scenario's usual plan, but for what was asked for.
    fn plan(&self, scenario: &dyn Scenario) -> Result<Plan, PlanError> {
        let usual = scenario.default_plan();
        let carrier = self.carrier.map_or(usual.carrier, |name| match name {
            CarrierName::Stream => Carrier::Stream,
            CarrierName::Datagram => Carrier::Datagram,
        });
        let failure_model = self.failure_model.map_or(usual.failure_model, |name| match name {
            FailureModelName::Rst => FailureModel::Rst,
            FailureModelName::Send => FailureModel::Send,
        });
        let possible = scenario.faults(carrier);
        let faults: BTreeSet<Fault> = match &self.faults {
            Some(list) => parse_faults(list, &possible)?,
            None if carrier == usual.carrier => usual.faults,
            None => possible,
        };
        let plan = Plan {
            servers: self.servers.unwrap_or(usual.servers),
            seed: self.seed,
            faults,
            steps: self.steps.unwrap_or(usual.steps),
            carrier,
            failure_model,
            wire: self.wire || usual.wire,
        };
        validate(scenario, &plan)?;
        Ok(plan)
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write the trace to {}", path.display()))
}

fn made_small(scenario: &dyn Scenario, failing: Plan, violation: &Violation) -> Failure {
    let bar = batch::bar("making it small: {spinner} {pos} runs", None);
    let shrunk = batch::quietly(|| {
        shrink(
            &failing,
            violation,
            |plan| validate(scenario, plan).is_ok(),
            |plan| {
                bar.inc(1);
                run_safely(scenario, plan, None).violation
            },
        )
    });
    bar.finish_and_clear();
    Failure { plan: failing, violation: violation.clone(), shrunk }
}

/// Writes the trace of the run that failed, made small, or of the only run. How many events it has; `None` if there was no such run.
fn write_trace(
    file: File,
    scenario: &dyn Scenario,
    plan: &Plan,
    batch: &Batch,
    failure: Option<&Failure>,
) -> anyhow::Result<Option<usize>> {
    let plan = match failure {
        Some(failure) => &failure.shrunk.plan,
        None if batch.runs == 1 => plan,
        None => return Ok(None),
    };
    let mut events: Vec<Event> = Vec::new();
    batch::quietly(|| run_safely(scenario, plan, Some(&mut events)));
    let mut file = BufWriter::new(file);
    for event in &events {
        serde_json::to_writer(&mut file, event).context("cannot write the trace")?;
        file.write_all(b"\n").context("cannot write the trace")?;
    }
    file.flush().context("cannot write the trace")?;
    Ok(Some(events.len()))
}
