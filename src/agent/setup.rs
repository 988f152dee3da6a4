//! What an agent is made from: its entry in a configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::Agent;
use crate::rng::Rng;
#[cfg(doc)]
use crate::time::Time;

/// The attributes of an agent: names and JSON values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attrs(pub serde_json::Map<String, Value>);

/// Something in an agent's entry that cannot be used. Nothing was made from it; whoever wrote the configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {what}", field.join("."))]
pub struct Mistake {
    /// Where in the entry: `["attrs", "period_ms"]`.
    pub field: Vec<String>,
    /// What is wrong and what is expected.
    pub what: String,
}

impl Mistake {
    /// A mistake in the attribute `name`.
    pub fn in_attr(name: &str, what: impl Into<String>) -> Self {
        Self { field: vec!["attrs".to_owned(), name.to_owned()], what: what.into() }
    }

    /// A mistake in the route `name`.
    pub fn in_route(name: &str, what: impl Into<String>) -> Self {
        Self { field: vec!["routes".to_owned(), name.to_owned()], what: what.into() }
    }
}

/// An agent that can be made from a configuration.
pub trait Configure: Agent + Sized + Send + 'static {
    /// Makes the agent. It asks `setup` for its attributes and routes; what it does not ask for is reported as a mistake.
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake>;
}

/// What keeps an agent's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeeper {
    /// Nothing: the agent has no log.
    Nothing,
    /// The memory of its process.
    Memory,
    /// A disk of its own box. Such a log is always led, of which nobody is told ([`Input::Leads`](super::Input::Leads)).
    Disk,
    /// Several boxes that agree on it.
    Members,
}

/// One agent's entry in a configuration, as the agent sees it.
pub struct Setup<'a> {
    id: &'a str,
    attrs: &'a Attrs,
    routes: &'a [String],
    seed: u64,
    secret: Option<[u8; 32]>,
    unix_ms_at_start: u64,
    log: LogKeeper,
    attrs_asked: BTreeSet<String>,
    routes_asked: BTreeSet<String>,
    any_route: bool,
}

impl fmt::Debug for Setup<'_> {
    /// All but the secret, and what was asked for so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, attrs, routes, seed, unix_ms_at_start, .. } = self;
        let mut shown = f.debug_struct("Setup");
        shown.field("id", id).field("attrs", attrs).field("routes", routes);
        shown.field("seed", seed).field("unix_ms_at_start", unix_ms_at_start).finish_non_exhaustive()
    }
}

impl<'a> Setup<'a> {
    /// The entry of agent `id`: its attributes, the names of its routes ascending, and a seed for it alone.
    pub fn new(id: &'a str, attrs: &'a Attrs, routes: &'a [String], seed: u64) -> Self {
        Self {
            id,
            attrs,
            routes,
            seed,
            secret: None,
            unix_ms_at_start: 0,
            log: LogKeeper::Members,
            attrs_asked: BTreeSet::new(),
            routes_asked: BTreeSet::new(),
            any_route: false,
        }
    }

    /// The same with these bytes for [`Setup::secret`], of the system's chance.
    #[must_use]
    pub fn with_secret(self, secret: Option<[u8; 32]>) -> Self {
        Self { secret, ..self }
    }

    /// The same on a host whose clock began at this time, in milliseconds since 1970 (UTC).
    #[must_use]
    pub fn begun_at_unix_ms(self, unix_ms_at_start: u64) -> Self {
        Self { unix_ms_at_start, ..self }
    }

    /// The same with a log that is kept so. Without this it is one of several members.
    #[must_use]
    pub fn with_log(self, log: LogKeeper) -> Self {
        Self { log, ..self }
    }

    /// The agent's id.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The agent's own random source: another one for each start of a real server, the same for the same seed in the simulated world.
    pub fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }

    /// What an agent makes keys of: 32 bytes that nobody can guess, at a real server; where everything has to come again, they are drawn from the agent's seed. The random
    /// source will not do for that: it goes on from 64 bits, which stand in a log line.
    pub fn secret(&self) -> [u8; 32] {
        self.secret.unwrap_or_else(|| {
            let mut rng = self.rng();
            let mut secret = [0; 32];
            for chunk in secret.chunks_exact_mut(8) {
                chunk.copy_from_slice(&rng.number().to_be_bytes());
            }
            secret
        })
    }

    /// What the calendar said when the host's clock began ([`Time::ZERO`]), in milliseconds since 1970 (UTC); 0 where nobody has a calendar.
    pub fn unix_ms_at_start(&self) -> u64 {
        self.unix_ms_at_start
    }

    /// What keeps the agent's log.
    pub fn log(&self) -> LogKeeper {
        self.log
    }

    /// Whether anybody will ask the agent for its rows ([`Agent::take_rows`]).
    pub fn log_keeps_rows(&self) -> bool {
        matches!(self.log, LogKeeper::Disk | LogKeeper::Members)
    }

    /// The attribute `name`, if it is there.
    pub fn attr<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Mistake> {
        self.attrs_asked.insert(name.to_owned());
        let Some(value) = self.attrs.0.get(name) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| Mistake::in_attr(name, error.to_string()))
    }

    /// The attribute `name`, or `default` where it is left out.
    pub fn attr_or<T: DeserializeOwned>(&mut self, name: &str, default: T) -> Result<T, Mistake> {
        Ok(self.attr(name)?.unwrap_or(default))
    }

    /// The attribute `name`, which has to be there.
    pub fn need_attr<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Mistake> {
        self.attr(name)?.ok_or_else(|| Mistake::in_attr(name, "is needed and missing"))
    }

    /// The attribute `name`, whole milliseconds of at least 1, or `default` where it is left out.
    pub fn ms_or(&mut self, name: &str, default: Duration) -> Result<Duration, Mistake> {
        match self.attr::<u64>(name)? {
            None => Ok(default),
            Some(0) => Err(Mistake::in_attr(name, "expected at least 1 millisecond")),
            Some(ms) => Ok(Duration::from_millis(ms)),
        }
    }

    /// Says that the agent sends to the route `name`, which has to be there.
    pub fn need_route(&mut self, name: &str) -> Result<(), Mistake> {
        if self.has_route(name) { Ok(()) } else { Err(Mistake::in_route(name, "is needed and missing")) }
    }

    /// Says that the agent sends to the route `name` if it is there; whether it is.
    pub fn has_route(&mut self, name: &str) -> bool {
        self.routes_asked.insert(name.to_owned());
        self.routes.iter().any(|route| route == name)
    }

    /// Says that the agent may send to any route; their names, ascending.
    pub fn all_routes(&mut self) -> &'a [String] {
        self.any_route = true;
        self.routes
    }

    /// What stands in the entry that the agent has not asked for.
    pub fn unused(&self) -> Vec<Mistake> {
        let attrs = self.attrs.0.keys().filter(|name| !self.attrs_asked.contains(*name));
        let routes = self.routes.iter().filter(|name| !self.any_route && !self.routes_asked.contains(*name));
        attrs
            .map(|name| Mistake::in_attr(name, known("attribute", &self.attrs_asked)))
            .chain(routes.map(|name| Mistake::in_route(name, known("route", &self.routes_asked))))
            .collect()
    }
}

fn known(what: &str, known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return format!("unknown {what}; agents of this type have none");
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("unknown {what}; known are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(json: &str) -> Attrs {
        serde_json::from_str(json).expect("an object")
    }

    #[test]
    fn mistakes_name_their_field() {
        let attrs = attrs(r#"{"period_ms": "soon", "extra": 1, "wait_ms": 0}"#);
        let routes = ["peers".to_owned(), "stray".to_owned()];
        let mut setup = Setup::new("a", &attrs, &routes, 1);
        let error = setup.attr::<u64>("period_ms").expect_err("no number");
        assert_eq!(error.field, ["attrs", "period_ms"]);
        let error = setup.ms_or("wait_ms", Duration::from_millis(5)).expect_err("zero");
        assert_eq!(error.to_string(), "attrs.wait_ms: expected at least 1 millisecond");
        assert_eq!(setup.need_attr::<u64>("name").expect_err("missing").field, ["attrs", "name"]);
        assert!(setup.need_route("peers").is_ok());
        assert_eq!(setup.need_route("log").expect_err("missing").field, ["routes", "log"]);
        let unused: Vec<Vec<String>> = setup.unused().into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(unused, [["attrs", "extra"], ["routes", "stray"]]);
    }

    #[test]
    fn a_secret_comes_of_the_seed_where_there_is_no_other_and_is_not_shown() {
        let attrs = Attrs::default();
        let of = |seed, secret| Setup::new("a", &attrs, &[], seed).with_secret(secret);
        assert_eq!(of(1, None).secret(), of(1, None).secret());
        assert_ne!(of(1, None).secret(), of(2, None).secret());
        assert_eq!(of(1, Some([7; 32])).secret(), [7; 32]);
        assert!(!format!("{:?}", of(1, Some([7; 32]))).contains("7, 7"));
    }

    #[test]
    fn an_agent_that_takes_all_routes_has_no_stray_one() {
        let (attrs, routes) = (Attrs::default(), ["bob".to_owned()]);
        let mut setup = Setup::new("a", &attrs, &routes, 1);
        assert_eq!(setup.all_routes(), ["bob"]);
        assert!(setup.unused().is_empty());
    }
}
