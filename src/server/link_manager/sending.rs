//! What leaves on links, and when there is so much of it that masters wait.

use std::time::Duration;

use bytes::Bytes;
use log::warn;

use super::LinkManager;
use crate::agent::Why;
use crate::grid::ServerId;
use crate::server::link::Stage;
use crate::server::outputs::{Action, ConnId, Outputs};
use crate::time::Time;

/// Above this many queued bytes a link is congested, and masters wait.
const CONGESTED_BYTES: usize = 4 * 1024 * 1024;
/// At this many or less it is not any more.
const DRAINED_BYTES: usize = 1024 * 1024;
/// A congested link that has taken nothing for this long holds nobody back any more.
const PROGRESS_LIMIT: Duration = Duration::from_secs(2);

impl LinkManager {
    /// The host has taken `written` bytes of the connection's queue.
    pub fn wrote(&mut self, conn: ConnId, written: usize, now: Time, out: &mut Outputs) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.queue.advance(written);
        if written > 0 {
            link.last_progress = now;
        }
        if link.congested && link.queue.footprint_bytes() <= DRAINED_BYTES {
            link.congested = false;
        }
        if matches!(link.stage, Stage::Ending) && link.queue.is_empty() {
            out.act(Action::Finish(conn));
        }
    }

    /// Sends `bytes`, whole lines, to every peer whose link is up. They share the one buffer.
    pub fn send_to_all(&mut self, bytes: &Bytes, now: Time, out: &mut Outputs) {
        for index in 0..self.peers.len() {
            if let Some(conn) = self.peers[index].link {
                self.send_on(conn, bytes.clone(), now, out);
            }
        }
    }

    /// Sends `bytes`, whole lines or a whole frame, to one peer. Whether it has a link that takes them.
    pub fn send_to(&mut self, peer: ServerId, bytes: Bytes, now: Time, out: &mut Outputs) -> bool {
        let conn = self.peers.get(peer.index()).and_then(|slot| slot.link);
        conn.is_some_and(|conn| self.send_on(conn, bytes, now, out))
    }

    /// Puts `bytes` into the queue of a link; whether it took them.
    fn send_on(&mut self, conn: ConnId, bytes: Bytes, now: Time, out: &mut Outputs) -> bool {
        let Some(link) = self.links.get_mut(&conn) else { return false };
        if link.leaving.is_some() {
            return false;
        }
        if link.queue.footprint_bytes() + bytes.len() > self.settings.queue_bytes_max {
            self.links_dropped += 1;
            warn!("link: queue full conn={} limit_bytes={}", conn.0, self.settings.queue_bytes_max);
            self.leave(conn, Why::QueueFull, "its queue was full", out);
            return false;
        }
        if link.queue.is_empty() {
            link.last_progress = now;
        }
        link.queue.push(bytes);
        link.note_sent();
        link.congested |= link.queue.footprint_bytes() > CONGESTED_BYTES;
        out.touch(conn);
        true
    }

    /// Whether masters are to wait: an alive peer has more in its queue than it should, and takes from it.
    pub fn congested(&self, now: Time) -> bool {
        self.peers.iter().filter(|peer| !peer.suspected).filter_map(|peer| peer.link).any(|conn| {
            self.links
                .get(&conn)
                .is_some_and(|link| link.congested && now.since(link.last_progress) < PROGRESS_LIMIT)
        })
    }
}
