//! What is missing is asked for.

use std::time::Duration;

use super::super::{Blob, Id, MessageId};
use super::message::{ANSWERS_MAX, Kept, MARKS_MAX, Mark};
use super::{Broadcast, BroadcastMessage, Out};
use crate::time::Time;

impl<I: Id> Broadcast<I> {
    /// A neighbour has delivered a source's messages up to this one.
    pub(super) fn heard_of(&mut self, now: Time, from: I, mark: &Mark<I>) {
        if mark.id.source != self.own.source {
            let context = self.context(now, from);
            self.streams.heard_of(context, mark, &self.options);
        } else if (1..LIVES_MAX).contains(&mark.id.incarnation.saturating_sub(self.own.incarnation)) {
            // Somebody remembers a later life of this node: its clock was set back. As an earlier one it would not be heard.
            let incarnation = mark.id.incarnation + 1;
            self.own = MessageId { incarnation, seq: 0, ..self.own };
            self.tree.begin_life(incarnation);
        }
    }

    /// The time of a source has come: asks for what is missing, or gives it up.
    pub(super) fn pursue(&mut self, now: Time, source: I, out: &mut Out<I>) {
        let context = self.context(now, self.own.source);
        let Some((first, last)) = self.streams.gap(source) else { return };
        let neighbours: Vec<I> = self.tree.neighbours().collect();
        let Some(repair) = self.streams.get_mut(source).and_then(|stream| stream.repair.as_mut()) else {
            return;
        };
        let untried = |peer: &I| neighbours.contains(peer) && !repair.tried.contains(peer);
        let next = Some(repair.hint).filter(untried).or_else(|| neighbours.iter().copied().find(untried));
        if neighbours.is_empty() {
            // Whoever is cut off does not give up before somebody could be asked.
            repair.give_up = now + self.options.gap_timeout;
            return self.streams.set_alarm(source, Some(now + self.options.ask_timeout));
        }
        if now >= repair.give_up {
            return self.streams.skip(context, source, &self.options);
        }
        let Some(peer) = next else {
            let give_up = repair.give_up;
            return self.streams.set_alarm(source, Some(give_up));
        };
        repair.tried.push(peer);
        let again = (now + self.options.ask_timeout).min(repair.give_up);
        self.streams.set_alarm(source, Some(again));
        self.counts.asked += 1;
        out.send(peer, BroadcastMessage::Ask { first, last, age_max: now.since(context.since) });
    }

    /// Answers with what is in the cache, up to a limit; whoever has got that asks for more.
    pub(super) fn answer(
        &self,
        now: Time,
        from: I,
        first: MessageId<I>,
        last: u64,
        age_max: Duration,
        out: &mut Out<I>,
    ) {
        let mut bytes = 0;
        let messages = self.tree.cached_from(now, first).take_while(|(seq, ..)| *seq <= last);
        let messages = messages.filter(|(_, at, _)| now.since(*at) <= age_max).take(ANSWERS_MAX);
        let messages: Vec<Kept> = messages
            .take_while(|(_, _, Blob(contents))| {
                let first = bytes == 0;
                bytes += contents.len();
                first || bytes <= ANSWER_BYTES_MAX
            })
            .map(|(seq, at, Blob(contents))| Kept { seq, age: now.since(at), contents: contents.clone() })
            .collect();
        let own = first.source == self.own.source && first.incarnation == self.own.incarnation;
        let delivered = self.streams.has_delivered(&first, last);
        let was_there = now.since(self.context(now, from).since) >= age_max;
        let whole = own || (delivered && was_there);
        out.send(from, BroadcastMessage::Answer { first, whole, messages: messages.into() });
    }

    /// Takes an answer, and asks on if something is still missing.
    pub(super) fn answered(
        &mut self,
        now: Time,
        from: I,
        first: &MessageId<I>,
        (whole, messages): (bool, Vec<Kept>),
        out: &mut Out<I>,
    ) {
        let source = first.source;
        let life = self.streams.get_mut(source).map(|stream| stream.incarnation);
        if life != Some(first.incarnation) {
            return;
        }
        let context = self.context(now, from);
        for Kept { seq, age, contents } in messages {
            let id = MessageId { seq, ..*first };
            if contents.len() > self.options.tree.payload_bytes_max {
                continue;
            }
            let at = now - age;
            if self.streams.offer(context, &id, (at, contents.clone()), &self.options) {
                self.counts.repaired += 1;
                self.tree.adopt(now, id, Blob(contents), at);
                self.has_caught_up(now, source);
            }
        }
        let fresh = self.streams.is_fresh(source);
        let Some(stream) = self.streams.get_mut(source) else { return };
        let progress = stream.next > first.seq;
        let Some(repair) = &mut stream.repair else { return };
        // Only one who was asked makes us ask on, so that nobody can keep us busy with answers.
        let asked = repair.tried.contains(&from) || progress;
        if progress {
            repair.hint = from;
        }
        if asked && whole && fresh {
            // What he does not have is older than this node.
            self.streams.skip(context, source, &self.options);
        } else if asked {
            self.pursue(now, source, out);
        }
    }

    /// More of a source was delivered than neighbours could know.
    pub(super) fn has_caught_up(&mut self, now: Time, source: I) {
        self.caught_up.insert(source);
        self.tell_at.get_or_insert(now + TELL_PERIOD);
    }

    /// Tells all neighbours, so that they can ask for what they miss themselves.
    pub(super) fn tell_caught_up(&mut self, now: Time, out: &mut Out<I>) {
        self.tell_at = None;
        let sources = std::mem::take(&mut self.caught_up);
        let marks: Vec<Mark<I>> =
            sources.into_iter().filter_map(|source| self.streams.mark(now, source)).collect();
        for marks in marks.chunks(MARKS_MAX) {
            for peer in self.tree.neighbours() {
                out.send(peer, BroadcastMessage::Highest(marks.into()));
            }
        }
    }
}

/// An answer is no longer than this, unless its first message is.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// No clock was set back so far that a later life is by that much later.
const LIVES_MAX: u64 = 1 << 40;

/// How long it is gathered what neighbours are told.
const TELL_PERIOD: Duration = Duration::from_millis(100);
