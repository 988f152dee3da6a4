//! What a simulated run is, and what comes of it.

use std::collections::BTreeSet;

use crate::trace::Event;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Links that keep the order and lose nothing while they are up; they break, stall and delay.
    Stream,
    /// Single messages that may be lost, repeated and reordered.
    Datagram,
}

/// How live servers learn that a peer is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureModel {
    /// Every live neighbour learns at once, as from a reset of its connection.
    Rst,
    /// Each neighbour learns when it sends the next time.
    Send,
}

impl Carrier {
    /// The name by which the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Datagram => "datagram",
        }
    }

    /// All faults that make sense with it.
    pub fn faults(self) -> BTreeSet<Fault> {
        let of_the_carrier = match self {
            Self::Stream => [Fault::Break, Fault::Stall].as_slice(),
            Self::Datagram => &[Fault::Loss, Fault::Duplicate, Fault::Reorder],
        };
        let of_servers = [Fault::Partition, Fault::OneWay, Fault::Pause, Fault::Crash, Fault::Torn];
        of_the_carrier.iter().copied().chain(of_servers).collect()
    }
}

impl FailureModel {
    /// The name by which the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rst => "rst",
            Self::Send => "send",
        }
    }
}

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost (datagram only).
    Loss,
    /// Messages arrive twice (datagram only).
    Duplicate,
    /// Messages overtake each other (datagram only).
    Reorder,
    /// Links break and come back (stream only).
    Break,
    /// Links carry nothing for a while (stream only).
    Stall,
    /// Groups of servers do not hear each other.
    Partition,
    /// As a partition, but in one direction only.
    OneWay,
    /// Servers stop running for a while.
    Pause,
    /// Servers crash and start again with what their disk kept.
    Crash,
    /// What a crash finds unsynced on the disk is kept in part: a torn write.
    Torn,
    /// What a disk held changes while its server is down. Only for services that are logs themselves.
    Damage,
    /// A disk fails until its server starts again. Only for services that are logs themselves.
    DiskError,
    /// Each server's clock runs at a rate of its own.
    Drift,
}

/// One run: the same plan always gives the same run. What is drawn for a step does not depend on `steps`, so a plan with fewer steps is a
/// prefix of one with more, followed by healing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many servers or agents.
    pub servers: u32,
    /// What everything is drawn from.
    pub seed: u64,
    /// What may go wrong.
    pub faults: BTreeSet<Fault>,
    /// How many steps: commands and faults. After them the faults stop, the world heals, and progress is demanded.
    pub steps: u64,
    /// How messages travel.
    pub carrier: Carrier,
    /// How the death of a peer is learned.
    pub failure_model: FailureModel,
    /// Whether each message goes through its codec and back.
    pub wire: bool,
}

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker saw it.
    pub checker: &'static str,
    /// During which step, or after all of them (healing) if it is the plan's number of steps.
    pub step: u64,
    /// When, in nanoseconds of simulated time.
    pub at_ns: u64,
    /// What is wrong, for people.
    pub what: String,
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Inputs handed to agents or servers.
    pub events: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Simulated time, in nanoseconds.
    pub simulated_ns: u64,
    /// A digest of everything that happened, in order: equal for equal runs on every machine.
    pub digest: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it counted.
    pub figures: Figures,
    /// What went wrong; `None` is what one hopes for.
    pub violation: Option<Violation>,
}

/// A service in a simulated world, together with what must hold there.
pub trait Scenario: Sync {
    /// The name by which the command line calls it.
    fn name(&self) -> &'static str;

    /// What it is, in one line.
    fn about(&self) -> &'static str;

    /// The plan that is run where nothing else is said: five servers on its usual carrier, with all faults that it can stand.
    fn default_plan(&self) -> Plan {
        let carrier = self.carriers()[0];
        let (faults, failure_model) = (self.faults(carrier), FailureModel::Rst);
        Plan { servers: 5, seed: 1, faults, steps: 200, carrier, failure_model, wire: false }
    }

    /// The carriers on which it runs, the usual one first.
    fn carriers(&self) -> &'static [Carrier] {
        &[Carrier::Stream, Carrier::Datagram]
    }

    /// The faults that may be asked for with this carrier; all that it knows, where the service stands everything.
    fn faults(&self, carrier: Carrier) -> BTreeSet<Fault> {
        carrier.faults()
    }

    /// The most servers that it can have.
    fn servers_max(&self) -> u32 {
        u32::MAX
    }

    /// What makes it another scenario than the one that goes by its name alone: options of the command line, each with a space before it.
    fn options(&self) -> String {
        String::new()
    }

    /// Runs `plan`; what happened goes into `trace`, if somebody wants it.
    fn run(&self, plan: &Plan, trace: Option<&mut Vec<Event>>) -> Outcome;
}
