//! Start-up: from the last `exec` until every server has answered `alive` with all ids.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Setup;
use super::fleet::Fleet;
use super::report::{Progress, Report, milliseconds, spread};
use super::stats::Shuffle;
use super::system::{Ports, System};

const SEED: u64 = 0x07_1d;

/// In which order the servers of a grid are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Each server finds all those listening whom it has to dial.
    Ascending,
    /// Some dial servers that do not listen yet, and have to try again.
    Shuffled,
}

impl Order {
    const ALL: [Self; 2] = [Self::Ascending, Self::Shuffled];

    fn name(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Shuffled => "shuffled",
        }
    }

    /// The same order for every system in the same repeat.
    fn ids(self, n: usize, repeat: usize) -> Vec<usize> {
        let mut ids: Vec<usize> = (0..n).collect();
        if self == Self::Shuffled {
            Shuffle::new(SEED + repeat as u64).shuffle(&mut ids);
        }
        ids
    }
}

/// Measures all systems side by side.
pub fn run(setup: &Setup) -> (Report, anyhow::Result<()>) {
    let head = ["servers", "order", "system", "ms until all see all", "ratio"];
    let mut report = Report::new("startup", setup, json!({"seed": SEED}), &head);
    let outcome = measure_all(setup, &mut report);
    (report, outcome)
}

fn measure_all(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let progress = Progress::new(setup.servers.len() * 2 * setup.repeats * setup.systems.len());
    for &n in &setup.servers {
        for order in Order::ALL {
            let mut samples = vec![Vec::new(); setup.systems.len()];
            for repeat in 0..setup.repeats {
                for (index, system) in setup.turn(repeat) {
                    progress.say(format!("{n} servers, {}, {}", order.name(), system.name()));
                    let ids = order.ids(n, repeat);
                    let took = milliseconds(measure(system, n, &ids, setup.ports)?);
                    report.samples.push(json!({
                        "servers": n, "order": order.name(), "ids": ids, "system": system.name(),
                        "repeat": repeat, "milliseconds": took,
                    }));
                    samples[index].push(took);
                    progress.step();
                }
            }
            for (index, system) in setup.systems.iter().enumerate() {
                let row = [n.to_string(), order.name().to_owned(), system.name().to_owned()];
                let figures = [spread(&samples[index], 1), setup.ratio_cell(index, &samples)];
                report.table.push(row.into_iter().chain(figures).collect());
            }
        }
    }
    report.note(format!(
        "median (smallest..largest) of {}; from just before the last exec until the last server has answered `alive` with \
         all ids, asked one after the other every millisecond",
        setup.repeats
    ));
    Ok(())
}

fn measure(system: &System, n: usize, order: &[usize], ports: Ports) -> anyhow::Result<Duration> {
    let mut fleet = Fleet::new(system, n, ports)?;
    let mut last_exec = Instant::now();
    for &id in order {
        last_exec = Instant::now();
        fleet.start(id)?;
    }
    let all: Vec<usize> = (0..n).collect();
    fleet.await_alive(&all, &all)?;
    Ok(last_exec.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffled_order_holds_every_id_and_depends_on_the_repeat_alone() {
        let orders: Vec<_> = (0..3).map(|repeat| Order::Shuffled.ids(16, repeat)).collect();
        assert_eq!(orders[0], Order::Shuffled.ids(16, 0));
        assert_ne!(orders[0], orders[1]);
        for mut ids in orders {
            assert_ne!(ids, Order::Ascending.ids(16, 0));
            ids.sort_unstable();
            assert_eq!(ids, Order::Ascending.ids(16, 0));
        }
    }
}
