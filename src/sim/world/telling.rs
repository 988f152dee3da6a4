//! What a world writes down: the digest always, the trace if somebody wants it.

use super::World;
use crate::agent::{Agent, Epoch, Outbox, Peer, Wire};
use crate::trace::{Event, What};

impl<A: Agent> World<A> {
    /// Writes a trace from now on.
    pub fn start_trace(&mut self) {
        self.trace = Some(Vec::new());
        self.outbox = Outbox::new(true);
    }

    /// The trace so far; empty if none was started.
    pub fn take_trace(&mut self) -> Vec<Event> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Adds an event to the trace, worked out only if there is one.
    pub(super) fn tell(&mut self, peer: Peer, what: impl FnOnce(&Self) -> What) {
        if self.trace.is_none() {
            return;
        }
        let event =
            Event { at_ns: self.now.as_nanos(), server: self.node(peer).name.clone(), what: what(self) };
        if let Some(trace) = &mut self.trace {
            trace.push(event);
        }
    }

    /// Takes something that happened to an agent into the digest.
    #[inline]
    pub(super) fn digest(&mut self, mark: u64, peer: Peer, detail: u64) {
        self.digest.word(self.now.as_nanos());
        self.digest.word(mark << 32 | u64::from(peer.0));
        self.digest.word(detail);
    }

    pub(super) fn name_of(&self, peer: Peer) -> String {
        self.nodes.get(peer.index()).map_or_else(|| peer.to_string(), |node| node.name.clone())
    }

    pub(super) fn tell_send(&mut self, from: Peer, to: Peer, id: u64, message: &A::Msg) {
        self.tell(from, |world| What::Send {
            to: world.name_of(to),
            link: world.link_name(from, to),
            kind: message.kind().to_owned(),
            text: format!("{message:?}"),
            id: Some(id),
        });
    }

    pub(super) fn tell_receive(&mut self, from: Peer, to: Peer, id: u64, message: &A::Msg) {
        self.tell(to, |world| What::Receive {
            from: world.name_of(from),
            link: world.link_name(from, to),
            kind: message.kind().to_owned(),
            text: format!("{message:?}"),
            id: Some(id),
        });
    }

    /// A message that `from` sent will not arrive.
    pub(super) fn tell_drop(&mut self, from: Peer, to: Peer, id: u64, why: &'static str) {
        self.digest(super::mark::DROP, from, id);
        self.tell(from, |world| What::Drop { to: world.name_of(to), id: Some(id), why: why.to_owned() });
    }

    /// Names the present epoch of a link; empty where there is none.
    pub(super) fn link_name(&self, one: Peer, other: Peer) -> String {
        if one == other || other.index() >= self.nodes.len() {
            return String::new();
        }
        let Some(id) = self.links.find(one, other) else { return String::new() };
        self.name_of_epoch(one, other, self.links.get(id).epoch)
    }

    /// Names one epoch of a link between two agents.
    pub(super) fn name_of_epoch(&self, one: Peer, other: Peer, epoch: Epoch) -> String {
        format!("{}-{}#{epoch}", self.name_of(one.min(other)), self.name_of(one.max(other)))
    }
}
