//! An agent that does outside of the grid what a test tells it, and what tests do with it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ovid::agent::{
    Agent, Carries, Conn, Done, Input, Inward, Look, NoMessage, Opening, Outbox, Outward, PasswordCost, Peer,
    PortId, Secret, Session, Work,
};
use ovid::sim::{Carrier, Delay, Settings, World};
use ovid::time::Time;

use crate::probe::ms;

pub(super) const A: Peer = Peer(0);
pub(super) const B: Peer = Peer(1);
pub(super) const PORT: PortId = PortId(1);
pub(super) const LETTERS: PortId = PortId(2);
pub(super) const TOKEN: u64 = 77;

/// Does what it is told and writes down what it hears. It listens on port 1,000 for connections, and on 8,888 for datagrams.
#[derive(Debug, Default)]
pub(super) struct Caller {
    pub(super) heard: Vec<String>,
    pub(super) frames: Vec<Vec<u8>>,
    /// How many frames came at once, each time.
    pub(super) reads: Vec<usize>,
    pub(super) conn: Option<Conn>,
    /// Whether it sends every frame back.
    pub(super) echoes: bool,
    /// Whether it hangs up as soon as it has heard this many frames.
    pub(super) hangs_up_after: Option<usize>,
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

pub(super) fn listen(out: &mut Outbox<NoMessage>, port: PortId, at: SocketAddr, carries: Carries) {
    out.outside(Outward::Listen { port, at, carries });
}

/// A frame with its length.
pub(super) fn frame(text: &[u8]) -> Bytes {
    let mut bytes = u32::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes.into()
}

/// Two callers, whose messages take 5 ms, and connecting 10 ms; what they hear of their ports is forgotten.
pub(super) fn apart(change: impl FnOnce(&mut Settings)) -> World<Caller> {
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
pub(super) fn connected(change: impl FnOnce(&mut Settings)) -> World<Caller> {
    let mut world = apart(change);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    assert_eq!(news(&world, A), [format!("opened to {}:1000 by dial 77", address(B))]);
    assert_eq!(news(&world, B), [format!("opened from {} by port 1", address(A))]);
    world
}

/// Where an agent is reached.
pub(super) fn address(peer: Peer) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(peer.0).expect("few") + 1])
}

pub(super) fn dial(whom: Peer) -> String {
    format!("dial {}:1000", address(whom))
}

pub(super) fn tell(world: &mut World<Caller>, peer: Peer, line: &str) {
    world.command(peer, Session(0), line);
}

pub(super) fn wait(world: &mut World<Caller>, milliseconds: u64) {
    world.run_until(world.now() + ms(milliseconds));
    assert_eq!(world.wrong(), None);
}

pub(super) fn caller(world: &World<Caller>, peer: Peer) -> &Caller {
    world.agent(peer).expect("alive")
}

pub(super) fn heard(world: &World<Caller>, peer: Peer) -> Vec<String> {
    caller(world, peer).heard.clone()
}

/// What somebody heard behind the news of its ports.
pub(super) fn news(world: &World<Caller>, peer: Peer) -> Vec<String> {
    heard(world, peer).split_off(2)
}

/// And behind the news of its connection.
pub(super) fn later(world: &World<Caller>, peer: Peer) -> Vec<String> {
    heard(world, peer).split_off(3)
}

pub(super) fn frames(world: &World<Caller>, peer: Peer) -> Vec<String> {
    let text = |frame: &Vec<u8>| String::from_utf8_lossy(frame).into_owned();
    caller(world, peer).frames.iter().map(text).collect()
}

/// Tells the first to send so many numbered frames.
pub(super) fn send_many(world: &mut World<Caller>, count: u32) -> Vec<String> {
    let texts: Vec<String> = (0..count).map(|number| format!("frame-{number}")).collect();
    tell(world, A, &format!("send {}", texts.join(" ")));
    texts
}
