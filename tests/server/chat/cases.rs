//! The cases by which the system of 2017 was tried, with real servers that an operator's file describes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;

use ovid::wire::proto::{ErrorCode, Route, user};
use serde_json::json;

use super::client::{Client, Heard, is_done, post, refusal, texts, user_route};
use super::nodes::{Nodes, socket_at};
use crate::grid::wait_until;

/// The line that a server logs when it becomes the leader.
const LEADS: &str = "log: became leader";

fn register(name: &str) -> Route {
    user_route(name, user::Action::Register, Vec::new())
}

fn access(name: &str) -> Route {
    user_route(name, user::Action::Access, Vec::new())
}

/// No election below a majority: two servers of five see each other, and nobody leads. A client is told that nobody knows, after twenty times the time after which servers begin an
/// election; who looks for a server finds none. With a third server there is a leader, and the same client is served.
#[test]
fn no_leader_is_elected_below_a_majority() {
    let mut nodes = Nodes::new("east", 5);
    nodes.start(0);
    nodes.start(1);
    let mut client = None;
    wait_until("the server awaits clients", || {
        client = Client::connect(&nodes.at(0));
        client.is_some()
    });
    let mut client = client.expect("just connected");
    let answer = client.ask(register("ann")).expect("the server lives");
    assert_eq!(refusal(&answer), Some(ErrorCode::Unknown));
    let socket = socket_at(Ipv4Addr::LOCALHOST, 0).expect("a port");
    assert_eq!(nodes.ask_for_server(&socket, "127.0.0.1"), None);
    for number in [0, 1] {
        let said = nodes.said(number);
        assert!(said.contains("link: up") && !said.contains(LEADS), "{said}");
    }
    nodes.start(2);
    nodes.leader();
    // What was unknown is done as soon as it can be, before whatever is asked later.
    wait_until("the name is taken", || {
        let answer = client.ask(register("ann")).expect("the server lives");
        refusal(&answer) == Some(ErrorCode::NameTaken)
    });
    assert!(is_done(&client.ask(access("ann")).expect("the server lives")));
}

/// Election at a majority: the second server of three is enough, and all see the same leader; the third finds it when it comes. No server warns of what is part of every start.
#[test]
fn a_leader_is_elected_at_a_majority() {
    let mut nodes = Nodes::new("east", 3);
    nodes.start(0);
    nodes.start(1);
    let leader = nodes.leader();
    Client::log_in(&nodes.at(1 - leader), "ann", &[]);
    nodes.start(2);
    assert_eq!(nodes.leader(), leader);
    Client::log_in(&nodes.at(2), "ann", &[]);
    for number in 0..3 {
        let said = nodes.said(number);
        assert_eq!(said.contains(LEADS), number == leader, "{said}");
        assert!(!said.contains("message dropped"), "{said}");
    }
}

/// A new leader after a death: the other two agree on one, clients on them stay connected and write on, and nothing that was accepted is lost or comes twice.
#[test]
fn a_new_leader_is_elected_after_the_death_of_the_old_one() {
    let mut nodes = Nodes::new("east", 3);
    nodes.start_all();
    let first = nodes.leader();
    let rest: Vec<usize> = (0..3).filter(|number| *number != first).collect();
    let mut ann = Client::log_in(&nodes.at(rest[0]), "ann", &[]);
    let mut bob = Client::log_in(&nodes.at(rest[1]), "bob", &[]);
    ann.post_all("bob", 1..=20);
    // Some are under way while it dies.
    ann.send_all((21..=40).map(|number| post("bob", number)));
    nodes.kill(first);
    let second = nodes.leader();
    assert!(rest.contains(&second));
    ann.post_all("bob", 21..=60);
    let mut heard = Heard::default();
    bob.hear_upto(&mut heard, 60);
    assert_eq!(heard.texts(), texts(1..=60));
    // The old one comes back, follows, and has what it missed.
    nodes.start(first);
    assert_eq!(nodes.leader(), second);
    let mut bob = Client::log_in(&nodes.at(first), "bob", &[]);
    let mut heard = Heard::default();
    bob.hear_upto(&mut heard, 60);
    assert_eq!(heard.texts(), texts(1..=60));
}

/// Replication on a majority: with one server of three down, messages are accepted; it gets them when it comes back, and then counts, so that another one may go. With two down nothing
/// is accepted; what was tried then is accepted once when there is a majority again.
#[test]
fn what_a_majority_has_is_accepted_and_nothing_else() {
    let mut nodes = Nodes::new("east", 3);
    nodes.start_all();
    let leader = nodes.leader();
    let [away, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let mut ann = Client::log_in(&nodes.at(leader), "ann", &[]);
    Client::log_in(&nodes.at(leader), "bob", &[]);
    nodes.kill(away);
    ann.post_all("bob", 1..=50);
    nodes.start(away);
    nodes.leader();
    nodes.kill(other);
    // Only with the one that was away.
    ann.post_all("bob", 51..=60);
    let mut heard = Heard::default();
    Client::log_in(&nodes.at(away), "bob", &[]).hear_upto(&mut heard, 60);
    assert_eq!(heard.texts(), texts(1..=60));
    nodes.kill(away);
    let answer = ann.ask(post("bob", 61)).expect("the server lives");
    assert!(matches!(refusal(&answer), Some(ErrorCode::Unknown | ErrorCode::Busy)), "{answer:?}");
    nodes.start(other);
    ann.post_all("bob", 61..=62);
    let mut heard = Heard::default();
    Client::log_in(&nodes.at(other), "bob", &[]).hear_upto(&mut heard, 62);
    assert_eq!(heard.texts(), texts(1..=62));
}

/// Registration: a name is taken on every server as soon as it is on one; its password, and no other, logs in on every server; and all of that survives the death of all servers.
#[test]
fn who_registers_on_one_server_is_a_user_on_all() {
    let mut nodes = Nodes::new("east", 3);
    nodes.start_all();
    nodes.leader();
    Client::log_in(&nodes.at(0), "ann", &[]);
    let check = |nodes: &Nodes| {
        for number in 0..3 {
            let mut client = Client::connect(&nodes.at(number)).expect("it listens");
            let answer = client.ask(register("ann")).expect("the server lives");
            assert_eq!(refusal(&answer), Some(ErrorCode::NameTaken), "on {number}");
            let mut wrong = access("ann");
            if let Some(ovid::wire::proto::route::Payload::User(user)) = &mut wrong.payload {
                user.password = Some("a guess".into());
            }
            let answer = client.ask(wrong).expect("the server lives");
            assert_eq!(refusal(&answer), Some(ErrorCode::WrongPassword), "on {number}");
            assert!(is_done(&client.ask(access("ann")).expect("the server lives")), "on {number}");
        }
    };
    check(&nodes);
    (0..3).for_each(|number| nodes.kill(number));
    nodes.start_all();
    // A log-in waits for a leader, and for the rows and records that were kept.
    Client::log_in(&nodes.at(0), "bob", &[]);
    nodes.leader();
    check(&nodes);
}

/// Distribution: who asks the discovery port is told one server after the other, on the socket that asked and, as that class does it, on port 8888 of the address that the question names. A
/// client that loses its server asks again, and gets one that lives.
#[test]
fn clients_are_handed_out_round_robin_and_find_another_server() {
    let mut nodes = Nodes::new("east", 3);
    nodes.start_all();
    let socket = socket_at(Ipv4Addr::LOCALHOST, 0).expect("a port");
    let mut told = BTreeSet::new();
    wait_until("the leader knows all servers", || {
        told.extend(nodes.ask_for_server(&socket, "127.0.0.1"));
        told.len() == 3
    });
    let mut servers = Vec::new();
    wait_until("six questions are answered", || {
        servers.extend(nodes.ask_for_server(&socket, "127.0.0.1"));
        servers.len() == 6
    });
    assert_eq!(servers[..3], servers[3..], "in turn");
    assert_eq!(servers[..3].iter().collect::<BTreeSet<_>>().len(), 3);
    let mut clients: Vec<(String, Client)> = servers
        .iter()
        .enumerate()
        .map(|(number, at)| (at.clone(), Client::log_in(at, &format!("user-{number}"), &[])))
        .collect();
    let gone = nodes.leader();
    nodes.kill(gone);
    let lost = nodes.at(gone);
    for (number, (at, client)) in clients.iter_mut().enumerate().filter(|(_, (at, _))| *at == lost) {
        while client.next().is_some() {}
        let mut found = None;
        wait_until("it is told another server", || {
            found = nodes.ask_for_server(&socket, "127.0.0.1");
            found.as_ref().is_some_and(|found| *found != lost)
        });
        *at = found.expect("just told");
        *client = Client::log_in(at, &format!("user-{number}"), &[]);
    }
    let (_, first) = &mut clients[0];
    for number in 1..6 {
        first.post_all(&format!("user-{number}"), [number]);
    }
    for (number, (_, client)) in (0..6).zip(&mut clients).skip(1) {
        let mut heard = Heard::default();
        client.hear(&mut heard);
        assert_eq!(heard.texts(), texts([number]));
    }
}

/// The class's programs listen on one port of their own address, wherever they have asked from. On Linux this machine has many addresses.
#[cfg(target_os = "linux")]
#[test]
fn who_looks_for_a_server_is_answered_where_that_class_listens() {
    let mut nodes = Nodes::new("east", 1);
    nodes.start(0);
    let socket = socket_at(Ipv4Addr::LOCALHOST, 0).expect("a port");
    let own = u8::try_from(std::process::id() % 200).expect("small");
    let (ip, listening) = (0..=255)
        .map(|last| Ipv4Addr::new(127, 8, own, last))
        .find_map(|ip| Some((ip, socket_at(ip, 8888).ok()?)))
        .expect("no other test takes all of them");
    wait_until("the server answers", || nodes.ask_for_server(&socket, &ip.to_string()) == Some(nodes.at(0)));
    assert_eq!(nodes.answer_on(&listening), Some(nodes.at(0)));
}

/// 10,000 messages from one client to another on another server: all accepted, received in order, and acknowledged. (100,000 are measured by `ovid bench chat`.)
#[test]
fn ten_thousand_messages_arrive_in_order() {
    const COUNT: u64 = 10_000;
    let mut nodes = Nodes::new("east", 3);
    nodes.start_all();
    nodes.leader();
    let mut bob = Client::log_in(&nodes.at(1), "bob", &[]);
    let mut ann = Client::log_in(&nodes.at(0), "ann", &[]);
    let to = nodes.at(1);
    let reader = thread::spawn(move || {
        let mut heard = Heard::default();
        while heard.messages.len() < usize::try_from(COUNT).expect("small") {
            bob.hear(&mut heard);
            bob.acknowledge(&heard);
        }
        heard
    });
    ann.post_many("bob", 1..=COUNT);
    let heard = reader.join().expect("no panic");
    assert!(heard.texts() == texts(1..=COUNT), "lost, doubled or out of order");
    // What was acknowledged does not come again; the one behind it does.
    wait_until("all is read", || Client::log_in(&to, "bob", &[]).unread() == 0);
    ann.post_all("bob", [COUNT + 1]);
    let mut heard = Heard::default();
    Client::log_in(&to, "bob", &[]).hear(&mut heard);
    assert_eq!(heard.texts(), texts([COUNT + 1]));
}

/// The map of clusters: two clusters know nothing but each other's discovery port and a secret. They find each other, and again after one of them has moved its clients elsewhere; a
/// cluster that does not know the secret is not found.
#[test]
fn clusters_find_each_other_and_notice_when_one_has_moved() {
    let [mut east, mut west, mut thief] = ["east", "west", "thief"].map(|tag| Nodes::new(tag, 1));
    let ask = |clusters: &[&Nodes]| json!({"ask": clusters.iter().map(|cluster| cluster.discovery().to_string()).collect::<Vec<_>>()});
    let mut guess = ask(&[&east]);
    guess["secret"] = json!("a guess");
    thief.say(guess);
    east.say(ask(&[&west]));
    west.say(ask(&[&east]));
    east.start(0);
    let mut bob = Client::log_in(&east.at(0), "bob", &[]);
    thief.start(0);
    thief.leader();
    let mut heard = Heard::default();
    for (turn, number) in [(0, 1), (1, 2)] {
        if turn == 1 {
            west.kill(0);
            west.move_clients(0);
        }
        west.start(0);
        Client::log_in(&west.at(0), "bob", &[]);
        Client::log_in(&west.at(0), "ann", &[]).post_all("bob", [number]);
        bob.hear_upto(&mut heard, turn + 1);
        let message = &heard.messages[turn];
        assert_eq!((message.cluster.as_deref(), message.sender_id.as_str()), (Some("west"), "ann"));
    }
    assert_eq!(heard.texts(), texts([1, 2]));
    let said = east.said(0);
    assert!(said.contains("without knowing the secret"), "{said}");
}

/// Messages across clusters: a user who comes to one cluster gets there what waits in the other, once, and those who are not there delay nothing; what was read here counts as read there.
#[test]
fn messages_wait_in_one_cluster_and_are_read_in_another() {
    let [mut east, mut west] = ["east", "west"].map(|tag| Nodes::new(tag, 1));
    let (east_at, west_at) = (east.at(0), west.at(0));
    east.say(json!({"clusters": {"west": [west_at], "north": ["127.0.0.1:9"]}}));
    west.say(json!({"clusters": {"east": [east_at]}}));
    east.start(0);
    west.start(0);
    for at in [&east_at, &west_at] {
        Client::log_in(at, "bob", &[]);
    }
    Client::log_in(&west_at, "ann", &[]).post_all("bob", 1..=20);
    west.kill(0);
    // Nobody waits for a cluster that is down.
    let mut bob = Client::log_in(&east_at, "bob", &[]);
    let mut heard = Heard::default();
    Client::log_in(&east_at, "cat", &[]).post_all("bob", [1]);
    bob.hear(&mut heard);
    assert_eq!((heard.texts()[0], heard.messages[0].sender_id.as_str()), ("message 1", "cat"));
    west.start(0);
    bob.hear_upto(&mut heard, 21);
    assert_eq!(heard.texts()[1..], texts(1..=20));
    assert!(heard.messages[1..].iter().all(|message| message.cluster.as_deref() == Some("west")));
    bob.acknowledge(&heard);
    // He moves there: nothing is unread in either.
    wait_until("all is read here", || Client::log_in(&east_at, "bob", &[]).unread() == 0);
    wait_until("all is read there", || Client::log_in(&west_at, "bob", &[]).unread() == 0);
}
