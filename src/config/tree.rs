//! What JSON and TOML have in common: a tree of values, each with its place in the text.

use serde_json::{Map, Number};

use super::finding::{Finding, Places};

/// A value and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written in JSON: a probability is read from its decimals, not from a rounded number.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Member>),
    /// Something of TOML that JSON has no word for, with its name.
    Foreign(&'static str),
}

/// A name in a table, the byte at which the name begins, and what it stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) node: Node,
}

impl Node {
    /// What sort of value this is, for people.
    pub(super) fn sort(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "an object",
            Value::Foreign(name) => name,
        }
    }

    /// The members of a table.
    pub(super) fn members(&self) -> Option<&[Member]> {
        match &self.value {
            Value::Table(members) => Some(members),
            _ => None,
        }
    }

    /// The member `name` of a table.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members()?.iter().find(|member| member.name == name)
    }

    /// A number or a string as the text that was written: what some settings take either way.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.value {
            Value::Number(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON. What JSON has no word for goes to `findings`.
    pub(super) fn json(
        &self,
        places: &Places<'_>,
        field: &mut Vec<String>,
        findings: &mut Vec<Finding>,
    ) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(text) => number(text).map_or(serde_json::Value::Null, serde_json::Value::Number),
            Value::Text(text) => serde_json::Value::String(text.clone()),
            Value::List(nodes) => serde_json::Value::Array(
                nodes.iter().map(|node| node.json(places, field, findings)).collect(),
            ),
            Value::Table(members) => {
                let mut map = Map::new();
                for member in members {
                    field.push(member.name.clone());
                    map.insert(member.name.clone(), member.node.json(places, field, findings));
                    field.pop();
                }
                serde_json::Value::Object(map)
            }
            Value::Foreign(name) => {
                let field: Vec<&str> = field.iter().map(String::as_str).collect();
                findings.push(places.finding(
                    self.at,
                    &field,
                    format!("{name} is no value of JSON; write a string"),
                ));
                serde_json::Value::Null
            }
        }
    }

    /// Takes away every member whose name stands in its table a second time, and says so.
    pub(super) fn drop_repeated(
        &mut self,
        places: &Places<'_>,
        field: &mut Vec<String>,
        findings: &mut Vec<Finding>,
    ) {
        match &mut self.value {
            Value::Table(members) => {
                let mut first = std::collections::BTreeMap::new();
                members.retain_mut(|member| {
                    field.push(member.name.clone());
                    let before = *first.entry(member.name.clone()).or_insert(member.at);
                    if before == member.at {
                        member.node.drop_repeated(places, field, findings);
                    } else {
                        let path: Vec<&str> = field.iter().map(String::as_str).collect();
                        let what = format!(
                            "this name stands here a second time, first in line {}; take one of the two away",
                            places.line(before)
                        );
                        findings.push(places.finding(member.at, &path, what));
                    }
                    field.pop();
                    before == member.at
                });
            }
            Value::List(nodes) => {
                for node in nodes {
                    node.drop_repeated(places, field, findings);
                }
            }
            _ => {}
        }
    }
}

/// The number that `text`, a number of JSON, stands for: a whole one where it fits, else the nearest that a computer knows.
pub(super) fn number(text: &str) -> Option<Number> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    // Read by the standard library, since what is written has to be read back as the very same number.
    Number::from_f64(text.parse().ok()?)
}
