//! Messages on their way. They lie in one table and are chained into queues, so that a message costs no allocation.

use std::num::NonZero;

use crate::agent::{Peer, Port};
use crate::time::Time;

/// Where a message lies in the table, counted from 1: so that none takes no more room than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(NonZero<u32>);

impl Slot {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight<M> {
    pub(super) from: Peer,
    pub(super) to: Peer,
    pub(super) port: Port,
    /// When it arrives, unless something holds it up.
    pub(super) arrives: Time,
    /// Names this message in traces. A message that was repeated has the name twice.
    pub(super) id: u64,
    pub(super) message: M,
}

/// All messages on their way.
#[derive(Debug)]
pub(super) struct Flights<M> {
    slots: Vec<Entry<M>>,
    free: Option<Slot>,
}

/// A place of the table: a flight, or nothing; and what follows in the queue, or in the list of free places.
#[derive(Debug)]
struct Entry<M> {
    flight: Option<Flight<M>>,
    next: Option<Slot>,
}

/// A queue of messages: its first and its last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    ends: Option<(Slot, Slot)>,
    len: u32,
}

impl Chain {
    pub(super) fn len(&self) -> u32 {
        self.len
    }
}

impl<M> Default for Flights<M> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: None }
    }
}

impl<M> Flights<M> {
    /// Puts a message in.
    pub(super) fn insert(&mut self, flight: Flight<M>) -> Slot {
        if let Some(slot) = self.free {
            let entry = &mut self.slots[slot.index()];
            self.free = entry.next.take();
            entry.flight = Some(flight);
            return slot;
        }
        self.slots.push(Entry { flight: Some(flight), next: None });
        let number = u32::try_from(self.slots.len()).ok().and_then(NonZero::new);
        Slot(number.expect("fewer than 2^32 messages fit into memory"))
    }

    /// A message that is on its way.
    pub(super) fn get(&self, slot: Slot) -> &Flight<M> {
        self.slots[slot.index()].flight.as_ref().expect("the message is on its way")
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, slot: Slot) -> Flight<M> {
        let entry = &mut self.slots[slot.index()];
        entry.next = self.free;
        self.free = Some(slot);
        entry.flight.take().expect("a slot is taken out once")
    }

    /// Puts a message behind the others of `chain`; it arrives no earlier than they do.
    pub(super) fn push(&mut self, chain: &mut Chain, mut flight: Flight<M>) {
        if let Some((_, last)) = chain.ends {
            flight.arrives = flight.arrives.max(self.get(last).arrives);
        }
        let slot = self.insert(flight);
        chain.len += 1;
        chain.ends = match chain.ends {
            None => Some((slot, slot)),
            Some((first, last)) => {
                self.slots[last.index()].next = Some(slot);
                Some((first, slot))
            }
        };
    }

    /// Takes the first message of `chain` out.
    pub(super) fn pop(&mut self, chain: &mut Chain) -> Option<Flight<M>> {
        let (first, last) = chain.ends?;
        chain.len -= 1;
        chain.ends = self.slots[first.index()].next.map(|next| (next, last));
        Some(self.remove(first))
    }

    /// When the first message of `chain` arrives.
    pub(super) fn first_arrives(&self, chain: &Chain) -> Option<Time> {
        let (first, _) = chain.ends?;
        self.slots[first.index()].flight.as_ref().map(|flight| flight.arrives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(id: u64) -> Flight<()> {
        Flight { from: Peer(0), to: Peer(1), port: Port(0), arrives: Time::from_nanos(id), id, message: () }
    }

    #[test]
    fn chains_keep_their_order_while_places_are_used_again() {
        let (mut flights, mut one, mut other) = (Flights::default(), Chain::default(), Chain::default());
        let mut out = Vec::new();
        for id in 0..100 {
            flights.push(if id % 2 == 0 { &mut one } else { &mut other }, flight(id));
            if id % 3 == 0 {
                out.extend(flights.pop(&mut one).map(|flight| flight.id));
            }
        }
        assert!(flights.slots.len() < 100);
        assert_eq!(flights.first_arrives(&other), Some(Time::from_nanos(1)));
        while let Some(flight) = flights.pop(&mut one) {
            out.push(flight.id);
        }
        assert_eq!(out, (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!((one.len(), other.len()), (0, 50));
        assert!(flights.pop(&mut one).is_none());
    }
}
