//! `ovid sim overlay --experiment`: the papers' experiments on all processors, their tables and plots.

mod cost;

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use self::cost::Measure;
use super::{SimArgs, batch};
use crate::cli::overlay::OverlayOptions;
use crate::sim::FailureModel;
use crate::sim::overlay::experiments::{self, Experiment, Report, Samples, Setup};

#[derive(Debug, Args)]
#[command(next_help_heading = "Experiments with the overlay")]
pub(super) struct ExperimentArgs {
    /// Instead of a scenario: an experiment of the papers on the overlay, or `all`
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    pub(super) experiment: Option<String>,
    /// How many nodes there are [default: 10000]
    #[arg(long, value_name = "COUNT", requires = "experiment", value_parser = clap::value_parser!(u32).range(2..))]
    nodes: Option<u32>,
    /// How many seeds, from --seed on, each experiment is run with [default: 5]
    #[arg(long, value_name = "COUNT", requires = "experiment", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// How many broadcasts follow a failure [default: 1000]
    #[arg(long, value_name = "COUNT", requires = "experiment", value_parser = clap::value_parser!(u32).range(1..))]
    broadcasts: Option<u32>,
    /// How long every message, and every connecting, takes [default: 100]
    #[arg(long, value_name = "MICROSECONDS", requires = "experiment", value_parser = clap::value_parser!(u64).range(1..))]
    latency_us: Option<u64>,
    /// Draw plots into a folder [default: the present one]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".", requires = "experiment")]
    svg: Option<PathBuf>,
    /// Of the experiment `cost`: one measurement in a process of its own
    #[arg(long, hide = true, requires = "experiment")]
    measure: Option<Measure>,
    #[command(flatten)]
    options: OverlayOptions,
}

/// The name of the experiment that needs a clock.
const COST: &str = "cost";
const ALL: &str = "all";

fn names() -> Vec<&'static str> {
    experiments::all().map(Experiment::name).into_iter().chain([COST, ALL]).collect()
}

impl ExperimentArgs {
    /// Of a scenario: how often slow links are changed for faster ones, if no other option of an overlay was given.
    pub(super) fn only_optimise_period(&self) -> Option<Duration> {
        self.options.only_optimise_period()
    }
}

/// Runs the experiment `name`, or all of them.
pub(super) fn run(name: &str, args: &SimArgs, out: &mut impl Write) -> anyhow::Result<()> {
    ensure!(
        args.scenario == "overlay",
        "--experiment {name} is one of the scenario overlay, not of {}",
        args.scenario
    );
    if let Some(option) = args.of_scenarios() {
        bail!("{option} is for scenarios; an experiment has --nodes, --seeds and --broadcasts instead");
    }
    let setup = setup(args)?;
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
    if let Some(measure) = args.experiments.measure {
        return measure.run(&without_keep_alive(args, &setup), out);
    }
    if let Some(folder) = &args.experiments.svg {
        std::fs::create_dir_all(folder).with_context(|| format!("folder for plots {}", folder.display()))?;
    }
    let show =
        |what: &str, setup: &Setup, done: &Done, out: &mut dyn Write| show(what, args, setup, done, out);
    for experiment in experiments::all() {
        if [experiment.name(), ALL].contains(&name) {
            let setup = for_experiment(experiment, args, &setup);
            show(experiment.name(), &setup, &measured(experiment, &setup, jobs), out)?;
        }
    }
    if [COST, ALL].contains(&name) {
        let setup = without_keep_alive(args, &setup);
        show(COST, &setup, &cost::measured(&setup)?, out)?;
    }
    Ok(())
}

/// What came of an experiment, and how long it took.
struct Done {
    samples: Samples,
    report: Report,
    elapsed: Duration,
}

fn setup(args: &SimArgs) -> anyhow::Result<Setup> {
    let given = &args.experiments;
    let mut options = given.options.options()?;
    // The papers have no such shuffles; what is compared with them does without, unless they were asked for.
    if !given.options.says_early_shuffles() {
        options.early_shuffles = 0;
    }
    Ok(Setup {
        nodes: given.nodes.unwrap_or(10_000),
        seed: args.seed,
        seeds: given.seeds.unwrap_or(5),
        failure_model: args.failure_model.map_or(FailureModel::Rst, FailureModel::from),
        options,
        broadcasts: given.broadcasts.unwrap_or(1_000),
        latency: Duration::from_micros(given.latency_us.unwrap_or(100)),
    })
}

/// Where a reset tells who is dead, keep-alives only cost time; they are off unless they were asked for, or are what an experiment is about.
fn for_experiment(experiment: &dyn Experiment, args: &SimArgs, setup: &Setup) -> Setup {
    if experiment.needs_keep_alive() { setup.clone() } else { without_keep_alive(args, setup) }
}

fn without_keep_alive(args: &SimArgs, setup: &Setup) -> Setup {
    let mut setup = setup.clone();
    if !args.experiments.options.says_keep_alive() {
        setup.options.keep_alive = Duration::ZERO;
    }
    setup
}

/// Runs all units of an experiment, `jobs` at a time.
#[expect(clippy::disallowed_methods, reason = "the command line tells how long an experiment took")]
fn measured(experiment: &dyn Experiment, setup: &Setup, jobs: usize) -> Done {
    let started = Instant::now();
    let units = experiment.units(setup);
    let template = format!("{}: {{bar:40}} {{pos}}/{{len}} runs, {{eta}} to go", experiment.name());
    let bar = batch::bar(&template, Some(units.len() as u64));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&unit) = units.get(number) else { return };
            let samples = experiment.run(setup, unit);
            results.lock().expect("no unit panics while it holds this").insert(number, samples);
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs.min(units.len()) {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    let mut samples = Samples::default();
    for unit in results.into_inner().expect("no unit panics while it holds this").into_values() {
        samples.add(unit);
    }
    Done { report: experiment.report(setup, &samples), samples, elapsed: started.elapsed() }
}

/// Prints what came of an experiment, and writes its plots.
fn show(
    name: &str,
    args: &SimArgs,
    setup: &Setup,
    done: &Done,
    mut out: &mut dyn Write,
) -> anyhow::Result<()> {
    let plots: Vec<PathBuf> = match &args.experiments.svg {
        Some(folder) => {
            done.report.plots.iter().map(|plot| folder.join(format!("{}.svg", plot.name))).collect()
        }
        None => Vec::new(),
    };
    for (plot, path) in done.report.plots.iter().zip(&plots) {
        std::fs::write(path, plot.svg())
            .with_context(|| format!("cannot write the plot {}", path.display()))?;
    }
    if args.json {
        let line = json!({
            "experiment": name,
            "nodes": setup.nodes,
            "seed": setup.seed,
            "seeds": setup.seeds,
            "failure_model": setup.failure_model.name(),
            "model": model(setup),
            "elapsed_ms": u64::try_from(done.elapsed.as_millis()).unwrap_or(u64::MAX),
            "report": done.report,
            "values": done.samples.values(),
            "plots": plots,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(out, "## {name}\n\n{}\n{}", model(setup), done.report)?;
    for path in &plots {
        writeln!(out, "\nplot: {}", Path::display(path))?;
    }
    writeln!(&mut out, "\n{} in {:.1} s\n", name, done.elapsed.as_secs_f64())?;
    Ok(())
}

/// What every number depends on.
fn model(setup: &Setup) -> String {
    let Setup { options, .. } = setup;
    let failures = match setup.failure_model {
        FailureModel::Rst => "rst (every live neighbour learns of a crash at once, as from a reset)",
        FailureModel::Send => "send (a neighbour learns of a crash when it sends)",
    };
    let last = setup.seed.wrapping_add(setup.seeds - 1);
    let seeds = if setup.seeds == 1 {
        format!("seed {}", setup.seed)
    } else {
        format!("seeds {} to {last}", setup.seed)
    };
    let keep_alive = match options.keep_alive {
        Duration::ZERO => "off".to_owned(),
        period => format!("{} ms", period.as_millis()),
    };
    let early = match options.early_shuffles {
        0 => String::new(),
        count => format!("{count} early shuffles, "),
    };
    format!(
        "{} nodes, {seeds}; failure model {failures}; unit latency {} µs; views {} / {}, ARWL {}, PRWL {}, ka {}, kp {}, a cycle of {} ms, {early}\
         keep-alive {keep_alive}, {} addresses remembered.",
        setup.nodes,
        setup.latency.as_micros(),
        options.active_size,
        options.passive_size,
        options.arwl,
        options.prwl,
        options.k_active,
        options.k_passive,
        options.shuffle_period.as_millis(),
        options.memory_size,
    )
}
