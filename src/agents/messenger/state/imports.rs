//! What was fetched from other clusters: it is taken once, and how far it is read here is known in the places of the cluster that it has come from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conversation::Conversation;
use super::posts::Written;
use super::{
    ConversationId, Effect, ForeignName, Kind, NAME_BYTES_MAX, Place, Refused, Sequence, State,
    TIMESTAMP_BYTES_MAX, There, UserId,
};
use crate::agent::WireError;
use crate::agents::codec::{Reader, put_list, put_number};
use crate::agents::messenger::{ClusterIdentity, Imported, Origin};

/// What imports are counted by: for whom, from which cluster and conversation there.
pub(super) type ImportKey = (UserId, Source, ConversationId);

/// Another cluster. Those that were begun one after the other under the same tag are different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) tag: Arc<str>,
    pub(super) identity: Option<ClusterIdentity>,
}

/// How far a conversation of another cluster has come here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last message of it that is in; 0 if none is.
    pub upto: Sequence,
    /// The user has read everything up to this one, or need not; perhaps a little more. It is `upto` once all is read.
    pub read: Sequence,
}

/// The imports of all users.
#[derive(Clone, Debug, Default)]
pub(super) struct Imports {
    all: BTreeMap<ImportKey, Import>,
    /// Where something of them waits to be read: the conversation here, and which import it is of.
    waiting: BTreeSet<(ConversationId, Source, ConversationId)>,
}

/// What was imported for a user from one conversation of another cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Import {
    progress: Progress,
    /// Messages that the user has not read, ascending: the first ones of those, and always the last.
    unread: Vec<Waymark>,
}

/// Where a message stands that was imported, here and there.
#[derive(Clone, Copy, Debug)]
struct Waymark {
    here: Place,
    there: Sequence,
}

impl Source {
    pub(super) fn of(origin: &Origin) -> Self {
        Self { tag: Arc::from(origin.tag.as_str()), identity: origin.identity }
    }

    fn origin(&self) -> Origin {
        Origin { tag: self.tag.to_string(), identity: self.identity }
    }
}

impl Imports {
    pub(super) fn get(&self, key: &ImportKey) -> Option<&Import> {
        self.all.get(key)
    }

    /// What was imported for `user`.
    pub(super) fn of(&self, user: UserId) -> impl Iterator<Item = (&ImportKey, &Import)> {
        let source = Source { tag: Arc::from(""), identity: None };
        let first = (user, source, ConversationId(0));
        self.all.range(first..).take_while(move |((owner, ..), _)| *owner == user)
    }

    /// An import was found among the rows.
    pub(super) fn restore(&mut self, key: ImportKey, import: Import) {
        for waymark in &import.unread {
            self.waiting.insert((waymark.here.conversation, key.1.clone(), key.2));
        }
        self.all.insert(key, import);
    }

    /// The user is no more; which imports are no more with it.
    pub(super) fn forget(&mut self, user: UserId) -> Vec<ImportKey> {
        let keys: Vec<ImportKey> = self.of(user).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            for waymark in self.all.remove(key).into_iter().flat_map(|import| import.unread) {
                self.waiting.remove(&(waymark.here.conversation, key.1.clone(), key.2));
            }
        }
        keys
    }

    /// A message is in, at a place here; or is passed over.
    fn is_in(&mut self, key: &ImportKey, there: Sequence, here: Option<Place>) {
        let import = self.all.entry(key.clone()).or_default();
        import.progress.upto = there;
        let Some(here) = here else {
            if import.unread.is_empty() {
                import.progress.read = there;
            }
            return;
        };
        if import.unread.len() >= WAYMARKS_MAX
            && let Some(last) = import.unread.pop()
            && import.unread.iter().all(|other| other.here.conversation != last.here.conversation)
        {
            self.waiting.remove(&(last.here.conversation, key.1.clone(), key.2));
        }
        import.unread.push(Waymark { here, there });
        self.waiting.insert((here.conversation, key.1.clone(), key.2));
    }

    /// The user has read a conversation here up to `upto`; which imports that concerns, and how far they are read now.
    fn read(&mut self, user: UserId, upto: Place) -> Vec<(ImportKey, Sequence)> {
        let source = Source { tag: Arc::from(""), identity: None };
        let first = (upto.conversation, source, ConversationId(0));
        let here = self.waiting.range(first..).take_while(|(here, ..)| *here == upto.conversation);
        let here: Vec<ImportKey> = here.map(|(_, source, there)| (user, source.clone(), *there)).collect();
        let mut moved = Vec::new();
        for key in here {
            let Some(import) = self.all.get_mut(&key) else { continue };
            let is_read = |waymark: &&Waymark| {
                waymark.here.conversation == upto.conversation && waymark.here.sequence <= upto.sequence
            };
            let before = import.progress.read;
            let read = import.unread.iter().take_while(is_read).count();
            if let Some(last) = import.unread.drain(..read).next_back() {
                import.progress.read = last.there;
            }
            if import.unread.is_empty() {
                import.progress.read = import.progress.upto;
            }
            if import.unread.iter().all(|waymark| waymark.here.conversation != upto.conversation) {
                self.waiting.remove(&(upto.conversation, key.1.clone(), key.2));
            }
            if import.progress.read > before {
                moved.push((key, import.progress.read));
            }
        }
        moved
    }
}

impl Import {
    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.progress.upto.0);
        put_number(bytes, self.progress.read.0);
        put_list(bytes, &self.unread, |bytes, Waymark { here, there }| {
            for number in [here.conversation.0, here.sequence.0, there.0] {
                put_number(bytes, number);
            }
        });
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let progress = Progress { upto: Sequence(reader.number()?), read: Sequence(reader.number()?) };
        let waymark = |reader: &mut Reader| {
            let conversation = ConversationId(reader.number()?);
            let here = Place { conversation, sequence: Sequence(reader.number()?) };
            Ok(Waymark { here, there: Sequence(reader.number()?) })
        };
        Ok(Self { progress, unread: reader.list(waymark)? })
    }
}

impl State {
    /// How far the conversations of another cluster have come here, each, for `user`.
    pub fn imported(&self, user: UserId, from: &Origin) -> impl Fn(ConversationId) -> Progress {
        let source = Source::of(from);
        move |there| {
            let import = self.imports.get(&(user, source.clone(), there));
            import.map(Import::progress).unwrap_or_default()
        }
    }

    /// What has come here for `user` from the conversations of another cluster and is not read yet.
    pub fn unread_imports(
        &self,
        user: UserId,
        from: &Origin,
    ) -> impl Iterator<Item = (ConversationId, Progress)> {
        let source = Source::of(from);
        let waits = move |(key, import): (&ImportKey, &Import)| {
            (key.1 == source && !import.unread.is_empty()).then_some((key.2, import.progress))
        };
        self.imports.of(user).filter_map(waits)
    }

    pub(super) fn import(
        &mut self,
        at_ms: u64,
        from: &Origin,
        user: UserId,
        messages: Vec<Imported>,
    ) -> Result<Vec<Effect>, Refused> {
        if !self.users.contains_key(&user) {
            return Err(Refused::NoUser);
        }
        if from.tag.is_empty() || from.tag.len() > NAME_BYTES_MAX {
            return Err(Refused::BadName);
        }
        let source = Source::of(from);
        self.check_import(&source, user, &messages)?;
        let mut effects = Vec::with_capacity(messages.len() + 1);
        // The conversations there, in the order in which they come first.
        let mut conversations: Vec<ConversationId> = Vec::new();
        for message in messages {
            let there = message.place.conversation;
            if !conversations.contains(&there) {
                conversations.push(there);
            }
            effects.extend(self.import_one(at_ms, &source, user, message));
        }
        let imported = self.imported(user, from);
        effects.extend(conversations.into_iter().map(|conversation| {
            let progress = imported(conversation);
            Effect::Imported { conversation, progress }
        }));
        Ok(effects)
    }

    /// A user has read a conversation with somebody of another cluster: what that means there.
    pub(super) fn read_imports(&mut self, user: UserId, upto: Place) -> impl Iterator<Item = Effect> {
        let moved = self.imports.read(user, upto);
        self.dirty.imports.extend(moved.iter().map(|(key, _)| key.clone()));
        moved.into_iter().map(|((user, source, conversation), sequence)| {
            let (from, upto) = (source.origin(), Place { conversation, sequence });
            Effect::ReadThere { user, from, upto }
        })
    }

    /// Whether messages of another cluster are taken; all of them, or none. An inbox that has room for one has room for all that come with it, but for what they would push out.
    fn check_import(&self, source: &Source, user: UserId, messages: &[Imported]) -> Result<(), Refused> {
        let (mut begun, mut counted, mut coming) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for message in messages {
            let key = (user, source.clone(), message.place.conversation);
            let before = self.imports.get(&key).map(|import| import.progress.upto);
            if before >= Some(message.place.sequence) {
                continue;
            }
            if before.is_none() {
                counted.insert(message.place.conversation);
            }
            let Some(foreign) = foreign_name(&source.tag, user, message) else { continue };
            let Some((id, found)) =
                self.foreign.get(&foreign).and_then(|id| self.conversations.get_key_value(id))
            else {
                begun.insert(foreign);
                continue;
            };
            let count: &mut u64 = coming.entry(*id).or_default();
            *count += 1;
            if self.is_full(found, user, *count) {
                return Err(Refused::InboxFull);
            }
        }
        let conversations_max = self.limits.conversations_max;
        let conversations = self.users.get(&user).map_or(0, |user| user.conversations.len());
        let too_many = |before: usize, more: usize| more > 0 && before + more > conversations_max;
        if too_many(conversations, begun.len())
            || (!counted.is_empty() && too_many(self.imports.of(user).count(), counted.len()))
        {
            return Err(Refused::TooMany);
        }
        Ok(())
    }

    fn import_one(&mut self, at_ms: u64, source: &Source, user: UserId, message: Imported) -> Option<Effect> {
        let there = message.place;
        let key = (user, source.clone(), there.conversation);
        if self.imports.get(&key).is_some_and(|import| import.progress.upto >= there.sequence) {
            return None;
        }
        self.dirty.imports.insert(key.clone());
        let Some(foreign) = foreign_name(&source.tag, user, &message) else {
            self.imports.is_in(&key, there.sequence, None);
            return None;
        };
        let conversation = self.foreign.get(&foreign).copied().unwrap_or_else(|| {
            let ForeignName { user, cluster, name, is_group } = foreign;
            self.begin_conversation(Kind::Foreign { user, cluster, name, is_group }, &[user])
        });
        let at_ms = message.time_ms.min(at_ms);
        let there = There { cluster: source.identity, place: there };
        let Imported { sender, timestamp, payload, .. } = message;
        let written = Written { at_ms, timestamp, payload, there: Some(there) };
        let message = self.append(conversation, UserId(0), Arc::from(sender), written);
        let here = Place { conversation, sequence: message.sequence };
        self.imports.is_in(&key, there.place.sequence, Some(here));
        Some(Effect::Posted { conversation, message })
    }

    /// Whether `user` has to read before so many messages more are written to it. What would push unread ones out of the history is not taken, either.
    pub(super) fn is_full(&self, conversation: &Conversation, user: UserId, more: u64) -> bool {
        let unread = conversation.member(user).map_or(0, |member| conversation.last.0 - member.mark.0);
        unread > 0 && (unread >= self.limits.unread_max || unread + more > self.limits.history_max)
    }
}

/// With whom a message of another cluster is; nobody if it has names or a time that nobody can have, so that it is passed over.
fn foreign_name(cluster: &Arc<str>, user: UserId, message: &Imported) -> Option<ForeignName> {
    let name = message.group.as_deref().unwrap_or(&message.sender);
    let fits = |name: &str| {
        (1..=FOREIGN_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    if !fits(name) || !fits(&message.sender) || message.timestamp.len() > TIMESTAMP_BYTES_MAX {
        return None;
    }
    let (cluster, name) = (Arc::clone(cluster), Arc::from(name));
    Some(ForeignName { user, cluster, name, is_group: message.group.is_some() })
}

/// The longest name of somebody of another cluster, which may have other rules; a message of somebody with a longer one is passed over.
const FOREIGN_NAME_BYTES_MAX: usize = 256;
/// Of so many unread messages of an import it is known where they stand there. What is read between two of them counts there with the later one.
pub(super) const WAYMARKS_MAX: usize = 16;
