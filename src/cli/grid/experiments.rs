//! What a box can be told to do badly, on purpose.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::config::BoxSettings;
use crate::rng::Probability;
use crate::server::ExperimentSetup;

// Options that go before what a configuration says. (Said in `///` it would stand for what the command does that takes them.)
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Experiments {
    /// Lose frames to other boxes, each with this probability
    #[arg(long, value_name = "P")]
    loss: Option<Probability>,
    /// Let frames to other boxes wait for a random time up to this, in milliseconds, and overtake each other
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    delay: Option<u64>,
    /// Send frames to other boxes twice, each with this probability
    #[arg(long, value_name = "P")]
    duplicate: Option<Probability>,
    /// What the random decisions are drawn from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Experiments {
    /// Puts what was asked for in the place of what the configuration says.
    pub(super) fn apply(&self, settings: &mut BoxSettings) {
        settings.loss = self.loss.unwrap_or(settings.loss);
        settings.delay = self.delay.map_or(settings.delay, Duration::from_millis);
        settings.duplicate = self.duplicate.unwrap_or(settings.duplicate);
        settings.seed = self.seed.or(settings.seed);
    }

    /// What was asked for, for a box that keeps to it when its configuration changes.
    pub(super) fn setup(&self) -> ExperimentSetup {
        ExperimentSetup {
            loss: self.loss,
            duplicate: self.duplicate,
            delay: self.delay.map(Duration::from_millis),
        }
    }

    /// The same options for the `number`-th of several boxes. Each gets a seed of its own: with one for all, all would lose the
    /// same frames.
    pub(super) fn arguments(&self, number: u64) -> Vec<OsString> {
        let seed = self.seed.map(|seed| seed.wrapping_add(number));
        let options = [
            self.loss.map(|loss| format!("--loss={loss}")),
            self.delay.map(|delay| format!("--delay={delay}")),
            self.duplicate.map(|duplicate| format!("--duplicate={duplicate}")),
            seed.map(|seed| format!("--seed={seed}")),
        ];
        options.into_iter().flatten().map(OsString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        experiments: Experiments,
    }

    #[test]
    fn what_is_passed_on_is_what_was_asked_for() {
        let options =
            ["x", "--loss", "0.25", "--delay", "7", "--duplicate=1", "--seed", "18446744073709551615"];
        let asked = Cli::parse_from(options).experiments;
        let passed = std::iter::once(OsString::from("x")).chain(asked.arguments(2));
        let mut settings = BoxSettings::default_of("127.0.0.1:1".parse().expect("an address"));
        Cli::parse_from(passed).experiments.apply(&mut settings);
        assert_eq!((settings.loss, settings.duplicate), (Probability::percent(25), Probability::ALWAYS));
        assert_eq!((settings.delay, settings.seed), (Duration::from_millis(7), Some(1)));
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let mut settings = BoxSettings::default_of("127.0.0.1:1".parse().expect("an address"));
        settings.loss = Probability::percent(1);
        let before = settings.clone();
        Experiments::default().apply(&mut settings);
        assert_eq!(settings, before);
        assert!(Experiments::default().arguments(1).is_empty());
    }
}
