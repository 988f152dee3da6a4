//! One direction of a connection: what is on its way to one end, and what has arrived there and was not read yet.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::time::Time;

/// What travels.
#[derive(Debug)]
pub(super) enum Segment {
    /// The last part of the handshake: from here on the listener may accept.
    Hello,
    /// Bytes.
    Bytes(BytesMut),
    /// The sender sends no more.
    End,
    /// The connection is broken.
    Reset,
}

/// How a direction came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order.
    End,
    /// By a reset.
    Reset,
}

/// What one read found.
#[derive(Debug)]
pub(super) enum Reading {
    /// These bytes.
    Bytes(BytesMut),
    /// The other side sends no more; said once.
    End,
    /// The connection is broken; said once.
    Reset,
    /// Nothing now.
    Nothing,
}

/// What is on its way to one end of a connection.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// In the order in which it was sent, which is the order in which it arrives.
    under_way: VecDeque<(Time, Segment)>,
    arrived: BytesMut,
    /// Whether the handshake has ended: a listener may accept.
    pub(super) greeted: bool,
    ending: Option<Ending>,
    /// The ending, until a read has told it.
    untold: Option<Ending>,
    /// Sent and not read.
    bytes: usize,
    /// Read, but the sender has not learned that yet: it still holds the room.
    pub(super) unacknowledged: usize,
    /// Nothing arrives before: the stream stalls, or the sender's machine waits before it sends again.
    pub(super) not_before: Time,
    /// Since when nothing gets through at all.
    pub(super) held_since: Option<Time>,
    /// Whether an arrival stands in the schedule.
    pub(super) scheduled: bool,
    /// Whether the sender has more than there was room for.
    pub(super) writer_waits: bool,
}

impl Pipe {
    /// Puts `segment` on its way, to arrive at `at` or behind what was sent before; when it will arrive.
    pub(super) fn push(&mut self, at: Time, segment: Segment) -> Time {
        let at = self.under_way.back().map_or(at, |(last, _)| at.max(*last));
        if let Segment::Bytes(bytes) = &segment {
            self.bytes += bytes.len();
            // What leaves in one burst travels together.
            if let Some((last, Segment::Bytes(before))) = self.under_way.back_mut()
                && *last == at
            {
                before.extend_from_slice(bytes);
                return at;
            }
        }
        self.under_way.push_back((at, segment));
        at
    }

    /// When the next segment is to arrive.
    pub(super) fn next_arrival(&self) -> Option<Time> {
        self.under_way.front().map(|(at, _)| (*at).max(self.not_before))
    }

    /// Lets everything arrive whose time has come.
    pub(super) fn let_arrive(&mut self, now: Time) {
        while let Some((at, _)) = self.under_way.front()
            && *at <= now
        {
            match self.under_way.pop_front().expect("looked at").1 {
                Segment::Hello => self.greeted = true,
                Segment::Bytes(bytes) if self.arrived.is_empty() => self.arrived = bytes,
                Segment::Bytes(bytes) => self.arrived.extend_from_slice(&bytes),
                Segment::End => self.end(Ending::End),
                Segment::Reset => self.end(Ending::Reset),
            }
        }
    }

    /// Reads up to `count` bytes; the ending once there are no more.
    pub(super) fn read(&mut self, count: usize) -> Reading {
        if !self.arrived.is_empty() {
            let count = count.min(self.arrived.len());
            self.bytes -= count;
            return Reading::Bytes(self.arrived.split_to(count));
        }
        match self.untold.take() {
            Some(Ending::End) => Reading::End,
            Some(Ending::Reset) => Reading::Reset,
            None => Reading::Nothing,
        }
    }

    /// How many bytes can be read now.
    pub(super) fn arrived_bytes(&self) -> usize {
        self.arrived.len()
    }

    /// Whether a read would find something.
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.untold.is_some()
    }

    /// How the direction came to its end, if that has arrived.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// How many more bytes a pipe of `capacity` bytes takes.
    pub(super) fn room(&self, capacity: usize) -> usize {
        capacity.saturating_sub(self.bytes + self.unacknowledged)
    }

    /// Loses what would arrive later than `at`.
    pub(super) fn lose_after(&mut self, at: Time) {
        self.under_way.retain(|(arrives, _)| *arrives <= at);
        let under_way = self.under_way.iter().map(|(_, segment)| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::Hello | Segment::End | Segment::Reset => 0,
        });
        self.bytes = under_way.sum::<usize>() + self.arrived.len();
    }

    /// Loses what has arrived, with the process that did not read it.
    pub(super) fn lose_arrived(&mut self) {
        self.bytes -= self.arrived.len();
        self.arrived.clear();
    }

    /// Loses everything; whether there was anything that a machine would answer with a reset.
    pub(super) fn lose_all(&mut self) -> bool {
        let lost = self
            .under_way
            .drain(..)
            .fold(false, |lost, (_, segment)| lost || matches!(segment, Segment::Bytes(_) | Segment::Hello));
        self.arrived.clear();
        self.bytes = 0;
        lost
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.untold = Some(ending);
    }
}
