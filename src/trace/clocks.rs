//! Logical clocks, worked out after the run, and what they are for: which event could have caused which.
//!
//! The order is Lamport's ("Time, Clocks, and the Ordering of Events in a Distributed System", CACM 1978): an event happened before
//! another one if it came earlier at the same server, or is the send of what the other one received, or by a chain of such steps. A
//! crash does not break a server's line: what comes after the restart comes after what was before.
//!
//! Vector clocks (Fidge 1988, Mattern 1989) of all events would take as many numbers as servers times events. Only Lamport's are
//! kept; a vector is worked out when somebody asks, by a walk back over the receives in its past, or for all events in one pass
//! that holds one sparse vector a server and one a message on its way.

use std::collections::{BTreeMap, BTreeSet};

use super::{Messages, Trace};

/// Some of the events of each server: the first ones if this is a past, the last ones if it is a future. As a past it is the event's
/// vector clock: how many events of each server it knows of.
pub type Vector = BTreeMap<usize, u32>;

/// The clocks of a trace. Events are named by their index in [`Trace::events`], servers by theirs in [`Trace::servers`].
#[derive(Clone, Debug)]
pub struct Clocks {
    /// Each event's server and its place there, counted from 1; `None` for what happens to the network.
    places: Vec<Option<Place>>,
    /// The events of each server, in order.
    lines: Vec<Vec<usize>>,
    lamport: Vec<u32>,
    /// All events that have a place, causes before effects.
    order: Vec<usize>,
    messages: Messages,
    in_circle: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    server: usize,
    number: u32,
}

impl Clocks {
    /// Works out the clocks. If effects come before their own causes in a circle, which no run can do but a wrong trace can say, receives
    /// are taken from their sends until there is none: [`Self::in_circle`].
    pub fn of(trace: &Trace, messages: Messages) -> Self {
        let servers: BTreeMap<&str, usize> =
            trace.servers.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let mut lines = vec![Vec::new(); servers.len()];
        let places = trace.events.iter().enumerate().map(|(index, event)| {
            let server = *servers.get(event.server.as_str())?;
            if event.what.is_of_network() {
                return None;
            }
            lines[server].push(index);
            Some(Place { server, number: count(lines[server].len()) })
        });
        let places: Vec<Option<Place>> = places.collect();
        let lamport = vec![0; places.len()];
        let mut clocks = Self { places, lines, lamport, order: Vec::new(), messages, in_circle: Vec::new() };
        clocks.put_in_order();
        clocks.count_lamport();
        clocks
    }

    /// The server of an event, as an index into [`Trace::servers`]; `None` for what happens to the network.
    pub fn server_of(&self, event: usize) -> Option<usize> {
        self.places[event].map(|place| place.server)
    }

    /// Lamport's clock: more than that of every event that happened before; 0 for what happens to the network.
    pub fn lamport(&self, event: usize) -> u32 {
        self.lamport[event]
    }

    /// Which messages the clocks go by.
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Receives that a wrong trace has before their own causes; they count as received from nowhere.
    pub fn in_circle(&self) -> &[usize] {
        &self.in_circle
    }

    /// All events of servers, causes before effects, otherwise as early as their times are.
    pub fn in_causal_order(&self) -> &[usize] {
        &self.order
    }

    /// The vector clock of an event: of each server that it could know of, how many events, itself included. Takes time in proportion
    /// to the receives in its past.
    pub fn vector(&self, event: usize) -> Vector {
        let mut known = Vector::new();
        let mut waiting: Vec<Place> = self.places[event].into_iter().collect();
        while let Some(place) = waiting.pop() {
            let before = known.insert(place.server, place.number).unwrap_or(0);
            if before >= place.number {
                known.insert(place.server, before);
                continue;
            }
            for &index in &self.lines[place.server][before as usize..place.number as usize] {
                waiting.extend(self.messages.send_of(index).and_then(|send| self.places[send]));
            }
        }
        known
    }

    /// Whether `cause` happened before `effect`; an event did not happen before itself.
    pub fn happened_before(&self, cause: usize, effect: usize) -> bool {
        let Some(place) = self.places[cause] else { return false };
        cause != effect
            && self.lamport[cause] < self.lamport[effect]
            && self.vector(effect).get(&place.server).is_some_and(|&number| number >= place.number)
    }

    /// All events that happened before this one, ascending, without itself.
    pub fn past(&self, event: usize) -> Vec<usize> {
        let known = self.vector(event);
        let first = |(server, number): (&usize, &u32)| self.lines[*server][..*number as usize].iter();
        let mut past: Vec<usize> =
            known.iter().flat_map(first).copied().filter(|&other| other != event).collect();
        past.sort_unstable();
        past
    }

    /// All events that this one happened before, ascending, without itself.
    pub fn future(&self, event: usize) -> Vec<usize> {
        // Of each server, the number of the first event in the future.
        let mut reached = Vector::new();
        let mut waiting: Vec<Place> = self.places[event].into_iter().collect();
        while let Some(place) = waiting.pop() {
            let line = &self.lines[place.server];
            let before = reached.get(&place.server).copied().unwrap_or(count(line.len()) + 1);
            if before <= place.number {
                continue;
            }
            reached.insert(place.server, place.number);
            for &index in &line[place.number as usize - 1..before as usize - 1] {
                waiting.extend(self.messages.receives_of(index).filter_map(|receive| self.places[receive]));
            }
        }
        let last = |(server, number): (&usize, &u32)| self.lines[*server][*number as usize - 1..].iter();
        let mut future: Vec<usize> =
            reached.iter().flat_map(last).copied().filter(|&other| other != event).collect();
        future.sort_unstable();
        future
    }

    /// Hands the vector clock of each event to `take`, causes before effects.
    pub fn each_vector<E>(&self, mut take: impl FnMut(usize, &Vector) -> Result<(), E>) -> Result<(), E> {
        let mut current = vec![Vector::new(); self.lines.len()];
        let mut on_the_way: BTreeMap<usize, (Vector, usize)> = BTreeMap::new();
        for &event in &self.order {
            let Some(place) = self.places[event] else { continue };
            let vector = &mut current[place.server];
            if let Some(send) = self.messages.send_of(event)
                && let Some((sent, receives_left)) = on_the_way.get_mut(&send)
            {
                for (&server, &number) in &*sent {
                    let known = vector.entry(server).or_default();
                    *known = (*known).max(number);
                }
                *receives_left -= 1;
                if *receives_left == 0 {
                    on_the_way.remove(&send);
                }
            }
            vector.insert(place.server, place.number);
            take(event, vector)?;
            let receives = self.messages.receives_of(event).count();
            if receives > 0 {
                on_the_way.insert(event, (vector.clone(), receives));
            }
        }
        Ok(())
    }

    /// Fills `order`: always the earliest event whose cause has been reached is the next one.
    fn put_in_order(&mut self) {
        let mut heads = vec![0; self.lines.len()];
        let mut done = vec![false; self.places.len()];
        let mut waiting_for: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        // The next event of each server that does not wait for a send.
        let mut ready = BTreeSet::new();
        let mut looked_at: Vec<usize> = (0..self.lines.len()).collect();
        loop {
            for server in looked_at.drain(..) {
                let Some(&event) = self.lines[server].get(heads[server]) else { continue };
                match self.messages.send_of(event) {
                    Some(send) if !done[send] => waiting_for.entry(send).or_default().push(server),
                    _ => drop(ready.insert((event, server))),
                }
            }
            if let Some((event, server)) = ready.pop_first() {
                done[event] = true;
                self.order.push(event);
                heads[server] += 1;
                looked_at.push(server);
                looked_at.extend(waiting_for.remove(&event).into_iter().flatten());
                continue;
            }
            // Whoever still waits, waits in a circle or behind one.
            let stuck =
                self.lines.iter().zip(&heads).filter_map(|(line, &head)| line.get(head).copied()).min();
            let Some(receive) = stuck else { break };
            let send = self.messages.send_of(receive).expect("only receives wait");
            let server = self.places[receive].expect("only events of servers wait").server;
            waiting_for.entry(send).or_default().retain(|&other| other != server);
            self.messages.part(receive);
            self.in_circle.push(receive);
            looked_at.push(server);
        }
    }

    fn count_lamport(&mut self) {
        let mut latest = vec![0u32; self.lines.len()];
        for &event in &self.order {
            let place = self.places[event].expect("all in the order have a place");
            let sent = self.messages.send_of(event).map_or(0, |send| self.lamport[send]);
            let time = latest[place.server].max(sent) + 1;
            latest[place.server] = time;
            self.lamport[event] = time;
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a trace that fits into memory has fewer events at one server")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{received, runs, sent};
    use super::*;

    fn clocks(trace: &Trace) -> Clocks {
        Clocks::of(trace, Messages::of(&trace.events))
    }

    /// Which event happened before which, by nothing but the definition: single steps, and chains of them.
    fn closure(trace: &Trace, clocks: &Clocks) -> Vec<Vec<bool>> {
        let mut steps = vec![Vec::new(); trace.events.len()];
        for effect in 0..trace.events.len() {
            let server = clocks.server_of(effect);
            let earlier =
                (0..effect).rev().find(|&other| server.is_some() && clocks.server_of(other) == server);
            for cause in earlier.into_iter().chain(clocks.messages().send_of(effect)) {
                steps[cause].push(effect);
            }
        }
        let reached_from = |cause: usize| {
            let mut reached = vec![false; steps.len()];
            let mut waiting = vec![cause];
            while let Some(event) = waiting.pop() {
                for &next in &steps[event] {
                    if !std::mem::replace(&mut reached[next], true) {
                        waiting.push(next);
                    }
                }
            }
            reached
        };
        (0..steps.len()).map(reached_from).collect()
    }

    /// V(e) is below V(f): nowhere more, somewhere less.
    fn is_below(one: &Vector, other: &Vector) -> bool {
        one != other
            && one.iter().all(|(server, number)| other.get(server).is_some_and(|known| known >= number))
    }

    proptest! {
        #[test]
        fn clocks_say_what_the_definition_says(trace in runs()) {
            let clocks = clocks(&trace);
            prop_assert!(clocks.in_circle().is_empty());
            let before = closure(&trace, &clocks);
            let vectors: Vec<Vector> = (0..trace.events.len()).map(|event| clocks.vector(event)).collect();
            for (event, row) in before.iter().enumerate() {
                for (other, &is_before) in row.iter().enumerate() {
                    prop_assert_eq!(clocks.happened_before(event, other), is_before, "{} -> {}", event, other);
                    if clocks.server_of(event).is_some() && clocks.server_of(other).is_some() {
                        prop_assert_eq!(is_below(&vectors[event], &vectors[other]), is_before, "V: {} -> {}", event, other);
                    }
                    prop_assert!(!is_before || clocks.lamport(event) < clocks.lamport(other), "L: {} -> {}", event, other);
                }
                let future: Vec<usize> = (0..row.len()).filter(|&other| row[other]).collect();
                prop_assert_eq!(clocks.future(event), future);
                let past: Vec<usize> = (0..row.len()).filter(|&other| before[other][event]).collect();
                prop_assert_eq!(clocks.past(event), past);
            }
        }

        #[test]
        fn one_pass_gives_each_event_the_vector_that_asking_gives(trace in runs()) {
            let clocks = clocks(&trace);
            let mut seen = Vec::new();
            let walked: Result<(), ()> = clocks.each_vector(|event, vector| {
                assert_eq!(*vector, clocks.vector(event), "event {event}");
                seen.push(event);
                Ok(())
            });
            prop_assert!(walked.is_ok());
            prop_assert_eq!(seen.as_slice(), clocks.in_causal_order());
        }
    }

    #[test]
    fn a_clock_that_runs_late_changes_no_cause() {
        // By its own clock the receiver was earlier than the sender.
        let trace = Trace::new(vec![
            received(1, "b", "a", Some(1)),
            sent(2, "b", "a", Some(2)),
            sent(9, "a", "b", Some(1)),
        ]);
        let clocks = clocks(&trace);
        assert!(
            clocks.happened_before(2, 0) && clocks.happened_before(2, 1) && !clocks.happened_before(0, 2)
        );
        assert_eq!(clocks.in_causal_order(), [2, 0, 1]);
    }

    #[test]
    fn circles_of_a_wrong_trace_are_cut_and_named() {
        // Each has received what the other one sends only afterwards.
        let trace = Trace::new(vec![
            received(1, "a", "b", Some(1)),
            received(2, "b", "a", Some(2)),
            sent(3, "a", "b", Some(2)),
            sent(4, "b", "a", Some(1)),
        ]);
        let clocks = clocks(&trace);
        assert_eq!(clocks.in_circle(), [0]);
        assert_eq!(clocks.in_causal_order(), [0, 2, 1, 3]);
        assert!(clocks.happened_before(2, 3) && !clocks.happened_before(3, 0));
    }
}
