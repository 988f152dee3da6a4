//! What stands in the log.

use bytes::Bytes;

use super::{ClusterIdentity, ClusterKey, ConversationId, Limits, Place, Refused, Sequence, UserId};
use crate::agent::WireError;
use crate::agents::codec::{Reader, put_bytes, put_list, put_number, put_option, put_word};

/// One record: who waits for it, and what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which life of which server has proposed it; a number at random.
    pub life: u64,
    /// How that one calls it.
    pub number: u64,
    /// When that was, by its clock: milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// What is to be done.
    pub command: Command,
}

/// What is to be done. Everything that only the state of the moment can tell (whether a name is free, a member still one) is decided when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The key of the cluster. The first one stays.
    Key {
        /// At random.
        key: ClusterKey,
    },
    /// What is kept at most, from now on. In the log, since all servers have to decide alike, those that start again with other settings included.
    Limits {
        /// That.
        limits: Limits,
    },
    /// Somebody wants to be a user.
    Register {
        /// By this name.
        name: String,
        /// Where to write, if they like.
        email: Option<String>,
        /// The password's hash, in PHC's form.
        hash: String,
    },
    /// A user is no more, and with it what is written with it alone.
    Unregister {
        /// Who.
        user: UserId,
    },
    /// A message.
    Post {
        /// Who writes.
        from: UserId,
        /// To whom.
        to: Target,
        /// By which client instance, under which number; none if it counts none.
        client: Option<(ClientInstance, u64)>,
        /// The time as the client calls it; carried along.
        timestamp: String,
        /// What it says.
        payload: Bytes,
    },
    /// Uses up the number of a message that its server has turned down for good, so that what the client instance numbered behind it can be taken.
    Refuse {
        /// Who wrote it.
        from: UserId,
        /// By which client instance.
        client: ClientInstance,
        /// Under which number.
        number: u64,
        /// Why it was turned down.
        why: Refused,
    },
    /// Users have read up to these places.
    Read {
        /// They.
        marks: Vec<(UserId, Place)>,
    },
    /// A group begins, with one member.
    CreateGroup {
        /// Who makes it.
        by: UserId,
        /// What it is called.
        name: String,
    },
    /// A group gets another member.
    AddMember {
        /// Which.
        group: ConversationId,
        /// A member of it.
        by: UserId,
        /// Who joins.
        user: UserId,
    },
    /// Somebody leaves a group. Others than oneself only its maker can make leave.
    RemoveMember {
        /// Which.
        group: ConversationId,
        /// Who wants it.
        by: UserId,
        /// Who leaves.
        user: UserId,
    },
    /// A group ends. Only its maker can do that.
    DeleteGroup {
        /// Which.
        group: ConversationId,
        /// Who wants it.
        by: UserId,
    },
    /// Messages to a user of this cluster that were sent in another one.
    Import {
        /// That one.
        from: Origin,
        /// Whose they are.
        user: UserId,
        /// They; those of one place there come in the order of their numbers.
        messages: Vec<Imported>,
    },
}

/// To whom a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a user.
    User(UserId),
    /// To all members of a group.
    Group(ConversationId),
}

/// A running client: sixteen bytes at random. It numbers its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientInstance(pub [u8; 16]);

/// Another cluster, in which messages were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// What it is called.
    pub tag: String,
    /// Which one it is of those that were ever called so; none if it does not say.
    pub identity: Option<ClusterIdentity>,
}

/// A message of another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Where it stands there. What is not behind the last that was imported from that conversation there is passed over.
    pub place: Place,
    /// Who wrote it there.
    pub sender: String,
    /// The group that it was written to there, if it was one.
    pub group: Option<String>,
    /// When it was accepted there.
    pub time_ms: u64,
    /// The time as its client called it.
    pub timestamp: String,
    /// What it says.
    pub payload: Bytes,
}

impl Record {
    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES_ABOUT + self.command.len_about());
        bytes.push(FORM);
        put_word(&mut bytes, self.life);
        put_number(&mut bytes, self.number);
        put_number(&mut bytes, self.at_ms);
        self.command.encode(&mut bytes);
        bytes
    }

    /// The record that was written as these bytes. Whatever they are, nothing panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::copying(bytes);
        let form = reader.byte()?;
        if form != FORM {
            return Err(WireError::new(format!("a record of form {form}, only {FORM} is known")));
        }
        let (life, number, at_ms) = (reader.word()?, reader.number()?, reader.number()?);
        let command = Command::decode(&mut reader)?;
        reader.end()?;
        Ok(Self { life, number, at_ms, command })
    }
}

impl Command {
    /// How many bytes it takes, within a few dozen.
    fn len_about(&self) -> usize {
        match self {
            Self::Post { timestamp, payload, .. } => timestamp.len() + payload.len(),
            Self::Read { marks } => marks.len() * 12,
            Self::Import { messages, .. } => {
                messages.iter().map(|message| message.payload.len() + 64).sum::<usize>()
            }
            _ => 128,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.tag());
        match self {
            Self::Key { key } => bytes.extend_from_slice(key.bytes()),
            Self::Limits { limits } => limits.encode(bytes),
            Self::Register { name, email, hash } => {
                put_bytes(bytes, name.as_bytes());
                put_option(bytes, email.as_deref(), |bytes, email| put_bytes(bytes, email.as_bytes()));
                put_bytes(bytes, hash.as_bytes());
            }
            Self::Unregister { user } => put_number(bytes, user.0),
            Self::Post { from, to, client, timestamp, payload } => {
                put_number(bytes, from.0);
                let (tag, to) = match to {
                    Target::User(user) => (0, user.0),
                    Target::Group(group) => (1, group.0),
                };
                bytes.push(tag);
                put_number(bytes, to);
                put_option(bytes, *client, |bytes, (client, number)| {
                    bytes.extend_from_slice(&client.0);
                    put_number(bytes, number);
                });
                put_bytes(bytes, timestamp.as_bytes());
                put_bytes(bytes, payload);
            }
            Self::Refuse { from, client, number, why } => {
                put_number(bytes, from.0);
                bytes.extend_from_slice(&client.0);
                put_number(bytes, *number);
                why.encode(bytes);
            }
            Self::Read { marks } => put_list(bytes, marks, |bytes, (user, place)| {
                put_number(bytes, user.0);
                put_place(bytes, *place);
            }),
            Self::CreateGroup { by, name } => {
                put_number(bytes, by.0);
                put_bytes(bytes, name.as_bytes());
            }
            Self::AddMember { group, by, user } | Self::RemoveMember { group, by, user } => {
                for number in [group.0, by.0, user.0] {
                    put_number(bytes, number);
                }
            }
            Self::DeleteGroup { group, by } => {
                put_number(bytes, group.0);
                put_number(bytes, by.0);
            }
            Self::Import { from, user, messages } => {
                put_bytes(bytes, from.tag.as_bytes());
                put_option(bytes, from.identity, |bytes, identity| bytes.extend_from_slice(&identity.0));
                put_number(bytes, user.0);
                put_list(bytes, messages, |bytes, message| message.encode(bytes));
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let user = |reader: &mut Reader| reader.number().map(UserId);
        let group = |reader: &mut Reader| reader.number().map(ConversationId);
        Ok(match reader.byte()? {
            KEY => Self::Key { key: ClusterKey::new(reader.array()?) },
            LIMITS => Self::Limits { limits: Limits::decode(reader)? },
            REGISTER => Self::Register {
                name: reader.text()?,
                email: reader.option(Reader::text)?,
                hash: reader.text()?,
            },
            UNREGISTER => Self::Unregister { user: user(reader)? },
            POST => Self::Post {
                from: user(reader)?,
                to: if reader.flag()? { Target::Group(group(reader)?) } else { Target::User(user(reader)?) },
                client: reader.option(|reader| Ok((ClientInstance(reader.array()?), reader.number()?)))?,
                timestamp: reader.text()?,
                payload: reader.bytes()?,
            },
            REFUSE => Self::Refuse {
                from: user(reader)?,
                client: ClientInstance(reader.array()?),
                number: reader.number()?,
                why: Refused::decode(reader)?,
            },
            READ => Self::Read { marks: reader.list(|reader| Ok((user(reader)?, place(reader)?)))? },
            CREATE_GROUP => Self::CreateGroup { by: user(reader)?, name: reader.text()? },
            ADD_MEMBER => Self::AddMember { group: group(reader)?, by: user(reader)?, user: user(reader)? },
            REMOVE_MEMBER => {
                Self::RemoveMember { group: group(reader)?, by: user(reader)?, user: user(reader)? }
            }
            DELETE_GROUP => Self::DeleteGroup { group: group(reader)?, by: user(reader)? },
            IMPORT => Self::Import {
                from: Origin {
                    tag: reader.text()?,
                    identity: reader.option(|reader| reader.array().map(ClusterIdentity))?,
                },
                user: user(reader)?,
                messages: reader.list(Imported::decode)?,
            },
            other => return Err(WireError::new(format!("no command is called {other}"))),
        })
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Key { .. } => KEY,
            Self::Limits { .. } => LIMITS,
            Self::Register { .. } => REGISTER,
            Self::Unregister { .. } => UNREGISTER,
            Self::Post { .. } => POST,
            Self::Refuse { .. } => REFUSE,
            Self::Read { .. } => READ,
            Self::CreateGroup { .. } => CREATE_GROUP,
            Self::AddMember { .. } => ADD_MEMBER,
            Self::RemoveMember { .. } => REMOVE_MEMBER,
            Self::DeleteGroup { .. } => DELETE_GROUP,
            Self::Import { .. } => IMPORT,
        }
    }
}

impl Imported {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put_place(bytes, self.place);
        put_bytes(bytes, self.sender.as_bytes());
        put_option(bytes, self.group.as_deref(), |bytes, group| put_bytes(bytes, group.as_bytes()));
        put_number(bytes, self.time_ms);
        put_bytes(bytes, self.timestamp.as_bytes());
        put_bytes(bytes, &self.payload);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            place: place(reader)?,
            sender: reader.text()?,
            group: reader.option(Reader::text)?,
            time_ms: reader.number()?,
            timestamp: reader.text()?,
            payload: reader.bytes()?,
        })
    }
}

fn put_place(bytes: &mut Vec<u8>, place: Place) {
    put_number(bytes, place.conversation.0);
    put_number(bytes, place.sequence.0);
}

fn place(reader: &mut Reader) -> Result<Place, WireError> {
    Ok(Place { conversation: ConversationId(reader.number()?), sequence: Sequence(reader.number()?) })
}

/// The form of records that is written; it stands at the front of each.
const FORM: u8 = 2;
/// About what stands in a record beside names and payloads.
const HEAD_BYTES_ABOUT: usize = 64;

// What stands for each command. These numbers stay.
const KEY: u8 = 1;
const REGISTER: u8 = 2;
const UNREGISTER: u8 = 3;
const POST: u8 = 4;
const READ: u8 = 5;
const CREATE_GROUP: u8 = 6;
const ADD_MEMBER: u8 = 7;
const REMOVE_MEMBER: u8 = 8;
const DELETE_GROUP: u8 = 9;
const IMPORT: u8 = 10;
const LIMITS: u8 = 11;
const REFUSE: u8 = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = Place> {
        any::<(u64, u64)>().prop_map(|(conversation, sequence)| Place {
            conversation: ConversationId(conversation),
            sequence: Sequence(sequence),
        })
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
    }

    fn imported() -> impl Strategy<Value = Imported> {
        (place(), any::<String>(), any::<Option<String>>(), any::<u64>(), any::<String>(), bytes()).prop_map(
            |(place, sender, group, time_ms, timestamp, payload)| Imported {
                place,
                sender,
                group,
                time_ms,
                timestamp,
                payload,
            },
        )
    }

    fn post() -> impl Strategy<Value = Command> {
        let client = any::<Option<([u8; 16], u64)>>();
        (any::<u64>(), any::<(bool, u64)>(), client, any::<String>(), bytes()).prop_map(
            |(from, (is_group, to), client, timestamp, payload)| Command::Post {
                from: UserId(from),
                to: if is_group { Target::Group(ConversationId(to)) } else { Target::User(UserId(to)) },
                client: client.map(|(client, number)| (ClientInstance(client), number)),
                timestamp,
                payload,
            },
        )
    }

    fn command() -> impl Strategy<Value = Command> {
        let small = any::<(u64, u64, u64, String, [u8; 16])>();
        let lists = (
            proptest::collection::vec((any::<u64>().prop_map(UserId), place()), 0..5),
            proptest::collection::vec(imported(), 0..3),
        );
        let other = (0..11, small, lists, any::<Option<String>>()).prop_map(
            |(which, (a, b, c, name, client), (marks, messages), email)| {
                let (group, by, user) = (ConversationId(a), UserId(b), UserId(c));
                match which {
                    0 => Command::Key { key: ClusterKey::new([client[0]; 32]) },
                    1 => Command::Limits { limits: Limits { unread_max: a, ..Limits::default() } },
                    2 => Command::Register { hash: name.clone(), name, email },
                    3 => Command::Unregister { user },
                    4 => Command::Refuse {
                        from: user,
                        client: ClientInstance(client),
                        number: a,
                        why: Refused::OutOfOrder { expected: b },
                    },
                    5 => Command::Read { marks },
                    6 => Command::CreateGroup { by, name },
                    7 => Command::AddMember { group, by, user },
                    8 => Command::RemoveMember { group, by, user },
                    9 => Command::DeleteGroup { group, by },
                    _ => {
                        let identity = (a % 2 == 0).then_some(ClusterIdentity(client));
                        Command::Import { from: Origin { tag: name, identity }, user, messages }
                    }
                }
            },
        );
        prop_oneof![post(), other]
    }

    proptest! {
        #[test]
        fn records_come_back(life: u64, number: u64, at_ms: u64, command in command()) {
            let record = Record { life, number, at_ms, command };
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
            prop_assert!(Record::decode(&bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(tag in 0..14_u8, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let head = [&[FORM][..], &[0; 8], &[1, 2, tag]].concat();
            for bytes in [bytes.clone(), [head, bytes].concat()] {
                if let Ok(record) = Record::decode(&bytes) {
                    prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
                }
            }
        }
    }
}
