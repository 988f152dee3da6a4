//! Messages: how they are taken, and how far they were read.

use std::sync::Arc;

use bytes::Bytes;

use super::clients::Numbered;
use super::{
    ClientInstance, ConversationId, Effect, Kind, Place, Refused, Sequence, State, Stored,
    TIMESTAMP_BYTES_MAX, There, UserId,
};
use crate::agents::messenger::Target;

/// A message that somebody has written, and when.
pub(super) struct Written {
    pub(super) at_ms: u64,
    pub(super) timestamp: String,
    pub(super) payload: Bytes,
    /// Where it stands in the cluster that it has come from, if that is another one.
    pub(super) there: Option<There>,
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
            let upto = Place { conversation: id, sequence };
            effects.push(Effect::Read { user, upto });
            if matches!(conversation.kind, Kind::Foreign { .. }) {
                effects.extend(self.read_imports(user, upto));
            }
        }
        effects
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
            return if from != to && self.is_full(conversation, to, 1) {
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

    /// Puts a message behind the last one. Who has read all before it has read its own, too.
    pub(super) fn append(
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
            there: written.there,
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
