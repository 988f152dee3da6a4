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
//!   "ask": ["127.0.0.1:8889"],
//!   "tls": {"certificate": "tls/certificate.pem", "key": "tls/key.pem", "authority": "tls/authority.pem"}
//! }
//! ```
//!
//! `secret`, `clusterSecret` (what other clusters have to know, if clients are not to know it), `discoveryPort` (8888; with `tls` and without `ask` none), `clusters` (client addresses of other clusters' servers), `ask` (their discovery ports) and `tls` may be left out. Names are taken without regard to case, `-` and `_`; some
//! have another one beside (`nodeId`, `address`, `group`, `servers`). `groupTag`, `secret` and `discoveryPort` may also stand in each node, where all have to say the same, and then the
//! whole may be the list of nodes.
//!
//! `tls` names the files with which everything is encrypted: links between the servers, the ports of clients, connections to other clusters. A text in its place is the folder in which they lie, called as `ovid cert`
//! calls them. A node may have its own in place of what stands above; but all have to have one, or none.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, json};

use self::reader::Reader;
use super::finding::{Finding, Places};
use super::{BOX_TYPE, Format, TlsSettings, json, toml};

/// One cluster of the chat, as a file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// What the cluster is called.
    pub group_tag: String,
    /// What it shares with its clients and other clusters; without one it knows no others, and nobody finds it.
    pub secret: Option<String>,
    /// What it shares with other clusters alone, if its clients are not to know that.
    pub cluster_secret: Option<String>,
    /// Where the leader answers those who look for a server (UDP), if it does. Datagrams are not encrypted and hold the secret, so where everything else is encrypted that has to be wanted.
    pub discovery_port: Option<u16>,
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
    /// What it shows to others, and whom it believes; nothing is encrypted without it.
    pub tls: Option<TlsSettings>,
}

/// Reads and checks a file of nodes. Either it is right as a whole, or all its mistakes come back, in the order of the text.
pub fn read_nodes(text: &str, format: Format) -> Result<Nodes, Vec<Finding>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::new(text);
    let mut root = match format {
        Format::Json => json::parse(text, &places).map_err(|finding| vec![finding])?,
        Format::Toml => toml::parse(text, &places)?,
    };
    let mut reader = Reader::new(&places);
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

    /// The configuration that this file stands for, as JSON. `quirks`: frames are for the client of the class of 2017. `plain`: that nothing is encrypted is meant so. `resolve` gives the address of a
    /// host.
    pub fn configuration<E>(
        &self,
        quirks: bool,
        plain: bool,
        mut resolve: impl FnMut(&str) -> Result<IpAddr, E>,
    ) -> Result<serde_json::Value, E> {
        let members: Vec<String> = self.nodes.iter().map(|node| Self::agent(&node.id)).collect();
        let mut names = BTreeMap::<IpAddr, BTreeSet<String>>::new();
        let mut called = |host: &str| -> Result<IpAddr, E> {
            let ip = resolve(bare(host))?;
            if bare(host).parse::<IpAddr>().is_err() {
                names.entry(ip).or_default().insert(host.to_owned());
            }
            Ok(ip)
        };
        let mut place = |text: &String| -> Result<String, E> {
            // It was checked that there is one.
            let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
            let ip = called(host)?;
            Ok(SocketAddr::new(ip, port.parse().unwrap_or_default()).to_string())
        };
        let ask: Vec<String> = self.ask.iter().map(&mut place).collect::<Result<_, E>>()?;
        let mut clusters = Map::new();
        for (tag, servers) in &self.clusters {
            let servers: Vec<String> = servers.iter().map(&mut place).collect::<Result<_, E>>()?;
            clusters.insert(tag.clone(), json!(servers));
        }
        let (mut entries, mut boxes) = (Map::new(), Vec::new());
        for node in &self.nodes {
            let ip = called(&node.host)?;
            let at = |port| SocketAddr::new(ip, port).to_string();
            let mut attrs = json!({
                "log": {"members": members},
                "clients": at(node.client_port),
                "group_tag": self.group_tag,
                "quirks": quirks,
                "tls": node.tls.is_some(),
            });
            if let Some(secret) = &self.secret {
                attrs["secret"] = json!(secret);
            }
            if let Some(secret) = &self.cluster_secret {
                attrs["cluster_secret"] = json!(secret);
            }
            if let (true, Some(port)) =
                (self.secret.is_some() || self.cluster_secret.is_some(), self.discovery_port)
            {
                attrs["discovery"] = json!(at(port));
            }
            if !clusters.is_empty() {
                attrs["clusters"] = clusters.clone().into();
            }
            if !ask.is_empty() {
                attrs["ask"] = json!(ask);
            }
            // A client that was told the address would look for that in the certificate.
            if node.tls.is_some() && bare(&node.host).parse::<IpAddr>().is_err() {
                attrs["advertise"] = json!(format!("{}:{}", node.host, node.client_port));
            }
            let entry = json!({"type": "messenger", "box": at(node.internal_port), "attrs": attrs});
            entries.insert(Self::agent(&node.id), entry);
            boxes.push((node, at(node.internal_port)));
        }
        for (node, on) in boxes {
            let settings = match &node.tls {
                Some(tls) => json!({"tls": TlsSettings { names: names.clone(), ..tls.clone() }.to_json()}),
                None => json!({"plain": plain}),
            };
            let entry = json!({"type": BOX_TYPE, "box": on, "attrs": settings});
            entries.insert(format!("box-{}", node.id), entry);
        }
        Ok(entries.into())
    }
}

/// An address of IPv6 stands in brackets where a port follows it.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

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
        assert_eq!((nodes.discovery_port, nodes.nodes.len()), (Some(8888), 2));
        let Ok(json) = nodes.configuration(true, false, resolve);
        assert_eq!(json["chat-two"]["box"], "127.0.0.1:4102");
        assert_eq!(json["chat-two"]["attrs"]["clusters"], json!({"west": ["127.0.0.1:4204"]}));
        assert_eq!(json["chat-1"]["attrs"]["ask"], json!(["[::1]:8889"]));
        assert_eq!(json["chat-1"]["attrs"]["discovery"], "127.0.0.1:8888");
        let apart = EAST.replace("\"secret\": ", "\"clusterSecret\": \"hush\", \"secret\": ");
        let Ok(apart) = read_nodes(&apart, Format::Json).expect("right").configuration(true, false, resolve);
        let attrs = &apart["chat-1"]["attrs"];
        assert_eq!((&attrs["secret"], &attrs["cluster_secret"]), (&json!("sesame"), &json!("hush")));
        let configuration = read(&json.to_string(), Format::Json, &Registry::builtin()).expect("right");
        assert_eq!(configuration.agents.len(), 2);
        assert_eq!(configuration.shared_logs().len(), 1);
        let settings = configuration.settings_of("127.0.0.1:4102".parse().expect("an address"));
        assert_eq!((settings.tls, settings.plain), (None, false));
    }

    #[test]
    fn what_is_to_be_encrypted_is_encrypted_everywhere() {
        let files = r#"{"certificate": "c.pem", "Private-Key": "k.pem", "CA": "a.pem"}"#;
        let of_all = EAST.replacen('{', &format!("{{\"tls\": {files},"), 1);
        let own = of_all.replace("4202}", "4202, \"tls\": \"/etc/chat/\"}");
        for (text, second) in [(&of_all, "c.pem"), (&own, "/etc/chat/certificate.pem")] {
            let nodes = read_nodes(text, Format::Json).expect("right");
            let Ok(json) = nodes.configuration(false, false, resolve);
            let configuration = read(&json.to_string(), Format::Json, &Registry::builtin()).expect("right");
            for (on, certificate) in [("127.0.0.1:4101", "c.pem"), ("127.0.0.1:4102", second)] {
                let settings = configuration.settings_of(on.parse().expect("an address"));
                let tls = settings.tls.expect("it is encrypted");
                assert_eq!((tls.certificate.as_str(), tls.links), (certificate, true));
                // Whoever is called by a name may show a certificate for it, and clients are told it.
                let names = BTreeSet::from(["localhost".to_owned()]);
                assert_eq!(tls.names, BTreeMap::from([(IpAddr::from([127, 0, 0, 1]), names)]));
            }
            assert_eq!(json["chat-two"]["attrs"]["advertise"], "localhost:4202");
            assert!(["chat-1", "chat-two"].iter().all(|agent| json[agent]["attrs"]["tls"] == true));
        }
        // The secret is told in datagrams to those only who want that, by asking others or by naming the port.
        let silent = of_all.replace("\"ask\": [\"[::1]:8889\"]", "\"Ask\": []");
        let named = silent.replacen('{', "{\"discoveryPort\": 8889,", 1);
        for (text, port) in [(of_all, Some(8888)), (silent, None), (named, Some(8889))] {
            let nodes = read_nodes(&text, Format::Json).expect("right");
            assert_eq!(nodes.discovery_port, port);
            let Ok(json) = nodes.configuration(false, false, resolve);
            let discovery = port.map(|port| format!("127.0.0.1:{port}"));
            assert_eq!(json["chat-1"]["attrs"]["discovery"].as_str(), discovery.as_deref());
        }
        let toml = "groupTag = \"east\"\n[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\nauthority = \"a.pem\"\n\
            [[nodes]]\nid = 1\nhost = \"a\"\ninternalPort = 1\nclientPort = 2";
        let tls =
            read_nodes(toml, Format::Toml).expect("right").nodes.remove(0).tls.expect("it is encrypted");
        assert_eq!((&*tls.certificate, &*tls.key, &*tls.authority), ("c.pem", "k.pem", "a.pem"));
    }

    #[test]
    fn mistakes_about_encryption_are_told() {
        let with = |tls: &str| mistakes(&EAST.replacen('{', &format!("{{\"tls\": {tls},"), 1));
        let expected = "tls: expected the folder of certificate.pem, key.pem and authority.pem, or {\"certificate\": ..., \"key\": ..., \"authority\": ...}, found";
        for (tls, found) in [("true", "true or false"), ("\"\"", "a string"), ("7", "a number")] {
            assert_eq!(with(tls), [format!("1:9: {expected} {found}")]);
        }
        assert_eq!(
            with(r#"{"certificate": "", "authority": "a", "links": true}"#),
            [
                "1:9: tls.key: is missing; expected the name of a file in PEM form",
                "1:25: tls.certificate: expected a text that is not empty, found a string",
                "1:47: tls.links: unknown name; known are certificate, key, authority (case does not matter)"
            ]
        );
        let one = EAST.replace("4201}", "4201, \"tls\": \"here\"}");
        let what =
            "5:13: nodes.1.tls: is missing; other servers have one, and all of a cluster encrypt, or none";
        assert_eq!(mistakes(&one), [what]);
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
