//! The server core without sockets: dialling, links, heartbeats, failure detection and masters, over simulated byte streams.

mod boxes;
mod gen_hypar;
mod links;
mod masters;
mod outside;
mod overlay;
mod reloads;
mod replicated;
mod streams;
mod world;
