//! What the rules are tested with.

mod net;
mod small;
