//! What `status` answers: one line of JSON about one server.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::link_manager::{LinkManager, PeerState};
use crate::agents::chatroom::Chatroom;
use crate::time::Time;

/// A server as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its id.
    pub id: u16,
    /// The number of servers of the grid.
    pub n: u16,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// How many messages its log holds.
    pub messages: u64,
    /// How many bytes its log holds.
    pub log_bytes: u64,
    /// How many broadcasts of its masters were refused because the log is full.
    pub broadcasts_refused: u64,
    /// How many messages of other servers were dropped because the log is full.
    pub messages_dropped: u64,
    /// How many bytes wait to be sent to other servers.
    pub bytes_queued: u64,
    /// How many links were dropped because too much waited for the peer.
    pub links_dropped: u64,
    /// All other servers, ascending.
    pub peers: Vec<PeerStatus>,
}

/// Another server as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its id.
    pub id: u16,
    /// `alive`, `suspected` or `absent`.
    pub state: PeerState,
    /// For how long it has been silent, in milliseconds; absent where there is no link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent_ms: Option<u64>,
}

impl Status {
    pub(super) fn of(links: &LinkManager, chatroom: &Chatroom, started: Time, now: Time) -> Self {
        let grid = links.settings().grid;
        let peers = grid.others().map(|peer| {
            let (state, silent) = links.peer_state(peer, now);
            let silent_ms =
                silent.map(|silent| u64::try_from(silent.as_millis()).expect("584 years of nanoseconds"));
            PeerStatus { id: peer.0, state, silent_ms }
        });
        Self {
            id: grid.id().0,
            n: grid.n(),
            uptime_ms: u64::try_from(now.since(started).as_millis()).expect("584 years of nanoseconds"),
            messages: chatroom.log().count(),
            log_bytes: chatroom.log().bytes() as u64,
            broadcasts_refused: chatroom.refused_broadcasts(),
            messages_dropped: chatroom.dropped_messages(),
            bytes_queued: links.queued_bytes() as u64,
            links_dropped: links.links_dropped(),
            peers: peers.collect(),
        }
    }

    /// The line, without its newline.
    pub fn line(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("numbers and words are always JSON"))
    }
}
