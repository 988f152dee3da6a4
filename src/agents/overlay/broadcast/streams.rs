//! What each source sends, in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::{Id, MessageId};
use super::BroadcastOptions;
use crate::time::Time;

/// All sources that a node knows.
#[derive(Debug)]
pub(super) struct Streams<I> {
    streams: BTreeMap<I, Stream<I>>,
    /// When something is to be done about a stream.
    alarms: BTreeSet<(Time, I)>,
    /// What can be delivered, in order.
    ready: Vec<(MessageId<I>, Bytes)>,
    early_bytes: usize,
    /// Before this there is nobody to be forgotten.
    next_sweep: Time,
    pub(super) skipped: u64,
    pub(super) refused: u64,
}

/// One life of a source.
#[derive(Debug)]
pub(super) struct Stream<I> {
    pub(super) incarnation: u64,
    /// The number that is to be delivered next; zero as long as it is not decided where this node begins.
    pub(super) next: u64,
    /// The highest number that was heard of.
    known: u64,
    /// What came before its turn.
    early: BTreeMap<u64, Bytes>,
    heard: Time,
    alarm: Option<Time>,
    pub(super) repair: Option<Repair<I>>,
}

/// What is done about a gap.
#[derive(Debug)]
pub(super) struct Repair<I> {
    /// When the gap is skipped.
    pub(super) give_up: Time,
    /// Who was asked.
    pub(super) tried: Vec<I>,
    /// Who is likely to have what is missing.
    pub(super) hint: I,
}

/// How a message or a number is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<I> {
    pub(super) now: Time,
    /// Who has told.
    pub(super) from: I,
    /// Whether this node is no newcomer.
    pub(super) settled: bool,
}

impl<I: Id> Streams<I> {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            alarms: BTreeSet::new(),
            ready: Vec::new(),
            early_bytes: 0,
            next_sweep: Time::ZERO,
            skipped: 0,
            refused: 0,
        }
    }

    /// Takes a message; whether it is news.
    pub(super) fn offer(
        &mut self,
        context: Context<I>,
        id: &MessageId<I>,
        contents: Bytes,
        options: &BroadcastOptions,
    ) -> bool {
        // A newcomer does not know where it stands in the stream, but nothing is older than the first.
        let next = if context.settled || id.seq == 1 { 1 } else { 0 };
        if !self.open(context.now, id, next, options) {
            return false;
        }
        let stream = self.streams.get_mut(&id.source).expect("it is open");
        stream.heard = context.now;
        if id.seq < stream.next || stream.early.contains_key(&id.seq) {
            return false;
        }
        stream.known = stream.known.max(id.seq);
        let fits = stream.early.len() < options.early_count_max
            && self.early_bytes + contents.len() <= options.early_bytes_max;
        if id.seq == stream.next {
            stream.deliver(id.source, contents, &mut self.ready, &mut self.early_bytes);
            if let Some(repair) = &mut stream.repair {
                repair.give_up = context.now + options.gap_timeout;
                repair.tried.clear();
            }
        } else if fits {
            self.early_bytes += contents.len();
            stream.early.insert(id.seq, contents);
        } else {
            // It can be asked for when its turn comes.
            self.refused += 1;
        }
        self.look(context, id.source, options);
        true
    }

    /// Somebody has delivered a source's messages up to this one.
    pub(super) fn heard_of(&mut self, context: Context<I>, mark: &MessageId<I>, options: &BroadcastOptions) {
        let next = if context.settled { 1 } else { mark.seq + 1 };
        if !self.open(context.now, mark, next, options) {
            return;
        }
        let stream = self.streams.get_mut(&mark.source).expect("it is open");
        stream.known = stream.known.max(mark.seq);
        if mark.seq >= stream.next
            && let Some(repair) = &mut stream.repair
        {
            repair.hint = context.from;
            repair.tried.retain(|peer| *peer != context.from);
            let soon = context.now + options.repair_delay;
            let sooner = stream.alarm.map_or(soon, |alarm| alarm.min(soon));
            self.set_alarm(mark.source, Some(sooner));
        }
        self.look(context, mark.source, options);
    }

    /// A source whose time has come.
    pub(super) fn overdue(&mut self, now: Time) -> Option<I> {
        let (at, source) = self.alarms.first().copied()?;
        if at > now {
            return None;
        }
        self.set_alarm(source, None);
        Some(source)
    }

    /// When the next one's time comes.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.alarms.first().map(|alarm| alarm.0)
    }

    pub(super) fn set_alarm(&mut self, source: I, at: Option<Time>) {
        let Some(stream) = self.streams.get_mut(&source) else { return };
        if let Some(old) = stream.alarm {
            self.alarms.remove(&(old, source));
        }
        self.alarms.extend(at.map(|at| (at, source)));
        stream.alarm = at;
    }

    /// A source.
    pub(super) fn get_mut(&mut self, source: I) -> Option<&mut Stream<I>> {
        self.streams.get_mut(&source)
    }

    /// Up to where everything was delivered.
    pub(super) fn marks(&self) -> impl Iterator<Item = MessageId<I>> {
        self.streams.keys().filter_map(|source| self.mark(*source))
    }

    /// The same of one source; `None` if nothing is.
    pub(super) fn mark(&self, source: I) -> Option<MessageId<I>> {
        let stream = self.streams.get(&source).filter(|stream| stream.next > 1)?;
        Some(MessageId { source, incarnation: stream.incarnation, seq: stream.next - 1 })
    }

    /// The first and the last number of the gap before what came early.
    pub(super) fn gap(&self, source: I) -> Option<(MessageId<I>, u64)> {
        let stream = self.streams.get(&source)?;
        let first = MessageId { source, incarnation: stream.incarnation, seq: stream.next };
        let last = stream.early.keys().next().map_or(stream.known, |early| early - 1);
        (stream.next > 0 && stream.next <= last).then_some((first, last))
    }

    /// Goes on behind a gap, and decides where to begin where that was open.
    pub(super) fn skip(&mut self, context: Context<I>, source: I, options: &BroadcastOptions) {
        let Some(stream) = self.streams.get_mut(&source) else { return };
        let goes_on = stream.early.keys().next().copied().unwrap_or(stream.known + 1);
        if stream.next > 0 {
            self.skipped += goes_on.saturating_sub(stream.next);
        }
        stream.next = goes_on;
        stream.repair = None;
        stream.deliver_early(source, &mut self.ready, &mut self.early_bytes);
        self.look(context, source, options);
    }

    /// Takes what can be delivered.
    pub(super) fn take_ready(&mut self) -> impl Iterator<Item = (MessageId<I>, Bytes)> {
        self.ready.drain(..)
    }

    /// Makes sure that there is a stream for this life of a source, beginning at `next` if it is new. There is none for an earlier life, nor if there
    /// are too many.
    fn open(&mut self, now: Time, id: &MessageId<I>, next: u64, options: &BroadcastOptions) -> bool {
        let full = self.streams.len() >= options.sources_max && !self.streams.contains_key(&id.source);
        if full && !self.sweep(now, options) {
            self.refused += 1;
            return false;
        }
        match self.streams.get_mut(&id.source) {
            Some(stream) if stream.incarnation == id.incarnation => return true,
            Some(stream) if stream.incarnation > id.incarnation => return false,
            Some(stream) => {
                // The life is over: what is missing of it will not come any more. What came early is delivered before the new life begins.
                while let Some(&early) = stream.early.keys().next() {
                    self.skipped += early - stream.next;
                    stream.next = early;
                    stream.deliver_early(id.source, &mut self.ready, &mut self.early_bytes);
                }
                self.set_alarm(id.source, None);
            }
            None => {}
        }
        let stream = Stream {
            incarnation: id.incarnation,
            next,
            known: next.saturating_sub(1),
            early: BTreeMap::new(),
            heard: now,
            alarm: None,
            repair: None,
        };
        self.streams.insert(id.source, stream);
        true
    }

    /// Looks whether there is a gap now, or none any more.
    fn look(&mut self, context: Context<I>, source: I, options: &BroadcastOptions) {
        let gap = self.gap(source).is_some();
        let Some(stream) = self.streams.get_mut(&source) else { return };
        if stream.next == 0 {
            if stream.alarm.is_none() {
                self.set_alarm(source, Some(context.now + options.opening_wait));
            }
        } else if !gap {
            stream.repair = None;
            if stream.alarm.is_some() {
                self.set_alarm(source, None);
            }
        } else if stream.repair.is_none() {
            let give_up = context.now + options.gap_timeout;
            stream.repair = Some(Repair { give_up, tried: Vec::new(), hint: context.from });
            self.set_alarm(source, Some(context.now + options.repair_delay));
        }
    }

    /// Forgets sources that were silent for so long that nobody can have anything of them any more: should they come back, nothing is delivered twice.
    /// Whether there is room now.
    fn sweep(&mut self, now: Time, options: &BroadcastOptions) -> bool {
        if now < self.next_sweep {
            return false;
        }
        self.next_sweep = now + Duration::from_secs(1);
        let silence_max = options.tree.cache_age * 2;
        self.streams.retain(|_, stream| stream.alarm.is_some() || now.since(stream.heard) <= silence_max);
        self.streams.len() < options.sources_max
    }
}

impl<I: Id> Stream<I> {
    fn deliver(
        &mut self,
        source: I,
        contents: Bytes,
        ready: &mut Vec<(MessageId<I>, Bytes)>,
        early_bytes: &mut usize,
    ) {
        ready.push((MessageId { source, incarnation: self.incarnation, seq: self.next }, contents));
        self.next += 1;
        self.deliver_early(source, ready, early_bytes);
    }

    fn deliver_early(&mut self, source: I, ready: &mut Vec<(MessageId<I>, Bytes)>, early_bytes: &mut usize) {
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() == self.next) {
            let contents = entry.remove();
            *early_bytes -= contents.len();
            ready.push((MessageId { source, incarnation: self.incarnation, seq: self.next }, contents));
            self.next += 1;
        }
    }
}
