//! The model: what the state says, with everything in memory and nothing clever.

use std::collections::BTreeMap;

use super::super::imports::WAYMARKS_MAX;
use super::super::*;
use crate::agents::messenger::{Imported, Origin, Target};

#[derive(Debug, Default)]
pub(super) struct Model {
    limits: Limits,
    users_ever: u64,
    conversations_ever: u64,
    users: BTreeMap<UserId, String>,
    conversations: BTreeMap<ConversationId, Talk>,
    /// Those that were used last come last.
    clients: Vec<Numbering>,
    imports: BTreeMap<(UserId, Origin, ConversationId), Import>,
}

#[derive(Debug, Default)]
struct Import {
    upto: Sequence,
    read: Sequence,
    /// Where messages stand that are not read, here and there: some, and the last.
    unread: Vec<(Place, Sequence)>,
}

#[derive(Debug)]
struct Talk {
    kind: Kind,
    messages: Vec<Stored>,
    /// How far each has read, and what stood there before it joined.
    members: BTreeMap<UserId, (u64, u64)>,
}

#[derive(Debug)]
struct Numbering {
    of: (UserId, ClientInstance),
    /// What became of each number, from 1 on.
    told: Vec<Option<Refused>>,
}

type Done = Result<Vec<Effect>, Refused>;

impl Model {
    pub(super) fn apply(&mut self, at_ms: u64, command: Command) -> Outcome {
        let done = match command {
            Command::Key { .. } => Ok(Vec::new()),
            Command::Limits { limits } => {
                self.limits = limits;
                Ok(Vec::new())
            }
            Command::Register { name, .. } => self.register(name),
            Command::Unregister { user } => self.unregister(user),
            Command::Post { from, to, client, timestamp, payload } => {
                self.numbered(from, client, |model| model.post(at_ms, from, to, timestamp, payload))
            }
            Command::Refuse { from, client, number, why } => {
                self.numbered(from, Some((client, number)), |_| Err(why))
            }
            Command::Read { marks } => Ok(self.marks(&marks)),
            Command::CreateGroup { by, name } => self.create(by, &name),
            Command::AddMember { group, by, user } => self.add(group, by, user),
            Command::RemoveMember { group, by, user } => self.remove(group, by, user),
            Command::DeleteGroup { group, by } => self.delete(group, by),
            Command::Import { from, user, messages } => self.import(at_ms, &from, user, messages),
        };
        done.map_or_else(Outcome::Refused, Outcome::Done)
    }

    /// What a reading that goes on to its end has to find, with the beginning of what is kept as `state` has it.
    pub(super) fn read(&self, state: &State, wanted: &Wanted) -> Vec<Stored> {
        let Some(talk) = self.conversations.get(&wanted.conversation) else { return Vec::new() };
        let Some((_, since)) = talk.members.get(&wanted.reader) else { return Vec::new() };
        let first = state.conversation(wanted.conversation).expect("the model has it").first();
        let kept = talk.messages.len() as u64 + 1 - first.0;
        assert!(kept >= (talk.messages.len() as u64).min(self.limits.history_max), "enough is kept");
        assert!(kept <= self.limits.history_max + 64, "and not too much");
        let times = wanted.since_ms..wanted.until_ms;
        let range = first.max(wanted.from)..=wanted.upto;
        let fits = |message: &&Stored| {
            range.contains(&message.sequence)
                && message.sequence.0 > *since
                && times.contains(&message.time_ms)
        };
        talk.messages.iter().filter(fits).cloned().collect()
    }

    /// What was found by a look of some time ago is not all, but it is true, and nothing is left out that was not too old.
    pub(super) fn agrees_with_part(&self, state: &State, wanted: &Wanted, found: &Messages) {
        let all = self.read(state, wanted);
        let part = if wanted.backwards {
            &all[all.len() - found.messages.len()..]
        } else {
            &all[..found.messages.len()]
        };
        assert_eq!(found.messages, part);
        assert!(found.next.is_some() || all.len() == found.messages.len());
    }

    pub(super) fn agrees_with(&self, state: &State) {
        assert_eq!(state.users(), self.users.len());
        for (user, name) in &self.users {
            assert_eq!(state.find_user(name), Some(*user));
            let conversations = self.conversations_of(*user);
            assert_eq!(state.conversations_of(*user).collect::<Vec<_>>(), conversations);
            let unread = conversations.iter().filter_map(|id| {
                let mark = self.mark(state, *user, *id);
                assert_eq!(state.mark(*user, *id), Some(mark));
                (mark.0 < self.conversations[id].messages.len() as u64).then_some((*id, Sequence(mark.0 + 1)))
            });
            assert_eq!(state.unread(*user).collect::<Vec<_>>(), unread.collect::<Vec<_>>());
        }
        for (id, talk) in &self.conversations {
            let conversation = state.conversation(*id).expect("it is there");
            assert_eq!(conversation.kind(), &talk.kind);
            assert_eq!(conversation.last().0, talk.messages.len() as u64);
            assert_eq!(conversation.time_ms(), talk.messages.last().map_or(0, |message| message.time_ms));
            assert!(conversation.members().eq(talk.members.keys().copied()));
            match &talk.kind {
                Kind::Direct(one, other) => assert_eq!(state.direct(*other, *one), Some(*id)),
                Kind::Group { name, .. } => assert_eq!(state.find_group(name), Some(*id)),
                Kind::Former { .. } | Kind::Foreign { .. } => {}
            }
        }
        for client in &self.clients {
            assert_eq!(state.expected(client.of.0, client.of.1), Some(client.told.len() as u64 + 1));
        }
        for ((user, from, there), import) in &self.imports {
            let progress = Progress { upto: import.upto, read: import.read };
            assert_eq!(state.imported(*user, from)(*there), progress);
            let waits = (!import.unread.is_empty()).then_some(progress);
            let mut unread = state.unread_imports(*user, from).filter(|(other, _)| other == there);
            assert_eq!(unread.next().map(|(_, progress)| progress), waits);
        }
        let counted = state.counters();
        let conversations = self.conversations.len() as u64;
        assert_eq!(
            counted[1..3],
            [("conversations", conversations), ("client_instances", self.clients.len() as u64)]
        );
    }

    fn mark(&self, state: &State, user: UserId, id: ConversationId) -> Sequence {
        let talk = &self.conversations[&id];
        let mut mark = talk.members[&user].0.max(state.conversation(id).expect("it is there").first().0 - 1);
        if matches!(talk.kind, Kind::Group { .. }) {
            mark = mark.max((talk.messages.len() as u64).saturating_sub(self.limits.unread_max));
        }
        Sequence(mark)
    }

    fn conversations_of(&self, user: UserId) -> Vec<ConversationId> {
        let talks = self.conversations.iter().filter(|(_, talk)| talk.members.contains_key(&user));
        talks.map(|(id, _)| *id).collect()
    }

    fn find(&self, is: impl Fn(&Kind) -> bool) -> Option<ConversationId> {
        self.conversations.iter().find(|(_, talk)| is(&talk.kind)).map(|(id, _)| *id)
    }

    fn find_group(&self, name: &str) -> Option<ConversationId> {
        self.find(|kind| matches!(kind, Kind::Group { name: other, .. } if &**other == name))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.users.values().any(|other| other == name) || self.find_group(name).is_some()
    }

    fn needs(&self, user: UserId) -> Result<(), Refused> {
        if self.users.contains_key(&user) { Ok(()) } else { Err(Refused::NoUser) }
    }

    fn has_room(&self, user: UserId) -> Result<(), Refused> {
        let room = self.conversations_of(user).len() < self.limits.conversations_max;
        if room { Ok(()) } else { Err(Refused::TooMany) }
    }

    fn begin(&mut self, kind: Kind, members: &[UserId]) -> ConversationId {
        self.conversations_ever += 1;
        let id = ConversationId(self.conversations_ever);
        let members = members.iter().map(|user| (*user, (0, 0))).collect();
        self.conversations.insert(id, Talk { kind, messages: Vec::new(), members });
        id
    }

    fn register(&mut self, name: String) -> Done {
        if self.is_taken(&name) {
            return Err(Refused::NameTaken);
        }
        if self.users.len() >= self.limits.users_max {
            return Err(Refused::TooMany);
        }
        self.users_ever += 1;
        self.users.insert(UserId(self.users_ever), name);
        Ok(vec![Effect::Registered(UserId(self.users_ever))])
    }

    fn unregister(&mut self, user: UserId) -> Done {
        self.needs(user)?;
        let conversations = self.conversations_of(user);
        let members = conversations.iter().flat_map(|id| self.conversations[id].members.keys().copied());
        let acquaintances = members.filter(|other| *other != user).collect();
        let name = Arc::from(self.users[&user].as_str());
        let mut effects = vec![Effect::Unregistered { user, name, acquaintances }];
        for group in conversations {
            if let Some(change) = self.leave(group, user) {
                effects.push(Effect::Group { group, change });
            }
        }
        self.users.remove(&user);
        self.clients.retain(|client| client.of.0 != user);
        self.imports.retain(|(of, ..), _| *of != user);
        Ok(effects)
    }

    fn leave(&mut self, id: ConversationId, user: UserId) -> Option<GroupChange> {
        let name = Arc::from(self.users[&user].as_str());
        let talk = self.conversations.get_mut(&id).expect("somebody leaves it");
        talk.members.remove(&user);
        let is_group = matches!(talk.kind, Kind::Group { .. });
        let Some((left, _)) = talk.members.first_key_value() else {
            self.conversations.remove(&id);
            return is_group.then_some(GroupChange::Deleted);
        };
        match &mut talk.kind {
            Kind::Group { maker, .. } if *maker == user => *maker = *left,
            Kind::Direct(..) => talk.kind = Kind::Former { user: *left, name },
            _ => {}
        }
        is_group.then_some(GroupChange::Left(user))
    }

    fn numbered(
        &mut self,
        from: UserId,
        client: Option<(ClientInstance, u64)>,
        take: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        self.needs(from)?;
        let Some((client, number)) = client else { return take(self) };
        let of = (from, client);
        let told = match self.clients.iter().find(|known| known.of == of) {
            None if number == 1 => Vec::new(),
            None => return Err(Refused::Forgotten),
            Some(known) => known.told.clone(),
        };
        let expected = told.len() as u64 + 1;
        if number > expected {
            return Err(Refused::OutOfOrder { expected });
        }
        if number < expected {
            let told = told[usize::try_from(number).expect("small") - 1];
            return told.map_or(Ok(vec![Effect::Repeated]), Err);
        }
        let taken = take(self);
        self.clients.retain(|known| known.of != of);
        let mut told = told;
        match taken {
            Ok(_) => told.push(None),
            Err(Refused::InboxFull | Refused::TooMany) => {}
            Err(refused) => told.push(Some(refused)),
        }
        self.clients.push(Numbering { of, told });
        let too_many = self.clients.len().saturating_sub(self.limits.clients_max);
        self.clients.drain(..too_many);
        taken
    }

    fn post(&mut self, at_ms: u64, from: UserId, to: Target, timestamp: String, payload: Bytes) -> Done {
        if payload.len() > self.limits.payload_bytes_max {
            return Err(Refused::TooLong);
        }
        let id = match to {
            Target::Group(group) => {
                let talk = self.conversations.get(&group).ok_or(Refused::NoGroup)?;
                if !matches!(talk.kind, Kind::Group { .. }) {
                    return Err(Refused::NoGroup);
                }
                if !talk.members.contains_key(&from) {
                    return Err(Refused::Forbidden);
                }
                group
            }
            Target::User(to) => {
                let kind = Kind::Direct(from.min(to), from.max(to));
                match self.find(|other| *other == kind) {
                    Some(id) if from != to => self.has_inbox(id, to, 1)?,
                    Some(id) => id,
                    None => {
                        for user in [from, to] {
                            self.needs(user)?;
                            self.has_room(user).map_err(|_| Refused::Crowded)?;
                        }
                        self.begin(kind, &[from, to])
                    }
                }
            }
        };
        let name = self.users[&from].clone();
        Ok(vec![self.append(id, from, &name, at_ms, timestamp, payload)])
    }

    fn has_inbox(&self, id: ConversationId, user: UserId, more: u64) -> Result<ConversationId, Refused> {
        let talk = &self.conversations[&id];
        let unread = talk.messages.len() as u64 - talk.members[&user].0;
        let fits = unread < self.limits.unread_max && unread + more <= self.limits.history_max;
        if unread == 0 || fits { Ok(id) } else { Err(Refused::InboxFull) }
    }

    fn append(
        &mut self,
        id: ConversationId,
        sender: UserId,
        name: &str,
        at_ms: u64,
        timestamp: String,
        payload: Bytes,
    ) -> Effect {
        let talk = self.conversations.get_mut(&id).expect("it is there");
        let before = talk.messages.len() as u64;
        if let Some((mark, _)) = talk.members.get_mut(&sender).filter(|(mark, _)| *mark == before) {
            *mark += 1;
        }
        let message = Stored {
            sequence: Sequence(before + 1),
            sender,
            sender_name: Arc::from(name),
            time_ms: talk.messages.last().map_or(0, |message| message.time_ms).max(at_ms),
            timestamp,
            payload,
            there: None,
        };
        talk.messages.push(message.clone());
        Effect::Posted { conversation: id, message }
    }

    fn marks(&mut self, marks: &[(UserId, Place)]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (user, Place { conversation, sequence }) in marks {
            let Some(talk) = self.conversations.get_mut(conversation) else { continue };
            let upto = sequence.0.min(talk.messages.len() as u64);
            if let Some((mark, _)) = talk.members.get_mut(user).filter(|(mark, _)| *mark < upto) {
                *mark = upto;
                let upto = Place { conversation: *conversation, sequence: Sequence(upto) };
                effects.push(Effect::Read { user: *user, upto });
                effects.extend(self.read_imports(*user, upto));
            }
        }
        effects
    }

    fn read_imports(&mut self, user: UserId, upto: Place) -> Vec<Effect> {
        let mut effects = Vec::new();
        for ((of, from, conversation), import) in &mut self.imports {
            let is_read =
                |here: Place| here.conversation == upto.conversation && here.sequence <= upto.sequence;
            let before = import.read;
            while let Some((_, there)) = import.unread.first().filter(|(here, _)| is_read(*here)) {
                import.read = *there;
                import.unread.remove(0);
                if import.unread.is_empty() {
                    import.read = import.upto;
                }
            }
            if *of == user && import.read != before {
                let upto = Place { conversation: *conversation, sequence: import.read };
                effects.push(Effect::ReadThere { user, from: from.clone(), upto });
            }
        }
        effects
    }

    fn create(&mut self, by: UserId, name: &str) -> Done {
        self.needs(by)?;
        let own = Kind::Group { name: Arc::from(name), maker: by };
        if self.find(|kind| *kind == own).is_some() {
            return Ok(Vec::new());
        }
        self.has_room(by)?;
        if self.is_taken(name) {
            return Err(Refused::NameTaken);
        }
        let group = self.begin(own, &[by]);
        Ok(vec![Effect::Group { group, change: GroupChange::Created }])
    }

    fn maker(&self, group: ConversationId) -> Result<UserId, Refused> {
        match self.conversations.get(&group).map(|talk| &talk.kind) {
            Some(Kind::Group { maker, .. }) => Ok(*maker),
            _ => Err(Refused::NoGroup),
        }
    }

    fn add(&mut self, group: ConversationId, by: UserId, user: UserId) -> Done {
        self.maker(group)?;
        if !self.conversations[&group].members.contains_key(&by) {
            return Err(Refused::Forbidden);
        }
        self.needs(user)?;
        if self.conversations[&group].members.contains_key(&user) {
            return Ok(Vec::new());
        }
        if self.conversations[&group].members.len() >= self.limits.members_max {
            return Err(Refused::TooMany);
        }
        self.has_room(user)?;
        let talk = self.conversations.get_mut(&group).expect("it is there");
        let last = talk.messages.len() as u64;
        talk.members.insert(user, (last, last));
        Ok(vec![Effect::Group { group, change: GroupChange::Joined(user) }])
    }

    fn remove(&mut self, group: ConversationId, by: UserId, user: UserId) -> Done {
        if self.maker(group)? != by && by != user {
            return Err(Refused::Forbidden);
        }
        if !self.conversations[&group].members.contains_key(&user) {
            return Ok(Vec::new());
        }
        let change = self.leave(group, user).expect("it is a group");
        Ok(vec![Effect::Group { group, change }])
    }

    fn delete(&mut self, group: ConversationId, by: UserId) -> Done {
        if self.maker(group)? != by {
            return Err(Refused::Forbidden);
        }
        self.conversations.remove(&group);
        Ok(vec![Effect::Group { group, change: GroupChange::Deleted }])
    }

    fn import(&mut self, at_ms: u64, from: &Origin, user: UserId, messages: Vec<Imported>) -> Done {
        self.needs(user)?;
        let cluster = from.tag.as_str();
        let key = |message: &Imported| (user, from.clone(), message.place.conversation);
        let is_new = |model: &Self, message: &Imported| {
            model.imports.get(&key(message)).is_none_or(|import| import.upto < message.place.sequence)
        };
        let kind = |message: &Imported| Kind::Foreign {
            user,
            cluster: Arc::from(cluster),
            name: Arc::from(message.group.as_ref().unwrap_or(&message.sender).as_str()),
            is_group: message.group.is_some(),
        };
        let mut imports = self.imports.keys().filter(|(of, ..)| *of == user).cloned().collect::<Vec<_>>();
        let (mut kinds, imports_before) = (Vec::new(), imports.len());
        let mut coming: BTreeMap<ConversationId, u64> = BTreeMap::new();
        for message in messages.iter().filter(|message| is_new(self, message)) {
            match self.find(|other| *other == kind(message)) {
                Some(id) => {
                    let more = coming.entry(id).or_default();
                    *more += 1;
                    self.has_inbox(id, user, *more)?;
                }
                None if kinds.contains(&kind(message)) => {}
                None => kinds.push(kind(message)),
            }
            if !imports.contains(&key(message)) {
                imports.push(key(message));
            }
        }
        let conversations = self.conversations_of(user).len();
        let max = self.limits.conversations_max;
        if !kinds.is_empty() && conversations + kinds.len() > max
            || imports.len() > imports_before && imports.len() > max
        {
            return Err(Refused::TooMany);
        }
        let (mut effects, mut concerned) = (Vec::new(), Vec::new());
        for message in messages {
            let (place, import) = (message.place, key(&message));
            if is_new(self, &message) {
                let found = self.find(|other| *other == kind(&message));
                let id = found.unwrap_or_else(|| self.begin(kind(&message), &[user]));
                let time_ms = message.time_ms.min(at_ms);
                let Imported { sender, timestamp, payload, .. } = message;
                self.append(id, UserId(0), &sender, time_ms, timestamp, payload);
                let message = self.conversations.get_mut(&id).and_then(|talk| talk.messages.last_mut());
                let message = message.expect("it was appended");
                message.there = Some(There { cluster: from.identity, place });
                effects.push(Effect::Posted { conversation: id, message: message.clone() });
                let here = Place { conversation: id, sequence: message.sequence };
                let import = self.imports.entry(import.clone()).or_default();
                import.upto = place.sequence;
                import.unread.truncate(WAYMARKS_MAX - 1);
                import.unread.push((here, place.sequence));
            }
            if !concerned.contains(&import) {
                concerned.push(import);
            }
        }
        effects.extend(concerned.into_iter().map(|key| {
            let Import { upto, read, .. } = self.imports[&key];
            Effect::Imported { conversation: key.2, progress: Progress { upto, read } }
        }));
        Ok(effects)
    }
}
