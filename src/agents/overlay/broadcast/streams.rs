//! What each source sends, in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::{Id, MessageId};
use super::BroadcastOptions;
use super::message::Mark;
use crate::time::Time;

/// All sources that a node knows.
#[derive(Debug)]
pub(super) struct Streams<I> {
    sources: BTreeMap<I, Stream<I>>,
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
    /// The number that is to be delivered next.
    pub(super) next: u64,
    /// The highest number that was heard of.
    known: u64,
    /// Up to where nobody is asked any more.
    given_up: u64,
    /// What came before its turn, and when.
    early: BTreeMap<u64, (Time, Bytes)>,
    /// Whether nothing was delivered yet, nor passed over as past.
    fresh: bool,
    /// When the one before the next came.
    latest: Time,
    /// When anything came.
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
    /// Since when this node is there. What is older is past.
    pub(super) since: Time,
}

impl<I: Id> Streams<I> {
    pub(super) fn new() -> Self {
        Self {
            sources: BTreeMap::new(),
            alarms: BTreeSet::new(),
            ready: Vec::new(),
            early_bytes: 0,
            next_sweep: Time::ZERO,
            skipped: 0,
            refused: 0,
        }
    }

    /// Takes a message that came at `at`, here or to whoever had kept it; whether it is news.
    pub(super) fn offer(
        &mut self,
        context: Context<I>,
        id: &MessageId<I>,
        (at, contents): (Time, Bytes),
        options: &BroadcastOptions,
    ) -> bool {
        if !self.open(context.now, id, options) {
            return false;
        }
        let stream = self.sources.get_mut(&id.source).expect("it is open");
        stream.heard = context.now;
        if id.seq < stream.next || stream.early.contains_key(&id.seq) {
            return false;
        }
        stream.known = stream.known.max(id.seq);
        let passed = stream.pass_over(id.seq.min(stream.given_up + 1));
        self.skipped = self.skipped.saturating_add(passed);
        let fits = stream.early.len() < options.early_count_max
            && self.early_bytes + cost(&contents) <= options.early_bytes_max;
        if id.seq == stream.next {
            stream.deliver(id.source, (at, contents), &mut self.ready, &mut self.early_bytes);
            if let Some(repair) = &mut stream.repair {
                repair.give_up = context.now + options.gap_timeout;
                repair.tried.clear();
            }
        } else if fits {
            self.early_bytes += cost(&contents);
            stream.early.insert(id.seq, (at, contents));
        } else {
            // It can be asked for when its turn comes.
            self.refused += 1;
        }
        self.look(context, id.source, options);
        true
    }

    /// Somebody has delivered a source's messages up to this one.
    pub(super) fn heard_of(
        &mut self,
        context: Context<I>,
        &Mark { id: mark, age }: &Mark<I>,
        options: &BroadcastOptions,
    ) {
        if !self.open(context.now, &mark, options) {
            return;
        }
        let stream = self.sources.get_mut(&mark.source).expect("it is open");
        let past = age > context.now.since(context.since);
        if stream.fresh && stream.early.is_empty() && past {
            // A newcomer begins behind what was there before it.
            stream.next = stream.next.max(mark.seq + 1);
            stream.latest = context.now - age;
        }
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
        let Some(stream) = self.sources.get_mut(&source) else { return };
        if let Some(old) = stream.alarm {
            self.alarms.remove(&(old, source));
        }
        self.alarms.extend(at.map(|at| (at, source)));
        stream.alarm = at;
    }

    /// A source.
    pub(super) fn get_mut(&mut self, source: I) -> Option<&mut Stream<I>> {
        self.sources.get_mut(&source)
    }

    /// How far each source has been heard.
    pub(super) fn marks(&self, now: Time) -> impl Iterator<Item = Mark<I>> {
        self.sources.keys().filter_map(move |source| self.mark(now, *source))
    }

    /// The same of one source; `None` if nothing was heard of it but its name. What came early counts: whoever is told asks for what is before it too,
    /// and would not hear of it when it is delivered here.
    pub(super) fn mark(&self, now: Time, source: I) -> Option<Mark<I>> {
        let stream = self.sources.get(&source)?;
        let delivered = (stream.next - 1, stream.latest);
        let (seq, at) = stream.early.last_key_value().map_or(delivered, |(seq, (at, _))| (*seq, *at));
        let id = MessageId { source, incarnation: stream.incarnation, seq };
        (seq > 0).then_some(Mark { id, age: now.since(at) })
    }

    /// Whether a node that was there all the time has delivered this life of a source up to `last`.
    pub(super) fn has_delivered(&self, first: &MessageId<I>, last: u64) -> bool {
        let stream = self.sources.get(&first.source);
        stream.is_some_and(|stream| stream.incarnation == first.incarnation && stream.next > last)
    }

    /// The first and the last number of the gap before what came early.
    pub(super) fn gap(&self, source: I) -> Option<(MessageId<I>, u64)> {
        let stream = self.sources.get(&source)?;
        let first = MessageId { source, incarnation: stream.incarnation, seq: stream.next };
        let last = stream.early.keys().next().map_or(stream.known, |early| early - 1);
        (stream.next <= last).then_some((first, last))
    }

    /// Whether nothing of a source was delivered yet.
    pub(super) fn is_fresh(&self, source: I) -> bool {
        self.sources.get(&source).is_some_and(|stream| stream.fresh)
    }

    /// Goes on behind a gap. If nothing is behind it but hearsay, what was heard of is forgotten instead: should something come, it need not be waited
    /// for again.
    pub(super) fn skip(&mut self, context: Context<I>, source: I, options: &BroadcastOptions) {
        let Some(stream) = self.sources.get_mut(&source) else { return };
        stream.repair = None;
        if let Some(early) = stream.early.keys().next().copied() {
            self.skipped = self.skipped.saturating_add(stream.pass_over(early));
            stream.deliver_early(source, &mut self.ready, &mut self.early_bytes);
        } else {
            stream.given_up = stream.given_up.max(stream.known);
            stream.known = stream.next - 1;
        }
        self.look(context, source, options);
    }

    /// Takes what can be delivered.
    pub(super) fn take_ready(&mut self) -> impl Iterator<Item = (MessageId<I>, Bytes)> {
        self.ready.drain(..)
    }

    /// Makes sure that there is a stream for this life of a source. There is none for an earlier life, nor if there are too many.
    fn open(&mut self, now: Time, id: &MessageId<I>, options: &BroadcastOptions) -> bool {
        let full = self.sources.len() >= options.sources_max && !self.sources.contains_key(&id.source);
        if full && !self.sweep(now, options) {
            self.refused += 1;
            return false;
        }
        match self.sources.get_mut(&id.source) {
            Some(stream) if stream.incarnation == id.incarnation => return true,
            Some(stream) if stream.incarnation > id.incarnation => return false,
            Some(stream) => {
                // The life is over: what is missing of it will not come any more. What came early is delivered before the new life begins.
                while let Some(&early) = stream.early.keys().next() {
                    self.skipped = self.skipped.saturating_add(early - stream.next);
                    stream.next = early;
                    stream.deliver_early(id.source, &mut self.ready, &mut self.early_bytes);
                }
                self.set_alarm(id.source, None);
            }
            None => {}
        }
        let stream = Stream {
            incarnation: id.incarnation,
            next: 1,
            known: 0,
            given_up: 0,
            early: BTreeMap::new(),
            fresh: true,
            latest: now,
            heard: now,
            alarm: None,
            repair: None,
        };
        self.sources.insert(id.source, stream);
        true
    }

    /// Looks whether there is a gap now, or none any more.
    fn look(&mut self, context: Context<I>, source: I, options: &BroadcastOptions) {
        let gap = self.gap(source).is_some();
        let Some(stream) = self.sources.get_mut(&source) else { return };
        if !gap {
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
        self.sources.retain(|_, stream| stream.alarm.is_some() || now.since(stream.heard) <= silence_max);
        self.sources.len() < options.sources_max
    }
}

impl<I: Id> Stream<I> {
    /// Goes on with a later number; how many were lost by it. What was there before this node is no loss.
    fn pass_over(&mut self, next: u64) -> u64 {
        if next <= self.next {
            return 0;
        }
        let passed = next - std::mem::replace(&mut self.next, next);
        if std::mem::take(&mut self.fresh) { 0 } else { passed }
    }

    fn deliver(
        &mut self,
        source: I,
        (at, contents): (Time, Bytes),
        ready: &mut Vec<(MessageId<I>, Bytes)>,
        early_bytes: &mut usize,
    ) {
        self.advance(source, at, contents, ready);
        self.deliver_early(source, ready, early_bytes);
    }

    fn deliver_early(&mut self, source: I, ready: &mut Vec<(MessageId<I>, Bytes)>, early_bytes: &mut usize) {
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() == self.next) {
            let (at, contents) = entry.remove();
            *early_bytes -= cost(&contents);
            self.advance(source, at, contents, ready);
        }
    }

    fn advance(&mut self, source: I, at: Time, contents: Bytes, ready: &mut Vec<(MessageId<I>, Bytes)>) {
        ready.push((MessageId { source, incarnation: self.incarnation, seq: self.next }, contents));
        self.next += 1;
        self.fresh = false;
        self.latest = at;
    }
}

/// What a message that waits takes, however short it is.
fn cost(contents: &Bytes) -> usize {
    contents.len() + 128
}
