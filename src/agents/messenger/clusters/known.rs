//! Which clusters are known, and where their servers await us.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::settings::{ADDRESSES_MAX, CLUSTERS_MAX, check_tag};
use super::{ClusterSettings, Heard};
use crate::time::Time;

/// Clusters by their tags, and the addresses of each.
#[derive(Debug)]
pub(super) struct Known {
    own_tag: String,
    clusters: BTreeMap<String, BTreeMap<SocketAddr, Age>>,
    /// Whether others should hear what is new here.
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Age {
    /// The configuration says so: it stays.
    Configured,
    /// When it was last heard of.
    Heard(Time),
}

impl Known {
    pub(super) fn new(settings: &ClusterSettings) -> Self {
        let configured = |(tag, addresses): (&String, &Vec<SocketAddr>)| {
            (tag.clone(), addresses.iter().map(|address| (*address, Age::Configured)).collect())
        };
        let clusters = settings.clusters.iter().map(configured).collect();
        Self { own_tag: settings.group_tag.clone(), clusters, changed: false }
    }

    /// Takes note of what was heard; whether it is a server that was not known.
    pub(super) fn heard(&mut self, now: Time, heard: &Heard) -> bool {
        match heard {
            Heard::Here { tag, server } => self.here(now, tag, *server),
            Heard::Gone { tag, server } => {
                if let Some(servers) = self.clusters.get_mut(tag)
                    && matches!(servers.get(server), Some(Age::Heard(_)))
                {
                    servers.remove(server);
                }
                false
            }
        }
    }

    /// A server of the cluster `tag` has been heard of, or has answered; whether it was not known.
    pub(super) fn here(&mut self, now: Time, tag: &str, server: SocketAddr) -> bool {
        let full = self.clusters.len() >= CLUSTERS_MAX && !self.clusters.contains_key(tag);
        if tag == self.own_tag || check_tag(tag).is_err() || full {
            return false;
        }
        let servers = self.clusters.entry(tag.to_owned()).or_default();
        match servers.get_mut(&server) {
            Some(Age::Configured) => return false,
            Some(Age::Heard(at)) => {
                *at = now;
                return false;
            }
            None => {}
        }
        if servers.len() >= ADDRESSES_MAX {
            let heard = |(server, age): (&SocketAddr, &Age)| match age {
                Age::Heard(at) => Some((*at, *server)),
                Age::Configured => None,
            };
            let Some((_, oldest)) = servers.iter().filter_map(heard).min() else { return false };
            servers.remove(&oldest);
        }
        servers.insert(server, Age::Heard(now));
        self.changed = true;
        true
    }

    /// Forgets what nobody has heard of for long.
    pub(super) fn forget(&mut self, now: Time) {
        for servers in self.clusters.values_mut() {
            servers.retain(|_, age| match age {
                Age::Configured => true,
                Age::Heard(at) => now.since(*at) < HEARD_AGE_MAX,
            });
        }
        self.clusters.retain(|_, servers| !servers.is_empty());
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &String> {
        self.clusters.keys()
    }

    /// Where a cluster's servers are, those that were heard of most lately first: they live.
    pub(super) fn addresses(&self, tag: &str) -> Vec<SocketAddr> {
        let Some(servers) = self.clusters.get(tag) else { return Vec::new() };
        let lately = |age: &Age| match age {
            Age::Configured => Time::ZERO,
            Age::Heard(at) => *at,
        };
        let mut servers: Vec<(Time, SocketAddr)> =
            servers.iter().map(|(server, age)| (lately(age), *server)).collect();
        servers.sort_by_key(|(at, server)| (std::cmp::Reverse(*at), *server));
        servers.into_iter().map(|(_, server)| server).collect()
    }

    /// Whether something has become known since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What others may not know: the servers that the configuration does not name.
    pub(super) fn news(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let heard = |(tag, servers): (&String, &BTreeMap<SocketAddr, Age>)| {
            let heard = servers.iter().filter(|(_, age)| matches!(age, Age::Heard(_)));
            let heard: Vec<SocketAddr> = heard.map(|(server, _)| *server).collect();
            (!heard.is_empty()).then(|| (tag.clone(), heard))
        };
        self.clusters.iter().filter_map(heard).collect()
    }
}

/// How long a server that was only heard of is remembered without hearing of it again.
const HEARD_AGE_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn known() -> Known {
        let clusters = BTreeMap::from([("west".to_owned(), vec![at("10.0.0.1:1")])]);
        let settings = ClusterSettings {
            group_tag: "east".to_owned(),
            secret: None,
            between: None,
            discovery: None,
            clusters,
            ask: Vec::new(),
            own: "10.0.0.9:1".to_owned(),
            tls: false,
        };
        Known::new(&settings)
    }

    #[test]
    fn what_was_heard_is_forgotten_after_long_silence_and_what_is_configured_stays() {
        let mut known = known();
        assert!(known.here(Time::ZERO, "north", at("10.0.1.1:1")));
        assert!(known.here(Time::ZERO, "west", at("10.0.0.2:1")));
        assert!(known.take_changed());
        assert!(!known.here(Time::ZERO, "west", at("10.0.0.1:1")), "known from the beginning");
        let half = Time::ZERO + HEARD_AGE_MAX / 2;
        assert!(!known.here(half, "north", at("10.0.1.1:1")));
        known.forget(Time::ZERO + HEARD_AGE_MAX);
        assert_eq!(known.addresses("west"), [at("10.0.0.1:1")]);
        assert_eq!(known.news(), [("north".to_owned(), vec![at("10.0.1.1:1")])]);
        known.forget(half + HEARD_AGE_MAX);
        assert_eq!(known.tags().collect::<Vec<_>>(), ["west"]);
        assert!(!known.take_changed());
    }

    #[test]
    fn who_says_that_it_is_gone_is_forgotten_but_for_the_configuration() {
        let mut known = known();
        known.here(Time::ZERO, "west", at("10.0.0.2:1"));
        for server in [at("10.0.0.1:1"), at("10.0.0.2:1")] {
            known.heard(Time::ZERO, &Heard::Gone { tag: "west".to_owned(), server });
        }
        assert_eq!(known.addresses("west"), [at("10.0.0.1:1")]);
    }

    #[test]
    fn strangers_cannot_make_it_remember_without_end() {
        let mut known = known();
        for number in 0..500_u16 {
            let now = Time::from_nanos(u64::from(number));
            known.here(now, "west", at(&format!("10.0.0.3:{}", number + 1)));
            known.here(now, &format!("tag-{number}"), at("10.0.0.3:1"));
        }
        assert_eq!(known.tags().count(), CLUSTERS_MAX);
        let west = known.addresses("west");
        assert_eq!(west.len(), ADDRESSES_MAX);
        assert_eq!(west[0], at("10.0.0.3:500"), "the latest comes first");
        assert!(west.contains(&at("10.0.0.1:1")), "and what is configured is still there");
        assert!(!known.here(Time::ZERO, "east", at("10.0.0.3:1")), "this cluster itself");
        assert!(!known.here(Time::ZERO, "", at("10.0.0.3:1")));
    }
}
