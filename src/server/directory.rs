//! Who is who among the agents of a configuration, as one box sees it: numbers for names, where each agent lives, and where the
//! routes of the own agents lead.

use std::collections::BTreeMap;

use crate::agent::{Dest, Epoch, Peer, Port};
use crate::config::{AgentId, Entry};
use crate::grid::ServerId;

/// Where an agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// On this box.
    Here,
    /// On another box.
    Box(ServerId),
    /// The configuration does not name it any more.
    Nowhere,
}

#[derive(Debug)]
struct Known {
    id: AgentId,
    home: Home,
    /// How often an agent of this name has begun on this box: which link its neighbours on the same box have to it.
    begun: Epoch,
    /// By what messages reach it now: where it lives, and which link that is to there.
    way: Option<(Home, Epoch)>,
    /// How many ways there have been, whichever they were: which link agents are told that they have to it.
    ways: Epoch,
}

/// The names of all agents and the routes of the own ones.
#[derive(Debug, Default)]
pub(super) struct Directory {
    known: Vec<Known>,
    by_name: BTreeMap<AgentId, Peer>,
    routes: BTreeMap<Peer, BTreeMap<String, Vec<(Peer, Port)>>>,
}

impl Directory {
    /// The number of an agent, new or as it was before, and where it lives now.
    pub(super) fn place(&mut self, id: &AgentId, home: Home) -> Peer {
        let next = Peer(u32::try_from(self.known.len()).expect("fewer agents than numbers"));
        let peer = *self.by_name.entry(id.clone()).or_insert(next);
        if peer == next {
            let (begun, way, ways) = (Epoch(0), None, Epoch(0));
            self.known.push(Known { id: id.clone(), home, begun, way, ways });
        } else {
            self.known[peer.index()].home = home;
        }
        peer
    }

    /// An agent begins on this box.
    pub(super) fn begin(&mut self, peer: Peer) {
        self.known[peer.index()].begun.0 += 1;
    }

    /// Where the routes of an own agent lead from now on. Agents that nobody has placed are left out.
    pub(super) fn route(&mut self, peer: Peer, entry: &Entry) {
        let lead = |targets: &BTreeMap<AgentId, Port>| {
            targets.iter().filter_map(|(id, port)| Some((self.find(id.as_str())?, *port))).collect()
        };
        let routes = entry.routes.iter().map(|(name, targets)| (name.clone(), lead(&targets.0))).collect();
        self.routes.insert(peer, routes);
    }

    /// An own agent is gone.
    pub(super) fn unroute(&mut self, peer: Peer) {
        self.routes.remove(&peer);
    }

    /// The agent called `name`.
    pub(super) fn find(&self, name: &str) -> Option<Peer> {
        // Ids are compared as text, so a name that is no valid id is found nowhere.
        let id: AgentId = name.parse().ok()?;
        self.by_name.get(&id).copied()
    }

    /// The id of an agent.
    pub(super) fn id(&self, peer: Peer) -> Option<&AgentId> {
        self.known.get(peer.index()).map(|known| &known.id)
    }

    /// What an agent is called.
    pub(super) fn name(&self, peer: Peer) -> &str {
        self.id(peer).map_or("?", AgentId::as_str)
    }

    /// Where an agent lives.
    pub(super) fn home(&self, peer: Peer) -> Home {
        self.known.get(peer.index()).map_or(Home::Nowhere, |known| known.home)
    }

    /// How often an agent has begun on this box.
    pub(super) fn begun(&self, peer: Peer) -> Epoch {
        self.known.get(peer.index()).map_or(Epoch(0), |known| known.begun)
    }

    /// By what messages reach an agent from now on.
    pub(super) fn set_way(&mut self, peer: Peer, way: Option<(Home, Epoch)>) {
        let Some(known) = self.known.get_mut(peer.index()) else { return };
        if way.is_some() && way != known.way {
            known.ways.0 += 1;
        }
        known.way = way;
    }

    /// Which link there is to an agent, if messages reach it. One that has moved has another, even if the old one is still up.
    pub(super) fn link(&self, peer: Peer) -> Option<Epoch> {
        let known = self.known.get(peer.index())?;
        known.way.map(|_| known.ways)
    }

    /// All agents, ascending by number.
    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..u32::try_from(self.known.len()).unwrap_or(u32::MAX)).map(Peer)
    }

    /// The names of an own agent's routes, ascending.
    pub(super) fn route_names(&self, peer: Peer) -> Vec<String> {
        self.routes.get(&peer).map(|routes| routes.keys().cloned().collect()).unwrap_or_default()
    }

    /// All agents but itself that an own agent's routes lead to, each once, ascending.
    pub(super) fn neighbours(&self, peer: Peer) -> Vec<Peer> {
        let routes = self.routes.get(&peer).into_iter().flat_map(BTreeMap::values);
        let mut neighbours: Vec<Peer> =
            routes.flatten().map(|(to, _)| *to).filter(|to| *to != peer).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        neighbours
    }

    /// The agents that `dest` stands for, sent to by the own agent `from`. `None` if it has no such route.
    pub(super) fn resolve(&self, from: Peer, dest: &Dest) -> Option<Vec<(Peer, Port)>> {
        match dest {
            Dest::Peer(peer, port) => Some(vec![(*peer, *port)]),
            Dest::Route(name) => self.routes.get(&from)?.get(name.as_ref()).cloned(),
        }
    }
}
