//! TOML as a tree.

use toml::Spanned;
use toml::de::{DeArray, DeFloat, DeInteger, DeTable, DeValue};

use super::finding::{Finding, Places};
use super::tree::{Member, Node, Value, number};

/// Reads a text of TOML. All that is no TOML is found at once.
pub(super) fn parse(text: &str, places: &Places<'_>) -> Result<Node, Vec<Finding>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { at: 0, value: members(table.get_ref()) });
    }
    let finding = |error: &toml::de::Error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        places.finding(at, &[], format!("no TOML: {}", error.message().replace('\n', "; ")))
    };
    Err(errors.iter().map(finding).collect())
}

fn members(table: &DeTable<'_>) -> Value {
    let mut members: Vec<Member> = table
        .iter()
        .map(|(name, value)| Member {
            at: name.span().start,
            name: name.get_ref().to_string(),
            node: node(value),
        })
        .collect();
    // In the order of the text, as people read it.
    members.sort_by_key(|member| member.at);
    Value::Table(members)
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let at = value.span().start;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => whole(integer),
        DeValue::Float(float) => decimal(float),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Foreign("a date or time"),
        DeValue::Array(list) => Value::List(nodes(list)),
        DeValue::Table(table) => members(table),
    };
    Node { at, value }
}

fn nodes(list: &DeArray<'_>) -> Vec<Node> {
    list.iter().map(node).collect()
}

/// A whole number, in whichever base, as JSON writes it.
fn whole(integer: &DeInteger<'_>) -> Value {
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    number.map_or(Value::Foreign("a number of this size"), |number| Value::Number(number.to_string()))
}

/// A decimal number as JSON writes it.
fn decimal(float: &DeFloat<'_>) -> Value {
    let text = float.as_str().trim_start_matches('+');
    if number(text).is_some() {
        Value::Number(text.to_owned())
    } else {
        Value::Foreign("a number that is not finite")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> (serde_json::Value, Vec<Finding>) {
        let places = Places::new(text);
        let mut findings = Vec::new();
        let json = parse(text, &places).expect("TOML").json(&places, &mut Vec::new(), &mut findings);
        (json, findings)
    }

    #[test]
    fn toml_of_the_same_shape_is_the_same_tree() {
        let (value, findings) =
            json("[a]\ntype = 'x'\nn = 0x1_0\nf = +1_0.5\n[a.attrs]\nlist = [true, -3]\n");
        assert_eq!(
            value,
            serde_json::json!({"a": {"type": "x", "n": 16, "f": 10.5, "attrs": {"list": [true, -3]}}})
        );
        assert_eq!(findings, []);
    }

    #[test]
    fn what_json_cannot_say_is_found() {
        let (_, findings) = json("[a]\nwhen = 1979-05-27\nnever = nan\n");
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "2:8: a.when: a date or time is no value of JSON; write a string",
                "3:9: a.never: a number that is not finite is no value of JSON; write a string",
            ]
        );
    }

    #[test]
    fn all_that_is_no_toml_is_found() {
        let text = "[a]\nx = \ny = 1\ny = 2\n";
        let lines: Vec<usize> =
            parse(text, &Places::new(text)).expect_err("wrong").iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in prop_oneof![any::<String>(), "[\\[\\]{}=.,\"'#a1\n -]{0,30}"]) {
            let _ = parse(&text, &Places::new(&text));
        }
    }
}
