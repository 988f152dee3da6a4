//! Users and groups: how they come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::conversation::Conversation;
use super::{
    ClusterKey, ConversationId, EMAIL_BYTES_MAX, Effect, ForeignName, GroupChange, Kind, Limits, Named,
    Refused, State, User, UserId, is_name,
};

impl State {
    pub(super) fn set_key(&mut self, key: ClusterKey) {
        if self.key.is_none() {
            self.key = Some(key);
            self.dirty.key = true;
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.dirty.limits = true;
        self.evict();
    }

    pub(super) fn register(
        &mut self,
        name: &str,
        email: Option<String>,
        hash: String,
    ) -> Result<Vec<Effect>, Refused> {
        self.check_name(name)?;
        if email.as_ref().is_some_and(|email| email.len() > EMAIL_BYTES_MAX) || hash.len() > HASH_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        if self.users.len() >= self.limits.users_max {
            return Err(Refused::TooMany);
        }
        self.numbers.users += 1;
        let (id, name) = (UserId(self.numbers.users), Arc::from(name));
        self.names.insert(Arc::clone(&name), Named::User(id));
        self.users.insert(id, User { name, email, hash, conversations: BTreeSet::new() });
        self.dirty.users.insert(id);
        Ok(vec![Effect::Registered(id)])
    }

    pub(super) fn unregister(&mut self, id: UserId) -> Result<Vec<Effect>, Refused> {
        let user = self.users.get(&id).ok_or(Refused::NoUser)?.clone();
        let (name, acquaintances) = (Arc::clone(&user.name), self.acquaintances(id));
        let mut effects = vec![Effect::Unregistered { user: id, name, acquaintances }];
        for conversation in &user.conversations {
            if let Some(change) = self.leave(*conversation, id) {
                effects.push(Effect::Group { group: *conversation, change });
            }
        }
        self.names.remove(&user.name);
        self.users.remove(&id);
        self.dirty.users.insert(id);
        self.clients.forget(id);
        self.dirty.imports.extend(self.imports.forget(id));
        Ok(effects)
    }

    pub(super) fn create_group(&mut self, by: UserId, name: &str) -> Result<Vec<Effect>, Refused> {
        let maker = self.users.get(&by).ok_or(Refused::NoUser)?;
        if let Some(Named::Group(group)) = self.names.get(name)
            && let Some(Kind::Group { maker, .. }) = self.conversations.get(group).map(Conversation::kind)
            && *maker == by
        {
            return Ok(Vec::new());
        }
        if maker.conversations.len() >= self.limits.conversations_max {
            return Err(Refused::TooMany);
        }
        self.check_name(name)?;
        let name: Arc<str> = Arc::from(name);
        let kind = Kind::Group { name: Arc::clone(&name), maker: by };
        let group = self.begin_conversation(kind, &[by]);
        self.names.insert(name, Named::Group(group));
        Ok(vec![Effect::Group { group, change: GroupChange::Created }])
    }

    pub(super) fn add_member(
        &mut self,
        group: ConversationId,
        by: UserId,
        id: UserId,
    ) -> Result<Vec<Effect>, Refused> {
        let (conversation, _) = self.group(group)?;
        if !conversation.is_member(by) {
            return Err(Refused::Forbidden);
        }
        let user = self.users.get(&id).ok_or(Refused::NoUser)?;
        if conversation.is_member(id) {
            return Ok(Vec::new());
        }
        if conversation.members().len() >= self.limits.members_max
            || user.conversations.len() >= self.limits.conversations_max
        {
            return Err(Refused::TooMany);
        }
        self.join(group, id);
        Ok(vec![Effect::Group { group, change: GroupChange::Joined(id) }])
    }

    pub(super) fn remove_member(
        &mut self,
        group: ConversationId,
        by: UserId,
        id: UserId,
    ) -> Result<Vec<Effect>, Refused> {
        let (conversation, maker) = self.group(group)?;
        if by != id && (by != maker || !conversation.is_member(by)) {
            return Err(Refused::Forbidden);
        }
        if !conversation.is_member(id) {
            return Ok(Vec::new());
        }
        let change = self.leave(group, id);
        Ok(change.into_iter().map(|change| Effect::Group { group, change }).collect())
    }

    pub(super) fn delete_group(&mut self, group: ConversationId, by: UserId) -> Result<Vec<Effect>, Refused> {
        let (_, maker) = self.group(group)?;
        if by != maker {
            return Err(Refused::Forbidden);
        }
        self.end_conversation(group);
        Ok(vec![Effect::Group { group, change: GroupChange::Deleted }])
    }

    /// Begins a conversation, of which these are the members.
    pub(super) fn begin_conversation(&mut self, kind: Kind, members: &[UserId]) -> ConversationId {
        self.numbers.conversations += 1;
        let id = ConversationId(self.numbers.conversations);
        match &kind {
            Kind::Direct(one, other) => drop(self.direct.insert((*one, *other), id)),
            Kind::Foreign { user, cluster, name, is_group } => {
                let (cluster, name) = (Arc::clone(cluster), Arc::clone(name));
                self.foreign.insert(ForeignName { user: *user, cluster, name, is_group: *is_group }, id);
            }
            Kind::Former { .. } | Kind::Group { .. } => {}
        }
        self.conversations.insert(id, Conversation::new(kind));
        for user in members {
            self.join(id, *user);
        }
        id
    }

    fn join(&mut self, id: ConversationId, user: UserId) {
        if let Some(conversation) = self.conversations.get_mut(&id)
            && conversation.add_member(user)
        {
            self.dirty.mark(id, user, conversation.member_mut(user));
            self.dirty.conversation(id, Some(conversation));
        }
        if let Some(user) = self.users.get_mut(&user) {
            user.conversations.insert(id);
        }
    }

    /// A user belongs to a conversation no more; what that means for a group.
    fn leave(&mut self, id: ConversationId, user: UserId) -> Option<GroupChange> {
        let name = Arc::clone(&self.users.get(&user)?.name);
        let conversation = self.conversations.get_mut(&id)?;
        let is_group = matches!(conversation.kind, Kind::Group { .. });
        conversation.remove_member(user);
        self.dirty.mark(id, user, None);
        if let Some(user) = self.users.get_mut(&user) {
            user.conversations.remove(&id);
        }
        let Some(left) = conversation.members.first().map(|member| member.user) else {
            self.end_conversation(id);
            return is_group.then_some(GroupChange::Deleted);
        };
        match &mut conversation.kind {
            Kind::Direct(one, other) => {
                self.direct.remove(&(*one, *other));
                conversation.kind = Kind::Former { user: left, name };
            }
            Kind::Group { maker, .. } if *maker == user => *maker = left,
            Kind::Group { .. } | Kind::Former { .. } | Kind::Foreign { .. } => {}
        }
        self.dirty.conversation(id, Some(conversation));
        is_group.then_some(GroupChange::Left(user))
    }

    fn end_conversation(&mut self, id: ConversationId) {
        let Some(mut conversation) = self.conversations.remove(&id) else { return };
        for member in &conversation.members {
            self.dirty.mark(id, member.user, None);
            if let Some(user) = self.users.get_mut(&member.user) {
                user.conversations.remove(&id);
            }
        }
        match &conversation.kind {
            Kind::Direct(one, other) => drop(self.direct.remove(&(*one, *other))),
            Kind::Group { name, .. } => drop(self.names.remove(name)),
            Kind::Foreign { user, cluster, name, is_group } => {
                let (cluster, name) = (Arc::clone(cluster), Arc::clone(name));
                self.foreign.remove(&ForeignName { user: *user, cluster, name, is_group: *is_group });
            }
            Kind::Former { .. } => {}
        }
        self.pages.doom(id, &mut conversation);
        self.dirty.conversation(id, None);
    }

    /// A group, and who has made it.
    fn group(&self, group: ConversationId) -> Result<(&Conversation, UserId), Refused> {
        let conversation = self.conversations.get(&group).ok_or(Refused::NoGroup)?;
        match conversation.kind {
            Kind::Group { maker, .. } => Ok((conversation, maker)),
            _ => Err(Refused::NoGroup),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Refused> {
        if !is_name(name) {
            return Err(Refused::BadName);
        }
        if self.names.contains_key(name) { Err(Refused::NameTaken) } else { Ok(()) }
    }
}

const HASH_BYTES_MAX: usize = 512;
