//! What an agent can ask of its host.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Look, Outward, Peer, Port, Read, Request, Work, Write};

/// Where a message is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dest {
    /// To this agent, by this entrance.
    Peer(Peer, Port),
    /// To whomever the configuration's routes name for this virtual destination: one agent, or several.
    Route(Cow<'static, str>),
}

impl From<Peer> for Dest {
    /// An answer.
    fn from(peer: Peer) -> Self {
        Self::Peer(peer, Port::ANSWERS)
    }
}

impl From<(Peer, Port)> for Dest {
    fn from((peer, port): (Peer, Port)) -> Self {
        Self::Peer(peer, port)
    }
}

impl From<&'static str> for Dest {
    fn from(route: &'static str) -> Self {
        Self::Route(Cow::Borrowed(route))
    }
}

impl From<String> for Dest {
    fn from(route: String) -> Self {
        Self::Route(Cow::Owned(route))
    }
}

/// To whom ready-made lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// To every peer whose link is up; they share one buffer.
    Everyone,
    /// To one peer.
    One(Peer),
}

/// One thing that the host is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M> {
    /// Send a message.
    Send {
        /// Where to.
        to: Dest,
        /// What.
        message: M,
    },
    /// Send whole lines, newlines included, as they are. Only a lab's server does that; a box drops them.
    Lines {
        /// To whom.
        to: Audience,
        /// The lines.
        lines: Bytes,
    },
    /// Answer a command. Answers leave each session in the order of its commands, whenever they are given.
    Reply {
        /// Which command.
        to: Request,
        /// The answer without its newline, as parts to be written one after the other.
        parts: Vec<Bytes>,
    },
    /// Show a line to every session that drives this agent.
    Say {
        /// The line, without its newline.
        line: Bytes,
    },
    /// Put a record into the agent's log; it comes back as `Committed`, or not, as `NotCommitted`.
    Propose {
        /// The record.
        record: Vec<u8>,
    },
    /// Ask the agent's log whether its state is up to date; answered by [`super::Input::Barrier`], or never, if that cannot be found out.
    Barrier {
        /// Comes back with the answer.
        token: u64,
    },
    /// Look at rows of the agent that are kept, all of those included that it was asked for before ([`super::Agent::take_rows`]); answered by
    /// [`super::Input::Looked`]. Where the log keeps no rows there are none. What was not answered when a [`super::Input::Restore`] begins is not answered any more.
    Look(Look),
    /// Ask something of the world outside of the grid.
    Outside(Outward),
    /// Have something done that takes too long for the loop; answered by [`super::Input::Computed`].
    Compute {
        /// Comes back with the answer.
        token: u64,
        /// What.
        work: Work,
    },
    /// Put something on the disk. Only for agents that are a log themselves; elsewhere the host drops it.
    Write(Write),
    /// Read something from the disk. Only for agents that are a log themselves; elsewhere the host drops it.
    Read(Read),
    /// Open a link. It comes up ([`super::Input::LinkUp`], at both ends) or it does not ([`super::Input::LinkDown`] with
    /// [`super::Why::Unreachable`], here only); a link that goes down later is not opened again by itself. Without effect while there is one, or
    /// while this end waits for one. If both ends ask there is one link; if the one before is still being closed, the new one comes up behind it.
    /// Only hosts with sparse links do that; elsewhere links are the configuration's.
    Link {
        /// To whom.
        peer: Peer,
    },
    /// Close a link that was opened by [`Output::Link`], from either end. What was sent before still arrives; then the other end learns that the
    /// link is [`super::Why::Closed`]. This end learns it at once, though not before all outputs of this input are carried out, and nothing
    /// arrives here any more. Where the link is not up yet, this gives up opening it, of which nobody is told; if the other end has asked for it, too,
    /// it comes up nevertheless.
    Unlink {
        /// To whom.
        peer: Peer,
    },
    /// Send one message to an agent to which there need be no link: over a connection of its own, which is closed behind it. Nobody learns
    /// whether it has arrived. Only hosts with sparse links do that.
    Post {
        /// To whom, and by which entrance.
        to: (Peer, Port),
        /// What.
        message: M,
    },
    /// Something about the agent's state that is worth seeing in a trace.
    Note {
        /// What.
        text: String,
    },
}

/// What one input has led to, in order.
#[derive(Debug)]
pub struct Outbox<M> {
    outputs: Vec<Output<M>>,
    tracing: bool,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { outputs: Vec::new(), tracing: false }
    }
}

impl<M> Outbox<M> {
    /// An empty outbox, kept and used again by its host. Notes are kept only when `tracing`.
    pub fn new(tracing: bool) -> Self {
        Self { outputs: Vec::new(), tracing }
    }

    /// Sends a message: to a route by its name, to a peer as an answer, or to a peer's port.
    #[inline]
    pub fn send(&mut self, to: impl Into<Dest>, message: M) {
        self.outputs.push(Output::Send { to: to.into(), message });
    }

    /// Sends ready-made lines.
    pub fn send_lines(&mut self, to: Audience, lines: Bytes) {
        self.outputs.push(Output::Lines { to, lines });
    }

    /// Opens a link, where links are sparse.
    pub fn link(&mut self, peer: Peer) {
        self.outputs.push(Output::Link { peer });
    }

    /// Closes a link that was opened by [`Outbox::link`] at one of its ends.
    pub fn unlink(&mut self, peer: Peer) {
        self.outputs.push(Output::Unlink { peer });
    }

    /// Sends one message without a link.
    pub fn post(&mut self, to: (Peer, Port), message: M) {
        self.outputs.push(Output::Post { to, message });
    }

    /// Answers a command with one line, given without its newline.
    pub fn reply(&mut self, to: Request, line: impl Into<Bytes>) {
        self.reply_parts(to, vec![line.into()]);
    }

    /// Answers a command with a line that is made of parts.
    pub fn reply_parts(&mut self, to: Request, parts: Vec<Bytes>) {
        self.outputs.push(Output::Reply { to, parts });
    }

    /// Shows a line, given without its newline, to every session that drives this agent.
    pub fn say(&mut self, line: impl Into<Bytes>) {
        self.outputs.push(Output::Say { line: line.into() });
    }

    /// Proposes a record for the agent's log.
    pub fn propose(&mut self, record: Vec<u8>) {
        self.outputs.push(Output::Propose { record });
    }

    /// Asks the agent's log whether its state is up to date.
    pub fn barrier(&mut self, token: u64) {
        self.outputs.push(Output::Barrier { token });
    }

    /// Looks at rows of the agent's state.
    pub fn look(&mut self, look: Look) {
        self.outputs.push(Output::Look(look));
    }

    /// Asks something of the world outside of the grid.
    pub fn outside(&mut self, outward: Outward) {
        self.outputs.push(Output::Outside(outward));
    }

    /// Has something done off the loop.
    pub fn compute(&mut self, token: u64, work: Work) {
        self.outputs.push(Output::Compute { token, work });
    }

    /// Puts something on the disk.
    pub fn write(&mut self, write: Write) {
        self.outputs.push(Output::Write(write));
    }

    /// Reads something from the disk.
    pub fn read(&mut self, read: Read) {
        self.outputs.push(Output::Read(read));
    }

    /// Notes something about the agent's state for whoever looks at the trace of this run. It is worked out only if
    /// somebody will.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tracing {
            self.outputs.push(Output::Note { text: text() });
        }
    }

    /// Whether notes are kept.
    pub fn tracing(&self) -> bool {
        self.tracing
    }

    /// Takes all outputs, in order. For hosts, and for an agent that carries another one.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output<M>> {
        self.outputs.drain(..)
    }

    /// Puts an output behind the others. For an agent that carries another one.
    pub fn push(&mut self, output: Output<M>) {
        self.outputs.push(output);
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}
