//! What is fetched from other clusters: one connection to each, as long as somebody is online here.

mod fetching;
mod up;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use prost::Message as _;

use self::up::Up;
use super::known::Known;
use super::wire::{frame, packet, route};
use super::{ClusterSettings, Settled};
use crate::agent::{Conn, Outbox, Outward};
use crate::agents::messenger::{Command, State, UserId};
use crate::rng::Rng;
use crate::seldom;
use crate::time::Time;
use crate::wire::LengthFrames;
use crate::wire::proto::Route;
use crate::wire::proto::network_discovery_packet::Mode;
use crate::wire::proto::route::{Path, Payload};

/// The connections that this server has opened to other clusters.
#[derive(Debug)]
pub(super) struct Pulling {
    settings: ClusterSettings,
    rng: Rng,
    /// Who is online here, or was just now, and under which names others know them.
    users: BTreeMap<UserId, Arc<str>>,
    names: BTreeMap<Arc<str>, UserId>,
    /// Those who are online no more, and until when they are asked for: what they have read last may not be in the log yet.
    gone: BTreeMap<UserId, Time>,
    clusters: BTreeMap<String, Cluster>,
    conns: BTreeMap<Conn, String>,
    /// Those that are given up and not closed yet.
    leaving: BTreeSet<Conn>,
    /// Tokens of dials and proposals.
    tokens: u64,
    dials: BTreeMap<u64, String>,
    proposals: Vec<(u64, Command)>,
    waiting: BTreeMap<u64, Waiting>,
    tick_at: Option<Time>,
    counts: Counts,
}

/// A proposal that is not settled.
#[derive(Debug)]
struct Waiting {
    tag: String,
    user: UserId,
    since: Time,
}

#[derive(Debug)]
struct Cluster {
    link: Link,
    /// Which of its addresses is the next.
    turn: usize,
    backoff: Duration,
}

#[derive(Debug)]
enum Link {
    /// Nobody needs it.
    Idle,
    /// It is dialled then.
    Later(Time),
    Dialling {
        token: u64,
        at: SocketAddr,
        since: Time,
    },
    /// The other side has to say who it is.
    Greeting {
        conn: Conn,
        at: SocketAddr,
        since: Time,
    },
    Up(Up),
}

#[derive(Debug, Default)]
struct Counts {
    connected: u64,
    failed: u64,
    messages: u64,
    strange: u64,
}

impl Pulling {
    pub(super) fn new(settings: ClusterSettings, rng: Rng) -> Self {
        Self {
            settings,
            rng,
            users: BTreeMap::new(),
            names: BTreeMap::new(),
            gone: BTreeMap::new(),
            clusters: BTreeMap::new(),
            conns: BTreeMap::new(),
            leaving: BTreeSet::new(),
            tokens: 0,
            dials: BTreeMap::new(),
            proposals: Vec::new(),
            waiting: BTreeMap::new(),
            tick_at: None,
            counts: Counts::default(),
        }
    }

    pub(super) fn reached_at(&mut self, own: &str) {
        own.clone_into(&mut self.settings.own);
    }

    pub(super) fn online<M>(
        &mut self,
        now: Time,
        user: UserId,
        name: &str,
        known: &Known,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        let name: Arc<str> = name.into();
        self.gone.remove(&user);
        if let Some(before) = self.names.get(&name).copied().filter(|before| *before != user) {
            self.end(now, before, out);
        }
        if self.users.insert(user, Arc::clone(&name)).is_some() {
            return;
        }
        self.names.insert(Arc::clone(&name), user);
        for cluster in self.clusters.values_mut() {
            if let Link::Up(up) = &mut cluster.link {
                up.idle = None;
                up.subscribe(user, &name, state, out);
            }
        }
        self.reach_all(now, known, out);
    }

    pub(super) fn offline<M>(&mut self, now: Time, user: UserId, state: &State, out: &mut Outbox<M>) {
        let is_asked_for =
            |cluster: &Cluster| matches!(&cluster.link, Link::Up(up) if up.pulls.contains_key(&user));
        if state.user(user).is_some() && self.clusters.values().any(is_asked_for) {
            self.gone.insert(user, now + GONE_AFTER);
            self.tick(now);
        } else {
            self.end(now, user, out);
        }
    }

    /// A user is asked for no more.
    fn end<M>(&mut self, now: Time, user: UserId, out: &mut Outbox<M>) {
        self.gone.remove(&user);
        let Some(name) = self.users.remove(&user) else { return };
        if self.names.get(&name) == Some(&user) {
            self.names.remove(&name);
        }
        for cluster in self.clusters.values_mut() {
            if let Link::Up(up) = &mut cluster.link {
                up.end(user, &name, out);
                if self.users.is_empty() {
                    up.idle = Some(now);
                }
            }
        }
    }

    /// Connects to every cluster that is known and not connected, if somebody is online.
    pub(super) fn reach_all<M>(&mut self, now: Time, known: &Known, out: &mut Outbox<M>) {
        if self.users.is_empty() || self.settings.between.is_none() {
            return;
        }
        let tags: Vec<String> = known.tags().cloned().collect();
        for tag in tags {
            let cluster = self.clusters.entry(tag.clone()).or_insert(Cluster {
                link: Link::Idle,
                turn: 0,
                backoff: BACKOFF_MIN,
            });
            if matches!(cluster.link, Link::Idle) {
                self.dial(now, &tag, known, out);
            }
        }
        self.tick(now);
    }

    fn dial<M>(&mut self, now: Time, tag: &str, known: &Known, out: &mut Outbox<M>) {
        let addresses = known.addresses(tag);
        let Some(cluster) = self.clusters.get_mut(tag) else { return };
        let Some(at) = cluster.turn.checked_rem(addresses.len()).map(|turn| addresses[turn]) else {
            cluster.link = Link::Idle;
            return;
        };
        self.tokens += 1;
        let token = self.tokens;
        cluster.link = Link::Dialling { token, at, since: now };
        self.dials.insert(token, tag.to_owned());
        let (frame_bytes_max, tls) = (super::FRAME_BYTES_MAX, self.settings.tls);
        out.outside(Outward::Dial { token, to: at, frame_bytes_max, tls });
    }

    /// A connection that this server has dialled is open.
    pub(super) fn opened<M>(&mut self, now: Time, token: u64, conn: Conn, out: &mut Outbox<M>) {
        let tag = self.dials.remove(&token);
        let cluster = tag.as_ref().and_then(|tag| self.clusters.get_mut(tag));
        let secret = self.settings.between.as_ref();
        let greeting = packet(&self.settings, secret, Mode::Request, &self.settings.own);
        if let (Some(tag), Some(cluster), Some(packet)) = (tag, cluster, greeting)
            && let Link::Dialling { token: dialled, at, .. } = cluster.link
            && dialled == token
        {
            cluster.link = Link::Greeting { conn, at, since: now };
            self.conns.insert(conn, tag);
            let route = route(1, Path::NetworkDiscovery, Some(Payload::NetworkDiscoveryPacket(packet)));
            out.outside(Outward::Frames { conn, bytes: frame(&route) });
        } else {
            // It has come too late.
            self.leaving.insert(conn);
            out.outside(Outward::HangUp { conn });
        }
    }

    /// Nobody answers where this server has dialled.
    pub(super) fn unreachable<M>(&mut self, now: Time, token: u64, out: &mut Outbox<M>) {
        let Some(tag) = self.dials.remove(&token) else { return };
        let link = self.clusters.get(&tag).map(|cluster| &cluster.link);
        if matches!(link, Some(Link::Dialling { token: dialled, .. }) if *dialled == token) {
            self.fail(now, &tag, out);
        }
    }

    /// Whether the connection is one of these.
    pub(super) fn owns(&self, conn: Conn) -> bool {
        self.conns.contains_key(&conn) || self.leaving.contains(&conn)
    }

    pub(super) fn closed<M>(&mut self, now: Time, conn: Conn, out: &mut Outbox<M>) {
        self.leaving.remove(&conn);
        if let Some(tag) = self.conns.remove(&conn) {
            self.fail(now, &tag, out);
        }
    }

    pub(super) fn frames<M>(
        &mut self,
        now: Time,
        conn: Conn,
        frames: LengthFrames<'_>,
        known: &mut Known,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        let Some(tag) = self.conns.get(&conn).cloned() else { return };
        for bytes in frames {
            let route = Route::decode(bytes).ok();
            let taken = route.and_then(|route| self.route(now, &tag, route, known, state, out));
            if taken.is_none() {
                if seldom::count(&mut self.counts.strange) {
                    warn!("messenger: another cluster says what is not understood cluster={tag}");
                }
                self.fail(now, &tag, out);
                return;
            }
        }
        self.propose(now, &tag);
    }

    /// Gives a connection up, and tries the next address after a while.
    fn fail<M>(&mut self, now: Time, tag: &str, out: &mut Outbox<M>) {
        let Some(cluster) = self.clusters.get_mut(tag) else { return };
        let conn = match &cluster.link {
            Link::Idle | Link::Later(_) => return,
            Link::Dialling { .. } => None,
            Link::Greeting { conn, .. } => Some(*conn),
            Link::Up(up) => Some(up.conn),
        };
        if let Some(conn) = conn
            && self.conns.remove(&conn).is_some()
        {
            self.leaving.insert(conn);
            out.outside(Outward::HangUp { conn });
        }
        if seldom::count(&mut self.counts.failed) {
            let at = match &cluster.link {
                Link::Dialling { at, .. } | Link::Greeting { at, .. } => *at,
                Link::Up(up) => up.at,
                Link::Idle | Link::Later(_) => return,
            };
            warn!("messenger: another cluster cannot be reached, or was lost cluster={tag} at={at}");
        }
        cluster.turn = cluster.turn.wrapping_add(1);
        cluster.link = if self.users.is_empty() {
            Link::Idle
        } else {
            let backoff = self.rng.duration(cluster.backoff / 2, cluster.backoff);
            Link::Later(now + backoff)
        };
        cluster.backoff = (cluster.backoff * 2).min(BACKOFF_MAX);
        self.tick(now);
    }

    /// Gives all connections up: what this server knew of its users is void.
    pub(super) fn reset<M>(&mut self, out: &mut Outbox<M>) {
        for (conn, _) in std::mem::take(&mut self.conns) {
            self.leaving.insert(conn);
            out.outside(Outward::HangUp { conn });
        }
        for cluster in self.clusters.values_mut() {
            cluster.link = Link::Idle;
        }
        self.users.clear();
        self.names.clear();
        self.gone.clear();
        self.proposals.clear();
        self.waiting.clear();
    }

    fn tick(&mut self, now: Time) {
        let rests = |cluster: &Cluster| matches!(cluster.link, Link::Idle);
        if self.clusters.values().all(rests) && self.gone.is_empty() {
            self.tick_at = None;
        } else if self.tick_at.is_none_or(|at| at <= now) {
            self.tick_at = Some(now + TICK);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.tick_at
    }

    pub(super) fn timeout<M>(&mut self, now: Time, known: &Known, state: &State, out: &mut Outbox<M>) {
        if self.tick_at.is_none_or(|at| at > now) {
            return;
        }
        // Tokens are given in their order.
        while let Some((token, waiting)) = self.waiting.first_key_value()
            && now.since(waiting.since) >= SETTLED_AFTER_MAX
        {
            self.settled(now, *token, Settled::Unknown, out);
        }
        let gone: Vec<UserId> =
            self.gone.iter().filter(|(_, until)| **until <= now).map(|(user, _)| *user).collect();
        for user in gone {
            self.end(now, user, out);
        }
        let tags: Vec<String> = self.clusters.keys().cloned().collect();
        for tag in tags {
            self.attend(now, &tag, known, state, out);
        }
        self.reach_all(now, known, out);
        self.tick(now);
    }

    fn attend<M>(&mut self, now: Time, tag: &str, known: &Known, state: &State, out: &mut Outbox<M>) {
        let Some(cluster) = self.clusters.get_mut(tag) else { return };
        match &mut cluster.link {
            Link::Later(at) if *at <= now && self.users.is_empty() => cluster.link = Link::Idle,
            Link::Later(at) if *at <= now => self.dial(now, tag, known, out),
            Link::Idle | Link::Later(_) => {}
            Link::Dialling { since, .. } | Link::Greeting { since, .. } => {
                if now.since(*since) >= GREETING_MAX {
                    self.fail(now, tag, out);
                }
            }
            Link::Up(up) => {
                let silence = now.since(up.heard);
                let unused = up.idle.is_some_and(|idle| now.since(idle) >= LINGER);
                if unused || silence >= SILENCE_MAX {
                    return self.fail(now, tag, out);
                }
                if silence >= SILENCE_MAX / 2 && !up.asked {
                    up.asked = true;
                    out.outside(Outward::Frames { conn: up.conn, bytes: frame(&route(0, Path::Ping, None)) });
                }
                while let Some((at, user)) = up.timers.first().copied().filter(|(at, _)| *at <= now) {
                    up.timers.remove(&(at, user));
                    let Some(pull) = up.pulls.get(&user).filter(|pull| pull.due() == Some(at)) else {
                        continue;
                    };
                    if !pull.has_ended() {
                        up.ready.insert(user);
                    } else if let Some(name) = self.users.get(&user) {
                        up.subscribe(user, name, state, out);
                    }
                }
                self.propose(now, tag);
            }
        }
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let up = self.clusters.values().filter(|cluster| matches!(cluster.link, Link::Up(_))).count();
        vec![
            ("clusters_up", up as u64),
            ("clusters_connected", self.counts.connected),
            ("clusters_failed", self.counts.failed),
            ("clusters_messages_pulled", self.counts.messages),
        ]
    }
}

/// How often what is due is looked for, while there is something.
const TICK: Duration = Duration::from_millis(100);
/// How long a dial and the greeting may take, each.
const GREETING_MAX: Duration = Duration::from_secs(3);
/// A cluster that is silent for half of that is asked for a sign of life; after all of it, it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long somebody is asked for who is not online any more. What they have read is gathered for a moment and then proposed, which takes no longer as long as all is well.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// How long a connection stays that nobody needs.
const LINGER: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// When nobody knows what became of a proposal that was not settled: the log answers long before, or never.
const SETTLED_AFTER_MAX: Duration = Duration::from_secs(6);
