//! What clients want of the past.

use super::delivery::receiver;
use super::{Front, Turn, wire};
use crate::agent::Conn;
use crate::agents::messenger::{
    Conversation, ConversationId, Kind, Messages, Reading, Sequence, State, UserId, Wanted,
};
use crate::wire::proto::{ErrorCode, History, HistoryEnd, MessagesRequest, messages_request};

/// Why rows are looked at.
#[derive(Debug)]
pub(super) enum Job {
    /// A session is behind.
    CatchUp {
        /// Whose.
        conn: Conn,
        /// What it was sent last of this conversation.
        behind: Sequence,
        /// What is read.
        wanted: Wanted,
    },
    /// A client wants to see what was.
    History(Box<HistoryJob>),
}

/// A client's request for the past.
#[derive(Debug)]
pub(super) struct HistoryJob {
    conn: Conn,
    id: i64,
    of: (messages_request::Type, String),
    pub(super) wanted: Wanted,
}

impl Front {
    /// A client wants messages: those that it has not read, or some of the past.
    pub(super) fn messages_request(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        id: i64,
        request: &MessagesRequest,
        history: Option<&History>,
    ) {
        let Some(session) = self.session(conn) else { return };
        let user = session.user;
        let of = (request.r#type(), request.id.as_str());
        let is_all = history.is_none() && of == (messages_request::Type::User, &session.name);
        let found = conversation(turn.state, user, of);
        match (history, found) {
            (None, _) if is_all => {
                let unread: Vec<_> = turn.state.unread(user).collect();
                self.again(turn, conn, &unread);
                self.answer_messages(turn, conn, id, of, &[], None);
            }
            (_, None) => {
                let why = "there is no such conversation";
                self.answer(turn.now, conn, &wire::failed(id, ErrorCode::NotFound, why));
            }
            (None, Some(found)) => {
                let unread: Vec<_> = turn.state.unread(user).filter(|(id, _)| *id == found).collect();
                self.again(turn, conn, &unread);
                self.answer_messages(turn, conn, id, of, &[], None);
            }
            (Some(history), Some(found)) => {
                let wanted = wanted(user, found, history);
                let of = (of.0, of.1.to_owned());
                self.read_history(turn, Box::new(HistoryJob { conn, id, of, wanted }));
            }
        }
    }

    /// Sends unread messages once more, from the first on.
    fn again(&mut self, turn: &mut Turn<'_>, conn: Conn, unread: &[(ConversationId, Sequence)]) {
        let Some(session) = self.clients.get_mut(&conn).and_then(super::Client::session_mut) else { return };
        for (conversation, first) in unread {
            // It may be behind with what its user has read elsewhere.
            let upto = Sequence(first.0 - 1);
            session
                .behind
                .entry(*conversation)
                .and_modify(|behind| *behind = upto.min(*behind))
                .or_insert(upto);
        }
        self.pump(turn, conn);
    }

    fn read_history(&mut self, turn: &mut Turn<'_>, mut job: Box<HistoryJob>) {
        let token = self.token();
        match turn.state.read(token, &job.wanted) {
            Reading::Messages(messages) => self.history_read(turn, job, messages),
            Reading::Look { look, wanted } => {
                job.wanted = wanted;
                self.jobs.insert(token, Job::History(job));
                turn.out.look(look);
            }
        }
    }

    /// Some of what a client wants of the past is there.
    pub(super) fn history_read(&mut self, turn: &mut Turn<'_>, mut job: Box<HistoryJob>, read: Messages) {
        let Messages { messages, next } = read;
        if let (Some(next), true) = (next, messages.is_empty()) {
            job.wanted.upto = next;
            return self.read_history(turn, job);
        }
        let mut fields = Vec::new();
        if let Some(conversation) = turn.state.conversation(job.wanted.conversation) {
            for message in &messages {
                let to = receiver(turn.state, conversation, message).unwrap_or_default();
                wire::put_message(conversation.kind(), &to, job.wanted.conversation, message, &mut fields);
            }
        }
        let end = HistoryEnd { more: next.is_some(), before: next.map(|next| next.0 + 1) };
        let HistoryJob { conn, id, of, .. } = *job;
        self.answer_messages(turn, conn, id, (of.0, &of.1), &fields, Some(end));
    }

    fn answer_messages(
        &mut self,
        turn: &Turn<'_>,
        conn: Conn,
        id: i64,
        of: (messages_request::Type, &str),
        messages: &[u8],
        end: Option<HistoryEnd>,
    ) {
        let quirks = self.settings.quirks;
        if let Some(client) = self.answering(turn.now, conn) {
            wire::put_messages(id, of, messages, end, quirks, &mut client.outgoing);
        }
    }
}

/// The conversation that a user means by a name: a user's, a group's, or `name@tag` for one of another cluster.
fn conversation(
    state: &State,
    user: UserId,
    (kind, name): (messages_request::Type, &str),
) -> Option<ConversationId> {
    let belongs = |id: &ConversationId| {
        state.conversation(*id).is_some_and(|conversation| conversation.is_member(user))
    };
    let wants_group = kind == messages_request::Type::Group;
    let standing = match name.split_once('@') {
        Some((theirs, cluster)) => state.foreign(user, cluster, theirs, wants_group),
        None if wants_group => state.find_group(name),
        None => state.find_user(name).and_then(|other| state.direct(user, other)),
    };
    standing.filter(belongs).or_else(|| {
        state.conversations_of(user).find(|id| match state.conversation(*id).map(Conversation::kind) {
            Some(Kind::Former { name: gone, .. }) => !wants_group && **gone == *name,
            _ => false,
        })
    })
}

fn wanted(reader: UserId, conversation: ConversationId, history: &History) -> Wanted {
    let upto = history.before.map_or(u64::MAX, |before| before.saturating_sub(1));
    let limit = history.limit.map_or(HISTORY_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let ms = |time: i64| u64::try_from(time).unwrap_or(0);
    Wanted {
        upto: Sequence(upto),
        since_ms: history.since_ms.map_or(0, ms),
        until_ms: history.until_ms.map_or(u64::MAX, ms),
        backwards: true,
        messages_max: limit.clamp(1, HISTORY_MAX),
        bytes_max: HISTORY_BYTES_MAX,
        ..Wanted::all(reader, conversation)
    }
}

const HISTORY_DEFAULT: usize = 100;
const HISTORY_MAX: usize = 1000;
const HISTORY_BYTES_MAX: usize = 1024 * 1024;
