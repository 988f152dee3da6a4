//! Who is there.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Life, Seen};
use super::Law;

/// When all is quiet, everybody who asks knows who of their acquaintances is there; and who was told that somebody is there who is a user no more has been told that they are not.
#[derive(Default)]
pub(in super::super) struct Presence {
    /// Who is logged in, and in which cluster.
    online: BTreeMap<Life, (usize, String)>,
    told: BTreeMap<Life, BTreeMap<String, bool>>,
    /// Who is yet to be told, without asking, that a user who was there is gone for good.
    missing: BTreeMap<Life, BTreeSet<String>>,
    /// Who has asked since all is well.
    asked: BTreeSet<Life>,
    /// Whose clients are ours; the others cannot ask.
    ours: BTreeSet<String>,
    closing: bool,
}

impl Presence {
    pub(in super::super) fn new(ours: BTreeSet<String>) -> Self {
        Self { ours, ..Self::default() }
    }
}

impl Presence {
    /// Those who take a user for being there have to learn that it is not: an answer to who asks does not name it any more.
    fn is_gone(&mut self, gone: &str, cluster: usize) {
        for (life, (at, user)) in &self.online {
            let takes_it_for_there = self.told.get(life).is_some_and(|told| told.get(gone) == Some(&true));
            if *at == cluster && user != gone && takes_it_for_there {
                self.missing.entry(*life).or_default().insert(gone.to_owned());
            }
        }
    }
}

impl Law for Presence {
    const NAME: &'static str = "presence";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::LoggedIn { life, user, cluster } => {
                self.online.insert(*life, (*cluster, user.clone()));
                // What was told before may have changed meanwhile.
                self.told.remove(life);
                self.missing.remove(life);
            }
            Seen::LoggedOut { life } => {
                self.online.remove(life);
                self.missing.remove(life);
            }
            Seen::ToldPresence { life, user, online } => {
                self.told.entry(*life).or_default().insert(user.clone(), *online);
                if let Some(missing) = self.missing.get_mut(life).filter(|_| !online) {
                    missing.remove(user);
                }
            }
            Seen::IsDeleted { user, cluster } => self.is_gone(user, *cluster),
            Seen::Asked { life, told } => {
                self.told.insert(*life, told.iter().cloned().collect());
                if self.closing {
                    self.asked.insert(*life);
                }
            }
            Seen::Closing { .. } => self.closing = true,
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        let online = || self.online.iter().filter(|(life, _)| lives(**life));
        let there: BTreeSet<(usize, &str)> =
            online().map(|(_, (cluster, user))| (*cluster, user.as_str())).collect();
        for (life, (cluster, user)) in online().filter(|(_, (_, user))| self.ours.contains(user)) {
            if !self.asked.contains(life) {
                return Err(format!("{user} has not been told who is there"));
            }
            if let Some(gone) = self.missing.get(life).and_then(BTreeSet::first) {
                return Err(format!("{user} has not been told in cluster {cluster} that {gone} is gone"));
            }
            for (other, online) in self.told.get(life).into_iter().flatten() {
                if there.contains(&(*cluster, other.as_str())) != *online {
                    let (what, is) = if *online { ("", "is not") } else { ("not ", "is") };
                    return Err(format!(
                        "{user} knows in cluster {cluster} that {other} is {what}there, who {is}"
                    ));
                }
            }
        }
        Ok(())
    }
}
