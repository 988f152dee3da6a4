//! Who takes the name of somebody who is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, LookedBack, Seen};
use super::Law;

/// Whoever takes the name of a user who is gone gets nothing of what that one wrote, and of what was written to them.
#[derive(Default)]
pub(in super::super) struct Heirs {
    /// Who has written what to whom.
    written: BTreeMap<String, (String, String)>,
    /// Where messages stand: nobody has fetched them there.
    accepted: BTreeMap<String, usize>,
    /// What nobody of that name may see there any more.
    buried: BTreeMap<(String, usize), BTreeSet<String>>,
    /// By users and clusters, the clients that are logged in, and so for whom: those of a user who is gone may still get what was on its way.
    clients: BTreeMap<(String, usize), BTreeSet<Life>>,
}

impl Heirs {
    fn may_see(&self, life: Life, user: &str, cluster: usize, text: &str) -> Result<(), String> {
        let key = (user.to_owned(), cluster);
        let is_theirs = self.clients.get(&key).is_some_and(|clients| clients.contains(&life));
        match self.buried.get(&key) {
            Some(texts) if is_theirs && texts.contains(text) => {
                Err(format!("{user} got {text}, which was accepted before the user of that name was deleted"))
            }
            _ => Ok(()),
        }
    }
}

impl Law for Heirs {
    const NAME: &'static str = "heirs";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, to } => {
                self.written.insert(text.clone(), (by.user.clone(), to.clone()));
            }
            Seen::Acknowledged { text, cluster, .. } => drop(self.accepted.insert(text.clone(), *cluster)),
            Seen::IsDeleted { user, cluster } => {
                let of =
                    |text: &&String| self.written.get(*text).is_some_and(|(by, to)| by == user || to == user);
                let here = self.accepted.iter().filter(|(_, at)| *at == cluster).map(|(text, _)| text);
                let texts: Vec<String> = here.filter(of).cloned().collect();
                self.buried.entry((user.clone(), *cluster)).or_default().extend(texts);
                self.clients.remove(&(user.clone(), *cluster));
            }
            Seen::LoggedIn { life, user, cluster } => {
                self.clients.entry((user.clone(), *cluster)).or_default().insert(*life);
            }
            Seen::Got(Got { life, user, text, place, from: None, .. }) => {
                self.may_see(*life, user, place.0.cluster, text)?;
            }
            Seen::LookedBack(LookedBack { life, user, cluster, of, messages, .. }) if !of.contains('@') => {
                for (_, _, text) in messages {
                    self.may_see(*life, user, *cluster, text)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
