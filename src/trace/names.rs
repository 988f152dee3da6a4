//! The order in which people count servers.

use std::cmp::Ordering;

/// Compares names part by part, numbers as numbers: `2` comes before `10`, `127.0.0.1:4002` before `127.0.0.1:4010`.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (one, other) = (first_part(left), first_part(right));
        let order = match (is_number(one), is_number(other)) {
            (true, true) => {
                let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
                one.len().cmp(&other.len()).then_with(|| one.cmp(other))
            }
            _ => one.cmp(other),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (&left[one.len()..], &right[other.len()..]);
    }
    // What is the same to a counter, such as 1 and 01, still needs one order.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The digits, or whatever else, that `text` begins with.
fn first_part(text: &str) -> &str {
    let digit = is_number(text);
    let end = text.find(|letter: char| letter.is_ascii_digit() != digit).unwrap_or(text.len());
    &text[..end]
}

fn is_number(part: &str) -> bool {
    part.starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::natural_order;

    #[test]
    fn numbers_count_as_numbers() {
        let sorted =
            ["", "0", "01", "2", "10", "99999999999999999999999", "a", "a2", "a10", "b", "b1:2", "b1:10"];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, sorted);
    }
}
