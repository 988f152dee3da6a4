//! What the nodes of a broadcast agree on.

use std::time::Duration;

use super::super::PlumtreeOptions;

/// How broadcasts travel, and how long what is missing is waited for. They should be the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastOptions {
    /// Those of the tree below; how long a message may be and how long it is kept stand there too.
    pub tree: PlumtreeOptions,
    /// How long a gap in what a source sends is left to the tree before neighbours are asked for what is missing.
    pub repair_delay: Duration,
    /// How long an answer is waited for before the next neighbour is asked.
    pub ask_timeout: Duration,
    /// How long a gap is waited for at all. Then it is skipped.
    pub gap_timeout: Duration,
    /// How many messages of one source may wait for earlier ones.
    pub early_count_max: usize,
    /// How many bytes may wait, of all sources together.
    pub early_bytes_max: usize,
    /// How many sources are known at most. New ones beyond that are not heard, unless others were silent for a long time.
    pub sources_max: usize,
}

impl Default for BroadcastOptions {
    fn default() -> Self {
        Self {
            tree: PlumtreeOptions {
                first_timeout_spread: Duration::from_millis(150),
                shaper_hold: Duration::from_secs(12),
                ..PlumtreeOptions::default()
            },
            repair_delay: Duration::from_millis(200),
            ask_timeout: Duration::from_secs(1),
            gap_timeout: Duration::from_secs(5),
            early_count_max: 4_096,
            early_bytes_max: 16 << 20,
            sources_max: 65_536,
        }
    }
}
