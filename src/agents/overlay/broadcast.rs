//! Broadcast as a service: what one node says reaches everybody else that is connected, in the order in which it was said.
//!
//! **Problem.** The tree delivers a message once, but not in order, and not at all where a link broke with the message on it, or where somebody was
//! cut off for longer than announcements are repeated.
//!
//! **State.** For each source, which is a node in one of its lives: the number that is to be delivered next, what came before its turn, and what is
//! being done about the gap before that. The tree below has the latest messages for those who miss them.
//!
//! **Messages.** Those of the tree; *highest*, when a link comes up and when something was repaired: how far the sender has heard each source;
//! *ask* and *answer*: what is missing, from the cache of a neighbour; *direct*: to one neighbour alone.
//!
//! **Invariants.**
//! - The messages of one life of a source are delivered in the order of their numbers, each at most once, and none after the first of a later life.
//! - A gap is left to the tree for [`BroadcastOptions::repair_delay`], then neighbours are asked one after the other, first the one that is known to be
//!   further. What nobody has after [`BroadcastOptions::gap_timeout`] is skipped and counted.
//! - So after a partition whoever stayed alive gets what the caches still hold of what the other side has said. The news that somebody has caught up
//!   goes from neighbour to neighbour.
//! - What was said before a node's first link came up is past, and none of its business: marks and kept messages carry their age, and a newcomer begins
//!   behind what is older than itself. What was said since is its business, wherever it first hears of the source.
//! - Nothing is delivered to its own source.
//!
//! Everything that waits is bounded. Whoever may connect is trusted not to lie about others: forged messages of a source can end its stream here.
//!
//! Source: the FIFO broadcast of Hadzilacos and Toueg, "Fault-tolerant broadcasts and related problems", 1993, over
//! a tree that may lose; the repair is our own.

mod message;
mod options;
mod repair;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

pub use self::message::{BroadcastMessage, Kept, Mark};
pub(super) use self::message::{decode_ms, encode_ms, list};
pub use self::options::BroadcastOptions;
use self::streams::{Context, Streams};
use super::{Arrival, Blob, Happening, Id, Layer, MessageId, Plumtree, PlumtreeMessage, Reason, Sends};
use crate::time::Time;

/// A broadcast, as one node has it.
#[derive(Debug)]
pub struct Broadcast<I> {
    options: BroadcastOptions,
    tree: Plumtree<I, Blob>,
    tree_sends: Sends<I, PlumtreeMessage<I, Blob>>,
    streams: Streams<I>,
    /// The latest message of this node, and when it was sent.
    own: MessageId<I>,
    spoke_at: Time,
    /// When the first link came up.
    linked_at: Option<Time>,
    /// Of which sources neighbours are to be told that more was delivered than they could know, and when.
    caught_up: BTreeSet<I>,
    tell_at: Option<Time>,
    news: VecDeque<News<I>>,
    counts: Counts,
}

/// What a node's owner is told by its broadcast, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<I> {
    /// A neighbour more.
    LinkUp(I),
    /// A neighbour less.
    LinkDown(I, Reason),
    /// A neighbour has sent something to this node alone.
    Direct(I, Bytes),
    /// Somebody has broadcast something.
    Delivered(Delivered<I>),
}

/// A broadcast of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered<I> {
    /// Whose it is.
    pub source: I,
    /// In which of its lives: the larger, the later.
    pub incarnation: u64,
    /// Which of its broadcasts in that life, counted from 1. A service has some for itself, so there are gaps.
    pub seq: u64,
    /// What it says.
    pub payload: Bytes,
}

/// Why something was not sent. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// It is too long.
    #[error("a message has at most {bytes_max} bytes, this one {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is for somebody who is no neighbour.
    #[error("{peer} is no neighbour")]
    NoNeighbour {
        /// For whom it is.
        peer: String,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    broadcasts: u64,
    delivered: u64,
    asked: u64,
    repaired: u64,
    news_dropped: u64,
}

type Out<I> = Sends<I, BroadcastMessage<I>>;

impl<I: Id> Broadcast<I> {
    /// The broadcast of the node `me` in this life, which has to have a larger number than those before.
    pub fn new(me: I, incarnation: u64, options: BroadcastOptions) -> Self {
        Self {
            tree: Plumtree::new(me, incarnation, options.tree.clone()),
            tree_sends: Sends::default(),
            streams: Streams::new(),
            own: MessageId { source: me, incarnation, seq: 0 },
            spoke_at: Time::ZERO,
            linked_at: None,
            caught_up: BTreeSet::new(),
            tell_at: None,
            news: VecDeque::new(),
            counts: Counts::default(),
            options,
        }
    }

    /// Sends `payload` to everybody else.
    pub fn broadcast(&mut self, now: Time, payload: Bytes, out: &mut Out<I>) -> Result<(), Refused> {
        let now = now + PAST;
        self.check_length(&payload)?;
        if let Some(id) = self.tree.broadcast(now, Blob(payload), &mut self.tree_sends) {
            (self.own, self.spoke_at) = (id, now);
            self.counts.broadcasts += 1;
        }
        self.send_trees(out);
        Ok(())
    }

    /// Sends `payload` to one neighbour.
    pub fn direct(&mut self, to: I, payload: Bytes, out: &mut Out<I>) -> Result<(), Refused> {
        self.check_length(&payload)?;
        if !self.neighbours().any(|neighbour| neighbour == to) {
            return Err(Refused::NoNeighbour { peer: to.to_string() });
        }
        out.send(to, BroadcastMessage::Direct(payload));
        Ok(())
    }

    /// What has happened next. The owner takes all of it after each input; what it leaves is bounded.
    pub fn next_news(&mut self) -> Option<News<I>> {
        self.news.pop_front()
    }

    /// The neighbours.
    pub fn neighbours(&self) -> impl Iterator<Item = I> {
        self.tree.neighbours()
    }

    /// The tree below.
    pub fn tree(&self) -> &Plumtree<I, Blob> {
        &self.tree
    }

    fn check_length(&self, payload: &Bytes) -> Result<(), Refused> {
        let (bytes, bytes_max) = (payload.len(), self.options.tree.payload_bytes_max);
        if bytes > bytes_max { Err(Refused::TooLong { bytes, bytes_max }) } else { Ok(()) }
    }

    fn link_up(&mut self, now: Time, peer: I, out: &mut Out<I>) {
        self.linked_at.get_or_insert(now);
        self.tree.link_up(peer);
        self.tell(News::LinkUp(peer));
        // The first thing on a link, so that a newcomer knows where it stands before it hears a message.
        let own = Some(Mark { id: self.own, age: now.since(self.spoke_at) }).filter(|own| own.id.seq > 0);
        let marks: Vec<Mark<I>> = own.into_iter().chain(self.streams.marks(now)).collect();
        for marks in marks.chunks(message::MARKS_MAX) {
            out.send(peer, BroadcastMessage::Highest(marks.into()));
        }
    }

    fn received(&mut self, now: Time, from: I, message: BroadcastMessage<I>, out: &mut Out<I>) {
        match message {
            BroadcastMessage::Tree(message) => {
                if let Some(arrival) = self.tree.receive(now, from, message, &mut self.tree_sends) {
                    self.arrived(now, from, arrival);
                }
                if let Some((peer, id)) = self.tree.take_overflow() {
                    self.heard_of(now, peer, &Mark { id, age: Duration::ZERO });
                }
                self.send_trees(out);
            }
            BroadcastMessage::Highest(marks) => {
                for mark in &marks {
                    self.heard_of(now, from, mark);
                }
            }
            BroadcastMessage::Ask { first, last, age_max } => {
                self.answer(now, from, first, last, age_max, out);
            }
            BroadcastMessage::Answer { first, whole, messages } => {
                self.answered(now, from, &first, (whole, messages.into_vec()), out);
            }
            BroadcastMessage::Direct(payload) => {
                if payload.len() <= self.options.tree.payload_bytes_max {
                    self.tell(News::Direct(from, payload));
                }
            }
        }
        self.deliver();
    }

    fn timeout(&mut self, now: Time, out: &mut Out<I>) {
        self.tree.timeout(now, &mut self.tree_sends);
        self.send_trees(out);
        while let Some(source) = self.streams.overdue(now) {
            self.pursue(now, source, out);
        }
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_caught_up(now, out);
        }
        self.deliver();
    }

    fn arrived(&mut self, now: Time, from: I, arrival: Arrival<I, Blob>) {
        let Arrival { id, payload: Blob(payload), fresh } = arrival;
        // What this node has said in an earlier life may still be on its way.
        if id.source == self.own.source {
            return;
        }
        let context = self.context(now, from);
        let new = self.streams.offer(context, &id, (now, payload), &self.options);
        // The tree has passed on what it knows to be new. The rest is for the neighbours to ask for.
        if new && !fresh {
            self.has_caught_up(now, id.source);
        }
    }

    fn deliver(&mut self) {
        for (id, payload) in self.streams.take_ready() {
            let MessageId { source, incarnation, seq } = id;
            self.counts.delivered += 1;
            push(
                &mut self.news,
                News::Delivered(Delivered { source, incarnation, seq, payload }),
                &mut self.counts,
            );
        }
    }

    fn tell(&mut self, news: News<I>) {
        push(&mut self.news, news, &mut self.counts);
    }

    fn context(&self, now: Time, from: I) -> Context<I> {
        Context { now, from, since: self.linked_at.unwrap_or(now) }
    }

    fn send_trees(&mut self, out: &mut Out<I>) {
        for (to, message) in self.tree_sends.drain() {
            out.send(to, BroadcastMessage::Tree(message));
        }
    }
}

/// An owner that takes no news loses the oldest.
fn push<I>(queue: &mut VecDeque<News<I>>, news: News<I>, counts: &mut Counts) {
    if queue.len() >= NEWS_MAX {
        queue.pop_front();
        counts.news_dropped += 1;
    }
    queue.push_back(news);
}

/// How long before the beginning of the host's time a broadcast and a census count from. What others tell of may be older than the host, and the
/// times at which that came could not be told apart otherwise. Longer than any age on the wire.
pub(super) const PAST: Duration = Duration::from_secs(50 * 24 * 60 * 60);

/// How much news waits at most for an owner that does not take it.
const NEWS_MAX: usize = 65_536;

/// Command: `broadcast <text>`.
impl<I: Id> Layer<I> for Broadcast<I> {
    type Msg = BroadcastMessage<I>;

    fn handle(&mut self, now: Time, happening: Happening<I, Self::Msg>, out: &mut Sends<I, Self::Msg>) {
        let now = now + PAST;
        match happening {
            Happening::Message { from, message } => self.received(now, from, message, out),
            Happening::Timeout => self.timeout(now, out),
            Happening::LinkUp(peer) => self.link_up(now, peer, out),
            Happening::LinkDown(peer, reason) => {
                self.tree.link_down(peer);
                self.tell(News::LinkDown(peer, reason));
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let deadlines = [self.tree.next_timeout(), self.streams.deadline(), self.tell_at];
        deadlines.into_iter().flatten().min().map(|at| at - PAST)
    }

    fn command(&mut self, now: Time, line: &str, out: &mut Sends<I, Self::Msg>) -> bool {
        let Some(Blob(payload)) = super::flood::broadcast_command(line) else { return false };
        self.broadcast(now, payload, out).is_ok()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let Counts { broadcasts, delivered, asked, repaired, news_dropped } = self.counts;
        let tree = self.tree.counts();
        vec![
            ("broadcasts", broadcasts),
            ("broadcasts_delivered", delivered),
            ("payloads_sent", tree.payloads_sent),
            ("payloads_twice", tree.duplicates),
            ("announcements_sent", tree.ihaves_sent),
            ("grafts_sent", tree.grafts_sent),
            ("prunes_sent", tree.prunes_sent),
            ("gaps_asked", asked),
            ("gaps_repaired", repaired),
            ("gaps_skipped", self.streams.skipped),
            ("broadcasts_refused", self.streams.refused + tree.refused),
            ("news_dropped", news_dropped),
        ]
    }
}
