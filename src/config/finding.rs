//! What is wrong in a configuration, and where.

use std::fmt;

use thiserror::Error;

/// A mistake in the text of a configuration. Nothing was made from it; whoever wrote the text is at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub struct Finding {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in that line, counted from 1.
    pub column: usize,
    /// The way to the value: an agent's id, then names of fields. Empty where the text as a whole is meant.
    pub field: Vec<String>,
    /// What is wrong, and what is expected.
    pub what: String,
}

impl fmt::Display for Finding {
    /// `line:column: field: what`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.field.is_empty() {
            // An id may hold anything before it has been checked, and what is printed has to stay one line.
            write!(f, "{}: ", self.field.join(".").escape_debug())?;
        }
        f.write_str(&self.what)
    }
}

/// Turns places in a text into lines and columns.
#[derive(Debug)]
pub(super) struct Places<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let lines =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { text, lines }
    }

    /// The finding `what` about the value that begins at byte `at`.
    pub(super) fn finding(&self, at: usize, field: &[&str], what: impl Into<String>) -> Finding {
        let field = field.iter().map(|part| (*part).to_owned()).collect();
        let (line, column) = self.line_and_column(at);
        Finding { line, column, field, what: what.into() }
    }

    /// The line of byte `at`, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at)
    }

    /// Where the `column`-th byte of a line stands, both counted from 1.
    pub(super) fn at(&self, line: usize, column: usize) -> usize {
        let begin =
            line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or(self.text.len());
        begin.saturating_add(column.saturating_sub(1)).min(self.text.len())
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.line(at);
        let before = self.text.as_bytes().get(self.lines[line - 1]..at).unwrap_or_default();
        // Characters begin with a byte that does not continue one.
        let column = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
        (line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a\näöb\n";
        let places = Places::new(text);
        let finding = places.finding(text.find('b').expect("there"), &["x", "attrs"], "wrong");
        assert_eq!(finding.to_string(), "2:3: x.attrs: wrong");
        assert_eq!(places.finding(0, &[], "wrong").to_string(), "1:1: wrong");
        assert_eq!(places.finding(text.len(), &[], "end").to_string(), "3:1: end");
        assert_eq!(places.at(2, 3), 4);
        assert_eq!(places.at(9, 9), text.len());
    }

    #[test]
    fn a_finding_is_one_line() {
        let finding = Places::new("").finding(0, &["a\nb"], "wrong");
        assert_eq!(finding.to_string(), "1:1: a\\nb: wrong");
    }
}
