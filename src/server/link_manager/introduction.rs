//! Who is who: what becomes of a connection once its first line has come, and of those that never send one.

use log::{debug, info, warn};

use super::{LinkManager, News};
use crate::agent::Why;
use crate::grid::ServerId;
use crate::seldom;
use crate::server::link::{Direction, Link, Stage};
use crate::server::outputs::{Action, ConnId, Outputs};
use crate::time::Time;

/// What happens to a connection whose first line has come.
enum Verdict {
    Up,
    After(ConnId),
    /// The peer has a better one: its lines are still read, then it goes.
    Superfluous,
    Refused(String),
}

impl LinkManager {
    pub(super) fn introduced(&mut self, conn: ConnId, peer: ServerId, now: Time, out: &mut Outputs) {
        let verdict = self.judge(conn, peer);
        let Some(link) = self.links.get_mut(&conn) else { return };
        if let Direction::Dialled(dialled) = link.direction {
            self.peers[dialled.index()].dialling = None;
        }
        match verdict {
            Verdict::Up => self.come_up(conn, peer, now),
            Verdict::After(old) => {
                link.wait_as(peer);
                link.limit = None;
                self.peers[peer.index()].waiting = Some(conn);
                out.act(Action::Drain(old));
            }
            Verdict::Superfluous => {
                debug!("link: superfluous connection conn={} peer={peer}", conn.0);
                let heard = link.come_up(peer, now);
                self.news.push_back(News::Heard { conn, heard });
                self.leave(conn, Why::Closed, "the peer has a better link", out);
            }
            Verdict::Refused(why) => {
                self.refuse(conn, &why, out);
                if !self.settings.roster.is_complete() {
                    self.perhaps_gone(peer, false);
                }
            }
        }
    }

    fn judge(&self, conn: ConnId, peer: ServerId) -> Verdict {
        let roster = &self.settings.roster;
        if peer == roster.own() {
            return Verdict::Refused(format!("says it is {}, which is this one", roster.name(peer)));
        }
        if let Some(Direction::Dialled(expected)) = self.links.get(&conn).map(|link| link.direction)
            && expected != peer
        {
            let (expected, peer) = (roster.name(expected), roster.name(peer));
            return Verdict::Refused(format!("{expected} was dialled, {peer} answers"));
        }
        let slot = &self.peers[peer.index()];
        let complete = roster.is_complete();
        match slot.link {
            // Both have dialled: the larger one's connection is it, and the other side sees the same.
            None if !complete && slot.dialling.is_some_and(|own| own != conn) && roster.dials(peer) => {
                Verdict::Refused("dialled by both, and this side's connection is the one".into())
            }
            None => Verdict::Up,
            // Nodes of `gen_hypar` never change one link for another: two at a time would confuse them.
            Some(_) if roster.speaks_hypar() && self.is_dialled(conn) => {
                Verdict::Refused("there is a link".into())
            }
            // A third connection while two already change places: the peer will dial again.
            Some(_) if slot.waiting.is_some() => Verdict::Superfluous,
            // Names only increase: of two in the canonical direction the one with the smaller name was opened first, however
            // late its first line came.
            Some(old) if self.is_canonical(old, peer) && (!self.is_canonical(conn, peer) || conn < old) => {
                if complete {
                    Verdict::Superfluous
                } else {
                    Verdict::Refused("there is a link".into())
                }
            }
            Some(old) => Verdict::After(old),
        }
    }

    /// Whether the connection was dialled by the larger id.
    fn is_canonical(&self, conn: ConnId, peer: ServerId) -> bool {
        self.is_dialled(conn) == self.settings.roster.dials(peer)
    }

    fn is_dialled(&self, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|link| matches!(link.direction, Direction::Dialled(_)))
    }

    pub(super) fn come_up(&mut self, conn: ConnId, peer: ServerId, now: Time) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let heard = link.come_up(peer, now);
        let slot = &mut self.peers[peer.index()];
        slot.link = Some(conn);
        slot.suspected = false;
        slot.epoch.0 += 1;
        let epoch = slot.epoch;
        self.dialler.stop(peer);
        let opened_by = if link.direction == Direction::Accepted { "peer" } else { "us" };
        info!("link: up peer={} opened_by={opened_by}", self.settings.roster.name(peer));
        self.news.push_back(News::Up { peer, epoch, conn, heard });
    }

    /// Closes a connection that is of no use, and says why.
    pub(super) fn refuse(&mut self, conn: ConnId, why: &str, out: &mut Outputs) {
        if seldom::count(&mut self.refusals) {
            warn!("link: connection refused conn={} why=\"{why}\" so_far={}", conn.0, self.refusals);
        }
        out.act(Action::Close(conn));
        let Some(link) = self.links.remove(&conn) else { return };
        if let Direction::Dialled(peer) = link.direction {
            self.peers[peer.index()].dialling = None;
            if self.settings.roster.is_complete() {
                self.dialler.refused(peer, link.last_heard);
            } else {
                self.perhaps_gone(peer, true);
            }
        }
    }

    pub(super) fn make_room_for_stranger(&mut self, out: &mut Outputs) {
        let strangers_max = self.settings.strangers_max;
        let is_stranger = |link: &Link| {
            link.direction == Direction::Accepted
                && matches!(link.stage, Stage::Nameless { .. } | Stage::Letter)
        };
        // Names only increase, so the first nameless one is the oldest. The count is bounded, so the walk is too.
        if self.links.len() >= strangers_max
            && self.links.values().filter(|link| is_stranger(link)).count() >= strangers_max
            && let Some(oldest) = self.links.iter().find(|(_, link)| is_stranger(link)).map(|(conn, _)| *conn)
        {
            self.refuse(oldest, "too many connections that do not say who they are", out);
        }
    }
}
