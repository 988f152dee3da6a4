//! What the rules are tested with.

mod anything;
mod net;
mod rules;
mod small;
