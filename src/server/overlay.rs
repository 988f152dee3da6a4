//! A server of an overlay: a chatroom whose messages travel along a sparse graph instead of over links to everybody.
//!
//! It hosts one node (membership, broadcast, the table of who is alive) and the chatroom, which is the same agent as in a complete graph: what
//! that sends to everyone becomes a broadcast, and what a broadcast brings are lines for it. Programs outside reach the node through the master port
//! (`commands`): they join, look at the neighbours, watch, send.

mod commands;
mod hypar;
mod wires;

use std::collections::BTreeSet;

use bytes::Bytes;
use log::{info, warn};

pub use self::commands::OverlayStatus;
use self::wires::Wires;
use super::core::{Core, Role, Told};
use super::lab;
use super::outputs::ConnId;
use super::status::milliseconds;
use crate::agent::{Epoch, Input, Peer, Why, Wire, WireError};
use crate::agents::overlay::{BY_POST, Message, News, Node, Options, Service, ServiceOptions};
use crate::grid::{BoxAddress, Grid, ServerId};
use crate::seldom;
use crate::time::Time;
use crate::trace::What;
use crate::wire::{Frame, Messages, PeerLine, msg_prefix};

/// What a server of an overlay is told once.
#[derive(Clone, Debug)]
pub struct OverlaySetup {
    /// Its number, and how many there may be.
    pub grid: Grid,
    /// Where others reach it, which is also its name.
    pub address: BoxAddress,
    /// Whom it asks to let it in, in this order.
    pub contacts: Vec<BoxAddress>,
    /// The numbers of the overlay.
    pub options: Options,
    /// Tells the lives of this server apart: larger in each, the time in milliseconds since 1970 for instance.
    pub incarnation: u64,
    /// What it draws from.
    pub seed: u64,
}

/// What a server of an overlay is besides a lab's server.
#[derive(Debug)]
pub(super) struct OverlayHost {
    grid: Grid,
    address: BoxAddress,
    node: OverlayNode,
    /// Masters that want to hear of neighbours and their messages.
    watchers: BTreeSet<ConnId>,
    /// Those among them that want to hear of broadcasts too.
    listeners: BTreeSet<ConnId>,
    misunderstood: u64,
    bad_lines: u64,
}

/// The node as a server hosts it.
type OverlayNode = Node<BoxAddress, Service<BoxAddress>>;
/// What nodes of servers say to each other.
type OverlayMessage =
    Message<BoxAddress, <Service<BoxAddress> as crate::agents::overlay::Layer<BoxAddress>>::Msg>;

/// How much longer than a line a broadcast may be: it carries all lines of a read, of which the first may have begun in the one before.
const BATCH_BYTES: usize = 128 << 10;
/// How much longer than a broadcast a frame may be: neighbours send each other several of those that one has missed.
const ANSWER_BYTES: usize = 512 << 10;

impl OverlaySetup {
    fn into_host(self, payload_bytes_max: usize) -> OverlayHost {
        let Self { grid, address, options, incarnation, seed, .. } = self;
        let mut service = ServiceOptions::default();
        service.broadcast.tree.payload_bytes_max = payload_bytes_max;
        let service = Service::new(address, grid.id().0, incarnation, service);
        OverlayHost {
            grid,
            address,
            node: Node::new(address, options, seed, service),
            watchers: BTreeSet::new(),
            listeners: BTreeSet::new(),
            misunderstood: 0,
            bad_lines: 0,
        }
    }
}

impl OverlayHost {
    /// When the node wants to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.node.deadline()
    }

    /// The session is gone.
    pub(super) fn detach(&mut self, conn: ConnId) {
        self.watchers.remove(&conn);
        self.listeners.remove(&conn);
    }
}

impl Core {
    /// The core of a server of an overlay.
    pub(super) fn of_overlay(
        mut settings: super::Settings,
        setup: OverlaySetup,
        log_bytes_max: usize,
        now: Time,
    ) -> Self {
        let contacts = setup.contacts.clone();
        let own = setup.grid.id();
        settings.links.roster.speak(setup.options.dialect);
        let payload_bytes_max = settings.links.line_bytes_max + BATCH_BYTES;
        settings.links.line_bytes_max = payload_bytes_max + ANSWER_BYTES;
        let host = setup.into_host(payload_bytes_max);
        let mut core = Self::empty(settings, Role::Overlay(Box::new(host)), now);
        core.host_chatroom(own, log_bytes_max);
        core.with_node(now, |node, wires| {
            node.start(now, wires);
            for contact in contacts {
                node.join(now, contact, wires);
            }
        });
        core.work(now);
        core
    }

    /// The node's host and what the node acts through, where this server is one of an overlay.
    fn host_and_wires(&mut self, now: Time) -> Option<(&mut OverlayHost, Wires<'_>)> {
        let Self { links, outputs, role, tracing, .. } = self;
        let Role::Overlay(host) = role else { return None };
        Some((host, Wires { links, outputs, tracing, now }))
    }

    /// Lets the node do something, and then does what that has led to.
    fn with_node<R>(
        &mut self,
        now: Time,
        act: impl FnOnce(&mut OverlayNode, &mut Wires<'_>) -> R,
    ) -> Option<R> {
        let (host, mut wires) = self.host_and_wires(now)?;
        let result = act(&mut host.node, &mut wires);
        self.take_overlay_news(now);
        Some(result)
    }

    /// Hands on what the node has for the chatroom and for those who watch, in the order in which it happened.
    fn take_overlay_news(&mut self, now: Time) {
        loop {
            let Some((host, mut wires)) = self.host_and_wires(now) else { return };
            let Some(news) = host.node.act(now, &mut wires, |service, _| service.next_news()) else { return };
            match news {
                News::LinkUp(peer) => {
                    info!("overlay: link up peer={peer}");
                    self.tell_watchers(|| format!("link_up {peer}"));
                }
                News::LinkDown(peer, reason) => {
                    info!("overlay: link down peer={peer} why=\"{reason}\"");
                    self.tell_watchers(|| {
                        format!("link_down {peer} {}", reason.to_string().replace(' ', "_"))
                    });
                }
                News::Direct(from, bytes) => {
                    self.tell_watchers(|| format!("message {from} {}", commands::base64_of(&bytes)));
                }
                News::Delivered(broadcast) => self.lines_delivered(&broadcast.payload, now),
            }
        }
    }

    /// Has a line for those who watch, if somebody does.
    fn tell_watchers(&mut self, line: impl FnOnce() -> String) {
        let Role::Overlay(host) = &self.role else { return };
        if !host.watchers.is_empty() {
            let line = Bytes::from(line());
            self.told.extend(host.watchers.iter().map(|conn| Told::News(*conn, line.clone())));
        }
    }

    /// A broadcast has come: lines of one server for the chatroom.
    fn lines_delivered(&mut self, lines: &Bytes, now: Time) {
        let first = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let sender = match PeerLine::parse(first) {
            Ok(line) => line.sender(),
            Err(error) => {
                let Role::Overlay(host) = &mut self.role else { return };
                if seldom::count(&mut host.misunderstood) {
                    warn!("overlay: broadcast not understood why=\"{error}\" so_far={}", host.misunderstood);
                }
                return;
            }
        };
        if let Role::Overlay(host) = &self.role {
            for conn in &host.listeners {
                let each = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                self.told.extend(each.map(|line| Told::News(*conn, lines.slice_ref(line))));
            }
        }
        let mut bad_lines = 0;
        let prefix = msg_prefix(sender);
        let lines = Messages::new(lines, sender, &prefix, &mut bad_lines);
        self.hand(lab::CHATROOM, Input::Lines { from: Peer(u32::from(sender.0)), lines }, now);
        if let Role::Overlay(host) = &mut self.role {
            host.bad_lines += bad_lines;
        }
    }

    /// The chatroom sends lines to everyone.
    pub(super) fn broadcast_lines(&mut self, lines: &Bytes, now: Time) {
        let Some((host, mut wires)) = self.host_and_wires(now) else { return };
        if wires.links.roster().speaks_hypar() {
            return host.refuse_broadcast("nodes of gen_hypar talk to their neighbours only");
        }
        let sent = host.node.act(now, &mut wires, |service, sends| service.broadcast(now, lines, sends));
        if let Err(refused) = sent {
            host.refuse_broadcast(&refused.to_string());
        }
    }

    /// A link came up.
    pub(super) fn overlay_up(&mut self, peer: ServerId, epoch: Epoch, now: Time) {
        if let Some(address) = self.links.roster().overlay_address(peer) {
            self.with_node(now, |node, wires| node.link_up(now, address, epoch, wires));
        }
    }

    /// A link went down, or did not come up.
    pub(super) fn overlay_down(&mut self, peer: ServerId, epoch: Epoch, why: Why, now: Time) {
        if let Some(address) = self.links.roster().overlay_address(peer) {
            self.with_node(now, |node, wires| node.link_down(now, address, epoch, why, wires));
        }
    }

    /// A frame came over a link.
    pub(super) fn overlay_frame(&mut self, conn: ConnId, from: ServerId, frame: Frame<'_>, now: Time) {
        let address = self.links.roster().overlay_address(from).filter(|_| self.links.is_up(conn, from));
        let Some(address) = address else { return };
        let Some(message) = self.understand(frame.port == BY_POST, frame.body) else { return };
        self.overlay_message(conn, address, frame.port == BY_POST, message, now);
    }

    /// A message came over a link.
    fn overlay_message(
        &mut self,
        conn: ConnId,
        from: BoxAddress,
        by_post: bool,
        message: OverlayMessage,
        now: Time,
    ) {
        self.tracing.note(now, || What::Receive {
            from: from.to_string(),
            link: self.links.label(conn).to_owned(),
            kind: message.kind().to_owned(),
            text: wires::shown(&message),
            id: None,
        });
        self.with_node(now, |node, wires| match message {
            Message::Control(control) if by_post => node.received_by_post(now, control, wires),
            message => node.received(now, from, message, wires),
        });
    }

    /// Somebody has left a letter.
    pub(super) fn overlay_letter(&mut self, body: &[u8], now: Time) {
        let message = if self.links.roster().speaks_hypar() {
            self.understand_hypar_letter(body)
        } else {
            self.understand(true, body)
        };
        if let Some(Message::Control(control)) = message {
            self.with_node(now, |node, wires| node.received_by_post(now, control, wires));
        }
    }

    /// What `body` says, if anything.
    fn understand(&mut self, by_post: bool, body: &[u8]) -> Option<OverlayMessage> {
        let port = if by_post { BY_POST } else { crate::agent::Port::ANSWERS };
        self.understood(OverlayMessage::decode(port, body))
    }

    /// Counts and tells what was not understood.
    fn understood(&mut self, message: Result<OverlayMessage, WireError>) -> Option<OverlayMessage> {
        message
            .inspect_err(|error| {
                let Role::Overlay(host) = &mut self.role else { return };
                if seldom::count(&mut host.misunderstood) {
                    warn!("overlay: message not understood why=\"{error}\" so_far={}", host.misunderstood);
                }
            })
            .ok()
    }

    /// Says good-bye, where this server is one of an overlay: nobody has to find out that it is gone.
    pub(super) fn leave_overlay(&mut self, now: Time) {
        self.with_node(now, |node, wires| {
            node.act(now, wires, |service, sends| service.leave(now, sends));
            node.leave(now, wires);
        });
    }

    /// Does what is due for the node.
    pub(super) fn overlay_timeout(&mut self, now: Time) {
        let due = |host: &OverlayHost| host.deadline().is_some_and(|deadline| deadline <= now);
        if matches!(&self.role, Role::Overlay(host) if due(host)) {
            self.with_node(now, |node, wires| node.timeout(now, wires));
        }
    }

    /// The state of this server, where it is one of an overlay.
    pub(super) fn overlay_status(&self, now: Time) -> Option<OverlayStatus> {
        let Role::Overlay(host) = &self.role else { return None };
        let uptime_ms = milliseconds(now.since(self.started));
        let chatroom =
            self.agents.get(lab::CHATROOM).map(|hosted| hosted.agent.counters()).unwrap_or_default();
        Some(OverlayStatus::of(host, &self.links, &chatroom, uptime_ms))
    }
}

impl OverlayHost {
    /// The chatroom's lines go nowhere.
    fn refuse_broadcast(&mut self, why: &str) {
        if seldom::count(&mut self.misunderstood) {
            warn!("overlay: broadcast refused why=\"{why}\" so_far={}", self.misunderstood);
        }
    }
}
