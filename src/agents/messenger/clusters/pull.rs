//! What is fetched for one user from one other cluster.

use std::collections::{BTreeMap, VecDeque};

use log::warn;

use crate::agents::messenger::{
    Command, ConversationId, Effect, Imported, Origin, Progress, Sequence, UserId,
};
use crate::time::Time;
use crate::wire::proto::{Message, message};

/// The messages of one user that have come from one other cluster and are not in the log yet, in their order. One batch at a time is proposed: two that could become committed in the
/// other order would lose what stands in the first.
#[derive(Debug)]
pub(super) struct Pull {
    /// How the subscription is called on its connection.
    pub(super) id: i64,
    queue: VecDeque<Imported>,
    queue_bytes: usize,
    under_way: UnderWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    Nothing,
    /// The first so many messages are proposed, under this token.
    Proposed(u64, usize),
    /// They were not committed, or nobody knows, and are proposed again then.
    Again(Time),
    /// The other cluster is asked again then.
    Ended(Time),
}

/// Why messages are not taken. Whoever sent them is at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// More than the subscription allows.
    TooMany,
    /// A message without a place, or from a third cluster.
    Strange,
}

impl Pull {
    /// What begins with a subscription of this number.
    pub(super) fn new(id: i64) -> Self {
        Self { id, queue: VecDeque::new(), queue_bytes: 0, under_way: UnderWay::Nothing }
    }

    /// Puts messages behind the others. `progress` is how far a conversation there has come into the log here: what is in already is passed over, and these conversations are given back.
    pub(super) fn take(
        &mut self,
        messages: Vec<Message>,
        progress: impl Fn(ConversationId) -> Progress,
    ) -> Result<BTreeMap<ConversationId, Progress>, NotTaken> {
        let mut known = BTreeMap::new();
        for message in messages {
            let imported = imported(message).ok_or(NotTaken::Strange)?;
            let there = imported.place;
            let here = progress(there.conversation);
            if there.sequence <= here.upto {
                known.insert(there.conversation, here);
                continue;
            }
            if weight(&imported) > MESSAGE_BYTES_MAX {
                warn!(
                    "messenger: a message of another cluster is too long for our log and left out place={there:?}"
                );
                continue;
            }
            self.queue_bytes += weight(&imported);
            self.queue.push_back(imported);
        }
        let full = self.queue.len() > QUEUE_MAX || self.queue_bytes > QUEUE_BYTES_MAX;
        if full { Err(NotTaken::TooMany) } else { Ok(known) }
    }

    /// The next batch, if there is something to propose and nothing under way.
    pub(super) fn next(&mut self, now: Time, token: u64, from: &Origin, user: UserId) -> Option<Command> {
        let free = match self.under_way {
            UnderWay::Nothing => true,
            UnderWay::Again(at) => at <= now,
            UnderWay::Proposed(..) | UnderWay::Ended(_) => false,
        };
        if !free || self.queue.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |imported: &&Imported| {
            bytes += weight(imported);
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.queue.iter().take(BATCH_MAX).take_while(fits).count().max(1);
        self.under_way = UnderWay::Proposed(token, count);
        let messages = self.queue.iter().take(count).cloned().collect();
        Some(Command::Import { from: from.clone(), user, messages })
    }

    /// Whether this is the proposal that is under way.
    pub(super) fn waits_for(&self, token: u64) -> bool {
        matches!(self.under_way, UnderWay::Proposed(waiting, _) if waiting == token)
    }

    /// What became of the batch under way, which is in the log; whether all of it was taken. What was not stays for later.
    pub(super) fn committed(&mut self, effects: &[Effect]) -> bool {
        let UnderWay::Proposed(_, count) = self.under_way else { return false };
        self.under_way = UnderWay::Nothing;
        let upto = |effect: &Effect| match effect {
            Effect::Imported { conversation, progress } => Some((*conversation, progress.upto)),
            _ => None,
        };
        let upto: BTreeMap<ConversationId, Sequence> = effects.iter().filter_map(upto).collect();
        let is_in = |imported: &Imported| {
            upto.get(&imported.place.conversation).is_some_and(|upto| imported.place.sequence <= *upto)
        };
        let taken = self.queue.iter().take(count).take_while(|imported| is_in(imported)).count();
        for imported in self.queue.drain(..taken) {
            self.queue_bytes -= weight(&imported);
        }
        taken == count
    }

    /// The batch under way is to be proposed again then.
    pub(super) fn again(&mut self, at: Time) {
        self.under_way = UnderWay::Again(at);
    }

    /// Nothing more is taken until the other cluster is asked again, then.
    pub(super) fn end(&mut self, until: Time) {
        self.queue.clear();
        self.queue_bytes = 0;
        self.under_way = UnderWay::Ended(until);
    }

    /// Whether the other cluster is not asked now.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.under_way, UnderWay::Ended(_))
    }

    /// When something is to be done about it, if at some time.
    pub(super) fn due(&self) -> Option<Time> {
        match self.under_way {
            UnderWay::Again(at) | UnderWay::Ended(at) => Some(at),
            UnderWay::Nothing | UnderWay::Proposed(..) => None,
        }
    }
}

fn imported(message: Message) -> Option<Imported> {
    let position = message.position.filter(|position| position.sequence > 0)?;
    if message.cluster.is_some() {
        return None;
    }
    let group = message.r#type == i32::from(message::Type::Group);
    Some(Imported {
        place: position.into(),
        sender: message.sender_id,
        group: group.then_some(message.receiver_id),
        time_ms: u64::try_from(message.time_ms.unwrap_or_default()).unwrap_or_default(),
        timestamp: message.timestamp,
        payload: message.payload.into(),
    })
}

/// About how many bytes a message takes in a record.
fn weight(imported: &Imported) -> usize {
    let group = imported.group.as_ref().map_or(0, String::len);
    imported.payload.len() + imported.sender.len() + imported.timestamp.len() + group + 32
}

/// How many messages are proposed at once, and how many bytes: far from what no log takes.
const BATCH_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// A message that is longer would make a record that no log takes.
const MESSAGE_BYTES_MAX: usize = 768 * 1024;
/// What may wait here. The other side sends no more than it may without an acknowledgement, which is less.
const QUEUE_MAX: usize = 8 * super::ON_THE_WAY_MAX;
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::Position;

    fn message(conversation: u64, sequence: u64) -> Message {
        Message {
            sender_id: "bob".to_owned(),
            receiver_id: "ann".to_owned(),
            payload: "x".to_owned(),
            position: Some(Position { conversation, sequence }),
            ..Message::default()
        }
    }

    fn west() -> Origin {
        Origin { tag: "west".to_owned(), identity: None }
    }

    fn imported_upto(conversation: u64, sequence: u64) -> Effect {
        let progress = Progress { upto: Sequence(sequence), read: Sequence(0) };
        Effect::Imported { conversation: ConversationId(conversation), progress }
    }

    /// How far a conversation has come of which nothing was fetched.
    fn fresh(_: ConversationId) -> Progress {
        Progress::default()
    }

    fn places(command: Option<Command>) -> Vec<u64> {
        match command {
            Some(Command::Import { messages, .. }) => {
                messages.iter().map(|imported| imported.place.sequence.0).collect()
            }
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_batch_is_under_way_and_is_the_same_when_it_is_tried_again() {
        let mut pull = Pull::new(1);
        pull.take(vec![message(7, 1), message(7, 2)], fresh).expect("taken");
        let west = west();
        let next = |pull: &mut Pull, now, token| places(pull.next(now, token, &west, UserId(3)));
        let nothing: [u64; 0] = [];
        assert_eq!(next(&mut pull, Time::ZERO, 1), [1, 2]);
        pull.take(vec![message(7, 3)], fresh).expect("taken");
        assert_eq!(next(&mut pull, Time::ZERO, 2), nothing, "one at a time");
        assert!(pull.waits_for(1) && !pull.waits_for(2));
        let later = Time::from_nanos(5);
        pull.again(later);
        assert_eq!(next(&mut pull, Time::ZERO, 3), nothing, "not yet");
        // What has come meanwhile may go with it, behind it.
        assert_eq!(next(&mut pull, later, 4), [1, 2, 3]);
        // Its inbox has become full meanwhile.
        assert!(!pull.committed(&[imported_upto(7, 2)]));
        assert_eq!(next(&mut pull, later, 5), [3]);
        assert!(pull.committed(&[imported_upto(7, 3)]));
        assert_eq!(next(&mut pull, later, 6), nothing);
        assert_eq!(pull.queue_bytes, 0);
    }

    #[test]
    fn what_is_in_the_log_already_is_passed_over() {
        let mut pull = Pull::new(1);
        let here = Progress { upto: Sequence(2), read: Sequence(1) };
        let progress = |there| if there == ConversationId(7) { here } else { Progress::default() };
        let messages = vec![message(7, 1), message(7, 2), message(7, 3), message(8, 1)];
        let known = pull.take(messages, progress).expect("taken");
        assert_eq!(known, BTreeMap::from([(ConversationId(7), here)]));
        assert_eq!(places(pull.next(Time::ZERO, 1, &west(), UserId(3))), [3, 1]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut pull = Pull::new(1);
        let count = BATCH_MAX as u64 + 10;
        pull.take((1..=count).map(|sequence| message(7, sequence)).collect(), fresh).expect("taken");
        assert_eq!(places(pull.next(Time::ZERO, 1, &west(), UserId(3))).len(), BATCH_MAX);
        let mut pull = Pull::new(1);
        let long = Message { payload: "x".repeat(BATCH_BYTES_MAX * 2), ..message(7, 1) };
        pull.take(vec![long, message(7, 2)], fresh).expect("taken");
        assert_eq!(places(pull.next(Time::ZERO, 1, &west(), UserId(3))), [1], "a long one goes alone");
    }

    #[test]
    fn what_should_not_come_is_not_taken() {
        let third = Message { cluster: Some("north".to_owned()), ..message(7, 1) };
        assert_eq!(Pull::new(1).take(vec![third], fresh), Err(NotTaken::Strange));
        let nowhere = Message { position: None, ..message(7, 1) };
        assert_eq!(Pull::new(1).take(vec![nowhere], fresh), Err(NotTaken::Strange));
        let many = (1..=QUEUE_MAX as u64 + 1).map(|sequence| message(7, sequence)).collect();
        assert_eq!(Pull::new(1).take(many, fresh), Err(NotTaken::TooMany));
    }
}
