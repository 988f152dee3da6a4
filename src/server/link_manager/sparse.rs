//! Links that an overlay wants: opened once, closed when it wants them no longer. And its letters: single messages, each on a connection of
//! its own, which is closed behind it.
//!
//! **Invariants.** A link that goes down, or does not come up, is not dialled again: the overlay asks somebody else. What was sent before a link is
//! closed still arrives; after that nothing is read from it. A number of the roster is free once nothing is left of its server, and not before all news
//! about it have been taken.

use bytes::Bytes;
use log::{info, warn};

use super::{CONNECT_LIMIT, ENDING_LIMIT, LinkManager, News};
use crate::agent::Why;
use crate::grid::{BoxAddress, ServerId};
use crate::seldom;
use crate::server::link::{Direction, Link, Stage};
use crate::server::outputs::{Action, ConnId, Outputs};
use crate::time::Time;

/// How many letters may be under way at a time; more are dropped, as a network drops what is too much for it.
const LETTERS_MAX: usize = 64;

/// How many links may end in peace at a time.
const ENDINGS_MAX: usize = 256;

impl LinkManager {
    /// Dials a server of the overlay, unless there is a link or a dial already. Without effect where it has to do with too many servers; then no news
    /// come, either, and the overlay's own time-out tells it to ask somebody else.
    pub(in crate::server) fn want(&mut self, address: BoxAddress, now: Time, out: &mut Outputs) {
        if let Some(peer) = self.settings.roster.admit(address) {
            self.make_slot(peer);
            self.dial(peer, now, out);
        }
    }

    /// Wants no link to a server of the overlay any more: one that is up is closed once what waits has been sent, and a dial is given up.
    pub(in crate::server) fn unwant(&mut self, address: BoxAddress, now: Time, out: &mut Outputs) {
        let Some(peer) = self.settings.roster.number_of(address) else { return };
        let slot = &mut self.peers[peer.index()];
        if let Some(conn) = slot.dialling.take() {
            self.links.remove(&conn);
            out.act(Action::Close(conn));
        }
        let slot = &mut self.peers[peer.index()];
        let Some(conn) = slot.link.take() else { return self.perhaps_gone(peer, false) };
        slot.suspected = false;
        let (epoch, waiting) = (slot.epoch, slot.waiting.take());
        info!("link: down peer={address} why=\"not wanted any more\"");
        let label = self.end(conn, now, out);
        self.news.push_back(News::Down { peer, epoch, label, why: Why::Closed });
        match waiting {
            Some(next) => self.come_up(next, peer, now),
            None => self.perhaps_gone(peer, false),
        }
    }

    /// Lets a link end in peace, unless too many do: what waits is still sent, then the other side may end it. Its label.
    fn end(&mut self, conn: ConnId, now: Time, out: &mut Outputs) -> String {
        let endings = self.links.values().filter(|link| matches!(link.stage, Stage::Ending)).count();
        let Some(link) = self.links.get_mut(&conn) else { return String::new() };
        let label = std::mem::take(&mut link.label);
        if endings >= ENDINGS_MAX {
            self.links.remove(&conn);
            out.act(Action::Close(conn));
            return label;
        }
        link.stage = Stage::Ending;
        if link.queue.is_empty() {
            out.act(Action::Finish(conn));
        }
        self.set_limit(conn, now + ENDING_LIMIT);
        label
    }

    /// Leaves `letter`, whole lines and frames, with a server of the overlay, over a connection of its own.
    pub(in crate::server) fn post(
        &mut self,
        address: BoxAddress,
        letter: [Bytes; 2],
        now: Time,
        out: &mut Outputs,
    ) {
        if self.letters >= LETTERS_MAX {
            if seldom::count(&mut self.letters_dropped) {
                warn!("link: letter dropped to={address} so_far={}", self.letters_dropped);
            }
            return;
        }
        self.letters += 1;
        let conn = out.new_conn();
        let mut link = Link::new(Direction::Letter, self.reader(Direction::Letter), now);
        for part in letter {
            link.queue.push(part);
        }
        self.links.insert(conn, link);
        self.set_limit(conn, now + CONNECT_LIMIT);
        out.act(Action::Dial { conn, address: address.socket() });
    }

    /// Reads what somebody leaves here.
    pub(super) fn read_letter(&mut self, conn: ConnId, bytes: &[u8], out: &mut Outputs) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match link.read_letter(bytes) {
            Ok(None) => {}
            Ok(Some(body)) => {
                self.links.remove(&conn);
                out.act(Action::Close(conn));
                self.news.push_back(News::Letter { body });
            }
            Err(error) => self.refuse(conn, &error.to_string(), out),
        }
    }

    /// Something of a server of the overlay is gone, and perhaps all of it. `dialled` where that was a dial that led to nothing.
    pub(super) fn perhaps_gone(&mut self, peer: ServerId, dialled: bool) {
        let slot = &self.peers[peer.index()];
        if dialled && slot.link.is_none() {
            self.news.push_back(News::Unreachable { peer, epoch: slot.epoch });
        }
        self.perhaps_gone.push(peer);
    }

    /// Frees the numbers of servers of which nothing is left.
    pub(super) fn free_numbers(&mut self) {
        for peer in std::mem::take(&mut self.perhaps_gone) {
            let slot = &self.peers[peer.index()];
            if slot.link.is_none() && slot.waiting.is_none() && slot.dialling.is_none() {
                self.settings.roster.remove(peer);
            }
        }
    }
}
