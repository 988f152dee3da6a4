//! What the broadcast is tested with.

mod bounds;
mod lone;
mod networks;
mod rules;
