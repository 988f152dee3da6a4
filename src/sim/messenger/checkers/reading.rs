//! How far users have read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::TAGS;
use super::super::book::{Got, Life, Place, Room, Seen};
use super::super::user::is_group;
use super::Law;

/// What others are told of how far somebody has read never goes back on one connection, and never goes further than that user's clients have acknowledged, there or in the cluster that has
/// fetched it.
pub(in super::super) struct Marks {
    /// Whose clients are ours.
    acknowledging: BTreeSet<String>,
    told: BTreeMap<(Life, u64, String, Room), u64>,
    acknowledged: BTreeMap<(String, Room), u64>,
    written: BTreeMap<String, Written>,
    placed: BTreeMap<Place, String>,
    /// Where messages stand that were fetched, by their texts and for whom that was.
    fetched: BTreeMap<(String, String), BTreeSet<Place>>,
    /// Groups that have all of their members: what was written before is not for those who were none yet.
    complete: BTreeSet<(usize, String)>,
    /// Names that have stood for more than one user, perhaps.
    deleted: BTreeSet<String>,
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
            fetched: BTreeMap::new(),
            complete: BTreeSet::new(),
            deleted: BTreeSet::new(),
        }
    }

    fn acknowledged(&self, user: &str, room: Room) -> u64 {
        self.acknowledged.get(&(user.to_owned(), room)).copied().unwrap_or_default()
    }

    /// A message up to a place, written by somebody else, that none of the user's clients has acknowledged anywhere.
    fn unread(&self, user: &str, upto: Place) -> Option<&String> {
        let behind = (upto.0, self.acknowledged(user, upto.0) + 1)..=upto;
        if behind.start() > behind.end() {
            return None;
        }
        let is_unread = |text: &&String| {
            let written = self.written.get(*text);
            let is_for_it =
                written.is_some_and(|it| it.by != user && it.is_for_all.contains(&upto.0.cluster));
            let fetched = self.fetched.get(&((*text).clone(), user.to_owned()));
            let is_read = |place: &Place| self.acknowledged(user, place.0) >= place.1;
            is_for_it && !fetched.into_iter().flatten().any(is_read)
        };
        self.placed.range(behind).map(|(_, text)| text).find(is_unread)
    }

    fn told(&mut self, life: Life, connection: u64, user: &str, upto: Place) -> Result<(), String> {
        let told = self.told.entry((life, connection, user.to_owned(), upto.0)).or_default();
        if upto.1 < *told {
            return Err(format!("{user} has read {:?} up to {told}, and then up to {}", upto.0, upto.1));
        }
        *told = upto.1;
        if !self.acknowledging.contains(user) || self.deleted.contains(user) {
            return Ok(());
        }
        match self.unread(user, upto) {
            None => Ok(()),
            Some(text) => {
                Err(format!("{user} counts as having read {text}, which it has not acknowledged anywhere"))
            }
        }
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
            Seen::Deletes { user, .. } => drop(self.deleted.insert(user.clone())),
            Seen::Acknowledged { text, place: Some(place), .. } => {
                self.placed.insert(*place, text.clone());
            }
            Seen::Got(Got { user, text, place, from, .. }) => {
                self.placed.insert(*place, text.clone());
                if from.is_some() {
                    self.fetched.entry((text.clone(), user.clone())).or_default().insert(*place);
                }
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
