//! `ovid grid check`: all mistakes of a configuration, or the grid that it describes, in words or as a picture.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::file::{self, FileError};
use super::{picture, show, table};
use crate::agent::Registry;
use crate::agents::replicated::LOG_ROUTE;
use crate::config::{AgentId, BoxSettings, Configuration, Entry};
use crate::grid::BoxAddress;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration: JSON, or TOML where its name ends in .toml
    file: PathBuf,
    /// Draw the grid into this file, as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the grid into this file, as a graph in the language of Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let configuration = match file::read(&args.file, registry) {
        Ok(configuration) => configuration,
        Err(FileError::Mistakes { path, findings }) => {
            show(&file::lines(&path, &findings))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let pictures = [(&args.svg, picture::svg as fn(&_) -> _), (&args.dot, picture::dot)];
    for (path, draw) in pictures {
        if let Some(path) = path {
            write(path, &draw(&configuration))?;
        }
    }
    show(&describe(&configuration))?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write the picture {}", path.display()))
}

/// The grid in words, a box after the other.
fn describe(configuration: &Configuration) -> Vec<String> {
    let boxes = configuration.agents_by_box();
    let mut lines = vec![format!(
        "{}, {}",
        count(boxes.len(), "box", "boxes"),
        count(configuration.agents.len(), "agent", "agents")
    )];
    for (on, agents) in boxes {
        lines.push(String::new());
        lines.push(format!("box {on}: {}", settings(&configuration.settings_of(on), on)));
        let rows: Vec<Vec<String>> = agents.iter().map(|(id, entry)| row(id.as_str(), entry)).collect();
        lines.extend(table::lines(&rows).into_iter().map(|line| format!("  {line}")));
        for (id, entry) in agents {
            for (name, targets) in entry.routes.iter().filter(|(name, _)| !is_of_log(entry, name)) {
                let targets: Vec<String> =
                    targets.0.iter().map(|(target, port)| format!("{target}:{port}")).collect();
                lines.push(format!("  {id} --{name}--> {}", targets.join(", ")));
            }
        }
    }
    for members in configuration.shared_logs() {
        let members: Vec<&str> = members.iter().map(AgentId::as_str).collect();
        lines.push(String::new());
        lines.push(format!("log of {}: {}", count(members.len(), "member", "members"), members.join(", ")));
    }
    lines
}

/// Whether a route follows from a log that several agents agree on, which is told as a whole.
fn is_of_log(entry: &Entry, route: &str) -> bool {
    entry.is_replicated() && route == LOG_ROUTE
}

fn count(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn row(id: &str, entry: &Entry) -> Vec<String> {
    let attrs = entry.attrs.0.iter().map(|(name, value)| format!("{name}={value}"));
    vec![id.to_owned(), entry.kind.clone(), attrs.collect::<Vec<_>>().join(" ")]
}

/// The settings of a box; of experiments only those that there are.
fn settings(settings: &BoxSettings, on: BoxAddress) -> String {
    let control = settings.control.map_or("none".to_owned(), |control| control.to_string());
    let mut text = format!("control {control}, data in {:?}", settings.data);
    let plain = BoxSettings::default_of(on);
    let experiments = [
        (settings.loss != plain.loss).then(|| format!("loss {}", settings.loss)),
        (settings.duplicate != plain.duplicate).then(|| format!("duplicate {}", settings.duplicate)),
        (settings.delay != plain.delay).then(|| format!("delay up to {} ms", settings.delay.as_millis())),
        settings.seed.map(|seed| format!("seed {seed}")),
    ];
    for experiment in experiments.into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&experiment);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, read};

    #[test]
    fn a_log_that_agents_agree_on_is_shown_once() {
        let text = r#"{
            "a": {"type": "ledger", "box": "127.0.0.1:1", "attrs": {"log": {"members": ["a", "b"]}}},
            "b": {"type": "ledger", "box": "127.0.0.1:2", "attrs": {"log": {"members": ["a", "b"]}}}
        }"#;
        let configuration = read(text, Format::Json, &Registry::builtin()).expect("right");
        let lines = describe(&configuration);
        assert_eq!(lines[lines.len() - 2..], ["", "log of 2 members: a, b"]);
        assert!(!lines.iter().any(|line| line.contains("--log-->")), "{lines:?}");
    }

    #[test]
    fn a_grid_is_shown_box_by_box() {
        let text = r#"{
            "a": {"type": "dummy", "box": "127.0.0.1:1", "routes": {"all": {"b": 1, "longer": 2}, "self": {"a": 0}}},
            "longer": {"type": "dummy", "box": "127.0.0.1:1", "attrs": {"log": "memory"}},
            "b": {"type": "dummy", "box": "10.0.0.1:1"},
            "s": {"type": "box", "box": "10.0.0.1:1", "attrs": {"loss": 0.5, "delay_ms": 3, "seed": 4}}
        }"#;
        let configuration = read(text, Format::Json, &Registry::builtin()).expect("right");
        assert_eq!(
            describe(&configuration),
            [
                "2 boxes, 3 agents",
                "",
                "box 10.0.0.1:1: control none, data in \"ovid-data\", loss 0.5, delay up to 3 ms, seed 4",
                "  b  dummy",
                "",
                "box 127.0.0.1:1: control 127.0.0.1:10001, data in \"ovid-data\"",
                "  a       dummy",
                "  longer  dummy  log=\"memory\"",
                "  a --all--> b:1, longer:2",
                "  a --self--> a:0",
            ]
        );
    }
}
