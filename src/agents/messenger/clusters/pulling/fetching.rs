//! What comes on a connection to another cluster, on its way into the log.

use std::time::Duration;

use log::{info, warn};

use super::super::known::Known;
use super::super::wire::frame;
use super::super::{ClusterSettings, Settled};
use super::up::{Up, ending, receipt, receipt_of};
use super::{BACKOFF_MIN, Cluster, Link, Pulling, Waiting};
use crate::agent::{Outbox, Outward};
use crate::agents::messenger::{
    ClusterIdentity, Command, Effect, Origin, Outcome, Place, Refused, State, UserId,
};
use crate::time::Time;
use crate::wire::proto::network_discovery_packet::Mode;
use crate::wire::proto::route::Payload;
use crate::wire::proto::{MessagesResponse, NetworkDiscoveryPacket, Route};

impl Pulling {
    /// Takes one Route; none if it makes no sense.
    pub(super) fn route<M>(
        &mut self,
        now: Time,
        tag: &str,
        route: Route,
        known: &mut Known,
        state: &State,
        out: &mut Outbox<M>,
    ) -> Option<()> {
        let cluster = self.clusters.get_mut(tag)?;
        match (&mut cluster.link, route.payload) {
            (Link::Greeting { conn, at, .. }, Some(Payload::NetworkDiscoveryPacket(packet))) => {
                let (conn, at) = (*conn, *at);
                if !is_from(&self.settings, tag, &packet) {
                    return None;
                }
                let told = route.welcome.as_ref().and_then(|welcome| welcome.cluster.as_ref());
                let identity = match told {
                    Some(told) => Some(ClusterIdentity::of(told)?),
                    None => None,
                };
                self.counts.connected += 1;
                info!("messenger: connected to another cluster cluster={tag} at={at}");
                known.here(now, tag, at);
                for server in route.welcome.iter().flat_map(|welcome| &welcome.servers) {
                    if let Ok(server) = server.parse() {
                        known.here(now, tag, server);
                    }
                }
                let mut up = Up::new(conn, at, Origin { tag: tag.to_owned(), identity }, now);
                for (user, name) in &self.users {
                    up.subscribe(*user, name, state, out);
                }
                up.idle = self.users.is_empty().then_some(now);
                (cluster.link, cluster.backoff) = (Link::Up(up), BACKOFF_MIN);
            }
            (Link::Up(up), payload) => {
                (up.heard, up.asked) = (now, false);
                match payload {
                    Some(Payload::MessagesResponse(MessagesResponse { id, messages, .. })) => {
                        let id = id?;
                        let Some(user) = self.names.get(id.as_str()) else { return Some(()) };
                        // What a subscription that is over has sent would stand before what comes again.
                        if let Some(pull) = up.pulls.get_mut(user)
                            && pull.id == route.id
                            && !pull.has_ended()
                        {
                            self.counts.messages += messages.len() as u64;
                            let known = pull.take(messages, state.imported(*user, &up.from)).ok()?;
                            if !known.is_empty() {
                                let bytes = receipt_of(pull.id, &id, known.into_iter());
                                out.outside(Outward::Frames { conn: up.conn, bytes });
                            }
                            up.ready.insert(*user);
                        }
                    }
                    // There is no such user, or not now: they may come.
                    Some(Payload::Response(response)) if response.success == Some(false) => {
                        let user = up.pulls.iter().find(|(_, pull)| pull.id == route.id);
                        let user = user.map(|(user, _)| *user);
                        if let Some(user) = user {
                            let pause = self.rng.duration(ABSENT_PAUSE, ABSENT_PAUSE * 2);
                            up.pause(user, now + pause);
                        }
                    }
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Proposes what has come, of each user the next batch.
    pub(super) fn propose(&mut self, now: Time, tag: &str) {
        let Some(Cluster { link: Link::Up(up), .. }) = self.clusters.get_mut(tag) else { return };
        while let Some(user) = up.ready.pop_first() {
            let pull = up.pulls.get_mut(&user);
            if let Some(command) = pull.and_then(|pull| pull.next(now, self.tokens + 1, &up.from, user)) {
                self.tokens += 1;
                self.waiting.insert(self.tokens, Waiting { tag: tag.to_owned(), user, since: now });
                self.proposals.push((self.tokens, command));
            }
        }
    }

    pub(in super::super) fn take_proposals(&mut self) -> Vec<(u64, Command)> {
        std::mem::take(&mut self.proposals)
    }

    /// What has become of a proposal.
    pub(in super::super) fn settled<M>(
        &mut self,
        now: Time,
        token: u64,
        settled: Settled<'_>,
        out: &mut Outbox<M>,
    ) {
        let Some(Waiting { tag, user, .. }) = self.waiting.remove(&token) else { return };
        let Some(Cluster { link: Link::Up(up), .. }) = self.clusters.get_mut(&tag) else { return };
        let Some(pull) = up.pulls.get_mut(&user).filter(|pull| pull.waits_for(token)) else { return };
        match settled {
            Settled::Applied(Outcome::Done(effects)) => {
                let whole = pull.committed(effects);
                if let Some(name) = self.users.get(&user) {
                    let imported = effects.iter().filter_map(|effect| match effect {
                        Effect::Imported { conversation, progress } => Some((*conversation, *progress)),
                        _ => None,
                    });
                    let bytes = receipt_of(pull.id, name, imported);
                    out.outside(Outward::Frames { conn: up.conn, bytes });
                }
                if whole {
                    up.ready.insert(user);
                    return self.propose(now, &tag);
                }
                self.pause(now, &tag, user, out);
            }
            Settled::Applied(Outcome::Refused(why)) => {
                if !matches!(why, Refused::InboxFull | Refused::TooMany) {
                    let user = user.0;
                    warn!("messenger: what another cluster sent is refused cluster={tag} user={user}: {why}");
                }
                self.pause(now, &tag, user, out);
            }
            Settled::Busy | Settled::Unknown => {
                let pause = self.rng.duration(AGAIN_PAUSE, AGAIN_PAUSE * 4);
                pull.again(now + pause);
                up.timers.insert((now + pause, user));
            }
        }
    }

    /// A user has read here what has come from another cluster: that one hears of it.
    pub(in super::super) fn read<M>(&self, user: UserId, from: &Origin, upto: Place, out: &mut Outbox<M>) {
        let Some(Cluster { link: Link::Up(up), .. }) = self.clusters.get(&from.tag) else { return };
        if up.from == *from
            && let (Some(name), Some(pull)) = (self.users.get(&user), up.pulls.get(&user))
            && !pull.has_ended()
        {
            let bytes = receipt(pull.id, name, Vec::new(), vec![upto.into()]);
            out.outside(Outward::Frames { conn: up.conn, bytes });
        }
    }

    /// Takes nothing of a user for a while, since it has too much to read.
    fn pause<M>(&mut self, now: Time, tag: &str, user: UserId, out: &mut Outbox<M>) {
        let Some(Cluster { link: Link::Up(up), .. }) = self.clusters.get_mut(tag) else { return };
        if let (Some(name), Some(pull)) = (self.users.get(&user), up.pulls.get(&user)) {
            out.outside(Outward::Frames { conn: up.conn, bytes: frame(&ending(pull.id, name)) });
        }
        let pause = self.rng.duration(ABSENT_PAUSE, ABSENT_PAUSE * 2);
        up.pause(user, now + pause);
    }
}

/// Whether a packet is what the cluster `tag` answers.
fn is_from(settings: &ClusterSettings, tag: &str, packet: &NetworkDiscoveryPacket) -> bool {
    let knows = settings.between.as_ref().is_some_and(|secret| secret.is(&packet.secret));
    if knows && packet.group_tag.as_deref() != Some(tag) {
        let other = packet.group_tag.as_deref().unwrap_or_default().escape_debug();
        warn!("messenger: another cluster than was expected answers cluster={tag} answered={other}");
    }
    knows && packet.mode() == Mode::Response && packet.group_tag.as_deref() == Some(tag)
}

/// When a user is asked for again who is not known there, or whose inbox here is full: after so long, or up to twice that.
const ABSENT_PAUSE: Duration = Duration::from_secs(5);
/// When a batch is proposed again that was not committed: after so long, or up to four times that.
const AGAIN_PAUSE: Duration = Duration::from_millis(250);
