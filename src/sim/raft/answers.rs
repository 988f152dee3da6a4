//! What holds of what services were handed, and of what users were told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::ledger::{Handed, Origin, latest_of};
use super::watch::{Shared, Views};
use super::{Node, USER_LAST};
use crate::agent::{Index, Peer, Request};
use crate::agents::replicated::Standing;
use crate::sim::{Checker, World};

/// All services are handed the same records in the same order, without gaps (state machine safety); each proposal once, those of one life in
/// their order.
pub(super) struct SameRecords {
    views: Shared,
    records: Chosen,
    /// The last record that each server was handed.
    last: BTreeMap<Peer, Index>,
    /// The number of the last proposal of each life.
    numbers: BTreeMap<(Peer, u64), u64>,
}

/// All records that were ever handed over, the first one first.
pub(super) type Chosen = Rc<RefCell<Vec<Bytes>>>;

impl SameRecords {
    pub(super) fn new(views: Shared, records: Chosen) -> Self {
        Self { views, records, last: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    fn record(&mut self, to: Peer, index: Index, record: &Bytes) -> Result<(), String> {
        let last = self.last.insert(to, index).unwrap_or_default();
        if index.0 != last.0 + 1 {
            return Err(format!("server {to} hands over record {index} after record {last}"));
        }
        let mut records = self.records.borrow_mut();
        let place = usize::try_from(last.0).expect("a place");
        if let Some(known) = records.get(place) {
            if known != record {
                return Err(format!("record {index} is {known:?}, and {record:?} on server {to}"));
            }
            return Ok(());
        }
        if place > records.len() {
            return Err(format!(
                "server {to} hands over record {index}, and nobody has seen record {}",
                records.len() + 1
            ));
        }
        records.push(record.clone());
        let Some(Origin { peer, life, number }) = Origin::of(record) else {
            return Err(format!("record {index} is {record:?}, which nobody has proposed"));
        };
        let before = self.numbers.insert((peer, life), number).unwrap_or_default();
        if number <= before {
            return Err(format!(
                "record {index} is proposal {number} of server {peer}, after its proposal {before}"
            ));
        }
        Ok(())
    }

    fn state(&mut self, to: Peer, last: Index, counted: Index, latest: &[Bytes]) -> Result<(), String> {
        self.last.insert(to, last);
        let records = self.records.borrow();
        if counted != last {
            return Err(format!("server {to} goes on behind record {last} with rows of record {counted}"));
        }
        for (index, record) in latest_of(last).zip(latest) {
            let known = usize::try_from(index).ok().and_then(|index| records.get(index - 1));
            if known != Some(record) {
                return Err(format!("server {to} restores {record:?} as record {index}, which is {known:?}"));
            }
        }
        Ok(())
    }
}

impl Checker<Node> for SameRecords {
    fn name(&self) -> &'static str {
        "same records"
    }

    fn check(&mut self, _: &World<Node>) -> Result<(), String> {
        let views = Rc::clone(&self.views);
        let views = views.borrow();
        for handed in &views.handed {
            match handed {
                Handed::Nothing { to } => drop(self.last.remove(to)),
                Handed::Record { to, index, record } => self.record(*to, *index, record)?,
                Handed::State { to, last, counted, latest } => self.state(*to, *last, *counted, latest)?,
            }
        }
        Ok(())
    }
}

/// What users were told holds: a record that was acknowledged is in the log where they were told, and stays; and whatever was answered before
/// somebody asked is seen by his answer (linearizability, with the log as the order that explains it).
pub(super) struct Acknowledged {
    records: Chosen,
    /// What was asked: how far the log had come, for all that users know, and whether it was one of the last questions.
    open: BTreeMap<(Peer, Request), Asked>,
    /// The greatest index in any answer.
    seen: Index,
    views: Shared,
}

struct Asked {
    line: String,
    seen: Index,
    last: bool,
}

impl Acknowledged {
    pub(super) fn new(views: Shared, records: Chosen) -> Self {
        Self { records, open: BTreeMap::new(), seen: Index(0), views }
    }

    fn answered(&mut self, from: Peer, asked: &Asked, answer: &str) -> Result<(), String> {
        let Asked { line, seen, last } = asked;
        let (verb, number) = answer.split_once(' ').unwrap_or((answer, ""));
        let number = number.parse().unwrap_or(0);
        match (line.as_str(), verb) {
            ("append", "ok") => {
                let records = self.records.borrow();
                let record =
                    usize::try_from(number).ok().and_then(|place| records.get(place.checked_sub(1)?));
                if record.and_then(|record| Origin::of(record)).is_none_or(|origin| origin.peer != from) {
                    return Err(format!(
                        "server {from} was told that its record is number {number}, which is {record:?}"
                    ));
                }
                if number <= seen.0 {
                    return Err(format!("record {number} was proposed when record {seen} had been seen"));
                }
            }
            ("count", "count") if number < seen.0 => {
                return Err(format!(
                    "server {from} counts {number} records, and {seen} had been seen when it was asked"
                ));
            }
            ("count", "count") => {}
            // It reads its rows, for some milliseconds; or it got them from the leader, with what was proposed among it.
            _ if answer.starts_with("error restoring") || answer.contains("unknown") => return Ok(()),
            _ if *last => {
                return Err(format!("all is well, and {line:?} of server {from} is answered by {answer:?}"));
            }
            _ => return Ok(()),
        }
        self.seen = self.seen.max(Index(number));
        Ok(())
    }
}

impl Checker<Node> for Acknowledged {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn check(&mut self, world: &World<Node>) -> Result<(), String> {
        let happened = world.happened();
        for told in &happened.told {
            if let Some(request) = told.request {
                let (line, seen, last) = (told.line.clone(), self.seen, told.session == USER_LAST);
                self.open.insert((told.to, request), Asked { line, seen, last });
            }
        }
        for answer in &happened.answers {
            let Some(asked) = self.open.remove(&(answer.from, answer.to)) else {
                return Err(format!(
                    "server {} answers {:?} to nothing that was asked",
                    answer.from, answer.line
                ));
            };
            self.answered(answer.from, &asked, &answer.line)?;
        }
        for &crashed in &happened.crashed {
            self.open.retain(|&(peer, _), _| peer != crashed);
        }
        Ok(())
    }

    fn settled(&mut self, _: &World<Node>) -> Result<(), String> {
        let views = self.views.borrow();
        let Some((_, leader)) = views.leader() else { return Err("nobody leads".to_owned()) };
        let voters: Vec<Peer> = Views::voters(leader).collect();
        // A change may wait for longer: its new members have to catch up, or do not.
        let due = |asked: &Asked| !asked.line.starts_with("log ");
        let open = self.open.iter().find(|((peer, _), asked)| voters.contains(peer) && due(asked));
        match open {
            None => Ok(()),
            Some(((peer, _), Asked { line, .. })) => Err(format!("server {peer} has no answer to {line:?}")),
        }
    }
}

/// Once all is well somebody leads, and all who vote have everything.
pub(super) struct Progress {
    views: Shared,
    records: Chosen,
}

impl Progress {
    pub(super) fn new(views: Shared, records: Chosen) -> Self {
        Self { views, records }
    }
}

impl Checker<Node> for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn settled(&mut self, _: &World<Node>) -> Result<(), String> {
        let views = self.views.borrow();
        let Some((leading, leader)) = views.leader() else {
            return Err(format!("nobody leads: {:?}", views.now));
        };
        let records = self.records.borrow().len() as u64;
        for voter in Views::voters(leader) {
            let Some(status) = &views.now[voter.index()] else { continue };
            let behind = status.applied < leader.committed || status.records.0 < records;
            if behind || status.standing == Standing::Repairing {
                return Err(format!(
                    "server {voter} is behind {records} records and server {leading}, {leader:?}: {status:?}"
                ));
            }
        }
        Ok(())
    }
}
