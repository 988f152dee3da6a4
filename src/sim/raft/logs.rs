//! What holds of all logs together (Raft, figure 3), looked up on the simulated disks: nobody who might be wrong is asked.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Node;
use super::watch::{Shared, Views};
use crate::agent::{Entry, Index, Peer, Term, Write};
use crate::agents::replicated::{Standing, Status};
use crate::sim::{Checker, Contents, World};

/// A leader only ever appends to its own log (leader append-only); and if two logs have an entry of the same index and term, they are the same up
/// to there (log matching).
pub(super) struct Matching {
    views: Shared,
    /// Every entry that was ever written, by index and term: the term of the one before it, and what it says.
    entries: BTreeMap<(Index, Term), (Term, Bytes)>,
}

impl Matching {
    pub(super) fn new(views: Shared) -> Self {
        Self { views, entries: BTreeMap::new() }
    }

    fn entry(&mut self, peer: Peer, before: Term, entry: &Entry) -> Result<(), String> {
        let Entry { index, term, record } = entry;
        let known = self.entries.entry((*index, *term)).or_insert_with(|| (before, record.clone()));
        if known.0 != before {
            return Err(format!(
                "before entry {index} of term {term} stands one of term {before} on server {peer}, and one of term {} elsewhere",
                known.0
            ));
        }
        if known.1 != *record {
            return Err(format!(
                "entry {index} of term {term} says something else on server {peer} than elsewhere"
            ));
        }
        Ok(())
    }
}

impl Checker<Node> for Matching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn check(&mut self, world: &World<Node>) -> Result<(), String> {
        let views = std::rc::Rc::clone(&self.views);
        let views = views.borrow();
        let written = &world.happened().written;
        for (place, (peer, write)) in written.iter().enumerate() {
            match write {
                Write::Append { entry } => {
                    // The entry before this one was written just now, or stands in the log.
                    let previous = Index(entry.index.0 - 1);
                    let before = written[..place].iter().rev().find_map(|(other, write)| match write {
                        Write::Append { entry } if other == peer && entry.index == previous => {
                            Some(entry.term)
                        }
                        _ => None,
                    });
                    let on_disk = || world.written(*peer)?.term(previous);
                    if let Some(before) = before.or_else(on_disk) {
                        self.entry(*peer, before, entry)?;
                    }
                }
                Write::Truncate { from } => {
                    let leads = |status: &Option<Status>| {
                        status
                            .as_ref()
                            .filter(|status| status.standing == Standing::Leader)
                            .map(|status| status.term)
                    };
                    let place = peer.index();
                    if let Some(term) = leads(&views.before[place])
                        && leads(&views.now[place]) == Some(term)
                    {
                        return Err(format!(
                            "server {peer} leads in term {term} and cuts its own log at {from}"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whatever is committed stays: every later leader has it (leader completeness), and everybody commits the same (state machine safety).
pub(super) struct Completeness {
    views: Shared,
    /// The terms of the entries that are committed, from the first on, and the terms in which they were. Those of which no server could say any more
    /// which they were are 0.
    committed: Vec<(Term, Term)>,
    leading: BTreeMap<Term, Peer>,
}

impl Completeness {
    pub(super) fn new(views: Shared) -> Self {
        Self { views, committed: Vec::new(), leading: BTreeMap::new() }
    }

    /// A server says that entries are committed.
    fn commit(&mut self, peer: Peer, from: Index, now: &Status, contents: &Contents) -> Result<(), String> {
        for index in from.0 + 1..=now.committed.0 {
            let place = usize::try_from(index).expect("a place") - 1;
            let term = contents.term(Index(index)).unwrap_or_default();
            if self.committed.len() <= place {
                self.committed.resize(place + 1, (Term(0), now.term));
            }
            let (known, _) = &mut self.committed[place];
            if *known == Term(0) {
                *known = term;
            } else if term != Term(0) && *known != term {
                return Err(format!(
                    "entry {index} is committed with term {known}, and with term {term} on server {peer}"
                ));
            }
        }
        Ok(())
    }

    /// A server has begun to lead.
    fn lead(&self, peer: Peer, now: &Status, contents: &Contents) -> Result<(), String> {
        for ((term, committed_in), index) in self.committed.iter().zip(1..) {
            let index = Index(index);
            // What the rows cover may be damaged.
            if index <= contents.applied().index || *term == Term(0) || *committed_in > now.term {
                continue;
            }
            let own = contents.entry(index).map(|entry| entry.term);
            if own != Some(*term) {
                return Err(format!(
                    "server {peer} leads without entry {index} of term {term}, which is committed; its own there is of term {own:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Checker<Node> for Completeness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn check(&mut self, world: &World<Node>) -> Result<(), String> {
        let views = std::rc::Rc::clone(&self.views);
        let views = views.borrow();
        for &peer in &views.touched {
            let (Some(now), Some(contents)) = (&views.now[peer.index()], world.written(peer)) else {
                continue;
            };
            if world.has_failed(peer) {
                // What it asks to be written is not, and it may not know that yet.
                continue;
            }
            let before = views.before[peer.index()].as_ref().map_or(Index(0), |before| before.committed);
            if now.committed > before {
                self.commit(peer, before, now, contents)?;
            }
            if now.standing == Standing::Leader && self.leading.insert(now.term, peer) != Some(peer) {
                self.lead(peer, now, contents)?;
            }
        }
        Ok(())
    }
}

/// Nothing is committed that is not on the disks of a majority.
pub(super) struct Durable {
    views: Shared,
    committed: Index,
}

impl Durable {
    pub(super) fn new(views: Shared) -> Self {
        Self { views, committed: Index(0) }
    }
}

impl Checker<Node> for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn check(&mut self, world: &World<Node>) -> Result<(), String> {
        let views = self.views.borrow();
        for &peer in &views.touched {
            let Some(status) = &views.now[peer.index()] else { continue };
            let index = status.committed;
            if index <= self.committed || world.has_failed(peer) {
                continue;
            }
            self.committed = index;
            // In the middle of a change two majorities count, and this cannot tell them apart.
            let changes = |status: &Option<Status>| status.as_ref().is_none_or(|status| status.changing);
            let Some(term) = world.written(peer).and_then(|contents| contents.term(index)) else { continue };
            let voters: Vec<Peer> = Views::voters(status).collect();
            let before = views.before[peer.index()].as_ref().map(|before| before.voters.len());
            if changes(&views.before[peer.index()]) || status.changing || before != Some(voters.len()) {
                continue;
            }
            let has =
                |contents: &Contents| contents.term(index) == Some(term) || contents.applied().index >= index;
            let having = voters.iter().filter(|&&voter| {
                // What had been on a disk before that was damaged did count.
                views.broken.contains(&voter)
                    || world.durable(voter).is_some_and(|contents| !contents.is_whole() || has(contents))
            });
            let having = having.count();
            if having <= voters.len() / 2 {
                return Err(format!(
                    "server {peer} takes entry {index} for committed, and {having} of {} voters have it on their disks",
                    voters.len()
                ));
            }
        }
        Ok(())
    }
}
