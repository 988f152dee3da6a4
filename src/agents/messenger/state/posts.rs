//! Messages: how they are taken, and how far they were read.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::clients::Numbered;
use super::conversation::Conversation;
use super::rows::Source;
use super::{
    ClientInstance, ConversationId, Effect, ForeignName, Kind, NAME_BYTES_MAX, Place, Refused, Sequence,
    State, Stored, TIMESTAMP_BYTES_MAX, UserId,
};
use crate::agents::messenger::{Imported, Origin, Target};

/// A message that somebody has written, and when.
pub(super) struct Written {
    pub(super) at_ms: u64,
    pub(super) timestamp: String,
    pub(super) payload: Bytes,
}

impl State {
    pub(super) fn post(
        &mut self,
        from: UserId,
        to: Target,
        client: Option<(ClientInstance, u64)>,
        written: Written,
    ) -> Result<Vec<Effect>, Refused> {
        let name = Arc::clone(&self.users.get(&from).ok_or(Refused::NoUser)?.name);
        let Some((client, number)) = client else {
            return self.take(from, name, to, written);
        };
        match self.clients.check(from, client, number)? {
            Numbered::Accepted => return Ok(vec![Effect::Repeated]),
            Numbered::Refused(why) => return Err(why),
            Numbered::Next => {}
        }
        let taken = self.take(from, name, to, written);
        self.count(from, client, taken.as_ref().err().copied());
        taken
    }

    /// As a message that is refused.
    pub(super) fn refuse(
        &mut self,
        from: UserId,
        client: ClientInstance,
        number: u64,
        why: Refused,
    ) -> Result<Vec<Effect>, Refused> {
        if !self.users.contains_key(&from) {
            return Err(Refused::NoUser);
        }
        match self.clients.check(from, client, number)? {
            Numbered::Accepted => Ok(vec![Effect::Repeated]),
            Numbered::Refused(why) => Err(why),
            Numbered::Next => {
                self.count(from, client, Some(why));
                Err(why)
            }
        }
    }

    /// Moves marks on. What is not ahead of a mark, or not of a member, changes nothing.
    pub(super) fn read_marks(&mut self, marks: &[(UserId, Place)]) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(marks.len());
        for (user, place) in marks {
            let (user, id) = (*user, place.conversation);
            let Some(conversation) = self.conversations.get_mut(&id) else { continue };
            let sequence = place.sequence.min(conversation.last);
            let Some(member) = conversation.member_mut(user).filter(|member| member.mark < sequence) else {
                continue;
            };
            member.mark = sequence;
            self.dirty.mark(id, user, Some(member));
            effects.push(Effect::Read { user, upto: Place { conversation: id, sequence } });
        }
        effects
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
        // Up to where the messages of each conversation there are in.
        let mut reached: Vec<Place> = Vec::new();
        for message in messages {
            let place = message.place;
            effects.extend(self.import_one(at_ms, &source, user, message));
            match reached.iter_mut().find(|reached| reached.conversation == place.conversation) {
                Some(reached) => *reached = place.max(*reached),
                None => reached.push(place),
            }
        }
        effects.extend(reached.into_iter().map(|upto| Effect::Imported { upto }));
        Ok(effects)
    }

    /// Closes open pages beyond the limit.
    pub(super) fn evict(&mut self) {
        let Self { pages, conversations, limits, dirty, .. } = self;
        pages.evict(conversations, limits, |id, conversation| dirty.conversation(id, Some(conversation)));
    }

    fn count(&mut self, user: UserId, client: ClientInstance, refused: Option<Refused>) {
        self.clients.used(user, client, self.numbers.records, refused, self.limits.clients_max);
    }

    fn take(
        &mut self,
        from: UserId,
        name: Arc<str>,
        to: Target,
        written: Written,
    ) -> Result<Vec<Effect>, Refused> {
        if written.payload.len() > self.limits.payload_bytes_max
            || written.timestamp.len() > TIMESTAMP_BYTES_MAX
        {
            return Err(Refused::TooLong);
        }
        let conversation = match to {
            Target::User(to) => self.direct_to(from, to)?,
            Target::Group(group) => {
                let conversation = self.conversations.get(&group).ok_or(Refused::NoGroup)?;
                if !matches!(conversation.kind, Kind::Group { .. }) {
                    return Err(Refused::NoGroup);
                }
                if !conversation.is_member(from) {
                    return Err(Refused::Forbidden);
                }
                group
            }
        };
        let message = self.append(conversation, from, name, written);
        Ok(vec![Effect::Posted { conversation, message }])
    }

    /// The conversation of two users, which begins if there is none, if a message more may stand in it.
    fn direct_to(&mut self, from: UserId, to: UserId) -> Result<ConversationId, Refused> {
        let pair = (from.min(to), from.max(to));
        if let Some(id) = self.direct.get(&pair) {
            let conversation = self.conversations.get(id).ok_or(Refused::NoUser)?;
            return if from != to && self.is_full(conversation, to) {
                Err(Refused::InboxFull)
            } else {
                Ok(*id)
            };
        }
        for user in [from, to] {
            let user = self.users.get(&user).ok_or(Refused::NoUser)?;
            if user.conversations.len() >= self.limits.conversations_max {
                return Err(Refused::Crowded);
            }
        }
        let members = [from, to];
        Ok(self.begin_conversation(Kind::Direct(pair.0, pair.1), &members[..if from == to { 1 } else { 2 }]))
    }

    /// Whether messages of another cluster are taken; all of them, or none. An inbox that has room for one has room for all that come with it.
    fn check_import(&self, source: &Source, user: UserId, messages: &[Imported]) -> Result<(), Refused> {
        let (mut begun, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for message in messages {
            let key = (user, source.clone(), message.place.conversation);
            let before = self.imports.get(&key).copied();
            if before >= Some(message.place.sequence) {
                continue;
            }
            if before.is_none() {
                counted.insert(message.place.conversation);
            }
            let Some(foreign) = foreign_name(&source.tag, user, message) else { continue };
            match self.foreign.get(&foreign).and_then(|id| self.conversations.get(id)) {
                Some(conversation) if self.is_full(conversation, user) => return Err(Refused::InboxFull),
                Some(_) => {}
                None => drop(begun.insert(foreign)),
            }
        }
        let conversations_max = self.limits.conversations_max;
        let conversations = self.users.get(&user).map_or(0, |user| user.conversations.len());
        let too_many = |before: usize, more: usize| more > 0 && before + more > conversations_max;
        if too_many(conversations, begun.len())
            || (!counted.is_empty() && too_many(self.imports_of(user).count(), counted.len()))
        {
            return Err(Refused::TooMany);
        }
        Ok(())
    }

    fn import_one(&mut self, at_ms: u64, source: &Source, user: UserId, message: Imported) -> Option<Effect> {
        let key = (user, source.clone(), message.place.conversation);
        if self.imports.get(&key) >= Some(&message.place.sequence) {
            return None;
        }
        self.imports.insert(key.clone(), message.place.sequence);
        self.dirty.imports.insert(key);
        let foreign = foreign_name(&source.tag, user, &message)?;
        let conversation = self.foreign.get(&foreign).copied().unwrap_or_else(|| {
            let ForeignName { user, cluster, name, is_group } = foreign;
            self.begin_conversation(Kind::Foreign { user, cluster, name, is_group }, &[user])
        });
        let at_ms = message.time_ms.min(at_ms);
        let written = Written { at_ms, timestamp: message.timestamp, payload: message.payload };
        let message = self.append(conversation, UserId(0), Arc::from(message.sender), written);
        Some(Effect::Posted { conversation, message })
    }

    /// Whether `user` has to read before anything more is written to it. What would push unread messages out of the history is not taken, either.
    fn is_full(&self, conversation: &Conversation, user: UserId) -> bool {
        let unread_max = self.limits.unread_max.min(self.limits.history_max);
        conversation.member(user).is_some_and(|member| conversation.last.0 - member.mark.0 >= unread_max)
    }

    /// Puts a message behind the last one. Who has read all before it has read its own, too.
    fn append(
        &mut self,
        id: ConversationId,
        sender: UserId,
        sender_name: Arc<str>,
        written: Written,
    ) -> Stored {
        let conversation = self.conversations.get_mut(&id).expect("it was looked up or has begun");
        let before = conversation.last;
        conversation.last = Sequence(before.0 + 1);
        conversation.time_ms = conversation.time_ms.max(written.at_ms);
        let message = Stored {
            sequence: conversation.last,
            sender,
            sender_name,
            time_ms: conversation.time_ms,
            timestamp: written.timestamp,
            payload: written.payload,
        };
        self.pages.write(id, conversation, &message, self.limits.history_max);
        if let Some(member) = conversation.member_mut(sender)
            && member.mark == before
        {
            member.mark = message.sequence;
            self.dirty.mark(id, sender, Some(member));
        }
        self.dirty.conversation(id, Some(conversation));
        self.evict();
        message
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
