//! How far users have read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, Place, Seen};
use super::Law;

/// What others are told of how far somebody has read never goes back on one connection, and never goes further than that user's clients have acknowledged.
pub(in super::super) struct Marks {
    /// Whose clients are ours.
    acknowledging: BTreeSet<String>,
    told: BTreeMap<(Life, u64, String, u64), u64>,
    acknowledged: BTreeMap<(String, u64), u64>,
    writers: BTreeMap<String, String>,
    placed: BTreeMap<Place, String>,
}

impl Marks {
    pub(in super::super) fn new(acknowledging: BTreeSet<String>) -> Self {
        Self {
            acknowledging,
            told: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            writers: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    /// The first message behind what a user's clients have acknowledged, up to a place, that somebody else has written.
    fn unread(&self, user: &str, upto: Place) -> Option<&String> {
        let acknowledged = self.acknowledged.get(&(user.to_owned(), upto.0)).copied().unwrap_or_default();
        let behind = (upto.0, acknowledged + 1)..=upto;
        if behind.start() > behind.end() {
            return None;
        }
        let mut placed = self.placed.range(behind).map(|(_, text)| text);
        placed.find(|text| self.writers.get(*text).is_some_and(|writer| writer != user))
    }
}

impl Law for Marks {
    const NAME: &'static str = "marks";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, .. } => drop(self.writers.insert(text.clone(), by.user.clone())),
            Seen::Acknowledged { text, place: Some(place) } | Seen::Got(Got { text, place, .. }) => {
                self.placed.insert(*place, text.clone());
            }
            Seen::Acknowledges { user, upto } => {
                let acknowledged = self.acknowledged.entry((user.clone(), upto.0)).or_default();
                *acknowledged = upto.1.max(*acknowledged);
            }
            Seen::ToldRead { life, connection, user, upto } => {
                let told = self.told.entry((*life, *connection, user.clone(), upto.0)).or_default();
                if upto.1 < *told {
                    return Err(format!(
                        "{user} has read conversation {} up to {told}, and then up to {}",
                        upto.0, upto.1
                    ));
                }
                *told = upto.1;
                if self.acknowledging.contains(user)
                    && let Some(text) = self.unread(user, *upto)
                {
                    return Err(format!(
                        "{user} counts as having read {text}, which it has not acknowledged"
                    ));
                }
            }
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
