//! Stores and clients as agents of one type, since a world hosts one.

use crate::agent::{Agent, Input, Outbox, Output, Wire};
use crate::agents::kvs::{Client, ClientMessage, KvsMessage};
use crate::agents::replicated::ReplicatedMessage;
use crate::time::Time;

/// A store, or something that passes itself off as one.
pub(super) type Store<M = KvsMessage> = Box<dyn Agent<Msg = M>>;

/// What agents of such a world say to each other; what clients and stores do is among it.
pub(super) trait Carries: Wire {
    fn of(message: KvsMessage) -> Self;

    /// What it says between a client and a store; `None` if that is nothing.
    fn kvs(self) -> Option<KvsMessage>;
}

impl Carries for KvsMessage {
    fn of(message: KvsMessage) -> Self {
        message
    }

    fn kvs(self) -> Option<KvsMessage> {
        Some(self)
    }
}

impl<L: Wire> Carries for ReplicatedMessage<L, KvsMessage> {
    fn of(message: KvsMessage) -> Self {
        Self::Service(message)
    }

    fn kvs(self) -> Option<KvsMessage> {
        match self {
            Self::Service(message) => Some(message),
            _ => None,
        }
    }
}

/// An agent of this world.
pub(super) enum Node<M = KvsMessage> {
    Store(Store<M>),
    Client(Box<Client>),
}

impl<M: Carries> Agent for Node<M> {
    type Msg = M;

    fn handle(&mut self, now: Time, input: Input<'_, M>, out: &mut Outbox<M>) {
        match self {
            Self::Store(store) => store.handle(now, input, out),
            Self::Client(client) => {
                let Some(input) = for_client(input) else { return };
                let mut outbox = Outbox::new(out.tracing());
                client.handle(now, input, &mut outbox);
                for output in outbox.drain() {
                    of_client(output, out);
                }
            }
        }
    }

    fn about(&self) -> Option<String> {
        match self {
            Self::Store(store) => store.about(),
            Self::Client(client) => client.about(),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Store(store) => store.deadline(),
            Self::Client(client) => client.deadline(),
        }
    }
}

/// The input as the client takes it; none that it would pass over.
fn for_client<M: Carries>(input: Input<'_, M>) -> Option<Input<'_, ClientMessage>> {
    Some(match input {
        Input::Start => Input::Start,
        Input::Timeout => Input::Timeout,
        Input::Commands { commands } => Input::Commands { commands },
        Input::Message { from, port, message } => {
            Input::Message { from, port, message: ClientMessage::Kvs(message.kvs()?) }
        }
        _ => return None,
    })
}

/// Passes on what a client puts out. It has no terminal here.
fn of_client<M: Carries>(output: Output<ClientMessage>, out: &mut Outbox<M>) {
    match output {
        Output::Send { to, message: ClientMessage::Kvs(message) } => out.send(to, M::of(message)),
        Output::Reply { to, parts } => out.reply_parts(to, parts),
        Output::Note { text } => out.note(|| text),
        other => unreachable!("clients of this world have no terminals and no logs: {other:?}"),
    }
}
