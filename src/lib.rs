//! # ovid
//!
//! A grid of servers for teaching, building and running distributed services.
//!
//! The rooms of the house, from the ground up; each uses only rooms above it in this list.

pub mod bench;
pub mod cli;
