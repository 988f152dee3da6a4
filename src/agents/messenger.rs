//! The chat: users with passwords, messages to each other and to groups, inboxes that wait, on a log that several servers agree on.
//!
//! **Problem.** A message that was acknowledged reaches every session of everybody that it is for, in the order of its sender, whatever server they are on and
//! whichever servers die meanwhile, as long as a majority lives; and a client that asks twice, since it was not answered, does not write twice.
//!
//! **State.** What all servers agree on ([`State`]) is a function of the records of the log: users, *conversations* (two users, or a group) with their messages, how far
//! each user has read in each, and for each client instance the number of its next message. It changes only when a record comes back as committed. Messages
//! themselves lie in rows on the disk; memory holds the end of each conversation that is in use. What one server alone knows is who is connected to it.
//!
//! **Messages.** Clients speak [`proto`](crate::wire::proto) over connections of their own. Servers tell each other where their clients reach them, and who is on them
//! with messages of their own.
//!
//! **Invariants.**
//! - Nothing is acknowledged, and nothing pushed, that is not committed.
//! - A conversation's messages are numbered from 1 without gaps; a session gets them in that order, from behind what it has, each at least once: a client drops what it has.
//! - A client instance's messages are accepted in the order of their numbers, each once.
//! - Read marks never go back, and move only by what a client has acknowledged. (A client of the class of 2017 never does: what was sent to it before its next request counts.)
//! - The log holds a password's hash only. Passwords, tokens and secrets never stand in a log line, a trace or an error.
//! - Everything that somebody can make us keep has a limit, and beyond it the answer is "busy".
//!
//! **Source.** The system that is replaced: a distributed chat of a class of 2017, whose wire for clients is kept.

mod record;
mod state;

pub use self::record::{ClientInstance, Command, Imported, Record, Target};
pub use self::state::{
    Conversation, ConversationId, Effect, GroupChange, Kind, Limits, Messages, Outcome, Place, Reading,
    Refused, Sequence, State, Stored, User, UserId, Wanted, is_name,
};
