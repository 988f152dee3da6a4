//! The overlay in the simulated world: servers that open and close their links themselves, keep their views, and broadcast over them, while whatever
//! can go wrong does.
//!
//! What must hold at any time: the views are bounded and clean, a neighbour has a link that is up, the layer on top is told of a neighbour before
//! it hears of it and not after, and a broadcast is delivered once and in the order of its source. What must come once everything is mended:
//! neighbours are neighbours of each other, over the only links that there are; all servers are connected; no two of them lack a neighbour without
//! being each other's; and what some of them go on broadcasting reaches all.

mod checkers;
pub(crate) mod experiments;
mod member;
mod service;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::BTreeSet;
use std::time::Duration;

use self::service::Overlay;
use crate::sim::{Carrier, FailureModel, Fault, Outcome, Plan, Scenario, run_service};
use crate::trace::Event;

/// The scenario `overlay`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OverlayScenario {
    /// How often servers try to change a slow link for a faster one; zero for never. Where they do, some are further from each other than others.
    pub(crate) optimise_period: Duration,
}

impl Scenario for OverlayScenario {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn about(&self) -> &'static str {
        "servers with a few links each, which they open and close themselves: views, symmetry, one connected graph, broadcasts"
    }

    fn default_plan(&self) -> Plan {
        Plan {
            servers: 30,
            seed: 1,
            faults: self.faults(Carrier::Stream),
            steps: 200,
            carrier: Carrier::Stream,
            failure_model: FailureModel::Rst,
            wire: false,
        }
    }

    fn carriers(&self) -> &'static [Carrier] {
        &[Carrier::Stream]
    }

    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        // Nobody has a disk.
        carrier.faults().into_iter().filter(|fault| *fault != Fault::Torn).collect()
    }

    fn servers_max(&self) -> u32 {
        u32::from(u16::MAX)
    }

    fn options(&self) -> String {
        let period_ms = self.optimise_period.as_millis();
        if period_ms == 0 { String::new() } else { format!(" --optimise-period-ms {period_ms}") }
    }

    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome {
        run_service(&mut Overlay::new(plan, self.optimise_period, None), plan, trace)
    }
}
