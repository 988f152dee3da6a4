//! Those who drive the servers: one master that stays with each life of a server, and guests who come, say something, and go.

use std::collections::BTreeMap;

use super::checker::Life;
use crate::rng::{Probability, Rng};
use crate::server::Door;
use crate::sim::servers::{ServerWorld, Visitor};

/// Of commands that are not asked by the master who stays: how many.
const BY_GUESTS: Probability = Probability::percent(8);
/// How many guests are there at a time, in the whole world; a further one makes the first go.
const GUESTS_MAX: usize = 4;
/// A longer log is not asked for, and none again before it was told: answers that a master has not read would hold its next commands
/// back, and the checker takes a command that was read for one that was carried out.
const ASKED_LOG_BYTES_MAX: usize = 60 * 1024;

/// A connection of a master.
#[derive(Debug)]
struct Conversation {
    life: Life,
    unfinished: Vec<u8>,
    /// Asked for the log, and not told yet.
    awaits_log: bool,
}

/// All masters.
#[derive(Debug, Default)]
pub(super) struct Masters {
    conversations: BTreeMap<Visitor, Conversation>,
    /// Who stays with each server.
    staying: BTreeMap<u16, Visitor>,
    /// In the order in which they came.
    guests: Vec<Visitor>,
    /// How many broadcasts were sent to each life.
    sent: BTreeMap<Life, u64>,
}

impl Masters {
    /// A server has started; somebody stays with it.
    pub(super) fn started(&mut self, world: &mut ServerWorld, life: Life) {
        let visitor = self.connect(world, life);
        self.staying.insert(life.server, visitor);
    }

    /// A server is gone, and so are its masters.
    pub(super) fn crashed(&mut self, id: u16) {
        self.staying.remove(&id);
        self.conversations.retain(|_, conversation| conversation.life.server != id);
        self.guests.retain(|guest| self.conversations.contains_key(guest));
    }

    /// A step: somebody tells a server something, or asks it. `log_bytes` is how long the log of each life is.
    pub(super) fn act(&mut self, world: &mut ServerWorld, rng: &mut Rng, log_bytes: impl Fn(Life) -> usize) {
        let staying: Vec<Visitor> = self.staying.values().copied().collect();
        let Some(mut visitor) = rng.pick(&staying).copied() else { return };
        let life = self.conversations[&visitor].life;
        if rng.chance(BY_GUESTS) {
            if self.guests.len() == GUESTS_MAX {
                let first = self.guests.remove(0);
                self.conversations.remove(&first);
                world.hang_up(first);
            }
            visitor = self.connect(world, life);
            self.guests.push(visitor);
        }
        match rng.below(100) {
            0..75 => {
                let lines: String = (0..rng.between(1..=4)).map(|_| self.broadcast(life, rng)).collect();
                world.send(visitor, lines.as_bytes());
            }
            75..83 => {
                let conversation = self.conversations.get_mut(&visitor).expect("connected");
                let too_long = log_bytes(life) > ASKED_LOG_BYTES_MAX;
                if !too_long && !std::mem::replace(&mut conversation.awaits_log, true) {
                    world.send(visitor, b"get\n");
                }
            }
            83..91 => world.send(visitor, b"alive\n"),
            _ => {}
        }
    }

    /// The master who stays with server `id` tells it to crash.
    pub(super) fn crash(&mut self, world: &mut ServerWorld, id: u16) {
        if let Some(visitor) = self.staying.get(&id) {
            world.send(*visitor, b"crash\n");
        }
    }

    /// Everybody broadcasts something, at the same time; what.
    pub(super) fn broadcast_everywhere(&mut self, world: &mut ServerWorld, rng: &mut Rng) -> Vec<Vec<u8>> {
        let staying: Vec<(u16, Visitor)> = self.staying.iter().map(|(id, visitor)| (*id, *visitor)).collect();
        let mut messages = Vec::new();
        for (_, visitor) in staying {
            let line = self.broadcast(self.conversations[&visitor].life, rng);
            world.send(visitor, line.as_bytes());
            messages.push(line.trim_end().as_bytes()[b"broadcast ".len()..].to_vec());
        }
        messages
    }

    /// Reads what has come; the answers that are whole, with who gave them and on which connection.
    pub(super) fn read(&mut self, world: &mut ServerWorld) -> Vec<(Life, u64, Vec<u8>)> {
        let mut answers = Vec::new();
        for visitor in world.take_visited() {
            let Some(conversation) = self.conversations.get_mut(&visitor) else { continue };
            conversation.unfinished.extend(world.take(visitor));
            let whole =
                conversation.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines: Vec<u8> = conversation.unfinished.drain(..whole).collect();
            conversation.awaits_log &=
                !lines.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"messages "));
            let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            answers.extend(lines.map(|line| (conversation.life, visitor.connection(), line.to_vec())));
        }
        answers
    }

    /// Whether server `id` reads every master's commands now.
    pub(super) fn are_read(&self, world: &ServerWorld, id: u16) -> bool {
        let of_server = self.conversations.iter().filter(|(_, conversation)| conversation.life.server == id);
        of_server.into_iter().all(|(visitor, _)| world.reads_master(id, *visitor))
    }

    fn connect(&mut self, world: &mut ServerWorld, life: Life) -> Visitor {
        let visitor = world.connect(life.server, Door::Masters);
        self.conversations.insert(visitor, Conversation { life, unfinished: Vec::new(), awaits_log: false });
        visitor
    }

    /// A broadcast that was never sent before, as a line. Mostly short; some are longer than what streams hold.
    fn broadcast(&mut self, life: Life, rng: &mut Rng) -> String {
        let sent = self.sent.entry(life).or_default();
        *sent += 1;
        let filling = match rng.below(20) {
            0 => rng.index(700),
            _ => rng.index(8),
        };
        format!("broadcast {}.{}.{sent}{}\n", life.server, life.incarnation, "-".repeat(filling))
    }
}
