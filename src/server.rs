//! The server: its core, which is this file, the link manager and its links, and the masters. Pure state machines: the host
//! tells them that a connection opened, bytes arrived, a connection closed or time passed, and they answer with orders and
//! filled queues. No socket, clock or thread in this room.
//!
//! **How a host drives it.** One input, then [`Server::next_action`] until there is none, then flush what
//! [`Server::next_touched`] names; `timeout` when [`Server::deadline`] has come.

mod link;
mod link_manager;
mod master;
mod outputs;
mod queue;
mod status;

use bytes::Bytes;
use log::{Level, debug, info, log_enabled};

pub use self::link_manager::{LinkManager, LinkSettings, PeerState};
pub use self::master::{Command, CommandError, Commands, Masters, ReplyFraming};
pub use self::outputs::{Action, ConnId, Outputs};
pub use self::queue::OutQueue;
pub use self::status::{PeerStatus, Status};
use crate::agents::chatroom::Chatroom;
use crate::grid::ServerId;
use crate::time::Time;
use crate::wire::{Messages, msg_prefix};

/// What a server is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The links' part.
    pub links: LinkSettings,
    /// How answers to masters are framed.
    pub reply_framing: ReplyFraming,
    /// The most that the message log takes, in bytes.
    pub log_bytes_max: usize,
    /// How many masters may be connected at a time.
    pub masters_max: usize,
}

/// Which of the server's ports somebody came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The port for other servers.
    Links,
    /// The port for masters.
    Masters,
    /// Standard input: a master without a connection.
    Console,
}

/// One server of a grid.
#[derive(Debug)]
pub struct Server {
    masters: Masters,
    core: Core,
}

/// All but the masters: what a command acts upon.
#[derive(Debug)]
struct Core {
    links: LinkManager,
    chatroom: Chatroom,
    outputs: Outputs,
    started: Time,
    /// A crash was asked for: from there on nothing is done any more.
    crashing: bool,
}

impl Server {
    /// A server that starts at `now`.
    pub fn new(settings: Settings, now: Time) -> Self {
        let line_bytes_max = settings.links.line_bytes_max;
        Self {
            masters: Masters::new(settings.reply_framing, line_bytes_max, settings.masters_max),
            core: Core {
                chatroom: Chatroom::new(msg_prefix(settings.links.grid.id()), settings.log_bytes_max),
                links: LinkManager::new(settings.links, now),
                outputs: Outputs::default(),
                started: now,
                crashing: false,
            },
        }
    }

    /// Somebody came in; the name of that connection from now on.
    pub fn accepted(&mut self, door: Door, now: Time) -> ConnId {
        let outputs = &mut self.core.outputs;
        match door {
            Door::Links => self.core.links.accepted(now, outputs),
            Door::Masters => self.masters.accepted(false, now, outputs),
            Door::Console => self.masters.accepted(true, now, outputs),
        }
    }

    /// A dial has succeeded.
    pub fn connected(&mut self, conn: ConnId, now: Time) {
        self.core.links.connected(conn, now, &mut self.core.outputs);
    }

    /// Bytes arrived.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Time) {
        let Self { masters, core } = self;
        if masters.holds(conn) {
            masters.received(conn, bytes, now, &mut |commands| core.handle(commands, now));
            core.outputs.touch(conn);
        } else {
            let Core { links, chatroom, outputs, .. } = core;
            links.received(conn, bytes, now, outputs, &mut deliver_to(chatroom));
        }
    }

    /// The other side will send no more; all it sent has been handed to [`Server::received`].
    pub fn ended(&mut self, conn: ConnId, now: Time) {
        if self.masters.holds(conn) {
            self.masters.ended(conn);
            self.close_if_served(conn);
        } else if self.core.links.holds(conn) {
            self.core.outputs.act(Action::Close(conn));
            self.failed(conn, "closed by the other side", now);
        }
    }

    /// The connection broke, or was never made. The host has closed it.
    pub fn failed(&mut self, conn: ConnId, why: &str, now: Time) {
        let Core { links, chatroom, .. } = &mut self.core;
        self.masters.closed(conn, why);
        links.closed(conn, why, now, &mut deliver_to(chatroom));
    }

    /// What [`Action::Drain`] asked for has been read.
    pub fn drained(&mut self, conn: ConnId, now: Time) {
        let Core { links, chatroom, outputs, .. } = &mut self.core;
        links.drained(conn, now, outputs, &mut deliver_to(chatroom));
    }

    /// The host has taken `written` bytes from the front of [`Server::outgoing`].
    pub fn wrote(&mut self, conn: ConnId, written: usize, now: Time) {
        let Self { masters, core } = self;
        if masters.holds(conn) {
            masters.wrote(conn, written, &mut |commands| core.handle(commands, now));
            core.outputs.touch(conn);
            self.close_if_served(conn);
        } else {
            core.links.wrote(conn, written, now);
        }
    }

    /// Does what is due at `now`. Early or repeated calls are harmless.
    pub fn timeout(&mut self, now: Time) {
        let Core { links, chatroom, outputs, .. } = &mut self.core;
        links.timeout(now, outputs, &mut deliver_to(chatroom));
    }

    /// When [`Server::timeout`] is to be called, at the latest.
    pub fn deadline(&self) -> Time {
        self.core.links.deadline()
    }

    /// The next order to carry out.
    pub fn next_action(&mut self) -> Option<Action> {
        self.core.outputs.next_action()
    }

    /// The next connection that has something new to send.
    pub fn next_touched(&mut self) -> Option<ConnId> {
        self.core.outputs.next_touched()
    }

    /// What waits to be sent on `conn`; `None` if the server has forgotten it.
    pub fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        self.masters.outgoing(conn).or_else(|| self.core.links.outgoing(conn))
    }

    /// Whether the host may read from `conn` now. Links may always be read; masters wait while links are congested or their own
    /// answers are not taken. To be asked again after each turn.
    pub fn may_read(&self, conn: ConnId, now: Time) -> bool {
        !self.masters.holds(conn) || (self.masters.may_read(conn) && !self.core.links.congested(now))
    }

    /// The state of the server as `status` tells it.
    pub fn status(&self, now: Time) -> Status {
        self.core.status(now)
    }

    fn close_if_served(&mut self, conn: ConnId) {
        if self.masters.take_served(conn) {
            self.core.outputs.act(Action::Close(conn));
        }
    }
}

impl Core {
    /// Carries out the commands of one read, in order.
    fn handle(&mut self, commands: &mut Commands<'_>, now: Time) {
        let mut lines = Vec::new();
        while !self.crashing {
            lines.reserve(commands.rest_bytes());
            if !log_enabled!(Level::Debug) {
                self.chatroom.broadcast(commands.broadcasts(), &mut lines);
            }
            let Some(command) = commands.next_command() else { break };
            match command {
                Command::Broadcast(message) => {
                    debug!("chatroom: broadcast contents={:?}", String::from_utf8_lossy(message));
                    self.chatroom.broadcast(std::iter::once(message), &mut lines);
                    continue;
                }
                Command::Get => commands.answer(self.chatroom.get()),
                Command::Alive => commands.answer(std::iter::once(self.alive())),
                Command::Status => commands.answer(std::iter::once(self.status(now).line())),
                Command::Crash => {
                    self.outputs.act(Action::Crash);
                    self.crashing = true;
                }
            }
            info!("master: command conn={} {command:?}", commands.conn().0);
        }
        if self.crashing {
            commands.discard();
        }
        if !lines.is_empty() {
            self.links.send_to_all(&Bytes::from(lines), now, &mut self.outputs);
        }
    }

    /// The answer to `alive`.
    fn alive(&self) -> Bytes {
        let ids: Vec<String> = self.links.alive().map(|id| id.to_string()).collect();
        Bytes::from(format!("alive {}", ids.join(",")))
    }

    fn status(&self, now: Time) -> Status {
        Status::of(&self.links, &self.chatroom, self.started, now)
    }
}

/// Where the links' messages go.
fn deliver_to(chatroom: &mut Chatroom) -> impl FnMut(ServerId, Messages<'_>) {
    |from, messages| {
        if log_enabled!(Level::Debug) {
            chatroom.deliver(messages.inspect(|message| {
                debug!("chatroom: message from={from} contents={:?}", String::from_utf8_lossy(message));
            }));
        } else {
            chatroom.deliver(messages);
        }
    }
}
