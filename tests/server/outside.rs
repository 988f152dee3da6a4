//! What agents do outside of the grid, with real sockets: boxes with an agent that this test brings along, each in a thread.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use ovid::agent::{
    Agent, Carries, Configure, Done, Input, Inward, Mistake, NoMessage, Outbox, Outward, PasswordCost,
    PortId, Registry, Secret, Setup, Work,
};
use ovid::config::{self, Format};
use ovid::grid::BoxAddress;
use ovid::reactor::{Credentials, Doors, End, Reactor};
use ovid::server::{BoxSetup, ExperimentSetup, LinkSettings, ReplyFraming, Roster, Server, Settings};
use ovid::time::Time;

use crate::grid::{LIMIT, Master, connect, free_ports, wait_until};

/// Gives back what it is sent, and tells its sessions what happens.
struct Echo {
    tls: bool,
}

impl Configure for Echo {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        Ok(Self { tls: setup.attr_or("tls", false)? })
    }
}

impl Agent for Echo {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => {
                let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let carries = Carries::Frames { frame_bytes_max: 1 << 20, tls: self.tls };
                out.outside(Outward::Listen { port: PortId(1), at, carries });
                out.outside(Outward::Listen { port: PortId(2), at, carries: Carries::Datagrams });
            }
            Input::Commands { mut commands } => {
                while let Some(line) = commands.take() {
                    obey(&String::from_utf8_lossy(line), self.tls, out);
                }
            }
            Input::Outside(inward) => told(inward, out),
            Input::Computed { done: Done::Hash(hash), .. } => out.say(hash),
            _ => {}
        }
    }
}

fn obey(line: &str, tls: bool, out: &mut Outbox<NoMessage>) {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("dial", to) => {
            let to = to.parse().expect("an address");
            out.outside(Outward::Dial { token: 5, to, frame_bytes_max: 1 << 20, tls });
        }
        ("hash", _) => {
            let cost = PasswordCost { memory_kib: 19 * 1024, passes: 2 };
            let password = Secret(Bytes::from_static(b"secret"));
            out.compute(0, Work::HashPassword { password, salt: [0; 16], cost });
        }
        _ => panic!("{line:?}"),
    }
}

fn told(inward: Inward<'_>, out: &mut Outbox<NoMessage>) {
    match inward {
        Inward::Opened { conn, by: ovid::agent::Opening::Dialled(_), .. } => {
            out.say("dialled");
            out.outside(Outward::Frames { conn, bytes: frame(b"say hello") });
        }
        Inward::Unreachable { token, why } => out.say(format!("unreachable {token}: {why}")),
        Inward::NotListening { port, why } => out.say(format!("not listening {}: {why}", port.0)),
        Inward::Closed { why, .. } => out.say(format!("closed {why}")),
        Inward::Datagram { port, from, bytes } => {
            out.outside(Outward::Datagram { port, to: from, bytes: Bytes::copy_from_slice(bytes) });
        }
        Inward::Frames { conn, frames } => {
            for bytes in frames {
                if let Some(text) = bytes.strip_prefix(b"say ") {
                    out.say(Bytes::copy_from_slice(text));
                    continue;
                }
                out.outside(Outward::Frames { conn, bytes: frame(bytes) });
                if bytes == b"bye" {
                    out.outside(Outward::HangUp { conn });
                }
            }
        }
        _ => {}
    }
}

pub(crate) fn frame(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length[..], bytes].concat().into()
}

/// A box with the agent `echo`, in a thread.
pub(crate) struct EchoBox {
    control: SocketAddr,
    thread: Option<JoinHandle<End>>,
}

impl EchoBox {
    fn start() -> Self {
        Self::with(None)
    }

    /// Everything is encrypted, if there are credentials.
    pub(crate) fn with(credentials: Option<Credentials>) -> Self {
        let (link_port, control_port) = free_ports(1);
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (links, control) = (at(link_port), at(control_port));
        let thread = thread::spawn(move || run(links, control, credentials));
        Self { control, thread: Some(thread) }
    }

    pub(crate) fn session(&self) -> Master {
        let mut session = Master::new(connect(self.control));
        assert_eq!(session.ask("attach echo"), "attached echo");
        session
    }

    /// What its status says of the agent's port `number`, counted from 0.
    fn port(&self, number: usize) -> serde_json::Value {
        let status = Master::new(connect(self.control)).ask("status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["agents"][0]["ports"][number].clone()
    }

    /// Where that port is.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        let mut at = None;
        wait_until("the port is open", || {
            at = self.port(number)["at"].as_str().map(|at| at.parse().expect("an address"));
            at.is_some()
        });
        at.expect("it is open")
    }

    fn client(&self) -> TcpStream {
        let stream = connect(self.address(0));
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        stream
    }
}

impl Drop for EchoBox {
    fn drop(&mut self) {
        Master::new(connect(self.control)).send("stop");
        let end = self.thread.take().expect("it runs").join();
        assert!(thread::panicking() || end.expect("no panic") == End::Stop);
    }
}

fn run(links: SocketAddr, control: SocketAddr, credentials: Option<Credentials>) -> End {
    let address: BoxAddress = links.to_string().parse().expect("valid");
    let registry = Registry::builtin().with::<Echo>("echo");
    let tls = credentials.is_some();
    let text = format!(r#"{{"echo": {{"type": "echo", "box": "{address}", "attrs": {{"tls": {tls}}}}}}}"#);
    let configuration = config::read(&text, Format::Json, &registry).expect("valid");
    let settings = Settings {
        links: LinkSettings {
            roster: Roster::of_box(address),
            heartbeat: Duration::from_millis(240),
            silence_max: Duration::from_millis(800),
            line_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            strangers_max: 16,
        },
        reply_framing: ReplyFraming::Newline,
        masters_max: 16,
        connections_max: 16,
        tracing: false,
    };
    let mut reactor = Reactor::new(&Doors { links, masters: Some(control) }).expect("the ports are free");
    if let Some(credentials) = credentials {
        reactor.use_tls(credentials);
    }
    let setup = BoxSetup {
        address,
        configuration,
        registry,
        seed: 1,
        secret: None,
        unix_ms_at_start: 0,
        experiment: ExperimentSetup::default(),
    };
    let mut server = Server::of_box(settings, setup, reactor.now());
    reactor.run(&mut server).expect("it runs")
}

/// Reads as many frames as were sent, and says what they hold.
pub(crate) fn read_frames(stream: impl Read, count: usize) -> Vec<Vec<u8>> {
    let mut stream = std::io::BufReader::new(stream);
    let mut next = || {
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("in time");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).expect("in time");
        frame
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_client_that_reads_only_after_it_has_sent_everything_gets_every_answer_in_order() {
    const COUNT: usize = 100_000;
    let echo = EchoBox::start();
    let mut client = echo.client();
    let mut writer = client.try_clone().expect("a socket");
    let text = |number: usize| format!("{number}{}", ".".repeat(number % 200));
    let stream: Vec<u8> = (0..COUNT).flat_map(|number| frame(text(number).as_bytes())).collect();
    // Far more than the buffers of both sides and the box's own mark hold: the box stops reading, the writer waits.
    assert!(stream.len() > 8 << 20);
    let writing = thread::spawn(move || writer.write_all(&stream).expect("taken in time"));
    wait_until("the connection is open", || echo.port(0)["connections"] == 1);
    let mut other = echo.client();
    other.write_all(&frame(b"meanwhile")).expect("taken");
    assert_eq!(read_frames(&mut other, 1), [b"meanwhile"]);
    let frames = read_frames(&mut client, COUNT);
    writing.join().expect("no panic");
    let whole = frames.iter().enumerate().all(|(number, frame)| frame == text(number).as_bytes());
    assert!(whole, "lost, doubled or out of order");
}

#[test]
fn who_is_hung_up_on_reads_all_that_was_sent_before() {
    let echo = EchoBox::start();
    let mut session = echo.session();
    let mut client = echo.client();
    // It sends on after its farewell, which the box does not read: that must not cost it what is on its way.
    let large = vec![7; 1 << 20];
    let stream = [frame(&large), frame(&large), frame(b"bye"), frame(b"late")].concat();
    let mut writer = client.try_clone().expect("a socket");
    let writing = thread::spawn(move || writer.write_all(&stream).expect("taken in time"));
    let frames = read_frames(&mut client, 3);
    writing.join().expect("no panic");
    assert!(frames[..2].iter().all(|frame| *frame == large));
    assert_eq!(frames[2], b"bye");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("a peaceful end");
    drop(client);
    assert_eq!(session.answer(), "closed closed");
    wait_until("nothing is left", || echo.port(0)["connections"] == 0);
}

#[test]
fn datagrams_are_given_back() {
    let echo = EchoBox::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let (at, mut buffer) = (echo.address(1), [0; 100]);
    wait_until("one has come back", || {
        socket.send_to(b"question", at).expect("sent");
        matches!(socket.recv_from(&mut buffer), Ok((8, from)) if from == at && &buffer[..8] == b"question")
    });
}

#[test]
fn agents_dial_each_other_and_hear_of_the_end() {
    let (one, other) = (EchoBox::start(), EchoBox::start());
    let (mut session, mut heard) = (one.session(), other.session());
    session.send(&format!("dial {}", other.address(0)));
    assert_eq!(session.answer(), "dialled");
    assert_eq!(heard.answer(), "hello");
    let gone = other.address(0);
    drop((heard, other));
    assert!(session.answer().starts_with("closed"));
    session.send(&format!("dial {gone}"));
    assert!(session.answer().starts_with("unreachable 5: "));
}

#[test]
fn passwords_are_hashed_beside_the_loop() {
    let echo = EchoBox::start();
    let mut session = echo.session();
    for _ in 0..3 {
        session.send("hash");
    }
    let mut client = echo.client();
    client.write_all(&frame(b"meanwhile")).expect("taken");
    assert_eq!(read_frames(&mut client, 1), [b"meanwhile"]);
    let hash = session.answer();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_eq!([session.answer(), session.answer()], [hash.clone(), hash], "the same work, the same result");
}
