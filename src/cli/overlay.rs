//! The options of an overlay, as the command line takes them.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::agents::overlay::{Dialect, Options, OptionsError};

/// What servers of an overlay speak to each other.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Wire {
    /// What ovid's servers speak
    Own,
    /// The frames of the implementation in Erlang: membership and messages to neighbours, no broadcasts; IPv4 only
    GenHypar,
}

impl From<Wire> for Dialect {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Own => Self::Own,
            Wire::GenHypar => Self::GenHypar,
        }
    }
}

// The options, under the names of the paper; all servers should have the same ones. (Said in `///` it would stand for what the command does that takes them.)
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of an overlay, the same on all its servers")]
pub(super) struct OverlayOptions {
    /// How many links a server keeps
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    active_size: usize,
    /// How many other servers it knows that could take their place
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    passive_size: usize,
    /// Active random walk length: how far news of a newcomer travels
    #[arg(long, default_value_t = 6, value_name = "STEPS")]
    arwl: u8,
    /// Passive random walk length: with how many steps left it puts the newcomer into passive views
    #[arg(long, default_value_t = 3, value_name = "STEPS")]
    prwl: u8,
    /// How many neighbours are in a shuffle
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    k_active: usize,
    /// How many of the other servers that it knows are in a shuffle
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    k_passive: usize,
    /// How often a server shuffles
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    shuffle_period_ms: u64,
    /// How many of a server's first shuffles come sooner, each in half the time of the one behind it [default: 6]
    #[arg(long, value_name = "COUNT")]
    early_shuffles: Option<u8>,
    /// How often a link carries something; a neighbour that is silent for three times that is given up; 0 for never [default: 1000]
    #[arg(long, value_name = "MS")]
    keep_alive_ms: Option<u64>,
    /// How long a request may take before somebody else is asked
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout_ms: u64,
    /// How many addresses are remembered beyond those, for a server that is left alone
    #[arg(long, default_value_t = 256, value_name = "COUNT")]
    memory_size: usize,
    /// How often a server looks for another island; 0 for never
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    probe_period_ms: u64,
    /// How often a server tries to change a slow link for a faster one; 0 for never
    #[arg(long, default_value_t = 0, value_name = "MS")]
    optimise_period_ms: u64,
}

impl OverlayOptions {
    /// The options, if an overlay can work with them.
    pub(super) fn options(&self) -> Result<Options, OptionsError> {
        let options = Options {
            active_size: self.active_size,
            passive_size: self.passive_size,
            arwl: self.arwl,
            prwl: self.prwl,
            k_active: self.k_active,
            k_passive: self.k_passive,
            shuffle_period: Duration::from_millis(self.shuffle_period_ms),
            early_shuffles: self.early_shuffles.unwrap_or(Options::default().early_shuffles),
            keep_alive: self.keep_alive_ms.map_or(Options::default().keep_alive, Duration::from_millis),
            timeout: Duration::from_millis(self.timeout_ms),
            memory_size: self.memory_size,
            probe_period: Duration::from_millis(self.probe_period_ms),
            optimise_period: Duration::from_millis(self.optimise_period_ms),
            dialect: Dialect::Own,
        };
        options.check().map(|()| options)
    }

    /// Whether keep-alives were asked for, or not wanted, in so many words.
    pub(super) fn says_keep_alive(&self) -> bool {
        self.keep_alive_ms.is_some()
    }

    /// Whether it was said how many shuffles come sooner.
    pub(super) fn says_early_shuffles(&self) -> bool {
        self.early_shuffles.is_some()
    }

    /// How often slow links are changed for faster ones, if nothing else was asked for.
    pub(super) fn only_optimise_period(&self) -> Option<Duration> {
        let options = self.options().ok()?;
        let optimise_period = options.optimise_period;
        (options == Options { optimise_period, ..Options::default() }).then_some(optimise_period)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        overlay: OverlayOptions,
    }

    #[test]
    fn without_arguments_they_are_the_defaults() {
        let options = Program::parse_from(["ovid"]).overlay.options();
        assert_eq!(options, Ok(Options::default()));
        let nonsense = Program::parse_from(["ovid", "--k-active", "9"]).overlay.options();
        assert!(nonsense.is_err());
    }
}
