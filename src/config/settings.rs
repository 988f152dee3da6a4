//! The settings of a box, from the attributes of its entry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::read::Reader;
use super::tree::{Member, Node, Value};
use super::{BoxSettings, TlsSettings};
use crate::rng::Probability;

/// The longest delay: more is surely a slip.
const DELAY_MS_MAX: u64 = 3_600_000;

const NAMES: [&str; 8] = ["control", "data", "loss", "duplicate", "delay_ms", "seed", "tls", "plain"];
const TLS_NAMES: [&str; 5] = ["certificate", "key", "authority", "links", "names"];

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
        if member.name == "tls" {
            settings.tls = tls(reader, id, &member.node);
            continue;
        }
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
        "data" => settings.data = text(node, "folder")?,
        "loss" => settings.loss = probability(node)?,
        "duplicate" => settings.duplicate = probability(node)?,
        "delay_ms" => settings.delay = Duration::from_millis(whole(node, DELAY_MS_MAX)?),
        "seed" => settings.seed = Some(whole(node, u64::MAX)?),
        "plain" => settings.plain = choice(node)?,
        // Complained about by its name.
        _ => {}
    }
    Ok(())
}

/// Reads what is said about encryption; nothing where that is wrong.
fn tls(reader: &mut Reader<'_>, id: &str, node: &Node) -> Option<TlsSettings> {
    let path = [id, "attrs", "tls"];
    let Some(members) = node.members() else {
        let what = format!(
            "expected {{\"certificate\": ..., \"key\": ..., \"authority\": ..., \"links\": true}}, found {}",
            node.sort()
        );
        reader.complain(node.at, &path, what);
        return None;
    };
    reader.unknown_names(members, &path, &TLS_NAMES);
    let mut file = |name: &str| {
        let Some(member) = node.member(name) else {
            reader.complain(node.at, &[id, "attrs", "tls", name], "is missing; expected the name of a file");
            return None;
        };
        match text(&member.node, "file") {
            Ok(path) => Some(path),
            Err(what) => {
                reader.complain(member.node.at, &[id, "attrs", "tls", name], what);
                None
            }
        }
    };
    let (certificate, key, authority) = (file("certificate"), file("key"), file("authority"));
    let links = match node.member("links").map(|member| (member.node.at, choice(&member.node))) {
        None => false,
        Some((_, Ok(links))) => links,
        Some((at, Err(what))) => {
            reader.complain(at, &[id, "attrs", "tls", "links"], what);
            return None;
        }
    };
    let names = node.member("names").map(|member| names(reader, id, &member.node)).unwrap_or_default();
    Some(TlsSettings { certificate: certificate?, key: key?, authority: authority?, links, names })
}

/// Reads what certificates may name in place of addresses.
fn names(reader: &mut Reader<'_>, id: &str, node: &Node) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let mut names = BTreeMap::new();
    let path = [id, "attrs", "tls", "names"];
    let Some(members) = node.members() else {
        let what = format!("expected {{\"10.0.0.1\": \"chat.example.org\", ...}}, found {}", node.sort());
        reader.complain(node.at, &path, what);
        return names;
    };
    for member in members {
        let field = [&path[..], &[&member.name]].concat();
        let Ok(ip) = member.name.parse::<IpAddr>() else {
            let what = "expected an address such as \"10.0.0.1\" as the name of this field";
            reader.complain(member.at, &field, what);
            continue;
        };
        let listed = match &member.node.value {
            Value::List(entries) => entries.iter().collect(),
            _ => vec![&member.node],
        };
        let text = |node: &&Node| match &node.value {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        match listed.iter().map(text).collect::<Option<BTreeSet<String>>>() {
            Some(read) => names.entry(ip.to_canonical()).or_insert_with(BTreeSet::new).extend(read),
            None => reader.complain(member.node.at, &field, "expected a name, or a list of names"),
        }
    }
    names
}

fn choice(node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        _ => Err(format!("expected true or false, found {}", node.sort())),
    }
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

fn text(node: &Node, what: &str) -> Result<String, String> {
    match &node.value {
        Value::Text(text) if !text.is_empty() && !text.contains('\0') => Ok(text.clone()),
        Value::Text(_) => Err(format!("expected the name of a {what}; this is none")),
        _ => Err(format!("expected the name of a {what} as a string, found {}", node.sort())),
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
