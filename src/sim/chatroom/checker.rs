//! What must hold of the logs, whatever goes wrong. Fed with what happened, in order, and with what each log says; looks at what is new only.
//!
//! **Words.** A *life* is one incarnation of a server. Within a life its broadcasts are numbered in the order in which it read them. An *epoch*
//! is the time during which a server holds one connection as its link to a peer; the broadcasts that it reads in that time belong to the
//! epoch, for that peer.
//!
//! **What must hold.**
//! - *own*: when a server has handled a read, each broadcast in it is in its log, once, in order.
//! - *grow*: a log is what it was before, and perhaps more behind it.
//! - *forged*: each message of a log was broadcast, and its broadcaster has it in its own log.
//! - *once*: no log has a message twice.
//! - *fifo*: in every log, the broadcasts of one life are in their order.
//! - *gap*: of each epoch, the peer's log has a run without gaps from its beginning: nothing is lost before the link is. A broadcast that belongs to
//!   no epoch, since there was no link, is in no log of that peer's.
//! - *answer*: a master's answers come in the order of its commands; `get` tells the log as it was after the command was read or
//!   later, `alive` ascending ids, the server's own among them.
//!
//! What is lost behind the break of a link, and between the lives of a server, may be lost: a restarted server begins with an empty log.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// One incarnation of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) server: u16,
    pub(super) incarnation: u32,
}

/// What is wrong: which rule, and how.
pub(super) type Wrong = (&'static str, String);

/// A broadcast: whose, and its number in that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    life: Life,
    number: usize,
}

/// The log of one life, as far as it was looked at.
#[derive(Debug, Default)]
struct Log {
    /// As `get` tells it, without the first word.
    text: Vec<u8>,
    /// Of each life, which of its broadcasts are here.
    heard: BTreeMap<Life, Vec<bool>>,
    /// The broadcasts that this server was handed.
    handed: Vec<Bytes>,
    /// How many of them are in its log.
    logged: usize,
    /// How many messages of others are.
    delivered: u64,
}

/// One link of one life to another, from its own side.
#[derive(Debug)]
struct EpochOfLink {
    connection: u64,
    /// The number of the first broadcast that belongs to it.
    from: usize,
    /// The number of the first one that does not any more.
    to: Option<usize>,
    /// How many have arrived.
    arrived: usize,
}

/// What a master was not answered yet.
#[derive(Clone, Copy, Debug)]
enum Owed {
    /// The log, which had this many bytes when the command was read.
    Get {
        bytes: usize,
    },
    Alive,
}

/// Everything that the rules need to remember.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Whether messages go from their broadcaster to each server over a link of these two.
    complete: bool,
    /// The latest life of each server.
    lives: BTreeMap<u16, Life>,
    logs: BTreeMap<Life, Log>,
    broadcasts: BTreeMap<Bytes, Origin>,
    /// By who sends and who receives.
    epochs: BTreeMap<(Life, Life), Vec<EpochOfLink>>,
    owed: BTreeMap<u64, VecDeque<Owed>>,
}

impl Checker {
    /// A checker for servers with links to all others, or to some only.
    pub(super) fn new(complete: bool) -> Self {
        Self { complete, ..Self::default() }
    }

    /// A server begins, with an empty log.
    pub(super) fn started(&mut self, life: Life) {
        self.lives.insert(life.server, life);
        self.logs.insert(life, Log::default());
    }

    /// A server is gone. What it was handed last it may have sent without anybody's having looked at its log.
    pub(super) fn crashed(&mut self, server: u16) {
        if let Some(log) = self.lives.get(&server).and_then(|life| self.logs.get_mut(life)) {
            log.logged = log.handed.len();
        }
    }

    /// A server took a connection as its link to a peer.
    pub(super) fn up(&mut self, server: u16, peer: Life, connection: u64) {
        let life = self.lives[&server];
        let from = self.logs.get(&life).map_or(0, |log| log.handed.len());
        let epoch = EpochOfLink { connection, from, to: None, arrived: 0 };
        self.epochs.entry((life, peer)).or_default().push(epoch);
    }

    /// It does not hold it any more.
    pub(super) fn down(&mut self, server: u16, peer: u16, connection: u64) {
        let life = self.lives[&server];
        let to = self.logs.get(&life).map(|log| log.handed.len());
        let (first, last) =
            (Life { server: peer, incarnation: 0 }, Life { server: peer, incarnation: u32::MAX });
        let epochs = self.epochs.range_mut((life, first)..=(life, last)).flat_map(|(_, epochs)| epochs);
        for epoch in epochs.filter(|epoch| epoch.connection == connection && epoch.to.is_none()) {
            epoch.to = to;
        }
    }

    /// A server was handed a line of a master.
    pub(super) fn command(&mut self, server: u16, connection: u64, words: &Bytes) {
        let life = self.lives[&server];
        let Some(log) = self.logs.get_mut(&life) else { return };
        let mut owe = |owed| self.owed.entry(connection).or_default().push_back(owed);
        if words.starts_with(b"broadcast ") {
            let message = words.slice(b"broadcast ".len()..);
            self.broadcasts.insert(message.clone(), Origin { life, number: log.handed.len() });
            log.handed.push(message);
        } else if words == &b"get"[..] {
            owe(Owed::Get { bytes: log.text.len() });
        } else if words == &b"alive"[..] {
            owe(Owed::Alive);
        }
    }

    /// What the log of a life says now, as parts of the answer to `get`. `settled` says that every broadcast it was handed should be in it.
    pub(super) fn log(&mut self, life: Life, answer: &[Bytes], settled: bool) -> Result<(), Wrong> {
        let log = self.logs.get_mut(&life).expect("it has begun");
        for message in log.grow(answer)? {
            self.appended(life, &message)?;
        }
        let log = &self.logs[&life];
        if settled && let Some(missing) = log.handed.get(log.logged) {
            return Err(("own", format!("{life} has read broadcast {missing:?} and has not logged it")));
        }
        Ok(())
    }

    /// A master was answered.
    pub(super) fn answered(
        &mut self,
        life: Life,
        connection: u64,
        n: u16,
        words: &[u8],
    ) -> Result<(), Wrong> {
        let shown = String::from_utf8_lossy(&words[..words.len().min(200)]);
        let wrong = |why: &str| Err(("answer", format!("{life} answers {shown:?}: {why}")));
        let Some(owed) = self.owed.get_mut(&connection).and_then(VecDeque::pop_front) else {
            return wrong("nothing was asked");
        };
        match owed {
            Owed::Get { bytes } => {
                let (known, Some(told)) = (&self.logs[&life].text, words.strip_prefix(b"messages ")) else {
                    return wrong("the log was asked for");
                };
                if !known.starts_with(told) || told.len() < bytes {
                    return wrong("that is not its log");
                }
            }
            Owed::Alive => {
                let Some(ids) = alive_ids(words) else { return wrong("who is alive was asked for") };
                if !ids.is_sorted_by(|one, next| one < next) || ids.iter().any(|id| *id >= n) {
                    return wrong("not ascending ids of servers");
                }
                if !ids.contains(&life.server) {
                    return wrong("it does not count itself");
                }
            }
        }
        Ok(())
    }

    /// Whether `message` is in the log of a life.
    pub(super) fn has(&self, life: Life, message: &[u8]) -> bool {
        let Some((origin, log)) = self.broadcasts.get(message).zip(self.logs.get(&life)) else {
            return false;
        };
        let heard = log.heard.get(&origin.life).and_then(|heard| heard.get(origin.number));
        heard.copied().unwrap_or(false)
    }

    /// How many messages came into logs from other servers.
    pub(super) fn delivered(&self) -> u64 {
        self.logs.values().map(|log| log.delivered).sum()
    }

    /// How many bytes the log of a life has.
    pub(super) fn log_bytes(&self, life: Life) -> usize {
        self.logs.get(&life).map_or(0, |log| log.text.len())
    }

    fn appended(&mut self, life: Life, message: &[u8]) -> Result<(), Wrong> {
        let shown = String::from_utf8_lossy(message);
        let Some(Origin { life: sender, number }) = self.broadcasts.get(message).copied() else {
            return Err(("forged", format!("{life} has {shown:?}, which nobody broadcast")));
        };
        if sender != life && self.logs[&sender].logged <= number {
            return Err(("forged", format!("{life} has {shown:?}, which {sender} itself has not logged")));
        }
        let log = self.logs.get_mut(&life).expect("it has begun");
        let heard = log.heard.entry(sender).or_default();
        if heard.get(number).is_some_and(|heard| *heard) {
            return Err(("once", format!("{life} has {shown:?} twice")));
        }
        if heard.len() > number {
            return Err((
                "fifo",
                format!("{life} has {shown:?}, number {number} of {sender}, behind later ones"),
            ));
        }
        if sender == life {
            if log.logged != number {
                return Err(("own", format!("{life} logs {shown:?} before broadcasts that it read earlier")));
            }
            log.logged += 1;
        } else {
            log.delivered += 1;
        }
        heard.resize(number + 1, false);
        heard[number] = true;
        if sender == life || !self.complete { Ok(()) } else { self.arrived(sender, life, number, &shown) }
    }

    /// A broadcast arrived at another server.
    fn arrived(&mut self, sender: Life, receiver: Life, number: usize, shown: &str) -> Result<(), Wrong> {
        let epochs = self.epochs.get_mut(&(sender, receiver)).map_or(&mut [][..], |epochs| &mut epochs[..]);
        let belongs =
            |epoch: &&mut EpochOfLink| epoch.from <= number && epoch.to.is_none_or(|to| number < to);
        let Some(epoch) = epochs.iter_mut().rev().find(belongs) else {
            let what =
                format!("{receiver} has {shown:?}, but {sender} had no link to it when it broadcast that");
            return Err(("gap", what));
        };
        let expected = epoch.from + epoch.arrived;
        if expected != number {
            let what = format!(
                "{receiver} has {shown:?}, number {number} of {sender}, but of link c{} the next was {expected}",
                epoch.connection
            );
            return Err(("gap", what));
        }
        epoch.arrived += 1;
        Ok(())
    }
}

impl Log {
    /// Takes in what the log says now; what is new.
    fn grow(&mut self, answer: &[Bytes]) -> Result<Vec<Vec<u8>>, Wrong> {
        let mut known = &self.text[..];
        let mut more = Vec::new();
        let mut word = &b"messages "[..];
        for part in answer {
            let mut part = &part[..];
            for expected in [&mut word, &mut known] {
                let common = expected.len().min(part.len());
                if expected[..common] != part[..common] {
                    return Err(("grow", "a log lacks what it had, or an answer is none".to_owned()));
                }
                *expected = &expected[common..];
                part = &part[common..];
            }
            more.extend_from_slice(part);
        }
        if !known.is_empty() || more.pop() != Some(b'\n') {
            return Err(("grow", "a log lacks what it had, or an answer is none".to_owned()));
        }
        let separated = if self.text.is_empty() { Some(&more[..]) } else { more.strip_prefix(b",") };
        let new = match separated {
            Some(new) if !new.is_empty() => new.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
            _ if more.is_empty() => Vec::new(),
            _ => return Err(("grow", "the last message of a log has changed".to_owned())),
        };
        self.text.extend_from_slice(&more);
        Ok(new)
    }
}

/// The ids that an answer to `alive` tells; nothing if it is none.
pub(super) fn alive_ids(answer: &[u8]) -> Option<Vec<u16>> {
    let ids = std::str::from_utf8(answer.strip_prefix(b"alive ")?).ok()?;
    ids.split(',').map(|id| id.parse().ok()).collect()
}

impl std::fmt::Display for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server {} (life {})", self.server, self.incarnation)
    }
}
