//! The overlay: servers that know a few others each, and together stay one graph.
//!
//! A complete graph ends at some dozens of servers. Here each server has links to a handful of others (its *active view*), knows some more
//! that could take their place (its *passive view*), and broadcasts travel along the links. Two papers, two parts:
//! - [`HyParView`] keeps the views: Leitão, Pereira and Rodrigues, "`HyParView`: a membership protocol for reliable gossip-based broadcast", DSN 2007.
//! - the [`Layer`]s on top of it carry messages to everybody, by flooding or along trees: the same authors, "Epidemic Broadcast Trees" (Plumtree), SRDS 2007.
//!
//! A [`Node`] is one membership with one layer on it. It is generic over what servers are called: a number in the simulated world, an address on
//! real sockets. So both run the same code, and the world carries no addresses.

mod broadcast;
mod census;
mod flood;
mod gen_hypar;
mod hyparview;
mod id;
mod layer;
mod message;
mod node;
mod options;
mod payload;
mod plumtree;
mod seen;
mod service;
#[cfg(test)]
mod testing;

pub use self::broadcast::{
    Broadcast, BroadcastMessage, BroadcastOptions, Delivered, Kept, Mark, News, Refused,
};
pub use self::census::{Census, Entry, State};
pub use self::flood::{Flood, FloodCounts, FloodMessage};
pub use self::gen_hypar::{Plain, decode_hypar, encode_hypar, hypar_sender};
pub use self::hyparview::{Effect, HyParView, Reason};
pub use self::id::Id;
pub use self::layer::{Happening, Layer, NoLayer, Sends};
pub use self::message::{Control, Island, Message};
pub use self::node::{BY_POST, Net, Node};
pub use self::options::{Dialect, Options, OptionsError};
pub use self::payload::{Blob, MessageId, Nothing, Payload};
pub use self::plumtree::{Arrival, Plumtree, PlumtreeCounts, PlumtreeMessage, PlumtreeOptions, Run};
pub use self::service::{Service, ServiceMessage, ServiceOptions};
