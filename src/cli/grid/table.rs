//! Tables of text, and values as people read them.

/// Lines in which the cells of each column stand below each other.
pub(super) fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(cell, width): (&String, &usize)| {
            format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
        };
        row.iter().zip(&widths).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How long something has lasted, in the two units that matter.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min {} s", s / 60, s % 60),
        3_600..=86_399 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows =
            [vec!["agent".into(), "x".into()], vec!["ä".into(), "y".into(), "z".into()], vec!["b".into()]];
        assert_eq!(lines(&rows), ["agent  x", "ä      y  z", "b"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(["0 s", "59 s"], [duration(999), duration(59_999)]);
        assert_eq!(["1 min 1 s", "1 h 1 min"], [duration(61_000), duration(3_660_000)]);
        assert_eq!(duration(90_000_000), "1 d 1 h");
    }
}
