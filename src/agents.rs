//! The services of a grid, one folder or file each: pure state machines that change only when they are handed an input.
//! No socket, clock, thread or file in this room.

pub mod chat;
pub mod chatroom;
mod codec;
pub mod dummy;
pub mod kvs;
pub mod ledger;
pub mod messenger;
pub mod overlay;
pub mod raft;
pub mod replicated;
pub mod tty;

use crate::agent::Registry;

impl Registry {
    /// The types of agents that ovid brings along: one line each.
    pub fn builtin() -> Self {
        Self::empty()
            .with::<chat::Chat>("chat")
            .with::<dummy::Dummy>("dummy")
            .with::<kvs::Client>("client")
            .with::<kvs::Kvs>("kvs")
            .with::<ledger::Ledger>("ledger")
            .with::<messenger::Messenger>("messenger")
            .with::<tty::Tty>("tty")
    }
}
