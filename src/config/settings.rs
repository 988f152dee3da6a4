//! The settings of a box, from the attributes of its entry.

use std::net::SocketAddr;
use std::time::Duration;

use super::BoxSettings;
use super::read::Reader;
use super::tree::{Member, Node, Value};
use crate::rng::Probability;

/// The longest delay: more is surely a slip.
const DELAY_MS_MAX: u64 = 3_600_000;

const NAMES: [&str; 6] = ["control", "data", "loss", "duplicate", "delay_ms", "seed"];

/// Reads `attrs`; what it does not say stays as it is in `settings`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    id: &str,
    attrs: &Node,
    mut settings: BoxSettings,
) -> BoxSettings {
    let members = attrs.members().unwrap_or_default();
    reader.unknown_names(members, &[id, "attrs"], &NAMES);
    for member in members {
        if let Err(what) = set(&mut settings, member) {
            reader.complain(member.node.at, &[id, "attrs", &member.name], what);
        }
    }
    settings
}

fn set(settings: &mut BoxSettings, member: &Member) -> Result<(), String> {
    let node = &member.node;
    match member.name.as_str() {
        "control" => settings.control = control(node)?,
        "data" => settings.data = folder(node)?,
        "loss" => settings.loss = probability(node)?,
        "duplicate" => settings.duplicate = probability(node)?,
        "delay_ms" => settings.delay = Duration::from_millis(whole(node, DELAY_MS_MAX)?),
        "seed" => settings.seed = Some(whole(node, u64::MAX)?),
        // Complained about by its name.
        _ => {}
    }
    Ok(())
}

fn control(node: &Node) -> Result<Option<SocketAddr>, String> {
    let expected = "expected an address and a port such as \"127.0.0.1:14000\", or false for none";
    match &node.value {
        Value::Bool(false) => Ok(None),
        Value::Text(text) => match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                Ok(Some(SocketAddr::new(address.ip().to_canonical(), address.port())))
            }
            Ok(_) => Err(format!("nobody can find port 0 in {text:?}; {expected}")),
            Err(_) => Err(format!("{expected}, not {text:?}")),
        },
        _ => Err(format!("{expected}, found {}", node.sort())),
    }
}

fn folder(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) if !text.is_empty() && !text.contains('\0') => Ok(text.clone()),
        Value::Text(_) => Err("expected the name of a folder; this is none".to_owned()),
        _ => Err(format!("expected the name of a folder as a string, found {}", node.sort())),
    }
}

fn probability(node: &Node) -> Result<Probability, String> {
    match node.word() {
        Some(text) => text.parse().map_err(|error| format!("{error}")),
        None => Err(format!("expected a probability between 0 and 1, found {}", node.sort())),
    }
}

fn whole(node: &Node, max: u64) -> Result<u64, String> {
    let found = node.word().unwrap_or(node.sort());
    let number = node.word().and_then(|text| text.parse().ok()).filter(|number| *number <= max);
    number.ok_or_else(|| format!("expected a whole number from 0 to {max}, found {found:?}"))
}
