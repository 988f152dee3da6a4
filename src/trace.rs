//! Traces: what happened in a run, real or simulated, one event a line of JSON. Written by servers and by the simulated world, read by
//! tools that draw them. Logical clocks are not written but worked out afterwards.

mod event;
mod writer;

pub use self::event::{Event, What};
pub use self::writer::Writer;
