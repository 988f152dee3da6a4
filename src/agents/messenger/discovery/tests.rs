use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::clusters::SharedSecret;
use super::*;
use crate::agent::{NoMessage, Output};

fn settings() -> ClusterSettings {
    ClusterSettings {
        group_tag: "east".to_owned(),
        secret: Some(SharedSecret::new("sesame")),
        between: Some(SharedSecret::new("sesame")),
        discovery: Some(at("127.0.0.1:8888")),
        clusters: BTreeMap::new(),
        ask: vec![at("10.0.0.9:8888")],
        own: "10.0.0.1:4001".to_owned(),
        tls: false,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn servers() -> Vec<ServerLoad> {
    let load = |(number, sessions)| ServerLoad { client: format!("10.0.0.{number}:400{number}"), sessions };
    [(1, 5), (2, 1), (3, 9)].map(load).to_vec()
}

fn question(sender: Sender) -> NetworkDiscoveryPacket {
    NetworkDiscoveryPacket {
        mode: Mode::Request.into(),
        sender: sender.into(),
        group_tag: Some("west".to_owned()),
        node_address: "10.9.9.9".to_owned(),
        node_port: 5001,
        secret: "sesame".to_owned(),
        ..NetworkDiscoveryPacket::default()
    }
}

/// A discovery whose port is open.
struct Open {
    discovery: Discovery,
    out: Outbox<NoMessage>,
}

impl Open {
    fn new() -> Self {
        let mut open = Self { discovery: Discovery::new(settings()), out: Outbox::default() };
        open.discovery.leads(Time::ZERO, true, &mut open.out);
        assert!(matches!(open.sent()[..], [Outward::Listen { port: DISCOVERY_PORT, .. }]));
        open.told(Time::ZERO, &Inward::Listening { port: DISCOVERY_PORT, at: at("127.0.0.1:8888") });
        open
    }

    fn told(&mut self, now: Time, inward: &Inward<'_>) -> Option<Heard> {
        self.discovery.outside(now, inward, &servers(), &mut self.out)
    }

    fn sent(&mut self) -> Vec<Outward> {
        let outward = |output| match output {
            Output::Outside(outward) => outward,
            other => panic!("{other:?}"),
        };
        self.out.drain().map(outward).collect()
    }

    fn asked(
        &mut self,
        now: Time,
        packet: NetworkDiscoveryPacket,
    ) -> (Option<Heard>, Vec<(SocketAddr, Route)>) {
        let bytes = datagram_of(77, packet);
        let from = at("10.1.1.1:50000");
        let heard = self.told(now, &Inward::Datagram { port: DISCOVERY_PORT, from, bytes: &bytes });
        let answer = |outward| match outward {
            Outward::Datagram { port: DISCOVERY_PORT, to, bytes } => {
                (to, Route::decode(bytes).expect("a Route"))
            }
            other => panic!("{other:?}"),
        };
        (heard, self.sent().into_iter().map(answer).collect())
    }
}

fn named(route: &Route) -> String {
    match &route.payload {
        Some(Payload::NetworkDiscoveryPacket(packet)) => {
            assert_eq!(packet.mode(), Mode::Response);
            assert_eq!(packet.group_tag(), "east");
            format!("{}:{}", packet.node_address, packet.node_port)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_users_know_does_not_make_them_a_cluster() {
    let mut open = Open::new();
    let between = Some(SharedSecret::new("hush"));
    open.discovery = Discovery::new(ClusterSettings { between, ..settings() });
    open.discovery.leads(Time::ZERO, true, &mut open.out);
    open.told(Time::ZERO, &Inward::Listening { port: DISCOVERY_PORT, at: at("127.0.0.1:8888") });
    open.sent();
    let answers = |open: &mut Open, sender, secret: &str| {
        let packet = NetworkDiscoveryPacket { secret: secret.to_owned(), ..question(sender) };
        let (heard, answers) = open.asked(Time::ZERO, packet);
        let secrets = answers.into_iter().map(|(_, route)| match route.payload {
            Some(Payload::NetworkDiscoveryPacket(packet)) => packet.secret,
            other => panic!("{other:?}"),
        });
        (heard.is_some(), secrets.last())
    };
    let client = Sender::EndUserClient;
    assert_eq!(answers(&mut open, client, "sesame"), (false, Some("sesame".to_owned())));
    assert_eq!(answers(&mut open, client, "hush"), (false, None));
    let cluster = Sender::ExternalServerNode;
    assert_eq!(answers(&mut open, cluster, "sesame"), (false, None));
    assert_eq!(answers(&mut open, cluster, "hush"), (true, Some("hush".to_owned())));
}

#[test]
fn clients_are_sent_to_one_server_after_the_other() {
    let mut open = Open::new();
    let mut given = Vec::new();
    for _ in 0..6 {
        let (heard, answers) = open.asked(Time::ZERO, question(Sender::EndUserClient));
        assert_eq!(heard, None, "a client is no cluster");
        // As the class's programs await it, and where the question came from.
        let to: Vec<SocketAddr> = answers.iter().map(|(to, _)| *to).collect();
        assert_eq!(to, [at("10.9.9.9:8888"), at("10.1.1.1:50000")]);
        assert_eq!(answers[0].1, answers[1].1);
        assert_eq!(answers[0].1.id, 77);
        given.push(named(&answers[0].1));
    }
    assert_eq!(given[..3], given[3..]);
    given.sort_unstable();
    given.dedup();
    assert_eq!(given, ["10.0.0.1:4001", "10.0.0.2:4002", "10.0.0.3:4003"]);
}

#[test]
fn a_client_that_asks_for_it_gets_the_least_loaded_server() {
    let mut open = Open::new();
    for _ in 0..3 {
        let packet = NetworkDiscoveryPacket { least_loaded: Some(true), ..question(Sender::EndUserClient) };
        let (_, answers) = open.asked(Time::ZERO, packet);
        assert_eq!(named(&answers[0].1), "10.0.0.2:4002");
    }
}

#[test]
fn the_answer_goes_once_where_both_addresses_are_the_same() {
    let mut open = Open::new();
    let bytes = datagram_of(1, question(Sender::EndUserClient));
    let from = at("10.9.9.9:8888");
    open.told(Time::ZERO, &Inward::Datagram { port: DISCOVERY_PORT, from, bytes: &bytes });
    assert_eq!(open.sent().len(), 1);
    // What is no address leads nowhere else, and neither does nobody's.
    for name in ["client.example", "0.0.0.0", "224.0.0.1", ""] {
        let packet =
            NetworkDiscoveryPacket { node_address: name.to_owned(), ..question(Sender::EndUserClient) };
        let (_, answers) = open.asked(Time::ZERO, packet);
        assert_eq!(answers.len(), 1, "{name}");
    }
}

#[test]
fn another_cluster_is_remembered_and_told_where_our_clients_are_awaited() {
    let mut open = Open::new();
    let (heard, answers) = open.asked(Time::ZERO, question(Sender::ExternalServerNode));
    let server = at("10.9.9.9:5001");
    assert_eq!(heard, Some(Heard::Here { tag: "west".to_owned(), server }));
    assert_eq!(named(&answers[0].1), "10.0.0.1:4001");
    let gone =
        NetworkDiscoveryPacket { mode: Mode::RemoveNode.into(), ..question(Sender::ExternalServerNode) };
    let (heard, answers) = open.asked(Time::ZERO, gone);
    assert_eq!((heard, answers.len()), (Some(Heard::Gone { tag: "west".to_owned(), server }), 0));
    let ours =
        NetworkDiscoveryPacket { group_tag: Some("east".to_owned()), ..question(Sender::ExternalServerNode) };
    let (heard, answers) = open.asked(Time::ZERO, ours);
    assert_eq!((heard, answers.len()), (None, 0), "what comes from ourselves is not answered");
}

#[test]
fn who_does_not_know_the_secret_gets_silence() {
    let mut open = Open::new();
    for sender in [Sender::EndUserClient, Sender::ExternalServerNode] {
        for mode in [Mode::Request, Mode::Response, Mode::RemoveNode] {
            let packet =
                NetworkDiscoveryPacket { mode: mode.into(), secret: "sesam".to_owned(), ..question(sender) };
            let (heard, answers) = open.asked(Time::ZERO, packet);
            assert_eq!((heard, answers.len()), (None, 0));
        }
    }
    assert!(open.discovery.counters().contains(&("discovery_strangers", 6)));
}

#[test]
fn a_source_gets_a_bounded_number_of_answers_a_second() {
    let mut open = Open::new();
    let mut answered = 0;
    for _ in 0..ANSWERS_PER_SOURCE_MAX + 50 {
        answered += u32::from(!open.asked(Time::ZERO, question(Sender::EndUserClient)).1.is_empty());
    }
    assert_eq!(answered, ANSWERS_PER_SOURCE_MAX);
    let (_, answers) = open.asked(Time::ZERO + WINDOW, question(Sender::EndUserClient));
    assert_eq!(answers.len(), 2, "the next second is another one");
}

#[test]
fn the_port_is_the_leaders_and_is_tried_again() {
    let mut open = Open::new();
    open.discovery.leads(Time::ZERO, false, &mut open.out);
    assert_eq!(open.sent(), [Outward::Shut { port: DISCOVERY_PORT }]);
    let (_, answers) = open.asked(Time::ZERO, question(Sender::EndUserClient));
    assert_eq!(answers.len(), 0, "a datagram that was on its way is not answered");

    open.discovery.leads(Time::ZERO, true, &mut open.out);
    open.sent();
    open.told(Time::ZERO, &Inward::NotListening { port: DISCOVERY_PORT, why: "in use" });
    let again = open.discovery.deadline().expect("a time");
    assert_eq!(again, Time::ZERO + OPEN_AGAIN);
    open.discovery.timeout(Time::ZERO, &mut open.out);
    assert_eq!(open.sent(), [], "too early");
    open.discovery.timeout(again, &mut open.out);
    assert!(matches!(open.sent()[..], [Outward::Listen { .. }]));
    // It loses the lead before the answer is there.
    open.discovery.leads(again, false, &mut open.out);
    assert_eq!(open.sent(), [Outward::Shut { port: DISCOVERY_PORT }]);
    open.told(again, &Inward::Listening { port: DISCOVERY_PORT, at: at("127.0.0.1:8888") });
    assert_eq!(open.sent(), [Outward::Shut { port: DISCOVERY_PORT }], "shut once more, which does no harm");
    assert_eq!(open.discovery.deadline(), None);
}

#[test]
fn other_clusters_are_asked_and_their_answers_remembered() {
    let mut open = Open::new();
    open.discovery.timeout(Time::ZERO, &mut open.out);
    let [Outward::Datagram { to, bytes, .. }] = &open.sent()[..] else { panic!("one question") };
    assert_eq!(*to, at("10.0.0.9:8888"));
    // The other side is of the same kind.
    let theirs =
        ClusterSettings { group_tag: "west".to_owned(), own: "10.0.0.9:6001".to_owned(), ..settings() };
    let mut other = Open { discovery: Discovery::new(theirs), out: Outbox::default() };
    other.discovery.leads(Time::ZERO, true, &mut other.out);
    other.sent();
    let heard =
        other.told(Time::ZERO, &Inward::Datagram { port: DISCOVERY_PORT, from: at("10.0.0.1:8888"), bytes });
    let server = at("10.0.0.1:4001");
    assert_eq!(heard, Some(Heard::Here { tag: "east".to_owned(), server }));
    let [Outward::Datagram { to, bytes, .. }] = &other.sent()[..] else { panic!("one answer") };
    assert_eq!(*to, server_port(server));
    let heard =
        open.told(Time::ZERO, &Inward::Datagram { port: DISCOVERY_PORT, from: at("10.0.0.9:8888"), bytes });
    assert_eq!(heard, Some(Heard::Here { tag: "west".to_owned(), server: at("10.0.0.9:6001") }));
    assert_eq!(open.sent(), [], "an answer is not answered");
}

fn server_port(server: SocketAddr) -> SocketAddr {
    SocketAddr::new(server.ip(), CLASS_PORT)
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic_and_without_an_answer(bytes: Vec<u8>) {
        let mut open = Open::new();
        let inward = Inward::Datagram { port: DISCOVERY_PORT, from: at("10.1.1.1:1"), bytes: &bytes };
        prop_assert_eq!(open.told(Time::ZERO, &inward), None);
        prop_assert_eq!(open.sent(), []);
    }
}
