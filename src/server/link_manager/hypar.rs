//! Links to nodes of `gen_hypar`, the overlay's implementation in Erlang.
//!
//! Whoever opens a connection says all that is needed, and whoever accepts it says nothing first. So a link that was dialled is up as soon as it is
//! connected, and an accepted one with its first frame, which also says who has come. There are no heartbeats but those of the membership.

use super::{LinkManager, News};
use crate::agents::overlay::hypar_sender;
use crate::grid::ServerId;
use crate::server::link::{Direction, Reader, Stage, Turn};
use crate::server::outputs::{Action, ConnId, Outputs};
use crate::time::Time;
use crate::wire::HyparCutter;

/// What a message is for, on a link of `gen_hypar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Saying {
    /// It opens the link.
    Opening {
        /// And is answered.
        asks: bool,
    },
    /// It answers what the link was opened with.
    Answer,
    /// It goes over a link that is open.
    Other,
}

impl LinkManager {
    /// Whether a message may be sent to `peer` now, which it then has to be. What has no place is not sent: two nodes that ask each other at once
    /// have one link in the end, and the question of one of them is settled by that of the other.
    pub(in crate::server) fn take_turn(&mut self, peer: ServerId, saying: Saying) -> bool {
        let conn = self.peers.get(peer.index()).and_then(|slot| slot.link);
        let Some(link) = conn.and_then(|conn| self.links.get_mut(&conn)) else { return false };
        let may = match (link.turn, saying) {
            (Turn::Open, Saying::Opening { asks }) => !asks || link.expect_answer(),
            (Turn::Answer, Saying::Answer) | (Turn::Free, Saying::Other) => true,
            _ => false,
        };
        if may {
            link.turn = Turn::Free;
        }
        may
    }

    /// The peer has asked, and waits for the answer.
    pub(in crate::server) fn owe_answer(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.turn = Turn::Answer;
        }
    }

    /// Cuts what comes on a connection.
    pub(super) fn hypar_reader(&self, direction: Direction) -> Reader {
        let frame_bytes_max = self.settings.line_bytes_max;
        Reader::Hypar(match direction {
            Direction::Accepted => HyparCutter::accepted(frame_bytes_max),
            Direction::Dialled(_) | Direction::Letter => HyparCutter::dialled(frame_bytes_max),
        })
    }

    /// A dial has succeeded: the link is up.
    pub(super) fn open_hypar(&mut self, conn: ConnId, now: Time, out: &mut Outputs) {
        if let Some(link) = self.links.get_mut(&conn).filter(|_| self.settings.roster.speaks_hypar())
            && let Direction::Dialled(peer) = link.direction
        {
            link.turn = Turn::Open;
            self.introduced(conn, peer, now, out);
        }
    }

    /// Reads the beginning of a connection that somebody has opened.
    pub(super) fn hear_hypar(&mut self, conn: ConnId, bytes: &[u8], now: Time, out: &mut Outputs) {
        let frame_bytes_max = self.settings.line_bytes_max;
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Stage::Nameless { heard } = &mut link.stage else { return };
        heard.extend_from_slice(bytes);
        // All of it is read again once the link is up: it is short, and whatever is wrong with what follows is found then.
        let mut cutter = HyparCutter::accepted(frame_bytes_max);
        let sender = match cutter.cut(&mut &heard[..]) {
            Ok(None) => return,
            Ok(Some(frame)) => hypar_sender(&frame).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match sender {
            Ok(Some(sender)) => match self.settings.roster.admit(sender) {
                Some(peer) => {
                    self.make_slot(peer);
                    self.introduced(conn, peer, now, out);
                }
                None => self.refuse(conn, &format!("{sender} is one server too many"), out),
            },
            Ok(None) => {
                let body = std::mem::take(heard);
                self.links.remove(&conn);
                out.act(Action::Close(conn));
                self.news.push_back(News::Letter { body });
            }
            Err(why) => self.refuse(conn, &why, out),
        }
    }
}
