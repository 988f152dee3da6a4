//! A single node, and whatever it is told.

use std::time::Duration;

use super::net::{Overlay, check_views};
use crate::agent::{Epoch, Peer, Why};
use crate::agents::overlay::{Control, Effect, Options};
use crate::time::Time;

/// Node 0, and whatever it is told.
pub(super) struct Lone {
    pub(super) node: Overlay,
    pub(super) now: Time,
    pub(super) epoch: u32,
}

pub(super) type Effects = Vec<Effect<Peer>>;

pub(super) fn options() -> Options {
    Options { keep_alive: Duration::ZERO, ..Options::default() }
}

impl Lone {
    /// It has `active` for neighbours and knows `passive` besides.
    pub(super) fn new(options: Options, active: &[u32], passive: &[u32]) -> Self {
        let mut lone = Self { node: Overlay::new(Peer(0), options, 7), now: Time::ZERO, epoch: 0 };
        lone.node.start(lone.now);
        for peer in active {
            lone.opened(*peer, Control::Neighbour { high: true });
            assert!(lone.node.is_active(Peer(*peer)));
        }
        for peer in passive {
            lone.node.add_passive(Peer(*peer), true);
        }
        lone.effects();
        lone
    }

    pub(super) fn effects(&mut self) -> Effects {
        let effects: Effects = self.node.take_effects().collect();
        check_views(&self.node, &self.node.options);
        effects
    }

    pub(super) fn up(&mut self, peer: u32) -> Effects {
        self.epoch += 1;
        self.node.link_up(self.now, Peer(peer), Epoch(self.epoch));
        self.effects()
    }

    pub(super) fn down(&mut self, peer: u32, why: Why) -> Effects {
        let peer = Peer(peer);
        let epoch = self.node.neighbour(peer).map(|index| self.node.active.notes()[index].epoch);
        let epoch = epoch.or_else(|| self.node.links.find(peer).map(|index| self.node.links[index].epoch));
        self.node.link_down(self.now, peer, epoch.unwrap_or_default(), why);
        self.effects()
    }

    pub(super) fn hear(&mut self, peer: u32, control: Control<Peer>) -> Effects {
        self.node.received(self.now, Peer(peer), control);
        self.effects()
    }

    /// Somebody opens a link and says what for.
    pub(super) fn opened(&mut self, peer: u32, control: Control<Peer>) -> Effects {
        let mut effects = self.up(peer);
        effects.extend(self.hear(peer, control));
        effects
    }

    /// Lets time pass until something is due, and does that.
    pub(super) fn wait(&mut self) -> Effects {
        self.now = self.node.deadline().expect("something is due");
        self.node.timeout(self.now);
        self.effects()
    }

    /// Waits until somebody is asked.
    pub(super) fn wait_for_link(&mut self) -> Vec<u32> {
        for _ in 0..1_000 {
            let links = linked(&self.wait());
            if !links.is_empty() {
                return links;
            }
        }
        panic!("nobody is asked");
    }

    pub(super) fn active(&self) -> Vec<u32> {
        sorted(self.node.active().map(|peer| peer.0).collect())
    }

    pub(super) fn passive(&self) -> Vec<u32> {
        sorted(self.node.passive().map(|peer| peer.0).collect())
    }
}

pub(super) fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

pub(super) fn linked(effects: &Effects) -> Vec<u32> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Link(peer) = effect { Some(peer.0) } else { None })
        .collect()
}

pub(super) fn sent(effects: &Effects) -> Vec<(u32, Control<Peer>)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(peer, control) => Some((peer.0, control.clone())),
            _ => None,
        })
        .collect()
}

pub(super) const ACCEPT: Control<Peer> = Control::NeighbourReply { accept: true };
pub(super) const DECLINE: Control<Peer> = Control::NeighbourReply { accept: false };
