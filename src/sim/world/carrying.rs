//! Carrying messages: over links that keep the order, or each on its own.

use super::flights::{Flight, Slot};
use super::links::{LaneId, LinkId};
use super::{Agent, Event, World, mark};
use crate::agent::{Input, Peer, Port};
use crate::sim::Carrier;

impl<A: Agent> World<A> {
    /// Sends one message to one agent.
    #[inline]
    pub(super) fn send(&mut self, from: Peer, to: Peer, port: Port, message: A::Msg) {
        let Some((id, message)) = self.dispatch(from, to, port, message) else { return };
        let flight = Flight { from, to, port, arrives: self.now, id, message };
        if to.index() >= self.nodes.len() {
            self.tell_drop(from, to, id, "there is no such agent");
        } else if from == to {
            let slot = self.flights.insert(flight);
            self.push(self.now, Event::Own { slot, incarnation: self.node(from).incarnation });
        } else {
            match self.settings.carrier {
                Carrier::Stream => self.send_on_link(flight),
                Carrier::Datagram => self.send_datagram(flight),
            }
        }
    }

    /// Gives a message its number and writes down that it was sent.
    #[inline]
    fn dispatch(&mut self, from: Peer, to: Peer, port: Port, message: A::Msg) -> Option<(u64, A::Msg)> {
        let id = self.next_message;
        self.next_message += 1;
        self.digest(mark::SEND, from, u64::from(to.0) << 16 | u64::from(port.0));
        if self.trace.is_some() {
            self.tell_send(from, to, id, &message);
        }
        let message = self.through_codec(from, port, message)?;
        Some((id, message))
    }

    #[inline]
    fn send_on_link(&mut self, mut flight: Flight<A::Msg>) {
        self.look_ahead(flight.to);
        let Some(id) = self.links.find(flight.from, flight.to) else {
            return self.tell_drop(flight.from, flight.to, flight.id, "there is no link");
        };
        let link = self.links.get_mut(id);
        let from_end = link.end(flight.from);
        if !link.up[from_end] {
            return self.tell_drop(flight.from, flight.to, flight.id, "the link is down");
        }
        if link.closer.is_some() {
            return self.tell_drop(flight.from, flight.to, flight.id, "the receiver closed the link");
        }
        if !link.is_up() {
            // The other end is dead, and this is how it is noticed.
            let generation = link.generation;
            self.tell_drop(flight.from, flight.to, flight.id, "nobody is there any more");
            self.push(self.now, Event::Noticed { link: id, generation });
            return;
        }
        let lane = &mut link.lanes[from_end];
        if lane.chain.len() >= self.settings.queue_messages_max {
            let generation = link.generation;
            self.tell_drop(flight.from, flight.to, flight.id, "the queue is full");
            // The agent has not yet come to the end of its outputs, so it cannot be told here.
            return self.push(self.now, Event::Full { link: id, generation });
        }
        flight.arrives = self.now + self.settings.travel(&mut self.network, flight.from, flight.to);
        self.flights.push(&mut lane.chain, flight);
        self.schedule(LaneId { link: id, from_end });
    }

    /// Puts the arrival of a lane's first message into the queue of events, unless it stands there.
    pub(super) fn schedule(&mut self, lane: LaneId) {
        let link = self.links.get_mut(lane.link);
        let stalled_until = link.stalled_until;
        let generation = link.generation;
        let link_ends = link.closed_by(lane.from_end);
        let state = &mut link.lanes[lane.from_end];
        if state.scheduled {
            return;
        }
        let arrives = match self.flights.first_arrives(&state.chain) {
            Some(arrives) => arrives,
            // Behind the last message comes the end.
            None if link_ends => self.now,
            None => return,
        };
        state.scheduled = true;
        let from_high = lane.from_end == 1;
        self.push(arrives.max(stalled_until), Event::Lane { link: lane.link, from_high, generation });
    }

    pub(super) fn lane_due(&mut self, id: LinkId, from_high: bool, generation: u32) {
        let Some(link) = self.links.current(id, generation) else { return };
        let (from_end, stalled) = (usize::from(from_high), link.stalled_until > self.now);
        let (from, to) = (link.ends[from_end], link.ends[1 - from_end]);
        let lane = LaneId { link: id, from_end };
        let held_up = self.partitions.between(from, to) || self.node(to).paused;
        let state = &mut self.links.get_mut(id).lanes[from_end];
        state.scheduled = false;
        if stalled {
            return self.schedule(lane);
        }
        if held_up {
            return;
        }
        let Some(flight) = self.flights.pop(&mut state.chain) else { return self.lane_ended(lane) };
        self.schedule(lane);
        self.deliver(flight);
    }

    /// Whatever held messages to or from an agent up has ended: they arrive.
    pub(super) fn schedule_lanes_of(&mut self, peer: Peer) {
        for place in 0..self.links.of(peer).len() {
            let (_, link) = self.links.of(peer)[place];
            for from_end in [0, 1] {
                self.schedule(LaneId { link, from_end });
            }
        }
    }

    /// Carries out [`Output::Post`](crate::agent::Output::Post): over a connection of its own, to be opened at first.
    pub(super) fn post(&mut self, from: Peer, to: Peer, port: Port, message: A::Msg) {
        if from == to || to.index() >= self.nodes.len() || self.settings.carrier == Carrier::Datagram {
            return self.send(from, to, port, message);
        }
        let Some((id, message)) = self.dispatch(from, to, port, message) else { return };
        if self.partitions.between(from, to) || self.partitions.between(to, from) {
            return self.tell_drop(from, to, id, "a partition");
        }
        self.look_ahead(to);
        let connecting = self.settings.connecting.draw(&mut self.network);
        let arrives = self.now + connecting + self.settings.travel(&mut self.network, from, to);
        let slot = self.flights.insert(Flight { from, to, port, arrives, id, message });
        self.push(arrives, Event::Datagram { slot });
    }

    fn send_datagram(&mut self, flight: Flight<A::Msg>) {
        let (from, to, id) = (flight.from, flight.to, flight.id);
        if self.partitions.between(from, to) {
            return self.tell_drop(from, to, id, "a partition");
        }
        if self.network.chance(self.settings.loss) {
            return self.tell_drop(from, to, id, "lost");
        }
        let copy = self.network.chance(self.settings.duplicate).then(|| flight.clone());
        for mut flight in copy.into_iter().chain([flight]) {
            flight.arrives = self.now + self.settings.datagram_travel(&mut self.network, from, to);
            let arrives = flight.arrives;
            let slot = self.flights.insert(flight);
            self.push(arrives, Event::Datagram { slot });
        }
    }

    pub(super) fn datagram_due(&mut self, slot: Slot) {
        let flight = self.flights.get(slot);
        let (from, to, id) = (flight.from, flight.to, flight.id);
        if self.node(to).agent.is_none() {
            self.flights.remove(slot);
            return self.tell_drop(from, to, id, "nobody is there");
        }
        if self.partitions.between(from, to) {
            self.flights.remove(slot);
            return self.tell_drop(from, to, id, "a partition");
        }
        if self.hold(to, Event::Datagram { slot }) {
            return;
        }
        // A message may come before the agent has started only at the very beginning.
        self.start(to);
        let flight = self.flights.remove(slot);
        self.deliver(flight);
    }

    pub(super) fn own_due(&mut self, slot: Slot, incarnation: u32) {
        let to = self.flights.get(slot).to;
        if self.node(to).incarnation != incarnation {
            self.flights.remove(slot);
        } else if !self.hold(to, Event::Own { slot, incarnation }) {
            let flight = self.flights.remove(slot);
            self.deliver(flight);
        }
    }

    #[inline]
    fn deliver(&mut self, flight: Flight<A::Msg>) {
        let Flight { from, to, port, id, message, .. } = flight;
        self.figures.messages += 1;
        self.digest(mark::RECEIVE, to, id);
        if self.trace.is_some() {
            self.tell_receive(from, to, id, &message);
        }
        self.hand(to, Input::Message { from, port, message });
    }
}
