//! The simulated world: virtual time, network, disk, faults, checkers. Everything is drawn from one seed; no thread, no clock, no socket.
//!
//! Two hosts live here: one runs bare agents by the thousand, the other runs whole servers over simulated byte streams. A
//! [`Scenario`] is a service in such a world together with what must hold there.

pub mod chatroom;
mod course;
mod delay;
mod digest;
mod faults;
mod flood;
mod gossip;
mod kvs;
pub mod linear;
mod messenger;
pub(crate) mod overlay;
mod queue;
mod raft;
mod run;
mod scenario;
pub mod servers;
mod shrink;
mod world;

pub use self::course::{Checker, Service, run_service};
pub use self::delay::Delay;
pub use self::digest::{Digest, scramble};
pub use self::faults::{Faults, Severity};
pub use self::run::{PlanError, parse_faults, replay_command, run_safely, validate};
pub use self::scenario::{Carrier, FailureModel, Fault, Figures, Outcome, Plan, Scenario, Violation};
pub use self::shrink::{Shrunk, shrink};
pub use self::world::{
    Answer, ConnectionId, Contents, Damage, Happened, Heard, LinkState, PartitionId, Said, Settings, Told,
    World, Wrong,
};

/// All scenarios, in the order in which they are shown.
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(chatroom::Chatroom),
        Box::new(chatroom::OverlayChatroom),
        Box::new(flood::FloodScenario),
        Box::new(gossip::GossipScenario),
        Box::new(kvs::KvsScenario),
        Box::new(kvs::ReplicatedKvsScenario),
        Box::new(messenger::MessengerScenario),
        Box::new(overlay::OverlayScenario::default()),
        Box::new(raft::RaftScenario),
    ]
}
