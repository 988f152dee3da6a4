//! Histories made by hand: one in which all is well, and what is found when it goes wrong.

use std::sync::Arc;
use std::time::Duration;

use super::super::plan::{MESSAGE_BYTES_MAX, Plan, TAGS, To};
use super::{Book, LifeId, MessageId};
use crate::agents::messenger::{ConversationId, Place, Sequence};
use crate::wire::proto::{ErrorCode, Message, message};

const AT: Duration = Duration::from_secs(1);
const EAST: usize = 0;
const WEST: usize = 1;
/// Users of the east, and one of both.
const ANN: usize = 0;
const BEN: usize = 2;
const EVE: usize = 6;
const TRAVELLER: usize = 3;

/// A book, and a client of each user in each of their clusters.
struct Desk {
    book: Book,
    lives: Vec<[Option<LifeId>; 2]>,
}

impl Desk {
    fn new() -> Self {
        let plan = Arc::new(Plan::new(8));
        let mut book = Book::new(Arc::clone(&plan));
        let mut lives = Vec::new();
        for (number, user) in plan.users.iter().enumerate() {
            lives.push(
                [0, 1].map(|cluster| user.clusters.contains(&cluster).then(|| book.begins(number, cluster))),
            );
        }
        Self { book, lives }
    }

    fn life(&self, user: usize, cluster: usize) -> LifeId {
        self.lives[user][cluster].expect("a user of this cluster")
    }

    fn writes(&mut self, user: usize, to: To) -> (MessageId, Message) {
        let cluster = self.book.plan.users[user].clusters[0];
        let (id, payload) = self.book.writes(AT, self.life(user, cluster), to, 30);
        let kind = if matches!(to, To::Group(_)) { message::Type::Group } else { message::Type::Single };
        let message = Message {
            r#type: kind.into(),
            sender_id: self.book.plan.users[user].name.clone(),
            receiver_id: self.book.plan.name(to).to_owned(),
            payload,
            ..Message::default()
        };
        (id, message)
    }

    /// One writes and is answered, at a place of conversation 1.
    fn wrote(&mut self, user: usize, to: To, sequence: u64) -> (MessageId, Message) {
        let (id, message) = self.writes(user, to);
        self.book.accepted(AT, id, Some(place(1, sequence)));
        (id, message)
    }

    fn got(&mut self, user: usize, cluster: usize, at: Place, message: &Message) {
        let life = self.life(user, cluster);
        self.book.got(life, at, message);
        self.book.has_read(life, at);
    }

    /// The first thing that is wrong.
    fn wrong(self) -> String {
        let judgement = self.book.judge();
        assert_eq!(judgement.counts.wrong > 0, !judgement.wrong.is_empty());
        judgement.wrong.first().cloned().unwrap_or_default()
    }

    /// It finds this first.
    fn finds(self, what: &str) {
        let wrong = self.wrong();
        assert!(wrong.contains(what), "{wrong:?} does not say {what:?}");
    }
}

fn place(conversation: u64, sequence: u64) -> Place {
    Place { conversation: ConversationId(conversation), sequence: Sequence(sequence) }
}

fn fetched(message: &Message) -> Message {
    Message { cluster: Some(TAGS[EAST].to_owned()), ..message.clone() }
}

#[test]
fn a_chat_in_which_all_is_well() {
    let mut desk = Desk::new();
    let (_, first) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &first);
    // His client crashes and comes back with nothing; what he had not acknowledged comes again.
    desk.book.ends(desk.life(BEN, EAST));
    desk.lives[BEN][EAST] = Some(desk.book.begins(BEN, EAST));
    desk.got(BEN, EAST, place(1, 1), &first);
    let (_, second) = desk.wrote(ANN, To::User(BEN), 2);
    desk.got(BEN, EAST, place(1, 2), &second);
    // Of the group, one reads what the west has fetched.
    let (third_id, third) = desk.writes(ANN, To::Group(0));
    desk.book.accepted(AT, third_id, Some(place(2, 1)));
    desk.got(EVE, EAST, place(2, 1), &third);
    desk.got(TRAVELLER, WEST, place(9, 1), &fetched(&third));
    // A message of which nobody knows what became of it, and some that are refused.
    let (open, _) = desk.writes(EVE, To::User(ANN));
    desk.book.ends(desk.life(EVE, EAST));
    let life = desk.book.begins(EVE, EAST);
    let (long, _) = desk.book.writes(AT, life, To::User(ANN), MESSAGE_BYTES_MAX + 1);
    desk.book.refused(AT, long, ErrorCode::TooLong, "");
    let (nobody, _) = desk.book.writes(AT, life, To::Nobody, 1);
    desk.book.refused(AT, nobody, ErrorCode::NotFound, "");
    assert_eq!(open.0, EVE);
    for told in [1, 2, 2] {
        let life = desk.life(ANN, EAST);
        desk.book.told_read(life, "user-3", place(1, told));
    }
    let counts = desk.book.counts;
    assert_eq!((counts.written, counts.accepted, counts.refused, counts.unknown), (6, 3, 2, 1));
    assert_eq!((counts.got, counts.first, counts.crashes), (5, 4, 2));
    assert_eq!(desk.wrong(), "");
}

#[test]
fn what_was_accepted_and_did_not_come_is_missed() {
    let mut desk = Desk::new();
    desk.wrote(ANN, To::User(BEN), 1);
    desk.finds("message 1.0, accepted, written at 1.000 s, which stands at conversation 1 of east, 1, has not come to user-3");
}

#[test]
fn of_a_group_everybody_is_missed() {
    let mut desk = Desk::new();
    let members = desk.book.plan.groups[0].members.clone();
    assert_eq!(members, [ANN, TRAVELLER, EVE], "the first group of the east");
    let (_, message) = desk.wrote(ANN, To::Group(0), 1);
    desk.got(EVE, EAST, place(1, 1), &message);
    desk.finds("has not come to user-4");
}

#[test]
fn what_is_never_answered_is_missed() {
    let mut desk = Desk::new();
    desk.writes(ANN, To::User(BEN));
    desk.finds("message 1.0 of user-1 is not answered");
}

#[test]
fn a_gap_is_found_even_if_another_client_of_the_user_had_what_is_lacking() {
    let mut desk = Desk::new();
    let (_, first) = desk.wrote(ANN, To::User(BEN), 1);
    let (_, second) = desk.wrote(ANN, To::User(BEN), 2);
    let (_, third) = desk.wrote(ANN, To::User(BEN), 3);
    desk.got(BEN, EAST, place(1, 2), &second);
    desk.book.ends(desk.life(BEN, EAST));
    desk.lives[BEN][EAST] = Some(desk.book.begins(BEN, EAST));
    desk.got(BEN, EAST, place(1, 1), &first);
    desk.got(BEN, EAST, place(1, 3), &third);
    desk.finds("a client of user-3 lacks message 1.1 at conversation 1 of east, 2");
}

#[test]
fn what_comes_twice_to_one_client_or_stands_twice_is_found() {
    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &message);
    desk.got(BEN, EAST, place(1, 1), &message);
    desk.finds("came to user-3 at conversation 1 of east, 1 behind 1");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &message);
    desk.got(BEN, EAST, place(1, 2), &message);
    desk.finds("stands at conversation 1 of east, 1 and at conversation 1 of east, 2");

    // What the other cluster has fetched stands there once for each who has fetched it.
    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(TRAVELLER), 1);
    desk.got(TRAVELLER, WEST, place(9, 1), &fetched(&message));
    desk.got(TRAVELLER, WEST, place(9, 2), &fetched(&message));
    desk.finds("stands at conversation 9 of west, 1 and at conversation 9 of west, 2");
}

#[test]
fn two_messages_in_one_place_are_found() {
    let mut desk = Desk::new();
    desk.wrote(ANN, To::User(BEN), 1);
    desk.wrote(BEN, To::User(ANN), 1);
    desk.finds("stands at conversation 1 of east, 1, as does message 1.0");
}

#[test]
fn a_client_whose_messages_change_their_order_is_found() {
    let mut desk = Desk::new();
    let (_, first) = desk.wrote(ANN, To::User(BEN), 2);
    let (_, second) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &second);
    desk.got(BEN, EAST, place(1, 2), &first);
    desk.finds("came to user-3 at conversation 1 of east, 2 behind message 1.1");
}

#[test]
fn strangers_are_found_and_so_is_what_nobody_has_written() {
    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(EVE, EAST, place(1, 1), &message);
    desk.finds("came to user-7, who is a stranger");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &Message { sender_id: "user-5".into(), ..message });
    desk.finds("came to user-3 as if from user-5 to user-3 in None");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(TRAVELLER), 1);
    desk.got(TRAVELLER, WEST, place(9, 1), &message);
    desk.finds("came to user-4 as if from user-1 to user-4 in None");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    let payload = message.payload.replace(' ', "-");
    desk.got(BEN, EAST, place(1, 1), &Message { payload, ..message.clone() });
    desk.finds("which nobody has written");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    let payload = message.payload.clone() + "a";
    desk.got(BEN, EAST, place(1, 1), &Message { payload, ..message });
    desk.finds("came to user-3 altered");
}

#[test]
fn what_was_refused_and_comes_is_found_whichever_was_first() {
    for comes_first in [true, false] {
        let mut desk = Desk::new();
        let (id, message) = desk.writes(ANN, To::User(BEN));
        let (long, long_message) = {
            let life = desk.life(ANN, EAST);
            let (id, payload) = desk.book.writes(AT, life, To::User(BEN), MESSAGE_BYTES_MAX + 1);
            (id, Message { payload, ..message.clone() })
        };
        desk.book.accepted(AT, id, Some(place(1, 1)));
        desk.got(BEN, EAST, place(1, 1), &message);
        if comes_first {
            desk.got(BEN, EAST, place(1, 2), &long_message);
        }
        desk.book.refused(AT, long, ErrorCode::TooLong, "too long");
        if !comes_first {
            desk.got(BEN, EAST, place(1, 2), &long_message);
        }
        desk.finds(if comes_first {
            "is refused, and was got before"
        } else {
            "was refused, and came to user-3"
        });
    }
}

#[test]
fn what_should_be_accepted_is_and_what_should_be_refused_is() {
    let mut desk = Desk::new();
    let (id, _) = desk.writes(ANN, To::User(BEN));
    desk.book.refused(AT, id, ErrorCode::NotFound, "there is no such user");
    desk.finds("is refused: NOT_FOUND (there is no such user)");

    let mut desk = Desk::new();
    let outside = desk.book.plan.groups[0].clone();
    assert!(outside.cluster == EAST && !outside.members.contains(&BEN));
    desk.wrote(BEN, To::Group(0), 1);
    desk.finds("is accepted, and should be refused (FORBIDDEN)");

    let mut desk = Desk::new();
    let (id, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.got(BEN, EAST, place(1, 1), &message);
    desk.book.accepted(AT, id, Some(place(1, 1)));
    desk.finds("is answered a second time");
}

#[test]
fn marks_that_go_back_or_too_far_are_found() {
    let mut desk = Desk::new();
    let life = desk.life(ANN, EAST);
    desk.book.told_read(life, "user-3", place(1, 2));
    desk.book.told_read(life, "user-3", place(1, 1));
    desk.finds("user-1 was told that user-3 has read conversation 1 of east up to 2, and then up to 1");

    // On another connection, to a server that is behind, they may.
    let mut desk = Desk::new();
    let life = desk.life(ANN, EAST);
    desk.book.told_read(life, "user-3", place(1, 2));
    desk.book.logged_in(AT, life);
    desk.book.told_read(life, "user-3", place(1, 1));
    assert_eq!(desk.wrong(), "");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    desk.book.told_read(desk.life(ANN, EAST), "user-3", place(1, 1));
    desk.got(BEN, EAST, place(1, 1), &message);
    desk.finds("counted as read by user-3 before it came");

    let mut desk = Desk::new();
    let (_, message) = desk.wrote(ANN, To::User(BEN), 1);
    let life = desk.life(BEN, EAST);
    desk.book.got(life, place(1, 1), &message);
    desk.finds("user-3 has got conversation 1 of east up to 1, and counts as having read up to 0");
}
