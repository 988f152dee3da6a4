//! A configuration that has been read and found right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::LogChoice;
use crate::agent::{Attrs, Port};
use crate::grid::BoxAddress;
use crate::rng::Probability;

/// The longest id of an agent, in bytes.
const ID_BYTES_MAX: usize = 64;

/// The name of an agent, unique in its configuration: 1 to 64 bytes, letters, digits and `-_.@/` only, so that it can stand in the
/// header line of a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

/// What cannot be the id of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an agent's id has 1 to {ID_BYTES_MAX} letters, digits or characters of \"-_.@/\"; {0:?} has not")]
pub struct IdError(pub String);

impl AgentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=ID_BYTES_MAX).contains(&text.len());
        let plain = text.chars().all(|letter| letter.is_alphanumeric() || "-_.@/".contains(letter));
        if fits && plain { Ok(Self(text.into())) } else { Err(IdError(text.to_owned())) }
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The agents that a virtual destination stands for, each with the port by which messages come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTargets(pub BTreeMap<AgentId, Port>);

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which type of agent it is.
    pub kind: String,
    /// The box on which it lives.
    pub on: BoxAddress,
    /// What it is told when it is made.
    pub attrs: Attrs,
    /// Which log it has, as its attribute says.
    pub log: LogChoice,
    /// Where it sends: virtual destination -> agents.
    pub routes: BTreeMap<String, RouteTargets>,
}

/// What is set for one box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxSettings {
    /// Where the box awaits those who control it; `None` if nobody may.
    pub control: Option<SocketAddr>,
    /// The folder for what has to survive a restart.
    pub data: String,
    /// How many frames to other boxes are lost, on purpose.
    pub loss: Probability,
    /// How many frames to other boxes are sent twice, on purpose.
    pub duplicate: Probability,
    /// Frames to other boxes wait for a random time up to this, on purpose, and may overtake each other.
    pub delay: Duration,
    /// What those random decisions are drawn from; by chance where it is left out.
    pub seed: Option<u64>,
    /// What the box shows to others, and whom it believes; nothing is encrypted without it.
    pub tls: Option<TlsSettings>,
    /// Links, or ports of agents, are not encrypted though they are not on loopback, and that is meant so.
    pub plain: bool,
}

/// The files for encrypted connections (TLS), in PEM form, each from where the configuration lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate that the box shows, with those between it and the authority.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The certificate of the authority that others' certificates have to come from.
    pub authority: String,
    /// Whether links to other boxes are encrypted. All boxes have to agree on it.
    pub links: bool,
    /// What the certificate of who is dialled at one of these addresses may name in place of the address.
    pub names: BTreeMap<IpAddr, BTreeSet<String>>,
}

impl BoxSettings {
    /// What holds where a configuration says nothing: no experiments; data in `ovid-data`; control on the box's own port plus
    /// 10,000 where the box is on loopback, and none elsewhere, since whoever reaches that port rules the box.
    pub fn default_of(address: BoxAddress) -> Self {
        let control = address.port().checked_add(CONTROL_PORT_ABOVE).filter(|_| address.ip().is_loopback());
        Self {
            control: control.map(|port| SocketAddr::new(address.ip(), port)),
            data: "ovid-data".to_owned(),
            loss: Probability::NEVER,
            duplicate: Probability::NEVER,
            delay: Duration::ZERO,
            seed: None,
            tls: None,
            plain: false,
        }
    }
}

/// How far the port for control lies above the one for other boxes, unless a setting says otherwise.
pub const CONTROL_PORT_ABOVE: u16 = 10_000;

/// A grid of boxes with its agents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// All agents, by id.
    pub agents: BTreeMap<AgentId, Entry>,
    /// What is set for boxes that have an entry of their own.
    pub settings: BTreeMap<BoxAddress, BoxSettings>,
}

impl Configuration {
    /// All boxes, ascending: those on which agents live and those that have settings.
    pub fn boxes(&self) -> BTreeSet<BoxAddress> {
        self.agents.values().map(|entry| entry.on).chain(self.settings.keys().copied()).collect()
    }

    /// The agents of one box.
    pub fn agents_on(&self, on: BoxAddress) -> impl Iterator<Item = (&AgentId, &Entry)> {
        self.agents.iter().filter(move |(_, entry)| entry.on == on)
    }

    /// The agents of every box, those of boxes that have none included.
    pub fn agents_by_box(&self) -> BTreeMap<BoxAddress, Vec<(&AgentId, &Entry)>> {
        let mut boxes: BTreeMap<_, Vec<_>> = self.boxes().into_iter().map(|on| (on, Vec::new())).collect();
        for (id, entry) in &self.agents {
            boxes.entry(entry.on).or_default().push((id, entry));
        }
        boxes
    }

    /// The settings of one box.
    pub fn settings_of(&self, on: BoxAddress) -> BoxSettings {
        self.settings.get(&on).cloned().unwrap_or_else(|| BoxSettings::default_of(on))
    }
}
