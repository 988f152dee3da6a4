//! Which send belongs to which receive.
//!
//! By the `id` that both name; where they name none, the n-th send of a kind from one server to another over one link belongs to the n-th
//! receive of that kind there, which is right because a link loses nothing but its end, and keeps the order.

use std::collections::BTreeMap;

use super::{Event, What};

/// The messages of a trace. Events are named by their index in [`super::Trace::events`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    send_of: Vec<Option<usize>>,
    drop_of: Vec<Option<usize>>,
    /// Sends and their receives, ascending.
    deliveries: Vec<(usize, usize)>,
}

impl Messages {
    /// Puts the sends and receives of `events` together.
    pub fn of(events: &[Event]) -> Self {
        let mut sends: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Some((key, true)) = key_of(event) {
                sends.entry(key).or_default().push(index);
            }
        }
        let mut seen: BTreeMap<Key<'_>, usize> = BTreeMap::new();
        let mut messages = Self {
            send_of: vec![None; events.len()],
            drop_of: vec![None; events.len()],
            deliveries: Vec::new(),
        };
        for (index, event) in events.iter().enumerate() {
            let Some((key, false)) = key_of(event) else { continue };
            let number = seen.entry(key).or_default();
            let candidates = sends.get(&key).map_or(&[][..], Vec::as_slice);
            // A message with an id may arrive more than once.
            let send =
                if matches!(key, Key::Id { .. }) { candidates.first() } else { candidates.get(*number) };
            *number += 1;
            messages.send_of[index] = send.copied();
            messages.deliveries.extend(send.map(|&send| (send, index)));
        }
        messages.deliveries.sort_unstable();
        messages.find_drops(events);
        messages
    }

    /// The send of the message that event `receive` received; `None` if it is no receive, or if the trace does not hold the send.
    pub fn send_of(&self, receive: usize) -> Option<usize> {
        self.send_of[receive]
    }

    /// The receives of the message that event `send` sent: usually one; none if it is no send or was lost; several if it was repeated.
    pub fn receives_of(&self, send: usize) -> impl Iterator<Item = usize> {
        let first = self.deliveries.partition_point(|&(other, _)| other < send);
        self.deliveries[first..]
            .iter()
            .take_while(move |&&(other, _)| other == send)
            .map(|&(_, receive)| receive)
    }

    /// The drop event of the message that event `send` sent, if the trace has one.
    pub fn drop_of(&self, send: usize) -> Option<usize> {
        self.drop_of[send]
    }

    /// Takes a receive from its send again.
    pub(super) fn part(&mut self, receive: usize) {
        if let Some(send) = self.send_of[receive].take() {
            self.deliveries.retain(|&delivery| delivery != (send, receive));
        }
    }

    /// A drop with an id names its send. One without belongs to the latest message on this way that did not arrive: a carrier that
    /// loses messages says so at once.
    fn find_drops(&mut self, events: &[Event]) {
        let mut by_id: BTreeMap<(&str, &str, u64), usize> = BTreeMap::new();
        let mut lost: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            match &event.what {
                What::Send { to, id: Some(id), .. } => {
                    by_id.entry((&event.server, to, *id)).or_insert(index);
                }
                What::Send { to, id: None, .. } if self.receives_of(index).next().is_none() => {
                    lost.entry((&event.server, to)).or_default().push(index);
                }
                What::Drop { to, id, .. } => {
                    let send = match id {
                        Some(id) => by_id.get(&(event.server.as_str(), to.as_str(), *id)).copied(),
                        None => lost.get_mut(&(event.server.as_str(), to.as_str())).and_then(Vec::pop),
                    };
                    if let Some(send) = send {
                        self.drop_of[send] = Some(index);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a send and its receive have in common. Of messages of one key the n-th send belongs to the n-th receive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Id { from: &'a str, to: &'a str, id: u64 },
    Link { from: &'a str, to: &'a str, link: &'a str, kind: &'a str },
}

/// The key of a send (true) or a receive (false).
fn key_of(event: &Event) -> Option<(Key<'_>, bool)> {
    let (from, to, link, kind, id, is_send) = match &event.what {
        What::Send { to, link, kind, id, .. } => (&event.server, to, link, kind, id, true),
        What::Receive { from, link, kind, id, .. } => (from, &event.server, link, kind, id, false),
        _ => return None,
    };
    let key = match *id {
        Some(id) => Key::Id { from, to, id },
        None => Key::Link { from, to, link, kind },
    };
    Some((key, is_send))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dropped, received, sent};
    use super::*;

    fn sends(events: &[Event]) -> Vec<Option<usize>> {
        let messages = Messages::of(events);
        (0..events.len()).map(|index| messages.send_of(index)).collect()
    }

    #[test]
    fn without_ids_the_nth_send_of_a_kind_belongs_to_the_nth_receive() {
        let link = |event: Event, name: &str, sort: &str| {
            let mut event = event;
            if let What::Send { link, kind, .. } | What::Receive { link, kind, .. } = &mut event.what {
                *link = name.to_owned();
                *kind = sort.to_owned();
            }
            event
        };
        let events = [
            link(sent(0, "a", "b", None), "1", "msg"),
            link(sent(1, "a", "b", None), "1", "ping"),
            link(sent(2, "a", "b", None), "1", "msg"),
            link(received(3, "b", "a", None), "1", "ping"),
            link(received(4, "b", "a", None), "1", "msg"),
            // The link broke, and a new one has messages of its own.
            link(sent(5, "a", "b", None), "2", "msg"),
            link(received(6, "b", "a", None), "2", "msg"),
            // The other direction is another way.
            link(sent(7, "b", "a", None), "2", "msg"),
            link(received(8, "a", "b", None), "2", "msg"),
            link(received(9, "a", "b", None), "2", "msg"),
        ];
        let none = None;
        let expected = [none, none, none, Some(1), Some(0), none, Some(5), none, Some(7), none];
        assert_eq!(sends(&events), expected);
        let messages = Messages::of(&events);
        assert_eq!(messages.receives_of(2).count(), 0, "lost with its link");
        assert_eq!(messages.receives_of(0).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn ids_tell_messages_apart_that_were_lost_repeated_or_reordered() {
        let events = [
            sent(0, "a", "b", Some(1)),
            sent(1, "a", "b", Some(2)),
            sent(2, "a", "b", Some(3)),
            sent(3, "a", "c", Some(1)),
            received(4, "b", "a", Some(3)),
            received(5, "b", "a", Some(1)),
            received(6, "b", "a", Some(3)),
            received(7, "c", "a", Some(1)),
            dropped(8, "a", "b", Some(2)),
        ];
        assert_eq!(sends(&events)[4..], [Some(2), Some(0), Some(2), Some(3), None]);
        let messages = Messages::of(&events);
        assert_eq!(messages.receives_of(2).collect::<Vec<_>>(), [4, 6]);
        assert_eq!((messages.drop_of(1), messages.drop_of(0)), (Some(8), None));
    }

    #[test]
    fn a_drop_without_id_means_the_latest_message_that_did_not_arrive() {
        let events = [
            sent(0, "a", "b", None),
            dropped(0, "a", "c", None),
            sent(1, "a", "b", None),
            dropped(2, "a", "b", None),
            received(3, "b", "a", None),
        ];
        // The first send belongs to the first receive; the second one is what was dropped.
        let messages = Messages::of(&events);
        assert_eq!((messages.send_of(4), messages.drop_of(0), messages.drop_of(2)), (Some(0), None, Some(3)));
    }
}
