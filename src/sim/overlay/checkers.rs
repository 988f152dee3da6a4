//! What must hold of the overlay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::member::{Member, number, options};
use super::watched::Heard;
use crate::agent::{Epoch, Peer};
use crate::agents::overlay::MessageId;
use crate::sim::{Checker, LinkState, World};
use crate::time::Time;

/// The servers that were touched and are alive.
fn touched(world: &World<Member>) -> impl Iterator<Item = (Peer, &Member)> {
    world.happened().touched.iter().filter_map(|&peer| Some((peer, world.agent(peer)?)))
}

/// All servers that are alive.
fn living(world: &World<Member>) -> impl Iterator<Item = (Peer, &Member)> {
    world.peers().filter_map(|peer| Some((peer, world.agent(peer)?)))
}

/// Whether a server and another one are neighbours in the eyes of both.
fn are_neighbours(world: &World<Member>, one: Peer, other: Peer) -> bool {
    let sees = |one: Peer, other| world.agent(one).is_some_and(|member| member.active().contains(&other));
    sees(one, other) && sees(other, one)
}

/// The views are bounded; nobody is in its own, in one twice, or in both.
pub(super) struct Views;

impl Checker<Member> for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn check(&mut self, world: &World<Member>) -> Result<(), String> {
        let options = options();
        for (peer, member) in touched(world) {
            let (active, passive) = (member.active(), member.passive());
            for (name, view, size) in
                [("active", &active, options.active_size), ("passive", &passive, options.passive_size)]
            {
                if view.len() > size {
                    return Err(format!("the {name} view of {peer} has {} entries", view.len()));
                }
            }
            let mut known = BTreeSet::from([peer]);
            if let Some(twice) = active.iter().chain(&passive).find(|other| !known.insert(**other)) {
                return Err(format!("{peer} sees {twice} twice: active {active:?}, passive {passive:?}"));
            }
        }
        Ok(())
    }
}

/// The layer is told of a neighbour before it hears from it, and hears nothing from it after it was told of its loss; and it was told of every
/// neighbour.
pub(super) struct LayerContract;

impl Checker<Member> for LayerContract {
    fn name(&self) -> &'static str {
        "layer"
    }

    fn check(&mut self, world: &World<Member>) -> Result<(), String> {
        for (peer, member) in touched(world) {
            if let Some(complaint) = member.layer().complaint() {
                return Err(format!("the layer of {peer}: {complaint}"));
            }
            if let Some(untold) = member.active().into_iter().find(|other| !member.layer().is_up(*other)) {
                return Err(format!("the layer of {peer} was not told of its neighbour {untold}"));
            }
        }
        Ok(())
    }
}

/// A broadcast is delivered at most once, not to its source, and later ones of the same source after earlier ones; of what somebody speaks in the end
/// nothing is left out.
#[derive(Default)]
pub(super) struct Order {
    lives: BTreeMap<Peer, Life>,
}

/// What one server has delivered.
#[derive(Default)]
struct Life {
    /// In which of its lives.
    crashes: u32,
    /// How many of its deliveries were looked at.
    seen: usize,
    /// Of each source, in which life it had said what was delivered last, and which of its broadcasts that was.
    last: BTreeMap<Peer, (u64, u64)>,
    /// Of each source, the last that it spoke.
    spoken: BTreeMap<Peer, u64>,
}

impl Checker<Member> for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn check(&mut self, world: &World<Member>) -> Result<(), String> {
        for (peer, member) in touched(world) {
            let life = self.lives.entry(peer).or_default();
            let crashes = world.crashes_of(peer);
            if life.crashes != crashes {
                *life = Life { crashes, ..Life::default() };
            }
            let delivered = member.layer().delivered();
            for &Heard { id: MessageId { source, incarnation, seq }, spoken } in &delivered[life.seen..] {
                if source == peer {
                    return Err(format!("{peer} hears its own broadcast {seq}"));
                }
                let id = (incarnation, seq);
                let last = life.last.insert(source, id).unwrap_or_default();
                if id <= last {
                    return Err(format!("{peer} hears broadcast {id:?} of {source} after {last:?}"));
                }
                let Some(spoken) = spoken else { continue };
                let before = life.spoken.insert(source, spoken).unwrap_or(spoken - 1);
                if spoken != before + 1 {
                    return Err(format!(
                        "{peer} hears {source} speak for the {spoken}th time after {before}"
                    ));
                }
            }
            life.seen = delivered.len();
        }
        Ok(())
    }
}

/// A neighbour has a link that is up. In the end neighbours are each other's, and there are no other links, but for those on which somebody is just
/// asking something: a server that has room goes on asking.
#[derive(Default)]
pub(super) struct Links {
    /// When it was asked first whether all has settled.
    asked_at: Option<Time>,
    /// Links, as one end sees them, that are not both ends' neighbours', and since when that was seen.
    odd: BTreeMap<(Peer, Peer, Epoch), Time>,
}

/// For so long a link may be neither closed nor that of two neighbours: longer than a question takes.
const ASKING_LIMIT: Duration = Duration::from_secs(3);

impl Checker<Member> for Links {
    fn name(&self) -> &'static str {
        "links"
    }

    fn check(&mut self, world: &World<Member>) -> Result<(), String> {
        for (peer, member) in touched(world) {
            let linked = |other| world.links_of(peer).any(|link| link.peer == other && link.up);
            if let Some(alone) = member.active().into_iter().find(|other| !linked(*other)) {
                return Err(format!("{peer} has no link to its neighbour {alone}"));
            }
        }
        Ok(())
    }

    fn settled(&mut self, world: &World<Member>) -> Result<(), String> {
        let now = world.now();
        let mut odd = BTreeMap::new();
        for peer in world.peers() {
            for LinkState { peer: other, epoch, .. } in world.links_of(peer) {
                if !are_neighbours(world, peer, other) {
                    let since = self.odd.get(&(peer, other, epoch)).copied();
                    odd.insert((peer, other, epoch), since.unwrap_or(now));
                }
            }
        }
        self.odd = odd;
        let asked_at = *self.asked_at.get_or_insert(now);
        if now.since(asked_at) < ASKING_LIMIT {
            return Err("it is too early to tell which links remain".to_owned());
        }
        let stays = |since: &Time| now.since(*since) >= ASKING_LIMIT;
        match self.odd.iter().find(|(_, since)| stays(since)) {
            Some(((peer, other, epoch), since)) => Err(format!(
                "{peer} and {other} are not each other's neighbours and have a link, number {epoch}, since {since:?}"
            )),
            None => Ok(()),
        }
    }
}

/// In the end everybody can be reached from everybody.
pub(super) struct Connected;

impl Checker<Member> for Connected {
    fn name(&self) -> &'static str {
        "connected"
    }

    fn settled(&mut self, world: &World<Member>) -> Result<(), String> {
        let Some((first, _)) = living(world).next() else { return Ok(()) };
        let (mut reached, mut next) = (BTreeSet::from([first]), vec![first]);
        while let Some(peer) = next.pop() {
            let neighbours = world.agent(peer).map(Member::active).unwrap_or_default();
            next.extend(neighbours.into_iter().filter(|other| reached.insert(*other)));
        }
        match living(world).find(|(peer, _)| !reached.contains(peer)) {
            Some((other, _)) => {
                Err(format!("{other} cannot be reached from {first}, which reaches {reached:?}"))
            }
            None => Ok(()),
        }
    }
}

/// In the end nobody is alone, and whoever has room for a neighbour has everybody else who has room for one. More cannot be asked for: a server for
/// which all others have no room has to wait until they have.
pub(super) struct Degrees;

impl Checker<Member> for Degrees {
    fn name(&self) -> &'static str {
        "degrees"
    }

    fn settled(&mut self, world: &World<Member>) -> Result<(), String> {
        let active_size = options().active_size;
        let with_room: Vec<Peer> = living(world)
            .filter(|(_, member)| member.active().len() < active_size)
            .map(|(peer, _)| peer)
            .collect();
        if living(world).count() > 1
            && let Some((peer, _)) = living(world).find(|(_, member)| member.active().is_empty())
        {
            return Err(format!("{peer} is alone"));
        }
        for (place, &one) in with_room.iter().enumerate() {
            if let Some(other) =
                with_room[place + 1..].iter().find(|&&other| !are_neighbours(world, one, other))
            {
                return Err(format!("{one} and {other} have room for a neighbour and are not each other's"));
            }
        }
        Ok(())
    }
}

/// In the end everybody hears what some go on broadcasting.
pub(super) struct Reach {
    speakers: Vec<Peer>,
}

impl Reach {
    pub(super) fn new(speakers: &[Peer]) -> Self {
        Self { speakers: speakers.to_vec() }
    }
}

impl Checker<Member> for Reach {
    fn name(&self) -> &'static str {
        "reach"
    }

    fn settled(&mut self, world: &World<Member>) -> Result<(), String> {
        for &speaker in &self.speakers {
            // What it has said last may still be on its way.
            let spoke = world.agent(speaker).and_then(Member::spoke_before);
            let Some(spoke) = spoke else { return Err(format!("{speaker} has not spoken twice")) };
            for (peer, member) in living(world).filter(|(peer, _)| *peer != speaker) {
                if member.heard_at(speaker).is_none_or(|heard| heard < spoke) {
                    return Err(format!("{peer} does not hear {speaker}"));
                }
            }
        }
        Ok(())
    }
}

/// In the end everybody takes exactly those for alive who are.
pub(super) struct Alive;

impl Checker<Member> for Alive {
    fn name(&self) -> &'static str {
        "alive"
    }

    fn settled(&mut self, world: &World<Member>) -> Result<(), String> {
        let alive: Vec<u16> = living(world).map(|(peer, _)| number(peer)).collect();
        for (peer, member) in living(world) {
            let said: Vec<u16> = member.layer().alive().collect();
            if said != alive {
                return Err(format!("{peer} takes {said:?} for alive, and {alive:?} are"));
            }
        }
        Ok(())
    }
}
