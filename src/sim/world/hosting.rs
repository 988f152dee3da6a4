//! Hosting agents: one input, then all its outputs in order, then the next input.

use bytes::Bytes;

use super::{Agent, Event, Held, Peer, Port, Route, Session, World, clock, mark};
use crate::agent::{Commands, Dest, Input, Output, Request, Taken, Wire};
use crate::sim::world::{Answer, Said, Told};
use crate::time::Time;
use crate::trace::What;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The agent took it, and will answer if there is a request.
    Taken(Option<Request>),
    /// The agent did not understand it.
    NotUnderstood,
    /// The agent is paused and will hear it when it runs again.
    Later,
    /// The agent has crashed.
    Dead,
}

/// After so many timeouts at one time an agent is taken to want one for ever.
const TIMEOUTS_AT_ONCE_MAX: u32 = 1_000;

impl<A: Agent> World<A> {
    /// Sets where an agent sends what it sends to the virtual destination `name`; several targets are a multicast. An agent
    /// that has started is told.
    pub fn route(&mut self, peer: Peer, name: &str, targets: &[(Peer, Port)]) {
        let node = self.node_mut(peer);
        let targets = targets.to_vec();
        match node.routes.iter_mut().find(|route| route.name == name) {
            Some(route) => route.targets = targets,
            None => node.routes.push(Route { name: name.to_owned(), targets }),
        }
        if self.node(peer).started {
            self.rerouted(peer);
        }
    }

    /// Gives an agent one line of a session, without its newline.
    pub fn command(&mut self, peer: Peer, session: Session, line: &str) -> Heard {
        let node = self.node_mut(peer);
        if node.agent.is_none() {
            return Heard::Dead;
        }
        if node.paused {
            node.held.push(Held::Command { session, line: line.to_owned() });
            return Heard::Later;
        }
        self.start(peer);
        self.tell(peer, |_| What::Command { text: line.to_owned() });
        self.digest(mark::COMMAND, peer, session.0);
        self.digest.bytes(line.as_bytes());
        let number = self.requests.get(&(peer, session)).map_or(0, |last| last + 1);
        let request = Request { session, number };
        let (region, taken) = (format!("{line}\n"), Taken::default());
        // What the agent does may be looked at in the order in which it came about: first the command, then its effects.
        let place = self.happened.told.len();
        self.happened.told.push(Told { to: peer, session, line: line.to_owned(), request: None });
        let commands = Commands::new(region.as_bytes(), true, request, &taken);
        self.hand(peer, Input::Commands { commands });
        if taken.bytes_left() > 0 {
            self.happened.told.remove(place);
            return Heard::NotUnderstood;
        }
        if !taken.asked() {
            return Heard::Taken(None);
        }
        self.requests.insert((peer, session), number);
        self.happened.told[place].request = Some(request);
        Heard::Taken(Some(request))
    }

    pub(super) fn start(&mut self, peer: Peer) {
        let node = self.node(peer);
        if node.started || node.agent.is_none() || self.hold(peer, Event::Start { peer }) {
            return;
        }
        self.tell(peer, |_| What::Start);
        self.begin(peer);
    }

    /// The first input of an agent that has been told to have started.
    pub(super) fn begin(&mut self, peer: Peer) {
        self.nodes[peer.index()].started = true;
        self.happened.started.push(peer);
        self.recover_store(peer);
        self.digest(mark::START, peer, 0);
        self.hand(peer, Input::Start);
    }

    fn rerouted(&mut self, peer: Peer) {
        let mut names: Vec<String> = self.node(peer).routes.iter().map(|route| route.name.clone()).collect();
        names.sort_unstable();
        self.digest(mark::REROUTE, peer, names.len() as u64);
        self.hand(peer, Input::Rerouted { routes: &names });
    }

    /// Hands an agent one input and carries its outputs out. Nothing happens if it is not there any more.
    pub(super) fn hand(&mut self, peer: Peer, input: Input<'_, A::Msg>) {
        let now = clock::local(self.now, self.nodes[peer.index()].drift_ppm);
        let Some(agent) = &mut self.nodes[peer.index()].agent else { return };
        agent.handle(now, input, &mut self.outbox);
        self.figures.events += 1;
        if self.happened.touched.last() != Some(&peer) {
            self.happened.touched.push(peer);
        }
        if !self.outbox.is_empty() {
            self.carry_out(peer);
        }
        self.arm(peer);
    }

    fn carry_out(&mut self, peer: Peer) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for output in outbox.drain() {
            match output {
                Output::Send { to: Dest::Peer(to, port), message } => self.send(peer, to, port, message),
                Output::Send { to: Dest::Route(name), message } => self.send_on_route(peer, &name, message),
                Output::Lines { .. } => {
                    self.break_law(
                        "outputs",
                        format!("agent {peer} sent a lab's lines; only whole servers carry them"),
                    );
                }
                Output::Reply { to, parts } => self.answer(peer, to, &parts),
                Output::Say { line } => {
                    let line = text(&line);
                    self.digest(mark::SAY, peer, 0);
                    self.digest.bytes(line.as_bytes());
                    self.tell(peer, |_| What::Answer { text: line.clone() });
                    self.happened.said.push(Said { from: peer, line });
                }
                Output::Propose { record } => self.propose(peer, record),
                Output::Link { peer: other } => self.open_link(peer, other),
                Output::Unlink { peer: other } => self.close_link(peer, other),
                Output::Post { to: (to, port), message } => self.post(peer, to, port, message),
                Output::Barrier { token } => self.barrier(peer, token),
                // A log that is never cut keeps no rows.
                Output::Look(look) => self.look_at_nothing(peer, look.token),
                Output::Outside(outward) => self.ask_outside(peer, outward),
                Output::Compute { token, work } => self.ask_work(peer, token, work),
                Output::Write(write) => self.write(peer, write),
                Output::Read(read) => self.read(peer, &read),
                Output::Note { text } => self.tell(peer, |_| What::Note { text }),
            }
        }
        self.outbox = outbox;
    }

    fn send_on_route(&mut self, from: Peer, name: &str, message: A::Msg) {
        let node = &mut self.nodes[from.index()];
        let Some(place) = node.routes.iter().position(|route| route.name == name) else {
            let what = || What::Note { text: format!("sent to {name:?}, which is no route of this agent") };
            return self.tell(from, |_| what());
        };
        let targets = std::mem::take(&mut node.routes[place].targets);
        if let Some((&(last, port), others)) = targets.split_last() {
            for &(to, port) in others {
                self.send(from, to, port, message.clone());
            }
            self.send(from, last, port, message);
        }
        self.nodes[from.index()].routes[place].targets = targets;
    }

    fn answer(&mut self, from: Peer, to: Request, parts: &[Bytes]) {
        let line = text(&parts.concat());
        self.digest(mark::ANSWER, from, to.number);
        self.digest.bytes(line.as_bytes());
        self.tell(from, |_| What::Answer { text: line.clone() });
        self.happened.answers.push(Answer { from, to, line });
    }

    /// Puts the agent's deadline into the queue. A deadline that has moved back is not taken out: when the earlier time comes, the
    /// agent is asked again.
    pub(super) fn arm(&mut self, peer: Peer) {
        let node = &mut self.nodes[peer.index()];
        let Some(deadline) = node.agent.as_ref().and_then(Agent::deadline) else { return };
        let deadline = clock::global(deadline, node.drift_ppm);
        if node.timer.scheduled.is_some_and(|scheduled| scheduled <= deadline) {
            return;
        }
        let deadline = deadline.max(self.now);
        node.timer.generation = node.timer.generation.wrapping_add(1);
        node.timer.scheduled = Some(deadline);
        let generation = node.timer.generation;
        self.push(deadline, Event::Timeout { peer, generation });
    }

    pub(super) fn time_out(&mut self, peer: Peer, generation: u32) {
        let now = self.now;
        self.look_ahead(peer);
        let node = &mut self.nodes[peer.index()];
        let local = clock::local(now, node.drift_ppm);
        // A paused agent is asked for its deadline when it runs again.
        if node.timer.generation != generation || node.paused {
            return;
        }
        node.timer.scheduled = None;
        if node.agent.as_ref().and_then(Agent::deadline).is_none_or(|deadline| deadline > local) {
            return self.arm(peer);
        }
        let at_once = if node.timeouts.0 == now { node.timeouts.1 + 1 } else { 1 };
        node.timeouts = (now, at_once);
        if at_once > TIMEOUTS_AT_ONCE_MAX {
            let what = format!("agent {peer} still wants a timeout now after {TIMEOUTS_AT_ONCE_MAX} of them");
            return self.break_law("deadline", what);
        }
        self.digest(mark::TIMEOUT, peer, 0);
        self.hand(peer, Input::Timeout);
    }

    /// What a message becomes that goes through its codec and back.
    pub(super) fn through_codec(&mut self, from: Peer, port: Port, message: A::Msg) -> Option<A::Msg> {
        if !self.settings.wire {
            return Some(message);
        }
        let mut bytes = std::mem::take(&mut self.encoded);
        bytes.clear();
        message.encode(&mut bytes);
        self.digest.bytes(&bytes);
        let decoded = A::Msg::decode(port, &bytes);
        self.encoded = bytes;
        decoded
            .map_err(|error| {
                let what = format!("{message:?} of agent {from} to port {port} cannot be read back: {error}");
                self.break_law("wire", what);
            })
            .ok()
    }

    /// Lets a paused agent run on: it learns what has happened meanwhile, in order.
    pub(super) fn catch_up(&mut self, peer: Peer) {
        let held = std::mem::take(&mut self.node_mut(peer).held);
        for held in held {
            match held {
                Held::Event(event) => self.happen(event),
                Held::LinkDown { peer: other, epoch, why } => {
                    self.hand(peer, Input::LinkDown { peer: other, epoch, why });
                }
                Held::Command { session, line } => {
                    self.command(peer, session, &line);
                }
            }
        }
        // Its deadline may have passed; the timeout that stood in the queue was ignored.
        self.node_mut(peer).timer.scheduled = None;
        self.arm(peer);
    }

    /// Forgets the deadline of an agent that is gone.
    pub(super) fn disarm(&mut self, peer: Peer) {
        let node = self.node_mut(peer);
        node.timer.generation = node.timer.generation.wrapping_add(1);
        node.timer.scheduled = None;
        node.timeouts = (Time::ZERO, 0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
