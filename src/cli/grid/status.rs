//! `ovid grid status`: what the boxes of a configuration say about themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::control::{self, ControlError, Status};
use super::{file, show, table};
use crate::agent::Registry;
use crate::grid::BoxAddress;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    file: PathBuf,
}

pub(super) fn run(args: &StatusArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let configuration = file::read(&args.file, registry)?;
    let asked = control::ask_all(&configuration);
    show(&describe(&asked))?;
    let all_well = asked.iter().all(|(_, asked)| matches!(asked, Ok(_) | Err(ControlError::NoPort)));
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(asked: &[(BoxAddress, Result<Status, ControlError>)]) -> Vec<String> {
    let head = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut boxes = vec![head(&["box", "up for", "sees", "queued", "dropped", "lost on purpose"])];
    let mut agents = vec![head(&["agent", "type", "box", "counters"])];
    let mut about = vec![head(&["agent", "says"])];
    for (on, asked) in asked {
        let mut row = vec![on.to_string()];
        match asked {
            Ok(status) => {
                let queued = format!("{} bytes", status.bytes_queued);
                let dropped = format!("{} frames", status.frames_dropped);
                let lost = status.frames_lost_on_purpose.to_string();
                row.extend([table::duration(status.uptime_ms), status.seen(), queued, dropped, lost]);
                for agent in &status.agents {
                    let counters: Vec<String> =
                        agent.counters.iter().map(|(name, count)| format!("{name}={count}")).collect();
                    about.extend(agent.about.clone().map(|about| vec![agent.id.clone(), about]));
                    agents.push(vec![
                        agent.id.clone(),
                        agent.kind.clone(),
                        on.to_string(),
                        counters.join(" "),
                    ]);
                }
            }
            // Not a cell, so that one long reason does not widen its column.
            Err(error) => row[0] = format!("{on}  {error}"),
        }
        boxes.push(row);
    }
    let failed = |row: &Vec<String>| row.len() == 1;
    let (silent, boxes): (Vec<_>, Vec<_>) = boxes.into_iter().partition(failed);
    let mut lines = if boxes.len() > 1 { table::lines(&boxes) } else { Vec::new() };
    lines.extend(silent.into_iter().flatten());
    for table in [agents, about].iter().filter(|table| table.len() > 1) {
        lines.push(String::new());
        lines.extend(table::lines(table));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::control::fake;
    use super::*;

    #[test]
    fn boxes_and_agents_stand_in_tables() {
        let (one, other) = ("127.0.0.1:4000", "127.0.0.1:4001");
        let up = fake::start(move |_| Some(fake::status(one, &[other])));
        let configuration = fake::configuration(&[(one, Some(up)), (other, None)]);
        let lines = describe(&control::ask_all(&configuration));
        assert_eq!(
            lines,
            [
                "box             up for     sees  queued   dropped   lost on purpose",
                "127.0.0.1:4000  1 min 1 s  1/1   7 bytes  0 frames  2",
                "127.0.0.1:4001  has no control port",
                "",
                "agent  type  box             counters",
                "a      kvs   127.0.0.1:4000  records=3",
                "",
                "agent  says",
                "a      standing=leader",
            ]
        );
    }
}
