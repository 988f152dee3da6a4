//! The services of a grid, one folder or file each: pure state machines that change only when they are handed an input.
//! No socket, clock, thread or file in this room.

pub mod chatroom;
