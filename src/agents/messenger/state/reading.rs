//! Messages that are read: what is in memory at once, what is on the disk by a look.

use bytes::Bytes;

use super::conversation::Conversation;
use super::pages::read_page;
use super::rows::{page_first, page_key};
use super::{ConversationId, Sequence, State, Stored, UserId};
use crate::agent::{Look, Row};

/// What is to be read of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who reads: nothing comes that this user may not see.
    pub reader: UserId,
    /// Which conversation.
    pub conversation: ConversationId,
    /// The first message.
    pub from: Sequence,
    /// The last one.
    pub upto: Sequence,
    /// Only messages of this time or later, in milliseconds since 1970 (UTC).
    pub since_ms: u64,
    /// Only messages before this time.
    pub until_ms: u64,
    /// Whether the last ones of the range are wanted if not all of it comes at once.
    pub backwards: bool,
    /// The most messages that come at once.
    pub messages_max: usize,
    /// The most bytes that they take, about; at least one message comes if there is one.
    pub bytes_max: usize,
}

/// Where messages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Here.
    Messages(Messages),
    /// On the disk.
    Look {
        /// What finds them.
        look: Look,
        /// What is wanted, as things stand now: to be handed to [`State::read_looked`] with what was found.
        wanted: Wanted,
    },
}

/// Messages that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// They, ascending.
    pub messages: Vec<Stored>,
    /// Where to go on: what comes next as [`Wanted::from`], or, backwards, as [`Wanted::upto`]. `None` if there is nothing more in the range. There may be more even if nothing came.
    pub next: Option<Sequence>,
}

impl Wanted {
    /// All of a conversation that `reader` may see, from its beginning on, up to a thousand messages or a mebibyte at once.
    pub fn all(reader: UserId, conversation: ConversationId) -> Self {
        Self {
            reader,
            conversation,
            from: Sequence(1),
            upto: Sequence(u64::MAX),
            since_ms: 0,
            until_ms: u64::MAX,
            backwards: false,
            messages_max: 1000,
            bytes_max: 1024 * 1024,
        }
    }
}

impl State {
    /// Reads messages. Those that are on the disk are looked for under `token`.
    pub fn read(&self, token: u64, wanted: &Wanted) -> Reading {
        let Some(mut walk) = Walk::begin(self, wanted) else { return Reading::Messages(Messages::default()) };
        if let Some(places) = walk.on_disk() {
            let wanted = Wanted { from: walk.first, upto: walk.last, ..*wanted };
            return Reading::Look { look: walk.look(token, &places), wanted };
        }
        walk.memory();
        Reading::Messages(walk.end())
    }

    /// Reads messages from the rows that were found by a look that came with this `wanted`, and what follows them in memory. What is too old by now is passed over.
    pub fn read_looked(&self, wanted: &Wanted, rows: &[Row]) -> Messages {
        let Some(mut walk) = Walk::begin(self, wanted) else { return Messages::default() };
        let begun_at = if wanted.backwards { wanted.upto } else { wanted.from };
        for row in rows {
            if let (Some(first), Some(bytes)) = (page_first(&row.key), &row.value) {
                walk.page(first, bytes);
            }
        }
        if walk.position == begun_at && walk.on_disk().is_some() {
            // It was looked for and not found: the disk is not what it should be, but reading has to come to an end.
            walk.pass_over();
        }
        walk.memory();
        walk.end()
    }
}

/// A walk through the pages of a range, in either direction.
struct Walk<'a> {
    state: &'a State,
    conversation: &'a Conversation,
    wanted: &'a Wanted,
    first: Sequence,
    last: Sequence,
    /// The message that comes next. One behind the range, or before it, when the walk is at its end.
    position: Sequence,
    /// In the order of the walk.
    messages: Vec<Stored>,
    bytes: usize,
    full: bool,
}

impl<'a> Walk<'a> {
    /// A walk through what is wanted and kept and may be seen; `None` if that is nothing.
    fn begin(state: &'a State, wanted: &'a Wanted) -> Option<Self> {
        let conversation = state.conversations.get(&wanted.conversation)?;
        let since = conversation.member(wanted.reader)?.since;
        let pages = &conversation.pages;
        let mut first = wanted.from.max(Sequence(since.0 + 1)).max(conversation.first());
        let mut last = wanted.upto.min(conversation.last);
        // Messages of the time that is wanted may stand behind the beginning of the page before.
        let later = pages.partition_point(|page| page.time_ms < wanted.since_ms);
        first = first.max(pages.get(later.saturating_sub(1))?.first);
        if let Some(page) = pages.get(pages.partition_point(|page| page.time_ms < wanted.until_ms)) {
            last = last.min(Sequence(page.first.0 - 1));
        }
        if first > last {
            return None;
        }
        let position = if wanted.backwards { last } else { first };
        let messages = Vec::new();
        Some(Self { state, conversation, wanted, first, last, position, messages, bytes: 0, full: false })
    }

    fn is_over(&self) -> bool {
        self.full || !(self.first..=self.last).contains(&self.position)
    }

    /// The page in which the next message stands.
    fn place(&self) -> Option<usize> {
        self.conversation.pages.partition_point(|page| page.first <= self.position).checked_sub(1)
    }

    /// The pages that have to be looked for before the walk can go on.
    fn on_disk(&self) -> Option<std::ops::RangeInclusive<usize>> {
        let in_memory =
            |place| self.state.pages.is_in_memory(self.wanted.conversation, self.conversation, place);
        let place = self.place().filter(|place| !self.is_over() && !in_memory(*place))?;
        let pages = &self.conversation.pages;
        let wanted = self.wanted.messages_max.max(1) as u64;
        let (mut low, mut high) = (place, place);
        if self.wanted.backwards {
            while low > 0
                && pages[low].first > self.first
                && self.position.0 + 1 - pages[low].first.0 < wanted
                && !in_memory(low - 1)
            {
                low -= 1;
            }
        } else {
            while let Some(next) = pages.get(high + 1)
                && next.first <= self.last
                && next.first.0 - self.position.0 < wanted
                && !in_memory(high + 1)
            {
                high += 1;
            }
        }
        Some(low..=high)
    }

    fn look(&self, token: u64, places: &std::ops::RangeInclusive<usize>) -> Look {
        let id = self.wanted.conversation;
        let pages = &self.conversation.pages;
        Look {
            token,
            from: page_key(id, pages[*places.start()].first).into(),
            until: page_key(id, Sequence(pages[*places.end()].first.0 + 1)).into(),
            backwards: self.wanted.backwards,
            rows_max: places.end() - places.start() + 1,
            bytes_max: self.wanted.bytes_max,
        }
    }

    /// Takes the messages that come next for as long as they are in memory.
    fn memory(&mut self) {
        while !self.is_over()
            && let Some(place) = self.place()
            && let Some(bytes) =
                self.state.pages.in_memory(self.wanted.conversation, self.conversation, place)
        {
            let before = self.position;
            self.page(self.conversation.pages[place].first, &bytes);
            if self.position == before && !self.full {
                self.pass_over();
            }
        }
    }

    /// Takes the messages of a page, if the next one is among them, or stands before it and was lost.
    fn page(&mut self, first: Sequence, bytes: &Bytes) {
        // What is kept was written here; should it not be readable, it is passed over as if it were not there.
        let Ok(messages) = read_page(first, bytes) else { return };
        if self.wanted.backwards {
            for message in messages.into_iter().rev() {
                self.message(message);
            }
        } else {
            for message in messages {
                self.message(message);
            }
        }
    }

    fn message(&mut self, message: Stored) {
        let is_behind = if self.wanted.backwards {
            message.sequence > self.position
        } else {
            message.sequence < self.position
        };
        if is_behind || self.is_over() || !(self.first..=self.last).contains(&message.sequence) {
            return;
        }
        if message.sequence != self.position && !self.messages.is_empty() {
            // There is a gap, of which the next reading will find out more.
            self.full = true;
            return;
        }
        let bytes = message.payload.len() + message.timestamp.len() + message.sender_name.len();
        if !self.messages.is_empty()
            && (self.messages.len() >= self.wanted.messages_max || self.bytes + bytes > self.wanted.bytes_max)
        {
            self.full = true;
            return;
        }
        self.position = message.sequence;
        self.step();
        if (self.wanted.since_ms..self.wanted.until_ms).contains(&message.time_ms) {
            self.bytes += bytes;
            self.messages.push(message);
        }
    }

    fn step(&mut self) {
        let position = self.position.0;
        self.position =
            Sequence(if self.wanted.backwards { position.saturating_sub(1) } else { position + 1 });
    }

    /// Goes on behind a page that should have been found and was not.
    fn pass_over(&mut self) {
        let Some(place) = self.place() else { return };
        let pages = &self.conversation.pages;
        self.position = if self.wanted.backwards {
            Sequence(pages[place].first.0.saturating_sub(1))
        } else {
            pages.get(place + 1).map_or(Sequence(self.last.0 + 1), |page| page.first)
        };
    }

    fn end(mut self) -> Messages {
        if self.wanted.backwards {
            self.messages.reverse();
        }
        let more = (self.first..=self.last).contains(&self.position);
        Messages { messages: self.messages, next: more.then_some(self.position) }
    }
}
