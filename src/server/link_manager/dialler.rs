//! Who is to be dialled when: soon after a failure, more and more seldom after many.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::grid::ServerId;
use crate::time::Time;

/// The first wait after a dial that failed or a link that was lost.
const WAIT_MIN: Duration = Duration::from_millis(10);
/// The longest wait, in a grid of few servers: an absent server is found this soon after it starts.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// With many absent servers the waits grow, so that this much time lies between two dials on average.
const SPACING: Duration = Duration::from_micros(350);
/// How many dials are begun at a time; the rest follows in the host's next turns.
const DIALS_PER_TURN: usize = 64;
/// A link that was up for this long has held.
const HELD_MIN: Duration = Duration::from_secs(1);
/// The wait after somebody answered who is not the server that was dialled: that does not mend itself soon.
const WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// The dials to come.
#[derive(Debug)]
pub(super) struct Dialler {
    queue: BTreeSet<(Time, ServerId)>,
    /// The last wait of each peer, indexed by id; zero while there was no failure.
    waits: Vec<Duration>,
}

impl Dialler {
    pub(super) fn new(servers: usize) -> Self {
        Self { queue: BTreeSet::new(), waits: vec![Duration::ZERO; servers] }
    }

    /// There is one peer more.
    pub(super) fn grow(&mut self) {
        self.waits.push(Duration::ZERO);
    }

    /// Dials `peer` at `at`.
    pub(super) fn dial_at(&mut self, peer: ServerId, at: Time) {
        self.queue.insert((at, peer));
    }

    /// A connection to `peer` could not be made, or was up for `up` and is gone. It is dialled again after the wait that is
    /// returned: soon, if it had held for a while; more and more seldom if it never holds.
    pub(super) fn failed(&mut self, peer: ServerId, up: Option<Duration>, now: Time) -> Duration {
        let absent = u32::try_from(self.queue.len() + 1).unwrap_or(u32::MAX);
        let longest = match up {
            None => WAIT_MAX.max(SPACING * absent),
            Some(_) => WAIT_AFTER_REFUSAL,
        };
        let wait = &mut self.waits[peer.index()];
        if up.is_some_and(|up| up >= HELD_MIN) {
            *wait = Duration::ZERO;
        }
        *wait = (*wait * 2).clamp(WAIT_MIN, longest);
        self.queue.insert((now + *wait, peer));
        *wait
    }

    /// Somebody else answered in the place of `peer`.
    pub(super) fn refused(&mut self, peer: ServerId, now: Time) {
        self.queue.insert((now + WAIT_AFTER_REFUSAL, peer));
    }

    /// The link to `peer` is up. Whether it holds will be seen, so its waits stay as they are.
    pub(super) fn stop(&mut self, peer: ServerId) {
        self.queue.retain(|(_, queued)| *queued != peer);
    }

    /// Takes the peers that are to be dialled now.
    pub(super) fn due(&mut self, now: Time) -> Vec<ServerId> {
        let mut due = Vec::new();
        while due.len() < DIALS_PER_TURN
            && let Some((at, peer)) = self.queue.first().copied()
            && at <= now
        {
            self.queue.pop_first();
            due.push(peer);
        }
        due
    }

    /// When the next dial is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_limit_and_begin_anew_after_a_link() {
        let mut dialler = Dialler::new(4);
        let peer = ServerId(1);
        let now = Time::ZERO;
        let wait_ms = |dialler: &mut Dialler, up| {
            let wait = dialler.failed(peer, up, now).as_millis();
            dialler.due(now + Duration::from_secs(1));
            wait
        };
        let waits: Vec<u128> = (0..5).map(|_| wait_ms(&mut dialler, None)).collect();
        assert_eq!(waits, [10, 20, 40, 50, 50]);
        assert_eq!(wait_ms(&mut dialler, Some(HELD_MIN)), 10);
    }

    #[test]
    fn a_link_that_never_holds_is_dialled_more_and_more_seldom() {
        let mut dialler = Dialler::new(2);
        let peer = ServerId(0);
        let waits = (0..9).map(|_| {
            dialler.stop(peer);
            dialler.failed(peer, Some(Duration::from_millis(3)), Time::ZERO).as_millis()
        });
        assert_eq!(waits.collect::<Vec<_>>(), [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_sparse_grid_is_dialled_at_a_bounded_rate() {
        let mut dialler = Dialler::new(7000);
        let mut now = Time::ZERO;
        for id in 0..6999 {
            dialler.dial_at(ServerId(id), now);
        }
        let mut dials = 0;
        while now < Time::ZERO + Duration::from_secs(30) {
            let due = dialler.due(now);
            assert!(due.len() <= DIALS_PER_TURN);
            dials += due.len();
            for peer in due {
                dialler.failed(peer, None, now);
            }
            now = now + Duration::from_millis(1);
        }
        // The first rounds come faster; after them 2,900 dials a second, 86,000 in all.
        assert!((40_000..140_000).contains(&dials), "{dials} dials in 30 s");
    }

    #[test]
    fn a_peer_whose_link_is_up_is_not_dialled() {
        let mut dialler = Dialler::new(2);
        dialler.dial_at(ServerId(0), Time::ZERO);
        dialler.stop(ServerId(0));
        assert_eq!(dialler.next(), None);
        assert!(dialler.due(Time::ZERO).is_empty());
    }
}
