//! Several members of each Raft, whose disks and network are in the hands of a schedule.

mod network;
mod steps;

use ovid::agents::raft::Laws;

pub use self::steps::Counts;
use self::steps::Schedule;

/// Tries so many events of the schedule that belongs to `seed`, with ours obeying `laws`; what was done, or how both came to differ.
///
/// Elections begin when the schedule says so, so that members here never keep faith with a leader they have just heard of: what
/// [`Laws::votes_wait_for_leases`] asks is left out, and compared by [`walk`](crate::walk).
pub fn cluster(seed: u64, events: u64, laws: Laws) -> Result<Counts, String> {
    let laws = Laws { votes_wait_for_leases: false, ..laws };
    let mut schedule = Schedule::new(seed, laws);
    for _ in 0..events {
        schedule.event()?;
    }
    Ok(schedule.counts())
}
