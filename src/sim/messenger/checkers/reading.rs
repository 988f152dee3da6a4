//! How far users have read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::TAGS;
use super::super::book::{Got, Life, Place, Room, Seen};
use super::super::user::is_group;
use super::Law;

/// What others are told of how far somebody has read never goes back on one connection, and never goes further than that user's clients have acknowledged, but for what
/// another cluster has fetched: that comes to the user there.
pub(in super::super) struct Marks {
    /// Whose clients are ours.
    acknowledging: BTreeSet<String>,
    told: BTreeMap<(Life, u64, String, Room), u64>,
    acknowledged: BTreeMap<(String, Room), u64>,
    written: BTreeMap<String, Written>,
    placed: BTreeMap<Place, String>,
    /// Groups that have all of their members: what was written before is not for those who were none yet.
    complete: BTreeSet<(usize, String)>,
    /// Where users were, perhaps without knowing that they had been let in.
    were: BTreeSet<(String, usize)>,
    came: BTreeSet<(String, String)>,
    /// To whom what has to come that counts as read.
    owed: BTreeSet<(String, String)>,
    /// Names of users who took what has come to them with them, perhaps.
    deleted: BTreeSet<String>,
    is_lost: bool,
}

struct Written {
    by: String,
    /// In which clusters it is for all who belong to where it stands.
    is_for_all: Vec<usize>,
}

impl Marks {
    pub(in super::super) fn new(acknowledging: BTreeSet<String>) -> Self {
        Self {
            acknowledging,
            told: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            written: BTreeMap::new(),
            placed: BTreeMap::new(),
            complete: BTreeSet::new(),
            were: BTreeSet::new(),
            came: BTreeSet::new(),
            owed: BTreeSet::new(),
            deleted: BTreeSet::new(),
            is_lost: false,
        }
    }

    /// The messages behind what a user's clients have acknowledged, up to a place, that somebody else has written.
    fn unread(&self, user: &str, upto: Place) -> Vec<String> {
        let acknowledged = self.acknowledged.get(&(user.to_owned(), upto.0)).copied().unwrap_or_default();
        let behind = (upto.0, acknowledged + 1)..=upto;
        if behind.start() > behind.end() {
            return Vec::new();
        }
        let is_for_all = |text: &&String| {
            let written = self.written.get(*text);
            written.is_some_and(|it| it.by != user && it.is_for_all.contains(&upto.0.cluster))
        };
        self.placed.range(behind).map(|(_, text)| text).filter(is_for_all).cloned().collect()
    }

    fn told(&mut self, life: Life, connection: u64, user: &str, upto: Place) -> Result<(), String> {
        let told = self.told.entry((life, connection, user.to_owned(), upto.0)).or_default();
        if upto.1 < *told {
            return Err(format!("{user} has read {:?} up to {told}, and then up to {}", upto.0, upto.1));
        }
        *told = upto.1;
        if !self.acknowledging.contains(user) {
            return Ok(());
        }
        let was_elsewhere = self.were.iter().any(|(who, cluster)| who == user && *cluster != upto.0.cluster);
        for text in self.unread(user, upto) {
            if !was_elsewhere {
                return Err(format!("{user} counts as having read {text}, which it has not acknowledged"));
            }
            self.owed.insert((user.to_owned(), text));
        }
        Ok(())
    }
}

impl Law for Marks {
    const NAME: &'static str = "marks";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, to } => {
                let is_for_all =
                    |cluster: &usize| !is_group(to) || self.complete.contains(&(*cluster, to.clone()));
                let is_for_all = (0..TAGS.len()).filter(is_for_all).collect();
                self.written.insert(text.clone(), Written { by: by.user.clone(), is_for_all });
            }
            Seen::GroupComplete { cluster, group, .. } => {
                self.complete.insert((*cluster, group.clone()));
            }
            Seen::LogsIn { user, cluster } => drop(self.were.insert((user.clone(), *cluster))),
            Seen::Deletes { user, .. } => drop(self.deleted.insert(user.clone())),
            Seen::Closing { lost } => self.is_lost = lost.is_some(),
            Seen::Acknowledged { text, place: Some(place), .. } => {
                self.placed.insert(*place, text.clone());
            }
            Seen::Got(Got { user, text, place, .. }) => {
                self.placed.insert(*place, text.clone());
                self.came.insert((user.clone(), text.clone()));
            }
            Seen::Acknowledges { user, upto } => {
                let acknowledged = self.acknowledged.entry((user.clone(), upto.0)).or_default();
                *acknowledged = upto.1.max(*acknowledged);
            }
            Seen::ToldRead { life, connection, user, upto } => self.told(*life, *connection, user, *upto)?,
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, _: &dyn Fn(Life) -> bool) -> Result<(), String> {
        let mut owed = self.owed.difference(&self.came);
        match owed.find(|(user, _)| !self.deleted.contains(user)) {
            Some((user, text)) if !self.is_lost => {
                Err(format!("{user} counts as having read {text}, which has come to it nowhere"))
            }
            _ => Ok(()),
        }
    }
}

/// What a client of the class was sent before a request counts as read: it does not come again.
#[derive(Default)]
pub(in super::super) struct ClassReads {
    visits: BTreeMap<Life, Visit>,
    /// Clients that were asked to look.
    asked: BTreeSet<Life>,
}

#[derive(Default)]
struct Visit {
    again: bool,
    requested: bool,
    done: bool,
    seen: BTreeSet<Place>,
}

impl Law for ClassReads {
    const NAME: &'static str = "class-reads";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::AskedToVisit { life } => drop(self.asked.insert(*life)),
            Seen::Visits { life, again } => {
                let visit = self.visits.entry(*life).or_default();
                if *again {
                    visit.again = true;
                } else {
                    // The connection before was lost: it begins anew.
                    *visit = Visit::default();
                }
            }
            Seen::Requests { life } => self.visits.entry(*life).or_default().requested = true,
            Seen::HasVisited { life } => self.visits.entry(*life).or_default().done = true,
            Seen::Got(Got { user, life, place, text, .. }) => {
                let Some(visit) = self.visits.get_mut(life) else { return Ok(()) };
                if !visit.requested {
                    visit.seen.insert(*place);
                } else if visit.again && visit.seen.contains(place) {
                    return Err(format!("{user} gets {text} again, which it had before its last request"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        let waiting = self.asked.iter().filter(|life| lives(**life));
        let mut waiting = waiting.filter(|life| !self.visits.get(life).is_some_and(|visit| visit.done));
        match waiting.next() {
            None => Ok(()),
            Some(life) => Err(format!("client {life:?} has not looked twice yet")),
        }
    }
}
