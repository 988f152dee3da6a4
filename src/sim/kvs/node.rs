//! Store and clients as agents of one type, since a world hosts one.

use crate::agent::{Agent, Input, Outbox, Output};
use crate::agents::kvs::{Client, ClientMessage, KvsMessage};
use crate::time::Time;

/// A store, or something that passes itself off as one.
pub(super) type Store = Box<dyn Agent<Msg = KvsMessage>>;

/// An agent of this world.
pub(super) enum Node {
    Store(Store),
    Client(Box<Client>),
}

impl Agent for Node {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
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

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Store(store) => store.deadline(),
            Self::Client(client) => client.deadline(),
        }
    }
}

/// The input as the client takes it; none that it would pass over.
fn for_client(input: Input<'_, KvsMessage>) -> Option<Input<'_, ClientMessage>> {
    Some(match input {
        Input::Start => Input::Start,
        Input::Timeout => Input::Timeout,
        Input::Commands { commands } => Input::Commands { commands },
        Input::Message { from, port, message } => {
            Input::Message { from, port, message: ClientMessage::Kvs(message) }
        }
        _ => return None,
    })
}

/// Passes on what a client puts out. It has no terminal here.
fn of_client(output: Output<ClientMessage>, out: &mut Outbox<KvsMessage>) {
    match output {
        Output::Send { to, message: ClientMessage::Kvs(message) } => out.send(to, message),
        Output::Reply { to, parts } => out.reply_parts(to, parts),
        Output::Note { text } => out.note(|| text),
        other => unreachable!("clients of this world have no terminals and no logs: {other:?}"),
    }
}
