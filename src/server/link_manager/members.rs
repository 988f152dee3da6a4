//! The members of the grid: boxes that come and go, and which of them are linked now.

use super::{LinkManager, Peer};
use crate::agent::{Epoch, Why};
use crate::grid::{BoxAddress, ServerId};
use crate::server::link::{Direction, Link};
use crate::server::outputs::{Action, ConnId, Outputs};
use crate::time::Time;

/// Coming and going.
impl LinkManager {
    /// Makes a box a member and begins to look for it; its number. `None` if there are too many.
    pub(in crate::server) fn admit(&mut self, address: BoxAddress, now: Time) -> Option<ServerId> {
        let peer = self.settings.roster.admit(address)?;
        self.make_slot(peer);
        let slot = &self.peers[peer.index()];
        if slot.link.is_none() && slot.dialling.is_none() && self.settings.roster.dials(peer) {
            self.dialler.stop(peer);
            self.dialler.dial_at(peer, now);
        }
        Some(peer)
    }

    /// Makes room for a number that was given for the first time.
    pub(super) fn make_slot(&mut self, peer: ServerId) {
        if peer.index() == self.peers.len() {
            self.peers.push(Peer::default());
            self.dialler.grow();
        }
    }

    /// The box is no member any more: its connections are closed.
    pub(in crate::server) fn expel(&mut self, peer: ServerId, now: Time, out: &mut Outputs) {
        self.settings.roster.remove(peer);
        self.dialler.stop(peer);
        let theirs = |link: &Link| link.peer() == Some(peer) || link.direction == Direction::Dialled(peer);
        let conns: Vec<ConnId> =
            self.links.iter().filter(|(_, link)| theirs(link)).map(|(conn, _)| *conn).collect();
        self.peers[peer.index()].waiting = None;
        for conn in conns {
            out.act(Action::Close(conn));
            self.closed(conn, Why::Removed, "not in the configuration any more", now);
        }
    }
}

/// Who is linked.
impl LinkManager {
    /// All servers that are alive, this one included, ascending.
    pub fn alive(&self) -> impl Iterator<Item = ServerId> {
        let count = u16::try_from(self.peers.len()).unwrap_or(u16::MAX);
        (0..count).map(ServerId).filter(|id| {
            let peer = &self.peers[id.index()];
            *id == self.settings.roster.own() || (peer.link.is_some() && !peer.suspected)
        })
    }

    /// The peers whose links are up, with the label of each link, ascending.
    pub(in crate::server) fn up(&self) -> impl Iterator<Item = (ServerId, &str)> {
        let count = u16::try_from(self.peers.len()).unwrap_or(u16::MAX);
        (0..count).map(ServerId).filter_map(|id| {
            let conn = self.peers[id.index()].link?;
            self.links.get(&conn).map(|link| (id, link.label.as_str()))
        })
    }

    /// The links that are up, ascending by peer, each with its connection.
    pub(in crate::server) fn connections_up(&self) -> impl Iterator<Item = (ServerId, ConnId)> {
        (0..=u16::MAX)
            .map(ServerId)
            .zip(&self.peers)
            .filter_map(|(id, peer)| peer.link.map(|conn| (id, conn)))
    }

    /// Whether `conn` is the link of `peer` that is up.
    pub(in crate::server) fn is_up(&self, conn: ConnId, peer: ServerId) -> bool {
        self.peers.get(peer.index()).is_some_and(|slot| slot.link == Some(conn))
    }

    /// The label of the link of `peer` that is up.
    pub(in crate::server) fn link_label(&self, peer: ServerId) -> Option<&str> {
        self.peers.get(peer.index())?.link.map(|conn| self.label(conn))
    }

    /// The label of a connection.
    pub(in crate::server) fn label(&self, conn: ConnId) -> &str {
        self.links.get(&conn).map_or("", |link| &link.label)
    }

    /// Which link of `peer` is up.
    pub(in crate::server) fn epoch(&self, peer: ServerId) -> Option<Epoch> {
        let slot = self.peers.get(peer.index())?;
        slot.link.map(|_| slot.epoch)
    }

    /// Names a connection for traces.
    pub(in crate::server) fn set_label(&mut self, conn: ConnId, label: String) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.label = label;
        }
    }
}
