//! What is done to which servers, and when: drawn from a seed.

use std::fmt;
use std::time::Duration;

use crate::rng::{Probability, Rng};

/// A way to attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// SIGKILL, to one server, to several or to all at once; then they start again.
    Kill,
    /// SIGSTOP, and SIGCONT a while later.
    Freeze,
    /// The server's cable is pulled, and put back.
    Cut,
}

impl Kind {
    /// The name by which the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
        }
    }
}

/// One attack on certain servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// See [`Kind::Kill`].
    Kill(Vec<usize>),
    /// See [`Kind::Freeze`].
    Freeze(usize),
    /// See [`Kind::Cut`].
    Cut(usize),
}

impl Blow {
    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Freeze(_) => Kind::Freeze,
            Self::Cut(_) => Kind::Cut,
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(servers) => {
                let servers: Vec<String> = servers.iter().map(|server| (server + 1).to_string()).collect();
                write!(f, "kill -9 of {}", servers.join(", "))
            }
            Self::Freeze(server) => write!(f, "{} is frozen", server + 1),
            Self::Cut(server) => write!(f, "{} is cut off", server + 1),
        }
    }
}

/// A blow with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// How long all is left well before it.
    pub pause: Duration,
    /// What is done.
    pub blow: Blow,
    /// How long it takes until it is undone.
    pub lasts: Duration,
}

/// All strikes of a run.
#[derive(Debug)]
pub struct Strikes {
    rng: Rng,
    servers: usize,
    kinds: Vec<Kind>,
}

impl Strikes {
    /// The strikes on `servers` servers that `seed` stands for; `kinds` may not be empty.
    pub fn new(seed: u64, servers: usize, kinds: &[Kind]) -> Self {
        Self { rng: Rng::new(seed), servers, kinds: kinds.to_vec() }
    }

    /// What may be done to servers.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The next one.
    pub fn draw(&mut self) -> Strike {
        let pause = self.rng.duration(PAUSE_MIN, PAUSE_MAX);
        let kind = self.rng.pick(&self.kinds).copied().unwrap_or(Kind::Kill);
        let server = self.rng.index(self.servers);
        let blow = match kind {
            Kind::Kill => Blow::Kill(self.victims(server)),
            Kind::Freeze => Blow::Freeze(server),
            Kind::Cut => Blow::Cut(server),
        };
        // Mostly short, so that there are many; long enough for an election now and then.
        let longest = if self.rng.chance(Probability::percent(30)) { LASTS_MAX } else { LASTS_USUAL };
        Strike { pause, blow, lasts: self.rng.duration(Duration::ZERO, longest) }
    }

    /// Usually one server; now and then all of them, as when the power fails, or any number.
    fn victims(&mut self, first: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.servers).collect();
        match self.rng.below(10) {
            0..7 => vec![first],
            7 => all,
            _ => {
                self.rng.shuffle(&mut all);
                all.truncate(1 + self.rng.index(self.servers));
                all
            }
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(1500);
const LASTS_USUAL: Duration = Duration::from_millis(600);
const LASTS_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_strikes_the_same_and_every_kind_comes() {
        let kinds = [Kind::Kill, Kind::Freeze, Kind::Cut];
        let draw = |seed| {
            let mut strikes = Strikes::new(seed, 5, &kinds);
            (0..200).map(|_| strikes.draw()).collect::<Vec<_>>()
        };
        let strikes = draw(7);
        assert_eq!(strikes, draw(7));
        assert_ne!(strikes, draw(8));
        for kind in kinds {
            assert!(strikes.iter().any(|strike| strike.blow.kind() == kind), "{kind:?}");
        }
        let killed = |count| {
            strikes.iter().any(|strike| matches!(&strike.blow, Blow::Kill(servers) if servers.len() == count))
        };
        assert!(killed(1) && killed(5), "one, and all at once");
    }

    #[test]
    fn no_server_is_struck_that_is_not_there() {
        let mut strikes = Strikes::new(1, 3, &[Kind::Kill]);
        for _ in 0..200 {
            let Blow::Kill(servers) = strikes.draw().blow else { panic!("only kills were asked for") };
            assert!(!servers.is_empty() && servers.iter().all(|server| *server < 3), "{servers:?}");
            let mut once = servers.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), servers.len(), "{servers:?}");
        }
    }
}
