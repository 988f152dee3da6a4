//! Dials: they are answered, or refused, or nothing comes back.

use std::net::SocketAddr;
use std::time::Duration;

use super::pipes::End;
use super::{DIALLING_LIMIT, Kind, News};
use crate::agent::{Agent, Carries, Opening, Peer};
use crate::sim::FailureModel;
use crate::sim::world::{Event, World, mark};
use crate::time::Time;
use crate::trace::What;

/// Somebody who dials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) from: Peer,
    /// As the other side will see it.
    from_address: SocketAddr,
    token: u64,
    to: SocketAddr,
    frame_bytes_max: usize,
    tls: bool,
    gives_up: Time,
}

/// What comes of a dial now.
enum Reached {
    /// Somebody who listens, by this port.
    Port(Peer, End),
    /// Nobody, and the dialler knows.
    Refused(&'static str),
    /// Nothing comes back.
    Silence,
}

impl<A: Agent> World<A> {
    pub(super) fn dial(&mut self, from: Peer, token: u64, to: SocketAddr, frame_bytes_max: usize, tls: bool) {
        self.digest(mark::DIAL, from, token);
        self.tell(from, |_| What::Note { text: format!("dials {to}") });
        let from_address = SocketAddr::new(self.address(from), self.side(from).choose(Kind::Connections));
        let gives_up = self.now + DIALLING_LIMIT;
        let number = self.outside.dials_made;
        self.outside.dials_made = number.wrapping_add(1);
        let dial = Dial { from, from_address, token, to, frame_bytes_max, tls, gives_up };
        self.outside.dials.insert(number, dial);
        let after = self.settings.connecting.draw(&mut self.outside.rng);
        self.push(self.now + after, Event::Dial { dial: number });
    }

    pub(in crate::sim::world) fn dial_due(&mut self, number: u32) {
        let Some(&dial) = self.outside.dials.get(&number) else { return };
        if self.hold(dial.from, Event::Dial { dial: number }) {
            return;
        }
        match self.reach(&dial) {
            Reached::Silence if self.now < dial.gives_up => {
                let again = (self.now + DIALLED_AGAIN_AFTER).min(dial.gives_up);
                return self.push(again, Event::Dial { dial: number });
            }
            Reached::Silence => {
                self.bring(dial.from, News::Unreachable { token: dial.token, why: "nobody answers" });
            }
            Reached::Refused(why) => {
                self.bring(dial.from, News::Unreachable { token: dial.token, why });
            }
            Reached::Port(to, end) => self.connect_pipe(&dial, to, end),
        }
        self.outside.dials.remove(&number);
    }

    fn reach(&self, dial: &Dial) -> Reached {
        let Some(to) = self.at(dial.from, dial.to.ip()) else { return Reached::Silence };
        if self.partitions.between(dial.from, to) || self.partitions.between(to, dial.from) {
            return Reached::Silence;
        }
        if !self.is_alive(to) {
            // A process that has died is told from a whole machine that has.
            return match self.settings.failure_model {
                FailureModel::Rst => Reached::Refused("connection refused"),
                FailureModel::Send => Reached::Silence,
            };
        }
        let port = self.outside.sides.get(&to).and_then(|side| {
            let port = side.ports.get(&(Kind::Connections, dial.to.port()))?;
            let Carries::Frames { frame_bytes_max, tls } = port.carries else { return None };
            Some((port.id, frame_bytes_max, tls))
        });
        match port {
            None => Reached::Refused("connection refused"),
            Some((_, _, tls)) if tls != dial.tls => {
                Reached::Refused("one side wants the connection encrypted, and the other does not")
            }
            Some((id, frame_bytes_max, _)) => {
                Reached::Port(to, End::new(to, Opening::Accepted(id), frame_bytes_max))
            }
        }
    }

    fn connect_pipe(&mut self, dial: &Dial, to: Peer, accepting: End) {
        let by = accepting.by;
        let dialling = End::new(dial.from, Opening::Dialled(dial.token), dial.frame_bytes_max);
        let [dialler, acceptor] = self.outside.pipes.insert([dialling, accepting], self.now);
        let (from, from_address) = (dial.from, dial.from_address);
        self.bring(to, News::Opened { conn: acceptor, by, peer: from_address, other: from });
        let by = Opening::Dialled(dial.token);
        self.bring(from, News::Opened { conn: dialler, by, peer: dial.to, other: to });
    }
}

/// As often somebody who does not answer is tried.
const DIALLED_AGAIN_AFTER: Duration = Duration::from_secs(1);
