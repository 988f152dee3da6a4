//! What the nodes of a tree agree on.

use std::time::Duration;

/// The numbers of a tree. They should be the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlumtreeOptions {
    /// Whether no link is ever pruned, so that every message goes over every link: no tree, for comparison, or for little to say on lossy ground.
    pub flood: bool,
    /// How long announcements are gathered. Zero: each is sent at once.
    pub announce_period: Duration,
    /// How long a message that was announced is waited for before somebody is asked for it. Longer than what it takes through the tree.
    pub first_timeout: Duration,
    /// By how much longer some nodes wait: each by a part of this that its id gives. Of the nodes of a lost branch one then asks before the others,
    /// and hands on what it gets. Not in the paper.
    pub first_timeout_spread: Duration,
    /// How long the answer is waited for before the next one is asked: a round trip and a little.
    pub second_timeout: Duration,
    /// By how many steps another way has to be shorter to be taken instead. The paper's: 3 with one sender, 7 with many. `None`: never.
    pub optimisation_threshold: Option<u16>,
    /// How many messages in a row have to have come over a link by that much too long a way before it is exchanged. In the paper it is one; with many
    /// senders each then pulls the tree to itself, and makes it longer for the others. At least 1, at most 255.
    pub optimisation_patience: u8,
    /// Where many speak at once: only the copies of one source's messages prune links, and exchange them for shorter ways. It is the source with the
    /// smallest id of those that were heard for that long. If two messages come round a circle in opposite ways, each would cut it somewhere
    /// else, and a branch would be lost. Zero: those of every source, as in the paper. Not in the paper.
    pub shaper_hold: Duration,
    /// For how long a link stays as a `GRAFT` or a `PRUNE` has made it. Longer than a round trip.
    pub backoff: Duration,
    /// How many messages are kept for those who ask for them.
    pub cache_count: usize,
    /// How many bytes of payloads are kept.
    pub cache_bytes: usize,
    /// How long a message is kept.
    pub cache_age: Duration,
    /// How many messages may be missing at a time. Announcements beyond that are not noted.
    pub missing_max: usize,
    /// Of how many sources it is remembered what was seen.
    pub sources_max: usize,
    /// How long a payload may be.
    pub payload_bytes_max: usize,
}

impl Default for PlumtreeOptions {
    fn default() -> Self {
        Self {
            flood: false,
            announce_period: Duration::from_millis(50),
            first_timeout: Duration::from_millis(250),
            first_timeout_spread: Duration::ZERO,
            second_timeout: Duration::from_millis(100),
            optimisation_threshold: Some(7),
            optimisation_patience: 2,
            shaper_hold: Duration::ZERO,
            backoff: Duration::from_millis(250),
            cache_count: 16_384,
            cache_bytes: 16 << 20,
            cache_age: Duration::from_secs(60),
            missing_max: 4_096,
            sources_max: 65_536,
            payload_bytes_max: 1 << 20,
        }
    }
}
