//! What is sent of one user's messages to one other cluster.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::agent::{Look, Looked};
use crate::agents::messenger::{
    Conversation, ConversationId, Kind, Messages, Place, Reading, Sequence, State, Stored, UserId, Wanted,
};
use crate::wire::proto::{Message, Position, message};

/// One subscription: how far each of the user's conversations has been sent, and what of that has not arrived yet.
#[derive(Debug)]
pub(super) struct Feed {
    /// How it is called on its connection.
    pub(super) id: i64,
    user: UserId,
    cursors: BTreeMap<ConversationId, Cursor>,
    /// Conversations in which there is more to send.
    behind: BTreeSet<ConversationId>,
    on_the_way: usize,
    on_the_way_bytes: usize,
    /// What is looked at now.
    looking: Option<(u64, Wanted)>,
}

#[derive(Debug)]
struct Cursor {
    /// The last that was sent, or needs not be.
    sent: Sequence,
    /// What was sent and has not arrived yet, with its bytes.
    waiting: VecDeque<(Sequence, usize)>,
}

/// What a feed has to say next.
#[derive(Debug)]
pub(super) enum Pumped {
    /// These.
    Messages(Vec<Message>),
    /// What these rows hold.
    Look(Look),
    /// Nothing for now.
    Rests,
}

/// Whether other clusters may have what is said there: what has come from another one goes no further.
pub(super) fn is_served(conversation: &Conversation) -> bool {
    matches!(conversation.kind(), Kind::Direct(..) | Kind::Group { .. } | Kind::Former { .. })
}

impl Feed {
    /// A feed of everything that the user has not read, but for what is said to have [`arrived`](Self::arrived) before anything is sent.
    pub(super) fn new(id: i64, user: UserId, state: &State) -> Self {
        let mut feed = Self {
            id,
            user,
            cursors: BTreeMap::new(),
            behind: BTreeSet::new(),
            on_the_way: 0,
            on_the_way_bytes: 0,
            looking: None,
        };
        for (conversation, _) in state.unread(user) {
            if state.conversation(conversation).is_some_and(is_served) {
                feed.behind.insert(conversation);
            }
        }
        feed
    }

    /// A message stands in a conversation of the user's; whether there may be something to send.
    pub(super) fn posted(&mut self, conversation: ConversationId, sequence: Sequence) -> bool {
        let known = self.cursors.get(&conversation).is_some_and(|cursor| cursor.sent >= sequence);
        if !known {
            self.behind.insert(conversation);
        }
        !known
    }

    /// The other cluster has everything up to this place, whether this feed has sent it or that of another one of its servers. False if the user has nothing there that it could have.
    pub(super) fn arrived(&mut self, place: Place, state: &State) -> bool {
        // What is not on the way any more makes room, even if the user has left meanwhile where it stood.
        if let Some(cursor) = self.cursors.get_mut(&place.conversation) {
            while let Some((sequence, bytes)) = cursor.waiting.front()
                && *sequence <= place.sequence
            {
                self.on_the_way -= 1;
                self.on_the_way_bytes -= bytes;
                cursor.waiting.pop_front();
            }
        }
        let found = state.conversation(place.conversation).filter(|found| is_served(found));
        let (Some(found), Some(mark)) = (found, state.mark(self.user, place.conversation)) else {
            return false;
        };
        let cursor = self.cursors.entry(place.conversation);
        let cursor = cursor.or_insert_with(|| Cursor { sent: mark, waiting: VecDeque::new() });
        // What this server does not know of yet it sends when it comes.
        cursor.sent = cursor.sent.max(place.sequence.min(found.last()));
        true
    }

    /// What is to be sent next. `token` is for a look, if one is needed.
    pub(super) fn pump(&mut self, token: u64, state: &State) -> Pumped {
        while self.looking.is_none()
            && let Some(conversation) = self.behind.first().copied()
        {
            let room = super::ON_THE_WAY_MAX.saturating_sub(self.on_the_way);
            let room_bytes = super::ON_THE_WAY_BYTES_MAX.saturating_sub(self.on_the_way_bytes);
            if room == 0 || room_bytes == 0 {
                break;
            }
            // The mark may have gone ahead by what was read here.
            let Some(mark) = state.mark(self.user, conversation) else {
                self.behind.remove(&conversation);
                continue;
            };
            let cursor = self.cursors.entry(conversation);
            let cursor = cursor.or_insert_with(|| Cursor { sent: mark, waiting: VecDeque::new() });
            cursor.sent = cursor.sent.max(mark);
            let wanted = Wanted {
                from: Sequence(cursor.sent.0 + 1),
                messages_max: room.min(READ_MAX),
                bytes_max: room_bytes.min(READ_BYTES_MAX),
                ..Wanted::all(self.user, conversation)
            };
            match state.read(token, &wanted) {
                Reading::Look { look, wanted } => {
                    self.looking = Some((token, wanted));
                    return Pumped::Look(look);
                }
                Reading::Messages(messages) => {
                    let messages = self.read(&wanted, messages, state);
                    if !messages.is_empty() {
                        return Pumped::Messages(messages);
                    }
                }
            }
        }
        Pumped::Rests
    }

    /// What was looked at; none if this feed has not asked for it.
    pub(super) fn looked(&mut self, looked: &Looked, state: &State) -> Option<Vec<Message>> {
        let (_, wanted) = self.looking.take_if(|(token, _)| *token == looked.token)?;
        let messages = state.read_looked(&wanted, &looked.rows);
        Some(self.read(&wanted, messages, state))
    }

    /// Takes note of what was read of a conversation, and gives what of it is to be sent.
    fn read(&mut self, wanted: &Wanted, read: Messages, state: &State) -> Vec<Message> {
        let conversation = wanted.conversation;
        let found = state.conversation(conversation).filter(|found| is_served(found));
        let (Some(found), Some(cursor)) = (found, self.cursors.get_mut(&conversation)) else {
            self.behind.remove(&conversation);
            return Vec::new();
        };
        let upto = match read.next {
            Some(next) => Sequence(next.0.saturating_sub(1)),
            None => wanted.upto.min(found.last()),
        };
        cursor.sent = cursor.sent.max(upto);
        // More may have come while the disk was looked at.
        if cursor.sent >= found.last() {
            self.behind.remove(&conversation);
        }
        let mut messages = Vec::with_capacity(read.messages.len());
        for stored in read.messages {
            let Some(message) = message_of(conversation, found, &stored, self.user, state) else { continue };
            let bytes = stored.payload.len() + MESSAGE_BYTES;
            self.on_the_way += 1;
            self.on_the_way_bytes += bytes;
            cursor.waiting.push_back((stored.sequence, bytes));
            messages.push(message);
        }
        messages
    }
}

/// A message as another cluster gets it; what the user has written needs not be sent.
fn message_of(
    conversation: ConversationId,
    found: &Conversation,
    stored: &Stored,
    user: UserId,
    state: &State,
) -> Option<Message> {
    if stored.sender == user {
        return None;
    }
    let (kind, receiver) = match found.kind() {
        Kind::Group { name, .. } => (message::Type::Group, name.to_string()),
        _ => (message::Type::Single, state.user(user)?.name.to_string()),
    };
    Some(Message {
        r#type: kind.into(),
        sender_id: stored.sender_name.to_string(),
        payload: String::from_utf8_lossy(&stored.payload).into_owned(),
        receiver_id: receiver,
        timestamp: stored.timestamp.clone(),
        status: Some(message::Status::Active.into()),
        action: message::Action::Post.into(),
        number: None,
        position: Some(Position { conversation: conversation.0, sequence: stored.sequence.0 }),
        time_ms: i64::try_from(stored.time_ms).ok(),
        cluster: None,
        origin: None,
    })
}

/// How many messages go into one Route, and how many bytes of them.
const READ_MAX: usize = 256;
const READ_BYTES_MAX: usize = 256 * 1024;
/// About what a message takes beside its text.
const MESSAGE_BYTES: usize = 100;
