//! A box of a configuration: which agents it hosts, what they send to agents elsewhere, and the commands of whoever controls it.

mod control;
mod making;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use log::{debug, info, warn};

use super::core::{Core, Role, Told};
use super::directory::{Directory, Home};
use super::experiment::Experiment;
use super::hosting::Waiting;
use super::master::session;
use super::outputs::ConnId;
use crate::agent::{AgentBytes, Dest, Epoch, Input, Peer, Port, Registry, Secret, Why};
use crate::config::{AgentId, Configuration, Entry};
use crate::grid::{BoxAddress, ServerId};
use crate::rng::{Probability, Rng};
use crate::seldom;
use crate::time::Time;
use crate::trace::What;
use crate::wire::{Frame, frame};

/// What a box is made from.
#[derive(Debug)]
pub struct BoxSetup {
    /// Which box of the configuration it is.
    pub address: BoxAddress,
    /// All boxes and agents; read and checked with the same registry.
    pub configuration: Configuration,
    /// The types of agents.
    pub registry: Registry,
    /// What everything random of this box is drawn from, but for keys.
    pub seed: u64,
    /// What the keys of its agents are made of: 32 bytes of the system's chance. `None` where everything has to come of the seed.
    pub secret: Option<Secret>,
    /// What the calendar said when its clock began, in milliseconds since 1970 (UTC).
    pub unix_ms_at_start: u64,
    /// What goes before the settings of the configuration, for experiments.
    pub experiment: ExperimentSetup,
}

/// What is done to frames on purpose, where it is not what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExperimentSetup {
    /// How many frames are lost.
    pub loss: Option<Probability>,
    /// How many frames are sent twice.
    pub duplicate: Option<Probability>,
    /// How long frames are held up at the most.
    pub delay: Option<Duration>,
}

/// The state of a box that a lab's server does not have.
#[derive(Debug)]
pub(super) struct BoxHost {
    address: BoxAddress,
    registry: Registry,
    configuration: Configuration,
    directory: Directory,
    /// The other boxes and their numbers.
    boxes: BTreeMap<BoxAddress, ServerId>,
    /// Who drives which agent.
    attached: BTreeMap<ConnId, Peer>,
    pub(super) experiment: Experiment,
    asked: ExperimentSetup,
    /// What the agents' own seeds are drawn from.
    seeds: Rng,
    secret: Option<Secret>,
    unix_ms_at_start: u64,
    frames_dropped: u64,
    /// How many were besides that came before their agent, or the box of a member of the same log, had started.
    frames_early: u64,
}

impl BoxSetup {
    pub(super) fn into_host(self) -> (BoxHost, Configuration) {
        let Self { address, configuration, registry, seed, secret, unix_ms_at_start, experiment: asked } =
            self;
        let mut seeds = Rng::new(seed);
        let experiment = Experiment::new(seeds.number());
        let host = BoxHost {
            address,
            registry,
            configuration: Configuration::default(),
            directory: Directory::default(),
            boxes: BTreeMap::new(),
            attached: BTreeMap::new(),
            experiment,
            asked,
            seeds,
            secret,
            unix_ms_at_start,
            frames_dropped: 0,
            frames_early: 0,
        };
        (host, configuration)
    }
}

/// What a change of the configuration came to, by the ids of this box's agents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<AgentId>,
    pub(super) removed: Vec<AgentId>,
    pub(super) rerouted: Vec<AgentId>,
    pub(super) restarted: Vec<AgentId>,
}

impl BoxHost {
    /// The agent that the session on `conn` drives.
    pub(super) fn attached_to(&self, conn: ConnId) -> Option<Peer> {
        self.attached.get(&conn).copied()
    }

    /// An agent asks for something that boxes do not do.
    pub(super) fn refuse(&mut self, from: Peer, why: &str) {
        let from = self.directory.name(from).to_owned();
        self.drop_frame(why, &from, "");
    }

    fn drop_frame(&mut self, why: &str, from: &str, to: &str) {
        if [NOT_STARTED, NOT_REACHED].contains(&why) {
            // As it has to be at each start: boxes begin one after the other, and an agent reads its log first. Those who agree on a log greet each other again then.
            self.frames_early += 1;
            debug!("server: message dropped from={from} to={to} why=\"{why}\"");
        } else if seldom::count(&mut self.frames_dropped) {
            let so_far = self.frames_dropped;
            warn!("server: message dropped from={from} to={to} why=\"{why}\" so_far={so_far}");
        }
    }
}

/// The configuration.
impl Core {
    /// Whether the settings of this box say that it is meant so if others can listen in.
    pub(super) fn plain_is_meant(&self) -> bool {
        matches!(&self.role, Role::Box(host) if host.configuration.settings_of(host.address).plain)
    }

    /// Makes this box what `configuration` says it is.
    pub(super) fn adopt(&mut self, configuration: Configuration, now: Time) -> Changes {
        self.adopt_boxes(&configuration, now);
        let Role::Box(host) = &mut self.role else { return Changes::default() };
        let settings = configuration.settings_of(host.address);
        let ExperimentSetup { loss, duplicate, delay } = host.asked;
        host.experiment.set(
            loss.unwrap_or(settings.loss),
            duplicate.unwrap_or(settings.duplicate),
            delay.unwrap_or(settings.delay),
        );
        let old = std::mem::take(&mut host.configuration);
        for peer in host.directory.peers().collect::<Vec<_>>() {
            if let Some(id) =
                host.directory.id(peer).filter(|id| !configuration.agents.contains_key(*id)).cloned()
            {
                host.directory.place(&id, Home::Nowhere);
            }
        }
        for (id, entry) in &configuration.agents {
            let home = match host.boxes.get(&entry.on) {
                _ if entry.on == host.address => Home::Here,
                Some(number) => Home::Box(*number),
                None => Home::Nowhere,
            };
            host.directory.place(id, home);
        }
        let changes = self.adopt_agents(&old, &configuration, now);
        if let Role::Box(host) = &mut self.role {
            host.configuration = configuration;
        }
        changes
    }

    fn adopt_boxes(&mut self, configuration: &Configuration, now: Time) {
        let Self { links, outputs, role, .. } = self;
        let Role::Box(host) = role else { return };
        let wanted = configuration.boxes();
        let gone: Vec<BoxAddress> = host.boxes.keys().filter(|on| !wanted.contains(on)).copied().collect();
        for address in gone {
            if let Some(number) = host.boxes.remove(&address) {
                links.expel(number, now, outputs);
            }
        }
        for address in wanted.into_iter().filter(|address| *address != host.address) {
            if host.boxes.contains_key(&address) {
                continue;
            }
            match links.admit(address, now) {
                Some(number) => {
                    host.boxes.insert(address, number);
                }
                None => warn!("server: too many boxes left_out={address}"),
            }
        }
    }

    fn adopt_agents(&mut self, old: &Configuration, new: &Configuration, now: Time) -> Changes {
        let mut changes = Changes::default();
        let Role::Box(host) = &mut self.role else { return changes };
        let own = host.address;
        let stays = |id: &AgentId, entry: &Entry| new.agents.get(id).is_some_and(|now| entry.can_become(now));
        for (id, _) in old.agents_on(own).filter(|(id, entry)| !stays(id, entry)) {
            let Some(peer) = host.directory.find(id.as_str()) else { continue };
            host.directory.unroute(peer);
            let again = new.agents.get(id).is_some_and(|entry| entry.on == own);
            let why =
                if again { "was restarted before it answered" } else { "is gone, and has not answered" };
            let answer = Bytes::from(format!("error agent {id} {why}"));
            let owed = self.agents.remove(peer).into_iter();
            self.told.extend(owed.map(|request| Told::Answer(request, vec![answer.clone()])));
            self.logs.close(peer, &mut self.outputs);
            self.outside.forget(peer, &mut self.outputs);
            if again { changes.restarted.push(id.clone()) } else { changes.removed.push(id.clone()) }
        }
        for (id, entry) in new.agents_on(own) {
            let Some(peer) = host.directory.find(id.as_str()) else { continue };
            let before = old.agents.get(id).filter(|before| before.on == own && stays(id, before));
            host.directory.route(peer, entry);
            if let Some(before) = before {
                if before.routes != entry.routes {
                    changes.rerouted.push(id.clone());
                    self.agents.post(peer, Waiting::Rerouted(host.directory.route_names(peer)));
                }
                continue;
            }
            let Some(agent) = host.make(id, entry) else { continue };
            if !changes.restarted.contains(id) {
                changes.added.push(id.clone());
            }
            host.directory.begin(peer);
            self.agents.insert(peer, agent);
            let (kind, name) = making::log_of(own, id, entry);
            if self.logs.open(peer, kind, &name, &mut self.outputs) {
                self.agents.post(peer, Waiting::Start);
            }
        }
        self.refresh_links(Some(Why::Removed), now);
        changes
    }

    /// Tells every agent which of its neighbours it can reach now, where that has changed. `why` is for those that it cannot reach
    /// any more.
    pub(super) fn refresh_links(&mut self, why: Option<Why>, now: Time) {
        let Role::Box(host) = &mut self.role else { return };
        for peer in host.directory.peers() {
            let home = host.directory.home(peer);
            let epoch = match home {
                Home::Here => {
                    let begun = self.agents.get(peer).is_some_and(|hosted| hosted.started);
                    begun.then(|| host.directory.begun(peer))
                }
                Home::Box(number) => self.links.epoch(number),
                Home::Nowhere => None,
            };
            host.directory.set_way(peer, epoch.map(|epoch| (home, epoch)));
        }
        for agent in self.agents.peers() {
            let Role::Box(host) = &self.role else { return };
            let Some(hosted) = self.agents.get(agent).filter(|hosted| hosted.started) else { continue };
            let neighbours = host.directory.neighbours(agent);
            let wanted: BTreeMap<Peer, Epoch> =
                neighbours.into_iter().filter_map(|peer| Some((peer, host.directory.link(peer)?))).collect();
            if wanted == hosted.up {
                continue;
            }
            let why = why.unwrap_or(Why::Broken);
            let lost: Vec<(Peer, Epoch)> = difference(&hosted.up, &wanted);
            let found: Vec<(Peer, Epoch)> = difference(&wanted, &hosted.up);
            if let Some(hosted) = self.agents.get_mut(agent) {
                hosted.up = wanted;
            }
            for (peer, epoch) in lost {
                self.hand(agent, Input::LinkDown { peer, epoch, why }, now);
            }
            for (peer, epoch) in found {
                self.hand(agent, Input::LinkUp { peer, epoch }, now);
            }
        }
    }

    /// What an agent is called.
    pub(super) fn agent_name(&self, agent: Peer) -> &str {
        match &self.role {
            Role::Lab | Role::Overlay(_) => "chatroom",
            Role::Box(host) => host.directory.name(agent),
        }
    }
}

/// What stands in `of` and not in `without`.
fn difference(of: &BTreeMap<Peer, Epoch>, without: &BTreeMap<Peer, Epoch>) -> Vec<(Peer, Epoch)> {
    of.iter().filter(|(peer, epoch)| without.get(peer) != Some(*epoch)).map(|(p, e)| (*p, *e)).collect()
}

/// Messages.
impl Core {
    /// An agent of this box sends a message.
    pub(super) fn send_message(&mut self, from: Peer, to: &Dest, message: &AgentBytes, now: Time) {
        let Role::Box(host) = &mut self.role else { return };
        let Some(targets) = host.directory.resolve(from, to) else {
            let (from, to) = (host.directory.name(from).to_owned(), format!("{to:?}"));
            return host.drop_frame("no such route", &from, &to);
        };
        for (peer, port) in targets {
            let Role::Box(host) = &mut self.role else { return };
            match host.directory.home(peer) {
                Home::Here => {
                    let waiting = Waiting::Message { from, port, bytes: message.bytes.clone() };
                    if !self.agents.post(peer, waiting) {
                        let (from, to) = host.names(from, peer);
                        host.drop_frame("too much waits on this box", &from, &to);
                    }
                }
                Home::Box(number) => self.send_frame(from, (peer, port), number, message, now),
                Home::Nowhere => {
                    let (from, to) = host.names(from, peer);
                    host.drop_frame("not in the configuration any more", &from, &to);
                }
            }
        }
    }

    /// A message of this box has come to an agent that has not begun.
    pub(super) fn drop_early(&mut self, from: Peer, to: Peer) {
        let Role::Box(host) = &mut self.role else { return };
        let (from, to) = host.names(from, to);
        host.drop_frame(NOT_STARTED, &from, &to);
    }

    fn send_frame(
        &mut self,
        from: Peer,
        to: (Peer, Port),
        number: ServerId,
        message: &AgentBytes,
        now: Time,
    ) {
        let Role::Box(host) = &mut self.role else { return };
        let (sender, destination) = host.names(from, to.0);
        if message.bytes.len() > self.links.frame_bytes_max() {
            return host.drop_frame("longer than a frame may be", &sender, &destination);
        }
        let bytes = frame(&sender, &destination, to.1, &message.bytes);
        let no_link = if to.1 == Port::LOG { NOT_REACHED } else { "no link" };
        for _ in 0..host.experiment.admit(number, &bytes, now) {
            self.put_on_link(number, bytes.clone(), no_link, now);
        }
    }

    /// A frame leaves, if there is a link.
    fn put_on_link(&mut self, number: ServerId, bytes: Bytes, no_link: &str, now: Time) {
        self.trace_frame_sent(number, &bytes, now);
        if !self.links.send_to(number, bytes, now, &mut self.outputs) {
            let Role::Box(host) = &mut self.role else { return };
            let name = self.links.roster().name(number);
            host.drop_frame(no_link, "", &name);
        }
    }

    /// Frames that were held up on purpose for long enough leave now.
    pub(super) fn send_held(&mut self, now: Time) {
        while let Role::Box(host) = &mut self.role
            && let Some((number, bytes)) = host.experiment.next_due(now)
        {
            self.put_on_link(number, bytes, "no link", now);
        }
    }

    /// A frame came in from a box.
    pub(super) fn frame_arrived(&mut self, conn: ConnId, from: ServerId, frame: Frame<'_>, now: Time) {
        let ends = self.ends_of(from, &frame);
        // A trace takes the n-th frame that was sent for the n-th that was received, so one that is of no use has to be in it, too.
        self.trace_frame_received(conn, from, &frame, now);
        match ends {
            Ok((sender, agent)) => {
                let message = AgentBytes { kind: "", bytes: Bytes::copy_from_slice(frame.body) };
                self.hand(agent, Input::Message { from: sender, port: frame.port, message }, now);
            }
            Err(why) => {
                self.tracing.note(now, || What::Note { text: format!("message dropped: {why}") });
                let Role::Box(host) = &mut self.role else { return };
                host.drop_frame(why, frame.sender, frame.destination);
            }
        }
    }

    /// The agents at both ends of a frame from the box `from`; an error says why it is of no use.
    fn ends_of(&self, from: ServerId, frame: &Frame<'_>) -> Result<(Peer, Peer), &'static str> {
        let Role::Box(host) = &self.role else { return Err("this server is no box") };
        let lives = |name, home| host.directory.find(name).filter(|peer| host.directory.home(*peer) == home);
        let sender = lives(frame.sender, Home::Box(from)).ok_or("its sender does not live there")?;
        let agent = lives(frame.destination, Home::Here).ok_or("nobody of that name lives here")?;
        let started = self.agents.get(agent).is_some_and(|hosted| hosted.started);
        if started { Ok((sender, agent)) } else { Err(NOT_STARTED) }
    }

    fn trace_frame_sent(&mut self, to: ServerId, bytes: &Bytes, now: Time) {
        if !self.tracing.is_on() {
            return;
        }
        let Some((_, link)) = self.links.up().find(|(peer, _)| *peer == to) else { return };
        let (link, text) = (link.to_owned(), text_of(bytes));
        let to = self.links.roster().name(to);
        self.tracing.note(now, || What::Send { to, link, kind: FRAME.into(), text, id: None });
    }

    fn trace_frame_received(&mut self, conn: ConnId, from: ServerId, frame: &Frame<'_>, now: Time) {
        if !self.tracing.is_on() {
            return;
        }
        let (from, link) = (self.links.roster().name(from), self.links.label(conn).to_owned());
        let text = shown(frame.sender, frame.destination, &frame.port.to_string(), frame.body);
        self.tracing.note(now, || What::Receive { from, link, kind: FRAME.into(), text, id: None });
    }
}

impl BoxHost {
    fn names(&self, from: Peer, to: Peer) -> (String, String) {
        (self.directory.name(from).to_owned(), self.directory.name(to).to_owned())
    }
}

/// Why a message is dropped that comes before its agent can take it, or is for a member of a log whose box is not there: what those say to each other may be lost, and is said again.
const NOT_STARTED: &str = "the agent has not started yet";
const NOT_REACHED: &str = "no link to that member of the log";

/// What traces call a message between boxes. Not what sort of message it is: only an agent can tell, the sender's and the receiver's
/// may tell it differently, and a trace finds the two ends by this word.
const FRAME: &str = "frame";

/// What a frame that was encoded here says, for people.
fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let header = String::from_utf8_lossy(&bytes[..end]);
    let mut words = header.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    shown(word(), word(), word(), bytes.get(end + 1..).unwrap_or_default())
}

/// What a frame says, for people, in the same words at both ends.
fn shown(sender: &str, destination: &str, port: &str, body: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 400;
    let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]).replace('\n', " ");
    format!("{sender} -> {destination}:{port} {body}")
}

/// Sessions.
impl Core {
    /// The session on `conn` drives the agent called `name` from now on; whether there is one.
    pub(super) fn attach(&mut self, conn: ConnId, name: &str) -> bool {
        let Role::Box(host) = &mut self.role else { return false };
        let agent = host.directory.find(name).filter(|peer| host.directory.home(*peer) == Home::Here);
        if let Some(agent) = agent {
            info!("server: attached conn={} agent={name}", conn.0);
            host.attached.insert(conn, agent);
        }
        agent.is_some()
    }

    /// The session is gone.
    pub(super) fn detach(&mut self, conn: ConnId) {
        match &mut self.role {
            Role::Lab => {}
            Role::Overlay(host) => host.detach(conn),
            Role::Box(host) => {
                if let Some(agent) = host.attached.remove(&conn) {
                    self.agents.forgive_all(agent, session(conn));
                }
            }
        }
    }

    /// An agent has something to show to everybody who drives it.
    pub(super) fn say(&mut self, agent: Peer, line: &Bytes) {
        let Role::Box(host) = &self.role else { return };
        let theirs = host.attached.iter().filter(|(_, attached)| **attached == agent);
        self.told.extend(theirs.map(|(conn, _)| Told::News(*conn, line.clone())));
    }
}
