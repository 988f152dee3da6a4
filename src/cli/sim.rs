//! `ovid sim`: runs services in the simulated world, looks for what goes wrong, and makes it small.

mod batch;
mod overlay;
mod report;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use self::batch::Batch;
use self::overlay::ExperimentArgs;
use self::report::{Failure, Report};
use crate::sim::overlay::OverlayScenario;
use crate::sim::{
    Carrier, FailureModel, Fault, Plan, PlanError, Scenario, Violation, parse_faults, run_safely, scenarios,
    shrink, validate,
};
use crate::trace::{Event, What, Writer};

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
    #[command(flatten)]
    experiments: ExperimentArgs,
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

/// Runs one of ovid's own scenarios, or one of `more`.
pub(super) fn run(args: &SimArgs, more: Vec<Box<dyn Scenario>>) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.experiments.experiment {
        overlay::run(name, args, &mut io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let known = known(args, more)?;
    let right = run_one_of(&program(), &known, args, &mut io::stdout().lock())?;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_VIOLATION) })
}

/// All scenarios, the one that was asked for with its options.
fn known(args: &SimArgs, more: Vec<Box<dyn Scenario>>) -> anyhow::Result<Vec<Box<dyn Scenario>>> {
    let mut known: Vec<Box<dyn Scenario>> = scenarios().into_iter().chain(more).collect();
    let optimise_period = args.experiments.only_optimise_period();
    let optimise_period = optimise_period.filter(|period| period.is_zero() || args.scenario == "overlay");
    let optimise_period = optimise_period.context(
        "options of an overlay are for --experiment; of scenarios only overlay takes one, --optimise-period-ms",
    )?;
    if !optimise_period.is_zero() {
        known.insert(0, Box::new(OverlayScenario { optimise_period }));
    }
    Ok(known)
}

/// How this program is started: one that was built upon ovid knows scenarios that ovid does not.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let is_ovid = path.file_stem().is_none_or(|name| name == "ovid");
    if is_ovid { "ovid".to_owned() } else { path.to_string_lossy().into_owned() }
}

/// Whether nothing went wrong. `program` is what a command to replay a run begins with.
fn run_one_of(
    program: &str,
    scenarios: &[Box<dyn Scenario>],
    args: &SimArgs,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    if args.scenario == "list" {
        report::list(scenarios, out)?;
        return Ok(true);
    }
    let scenario = find(scenarios, &args.scenario)?;
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
    let traced = trace_file.map(|file| write_trace(file, scenario, &plan, &batch, failure.as_ref()));
    let traced = traced.transpose().context("cannot write the trace")?;
    let report =
        Report { program, scenario, plan: &plan, runs: args.runs, batch: &batch, failure: failure.as_ref() };
    report.print(out, args.json, args.trace.as_deref().zip(traced))?;
    Ok(failure.is_none())
}

fn find<'a>(scenarios: &'a [Box<dyn Scenario>], name: &str) -> Result<&'a dyn Scenario, PlanError> {
    let found = scenarios.iter().find(|scenario| scenario.name() == name);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name()).collect();
        PlanError::UnknownScenario { name: name.to_owned(), known: known.join(", ") }
    })
}

impl SimArgs {
    /// An option that was given and that only scenarios have.
    fn of_scenarios(&self) -> Option<&'static str> {
        let given = [
            ("--servers", self.servers.is_some()),
            ("--faults", self.faults.is_some()),
            ("--steps", self.steps.is_some()),
            ("--runs", self.runs != 1),
            ("--carrier", self.carrier.is_some()),
            ("--wire", self.wire),
            ("--trace", self.trace.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// The scenario's usual plan, but for what was asked for.
    fn plan(&self, scenario: &dyn Scenario) -> Result<Plan, PlanError> {
        let usual = scenario.default_plan();
        let carrier = self.carrier.map_or(usual.carrier, |name| match name {
            CarrierName::Stream => Carrier::Stream,
            CarrierName::Datagram => Carrier::Datagram,
        });
        let failure_model = self.failure_model.map_or(usual.failure_model, FailureModel::from);
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

impl From<FailureModelName> for FailureModel {
    fn from(name: FailureModelName) -> Self {
        match name {
            FailureModelName::Rst => Self::Rst,
            FailureModelName::Send => Self::Send,
        }
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

/// Writes the trace of the run that failed, made small, or of the only run, and says how many events it has; none if there is no such run.
fn write_trace(
    file: File,
    scenario: &dyn Scenario,
    plan: &Plan,
    batch: &Batch,
    failure: Option<&Failure>,
) -> io::Result<usize> {
    let plan = match failure {
        Some(failure) => &failure.shrunk.plan,
        None if batch.runs == 1 => plan,
        None => return Ok(0),
    };
    let mut events: Vec<Event> = Vec::new();
    let outcome = batch::quietly(|| run_safely(scenario, plan, Some(&mut events)));
    // What is wrong stands on a line of its own, beside those of the servers, when it was seen.
    if let Some(Violation { checker, at_ns, what, .. }) = outcome.violation {
        let what = What::Note { text: format!("{checker}: {what}") };
        events.push(Event { at_ns, server: "checkers".to_owned(), what });
    }
    let mut writer = Writer::new(file, u64::MAX);
    for event in &events {
        writer.write(event);
    }
    writer.end_turn()?;
    Ok(events.len())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sim::{Figures, Outcome, replay_command};

    /// Fails at step 37 with seeds from 5 on, wherever there are pauses and at least three servers.
    struct Known;

    impl Scenario for Known {
        fn name(&self) -> &'static str {
            "known"
        }

        fn about(&self) -> &'static str {
            "what is known to fail"
        }

        fn default_plan(&self) -> Plan {
            Plan {
                servers: 20,
                seed: 1,
                faults: self.faults(Carrier::Stream),
                steps: 1_000,
                carrier: Carrier::Stream,
                failure_model: FailureModel::Send,
                wire: false,
            }
        }

        fn faults(&self, _: Carrier) -> BTreeSet<Fault> {
            [Fault::Pause, Fault::Crash].into()
        }

        fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
            let fails =
                plan.seed >= 5 && plan.steps > 37 && plan.servers >= 3 && plan.faults.contains(&Fault::Pause);
            let violation = fails.then(|| Violation {
                checker: "oracle",
                step: 37,
                at_ns: 1_500_000,
                what: "it is written".to_owned(),
            });
            if let Some(trace) = trace {
                let what = What::Note { text: format!("{} steps", plan.steps) };
                trace.push(Event { at_ns: 0, server: "a".to_owned(), what });
            }
            Outcome { figures: Figures { events: plan.steps, ..Figures::default() }, violation }
        }
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sim: SimArgs,
    }

    /// Whether nothing went wrong, and the report.
    fn reported(line: &[&str]) -> (bool, String) {
        let line = Line::try_parse_from(["sim", "known"].iter().chain(line)).expect("a right command line");
        let mut out = Vec::new();
        let right = run_one_of("ovid", &[Box::new(Known)], &line.sim, &mut out).expect("it runs");
        (right, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_violation_is_shown_made_small_and_can_be_replayed() {
        let trace = tempfile::NamedTempFile::new().expect("a file");
        let path = trace.path().to_str().expect("UTF-8");
        let (right, report) = reported(&["--seed", "2", "--runs", "100", "--jobs", "3", "--trace", path]);
        assert!(!right);
        for line in [
            "run 4 of 100 went wrong",
            "VIOLATION with seed 5",
            "  step 37, 0.001500 s: oracle: it is written",
            "1000 -> 38 steps, 20 -> 3 servers, faults pause,crash -> pause",
        ] {
            assert!(report.contains(line), "{line}: {report}");
        }
        let replay =
            report.lines().find_map(|line| line.strip_prefix("replay: ovid sim known ")).expect("a command");
        assert_eq!(
            replay,
            "--servers 3 --seed 5 --faults pause --steps 38 --carrier stream --failure-model send"
        );
        assert!(!reported(&replay.split(' ').collect::<Vec<_>>()).0, "it fails again");
        let traced = std::fs::read_to_string(trace.path()).expect("a trace");
        assert!(traced.contains("38 steps") && report.contains("trace: 2 events in"), "{traced}");
    }

    #[test]
    fn the_smallest_seed_that_fails_is_found_whatever_the_number_of_jobs() {
        for jobs in ["1", "2", "8"] {
            let (right, report) = reported(&["--runs", "50", "--jobs", jobs, "--json"]);
            let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
            assert!(!right);
            assert_eq!(report["violation"]["found"]["seed"], 5);
            assert_eq!((&report["runs"], &report["events"]), (&5.into(), &5_000.into()));
        }
    }

    #[test]
    fn options_of_an_overlay_are_for_who_takes_them() {
        let parsed = |scenario: &str, option: &str| {
            Line::try_parse_from(["sim", scenario, option, "500"]).expect("a right command line").sim
        };
        for (scenario, option) in [("kvs", "--optimise-period-ms"), ("overlay", "--shuffle-period-ms")] {
            assert!(known(&parsed(scenario, option), Vec::new()).is_err(), "{scenario} {option}");
        }
        let args = parsed("overlay", "--optimise-period-ms");
        let known = known(&args, Vec::new()).expect("it takes that one");
        let overlay = find(&known, "overlay").expect("it is known");
        let plan = args.plan(overlay).expect("a plan");
        let replay = replay_command("ovid", overlay, &plan);
        assert!(replay.ends_with("--failure-model rst --optimise-period-ms 500"), "{replay}");
    }

    #[test]
    fn a_trace_that_nobody_can_show_is_explained() {
        let trace = tempfile::NamedTempFile::new().expect("a file");
        let path = trace.path().to_str().expect("UTF-8");
        let (right, report) = reported(&["--runs", "3", "--trace", path]);
        assert!(right && report.contains("since no run failed"), "{report}");
    }
}
