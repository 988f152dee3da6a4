//! Plumtree: broadcast along a tree that is laid over the links, with the other links as its repair.
//!
//! **Problem.** A flood sends every message over every link, and all but one copy for each node are for nothing. A tree sends each once, and loses
//! whole branches when a node dies. Here payloads are *pushed eagerly* along some links, and over the others a node only says which it has
//! (*lazy push*). Whoever hears of a message that does not come takes the link over which it was announced into the tree.
//!
//! **State.** For each neighbour whether it is an eager one. Which messages were seen, and the latest with their payloads, for those who ask. Which
//! messages were announced and have not come, by whom, and until when they are waited for.
//!
//! **Messages.** `GOSSIP` the payload; `IHAVE` announcements, gathered for a while; `GRAFT` asks for payloads and makes a link eager at both ends;
//! `PRUNE` makes it lazy at both ends.
//!
//! **Invariants.** A message is delivered once. What a node has received it has sent to each eager neighbour, or will have announced to each
//! lazy one, but the one it came from. The two ends of a link agree whether it is eager, or will after what is on its way.
//!
//! Source: Leitão, Pereira and Rodrigues, "Epidemic Broadcast Trees", SRDS 2007, Algorithms 1 to 3. We differ:
//! - Within a *back-off* after a `GRAFT` no `PRUNE` is sent over the link nor heeded: it can only have crossed the `GRAFT`. Within a back-off
//!   after a `PRUNE`, what is missing is fetched without a `GRAFT`. So a link does not change to and fro, and its ends agree.
//! - Where many send at once, copies of one source's messages only shape the tree, and a link for which another one was pruned is kept for a while.
//!   For what is missing by one cause one link is grafted. ([`PlumtreeOptions::shaper_hold`] of zero leaves the choice of sources as in the paper.)
//! - A link is exchanged for a shorter way only if it was long for several messages in a row ([`PlumtreeOptions::optimisation_patience`]). At once, as in the
//!   paper, each of many senders pulls the tree to itself: among 3,000 nodes the last hop grew from 12.4 to 17.6 in 100 broadcasts, and on; with a patience
//!   of two it stays at 13.3.
//! - The optimisation is also tried when an announcement comes after its message, since gathered announcements are late.
//! - All tables are bounded.

mod branches;
mod cache;
mod lazy;
mod message;
mod missing;
mod options;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::cache::{Cache, Cached, Limits};
use self::message::RUNS_MAX;
pub use self::message::{PlumtreeMessage, Run};
use self::missing::Missing;
pub use self::options::PlumtreeOptions;
use super::flood::broadcast_command;
use super::seen::Seen;
use super::{Happening, Id, Layer, MessageId, Payload, Sends};
use crate::time::Time;

/// The part of the tree that one node knows.
#[derive(Debug)]
pub struct Plumtree<I, P> {
    me: I,
    incarnation: u64,
    seq: u64,
    options: PlumtreeOptions,
    neighbours: Vec<Neighbour<I>>,
    seen: Seen<I>,
    cache: Cache<I, P>,
    missing: Missing<I>,
    /// What is to be announced to lazy neighbours, and from whom each came.
    queue: Vec<(Option<I>, Run<I>)>,
    /// When it is to be announced.
    announce_at: Option<Time>,
    /// What this node waits for announced messages.
    first_timeout: Duration,
    /// Until when no second link is grafted for what is missing.
    grafted_until: Time,
    /// Whose messages shape the tree, and until when if it is not heard again.
    shaper: Option<(I, Time)>,
    last: Option<(MessageId<I>, u16)>,
    /// The latest announcement for which there was no room.
    overflow: Option<(I, MessageId<I>)>,
    counts: PlumtreeCounts,
}

#[derive(Clone, Copy, Debug)]
struct Neighbour<I> {
    peer: I,
    eager: bool,
    /// The back-off after a `PRUNE`.
    no_graft_before: Time,
    /// The back-off after a `GRAFT`.
    no_prune_before: Time,
    /// Until when it is kept, since another one was pruned for it.
    kept_until: Time,
    /// Whether the latest message that came first by it could have come by a much shorter way, and how many in a row before it.
    long_now: bool,
    long_before: u8,
}

/// What a tree counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlumtreeCounts {
    /// `GOSSIP`s sent, to one neighbour each.
    pub payloads_sent: u64,
    /// Messages received for the first time.
    pub delivered: u64,
    /// Messages received again.
    pub duplicates: u64,
    /// `IHAVE`s sent, however much each announces.
    pub ihaves_sent: u64,
    /// `GRAFT`s sent, and what else asks for payloads.
    pub grafts_sent: u64,
    /// `PRUNE`s sent.
    pub prunes_sent: u64,
    /// How often a link was exchanged for a shorter way to the source.
    pub optimised: u64,
    /// Messages that were too long, announcements for which there was no room.
    pub refused: u64,
}

/// A message that has come for the first time, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival<I, P> {
    /// Which one.
    pub id: MessageId<I>,
    /// What it says.
    pub payload: P,
    /// Whether it is certain that it is new here. If not, its source has sent 128 or more since; it goes no further, and only who counts all
    /// messages can tell whether it has come before.
    pub fresh: bool,
}

type Out<I, P> = Sends<I, PlumtreeMessage<I, P>>;

impl<I: Id, P: Payload> Plumtree<I, P> {
    /// The tree of the node `me` in this life.
    pub fn new(me: I, incarnation: u64, options: PlumtreeOptions) -> Self {
        let limits =
            Limits { count: options.cache_count, bytes: options.cache_bytes, age: options.cache_age };
        Self {
            me,
            incarnation,
            seq: 0,
            neighbours: Vec::new(),
            seen: Seen::new(options.sources_max),
            cache: Cache::new(limits),
            missing: Missing::new(options.missing_max),
            queue: Vec::new(),
            announce_at: None,
            first_timeout: options.first_timeout + options.first_timeout_spread * sixteenths_of(me) / 16,
            grafted_until: Time::ZERO,
            shaper: None,
            last: None,
            overflow: None,
            counts: PlumtreeCounts::default(),
            options,
        }
    }

    /// Sends `payload` to everybody. It is not delivered here. `None`: it is too long.
    pub fn broadcast(&mut self, now: Time, payload: P, out: &mut Out<I, P>) -> Option<MessageId<I>> {
        if payload.size_bytes() > self.options.payload_bytes_max {
            return None;
        }
        self.seq += 1;
        let id = MessageId { source: self.me, incarnation: self.incarnation, seq: self.seq };
        self.seen.insert(&id);
        self.shapes(now, id.source);
        self.push(now, id, 0, &payload, None, out);
        self.cache.insert(now, id, Cached { payload, round: 0, from: None, at: now });
        Some(id)
    }

    /// Takes a message of a neighbour. If it is a broadcast, and new here, it is given back.
    pub fn receive(
        &mut self,
        now: Time,
        from: I,
        message: PlumtreeMessage<I, P>,
        out: &mut Out<I, P>,
    ) -> Option<Arrival<I, P>> {
        match message {
            PlumtreeMessage::Gossip { id, round, payload } => {
                return self.gossip(now, from, id, round, payload, out);
            }
            PlumtreeMessage::IHave(run) => self.announced(now, from, run, out),
            PlumtreeMessage::IHaves(runs) => {
                for &run in &runs {
                    self.announced(now, from, run, out);
                }
            }
            PlumtreeMessage::Graft(run) => {
                // Algorithm 2, receipt of GRAFT.
                self.make_eager(now, from, out);
                self.set_no_prune(now, from);
                self.serve(now, from, run, out);
            }
            PlumtreeMessage::Fetch(run) => self.serve(now, from, Some(run), out),
            PlumtreeMessage::Prune => self.pruned(now, from),
        }
        None
    }

    /// A neighbour more. It is an eager one: if that makes a circle, the next message prunes it (Section 3.7).
    pub fn link_up(&mut self, peer: I) {
        if self.place(peer).is_none() {
            let [no_graft_before, no_prune_before, kept_until] = [Time::ZERO; 3];
            self.neighbours.push(Neighbour {
                peer,
                eager: true,
                no_graft_before,
                no_prune_before,
                kept_until,
                long_now: false,
                long_before: 0,
            });
        }
    }

    /// A neighbour less. What it has announced it cannot be asked for any more (Algorithm 3, `NeighborDown`).
    pub fn link_down(&mut self, peer: I) {
        self.neighbours.retain(|neighbour| neighbour.peer != peer);
        self.missing.forget(peer);
    }

    /// Announces what has gathered, and asks for what has not come in time.
    pub fn timeout(&mut self, now: Time, out: &mut Out<I, P>) {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce(out);
        }
        self.ask_for_missing(now, out);
    }

    /// When [`Plumtree::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Time> {
        match (self.announce_at, self.missing.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Takes a message that the owner has got in another way, and that came to whoever had it at `at`. It is not passed on, but can be asked for.
    pub(super) fn adopt(&mut self, now: Time, id: MessageId<I>, payload: P, at: Time) {
        self.seen.insert(&id);
        self.missing.take(&id);
        // How far it has come is not known; that it has no neighbour as its origin keeps the way from being shortened.
        self.cache.insert(now, id, Cached { payload, round: 0, from: None, at });
    }

    /// Its own broadcasts are those of another life from now on.
    pub(super) fn begin_life(&mut self, incarnation: u64) {
        (self.incarnation, self.seq) = (incarnation, 0);
    }

    /// What can be asked for of one life of a source, from `first` on: number, when it came, payload.
    pub(super) fn cached_from(
        &self,
        now: Time,
        first: MessageId<I>,
    ) -> impl Iterator<Item = (u64, Time, &P)> {
        self.cache.from(now, first).map(|(id, cached)| (id.seq, cached.at, &cached.payload))
    }

    /// The latest of the announcements for which there was no room since this was asked, and whose it was.
    pub(super) fn take_overflow(&mut self) -> Option<(I, MessageId<I>)> {
        self.overflow.take()
    }

    /// Its neighbours.
    pub fn neighbours(&self) -> impl Iterator<Item = I> {
        self.neighbours.iter().map(|neighbour| neighbour.peer)
    }

    /// The neighbours to which payloads are pushed.
    pub fn eager(&self) -> impl Iterator<Item = I> {
        self.neighbours.iter().filter(|neighbour| neighbour.eager).map(|neighbour| neighbour.peer)
    }

    /// The neighbours to which messages are only announced.
    pub fn lazy(&self) -> impl Iterator<Item = I> {
        self.neighbours.iter().filter(|neighbour| !neighbour.eager).map(|neighbour| neighbour.peer)
    }

    /// What was delivered last, and over how many links it had come.
    pub fn last_delivered(&self) -> Option<(MessageId<I>, u16)> {
        self.last
    }

    /// What was counted.
    pub fn counts(&self) -> PlumtreeCounts {
        self.counts
    }

    /// Algorithm 1, receipt of GOSSIP.
    fn gossip(
        &mut self,
        now: Time,
        from: I,
        id: MessageId<I>,
        round: u16,
        payload: P,
        out: &mut Out<I, P>,
    ) -> Option<Arrival<I, P>> {
        if payload.size_bytes() > self.options.payload_bytes_max {
            self.counts.refused += 1;
            return None;
        }
        let shapes = self.shapes(now, id.source);
        if !self.seen.insert(&id) {
            if self.seen.is_too_old(&id) {
                return Some(Arrival { id, payload, fresh: false });
            }
            self.counts.duplicates += 1;
            if shapes {
                self.came_again(now, &id, from, out);
            }
            return None;
        }
        let announcers = self.missing.take(&id);
        let hops = round.saturating_add(1);
        self.counts.delivered += 1;
        self.came_first(from);
        self.last = Some((id, hops));
        let cached = Cached { payload: payload.clone(), round: hops, from: Some(from), at: now };
        self.cache.insert(now, id, cached);
        self.push(now, id, hops, &payload, Some(from), out);
        // A payload that was only fetched, or was on its way when the link was pruned, does not make the link eager: the other end would not know.
        if self.find(from).is_some_and(|neighbour| neighbour.no_graft_before <= now) {
            self.make_eager(now, from, out);
        }
        if let Some(&best) = announcers.iter().min_by_key(|announcer| announcer.1)
            && shapes
        {
            self.optimise(now, &id, (from, round), best, out);
        }
        Some(Arrival { id, payload, fresh: true })
    }

    /// Sends a message to the eager neighbours, and will announce it to the lazy ones.
    fn push(
        &mut self,
        now: Time,
        id: MessageId<I>,
        round: u16,
        payload: &P,
        from: Option<I>,
        out: &mut Out<I, P>,
    ) {
        let mut lazy = false;
        for neighbour in self.neighbours.iter().filter(|neighbour| Some(neighbour.peer) != from) {
            if neighbour.eager {
                self.counts.payloads_sent += 1;
                out.send(neighbour.peer, PlumtreeMessage::Gossip { id, round, payload: payload.clone() });
            } else {
                lazy = true;
            }
        }
        if !lazy {
            return;
        }
        lazy::add_to_runs(&mut self.queue, from, &id, round);
        if self.options.announce_period.is_zero() || self.queue.len() >= RUNS_MAX {
            self.announce(out);
        } else if self.announce_at.is_none() {
            self.announce_at = Some(now + self.options.announce_period);
        }
    }

    fn place(&self, peer: I) -> Option<usize> {
        self.neighbours.iter().position(|neighbour| neighbour.peer == peer)
    }

    fn find(&self, peer: I) -> Option<&Neighbour<I>> {
        self.neighbours.iter().find(|neighbour| neighbour.peer == peer)
    }
}

/// A number below 16 for each node, about as often as any other.
fn sixteenths_of<I: Id>(me: I) -> u32 {
    let mut bytes = Vec::new();
    me.encode(&mut bytes);
    let mixed = bytes
        .iter()
        .fold(0_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x9E37_79B1).rotate_left(13));
    mixed % 16
}

/// Command: `broadcast <text>`.
impl<I: Id, P: Payload> Layer<I> for Plumtree<I, P> {
    type Msg = PlumtreeMessage<I, P>;

    fn handle(&mut self, now: Time, happening: Happening<I, Self::Msg>, out: &mut Sends<I, Self::Msg>) {
        match happening {
            Happening::Message { from, message } => {
                self.receive(now, from, message, out);
            }
            Happening::Timeout => self.timeout(now, out),
            Happening::LinkUp(peer) => self.link_up(peer),
            Happening::LinkDown(peer, _) => self.link_down(peer),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.next_timeout()
    }

    fn command(&mut self, now: Time, line: &str, out: &mut Sends<I, Self::Msg>) -> bool {
        broadcast_command(line).is_some_and(|payload| self.broadcast(now, payload, out).is_some())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts;
        vec![
            ("payloads_sent", counts.payloads_sent),
            ("delivered", counts.delivered),
            ("duplicates", counts.duplicates),
            ("ihaves_sent", counts.ihaves_sent),
            ("grafts_sent", counts.grafts_sent),
            ("prunes_sent", counts.prunes_sent),
            ("optimised", counts.optimised),
            ("refused", counts.refused),
        ]
    }
}
