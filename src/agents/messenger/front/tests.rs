//! What clients see.

mod class;
mod groups;
mod log_in;
mod messages;
mod trouble;
