//! # ovid
//!
//! A grid of servers for teaching, building and running distributed services.
//!
//! The rooms of the house, from the ground up; each uses only rooms above it in this list.

pub mod grid;
pub mod seldom;
pub mod time;

pub mod rng;

pub mod wire;

pub mod agent;
pub mod agents;
pub mod compute;
pub mod config;
pub mod store;
pub mod trace;

pub mod server;

pub mod reactor;

pub mod sim;

pub mod talk;

pub mod bench;
pub mod chaos;
pub mod cli;
