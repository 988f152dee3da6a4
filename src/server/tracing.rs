//! What a server tells those who look at its run later. Costs nothing but a look at a flag where nobody does.

use std::collections::VecDeque;

use bytes::Bytes;

use super::link_manager::{LinkManager, News};
use super::outputs::ConnId;
use crate::grid::ServerId;
use crate::time::Time;
use crate::trace::{Event, What};
use crate::wire::{Messages, PeerLine};

/// How much of an answer is kept.
const ANSWER_BYTES_MAX: usize = 4096;

/// The events since the host last asked.
#[derive(Debug)]
pub(super) struct Tracing {
    /// What this server is called; `None` where nobody wants to know.
    name: Option<String>,
    events: VecDeque<Event>,
}

impl Tracing {
    pub(super) fn new(name: Option<String>) -> Self {
        Self { name, events: VecDeque::new() }
    }

    /// Notes an event, which is worked out only if somebody wants to know.
    #[inline]
    pub(super) fn note(&mut self, now: Time, what: impl FnOnce() -> What) {
        if let Some(name) = &self.name {
            let event = Event { at_ns: now.as_nanos(), server: name.clone(), what: what() };
            self.events.push_back(event);
        }
    }

    /// Nobody wants to know any more.
    pub(super) fn end(&mut self) {
        *self = Self::new(None);
    }

    pub(super) fn is_on(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Lines leave for one peer, or for all.
    pub(super) fn sent_lines(&mut self, now: Time, links: &LinkManager, to: Option<ServerId>, bytes: &[u8]) {
        if !self.is_on() {
            return;
        }
        for (peer, link) in links.up().filter(|(peer, _)| to.is_none_or(|to| to == *peer)) {
            let messages =
                bytes.split(|byte| *byte == b'\n').filter_map(|line| match PeerLine::parse(line) {
                    Ok(PeerLine::Msg { contents, .. }) => Some(contents),
                    _ => None,
                });
            for contents in messages {
                self.note(now, || What::Send {
                    to: links.roster().name(peer),
                    link: link.to_owned(),
                    kind: "msg".into(),
                    text: contents.to_owned(),
                    id: None,
                });
            }
        }
    }

    /// Lines of a peer came in.
    pub(super) fn received_lines(
        &mut self,
        now: Time,
        links: &LinkManager,
        conn: ConnId,
        peer: ServerId,
        messages: &Messages<'_>,
    ) {
        if !self.is_on() {
            return;
        }
        for contents in messages.peek_all() {
            self.note(now, || What::Receive {
                from: links.roster().name(peer),
                link: links.label(conn).to_owned(),
                kind: "msg".into(),
                text: String::from_utf8_lossy(contents).into_owned(),
                id: None,
            });
        }
    }

    /// An answer to a master, as parts.
    pub(super) fn answer(&mut self, now: Time, parts: &[Bytes]) {
        if self.is_on() {
            let bytes: Vec<u8> = parts.iter().flatten().take(ANSWER_BYTES_MAX).copied().collect();
            self.answer_text(now, &String::from_utf8_lossy(&bytes));
        }
    }

    /// An answer to a master.
    pub(super) fn answer_text(&mut self, now: Time, text: &str) {
        self.note(now, || What::Answer { text: text.to_owned() });
    }

    /// What the link manager found out.
    pub(super) fn news(&mut self, now: Time, links: &LinkManager, news: &News) {
        let name = |peer: &ServerId| links.roster().name(*peer);
        self.note(now, || match news {
            News::Up { peer, conn, .. } => What::Up { peer: name(peer), link: links.label(*conn).to_owned() },
            News::Down { peer, label, why, .. } => {
                What::Down { peer: name(peer), link: label.clone(), why: why.to_string() }
            }
            News::Suspected { peer } => What::Note { text: format!("suspects {}", name(peer)) },
            News::HeardAgain { peer } => What::Note { text: format!("hears {} again", name(peer)) },
            News::Unreachable { peer, .. } => What::Note { text: format!("cannot reach {}", name(peer)) },
            News::Letter { .. } => What::Note { text: "a letter".into() },
            News::Heard { .. } => What::Note { text: "a superfluous connection".into() },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_once_nobody_wants_to_know() {
        let mut tracing = Tracing::new(Some("0".to_owned()));
        tracing.note(Time::ZERO, || What::Start);
        tracing.note(Time::ZERO, || What::Stop);
        assert_eq!(tracing.next_event().map(|event| event.what), Some(What::Start));
        tracing.end();
        tracing.note(Time::ZERO, || What::Crash);
        assert_eq!(tracing.next_event(), None);
    }
}
