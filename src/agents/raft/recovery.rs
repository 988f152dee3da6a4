//! What a member finds on its disk when it begins, and what it does about it.

use super::disk::{Disk, HardState};
use super::log::Log;
use super::membership::{Membership, Memberships};
use super::rows::Meta;
use super::{Phase, Raft};
use crate::agent::{Index, Recovered, Term, Write};

/// What has to be put right before anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mending {
    /// This entry and all behind it are given up.
    cut: Option<Index>,
    /// Entries up to this one are given up: rows hold what came of them.
    forget: Option<Index>,
    /// Rows have to be read.
    restore: bool,
    /// What is kept beside the log has changed.
    persist: bool,
    /// Something was on this disk before.
    is_old: bool,
}

impl Raft {
    pub(super) fn recover(&mut self, recovered: &Recovered) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = match self.look_at(recovered) {
            Ok(mending) => Phase::Recovered(mending),
            Err(what) => Phase::Failed(what),
        };
    }

    fn look_at(&mut self, recovered: &Recovered) -> Result<Mending, String> {
        let applied = &recovered.applied;
        let mut mending = Mending { restore: applied.index > Index(0), ..Mending::default() };
        let mut meta_members = None;
        if mending.restore {
            let meta = Meta::read(&applied.meta)
                .map_err(|error| format!("the rows on the disk cannot be used: {error}"))?;
            meta_members = Some((meta.members_index, meta.members.clone()));
            (self.committed, self.applied, self.agreed) = (applied.index, applied.index, applied.index);
            self.take_meta(meta);
        }
        self.look_at_log(recovered, &mut mending)?;
        let state = recovered.state.as_ref().and_then(|bytes| HardState::read(bytes).ok());
        let state_lost = state.is_none() && (recovered.state_lost || recovered.state.is_some());
        let state = state.unwrap_or_default();
        // A log may be newer than the state beside it only by what was put into it in the term of its last entry.
        self.term = applied.term.max(recovered.terms.last().map_or(Term(0), |(_, term)| *term));
        self.take_state(&state);
        self.look_at_members(&state.members, meta_members, &mut mending);
        mending.is_old = recovered.last > Index(0) || recovered.state.is_some();
        if recovered.suspect {
            // Cutting nothing off tells the disk that what it could not make sense of has been seen.
            mending.cut.get_or_insert(Index(recovered.last.0 + 1));
        }
        let is_damaged = mending.cut.is_some() || state_lost || state.repairing;
        if is_damaged && self.laws.damage_is_repaired {
            self.begin_repair(state_lost || recovered.suspect);
            mending.persist = true;
        }
        Ok(mending)
    }

    fn look_at_log(&mut self, recovered: &Recovered, mending: &mut Mending) -> Result<(), String> {
        let (first, last, applied) = (recovered.first, recovered.last, &recovered.applied);
        let cache_bytes_max = self.options.cache_bytes_max;
        let is_empty = last < first || last == Index(0);
        if is_empty {
            self.log = Log::new(applied.index, applied.term, cache_bytes_max);
            self.disk = Disk::new(applied.index);
            return Ok(());
        }
        if last < applied.index {
            return Err(format!("the rows reach up to entry {}, the log only up to {last}", applied.index));
        }
        let Some(&(begin, first_term)) = recovered.terms.first() else {
            // All that is there is damaged.
            mending.cut = Some(first.max(Index(applied.index.0 + 1)));
            mending.forget = (applied.index >= first).then_some(applied.index);
            self.log = Log::new(applied.index, applied.term, cache_bytes_max);
            self.disk = Disk::new(applied.index);
            return Ok(());
        };
        let before = Index(first.0.saturating_sub(1));
        if before > applied.index {
            // What lies before is nowhere: all of it has to come from the others.
            mending.cut = Some(first);
            self.log = Log::new(applied.index, applied.term, cache_bytes_max);
            self.disk = Disk::new(applied.index);
            return Ok(());
        }
        let mut runs = recovered.terms.clone();
        if before == applied.index {
            runs.insert(0, (before, applied.term));
        } else if before == Index(0) {
            runs.insert(0, (before, Term(0)));
        } else {
            // The term of the entry before is known to nobody here: the first one is of use only to tell the term before the second.
            runs[0] = (begin.max(first), first_term);
        }
        self.log = Log::recovered(runs, last, cache_bytes_max);
        self.disk = Disk::new(last);
        self.look_at_damage(recovered, mending);
        Ok(())
    }

    fn look_at_damage(&mut self, recovered: &Recovered, mending: &mut Mending) {
        let applied = recovered.applied.index;
        if recovered.damaged.iter().any(|(first, last)| *first <= applied && *last > applied) {
            // Of what the rows cover, the term of the last entry is the only one that is known for certain.
            self.log = Log::new(applied, recovered.applied.term, self.options.cache_bytes_max);
            self.disk = Disk::new(applied);
            (mending.cut, mending.forget) = (Some(Index(applied.0 + 1)), Some(applied));
            return;
        }
        let in_rows = recovered.damaged.iter().map(|(_, last)| *last).filter(|last| *last <= applied).max();
        if let Some(upto) = in_rows {
            self.log.compact(upto);
            mending.forget = Some(upto);
        }
        let lost = recovered.damaged.iter().filter(|(_, last)| *last > applied);
        if let Some(first) = lost.map(|(first, _)| (*first).max(Index(applied.0 + 1))).min() {
            self.log.truncate(first);
            self.disk.truncate(first);
            mending.cut = Some(first);
        }
    }

    /// Who belongs to the log is what the newest says that is not behind the log's end.
    fn look_at_members(
        &mut self,
        kept: &[(Index, Membership)],
        with_rows: Option<(Index, Membership)>,
        mending: &mut Mending,
    ) {
        let from_rows = with_rows.as_ref().map_or(Index(0), |(index, _)| *index);
        let mut known: Vec<(Index, Membership)> = with_rows.into_iter().collect();
        let newer = kept.iter().filter(|(index, _)| *index > from_rows || known.is_empty());
        let newer: Vec<(Index, Membership)> = newer.cloned().collect();
        known.extend(newer);
        if let Some(mut members) = Memberships::from_history(known) {
            let behind = Index(self.log.last().0 + 1);
            mending.persist |= members.cut(behind);
            members.settle(self.committed);
            self.members = members;
        }
    }

    /// The log begins.
    pub(super) fn start(&mut self) {
        let mending = match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Recovered(mending) => mending,
            Phase::New => Mending::default(),
            failed => {
                self.phase = failed;
                return;
            }
        };
        if mending.persist {
            // Before anything is cut: a log that has become shorter by damage is known to be so from then on.
            self.persist();
        }
        if let Some(from) = mending.cut {
            self.write(Write::Truncate { from });
        }
        if let Some(upto) = mending.forget {
            self.write(Write::Compact { upto });
        }
        if mending.restore {
            self.restore(self.applied);
        }
        if mending.is_old {
            self.bind_at_start(self.now);
        }
        self.set_election_timer();
        let members = self.members.latest();
        if members.voters.len() == 1 && members.agrees(|id| id == self.id) {
            // There is nobody to wait for.
            self.election_at = Some(self.now);
        }
        self.ask_for_repair();
    }
}
