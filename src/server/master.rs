//! The masters: whoever drives this server, over TCP or standard input. Commands come in as lines, answers go out in the order
//! of the commands.
//!
//! **Invariants.** A master that leaves, stalls or sends rubbish harms nobody: what it has not read yet is bounded, since its
//! commands are not read while too much waits for it. `broadcast` never answers, not even an error, because a lab's master would
//! take that for the answer to its next command.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use log::{info, warn};

use super::Settings;
use super::outputs::{Action, ConnId, Outputs};
use super::queue::OutQueue;
use crate::agent::{Commands, Request, Session, Taken};
use crate::seldom;
use crate::time::Time;
use crate::wire::{Cut, LineCutter, is_utf8};

/// While more than this waits to be read by a master, its next command is not looked at.
const UNREAD_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What nobody asked for is dropped once this much waits to be read by a master.
const UNREAD_NEWS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How answers are told apart on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFraming {
    /// A newline ends each answer.
    #[default]
    Newline,
    /// The length in decimal and a dash stand before each answer, nothing behind it: `9-alive 0,1` (the lab's 2018 edition).
    Length,
}

/// One master.
#[derive(Debug)]
struct Master {
    cutter: LineCutter,
    answers: Answers,
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
pub(super) struct Masters {
    by_conn: BTreeMap<ConnId, Master>,
    framing: ReplyFraming,
    line_bytes_max: usize,
    count_max: usize,
    /// How many had to go because there were too many.
    pushed_out: u64,
}

/// The answers to one master, in the order of its commands, whenever they are given.
#[derive(Debug)]
struct Answers {
    queue: OutQueue,
    framing: ReplyFraming,
    /// Commands that wait for their answer, or whose answer waits for that of an earlier one.
    slots: VecDeque<Option<Vec<Bytes>>>,
    /// The number of the first of them.
    first: u64,
    /// How long the answers are that wait for an earlier one.
    parked_bytes: usize,
}

/// The lines of one master that may be handled now, and the way to answer them.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    conn: ConnId,
    rest: &'a [u8],
    utf8: bool,
    answers: &'a mut Answers,
    bad_lines: &'a mut u64,
}

impl Masters {
    /// No masters yet.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            by_conn: BTreeMap::new(),
            framing: settings.reply_framing,
            line_bytes_max: settings.links.line_bytes_max,
            count_max: settings.masters_max,
            pushed_out: 0,
        }
    }

    /// When there are too many for one more, the one that has been quiet for longest has to go; who that was.
    #[must_use]
    pub(super) fn make_room(&mut self, now: Time, out: &mut Outputs) -> Option<ConnId> {
        if self.by_conn.len() < self.count_max {
            return None;
        }
        let masters = self.by_conn.iter().filter(|(_, master)| !master.console);
        let (conn, quietest) = masters.min_by_key(|(conn, master)| (master.last_heard, **conn))?;
        let (conn, quiet) = (*conn, now.since(quietest.last_heard));
        if seldom::count(&mut self.pushed_out) {
            let (quiet_ms, so_far) = (quiet.as_millis(), self.pushed_out);
            warn!("master: too many, the quietest has to go quiet_ms={quiet_ms} so_far={so_far}");
        }
        self.by_conn.remove(&conn);
        out.act(Action::Close(conn));
        Some(conn)
    }

    /// Somebody connected; there has to be room.
    pub(super) fn accepted(&mut self, console: bool, now: Time, out: &mut Outputs) -> ConnId {
        let conn = out.new_conn();
        let master = Master {
            cutter: LineCutter::new(self.line_bytes_max),
            answers: Answers::new(self.framing),
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
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Time,
        handle: &mut impl FnMut(&mut Batch<'_>),
    ) {
        let Some(master) = self.by_conn.get_mut(&conn) else { return };
        master.last_heard = now;
        if master.held.is_empty() {
            master.read(conn, bytes, handle);
        } else {
            master.held.extend_from_slice(bytes);
        }
    }

    /// The host has taken `written` bytes of the master's answers; commands that waited for that go to `handle`.
    pub(super) fn wrote(&mut self, conn: ConnId, written: usize, handle: &mut impl FnMut(&mut Batch<'_>)) {
        let Some(master) = self.by_conn.get_mut(&conn) else { return };
        master.answers.queue.advance(written);
        master.go_on(conn, handle);
    }

    /// Answers a command; lines that waited for that go to `handle`.
    pub(super) fn answer(
        &mut self,
        request: Request,
        parts: Vec<Bytes>,
        handle: &mut impl FnMut(&mut Batch<'_>),
    ) -> Option<ConnId> {
        let conn = ConnId(usize::try_from(request.session.0).ok()?);
        let master = self.by_conn.get_mut(&conn)?;
        master.answers.answer(request.number, parts);
        master.go_on(conn, handle);
        Some(conn)
    }

    /// Sends a line that answers nothing; `false` if it had to be dropped, since the master does not read.
    pub(super) fn say(&mut self, conn: ConnId, line: Bytes) -> bool {
        let Some(master) = self.by_conn.get_mut(&conn) else { return false };
        master.answers.say(line)
    }

    /// The master will send no more, but may still read.
    pub(super) fn ended(&mut self, conn: ConnId) {
        if let Some(master) = self.by_conn.get_mut(&conn) {
            master.ended = true;
        }
    }

    /// Whether the master has ended and has been told everything; then it is forgotten, and its connection is to be closed.
    pub(super) fn take_served(&mut self, conn: ConnId) -> bool {
        let served = self.by_conn.get(&conn).is_some_and(|master| {
            master.ended
                && !master.console
                && master.held.is_empty()
                && master.answers.slots.is_empty()
                && master.answers.queue.is_empty()
        });
        if served {
            self.closed(conn, "it has ended");
        }
        served
    }

    /// The connection is gone; whether it was a master's.
    pub(super) fn closed(&mut self, conn: ConnId, why: &str) -> bool {
        let held = self.by_conn.remove(&conn).is_some();
        if held {
            info!("master: gone conn={} why=\"{why}\"", conn.0);
        }
        held
    }

    /// Whether the master's next bytes may be read.
    pub(super) fn may_read(&self, conn: ConnId) -> bool {
        self.by_conn.get(&conn).is_some_and(|master| master.held.is_empty() && master.answers.may_go_on())
    }

    /// What waits to be sent to `conn`.
    pub(super) fn outgoing(&self, conn: ConnId) -> Option<&OutQueue> {
        self.by_conn.get(&conn).map(|master| &master.answers.queue)
    }

    /// Whether `conn` is a master.
    pub(super) fn holds(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }
}

impl Master {
    /// Handles the lines that waited, if they may go on now.
    fn go_on(&mut self, conn: ConnId, handle: &mut impl FnMut(&mut Batch<'_>)) {
        if !self.held.is_empty() && self.answers.may_go_on() {
            let held = std::mem::take(&mut self.held);
            self.read(conn, &held, handle);
        }
    }

    fn read(&mut self, conn: ConnId, mut bytes: &[u8], handle: &mut impl FnMut(&mut Batch<'_>)) {
        while let Some(cut) = self.cutter.cut(&mut bytes) {
            let Cut::Lines(region) = cut else {
                note_bad_line(&mut self.bad_lines, conn, "too long");
                continue;
            };
            let (answers, bad_lines) = (&mut self.answers, &mut self.bad_lines);
            let mut batch = Batch { conn, rest: region, utf8: is_utf8(region), answers, bad_lines };
            handle(&mut batch);
            if !batch.rest.is_empty() {
                self.held = [batch.rest, bytes].concat();
                return;
            }
        }
    }
}

impl Answers {
    fn new(framing: ReplyFraming) -> Self {
        Self { queue: OutQueue::default(), framing, slots: VecDeque::new(), first: 0, parked_bytes: 0 }
    }

    /// The number of the next command that will be answered.
    fn next_number(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// A command will be answered.
    fn expect(&mut self) {
        self.slots.push_back(None);
    }

    /// The answer to a command that was expected; a second one, or one that nobody expects, is forgotten.
    fn answer(&mut self, number: u64, parts: Vec<Bytes>) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot @ None) = index.and_then(|index| self.slots.get_mut(index)) {
            self.parked_bytes += length_of(&parts);
            *slot = Some(parts);
        }
        while let Some(Some(parts)) = self.slots.front_mut().map(Option::take) {
            self.slots.pop_front();
            self.first += 1;
            self.parked_bytes -= length_of(&parts);
            self.send(parts);
        }
    }

    /// Sends a line that answers nothing; `false` if it had to be dropped.
    fn say(&mut self, line: Bytes) -> bool {
        let fits = self.queue.footprint_bytes() + line.len() <= UNREAD_NEWS_BYTES_MAX;
        if fits {
            self.send(vec![line]);
        }
        fits
    }

    /// Sends a line made of `parts`.
    fn send(&mut self, parts: Vec<Bytes>) {
        match self.framing {
            ReplyFraming::Newline if length_of(&parts) <= SHORT_ANSWER_BYTES_MAX => {
                for part in parts {
                    self.queue.push_short(&part);
                }
                self.queue.push_short(b"\n");
            }
            ReplyFraming::Newline => {
                self.push_all(parts);
                self.queue.push(Bytes::from_static(b"\n"));
            }
            ReplyFraming::Length => {
                self.queue.push(Bytes::from(format!("{}-", length_of(&parts))));
                self.push_all(parts);
            }
        }
    }

    fn push_all(&mut self, parts: Vec<Bytes>) {
        for part in parts {
            self.queue.push(part);
        }
    }

    /// Whether the next command may be looked at: the master has read most of its answers, and not too many are owed to it.
    fn may_go_on(&self) -> bool {
        self.queue.footprint_bytes() + self.parked_bytes <= UNREAD_ANSWER_BYTES_MAX
            && self.slots.len() < OWED_ANSWERS_MAX
    }
}

impl<'a> Batch<'a> {
    /// Whether there are lines that may be handled now.
    pub(super) fn may_go_on(&self) -> bool {
        !self.rest.is_empty() && self.answers.may_go_on()
    }

    /// The lines, or only the first of them, to be offered to an agent; follow it with [`Batch::took`].
    pub(super) fn offer<'t>(&'t self, taken: &'t Taken, only_one: bool) -> Commands<'t> {
        let first = memchr::memchr(b'\n', self.rest).filter(|_| only_one);
        let region = first.map_or(self.rest, |end| &self.rest[..=end]);
        Commands::new(region, self.utf8, self.next_request(), taken)
    }

    /// What the next command that is answered will be called.
    pub(super) fn next_request(&self) -> Request {
        Request { session: session(self.conn), number: self.answers.next_number() }
    }

    /// Notes what an agent took of the bytes it was offered.
    pub(super) fn took(&mut self, offered_bytes: usize, taken: &Taken) {
        self.rest = &self.rest[offered_bytes - taken.bytes_left()..];
        if taken.asked() {
            self.answers.expect();
        }
    }

    /// The next line, without its newline.
    pub(super) fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(line)
    }

    /// Answers the line just taken.
    pub(super) fn answer(&mut self, line: impl Into<Bytes>) {
        let number = self.answers.next_number();
        self.answers.expect();
        self.answers.answer(number, vec![line.into()]);
    }

    /// Answers a command of this master that an agent has taken.
    pub(super) fn answer_request(&mut self, number: u64, parts: Vec<Bytes>) {
        self.answers.answer(number, parts);
    }

    /// Sends this master a line that answers nothing, unless it does not read.
    pub(super) fn say(&mut self, line: Bytes) {
        self.answers.say(line);
    }

    /// Answers the line just taken, which nobody understood, with what is known here; blank lines are passed over.
    pub(super) fn answer_unknown(&mut self, line: &[u8], known: &str) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]).into_owned();
        note_bad_line(self.bad_lines, self.conn, &format!("unknown command {shown:?}"));
        self.answer(format!("error unknown command {shown:?}; known are {known}"));
    }

    /// Forgets the lines that are left.
    pub(super) fn discard(&mut self) {
        self.rest = &[];
    }

    /// Whose lines these are.
    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }
}

/// How long an answer is, in bytes.
fn length_of(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

/// A master as agents know it.
pub(super) fn session(conn: ConnId) -> Session {
    Session(conn.0 as u64)
}

/// Up to this, answers are copied side by side.
const SHORT_ANSWER_BYTES_MAX: usize = 512;
/// How much of a line that was not understood is shown.
const SHOWN_BYTES_MAX: usize = 60;
/// How many commands of one master may wait for their answers.
const OWED_ANSWERS_MAX: usize = 1024;

/// Counts a line that was not understood.
fn note_bad_line(bad_lines: &mut u64, conn: ConnId, what: &str) {
    if seldom::count(bad_lines) {
        warn!("master: bad line conn={} what=\"{what}\" so_far={bad_lines}", conn.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_wait_for_an_earlier_one_hold_back_what_follows() {
        let mut answers = Answers::new(ReplyFraming::Newline);
        answers.expect();
        answers.expect();
        assert!(answers.may_go_on());
        answers.answer(1, vec![Bytes::from(vec![b'x'; UNREAD_ANSWER_BYTES_MAX])]);
        assert!(answers.may_go_on(), "as much as may wait");
        answers.expect();
        answers.answer(2, vec![Bytes::from_static(b"y")]);
        assert!(!answers.may_go_on());
        assert!(answers.queue.is_empty(), "the first has not been answered");
        answers.answer(0, vec![Bytes::from_static(b"first")]);
        assert_eq!(answers.queue.front(), Some(Bytes::from_static(b"first\n")));
        let waiting = answers.queue.bytes();
        answers.queue.advance(waiting);
        assert!(answers.may_go_on(), "nothing is owed and all has been read");
    }
}
