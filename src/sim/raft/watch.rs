//! What stands where in each server, looked up once after each event for all checkers; and what holds of one server alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Node;
use super::ledger::{Feed, Handed};
use crate::agent::{Peer, Write};
use crate::agents::replicated::{MemberId, ReplicatedLog, Standing, Status};
use crate::sim::{Checker, Contents, World};

/// What the checkers see.
#[derive(Default)]
pub(super) struct Views {
    /// What stands where; `None` of a server that is down.
    pub(super) now: Vec<Option<Status>>,
    /// What stood there before the last event; of those that it touched.
    pub(super) before: Vec<Option<Status>>,
    /// The servers that the last event touched, each once.
    pub(super) touched: Vec<Peer>,
    /// What ledgers were handed by it.
    pub(super) handed: Vec<Handed>,
    /// The servers whose disk was damaged or has failed, and which are not as good as the others again.
    pub(super) broken: BTreeSet<Peer>,
}

pub(super) type Shared = Rc<RefCell<Views>>;

impl Views {
    /// Who leads in the greatest term, as far as anybody does.
    pub(super) fn leader(&self) -> Option<(Peer, &Status)> {
        let leaders =
            (0u32..).map(Peer).zip(&self.now).filter_map(|(peer, status)| Some((peer, status.as_ref()?)));
        leaders
            .filter(|(_, status)| status.standing == Standing::Leader)
            .max_by_key(|(_, status)| status.term)
    }

    /// The server whose member this is.
    pub(super) fn peer_of(name: &str) -> Option<Peer> {
        name.strip_prefix('s')?.parse().ok()
    }

    /// The voters as servers.
    pub(super) fn voters(status: &Status) -> impl Iterator<Item = Peer> {
        status.voters.iter().filter_map(|(_, name)| Self::peer_of(name))
    }
}

/// Looks up what stands where. It comes first among the checkers.
pub(super) struct Watch {
    views: Shared,
    feed: Feed,
}

impl Watch {
    pub(super) fn new(views: Shared, feed: Feed) -> Self {
        Self { views, feed }
    }
}

impl Checker<Node> for Watch {
    fn name(&self) -> &'static str {
        "sane"
    }

    fn check(&mut self, world: &World<Node>) -> Result<(), String> {
        let mut views = self.views.borrow_mut();
        let views = &mut *views;
        views.handed = std::mem::take(&mut self.feed.borrow_mut());
        views.touched.clear();
        let servers = world.peers().count();
        views.now.resize_with(servers, || None);
        views.before.resize_with(servers, || None);
        let happened = world.happened();
        for &peer in &happened.touched {
            if !views.touched.contains(&peer) {
                views.touched.push(peer);
                let status = world.agent(peer).map(|node| node.log().status());
                views.before[peer.index()] = std::mem::replace(&mut views.now[peer.index()], status);
            }
        }
        for &peer in &happened.crashed {
            // What was known of the life before is no measure for the next one.
            views.before[peer.index()] = None;
        }
        for place in 0..views.touched.len() {
            let peer = views.touched[place];
            let whole = world.durable(peer).is_some_and(Contents::is_whole) && !world.has_failed(peer);
            let standing = views.now[peer.index()].as_ref().map(|status| status.standing);
            if !whole {
                views.broken.insert(peer);
            } else if standing.is_some_and(|standing| standing != Standing::Repairing)
                && world.is_synced(peer)
            {
                // That it is repaired is on its disk, too: a crash does not undo it.
                views.broken.remove(&peer);
            }
            let (Some(before), Some(now)) = (&views.before[peer.index()], &views.now[peer.index()]) else {
                continue;
            };
            sane(before, now)
                .map_err(|what| format!("server {peer}: {what}: {now:?}, before: {before:?}"))?;
        }
        for (peer, write) in &happened.written {
            let committed = views.before[peer.index()].as_ref().map(|status| status.committed);
            if let (Write::Truncate { from }, Some(committed)) = (write, committed)
                && *from <= committed
                && world.is_alive(*peer)
                && !views.broken.contains(peer)
            {
                return Err(format!("server {peer} cuts entry {from} off, and {committed} is committed"));
            }
        }
        Ok(())
    }
}

/// What holds of one server in one life.
fn sane(before: &Status, now: &Status) -> Result<(), &'static str> {
    if now.term < before.term {
        return Err("its term fell");
    }
    if now.committed < before.committed {
        return Err("it has forgotten that something was committed");
    }
    if now.applied < before.applied || now.records < before.records {
        return Err("it has taken back what it had handed over");
    }
    if now.applied > now.committed || now.kept > now.applied || now.stored > now.last {
        return Err("its indexes are out of order");
    }
    if now.standing == Standing::Leader && before.standing == Standing::Leader && now.term != before.term {
        return Err("it leads in two terms without an election");
    }
    Ok(())
}

/// In each term at most one server leads (Raft, section 5.2, election safety).
pub(super) struct OneLeader {
    views: Shared,
    members: Rc<[MemberId]>,
    leaders: BTreeMap<u64, MemberId>,
}

impl OneLeader {
    pub(super) fn new(views: Shared, members: Rc<[MemberId]>) -> Self {
        Self { views, members, leaders: BTreeMap::new() }
    }
}

impl Checker<Node> for OneLeader {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn check(&mut self, _: &World<Node>) -> Result<(), String> {
        let views = self.views.borrow();
        for &peer in &views.touched {
            let Some(status) = &views.now[peer.index()] else { continue };
            let leads = status.standing == Standing::Leader;
            let Some(leader) = (if leads { Some(self.members[peer.index()]) } else { status.leader }) else {
                continue;
            };
            let first = *self.leaders.entry(status.term.0).or_insert(leader);
            if first != leader {
                return Err(format!("members {first} and {leader} both lead in term {}", status.term));
            }
        }
        Ok(())
    }
}
