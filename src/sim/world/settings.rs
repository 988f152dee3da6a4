//! How a world behaves.

use std::time::Duration;

use crate::agent::Peer;
use crate::rng::{Probability, Rng};
use crate::sim::{Carrier, Delay, FailureModel, Fault, Plan, scramble};

/// How a world behaves. What is drawn is drawn from the seed, and each part of the world draws from a stream of its own.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "settings that have nothing to do with each other")]
pub struct Settings {
    /// What everything is drawn from.
    pub seed: u64,
    /// How messages travel.
    pub carrier: Carrier,
    /// How the death of a peer is learned.
    pub failure_model: FailureModel,
    /// Whether each message goes through its codec and back.
    pub wire: bool,
    /// How long messages travel.
    pub delay: Delay,
    /// How much longer messages of links and letters travel between two agents, drawn once for each pair: some are near each other, others are not.
    pub distance: Option<Delay>,
    /// How long it takes to connect.
    pub connecting: Delay,
    /// How long the disk takes to sync.
    pub syncing: Delay,
    /// How long a piece of long work takes.
    pub computing: Delay,
    /// Of datagrams: how many are lost.
    pub loss: Probability,
    /// Of datagrams: how many arrive twice.
    pub duplicate: Probability,
    /// Whether datagrams of one pair overtake each other. Where they do not, each pair has a delay of its own.
    pub reorder: bool,
    /// Whether a crash leaves a part of what was not synced on the disk.
    pub torn: bool,
    /// Whether a crash may take what was synced, too. A broken disk, for tests of checkers.
    pub forgetful_disks: bool,
    /// How many messages may wait in one direction of a link. One more, and it goes down.
    pub queue_messages_max: u32,
    /// How many bytes may be on their way in one direction of a connection; others wait at its sender.
    pub on_the_way_bytes_max: usize,
}

impl Settings {
    /// A world that is kind: messages take 1 to 10 ms, connecting 1 to 20 ms, syncing 0 to 5 ms; nothing is lost.
    pub fn new(seed: u64, carrier: Carrier) -> Self {
        Self {
            seed,
            carrier,
            failure_model: FailureModel::Rst,
            wire: false,
            delay: Delay::uniform_ms(1, 10),
            distance: None,
            connecting: Delay::uniform_ms(1, 20),
            syncing: Delay::uniform_ms(0, 5),
            computing: Delay::uniform_ms(1, 20),
            loss: Probability::NEVER,
            duplicate: Probability::NEVER,
            reorder: false,
            torn: false,
            forgetful_disks: false,
            queue_messages_max: 1_000_000,
            on_the_way_bytes_max: 256 * 1024,
        }
    }

    /// The world of a plan. How much is lost and repeated, where the plan wants that at all, and whether delays have a long tail is
    /// drawn from its seed.
    pub fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        // Everything is drawn whether it is wanted or not, so that the rest stays the same when the plan wants less.
        let (loss, duplicate) = (rng.between(10_000..=200_000), rng.between(10_000..=200_000));
        let long_tailed = rng.chance(Probability::percent(25));
        let wanted = |fault, millionths: u64| {
            let millionths = if plan.faults.contains(&fault) { millionths } else { 0 };
            Probability::millionths(u32::try_from(millionths).expect("below a million"))
        };
        let mut settings = Self::new(rng.number(), plan.carrier);
        settings.failure_model = plan.failure_model;
        settings.wire = plan.wire;
        settings.loss = wanted(Fault::Loss, loss);
        settings.duplicate = wanted(Fault::Duplicate, duplicate);
        settings.reorder = plan.faults.contains(&Fault::Reorder);
        settings.torn = plan.faults.contains(&Fault::Torn);
        if long_tailed {
            let (shortest, usual_excess) = (Duration::from_millis(1), Duration::from_millis(2));
            settings.delay = Delay::LongTailed { shortest, usual_excess };
        }
        settings
    }
    /// How much longer than between others messages travel between these two.
    #[inline]
    pub fn distance(&self, one: Peer, other: Peer) -> Duration {
        let Some(distance) = self.distance else { return Duration::ZERO };
        let pair = u64::from(one.min(other).0) << 32 | u64::from(one.max(other).0);
        distance.draw(&mut Rng::new(scramble(self.seed ^ scramble(pair))))
    }

    /// How long a message travels on a link.
    #[inline]
    pub(super) fn travel(&self, network: &mut Rng, from: Peer, to: Peer) -> Duration {
        self.delay.draw(network) + self.distance(from, to)
    }

    /// How long a datagram travels. Where datagrams may not overtake each other, each pair of agents has a delay of its own: then they cannot, and no
    /// table of pairs is needed.
    pub(super) fn datagram_travel(&self, network: &mut Rng, from: Peer, to: Peer) -> Duration {
        if self.reorder {
            return self.delay.draw(network);
        }
        let pair = scramble(self.seed ^ scramble(u64::from(from.0) << 32 | u64::from(to.0)));
        self.delay.draw(&mut Rng::new(pair))
    }
}
