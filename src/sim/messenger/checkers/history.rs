//! What was, as servers tell it afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, LookedBack, Place, Seen};
use super::Law;

/// Who looks back sees a conversation without gaps, each message where it stands, and everything that was shown before.
#[derive(Default)]
pub(in super::super) struct History {
    placed: BTreeMap<Place, String>,
    written: BTreeMap<String, String>,
    /// By client and conversation: what was shown, and how much had been seen before that. Another client of the same user may be on a server that does not know of it yet.
    shown: BTreeMap<(Life, String), BTreeMap<Place, usize>>,
    seen: usize,
    /// What users have left, or may have.
    left: BTreeSet<(String, usize, String)>,
    /// Names that have stood for more than one user, perhaps.
    deleted: BTreeSet<String>,
}

impl History {
    fn looked(&self, looked: &LookedBack) -> Result<(), String> {
        let LookedBack { life, user, cluster, of, begun, messages } = looked;
        let what = || format!("{user} looks back at {of} in cluster {cluster}");
        let name = of.split('@').next().unwrap_or_default();
        let is_one = !self.deleted.contains(user) && !self.deleted.contains(name);
        for pair in messages.windows(2).filter(|_| is_one) {
            let (before, after) = (pair[0].0, pair[1].0);
            if before.0 != after.0 || before.1 + 1 != after.1 {
                return Err(format!("{}: {after:?} follows {before:?}", what()));
            }
        }
        for (place, sender, text) in messages {
            if self.placed.get(place).is_some_and(|known| known != text) {
                return Err(format!("{}: {text} stands at {place:?}, where another one stands", what()));
            }
            if self.written.get(text) != Some(sender) {
                return Err(format!("{}: {text} comes as if {sender} had written it", what()));
            }
        }
        if !is_one || self.left.contains(&(user.clone(), *cluster, of.clone())) {
            return Ok(());
        }
        let shown = self.shown.get(&(*life, of.clone())).into_iter().flatten();
        let mut shown = shown.filter(|(_, at)| *at < begun).map(|(place, _)| place);
        let there = |place: &Place| {
            let ends = messages.first().zip(messages.last());
            ends.is_some_and(|(first, last)| (first.0..=last.0).contains(place))
        };
        match shown.find(|place| !there(place)) {
            Some(place) => Err(format!("{}: what was shown at {place:?} is not there", what())),
            None => Ok(()),
        }
    }
}

impl Law for History {
    const NAME: &'static str = "history";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        self.seen += 1;
        match seen {
            Seen::Wrote { text, by, .. } => drop(self.written.insert(text.clone(), by.user.clone())),
            Seen::Acknowledged { text, place: Some(place), .. } | Seen::Got(Got { text, place, .. }) => {
                self.placed.insert(*place, text.clone());
            }
            Seen::Shown { life, of, place, .. } => {
                let shown = self.shown.entry((*life, of.clone())).or_default();
                shown.entry(*place).or_insert(self.seen);
            }
            Seen::Leaves { user, cluster, group } => {
                self.left.insert((user.clone(), *cluster, group.clone()));
            }
            Seen::Deletes { user, .. } => drop(self.deleted.insert(user.clone())),
            Seen::LookedBack(looked) => self.looked(looked)?,
            _ => {}
        }
        Ok(())
    }
}
