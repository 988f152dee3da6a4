//! What it asks servers for beside sending messages: its group, who is there, what was.

use super::super::super::book::{LookedBack, Seen};
use super::super::{requests, text_of};
use super::{Alarm, Ours};
use crate::agent::{NoMessage, Outbox};
use crate::agents::messenger::Sequence;
use crate::agents::messenger::client::Answer;
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Route};

/// What is under way.
#[derive(Debug)]
pub(super) enum Asking {
    /// What comes next for the group that it makes.
    Making,
    /// To belong to a group no more.
    Leaving(String),
    /// That its user is none any more.
    Deleting,
    /// Who is there.
    Who,
    /// A page of the past, the pages behind it, and how many messages a page has.
    Back(LookedBack, u32),
}

impl Ours {
    /// Stays in its cluster from now on, and asks again and again who is there.
    pub(in super::super) fn settle(&mut self, now: Time) {
        self.witness.tour.clear();
        self.ring_in(now, Alarm::Who, (0, 1_000));
    }

    /// Belongs to a group no more, if it is certain that nobody takes it into that again.
    pub(in super::super) fn part(&mut self, now: Time, group: &str, out: &mut Outbox<NoMessage>) {
        let (user, cluster, group) = (self.witness.who.name.clone(), self.witness.cluster, group.to_owned());
        let clean = Seen::GroupComplete { cluster, group: group.clone(), is_clean: true };
        if self.client.is_on() && self.witness.book.borrow().contains(&clean) {
            self.witness.see(Seen::Leaves { user, cluster, group: group.clone() });
            self.ask(now, requests::leave_group(&group), Asking::Leaving(group));
            self.carry_out(now, out);
        }
    }

    /// Is no user any more, and then another one of the same name.
    pub(in super::super) fn delete(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        let (user, cluster) = (self.witness.who.name.clone(), self.witness.cluster);
        if self.client.is_on() {
            self.deletes = true;
            self.witness.see(Seen::Deletes { user: user.clone(), cluster });
            self.ask(now, requests::delete(&user), Asking::Deleting);
            self.carry_out(now, out);
        }
    }

    /// Looks at all of a conversation's past.
    pub(in super::super) fn look_back(&mut self, now: Time, of: &str, out: &mut Outbox<NoMessage>) {
        if !self.client.is_on() {
            return;
        }
        let (user, cluster) = (self.witness.who.name.clone(), self.witness.cluster);
        let (begun, messages) = (self.witness.book.borrow().len(), Vec::new());
        let looked =
            LookedBack { life: self.witness.life, user, cluster, of: of.to_owned(), begun, messages };
        let limit = [1, 7, 50][self.rng.index(3)];
        self.ask(now, requests::history(of, None, limit), Asking::Back(looked, limit));
        self.carry_out(now, out);
    }

    pub(super) fn ask_who(&mut self, now: Time) {
        if self.client.is_on() {
            self.ask(now, requests::who(), Asking::Who);
        }
        self.ring_in(now, Alarm::Who, (1_000, 1_000));
    }

    pub(super) fn make(&mut self, now: Time) {
        let cluster = self.witness.cluster;
        let under_way = self.asked.values().any(|asking| matches!(asking, Asking::Making));
        let Some(making) = &mut self.making else { return };
        if under_way || !self.client.is_on() {
            return;
        }
        let begins = making.begins(cluster);
        let (next, group) = (making.next(cluster), making.group().to_owned());
        if let Some(route) = next {
            if begins {
                self.witness.see(Seen::MakesGroup { cluster, group });
            }
            self.ask(now, route, Asking::Making);
        }
    }

    fn ask(&mut self, now: Time, route: Route, asking: Asking) {
        let request = self.client.ask(now, route);
        self.asked.insert(request, asking);
    }

    pub(super) fn answered(&mut self, now: Time, asking: Asking, answer: Answer) {
        let (user, cluster) = (self.witness.who.name.clone(), self.witness.cluster);
        match (asking, answer) {
            (Asking::Making, answer) => self.made(now, &answer),
            (Asking::Leaving(group), Answer::Done) => {
                self.witness.see(Seen::HasLeft { user, cluster, group });
            }
            (Asking::Deleting, answer) => {
                if answer == Answer::Done {
                    self.witness.see(Seen::IsDeleted { user, cluster });
                }
                self.ring_in(now, Alarm::Reborn, (0, 0));
            }
            (Asking::Who, Answer::Presence(told)) => {
                self.witness.see(Seen::Asked { life: self.witness.life, told });
            }
            (Asking::Back(mut looked, limit), Answer::History { messages, before }) => {
                let page = messages.iter().filter_map(|message| {
                    let place = self.witness.place(message.position.as_ref()?);
                    Some((place, message.sender_id.clone(), text_of(message)))
                });
                looked.messages = page.chain(std::mem::take(&mut looked.messages)).collect();
                match before {
                    Some(Sequence(before)) => {
                        let route = requests::history(&looked.of, Some(before), limit);
                        self.ask(now, route, Asking::Back(looked, limit));
                    }
                    None => self.witness.see(Seen::LookedBack(looked)),
                }
            }
            // There is no such conversation, the servers say.
            (Asking::Back(looked, _), Answer::Failed { code: ErrorCode::NotFound, .. }) => {
                self.witness.see(Seen::LookedBack(looked));
            }
            _ => {}
        }
    }

    pub(super) fn presence(&self, user: String, online: bool) {
        self.witness.see(Seen::ToldPresence { life: self.witness.life, user, online });
    }

    fn made(&mut self, now: Time, answer: &Answer) {
        let cluster = self.witness.cluster;
        let Some(making) = &mut self.making else { return };
        match answer {
            Answer::Done => {
                if let Some((group, is_clean)) = making.done(cluster, &self.witness.book) {
                    self.witness.see(Seen::GroupComplete { cluster, group, is_clean });
                }
            }
            Answer::Failed { code: ErrorCode::Unknown, .. } => making.spoil(cluster),
            _ => {}
        }
        self.ring_in(now, Alarm::Make, (0, 200));
    }
}
