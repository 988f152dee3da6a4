//! The client at a desk: what it is told, what it asks, what it answers.

use super::*;
use crate::agent::{Attrs, Commands, Dest, Output, Session, Taken};

/// A client whose outputs are laid aside.
struct Desk {
    client: Client,
    now: Time,
    sent: Vec<(Dest, ClientMessage)>,
    told: Vec<String>,
}

const STORE_PEER: Peer = Peer(9);

impl Desk {
    fn new(routes: &[&str]) -> Self {
        let patience = Patience {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(400),
            give_up: Duration::from_secs(5),
        };
        let routes: Vec<String> = routes.iter().map(ToString::to_string).collect();
        let client = Client::new(Rng::new(1), patience, &routes);
        Self { client, now: Time::ZERO, sent: Vec::new(), told: Vec::new() }
    }

    fn input(&mut self, input: Input<'_, ClientMessage>) {
        let mut out = Outbox::default();
        self.client.handle(self.now, input, &mut out);
        for output in out.drain() {
            match output {
                Output::Send { to, message } => self.sent.push((to, message)),
                Output::Reply { parts, .. } => {
                    self.told.push(String::from_utf8(parts.concat()).expect("text"));
                }
                other => panic!("not expected of a client: {other:?}"),
            }
        }
    }

    fn command(&mut self, line: &str) {
        let (region, taken) = (format!("{line}\n"), Taken::default());
        let request = Request { session: Session(1), number: 1 };
        self.input(Input::Commands { commands: Commands::new(region.as_bytes(), true, request, &taken) });
        assert!(taken.asked(), "{line}");
    }

    fn hears(&mut self, message: KvsMessage) {
        let message = ClientMessage::Kvs(message);
        self.input(Input::Message { from: STORE_PEER, port: Port::ANSWERS, message });
    }

    /// What the client asked last, which has to be a request.
    fn asked(&mut self) -> Ask {
        match self.sent.pop() {
            Some((_, ClientMessage::Kvs(KvsMessage::Ask(ask)))) => ask,
            other => panic!("no request: {other:?}"),
        }
    }

    fn open(&mut self) {
        match self.sent.pop() {
            Some((_, ClientMessage::Kvs(KvsMessage::Open { nonce }))) => {
                self.hears(KvsMessage::Opened { session: ClientSession { index: 1, nonce } });
            }
            other => panic!("no opening: {other:?}"),
        }
    }

    fn answer(&mut self, ask: &Ask, answer: Answer) {
        self.hears(KvsMessage::Answer { session: ask.session, number: ask.number, answer });
    }

    fn timeout(&mut self) {
        self.now = self.client.deadline().expect("something is under way");
        self.input(Input::Timeout);
    }

    fn until_given_up(&mut self) {
        while self.client.attempt.is_some() {
            self.timeout();
        }
    }
}

#[test]
fn a_session_is_opened_once_and_commands_follow_one_at_a_time() {
    let mut desk = Desk::new(&["kvs"]);
    desk.command("put k v");
    desk.command("get k");
    desk.command("nonsense");
    desk.open();
    let put = desk.asked();
    assert_eq!((put.number, put.operation.to_string()), (1, "put k v".to_owned()));
    desk.answer(&put, Answer::Done);
    let get = desk.asked();
    assert_eq!((get.number, desk.told.as_slice()), (2, &["ok".to_owned()][..]));
    desk.answer(&get, Answer::Value("v".into()));
    assert_eq!(desk.told[1], "value v");
    assert!(desk.told[2].starts_with("error unknown command"));
    assert_eq!(desk.client.deadline(), None);
}

#[test]
fn a_request_goes_out_again_unchanged_and_more_and_more_seldom_to_each_store_in_turn() {
    let mut desk = Desk::new(&["kvs-1", "kvs-2"]);
    desk.command("put k v");
    desk.open();
    let (mut before, mut pauses) = (desk.now, Vec::new());
    for _ in 0..6 {
        desk.timeout();
        pauses.push(desk.now.since(before));
        before = desk.now;
    }
    assert_eq!(pauses[0], Duration::from_millis(100));
    assert!(pauses.is_sorted() && pauses[5] > Duration::from_millis(200), "{pauses:?}");
    let (stores, asks): (Vec<Dest>, Vec<ClientMessage>) = desk.sent.drain(..).unzip();
    assert!(asks.windows(2).all(|two| two[0] == two[1]));
    let named = |store: &Dest| matches!(store, Dest::Route(name) if name == "kvs-2");
    assert_eq!(stores.iter().map(named).collect::<Vec<_>>(), [false, true, false, true, false, true, false]);
}

#[test]
fn a_store_that_cannot_is_left_for_the_next_one_which_gets_the_same_request() {
    let mut desk = Desk::new(&["kvs-1", "kvs-2"]);
    desk.command("put k v");
    desk.open();
    let put = desk.asked();
    desk.answer(&put, Answer::Unknown("no space".into()));
    let next = Dest::from("kvs-2");
    assert_eq!(desk.sent, [(next.clone(), ClientMessage::Kvs(KvsMessage::Ask(put.clone())))]);
    desk.answer(&put, Answer::Done);
    assert_eq!(desk.told, ["ok"]);
    desk.sent.clear();
    desk.command("get k");
    assert_eq!(desk.sent[0].0, next, "the first store is not asked any more");
    let get = desk.asked();
    desk.answer(&get, Answer::Refused("no space".into()));
    assert_eq!(desk.sent.pop().map(|(to, _)| to), Some(Dest::from("kvs-1")));
    desk.answer(&get, Answer::Refused("no space either".into()));
    assert_eq!(desk.told[1], "error no space either", "all have been asked");
}

#[test]
fn that_one_store_does_not_know_outweighs_that_another_has_done_nothing() {
    let mut desk = Desk::new(&["kvs-1", "kvs-2"]);
    desk.command("put k v");
    desk.open();
    let put = desk.asked();
    desk.answer(&put, Answer::Unknown("no space".into()));
    desk.answer(&put, Answer::Refused("no log".into()));
    assert_eq!(desk.told, ["unknown no space; it may have happened or not"]);
}

#[test]
fn an_early_timeout_is_harmless() {
    let mut desk = Desk::new(&["kvs"]);
    desk.input(Input::Timeout);
    desk.command("get k");
    desk.sent.clear();
    desk.input(Input::Timeout);
    assert_eq!(desk.sent, []);
}

#[test]
fn whoever_gives_up_says_whether_it_may_have_happened() {
    let mut desk = Desk::new(&["kvs"]);
    desk.command("put k v");
    desk.until_given_up();
    desk.command("put k v");
    desk.open();
    desk.until_given_up();
    desk.command("get k");
    desk.until_given_up();
    assert_eq!(
        desk.told,
        [
            "error no answer within 5000 ms; nothing was changed",
            "unknown no answer within 5000 ms; it may have happened or not",
            "error no answer within 5000 ms; nothing was changed",
        ]
    );
}

#[test]
fn answers_to_earlier_requests_are_passed_over() {
    let mut desk = Desk::new(&["kvs"]);
    desk.command("put k v");
    desk.open();
    let put = desk.asked();
    desk.until_given_up();
    desk.command("get k");
    desk.answer(&put, Answer::Done);
    desk.hears(KvsMessage::Opened { session: put.session });
    assert_eq!(desk.told.len(), 1);
    let get = desk.asked();
    desk.answer(&get, Answer::Nothing);
    assert_eq!(desk.told[1], "nothing");
}

#[test]
fn a_client_that_was_forgotten_says_so_and_opens_a_new_session() {
    let mut desk = Desk::new(&["kvs"]);
    desk.command("put k v");
    desk.open();
    let put = desk.asked();
    desk.answer(&put, Answer::Forgotten);
    assert_eq!(desk.told, ["unknown the store does not remember this client; it may have happened or not"]);
    desk.command("put k w");
    desk.open();
    assert_eq!(desk.asked().number, 1);
}

#[test]
fn terminals_are_answered_by_their_route_or_directly() {
    for (routes, to) in [(&["kvs", "tty"][..], Dest::from(TTY)), (&["kvs"], Dest::from(Peer(3)))] {
        let mut desk = Desk::new(routes);
        let message = ClientMessage::Text(Text("help".into()));
        desk.input(Input::Message { from: Peer(3), port: Port(1), message });
        let help = ClientMessage::Text(Text(crate::agents::kvs::command::HELP.into()));
        assert_eq!(desk.sent, [(to, help)]);
    }
}

#[test]
fn the_port_tells_text_from_answers() {
    for message in
        [ClientMessage::Kvs(KvsMessage::Open { nonce: u64::MAX }), ClientMessage::Text(Text("{}".into()))]
    {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let port = if matches!(message, ClientMessage::Kvs(_)) { Port::ANSWERS } else { Port(1) };
        assert_eq!(ClientMessage::decode(port, &bytes), Ok(message));
    }
    assert!(ClientMessage::decode(Port::ANSWERS, b"{}").is_err());
}

#[test]
fn mistakes_in_a_configuration_are_found() {
    let made = |attrs: &str, routes: &[&str]| {
        let attrs: Attrs = serde_json::from_str(attrs).expect("an object");
        let routes: Vec<String> = routes.iter().map(ToString::to_string).collect();
        let mut setup = Setup::new("c", &attrs, &routes, 1);
        Client::configure(&mut setup).map(|_| setup.unused()).map_err(|mistake| mistake.to_string())
    };
    assert_eq!(made(r#"{"retry_ms": 5}"#, &["kvs", "kvs-2", "tty"]), Ok(vec![]));
    assert_eq!(made("{}", &["tty"]), Err("routes.kvs: is needed and missing".to_owned()));
    let stray = "routes.store: unknown route; known are kvs, kvs-<anything> and tty";
    assert_eq!(made("{}", &["kvs", "store"]), Err(stray.to_owned()));
}
