//! What was acknowledged arrives, and in the end everybody is answered.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, Place, Room, Seen};
use super::Law;

/// What was acknowledged comes to everybody that it is for, in whatever cluster they are, as far as their clients acknowledge; and a client that has something of a conversation gets
/// everything behind it, there or in another cluster.
pub(in super::super) struct Delivered {
    members: BTreeMap<String, BTreeSet<String>>,
    /// Whose clients are ours.
    acknowledging: BTreeSet<String>,
    written: BTreeMap<String, Written>,
    /// By the cluster in which that was.
    acknowledged: BTreeMap<String, usize>,
    placed: BTreeMap<Place, String>,
    /// Groups that have all of their members.
    complete: BTreeSet<(usize, String)>,
    by_user: BTreeSet<(String, String)>,
    by_client: BTreeMap<(Life, Room), (String, BTreeSet<u64>)>,
    /// What clients have shown, in whatever clusters they were.
    shown: BTreeMap<Life, BTreeSet<String>>,
    /// Who does not belong to which group any more, or perhaps not.
    left: BTreeSet<(String, usize, String)>,
    /// Names that have stood for more than one user, perhaps: what was for one does not come to the next.
    deleted: BTreeSet<String>,
    closing: bool,
    /// The cluster that is out of reach at the end.
    lost: Option<usize>,
}

struct Written {
    by: String,
    to: String,
    /// Where the group that it is for, if it is for one, was complete already.
    complete: BTreeSet<usize>,
    is_last: bool,
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
            acknowledged: BTreeMap::new(),
            placed: BTreeMap::new(),
            complete: BTreeSet::new(),
            by_user: BTreeSet::new(),
            by_client: BTreeMap::new(),
            shown: BTreeMap::new(),
            left: BTreeSet::new(),
            deleted: BTreeSet::new(),
            closing: false,
            lost: None,
        }
    }

    /// For whom a message is that was accepted in this cluster.
    fn receivers(&self, text: &str, cluster: usize) -> Vec<&String> {
        let Some(written) = self.written.get(text) else { return Vec::new() };
        let receivers: Vec<&String> = match self.members.get(&written.to) {
            Some(members) if written.complete.contains(&cluster) => members.iter().collect(),
            Some(_) => Vec::new(),
            None => vec![&written.to],
        };
        // Where nobody can reach it now. What was fetched there and not read is still where it was written.
        if self.lost == Some(cluster) && !written.is_last {
            return Vec::new();
        }
        let awaits = |user: &&String| {
            **user != written.by
                && self.acknowledging.contains(*user)
                && !self.deleted.contains(*user)
                && !self.has_left(user, cluster, &written.to)
        };
        receivers.into_iter().filter(awaits).collect()
    }

    /// Long after the last messages were written somebody goes to another cluster: all have come to where it was.
    fn leaves(&self, user: &String) -> Result<(), String> {
        for (text, cluster) in &self.acknowledged {
            let has = self.by_user.contains(&(user.clone(), text.clone()));
            if !has && self.receivers(text, *cluster).contains(&user) {
                return Err(format!("{text} of cluster {cluster} has not come to {user} where it was"));
            }
        }
        Ok(())
    }

    fn has_left(&self, user: &str, cluster: usize, group: &str) -> bool {
        self.left.contains(&(user.to_owned(), cluster, group.to_owned()))
    }

    fn wrote(&mut self, text: &str, by: &str, to: &str) {
        let complete = self.complete.iter().filter(|(_, group)| group == to).map(|(cluster, _)| *cluster);
        let (by, to) = (by.to_owned(), to.to_owned());
        let written = Written { by, to, complete: complete.collect(), is_last: self.closing };
        self.written.insert(text.to_owned(), written);
    }
}

impl Law for Delivered {
    const NAME: &'static str = "delivered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, to } => self.wrote(text, &by.user, to),
            Seen::Deletes { user, .. } => drop(self.deleted.insert(user.clone())),
            Seen::Leaves { user, cluster, group } => {
                self.left.insert((user.clone(), *cluster, group.clone()));
            }
            Seen::GroupComplete { cluster, group, .. } => {
                self.complete.insert((*cluster, group.clone()));
            }
            Seen::Closing { lost } => (self.closing, self.lost) = (true, *lost),
            Seen::Acknowledged { text, cluster, place } => {
                self.acknowledged.insert(text.clone(), *cluster);
                if let Some(place) = place {
                    self.placed.insert(*place, text.clone());
                }
            }
            Seen::Moved { user, from, to } => {
                if self.closing && self.lost.is_none() {
                    self.leaves(user)?;
                }
                let shown = self.shown.remove(from).unwrap_or_default();
                self.shown.insert(*to, shown);
            }
            Seen::Got(Got { text, place, .. }) => drop(self.placed.insert(*place, text.clone())),
            Seen::Shown { life, user, text, place, .. } => {
                self.by_user.insert((user.clone(), text.clone()));
                self.shown.entry(*life).or_default().insert(text.clone());
                let of =
                    self.by_client.entry((*life, place.0)).or_insert_with(|| (user.clone(), BTreeSet::new()));
                of.1.insert(place.1);
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        for (text, cluster) in &self.acknowledged {
            for user in self.receivers(text, *cluster) {
                if !self.by_user.contains(&(user.clone(), text.clone())) {
                    return Err(format!(
                        "{user} has not got {text}, which was acknowledged in cluster {cluster}"
                    ));
                }
            }
        }
        for ((life, room), (user, got)) in &self.by_client {
            let first = *got.first().expect("one at least");
            if !lives(*life) || self.deleted.contains(user) {
                continue;
            }
            for ((_, sequence), text) in self.placed.range((*room, first)..=(*room, u64::MAX)) {
                let not_for_it = self.written.get(text).is_some_and(|written| {
                    written.by == *user || self.has_left(user, room.cluster, &written.to)
                });
                let has = self.shown.get(life).is_some_and(|shown| shown.contains(text));
                if !not_for_it && !has && !got.contains(sequence) {
                    return Err(format!("client {life:?} of {user} lacks {text} at {room:?}, {sequence}"));
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
    known: BTreeSet<(usize, String)>,
    /// Messages that are written since all is well, to somebody who is known there.
    last: BTreeSet<String>,
    /// Names of users who are there no more, perhaps.
    deleted: BTreeSet<String>,
    closing: bool,
}

impl Law for Answered {
    const NAME: &'static str = "answered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::LoggedIn { user, cluster, .. } => drop(self.known.insert((*cluster, user.clone()))),
            Seen::Deletes { user, .. } => drop(self.deleted.insert(user.clone())),
            Seen::Closing { .. } => self.closing = true,
            Seen::Moved { from, to, .. } => {
                // What was under way where it leaves is given up.
                self.last.retain(|text| self.open.get(text) != Some(from));
                self.open.values_mut().filter(|life| *life == from).for_each(|life| *life = *to);
            }
            Seen::Wrote { text, by, to } => {
                self.open.insert(text.clone(), by.life);
                let stays = |user: &String| !self.deleted.contains(user);
                let stay = stays(&by.user) && stays(to);
                if self.closing && by.is_ours && stay && self.known.contains(&(by.cluster, to.clone())) {
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
