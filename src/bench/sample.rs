//! What the throughput bench asks of a system, and what one run of it gives: the same for grids and for a broker.

use std::time::Duration;

use super::stats::as_f64;
use super::verify::{Expected, MESSAGES_MAX};

/// One measured run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Messages entering logs, all servers together.
    pub(super) deliveries: u64,
    /// From the first byte to the last message.
    pub(super) elapsed: Duration,
    /// The processor time that all servers used meanwhile, where the system tells.
    pub(super) grid_cpu_ns: Option<u64>,
    /// The processor time that the load generator used meanwhile.
    pub(super) generator_cpu: Duration,
    /// What the generator wrote.
    pub(super) load_bytes: u64,
}

impl Run {
    /// Deliveries a second.
    pub(super) fn rate(&self) -> f64 {
        as_f64(self.deliveries) / self.elapsed.as_secs_f64()
    }

    /// The servers' processor time for one delivery, in nanoseconds.
    pub(super) fn delivery_ns(&self) -> Option<f64> {
        Some(as_f64(self.grid_cpu_ns?) / as_f64(self.deliveries))
    }

    /// Bytes a second that the generator wrote.
    pub(super) fn load_rate(&self) -> f64 {
        as_f64(self.load_bytes) / self.elapsed.as_secs_f64()
    }
}

/// One combination of message size and number of servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) bytes: usize,
    pub(super) n: usize,
    pub(super) senders: usize,
    pub(super) log_bytes_max: u64,
}

impl Cell {
    /// The most messages that each sender may send.
    pub(super) fn messages_max(self) -> u64 {
        let per_message = (self.n * self.senders * (self.bytes + 1)) as u64;
        (self.log_bytes_max / per_message).clamp(1, MESSAGES_MAX)
    }

    /// What has to be in every log after each sender sent `messages`.
    pub(super) fn expected(self, messages: u64) -> Expected {
        let counts = (0..self.n).map(|id| if id < self.senders { messages } else { 0 }).collect();
        Expected { counts, bytes: self.bytes }
    }
}
