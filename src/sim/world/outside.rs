//! What is outside of the grid, as agents of the world reach it ([`Outward`], [`Inward`]): other agents of the same world, by addresses instead of links.
//!
//! Every agent has an address of its own ([`World::address`]), listens on it and dials those of others. Connections carry bytes in their order, and hand them over in
//! reads of whatever size: several frames may come at once, and one frame in several. Faults are those of links: a partition, a stall and a pause hold bytes up; a
//! break and a crash drop what is on its way. Whoever has died is noticed as on links ([`FailureModel`](crate::sim::FailureModel)). Datagrams are lost, repeated and reordered by the same
//! [`Settings`](super::Settings) as messages on the carrier `datagram`, whatever the carrier is; connections need `stream`.
//!
//! Nothing is handed to an agent while its outputs are carried out: what it has to be told waits as [`News`] for the next event.

mod carrying;
mod datagrams;
mod dialling;
mod pipes;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use self::datagrams::Letters;
use self::dialling::Dial;
pub use self::pipes::ConnectionId;
pub(super) use self::pipes::PipeEnd;
use self::pipes::Pipes;
use super::{Agent, Event, World, mark};
use crate::agent::{Carries, Conn, Input, Inward, Looked, Opening, Outward, Peer, PortId, Why};
use crate::rng::Rng;
use crate::sim::Carrier;
use crate::trace::What;

/// All of it.
#[derive(Debug)]
pub(super) struct Outside {
    /// What is drawn comes from here.
    rng: Rng,
    sides: BTreeMap<Peer, Side>,
    dials: BTreeMap<u32, Dial>,
    dials_made: u32,
    pipes: Pipes,
    letters: Letters,
}

impl Outside {
    pub(super) fn new(rng: Rng) -> Self {
        let (sides, dials) = (BTreeMap::new(), BTreeMap::new());
        Self { rng, sides, dials, dials_made: 0, pipes: Pipes::default(), letters: Letters::default() }
    }
}

/// What one agent has to do with it, in its present life.
#[derive(Debug, Default)]
struct Side {
    /// By their numbers, those of connections and those of datagrams apart.
    ports: BTreeMap<(Kind, u16), Port>,
    /// The last number that was chosen for a port or a dial.
    chosen: u16,
    news: VecDeque<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Connections,
    Datagrams,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    id: PortId,
    carries: Carries,
}

/// What an agent is to be told.
#[derive(Debug)]
enum News {
    Listening {
        port: PortId,
        at: SocketAddr,
    },
    NotListening {
        port: PortId,
        why: String,
    },
    Opened {
        conn: Conn,
        by: Opening,
        peer: SocketAddr,
        other: Peer,
    },
    Unreachable {
        token: u64,
        why: &'static str,
    },
    Drained {
        conn: Conn,
    },
    Closed {
        conn: Conn,
        why: Why,
        other: Peer,
    },
    /// There are no rows.
    Looked {
        token: u64,
    },
}

impl<A: Agent> World<A> {
    /// Where an agent is reached from outside of the grid.
    pub fn address(&self, peer: Peer) -> IpAddr {
        let [_, high, middle, low] = (peer.0 + 1).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(NETWORK, high, middle, low))
    }

    /// Carries out [`Output::Outside`](crate::agent::Output::Outside).
    pub(super) fn ask_outside(&mut self, peer: Peer, outward: Outward) {
        if self.settings.carrier == Carrier::Datagram && needs_connections(&outward) {
            let what =
                format!("agent {peer} asked for a connection, or a port for some; datagrams travel without");
            return self.break_law("outputs", what);
        }
        match outward {
            Outward::Listen { port, at, carries } => self.listen(peer, port, at, carries),
            Outward::Shut { port } => {
                self.digest(mark::OUTSIDE, peer, u64::from(port.0));
                self.side(peer).ports.retain(|_, open| open.id != port);
            }
            Outward::Dial { token, to, frame_bytes_max, tls } => {
                self.dial(peer, token, to, frame_bytes_max, tls);
            }
            Outward::Frames { conn, bytes } => self.send_frames(peer, conn, bytes),
            Outward::HangUp { conn } => self.hang_up(peer, conn),
            Outward::Datagram { port, to, bytes } => self.send_letter(peer, port, to, &bytes),
        }
    }

    /// Answers a question for rows of an agent whose log keeps none.
    pub(super) fn look_at_nothing(&mut self, peer: Peer, token: u64) {
        self.bring(peer, News::Looked { token });
    }

    fn listen(&mut self, peer: Peer, port: PortId, at: SocketAddr, carries: Carries) {
        self.digest(mark::OUTSIDE, peer, u64::from(at.port()));
        let ip = self.address(peer);
        if at.ip() != ip && !at.ip().is_unspecified() {
            let why = format!("{} is no address of this server, which has {ip}", at.ip());
            return self.bring(peer, News::NotListening { port, why });
        }
        let kind = match carries {
            Carries::Frames { .. } => Kind::Connections,
            Carries::Datagrams => Kind::Datagrams,
        };
        let side = self.side(peer);
        let number = if at.port() == 0 { side.choose(kind) } else { at.port() };
        if side.ports.values().any(|open| open.id == port) {
            let why = "this agent has a port of that number already".to_owned();
            return self.bring(peer, News::NotListening { port, why });
        }
        if side.ports.contains_key(&(kind, number)) {
            let why = "the address is in use".to_owned();
            return self.bring(peer, News::NotListening { port, why });
        }
        side.ports.insert((kind, number), Port { id: port, carries });
        self.bring(peer, News::Listening { port, at: SocketAddr::new(ip, number) });
    }

    fn side(&mut self, peer: Peer) -> &mut Side {
        self.outside.sides.entry(peer).or_default()
    }

    /// Who has an address; nobody perhaps. Each agent is its own `localhost`.
    fn at(&self, from: Peer, ip: IpAddr) -> Option<Peer> {
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(from);
        }
        let IpAddr::V4(ip) = ip else { return None };
        let [network, high, middle, low] = ip.octets();
        let number = u32::from_be_bytes([0, high, middle, low]).checked_sub(1)?;
        let known = network == NETWORK && (number as usize) < self.nodes.len();
        known.then_some(Peer(number))
    }

    /// Lets an agent be told something, once all outputs are carried out.
    fn bring(&mut self, to: Peer, news: News) {
        let incarnation = self.node(to).incarnation;
        self.side(to).news.push_back(news);
        self.push(self.now, Event::OutsideNews { peer: to, incarnation });
    }

    pub(super) fn tell_outside_news(&mut self, peer: Peer, incarnation: u32) {
        let event = Event::OutsideNews { peer, incarnation };
        if self.node(peer).incarnation != incarnation || self.hold(peer, event) {
            return;
        }
        let Some(news) = self.side(peer).news.pop_front() else { return };
        self.write_down(peer, &news);
        let inward = match news {
            News::Listening { port, at } => Inward::Listening { port, at },
            News::NotListening { port, ref why } => Inward::NotListening { port, why },
            News::Opened { conn, by, peer, .. } => Inward::Opened { conn, by, peer },
            News::Unreachable { token, why } => Inward::Unreachable { token, why },
            News::Drained { conn } => Inward::Drained { conn },
            News::Closed { conn, why, .. } => Inward::Closed { conn, why },
            News::Looked { token } => {
                let looked = Looked { token, rows: Vec::new(), more: false };
                return self.hand(peer, Input::Looked { looked });
            }
        };
        self.hand(peer, Input::Outside(inward));
    }

    /// Puts what an agent is told into the digest and the trace.
    fn write_down(&mut self, peer: Peer, news: &News) {
        let detail = match *news {
            News::Listening { at, .. } => u64::from(at.port()),
            News::NotListening { port, .. } => u64::from(port.0),
            News::Opened { conn, .. } | News::Drained { conn } | News::Closed { conn, .. } => conn.0,
            News::Unreachable { token, .. } | News::Looked { token } => token,
        };
        let kind = match news {
            News::Listening { .. } => 1,
            News::NotListening { .. } => 2,
            News::Opened { .. } => 3,
            News::Unreachable { .. } => 4,
            News::Drained { .. } => 5,
            News::Closed { .. } => 6,
            News::Looked { .. } => 7,
        };
        self.digest(mark::OUTSIDE_NEWS, peer, kind);
        self.digest.word(detail);
        self.tell(peer, |world| match *news {
            News::Opened { conn, other, .. } => {
                What::Up { peer: world.name_of(other), link: PipeEnd::of(conn).pipe.to_string() }
            }
            News::Closed { conn, why, other } => What::Down {
                peer: world.name_of(other),
                link: PipeEnd::of(conn).pipe.to_string(),
                why: why.to_string(),
            },
            News::Unreachable { token, why } => {
                What::Note { text: format!("dial {token} reaches nobody: {why}") }
            }
            ref other => What::Note { text: format!("is told: {other:?}") },
        });
    }

    /// An agent has crashed: its ports are closed, and so are its connections, as far as the others notice that.
    pub(super) fn crash_outside(&mut self, peer: Peer) {
        self.outside.sides.remove(&peer);
        self.outside.dials.retain(|_, dial| dial.from != peer);
        for pipe in self.outside.pipes.of(peer) {
            self.pipe_end_died(pipe, peer);
        }
    }

    /// What held bytes up has ended, perhaps: they arrive, and who does not know yet that the other side is dead learns of it.
    pub(super) fn free_outside(&mut self) {
        for pipe in self.outside.pipes.ids() {
            self.free_pipe(pipe);
        }
    }
}

impl Side {
    /// A number that no port has.
    fn choose(&mut self, kind: Kind) -> u16 {
        loop {
            self.chosen = if self.chosen < CHOSEN_MIN { CHOSEN_MIN } else { self.chosen.wrapping_add(1) };
            if self.chosen >= CHOSEN_MIN && !self.ports.contains_key(&(kind, self.chosen)) {
                return self.chosen;
            }
        }
    }
}

fn needs_connections(outward: &Outward) -> bool {
    matches!(outward, Outward::Dial { .. } | Outward::Listen { carries: Carries::Frames { .. }, .. })
}

/// All addresses begin so.
const NETWORK: u8 = 10;
/// The smallest number that is chosen for a port where none is asked for.
const CHOSEN_MIN: u16 = 49_152;
/// For so long somebody is dialled who does not answer, since a partition lies between, say.
const DIALLING_LIMIT: Duration = Duration::from_secs(3);
