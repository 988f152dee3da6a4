//! Agents of different services side by side: behind one trait, their messages as bytes.

use std::fmt;

use bytes::Bytes;

use super::{Agent, Input, Outbox, Output, Port, Row, Wire, WireError};
use crate::time::Time;

/// A message as bytes, with the entrance it came in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBytes {
    /// What it is in one word, where it was made here; empty where it came from elsewhere.
    pub kind: &'static str,
    /// The encoded message, shared by all who receive it.
    pub bytes: Bytes,
}

/// An agent whose messages have lost their type: what a server hosts.
pub trait ErasedAgent: Send {
    /// As [`Agent::handle`]. An error says that the message was not understood and nothing has changed.
    fn handle(
        &mut self,
        now: Time,
        input: Input<'_, AgentBytes>,
        out: &mut Outbox<AgentBytes>,
    ) -> Result<(), WireError>;

    /// As [`Agent::deadline`].
    fn deadline(&self) -> Option<Time>;

    /// As [`Agent::keeps_rows`].
    fn keeps_rows(&self) -> bool;

    /// As [`Agent::take_rows`].
    fn take_rows(&mut self) -> Vec<Row>;

    /// As [`Agent::counters`].
    fn counters(&self) -> Vec<(&'static str, u64)>;

    /// As [`Agent::about`].
    fn about(&self) -> Option<String>;
}

/// The adapter over a typed agent.
struct Erased<A: Agent> {
    agent: A,
    outbox: Outbox<A::Msg>,
}

impl dyn ErasedAgent {
    /// Hides the type of `agent`.
    pub fn of<A: Agent + Send + 'static>(agent: A) -> Box<dyn ErasedAgent>
    where
        A::Msg: Send,
    {
        Box::new(Erased { agent, outbox: Outbox::default() })
    }
}

impl<A: Agent + Send> ErasedAgent for Erased<A>
where
    A::Msg: Send,
{
    fn handle(
        &mut self,
        now: Time,
        input: Input<'_, AgentBytes>,
        out: &mut Outbox<AgentBytes>,
    ) -> Result<(), WireError> {
        if out.tracing() != self.outbox.tracing() {
            self.outbox = Outbox::new(out.tracing());
        }
        self.agent.handle(now, typed(input)?, &mut self.outbox);
        for output in self.outbox.drain() {
            out.push(encoded(output));
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Time> {
        self.agent.deadline()
    }

    fn keeps_rows(&self) -> bool {
        self.agent.keeps_rows()
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.agent.take_rows()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.agent.counters()
    }

    fn about(&self) -> Option<String> {
        self.agent.about()
    }
}

impl Wire for AgentBytes {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.bytes);
    }

    fn decode(_: Port, bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self { kind: "", bytes: Bytes::copy_from_slice(bytes) })
    }

    fn kind(&self) -> &'static str {
        self.kind
    }
}

/// An agent of whatever type as one whose messages are bytes: for agents that carry another one.
pub struct AnyAgent {
    agent: Box<dyn ErasedAgent>,
    misunderstood: u64,
}

impl AnyAgent {
    /// Takes `agent` as it is.
    pub fn new(agent: Box<dyn ErasedAgent>) -> Self {
        Self { agent, misunderstood: 0 }
    }
}

impl fmt::Debug for AnyAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyAgent").finish_non_exhaustive()
    }
}

impl Agent for AnyAgent {
    type Msg = AgentBytes;

    fn handle(&mut self, now: Time, input: Input<'_, AgentBytes>, out: &mut Outbox<AgentBytes>) {
        if let Err(error) = self.agent.handle(now, input, out) {
            self.misunderstood += 1;
            out.note(|| format!("message not understood: {error}"));
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.agent.deadline()
    }

    fn keeps_rows(&self) -> bool {
        self.agent.keeps_rows()
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.agent.take_rows()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.agent.counters();
        if self.misunderstood > 0 {
            counters.push(("misunderstood", self.misunderstood));
        }
        counters
    }

    fn about(&self) -> Option<String> {
        self.agent.about()
    }
}

/// The same input, its message decoded.
fn typed<M: Wire>(input: Input<'_, AgentBytes>) -> Result<Input<'_, M>, WireError> {
    Ok(match input {
        Input::Message { from, port, message } => {
            Input::Message { from, port, message: M::decode(port, &message.bytes)? }
        }
        Input::Start => Input::Start,
        Input::Timeout => Input::Timeout,
        Input::Rerouted { routes } => Input::Rerouted { routes },
        Input::LinkUp { peer, epoch } => Input::LinkUp { peer, epoch },
        Input::LinkDown { peer, epoch, why } => Input::LinkDown { peer, epoch, why },
        Input::Lines { from, lines } => Input::Lines { from, lines },
        Input::Commands { commands } => Input::Commands { commands },
        Input::Committed { index, record } => Input::Committed { index, record },
        Input::NotCommitted { record, why } => Input::NotCommitted { record, why },
        Input::Barrier { token } => Input::Barrier { token },
        Input::Leads { leads } => Input::Leads { leads },
        Input::Looked { looked } => Input::Looked { looked },
        Input::Outside(inward) => Input::Outside(inward),
        Input::Computed { token, done } => Input::Computed { token, done },
        Input::Restore { rows, first, last } => Input::Restore { rows, first, last },
        Input::Recovered { recovered } => Input::Recovered { recovered },
        Input::Stored { upto } => Input::Stored { upto },
        Input::StoreFailed { why } => Input::StoreFailed { why },
        Input::Found { found } => Input::Found { found },
    })
}

/// The same output, its message encoded.
fn encoded<M: Wire>(output: Output<M>) -> Output<AgentBytes> {
    match output {
        Output::Send { to, message } => Output::Send { to, message: bytes_of(&message) },
        Output::Post { to, message } => Output::Post { to, message: bytes_of(&message) },
        Output::Link { peer } => Output::Link { peer },
        Output::Unlink { peer } => Output::Unlink { peer },
        Output::Lines { to, lines } => Output::Lines { to, lines },
        Output::Reply { to, parts } => Output::Reply { to, parts },
        Output::Say { line } => Output::Say { line },
        Output::Propose { record } => Output::Propose { record },
        Output::Note { text } => Output::Note { text },
        Output::Barrier { token } => Output::Barrier { token },
        Output::Look(look) => Output::Look(look),
        Output::Outside(outward) => Output::Outside(outward),
        Output::Compute { token, work } => Output::Compute { token, work },
        Output::Write(write) => Output::Write(write),
        Output::Read(read) => Output::Read(read),
    }
}

fn bytes_of<M: Wire>(message: &M) -> AgentBytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    AgentBytes { kind: message.kind(), bytes: Bytes::from(bytes) }
}
