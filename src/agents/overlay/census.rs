//! Who is alive, as each server knows it.
//!
//! **Problem.** On an overlay a server has links to a few others only, and is to know of all whether they live.
//!
//! **State.** A table: number of a server, its life (*incarnation*), how it is, and when that was heard. Who the neighbours say they are.
//!
//! **Messages.** *Entries* of the table between neighbours, the sender's own first: the whole table when a link comes up, and what has changed, which
//! everybody passes on to all other neighbours when it is news to him. The *refresh*: each server broadcasts every now and then that it is alive, and when
//! it will do so again: the more servers there are, the later, so that nobody hears more than fifty a second, however many there are.
//!
//! **Invariants.**
//! - Of two entries for a server that of the later life holds; in one life, that it is dead or has left holds against that it is alive. So the order in
//!   which entries arrive does not matter (SWIM: Das, Gupta and Motivala, DSN 2002, Section 4.2).
//! - Whoever loses a neighbour, and was not told good-bye, says that this life of it is over. Who is told so of himself goes on to a later one and
//!   says that.
//! - *The bound on staleness.* Who crashes is dead for everybody as soon as one neighbour has noticed (at once if the link is reset, after three
//!   keep-alive periods if not) and its entry has spread. Whoever has nobody left to say so, since all its neighbours crashed with it, or is not connected any
//!   more, as in a partition, is taken for dead when nothing was heard of it for three of its refreshes, and at most a quarter of the shortest one
//!   later. Entries carry their age, so that passing them on does not make them younger.
//! - Everybody is waited for as long as it has said itself. So it does no harm that servers do not always agree on how many there are.
//!
//! Entries are small, so they flood: a change does not wait for a tree that the same crash has just broken, nor for a gap in somebody's stream.

mod entry;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::entry::{Entry, State};
use super::{Id, Reason};
use crate::agent::Why;
use crate::time::Time;

/// The table of one server.
#[derive(Debug)]
pub struct Census<I> {
    number: u16,
    /// How often it is said where there are few servers.
    refresh: Duration,
    servers: BTreeMap<u16, Server>,
    /// Which life of which server a neighbour is.
    neighbours: BTreeMap<I, Option<(u16, u64)>>,
    /// `None` until there was a neighbour.
    timers: Option<Timers>,
    /// How often this server was told of its own death.
    pub(super) refuted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Timers {
    refresh_at: Time,
    sweep_at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    incarnation: u64,
    state: State,
    heard: Time,
    /// How long after that it is heard again.
    refresh: Duration,
    /// It is alive as far as is known, but nothing was heard for too long.
    silent: bool,
    /// When its death was last repeated to the neighbours.
    repeated: Time,
}

impl<I: Id> Census<I> {
    /// The table of server `number` in this life. It says every `refresh` that it is alive, and more seldom where there are many servers.
    pub fn new(number: u16, incarnation: u64, refresh: Duration) -> Self {
        let own = Server::new(incarnation, State::Alive, Time::ZERO, refresh);
        let (servers, neighbours) = (BTreeMap::from([(number, own)]), BTreeMap::new());
        Self { number, refresh, servers, neighbours, timers: None, refuted: 0 }
    }

    /// How often this server says that it is alive: with as many servers as there are, all of them together at most fifty times a second.
    pub fn refresh(&self) -> Duration {
        let servers = u32::try_from(self.alive().count()).unwrap_or(u32::MAX);
        self.refresh.max(REFRESH_OF_EACH.saturating_mul(servers))
    }

    /// Who is alive as far as is known, this server among them unless it has left, ascending.
    pub fn alive(&self) -> impl Iterator<Item = u16> {
        let alive = self.servers.iter().filter(|(_, server)| server.is_alive());
        alive.map(|(number, _)| *number)
    }

    /// What is known of a server; `None` if that is nothing, or nothing any more.
    #[cfg(test)]
    fn entry(&self, now: Time, number: u16) -> Option<Entry> {
        let own = Some(self.own(now)).filter(|own| own.number == number);
        own.or_else(|| self.servers.get(&number).map(|server| server.entry(number, now)))
    }

    /// A neighbour more: what it is to be told besides who this server is.
    pub(super) fn link_up(&mut self, now: Time, peer: I) -> Vec<Entry> {
        self.neighbours.insert(peer, None);
        let own = self.own(now);
        if own.state == State::Left {
            // It has come back.
            self.set_own(now, State::Alive, own.incarnation.saturating_add(1));
        }
        let sweep = self.sweep_period();
        // Servers that have been started at once do not all speak at once.
        let refresh_at = now + self.refresh * self.spread() / SPREAD;
        self.timers.get_or_insert(Timers { refresh_at, sweep_at: now + sweep });
        // Who is silent is left out: others find that out by themselves, and hear it if they know better.
        let others = self.servers.iter().filter(|(number, server)| **number != self.number && !server.silent);
        others.map(|(number, server)| server.entry(*number, now)).collect()
    }

    /// A neighbour less: what the others are to be told.
    pub(super) fn link_down(&mut self, now: Time, peer: I, reason: Reason) -> Option<Entry> {
        let (number, incarnation) = self.neighbours.remove(&peer)??;
        let lost = match reason {
            // Removed is what this server's own configuration does, and a full queue is of somebody who is slow.
            Reason::Lost(Why::Removed | Why::QueueFull) | Reason::Demoted | Reason::Left => false,
            Reason::Lost(Why::Closed | Why::Broken | Why::Unreachable) | Reason::Silent => true,
        };
        let still = self.neighbours.values().flatten().any(|life| *life == (number, incarnation));
        let refresh = self.servers.get(&number).map_or(self.refresh, |server| server.refresh);
        let entry = Entry { number, incarnation, state: State::Dead, age: Duration::ZERO, refresh };
        (lost && !still && number != self.number && self.take(now, entry)).then_some(entry)
    }

    /// Entries of a neighbour, its own first: what the other neighbours are to be told, and whether all are to be told of this server's next life,
    /// the sender too.
    pub(super) fn received(&mut self, now: Time, from: I, entries: &[Entry]) -> (Vec<Entry>, bool) {
        if let (Some(own), Some(neighbour)) = (entries.first(), self.neighbours.get_mut(&from)) {
            *neighbour = Some((own.number, own.incarnation));
        }
        let mut refuted = false;
        let mut news = Vec::new();
        for entry in entries {
            if entry.number == self.number {
                refuted |= self.refute(now, entry);
            } else if self.take(now, *entry) {
                news.push(*entry);
            }
        }
        (news, refuted)
    }

    /// A server has broadcast that it is alive, and that it will do so again after `refresh`: what the neighbours are to be told, if it is dead here. It has to hear that.
    pub(super) fn refreshed(
        &mut self,
        now: Time,
        number: u16,
        incarnation: u64,
        refresh: Duration,
    ) -> Option<Entry> {
        if number == self.number {
            return None;
        }
        self.take(now, Entry { number, incarnation, state: State::Alive, age: Duration::ZERO, refresh });
        let server = self.servers.get_mut(&number)?;
        let contradicts = server.incarnation == incarnation && server.state == State::Dead;
        if !contradicts || now.since(server.repeated) < refresh {
            return None;
        }
        server.repeated = now;
        Some(server.entry(number, now))
    }

    /// Says good-bye, until the next link comes up. All neighbours are to be told.
    pub(super) fn leave(&mut self, now: Time) {
        self.set_own(now, State::Left, 0);
    }

    /// Forgets what is too old. Whether it is time to broadcast that this server is alive, and as which life.
    pub(super) fn timeout(&mut self, now: Time) -> Option<Entry> {
        let Timers { refresh_at, sweep_at } = self.timers?;
        if sweep_at <= now {
            self.sweep(now);
            self.timers = Some(Timers { refresh_at, sweep_at: now + self.sweep_period() });
        }
        if refresh_at > now {
            return None;
        }
        let (before, refresh) = (self.own(now).refresh, self.refresh());
        // Servers that have learned together that there are many do not go on together.
        let next = if refresh < before * 2 { refresh } else { refresh * self.spread() / SPREAD };
        self.timers.as_mut()?.refresh_at = now + next;
        self.servers.get_mut(&self.number)?.refresh = refresh;
        let own = self.own(now);
        (own.state == State::Alive && !self.neighbours.is_empty()).then_some(own)
    }

    /// When [`Census::timeout`] is wanted.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.map(|timers| timers.refresh_at.min(timers.sweep_at))
    }

    /// This server's own entry.
    pub(super) fn own(&self, now: Time) -> Entry {
        let own = self.servers.get(&self.number).expect("it is never forgotten");
        Entry { age: Duration::ZERO, ..own.entry(self.number, now) }
    }

    /// Takes an entry of another server; whether it is news for others too.
    fn take(&mut self, now: Time, entry: Entry) -> bool {
        let heard = now - entry.age;
        let refresh =
            entry.refresh.clamp(self.refresh, self.refresh.max(REFRESH_OF_EACH * u32::from(u16::MAX)));
        let too_old = now.since(heard) > silence_max(refresh);
        let Some(known) = self.servers.get_mut(&entry.number) else {
            if !too_old {
                let server = Server::new(entry.incarnation, entry.state, heard, refresh);
                self.servers.insert(entry.number, server);
            }
            return !too_old;
        };
        if entry.incarnation.saturating_sub(known.incarnation) > LIVES_MAX {
            return false;
        }
        let later = entry.incarnation > known.incarnation;
        let worse = entry.incarnation == known.incarnation && entry.state > known.state;
        if later || worse {
            // A death is news however old it is: whoever it is said of has to hear it.
            let silent = entry.state == State::Alive && too_old;
            let repeated = known.repeated;
            *known =
                Server { silent, repeated, ..Server::new(entry.incarnation, entry.state, heard, refresh) };
            return !silent;
        }
        if entry.incarnation == known.incarnation && entry.state == known.state && heard > known.heard {
            (known.heard, known.refresh) = (heard, refresh);
            let back = known.silent && !too_old;
            known.silent &= too_old;
            return back;
        }
        false
    }

    /// If others take this life for over, goes on to the next; whether it has.
    fn refute(&mut self, now: Time, entry: &Entry) -> bool {
        let own = self.own(now);
        let mine = (own.incarnation..=own.incarnation.saturating_add(LIVES_MAX)).contains(&entry.incarnation);
        let wrong = mine && entry.state != State::Alive && own.state == State::Alive;
        if wrong {
            self.refuted += 1;
            self.set_own(now, State::Alive, entry.incarnation.saturating_add(1));
        }
        wrong
    }

    fn set_own(&mut self, now: Time, state: State, incarnation_min: u64) {
        let Entry { incarnation, refresh, .. } = self.own(now);
        let incarnation = incarnation.max(incarnation_min);
        self.servers.insert(self.number, Server::new(incarnation, state, now, refresh));
    }

    fn sweep(&mut self, now: Time) {
        let own = self.number;
        self.servers.retain(|number, server| {
            let (silence, silence_max) = (now.since(server.heard), silence_max(server.refresh));
            server.silent = *number != own && server.state == State::Alive && silence > silence_max;
            *number == own || silence <= silence_max * 2
        });
    }

    /// After how many of the [`SPREAD`] parts of a period this server speaks.
    fn spread(&self) -> u32 {
        u32::from(self.number) % SPREAD + 1
    }

    fn sweep_period(&self) -> Duration {
        (self.refresh / 4).max(Duration::from_millis(1))
    }
}

/// Who says that often that it is alive, and was silent for longer, is taken for dead.
fn silence_max(refresh: Duration) -> Duration {
    refresh * 3
}

/// How long it is in the mean from the refresh of one server to that of the next: everybody hears all of them.
const REFRESH_OF_EACH: Duration = Duration::from_millis(20);

/// In so many parts of a period servers that would speak at once speak one after the other.
const SPREAD: u32 = 16;

/// A life that is by more later than the one that is known is not believed: nobody could ever contradict the last of all.
const LIVES_MAX: u64 = 1 << 40;

impl Server {
    fn new(incarnation: u64, state: State, heard: Time, refresh: Duration) -> Self {
        Self { incarnation, state, heard, refresh, silent: false, repeated: Time::ZERO }
    }

    fn is_alive(&self) -> bool {
        self.state == State::Alive && !self.silent
    }

    fn entry(&self, number: u16, now: Time) -> Entry {
        let Self { incarnation, state, heard, refresh, .. } = *self;
        Entry { number, incarnation, state, age: now.since(heard), refresh }
    }
}
