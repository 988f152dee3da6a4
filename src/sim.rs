//! The simulated world: virtual time, network, disk, faults, checkers. Everything is drawn from one seed; no thread, no clock, no socket.
//!
//! Two hosts live here: one runs bare agents by the thousand, the other runs whole servers over simulated byte streams. A
//! [`Scenario`] is a service in such a world together with what must hold there.

mod scenario;

pub use self::scenario::{Carrier, FailureModel, Fault, Figures, Outcome, Plan, Scenario, Violation};
