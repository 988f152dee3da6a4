//! All links of one server: who is dialled, which connection is whose, who is alive.
//!
//! **Problem.** Keep exactly one link to every other server of the grid, whatever peers, strangers and networks do, and
//! know within a second who has stopped answering.
//!
//! **State.** A table of peers, each with at most one link that is up; the connections, by name; who is to be dialled when.
//!
//! **Invariants.**
//! - Of a pair the larger id dials; a connection in that direction is *canonical*. A link is up only after the peer's
//!   first line. Of two connections of one peer the newest canonical one lives; before it comes up, what the old one had
//!   delivered is read.
//! - Silence means suspected: not alive, but the connection and its bounded queue stay. Only a closed connection or a queue
//!   past its limit ends a link.
//! - No input of a peer stops this server's reading from any peer: two servers that stop reading each other would wait for
//!   ever. Congestion only holds back masters.
//!
//! Source: the chatroom lab's failure detection; heartbeats are its `ping` lines.

mod dialler;
mod heartbeat;
mod introduction;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use log::{debug, info, warn};
use serde::{Deserialize, Serialize};

use self::dialler::Dialler;
use self::heartbeat::Heartbeat;
use super::link::{Direction, Link, Stage};
use super::outputs::{Action, ConnId, Outputs};
use super::queue::OutQueue;
use crate::grid::{Grid, ServerId};
use crate::time::Time;
use crate::wire::{Messages, ping_line};

/// Above this many queued bytes a link is congested, and masters wait.
const CONGESTED_BYTES: usize = 4 * 1024 * 1024;
/// At this many or less it is not any more.
const DRAINED_BYTES: usize = 1024 * 1024;
/// A congested link that has taken nothing for this long holds nobody back any more.
const PROGRESS_LIMIT: Duration = Duration::from_secs(2);
/// How long somebody who connected to us may take to say who it is.
const STRANGER_LIMIT: Duration = Duration::from_secs(2);
/// How long a server that we dialled may take to say who it is. Longer, since a frozen one accepts and then says nothing.
const SILENT_PEER_LIMIT: Duration = Duration::from_secs(10);

/// What the link manager is told once.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Ids and ports.
    pub grid: Grid,
    /// Where each other server listens.
    pub addresses: BTreeMap<ServerId, SocketAddr>,
    /// A heartbeat is sent this often, or half as often while other traffic flows.
    pub heartbeat: Duration,
    /// A peer that was silent for this long is suspected.
    pub silence_max: Duration,
    /// The longest line that is understood, in bytes.
    pub line_bytes_max: usize,
    /// The most that may wait for one peer, in bytes, before its link is dropped.
    pub queue_bytes_max: usize,
    /// How many connections may be nameless at a time; more push out the oldest.
    pub strangers_max: usize,
}

/// How a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Its link is up and it was heard lately.
    Alive,
    /// Its link is up but it has been silent for too long.
    Suspected,
    /// It has no link.
    Absent,
}

#[derive(Debug, Default)]
struct Peer {
    link: Option<ConnId>,
    /// A newer connection that comes up once `link` has been read to its end.
    waiting: Option<ConnId>,
    /// Our dial under way, until the peer's first line; never two, or each would be followed by dials of its own.
    dialling: Option<ConnId>,
    suspected: bool,
}

/// The links of one server.
#[derive(Debug)]
pub struct LinkManager {
    settings: LinkSettings,
    ping: Bytes,
    links: BTreeMap<ConnId, Link>,
    /// Indexed by id; the own entry stays empty.
    peers: Vec<Peer>,
    dialler: Dialler,
    heartbeat: Heartbeat,
    /// By when somebody must have moved on, soonest first; entries of links that have are void.
    limits: BTreeSet<(Time, ConnId)>,
    links_dropped: u64,
    /// How many connections were turned away.
    refusals: u64,
}

impl LinkManager {
    /// A manager that begins to dial at `now`.
    pub fn new(settings: LinkSettings, now: Time) -> Self {
        let grid = settings.grid;
        let mut dialler = Dialler::new(usize::from(grid.n()));
        for peer in grid.others().filter(|peer| grid.dials(*peer)) {
            dialler.dial_at(peer, now);
        }
        Self {
            ping: ping_line(grid.id()),
            links: BTreeMap::new(),
            peers: (0..grid.n()).map(|_| Peer::default()).collect(),
            dialler,
            heartbeat: Heartbeat::new(settings.heartbeat, settings.silence_max, now),
            limits: BTreeSet::new(),
            links_dropped: 0,
            refusals: 0,
            settings,
        }
    }

    /// Somebody connected to our link port; the name of that connection.
    pub fn accepted(&mut self, now: Time, out: &mut Outputs) -> ConnId {
        let conn = out.new_conn();
        self.make_room_for_stranger(out);
        self.links.insert(conn, Link::new(Direction::Accepted, self.settings.line_bytes_max, now));
        self.set_limit(conn, now + STRANGER_LIMIT);
        self.greet(conn, out);
        conn
    }

    /// A dial of ours has succeeded.
    pub fn connected(&mut self, conn: ConnId, now: Time, out: &mut Outputs) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.stage = Stage::Nameless { heard: Vec::new() };
        link.last_heard = now;
        self.set_limit(conn, now + SILENT_PEER_LIMIT);
        self.greet(conn, out);
    }

    /// Bytes came in; the messages among them go to `deliver`, with their sender.
    pub fn received(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Time,
        out: &mut Outputs,
        deliver: &mut impl FnMut(ServerId, Messages<'_>),
    ) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.last_heard = now;
        match link.stage {
            Stage::Up { peer } => {
                link.read(conn, bytes, deliver);
                self.heard(peer, conn);
            }
            Stage::Waiting { .. } => link.hold(bytes),
            Stage::Connecting => {}
            Stage::Nameless { .. } => match link.hear_first(bytes) {
                Ok(None) => {}
                Ok(Some(peer)) => self.introduced(conn, peer, now, out, deliver),
                Err(error) => self.refuse(conn, &format!("first line: {error}"), out),
            },
        }
    }

    /// What a connection that is to go had delivered has been read: one that a newer one replaces,
    /// one that came too late, one whose queue was full.
    pub fn drained(
        &mut self,
        conn: ConnId,
        now: Time,
        out: &mut Outputs,
        deliver: &mut impl FnMut(ServerId, Messages<'_>),
    ) {
        let Some(link) = self.links.get(&conn) else { return };
        let why = link.leaving.unwrap_or("replaced by a newer connection");
        out.act(Action::Close(conn));
        self.closed(conn, why, now, deliver);
    }

    /// The connection is gone: closed by the other side, reset, or never made.
    pub fn closed(
        &mut self,
        conn: ConnId,
        why: &str,
        now: Time,
        deliver: &mut impl FnMut(ServerId, Messages<'_>),
    ) {
        let Some(link) = self.links.remove(&conn) else { return };
        let peer = match (link.peer(), link.direction) {
            (Some(peer), _) | (None, Direction::Dialled(peer)) => peer,
            (None, Direction::Accepted) => return,
        };
        let slot = &mut self.peers[peer.index()];
        if slot.waiting == Some(conn) {
            slot.waiting = None;
        }
        if slot.dialling == Some(conn) {
            slot.dialling = None;
        }
        if slot.link == Some(conn) {
            slot.link = None;
            slot.suspected = false;
            info!("link: down peer={peer} why=\"{why}\" unsent_bytes={}", link.queue.bytes());
            if let Some(next) = slot.waiting.take() {
                return self.come_up(next, peer, now, deliver);
            }
        }
        if slot.link.is_none() && slot.dialling.is_none() && self.settings.grid.dials(peer) {
            let wait = self.dialler.failed(peer, link.up_since.map(|since| now.since(since)), now);
            debug!("link: dial again peer={peer} in_ms={} why=\"{why}\"", wait.as_millis());
        }
    }

    /// The host has taken `written` bytes of the connection's queue.
    pub fn wrote(&mut self, conn: ConnId, written: usize, now: Time) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.queue.advance(written);
        if written > 0 {
            link.last_progress = now;
        }
        if link.congested && link.queue.footprint_bytes() <= DRAINED_BYTES {
            link.congested = false;
        }
    }

    /// Sends `lines`, whole lines, to every peer whose link is up. They share the one buffer.
    pub fn send_to_all(&mut self, lines: &Bytes, now: Time, out: &mut Outputs) {
        for conn in self.peers.iter().filter_map(|peer| peer.link) {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            if link.leaving.is_some() {
                continue;
            }
            if link.queue.footprint_bytes() + lines.len() > self.settings.queue_bytes_max {
                link.leaving = Some("its queue was full");
                self.links_dropped += 1;
                warn!("link: queue full conn={} limit_bytes={}", conn.0, self.settings.queue_bytes_max);
                // What the peer has delivered is read before the connection is closed.
                out.act(Action::Drain(conn));
                continue;
            }
            if link.queue.is_empty() {
                link.last_progress = now;
            }
            link.queue.push(lines.clone());
            link.note_sent();
            link.congested |= link.queue.footprint_bytes() > CONGESTED_BYTES;
            out.touch(conn);
        }
    }

    /// Whether masters are to wait: an alive peer has more in its queue than it should, and takes from it.
    pub fn congested(&self, now: Time) -> bool {
        self.peers.iter().filter(|peer| !peer.suspected).filter_map(|peer| peer.link).any(|conn| {
            self.links
                .get(&conn)
                .is_some_and(|link| link.congested && now.since(link.last_progress) < PROGRESS_LIMIT)
        })
    }

    /// Does what is due at `now`: heartbeats, suspicion, dials, and ends of patience.
    pub fn timeout(
        &mut self,
        now: Time,
        out: &mut Outputs,
        deliver: &mut impl FnMut(ServerId, Messages<'_>),
    ) {
        self.forgive_own_absence(now);
        if self.heartbeat.tick_due(now) {
            self.send_pings(out);
        }
        if self.heartbeat.check_due(now) {
            self.suspect_the_silent(now);
        }
        while let Some((at, conn)) = self.limits.first().copied()
            && at <= now
        {
            self.limits.pop_first();
            if self.links.get(&conn).is_some_and(|link| link.limit == Some(at)) {
                out.act(Action::Close(conn));
                self.closed(conn, "did not say who it is in time", now, deliver);
            }
        }
        for peer in self.dialler.due(now) {
            self.dial(peer, now, out);
        }
    }

    /// When `timeout` is to be called next, at the latest.
    pub fn deadline(&self) -> Time {
        let soonest_limit = self.limits.first().map(|(at, _)| *at);
        [self.dialler.next(), soonest_limit].into_iter().flatten().fold(self.heartbeat.deadline(), Time::min)
    }

    /// What waits to be sent on `conn`.
    pub fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        self.links.get(&conn).map(|link| &link.queue)
    }

    /// Whether `conn` is one of the links.
    pub fn holds(&self, conn: ConnId) -> bool {
        self.links.contains_key(&conn)
    }

    /// How `peer` stands, and for how long it has been silent, where it has a link.
    pub fn peer_state(&self, peer: ServerId, now: Time) -> (PeerState, Option<Duration>) {
        let slot = &self.peers[peer.index()];
        match slot.link.and_then(|conn| self.links.get(&conn)) {
            None => (PeerState::Absent, None),
            Some(link) => {
                let state = if slot.suspected { PeerState::Suspected } else { PeerState::Alive };
                (state, Some(now.since(link.last_heard)))
            }
        }
    }

    /// The ids of all servers that are alive, this one included, ascending.
    pub fn alive(&self) -> impl Iterator<Item = ServerId> {
        let own = self.settings.grid.id();
        (0..self.settings.grid.n()).map(ServerId).filter(move |id| {
            let peer = &self.peers[id.index()];
            *id == own || (peer.link.is_some() && !peer.suspected)
        })
    }

    /// How many bytes wait for other servers, all queues together.
    pub fn queued_bytes(&self) -> usize {
        self.links.values().map(|link| link.queue.bytes()).sum()
    }

    /// How many links were dropped because their queue was full.
    pub fn links_dropped(&self) -> u64 {
        self.links_dropped
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }
}

/// Heartbeats, suspicion, dials.
impl LinkManager {
    fn greet(&mut self, conn: ConnId, out: &mut Outputs) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.queue.push(self.ping.clone());
            out.touch(conn);
        }
    }

    fn heard(&mut self, peer: ServerId, conn: ConnId) {
        let slot = &mut self.peers[peer.index()];
        if slot.suspected && slot.link == Some(conn) {
            slot.suspected = false;
            info!("link: heard again peer={peer}");
        }
    }

    /// Time during which this server itself did not run is not held against its peers.
    fn forgive_own_absence(&mut self, now: Time) {
        // Only the heartbeat is never put off by work: dials wait for later turns when many are due.
        let late_by = now.since(self.heartbeat.deadline());
        if late_by < ABSENCE_MIN {
            return;
        }
        warn!("server: did not run late_by_ms={}", late_by.as_millis());
        for link in self.links.values_mut() {
            link.last_heard = (link.last_heard + late_by).min(now);
        }
    }

    fn send_pings(&mut self, out: &mut Outputs) {
        for (conn, link) in &mut self.links {
            let perhaps_deaf = match link.stage {
                Stage::Up { peer } => self.peers[peer.index()].suspected,
                // A frozen server that we dialled hears of us as soon as it thaws.
                Stage::Nameless { .. } => link.direction == Direction::Accepted,
                Stage::Connecting | Stage::Waiting { .. } => continue,
            };
            // Nobody is served by heartbeats that pile up behind others.
            let in_vain = link.congested || (perhaps_deaf && !link.queue.is_empty());
            if link.owes_ping() && !in_vain {
                link.queue.push(self.ping.clone());
                out.touch(*conn);
            }
        }
    }

    fn suspect_the_silent(&mut self, now: Time) {
        let mut soonest: Option<Time> = None;
        for (id, slot) in self.peers.iter_mut().enumerate().filter(|(_, slot)| !slot.suspected) {
            let Some(link) = slot.link.and_then(|conn| self.links.get(&conn)) else { continue };
            let at = link.last_heard + self.settings.silence_max;
            if at <= now {
                slot.suspected = true;
                warn!("link: suspected peer={id} silent_ms={}", now.since(link.last_heard).as_millis());
            } else {
                soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
            }
        }
        self.heartbeat.check_at(soonest);
    }

    fn dial(&mut self, peer: ServerId, now: Time, out: &mut Outputs) {
        let slot = &self.peers[peer.index()];
        if slot.link.is_some() || slot.dialling.is_some() {
            return;
        }
        let Some(address) = self.settings.addresses.get(&peer).copied() else { return };
        let conn = out.new_conn();
        self.peers[peer.index()].dialling = Some(conn);
        self.links.insert(conn, Link::new(Direction::Dialled(peer), self.settings.line_bytes_max, now));
        self.set_limit(conn, now + CONNECT_LIMIT);
        out.act(Action::Dial { conn, address });
    }

    fn set_limit(&mut self, conn: ConnId, at: Time) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.limit = Some(at);
            self.limits.insert((at, conn));
        }
    }
}

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Being called this much later than the deadline means that this process did not run.
const ABSENCE_MIN: Duration = Duration::from_millis(200);
