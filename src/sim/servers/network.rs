//! What lies between the servers: connections, their delays, and what keeps bytes from getting through. Knows processes only by
//! number; that a process is frozen or wants to read is its host's business.
//!
//! The model is TCP's, as a process sees it: bytes arrive in order or not at all; what cannot get through is held and sent
//! again later; an attempt to connect that nobody hears is repeated after 1, 3, 7 ... seconds; a machine answers for a process that is
//! gone, with a reset, and one that is gone itself answers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;

use super::event::Event;
use super::pipe::{Ending, Pipe, Reading, Segment};
use super::{Streams, Visitor};
use crate::rng::Rng;
use crate::server::ConnId;
use crate::sim::queue::Queue;
use crate::time::Time;
use crate::wire::LineCutter;

/// An attempt to connect is repeated after this long, then after twice as long, and so on.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
/// The longest that a machine waits before it sends again what was not acknowledged.
const SEND_AGAIN_MAX: Duration = Duration::from_secs(120);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndName {
    pub(super) connection: u64,
    /// 0 dialled, 1 was dialled.
    pub(super) side: usize,
}

impl EndName {
    pub(super) fn other(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }
}

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A server, in one of its incarnations.
    Server { server: u16, incarnation: u32 },
    /// Whoever drives the world.
    Visitor,
}

impl Holder {
    /// Which server that is, in whatever incarnation; none where it is a visitor.
    pub(super) fn server(self) -> Option<u16> {
        match self {
            Self::Server { server, .. } => Some(server),
            Self::Visitor => None,
        }
    }
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The dialler has not heard an answer yet.
    Dialling,
    /// Nobody was reached yet.
    Unreached,
    /// The machine has taken the connection; its process has not.
    Backlog,
    /// A process holds it.
    Open,
    /// Its process has closed it or is gone; the machine answers.
    Closed,
    /// The machine is gone.
    Vanished,
}

/// Who listens where somebody knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody: the machine says so.
    None,
    /// A server whose backlog is full: no answer.
    Full,
    /// A server in this incarnation.
    Ready { incarnation: u32 },
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) holder: Holder,
    /// What the server calls it, once it does.
    pub(super) conn: ConnId,
    pub(super) phase: Phase,
    /// What is on its way to this end.
    pub(super) incoming: Pipe,
    /// What a visitor, or a saboteur behind a server, has still to send.
    pub(super) outbox: BytesMut,
    /// After the outbox nothing more is sent.
    pub(super) finishing: bool,
    /// Its holder has ended what it sends.
    pub(super) finished: bool,
    /// Whether a read stands in the schedule.
    pub(super) read_scheduled: bool,
    /// Cut what the process reads and writes into lines.
    pub(super) taps: [LineCutter; 2],
}

/// One connection, or an attempt at one.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    /// How long bytes travel to each end.
    delays: [Duration; 2],
    knocks: u32,
    /// It was reset on the way: both ends will hear of it, nothing else gets through.
    broken: bool,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) streams: Streams,
    pub(super) schedule: Queue<Event>,
    pub(super) rng: Rng,
    connections: BTreeMap<u64, Connection>,
    used: u64,
    /// Pairs of servers of which the second does not hear the first, by partition.
    partitions: BTreeMap<u64, BTreeSet<(u16, u16)>>,
    /// Machines that are gone.
    vanished: BTreeSet<u16>,
}

impl Network {
    pub(super) fn new(streams: Streams, rng: Rng) -> Self {
        Self {
            streams,
            schedule: Queue::default(),
            rng,
            connections: BTreeMap::new(),
            used: 0,
            partitions: BTreeMap::new(),
            vanished: BTreeSet::new(),
        }
    }

    pub(super) fn end(&self, name: EndName) -> Option<&End> {
        self.connections.get(&name.connection).map(|connection| &connection.ends[name.side])
    }

    pub(super) fn end_mut(&mut self, name: EndName) -> Option<&mut End> {
        self.connections.get_mut(&name.connection).map(|connection| &mut connection.ends[name.side])
    }

    /// Begins to dial `target`.
    pub(super) fn dial(&mut self, from: Holder, conn: ConnId, target: u16, now: Time) -> EndName {
        let to = Holder::Server { server: target, incarnation: 0 };
        let name = self.add([(from, Phase::Dialling), (to, Phase::Unreached)]);
        self.end_mut(name).expect("just added").conn = conn;
        let delay = self.delay_to(name.other());
        self.schedule.push(now + delay, Event::Knock { connection: name.connection });
        name
    }

    /// A visitor's connection to a server; its machine takes it at once.
    pub(super) fn visit(&mut self, to: Holder) -> Visitor {
        let name = self.add([(Holder::Visitor, Phase::Open), (to, Phase::Backlog)]);
        self.end_mut(name.other()).expect("just added").incoming.greeted = true;
        Visitor(name.connection)
    }

    /// An attempt to connect has reached its target's machine, or would have.
    pub(super) fn knock(&mut self, connection: u64, listener: Listener, now: Time) {
        let (name, Some(knocking)) = (EndName { connection, side: 0 }, self.connections.get_mut(&connection))
        else {
            return;
        };
        if knocking.ends[0].phase != Phase::Dialling {
            return;
        }
        knocking.knocks += 1;
        let wait = KNOCK_AGAIN * (1 << (knocking.knocks - 1).min(6));
        let Holder::Server { server, .. } = knocking.ends[1].holder else { return };
        let unheard = self.cut_off(name) || self.cut_off(name.other()) || self.vanished.contains(&server);
        let delay = self.delay_to(name);
        match listener {
            _ if unheard => self.schedule.push(now + wait, Event::Knock { connection }),
            Listener::None => self.schedule.push(now + delay, Event::Refused { connection }),
            Listener::Full => self.schedule.push(now + wait, Event::Knock { connection }),
            Listener::Ready { incarnation } => {
                let end = self.end_mut(name.other()).expect("looked at");
                end.holder = Holder::Server { server, incarnation };
                end.phase = Phase::Backlog;
                self.schedule.push(now + delay, Event::Answered { connection });
            }
        }
    }

    /// The listener's answer reaches the dialler's machine: it is connected, and what it writes from here on gets to the listener. Who
    /// dialled; nobody, if the answer does not get through or nobody waits for it any more.
    pub(super) fn answer(&mut self, connection: u64, now: Time) -> Option<(Holder, ConnId)> {
        let dialler = self.hears_answer(connection, now)?;
        let name = EndName { connection, side: 0 };
        self.end_mut(name)?.phase = Phase::Open;
        self.send(name.other(), Segment::Hello, now);
        Some(dialler)
    }

    /// That nobody listens reaches the dialler's machine, and the attempt is over. Who dialled, as in [`Network::answer`].
    pub(super) fn refuse(&mut self, connection: u64, now: Time) -> Option<(Holder, ConnId)> {
        let dialler = self.hears_answer(connection, now)?;
        self.connections.remove(&connection);
        Some(dialler)
    }

    fn hears_answer(&mut self, connection: u64, now: Time) -> Option<(Holder, ConnId)> {
        let name = EndName { connection, side: 0 };
        let end = self.end(name).filter(|end| end.phase == Phase::Dialling)?;
        let dialler = (end.holder, end.conn);
        if self.cut_off(name) {
            self.schedule.push(now + KNOCK_AGAIN, Event::Knock { connection });
            return None;
        }
        Some(dialler)
    }

    /// The holder of `end` reads on at `at`, unless it will anyway.
    pub(super) fn read_later(&mut self, name: EndName, at: Time) {
        if let Some(end) = self.end_mut(name)
            && !std::mem::replace(&mut end.read_scheduled, true)
        {
            self.schedule.push(at, Event::Read(name));
        }
    }

    /// Puts `segment` on its way to `to`.
    pub(super) fn send(&mut self, to: EndName, segment: Segment, now: Time) {
        let Some(connection) = self.connections.get_mut(&to.connection) else { return };
        if !connection.broken {
            let at = now + connection.delays[to.side];
            self.push(to, segment, at);
        }
    }

    /// What has come to `to` by now is there; whether its holder has something to do.
    pub(super) fn arrive(&mut self, to: EndName, now: Time) -> bool {
        let cut_off = self.cut_off(to);
        let Some(connection) = self.connections.get_mut(&to.connection) else { return false };
        let End { incoming: pipe, phase, .. } = &mut connection.ends[to.side];
        pipe.scheduled = false;
        match pipe.next_arrival() {
            None => return false,
            Some(_) if cut_off => {
                pipe.held_since.get_or_insert(now);
                return false;
            }
            Some(at) if at > now => {
                self.wake(to);
                return false;
            }
            Some(_) => {}
        }
        if matches!(phase, Phase::Closed | Phase::Vanished) {
            if pipe.lose_all() {
                self.send(to.other(), Segment::Reset, now);
            }
            return false;
        }
        pipe.let_arrive(now);
        self.wake(to);
        true
    }

    /// Reads a piece of what has come to `end`, or all of it.
    pub(super) fn read(&mut self, end: EndName, all: bool, now: Time) -> Reading {
        let longest = match self.streams.short_reads {
            probability if !all && self.rng.chance(probability) => 1 + self.rng.index(8),
            _ => READ_BYTES_MAX,
        };
        let acknowledged = !self.cut_off(end.other());
        let Some(connection) = self.connections.get_mut(&end.connection) else { return Reading::Nothing };
        let pipe = &mut connection.ends[end.side].incoming;
        let reading = pipe.read(if all { usize::MAX } else { longest });
        if let Reading::Bytes(bytes) = &reading {
            if !acknowledged {
                pipe.unacknowledged += bytes.len();
            } else if std::mem::take(&mut pipe.writer_waits) {
                self.schedule.push(now + connection.delays[1 - end.side], Event::Flush(end.other()));
            }
        }
        reading
    }

    /// How much the holder of `end` can write now; if that is nothing, it will be told when there is room.
    pub(super) fn room(&mut self, end: EndName, now: Time) -> usize {
        let capacity = self.streams.pipe_bytes;
        let full_by_chance = self.rng.chance(self.streams.short_writes);
        let Some(end_there) = self.end_mut(end.other()) else { return 0 };
        let room = end_there.incoming.room(capacity);
        if room == 0 {
            end_there.incoming.writer_waits = true;
        } else if full_by_chance && room < capacity {
            let wait = self.streams.delay.draw(&mut self.rng);
            self.schedule.push(now + wait, Event::Flush(end));
            return 0;
        }
        room
    }

    /// The holder of `end` sends no more, but still reads.
    pub(super) fn finish(&mut self, end: EndName, now: Time) {
        if let Some(state) = self.end_mut(end).filter(|state| state.phase == Phase::Open && !state.finished) {
            state.finished = true;
            self.send(end.other(), Segment::End, now);
        }
    }

    /// The holder of `end` closes it, or is ended and its machine does.
    pub(super) fn close(&mut self, end: EndName, now: Time) {
        let Some(closing) = self.end_mut(end) else { return };
        let (was, unread) = (closing.phase, closing.incoming.arrived_bytes() > 0);
        let finished = closing.finished;
        closing.phase = Phase::Closed;
        let abrupt = unread || was != Phase::Open || closing.incoming.ending() == Some(Ending::Reset);
        if abrupt || !finished {
            self.send(end.other(), if abrupt { Segment::Reset } else { Segment::End }, now);
        }
        self.forget_if_over(end.connection);
    }

    /// The machine of `server`, which held `ends`, is gone; nobody is told, and what it had under way is lost.
    pub(super) fn vanish(&mut self, server: u16, ends: &[EndName], now: Time) {
        self.vanished.insert(server);
        for name in ends {
            let Some(connection) = self.connections.get_mut(&name.connection) else { continue };
            let gone = &mut connection.ends[name.side];
            gone.phase = Phase::Vanished;
            // Whoever waited for room there goes on asking for it, as TCP's window probes do.
            gone.incoming.lose_arrived();
            if std::mem::take(&mut gone.incoming.writer_waits) {
                self.schedule.push(now, Event::Flush(name.other()));
            }
            let other = &mut connection.ends[1 - name.side];
            // A connection that is broken has resets under way, which come from somewhere else.
            if !connection.broken {
                other.incoming.lose_after(Time::ZERO);
            }
            if other.phase == Phase::Backlog && !other.incoming.greeted {
                other.phase = Phase::Closed;
            }
            self.forget_if_over(name.connection);
        }
    }

    /// The machine of `server` is there again: whoever still sends to what it held will hear a reset.
    pub(super) fn machine_starts(&mut self, server: u16, now: Time) {
        if self.vanished.remove(&server) {
            self.release(now);
        }
    }

    /// From here on nothing that one of `from` sends reaches one of `to`.
    pub(super) fn part(&mut self, id: u64, from: &[u16], to: &[u16]) {
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        self.partitions.insert(id, pairs.collect());
    }

    /// The end of a partition: what was held is sent again, sooner or later. The first of those that were not heard.
    pub(super) fn heal(&mut self, id: u64, now: Time) -> Option<u16> {
        let pairs = self.partitions.remove(&id)?;
        self.release(now);
        pairs.first().map(|(from, _)| *from)
    }

    /// All connections between two servers break: both sides hear of it in their own time, what would arrive later is lost.
    pub(super) fn break_between(&mut self, one: u16, other: u16, now: Time) {
        for connection in self.between(one, other) {
            self.connections.get_mut(&connection).expect("between them").broken = true;
            for side in 0..2 {
                let at = now + self.streams.delay.draw(&mut self.rng);
                let to = EndName { connection, side };
                if let Some(end) = self.end_mut(to) {
                    end.incoming.lose_after(at);
                }
                self.push(to, Segment::Reset, at);
            }
        }
    }

    /// The connections between two servers carry nothing until `until`.
    pub(super) fn stall_between(&mut self, one: u16, other: u16, until: Time) {
        for connection in self.between(one, other) {
            for end in &mut self.connections.get_mut(&connection).expect("between them").ends {
                end.incoming.not_before = end.incoming.not_before.max(until);
            }
        }
    }

    /// How many connections the machine of `holder` has taken that its process has not.
    pub(super) fn backlog(&self, holder: Holder) -> usize {
        let waits = |end: &&End| end.holder == holder && end.phase == Phase::Backlog;
        self.connections.values().map(|connection| &connection.ends[1]).filter(waits).count()
    }

    /// All connections that `server` holds in this incarnation, those its process does not know of yet included.
    pub(super) fn held_by(&self, holder: Holder) -> Vec<EndName> {
        let names = self.connections.iter().flat_map(|(connection, held)| {
            let sides = (0..2).filter(|side| held.ends[*side].holder == holder);
            sides.map(|side| EndName { connection: *connection, side })
        });
        names.collect()
    }
}

/// How much one read takes at the most.
const READ_BYTES_MAX: usize = 64 * 1024;

impl Network {
    fn add(&mut self, ends: [(Holder, Phase); 2]) -> EndName {
        self.used += 1;
        let ends = ends.map(|(holder, phase)| End {
            holder,
            conn: ConnId(0),
            phase,
            incoming: Pipe::default(),
            outbox: BytesMut::new(),
            finishing: false,
            finished: false,
            read_scheduled: false,
            taps: [LineCutter::new(TAPPED_LINE_BYTES_MAX), LineCutter::new(TAPPED_LINE_BYTES_MAX)],
        });
        let delays = [(); 2].map(|()| self.streams.delay.draw(&mut self.rng));
        self.connections.insert(self.used, Connection { ends, delays, knocks: 0, broken: false });
        EndName { connection: self.used, side: 0 }
    }

    fn delay_to(&self, end: EndName) -> Duration {
        self.connections.get(&end.connection).map_or(Duration::ZERO, |it| it.delays[end.side])
    }

    fn push(&mut self, to: EndName, segment: Segment, at: Time) {
        if let Some(end) = self.end_mut(to) {
            end.incoming.push(at, segment);
            self.wake(to);
        }
    }

    /// Schedules the next arrival at `to`, unless one is.
    fn wake(&mut self, to: EndName) {
        let Some(connection) = self.connections.get_mut(&to.connection) else { return };
        let pipe = &mut connection.ends[to.side].incoming;
        if let Some(at) = pipe.next_arrival()
            && !std::mem::replace(&mut pipe.scheduled, true)
        {
            self.schedule.push(at, Event::Arrive(to));
        }
    }

    /// Whether nothing gets to `end` from the other one.
    fn cut_off(&self, end: EndName) -> bool {
        let Some(connection) = self.connections.get(&end.connection) else { return false };
        let (to, from) = (&connection.ends[end.side], &connection.ends[1 - end.side]);
        let (Holder::Server { server: to_server, .. }, Holder::Server { server: from_server, .. }) =
            (to.holder, from.holder)
        else {
            return false;
        };
        (to.phase == Phase::Vanished && self.vanished.contains(&to_server))
            || self.partitions.values().any(|pairs| pairs.contains(&(from_server, to_server)))
    }

    /// What was held and need not be any more is sent again: TCP waits longer and longer between its attempts, so the next one
    /// comes within as long again as the outage has lasted.
    fn release(&mut self, now: Time) {
        let names: Vec<EndName> = self
            .connections
            .keys()
            .flat_map(|connection| [0, 1].map(|side| EndName { connection: *connection, side }))
            .filter(|name| !self.cut_off(*name))
            .collect();
        for name in names {
            let Some(end) = self.end_mut(name) else { continue };
            if let Some(since) = end.incoming.held_since.take() {
                let outage = now.since(since).min(SEND_AGAIN_MAX);
                let wait = self.rng.duration(Duration::ZERO, outage);
                let pipe = &mut self.end_mut(name).expect("looked at").incoming;
                pipe.not_before = pipe.not_before.max(now + wait);
                self.wake(name);
            }
            // What came this way acknowledges what went the other.
            let Some(there) = self.end_mut(name.other()) else { continue };
            let freed = std::mem::take(&mut there.incoming.unacknowledged) > 0;
            if freed && std::mem::take(&mut there.incoming.writer_waits) {
                self.schedule.push(now, Event::Flush(name));
            }
        }
    }

    fn between(&self, one: u16, other: u16) -> Vec<u64> {
        let joins = |connection: &Connection| {
            let servers = connection.ends.each_ref().map(|end| end.holder.server());
            let reached = connection.ends[1].phase != Phase::Unreached;
            reached && (servers == [Some(one), Some(other)] || servers == [Some(other), Some(one)])
        };
        let found = self.connections.iter().filter(|(_, connection)| !connection.broken && joins(connection));
        found.map(|(number, _)| *number).collect()
    }

    fn forget_if_over(&mut self, connection: u64) {
        let over = |end: &End| matches!(end.phase, Phase::Closed | Phase::Vanished | Phase::Unreached);
        if self.connections.get(&connection).is_some_and(|it| it.ends.iter().all(over)) {
            self.connections.remove(&connection);
        }
    }
}

/// Longer lines are not shown.
const TAPPED_LINE_BYTES_MAX: usize = 1 << 20;
