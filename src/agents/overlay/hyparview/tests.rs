//! What the rules are tested with.

mod anything;
mod beyond;
mod lone;
mod net;
mod rules;
mod small;
