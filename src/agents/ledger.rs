//! A ledger: lines that are appended and never change. What the log itself costs, with next to nothing around it.
//!
//! **State.** A function of the records in its log: how many lines there are, a digest of all of them, and the newest as they are.
//!
//! **Invariants.** A line is acknowledged once its record is committed; the acknowledgement is its place. What is read or counted was committed before
//! the question, since the log is asked first whether the ledger is up to date.
//!
//! A record is the line behind two numbers that no other proposal has: the life of the ledger that proposed it, and which of its proposals it was.
//! So each ledger knows which session it owes the answer to, if it is its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::agent::{
    Agent, Commands, Configure, Index, Input, Mistake, NoMessage, Outbox, Refusal, Request, Row, Setup,
};
use crate::time::Time;

/// The ledger: agent `ledger`.
#[derive(Debug)]
pub struct Ledger {
    /// A number that no other ledger, and no other life of this one, has.
    life: u64,
    proposed: u64,
    /// Who waits for which proposal, and until when.
    appending: BTreeMap<u64, (Request, Time)>,
    /// Who waits for which barrier, until when, and for what.
    asking: BTreeMap<u64, (Request, Time, Question)>,
    asked: u64,
    /// How long a session waits for its answer.
    patience: Duration,
    count: Index,
    /// CRC-32 over the places and the lines.
    digest: u32,
    newest: VecDeque<Bytes>,
    newest_bytes: usize,
    /// How much of the newest lines is kept to be read, in bytes.
    readable_bytes_max: usize,
    /// If lines are kept as rows: those that were not given away yet.
    rows: Option<Vec<Row>>,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Count,
    Read(Index),
}

impl Configure for Ledger {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let readable = setup.attr_or("readable_bytes", READABLE_BYTES_DEFAULT)?;
        let rows = setup.attr_or("rows", false)?;
        if rows && !setup.log_keeps_rows() {
            let what = "only a log on a disk keeps rows: take this away, or let \"log\" be \"local\" or {\"members\": [...]}";
            return Err(Mistake::in_attr("rows", what));
        }
        let mut ledger = Self::new(setup.rng().number(), readable, rows);
        ledger.patience = setup.ms_or("patience_ms", PATIENCE_DEFAULT)?;
        Ok(ledger)
    }
}

impl Ledger {
    /// An empty ledger. `life` is a number that no other one has; of the newest lines `readable_bytes_max` can be read; with `rows` all lines are kept as
    /// rows, so that the log need not keep them.
    pub fn new(life: u64, readable_bytes_max: usize, rows: bool) -> Self {
        Self {
            life,
            proposed: 0,
            appending: BTreeMap::new(),
            asking: BTreeMap::new(),
            asked: 0,
            patience: PATIENCE_DEFAULT,
            count: Index(0),
            digest: 0,
            newest: VecDeque::new(),
            newest_bytes: 0,
            readable_bytes_max,
            rows: rows.then(Vec::new),
            refused: 0,
        }
    }

    /// Takes one line; what is answered at once.
    fn obey(&mut self, line: &[u8]) -> Obeyed {
        let (verb, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(end) => (&line[..end], &line[end + 1..]),
            None => (line, &line[line.len()..]),
        };
        match verb {
            b"append" if !rest.is_empty() => {
                self.proposed += 1;
                let mut record = Vec::with_capacity(HEAD_BYTES + rest.len());
                record.extend_from_slice(&self.life.to_le_bytes());
                record.extend_from_slice(&self.proposed.to_le_bytes());
                record.extend_from_slice(rest);
                Obeyed::Append(record)
            }
            b"count" if rest.is_empty() => Obeyed::Ask(Question::Count),
            b"read" => match std::str::from_utf8(rest).ok().and_then(|text| text.trim().parse().ok()) {
                Some(place) => Obeyed::Ask(Question::Read(Index(place))),
                None => Obeyed::Wrong("error usage read wants the place of a line: read <index>".to_owned()),
            },
            _ => Obeyed::Wrong(format!("error usage commands: {HELP}")),
        }
    }

    fn commands(&mut self, now: Time, mut commands: Commands<'_>, out: &mut Outbox<NoMessage>) {
        let Some(line) = commands.take() else { return };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (request, until) = (commands.will_answer(), now + self.patience);
        match self.obey(line) {
            Obeyed::Wrong(text) => out.reply(request, text),
            Obeyed::Append(record) => {
                self.appending.insert(self.proposed, (request, until));
                out.propose(record);
            }
            Obeyed::Ask(question) => {
                self.asked += 1;
                self.asking.insert(self.asked, (request, until, question));
                out.barrier(self.asked);
            }
        }
    }

    fn committed(&mut self, index: Index, record: &[u8], out: &mut Outbox<NoMessage>) {
        let Some((head, line)) = record.split_at_checked(HEAD_BYTES) else { return };
        self.add(index, line);
        if let Some(rows) = &mut self.rows {
            let key = Bytes::copy_from_slice(&index.0.to_be_bytes());
            rows.push(Row { key, value: Some(Bytes::copy_from_slice(line)) });
        }
        if let Some(request) = self.waits_for(head) {
            out.reply(request, ok(index));
        }
    }

    fn not_committed(&mut self, record: &[u8], why: &Refusal, out: &mut Outbox<NoMessage>) {
        self.refused += 1;
        let Some(request) = self.waits_for(&record[..HEAD_BYTES.min(record.len())]) else { return };
        let word = match why {
            Refusal::Busy => "busy",
            Refusal::NoLog => "no-log",
            Refusal::TooLong { .. } => "too-long",
            Refusal::Failed(_) => "unknown",
        };
        out.reply(request, format!("error {word} {why}"));
    }

    /// Who waits for a record, by its head.
    fn waits_for(&mut self, head: &[u8]) -> Option<Request> {
        let (life, number) = head.split_first_chunk()?;
        if u64::from_le_bytes(*life) != self.life {
            return None;
        }
        self.appending.remove(&u64::from_le_bytes(number.try_into().ok()?)).map(|(request, _)| request)
    }

    /// Tells those who have waited for too long that nothing is known.
    fn timeout(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        let within = self.patience.as_millis();
        while let Some(first) = self.appending.first_entry().filter(|first| first.get().1 <= now) {
            let (request, _) = first.remove();
            let text = format!(
                "error unknown no answer of the log within {within} ms; the line may still be appended"
            );
            out.reply(request, text);
        }
        while let Some(first) = self.asking.first_entry().filter(|first| first.get().1 <= now) {
            let (request, ..) = first.remove();
            out.reply(request, format!("error timed-out no answer of the log within {within} ms: ask again"));
        }
    }

    /// A line stands at `index`. Records that are missing leave their places empty.
    fn add(&mut self, index: Index, line: &[u8]) {
        if index <= self.count {
            return;
        }
        if index.0 > self.count.0 + 1 {
            self.newest.clear();
            self.newest_bytes = 0;
        }
        self.count = index;
        let mut digest = crc32fast::Hasher::new_with_initial(self.digest);
        digest.update(&index.0.to_le_bytes());
        digest.update(line);
        self.digest = digest.finalize();
        self.newest.push_back(Bytes::copy_from_slice(line));
        self.newest_bytes += line.len() + LINE_BYTES;
        while self.newest_bytes > self.readable_bytes_max
            && let Some(oldest) = self.newest.pop_front()
        {
            self.newest_bytes -= oldest.len() + LINE_BYTES;
        }
    }

    /// Whoever waits for a line is told that nothing is known of it: it may be among the rows, and then it does not come back. What is asked of the log is answered
    /// once all rows are here.
    fn restore(&mut self, rows: &[Row], first: bool, out: &mut Outbox<NoMessage>) {
        if first {
            for (_, (request, _)) in std::mem::take(&mut self.appending) {
                out.reply(request, RESTORED);
            }
            (self.count, self.digest) = (Index(0), 0);
            self.newest.clear();
            self.newest_bytes = 0;
            self.rows.iter_mut().for_each(Vec::clear);
        }
        for row in rows {
            if let (Ok(place), Some(line)) = (row.key.as_ref().try_into(), &row.value) {
                self.add(Index(u64::from_be_bytes(place)), line);
            }
        }
    }

    fn answer(&self, question: Question) -> Bytes {
        match question {
            Question::Count => Bytes::from(format!("ok {} {:08x}", self.count, self.digest)),
            Question::Read(index) => self.read(index),
        }
    }

    fn read(&self, index: Index) -> Bytes {
        if index.0 == 0 || index > self.count {
            return Bytes::from(format!(
                "error none there is no line {index}; the last one is {}",
                self.count
            ));
        }
        let back = usize::try_from(self.count.0 - index.0).unwrap_or(usize::MAX);
        let place = self.newest.len().checked_sub(back.saturating_add(1));
        match place.and_then(|place| self.newest.get(place)) {
            Some(line) => Bytes::from([b"ok ", line.as_ref()].concat()),
            None => Bytes::from(format!("error old line {index} is too old to be read here")),
        }
    }
}

/// What a line comes to.
enum Obeyed {
    Append(Vec<u8>),
    Ask(Question),
    Wrong(String),
}

impl Agent for Ledger {
    type Msg = NoMessage;

    fn handle(&mut self, now: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Timeout => self.timeout(now, out),
            Input::Commands { commands } => self.commands(now, commands, out),
            Input::Committed { index, record } => self.committed(index, record, out),
            Input::NotCommitted { record, why } => self.not_committed(record, why, out),
            Input::Barrier { token } => {
                if let Some((request, _, question)) = self.asking.remove(&token) {
                    out.reply(request, self.answer(question));
                }
            }
            Input::Restore { rows, first, .. } => self.restore(rows, first, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        let appending = self.appending.first_key_value().map(|(_, (_, until))| *until);
        let asking = self.asking.first_key_value().map(|(_, (_, until, _))| *until);
        [appending, asking].into_iter().flatten().min()
    }

    fn keeps_rows(&self) -> bool {
        self.rows.is_some()
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.rows.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("lines", self.count.0),
            ("waiting", (self.appending.len() + self.asking.len()) as u64),
            ("refused", self.refused),
        ]
    }
}

/// `ok <index>`, which is said for each line.
fn ok(index: Index) -> Bytes {
    let mut text = BytesMut::with_capacity(24);
    text.extend_from_slice(b"ok ");
    text.extend_from_slice(index.0.to_string().as_bytes());
    text.freeze()
}

const RESTORED: &str = "error unknown this server was behind and has got the lines of another one; yours may be among them, or still be appended";
const HELP: &str = "append <text>, read <index>, count";
/// The two numbers before each line.
const HEAD_BYTES: usize = 16;
const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);
const READABLE_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// What a line costs beside its bytes.
const LINE_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Output, Session, Taken};

    /// A ledger with a log that takes everything when it is told to.
    struct Desk {
        ledger: Ledger,
        proposed: Vec<Vec<u8>>,
        barriers: Vec<u64>,
        replies: Vec<String>,
        committed: u64,
    }

    impl Desk {
        fn new(ledger: Ledger) -> Self {
            let (proposed, barriers, replies) = Default::default();
            Self { ledger, proposed, barriers, replies, committed: 0 }
        }

        fn input(&mut self, input: Input<'_, NoMessage>) {
            self.input_at(Time::ZERO, input);
        }

        fn input_at(&mut self, now: Time, input: Input<'_, NoMessage>) {
            let mut out = Outbox::default();
            self.ledger.handle(now, input, &mut out);
            for output in out.drain() {
                match output {
                    Output::Propose { record } => self.proposed.push(record),
                    Output::Barrier { token } => self.barriers.push(token),
                    Output::Reply { parts, .. } => {
                        self.replies.push(String::from_utf8(parts.concat()).expect("UTF-8"));
                    }
                    other => panic!("not expected of a ledger: {other:?}"),
                }
            }
        }

        fn line(&mut self, line: &str) {
            let (taken, request) = (Taken::default(), Request { session: Session(1), number: 1 });
            self.input(Input::Commands {
                commands: Commands::new(format!("{line}\n").as_bytes(), true, request, &taken),
            });
            assert!(taken.asked());
        }

        fn commit(&mut self) {
            for record in std::mem::take(&mut self.proposed) {
                self.committed += 1;
                self.input(Input::Committed { index: Index(self.committed), record: &record });
            }
        }

        fn ask(&mut self, line: &str) -> String {
            self.line(line);
            if let Some(token) = self.barriers.pop() {
                self.input(Input::Barrier { token });
            }
            self.replies.pop().expect("an answer")
        }
    }

    #[test]
    fn a_line_is_acknowledged_when_it_is_committed_and_then_read() {
        let mut desk = Desk::new(Ledger::new(7, 1000, false));
        desk.line("append one");
        desk.line("append  two \r");
        assert_eq!(desk.replies, [""; 0]);
        desk.commit();
        assert_eq!(std::mem::take(&mut desk.replies), ["ok 1", "ok 2"]);
        assert_eq!((desk.ask("read 1"), desk.ask("read 2")), ("ok one".into(), "ok  two ".into()));
        assert_eq!(desk.ask("read 3"), "error none there is no line 3; the last one is 2");
        assert!(desk.ask("count").starts_with("ok 2 "));
        for wrong in ["append", "append ", "read x", "drop", ""] {
            assert!(desk.ask(wrong).starts_with("error usage "), "{wrong}");
        }
        assert_eq!(desk.ledger.take_rows(), []);
    }

    #[test]
    fn what_others_append_is_counted_and_answered_by_them() {
        let mut desk = Desk::new(Ledger::new(7, 1000, false));
        let record = [&8_u64.to_le_bytes()[..], &1_u64.to_le_bytes(), b"theirs"].concat();
        desk.line("append mine");
        desk.input(Input::Committed { index: Index(1), record: &record });
        desk.input(Input::Committed { index: Index(2), record: b"short" });
        assert_eq!(desk.replies, [""; 0]);
        assert_eq!(desk.ask("read 1"), "ok theirs");
    }

    #[test]
    fn a_refusal_is_one_word_and_a_sentence() {
        let mut desk = Desk::new(Ledger::new(7, 1000, false));
        let mut refuse = |why: Refusal| {
            desk.line("append x");
            let record = desk.proposed.pop().expect("a proposal");
            desk.input(Input::NotCommitted { record: &record, why: &why });
            desk.replies.pop().expect("an answer")
        };
        assert_eq!(refuse(Refusal::Busy), "error busy the log is busy");
        assert_eq!(refuse(Refusal::Failed("no space".into())), "error unknown the log has failed: no space");
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut desk = Desk::new(Ledger::new(7, 1000, false));
        assert_eq!(desk.ledger.deadline(), None);
        desk.line("append x");
        desk.line("count");
        let until = desk.ledger.deadline().expect("somebody waits");
        desk.input_at(Time::ZERO, Input::Timeout);
        assert_eq!(desk.replies, [""; 0]);
        desk.input_at(until, Input::Timeout);
        assert!(
            desk.replies[0].starts_with("error unknown ") && desk.replies[1].starts_with("error timed-out ")
        );
        assert_eq!(desk.ledger.deadline(), None);
        desk.commit();
        assert_eq!((desk.replies.len(), desk.ledger.count), (2, Index(1)), "it was appended all the same");
    }

    #[test]
    fn only_the_newest_lines_are_kept_in_memory() {
        let mut desk = Desk::new(Ledger::new(7, 3 * (LINE_BYTES + 4), false));
        for number in 0..10 {
            desk.line(&format!("append {number:04}"));
        }
        desk.commit();
        assert_eq!((desk.ask("read 8"), desk.ask("read 10")), ("ok 0007".into(), "ok 0009".into()));
        assert_eq!(desk.ask("read 7"), "error old line 7 is too old to be read here");
    }

    #[test]
    fn its_rows_are_all_that_it_needs_to_go_on() {
        let mut desk = Desk::new(Ledger::new(7, 1000, true));
        desk.line("append one");
        desk.line("append two");
        desk.commit();
        let mut other = Desk::new(Ledger::new(8, 1000, true));
        let rows = desk.ledger.take_rows();
        assert_eq!(desk.ledger.take_rows(), [], "each row is given away once");
        let (first, last) = rows.split_at(1);
        other.input(Input::Restore { rows: first, first: true, last: None });
        other.input(Input::Restore { rows: last, first: false, last: Some(Index(2)) });
        assert_eq!(other.ask("count"), desk.ask("count"));
        assert_eq!(other.ask("read 2"), "ok two");
        assert_eq!(other.ledger.take_rows(), [], "what it has got is kept already");
        other.line("append lost?");
        other.line("count");
        let count = other.barriers.pop().expect("a question");
        other.input(Input::Restore { rows: &rows, first: true, last: Some(Index(2)) });
        assert!(other.replies.pop().is_some_and(|reply| reply.starts_with("error unknown ")));
        other.commit();
        assert_eq!(other.replies, [""; 0], "it was appended all the same, and nobody waits any more");
        other.input(Input::Barrier { token: count });
        assert!(other.replies.pop().is_some_and(|reply| reply.starts_with("ok 2 ")));
        let other_lines = Desk::new(Ledger::new(7, 1000, true)).ask("count");
        assert_ne!(other_lines, other.ask("count"));
    }
}
