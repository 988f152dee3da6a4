//! Many runs, several at a time. The outcome does not depend on how many.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::sim::{Digest, Outcome, Plan, Scenario, Violation, run_safely};

/// What came of many runs.
pub(super) struct Batch {
    /// How many runs there were: up to the first seed that failed, if one did.
    pub(super) runs: u64,
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) simulated_ns: u64,
    /// The digest of the only run, or of all digests in the order of the seeds.
    pub(super) digest: u64,
    pub(super) elapsed: Duration,
    /// The smallest seed that failed, with what went wrong.
    pub(super) failure: Option<(u64, Violation)>,
}

/// Runs `plan` with `runs` seeds one after the other, on `jobs` threads, until one fails.
#[expect(clippy::disallowed_methods, reason = "the command line measures how fast the simulation is")]
pub(super) fn run(scenario: &dyn Scenario, plan: &Plan, runs: u64, jobs: usize) -> Batch {
    let started = Instant::now();
    let bar = bar("{bar:40} {pos}/{len} runs, {per_sec}, {eta} to go", Some(runs));
    let (next, failed_below) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        quietly(|| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // Seeds are begun in ascending order, so that all below the first one that fails are run to their end.
                if number >= runs || number > failed_below.load(Ordering::Relaxed) {
                    return;
                }
                let plan = Plan { seed: plan.seed.wrapping_add(number), ..plan.clone() };
                let outcome = run_safely(scenario, &plan, None);
                if outcome.violation.is_some() {
                    failed_below.fetch_min(number, Ordering::Relaxed);
                }
                outcomes.lock().expect("no run panics").insert(number, outcome);
                bar.inc(1);
            }
        });
    };
    let jobs = usize::try_from(runs).unwrap_or(usize::MAX).min(jobs);
    thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    let outcomes = outcomes.into_inner().expect("no run panics");
    added_up(plan.seed, outcomes, started.elapsed())
}

fn added_up(seed: u64, outcomes: BTreeMap<u64, Outcome>, elapsed: Duration) -> Batch {
    let mut batch =
        Batch { runs: 0, events: 0, messages: 0, simulated_ns: 0, digest: 0, elapsed, failure: None };
    let mut digest = Digest::default();
    for (number, outcome) in outcomes {
        let figures = outcome.figures;
        batch.runs += 1;
        batch.events += figures.events;
        batch.messages += figures.messages;
        batch.simulated_ns = batch.simulated_ns.saturating_add(figures.simulated_ns);
        digest.word(figures.digest);
        batch.digest = if batch.runs == 1 { figures.digest } else { digest.value() };
        if let Some(violation) = outcome.violation {
            batch.failure = Some((seed.wrapping_add(number), violation));
            // Runs of later seeds that happened to be done do not count.
            break;
        }
    }
    batch
}

/// Runs `work`, in which all panics are caught, without a word on standard error for each of them: they are reported as violations.
/// Panics in other threads are told as ever.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    QUIET_HOOK.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                tell(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = work();
    QUIET.set(before);
    done
}

static QUIET_HOOK: Once = Once::new();

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A progress bar, which shows nothing where standard error is no terminal; a spinner without a `len`.
pub(super) fn bar(template: &str, len: Option<u64>) -> ProgressBar {
    let bar = len.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(template).expect("the templates here are right"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
