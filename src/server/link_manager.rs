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
mod hypar;
mod introduction;
mod members;
mod roster;
mod sending;
mod sparse;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use log::{debug, info, warn};
use serde::{Deserialize, Serialize};

use self::dialler::Dialler;
use self::heartbeat::Heartbeat;
pub(super) use self::hypar::Saying;
use self::roster::Introduction;
pub use self::roster::Roster;
use super::link::{Direction, Link, Reader, Stage};
use super::outputs::{Action, ConnId, Outputs};
use super::queue::OutQueue;
use crate::agent::{Epoch, Why};
use crate::grid::ServerId;
use crate::seldom;
use crate::time::Time;

/// How long somebody who connected to us may take to say who it is.
const STRANGER_LIMIT: Duration = Duration::from_secs(2);
/// How long a server that we dialled may take to say who it is. Longer, since a frozen one accepts and then says nothing.
const SILENT_PEER_LIMIT: Duration = Duration::from_secs(10);

/// What the link manager is told once.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Who belongs to the grid.
    pub roster: Roster,
    /// A heartbeat is sent this often, or half as often while other traffic flows.
    pub heartbeat: Duration,
    /// A peer that was silent for this long is suspected.
    pub silence_max: Duration,
    /// The longest line, or body of a frame, that is understood, in bytes.
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
    /// Which link of the peer the last one was that came up.
    epoch: Epoch,
}

/// What the link manager has found out, in order, for the core to hand on.
#[derive(Debug)]
pub(super) enum News {
    /// A peer's link came up; this much had been heard on it before, and is to be read now.
    Up { peer: ServerId, epoch: Epoch, conn: ConnId, heard: Vec<u8> },
    /// A connection of a peer that has a better one; this much had been heard on it, and is to be read now.
    Heard { conn: ConnId, heard: Vec<u8> },
    /// A peer's link is gone.
    Down { peer: ServerId, epoch: Epoch, label: String, why: Why },
    /// A peer with a link has been silent for too long.
    Suspected { peer: ServerId },
    /// It was heard again.
    HeardAgain { peer: ServerId },
    /// A link that an overlay wanted did not come up.
    Unreachable { peer: ServerId, epoch: Epoch },
    /// Somebody has left this letter.
    Letter { body: Vec<u8> },
}

/// The links of one server.
#[derive(Debug)]
pub struct LinkManager {
    settings: LinkSettings,
    ping: Bytes,
    links: BTreeMap<ConnId, Link>,
    /// Indexed by number; the own entry stays empty.
    peers: Vec<Peer>,
    news: VecDeque<News>,
    dialler: Dialler,
    heartbeat: Heartbeat,
    /// By when somebody must have moved on, soonest first; entries of links that have are void.
    limits: BTreeSet<(Time, ConnId)>,
    /// Servers of an overlay of which perhaps nothing is left, so that their numbers may be free.
    perhaps_gone: Vec<ServerId>,
    /// How many letters are under way.
    letters: usize,
    letters_dropped: u64,
    links_dropped: u64,
    /// How many connections were turned away.
    refusals: u64,
}

impl LinkManager {
    /// A manager that begins to dial at `now`.
    pub fn new(settings: LinkSettings, now: Time) -> Self {
        let roster = &settings.roster;
        let mut dialler = Dialler::new(roster.len());
        for peer in roster.others().filter(|peer| roster.is_complete() && roster.dials(*peer)) {
            dialler.dial_at(peer, now);
        }
        Self {
            ping: roster.ping(),
            links: BTreeMap::new(),
            peers: (0..roster.len()).map(|_| Peer::default()).collect(),
            news: VecDeque::new(),
            dialler,
            heartbeat: Heartbeat::new(settings.heartbeat, settings.silence_max, now),
            limits: BTreeSet::new(),
            perhaps_gone: Vec::new(),
            letters: 0,
            letters_dropped: 0,
            links_dropped: 0,
            refusals: 0,
            settings,
        }
    }

    /// Somebody connected to our link port; the name of that connection.
    pub fn accepted(&mut self, now: Time, out: &mut Outputs) -> ConnId {
        let conn = out.new_conn();
        self.make_room_for_stranger(out);
        self.links.insert(conn, Link::new(Direction::Accepted, self.reader(Direction::Accepted), now));
        self.set_limit(conn, now + STRANGER_LIMIT);
        self.greet(conn, out);
        conn
    }

    /// A dial of ours has succeeded.
    pub fn connected(&mut self, conn: ConnId, now: Time, out: &mut Outputs) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.last_heard = now;
        if link.direction == Direction::Letter {
            link.stage = Stage::Ending;
            self.set_limit(conn, now + ENDING_LIMIT);
            return out.touch(conn);
        }
        link.stage = Stage::Nameless { heard: Vec::new() };
        self.set_limit(conn, now + SILENT_PEER_LIMIT);
        self.greet(conn, out);
        self.open_hypar(conn, now, out);
    }

    /// Bytes came in. Whether they are to be read now, through [`LinkManager::lend_reader`].
    #[must_use]
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Time, out: &mut Outputs) -> bool {
        let Some(link) = self.links.get_mut(&conn) else { return false };
        link.last_heard = now;
        match link.stage {
            Stage::Up { peer } => {
                self.heard(peer, conn);
                return true;
            }
            Stage::Waiting { .. } => link.hold(bytes),
            Stage::Connecting | Stage::Ending => {}
            Stage::Letter => self.read_letter(conn, bytes, out),
            Stage::Nameless { .. } if self.settings.roster.speaks_hypar() => {
                self.hear_hypar(conn, bytes, now, out);
            }
            Stage::Nameless { .. } => match link.hear_first(bytes) {
                Ok(None) => {}
                Ok(Some(first)) => match self.settings.roster.introduced(first) {
                    Ok(Introduction::Link(peer)) => {
                        self.make_slot(peer);
                        self.introduced(conn, peer, now, out);
                    }
                    Ok(Introduction::Letter) => {
                        let bytes = link.expect_letter();
                        self.read_letter(conn, &bytes, out);
                    }
                    Err(why) => self.refuse(conn, &why, out),
                },
                Err(error) => self.refuse(conn, &format!("first line: {error}"), out),
            },
        }
        false
    }

    /// What a connection that is to go had delivered has been read: one that a newer one replaces,
    /// one that came too late, one whose queue was full.
    pub fn drained(&mut self, conn: ConnId, now: Time, out: &mut Outputs) {
        let Some(link) = self.links.get(&conn) else { return };
        let (why, text) = link.leaving.unwrap_or((Why::Closed, "replaced by a newer connection"));
        out.act(Action::Close(conn));
        self.closed(conn, why, text, now);
    }

    /// The connection is gone: closed by the other side, reset, or never made.
    pub fn closed(&mut self, conn: ConnId, why: Why, text: &str, now: Time) {
        let Some(link) = self.links.remove(&conn) else { return };
        let peer = match (link.peer(), link.direction) {
            (Some(peer), _) => peer,
            (None, Direction::Dialled(peer)) if !matches!(link.stage, Stage::Ending) => peer,
            (None, Direction::Dialled(_) | Direction::Accepted) => return,
            (None, Direction::Letter) => {
                self.letters -= 1;
                return;
            }
        };
        let slot = &mut self.peers[peer.index()];
        if slot.waiting == Some(conn) {
            slot.waiting = None;
        }
        let was_dialling = slot.dialling == Some(conn);
        if was_dialling {
            slot.dialling = None;
        }
        if slot.link == Some(conn) {
            slot.link = None;
            slot.suspected = false;
            let (name, unsent_bytes) = (self.settings.roster.name(peer), link.queue.bytes());
            info!("link: down peer={name} why=\"{text}\" unsent_bytes={unsent_bytes}");
            self.news.push_back(News::Down { peer, epoch: slot.epoch, label: link.label, why });
            if let Some(next) = slot.waiting.take() {
                return self.come_up(next, peer, now);
            }
        }
        let roster = &self.settings.roster;
        if !roster.is_complete() {
            return self.perhaps_gone(peer, was_dialling);
        }
        if slot.link.is_none() && slot.dialling.is_none() && roster.dials(peer) && roster.holds(peer) {
            let wait = self.dialler.failed(peer, link.up_since.map(|since| now.since(since)), now);
            debug!("link: dial again peer={} in_ms={} why=\"{text}\"", roster.name(peer), wait.as_millis());
        }
    }

    /// The reader of a link whose peer is known, and who that is, to be given back by [`LinkManager::return_reader`].
    pub(super) fn lend_reader(&mut self, conn: ConnId) -> Option<(ServerId, Reader)> {
        self.links.get_mut(&conn)?.lend_reader()
    }

    /// Takes a reader back; it is forgotten if its link is gone.
    pub(super) fn return_reader(&mut self, conn: ConnId, reader: Reader) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.return_reader(reader);
        }
    }

    /// What was found out since the last call, one at a time.
    pub(super) fn next_news(&mut self) -> Option<News> {
        let news = self.news.pop_front();
        if news.is_none() {
            self.free_numbers();
        }
        news
    }

    /// Gives a link up: nothing more is sent on it, what the peer has delivered is read, then it is closed.
    pub(super) fn leave(&mut self, conn: ConnId, why: Why, text: &'static str, out: &mut Outputs) {
        if let Some(link) = self.links.get_mut(&conn).filter(|link| link.leaving.is_none()) {
            link.leaving = Some((why, text));
            out.act(Action::Drain(conn));
        }
    }

    /// A stream that cannot be read any further is closed without reading on.
    pub(super) fn give_up(&mut self, conn: ConnId, text: &str, now: Time, out: &mut Outputs) {
        if seldom::count(&mut self.refusals) {
            let so_far = self.refusals;
            warn!("link: cannot be read any further conn={} why=\"{text}\" so_far={so_far}", conn.0);
        }
        out.act(Action::Close(conn));
        self.closed(conn, Why::Broken, text, now);
    }

    /// Does what is due at `now`: heartbeats, suspicion, dials, and ends of patience.
    pub fn timeout(&mut self, now: Time, out: &mut Outputs) {
        self.forgive_own_absence(now);
        if self.heartbeat.tick_due(now) && !self.settings.roster.speaks_hypar() {
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
                self.closed(conn, Why::Broken, "it has taken too long", now);
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

    /// How many bytes wait for other servers, all queues together.
    pub fn queued_bytes(&self) -> usize {
        self.links.values().map(|link| link.queue.bytes()).sum()
    }

    /// How many links were dropped because their queue was full.
    pub fn links_dropped(&self) -> u64 {
        self.links_dropped
    }

    /// The longest body of a frame, in bytes.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.settings.line_bytes_max
    }

    /// Who belongs to the grid.
    pub fn roster(&self) -> &Roster {
        &self.settings.roster
    }
}

/// Heartbeats, suspicion, dials.
impl LinkManager {
    fn greet(&mut self, conn: ConnId, out: &mut Outputs) {
        let only_openers = self.settings.roster.speaks_hypar();
        if let Some(link) = self.links.get_mut(&conn)
            && !(only_openers && link.direction == Direction::Accepted)
        {
            link.queue.push(self.ping.clone());
            out.touch(conn);
        }
    }

    fn heard(&mut self, peer: ServerId, conn: ConnId) {
        let slot = &mut self.peers[peer.index()];
        if slot.suspected && slot.link == Some(conn) {
            slot.suspected = false;
            info!("link: heard again peer={}", self.settings.roster.name(peer));
            self.news.push_back(News::HeardAgain { peer });
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
                Stage::Connecting | Stage::Waiting { .. } | Stage::Letter | Stage::Ending => continue,
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
                let peer = ServerId(u16::try_from(id).expect("as many peers as there are numbers"));
                let (name, silent) = (self.settings.roster.name(peer), now.since(link.last_heard));
                warn!("link: suspected peer={name} silent_ms={}", silent.as_millis());
                self.news.push_back(News::Suspected { peer });
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
        let Some(address) = self.settings.roster.address(peer) else { return };
        let conn = out.new_conn();
        self.peers[peer.index()].dialling = Some(conn);
        let direction = Direction::Dialled(peer);
        self.links.insert(conn, Link::new(direction, self.reader(direction), now));
        self.set_limit(conn, now + CONNECT_LIMIT);
        out.act(Action::Dial { conn, address });
    }

    fn reader(&self, direction: Direction) -> Reader {
        if self.settings.roster.speaks_hypar() {
            return self.hypar_reader(direction);
        }
        Reader::new(self.settings.roster.speaks_lines(), self.settings.line_bytes_max)
    }

    fn set_limit(&mut self, conn: ConnId, at: Time) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.limit = Some(at);
            self.limits.insert((at, conn));
        }
    }
}

/// How long the other side may take to end a connection of which we want no more.
const ENDING_LIMIT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Being called this much later than the deadline means that this process did not run.
const ABSENCE_MIN: Duration = Duration::from_millis(200);
