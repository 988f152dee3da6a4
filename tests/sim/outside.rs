//! What agents reach outside of the grid: ports, connections and datagrams, and the long work that they have done.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ovid::agent::{
    Agent, Carries, Conn, DRAINED_BYTES, Done, Input, Inward, Look, NoMessage, Opening, Outbox, Outward,
    PasswordCost, Peer, PortId, QUEUE_BYTES_MAX, Secret, Session, Why, Work,
};
use ovid::rng::Probability;
use ovid::sim::{Carrier, ConnectionId, Delay, FailureModel, Settings, World};
use ovid::time::Time;

use crate::probe::ms;

const A: Peer = Peer(0);
const B: Peer = Peer(1);
const PORT: PortId = PortId(1);
const LETTERS: PortId = PortId(2);
const TOKEN: u64 = 77;

/// Does what it is told and writes down what it hears. It listens on port 1,000 for connections, and on 8,888 for datagrams.
#[derive(Debug, Default)]
struct Caller {
    heard: Vec<String>,
    frames: Vec<Vec<u8>>,
    /// How many frames came at once, each time.
    reads: Vec<usize>,
    conn: Option<Conn>,
    /// Whether it sends every frame back.
    echoes: bool,
    /// Whether it hangs up as soon as it has heard this many frames.
    hangs_up_after: Option<usize>,
}

impl Caller {
    fn obey(&mut self, line: &str, out: &mut Outbox<NoMessage>) {
        let words: Vec<&str> = line.split(' ').collect();
        let address = |place: usize| words[place].parse::<SocketAddr>().expect("an address");
        let conn = || self.conn.expect("a connection");
        match words[0] {
            "listen" => {
                listen(out, PORT, address(1), Carries::Frames { frame_bytes_max: 1 << 20, tls: false });
            }
            "shut" => out.outside(Outward::Shut { port: PORT }),
            "dial" => {
                let tls = words.get(2) == Some(&"tls");
                let (token, frame_bytes_max) = (TOKEN, 1 << 20);
                out.outside(Outward::Dial { token, to: address(1), frame_bytes_max, tls });
            }
            "send" => {
                for text in &words[1..] {
                    out.outside(Outward::Frames { conn: conn(), bytes: frame(text.as_bytes()) });
                }
            }
            "flood" => {
                let bytes = frame(&vec![7; words[1].parse().expect("a number")]);
                out.outside(Outward::Frames { conn: conn(), bytes });
            }
            "hang-up" => out.outside(Outward::HangUp { conn: conn() }),
            "letter" => {
                let bytes = Bytes::copy_from_slice(words[2].as_bytes());
                out.outside(Outward::Datagram { port: LETTERS, to: address(1), bytes });
            }
            "hash" => {
                let password = Secret(Bytes::copy_from_slice(words[1].as_bytes()));
                let cost = PasswordCost { memory_kib: 8, passes: 1 };
                out.compute(TOKEN, Work::HashPassword { password, salt: [1; 16], cost });
            }
            "look" => {
                let (from, until) = (Bytes::new(), Bytes::new());
                let look = Look { token: TOKEN, from, until, backwards: false, rows_max: 1, bytes_max: 1 };
                out.look(look);
            }
            other => panic!("{other:?}"),
        }
    }

    fn listens(&mut self, inward: Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Listening { port, at } => self.heard.push(format!("port {} at {at}", port.0)),
            Inward::NotListening { port, why } => self.heard.push(format!("no port {}: {why}", port.0)),
            Inward::Opened { conn, by, peer } => {
                self.conn = Some(conn);
                let by = match by {
                    Opening::Accepted(port) => format!("from {} by port {}", peer.ip(), port.0),
                    Opening::Dialled(token) => format!("to {peer} by dial {token}"),
                };
                self.heard.push(format!("opened {by}"));
            }
            Inward::Unreachable { token, why } => self.heard.push(format!("dial {token}: {why}")),
            Inward::Frames { conn, frames } => {
                let before = self.frames.len();
                self.frames.extend(frames.map(<[u8]>::to_vec));
                self.reads.push(self.frames.len() - before);
                if self.echoes {
                    for text in &self.frames[before..] {
                        out.outside(Outward::Frames { conn, bytes: frame(text) });
                    }
                }
                if self.hangs_up_after.is_some_and(|frames| self.frames.len() >= frames) {
                    out.outside(Outward::HangUp { conn });
                }
            }
            Inward::Drained { .. } => self.heard.push("drained".to_owned()),
            Inward::Closed { why, .. } => self.heard.push(format!("closed: {why}")),
            Inward::Datagram { port, from, bytes } => {
                let text = String::from_utf8_lossy(bytes);
                self.heard.push(format!("letter {text} from {from} by port {}", port.0));
            }
        }
    }
}

impl Agent for Caller {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => {
                let carries = Carries::Frames { frame_bytes_max: 1 << 20, tls: false };
                listen(out, PORT, "0.0.0.0:1000".parse().expect("an address"), carries);
                listen(out, LETTERS, "0.0.0.0:8888".parse().expect("an address"), Carries::Datagrams);
            }
            Input::Commands { mut commands } => {
                let line = commands.take().expect("a line").to_vec();
                self.obey(std::str::from_utf8(&line).expect("text"), out);
            }
            Input::Outside(inward) => self.listens(inward, out),
            Input::Computed { token, done: Done::Hash(_) } => self.heard.push(format!("hashed {token}")),
            Input::Looked { looked } => {
                self.heard.push(format!("{} rows for {}", looked.rows.len(), looked.token));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn listen(out: &mut Outbox<NoMessage>, port: PortId, at: SocketAddr, carries: Carries) {
    out.outside(Outward::Listen { port, at, carries });
}

/// A frame with its length.
fn frame(text: &[u8]) -> Bytes {
    let mut bytes = u32::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes.into()
}

/// Two callers, whose messages take 5 ms, and connecting 10 ms; what they hear of their ports is forgotten.
fn apart(change: impl FnOnce(&mut Settings)) -> World<Caller> {
    let mut settings = Settings::new(1, Carrier::Stream);
    settings.delay = Delay::Fixed(ms(5));
    settings.connecting = Delay::Fixed(ms(10));
    settings.computing = Delay::Fixed(ms(20));
    change(&mut settings);
    let mut world = World::new(settings);
    for peer in [A, B] {
        world.add(Caller::default());
        world.run_until(world.now());
        let at = world.address(peer);
        assert_eq!(heard(&world, peer), [format!("port 1 at {at}:1000"), format!("port 2 at {at}:8888")]);
    }
    world
}

/// The same, connected: the first has dialled the second.
fn connected(change: impl FnOnce(&mut Settings)) -> World<Caller> {
    let mut world = apart(change);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    assert_eq!(news(&world, A), [format!("opened to {}:1000 by dial 77", address(B))]);
    assert_eq!(news(&world, B), [format!("opened from {} by port 1", address(A))]);
    world
}

/// Where an agent is reached.
fn address(peer: Peer) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(peer.0).expect("few") + 1])
}

fn dial(whom: Peer) -> String {
    format!("dial {}:1000", address(whom))
}

fn tell(world: &mut World<Caller>, peer: Peer, line: &str) {
    world.command(peer, Session(0), line);
}

fn wait(world: &mut World<Caller>, milliseconds: u64) {
    world.run_until(world.now() + ms(milliseconds));
    assert_eq!(world.wrong(), None);
}

fn caller(world: &World<Caller>, peer: Peer) -> &Caller {
    world.agent(peer).expect("alive")
}

fn heard(world: &World<Caller>, peer: Peer) -> Vec<String> {
    caller(world, peer).heard.clone()
}

/// What somebody heard behind the news of its ports.
fn news(world: &World<Caller>, peer: Peer) -> Vec<String> {
    heard(world, peer).split_off(2)
}

/// And behind the news of its connection.
fn later(world: &World<Caller>, peer: Peer) -> Vec<String> {
    heard(world, peer).split_off(3)
}

fn frames(world: &World<Caller>, peer: Peer) -> Vec<String> {
    let text = |frame: &Vec<u8>| String::from_utf8_lossy(frame).into_owned();
    caller(world, peer).frames.iter().map(text).collect()
}

/// Tells the first to send so many numbered frames.
fn send_many(world: &mut World<Caller>, count: u32) -> Vec<String> {
    let texts: Vec<String> = (0..count).map(|number| format!("frame-{number}")).collect();
    tell(world, A, &format!("send {}", texts.join(" ")));
    texts
}

#[test]
fn frames_arrive_whole_and_in_order_in_reads_of_any_size() {
    let mut world = connected(|_| ());
    let texts = send_many(&mut world, 300);
    tell(&mut world, B, "send back");
    wait(&mut world, 4);
    assert!(frames(&world, B).is_empty(), "they take their time");
    wait(&mut world, 1);
    assert_eq!((frames(&world, B), frames(&world, A)), (texts, vec!["back".to_owned()]));
    let reads = &caller(&world, B).reads;
    assert!(reads.iter().any(|frames| *frames > 1), "several at once");
    tell(&mut world, A, "flood 100000");
    wait(&mut world, 100);
    assert_eq!(caller(&world, B).frames.last().map(Vec::len), Some(100_000), "one in several reads");
}

#[test]
fn a_dial_that_reaches_nobody_says_so() {
    let mut world = apart(|_| ());
    tell(&mut world, A, &format!("dial {}:1001", address(B)));
    tell(&mut world, A, &format!("{} tls", dial(B)));
    wait(&mut world, 10);
    let refused = "dial 77: connection refused";
    let differ = "dial 77: one side wants the connection encrypted, and the other does not";
    assert_eq!(news(&world, A), [refused, differ]);
    tell(&mut world, B, "shut");
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    world.crash(B);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    assert_eq!(news(&world, A)[2..], [refused; 2]);
    tell(&mut world, A, "dial 10.9.9.9:1000");
    wait(&mut world, 2_999);
    assert_eq!(news(&world, A).len(), 4);
    wait(&mut world, 1);
    assert_eq!(news(&world, A)[4..], ["dial 77: nobody answers"]);
}

#[test]
fn a_partition_holds_dials_up_until_it_heals_or_they_give_up() {
    let mut world = apart(|_| ());
    let partition = world.partition_one_way(&[B], &[A]);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 3_000);
    assert_eq!(news(&world, A), ["dial 77: nobody answers"]);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 500);
    world.heal(partition);
    wait(&mut world, 600);
    assert_eq!(news(&world, A).len(), 2);
    assert!(news(&world, A)[1].starts_with("opened to"));
}

#[test]
fn ports_are_the_agents_own_and_open_once() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "listen 10.9.9.9:1");
    tell(&mut world, A, &format!("listen {}:2000", address(A)));
    wait(&mut world, 0);
    assert_eq!(
        news(&world, A),
        [
            "no port 1: 10.9.9.9 is no address of this server, which has 10.0.0.1",
            "no port 1: this agent has a port of that number already",
        ]
    );
    tell(&mut world, A, "shut");
    tell(&mut world, A, "listen 0.0.0.0:0");
    wait(&mut world, 0);
    assert_eq!(news(&world, A)[2..], ["port 1 at 10.0.0.1:49152"]);
    // A restart closes them, and others may have them.
    world.crash(A);
    world.restart(A, Caller::default());
    wait(&mut world, 0);
    assert_eq!(heard(&world, A), ["port 1 at 10.0.0.1:1000", "port 2 at 10.0.0.1:8888"]);
}

#[test]
fn what_was_sent_before_hanging_up_arrives_and_then_the_end() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send one two");
    tell(&mut world, A, "hang-up");
    tell(&mut world, A, "send three");
    tell(&mut world, B, "send back");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: closed"], "all has left");
    wait(&mut world, 100);
    assert_eq!(frames(&world, B), ["one", "two"]);
    assert_eq!(later(&world, B), ["closed: closed"]);
    assert!(frames(&world, A).is_empty(), "nothing comes after the end");
    assert_eq!(later(&world, A).len(), 1);
    assert_eq!(world.connections().count(), 0);
}

#[test]
fn nobody_hears_frames_after_hanging_up_even_of_the_same_read() {
    for frames_taken in [1, 2, 3] {
        let mut world = connected(|_| ());
        world.crash(B);
        world.restart(B, Caller { hangs_up_after: Some(frames_taken), ..Caller::default() });
        tell(&mut world, A, &dial(B));
        wait(&mut world, 10);
        send_many(&mut world, 50);
        wait(&mut world, 100);
        let caller = caller(&world, B);
        let before: usize = caller.reads[..caller.reads.len() - 1].iter().sum();
        assert!(before < frames_taken, "it was handed a read after it hung up");
        assert_eq!(heard(&world, B).last().map(String::as_str), Some("closed: closed"));
        assert_eq!(heard(&world, A).last().map(String::as_str), Some("closed: closed"));
    }
}

#[test]
fn a_break_drops_what_is_on_its_way_and_both_learn_of_it() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send lost");
    let (id, ends) = world.connections().next().expect("one");
    assert_eq!((id, ends), (ConnectionId(0), [A, B]));
    assert!(world.break_connection(id));
    assert!(!world.break_connection(id));
    wait(&mut world, 100);
    assert!(frames(&world, B).is_empty());
    for peer in [A, B] {
        assert_eq!(later(&world, peer), ["closed: broken"]);
    }
    // The next one is another one.
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    tell(&mut world, A, "send found");
    wait(&mut world, 5);
    assert_eq!(frames(&world, B), ["found"]);
    assert_eq!(world.connections().next().map(|(id, _)| id), Some(ConnectionId(1)));
}

#[test]
fn partitions_stalls_and_pauses_hold_frames_up() {
    for hold in ["partition", "pause", "stall"] {
        let mut world = connected(|_| ());
        let mut partitions = Vec::new();
        match hold {
            "partition" => partitions.extend(world.partition(&[A], &[B])),
            "pause" => world.pause(B),
            _ => assert!(world.stall_connection(ConnectionId(0), ms(100))),
        }
        let texts = send_many(&mut world, 20);
        tell(&mut world, A, "hang-up");
        wait(&mut world, 99);
        assert!(frames(&world, B).is_empty(), "{hold}");
        for id in partitions {
            world.heal(id);
        }
        world.resume(B);
        wait(&mut world, 1);
        assert_eq!(frames(&world, B), texts, "{hold}");
        assert_eq!(later(&world, B), ["closed: closed"], "{hold}");
    }
}

#[test]
fn a_partition_in_one_direction_holds_up_that_one_alone() {
    let mut world = connected(|_| ());
    let partition = world.partition_one_way(&[A], &[B]);
    tell(&mut world, A, "send there");
    tell(&mut world, B, "send back");
    wait(&mut world, 100);
    assert_eq!((frames(&world, A), frames(&world, B).len()), (vec!["back".to_owned()], 0));
    world.heal(partition);
    wait(&mut world, 0);
    assert_eq!(frames(&world, B), ["there"]);
}

#[test]
fn a_crash_is_learned_at_once_or_when_something_is_sent() {
    let mut world = connected(|_| ());
    tell(&mut world, B, "send last");
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!(later(&world, A), ["closed: broken"]);
    assert!(frames(&world, A).is_empty(), "the reset overtakes it");

    let mut world = connected(|settings| settings.failure_model = FailureModel::Send);
    tell(&mut world, B, "send last");
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!((frames(&world, A), later(&world, A).len()), (vec!["last".to_owned()], 0));
    world.restart(B, Caller::default());
    tell(&mut world, A, "send you");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: broken"]);
    assert_eq!(heard(&world, B).len(), 2, "a new life knows nothing of the connections of the one before");

    // A partition hides the death for as long as it holds.
    let mut world = connected(|_| ());
    let partitions = world.partition(&[A], &[B]);
    world.crash(B);
    wait(&mut world, 100);
    assert_eq!(later(&world, A).len(), 0);
    for id in partitions {
        world.heal(id);
    }
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: broken"]);
}

#[test]
fn who_sends_much_is_told_when_it_has_left() {
    let mut world = connected(|_| ());
    tell(&mut world, A, &format!("flood {}", DRAINED_BYTES - 5));
    wait(&mut world, 100);
    assert_eq!(later(&world, A).len(), 0);
    tell(&mut world, A, "send x");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["drained"], "so much was sent");

    // Something that waits leaves as what was before it arrives.
    let mut world = connected(|settings| settings.on_the_way_bytes_max = 100);
    tell(&mut world, A, "flood 150");
    tell(&mut world, A, "send x");
    wait(&mut world, 4);
    assert_eq!(later(&world, A).len(), 0);
    wait(&mut world, 1);
    assert_eq!(later(&world, A), ["drained"]);
    wait(&mut world, 5);
    assert_eq!(caller(&world, B).frames.len(), 2);
    tell(&mut world, A, "flood 150");
    tell(&mut world, A, "hang-up");
    wait(&mut world, 4);
    assert_eq!(later(&world, A), ["drained"], "not closed before all has left");
    wait(&mut world, 100);
    assert_eq!(later(&world, A), ["drained", "closed: closed"]);
    assert_eq!(caller(&world, B).frames.len(), 3);
}

#[test]
fn too_much_that_waits_ends_a_connection() {
    let mut world = connected(|settings| settings.on_the_way_bytes_max = 100);
    for _ in 0..=QUEUE_BYTES_MAX / 1_000_000 {
        tell(&mut world, A, "flood 1000000");
    }
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: queue full"]);
    assert_eq!(later(&world, B), ["closed: broken"]);
}

#[test]
fn a_frame_that_is_too_long_ends_a_connection() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send fine");
    tell(&mut world, A, &format!("flood {}", (1 << 20) + 1));
    wait(&mut world, 100);
    assert_eq!(frames(&world, B), ["fine"]);
    assert_eq!(
        (later(&world, A), later(&world, B)),
        (vec!["closed: broken".into()], vec!["closed: broken".into()])
    );
}

#[test]
fn an_agent_may_speak_with_itself() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "dial 127.0.0.1:1000");
    wait(&mut world, 10);
    tell(&mut world, A, "send me");
    wait(&mut world, 5);
    assert_eq!(frames(&world, A), ["me"]);
    world.crash(A);
    assert_eq!(world.connections().count(), 0);
}

#[test]
fn datagrams_travel_alone_and_not_through_partitions() {
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        let mut settings = Settings::new(1, carrier);
        settings.delay = Delay::Fixed(ms(5));
        let mut world: World<Listener> = World::new(settings);
        for _ in [A, B] {
            world.add(Listener::default());
        }
        world.run_until(world.now());
        let letter = |text: &str| format!("letter 10.0.0.2:8888 {text}");
        world.command(A, Session(0), &letter("one"));
        let [there, back] = world.partition(&[A], &[B]);
        world.command(A, Session(0), &letter("two"));
        world.heal(back);
        world.run_until(world.now() + ms(100));
        assert_eq!(world.agent(B).map(|agent| agent.0.len()), Some(0), "neither sent nor arrived in it");
        world.heal(there);
        world.command(A, Session(0), &letter("three"));
        world.command(A, Session(0), "letter 10.0.0.2:8889 nobody");
        world.run_until(world.now() + ms(100));
        let heard = &world.agent(B).expect("alive").0;
        assert_eq!(heard, &["three from 10.0.0.1:8888"], "{carrier:?}");
        assert_eq!(world.wrong(), None);
    }
}

/// Listens for datagrams alone.
#[derive(Debug, Default)]
struct Listener(Vec<String>);

impl Agent for Listener {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => {
                listen(out, LETTERS, "0.0.0.0:8888".parse().expect("an address"), Carries::Datagrams);
            }
            Input::Commands { mut commands } => {
                let line = String::from_utf8(commands.take().expect("a line").to_vec()).expect("text");
                let words: Vec<&str> = line.split(' ').collect();
                let (to, bytes) = (words[1].parse().expect("an address"), words[2].to_owned().into());
                out.outside(Outward::Datagram { port: LETTERS, to, bytes });
            }
            Input::Outside(Inward::Datagram { from, bytes, .. }) => {
                self.0.push(format!("{} from {from}", String::from_utf8_lossy(bytes)));
            }
            _ => {}
        }
    }
}

#[test]
fn datagrams_are_lost_repeated_and_reordered_as_settings_say() {
    let letters = |change: fn(&mut Settings)| {
        let mut world = apart(|settings| {
            settings.delay = Delay::uniform_ms(1, 50);
            change(settings);
        });
        for number in 0..200 {
            tell(&mut world, A, &format!("letter 10.0.0.2:8888 {number:03}"));
        }
        wait(&mut world, 100);
        news(&world, B)
    };
    let all = letters(|_| ());
    assert!(all.len() == 200 && all.is_sorted());
    let lost = letters(|settings| settings.loss = Probability::percent(50)).len();
    assert!((60..140).contains(&lost), "{lost}");
    let repeated = letters(|settings| settings.duplicate = Probability::percent(50)).len();
    assert!((260..340).contains(&repeated), "{repeated}");
    let reordered = letters(|settings| settings.reorder = true);
    assert!(reordered.len() == 200 && !reordered.is_sorted());
}

#[test]
fn long_work_is_done_one_piece_after_the_other_and_lost_in_a_crash() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "hash one");
    tell(&mut world, A, "hash two");
    tell(&mut world, A, "look");
    wait(&mut world, 20);
    assert_eq!(news(&world, A), ["0 rows for 77", "hashed 77"]);
    wait(&mut world, 19);
    assert_eq!(news(&world, A).len(), 2);
    wait(&mut world, 1);
    assert_eq!(news(&world, A).len(), 3);
    tell(&mut world, A, "hash three");
    world.crash(A);
    world.restart(A, Caller::default());
    tell(&mut world, A, "hash four");
    wait(&mut world, 100);
    assert_eq!(news(&world, A), ["hashed 77"]);
}

#[test]
fn only_links_carry_connections_so_a_world_of_datagrams_refuses_them() {
    let mut world: World<Caller> = World::new(Settings::new(1, Carrier::Datagram));
    world.add(Caller::default());
    world.run_until(world.now());
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("outputs"));
}

/// The digest and the trace of a run in which much goes wrong.
fn a_wild_run(seed: u64) -> (u64, String) {
    let mut settings = Settings::new(seed, Carrier::Stream);
    (settings.on_the_way_bytes_max, settings.reorder) = (300, true);
    settings.loss = Probability::percent(20);
    let mut world = World::new(settings);
    world.start_trace();
    for _ in 0..4 {
        world.add(Caller { echoes: true, ..Caller::default() });
    }
    for round in 0..60_u32 {
        let (one, other) = (Peer(round % 4), Peer((round / 4) % 4));
        if world.is_alive(one) {
            tell(&mut world, one, &dial(other));
            tell(&mut world, one, &format!("letter {}:8888 {round}", address(other)));
            if caller(&world, one).conn.is_some() {
                tell(&mut world, one, &format!("send hello-{round} how-are-you"));
            }
        }
        match round % 10 {
            3 => world.crash(one),
            6 => {
                let first = world.connections().next().map(|(id, _)| id);
                first.map(|id| world.break_connection(id));
            }
            7 => world.pause(one),
            9 => {
                for peer in world.peers().collect::<Vec<_>>() {
                    world.resume(peer);
                    if !world.is_alive(peer) {
                        world.restart(peer, Caller { echoes: true, ..Caller::default() });
                    }
                }
            }
            _ => {}
        }
        wait(&mut world, 17);
    }
    (world.figures().digest, format!("{:?}", world.take_trace()))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = a_wild_run(5);
    assert_eq!(first, a_wild_run(5));
    assert_ne!(first.0, a_wild_run(6).0);
    for word in ["frames", "datagram", "connection 3", "broken", "nobody is there", "closed"] {
        assert!(first.1.contains(word), "{word}");
    }
    assert!(!first.1.contains(Why::QueueFull.to_string().as_str()));
}
