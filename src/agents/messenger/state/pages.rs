//! Where messages lie: pages, which are rows, and what of them is in memory.
//!
//! A page holds messages of one conversation that follow one another, up to [`PAGE_MESSAGES_MAX`] or [`PAGE_BYTES_MAX`]; a longer message is a page alone. The last page of
//! a conversation stays *open* in memory, so that more can be written into it, until all open pages together are too large: then the one that was opened first is closed, and
//! its conversation begins another page with its next message. What is closed and was not taken as a row waits in memory; what was taken is gone from it. All of this is a
//! function of the records, and nothing of when rows are taken, so that all servers write the same rows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::conversation::Conversation;
use super::{ConversationId, Limits, Place, Sequence, Stored, There, UserId};
use crate::agent::WireError;
use crate::agents::codec::{Reader, put_bytes, put_number, put_option};
use crate::agents::messenger::ClusterIdentity;

/// Where a page begins: its first message, and when that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageStart {
    pub(super) first: Sequence,
    pub(super) time_ms: u64,
}

/// A page into which more can be written.
#[derive(Clone, Debug)]
pub(super) struct OpenPage {
    /// Which one of all that were ever opened.
    pub(super) stamp: u64,
    pub(super) messages: usize,
    pub(super) bytes: Vec<u8>,
    /// Whether it has changed since rows were taken.
    pub(super) dirty: bool,
}

/// What is known of all pages together.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    /// Whose open pages there are, in the order in which they were opened.
    open: BTreeMap<u64, ConversationId>,
    open_bytes: usize,
    /// How many were ever opened.
    pub(super) opened: u64,
    /// Those that are closed and were not taken yet.
    closed: BTreeMap<(ConversationId, Sequence), Bytes>,
    closed_bytes: usize,
    /// How many are kept, in memory or not.
    pub(super) kept: usize,
    /// Those of conversations that are no more. Always those of the lowest conversation go first, so that a server that was restored goes on alike.
    doomed: BTreeMap<ConversationId, VecDeque<Sequence>>,
    /// Those that are gone since rows were taken.
    removed: Vec<(ConversationId, Sequence)>,
}

impl Pages {
    pub(super) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    pub(super) fn closed_bytes(&self) -> usize {
        self.closed_bytes
    }

    /// How many pages of conversations that are no more have to be removed yet.
    pub(super) fn doomed(&self) -> usize {
        self.doomed.values().map(VecDeque::len).sum()
    }

    /// Writes a message behind the last one of its conversation.
    pub(super) fn write(
        &mut self,
        id: ConversationId,
        conversation: &mut Conversation,
        message: &Stored,
        history_max: u64,
    ) {
        let mut page = match conversation.open.take() {
            Some(page) => {
                self.open_bytes -= page.accounted_bytes();
                page
            }
            None => self.begin(id, conversation, message, Vec::new()),
        };
        let end = page.bytes.len();
        put_message(&mut page.bytes, message);
        if end > 0 && page.bytes.len() > PAGE_BYTES_MAX {
            let bytes = page.bytes.split_off(end);
            self.close(id, conversation, page);
            page = self.begin(id, conversation, message, bytes);
        }
        page.messages += 1;
        page.dirty = true;
        if page.messages >= PAGE_MESSAGES_MAX || page.bytes.len() >= PAGE_BYTES_MAX {
            self.close(id, conversation, page);
        } else {
            self.open_bytes += page.accounted_bytes();
            conversation.open = Some(page);
        }
        self.trim(id, conversation, history_max);
    }

    /// Closes the pages that were opened first until the rest is small enough; whose they were.
    pub(super) fn evict(
        &mut self,
        conversations: &mut BTreeMap<ConversationId, Conversation>,
        limits: &Limits,
        mut evicted: impl FnMut(ConversationId, &mut Conversation),
    ) {
        while self.open_bytes > limits.open_bytes_max
            && let Some((_, id)) = self.open.first_key_value()
        {
            let id = *id;
            let conversation = conversations.get_mut(&id).expect("open pages are those of conversations");
            let page = conversation.open.take().expect("it is open");
            self.open_bytes -= page.accounted_bytes();
            self.close(id, conversation, page);
            evicted(id, conversation);
        }
    }

    /// A conversation is no more: its pages go later, some with each record.
    pub(super) fn doom(&mut self, id: ConversationId, conversation: &mut Conversation) {
        if let Some(page) = conversation.open.take() {
            self.open_bytes -= page.accounted_bytes();
            self.open.remove(&page.stamp);
        }
        let pages: VecDeque<Sequence> = conversation.pages.drain(..).map(|page| page.first).collect();
        for first in &pages {
            self.forget_closed(id, *first);
        }
        if !pages.is_empty() {
            self.doomed.insert(id, pages);
        }
    }

    /// A page of a conversation that is no more was found among the rows.
    pub(super) fn doom_page(&mut self, id: ConversationId, first: Sequence) {
        self.doomed.entry(id).or_default().push_back(first);
        self.kept += 1;
    }

    /// Removes some pages of conversations that are no more.
    pub(super) fn sweep(&mut self) {
        for _ in 0..SWEPT_MAX {
            let Some(mut entry) = self.doomed.first_entry() else { return };
            let id = *entry.key();
            if let Some(first) = entry.get_mut().pop_front() {
                self.removed.push((id, first));
                self.kept -= 1;
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// A page as it is in memory, if it is there: the one that is the `place`-th of its conversation.
    pub(super) fn in_memory(
        &self,
        id: ConversationId,
        conversation: &Conversation,
        place: usize,
    ) -> Option<Bytes> {
        let start = conversation.pages.get(place)?;
        if place + 1 == conversation.pages.len()
            && let Some(open) = &conversation.open
        {
            return Some(Bytes::copy_from_slice(&open.bytes));
        }
        self.closed.get(&(id, start.first)).cloned()
    }

    /// The same, without handing it out.
    pub(super) fn is_in_memory(&self, id: ConversationId, conversation: &Conversation, place: usize) -> bool {
        let Some(start) = conversation.pages.get(place) else { return false };
        (place + 1 == conversation.pages.len() && conversation.open.is_some())
            || self.closed.contains_key(&(id, start.first))
    }

    /// The pages that were closed since rows were taken.
    pub(super) fn take_closed(&mut self) -> BTreeMap<(ConversationId, Sequence), Bytes> {
        self.closed_bytes = 0;
        std::mem::take(&mut self.closed)
    }

    /// The pages that are gone since rows were taken.
    pub(super) fn take_removed(&mut self) -> Vec<(ConversationId, Sequence)> {
        std::mem::take(&mut self.removed)
    }

    /// An open page was found among the rows.
    pub(super) fn reopen(&mut self, id: ConversationId, page: &OpenPage) {
        self.open.insert(page.stamp, id);
        self.open_bytes += page.accounted_bytes();
    }

    fn begin(
        &mut self,
        id: ConversationId,
        conversation: &mut Conversation,
        message: &Stored,
        bytes: Vec<u8>,
    ) -> OpenPage {
        self.opened += 1;
        self.kept += 1;
        self.open.insert(self.opened, id);
        conversation.pages.push_back(PageStart { first: message.sequence, time_ms: message.time_ms });
        OpenPage { stamp: self.opened, messages: 0, bytes, dirty: true }
    }

    /// A page that is not open any more, nor counted as such.
    fn close(&mut self, id: ConversationId, conversation: &Conversation, page: OpenPage) {
        self.open.remove(&page.stamp);
        if page.dirty
            && let Some(start) = conversation.pages.back()
        {
            self.closed_bytes += page.bytes.len();
            self.closed.insert((id, start.first), page.bytes.into());
        }
    }

    /// Removes pages that hold nothing but what is too old; a few at a time, since there may be many when a limit has changed.
    fn trim(&mut self, id: ConversationId, conversation: &mut Conversation, history_max: u64) {
        let horizon = conversation.last.0.saturating_sub(history_max);
        for _ in 0..TRIMMED_MAX {
            if conversation.pages.get(1).is_none_or(|page| page.first.0 > horizon + 1) {
                return;
            }
            if let Some(page) = conversation.pages.pop_front() {
                self.forget_closed(id, page.first);
                self.removed.push((id, page.first));
                self.kept -= 1;
            }
        }
    }

    fn forget_closed(&mut self, id: ConversationId, first: Sequence) {
        if let Some(bytes) = self.closed.remove(&(id, first)) {
            self.closed_bytes -= bytes.len();
        }
    }
}

impl OpenPage {
    /// What it counts towards the limit.
    fn accounted_bytes(&self) -> usize {
        self.bytes.len() + OPEN_BYTES
    }
}

fn put_message(bytes: &mut Vec<u8>, message: &Stored) {
    put_number(bytes, message.time_ms);
    put_number(bytes, message.sender.0);
    put_bytes(bytes, message.sender_name.as_bytes());
    put_bytes(bytes, message.timestamp.as_bytes());
    put_bytes(bytes, &message.payload);
    // Nobody here has written it.
    if message.sender == UserId(0) {
        put_option(bytes, message.there, |bytes, There { cluster, place }| {
            put_option(bytes, cluster, |bytes, identity| bytes.extend_from_slice(&identity.0));
            put_number(bytes, place.conversation.0);
            put_number(bytes, place.sequence.0);
        });
    }
}

fn read_there(reader: &mut Reader) -> Result<There, WireError> {
    let cluster = reader.option(|reader| reader.array().map(ClusterIdentity))?;
    let (conversation, sequence) = (ConversationId(reader.number()?), Sequence(reader.number()?));
    Ok(There { cluster, place: Place { conversation, sequence } })
}

fn read_message(reader: &mut Reader, sequence: Sequence) -> Result<Stored, WireError> {
    let time_ms = reader.number()?;
    let sender = UserId(reader.number()?);
    Ok(Stored {
        sequence,
        time_ms,
        sender,
        sender_name: Arc::from(reader.text()?),
        timestamp: reader.text()?,
        payload: reader.bytes()?,
        there: if sender == UserId(0) { reader.option(read_there)? } else { None },
    })
}

/// The messages of a page.
pub(super) fn read_page(first: Sequence, bytes: &Bytes) -> Result<Vec<Stored>, WireError> {
    let (mut reader, mut messages) = (Reader::new(bytes), Vec::new());
    let mut sequence = first;
    while !reader.is_empty() {
        messages.push(read_message(&mut reader, sequence)?);
        sequence.0 += 1;
    }
    Ok(messages)
}

/// When the first message of a page was accepted.
pub(super) fn page_time(bytes: &[u8]) -> Result<u64, WireError> {
    Reader::copying(bytes).number()
}

const PAGE_MESSAGES_MAX: usize = 64;
/// Just below 16 KiB: with its key and its checksum the row fills what a database gives it, and one of 4 KiB would fill half.
const PAGE_BYTES_MAX: usize = 16_000;
/// About what an open page costs in memory beside its bytes.
const OPEN_BYTES: usize = 96;
/// So many pages of conversations that are no more go with each record.
const SWEPT_MAX: usize = 16;
/// So many pages that are too old go with each message of their conversation.
const TRIMMED_MAX: usize = 4;
