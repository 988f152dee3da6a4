//! A client of the chat for this program's own purposes: it blocks, and goes on over the death of servers.
//!
//! What a client does is decided in [`Client`], which has no socket. Here it gets one: [`Talk`] dials, reads and writes as the client asks, and hands
//! on what happens to its user. [`Line`] is a connection alone, for those who send so much that they do the rest themselves.
//!
//! It may know sockets and a clock; it must not know what its users are about.

#![expect(clippy::disallowed_methods, reason = "whoever talks to real servers lives in real time")]

mod line;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use log::debug;

pub use self::line::{Line, user_route};
pub use crate::agents::messenger::client::{
    Answer, Client, ClientEvent, ClientOptions, ClientOutput, Recipient, Spot,
};
use crate::reactor::Trust;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::Route;

/// A user of the chat, on one server or looking for one.
#[derive(Debug)]
pub struct Talk {
    client: Client,
    begun: Instant,
    /// How long a connection may take to come about.
    dial: Duration,
    /// The connection, and the dial that it is called by.
    line: Option<(u64, Line)>,
    events: VecDeque<ClientEvent>,
    trust: Option<Trust>,
}

impl Talk {
    /// A client that looks for a server as soon as it is asked for what happens. `rng` has to be another one each time: it tells this client instance from others.
    pub fn new(options: ClientOptions, rng: Rng) -> Self {
        let dial = options.dial;
        let mut client = Client::new(options, rng);
        client.connect(Time::ZERO, &[]);
        Self { client, begun: Instant::now(), dial, line: None, events: VecDeque::new(), trust: None }
    }

    /// The same client, with encrypted connections to servers for which `trust` vouches. To be said before anything else.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Leaves the server that it is on, if any, for one of these, or, if there are none, for one of those that it knows.
    pub fn connect(&mut self, servers: &[SocketAddr]) {
        let now = self.now();
        self.client.connect(now, servers);
        self.carry_out();
    }

    /// Leaves, and looks for no other server until [`Talk::connect`].
    pub fn disconnect(&mut self) {
        let now = self.now();
        self.client.disconnect(now);
        self.carry_out();
    }

    /// Writes a message; what it is called in what is told of it. It leaves now or when there is a server.
    pub fn send(&mut self, to: Recipient, text: impl Into<String>) -> u64 {
        let now = self.now();
        let ticket = self.client.send(now, to, text);
        self.carry_out();
        ticket
    }

    /// Everything up to here has been read; for a client that does not say so by itself.
    pub fn acknowledge(&mut self, spot: &Spot) {
        let now = self.now();
        self.client.acknowledge(now, spot);
        self.carry_out();
    }

    /// Asks for something other than a message; what it is called in the answer, which says so if there is no server.
    pub fn ask(&mut self, route: Route) -> u64 {
        let now = self.now();
        let request = self.client.ask(now, route);
        self.carry_out();
        request
    }

    /// The client, as it is now.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What has happened and was not handed out yet; it does not wait.
    pub fn told(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// What happens next; none if nothing does in this time.
    pub fn next(&mut self, patience: Duration) -> Option<ClientEvent> {
        let until = Instant::now() + patience;
        loop {
            self.carry_out();
            if let Some(event) = self.told() {
                return Some(event);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.turn(left);
        }
    }

    /// Waits for one thing to happen to the client, for at most this long.
    fn turn(&mut self, patience: Duration) {
        let now = self.now();
        let due = self.client.deadline().map(|deadline| deadline.since(now));
        if due.is_some_and(|due| due.is_zero()) {
            return self.client.timeout(now);
        }
        let patience = due.map_or(patience, |due| due.min(patience));
        let Some((dial, line)) = &mut self.line else { return thread::sleep(patience) };
        let (dial, came) = (*dial, line.receive_frame(patience));
        let now = self.now();
        match came {
            Ok(Some(frame)) => self.client.frames(now, dial, [frame.as_slice()].into_iter()),
            Ok(None) => {}
            Err(error) => self.lost(dial, &error),
        }
    }

    /// Does what the client asks for, until it asks for nothing.
    fn carry_out(&mut self) {
        loop {
            let outputs: Vec<ClientOutput> = self.client.take_outputs().collect();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    ClientOutput::Dial { dial, to } => self.dial(dial, to),
                    ClientOutput::Frames { dial, bytes } => self.write(dial, &bytes),
                    ClientOutput::HangUp { dial } => drop(self.line.take_if(|(held, _)| *held == dial)),
                    ClientOutput::Event(event) => self.events.push_back(event),
                }
            }
        }
    }

    fn dial(&mut self, dial: u64, to: SocketAddr) {
        self.line = None;
        match Line::connect(to, self.dial, self.trust.as_ref()) {
            Ok(line) => {
                if self.client.opened(self.now(), dial) {
                    self.line = Some((dial, line));
                }
            }
            Err(error) => {
                debug!("talk: no connection to={to} why={error:#}");
                self.client.unreachable(self.now(), dial);
            }
        }
    }

    fn write(&mut self, dial: u64, frames: &[u8]) {
        let Some((held, line)) = &mut self.line else { return };
        if *held == dial
            && let Err(error) = line.write(frames)
        {
            self.lost(dial, &error);
        }
    }

    fn lost(&mut self, dial: u64, why: &anyhow::Error) {
        debug!("talk: the connection is lost why={why:#}");
        self.line = None;
        self.client.closed(self.now(), dial);
    }

    fn now(&self) -> Time {
        Time::since_start(self.begun.elapsed())
    }
}
