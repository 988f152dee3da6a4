//! Runs as a whole: the same plan is the same run, everywhere; a shorter plan is a prefix; failures become small.

use std::collections::BTreeSet;

use ovid::sim::{
    FailureModel, Fault, Outcome, Plan, PlanError, Scenario, parse_faults, replay_command, run_safely,
    scenarios, shrink, validate,
};
use ovid::trace::{Event, What};

use crate::traffic::{self, Flaw};

fn scenario(name: &str) -> Box<dyn Scenario> {
    scenarios().into_iter().find(|scenario| scenario.name() == name).expect("known")
}

/// The outcome of a run and its trace.
fn traced(scenario: &dyn Scenario, plan: &Plan) -> (Outcome, Vec<Event>) {
    let mut trace = Vec::new();
    let outcome = scenario.run(plan, Some(&mut trace));
    (outcome, trace)
}

#[test]
fn the_same_plan_is_the_same_run() {
    for scenario in scenarios() {
        for &carrier in scenario.carriers() {
            let usual = scenario.default_plan();
            let plan =
                Plan { carrier, faults: scenario.faults(carrier), steps: usual.steps.min(60), ..usual };
            let (first, trace) = traced(scenario.as_ref(), &plan);
            assert_eq!((first.clone(), trace), traced(scenario.as_ref(), &plan), "{}", scenario.name());
            let other = scenario.run(&Plan { seed: plan.seed + 1, ..plan.clone() }, None);
            assert_ne!(first.figures.digest, other.figures.digest, "{}", scenario.name());
            // Whether somebody looks does not change what happens.
            assert_eq!(first.figures, scenario.run(&plan, None).figures, "{}", scenario.name());
        }
    }
}

#[test]
fn digests_are_the_same_on_every_machine() {
    // Written down once. They change with the behaviour of the world and of these scenarios, and with nothing else; a processor of
    // another kind must find the same.
    let digest = |name: &str, change: fn(Plan) -> Plan| {
        let scenario = scenario(name);
        format!("{:016x}", scenario.run(&change(scenario.default_plan()), None).figures.digest)
    };
    assert_eq!(digest("flood", |usual| usual), "a6f9e8fd606b5837");
    let calm = |usual| Plan { seed: 7, faults: BTreeSet::new(), ..usual };
    assert_eq!(digest("flood", calm), "3cd333cc2d9ae21d");
    assert_eq!(digest("gossip", |usual| usual), "2897f2f112227872");
}

#[test]
fn every_scenario_holds_for_some_seeds_on_every_carrier_and_with_both_failure_models() {
    for scenario in scenarios() {
        for &carrier in scenario.carriers() {
            for (seed, failure_model) in
                [(101, FailureModel::Rst), (102, FailureModel::Send), (103, FailureModel::Rst)]
            {
                let usual = scenario.default_plan();
                let plan = Plan { seed, carrier, failure_model, faults: scenario.faults(carrier), ..usual };
                let violation = scenario.run(&plan, None).violation;
                assert_eq!(violation, None, "{}", replay_command("ovid", scenario.as_ref(), &plan));
            }
        }
    }
}

#[test]
fn a_shorter_plan_is_a_prefix_and_a_failure_shrinks_to_what_causes_it() {
    let plan = Plan { steps: 150, ..traffic::plan(5, FailureModel::Send) };
    let run = |plan: &Plan| traffic::run(Some(Flaw::Repeats), plan, None).violation;
    let found = run(&plan).expect("it repeats itself");
    assert!(found.step < plan.steps - 1, "too late to try a prefix: {found:?}");
    assert_eq!(run(&Plan { steps: found.step + 1, ..plan.clone() }), Some(found.clone()));

    let shrunk = shrink(&plan, &found, |_| true, run);
    assert_eq!(run(&shrunk.plan), Some(shrunk.violation.clone()), "what is shown can be replayed");
    assert!(shrunk.plan.steps <= found.step && shrunk.plan.servers <= plan.servers);
    for fault in &shrunk.plan.faults {
        let mut faults = shrunk.plan.faults.clone();
        faults.remove(fault);
        assert_eq!(run(&Plan { faults, ..shrunk.plan.clone() }), None, "{fault:?} is needed");
    }
}

#[test]
fn a_trace_tells_what_went_wrong_with_whom() {
    let scenario = scenario("flood");
    let (_, trace) = traced(scenario.as_ref(), &scenario.default_plan());
    let has = |wanted: fn(&What) -> bool| trace.iter().any(|event| wanted(&event.what));
    assert!(has(|what| matches!(what, What::Start)));
    assert!(has(|what| matches!(what, What::Crash)));
    assert!(has(|what| matches!(what, What::Pause)) && has(|what| matches!(what, What::Resume)));
    assert!(
        has(|what| matches!(what, What::Partition { .. })) && has(|what| matches!(what, What::Heal { .. }))
    );
    assert!(has(|what| matches!(what, What::Up { .. })) && has(|what| matches!(what, What::Down { .. })));
    assert!(
        has(|what| matches!(what, What::Command { .. })) && has(|what| matches!(what, What::Note { .. }))
    );
    assert!(trace.is_sorted_by_key(|event| event.at_ns));

    // Each message that arrived was sent, once, and before; what was dropped did not arrive.
    let (mut sent, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for event in &trace {
        match &event.what {
            What::Send { id: Some(id), .. } => assert!(sent.insert(*id)),
            What::Receive { id: Some(id), .. } | What::Drop { id: Some(id), .. } => {
                assert!(sent.contains(id) && ended.insert(*id), "message {id}");
            }
            _ => {}
        }
    }
    assert!(ended.len() > 1_000);
}

#[test]
fn a_panic_is_a_violation() {
    struct Panics;
    impl Scenario for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn about(&self) -> &'static str {
            ""
        }
        fn default_plan(&self) -> Plan {
            scenario("flood").default_plan()
        }
        fn faults(&self, _: ovid::sim::Carrier) -> BTreeSet<Fault> {
            BTreeSet::new()
        }
        fn run(&self, plan: &Plan, _: Option<&mut Vec<Event>>) -> Outcome {
            panic!("with seed {}", plan.seed)
        }
    }
    let violation = run_safely(&Panics, &Panics.default_plan(), None).violation.expect("a panic");
    assert_eq!((violation.checker, violation.what.as_str()), ("panic", "with seed 1"));
}

#[test]
fn plans_that_make_no_sense_are_refused_with_what_would() {
    let scenario = scenario("flood");
    let usual = scenario.default_plan();
    let with = |faults: &[Fault]| Plan { faults: faults.iter().copied().collect(), ..usual.clone() };
    let refused = |plan: &Plan| validate(scenario.as_ref(), plan).expect_err("refused").to_string();
    assert_eq!(validate(scenario.as_ref(), &usual), Ok(()));
    assert_eq!(
        refused(&with(&[Fault::Loss])),
        "flood on stream takes no fault \"loss\"; it takes break,stall,partition,one-way,pause,crash"
    );
    assert_eq!(refused(&Plan { servers: 0, ..usual.clone() }), "flood needs at least one server");

    let possible = scenario.faults(usual.carrier);
    assert_eq!(parse_faults("all", &possible), Ok(possible.clone()));
    assert_eq!(parse_faults("none", &possible), Ok(BTreeSet::new()));
    assert_eq!(parse_faults("crash, one-way", &possible), Ok([Fault::Crash, Fault::OneWay].into()));
    let Err(PlanError::UnknownFault { name, known }) = parse_faults("crash,fire", &possible) else {
        panic!("there is no such fault");
    };
    assert_eq!((name.as_str(), known.split(',').count()), ("fire", Fault::ALL.len()));
}
