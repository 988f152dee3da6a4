//! Messages: how they are taken, and how far they were read.

use std::sync::Arc;

use bytes::Bytes;

use super::clients::Numbered;
use super::conversation::Conversation;
use super::{
    ClientInstance, ConversationId, Effect, ForeignName, Kind, NAME_BYTES_MAX, Place, Refused, Sequence,
    State, Stored, UserId,
};
use crate::agents::messenger::{Imported, Target};

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
        cluster: &str,
        user: UserId,
        messages: Vec<Imported>,
    ) -> Result<Vec<Effect>, Refused> {
        if !self.users.contains_key(&user) {
            return Err(Refused::NoUser);
        }
        if cluster.is_empty() || cluster.len() > NAME_BYTES_MAX {
            return Err(Refused::BadName);
        }
        let cluster: Arc<str> = Arc::from(cluster);
        let mut effects = Vec::with_capacity(messages.len() + 1);
        // Up to where the messages of each conversation there are in.
        let mut reached: Vec<Place> = Vec::new();
        let mut stopped = None;
        for message in messages {
            let place = message.place;
            match self.import_one(at_ms, &cluster, user, message) {
                Ok(effect) => effects.extend(effect),
                // What comes behind it must not overtake it.
                Err(refused) => {
                    stopped = Some(refused);
                    break;
                }
            }
            match reached.iter_mut().find(|reached| reached.conversation == place.conversation) {
                Some(reached) => *reached = place.max(*reached),
                None => reached.push(place),
            }
        }
        match stopped {
            Some(refused) if reached.is_empty() => Err(refused),
            _ => {
                effects.extend(reached.into_iter().map(|upto| Effect::Imported { upto }));
                Ok(effects)
            }
        }
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
                return Err(Refused::TooMany);
            }
        }
        let members = [from, to];
        Ok(self.begin_conversation(Kind::Direct(pair.0, pair.1), &members[..if from == to { 1 } else { 2 }]))
    }

    fn import_one(
        &mut self,
        at_ms: u64,
        cluster: &Arc<str>,
        user: UserId,
        message: Imported,
    ) -> Result<Option<Effect>, Refused> {
        let key = (user, Arc::clone(cluster), message.place.conversation);
        let before = self.imports.get(&key).copied();
        if before >= Some(message.place.sequence) {
            return Ok(None);
        }
        if before.is_none() && self.imports_of(user).count() >= self.limits.conversations_max {
            return Err(Refused::TooMany);
        }
        let is_group = message.group.is_some();
        let name = message.group.as_deref().unwrap_or(&message.sender);
        let fits = |name: &str| (1..=FOREIGN_NAME_BYTES_MAX).contains(&name.len());
        let mut effect = None;
        if fits(name) && fits(&message.sender) && message.timestamp.len() <= TIMESTAMP_BYTES_MAX {
            let foreign = ForeignName { user, cluster: Arc::clone(cluster), name: Arc::from(name), is_group };
            let conversation = self.foreign_with(foreign)?;
            let at_ms = message.time_ms.min(at_ms);
            let written = Written { at_ms, timestamp: message.timestamp, payload: message.payload };
            let message = self.append(conversation, UserId(0), Arc::from(message.sender), written);
            effect = Some(Effect::Posted { conversation, message });
        }
        self.imports.insert(key.clone(), message.place.sequence);
        self.dirty.imports.insert(key);
        Ok(effect)
    }

    fn foreign_with(&mut self, foreign: ForeignName) -> Result<ConversationId, Refused> {
        let user = foreign.user;
        if let Some(id) = self.foreign.get(&foreign) {
            let conversation = self.conversations.get(id).ok_or(Refused::NoUser)?;
            return if self.is_full(conversation, user) { Err(Refused::InboxFull) } else { Ok(*id) };
        }
        let conversations = self.users.get(&user).map_or(0, |user| user.conversations.len());
        if conversations >= self.limits.conversations_max {
            return Err(Refused::TooMany);
        }
        let ForeignName { user, cluster, name, is_group } = foreign;
        Ok(self.begin_conversation(Kind::Foreign { user, cluster, name, is_group }, &[user]))
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

/// The longest time that a client may call.
const TIMESTAMP_BYTES_MAX: usize = 128;
/// The longest name of somebody of another cluster, which may have other rules; a message of somebody with a longer one is passed over.
const FOREIGN_NAME_BYTES_MAX: usize = 256;
