//! Each message stands in one place, behind those that its client has written before, and is shown to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Got, Life, Place, Seen, Writer};
use super::Law;

/// A message is accepted once, and no place holds two.
#[derive(Default)]
pub(in super::super) struct Once {
    places: BTreeMap<String, Place>,
    texts: BTreeMap<Place, String>,
}

impl Law for Once {
    const NAME: &'static str = "once";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let (Seen::Got(Got { text, place, .. }) | Seen::Acknowledged { text, place: Some(place) }) = seen
        else {
            return Ok(());
        };
        let before = self.places.entry(text.clone()).or_insert(*place);
        if before != place {
            return Err(format!("message {text} stands at {before:?} and at {place:?}"));
        }
        let before = self.texts.entry(*place).or_insert_with(|| text.clone());
        if before != text {
            return Err(format!("message {before} and message {text} both stand at {place:?}"));
        }
        Ok(())
    }
}

/// A connection brings each conversation in its order, without repeating anything, and the messages of one client stand there in the order in which it wrote them.
#[derive(Default)]
pub(in super::super) struct Order {
    /// By connection and conversation: the last that came.
    brought: BTreeMap<(Life, u64, u64), u64>,
    writers: BTreeMap<String, Writer>,
    /// By client and conversation: where each of its messages stands.
    stand: BTreeMap<(Life, u64), BTreeMap<u64, u64>>,
}

impl Order {
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
            Seen::Acknowledged { text, place: Some(place) } => self.stands(text, *place)?,
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
    written: BTreeMap<String, (String, String)>,
}

impl Strangers {
    /// Who belongs to each group, or may at some time.
    pub(in super::super) fn new(members: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { members, written: BTreeMap::new() }
    }
}

impl Law for Strangers {
    const NAME: &'static str = "strangers";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Wrote { text, by, to } => {
                self.written.insert(text.clone(), (by.user.clone(), to.clone()));
            }
            Seen::Got(Got { user, sender, text, .. }) => {
                let Some((by, to)) = self.written.get(text) else {
                    return Err(format!("{user} got {text}, which nobody has written"));
                };
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

/// Servers remember more clients than there are here, so they forget none.
pub(in super::super) struct Remembered;

impl Law for Remembered {
    const NAME: &'static str = "remembered";

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Forgotten { life } => Err(format!("the servers have forgotten client {life:?}")),
            _ => Ok(()),
        }
    }
}
