//! One member of each Raft among others that are imagined.

mod others;
mod pair;
mod steps;

use ovid::agents::raft::Laws;

pub use self::steps::Counts;
use self::steps::Walk;

/// Walks so many steps on a way that belongs to `seed`, with ours obeying `laws`; what was done, or how both came to differ. `is_bound`: whether the other one
/// keeps faith with a leader that it has just heard of.
pub fn walk(seed: u64, steps: u64, laws: Laws, is_bound: bool) -> Result<Counts, String> {
    let mut walk = Walk::new(seed, laws, is_bound);
    for _ in 0..steps {
        walk.step()?;
    }
    Ok(walk.counts())
}
