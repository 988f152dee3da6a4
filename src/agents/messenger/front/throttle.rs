//! Wrong passwords make the next attempt wait, longer each time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// How many wrong passwords there were lately, for each of `K`: names, or addresses.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    free: u32,
    entries: BTreeMap<K, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    wrong: u32,
    /// When the next attempt may be made.
    next: Time,
}

impl<K: Ord + Clone> Throttle<K> {
    /// Nobody waits for the first `free` wrong ones.
    pub(super) fn new(free: u32) -> Self {
        Self { free, entries: BTreeMap::new() }
    }

    /// When an attempt may be made that is asked for now; whoever asks after this one waits behind it. `None` if too many wait already.
    pub(super) fn reserve(&mut self, key: &K, now: Time) -> Option<Time> {
        let Some(entry) = self.entries.get_mut(key) else { return Some(now) };
        let at = entry.next.max(now);
        if at.since(now) > WAIT_MAX {
            return None;
        }
        entry.next = at + delay(entry.wrong.saturating_sub(self.free));
        Some(at)
    }

    /// A password was wrong.
    pub(super) fn wrong(&mut self, key: &K, now: Time) {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(key) {
            self.entries.retain(|_, entry| now.since(entry.next) < FORGET_AFTER);
            if self.entries.len() >= ENTRIES_MAX {
                self.entries.pop_first();
            }
        }
        let entry = self.entries.entry(key.clone()).or_insert(Entry { wrong: 0, next: now });
        if now.since(entry.next) >= FORGET_AFTER {
            entry.wrong = 0;
        }
        entry.wrong = entry.wrong.saturating_add(1);
        entry.next = entry.next.max(now + delay(entry.wrong.saturating_sub(self.free)));
    }

    /// A password was right: the wrong ones before do not count.
    pub(super) fn right(&mut self, key: &K) {
        self.entries.remove(key);
    }
}

/// How long the next attempt waits after `wrong` passwords too many.
fn delay(wrong: u32) -> Duration {
    match wrong {
        0 => Duration::ZERO,
        _ => DELAY_MAX.min(DELAY_FIRST * 2u32.saturating_pow((wrong - 1).min(16))),
    }
}

const DELAY_FIRST: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(8);
/// Who would wait longer is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(10);
const FORGET_AFTER: Duration = Duration::from_secs(600);
const ENTRIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::since_start(Duration::from_millis(ms))
    }

    #[test]
    fn each_wrong_one_beyond_the_free_ones_doubles_the_wait_up_to_a_bound() {
        let mut throttle = Throttle::new(1);
        let mut waits = Vec::new();
        for round in 0..9 {
            let now = at(1_000_000 + round * 20_000);
            throttle.wrong(&"ann", now);
            waits.push(throttle.reserve(&"ann", now).expect("few wait").since(now).as_millis());
        }
        assert_eq!(waits, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!(throttle.reserve(&"bob", at(0)), Some(at(0)), "others do not wait");
        throttle.right(&"ann");
        assert_eq!(throttle.reserve(&"ann", at(0)), Some(at(0)));
    }

    #[test]
    fn many_who_ask_at_once_wait_one_behind_the_other_and_not_for_ever() {
        let mut throttle = Throttle::new(0);
        for _ in 0..4 {
            throttle.wrong(&"ann", at(0));
        }
        let waits: Vec<_> = (0..8).map(|_| throttle.reserve(&"ann", at(0))).collect();
        let expected = [2_000, 4_000, 6_000, 8_000, 10_000].map(|ms| Some(at(ms)));
        assert_eq!((&waits[..5], &waits[5..]), (&expected[..], &[None; 3][..]));
    }

    #[test]
    fn what_is_long_ago_does_not_count_and_memory_is_bounded() {
        let mut throttle = Throttle::new(1);
        throttle.wrong(&0, at(0));
        throttle.wrong(&0, at(700_000));
        assert_eq!(throttle.reserve(&0, at(700_000)), Some(at(700_000)));
        for key in 0..2 * ENTRIES_MAX {
            throttle.wrong(&key, at(700_000));
        }
        assert_eq!(throttle.entries.len(), ENTRIES_MAX);
    }
}
