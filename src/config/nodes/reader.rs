//! Reads a file of nodes: what stands where, under which names, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::AgentId;
use super::super::finding::{Finding, Places};
use super::super::tree::{Member, Node, Value};
use super::{ChatNode, Nodes, TlsSettings};

/// What all nodes say alike, with where it was said first.
#[derive(Debug, Default)]
struct Common {
    group_tag: Option<(String, usize)>,
    secret: Option<(String, usize)>,
    discovery_port: Option<(u16, usize)>,
    /// Of those who do not say otherwise.
    tls: Option<TlsSettings>,
}

/// Reads the file, and gathers all mistakes on the way.
pub(super) struct Reader<'a> {
    places: &'a Places<'a>,
    pub(super) findings: Vec<Finding>,
    common: Common,
}

/// Names in the form in which they are compared; the first is the one that is documented.
const GROUP_TAG: [&str; 4] = ["grouptag", "group", "tag", "clustertag"];
const SECRET: [&str; 2] = ["secret", "secretkey"];
const CLUSTER_SECRET: [&str; 1] = ["clustersecret"];
const DISCOVERY_PORT: [&str; 3] = ["discoveryport", "networkdiscoveryport", "udpport"];
const NODES: [&str; 2] = ["nodes", "servers"];
const CLUSTERS: [&str; 2] = ["clusters", "otherclusters"];
const ASK: [&str; 1] = ["ask"];
const ID: [&str; 2] = ["id", "nodeid"];
const HOST: [&str; 4] = ["host", "address", "nodeaddress", "ip"];
const INTERNAL_PORT: [&str; 3] = ["internalport", "nodeport", "serverport"];
const CLIENT_PORT: [&str; 2] = ["clientport", "publicport"];
const TLS: [&str; 1] = ["tls"];
const CERTIFICATE: [&str; 3] = ["certificate", "cert", "certificatefile"];
const KEY: [&str; 3] = ["key", "privatekey", "keyfile"];
const AUTHORITY: [&str; 3] = ["authority", "ca", "cafile"];

impl<'a> Reader<'a> {
    pub(super) fn new(places: &'a Places<'a>) -> Self {
        Self { places, findings: Vec::new(), common: Common::default() }
    }

    fn complain(&mut self, at: usize, field: &[&str], what: impl Into<String>) {
        self.findings.push(self.places.finding(at, field, what));
    }

    /// What the file says; of no use if there are mistakes.
    pub(super) fn nodes(&mut self, root: &Node) -> Nodes {
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
        let known: [&[&str]; 8] =
            [&GROUP_TAG, &SECRET, &CLUSTER_SECRET, &DISCOVERY_PORT, &NODES, &CLUSTERS, &ASK, &TLS];
        self.unknown(members, &[], &known);
        self.common(members, &[]);
        self.common.tls = find(members, &TLS).and_then(|member| self.tls(&[], member));
        let list = match &root.value {
            Value::List(_) => Some(root),
            _ => find(members, &NODES).map(|member| &member.node),
        };
        let nodes = self.servers(root, list);
        let clusters = find(members, &CLUSTERS).map(|member| self.clusters(member)).unwrap_or_default();
        let ask =
            find(members, &ASK).map(|member| self.addresses(&["ask"], &member.node)).unwrap_or_default();
        if self.common.group_tag.is_none() {
            let what = "is missing; expected what the cluster is called, as a string such as \"east\"";
            self.complain(root.at, &["groupTag"], what);
        }
        let cluster_secret = find(members, &CLUSTER_SECRET).and_then(|member| self.text(&[], member));
        let needs_secret = !clusters.is_empty() || !ask.is_empty();
        if needs_secret && self.common.secret.is_none() && cluster_secret.is_none() {
            self.complain(root.at, &["secret"], "is missing; other clusters have to know one");
        }
        let Common { group_tag, secret, discovery_port, .. } = std::mem::take(&mut self.common);
        Nodes {
            group_tag: group_tag.map(|(tag, _)| tag).unwrap_or_default(),
            secret: secret.map(|(secret, _)| secret),
            cluster_secret,
            discovery_port: match discovery_port {
                Some((port, _)) => Some(port),
                None if ask.is_empty() && nodes.iter().any(|node| node.tls.is_some()) => None,
                None => Some(DISCOVERY_PORT_DEFAULT),
            },
            nodes,
            clusters,
            ask,
        }
    }

    /// The servers of the list `list` of the file `root`.
    fn servers(&mut self, root: &Node, list: Option<&Node>) -> Vec<ChatNode> {
        let mut nodes = Vec::new();
        match list.map(|list| (list, &list.value)) {
            Some((list, Value::List(entries))) => {
                if entries.is_empty() {
                    self.complain(list.at, &["nodes"], "is empty; expected an object for each server");
                }
                for (number, entry) in entries.iter().enumerate() {
                    nodes.extend(self.node(number, entry));
                }
                if nodes.len() == entries.len() {
                    self.unique(entries, &nodes);
                    self.encrypted_alike(entries, &nodes);
                }
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
        nodes
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
        let known: [&[&str]; 8] =
            [&ID, &HOST, &INTERNAL_PORT, &CLIENT_PORT, &GROUP_TAG, &SECRET, &DISCOVERY_PORT, &TLS];
        self.unknown(members, &path, &known);
        self.common(members, &path);
        let id = self.needed(entry, members, &path, ("id", &ID)).and_then(|member| self.id(&path, member));
        let host = self.needed(entry, members, &path, ("host", &HOST));
        let host = host.and_then(|member| self.text(&path, member));
        let internal = self.needed(entry, members, &path, ("internalPort", &INTERNAL_PORT));
        let internal_port = internal.and_then(|member| self.port(&path, member));
        let client = self.needed(entry, members, &path, ("clientPort", &CLIENT_PORT));
        let client_port = client.and_then(|member| self.port(&path, member));
        let tls = match find(members, &TLS) {
            Some(member) => self.tls(&path, member),
            None => self.common.tls.clone(),
        };
        Some(ChatNode { id: id?, host: host?, internal_port: internal_port?, client_port: client_port?, tls })
    }

    /// The files for encrypted connections, or the folder in which they lie.
    fn tls(&mut self, path: &[&str], member: &Member) -> Option<TlsSettings> {
        let path = [path, &[&member.name]].concat();
        let links = true;
        match &member.node.value {
            Value::Text(folder) if !folder.is_empty() => {
                let file = |name: &str| format!("{}/{name}", folder.strip_suffix('/').unwrap_or(folder));
                let (certificate, key) = (file("certificate.pem"), file("key.pem"));
                Some(TlsSettings {
                    certificate,
                    key,
                    authority: file("authority.pem"),
                    links,
                    names: BTreeMap::new(),
                })
            }
            Value::Table(members) => {
                self.unknown(members, &path, &[&CERTIFICATE, &KEY, &AUTHORITY]);
                let mut file = |name: &str, names: &[&str]| {
                    let found = find(members, names);
                    if found.is_none() {
                        let what = "is missing; expected the name of a file in PEM form";
                        self.complain(member.node.at, &[&path[..], &[name]].concat(), what);
                    }
                    found.and_then(|member| self.text(&path, member))
                };
                let certificate = file("certificate", &CERTIFICATE);
                let (key, authority) = (file("key", &KEY), file("authority", &AUTHORITY));
                Some(TlsSettings {
                    certificate: certificate?,
                    key: key?,
                    authority: authority?,
                    links,
                    names: BTreeMap::new(),
                })
            }
            _ => {
                let what = format!(
                    "expected the folder of certificate.pem, key.pem and authority.pem, or \
                     {{\"certificate\": ..., \"key\": ..., \"authority\": ...}}, found {}",
                    member.node.sort()
                );
                self.complain(member.node.at, &path, what);
                None
            }
        }
    }

    /// Servers that do not encrypt could not reach those that do.
    fn encrypted_alike(&mut self, entries: &[Node], nodes: &[ChatNode]) {
        // What is wrong about it was told, and may be what is missing here.
        if !self.findings.is_empty() || nodes.iter().all(|node| node.tls.is_none()) {
            return;
        }
        for (number, (entry, _)) in
            entries.iter().zip(nodes).enumerate().filter(|(_, (_, node))| node.tls.is_none())
        {
            let what = "is missing; other servers have one, and all of a cluster encrypt, or none";
            self.complain(entry.at, &["nodes", &number.to_string(), "tls"], what);
        }
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
