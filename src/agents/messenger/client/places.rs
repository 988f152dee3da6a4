//! What a client has had and what of it its user has read, in all clusters in which it was.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::{ConversationId, Place, Sequence};
use crate::wire::proto::{Message, Position};

/// Where a message stands: a place means nothing without its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The cluster from which the client got it, by what that is known by; empty if it does not say.
    pub cluster: Bytes,
    /// Where it stands in that one.
    pub place: Place,
    /// The cluster that it was sent in, and its place there, if that is another one and has said so.
    pub origin: Option<(Bytes, Place)>,
}

/// What it has had and read, by the places where that stands. A cluster tells the messages of a conversation in their order, its own and those that it has fetched, so the last one says all.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The cluster in which it is, once that is known.
    here: Option<Bytes>,
    clusters: BTreeMap<Bytes, BTreeMap<ConversationId, Reached>>,
    /// Where messages came once more that had been had in another cluster, by their places there, ascending; for as long as those are not read.
    again: BTreeMap<(Bytes, ConversationId), Vec<Repeated>>,
    /// Where the servers here have to be told what was read.
    unacknowledged: BTreeSet<ConversationId>,
}

/// A message that was had in a conversation of another cluster, as its `there`-th, and came again.
#[derive(Debug)]
struct Repeated {
    there: Sequence,
    cluster: Bytes,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    had: Sequence,
    read: Sequence,
}

impl Places {
    /// The cluster in which the client is, if that is known.
    pub(super) fn here(&self) -> Option<&Bytes> {
        self.here.as_ref()
    }

    /// The client may be in another cluster from now on.
    pub(super) fn leave(&mut self) {
        self.here = None;
        self.unacknowledged.clear();
    }

    /// The client is in this cluster; whether it was thought to be in another one.
    pub(super) fn enter(&mut self, cluster: Bytes) -> bool {
        if self.here.as_ref() == Some(&cluster) {
            return false;
        }
        let was_elsewhere = self.here.is_some();
        self.leave();
        self.here = Some(cluster);
        was_elsewhere
    }

    /// How far the client has got in the conversations of the cluster in which it is.
    pub(super) fn have(&self) -> impl Iterator<Item = Place> {
        let reached = self.here.as_ref().and_then(|here| self.clusters.get(here));
        let had = |(conversation, reached): (&ConversationId, &Reached)| Place {
            conversation: *conversation,
            sequence: reached.had,
        };
        reached.into_iter().flatten().map(had)
    }

    /// A message has come. Where it stands, if it is new; none if it was had before, here or elsewhere.
    pub(super) fn comes(&mut self, message: &Message) -> Option<Spot> {
        let place = Place::from(message.position?);
        let here = self.here.clone().unwrap_or_default();
        let origin = message.origin.as_ref().filter(|origin| origin.cluster != here);
        let origin = origin.map(|origin| (origin.cluster.clone(), Place::from(origin.position)));
        if !self.has(&here, place) {
            return None;
        }
        if let Some((cluster, there)) = &origin
            && !self.has(cluster, *there)
        {
            if self.reached(cluster, there.conversation).is_some_and(|it| it.read >= there.sequence) {
                self.reads(&here, place);
            } else {
                let copies = self.again.entry((cluster.clone(), there.conversation)).or_default();
                let at = copies.partition_point(|copy| copy.there <= there.sequence);
                copies.insert(at, Repeated { there: there.sequence, cluster: here, place });
                if copies.len() > COPIES_MAX {
                    leave_out(copies);
                }
            }
            return None;
        }
        Some(Spot { cluster: here, place, origin })
    }

    /// The user has read everything up to here, in the conversation here and, of what was fetched, there.
    pub(super) fn read(&mut self, spot: &Spot) {
        if let Some((cluster, place)) = &spot.origin {
            self.reads(cluster, *place);
        }
        self.reads(&spot.cluster, spot.place);
    }

    /// Whether the servers have to be told something.
    pub(super) fn is_to_acknowledge(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// What the servers were told may not have arrived: all of it is told again.
    pub(super) fn acknowledge_again(&mut self) {
        let reached = self.here.as_ref().and_then(|here| self.clusters.get(here));
        let read = reached.into_iter().flatten().filter(|(_, reached)| reached.read > Sequence(0));
        self.unacknowledged.extend(read.map(|(conversation, _)| *conversation));
    }

    /// What the servers have to be told.
    pub(super) fn take_unacknowledged(&mut self) -> Vec<Position> {
        let told = std::mem::take(&mut self.unacknowledged);
        let reached = self.here.as_ref().and_then(|here| self.clusters.get(here));
        let position = |conversation: ConversationId| {
            let reached = reached?.get(&conversation)?;
            Some(Position { conversation: conversation.0, sequence: reached.read.0 })
        };
        told.into_iter().filter_map(position).collect()
    }

    fn reached(&self, cluster: &Bytes, conversation: ConversationId) -> Option<&Reached> {
        self.clusters.get(cluster)?.get(&conversation)
    }

    /// What is known of a conversation; none if more clusters have been heard of than anybody goes to.
    fn reached_mut(&mut self, cluster: &Bytes, conversation: ConversationId) -> Option<&mut Reached> {
        if !self.clusters.contains_key(cluster) {
            let is_here = self.here.as_ref().is_none_or(|here| here == cluster);
            if self.clusters.len() >= CLUSTERS_MAX && !is_here {
                return None;
            }
            self.clusters.insert(cluster.clone(), BTreeMap::new());
        }
        Some(self.clusters.get_mut(cluster)?.entry(conversation).or_default())
    }

    /// A message is had; whether it was not before, as far as that is known.
    fn has(&mut self, cluster: &Bytes, place: Place) -> bool {
        let Some(reached) = self.reached_mut(cluster, place.conversation) else { return true };
        let is_new = reached.had < place.sequence;
        reached.had = reached.had.max(place.sequence);
        is_new
    }

    fn reads(&mut self, cluster: &Bytes, place: Place) {
        let is_here = self.here.as_ref() == Some(cluster);
        let Some(reached) = self.reached_mut(cluster, place.conversation) else { return };
        if reached.read >= place.sequence {
            return;
        }
        reached.read = place.sequence;
        if is_here {
            self.unacknowledged.insert(place.conversation);
        }
        // What came once more is read with it.
        let key = (cluster.clone(), place.conversation);
        let Some(copies) = self.again.get_mut(&key) else { return };
        let read = copies.partition_point(|copy| copy.there <= place.sequence);
        let read: Vec<Repeated> = copies.drain(..read).collect();
        if copies.is_empty() {
            self.again.remove(&key);
        }
        for Repeated { cluster, place, .. } in read {
            self.reads(&cluster, place);
        }
    }
}

/// Leaves one copy out, if there is another one behind it in the same conversation, which stands for it then: the last one of each stays, so that in the end all is read.
fn leave_out(copies: &mut Vec<Repeated>) {
    let stands_in = |copy: &Repeated| (copy.cluster.clone(), copy.place.conversation);
    let mut last = BTreeSet::new();
    let found = (0..copies.len()).rev().find(|at| !last.insert(stands_in(&copies[*at])));
    if let Some(at) = found {
        copies.remove(at);
    }
}

/// Of so many clusters it is known what was had there.
const CLUSTERS_MAX: usize = 64;
/// So many copies of messages of one conversation wait until those are read.
const COPIES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::proto::Origin;

    const EAST: &[u8] = b"east";
    const WEST: &[u8] = b"west";
    const NORTH: &[u8] = b"north";

    fn position(conversation: u64, sequence: u64) -> Position {
        Position { conversation, sequence }
    }

    /// A message that was written where it comes.
    fn native(conversation: u64, sequence: u64) -> Message {
        Message { position: Some(position(conversation, sequence)), ..Message::default() }
    }

    /// A message that was fetched.
    fn fetched(sequence: u64, from: &'static [u8], there: (u64, u64)) -> Message {
        let origin = Origin { cluster: Bytes::from_static(from), position: position(there.0, there.1) };
        Message { origin: Some(origin), ..native(1, sequence) }
    }

    fn go(places: &mut Places, cluster: &'static [u8]) {
        places.leave();
        places.enter(Bytes::from_static(cluster));
        places.acknowledge_again();
    }

    #[test]
    fn what_was_had_in_one_cluster_is_had_in_the_other() {
        let mut places = Places::default();
        go(&mut places, WEST);
        assert!(places.comes(&native(7, 3)).is_some());
        go(&mut places, EAST);
        assert_eq!(places.comes(&fetched(1, WEST, (7, 3))), None);
        let spot = places.comes(&fetched(2, WEST, (7, 5))).expect("new");
        assert_eq!(spot.origin.as_ref().map(|(_, place)| place.sequence), Some(Sequence(5)));
        assert!(places.comes(&native(7, 1)).is_some(), "another conversation of that number");
        go(&mut places, WEST);
        assert_eq!(places.comes(&native(7, 5)), None);
        assert!(places.comes(&native(7, 6)).is_some());
        let have: Vec<Place> = places.have().collect();
        assert_eq!(have, [Place::from(position(7, 6))]);
    }

    #[test]
    fn what_comes_again_counts_as_read_once_it_is_read_where_it_came_first() {
        let mut places = Places::default();
        go(&mut places, WEST);
        let spot = places.comes(&native(7, 3)).expect("new");
        go(&mut places, EAST);
        assert_eq!(places.comes(&fetched(1, WEST, (7, 3))), None);
        assert_eq!(places.take_unacknowledged(), []);
        // Its user reads it only now, and says so of the place in the west.
        places.read(&spot);
        assert_eq!(places.take_unacknowledged(), [position(1, 1)]);
        let spot = places.comes(&fetched(2, WEST, (7, 4))).expect("new");
        places.read(&spot);
        assert_eq!(places.take_unacknowledged(), [position(1, 2)]);
        // Or only when it is somewhere else again.
        let spot = places.comes(&native(7, 9)).expect("new in the east");
        go(&mut places, WEST);
        assert_eq!(places.take_unacknowledged(), [position(7, 4)], "what was read in the east");
        places.read(&spot);
        assert_eq!(places.take_unacknowledged(), []);
        assert_eq!(places.comes(&native(7, 4)), None);
        go(&mut places, EAST);
        assert_eq!(places.take_unacknowledged(), [position(1, 2), position(7, 9)]);
        assert_eq!(places.comes(&fetched(3, WEST, (7, 4))), None);
        assert_eq!(places.take_unacknowledged(), [position(1, 3)], "at once");
    }

    #[test]
    fn of_very_many_that_come_again_the_last_is_acknowledged_as_well() {
        let mut places = Places::default();
        let count = COPIES_MAX as u64 + 10;
        go(&mut places, WEST);
        let spots: Vec<Spot> =
            (1..=count).map(|sequence| places.comes(&native(7, sequence)).expect("new")).collect();
        for cluster in [EAST, NORTH] {
            go(&mut places, cluster);
            for sequence in 1..=count {
                assert_eq!(places.comes(&fetched(sequence, WEST, (7, sequence))), None);
            }
        }
        assert!(places.again.values().all(|copies| copies.len() <= COPIES_MAX));
        for spot in spots {
            places.read(&spot);
        }
        assert_eq!(places.take_unacknowledged(), [position(1, count)]);
        go(&mut places, EAST);
        assert_eq!(places.take_unacknowledged(), [position(1, count)]);
    }

    #[test]
    fn nothing_is_acknowledged_in_a_cluster_where_it_does_not_stand() {
        let mut places = Places::default();
        go(&mut places, WEST);
        let spot = places.comes(&native(7, 3)).expect("new");
        go(&mut places, EAST);
        assert!(places.comes(&native(7, 9)).is_some());
        places.read(&spot);
        assert_eq!(places.take_unacknowledged(), []);
        go(&mut places, WEST);
        assert_eq!(places.take_unacknowledged(), [position(7, 3)]);
    }

    #[test]
    fn clusters_that_are_only_heard_of_take_no_memory_without_end() {
        let mut places = Places::default();
        go(&mut places, EAST);
        for number in 0..10_000_u32 {
            let cluster = Bytes::copy_from_slice(&number.to_be_bytes());
            let origin = Some(Origin { cluster, position: position(1, 1) });
            let message = Message { origin, ..native(1, u64::from(number) + 1) };
            assert!(places.comes(&message).is_some());
        }
        assert!(places.clusters.len() <= CLUSTERS_MAX);
        // The one where it goes is known all the same.
        go(&mut places, WEST);
        assert!(places.comes(&native(1, 1)).is_some());
        assert_eq!(places.comes(&native(1, 1)), None);
    }

    /// A user goes to and fro; messages of the west come there, and in the east as often as that fetches them.
    #[test]
    fn each_message_is_new_once_and_all_that_came_are_acknowledged_where_they_came() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut places, mut told, mut waiting) = (Places::default(), Vec::new(), Vec::new());
            // How far each cluster has sent, and how far it was told that that is read; the east its numbers, with the places in the west.
            let (mut west_sent, mut west_read) = (0, 0);
            let (mut east, mut east_read): (Vec<u64>, u64) = (Vec::new(), 0);
            let mut here = WEST;
            go(&mut places, here);
            for step in 0..300 {
                let is_calm = step >= 280;
                match rng.below(if is_calm { 1 } else { 10 }) {
                    0 => {
                        here = if here == WEST { EAST } else { WEST };
                        go(&mut places, here);
                        // A server that has lost what it had sent begins behind what was read.
                        if rng.below(2) == 0 {
                            west_sent = west_sent.min(west_read.max(rng.below(west_sent + 1)));
                        }
                    }
                    1..4 if here == WEST => {
                        west_sent += 1;
                        waiting.extend(places.comes(&native(7, west_sent)));
                    }
                    1..4 => {
                        // It has fetched something that is not read in the west; not always the next.
                        let there = east.last().copied().unwrap_or_default().max(west_read) + 1;
                        east.push(there);
                        waiting.extend(places.comes(&fetched(east.len() as u64, WEST, (7, there))));
                    }
                    _ => {}
                }
                if is_calm || rng.below(3) == 0 {
                    for spot in waiting.drain(..) {
                        places.read(&spot);
                        let (_, place) = spot.origin.unwrap_or((Bytes::new(), spot.place));
                        told.push(place.sequence.0);
                    }
                }
                for Position { conversation, sequence } in places.take_unacknowledged() {
                    match (here == WEST, conversation) {
                        (true, 7) => west_read = sequence.max(west_read),
                        (false, 1) => east_read = sequence.max(east_read),
                        other => panic!("seed {seed}: {other:?}"),
                    }
                }
            }
            assert!(told.is_sorted_by(|one, other| one < other), "seed {seed}: {told:?}");
            assert_eq!(east_read, east.len() as u64, "seed {seed}: nothing waits in the east");
            let last = told.last().copied().unwrap_or_default();
            assert_eq!(west_read, last, "seed {seed}");
        }
    }
}
