//! What a reactor does, without one: hands inputs to servers, carries out their orders, writes what they have to say, and wakes them
//! when their deadline has come. A turn is one input, all its outputs, and then whatever is due by now.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::event::Event;
use super::happening::{Seen, is_told};
use super::host::Host;
use super::network::{EndName, Holder, Listener, Phase};
use super::pipe::{Reading, Segment};
use super::{ServerWorld, Visitor};
use crate::compute::compute;
use crate::grid::ServerId;
use crate::rng::Probability;
use crate::server::{Action, ConnId, Door, Server};
use crate::time::Time;
use crate::wire::Cut;

/// A server's next turn comes this much later at the soonest.
const TURN: Duration = Duration::from_micros(5);
/// Why agents of this world speak to nobody but agents.
const NO_CLIENTS: &str = "there are no clients in this world";
/// How likely a write takes all that there is room for.
const WHOLE_WRITES: Probability = Probability::percent(50);

/// Which way bytes go, seen from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In = 0,
    Out = 1,
}

impl ServerWorld {
    /// Lets `event` happen.
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Knock { connection } => self.knock(connection),
            Event::Answered { connection } => {
                if let Some(end) = self.network.answer(connection, self.now) {
                    self.dial_ended(end, true);
                }
            }
            Event::Refused { connection } => {
                if let Some(end) = self.network.refuse(connection, self.now) {
                    self.dial_ended(end, false);
                }
            }
            Event::Arrive(end) => {
                if self.network.arrive(end, self.now) {
                    self.attend(end);
                }
            }
            Event::Read(end) => {
                if let Some(state) = self.network.end_mut(end) {
                    state.read_scheduled = false;
                    self.attend(end);
                }
            }
            Event::Flush(end) => self.flush_again(end),
            Event::Timer { server, incarnation } => self.timer(server, incarnation),
        }
    }

    /// One input, its outputs, and what is due.
    pub(super) fn turn(&mut self, id: u16, input: impl FnOnce(&mut Server, Time)) {
        self.input(id, input);
        self.finish_turn(id);
    }

    /// Somebody's connection waits at a door of server `id`.
    pub(super) fn listen(&mut self, id: u16, end: EndName, door: Door) {
        if self.host(id).frozen {
            self.host_mut(id).backlog.insert(end, door);
        } else {
            self.accept(id, end, door);
            self.finish_turn(id);
            self.attend(end);
        }
    }

    /// A frozen server runs again: everything that has come meanwhile is one turn's work.
    pub(super) fn thaw(&mut self, id: u16) {
        let host = self.host_mut(id);
        let (dials, backlog) = (std::mem::take(&mut host.late_dials), std::mem::take(&mut host.backlog));
        for (conn, connected) in dials {
            self.tell_dial(id, conn, connected);
        }
        for (end, door) in backlog {
            self.accept(id, end, door);
        }
        let mut ends: Vec<EndName> =
            self.hosts.get(&id).map(|host| host.ends.values().copied().collect()).unwrap_or_default();
        self.network.rng.shuffle(&mut ends);
        for end in &ends {
            self.read(id, *end);
        }
        self.finish_turn(id);
        for end in ends {
            self.flush_again(end);
        }
    }

    /// Writes what a visitor, or a saboteur behind a server, has to send.
    pub(super) fn flush_outbox(&mut self, end: EndName) {
        loop {
            let room = self.network.room(end, self.now);
            let Some(state) = self.network.end_mut(end) else { return };
            let count = room.min(state.outbox.len());
            if count == 0 {
                if state.outbox.is_empty() && std::mem::take(&mut state.finishing) {
                    self.network.send(end.other(), Segment::End, self.now);
                }
                return;
            }
            let bytes = state.outbox.split_to(count);
            self.network.send(end.other(), Segment::Bytes(bytes), self.now);
        }
    }
}

/// Events.
impl ServerWorld {
    fn knock(&mut self, connection: u64) {
        let Some(Holder::Server { server, .. }) =
            self.network.end(EndName { connection, side: 1 }).map(|end| end.holder)
        else {
            return;
        };
        let backlog_max = self.network.streams.backlog_max;
        let listener = match self.hosts.get(&server) {
            None => Listener::None,
            Some(host) if host.frozen && self.network.backlog(host.holder(server)) >= backlog_max => {
                Listener::Full
            }
            Some(host) => Listener::Ready { incarnation: host.incarnation },
        };
        self.network.knock(connection, listener, self.now);
    }

    /// The machine of a dialler knows how its dial has ended.
    fn dial_ended(&mut self, (holder, conn): (Holder, ConnId), connected: bool) {
        let Some(id) = self.runs_as(holder) else { return };
        let host = self.host_mut(id);
        if host.frozen {
            host.late_dials.push((conn, connected));
        } else {
            self.tell_dial(id, conn, connected);
            self.finish_turn(id);
        }
    }

    fn tell_dial(&mut self, id: u16, conn: ConnId, connected: bool) {
        self.note_input(id, 'd', conn, &[u8::from(connected)]);
        if connected {
            self.input(id, |server, now| server.connected(conn, now));
        } else {
            self.host_mut(id).part(conn);
            self.input(id, |server, now| server.failed(conn, "refused", now));
        }
    }

    fn timer(&mut self, id: u16, incarnation: u32) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return };
        // One that was set for later than the deadline turned out to be is of no use any more.
        if host.incarnation == incarnation && host.armed.is_some_and(|armed| armed <= now) {
            host.armed = None;
            if !host.frozen {
                self.note_input(id, 't', ConnId(0), &[]);
                self.turn(id, |_, _| {});
            }
        }
    }

    /// Something can be read at `end`, or accepted, or it is over.
    fn attend(&mut self, end: EndName) {
        let Some(state) = self.network.end(end) else { return };
        let (holder, conn, phase) = (state.holder, state.conn, state.phase);
        let (greeted, over) = (state.incoming.greeted, state.incoming.ending().is_some());
        if holder == Holder::Visitor {
            self.visited.insert(Visitor(end.connection));
        }
        let Some(id) = self.runs_as(holder) else { return };
        match phase {
            Phase::Backlog if self.host(id).backlog.contains_key(&end) => {}
            Phase::Backlog if greeted => self.listen(id, end, Door::Links),
            Phase::Backlog if over => self.network.close(end, self.now),
            Phase::Dialling if over => {
                self.network.close(end, self.now);
                self.dial_ended((holder, conn), false);
            }
            Phase::Open if !self.host(id).frozen => {
                self.read(id, end);
                self.finish_turn(id);
            }
            _ => {}
        }
    }

    fn flush_again(&mut self, end: EndName) {
        let Some((holder, conn)) = self.network.end(end).map(|state| (state.holder, state.conn)) else {
            return;
        };
        match self.runs_as(holder) {
            Some(id) if !self.host(id).frozen => {
                self.flush(id, conn);
                self.finish_turn(id);
            }
            Some(_) => {}
            None => self.flush_outbox(end),
        }
    }

    /// Which server this is, if it still is that incarnation of it.
    fn runs_as(&self, holder: Holder) -> Option<u16> {
        let Holder::Server { server, incarnation } = holder else { return None };
        self.hosts.get(&server).filter(|host| host.incarnation == incarnation).map(|_| server)
    }
}

/// Turns.
impl ServerWorld {
    fn input(&mut self, id: u16, input: impl FnOnce(&mut Server, Time)) {
        if let Some(host) = self.hosts.get_mut(&id) {
            self.inputs += 1;
            input(&mut host.server, self.now);
            self.settle(id);
            self.note_links(id);
        }
    }

    /// What is due is done, the timer is set, and the world looks which links have changed.
    fn finish_turn(&mut self, id: u16) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.server.timeout(self.now);
            self.settle(id);
            self.note_links(id);
        }
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let at = host.server.deadline().max(now + TURN);
        if host.armed.is_none_or(|armed| at < armed) {
            host.armed = Some(at);
            let incarnation = host.incarnation;
            self.network.schedule.push(at, Event::Timer { server: id, incarnation });
        }
        let Host { server, waiting, ends, .. } = host;
        let readable: Vec<ConnId> =
            waiting.iter().copied().filter(|conn| server.may_read(*conn, now)).collect();
        for conn in readable {
            waiting.remove(&conn);
            if let Some(end) = ends.get(&conn) {
                self.network.read_later(*end, now + TURN);
            }
        }
    }

    fn settle(&mut self, id: u16) {
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return };
            if let Some(conn) = host.server.next_touched() {
                self.flush(id, conn);
            } else if let Some(action) = host.server.next_action() {
                self.carry_out(id, action);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: u16, action: Action) {
        match action {
            Action::Dial { conn, address } => match self.addresses.get(&address).copied() {
                Some(target) => {
                    let holder = self.host(id).holder(id);
                    let end = self.network.dial(holder, conn, target, self.now);
                    self.host_mut(id).join(conn, end, Door::Links);
                }
                None => self.input(id, |server, now| server.failed(conn, "no such address", now)),
            },
            Action::Drain(conn) => {
                if let Some(end) = self.host(id).ends.get(&conn).copied()
                    && let Reading::Bytes(bytes) = self.network.read(end, true, self.now)
                {
                    self.tap(id, conn, end, Way::In, &bytes);
                    self.note_input(id, 'r', conn, &bytes);
                    self.input(id, |server, now| server.received(conn, &bytes, now));
                }
                self.input(id, |server, now| server.drained(conn, now));
            }
            Action::Close(conn) => {
                if let Some(end) = self.host_mut(id).part(conn) {
                    self.network.close(end, self.now);
                }
            }
            Action::Finish(conn) => {
                if let Some(end) = self.host(id).ends.get(&conn).copied() {
                    self.network.finish(end, self.now);
                }
            }
            Action::Crash | Action::Stop => self.kill(id),
            // Nobody has lived here before logs had folders.
            Action::OpenStore { log, name, former: _ } => {
                let recovered = self.disks.open(id, log, name);
                self.input(id, |server, now| server.store_recovered(log, &recovered, now));
            }
            Action::Write { log, write } => match self.disks.write(id, log, &write) {
                Ok(upto) => self.input(id, |server, now| server.store_stored(log, upto, now)),
                Err(why) => self.input(id, |server, now| server.log_failed(log, &why, now)),
            },
            Action::Read { log, read } => {
                if let Some(found) = self.disks.read(id, log, &read) {
                    self.input(id, |server, now| server.store_found(log, found, now));
                }
            }
            Action::CloseLog(log) => self.disks.close(id, log),
            // Clients of agents are the other world's: nobody is there to come in here, or to be dialled.
            Action::Listen { entrance, .. } => {
                self.input(id, |server, now| server.not_listening(entrance, NO_CLIENTS, now));
            }
            Action::Call { conn, .. } => self.input(id, |server, now| server.failed(conn, NO_CLIENTS, now)),
            Action::Shut(_) | Action::Datagram { .. } => {}
            Action::Compute { id: work, work: what } => {
                let done = compute(&what);
                self.input(id, |server, now| server.computed(work, done, now));
            }
        }
    }

    fn accept(&mut self, id: u16, end: EndName, door: Door) {
        let now = self.now;
        let Some(state) = self.network.end_mut(end) else { return };
        let host = self.hosts.get_mut(&id).expect("the caller has looked");
        let conn = host.server.accepted(door, now);
        host.join(conn, end, door);
        state.conn = conn;
        state.phase = Phase::Open;
        self.note_input(id, 'a', conn, &[]);
        self.input(id, |_, _| {});
    }

    /// One read of what has come to `end`, if the server wants it.
    fn read(&mut self, id: u16, end: EndName) {
        let (now, Some(host)) = (self.now, self.hosts.get_mut(&id)) else { return };
        let Some(state) = self.network.end(end) else { return };
        let conn = state.conn;
        if !state.incoming.is_readable() || state.phase != Phase::Open {
            return;
        }
        if !host.server.may_read(conn, now) {
            host.waiting.insert(conn);
            return;
        }
        match self.network.read(end, false, now) {
            Reading::Bytes(bytes) => {
                self.tap(id, conn, end, Way::In, &bytes);
                self.note_input(id, 'r', conn, &bytes);
                self.input(id, |server, now| server.received(conn, &bytes, now));
            }
            Reading::End => {
                host.failures.insert(end, "closed by the other side");
                self.note_input(id, 'e', conn, &[]);
                self.input(id, |server, now| server.ended(conn, now));
            }
            Reading::Reset => {
                host.failures.insert(end, "reset");
                host.part(conn);
                self.network.close(end, now);
                self.note_input(id, 'f', conn, &[]);
                self.input(id, |server, now| server.failed(conn, "reset", now));
            }
            Reading::Nothing => {}
        }
        if self.network.end(end).is_some_and(|state| state.incoming.is_readable()) {
            self.network.read_later(end, now + TURN);
        }
    }

    /// Writes what waits for `conn`, as far as there is room.
    fn flush(&mut self, id: u16, conn: ConnId) {
        let Some(end) = self.hosts.get(&id).and_then(|host| host.ends.get(&conn)).copied() else { return };
        if self.network.end(end).is_none_or(|state| state.phase != Phase::Open) {
            return;
        }
        if self.saboteur.is_some() {
            return self.flush_sabotaged(id, conn, end);
        }
        while let Some(host) = self.hosts.get_mut(&id)
            && let Some(queue) = host.server.outgoing(conn).filter(|queue| !queue.is_empty())
        {
            let waiting = queue.bytes();
            let most = self.network.room(end, self.now).min(waiting);
            if most == 0 {
                return;
            }
            let rng = &mut self.network.rng;
            let count = if rng.chance(WHOLE_WRITES) { most } else { 1 + rng.index(most) };
            let bytes = host.take(conn, count, self.now);
            self.tap(id, conn, end, Way::Out, &bytes);
            self.network.send(end.other(), Segment::Bytes(bytes), self.now);
        }
    }

    /// The saboteur takes all that the server has to say on `conn`.
    fn flush_sabotaged(&mut self, id: u16, conn: ConnId, end: EndName) {
        let (Some(saboteur), Some(host)) = (&mut self.saboteur, self.hosts.get_mut(&id)) else { return };
        let (door, mut out) = (host.door(conn), Vec::new());
        while let bytes = host.take(conn, usize::MAX, self.now)
            && !bytes.is_empty()
        {
            let (Some(state), mut rest) = (self.network.end_mut(end), &bytes[..]) else { return };
            while let Some(cut) = state.taps[Way::Out as usize].cut(&mut rest) {
                let Cut::Lines(lines) = cut else { continue };
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    saboteur.line(id, door, end.connection, line, &mut out);
                }
            }
        }
        if let Some(state) = self.network.end_mut(end) {
            state.outbox.extend_from_slice(&out);
            self.flush_outbox(end);
        }
    }
}

/// Telling.
impl ServerWorld {
    /// Takes an input into the digest.
    fn note_input(&mut self, id: u16, kind: char, conn: ConnId, bytes: &[u8]) {
        self.digest.word(self.now.as_nanos());
        self.digest.word(u64::from(id) << 32 | u64::from(kind));
        self.digest.word(conn.0 as u64);
        self.digest.bytes(bytes);
    }

    /// Tells of the lines that `bytes` complete.
    fn tap(&mut self, id: u16, conn: ConnId, end: EndName, way: Way, bytes: &[u8]) {
        let Some(happenings) = &mut self.happenings else { return };
        let door = self.hosts.get(&id).map_or(Door::Links, |host| host.door(conn));
        let other = self.network.end(end.other()).and_then(|other| other.holder.server());
        let (Some(state), mut rest) = (self.network.end_mut(end), bytes) else { return };
        while let Some(cut) = state.taps[way as usize].cut(&mut rest) {
            let Cut::Lines(lines) = cut else { continue };
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                if is_told(door, line) {
                    let (connection, line) = (end.connection, Bytes::copy_from_slice(line));
                    let what = match way {
                        Way::In => Seen::Read { from: other, connection, line },
                        Way::Out => Seen::Wrote { to: other, connection, line },
                    };
                    happenings.push(super::Happening { at: self.now, server: id, what });
                }
            }
        }
    }

    /// Tells which links have come up and gone down since the last look.
    fn note_links(&mut self, id: u16) {
        if self.happenings.is_none() {
            return;
        }
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let up: Vec<(ServerId, EndName)> = host
            .server
            .links_up()
            .filter_map(|(number, conn)| host.ends.get(&conn).map(|end| (number, *end)))
            .collect();
        if up
            .iter()
            .map(|(number, end)| (number, end))
            .eq(host.links.iter().map(|(number, (end, _))| (number, end)))
        {
            return;
        }
        // A server's number for its peer says who that is in a lab only; who holds the other end of the stream always does.
        let network = &self.network;
        let holder = |end: EndName| match network.end(end.other()).map(|it| it.holder) {
            Some(Holder::Server { server, incarnation }) => Some((server, incarnation)),
            _ => None,
        };
        let links: BTreeMap<ServerId, (EndName, u16)> = up
            .into_iter()
            .map(|(number, end)| (number, (end, holder(end).map_or(number.0, |(server, _)| server))))
            .collect();
        let new: Vec<(u16, u32, EndName)> = links
            .iter()
            .filter(|(number, link)| host.links.get(number) != Some(link))
            .filter_map(|(_, (end, peer))| Some((*peer, holder(*end)?.1, *end)))
            .collect();
        let before = std::mem::replace(&mut host.links, links.clone());
        let failures = std::mem::take(&mut host.failures);
        for (_, (end, peer)) in before.into_iter().filter(|(number, link)| links.get(number) != Some(link)) {
            let why = failures.get(&end).copied().unwrap_or("closed on this side");
            self.tell(id, || Seen::Down { peer, connection: end.connection, why });
        }
        for (peer, peer_incarnation, end) in new {
            self.tell(id, || Seen::Up { peer, peer_incarnation, connection: end.connection });
        }
    }
}
