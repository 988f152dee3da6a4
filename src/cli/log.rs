//! `ovid log`: the logs that servers keep on their disks, looked at from outside. Nothing is changed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::grid::show;
use crate::store::{Inspection, SegmentView, SlotView};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum LogCommand {
    /// Show what stands in the folder of a log: segments, terms, what is kept beside it, rows, and what is wrong
    Inspect(InspectArgs),
    /// Find damage; exit status 1 if there is any
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The folder of the log, as NAME.store or NAME.local under the data folder of a box
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// One object of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The folder of the log, as NAME.store or NAME.local under the data folder of a box
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(command: &LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Inspect(InspectArgs { folder, json: true }) => {
            let seen = look_at(folder)?;
            show(&[serde_json::to_string(&seen).context("cannot write JSON")?])?;
            Ok(ExitCode::SUCCESS)
        }
        LogCommand::Inspect(InspectArgs { folder, json: false }) => {
            show(&describe(&look_at(folder)?))?;
            Ok(ExitCode::SUCCESS)
        }
        LogCommand::Verify(VerifyArgs { folder }) => {
            let seen = look_at(folder)?;
            show(&judge(&seen))?;
            Ok(ExitCode::from(u8::from(seen.is_damaged())))
        }
    }
}

fn look_at(folder: &Path) -> anyhow::Result<Inspection> {
    if folder.is_file() {
        bail!("{} is a file: expected the folder of a log, as NAME.store or NAME.local", folder.display());
    }
    Inspection::of(folder).with_context(|| format!("cannot read the log in {}", folder.display()))
}

fn describe(seen: &Inspection) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match (seen.first, seen.last) {
        (first, last) if first > last => format!("no entries; the next is {first}"),
        (first, last) => format!("entries {first} to {last}"),
    });
    if seen.in_use {
        lines.push(IN_USE.to_owned());
    }
    for run in &seen.terms {
        lines.push(format!("term {} from entry {}", run.term, run.from));
    }
    lines.extend(seen.segments.iter().map(describe_segment));
    let [even, odd] = seen.state.slots.map(name_of);
    let state = &seen.state;
    lines.push(format!(
        "kept beside the log: {} bytes, version {}; slot 0 {even}, slot 1 {odd}",
        state.bytes, state.version
    ));
    match &seen.rows {
        Some(rows) => lines.push(format!(
            "rows: {} with {} bytes, up to entry {} of term {}",
            rows.count, rows.bytes, rows.applied, rows.term
        )),
        None if seen.in_use => lines.push("rows: not looked at while they are in use".to_owned()),
        None => lines.push("rows: none".to_owned()),
    }
    if seen.installs > 0 {
        lines.push(format!("begun anew behind another server's rows: {} times", seen.installs));
    }
    lines.extend(describe_end(seen));
    lines.extend(seen.faults.iter().map(|fault| format!("wrong: {fault}")));
    lines
}

fn describe_segment(segment: &SegmentView) -> String {
    let SegmentView { file, used_bytes, allocated_bytes, .. } = segment;
    let entries = match (segment.first, segment.last) {
        (Some(first), Some(last)) => format!("entries {first} to {last}"),
        _ => "no entries".to_owned(),
    };
    format!("segment {file}: {entries}, {used_bytes} of {allocated_bytes} bytes used")
}

fn describe_end(seen: &Inspection) -> Option<String> {
    (seen.torn_bytes > 0).then(|| {
        format!("{} bytes of an unfinished write at the end, which the next start cuts off", seen.torn_bytes)
    })
}

fn name_of(slot: SlotView) -> &'static str {
    match slot {
        SlotView::Same => "the same",
        SlotView::Older => "the one before",
        SlotView::Newer => "a newer one",
        SlotView::Unreadable => "unreadable",
    }
}

/// What is wrong, what it means, and what to do.
fn judge(seen: &Inspection) -> Vec<String> {
    let mut lines: Vec<String> = seen.faults.iter().map(|fault| format!("wrong: {fault}")).collect();
    lines.extend(describe_end(seen));
    if seen.in_use {
        lines.push(IN_USE.to_owned());
    }
    for (first, last) in &seen.damaged {
        lines.push(format!("lost: entries {first} to {last}"));
    }
    let of_one = is_of_one(seen);
    if !seen.damaged.is_empty() || seen.suspect {
        let means = if of_one { LOST_ALONE } else { LOST_TOGETHER };
        lines.push(format!("damaged: {means}"));
    }
    if seen.state_is_unsure() {
        lines.push(
            "damaged: a copy of what is kept beside the log; the next start puts it right from the others, unless the log is damaged, too"
                .to_owned(),
        );
    }
    if seen.rows_are_unsure() {
        let instead = if of_one { ROWS_ALONE } else { ROWS_TOGETHER };
        lines.push(format!("damaged: the rows; while the server is stopped, {instead}"));
    }
    if !seen.is_damaged() {
        let (first, last) = (seen.first, seen.last);
        lines.push(match last.checked_sub(first) {
            Some(_) if seen.faults.is_empty() => format!("ok: entries {first} to {last}"),
            Some(_) => format!("ok: entries {first} to {last}; what is wrong has been made good since"),
            None => format!("ok: no entries; the next is {first}"),
        });
    }
    lines
}

/// Whether it is the log of one agent: nobody was ever elected there.
fn is_of_one(seen: &Inspection) -> bool {
    let terms = seen.terms.iter().map(|run| run.term).chain(seen.rows.map(|rows| rows.term));
    terms.max() == Some(0)
}

const LOST_TOGETHER: &str = "a server that starts on this log neither votes nor leads until it has got back from the others what it may have lost; start \
                             it, and see `log status` there";
const LOST_ALONE: &str = "nobody else has this log: its agent goes on without these records; restore the folder from a copy if there is one";
const ROWS_TOGETHER: &str =
    "move rows.redb to another place: what comes next is made of the log, or got from the others";
const ROWS_ALONE: &str = "restore the folder from a copy; if the log still begins with entry 1, it is enough to move rows.redb to another place";
const IN_USE: &str =
    "in use by a server: its end may be in the middle of a write, and the rows are not looked at";
