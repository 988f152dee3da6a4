//! Which log an agent has: what its attribute `log` says, and what has to hold among the members of one log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::read::Reader;
use super::tree::{Member, Node};
use super::{AgentId, Configuration, Entry, LOG_ATTR, RouteTargets};
use crate::agent::{Attrs, LogKeeper, Mistake, Port};
use crate::agents::raft::{Options, Reads};
use crate::agents::replicated::{LOG_ROUTE, MemberId};

/// The log that takes what an agent proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// None: nothing can be proposed.
    None,
    /// It lasts as long as the process.
    Memory,
    /// A folder of the agent's box.
    Local,
    /// One that several agents agree on.
    Replicated(SharedLog),
}

/// A log that several agents agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLog {
    /// The agents that can belong to it.
    pub members: BTreeSet<AgentId>,
    /// Those that have a vote when the log begins; later the log itself says who has.
    pub voters: BTreeSet<AgentId>,
    /// How it is kept.
    pub options: Options,
}

impl LogChoice {
    /// What the attributes of an agent choose.
    pub fn of(attrs: &Attrs) -> Result<Self, Mistake> {
        match attrs.0.get(LOG_ATTR) {
            None => Ok(Self::None),
            Some(Value::String(text)) if text == "memory" => Ok(Self::Memory),
            Some(Value::String(text)) if text == "local" => Ok(Self::Local),
            Some(Value::Object(log)) => shared(log).map(Self::Replicated),
            Some(other) => {
                let what = format!(
                    "expected \"local\", \"memory\" or {{\"members\": [\"<agent>\", ...]}}, found {other}"
                );
                Err(Mistake::in_attr(LOG_ATTR, what))
            }
        }
    }

    /// What keeps the log.
    pub fn keeper(&self) -> LogKeeper {
        match self {
            Self::None => LogKeeper::Nothing,
            Self::Memory => LogKeeper::Memory,
            Self::Local => LogKeeper::Disk,
            Self::Replicated(_) => LogKeeper::Members,
        }
    }
}

impl Entry {
    /// Whether an agent of this entry can go on under the entry `new`, as far as its type, its box and its attributes are concerned. Who else
    /// can belong to its log makes no difference: that is a matter of routes.
    pub fn can_become(&self, new: &Self) -> bool {
        (self.on, &self.kind) == (new.on, &new.kind) && plain(&self.attrs) == plain(&new.attrs)
    }

    /// Whether the entry has a log that several agents agree on.
    pub fn is_replicated(&self) -> bool {
        matches!(self.log, LogChoice::Replicated(_))
    }
}

/// The attributes without those that only say who can belong to a log.
fn plain(attrs: &Attrs) -> Attrs {
    let mut attrs = attrs.clone();
    if let Some(Value::Object(log)) = attrs.0.get_mut(LOG_ATTR) {
        log.remove("members");
        log.remove("voters");
    }
    attrs
}

const NAMES: [&str; 7] =
    ["members", "voters", "election_ms", "heartbeat_ms", "reads", "compact_bytes", "keep_after_ms"];

/// Reads the attribute where it is an object.
fn shared(log: &Map<String, Value>) -> Result<SharedLog, Mistake> {
    if let Some(name) = log.keys().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(in_log(name, format!("unknown field; known are {}", NAMES.join(", "))));
    }
    let members = ids(log, "members")?.ok_or_else(|| in_log("members", "is needed and missing"))?;
    let voters = ids(log, "voters")?.unwrap_or_else(|| members.clone());
    if let Some(stray) = voters.difference(&members).next() {
        return Err(in_log("voters", format!("{stray} has a vote and is none of the members")));
    }
    let numbers: BTreeMap<MemberId, &AgentId> =
        members.iter().map(|id| (MemberId::of(id.as_str()), id)).collect();
    if let Some(id) = members.iter().find(|id| numbers.get(&MemberId::of(id.as_str())) != Some(id)) {
        let other = numbers[&MemberId::of(id.as_str())];
        let what = format!("{id} and {other} would have one number; give one of them another id");
        return Err(in_log("members", what));
    }
    let usual = Options::default();
    let options = Options {
        election: ms(log, "election_ms")?.unwrap_or(usual.election),
        heartbeat: ms(log, "heartbeat_ms")?.unwrap_or(usual.heartbeat),
        reads: reads(log)?,
        compact_bytes: bytes(log, "compact_bytes")?.unwrap_or(usual.compact_bytes),
        keep_after: ms(log, "keep_after_ms")?.unwrap_or(usual.keep_after),
        ..usual
    };
    options.check().map_err(|error| Mistake::in_attr(LOG_ATTR, error.to_string()))?;
    Ok(SharedLog { members, voters, options })
}

fn in_log(name: &str, what: impl Into<String>) -> Mistake {
    let mut mistake = Mistake::in_attr(LOG_ATTR, what);
    mistake.field.push(name.to_owned());
    mistake
}

fn ids(log: &Map<String, Value>, name: &str) -> Result<Option<BTreeSet<AgentId>>, Mistake> {
    let Some(value) = log.get(name) else { return Ok(None) };
    let wrong = || in_log(name, format!("expected a list of the ids of agents, found {value}"));
    let list = value.as_array().ok_or_else(wrong)?;
    if list.is_empty() {
        return Err(in_log(name, "names nobody; name the agents that belong to the log"));
    }
    let mut ids = BTreeSet::new();
    for id in list {
        let id: AgentId = id.as_str().ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        if let Some(twice) = ids.replace(id) {
            return Err(in_log(name, format!("names {twice} twice")));
        }
    }
    Ok(Some(ids))
}

fn ms(log: &Map<String, Value>, name: &str) -> Result<Option<Duration>, Mistake> {
    let Some(value) = log.get(name) else { return Ok(None) };
    match value.as_u64() {
        Some(ms @ 1..=MS_MAX) => Ok(Some(Duration::from_millis(ms))),
        _ => Err(in_log(name, format!("expected whole milliseconds from 1 to {MS_MAX}, found {value}"))),
    }
}

fn bytes(log: &Map<String, Value>, name: &str) -> Result<Option<u64>, Mistake> {
    let Some(value) = log.get(name) else { return Ok(None) };
    match value.as_u64() {
        Some(bytes @ 1..) => Ok(Some(bytes)),
        _ => Err(in_log(name, format!("expected a whole number of bytes, at least 1, found {value}"))),
    }
}

/// More is surely a slip.
const MS_MAX: u64 = 600_000;

fn reads(log: &Map<String, Value>) -> Result<Reads, Mistake> {
    match log.get("reads").map(|reads| reads.as_str()) {
        None | Some(Some("index")) => Ok(Reads::Index),
        Some(Some("lease")) => Ok(Reads::Lease),
        Some(_) => Err(in_log("reads", format!("expected \"index\" or \"lease\", found {}", log["reads"]))),
    }
}

/// Checks each log that several agents agree on, once all entries are read, and gives its members the routes to each other.
pub(super) fn connect(reader: &mut Reader<'_>, root: &Node) {
    let logs: Vec<(AgentId, SharedLog)> = reader.configuration.agents.iter().filter_map(shared_by).collect();
    for (id, log) in &logs {
        let Some(member) = root.member(id.as_str()) else { continue };
        let before = reader.found();
        check(reader, root, member, id, log);
        if reader.found() > before {
            continue;
        }
        if let Some(entry) = reader.configuration.agents.get_mut(id) {
            let others = log.members.iter().filter(|other| *other != id);
            let targets = others.map(|other| (other.clone(), Port::LOG)).collect();
            entry.routes.insert(LOG_ROUTE.to_owned(), RouteTargets(targets));
        }
    }
}

fn shared_by((id, entry): (&AgentId, &Entry)) -> Option<(AgentId, SharedLog)> {
    match &entry.log {
        LogChoice::Replicated(log) => Some((id.clone(), log.clone())),
        _ => None,
    }
}

/// Checks what one member says of its log.
fn check(reader: &mut Reader<'_>, root: &Node, member: &Member, id: &AgentId, log: &SharedLog) {
    let complain = |reader: &mut Reader<'_>, what: String| {
        reader.mistake(member, &in_log("members", what), true);
    };
    if let Some(route) = member.node.member("routes").and_then(|routes| routes.node.member(LOG_ROUTE)) {
        let what = "is made of the members of the replicated log; take it away";
        reader.complain(route.at, &[id.as_str(), "routes", LOG_ROUTE], what);
    }
    if !log.members.contains(id) {
        complain(reader, format!("an agent belongs to its own log, and {id} is not among these"));
    }
    for other in log.members.iter().filter(|other| *other != id) {
        let Some(entry) = reader.configuration.agents.get(other) else {
            // An agent with mistakes of its own is there all the same.
            if root.member(other.as_str()).is_none() {
                let near = reader.near_agent(other.as_str(), root);
                complain(reader, format!("there is no agent \"{other}\"{near}"));
            }
            continue;
        };
        let kind = reader.configuration.agents.get(id).map_or("", |entry| &entry.kind);
        let wrong = match &entry.log {
            _ if entry.kind != kind => Some(format!(
                "{other} is of type {:?}, and all members of a log are of one type, here {kind:?}",
                entry.kind
            )),
            LogChoice::Replicated(theirs) if theirs == log => None,
            _ => Some(format!("{other} has another \"log\": all members of a log have the same")),
        };
        if let Some(wrong) = wrong {
            complain(reader, wrong);
        }
    }
}

impl Configuration {
    /// The logs that several agents agree on, each by its members.
    pub fn shared_logs(&self) -> BTreeSet<BTreeSet<AgentId>> {
        self.agents.iter().filter_map(shared_by).map(|(_, log)| log.members).collect()
    }
}
