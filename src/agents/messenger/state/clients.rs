//! Client instances: whose messages were taken, each once and in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{ClientInstance, Refused, UserId};
use crate::agent::WireError;
use crate::agents::codec::{Reader, put_list, put_number};

/// All client instances that are remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    known: BTreeMap<(UserId, ClientInstance), Client>,
    /// The same by the record in which each was used last: the first is the next to be forgotten.
    by_use: BTreeMap<u64, (UserId, ClientInstance)>,
    /// Those that have changed since rows were taken.
    dirty: BTreeSet<(UserId, ClientInstance)>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// The number of the message that comes next.
    next: u64,
    /// The record in which it was used last, or one since which no other was used.
    used: u64,
    /// Its messages that were refused for good, so that a repetition is not told that they were accepted. Ascending, and only the last ones.
    refused: VecDeque<Run>,
    /// What became of messages up to this number is not known any more.
    forgotten: u64,
    dirty: bool,
}

/// Messages that follow one another and were refused for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    why: Refused,
}

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    Next,
    Accepted,
    Refused(Refused),
}

impl Clients {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The number that comes next; `None` if this one is not known.
    pub(super) fn expected(&self, user: UserId, instance: ClientInstance) -> Option<u64> {
        self.known.get(&(user, instance)).map(|client| client.next)
    }

    /// What is to be said to a message of this number.
    pub(super) fn check(
        &self,
        user: UserId,
        instance: ClientInstance,
        number: u64,
    ) -> Result<Numbered, Refused> {
        let Some(client) = self.known.get(&(user, instance)) else {
            return if number == 1 { Ok(Numbered::Next) } else { Err(Refused::Forgotten) };
        };
        if number > client.next {
            return Err(Refused::OutOfOrder { expected: client.next });
        }
        if number == client.next {
            return Ok(Numbered::Next);
        }
        if number <= client.forgotten {
            return Err(Refused::Forgotten);
        }
        let refused = client.refused.iter().find(|run| (run.first..=run.last).contains(&number));
        Ok(refused.map_or(Numbered::Accepted, |run| Numbered::Refused(run.why)))
    }

    /// A message with the number that comes next was taken, or refused; `record` is the record that is being applied.
    pub(super) fn used(
        &mut self,
        user: UserId,
        instance: ClientInstance,
        record: u64,
        refused: Option<Refused>,
        clients_max: usize,
    ) {
        let key = (user, instance);
        let newest = self.by_use.last_key_value().map(|(used, _)| *used);
        if !self.known.contains_key(&key) {
            self.make_room(user);
        }
        let client = self.known.entry(key).or_insert_with(|| Client::new(record));
        if newest != Some(client.used) {
            self.by_use.remove(&client.used);
            client.used = record;
            self.by_use.insert(record, key);
        }
        if refused.is_none_or(Refused::is_for_good) {
            if let Some(why) = refused {
                client.refused(why);
            }
            client.next += 1;
        }
        if !std::mem::replace(&mut client.dirty, true) {
            self.dirty.insert(key);
        }
        while self.known.len() > clients_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.known.remove(&oldest);
            self.dirty.insert(oldest);
        }
    }

    /// A user is no more.
    pub(super) fn forget(&mut self, user: UserId) {
        let gone: Vec<_> = self.of(user).collect();
        for (used, key) in gone {
            self.remove(used, key);
        }
    }

    /// A user begins another client instance: if it has very many, the one of them that was used longest ago is forgotten, so that those of others stay.
    fn make_room(&mut self, user: UserId) {
        if self.of(user).count() >= OF_USER_MAX
            && let Some((used, key)) = self.of(user).min()
        {
            self.remove(used, key);
        }
    }

    /// A user's client instances, each with when it was used.
    fn of(&self, user: UserId) -> impl Iterator<Item = (u64, (UserId, ClientInstance))> {
        let range = (user, ClientInstance([0; 16]))..=(user, ClientInstance([0xff; 16]));
        self.known.range(range).map(|(key, client)| (client.used, *key))
    }

    fn remove(&mut self, used: u64, key: (UserId, ClientInstance)) {
        self.known.remove(&key);
        self.by_use.remove(&used);
        self.dirty.insert(key);
    }

    /// Hands over what has changed since the last time; `None` for what is no more.
    pub(super) fn take_dirty(&mut self, mut take: impl FnMut((UserId, ClientInstance), Option<&Client>)) {
        for key in std::mem::take(&mut self.dirty) {
            let client = self.known.get_mut(&key);
            take(
                key,
                client.map(|client| {
                    client.dirty = false;
                    &*client
                }),
            );
        }
    }

    pub(super) fn restore(&mut self, key: (UserId, ClientInstance), client: Client) {
        self.by_use.insert(client.used, key);
        self.known.insert(key, client);
    }
}

impl Client {
    fn new(record: u64) -> Self {
        Self { next: 1, used: record, refused: VecDeque::new(), forgotten: 0, dirty: false }
    }

    /// The message whose number comes next is refused for good.
    fn refused(&mut self, why: Refused) {
        let number = self.next;
        match self.refused.back_mut().filter(|run| run.last + 1 == number && run.why == why) {
            Some(run) => run.last = number,
            None => self.refused.push_back(Run { first: number, last: number, why }),
        }
        if self.refused.len() > REFUSED_MAX
            && let Some(run) = self.refused.pop_front()
        {
            self.forgotten = run.last;
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.next);
        put_number(bytes, self.used);
        let refused: Vec<_> = self.refused.iter().copied().collect();
        put_list(bytes, &refused, |bytes, run| {
            put_number(bytes, run.first);
            put_number(bytes, run.last);
            run.why.encode(bytes);
        });
        put_number(bytes, self.forgotten);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (next, used) = (reader.number()?, reader.number()?);
        let refused = reader.list(|reader| {
            Ok(Run { first: reader.number()?, last: reader.number()?, why: Refused::decode(reader)? })
        })?;
        Ok(Self { next, used, refused: refused.into(), forgotten: reader.number()?, dirty: false })
    }
}

/// So many runs of refusals of a client instance are remembered.
const REFUSED_MAX: usize = 64;
/// So many client instances of one user are remembered.
const OF_USER_MAX: usize = 256;
