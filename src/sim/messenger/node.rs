//! Servers and users as agents of one type, since a world hosts one.

use super::user::User;
use crate::agent::{Agent, Input, NoMessage, Outbox, Output};
use crate::agents::messenger::MessengerMessage;
use crate::agents::raft::Message;
use crate::agents::replicated::ReplicatedMessage;
use crate::time::Time;

/// What servers say to each other. Users say nothing but to servers, on connections.
pub(super) type ServerMessage = ReplicatedMessage<Message, MessengerMessage>;

/// A server, or something that passes itself off as one.
pub(super) type Server = Box<dyn Agent<Msg = ServerMessage>>;

/// An agent of this world.
pub(super) enum Node {
    Server(Server),
    User(User),
}

impl Agent for Node {
    type Msg = ServerMessage;

    fn handle(&mut self, now: Time, input: Input<'_, ServerMessage>, out: &mut Outbox<ServerMessage>) {
        match self {
            Self::Server(server) => server.handle(now, input, out),
            Self::User(user) => {
                let input = match input {
                    Input::Start => Input::Start,
                    Input::Timeout => Input::Timeout,
                    Input::Commands { commands } => Input::Commands { commands },
                    Input::Outside(inward) => Input::Outside(inward),
                    _ => return,
                };
                let mut outbox: Outbox<NoMessage> = Outbox::new(out.tracing());
                user.handle(now, input, &mut outbox);
                for output in outbox.drain() {
                    match output {
                        Output::Outside(outward) => out.outside(outward),
                        Output::Note { text } => out.note(|| text),
                        other => unreachable!("users of this world only dial and send: {other:?}"),
                    }
                }
            }
        }
    }

    fn about(&self) -> Option<String> {
        match self {
            Self::Server(server) => server.about(),
            Self::User(user) => user.about(),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Server(server) => server.deadline(),
            Self::User(user) => user.deadline(),
        }
    }
}
