//! What carries messages among several members of one kind: who can reach whom, what is lost, what comes twice or late.

use std::collections::{BTreeSet, VecDeque};

use ovid::agents::raft::Message;
use ovid::agents::replicated::{LogInput, MemberId};
use ovid::rng::Rng;
use raft::eraftpb::{self, MessageType};

use crate::{Ours, Theirs, id, number};

/// A member of either Raft.
pub(super) trait Member {
    type Message: Clone;

    /// What it has said since this was last asked, and to whom.
    fn take_sent(&mut self, members: u64) -> Vec<(u64, Self::Message)>;

    fn hear(&mut self, from: u64, message: Self::Message);

    fn sync(&mut self);

    /// Whether a message is about who is to lead: such messages come once, in order, and before all others.
    fn is_of_election(message: &Self::Message) -> bool;

    /// Answers in the member's name, where it would not answer as the papers have it.
    fn answer_instead(&self, _message: &Self::Message) -> Option<Self::Message> {
        None
    }
}

impl Member for Ours {
    type Message = Message;

    fn take_sent(&mut self, members: u64) -> Vec<(u64, Message)> {
        let to_number = |to: MemberId| number(members, Some(to));
        self.sent.drain(..).map(|(to, message)| (to_number(to), message)).collect()
    }

    fn hear(&mut self, from: u64, message: Message) {
        self.tell(LogInput::Message { from: id(from), message });
    }

    fn sync(&mut self) {
        Ours::sync(self);
    }

    fn is_of_election(message: &Message) -> bool {
        matches!(
            message,
            Message::PreVote(_) | Message::PreVoteReply { .. } | Message::Vote(_) | Message::VoteReply { .. }
        )
    }
}

impl Member for Theirs {
    type Message = eraftpb::Message;

    fn take_sent(&mut self, _members: u64) -> Vec<(u64, eraftpb::Message)> {
        self.sent.drain(..).map(|message| (message.to, message)).collect()
    }

    fn hear(&mut self, _from: u64, mut message: eraftpb::Message) {
        if Self::is_of_election(&message) {
            (message.commit, message.commit_term) = (0, 0);
        }
        self.tell(message);
    }

    fn sync(&mut self) {
        Theirs::sync(self);
    }

    fn is_of_election(message: &eraftpb::Message) -> bool {
        matches!(
            message.get_msg_type(),
            MessageType::MsgRequestPreVote
                | MessageType::MsgRequestPreVoteResponse
                | MessageType::MsgRequestVote
                | MessageType::MsgRequestVoteResponse
        )
    }

    fn answer_instead(&self, message: &eraftpb::Message) -> Option<eraftpb::Message> {
        let is_late = message.get_msg_type() == MessageType::MsgRequestPreVote && message.term == self.term();
        is_late.then(|| {
            let mut answer = eraftpb::Message { from: message.to, to: message.from, ..Default::default() };
            answer.set_msg_type(MessageType::MsgRequestPreVoteResponse);
            (answer.term, answer.reject) = (self.term(), true);
            answer
        })
    }
}

/// What may happen to messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    /// Ways on which nothing arrives.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// Whether messages that are not about elections are lost, come twice and overtake each other.
    pub(super) is_noisy: bool,
    /// Whose disk is not done.
    pub(super) lagging: Option<u64>,
}

/// One event needs some dozens.
const DELIVERIES_MAX: u64 = 5000;

impl Network {
    /// Carries messages until none is on its way.
    pub(super) fn settle<M: Member>(&self, rng: &mut Rng, members: &mut [M]) {
        let count = members.len() as u64;
        let mut elections = VecDeque::new();
        let mut others = VecDeque::new();
        for _ in 0..DELIVERIES_MAX {
            for (from, member) in (1..).zip(members.iter_mut()) {
                if self.lagging != Some(from) {
                    member.sync();
                }
                for (to, message) in member.take_sent(count) {
                    let queue = if M::is_of_election(&message) { &mut elections } else { &mut others };
                    queue.push_back((from, to, message));
                }
            }
            let next = elections.pop_front().or_else(|| self.next_of(rng, &mut others));
            let Some((from, to, message)) = next else { return };
            if self.cut.contains(&(from, to)) {
                continue;
            }
            let place = usize::try_from(to - 1).expect("a member");
            match members[place].answer_instead(&message) {
                Some(answer) => elections.push_back((to, from, answer)),
                None => members[place].hear(from, message),
            }
        }
        panic!("it never comes to rest");
    }

    fn next_of<T: Clone>(&self, rng: &mut Rng, queue: &mut VecDeque<T>) -> Option<T> {
        if !self.is_noisy {
            return queue.pop_front();
        }
        loop {
            let place = rng.index(queue.len());
            match rng.below(10) {
                0 => drop(queue.remove(place)?),
                1 => return queue.get(place).cloned(),
                _ => return queue.remove(place),
            }
        }
    }
}
