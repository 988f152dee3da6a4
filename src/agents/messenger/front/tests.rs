//! What clients see.

mod bounds;
mod class;
mod groups;
mod log_in;
mod messages;
mod trouble;
