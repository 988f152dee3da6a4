//! The world of whole servers: sans-io servers with their links and masters over simulated byte streams, so that dialling, heartbeats,
//! introductions and `alive` run as they do behind real sockets. No socket, no clock, no thread; everything comes from one seed.
//!
//! **What is simulated.** Processes (start, crash, freeze), their machines (which may vanish), and TCP as a process sees it: reads and
//! writes of any size, buffers that are full, delays, stalls, resets, connections that are refused or never answered, and partitions,
//! behind which bytes wait. Disks keep what they are given, at once. See [`ServerWorld`] for how to drive it.
//!
//! **What is not.** A server's turn takes no time, and bandwidth has no limit but the buffers.

mod disks;
mod event;
mod happening;
mod host;
mod lab;
mod network;
mod pipe;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use self::disks::Disks;
pub use self::happening::{Happening, Seen};
use self::host::Host;
pub use self::lab::{LabSettings, lab, lab_addresses, overlay_lab};
use self::network::{EndName, Holder, Network};
use self::pipe::Reading;
use crate::rng::{Probability, Rng};
use crate::server::{Door, Server, Status};
use crate::sim::{Delay, Digest};
use crate::time::Time;

/// How byte streams behave.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// How long bytes travel; each direction of each connection has a time of its own.
    pub delay: Delay,
    /// How much one direction of a connection holds, like the buffers of its sockets, in bytes.
    pub pipe_bytes: usize,
    /// How likely a read takes a few bytes only.
    pub short_reads: Probability,
    /// How likely a writer is told that there is no room, although there is some.
    pub short_writes: Probability,
    /// How many connections wait for a server that does not accept; more are not answered.
    pub backlog_max: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            delay: Delay::Uniform {
                shortest: Duration::from_micros(20),
                longest: Duration::from_micros(400),
            },
            pipe_bytes: 256 * 1024,
            short_reads: Probability::percent(25),
            short_writes: Probability::percent(2),
            backlog_max: 128,
        }
    }
}

/// Makes a server: its number, its incarnation (1 for the first server that was started, 2 for the next ...), and what time it is.
pub type Maker = Box<dyn FnMut(u16, u32, Time) -> Server>;

/// Stands between servers and the wire and changes what they say: proof that a checker can fail.
pub trait Saboteur {
    /// `server` writes `line`, with its newline, to a connection at `door`; what is put into `out` travels instead. Connections have the
    /// numbers by which [`Seen`] tells them; 0 is the one through which the world looks inside.
    fn line(&mut self, server: u16, door: Door, connection: u64, line: &[u8], out: &mut Vec<u8>);
}

/// Names a connection of somebody who is no server: a master, or a stranger at the door for links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visitor(u64);

impl Visitor {
    /// The number of the connection, as [`Seen`] tells it.
    pub fn connection(self) -> u64 {
        self.0
    }

    fn own_end(self) -> EndName {
        EndName { connection: self.0, side: 0 }
    }
}

/// All servers and everything between them.
///
/// Drive it with [`ServerWorld::advance`], one event at a time, or [`ServerWorld::run_for`]. What the servers did meanwhile is told by
/// [`ServerWorld::take_happenings`], if it was asked for. Ids of servers that do not run panic, except where said.
pub struct ServerWorld {
    now: Time,
    hosts: BTreeMap<u16, Host>,
    network: Network,
    disks: Disks,
    addresses: BTreeMap<SocketAddr, u16>,
    maker: Maker,
    incarnations: u32,
    saboteur: Option<Box<dyn Saboteur>>,
    happenings: Option<Vec<Happening>>,
    /// Visitors for whom something has come.
    visited: BTreeSet<Visitor>,
    partitions: u64,
    digest: Digest,
    inputs: u64,
}

/// Making a world, and time in it.
impl ServerWorld {
    /// A world in which server 0 listens at the first of `addresses`, server 1 at the second, and so on; none of them runs.
    pub fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
        streams: Streams,
        seed: u64,
        maker: Maker,
    ) -> Self {
        Self {
            now: Time::ZERO,
            hosts: BTreeMap::new(),
            network: Network::new(streams, Rng::new(seed)),
            disks: Disks::default(),
            addresses: addresses.into_iter().zip(0..).collect(),
            maker,
            incarnations: 0,
            saboteur: None,
            happenings: None,
            visited: BTreeSet::new(),
            partitions: 0,
            digest: Digest::default(),
            inputs: 0,
        }
    }

    /// Lets `saboteur` change what servers write from here on.
    pub fn sabotage(&mut self, saboteur: Box<dyn Saboteur>) {
        self.saboteur = Some(saboteur);
    }

    /// From here on happenings are kept for [`ServerWorld::take_happenings`].
    pub fn watch(&mut self) {
        self.happenings.get_or_insert_default();
    }

    /// What happened since this was asked last, in order.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        self.happenings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Lets the next thing happen that is due by `until`. If nothing is, that is what time it is then, and the answer is `false`.
    pub fn advance(&mut self, until: Time) -> bool {
        let Some((at, event)) = self.network.schedule.pop(until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(at);
        self.happen(event);
        true
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.advance(until) {}
    }

    /// Lets `duration` pass in which nothing runs at all, as when the machine that simulates were itself suspended: whatever was due is late.
    pub fn skip(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// How many inputs servers were handed so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// A digest of all inputs so far, with their times.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// The world's own source of chance.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.network.rng
    }
}

/// Processes.
impl ServerWorld {
    /// Starts server `id`, which does not run.
    pub fn start(&mut self, id: u16) {
        self.incarnations += 1;
        let server = (self.maker)(id, self.incarnations, self.now);
        let before = self.hosts.insert(id, Host::new(server, self.incarnations, self.now));
        assert!(before.is_none(), "server {id} runs already");
        let incarnation = self.incarnations;
        self.tell(id, || Seen::Started { incarnation });
        self.network.machine_starts(id, self.now);
        self.turn(id, |_, _| {});
    }

    /// The process ends: its machine closes its connections, behind what it had sent.
    pub fn kill(&mut self, id: u16) {
        let holder = self.remove(id);
        for end in self.network.held_by(holder) {
            self.network.close(end, self.now);
        }
    }

    /// The machine is gone: nobody is told, and what it had under way is lost. Who sends to it waits in vain until it starts again; then he
    /// hears that his connection is none any more.
    pub fn vanish(&mut self, id: u16) {
        let holder = self.remove(id);
        let ends = self.network.held_by(holder);
        self.network.vanish(id, &ends, self.now);
    }

    /// The process stops running; its machine goes on.
    pub fn pause(&mut self, id: u16) {
        if !std::mem::replace(&mut self.host_mut(id).frozen, true) {
            self.tell(id, || Seen::Paused);
        }
    }

    /// The process runs again, and sees everything that has come meanwhile.
    pub fn resume(&mut self, id: u16) {
        if std::mem::replace(&mut self.host_mut(id).frozen, false) {
            self.tell(id, || Seen::Resumed);
            self.thaw(id);
        }
    }

    /// Whether server `id` runs; a paused one does.
    pub fn runs(&self, id: u16) -> bool {
        self.hosts.contains_key(&id)
    }

    /// Whether server `id` is paused; one that does not run is not.
    pub fn is_paused(&self, id: u16) -> bool {
        self.hosts.get(&id).is_some_and(|host| host.frozen)
    }

    /// The servers that run and are not paused, ascending.
    pub fn running(&self) -> Vec<u16> {
        self.hosts.iter().filter(|(_, host)| !host.frozen).map(|(id, _)| *id).collect()
    }

    /// The incarnation of server `id`.
    pub fn incarnation(&self, id: u16) -> u32 {
        self.host(id).incarnation
    }

    /// The state of server `id` as it sees it.
    pub fn status(&self, id: u16) -> Status {
        self.host(id).server.status(self.now)
    }

    /// The answer of server `id` to a master's command, its newline included, in parts. Asked from inside the process: it takes no time,
    /// and a paused server answers too. What a saboteur does to answers is done to this one.
    pub fn ask_inside(&mut self, id: u16, command: &str) -> Vec<bytes::Bytes> {
        let parts = self.hosts.get_mut(&id).expect("runs").ask(command, self.now);
        let Some(saboteur) = &mut self.saboteur else { return parts };
        let (line, mut out) = (parts.concat(), Vec::new());
        saboteur.line(id, Door::Masters, 0, &line, &mut out);
        vec![out.into()]
    }

    /// The connections of server `id`: their numbers, and which server is at the other end, where that is one.
    pub fn connections(&self, id: u16) -> impl Iterator<Item = (u64, Option<u16>)> {
        self.host(id).ends.values().map(|end| {
            let other = self.network.end(end.other()).and_then(|other| other.holder.server());
            (end.connection, other)
        })
    }

    /// Whether a master's next command would be read now by server `id`.
    pub fn reads_master(&self, id: u16, visitor: Visitor) -> bool {
        let conn = self.network.end(visitor.own_end().other()).map(|end| end.conn);
        conn.is_some_and(|conn| self.host(id).server.may_read(conn, self.now))
    }
}

/// The network's faults.
impl ServerWorld {
    /// From here on nothing that one of `from` sends reaches one of `to`; the name of this partition. Bytes wait at their sender;
    /// attempts to connect are not answered.
    pub fn part(&mut self, from: &[u16], to: &[u16]) -> u64 {
        self.partitions += 1;
        let id = self.partitions;
        self.network.part(id, from, to);
        if let Some(first) = from.iter().min() {
            self.tell(*first, || Seen::Parted { id, from: from.to_vec(), to: to.to_vec() });
        }
        id
    }

    /// Ends a partition. Nothing happens if it has ended.
    pub fn heal(&mut self, id: u64) {
        if let Some(first) = self.network.heal(id, self.now) {
            self.tell(first, || Seen::Healed { id });
        }
    }

    /// All connections between two servers break. Each side learns of it in its own time; what would arrive later is lost.
    pub fn break_between(&mut self, one: u16, other: u16) {
        self.network.break_between(one, other, self.now);
    }

    /// All connections between two servers carry nothing for `duration`; what is written meanwhile arrives later.
    pub fn stall_between(&mut self, one: u16, other: u16, duration: Duration) {
        self.network.stall_between(one, other, self.now + duration);
    }
}

/// Visitors.
impl ServerWorld {
    /// Somebody connects to server `id`, as a master or as what may be another server.
    pub fn connect(&mut self, id: u16, door: Door) -> Visitor {
        let holder = self.host(id).holder(id);
        let visitor = self.network.visit(holder);
        self.listen(id, visitor.own_end().other(), door);
        visitor
    }

    /// The visitor sends `bytes`, as soon as there is room for them.
    pub fn send(&mut self, visitor: Visitor, bytes: &[u8]) {
        if let Some(end) = self.network.end_mut(visitor.own_end()) {
            end.outbox.extend_from_slice(bytes);
            self.flush_outbox(visitor.own_end());
        }
    }

    /// The visitor will send no more, but still reads.
    pub fn end_sending(&mut self, visitor: Visitor) {
        if let Some(end) = self.network.end_mut(visitor.own_end()) {
            end.finishing = true;
            self.flush_outbox(visitor.own_end());
        }
    }

    /// The visitor closes its connection.
    pub fn hang_up(&mut self, visitor: Visitor) {
        self.network.close(visitor.own_end(), self.now);
    }

    /// Reads what has come for the visitor.
    pub fn take(&mut self, visitor: Visitor) -> Vec<u8> {
        match self.network.read(visitor.own_end(), true, self.now) {
            Reading::Bytes(bytes) => bytes.into(),
            Reading::End | Reading::Reset | Reading::Nothing => Vec::new(),
        }
    }

    /// The visitors for whom something has come since this was asked last.
    pub fn take_visited(&mut self) -> BTreeSet<Visitor> {
        std::mem::take(&mut self.visited)
    }

    /// Whether the server has closed the visitor's connection, or is gone.
    pub fn is_closed(&self, visitor: Visitor) -> bool {
        self.network.end(visitor.own_end()).is_none_or(|end| end.incoming.ending().is_some())
    }
}

impl ServerWorld {
    fn host(&self, id: u16) -> &Host {
        self.hosts.get(&id).unwrap_or_else(|| panic!("server {id} does not run"))
    }

    fn host_mut(&mut self, id: u16) -> &mut Host {
        self.hosts.get_mut(&id).unwrap_or_else(|| panic!("server {id} does not run"))
    }

    fn remove(&mut self, id: u16) -> Holder {
        let host = self.hosts.remove(&id).unwrap_or_else(|| panic!("server {id} does not run"));
        self.disks.close_all(id);
        self.tell(id, || Seen::Crashed);
        host.holder(id)
    }

    /// Keeps a happening, which is worked out only if somebody watches.
    fn tell(&mut self, server: u16, what: impl FnOnce() -> Seen) {
        if let Some(happenings) = &mut self.happenings {
            happenings.push(Happening { at: self.now, server, what: what() });
        }
    }
}
