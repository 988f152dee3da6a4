//! What an experiment tells: tables, goals, plots.

use std::fmt;

use serde::Serialize;

use super::plot::Plot;

/// What came of an experiment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Sentences on what exactly was measured, without which the numbers say nothing.
    pub(crate) method: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) goals: Vec<Goal>,
    #[serde(skip)]
    pub(crate) plots: Vec<Plot>,
}

/// A table; all cells as they are shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What was to be reached, and whether it was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    /// `None` where it was not measured.
    pub(crate) holds: Option<bool>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl Goal {
    /// A value that is to be at least `limit`.
    pub(crate) fn at_least(what: impl Into<String>, limit: f64, unit: &str, measured: Option<f64>) -> Self {
        Self::new(what.into(), format!("at least {limit}{unit}"), unit, measured, |value| value >= limit)
    }

    /// A value that is to be at most `limit`.
    pub(crate) fn at_most(what: impl Into<String>, limit: f64, unit: &str, measured: Option<f64>) -> Self {
        Self::new(what.into(), format!("at most {limit}{unit}"), unit, measured, |value| value <= limit)
    }

    fn new(
        what: String,
        wanted: String,
        unit: &str,
        measured: Option<f64>,
        holds: impl FnOnce(f64) -> bool,
    ) -> Self {
        let shown =
            measured.map_or_else(|| "not measured".to_owned(), |value| format!("{}{unit}", short(value)));
        Self { what, wanted, measured: shown, holds: measured.map(holds) }
    }
}

/// A number with as many digits as it takes, and not more than four behind the point: what misses a limit by little must not seem to hold it.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table in Markdown, its columns under each other.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut line = |cells: &[String]| {
            for (cell, &width) in cells.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")
        };
        line(&self.head)?;
        let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        line(&rules)?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in &self.method {
            writeln!(f, "{sentence}")?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        if self.goals.is_empty() {
            return Ok(());
        }
        let mut goals = Table::new(["goal", "wanted", "measured", ""]);
        for goal in &self.goals {
            let word = match goal.holds {
                Some(true) => "holds",
                Some(false) => "MISSED",
                None => "",
            };
            goals.row([goal.what.clone(), goal.wanted.clone(), goal.measured.clone(), word.to_owned()]);
        }
        write!(f, "\n{goals}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new(["failed %", "ours"]);
        table.row(["10".to_owned(), "100.00".to_owned()]);
        assert_eq!(
            table.to_string(),
            "| failed % | ours   |\n| -------- | ------ |\n| 10       | 100.00 |\n"
        );
    }

    #[test]
    fn a_goal_that_is_missed_by_little_is_missed_to_see() {
        let goal = Goal::at_least("reliability", 99.9, " %", Some(99.8951));
        assert_eq!((goal.holds, goal.measured.as_str()), (Some(false), "99.8951 %"));
        let goal = Goal::at_most("time", 2.0, " s", Some(2.0));
        assert_eq!(
            (goal.holds, goal.measured.as_str(), goal.wanted.as_str()),
            (Some(true), "2 s", "at most 2 s")
        );
        let report = Report { goals: vec![goal, Goal::at_most("paths", 6.4, "", None)], ..Report::default() };
        let text = report.to_string();
        assert!(text.contains("| holds ") && text.contains("not measured"), "{text}");
    }
}
