//! What a bench hands back: a table for people, every sample for programs, and a progress bar while it works.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::stats::{median, range};
use super::system::System;
use super::{Setup, machine};

/// The outcome of a bench.
#[derive(Debug)]
pub struct Report {
    /// The bench's name.
    pub bench: &'static str,
    /// What all benches have in common: systems, servers, repeats.
    pub setup: Value,
    /// What was asked of this one.
    pub options: Value,
    /// The medians.
    pub table: Table,
    /// Sentences below the table.
    pub notes: Vec<String>,
    /// One object a measured run.
    pub samples: Vec<Value>,
    /// Taken before the run, so that the load average is not the bench's own.
    pub machine: Value,
}

impl Report {
    /// An empty report; notes the machine's state now.
    pub fn new(bench: &'static str, setup: &Setup, options: Value, head: &[&str]) -> Self {
        let systems: Vec<&str> = setup.systems.iter().map(System::name).collect();
        let setup = json!({"systems": systems, "servers": setup.servers, "repeats": setup.repeats});
        Self {
            bench,
            setup,
            options,
            table: Table { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] },
            notes: Vec::new(),
            samples: Vec::new(),
            machine: machine::facts(),
        }
    }

    /// Adds a sentence below the table, once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({
            "bench": self.bench,
            "command": std::env::args().collect::<Vec<_>>(),
            "machine": self.machine,
            "setup": self.setup,
            "options": self.options,
            "notes": self.notes,
            "table": self.table.rows,
            "samples": self.samples,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.table)?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(f, "{}", machine::summary(&self.machine))
    }
}

/// Rows of cells; the first is the head.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Appends a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                write!(line, "{gap}{cell:>width$}")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `median (smallest..largest)` of a sample.
pub fn spread(samples: &[f64], decimals: usize) -> String {
    let (low, high) = range(samples);
    format!("{:.decimals$} ({low:.decimals$}..{high:.decimals$})", median(samples))
}

/// A progress bar on standard error, where that is a terminal; nothing anywhere else.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `steps` runs.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} ({eta} left)")
            .expect("a valid template");
        bar.set_style(style);
        Self(bar)
    }

    /// Says what is being measured now.
    pub fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// One run is over.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
