//! The file of a chat's servers, `nodes.conf`: one cluster, its servers, and what clusters share.
//!
//! **Shape**, in JSON or, where the file's name ends in `.toml`, in TOML of the same names:
//!
//! ```json
//! {
//!   "groupTag": "east",
//!   "secret": "open sesame",
//!   "discoveryPort": 8888,
//!   "nodes": [
//!     {"id": 1, "host": "127.0.0.1", "internalPort": 4101, "clientPort": 4201},
//!     {"id": 2, "host": "127.0.0.1", "internalPort": 4102, "clientPort": 4202},
//!     {"id": 3, "host": "127.0.0.1", "internalPort": 4103, "clientPort": 4203}
//!   ],
//!   "clusters": {"west": ["127.0.0.1:4204"]},
//!   "ask": ["127.0.0.1:8889"]
//! }
//! ```
//!
//! `secret`, `discoveryPort` (8888), `clusters` (client addresses of other clusters' servers) and `ask` (their discovery ports) may be left out. Names are taken without regard to case, `-` and `_`; some
//! have another one beside (`nodeId`, `address`, `group`, `servers`). `groupTag`, `secret` and `discoveryPort` may also stand in each node, where all have to say the same, and then the
//! whole may be the list of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, json};

use super::finding::{Finding, Places};
use super::tree::{Member, Node, Value};
use super::{AgentId, Format, json, toml};

/// One cluster of the chat, as a file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// What the cluster is called.
    pub group_tag: String,
    /// What it shares with its clients and other clusters; without one it knows no others, and nobody finds it.
    pub secret: Option<String>,
    /// Where the leader answers those who look for a server (UDP).
    pub discovery_port: u16,
    /// The servers.
    pub nodes: Vec<ChatNode>,
    /// Other clusters: where their servers await clients, `host:port`.
    pub clusters: BTreeMap<String, Vec<String>>,
    /// Discovery ports of other clusters, `host:port`.
    pub ask: Vec<String>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatNode {
    /// Its id, as it is written.
    pub id: String,
    /// Its address, or a name for it.
    pub host: String,
    /// Where the other servers connect.
    pub internal_port: u16,
    /// Where clients, and servers of other clusters, connect.
    pub client_port: u16,
}

/// Reads and checks a file of nodes. Either it is right as a whole, or all its mistakes come back, in the order of the text.
pub fn read_nodes(text: &str, format: Format) -> Result<Nodes, Vec<Finding>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::new(text);
    let mut root = match format {
        Format::Json => json::parse(text, &places).map_err(|finding| vec![finding])?,
        Format::Toml => toml::parse(text, &places)?,
    };
    let mut reader = Reader { places: &places, findings: Vec::new(), common: Common::default() };
    root.drop_repeated(&places, &mut Vec::new(), &mut reader.findings);
    let nodes = reader.nodes(&root);
    if reader.findings.is_empty() {
        return Ok(nodes);
    }
    reader.findings.sort();
    Err(reader.findings)
}

impl Nodes {
    /// What the agent of the server `id` is called.
    pub fn agent(id: &str) -> String {
        format!("chat-{id}")
    }

    /// The configuration that this file stands for, as JSON. `resolve` gives the address of a host.
    pub fn configuration<E>(
        &self,
        quirks: bool,
        mut resolve: impl FnMut(&str) -> Result<IpAddr, E>,
    ) -> Result<serde_json::Value, E> {
        let members: Vec<String> = self.nodes.iter().map(|node| Self::agent(&node.id)).collect();
        let mut place = |text: &String| -> Result<String, E> {
            // It was checked that there is one.
            let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
            let ip = resolve(bare(host))?;
            Ok(SocketAddr::new(ip, port.parse().unwrap_or_default()).to_string())
        };
        let ask: Vec<String> = self.ask.iter().map(&mut place).collect::<Result<_, E>>()?;
        let mut clusters = Map::new();
        for (tag, servers) in &self.clusters {
            let servers: Vec<String> = servers.iter().map(&mut place).collect::<Result<_, E>>()?;
            clusters.insert(tag.clone(), json!(servers));
        }
        let mut entries = Map::new();
        for node in &self.nodes {
            let ip = resolve(bare(&node.host))?;
            let at = |port| SocketAddr::new(ip, port).to_string();
            let mut attrs = json!({
                "log": {"members": members},
                "clients": at(node.client_port),
                "group_tag": self.group_tag,
                "quirks": quirks,
            });
            if let Some(secret) = &self.secret {
                attrs["secret"] = json!(secret);
                attrs["discovery"] = json!(at(self.discovery_port));
            }
            if !clusters.is_empty() {
                attrs["clusters"] = clusters.clone().into();
            }
            if !ask.is_empty() {
                attrs["ask"] = json!(ask);
            }
            let entry = json!({"type": "messenger", "box": at(node.internal_port), "attrs": attrs});
            entries.insert(Self::agent(&node.id), entry);
        }
        Ok(entries.into())
    }
}

/// An address of IPv6 stands in brackets where a port follows it.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What all nodes say alike, with where it was said first.
#[derive(Debug, Default)]
struct Common {
    group_tag: Option<(String, usize)>,
    secret: Option<(String, usize)>,
    discovery_port: Option<(u16, usize)>,
}

struct Reader<'a> {
    places: &'a Places<'a>,
    findings: Vec<Finding>,
    common: Common,
}

/// Names in the form in which they are compared; the first is the one that is documented.
const GROUP_TAG: [&str; 4] = ["grouptag", "group", "tag", "clustertag"];
const SECRET: [&str; 2] = ["secret", "secretkey"];
const DISCOVERY_PORT: [&str; 3] = ["discoveryport", "networkdiscoveryport", "udpport"];
const NODES: [&str; 2] = ["nodes", "servers"];
const CLUSTERS: [&str; 2] = ["clusters", "otherclusters"];
const ASK: [&str; 1] = ["ask"];
const ID: [&str; 2] = ["id", "nodeid"];
const HOST: [&str; 4] = ["host", "address", "nodeaddress", "ip"];
const INTERNAL_PORT: [&str; 3] = ["internalport", "nodeport", "serverport"];
const CLIENT_PORT: [&str; 2] = ["clientport", "publicport"];

impl Reader<'_> {
    fn complain(&mut self, at: usize, field: &[&str], what: impl Into<String>) {
        self.findings.push(self.places.finding(at, field, what));
    }

    fn nodes(&mut self, root: &Node) -> Nodes {
        let empty: &[Member] = &[];
        let members = match &root.value {
            Value::Table(members) => members,
            Value::List(_) => empty,
            _ => {
                let what = format!("expected an object with \"nodes\", found {}", root.sort());
                self.complain(root.at, &[], what);
                empty
            }
        };
        self.unknown(members, &[], &[&GROUP_TAG, &SECRET, &DISCOVERY_PORT, &NODES, &CLUSTERS, &ASK]);
        self.common(members, &[]);
        let list = match &root.value {
            Value::List(_) => Some(root),
            _ => find(members, &NODES).map(|member| &member.node),
        };
        let mut nodes = Vec::new();
        match list.map(|list| (list, &list.value)) {
            Some((list, Value::List(entries))) => {
                if entries.is_empty() {
                    self.complain(list.at, &["nodes"], "is empty; expected an object for each server");
                }
                for (number, entry) in entries.iter().enumerate() {
                    nodes.extend(self.node(number, entry));
                }
                self.unique(entries, &nodes);
            }
            Some((list, _)) => {
                let what = format!("expected a list of objects, one a server, found {}", list.sort());
                self.complain(list.at, &["nodes"], what);
            }
            None if matches!(root.value, Value::Table(_)) => {
                self.complain(
                    root.at,
                    &["nodes"],
                    "is missing; expected a list with an object for each server",
                );
            }
            None => {}
        }
        let clusters = find(members, &CLUSTERS).map(|member| self.clusters(member)).unwrap_or_default();
        let ask =
            find(members, &ASK).map(|member| self.addresses(&["ask"], &member.node)).unwrap_or_default();
        if self.common.group_tag.is_none() {
            let what = "is missing; expected what the cluster is called, as a string such as \"east\"";
            self.complain(root.at, &["groupTag"], what);
        }
        let needs_secret = !clusters.is_empty() || !ask.is_empty();
        if needs_secret && self.common.secret.is_none() {
            self.complain(root.at, &["secret"], "is missing; other clusters have to know one");
        }
        let Common { group_tag, secret, discovery_port } = std::mem::take(&mut self.common);
        Nodes {
            group_tag: group_tag.map(|(tag, _)| tag).unwrap_or_default(),
            secret: secret.map(|(secret, _)| secret),
            discovery_port: discovery_port.map_or(DISCOVERY_PORT_DEFAULT, |(port, _)| port),
            nodes,
            clusters,
            ask,
        }
    }

    /// What may stand above the nodes or in each of them.
    fn common(&mut self, members: &[Member], path: &[&str]) {
        if let Some(member) = find(members, &GROUP_TAG)
            && let Some(tag) = self.text(path, member)
        {
            let before = self.common.group_tag.clone();
            self.agree(path, member, before.as_ref(), &tag);
            self.common.group_tag = before.or(Some((tag, member.node.at)));
        }
        if let Some(member) = find(members, &SECRET)
            && let Some(secret) = self.text(path, member)
        {
            let before = self.common.secret.clone();
            self.agree(path, member, before.as_ref(), &secret);
            self.common.secret = before.or(Some((secret, member.node.at)));
        }
        if let Some(member) = find(members, &DISCOVERY_PORT)
            && let Some(port) = self.port(path, member)
        {
            let before = self.common.discovery_port;
            self.agree(path, member, before.as_ref(), &port);
            self.common.discovery_port = before.or(Some((port, member.node.at)));
        }
    }

    /// All have to say the same.
    fn agree<T: PartialEq>(&mut self, path: &[&str], member: &Member, before: Option<&(T, usize)>, now: &T) {
        if let Some((before, at)) = before
            && before != now
        {
            let line = self.places.line(*at);
            let what = format!("is another one than in line {line}; all servers of a cluster have the same");
            self.complain(member.node.at, &[path, &[&member.name]].concat(), what);
        }
    }

    fn node(&mut self, number: usize, entry: &Node) -> Option<ChatNode> {
        let number = number.to_string();
        let path = ["nodes", number.as_str()];
        let Some(members) = entry.members() else {
            let what = format!(
                "expected an object with id, host, internalPort and clientPort, found {}",
                entry.sort()
            );
            self.complain(entry.at, &path, what);
            return None;
        };
        let known: [&[&str]; 7] =
            [&ID, &HOST, &INTERNAL_PORT, &CLIENT_PORT, &GROUP_TAG, &SECRET, &DISCOVERY_PORT];
        self.unknown(members, &path, &known);
        self.common(members, &path);
        let id = self.needed(entry, members, &path, ("id", &ID)).and_then(|member| self.id(&path, member));
        let host = self.needed(entry, members, &path, ("host", &HOST));
        let host = host.and_then(|member| self.text(&path, member));
        let internal = self.needed(entry, members, &path, ("internalPort", &INTERNAL_PORT));
        let internal_port = internal.and_then(|member| self.port(&path, member));
        let client = self.needed(entry, members, &path, ("clientPort", &CLIENT_PORT));
        let client_port = client.and_then(|member| self.port(&path, member));
        Some(ChatNode { id: id?, host: host?, internal_port: internal_port?, client_port: client_port? })
    }

    fn needed<'m>(
        &mut self,
        entry: &Node,
        members: &'m [Member],
        path: &[&str],
        (name, names): (&str, &[&str]),
    ) -> Option<&'m Member> {
        let found = find(members, names);
        if found.is_none() {
            self.complain(entry.at, &[path, &[name]].concat(), "is missing");
        }
        found
    }

    /// No two servers are called the same, or listen at the same place.
    fn unique(&mut self, entries: &[Node], nodes: &[ChatNode]) {
        if nodes.len() != entries.len() {
            return;
        }
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for (number, (entry, node)) in entries.iter().zip(nodes).enumerate() {
            let number = number.to_string();
            if !ids.insert(&node.id) {
                let what = format!("{:?} is another server's as well", node.id);
                self.complain(entry.at, &["nodes", &number, "id"], what);
            }
            for (name, port) in [("internalPort", node.internal_port), ("clientPort", node.client_port)] {
                if !places.insert((&node.host, port)) {
                    let what = format!("somebody else listens at {}:{port} already", node.host);
                    self.complain(entry.at, &["nodes", &number, name], what);
                }
            }
        }
    }

    fn clusters(&mut self, member: &Member) -> BTreeMap<String, Vec<String>> {
        let mut clusters = BTreeMap::new();
        let Some(members) = member.node.members() else {
            let found = member.node.sort();
            let what =
                format!("expected an object such as {{\"west\": [\"host:port\", ...]}}, found {found}");
            self.complain(member.node.at, &["clusters"], what);
            return clusters;
        };
        for cluster in members {
            let addresses = self.addresses(&["clusters", &cluster.name], &cluster.node);
            clusters.insert(cluster.name.clone(), addresses);
        }
        clusters
    }

    fn addresses(&mut self, path: &[&str], node: &Node) -> Vec<String> {
        let Value::List(entries) = &node.value else {
            let what = format!("expected a list such as [\"host:port\", ...], found {}", node.sort());
            self.complain(node.at, path, what);
            return Vec::new();
        };
        let mut addresses = Vec::new();
        for entry in entries {
            match &entry.value {
                Value::Text(text) if is_host_and_port(text) => addresses.push(text.clone()),
                _ => self.complain(entry.at, path, "expected a text such as \"127.0.0.1:4201\""),
            }
        }
        addresses
    }

    fn id(&mut self, path: &[&str], member: &Member) -> Option<String> {
        let word = member.node.word().filter(|word| Nodes::agent(word).parse::<AgentId>().is_ok());
        if word.is_none_or(str::is_empty) {
            let what = "expected a number or a short name, of letters, digits and \"-_.\"";
            self.complain(member.node.at, &[path, &[&member.name]].concat(), what);
        }
        word.map(str::to_owned)
    }

    fn text(&mut self, path: &[&str], member: &Member) -> Option<String> {
        match &member.node.value {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                let what = format!("expected a text that is not empty, found {}", member.node.sort());
                self.complain(member.node.at, &[path, &[&member.name]].concat(), what);
                None
            }
        }
    }

    fn port(&mut self, path: &[&str], member: &Member) -> Option<u16> {
        let found = member.node.word().unwrap_or(member.node.sort());
        let port = member.node.word().and_then(|word| word.parse().ok()).filter(|port| *port != 0);
        if port.is_none() {
            let what = format!("expected a port, a whole number from 1 to 65535, found {found}");
            self.complain(member.node.at, &[path, &[&member.name]].concat(), what);
        }
        port
    }

    fn unknown(&mut self, members: &[Member], path: &[&str], known: &[&[&str]]) {
        let mut seen = BTreeSet::new();
        for member in members {
            let field = [path, &[member.name.as_str()]].concat();
            match known.iter().find(|names| names.contains(&plain(&member.name).as_str())) {
                None => {
                    let names: Vec<&str> = known.iter().map(|names| names[0]).collect();
                    let what = format!("unknown name; known are {} (case does not matter)", names.join(", "));
                    self.complain(member.at, &field, what);
                }
                Some(names) if !seen.insert(names[0]) => {
                    let what = format!("says what another name for {:?} has said before", names[0]);
                    self.complain(member.at, &field, what);
                }
                Some(_) => {}
            }
        }
    }
}

fn find<'m>(members: &'m [Member], names: &[&str]) -> Option<&'m Member> {
    members.iter().find(|member| names.contains(&plain(&member.name).as_str()))
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| !"-_".contains(*letter)).flat_map(char::to_lowercase).collect()
}

fn is_host_and_port(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    text.rsplit_once(':').is_some_and(|(host, number)| !host.is_empty() && port(number))
}

/// Where the class's programs look for a server.
const DISCOVERY_PORT_DEFAULT: u16 = 8888;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::agent::Registry;
    use crate::config::read;

    const EAST: &str = r#"{
        "groupTag": "east", "secret": "sesame",
        "nodes": [
            {"id": 1, "host": "127.0.0.1", "internalPort": 4101, "clientPort": 4201},
            {"id": "two", "host": "localhost", "internalPort": 4102, "clientPort": 4202}
        ],
        "clusters": {"west": ["localhost:4204"]}, "ask": ["[::1]:8889"]
    }"#;

    fn mistakes(text: &str) -> Vec<String> {
        let findings = read_nodes(text, Format::Json).expect_err("wrong");
        findings.iter().map(ToString::to_string).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "where names are looked up that can fail")]
    fn resolve(host: &str) -> Result<IpAddr, Infallible> {
        Ok(if host == "localhost" { IpAddr::from([127, 0, 0, 1]) } else { host.parse().expect("an address") })
    }

    #[test]
    fn a_file_stands_for_a_configuration_that_is_right() {
        let nodes = read_nodes(EAST, Format::Json).expect("right");
        assert_eq!((nodes.discovery_port, nodes.nodes.len()), (8888, 2));
        let Ok(json) = nodes.configuration(true, resolve);
        assert_eq!(json["chat-two"]["box"], "127.0.0.1:4102");
        assert_eq!(json["chat-two"]["attrs"]["clusters"], json!({"west": ["127.0.0.1:4204"]}));
        assert_eq!(json["chat-1"]["attrs"]["ask"], json!(["[::1]:8889"]));
        assert_eq!(json["chat-1"]["attrs"]["discovery"], "127.0.0.1:8888");
        let configuration = read(&json.to_string(), Format::Json, &Registry::builtin()).expect("right");
        assert_eq!(configuration.agents.len(), 2);
        assert_eq!(configuration.shared_logs().len(), 1);
    }

    #[test]
    fn toml_and_other_spellings_mean_the_same() {
        let toml = r#"
            group_tag = "east"
            Secret = "sesame"
            ask = ["[::1]:8889"]
            [[servers]]
            nodeId = 1
            address = "127.0.0.1"
            internal_port = 4101
            client-port = 4201
            [[servers]]
            node_id = "two"
            ip = "localhost"
            nodePort = 4102
            publicPort = "4202"
            [clusters]
            west = ["localhost:4204"]
        "#;
        assert_eq!(read_nodes(toml, Format::Toml), read_nodes(EAST, Format::Json));
    }

    #[test]
    fn what_all_share_may_stand_in_each_node() {
        let list = r#"[
            {"id": 1, "host": "a", "internalPort": 1, "clientPort": 2, "groupTag": "g", "secret": "s"},
            {"id": 2, "host": "b", "internalPort": 1, "clientPort": 2, "groupTag": "g", "secret": "t"}
        ]"#;
        assert_eq!(
            mistakes(list),
            ["3:99: nodes.1.secret: is another one than in line 2; all servers of a cluster have the same"]
        );
        let nodes = read_nodes(&list.replace("\"t\"", "\"s\""), Format::Json).expect("right");
        assert_eq!((nodes.group_tag.as_str(), nodes.secret.as_deref()), ("g", Some("s")));
    }

    #[test]
    fn all_mistakes_are_told_with_their_places() {
        let text = r#"{
            "nodes": [
                {"id": 1, "host": "a", "internalPort": 70000},
                {"id": 1, "host": "", "internalPort": 1, "clientPort": 2, "colour": "red"},
                7
            ],
            "clusters": {"west": ["nowhere"]}
        }"#;
        let found = mistakes(text);
        let expected = [
            "1:1: groupTag: is missing",
            "1:1: secret: is missing; other clusters have to know one",
            "3:17: nodes.0.clientPort: is missing",
            "3:56: nodes.0.internalPort: expected a port, a whole number from 1 to 65535, found 70000",
            "4:35: nodes.1.host: expected a text that is not empty, found a string",
            "4:75: nodes.1.colour: unknown name; known are id, host,",
            "5:17: nodes.2: expected an object with id, host, internalPort and clientPort, found a number",
            "7:35: clusters.west: expected a text such as \"127.0.0.1:4201\"",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} instead of {expected}");
        }
        assert!(
            mistakes("{\"nodes\": []}")
                .contains(&"1:11: nodes: is empty; expected an object for each server".to_owned())
        );
        let twice = EAST.replace("4202", "4102").replace("\"two\"", "1");
        assert!(mistakes(&twice).iter().any(|what| what.contains("nodes.1.id: \"1\" is another server's")));
        assert!(mistakes(&twice).iter().any(|what| what.contains("somebody else listens at localhost:4102")));
        assert!(mistakes("{").iter().any(|what| what.contains("no JSON")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in prop_oneof![any::<String>(), "[\\[\\]{}:,\"a1 ]{0,40}"]) {
            let _ = read_nodes(&text, Format::Json);
            let _ = read_nodes(&text, Format::Toml);
        }
    }
}
