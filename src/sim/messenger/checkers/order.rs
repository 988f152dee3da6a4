//! Each message stands in one place, behind those that its client has written before, and is shown to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use super::super::TAGS;
use super::super::book::{Got, Life, Place, Room, Seen, Writer};
use super::Law;

/// A message is accepted once, in one cluster; in another one it stands once for each user for whom it was fetched. No place holds two.
#[derive(Default)]
pub(in super::super) struct Once {
    /// In which cluster each was accepted.
    clusters: BTreeMap<String, usize>,
    /// Where they stand: in which cluster, and for whom it was fetched, if it was.
    places: BTreeMap<(String, usize, Option<String>), Place>,
    texts: BTreeMap<Place, String>,
    writers: BTreeMap<String, String>,
    /// Names that have stood for more than one user, perhaps, and be it that what was asked for long ago was done late: what was fetched for one may be fetched for the next,
    /// too, and a client that has become another user's without knowing it sends again what was not answered.
    deleted: BTreeSet<String>,
}

impl Once {
    fn was_accepted(&mut self, text: &str, cluster: usize) -> Result<(), String> {
        let before = *self.clusters.entry(text.to_owned()).or_insert(cluster);
        if before != cluster {
            return Err(format!("message {text} was accepted in cluster {before} and in cluster {cluster}"));
        }
        Ok(())
    }

    fn stands(&mut self, text: &str, reader: Option<&String>, place: Place) -> Result<(), String> {
        let key = (text.to_owned(), place.0.cluster, reader.cloned());
        let before = self.places.entry(key).or_insert(place);
        let is_one = |user: &String| !self.deleted.contains(user);
        if *before != place && reader.or_else(|| self.writers.get(text)).is_none_or(is_one) {
            let of = reader.map_or(String::new(), |reader| format!(", fetched for {reader}"));
            return Err(format!("message {text} stands at {before:?} and at {place:?}{of}"));
        }
        let before = self.texts.entry(place).or_insert_with(|| text.to_owned());
        if *before != text {
            return Err(format!("message {before} and message {text} both stand at {place:?}"));
        }
        Ok(())
    }
}

impl Law for Once {
    const NAME: &'static str = "once";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, .. } => {
                self.writers.insert(text.clone(), by.user.clone());
                Ok(())
            }
            Seen::Acknowledged { text, cluster, place } => {
                self.was_accepted(text, *cluster)?;
                place.map_or(Ok(()), |place| self.stands(text, None, place))
            }
            Seen::Got(Got { text, place, from: None, .. }) => {
                self.was_accepted(text, place.0.cluster)?;
                self.stands(text, None, *place)
            }
            Seen::Got(Got { text, user, place, from: Some(tag), .. }) => {
                let from = TAGS.iter().position(|known| known == tag);
                let from = from.ok_or_else(|| format!("{user} got {text} of an unknown cluster {tag}"))?;
                if from == place.0.cluster {
                    return Err(format!("{user} got {text} in cluster {from} as if from another one"));
                }
                self.was_accepted(text, from)?;
                self.stands(text, Some(user), *place)
            }
            Seen::Deletes { user, .. } => {
                self.deleted.insert(user.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A connection brings each conversation in its order, without repeating anything, and the messages of one client stand there in the order in which it wrote them.
#[derive(Default)]
pub(in super::super) struct Order {
    /// By connection and conversation: the last that came.
    brought: BTreeMap<(Life, u64, Room), u64>,
    writers: BTreeMap<String, Writer>,
    /// By client and conversation: where each of its messages stands.
    stand: BTreeMap<(Life, Room), BTreeMap<u64, u64>>,
}

impl Order {
    /// What its client has given up may still be accepted, at any time: the client sends the next one elsewhere and does not wait for it.
    fn gave_up(&mut self, text: &str) {
        let Some(writer) = self.writers.remove(text) else { return };
        for ((life, _), stand) in &mut self.stand {
            if *life == writer.life {
                stand.remove(&writer.number);
            }
        }
    }

    fn stands(&mut self, text: &str, place: Place) -> Result<(), String> {
        let Some(writer) = self.writers.get(text).filter(|writer| writer.is_ours) else { return Ok(()) };
        let stand = self.stand.entry((writer.life, place.0)).or_default();
        stand.insert(writer.number, place.1);
        let before = stand.range(..writer.number).next_back();
        let after = stand.range(writer.number + 1..).next();
        if before.is_some_and(|(_, at)| *at > place.1) || after.is_some_and(|(_, at)| *at < place.1) {
            return Err(format!(
                "message {text} stands at {place:?}, its neighbours of the same client at {before:?} and {after:?}"
            ));
        }
        Ok(())
    }
}

impl Law for Order {
    const NAME: &'static str = "order";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, .. } => drop(self.writers.insert(text.clone(), by.clone())),
            Seen::GaveUp { text } => self.gave_up(text),
            Seen::Acknowledged { text, place: Some(place), .. } => self.stands(text, *place)?,
            Seen::Got(Got { life, connection, text, place, .. }) => {
                let last = self.brought.entry((*life, *connection, place.0)).or_default();
                if place.1 <= *last {
                    return Err(format!(
                        "connection {connection} of {life:?} brought {place:?} behind {last}"
                    ));
                }
                *last = place.1;
                self.stands(text, *place)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Nobody gets a message that is not for them, or under another name.
pub(in super::super) struct Strangers {
    members: BTreeMap<String, BTreeSet<String>>,
    /// Who has written what to whom, and how much was seen before.
    written: BTreeMap<String, (String, String, usize)>,
    /// Who has left which group of which cluster, and how much was seen before.
    left: BTreeMap<(String, usize, String), usize>,
    seen: usize,
}

impl Strangers {
    /// Who belongs to each group, or may at some time.
    pub(in super::super) fn new(members: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { members, written: BTreeMap::new(), left: BTreeMap::new(), seen: 0 }
    }
}

impl Law for Strangers {
    const NAME: &'static str = "strangers";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        self.seen += 1;
        match seen {
            Seen::Wrote { text, by, to } => {
                self.written.insert(text.clone(), (by.user.clone(), to.clone(), self.seen));
            }
            Seen::HasLeft { user, cluster, group } => {
                self.left.insert((user.clone(), *cluster, group.clone()), self.seen);
            }
            Seen::Got(Got { user, sender, text, from, place, .. }) => {
                let Some((by, to, at)) = self.written.get(text) else {
                    return Err(format!("{user} got {text}, which nobody has written"));
                };
                let from = from.as_ref().and_then(|from| TAGS.iter().position(|tag| tag == from));
                let key = (user.clone(), from.unwrap_or(place.0.cluster), to.clone());
                if self.left.get(&key).is_some_and(|left| left < at) {
                    return Err(format!(
                        "{user} got {text}, which was written to {to} after it had left that"
                    ));
                }
                let belongs = self.members.get(to).is_some_and(|members| members.contains(user));
                if user != by && user != to && !belongs {
                    return Err(format!("{user} got {text}, which is for {to}"));
                }
                if sender != by {
                    return Err(format!("{user} got {text} as if {sender} had written it"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A client of ours shows each message that has come, once, in whatever clusters it comes, and those of a conversation in their order.
#[derive(Default)]
pub(in super::super) struct Shown {
    came: BTreeSet<(Life, Place, String)>,
    /// The last that was shown.
    last: BTreeMap<(Life, Room), u64>,
    /// What was shown, in whatever clusters the client was.
    all: BTreeMap<Life, BTreeSet<String>>,
}

impl Law for Shown {
    const NAME: &'static str = "shown";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Moved { from, to, .. } => {
                let shown = self.all.remove(from).unwrap_or_default();
                self.all.insert(*to, shown);
            }
            Seen::Got(Got { life, text, place, .. }) => {
                self.came.insert((*life, *place, text.clone()));
            }
            Seen::Shown { life, user, text, place, .. } => {
                if !self.all.entry(*life).or_default().insert(text.clone()) {
                    return Err(format!("the client of {user} shows {text} once more, at {place:?}"));
                }
                let last = self.last.entry((*life, place.0)).or_default();
                if place.1 <= *last {
                    return Err(format!("the client of {user} shows {text} at {place:?} behind {last}"));
                }
                *last = place.1;
                if !self.came.contains(&(*life, *place, text.clone())) {
                    return Err(format!("the client of {user} shows {text}, which has not come"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Servers remember more clients than there are here, so they forget none; and whoever shows the right password is let in.
pub(in super::super) struct Remembered;

impl Law for Remembered {
    const NAME: &'static str = "remembered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Forgotten { life } => Err(format!("the servers have forgotten client {life:?}")),
            Seen::TurnedAway { user, why } => Err(format!("{user} is not let in: {why}")),
            _ => Ok(()),
        }
    }
}
