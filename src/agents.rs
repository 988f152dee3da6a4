//! The services of a grid, one folder or file each: pure state machines that change only when they are handed an input.
//! No socket, clock, thread or file in this room.

pub mod chatroom;
pub mod dummy;
pub mod kvs;

use crate::agent::Registry;

impl Registry {
    /// The types of agents that ovid brings along: one line each.
    pub fn builtin() -> Self {
        Self::empty().with::<dummy::Dummy>("dummy").with::<kvs::Kvs>("kvs").with::<kvs::Client>("client")
    }
}
