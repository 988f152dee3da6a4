//! What was announced and has not come.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::{Id, MessageId};
use crate::time::Time;

/// Somebody who has a message, and the round with which he would send it.
pub(super) type Announcer<I> = (I, u16);

/// The paper's `missing` with its timers. Each entry has exactly one timer; at most so many entries are kept.
#[derive(Debug)]
pub(super) struct Missing<I> {
    /// Ascending by their ids.
    entries: VecDeque<Entry<I>>,
    entries_max: usize,
    /// Timers of messages that nobody was asked for yet, by when they are due. One is void if its entry is gone or has another time.
    first: VecDeque<(Time, MessageId<I>)>,
    /// Timers of messages that somebody was asked for.
    second: VecDeque<(Time, MessageId<I>)>,
}

#[derive(Debug)]
struct Entry<I> {
    id: MessageId<I>,
    due: Time,
    /// Who has it and was not asked yet, in the order of their announcements.
    announcers: Vec<Announcer<I>>,
}

/// Too much is missing: an announcement was not noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<I: Id> Missing<I> {
    pub(super) fn new(entries_max: usize) -> Self {
        let (first, second) = (VecDeque::new(), VecDeque::new());
        Self { entries: VecDeque::new(), entries_max, first, second }
    }

    /// Notes that somebody has a message. If that is news, it is waited for until `due`.
    pub(super) fn announce(
        &mut self,
        id: MessageId<I>,
        announcer: Announcer<I>,
        due: Time,
    ) -> Result<(), Full> {
        match self.place(&id) {
            Ok(place) => {
                let announcers = &mut self.entries[place].announcers;
                if !announcers.iter().any(|known| known.0 == announcer.0) {
                    announcers.push(announcer);
                }
            }
            Err(_) if self.entries.len() >= self.entries_max => return Err(Full),
            Err(place) => {
                self.entries.insert(place, Entry { id, due, announcers: vec![announcer] });
                self.first.push_back((due, id));
                self.sweep();
            }
        }
        Ok(())
    }

    /// A message has come: forgets it. Those who have it too and were not asked.
    pub(super) fn take(&mut self, id: &MessageId<I>) -> Vec<Announcer<I>> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let Ok(place) = self.place(id) else { return Vec::new() };
        let entry = self.entries.remove(place).expect("a place within");
        self.drop_void();
        entry.announcers
    }

    /// A neighbour is gone and cannot be asked any more.
    pub(super) fn forget(&mut self, peer: I) {
        for entry in &mut self.entries {
            entry.announcers.retain(|announcer| announcer.0 != peer);
        }
    }

    /// A message whose timer has run out, and whether somebody was asked for it before.
    pub(super) fn expired(&mut self, now: Time) -> Option<(MessageId<I>, bool)> {
        for (again, queue) in [(false, &mut self.first), (true, &mut self.second)] {
            while let Some((due, id)) = queue.front().copied().filter(|(due, _)| *due <= now) {
                queue.pop_front();
                if self
                    .entries
                    .binary_search_by(|entry| entry.id.cmp(&id))
                    .is_ok_and(|place| self.entries[place].due == due)
                {
                    return Some((id, again));
                }
            }
        }
        None
    }

    /// The next one to be asked for a message whose timer has run out: the first of those that are `better`, or else the first. It is not
    /// there any more if there is nobody left. Otherwise it is waited for `timeout` longer.
    pub(super) fn ask(
        &mut self,
        now: Time,
        id: &MessageId<I>,
        timeout: Duration,
        better: impl Fn(I) -> bool,
    ) -> Option<Announcer<I>> {
        let place = self.place(id).ok()?;
        let entry = &mut self.entries[place];
        if entry.announcers.is_empty() {
            self.entries.remove(place);
            return None;
        }
        let chosen = entry.announcers.iter().position(|announcer| better(announcer.0)).unwrap_or(0);
        let announcer = entry.announcers.remove(chosen);
        entry.due = now + timeout;
        self.second.push_back((entry.due, *id));
        Some(announcer)
    }

    /// When the first timer is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        match (self.first.front(), self.second.front()) {
            (Some(one), Some(other)) => Some(one.0.min(other.0)),
            (one, other) => one.or(other).map(|timer| timer.0),
        }
    }

    fn place(&self, id: &MessageId<I>) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.id.cmp(id))
    }

    fn is_void(&self, timer: &(Time, MessageId<I>)) -> bool {
        !self.place(&timer.1).is_ok_and(|place| self.entries[place].due == timer.0)
    }

    /// Drops void timers at the front, so that nobody is woken for them.
    fn drop_void(&mut self) {
        while self.first.front().is_some_and(|timer| self.is_void(timer)) {
            self.first.pop_front();
        }
        while self.second.front().is_some_and(|timer| self.is_void(timer)) {
            self.second.pop_front();
        }
    }

    /// Drops all void timers once there are far more timers than entries.
    fn sweep(&mut self) {
        if self.first.len() + self.second.len() > 2 * self.entries_max + 16 {
            let first = std::mem::take(&mut self.first);
            self.first = first.into_iter().filter(|timer| !self.is_void(timer)).collect();
            let second = std::mem::take(&mut self.second);
            self.second = second.into_iter().filter(|timer| !self.is_void(timer)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Peer;

    fn id(seq: u64) -> MessageId<Peer> {
        MessageId { source: Peer(9), incarnation: 1, seq }
    }

    fn at(milliseconds: u64) -> Time {
        Time::since_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn an_entry_has_one_timer_whoever_else_announces_it() {
        let mut missing = Missing::new(10);
        assert_eq!(missing.announce(id(1), (Peer(1), 3), at(10)), Ok(()));
        assert_eq!(missing.announce(id(1), (Peer(2), 4), at(20)), Ok(()));
        assert_eq!(missing.announce(id(1), (Peer(2), 4), at(20)), Ok(()));
        assert_eq!(missing.deadline(), Some(at(10)));
        assert_eq!(missing.expired(at(9)), None);
        assert_eq!(missing.expired(at(10)), Some((id(1), false)));
        assert_eq!(missing.ask(at(10), &id(1), Duration::from_millis(5), |_| true), Some((Peer(1), 3)));
        assert_eq!(missing.deadline(), Some(at(15)));
        assert_eq!(missing.expired(at(15)), Some((id(1), true)));
        assert_eq!(missing.take(&id(1)), [(Peer(2), 4)]);
        assert_eq!(missing.deadline(), None);
    }

    #[test]
    fn what_nobody_else_has_is_given_up() {
        let mut missing = Missing::new(10);
        assert_eq!(missing.announce(id(1), (Peer(1), 0), at(10)), Ok(()));
        missing.forget(Peer(1));
        assert_eq!(missing.expired(at(10)), Some((id(1), false)));
        assert_eq!(missing.ask(at(10), &id(1), Duration::from_millis(5), |_| true), None);
        assert!(missing.entries.is_empty());
        assert_eq!(missing.deadline(), None);
    }

    #[test]
    fn who_is_better_is_asked_first() {
        let mut missing = Missing::new(10);
        for peer in [1, 2] {
            assert_eq!(missing.announce(id(1), (Peer(peer), 0), at(10)), Ok(()));
        }
        assert_eq!(missing.ask(at(10), &id(1), Duration::ZERO, |peer| peer == Peer(2)), Some((Peer(2), 0)));
        assert_eq!(missing.ask(at(10), &id(1), Duration::ZERO, |peer| peer == Peer(2)), Some((Peer(1), 0)));
    }

    #[test]
    fn entries_and_timers_are_bounded() {
        let mut missing = Missing::new(4);
        for seq in 1..=4 {
            assert_eq!(missing.announce(id(seq), (Peer(1), 0), at(seq)), Ok(()));
        }
        assert_eq!(missing.announce(id(5), (Peer(1), 0), at(5)), Err(Full));
        // The first stays missing and keeps the void timers behind it from being dropped one by one.
        for seq in 5..1000 {
            missing.take(&id(seq - 1));
            assert_eq!(missing.announce(id(seq), (Peer(1), 0), at(seq)), Ok(()));
            assert!(missing.first.len() <= 25);
        }
        assert_eq!(missing.expired(at(2000)), Some((id(1), false)));
    }
}
