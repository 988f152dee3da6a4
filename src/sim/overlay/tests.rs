use super::OverlayScenario;
use super::member::Flaw;
use super::service::Overlay;
use crate::sim::{Fault, Plan, Scenario, run_service};

#[test]
fn each_checker_finds_a_server_that_breaks_its_rule() {
    let calm = Plan {
        servers: 16,
        steps: 60,
        faults: [Fault::Break, Fault::Crash].into(),
        ..OverlayScenario.default_plan()
    };
    let found = |flaw| run_service(&mut Overlay::new(&calm, flaw), &calm, None).violation;
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
