//! Raft: a log that a majority of servers agrees on (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", USENIX ATC 2014; in
//! detail: Ongaro, "Consensus: Bridging Theory and Practice", 2014, here "the thesis").

mod options;

pub use self::options::{Options, OptionsError, Reads};
