//! What `status` answers: one line of JSON about one server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::link_manager::{LinkManager, PeerState};
use super::outside::{Outside, Port};
use crate::agent::Carries;
use crate::grid::ServerId;
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

/// A box as it sees itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxStatus {
    /// Its address.
    #[serde(rename = "box")]
    pub address: String,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Its agents, ascending.
    pub agents: Vec<AgentStatus>,
    /// All other boxes.
    pub boxes: Vec<NeighbourStatus>,
    /// How many bytes wait to be sent to other boxes.
    pub bytes_queued: u64,
    /// How many messages of agents were dropped: no link, no such agent, no room.
    pub frames_dropped: u64,
    /// How many were lost on purpose.
    pub frames_lost_on_purpose: u64,
    /// How many connections of others than agents were turned away since there were too many.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub connections_refused: u64,
}

/// An agent of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it has begun; one with a log waits until that has been read.
    pub started: bool,
    /// What it counts.
    pub counters: BTreeMap<String, u64>,
    /// What else it has to say about itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// The ports that it has open for others than agents of its grid, or wants to have.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<PortStatus>,
    /// How many connections it has that it has dialled.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub dialled: u64,
}

/// A port of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Where it is open; absent while it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<SocketAddr>,
    /// `frames`, `frames over tls` or `datagrams`.
    pub carries: String,
    /// How many connections have come in by it and are open.
    pub connections: u64,
}

/// Another box as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourStatus {
    /// Its address.
    pub address: String,
    /// `alive`, `suspected` or `absent`.
    pub state: PeerState,
    /// For how long it has been silent, in milliseconds; absent where there is no link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent_ms: Option<u64>,
}

impl Status {
    pub(super) fn of(
        links: &LinkManager,
        counters: &[(&'static str, u64)],
        started: Time,
        now: Time,
    ) -> Self {
        let roster = links.roster();
        let counted =
            |wanted: &str| counters.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| *value);
        let peers = roster.others().map(|peer| {
            let (state, silent) = links.peer_state(peer, now);
            PeerStatus { id: peer.0, state, silent_ms: silent.map(milliseconds) }
        });
        Self {
            id: roster.own().0,
            n: u16::try_from(roster.len()).unwrap_or(u16::MAX),
            uptime_ms: milliseconds(now.since(started)),
            messages: counted("messages"),
            log_bytes: counted("log_bytes"),
            broadcasts_refused: counted("broadcasts_refused"),
            messages_dropped: counted("messages_dropped"),
            bytes_queued: links.queued_bytes() as u64,
            links_dropped: links.links_dropped(),
            peers: peers.collect(),
        }
    }

    /// The line, without its newline.
    pub fn line(&self) -> Bytes {
        line_of(self)
    }
}

impl BoxStatus {
    /// The line, without its newline.
    pub fn line(&self) -> Bytes {
        line_of(self)
    }
}

impl NeighbourStatus {
    pub(super) fn of(links: &LinkManager, peer: ServerId, now: Time) -> Self {
        let (state, silent) = links.peer_state(peer, now);
        Self { address: links.roster().name(peer), state, silent_ms: silent.map(milliseconds) }
    }
}

pub(super) fn line_of(status: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(status).expect("numbers and words are always JSON"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PortStatus {
    pub(super) fn of(outside: &Outside, port: &Port) -> Self {
        let carries = match port.carries {
            Carries::Frames { tls: false, .. } => "frames",
            Carries::Frames { tls: true, .. } => "frames over tls",
            Carries::Datagrams => "datagrams",
        };
        let connections = outside.connections_of(port.agent, Some(port.id)) as u64;
        Self { at: port.at, carries: carries.to_owned(), connections }
    }
}

/// A duration as `status` tells it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("584 years of nanoseconds")
}
