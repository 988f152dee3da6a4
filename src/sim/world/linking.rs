//! Links coming up and going down, and what holds them up.

use std::time::Duration;

use super::links::{LaneId, LinkId};
use super::{Agent, Event, Held, World, mark};
use crate::agent::{Epoch, Input, Peer, Port, Why};
use crate::sim::world::PartitionId;
use crate::sim::{Carrier, FailureModel};
use crate::trace::What;

/// A link as one of its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Who is at the other end.
    pub peer: Peer,
    /// How often it has come up.
    pub epoch: Epoch,
    /// Whether this end takes it for up.
    pub up: bool,
}

impl<A: Agent> World<A> {
    /// Wants a link between two agents: it comes up soon, and again whenever it has gone down, until somebody wants it no longer.
    /// Without effect on datagrams, and where there is one.
    pub fn link(&mut self, one: Peer, other: Peer) {
        if self.settings.carrier == Carrier::Stream
            && let Some(link) = self.links.add(one, other, true)
        {
            self.connect(link);
        }
    }

    /// Links every agent with every other, and lets each send to all others by the route `name`, which ends at their entrance `port`.
    pub fn mesh(&mut self, name: &str, port: Port) {
        let peers: Vec<Peer> = self.peers().collect();
        for &peer in &peers {
            let others: Vec<(Peer, Port)> =
                peers.iter().filter(|&&other| other != peer).map(|&other| (other, port)).collect();
            for &(other, _) in &others {
                self.link(peer, other);
            }
            self.route(peer, name, &others);
        }
    }

    /// Wants a link no longer: it is closed, and both ends are told. Without effect where there is none.
    pub fn unlink(&mut self, one: Peer, other: Peer) {
        let Some(id) = self.links.find(one, other) else { return };
        self.links.get_mut(id).wanted = false;
        self.take_down(id, Why::Closed);
    }

    /// The links of an agent, ascending by the agent at the other end.
    pub fn links_of(&self, peer: Peer) -> impl Iterator<Item = LinkState> {
        self.links.of(peer).iter().map(move |&(other, id)| {
            let link = self.links.get(id);
            LinkState { peer: other, epoch: link.epoch, up: link.up[link.end(peer)] }
        })
    }

    /// Breaks a link: what is on its way is gone, both ends are told at once, and it comes up again soon, unless an agent has opened it.
    /// Whether it was up.
    pub fn break_link(&mut self, one: Peer, other: Peer) -> bool {
        let Some(id) = self.links.find(one, other).filter(|&id| self.links.get(id).is_up()) else {
            return false;
        };
        self.take_down(id, Why::Broken);
        true
    }

    /// Lets nothing arrive over a link for a while, in neither direction. Whether there is one.
    pub fn stall(&mut self, one: Peer, other: Peer, duration: Duration) -> bool {
        let Some(id) = self.links.find(one, other) else { return false };
        self.digest(mark::STALL, one, u64::from(other.0));
        let until = self.now + duration;
        let link = self.links.get_mut(id);
        link.stalled_until = link.stalled_until.max(until);
        true
    }

    /// From now on nothing that one of `from` sends reaches one of `to`: links hold it up, datagrams are lost.
    pub fn partition_one_way(&mut self, from: &[Peer], to: &[Peer]) -> PartitionId {
        let id = self.partitions.begin(from, to);
        self.tell_partition(id, from, to);
        id
    }

    /// From now on nothing passes between `one` and `other`, in either direction. One name for each direction.
    pub fn partition(&mut self, one: &[Peer], other: &[Peer]) -> [PartitionId; 2] {
        [self.partition_one_way(one, other), self.partition_one_way(other, one)]
    }

    fn tell_partition(&mut self, id: PartitionId, from: &[Peer], to: &[Peer]) {
        let Some(&first) = from.first().or(to.first()) else { return };
        for &peer in from.iter().chain(to) {
            self.digest(mark::PARTITION, peer, id.0);
        }
        self.tell(first, |world| {
            let names = |peers: &[Peer]| peers.iter().map(|&peer| world.name_of(peer)).collect();
            What::Partition { id: id.0, from: names(from), to: names(to) }
        });
    }

    /// Ends a partition: what was held up arrives, and links come up again.
    pub fn heal(&mut self, id: PartitionId) {
        if !self.partitions.end(id) || self.nodes.is_empty() {
            return;
        }
        self.digest(mark::HEAL, Peer(0), id.0);
        self.tell(Peer(0), |_| What::Heal { id: id.0 });
        for link in self.links.ids() {
            // Agents that learn of a death may close other links.
            if !self.links.is_there(link) {
                continue;
            }
            for from_end in [0, 1] {
                self.schedule(LaneId { link, from_end });
            }
            self.learn_of_death(link);
            if self.links.is_there(link) {
                self.connect(link);
            }
        }
        self.free_outside();
    }

    /// Begins to connect, unless nobody wants that now, somebody is at it, or an end cannot.
    pub(super) fn connect(&mut self, id: LinkId) {
        let link = self.links.get(id);
        let wanted = (link.wanted || link.is_asked_for()) && !link.is_up() && link.closer.is_none();
        if wanted && !link.connecting && self.can_connect(id) {
            self.begin_to_connect(id);
        }
    }

    /// Whether it succeeds will be seen.
    pub(super) fn begin_to_connect(&mut self, id: LinkId) {
        let after = self.settings.connecting.draw(&mut self.network);
        let link = self.links.get_mut(id);
        link.connecting = true;
        let generation = link.generation;
        self.push(self.now + after, Event::Connect { link: id, generation });
    }

    /// Both ends have to run and to hear each other. Whatever changes that begins to connect anew.
    fn can_connect(&self, id: LinkId) -> bool {
        let [low, high] = self.links.get(id).ends;
        let runs = |peer: Peer| self.node(peer).agent.is_some() && !self.node(peer).paused;
        let hears = !self.partitions.between(low, high) && !self.partitions.between(high, low);
        runs(low) && runs(high) && hears
    }

    pub(super) fn connect_due(&mut self, id: LinkId, generation: u32) {
        let Some(link) = self.links.current(id, generation) else { return };
        let (ends, wanted, epoch) = (link.ends, link.wanted, Epoch(link.epoch.0 + 1));
        let wanted_now = wanted || link.is_asked_for();
        if !wanted_now || !self.can_connect(id) {
            self.links.get_mut(id).connecting = false;
            return self.cannot_connect(id);
        }
        // An end that has not noticed the death of the other learns of it now: the new connection takes the old one's place. Whatever
        // agents ask for meanwhile is part of that, but they may also come to want no link any more.
        let generation = self.cut(id, Why::Broken);
        for peer in ends {
            self.start(peer);
        }
        if self.links.current(id, generation).is_none() {
            return;
        }
        let epoch = if wanted { epoch } else { self.links.next_epoch() };
        let link = self.links.get_mut(id);
        link.epoch = epoch;
        link.up = [true, true];
        link.connecting = false;
        link.asked = [false, false];
        for (peer, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.digest(mark::UP, peer, u64::from(other.0));
            self.tell(peer, |world| What::Up {
                peer: world.name_of(other),
                link: world.link_name(peer, other),
            });
            self.hand(peer, Input::LinkUp { peer: other, epoch });
        }
    }

    /// Takes a link down at every end that takes it for up. What is on its way is gone. If it is still wanted, it comes up again.
    pub(super) fn take_down(&mut self, id: LinkId, why: Why) {
        self.links.get_mut(id).connecting = false;
        let generation = self.cut(id, why);
        self.after_down(id, generation);
    }

    /// Drops what is on its way, tells every end that takes the link for up, and gives the generation that it has now. By then an agent may have
    /// asked for it anew.
    fn cut(&mut self, id: LinkId, why: Why) -> u32 {
        let generation = self.links.void_events(id);
        for from_end in [0, 1] {
            self.drop_lane(LaneId { link: id, from_end }, "the link went down");
        }
        let link = self.links.get_mut(id);
        let (ends, epoch, was_up) = (link.ends, link.epoch, link.up);
        link.up = [false, false];
        link.closer = None;
        link.stalled_until = self.now;
        for end in [0, 1] {
            if was_up[end] {
                self.tell_down(ends[end], ends[1 - end], epoch, why);
            }
        }
        generation
    }

    /// What becomes of a link that is down at both ends: it is connected again, or forgotten.
    pub(super) fn after_down(&mut self, id: LinkId, generation: u32) {
        let Some(link) = self.links.current(id, generation) else { return };
        if link.wanted {
            self.connect(id);
        } else if !link.is_asked_for() {
            self.links.remove(id);
        } else if !link.connecting {
            self.begin_to_connect(id);
        }
    }

    /// Drops what is on its way in one direction.
    pub(super) fn drop_lane(&mut self, lane: LaneId, why: &'static str) {
        let mut chain = std::mem::take(&mut self.links.get_mut(lane.link).lanes[lane.from_end].chain);
        while let Some(flight) = self.flights.pop(&mut chain) {
            self.tell_drop(flight.from, flight.to, flight.id, why);
        }
    }

    pub(super) fn tell_down(&mut self, peer: Peer, other: Peer, epoch: Epoch, why: Why) {
        self.digest(mark::DOWN, peer, u64::from(other.0));
        self.tell(peer, |world| What::Down {
            peer: world.name_of(other),
            link: world.name_of_epoch(peer, other, epoch),
            why: why.to_string(),
        });
        let node = self.node_mut(peer);
        if node.paused {
            node.held.push(Held::LinkDown { peer: other, epoch, why });
        } else {
            self.hand(peer, Input::LinkDown { peer: other, epoch, why });
        }
    }

    /// One end of a link has died. Whether the other learns of it now is a matter of the failure model.
    pub(super) fn end_died(&mut self, id: LinkId, dead: Peer) {
        let model = self.settings.failure_model;
        let link = self.links.get_mut(id);
        let dead_end = link.end(dead);
        link.up[dead_end] = false;
        link.asked[dead_end] = false;
        if link.wanted {
            link.connecting = false;
        }
        if link.closed_by(dead_end) && model == FailureModel::Rst {
            // The reset overtakes what was to come before the end.
            link.closer = None;
        }
        self.drop_lane(LaneId { link: id, from_end: 1 - dead_end }, "the receiver crashed");
        if self.links.get(id).is_down() {
            self.end_down(id);
        } else {
            self.learn_of_death(id);
        }
    }

    /// The second end of a link takes it for down.
    pub(super) fn end_down(&mut self, id: LinkId) {
        let link = self.links.get_mut(id);
        if link.connecting && link.is_asked_for() {
            // The one that is connecting learns of it in its time.
            return;
        }
        link.connecting = false;
        self.take_down(id, Why::Broken);
    }

    /// With `rst` a live end learns at once that the other is dead, if anything reaches it.
    fn learn_of_death(&mut self, id: LinkId) {
        let link = self.links.get(id);
        let both_live = link.is_up() || link.closer.is_some();
        if both_live || link.is_down() || self.settings.failure_model == FailureModel::Send {
            return;
        }
        let live_end = usize::from(link.up[1]);
        if !self.partitions.between(link.ends[1 - live_end], link.ends[live_end]) {
            self.take_down(id, Why::Broken);
        }
    }

    pub(super) fn full(&mut self, id: LinkId, generation: u32) {
        if self.links.current(id, generation).is_some() {
            self.take_down(id, Why::QueueFull);
        }
    }

    pub(super) fn noticed(&mut self, id: LinkId, generation: u32) {
        let Some(link) = self.links.current(id, generation) else { return };
        if !link.is_up() && !link.is_down() {
            self.take_down(id, Why::Broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Outbox, Session, Text};
    use crate::sim::Settings;
    use crate::time::Time;

    /// Passes on what it is told, and counts what it hears.
    #[derive(Default)]
    struct Herald(u32);

    impl Agent for Herald {
        type Msg = Text;

        fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
            match input {
                Input::Commands { commands } => commands.obey(out, |line, out| {
                    out.send("others", Text(line.to_owned()));
                    None
                }),
                Input::Message { .. } => self.0 += 1,
                _ => {}
            }
        }
    }

    #[test]
    fn in_a_mesh_everybody_hears_everybody_else() {
        for carrier in [Carrier::Stream, Carrier::Datagram] {
            let mut world = World::new(Settings::new(1, carrier));
            let peers: Vec<Peer> = (0..4).map(|_| world.add(Herald::default())).collect();
            world.mesh("others", Port(1));
            world.run_until(Time::since_start(Duration::from_secs(1)));
            for &peer in &peers {
                world.command(peer, Session(0), "hear, hear");
            }
            world.run_until(Time::since_start(Duration::from_secs(2)));
            for &peer in &peers {
                assert_eq!(world.agent(peer).map(|herald| herald.0), Some(3), "{carrier:?}");
            }
        }
    }
}
