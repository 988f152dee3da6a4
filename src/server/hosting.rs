//! The agents of one server: which there are, when each wants to be woken, what waits for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::outside::Outcome;
use crate::agent::{
    AgentBytes, Epoch, ErasedAgent, Index, Looked, Outbox, Peer, Port, Refusal, Request, Session,
};
use crate::time::Time;

/// The most that may wait between agents of one server, in bytes.
const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Above this the sessions that drive agents wait.
const INBOX_BYTES_CROWDED: usize = 1024 * 1024;
/// What an entry of the inbox costs beside its bytes.
const ENTRY_BYTES: usize = 96;

/// An agent at its host.
pub(super) struct Hosted {
    pub(super) agent: Box<dyn ErasedAgent>,
    /// It has had its first input.
    pub(super) started: bool,
    /// The peers it was told it can reach, and by which link.
    pub(super) up: BTreeMap<Peer, Epoch>,
    deadline: Option<Time>,
    /// Its routes have changed before it began: it is told once it has.
    pub(super) rerouted: Option<Vec<String>>,
    /// The commands that it has taken and not answered.
    owed: BTreeSet<Request>,
}

/// Something that waits for an agent of this server.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Its first input.
    Start,
    /// Its routes have changed.
    Rerouted(Vec<String>),
    /// A message of another agent of this server.
    Message { from: Peer, port: Port, bytes: Bytes },
    /// A record has become durable.
    Committed { index: Index, record: Bytes },
    /// A record was refused.
    NotCommitted { record: Bytes, why: Refusal },
    /// Everything that was committed before the question has been handed over.
    Barrier { token: u64 },
    /// Rows that it wanted to look at.
    Looked { looked: Looked },
    /// The disk of an agent that is a log itself takes no more.
    StoreFailed { why: String },
    /// Something about what it does outside of the grid.
    Outside(Outcome),
}

/// All agents of one server.
#[derive(Default)]
pub(super) struct Hosting {
    agents: BTreeMap<Peer, Hosted>,
    deadlines: BTreeSet<(Time, Peer)>,
    inbox: VecDeque<(Peer, Waiting)>,
    inbox_bytes: usize,
    /// Empty between two inputs; kept for its memory.
    pub(super) outbox: Outbox<AgentBytes>,
}

impl std::fmt::Debug for Hosting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosting").field("agents", &self.agents.keys()).finish_non_exhaustive()
    }
}

impl Hosting {
    /// Takes in an agent.
    pub(super) fn insert(&mut self, peer: Peer, agent: Box<dyn ErasedAgent>) {
        self.remove(peer);
        let hosted = Hosted {
            agent,
            started: false,
            up: BTreeMap::new(),
            deadline: None,
            rerouted: None,
            owed: BTreeSet::new(),
        };
        self.agents.insert(peer, hosted);
    }

    /// Forgets an agent, what waits for it, and what it has sent: that would come after the end of its link. The commands that it
    /// owed an answer.
    pub(super) fn remove(&mut self, peer: Peer) -> BTreeSet<Request> {
        let gone = self.agents.remove(&peer);
        if let Some(at) = gone.as_ref().and_then(|hosted| hosted.deadline) {
            self.deadlines.remove(&(at, peer));
        }
        self.inbox.retain(|(to, waiting)| {
            let theirs = matches!(waiting, Waiting::Message { from, .. } if *from == peer);
            let stays = *to != peer && !theirs;
            if !stays {
                self.inbox_bytes -= waiting.footprint_bytes();
            }
            stays
        });
        gone.map(|hosted| hosted.owed).unwrap_or_default()
    }

    /// An agent owes an answer, or may do so.
    pub(super) fn owe(&mut self, peer: Peer, request: Request) {
        if let Some(hosted) = self.agents.get_mut(&peer) {
            hosted.owed.insert(request);
        }
    }

    /// An agent does not owe that answer any more.
    pub(super) fn forgive(&mut self, peer: Peer, request: Request) {
        if let Some(hosted) = self.agents.get_mut(&peer) {
            hosted.owed.remove(&request);
        }
    }

    /// A session that drove an agent is gone, and waits for no answers.
    pub(super) fn forgive_all(&mut self, peer: Peer, session: Session) {
        if let Some(hosted) = self.agents.get_mut(&peer) {
            hosted.owed.retain(|request| request.session != session);
        }
    }

    /// One of the agents.
    pub(super) fn get(&self, peer: Peer) -> Option<&Hosted> {
        self.agents.get(&peer)
    }

    /// One of the agents.
    pub(super) fn get_mut(&mut self, peer: Peer) -> Option<&mut Hosted> {
        self.agents.get_mut(&peer)
    }

    /// All agents, ascending.
    pub(super) fn peers(&self) -> Vec<Peer> {
        self.agents.keys().copied().collect()
    }

    /// Asks an agent when it wants to be woken.
    pub(super) fn rearm(&mut self, peer: Peer) {
        let Some(hosted) = self.agents.get_mut(&peer) else { return };
        let wanted = hosted.agent.deadline();
        if wanted == hosted.deadline {
            return;
        }
        if let Some(at) = hosted.deadline {
            self.deadlines.remove(&(at, peer));
        }
        if let Some(at) = wanted {
            self.deadlines.insert((at, peer));
        }
        hosted.deadline = wanted;
    }

    /// The agents whose deadline has come, each once: one that at once wants to be woken again has to wait for the next turn.
    pub(super) fn due(&mut self, now: Time) -> Vec<Peer> {
        let mut due = Vec::new();
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, peer)) = self.deadlines.pop_first()
        {
            if let Some(hosted) = self.agents.get_mut(&peer) {
                hosted.deadline = None;
            }
            due.push(peer);
        }
        due
    }

    /// When the first agent wants to be woken; at once if something waits for one.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.inbox.is_empty() { self.deadlines.first().map(|(at, _)| *at) } else { Some(Time::ZERO) }
    }

    /// Whether more waits than is handed over in a turn or two.
    pub(super) fn is_crowded(&self) -> bool {
        self.inbox_bytes > INBOX_BYTES_CROWDED
    }

    /// Lets something wait for an agent; `false` if there is no room.
    pub(super) fn post(&mut self, to: Peer, waiting: Waiting) -> bool {
        let bytes = waiting.footprint_bytes();
        // What the host itself has to say is bounded by what was asked of it.
        if matches!(waiting, Waiting::Message { .. }) && self.inbox_bytes + bytes > INBOX_BYTES_MAX {
            return false;
        }
        self.inbox_bytes += bytes;
        self.inbox.push_back((to, waiting));
        true
    }

    /// Whether what has waited for longest is that an agent begins.
    pub(super) fn begins_next(&self) -> bool {
        matches!(self.inbox.front(), Some((_, Waiting::Start)))
    }

    /// What has waited for longest.
    pub(super) fn next_waiting(&mut self) -> Option<(Peer, Waiting)> {
        let (to, waiting) = self.inbox.pop_front()?;
        self.inbox_bytes -= waiting.footprint_bytes();
        Some((to, waiting))
    }
}

impl Waiting {
    fn footprint_bytes(&self) -> usize {
        let bytes = match self {
            Self::Start
            | Self::Rerouted(_)
            | Self::Barrier { .. }
            | Self::Looked { .. }
            | Self::StoreFailed { .. }
            | Self::Outside(_) => 0,
            Self::Message { bytes, .. } => bytes.len(),
            Self::Committed { record, .. } | Self::NotCommitted { record, .. } => record.len(),
        };
        ENTRY_BYTES + bytes
    }
}
