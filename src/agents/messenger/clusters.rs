//! Other clusters: who they are, what is fetched from them, and what they fetch here.
//!
//! **Problem.** A user may be online in one cluster while others write to them in another, where they are known by the same name. Wherever they are, they get what waits for
//! them anywhere, once, and nothing is lost on the way; a cluster that is down delays nobody.
//!
//! **State.** Which clusters are known, and where: from the configuration, from discovery, from what they say themselves (`known.rs`). As long as somebody is online on this server it
//! has one connection to each of them, with a subscription for each such user (`pulling.rs`, `pull.rs`). And the connections of others, with what they have subscribed to (`serving.rs`,
//! `feed.rs`).
//!
//! **Messages.** On a connection as for clients. Who connects says who it is: a `NetworkDiscoveryPacket` with the secret and its tag; it is answered by the like, with our servers in
//! `Welcome`, or not at all. `MessagesRequest` subscribes to a user, and says what of theirs has `arrived` before and waits to be read, and how much of that is read; the messages come as
//! `MessagesResponse` under the subscription's number, at first what the user has not read, then what is new. A `MessagesResponse` without messages says what has `arrived`, and what the user has
//! `acknowledged`, who has read it over there; and a `MessagesRequest` with a history of 0 messages ends the subscription.
//! A Route without anything in it asks for the like.
//!
//! **Invariants.**
//! - What is fetched is said to have arrived once it is committed here, and acknowledged once the user has read it here; only then the user's mark moves there. So whoever goes to another cluster before
//!   that finds it there, and what is lost with a cluster that had fetched it is not lost. A client that is shown a message in two clusters knows it by its origin.
//! - The state passes over what stands there not behind the last that was fetched from the same place, so what is fetched twice, by whomever, is there once.
//! - Of one user and one cluster, one batch at a time is proposed, and the same until it is committed: none can overtake another, and be taken for it.
//! - A cluster that is begun anew is another one, whatever it is called: it tells its identity, and what was fetched is counted by that.
//! - What has come from another cluster is never sent on, neither back nor further.
//! - What is sent and has not arrived is bounded, for each subscription.
//!
//! **Where we differ** from the class of 2017: there a message was removed when it had been pulled, whether it arrived or not.

mod feed;
mod known;
mod pull;
mod pulling;
mod serving;
mod settings;
pub(super) mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use self::known::Known;
use self::pulling::Pulling;
use self::serving::Serving;
pub(super) use self::settings::check_tag;
pub use self::settings::{ClusterSettings, SharedSecret};
use super::{
    Command, ConversationId, DISCOVERY_PORT, Discovery, Heard, Origin, Outcome, Place, ServerLoad, State,
    Stored, UserId,
};
use crate::agent::{Conn, Inward, Looked, Opening, Outbox};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::proto::{NetworkDiscoveryPacket, Route, Welcome};

/// What has become of something that was proposed.
#[derive(Clone, Copy, Debug)]
pub enum Settled<'a> {
    /// It is in the log, and this is what came of it.
    Applied(&'a Outcome),
    /// It is not, and will not be.
    Busy,
    /// Nobody knows.
    Unknown,
}

/// What one server knows of other clusters.
#[derive(Debug)]
pub struct Clusters {
    discovery: Discovery,
    known: Known,
    pulling: Pulling,
    serving: Serving,
    leads: bool,
    /// When the other servers are told again which clusters were heard of.
    news_at: Time,
    forget_at: Time,
}

impl Clusters {
    /// What begins with these settings.
    pub fn new(settings: ClusterSettings, rng: Rng) -> Self {
        Self {
            discovery: Discovery::new(settings.clone()),
            known: Known::new(&settings),
            pulling: Pulling::new(settings.clone(), rng),
            serving: Serving::new(settings),
            leads: false,
            news_at: Time::ZERO,
            forget_at: Time::ZERO,
        }
    }

    /// Where clients reach this server, once that is known: `host:port`.
    pub fn reached_at(&mut self, own: &str) {
        self.discovery.reached_at(own);
        self.pulling.reached_at(own);
        self.serving.reached_at(own);
    }

    /// Whether this server leads the log from now on: the leader answers who looks for a server.
    pub fn leads<M>(&mut self, now: Time, leads: bool, out: &mut Outbox<M>) {
        self.leads = leads;
        self.discovery.leads(now, leads, out);
    }

    /// Something from outside; whether it was for this part. `servers` are the live ones of this cluster, always in the same order.
    pub fn outside<M>(
        &mut self,
        now: Time,
        inward: &Inward<'_>,
        state: &State,
        servers: impl FnOnce() -> Vec<ServerLoad>,
        out: &mut Outbox<M>,
    ) -> bool {
        match inward {
            Inward::Listening { port: DISCOVERY_PORT, .. }
            | Inward::NotListening { port: DISCOVERY_PORT, .. } => {
                self.discovery.outside(now, inward, &[], out);
                true
            }
            Inward::Datagram { .. } => {
                if let Some(heard) = self.discovery.outside(now, inward, &servers(), out)
                    && self.known.heard(now, &heard)
                {
                    self.pulling.reach_all(now, &self.known, out);
                }
                true
            }
            Inward::Opened { conn, by: Opening::Dialled(token), .. } => {
                self.pulling.opened(now, *token, *conn, out);
                true
            }
            Inward::Unreachable { token, .. } => {
                self.pulling.unreachable(now, *token, out);
                true
            }
            Inward::Frames { conn, frames } if self.pulling.owns(*conn) => {
                self.pulling.frames(now, *conn, frames.clone(), &mut self.known, state, out);
                true
            }
            Inward::Frames { conn, frames } if self.serving.owns(*conn) => {
                self.serving.frames(*conn, frames.clone(), state, out);
                true
            }
            Inward::Closed { conn, .. } => {
                let mine = self.owns(*conn);
                self.pulling.closed(now, *conn, out);
                self.serving.closed(*conn);
                mine
            }
            Inward::Drained { conn } => self.owns(*conn),
            _ => false,
        }
    }

    fn owns(&self, conn: Conn) -> bool {
        self.pulling.owns(conn) || self.serving.owns(conn)
    }

    /// Takes over a connection to this server on which nobody has logged in, and on which somebody said, under the number `id`, to be another cluster; they are told `welcome`. False if
    /// they may not: then nothing was answered, and the connection is to be closed.
    #[expect(clippy::too_many_arguments, reason = "who, what they said, and what they are answered")]
    pub fn adopt<M>(
        &mut self,
        now: Time,
        conn: Conn,
        peer: SocketAddr,
        id: i64,
        packet: &NetworkDiscoveryPacket,
        welcome: Welcome,
        out: &mut Outbox<M>,
    ) -> bool {
        if !self.serving.adopt(conn, peer, id, packet, welcome, out) {
            return false;
        }
        if let (Some(tag), Some(server)) = (&packet.group_tag, wire::server_of(packet, peer.ip()))
            && self.known.here(now, tag, server)
        {
            self.pulling.reach_all(now, &self.known, out);
        }
        true
    }

    /// What was said on a connection before it was taken over.
    pub fn said<M>(&mut self, conn: Conn, said: &Route, state: &State, out: &mut Outbox<M>) {
        self.serving.said(conn, said, state, out);
    }

    /// A user has their first session on this server.
    pub fn online<M>(&mut self, now: Time, user: UserId, name: &str, state: &State, out: &mut Outbox<M>) {
        self.pulling.online(now, user, name, &self.known, state, out);
    }

    /// A user has no session on this server any more.
    pub fn offline<M>(&mut self, now: Time, user: UserId, state: &State, out: &mut Outbox<M>) {
        self.pulling.offline(now, user, state, out);
    }

    /// A message stands in a conversation.
    pub fn posted<M>(
        &mut self,
        conversation: ConversationId,
        message: &Stored,
        state: &State,
        out: &mut Outbox<M>,
    ) {
        self.serving.posted(conversation, message, state, out);
    }

    /// A user has read what has come from another cluster, up to this place there.
    pub fn read<M>(&mut self, user: UserId, from: &Origin, upto: Place, out: &mut Outbox<M>) {
        self.pulling.read(user, from, upto, out);
    }

    /// A user is none any more.
    pub fn unregistered<M>(&mut self, user: UserId, out: &mut Outbox<M>) {
        self.serving.unregistered(user, out);
    }

    /// Rows were looked at by a token from [`LOOK_TOKENS_FROM`] on.
    pub fn looked<M>(&mut self, looked: &Looked, state: &State, out: &mut Outbox<M>) {
        self.serving.looked(looked, state, out);
    }

    /// What is to be proposed, each under a token for [`Clusters::settled`].
    pub fn take_proposals(&mut self) -> Vec<(u64, Command)> {
        self.pulling.take_proposals()
    }

    /// What has become of something that was proposed.
    pub fn settled<M>(&mut self, now: Time, token: u64, settled: Settled<'_>, out: &mut Outbox<M>) {
        self.pulling.settled(now, token, settled, out);
    }

    /// Read marks that are to be moved, since the users have read the messages in another cluster.
    pub fn take_marks(&mut self) -> Vec<(UserId, Place)> {
        self.serving.take_marks()
    }

    /// What the other servers of this cluster are to be told now: servers of other clusters that were heard of. The leader hears of them, and the others know in time
    /// which they are when it is gone.
    pub fn take_news(&mut self, now: Time) -> Option<Vec<(String, Vec<SocketAddr>)>> {
        let due = self.known.take_changed() || self.news_at <= now;
        if !self.leads || !due {
            return None;
        }
        self.news_at = now + NEWS_EVERY;
        let news = self.known.news();
        (!news.is_empty()).then_some(news)
    }

    /// What another server of this cluster has heard of.
    pub fn news<M>(&mut self, now: Time, heard: Vec<(String, Vec<SocketAddr>)>, out: &mut Outbox<M>) {
        for (tag, servers) in heard {
            for server in servers {
                self.known.here(now, &tag, server);
            }
        }
        // It is known where it was said.
        self.known.take_changed();
        self.pulling.reach_all(now, &self.known, out);
    }

    /// The state is being replaced: connections to other clusters are given up, those of others are forgotten, since all that have come in are being closed, and nobody is online.
    pub fn reset<M>(&mut self, out: &mut Outbox<M>) {
        self.pulling.reset(out);
        self.serving.reset();
    }

    /// When [`Clusters::timeout`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        let news = (self.leads && self.known.tags().next().is_some()).then_some(self.news_at);
        [self.discovery.deadline(), self.pulling.deadline(), news].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn timeout<M>(&mut self, now: Time, state: &State, out: &mut Outbox<M>) {
        self.discovery.timeout(now, out);
        if self.forget_at <= now {
            self.forget_at = now + FORGET_EVERY;
            self.known.forget(now);
        }
        self.pulling.timeout(now, &self.known, state, out);
    }

    /// Names and values of what is counted.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.discovery.counters();
        counters.push(("clusters_known", self.known.tags().count() as u64));
        counters.extend(self.pulling.counters());
        counters.extend(self.serving.counters());
        counters
    }
}

/// The tokens by which this part looks at rows begin here; those of others lie below.
pub const LOOK_TOKENS_FROM: u64 = 1 << 63;

/// How many messages of a subscription may be on their way, and how many bytes of them.
const ON_THE_WAY_MAX: usize = 1024;
const ON_THE_WAY_BYTES_MAX: usize = 1024 * 1024;
/// The longest frame that is taken from another cluster, in bytes.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often the leader tells the others of clusters even if there is nothing new: one of them may have been away.
const NEWS_EVERY: Duration = Duration::from_secs(30);
const FORGET_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
