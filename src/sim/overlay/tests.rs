use std::time::Duration;

use super::OverlayScenario;
use super::member::{Flaw, Member};
use super::service::{DISTANCE, Overlay};
use crate::sim::{
    FailureModel, Fault, Plan, Scenario, Service, Settings, World, replay_command, run_service,
};
use crate::time::Time;

#[test]
fn each_checker_finds_a_server_that_breaks_its_rule() {
    let calm = Plan {
        servers: 16,
        steps: 60,
        faults: [Fault::Break, Fault::Crash].into(),
        ..OverlayScenario::default().default_plan()
    };
    let found = |flaw| run_service(&mut Overlay::new(&calm, Duration::ZERO, flaw), &calm, None).violation;
    assert_eq!(found(None), None);
    let flaws = [
        (Flaw::Greedy, "views"),
        (Flaw::Boasts, "views"),
        (Flaw::Vain, "views"),
        (Flaw::SeesDouble, "views"),
        (Flaw::Muddled, "views"),
        (Flaw::Deaf, "layer"),
        (Flaw::Stutters, "layer"),
        (Flaw::Imagines, "layer"),
        (Flaw::Repeats, "order"),
        (Flaw::Muddles, "order"),
        (Flaw::Skips, "order"),
        (Flaw::Clings, "links"),
        (Flaw::Modest, "degrees"),
        (Flaw::Picky, "connected"),
        (Flaw::Mute, "reach"),
        (Flaw::Pretends, "alive"),
    ];
    let wrong = flaws.into_iter().filter_map(|(flaw, checker)| {
        let violation = found(Some(flaw));
        (violation.as_ref().map(|found| found.checker) != Some(checker)).then_some((flaw, checker, violation))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), []);
}

/// How many microseconds longer than between the nearest a message takes in the mean over the links of the active views, after a minute.
fn link_cost_us(optimise_period: Duration) -> u128 {
    let plan = Plan { servers: 40, faults: [].into(), ..OverlayScenario::default().default_plan() };
    let mut overlay = Overlay::new(&plan, optimise_period, None);
    let mut world = World::new(Settings { distance: Some(DISTANCE), ..overlay.settings(&plan) });
    overlay.build(&mut world, &plan);
    world.run_until(Time::since_start(Duration::from_secs(60)));
    let active = |peer| world.agent(peer).map(Member::active).unwrap_or_default();
    let links = world.peers().flat_map(|peer| active(peer).into_iter().map(move |other| (peer, other)));
    let costs: Vec<u128> =
        links.map(|(one, other)| world.settings().distance(one, other).as_micros()).collect();
    assert!(costs.len() >= 195, "{} of 200 places in active views are taken", costs.len());
    costs.iter().sum::<u128>() / costs.len() as u128
}

// X-BOT, Section 5: what optimisation is for.
#[test]
fn links_that_are_optimised_become_faster_and_no_fewer() {
    let (left_alone, optimised) = (link_cost_us(Duration::ZERO), link_cost_us(Duration::from_secs(1)));
    assert!((17_000..23_000).contains(&left_alone), "{left_alone}: that of any two servers is 20 ms");
    assert!(optimised * 2 < left_alone, "{optimised} instead of {left_alone}");
}

#[test]
fn all_holds_while_links_are_exchanged_and_everything_goes_wrong() {
    let scenario = OverlayScenario { optimise_period: Duration::from_millis(500) };
    for (seed, failure_model) in [(201, FailureModel::Rst), (202, FailureModel::Send)] {
        let plan = Plan { seed, failure_model, ..scenario.default_plan() };
        assert_eq!(scenario.run(&plan, None).violation, None, "{}", replay_command("ovid", &scenario, &plan));
    }
}
