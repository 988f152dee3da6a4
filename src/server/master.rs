//! The masters: whoever drives this server, over TCP or standard input. Commands come in as lines, answers go out in the order
//! of the commands.
//!
//! **Invariants.** A master that leaves, stalls or sends rubbish harms nobody: what it has not read yet is bounded, since its
//! commands are not read while too much waits for it. `broadcast` never answers, not even an error, because a lab's master would
//! take that for the answer to its next command.

use std::collections::BTreeMap;

use bytes::Bytes;
use log::{info, warn};

use super::outputs::{Action, ConnId, Outputs};
use super::queue::OutQueue;
use crate::seldom;
use crate::time::Time;
use crate::wire::{Cut, LineCutter, is_utf8};

/// While more than this waits to be read by a master, its next command is not looked at.
const UNREAD_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How answers are told apart on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFraming {
    /// A newline ends each answer.
    #[default]
    Newline,
    /// The length in decimal and a dash stand before each answer, nothing behind it: `9-alive 0,1` (the lab's 2018 edition).
    Length,
}

/// What a master may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Answer with the log.
    Get,
    /// Answer with the ids of the servers that are alive.
    Alive,
    /// Put these bytes, UTF-8, into all logs; no answer.
    Broadcast(&'a [u8]),
    /// End at once; no answer.
    Crash,
    /// Answer with a line of JSON about this server.
    Status,
}

/// A line that is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Answered with `error ...`.
    Unknown,
    /// `broadcast` without a message or with bytes that are not UTF-8: dropped without an answer.
    Broadcast(&'static str),
}

impl<'a> Command<'a> {
    /// Reads one line, given without its newline.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let line = line.trim_ascii_start();
        if let Some(rest) = line.strip_prefix(b"broadcast") {
            match rest {
                [b' '] => return Err(CommandError::Broadcast("no message")),
                [b' ', message @ ..] if is_utf8(message) => return Ok(Self::Broadcast(message)),
                [b' ', ..] => return Err(CommandError::Broadcast("not UTF-8")),
                [first, ..] if first.is_ascii_whitespace() => {
                    return Err(CommandError::Broadcast("no blank after it"));
                }
                _ => {}
            }
        }
        match line.trim_ascii_end() {
            b"get" => Ok(Self::Get),
            b"alive" => Ok(Self::Alive),
            b"crash" => Ok(Self::Crash),
            b"status" => Ok(Self::Status),
            b"broadcast" => Err(CommandError::Broadcast("no message")),
            _ => Err(CommandError::Unknown),
        }
    }
}

/// One master.
#[derive(Debug)]
struct Master {
    cutter: LineCutter,
    queue: OutQueue,
    /// Bytes that were received but wait until the master has read its answers.
    held: Vec<u8>,
    /// It will send no more; it goes once it has been answered.
    ended: bool,
    /// Standard input has no connection that could be closed or pushed out.
    console: bool,
    last_heard: Time,
    bad_lines: u64,
}

/// All masters of one server.
#[derive(Debug)]
pub struct Masters {
    by_conn: BTreeMap<ConnId, Master>,
    framing: ReplyFraming,
    line_bytes_max: usize,
    count_max: usize,
    /// How many had to go because there were too many.
    pushed_out: u64,
}

/// The lines of one master that may be handled now, and the way to answer them.
pub struct Commands<'a> {
    conn: ConnId,
    rest: &'a [u8],
    utf8: bool,
    queue: &'a mut OutQueue,
    bad_lines: &'a mut u64,
    framing: ReplyFraming,
}

impl Masters {
    /// No masters yet, at most `count_max` at a time.
    pub fn new(framing: ReplyFraming, line_bytes_max: usize, count_max: usize) -> Self {
        Self { by_conn: BTreeMap::new(), framing, line_bytes_max, count_max, pushed_out: 0 }
    }

    /// Somebody connected. When there are too many, the one that has been quiet for longest has to go.
    pub fn accepted(&mut self, console: bool, now: Time, out: &mut Outputs) -> ConnId {
        if self.by_conn.len() >= self.count_max {
            let quietest = self
                .by_conn
                .iter()
                .filter(|(_, master)| !master.console)
                .min_by_key(|(conn, master)| (master.last_heard, **conn))
                .map(|(conn, master)| (*conn, now.since(master.last_heard)));
            if let Some((conn, quiet)) = quietest {
                if seldom::count(&mut self.pushed_out) {
                    let (quiet_ms, so_far) = (quiet.as_millis(), self.pushed_out);
                    warn!("master: too many, the quietest has to go quiet_ms={quiet_ms} so_far={so_far}");
                }
                self.by_conn.remove(&conn);
                out.act(Action::Close(conn));
            }
        }
        let conn = out.new_conn();
        let master = Master {
            cutter: LineCutter::new(self.line_bytes_max),
            queue: OutQueue::default(),
            held: Vec::new(),
            ended: false,
            console,
            last_heard: now,
            bad_lines: 0,
        };
        self.by_conn.insert(conn, master);
        conn
    }

    /// Bytes came in; the commands among them go to `handle`, a region of lines at a time.
    pub fn received(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Time,
        handle: &mut impl FnMut(&mut Commands<'_>),
    ) {
        let Some(master) = self.by_conn.get_mut(&conn) else { return };
        master.last_heard = now;
        if master.held.is_empty() {
            master.read(conn, bytes, self.framing, handle);
        } else {
            master.held.extend_from_slice(bytes);
        }
    }

    /// The host has taken `written` bytes of the master's answers; commands that waited for that go to `handle`.
    pub fn wrote(&mut self, conn: ConnId, written: usize, handle: &mut impl FnMut(&mut Commands<'_>)) {
        let Some(master) = self.by_conn.get_mut(&conn) else { return };
        master.queue.advance(written);
        if !master.held.is_empty() && master.queue.footprint_bytes() <= UNREAD_ANSWER_BYTES_MAX {
            let held = std::mem::take(&mut master.held);
            master.read(conn, &held, self.framing, handle);
        }
    }

    /// The master will send no more, but may still read.
    pub fn ended(&mut self, conn: ConnId) {
        if let Some(master) = self.by_conn.get_mut(&conn) {
            master.ended = true;
        }
    }

    /// Whether the master has ended and has been told everything; then it is forgotten, and its connection is to be closed.
    pub fn take_served(&mut self, conn: ConnId) -> bool {
        let served = self.by_conn.get(&conn).is_some_and(|master| {
            master.ended && !master.console && master.held.is_empty() && master.queue.is_empty()
        });
        if served {
            self.closed(conn, "it has ended");
        }
        served
    }

    /// The connection is gone.
    pub fn closed(&mut self, conn: ConnId, why: &str) {
        if self.by_conn.remove(&conn).is_some() {
            info!("master: gone conn={} why=\"{why}\"", conn.0);
        }
    }

    /// Whether the master's next bytes may be read.
    pub fn may_read(&self, conn: ConnId) -> bool {
        self.by_conn.get(&conn).is_some_and(|master| {
            master.held.is_empty() && master.queue.footprint_bytes() <= UNREAD_ANSWER_BYTES_MAX
        })
    }

    /// What waits to be sent to `conn`.
    pub fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        self.by_conn.get(&conn).map(|master| &master.queue)
    }

    /// Whether `conn` is a master.
    pub fn holds(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }
}

impl Master {
    fn read(
        &mut self,
        conn: ConnId,
        mut bytes: &[u8],
        framing: ReplyFraming,
        handle: &mut impl FnMut(&mut Commands<'_>),
    ) {
        while let Some(cut) = self.cutter.cut(&mut bytes) {
            let Cut::Lines(region) = cut else {
                note_bad_line(&mut self.bad_lines, conn, "too long");
                continue;
            };
            let mut commands = Commands {
                conn,
                rest: region,
                utf8: is_utf8(region),
                queue: &mut self.queue,
                bad_lines: &mut self.bad_lines,
                framing,
            };
            handle(&mut commands);
            if !commands.rest.is_empty() {
                self.held = [commands.rest, bytes].concat();
                return;
            }
        }
    }
}

impl<'a> Commands<'a> {
    /// The next command; `None` when there are no more, or when the master has to read its answers first.
    pub fn next_command(&mut self) -> Option<Command<'a>> {
        while self.queue.footprint_bytes() <= UNREAD_ANSWER_BYTES_MAX {
            let line = self.next_line()?;
            match Command::parse(line) {
                Ok(command) => return Some(command),
                Err(error) => self.answer_error(line, error),
            }
        }
        None
    }

    /// The messages of the `broadcast` lines that follow one another from here on: the hot path, without a look at
    /// anything else.
    pub fn broadcasts(&mut self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            let message = self.rest.strip_prefix(b"broadcast ")?;
            let end = memchr::memchr(b'\n', message)?;
            // An empty message or one that is not UTF-8 is left for `next_command` to complain about.
            if end == 0 || !self.utf8 {
                return None;
            }
            self.rest = &message[end + 1..];
            Some(&message[..end])
        })
    }

    /// Sends an answer made of `parts`.
    pub fn answer(&mut self, parts: impl Iterator<Item = Bytes>) {
        match self.framing {
            ReplyFraming::Newline => {
                self.push_all(parts);
                self.queue.push(Bytes::from_static(b"\n"));
            }
            ReplyFraming::Length => {
                let parts: Vec<Bytes> = parts.collect();
                let length: usize = parts.iter().map(Bytes::len).sum();
                self.queue.push(Bytes::from(format!("{length}-")));
                self.push_all(parts.into_iter());
            }
        }
    }

    /// Forgets the commands that are left.
    pub fn discard(&mut self) {
        self.rest = &[];
    }

    /// How many bytes have not been looked at yet.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    /// Whose commands these are.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    fn push_all(&mut self, parts: impl Iterator<Item = Bytes>) {
        for part in parts {
            self.queue.push(part);
        }
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(line)
    }

    fn answer_error(&mut self, line: &[u8], error: CommandError) {
        match error {
            CommandError::Broadcast(why) => {
                note_bad_line(self.bad_lines, self.conn, &format!("broadcast: {why}"));
            }
            CommandError::Unknown if line.trim_ascii().is_empty() => {}
            CommandError::Unknown => {
                let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]).into_owned();
                note_bad_line(self.bad_lines, self.conn, &format!("unknown command {shown:?}"));
                let known = "get, alive, broadcast <message>, crash, status";
                let answer = format!("error unknown command {shown:?}; known are {known}");
                self.answer(std::iter::once(Bytes::from(answer)));
            }
        }
    }
}

/// How much of a line that was not understood is shown.
const SHOWN_BYTES_MAX: usize = 60;

/// Counts a line that was not understood.
fn note_bad_line(bad_lines: &mut u64, conn: ConnId, what: &str) {
    if seldom::count(bad_lines) {
        warn!("master: bad line conn={} what=\"{what}\" so_far={bad_lines}", conn.0);
    }
}
