//! Who is connected to which server of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::UserId;
use super::super::message::MessengerMessage;
use crate::agent::{Outbox, Peer};
use crate::time::Time;

/// What the other servers say, and what they have not been told yet.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    servers: BTreeMap<Peer, Server>,
    links: BTreeSet<Peer>,
    /// Users of this server: whether they came or went since that was told.
    changed: BTreeMap<UserId, bool>,
    due: Option<Time>,
}

#[derive(Debug)]
struct Server {
    clients: String,
    sessions: u64,
    online: BTreeSet<UserId>,
}

/// Users who may have come or gone elsewhere.
pub(super) type Affected = BTreeSet<UserId>;

impl Elsewhere {
    /// A link is up: that server is told all.
    pub(super) fn link_up(&mut self, peer: Peer, here: MessengerMessage, out: &mut Outbox<MessengerMessage>) {
        self.links.insert(peer);
        out.send(peer, here);
    }

    /// All servers are told anew, since what they were told first is not true any more, or are asked for the same by it.
    pub(super) fn tell_again(&self, here: &MessengerMessage, out: &mut Outbox<MessengerMessage>) {
        for peer in &self.links {
            out.send(*peer, here.clone());
        }
    }

    /// A link is down: nobody is known to be there any more.
    pub(super) fn link_down(&mut self, peer: Peer) -> Affected {
        self.links.remove(&peer);
        self.servers.remove(&peer).map(|server| server.online).unwrap_or_default()
    }

    /// A server has said something of itself.
    pub(super) fn heard(&mut self, peer: Peer, message: MessengerMessage) -> Affected {
        match message {
            MessengerMessage::Here { clients, sessions, online, .. } => {
                let online: BTreeSet<UserId> = online.into_iter().map(UserId).collect();
                let mut affected = online.clone();
                let before = self.servers.insert(peer, Server { clients, sessions, online });
                affected.extend(before.map(|server| server.online).unwrap_or_default());
                affected
            }
            MessengerMessage::Changed { sessions, came, went } => {
                let Some(server) = self.servers.get_mut(&peer) else { return Affected::new() };
                server.sessions = sessions;
                server.online.extend(came.iter().copied().map(UserId));
                for user in &went {
                    server.online.remove(&UserId(*user));
                }
                came.into_iter().chain(went).map(UserId).collect()
            }
            MessengerMessage::Clusters { .. } => Affected::new(),
        }
    }

    /// Whether a user is connected to another server.
    pub(super) fn is_online(&self, user: UserId) -> bool {
        self.servers.values().any(|server| server.online.contains(&user))
    }

    /// The other live servers: where clients reach them, and how many sessions they have.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&str, u64)> {
        self.servers.values().map(|server| (server.clients.as_str(), server.sessions))
    }

    /// A user of this server has come, or is gone.
    pub(super) fn changed(&mut self, now: Time, user: UserId, online: bool) {
        self.changed.insert(user, online);
        self.counted(now);
    }

    /// This server has another number of sessions.
    pub(super) fn counted(&mut self, now: Time) {
        self.due.get_or_insert(now + GATHER);
    }

    /// Tells the other servers, if it is time.
    pub(super) fn tell(&mut self, now: Time, sessions: u64, out: &mut Outbox<MessengerMessage>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for (user, online) in std::mem::take(&mut self.changed) {
            if online { &mut came } else { &mut went }.push(user.0);
        }
        for peer in &self.links {
            out.send(*peer, MessengerMessage::Changed { sessions, came: came.clone(), went: went.clone() });
        }
    }

    /// When the other servers are to be told something.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }
}

/// How long changes are gathered before the other servers are told.
const GATHER: Duration = Duration::from_millis(50);
