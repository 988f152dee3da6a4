//! What programs outside say to a server of an overlay, through its master port: the lab's commands, and those of the node.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::OverlayHost;
use crate::agents::chatroom;
use crate::grid::BoxAddress;
use crate::server::core::{Core, Role};
use crate::server::link_manager::LinkManager;
use crate::server::master::Batch;
use crate::server::outputs::{Action, ConnId};
use crate::server::status::line_of;
use crate::time::Time;

/// A server of an overlay as it sees itself: what `status` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayStatus {
    /// Its id.
    pub id: u16,
    /// How many servers the grid has.
    pub n: u16,
    /// Its address.
    pub address: String,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// The ids of the servers that it takes for alive, itself included.
    pub alive: Vec<u16>,
    /// How many messages its log holds.
    pub messages: u64,
    /// The addresses of its neighbours.
    pub active: Vec<String>,
    /// How many others it knows that could take their place.
    pub passive: usize,
    /// How many bytes wait to be sent to other servers.
    pub bytes_queued: u64,
    /// How many links were dropped because too much waited for the peer.
    pub links_dropped: u64,
    /// What the chatroom, the broadcast and the membership count.
    pub counters: BTreeMap<String, u64>,
}

impl OverlayStatus {
    pub(super) fn of(
        host: &OverlayHost,
        links: &LinkManager,
        chatroom: &[(&'static str, u64)],
        uptime_ms: u64,
    ) -> Self {
        let node = &host.node;
        let counted: Vec<_> = chatroom.iter().copied().chain(node.counters()).collect();
        let own = [("messages_not_understood", host.misunderstood), ("bad_lines", host.bad_lines)];
        Self {
            id: host.grid.id().0,
            n: host.grid.n(),
            address: host.address.to_string(),
            uptime_ms,
            alive: node.layer().alive().collect(),
            messages: counted.iter().find(|(name, _)| *name == "messages").map_or(0, |(_, count)| *count),
            active: node.membership().active().map(|peer| peer.to_string()).collect(),
            passive: node.membership().passive().count(),
            bytes_queued: links.queued_bytes() as u64,
            links_dropped: links.links_dropped(),
            counters: counted.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// A command to the node that cannot be carried out: one word that programs can tell it by, and a text for people.
#[derive(Debug, PartialEq, Eq)]
struct Error(&'static str, String);

impl Core {
    /// Carries out a master's command that is not the chatroom's.
    pub(in crate::server) fn overlay_command(&mut self, batch: &mut Batch<'_>, line: &[u8], now: Time) {
        let text = String::from_utf8_lossy(line.trim_ascii());
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let answer = match verb {
            "alive" => {
                let Role::Overlay(host) = &self.role else { return };
                let ids: Vec<String> = host.node.layer().alive().map(|id| id.to_string()).collect();
                Ok(Bytes::from(format!("alive {}", ids.join(","))))
            }
            "status" => Ok(self.overlay_status(now).map(|status| line_of(&status)).unwrap_or_default()),
            "crash" => return self.end(Action::Crash, now),
            "join" => self.join(rest, now).map(Bytes::from),
            "peers" => Ok(Bytes::from(self.peers())),
            "watch" => self.watch(batch.conn(), rest).map(Bytes::from),
            "send" => self.send_direct(rest, now).map(Bytes::from),
            _ => {
                let known =
                    "alive, crash, status, join <host:port>, peers, watch [broadcasts], send <peer> <base64>";
                return batch.answer_unknown(line, &format!("{}, {known}", chatroom::COMMANDS));
            }
        };
        let answer = answer.unwrap_or_else(|Error(word, text)| Bytes::from(format!("error {word} {text}")));
        log::info!("master: command conn={} {}", batch.conn().0, text);
        self.tracing.answer(now, std::slice::from_ref(&answer));
        batch.answer(answer);
    }

    /// `join <host:port>`: answered at once; whoever wants to know when there is a neighbour watches.
    fn join(&mut self, contact: &str, now: Time) -> Result<String, Error> {
        let contact = address_in(contact)?;
        if matches!(&self.role, Role::Overlay(host) if host.address == contact) {
            return Err(Error("address", format!("{contact} is this server itself")));
        }
        if self.links.roster().speaks_hypar() && contact.ip().is_ipv6() {
            return Err(Error("address", format!("{contact}: nodes of gen_hypar have IPv4 addresses")));
        }
        self.with_node(now, |node, wires| node.join(now, contact, wires));
        Ok(format!("joining {contact}"))
    }

    /// `peers`: the neighbours, ascending.
    fn peers(&self) -> String {
        let Role::Overlay(host) = &self.role else { return String::new() };
        let mut peers: Vec<BoxAddress> = host.node.membership().active().collect();
        peers.sort_unstable();
        let peers: Vec<String> = peers.iter().map(BoxAddress::to_string).collect();
        format!("peers {}", peers.join(","))
    }

    /// `watch`: from now on this master hears of neighbours and of their messages. `watch broadcasts`: also each line that a broadcast of another
    /// server brings, as it came.
    fn watch(&mut self, conn: ConnId, what: &str) -> Result<String, Error> {
        let Role::Overlay(host) = &mut self.role else { return Ok(String::new()) };
        match what.trim() {
            "" => {}
            "broadcasts" => {
                host.listeners.insert(conn);
            }
            _ => return Err(Error("usage", "expected watch or watch broadcasts".to_owned())),
        }
        host.watchers.insert(conn);
        Ok("watching".to_owned())
    }

    /// `send <peer> <base64>`: a message to one neighbour.
    fn send_direct(&mut self, rest: &str, now: Time) -> Result<String, Error> {
        let (peer, text) =
            rest.split_once(' ').ok_or_else(|| Error("usage", "expected send <peer> <base64>".to_owned()))?;
        let peer = address_in(peer)?;
        let bytes = STANDARD.decode(text.trim()).map_err(|error| Error("base64", error.to_string()))?;
        let known = matches!(&self.role, Role::Overlay(host) if host.node.membership().is_active(peer));
        if !known {
            return Err(Error("peer", format!("{peer} is no neighbour of this server; peers lists them")));
        }
        let sent = self.with_node(now, |node, wires| {
            node.act(now, wires, |service, sends| service.direct(peer, Bytes::from(bytes), sends))
        });
        match sent {
            Some(Err(refused)) => Err(Error("refused", refused.to_string())),
            _ => Ok(format!("sent {peer}")),
        }
    }
}

fn address_in(text: &str) -> Result<BoxAddress, Error> {
    text.trim().parse().map_err(|error: crate::grid::BoxAddressError| Error("address", error.to_string()))
}

/// Bytes as one word.
pub(super) fn base64_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
