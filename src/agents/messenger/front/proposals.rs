//! What was proposed and is not settled: who waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::{Command, Place, Record, UserId};
use crate::agent::Conn;
use crate::time::Time;

/// Proposals of this server, by their numbers.
#[derive(Debug)]
pub(super) struct Proposals {
    life: u64,
    /// The number of the first in `waiting`.
    first: u64,
    waiting: VecDeque<Option<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    since: Time,
    who: Waiter,
}

/// Who waits for a proposal.
#[derive(Debug)]
pub(in super::super) enum Waiter {
    /// A client, which is answered.
    Client(Conn, Asked),
    /// Nobody; but these marks are to be proposed again if this comes to nothing.
    Marks(Vec<(UserId, Place)>),
    /// Whatever pulls from other clusters, under its own number.
    Clusters(u64),
    /// Nobody; but if it comes to nothing, the leader proposes it again, if it is still wanted.
    Settings,
}

/// What a client has asked for and is answered.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Asked {
    /// How the client calls it.
    pub id: i64,
    /// What follows.
    pub then: Then,
}

/// What follows when a proposal is committed.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Then {
    /// The answer.
    Answer,
    /// A message: the answer says where it stands.
    Posted,
    /// A numbered message that is turned down: the answer says why.
    TurnedDown,
    /// A registration: its client is logged in.
    LogIn(Box<crate::wire::proto::Login>),
    /// A registration of a client that says nothing of how it logs in.
    LogInPlainly,
}

impl Proposals {
    /// None yet. `life` is at random: another one in each run of each server.
    pub(super) fn new(life: u64) -> Self {
        Self { life, first: 1, waiting: VecDeque::new() }
    }

    /// Numbers a proposal; its record.
    pub(super) fn add(&mut self, now: Time, at_ms: u64, command: Command, who: Waiter) -> Vec<u8> {
        let number = self.first + self.waiting.len() as u64;
        self.waiting.push_back(Some(Waiting { since: now, who }));
        Record { life: self.life, number, at_ms, command }.encode()
    }

    /// A record is settled: who has waited for it, if it is one of ours.
    pub(super) fn settle(&mut self, life: u64, number: u64) -> Option<Waiter> {
        if life != self.life {
            return None;
        }
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiting = self.waiting.get_mut(at)?.take()?;
        self.skip_settled();
        Some(waiting.who)
    }

    /// One that has waited for too long.
    pub(super) fn expired(&mut self, now: Time) -> Option<Waiter> {
        let waiting = self.waiting.front_mut()?.take_if(|waiting| waiting.since + PATIENCE <= now)?;
        self.skip_settled();
        Some(waiting.who)
    }

    /// When the first of them will have waited for too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        Some(self.waiting.front()?.as_ref()?.since + PATIENCE)
    }

    /// Nobody waits any more.
    pub(super) fn forget(&mut self) {
        self.first += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The first entry, if there is one, is one that waits.
    fn skip_settled(&mut self) {
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

/// How long the log may take, before a client is told that nobody knows.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(5);
