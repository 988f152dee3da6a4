//! Who belongs to the log: voters, and those without a vote; and what a majority of them is (Raft, section 6; thesis, chapter 4).

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{Reader, put_bytes, put_list, put_number};
use crate::agent::{Index, WireError};
use crate::agents::replicated::MemberId;

/// The members at some place of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Who has a vote; while voters change: who will have one.
    pub(super) voters: BTreeSet<MemberId>,
    /// While voters change: who had one before. Empty otherwise.
    pub(super) outgoing: BTreeSet<MemberId>,
    /// Who gets everything and has no vote.
    pub(super) learners: BTreeSet<MemberId>,
    /// What they are called.
    pub(super) names: BTreeMap<MemberId, String>,
}

impl Membership {
    /// These are the voters, and there is nobody else.
    pub(super) fn of_voters<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut members = Self::default();
        for name in names {
            let id = members.call(name.as_ref());
            members.voters.insert(id);
        }
        members
    }

    /// Notes a name.
    pub(super) fn call(&mut self, name: &str) -> MemberId {
        let id = MemberId::of(name);
        self.names.insert(id, name.to_owned());
        id
    }

    pub(super) fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    pub(super) fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Everybody, ascending.
    pub(super) fn all(&self) -> BTreeSet<MemberId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Everybody with a vote, ascending.
    pub(super) fn all_voters(&self) -> BTreeSet<MemberId> {
        self.voters.union(&self.outgoing).copied().collect()
    }

    /// Those of `ids` with their names.
    pub(super) fn named<'a>(&self, ids: impl IntoIterator<Item = &'a MemberId>) -> Vec<(MemberId, String)> {
        ids.into_iter().map(|id| (*id, self.names.get(id).cloned().unwrap_or_default())).collect()
    }

    /// Forgets the names of whoever does not belong to it any more.
    pub(super) fn tidy(&mut self) {
        let all = self.all();
        self.names.retain(|id, _| all.contains(id));
    }

    /// Whether those for whom `is_for` holds are a majority; while voters change, of both sides.
    pub(super) fn agrees(&self, is_for: impl Fn(MemberId) -> bool) -> bool {
        let majority = |side: &BTreeSet<MemberId>| {
            side.is_empty() || side.iter().filter(|id| is_for(**id)).count() > side.len() / 2
        };
        !self.voters.is_empty() && majority(&self.voters) && majority(&self.outgoing)
    }

    /// The greatest value that a majority has reached; while voters change, majorities of both sides.
    pub(super) fn reached<T: Ord + Copy>(&self, value: impl Fn(MemberId) -> T) -> Option<T> {
        let reached = |side: &BTreeSet<MemberId>| {
            let mut values: Vec<T> = side.iter().map(|id| value(*id)).collect();
            values.sort_unstable();
            // Of 3 the second, of 4 the second, of 5 the third: so many and a majority in all are at least there.
            values.len().checked_sub(1).map(|last| values[last / 2])
        };
        match (reached(&self.voters), reached(&self.outgoing)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, _) => one,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        for side in [&self.voters, &self.outgoing, &self.learners] {
            put_number(bytes, side.len() as u64);
            for (_, name) in self.named(side) {
                put_bytes(bytes, name.as_bytes());
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut members = Self::default();
        let mut sides = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for side in &mut sides {
            for name in reader.list(Reader::text)? {
                side.insert(members.call(&name));
            }
        }
        [members.voters, members.outgoing, members.learners] = sides;
        Ok(members)
    }
}

/// The memberships that the log has named: the last one that is known to be committed, and those behind it. A member acts by the last one in its log,
/// committed or not (Raft, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memberships {
    /// Never empty; ascending.
    history: Vec<(Index, Membership)>,
}

impl Memberships {
    pub(super) fn new(index: Index, members: Membership) -> Self {
        Self { history: vec![(index, members)] }
    }

    /// From what was kept; `None` if that is nothing.
    pub(super) fn from_history(history: Vec<(Index, Membership)>) -> Option<Self> {
        (!history.is_empty()).then_some(Self { history })
    }

    pub(super) fn history(&self) -> &[(Index, Membership)] {
        &self.history
    }

    pub(super) fn latest(&self) -> &Membership {
        &self.history.last().expect("never empty").1
    }

    /// Where the latest stands in the log.
    pub(super) fn latest_index(&self) -> Index {
        self.history.last().expect("never empty").0
    }

    /// The one that held at `index`.
    pub(super) fn at(&self, index: Index) -> &(Index, Membership) {
        self.history.iter().rev().find(|(from, _)| *from <= index).unwrap_or(&self.history[0])
    }

    pub(super) fn push(&mut self, index: Index, members: Membership) {
        self.history.retain(|(from, _)| *from < index);
        self.history.push((index, members));
    }

    /// Entries from `from` on are gone. Returns whether that changes anything. If none would be left the oldest stays: whom to ask is better known
    /// roughly than not at all, and whoever has lost as much takes no part until he knows better.
    pub(super) fn cut(&mut self, from: Index) -> bool {
        let before = self.history.len();
        let oldest = self.history[0].clone();
        self.history.retain(|(index, _)| *index < from);
        if self.history.is_empty() {
            self.history.push((Index(from.0.saturating_sub(1)), oldest.1));
            return true;
        }
        self.history.len() != before
    }

    /// Entries up to `index` are committed: older ones are not needed any more.
    pub(super) fn settle(&mut self, index: Index) {
        let keep = self.history.iter().rposition(|(from, _)| *from <= index).unwrap_or(0);
        self.history.drain(..keep);
    }
}

pub(super) fn put_history(bytes: &mut Vec<u8>, history: &[(Index, Membership)]) {
    put_list(bytes, history, |bytes, (index, members)| {
        put_number(bytes, index.0);
        members.encode(bytes);
    });
}

pub(super) fn read_history(reader: &mut Reader) -> Result<Vec<(Index, Membership)>, WireError> {
    reader.list(|reader| Ok((reader.index()?, Membership::decode(reader)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<MemberId> {
        names.iter().map(|name| MemberId::of(name)).collect()
    }

    #[test]
    fn a_majority_is_more_than_half_of_each_side() {
        let mut members = Membership::of_voters(["a", "b", "c", "d"]);
        let two = ids(&["a", "b"]);
        assert!(!members.agrees(|id| two.contains(&id)));
        let three = ids(&["a", "b", "c"]);
        assert!(members.agrees(|id| three.contains(&id)));
        members.outgoing = ids(&["d", "e", "f"]);
        assert!(!members.agrees(|id| three.contains(&id)), "section 6: both majorities");
        assert!(!Membership::default().agrees(|_| true), "nobody is no majority");
    }

    #[test]
    fn what_a_majority_has_reached_is_the_middle_of_both_sides() {
        let mut members = Membership::of_voters(["a", "b", "c"]);
        let value = |id: MemberId| match members.names.get(&id).map(String::as_str) {
            Some("a") => 7,
            Some("b") => 5,
            _ => 3,
        };
        assert_eq!(members.reached(value), Some(5));
        members.outgoing = ids(&["c", "d", "a"]);
        members.names.insert(MemberId::of("d"), "d".to_owned());
        let value = |id: MemberId| if id == MemberId::of("a") || id == MemberId::of("b") { 7 } else { 3 };
        assert_eq!(members.reached(value), Some(3));
    }

    #[test]
    fn memberships_go_with_the_entries_that_named_them() {
        let (one, two) = (Membership::of_voters(["a"]), Membership::of_voters(["a", "b"]));
        let mut known = Memberships::new(Index(0), one.clone());
        known.push(Index(5), two.clone());
        assert_eq!((known.latest(), known.at(Index(4)).0), (&two, Index(0)));
        assert!(known.clone().cut(Index(5)));
        assert!(!known.clone().cut(Index(6)));
        known.settle(Index(5));
        assert_eq!(known.history().len(), 1);
        assert!(known.cut(Index(3)));
        assert_eq!((known.latest(), known.latest_index()), (&two, Index(2)));
    }

    #[test]
    fn memberships_come_back_as_they_were_written() {
        let mut members = Membership::of_voters(["a", "b"]);
        members.outgoing = ids(&["a"]);
        let learner = members.call("c");
        members.learners.insert(learner);
        let mut bytes = Vec::new();
        put_history(&mut bytes, &[(Index(3), members.clone())]);
        assert_eq!(read_history(&mut Reader::copying(&bytes)), Ok(vec![(Index(3), members)]));
    }
}
