//! What was acknowledged arrives, and in the end everybody is answered.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, Place, Seen, Writer};
use super::Law;

/// What was acknowledged comes to everybody that it is for, as far as their clients acknowledge; and a client that has something of a conversation gets
/// everything behind it.
pub(in super::super) struct Delivered {
    members: BTreeMap<String, BTreeSet<String>>,
    /// Whose clients are ours.
    acknowledging: BTreeSet<String>,
    written: BTreeMap<String, (Writer, String)>,
    acknowledged: BTreeSet<String>,
    placed: BTreeMap<Place, String>,
    /// Groups that have all of their members, and what was written before.
    complete: BTreeSet<String>,
    before: BTreeSet<String>,
    by_user: BTreeSet<(String, String)>,
    by_client: BTreeMap<(Life, u64), (String, BTreeSet<u64>)>,
}

impl Delivered {
    pub(in super::super) fn new(
        members: BTreeMap<String, BTreeSet<String>>,
        acknowledging: BTreeSet<String>,
    ) -> Self {
        Self {
            members,
            acknowledging,
            written: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            placed: BTreeMap::new(),
            complete: BTreeSet::new(),
            before: BTreeSet::new(),
            by_user: BTreeSet::new(),
            by_client: BTreeMap::new(),
        }
    }

    /// For whom a message is.
    fn receivers(&self, text: &str) -> Vec<&String> {
        let Some((by, to)) = self.written.get(text).filter(|_| !self.before.contains(text)) else {
            return Vec::new();
        };
        let receivers: Vec<&String> = match self.members.get(to) {
            Some(members) => members.iter().collect(),
            None => vec![to],
        };
        receivers.into_iter().filter(|user| **user != by.user && self.acknowledging.contains(*user)).collect()
    }
}

impl Law for Delivered {
    const NAME: &'static str = "delivered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, to } => {
                self.written.insert(text.clone(), (by.clone(), to.clone()));
                if self.members.contains_key(to) && !self.complete.contains(to) {
                    self.before.insert(text.clone());
                }
            }
            Seen::GroupComplete { group } => drop(self.complete.insert(group.clone())),
            Seen::Acknowledged { text, place } => {
                self.acknowledged.insert(text.clone());
                if let Some(place) = place {
                    self.placed.insert(*place, text.clone());
                }
            }
            Seen::Got(Got { user, life, text, place, .. }) => {
                self.placed.insert(*place, text.clone());
                self.by_user.insert((user.clone(), text.clone()));
                let of =
                    self.by_client.entry((*life, place.0)).or_insert_with(|| (user.clone(), BTreeSet::new()));
                of.1.insert(place.1);
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        for text in &self.acknowledged {
            for user in self.receivers(text) {
                if !self.by_user.contains(&(user.clone(), text.clone())) {
                    return Err(format!("{user} has not got {text}, which was acknowledged"));
                }
            }
        }
        for ((life, conversation), (user, got)) in &self.by_client {
            let first = *got.first().expect("one at least");
            if !lives(*life) || !self.acknowledging.contains(user) {
                continue;
            }
            for ((_, sequence), text) in self.placed.range((*conversation, first)..=(*conversation, u64::MAX))
            {
                let own = self.written.get(text).is_some_and(|(by, _)| by.user == *user);
                if !own && !got.contains(sequence) {
                    return Err(format!(
                        "client {life:?} of {user} lacks {text} at {conversation}, {sequence}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whoever lives is answered; and once all is well, with what was asked for.
#[derive(Default)]
pub(in super::super) struct Answered {
    open: BTreeMap<String, Life>,
    known: BTreeSet<String>,
    /// Messages that are written since all is well, to somebody who is known.
    last: BTreeSet<String>,
    closing: bool,
}

impl Law for Answered {
    const NAME: &'static str = "answered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::LoggedIn { user } => drop(self.known.insert(user.clone())),
            Seen::Closing => self.closing = true,
            Seen::Wrote { text, by, to } => {
                self.open.insert(text.clone(), by.life);
                if self.closing && by.is_ours && self.known.contains(to) {
                    self.last.insert(text.clone());
                }
            }
            Seen::Acknowledged { text, .. } => {
                let was_open = self.open.remove(text).is_some();
                if !was_open {
                    return Err(format!("{text} is answered twice, or was never written"));
                }
            }
            Seen::GaveUp { text } => {
                self.open.remove(text);
                if self.last.contains(text) {
                    return Err(format!("all is well, and {text} is refused"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        let mut open = self.open.iter().filter(|(_, life)| lives(**life));
        match open.next() {
            None => Ok(()),
            Some((text, _)) => Err(format!("{text} is not answered, one of {}", 1 + open.count())),
        }
    }
}
