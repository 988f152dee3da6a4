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
    /// Of its last messages those that were refused for good, so that a repetition is not told that they were accepted.
    refused: VecDeque<(u64, Refused)>,
    dirty: bool,
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
        let refused = client.refused.iter().find(|(refused, _)| *refused == number);
        Ok(refused.map_or(Numbered::Accepted, |(_, why)| Numbered::Refused(*why)))
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
        let client = self.known.entry(key).or_insert_with(|| Client::new(record));
        if newest != Some(client.used) {
            self.by_use.remove(&client.used);
            client.used = record;
            self.by_use.insert(record, key);
        }
        if refused.is_none_or(Refused::is_for_good) {
            if let Some(why) = refused {
                client.refused.push_back((client.next, why));
                if client.refused.len() > REFUSED_MAX {
                    client.refused.pop_front();
                }
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
        let first = (user, ClientInstance([0; 16]));
        let last = (user, ClientInstance([0xff; 16]));
        let gone: Vec<_> = self.known.range(first..=last).map(|(key, client)| (*key, client.used)).collect();
        for (key, used) in gone {
            self.known.remove(&key);
            self.by_use.remove(&used);
            self.dirty.insert(key);
        }
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
        Self { next: 1, used: record, refused: VecDeque::new(), dirty: false }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.next);
        put_number(bytes, self.used);
        let refused: Vec<_> = self.refused.iter().copied().collect();
        put_list(bytes, &refused, |bytes, (number, why)| {
            put_number(bytes, *number);
            why.encode(bytes);
        });
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (next, used) = (reader.number()?, reader.number()?);
        let refused = reader.list(|reader| Ok((reader.number()?, Refused::decode(reader)?)))?;
        Ok(Self { next, used, refused: refused.into(), dirty: false })
    }
}

/// So many refusals of a client instance are remembered.
const REFUSED_MAX: usize = 64;
