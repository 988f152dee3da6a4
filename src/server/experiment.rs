//! Frames to other boxes that are lost, repeated or held up on purpose, for experiments.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::grid::ServerId;
use crate::rng::{Probability, Rng};
use crate::time::Time;

/// The most that is held up, in bytes; what comes on top is lost.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is done to frames on their way out. What a real network does to them comes on top.
#[derive(Debug)]
pub(super) struct Experiment {
    loss: Probability,
    duplicate: Probability,
    delay: Duration,
    rng: Rng,
    held: BTreeMap<(Time, u64), (ServerId, Bytes)>,
    held_bytes: usize,
    frames: u64,
    lost: u64,
}

impl Experiment {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            loss: Probability::NEVER,
            duplicate: Probability::NEVER,
            delay: Duration::ZERO,
            rng: Rng::new(seed),
            held: BTreeMap::new(),
            held_bytes: 0,
            frames: 0,
            lost: 0,
        }
    }

    /// What is done from now on.
    pub(super) fn set(&mut self, loss: Probability, duplicate: Probability, delay: Duration) {
        (self.loss, self.duplicate, self.delay) = (loss, duplicate, delay);
    }

    /// A frame wants to leave: how often it may do so at once. Copies that are held up come out of [`Experiment::next_due`].
    pub(super) fn admit(&mut self, to: ServerId, frame: &Bytes, now: Time) -> u32 {
        if self.loss == Probability::NEVER && self.duplicate == Probability::NEVER && self.delay.is_zero() {
            return 1;
        }
        let copies = if self.rng.chance(self.duplicate) { 2 } else { 1 };
        let mut at_once = 0;
        for _ in 0..copies {
            let wait = self.rng.duration(Duration::ZERO, self.delay);
            if self.rng.chance(self.loss) || self.held_bytes + frame.len() > HELD_BYTES_MAX {
                self.lost += 1;
            } else if wait.is_zero() {
                at_once += 1;
            } else {
                self.frames += 1;
                self.held_bytes += frame.len();
                self.held.insert((now + wait, self.frames), (to, frame.clone()));
            }
        }
        at_once
    }

    /// The next frame that has been held up for long enough.
    pub(super) fn next_due(&mut self, now: Time) -> Option<(ServerId, Bytes)> {
        self.held.first_key_value().filter(|((at, _), _)| *at <= now)?;
        let (_, (to, frame)) = self.held.pop_first()?;
        self.held_bytes -= frame.len();
        Some((to, frame))
    }

    /// When the next of them is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.held.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many frames were lost on purpose.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ServerId = ServerId(1);

    fn run(seed: u64, loss: u32, duplicate: u32, delay_ms: u64) -> (u32, usize, u64) {
        let mut experiment = Experiment::new(seed);
        let delay = Duration::from_millis(delay_ms);
        experiment.set(Probability::percent(loss), Probability::percent(duplicate), delay);
        let frame = Bytes::from_static(b"x");
        let at_once = (0..1000).map(|_| experiment.admit(TO, &frame, Time::ZERO)).sum();
        assert!(experiment.next_due(Time::ZERO).is_none());
        let late = Time::ZERO + delay;
        let held = std::iter::from_fn(|| experiment.next_due(late)).count();
        assert_eq!((experiment.deadline(), experiment.held_bytes), (None, 0));
        (at_once, held, experiment.lost())
    }

    #[test]
    fn without_an_experiment_every_frame_leaves_once() {
        assert_eq!(run(1, 0, 0, 0), (1000, 0, 0));
    }

    #[test]
    fn frames_are_lost_repeated_and_held_up_as_often_as_was_asked() {
        let (left, held, lost) = run(2, 10, 0, 0);
        assert!((850..950).contains(&left) && held == 0 && u64::from(1000 - left) == lost, "{left} {lost}");
        let (left, ..) = run(3, 0, 20, 0);
        assert!((1150..1250).contains(&left), "{left}");
        let (left, held, lost) = run(4, 0, 0, 50);
        assert_eq!((left as usize + held, lost), (1000, 0));
        assert!(held > 990, "{held}");
    }

    #[test]
    fn the_same_seed_gives_the_same_experiment() {
        assert_eq!(run(5, 10, 10, 5), run(5, 10, 10, 5));
        assert_ne!(run(5, 10, 10, 5), run(6, 10, 10, 5));
    }
}
