//! Traces: what happened in a run, real or simulated, one event a line of JSON. Written by servers and by the simulated world, read by
//! tools that draw them. Logical clocks are not written but worked out afterwards.

//!
//! A [`Writer`] writes them, [`Trace`] reads them, [`History`] knows which send belongs to which receive and what could have caused
//! what. Three ways to look at a history: a page for a browser ([`page`]), `ShiViz`'s log ([`shiviz`]) and a table ([`stats`]).

mod clocks;
mod event;
mod history;
mod messages;
mod names;
pub mod page;
mod read;
pub mod shiviz;
pub mod stats;
mod writer;

#[cfg(test)]
mod testing;

pub use self::clocks::{Clocks, Vector};
pub use self::event::{Event, What};
pub use self::history::{History, Odd, Oddity};
pub use self::messages::Messages;
pub use self::read::{ReadError, Trace};
pub use self::writer::Writer;
