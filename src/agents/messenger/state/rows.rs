//! The state as rows, and back.
//!
//! | key | value |
//! |---|---|
//! | `c` conversation | its kind, its last message, the time of that, the number of its open page |
//! | `i` user, client instance | the number that comes next, when it was used, what was refused, up to where that is forgotten |
//! | `k` | the key of the cluster |
//! | `l` | the limits |
//! | `m` conversation, first message | a page |
//! | `n` | the form of all rows, and how many records, users, conversations and open pages there ever were |
//! | `r` conversation, user | how far a member has read, and from where on it sees |
//! | `u` user | its name, e-mail, hash |
//! | `x` user, conversation there, cluster's tag, its identity | the last message that was imported from there, how far that is read, and where unread ones stand |
//!
//! Numbers in keys are eight bytes, the most significant first. Restoring relies on the order of the keys: pages come behind their conversations.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::clients::Client;
use super::conversation::{Conversation, Member};
use super::imports::{Import, ImportKey, Source};
use super::pages::{OpenPage, PageStart, page_time};
use super::{
    ClientInstance, ClusterKey, ConversationId, ForeignName, Kind, Limits, Named, Numbers, Sequence, State,
    User, UserId,
};
use crate::agent::{Row, WireError};
use crate::agents::codec::{Reader, put_bytes, put_number, put_option};
use crate::agents::messenger::ClusterIdentity;

/// What has changed since rows were taken. What each row says is looked up when it is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    pub(super) key: bool,
    pub(super) limits: bool,
    /// How many records had been applied then.
    records: u64,
    pub(super) users: BTreeSet<UserId>,
    pub(super) imports: BTreeSet<ImportKey>,
    conversations: Vec<ConversationId>,
    marks: Vec<(ConversationId, UserId)>,
}

impl Dirty {
    /// A conversation has changed; or is no more, if there is none.
    pub(super) fn conversation(&mut self, id: ConversationId, conversation: Option<&mut Conversation>) {
        if !conversation.is_some_and(|conversation| std::mem::replace(&mut conversation.dirty, true)) {
            self.conversations.push(id);
        }
    }

    /// A member has read; or is none any more, if there is none.
    pub(super) fn mark(&mut self, id: ConversationId, user: UserId, member: Option<&mut Member>) {
        if !member.is_some_and(|member| std::mem::replace(&mut member.dirty, true)) {
            self.marks.push((id, user));
        }
    }
}

impl State {
    /// The rows that have changed since this was called last, ascending by their keys, each once.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut put = |key: Vec<u8>, value: Option<Vec<u8>>| {
            rows.push(Row { key: key.into(), value: value.map(Bytes::from) });
        };
        if self.dirty.records != self.numbers.records {
            self.dirty.records = self.numbers.records;
            put(vec![b'n'], Some(self.numbers_row()));
        }
        if std::mem::take(&mut self.dirty.key) {
            put(vec![b'k'], self.key.as_ref().map(|key| key.bytes().to_vec()));
        }
        if std::mem::take(&mut self.dirty.limits) {
            let mut value = Vec::new();
            self.limits.encode(&mut value);
            put(vec![b'l'], Some(value));
        }
        for id in std::mem::take(&mut self.dirty.users) {
            put(key(b'u', &[id.0]), self.users.get(&id).map(user_row));
        }
        for import in std::mem::take(&mut self.dirty.imports) {
            let value = self.imports.get(&import).map(|import| encoded(|bytes| import.encode(bytes)));
            put(import_key(&import), value);
        }
        self.clients.take_dirty(|(user, instance), client| {
            let mut row_key = key(b'i', &[user.0]);
            row_key.extend_from_slice(&instance.0);
            put(row_key, client.map(|client| encoded(|bytes| client.encode(bytes))));
        });
        self.take_marks(&mut put);
        self.take_conversations(&mut put);
        for ((id, first), bytes) in self.pages.take_closed() {
            rows.push(Row { key: page_key(id, first).into(), value: Some(bytes) });
        }
        for (id, first) in self.pages.take_removed() {
            rows.push(Row { key: page_key(id, first).into(), value: None });
        }
        rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        rows
    }

    /// Replaces the whole state by rows that were taken of one, here or elsewhere. All of them come ascending by their keys, in parts. An error says that they are of a form
    /// that is not known here, or not what was taken; the state is of no use then.
    pub fn restore(&mut self, rows: &[Row], first: bool, last: bool) -> Result<(), WireError> {
        if first {
            *self = Self::new();
        }
        for row in rows {
            if let Some(value) = &row.value {
                self.restore_row(&row.key, value)
                    .map_err(|WireError(why)| WireError(format!("row {:02x?}: {why}", &row.key[..])))?;
            }
        }
        if last { self.restored() } else { Ok(()) }
    }

    fn take_marks(&mut self, put: &mut impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        let mut marks = std::mem::take(&mut self.dirty.marks);
        marks.sort_unstable();
        marks.dedup();
        for (id, user) in marks {
            let conversation = self.conversations.get_mut(&id);
            let member = conversation.and_then(|conversation| conversation.member_mut(user));
            let value = member.map(|member| {
                member.dirty = false;
                numbers(&[member.mark.0, member.since.0])
            });
            put(key(b'r', &[id.0, user.0]), value);
        }
    }

    fn take_conversations(&mut self, put: &mut impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        let mut conversations = std::mem::take(&mut self.dirty.conversations);
        conversations.sort_unstable();
        conversations.dedup();
        for id in conversations {
            let row_key = key(b'c', &[id.0]);
            let Some(conversation) = self.conversations.get_mut(&id) else {
                put(row_key, None);
                continue;
            };
            conversation.dirty = false;
            put(row_key, Some(conversation_row(conversation)));
            if let Some(page) = conversation.open.as_mut().filter(|page| page.dirty)
                && let Some(start) = conversation.pages.back()
            {
                page.dirty = false;
                put(page_key(id, start.first), Some(page.bytes.clone()));
            }
        }
    }

    fn numbers_row(&self) -> Vec<u8> {
        let Numbers { records, users, conversations } = self.numbers;
        numbers(&[FORM, records, users, conversations, self.pages.opened])
    }

    fn restore_row(&mut self, key: &Bytes, value: &Bytes) -> Result<(), WireError> {
        let (mut key, mut value) = (Reader::copying(key), Reader::new(value));
        match key.byte()? {
            b'c' => {
                let conversation = read_conversation(&mut value)?;
                self.conversations.insert(ConversationId(key.word()?), conversation);
            }
            b'i' => {
                let whose = (UserId(key.word()?), ClientInstance(key.array()?));
                self.clients.restore(whose, Client::decode(&mut value)?);
            }
            b'k' => self.key = Some(ClusterKey::new(value.array()?)),
            b'l' => self.limits = Limits::decode(&mut value)?,
            b'm' => {
                let (id, first) = (ConversationId(key.word()?), Sequence(key.word()?));
                let bytes = value.rest();
                key.end()?;
                return self.restore_page(id, first, &bytes);
            }
            b'n' => self.restore_numbers(&mut value)?,
            b'r' => {
                let (id, user) = (ConversationId(key.word()?), UserId(key.word()?));
                let (mark, since) = (Sequence(value.number()?), Sequence(value.number()?));
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    // They come ascending.
                    conversation.members.push(Member { user, mark, since, dirty: false });
                }
            }
            b'u' => {
                self.users.insert(UserId(key.word()?), read_user(&mut value)?);
            }
            b'x' => {
                let (user, there) = (UserId(key.word()?), ConversationId(key.word()?));
                let tag = Arc::from(key.text()?);
                let identity = if key.is_empty() { None } else { Some(ClusterIdentity(key.array()?)) };
                self.imports.restore((user, Source { tag, identity }, there), Import::decode(&mut value)?);
            }
            other => return Err(WireError::new(format!("no rows are called {other}"))),
        }
        key.end()?;
        value.end()
    }

    fn restore_numbers(&mut self, value: &mut Reader) -> Result<(), WireError> {
        let form = value.number()?;
        if form != FORM {
            return Err(WireError::new(format!("rows of form {form}, only {FORM} is known")));
        }
        self.numbers =
            Numbers { records: value.number()?, users: value.number()?, conversations: value.number()? };
        self.pages.opened = value.number()?;
        self.dirty.records = self.numbers.records;
        Ok(())
    }

    fn restore_page(&mut self, id: ConversationId, first: Sequence, bytes: &Bytes) -> Result<(), WireError> {
        let Some(conversation) = self.conversations.get_mut(&id) else {
            self.pages.doom_page(id, first);
            return Ok(());
        };
        self.pages.kept += 1;
        conversation.pages.push_back(PageStart { first, time_ms: page_time(bytes)? });
        // The last one counts.
        if let Some(page) = &mut conversation.open {
            page.bytes.clear();
            page.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// All rows are here: what follows from them.
    fn restored(&mut self) -> Result<(), WireError> {
        for (id, user) in &self.users {
            self.names.insert(Arc::clone(&user.name), Named::User(*id));
        }
        for (id, conversation) in &mut self.conversations {
            for member in &conversation.members {
                let user = self.users.get_mut(&member.user);
                user.ok_or_else(|| WireError::new("a member who is no user"))?.conversations.insert(*id);
            }
            match &conversation.kind {
                Kind::Direct(one, other) => drop(self.direct.insert((*one, *other), *id)),
                Kind::Group { name, .. } => drop(self.names.insert(Arc::clone(name), Named::Group(*id))),
                Kind::Foreign { user, cluster, name, is_group } => {
                    let (cluster, name) = (Arc::clone(cluster), Arc::clone(name));
                    let foreign = ForeignName { user: *user, cluster, name, is_group: *is_group };
                    self.foreign.insert(foreign, *id);
                }
                Kind::Former { .. } => {}
            }
            if let Some(page) = &mut conversation.open {
                let first = conversation.pages.back().map_or(1, |page| page.first.0);
                let messages = (conversation.last.0 + 1).checked_sub(first);
                let messages = messages.ok_or_else(|| WireError::new("a page behind the last message"))?;
                page.messages = usize::try_from(messages).unwrap_or(usize::MAX);
                self.pages.reopen(*id, page);
            }
        }
        Ok(())
    }
}

fn user_row(user: &User) -> Vec<u8> {
    encoded(|bytes| {
        put_bytes(bytes, user.name.as_bytes());
        put_option(bytes, user.email.as_deref(), |bytes, email| put_bytes(bytes, email.as_bytes()));
        put_bytes(bytes, user.hash.as_bytes());
    })
}

fn read_user(value: &mut Reader) -> Result<User, WireError> {
    Ok(User {
        name: Arc::from(value.text()?),
        email: value.option(Reader::text)?,
        hash: value.text()?,
        conversations: BTreeSet::new(),
    })
}

fn conversation_row(conversation: &Conversation) -> Vec<u8> {
    encoded(|bytes| {
        for number in [
            conversation.last.0,
            conversation.time_ms,
            conversation.open.as_ref().map_or(0, |page| page.stamp),
        ] {
            put_number(bytes, number);
        }
        match &conversation.kind {
            Kind::Direct(one, other) => {
                bytes.push(DIRECT);
                put_number(bytes, one.0);
                put_number(bytes, other.0);
            }
            Kind::Former { user, name } => {
                bytes.push(FORMER);
                put_number(bytes, user.0);
                put_bytes(bytes, name.as_bytes());
            }
            Kind::Group { name, maker } => {
                bytes.push(GROUP);
                put_number(bytes, maker.0);
                put_bytes(bytes, name.as_bytes());
            }
            Kind::Foreign { user, cluster, name, is_group } => {
                bytes.push(FOREIGN);
                put_number(bytes, user.0);
                put_bytes(bytes, cluster.as_bytes());
                put_bytes(bytes, name.as_bytes());
                bytes.push(u8::from(*is_group));
            }
        }
    })
}

fn read_conversation(value: &mut Reader) -> Result<Conversation, WireError> {
    let (last, time_ms, stamp) = (Sequence(value.number()?), value.number()?, value.number()?);
    let kind = match value.byte()? {
        DIRECT => Kind::Direct(UserId(value.number()?), UserId(value.number()?)),
        FORMER => Kind::Former { user: UserId(value.number()?), name: Arc::from(value.text()?) },
        GROUP => {
            let maker = UserId(value.number()?);
            Kind::Group { maker, name: Arc::from(value.text()?) }
        }
        FOREIGN => Kind::Foreign {
            user: UserId(value.number()?),
            cluster: Arc::from(value.text()?),
            name: Arc::from(value.text()?),
            is_group: value.flag()?,
        },
        other => return Err(WireError::new(format!("no kind of conversation is called {other}"))),
    };
    let open = (stamp > 0).then(|| OpenPage { stamp, messages: 0, bytes: Vec::new(), dirty: false });
    Ok(Conversation { last, time_ms, open, ..Conversation::new(kind) })
}

fn key(sort: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + numbers.len() * 8);
    key.push(sort);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

/// The key of a page.
pub(super) fn page_key(id: ConversationId, first: Sequence) -> Vec<u8> {
    key(b'm', &[id.0, first.0])
}

/// The first message of a page, by its key.
pub(super) fn page_first(key: &Bytes) -> Option<Sequence> {
    let first = key.strip_prefix(b"m")?.last_chunk()?;
    Some(Sequence(u64::from_be_bytes(*first)))
}

fn import_key((user, source, there): &ImportKey) -> Vec<u8> {
    let mut key = key(b'x', &[user.0, there.0]);
    put_bytes(&mut key, source.tag.as_bytes());
    key.extend(source.identity.iter().flat_map(|identity| identity.0));
    key
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    encoded(|bytes| numbers.iter().for_each(|number| put_number(bytes, *number)))
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

/// The form of all rows.
const FORM: u64 = 3;

// What stands for each kind of conversation. These numbers stay.
const DIRECT: u8 = 1;
const FORMER: u8 = 2;
const GROUP: u8 = 3;
const FOREIGN: u8 = 4;
