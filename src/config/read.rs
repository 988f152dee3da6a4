//! From a text to a configuration, or to all its mistakes.

use std::collections::BTreeMap;

use super::finding::{Finding, Places};
use super::tree::{Member, Node, Value};
use super::{
    AgentId, BOX_TYPE, BoxSettings, Configuration, Entry, LOG_ATTR, LogChoice, RouteTargets, control, json,
    log, settings, toml,
};
use crate::agent::{Attrs, LogKeeper, Mistake, Port, Registry, Setup};
use crate::grid::BoxAddress;

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Strict JSON.
    Json,
    /// TOML of the same shape.
    Toml,
}

impl Format {
    /// The format of a file: TOML where its name ends in `.toml`, else JSON.
    pub fn of_file_name(name: &str) -> Self {
        let toml = name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("toml"));
        if toml { Self::Toml } else { Self::Json }
    }
}

/// Reads and checks a configuration whose agents are of the types that `registry` knows. Either it is right as a whole, or all its
/// mistakes come back, in the order of the text.
pub fn read(text: &str, format: Format, registry: &Registry) -> Result<Configuration, Vec<Finding>> {
    // Some editors begin every text with a mark that nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::new(text);
    let mut root = match format {
        Format::Json => json::parse(text, &places).map_err(|finding| vec![finding])?,
        Format::Toml => toml::parse(text, &places)?,
    };
    let mut reader = Reader::new(&places, registry);
    root.drop_repeated(&places, &mut Vec::new(), &mut reader.findings);
    reader.entries(&root);
    reader.control_ports();
    log::connect(&mut reader, &root);
    if reader.findings.is_empty() {
        return Ok(reader.configuration);
    }
    reader.findings.sort();
    Err(reader.findings)
}

/// What an entry is made of.
const FIELDS: [&str; 4] = ["type", "box", "attrs", "routes"];

/// A reading that is under way.
pub(super) struct Reader<'a> {
    places: &'a Places<'a>,
    registry: &'a Registry,
    findings: Vec<Finding>,
    pub(super) configuration: Configuration,
    /// Where something is said about the control port of a box, or else where the box is named first.
    boxes: BTreeMap<BoxAddress, (usize, Vec<String>)>,
}

impl<'a> Reader<'a> {
    fn new(places: &'a Places<'a>, registry: &'a Registry) -> Self {
        let (findings, configuration, boxes) = (Vec::new(), Configuration::default(), BTreeMap::new());
        Self { places, registry, findings, configuration, boxes }
    }

    /// Notes a mistake.
    pub(super) fn complain(&mut self, at: usize, field: &[&str], what: impl Into<String>) {
        self.findings.push(self.places.finding(at, field, what));
    }

    /// How many mistakes were found so far.
    pub(super) fn found(&self) -> usize {
        self.findings.len()
    }

    fn entries(&mut self, root: &Node) {
        let Some(members) = root.members() else {
            let what = format!("expected an object with an entry for each agent, found {}", root.sort());
            return self.complain(root.at, &[], what);
        };
        let is_box = |member: &Member| {
            member.node.member("type").is_some_and(|kind| kind.node.value == Value::Text(BOX_TYPE.to_owned()))
        };
        let agents: BTreeMap<&str, bool> =
            members.iter().map(|member| (member.name.as_str(), !is_box(member))).collect();
        let mut settings_of = BTreeMap::new();
        for member in members {
            if let Err(error) = member.name.parse::<AgentId>() {
                self.complain(member.at, &[&member.name], error.to_string());
            }
            if member.node.members().is_none() {
                let what = format!("expected an object with a type and a box, found {}", member.node.sort());
                self.complain(member.node.at, &[&member.name], what);
            } else if is_box(member) {
                self.settings(member, &mut settings_of);
            } else {
                self.agent(member, &agents);
            }
        }
    }

    /// An entry that holds the settings of a box.
    fn settings(&mut self, member: &Member, settings_of: &mut BTreeMap<BoxAddress, String>) {
        let id = member.name.as_str();
        self.unknown_names(member.node.members().unwrap_or_default(), &[id], &FIELDS);
        if let Some(routes) = member.node.member("routes") {
            self.complain(routes.at, &[id, "routes"], "the settings of a box have no routes");
        }
        let Some(on) = self.address(member) else { return };
        let defaults = BoxSettings::default_of(on);
        let settings = match self.table(member, "attrs") {
            Some(Some(attrs)) => settings::read(self, id, attrs, defaults),
            _ => defaults,
        };
        if let Some(before) = settings_of.get(&on) {
            let what = format!("{on} has its settings in {before:?} already; bring the two together");
            return self.complain(member.at, &[id], what);
        }
        if let Some(control) = member.node.member("attrs").and_then(|attrs| attrs.node.member("control")) {
            let field = [id, "attrs", "control"].map(str::to_owned).to_vec();
            self.boxes.insert(on, (control.node.at, field));
        }
        settings_of.insert(on, id.to_owned());
        self.configuration.settings.insert(on, settings);
    }

    /// An entry that holds an agent.
    fn agent(&mut self, member: &Member, agents: &BTreeMap<&str, bool>) {
        let id = member.name.as_str();
        self.unknown_names(member.node.members().unwrap_or_default(), &[id], &FIELDS);
        let kind = self.kind(member);
        let on = self.address(member);
        let attrs = self.attrs(member);
        let routes = self.routes(member, agents);
        let (Some(kind), Some(attrs), Some(routes)) = (kind, attrs, routes) else { return };
        let log = LogChoice::of(&attrs);
        // Where the log itself is a mistake, nothing follows from it.
        let keeper = log.as_ref().map_or(LogKeeper::Members, LogChoice::keeper);
        let log = log.unwrap_or_else(|mistake| {
            self.mistake(member, &mistake, true);
            LogChoice::None
        });
        self.make(member, kind, &attrs, &routes, keeper);
        if let (Ok(id), Some(on)) = (id.parse(), on) {
            self.configuration.agents.insert(id, Entry { kind: kind.to_owned(), on, attrs, log, routes });
        }
    }

    /// The type of an agent.
    fn kind<'m>(&mut self, member: &'m Member) -> Option<&'m str> {
        let field = [member.name.as_str(), "type"];
        let Some(kind) = member.node.member("type") else {
            self.complain(member.at, &field, format!("is missing; {}", self.types()));
            return None;
        };
        let Value::Text(name) = &kind.node.value else {
            let what = format!("expected a string, found {}; {}", kind.node.sort(), self.types());
            self.complain(kind.node.at, &field, what);
            return None;
        };
        if self.registry.knows(name) {
            return Some(name);
        }
        let near = self.near(name, self.registry.names().chain([BOX_TYPE]));
        self.complain(kind.node.at, &field, format!("unknown type {name:?}{near}; {}", self.types()));
        None
    }

    /// The types that are known, in words.
    fn types(&self) -> String {
        let names: Vec<&str> = self.registry.names().collect();
        format!("types of agents are {}, and {BOX_TYPE:?} for the settings of a box", names.join(", "))
    }

    /// On which box an entry belongs.
    fn address(&mut self, member: &Member) -> Option<BoxAddress> {
        let field = [member.name.as_str(), "box"];
        let Some(on) = member.node.member("box") else {
            self.complain(
                member.at,
                &field,
                "is missing; name the box on which this is, such as \"127.0.0.1:4000\"",
            );
            return None;
        };
        let Value::Text(text) = &on.node.value else {
            let what = format!("expected a string such as \"127.0.0.1:4000\", found {}", on.node.sort());
            self.complain(on.node.at, &field, what);
            return None;
        };
        match text.parse() {
            Ok(address) => {
                let field = field.map(str::to_owned).to_vec();
                self.boxes.entry(address).or_insert((on.node.at, field));
                Some(address)
            }
            Err(error) => {
                self.complain(on.node.at, &field, error.to_string());
                None
            }
        }
    }

    /// The table `name` of an entry: `None` if something else stands there, `Some(None)` if nothing does.
    #[expect(clippy::option_option, reason = "not there is as good as empty; wrong is neither")]
    fn table<'m>(&mut self, member: &'m Member, name: &str) -> Option<Option<&'m Node>> {
        let Some(table) = member.node.member(name) else { return Some(None) };
        if table.node.members().is_none() {
            let what = format!("expected an object, found {}", table.node.sort());
            self.complain(table.node.at, &[&member.name, name], what);
            return None;
        }
        Some(Some(&table.node))
    }

    fn attrs(&mut self, member: &Member) -> Option<Attrs> {
        let Some(table) = self.table(member, "attrs")? else { return Some(Attrs::default()) };
        let mut field = vec![member.name.clone(), "attrs".to_owned()];
        let before = self.findings.len();
        let value = table.json(self.places, &mut field, &mut self.findings);
        match value {
            serde_json::Value::Object(map) if self.findings.len() == before => Some(Attrs(map)),
            _ => None,
        }
    }

    fn routes(
        &mut self,
        member: &Member,
        agents: &BTreeMap<&str, bool>,
    ) -> Option<BTreeMap<String, RouteTargets>> {
        let mut routes = BTreeMap::new();
        let Some(table) = self.table(member, "routes")? else { return Some(routes) };
        for route in table.members().unwrap_or_default() {
            let field = [member.name.as_str(), "routes", route.name.as_str()];
            if route.name.parse::<AgentId>().is_err() {
                self.complain(
                    route.at,
                    &field,
                    "the name of a route has 1 to 64 letters, digits or \"-_.@/\"",
                );
            }
            routes.insert(route.name.clone(), self.targets(route, &field, agents));
        }
        Some(routes)
    }

    /// The agents that one route leads to.
    fn targets(&mut self, route: &Member, field: &[&str; 3], agents: &BTreeMap<&str, bool>) -> RouteTargets {
        let mut targets = RouteTargets::default();
        let Some(members) = route.node.members() else {
            let what =
                format!("expected an object such as {{\"<agent>\": <port>}}, found {}", route.node.sort());
            self.complain(route.node.at, field, what);
            return targets;
        };
        if members.is_empty() {
            self.complain(
                route.node.at,
                field,
                "leads to nobody; name an agent and its port, or take the route away",
            );
        }
        for target in members {
            let name = target.name.as_str();
            let field = [field[0], field[1], field[2], name];
            match agents.get(name) {
                Some(true) => {}
                Some(false) => {
                    self.complain(
                        target.at,
                        &field,
                        format!("{name:?} holds the settings of a box and is no agent"),
                    );
                }
                None => {
                    let near =
                        self.near(name, agents.iter().filter(|(_, agent)| **agent).map(|(name, _)| *name));
                    self.complain(target.at, &field, format!("there is no agent {name:?}{near}"));
                }
            }
            let port = target.node.word().filter(|_| matches!(target.node.value, Value::Number(_)));
            match (name.parse(), port.and_then(|port| port.parse().ok())) {
                (Ok(_), Some(port)) if Port(port) == Port::LOG => {
                    let what = format!("port {port} is for the members of replicated logs; choose another");
                    self.complain(target.node.at, &field, what);
                }
                (Ok(id), Some(port)) => {
                    targets.0.insert(id, Port(port));
                }
                (_, None) => {
                    let found = port.unwrap_or(target.node.sort());
                    let what = format!("expected a port, a whole number from 0 to 65535, found {found}");
                    self.complain(target.node.at, &field, what);
                }
                // There is no such agent either, or the entry's id has been complained about.
                (Err(_), Some(_)) => {}
            }
        }
        targets
    }

    /// Makes the agent once, to see whether it can be made.
    fn make(
        &mut self,
        member: &Member,
        kind: &str,
        attrs: &Attrs,
        routes: &BTreeMap<String, RouteTargets>,
        keeper: LogKeeper,
    ) {
        let mut own = attrs.clone();
        own.0.remove(LOG_ATTR);
        let names: Vec<String> = routes.keys().cloned().collect();
        let mut setup = Setup::new(&member.name, &own, &names, 0).with_log(keeper);
        match self.registry.make(kind, &mut setup) {
            Some(Err(mistake)) => self.mistake(member, &mistake, true),
            Some(Ok(_)) => {
                for mistake in setup.unused() {
                    self.mistake(member, &mistake, false);
                }
            }
            None => {}
        }
    }

    /// Notes a mistake at the value that it is about, or at its name, or at the nearest thing around it that is there.
    pub(super) fn mistake(&mut self, member: &Member, mistake: &Mistake, value: bool) {
        let (mut at, mut node) = (member.at, &member.node);
        for part in &mistake.field {
            let Some(inner) = node.member(part) else { break };
            at = if value { inner.node.at } else { inner.at };
            node = &inner.node;
        }
        let field: Vec<&str> =
            std::iter::once(member.name.as_str()).chain(mistake.field.iter().map(String::as_str)).collect();
        self.complain(at, &field, mistake.what.clone());
    }

    /// Complains about members whose names are not among `known`.
    pub(super) fn unknown_names(&mut self, members: &[Member], field: &[&str], known: &[&str]) {
        for member in members.iter().filter(|member| !known.contains(&member.name.as_str())) {
            let near = self.near(&member.name, known.iter().copied());
            let field: Vec<&str> = field.iter().copied().chain([member.name.as_str()]).collect();
            self.complain(member.at, &field, format!("unknown field{near}; known are {}", known.join(", ")));
        }
    }

    /// As [`Reader::near`], among the names of all entries.
    pub(super) fn near_agent(&self, name: &str, root: &Node) -> String {
        self.near(name, root.members().unwrap_or_default().iter().map(|member| member.name.as_str()))
    }

    /// ` (do you mean "..."?)` with the name that is nearest to `name`, or nothing if none is near.
    fn near<'n>(&self, name: &str, known: impl Iterator<Item = &'n str>) -> String {
        if self.findings.len() >= NEAR_NAMES_MAX {
            return String::new();
        }
        let wanted = name.to_lowercase();
        let distance = |known: &str| strsim::damerau_levenshtein(&wanted, &known.to_lowercase());
        // Longer words are costly to compare and are no slip of the finger.
        let candidates = known.filter(|known| known.len().max(name.len()) <= 64);
        let nearest = candidates.map(|known| (distance(known), known)).min();
        match nearest {
            Some((distance, known)) if distance <= known.chars().count() / 3 => {
                format!(" (do you mean {known:?}?)")
            }
            _ => String::new(),
        }
    }

    /// No two boxes can listen at one place.
    fn control_ports(&mut self) {
        for (on, what) in control::clashes(&self.configuration, self.boxes.keys().copied()) {
            let (at, field) = self.boxes.get(&on).cloned().unwrap_or_default();
            let field: Vec<&str> = field.iter().map(String::as_str).collect();
            self.complain(at, &field, what);
        }
    }
}

/// How many mistakes are looked at for a near name: each is compared with all names, and whoever has made more has others to mend
/// first.
const NEAR_NAMES_MAX: usize = 200;
