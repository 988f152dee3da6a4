//! What users of the chat did and saw, and what is wrong with it.
//!
//! What a user does is written down before it leaves, and what one sees after it has come, so that the order in the book is one in which it can have
//! happened. Most of what must hold is judged at once. What is *missing* can only be told when all is mended and everybody has had the time
//! to fetch theirs: [`Book::missing`].
//!
//! **What must hold.**
//! - What is accepted comes to everybody that it is for; and a client gets all that stands behind the first that it got of a conversation.
//! - A message stands in one place of its cluster, and in one for each user who fetches it from another cluster; a client gets each place once, ascending.
//! - Messages of one client come in the order in which it wrote them.
//! - A message comes as it was written, under its writer's name, to nobody but those that it is for.
//! - What is refused never comes. What must be refused is, and nothing else.
//! - How far somebody has read never goes back on a connection, and not beyond what they have got.
//! - Who is a user can log in, and no client instance is forgotten.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::judge::{Counts, Judgement, Silence};
use super::plan::{Plan, TAGS, To, bit};
use crate::agents::messenger::{ConversationId, Place, Sequence};
use crate::wire::proto::{ErrorCode, Message, message};

/// A message: its writer, and which one of theirs it is.
pub type MessageId = (usize, usize);
/// One client instance: what a user had in its memory until that was lost.
pub type LifeId = usize;

/// All of it.
#[derive(Debug)]
pub struct Book {
    plan: Arc<Plan>,
    /// By writer.
    written: Vec<Vec<Written>>,
    lives: Vec<Life>,
    /// Which message stands where, by cluster.
    placed: [BTreeMap<Place, MessageId>; 2],
    /// How far others were told at the most that users have read, by cluster.
    read: BTreeMap<(usize, ConversationId, usize), Sequence>,
    /// When something was accepted last, by cluster.
    accepted_at: [Option<Duration>; 2],
    counts: Counts,
    /// How long answers took, and how long clients were without a server, in seconds.
    answers: Vec<f64>,
    absences: Vec<f64>,
    silence: Silence,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Written {
    life: LifeId,
    cluster: usize,
    to: To,
    bytes: usize,
    at: Duration,
    fate: Fate,
    /// Where it stands: in its cluster (none), and for users who have fetched it from the other one.
    places: Vec<(Option<usize>, Place)>,
    /// Who has got it.
    got: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Accepted,
    Refused,
    /// Its client has forgotten it before it was answered.
    Unknown,
}

#[derive(Debug)]
struct Life {
    user: usize,
    cluster: usize,
    has_ended: bool,
    /// Since when it has no server, if it had one before.
    alone_since: Option<Duration>,
    /// When its user left it for a while.
    left_at: Duration,
    got: BTreeMap<ConversationId, Got>,
    /// What it was told on this connection of how far others have read.
    told: BTreeMap<(String, ConversationId), Sequence>,
}

/// What a life has got of a conversation.
#[derive(Debug, Default)]
struct Got {
    /// Ascending.
    messages: Vec<(Sequence, MessageId)>,
    /// Of each writer's life the last one.
    last: BTreeMap<LifeId, usize>,
    /// How far its servers say that it has read.
    read: Sequence,
}

impl Book {
    /// An empty one.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            written: plan.users.iter().map(|_| Vec::new()).collect(),
            plan,
            lives: Vec::new(),
            placed: [BTreeMap::new(), BTreeMap::new()],
            read: BTreeMap::new(),
            accepted_at: [None; 2],
            counts: Counts::default(),
            answers: Vec::new(),
            absences: Vec::new(),
            silence: Silence::default(),
            wrong: Vec::new(),
        }
    }

    /// A user has a client that knows nothing yet.
    pub fn begins(&mut self, user: usize, cluster: usize) -> LifeId {
        let (got, told) = (BTreeMap::new(), BTreeMap::new());
        let (alone_since, left_at) = (None, Duration::ZERO);
        self.lives.push(Life { user, cluster, has_ended: false, alone_since, left_at, got, told });
        self.lives.len() - 1
    }

    /// A client has crashed: nobody learns any more what became of the messages that it had under way.
    pub fn ends(&mut self, life: LifeId) {
        self.lives[life].has_ended = true;
        self.counts.crashes += 1;
        let user = self.lives[life].user;
        // Those of other clients of the same user lie between them.
        for written in self.written[user].iter_mut().rev().take(OPEN_MAX) {
            if written.life == life && written.fate == Fate::Open {
                written.fate = Fate::Unknown;
                self.counts.unknown += 1;
            }
        }
    }

    /// A client writes a message; what it is called, and its text.
    pub fn writes(&mut self, at: Duration, life: LifeId, to: To, bytes: usize) -> (MessageId, String) {
        let Life { user, cluster, .. } = self.lives[life];
        let id = (user, self.written[user].len());
        let text = text(id, bytes);
        let (fate, places) = (Fate::Open, Vec::new());
        self.written[user].push(Written { life, cluster, to, bytes: text.len(), at, fate, places, got: 0 });
        self.accepted_at[cluster].get_or_insert(at);
        self.counts.written += 1;
        (id, text)
    }

    /// A server says that a message is accepted, and where it stands if it knows.
    pub fn accepted(&mut self, at: Duration, id: MessageId, place: Option<Place>) {
        let Written { cluster, .. } = *self.message(id);
        if let Some(last) = self.accepted_at[cluster].replace(at) {
            let lasts = at.saturating_sub(last);
            if lasts > self.silence.lasts {
                self.silence = Silence { cluster, from: last, lasts };
            }
        }
        if self.answered(at, id, Fate::Accepted) {
            self.counts.accepted += 1;
        }
        if let Some(code) = self.refusal(id) {
            self.wrong(id, &format!("is accepted, and should be refused ({})", code.as_str_name()));
        }
        if let Some(place) = place {
            self.stands(id, cluster, None, place);
        }
    }

    /// A server refuses a message for good.
    pub fn refused(&mut self, at: Duration, id: MessageId, code: ErrorCode, why: &str) {
        if self.answered(at, id, Fate::Refused) {
            self.counts.refused += 1;
        }
        if self.refusal(id) != Some(code) {
            self.wrong(id, &format!("is refused: {} ({why})", code.as_str_name()));
        } else if self.message(id).got != 0 {
            self.wrong(id, "is refused, and was got before");
        }
    }

    /// A client has a server.
    pub fn logged_in(&mut self, at: Duration, life: LifeId) {
        self.counts.log_ins += 1;
        let life = &mut self.lives[life];
        life.told.clear();
        if let Some(since) = life.alone_since.take() {
            self.absences.push(at.saturating_sub(since).as_secs_f64());
        }
    }

    /// A client has lost its server.
    pub fn alone(&mut self, at: Duration, life: LifeId) {
        self.lives[life].alone_since = Some(at);
    }

    /// A user has left, or moves to the other cluster: they look for no server meanwhile.
    pub fn leaves(&mut self, at: Duration, life: LifeId, moves: bool) {
        let left = &mut self.lives[life];
        (left.alone_since, left.left_at) = (None, at);
        *(if moves { &mut self.counts.moves } else { &mut self.counts.leaves }) += 1;
    }

    /// A message has come to a client that had nothing of this place or behind it before, or so it says.
    pub fn got(&mut self, life: LifeId, place: Place, message: &Message) {
        let Life { user, cluster, .. } = self.lives[life];
        let name = self.plan.users[user].name.clone();
        let Some(id) = id_of(&message.payload).filter(|id| self.exists(*id)) else {
            let begin: String = message.payload.chars().take(40).collect();
            return self.fault(format!("{name} got {begin:?}, which nobody has written"));
        };
        let Written { cluster: of, bytes, fate, got, life: writer, .. } = *self.message(id);
        self.counts.got += 1;
        if message.payload != text(id, bytes) {
            self.wrong(id, &format!("came to {name} altered"));
        }
        let tag = (of != cluster).then_some(TAGS[of]);
        if !self.is_named(id, message) || message.cluster.as_deref() != tag {
            let (from, to) = (&message.sender_id, &message.receiver_id);
            let what = format!("came to {name} as if from {from} to {to} in {:?}", message.cluster);
            self.wrong(id, &what);
        }
        let is_for = self.plan.receivers(id.0, self.message(id).to) & bit(user) != 0;
        if !is_for && user != id.0 {
            self.wrong(id, &format!("came to {name}, who is a stranger"));
        }
        if fate == Fate::Refused {
            self.wrong(id, &format!("was refused, and came to {name}"));
        }
        self.stands(id, cluster, (of != cluster).then_some(user), place);
        self.in_order(life, place, id, writer);
        if is_for && got & bit(user) == 0 {
            self.written[id.0][id.1].got |= bit(user);
            self.counts.first += 1;
            self.was_unread(id, user, place);
        }
    }

    /// A client was told how far somebody else has read.
    pub fn told_read(&mut self, life: LifeId, user: &str, upto: Place) {
        let told = self.lives[life].told.entry((user.to_owned(), upto.conversation)).or_default();
        let before = std::mem::replace(told, upto.sequence);
        let Life { user: reader, cluster, .. } = self.lives[life];
        if before > upto.sequence {
            let reader = &self.plan.users[reader].name;
            self.fault(format!(
                "{reader} was told that {user} has read {} up to {}, and then up to {}",
                conversation(cluster, upto.conversation),
                before.0,
                upto.sequence.0
            ));
        }
        if let Some(user) = self.plan.users.iter().position(|other| other.name == user) {
            let read = self.read.entry((cluster, upto.conversation, user)).or_default();
            *read = upto.sequence.max(*read);
        }
    }

    /// A server has told a client how far its own user has read.
    pub fn has_read(&mut self, life: LifeId, upto: Place) {
        if let Some(got) = self.lives[life].got.get_mut(&upto.conversation) {
            got.read = upto.sequence;
        }
    }

    /// Somebody who was registered in the middle of it all has come back.
    pub fn guest(&mut self) {
        self.counts.guests += 1;
    }

    /// Something else is wrong.
    pub fn fault(&mut self, what: String) {
        self.counts.wrong += 1;
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }

    /// An answer to a message; whether it is the first.
    fn answered(&mut self, at: Duration, id: MessageId, fate: Fate) -> bool {
        let written = &mut self.written[id.0][id.1];
        let is_open = written.fate == Fate::Open;
        if is_open {
            written.fate = fate;
            // Whoever is away is not answered.
            if self.lives[written.life].left_at <= written.at {
                self.answers.push(at.saturating_sub(written.at).as_secs_f64());
            }
        } else {
            self.wrong(id, &format!("is answered a second time, as {fate:?}"));
        }
        is_open
    }

    /// A message stands somewhere; as seen by a user of the other cluster, who has fetched it, or else in its own.
    fn stands(&mut self, id: MessageId, cluster: usize, seen_by: Option<usize>, place: Place) {
        let written = &mut self.written[id.0][id.1];
        match written.places.iter().find(|(by, _)| *by == seen_by).map(|(_, known)| *known) {
            None => written.places.push((seen_by, place)),
            Some(known) if known == place => return,
            Some(known) => {
                let (known, place) = (at(cluster, known), at(cluster, place));
                self.wrong(id, &format!("stands at {known} and at {place}"));
            }
        }
        if let Some(other) = self.placed[cluster].insert(place, id).filter(|other| *other != id) {
            self.wrong(id, &format!("stands at {}, as does {}", at(cluster, place), name(other)));
        }
    }

    /// A conversation ascends, and with it the messages of each client.
    fn in_order(&mut self, life: LifeId, place: Place, id: MessageId, writer: LifeId) {
        let Life { user, cluster, ref mut got, .. } = self.lives[life];
        let got = got.entry(place.conversation).or_default();
        let before = got.messages.last().map(|(sequence, _)| *sequence);
        got.messages.push((place.sequence, id));
        let earlier = got.last.insert(writer, id.1).filter(|earlier| *earlier >= id.1);
        let reader = &self.plan.users[user].name;
        if let Some(before) = before.filter(|before| *before >= place.sequence) {
            let what = format!("came to {reader} at {} behind {}", at(cluster, place), before.0);
            self.wrong(id, &what);
        } else if let Some(earlier) = earlier {
            let what = format!("came to {reader} at {} behind {}", at(cluster, place), name((id.0, earlier)));
            self.wrong(id, &what);
        }
    }

    /// Whoever gets a message for the first time cannot have read it before. Of users of both clusters the other cluster may have fetched it meanwhile.
    fn was_unread(&mut self, id: MessageId, user: usize, place: Place) {
        let plan = Arc::clone(&self.plan);
        let [cluster] = plan.users[user].clusters[..] else { return };
        let read = self.read.get(&(cluster, place.conversation, user)).copied().unwrap_or_default();
        if read >= place.sequence {
            self.wrong(id, &format!("counted as read by {} before it came", plan.users[user].name));
        }
    }

    fn is_named(&self, id: MessageId, message: &Message) -> bool {
        let to = self.message(id).to;
        let kind = if matches!(to, To::Group(_)) { message::Type::Group } else { message::Type::Single };
        message.sender_id == self.plan.users[id.0].name
            && message.receiver_id == self.plan.name(to)
            && message.r#type() == kind
    }

    fn refusal(&self, id: MessageId) -> Option<ErrorCode> {
        let Written { cluster, to, bytes, .. } = *self.message(id);
        self.plan.refusal(id.0, cluster, to, bytes)
    }

    fn exists(&self, id: MessageId) -> bool {
        self.written.get(id.0).is_some_and(|written| id.1 < written.len())
    }

    fn message(&self, id: MessageId) -> &Written {
        &self.written[id.0][id.1]
    }

    /// Something is wrong with a message.
    fn wrong(&mut self, id: MessageId, what: &str) {
        let written = self.message(id);
        let what = format!(
            "{} of {} to {} in {}, written at {:.3} s, {what}",
            name(id),
            self.plan.users[id.0].name,
            self.plan.name(written.to),
            TAGS[written.cluster],
            written.at.as_secs_f64()
        );
        self.fault(what);
    }
}

/// What a message says: what it is called, and letters that go with that.
fn text(id: MessageId, bytes: usize) -> String {
    let mut text = format!("{} ", name(id));
    let letter = char::from(b'a' + u8::try_from(id.1 % 26).unwrap_or_default());
    text.extend(std::iter::repeat_n(letter, bytes.saturating_sub(text.len())));
    text
}

fn name((user, number): MessageId) -> String {
    format!("message {}.{number}", user + 1)
}

/// Which message says this.
fn id_of(text: &str) -> Option<MessageId> {
    let (user, number) = text.strip_prefix("message ")?.split_once(' ')?.0.split_once('.')?;
    Some((user.parse::<usize>().ok()?.checked_sub(1)?, number.parse().ok()?))
}

fn at(cluster: usize, place: Place) -> String {
    format!("{}, {}", conversation(cluster, place.conversation), place.sequence.0)
}

fn conversation(cluster: usize, id: ConversationId) -> String {
    format!("conversation {} of {}", id.0, TAGS[cluster])
}

/// More than one user has written and not been answered.
const OPEN_MAX: usize = 4096;
/// So many faults are told; more are counted.
const WRONG_MAX: usize = 20;
