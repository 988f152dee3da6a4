//! An agent that opens ports, answers whoever comes and dials when it is told to.

use std::net::SocketAddr;

use bytes::Bytes;
use ovid::agent::{
    Agent, Carries, Configure, Conn, Done, Input, Inward, Mistake, NoMessage, Opening, Outbox, Outward,
    PasswordCost, PortId, Secret, Setup, Work,
};
use ovid::time::Time;

/// Says everything that it is told of outside, and does what the first word of a frame says.
pub(super) struct Doorkeeper {
    at: SocketAddr,
    version: u64,
}

const FRAME_BYTES_MAX: usize = 100;

impl Configure for Doorkeeper {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let at: String = setup.attr_or("at", "127.0.0.1:4000".to_owned())?;
        let version = setup.attr_or("version", 1)?;
        Ok(Self { at: at.parse().map_err(|_| Mistake::in_attr("at", "expected an address"))?, version })
    }
}

impl Agent for Doorkeeper {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => {
                let carries = Carries::Frames { frame_bytes_max: FRAME_BYTES_MAX, tls: false };
                out.outside(Outward::Listen { port: PortId(1), at: self.at, carries });
                out.outside(Outward::Listen { port: PortId(2), at: self.at, carries: Carries::Datagrams });
            }
            Input::Commands { mut commands } => {
                while let Some(line) = commands.take() {
                    command(&String::from_utf8_lossy(line), out);
                }
            }
            Input::Outside(inward) => self.told(inward, out),
            Input::Computed { token, done } => {
                let text = match done {
                    Done::Failed(why) => why,
                    done => format!("{done:?}"),
                };
                out.say(format!("computed {token}: {text}"));
            }
            _ => {}
        }
    }
}

impl Doorkeeper {
    fn told(&self, inward: Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Listening { port, at } => out.say(format!("listening {} {at} v{}", port.0, self.version)),
            Inward::NotListening { port, why } => out.say(format!("not listening {} {why}", port.0)),
            Inward::Opened { conn, by, peer } => {
                let by = match by {
                    Opening::Accepted(port) => format!("accepted {}", port.0),
                    Opening::Dialled(token) => format!("dialled {token}"),
                };
                out.say(format!("opened {by} {peer}"));
                out.outside(Outward::Frames { conn, bytes: frame("welcome") });
            }
            Inward::Unreachable { token, why } => out.say(format!("unreachable {token} {why}")),
            Inward::Frames { conn, frames } => {
                for frame in frames {
                    answer(conn, &String::from_utf8_lossy(frame), out);
                }
            }
            Inward::Drained { .. } => out.say("drained"),
            Inward::Closed { why, .. } => out.say(format!("closed {why}")),
            Inward::Datagram { port, from, bytes } => {
                out.say(format!("datagram {} {from}", port.0));
                out.outside(Outward::Datagram { port, to: from, bytes: Bytes::copy_from_slice(bytes) });
            }
        }
    }
}

fn answer(conn: Conn, text: &str, out: &mut Outbox<NoMessage>) {
    out.say(format!("frame {text}"));
    match text.split_once(' ').unwrap_or((text, "")) {
        ("bye", _) => out.outside(Outward::HangUp { conn }),
        // Four frames a kilobyte.
        ("flood", kib) => {
            for _ in 0..kib.parse::<usize>().expect("a number") * 4 {
                out.outside(Outward::Frames { conn, bytes: frame(&"x".repeat(252)) });
            }
        }
        ("block", bytes) => {
            let bytes = bytes.parse().expect("a number");
            out.outside(Outward::Frames { conn, bytes: Bytes::from(vec![0; bytes]) });
        }
        _ => out.outside(Outward::Frames { conn, bytes: frame(text) }),
    }
}

fn command(line: &str, out: &mut Outbox<NoMessage>) {
    let to = "10.0.0.1:80".parse().expect("an address");
    match line {
        "dial" => out.outside(Outward::Dial { token: 7, to, frame_bytes_max: FRAME_BYTES_MAX, tls: false }),
        "encrypt" => {
            let carries = Carries::Frames { frame_bytes_max: FRAME_BYTES_MAX, tls: true };
            out.outside(Outward::Listen { port: PortId(3), at: to, carries });
        }
        "shut" => out.outside(Outward::Shut { port: PortId(1) }),
        "again" => out.outside(Outward::Listen { port: PortId(1), at: to, carries: Carries::Datagrams }),
        "hash" => {
            let cost = PasswordCost { memory_kib: 8, passes: 1 };
            let password = Secret(Bytes::from_static(b"secret"));
            out.compute(3, Work::HashPassword { password, salt: [0; 16], cost });
        }
        _ => panic!("{line:?}"),
    }
}

pub(super) fn frame(text: &str) -> Bytes {
    let mut bytes = u32::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}
