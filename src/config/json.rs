//! JSON as a tree. The strict rules are those of `serde_json`; where each value stands is what `jsonc-parser` tells.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::finding::{Finding, Places};
use super::tree::{Member, Node, Value};

/// Reads a text of JSON. The first thing that is no JSON ends it.
pub(super) fn parse(text: &str, places: &Places<'_>) -> Result<Node, Finding> {
    serde_json::from_str::<serde_json::Value>(text).map_err(|error| syntax(&error, places))?;
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict());
    match parsed.map(|parsed| parsed.value) {
        Ok(Some(value)) => Ok(node(&value)),
        Ok(None) => Err(places.finding(text.len(), &[], "expected an object, found nothing")),
        Err(error) => Err(places.finding(error.range().start, &[], format!("no JSON: {}", error.kind()))),
    }
}

/// What `serde_json` complains about, without the place that it repeats in its words.
fn syntax(error: &serde_json::Error, places: &Places<'_>) -> Finding {
    let at = places.at(error.line(), error.column());
    let what = error.to_string();
    let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
    places.finding(at, &[], format!("no JSON: {what}"))
}

fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn node(value: &ast::Value<'_>) -> Node {
    let at = value.range().start;
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NumberLit(literal) => Value::Number(literal.value.to_owned()),
        ast::Value::StringLit(literal) => Value::Text(literal.value.to_string()),
        ast::Value::Array(list) => Value::List(list.elements.iter().map(node).collect()),
        ast::Value::Object(object) => Value::Table(
            object
                .properties
                .iter()
                .map(|property| Member {
                    at: property.range.start,
                    name: property.name.as_str().to_owned(),
                    node: node(&property.value),
                })
                .collect(),
        ),
    };
    Node { at, value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree as JSON.
    fn json(text: &str) -> Result<serde_json::Value, Finding> {
        let places = Places::new(text);
        Ok(parse(text, &places)?.json(&places, &mut Vec::new(), &mut Vec::new()))
    }

    #[test]
    fn values_know_where_they_stand() {
        let text = "{\"a\": [1,\n true], \"b\" : \"x\\u00e4\"}";
        let places = Places::new(text);
        let node = parse(text, &places).expect("JSON");
        let b = node.member("b").expect("there");
        assert_eq!((places.line(b.at), &text[b.at..b.at + 3]), (2, "\"b\""));
        assert_eq!(b.node.value, Value::Text("xä".to_owned()));
        assert!(text[b.node.at..].starts_with("\"x"));
    }

    #[test]
    fn what_only_looks_like_json_is_refused_where_it_stops_to_be_json() {
        for (text, place) in [
            ("{\"a\": 1,}", "1:9"),
            ("{\n  a: 1}", "2:3"),
            ("{} // no", "1:4"),
            ("{\"a\": 01}", "1:8"),
            ("{\"a\": +1}", "1:7"),
            ("{\"a\" 1}", "1:6"),
            ("", "1:1"),
            ("{\"a\": 'x'}", "1:7"),
        ] {
            let error = json(text).expect_err(text).to_string();
            assert!(error.starts_with(place) && error.contains("no JSON: "), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(json(&deep).expect_err("deep").what.contains("recursion limit"));
    }

    /// Texts that are nearly JSON.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"a\""),
            Just("\"\\ud83d\\ude00\""),
            Just("-1.5e3"),
            Just("7"),
            Just("null"),
            Just("true"),
            Just(" "),
            Just("\n"),
            Just("\u{a0}"),
            Just("\"\\ud800\""),
            Just("//x\n"),
            Just("'"),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_tree_says_what_serde_json_says(text in prop_oneof![pieces(), any::<String>()]) {
            let strict = serde_json::from_str::<serde_json::Value>(&text);
            match json(&text) {
                Ok(value) => prop_assert_eq!(value, strict.expect("strict JSON")),
                Err(_) => prop_assert!(strict.is_err(), "{}", text),
            }
        }
    }
}
