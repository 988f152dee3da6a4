//! The lines of somebody who drives an agent.

use std::cell::Cell;

use memchr::memchr;

use super::Outbox;
use crate::wire::is_utf8;

/// Somebody who drives agents: a master, a terminal, a program. Named by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// A command that will be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Who asked.
    pub session: Session,
    /// Which of its commands that was.
    pub number: u64,
}

/// What an agent has taken of the lines that it was offered.
#[derive(Debug, Default)]
pub struct Taken {
    bytes_left: Cell<usize>,
    asked: Cell<bool>,
}

impl Taken {
    /// How many bytes of the region were left, at its end.
    pub fn bytes_left(&self) -> usize {
        self.bytes_left.get()
    }

    /// Whether the last line that was taken will be answered.
    pub fn asked(&self) -> bool {
        self.asked.get()
    }
}

/// Whole lines of one session. An agent takes lines from the front for as long as it understands them; the rest is for its host. A
/// command that will be answered ends the batch, so that answers which nobody reads can hold back the commands behind them.
#[derive(Debug)]
pub struct Commands<'a> {
    request: Request,
    rest: &'a [u8],
    utf8: bool,
    taken: &'a Taken,
    /// The first line for which it holds is not offered, and none behind it. Looked at line by line: an agent that answers each line is handed
    /// the same region again for each of them.
    stop: Option<fn(&[u8]) -> bool>,
}

impl<'a> Commands<'a> {
    /// Offers `region`, whole lines with their newlines, of which the next to be answered will be `request`.
    pub fn new(region: &'a [u8], utf8: bool, request: Request, taken: &'a Taken) -> Self {
        taken.bytes_left.set(region.len());
        taken.asked.set(false);
        Self { request, rest: region, utf8, taken, stop: None }
    }

    /// Whose lines these are.
    pub fn session(&self) -> Session {
        self.request.session
    }

    /// The next line without its newline, left where it is.
    pub fn peek(&self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.rest)?;
        let line = &self.rest[..end];
        if self.stop.is_some_and(|stop| stop(line)) {
            return None;
        }
        Some(line)
    }

    /// Takes the next line, without its newline.
    pub fn take(&mut self) -> Option<&'a [u8]> {
        let line = self.peek()?;
        self.rest = &self.rest[line.len() + 1..];
        Some(line)
    }

    /// Takes the lines that follow one another from here on and begin with `verb`, and gives what stands behind it. A line that
    /// is not UTF-8, or that has nothing behind `verb`, is left, to be complained about.
    pub fn run(&mut self, verb: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            let contents = self.rest.strip_prefix(verb)?;
            let end = memchr(b'\n', contents)?;
            if end == 0 || !(self.utf8 || is_utf8(&contents[..end])) {
                return None;
            }
            if self.stop.is_some_and(|stop| stop(&self.rest[..verb.len() + end])) {
                return None;
            }
            self.rest = &contents[end + 1..];
            Some(&contents[..end])
        })
    }

    /// Says that the line just taken will be answered, and leaves all others to a later input.
    #[must_use]
    pub fn will_answer(self) -> Request {
        self.taken.asked.set(true);
        self.request
    }

    /// Takes one line after the other, without the carriage return that some terminals put behind it, and hands it to `obey`, which
    /// gives the answer, if there is one. The first line that is answered ends the batch; one that is not UTF-8 is answered with
    /// an error. For agents that take every line, if only to complain about it.
    pub fn obey<M>(
        mut self,
        out: &mut Outbox<M>,
        mut obey: impl FnMut(&str, &mut Outbox<M>) -> Option<String>,
    ) {
        while let Some(line) = self.take() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let answer = match std::str::from_utf8(line) {
                Ok(line) => obey(line, out),
                Err(_) => Some("error this line is not UTF-8".to_owned()),
            };
            if let Some(answer) = answer {
                return out.reply(self.will_answer(), answer);
            }
        }
    }

    /// The lines from here on up to the first for which `stop` holds, as commands of their own: for an agent that carries another one.
    /// [`Commands::took`] has to follow once those have been handed over.
    pub fn part<'p>(&self, stop: fn(&[u8]) -> bool, taken: &'p Taken) -> Commands<'p>
    where
        'a: 'p,
    {
        Commands { stop: Some(stop), ..Commands::new(self.rest, self.utf8, self.request, taken) }
    }

    /// Takes what was taken of a part. Whether the lines behind it may be handled now: something was taken, and nothing of it will be answered.
    pub fn took(&mut self, taken: &Taken) -> bool {
        let offered_bytes = self.rest.len();
        self.rest = &self.rest[offered_bytes - taken.bytes_left()..];
        self.taken.asked.set(taken.asked());
        taken.bytes_left() < offered_bytes && !taken.asked()
    }

    /// How many bytes have not been taken.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }
}

impl Drop for Commands<'_> {
    fn drop(&mut self) {
        self.taken.bytes_left.set(self.rest.len());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::agent::Output;

    const REQUEST: Request = Request { session: Session(1), number: 7 };

    #[test]
    fn what_is_not_taken_is_left_to_the_host() {
        let taken = Taken::default();
        let mut commands = Commands::new(b"say a\nsay b\nget\nsay c\n", true, REQUEST, &taken);
        assert_eq!(commands.run(b"say ").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(commands.peek(), Some(&b"get"[..]));
        drop(commands);
        assert_eq!((taken.bytes_left(), taken.asked()), ("get\nsay c\n".len(), false));
    }

    #[test]
    fn a_command_that_will_be_answered_ends_the_batch() {
        let taken = Taken::default();
        let mut commands = Commands::new(b"get\nget\n", true, REQUEST, &taken);
        assert_eq!(commands.take(), Some(&b"get"[..]));
        assert_eq!(commands.will_answer(), REQUEST);
        assert_eq!((taken.bytes_left(), taken.asked()), (4, true));
    }

    #[test]
    fn lines_can_be_handed_on_in_parts() {
        let (taken, part_taken) = (Taken::default(), Taken::default());
        let mut commands = Commands::new(b"say a\nsay b\nlog\nget\nsay c\n", true, REQUEST, &taken);
        let is_log: fn(&[u8]) -> bool = |line| line == b"log" || line == b"say b";
        let mut part = commands.part(is_log, &part_taken);
        assert_eq!(part.run(b"say ").count(), 1);
        assert_eq!((part.peek(), part.take()), (None, None));
        drop(part);
        assert!(commands.took(&part_taken), "all was taken");
        assert_eq!(commands.take(), Some(&b"say b"[..]));
        assert_eq!(commands.take(), Some(&b"log"[..]));
        let mut part = commands.part(is_log, &part_taken);
        part.take();
        assert_eq!(part.will_answer(), REQUEST);
        assert!(!commands.took(&part_taken), "it will be answered");
        drop(commands);
        assert_eq!((taken.bytes_left(), taken.asked()), ("say c\n".len(), true));
    }

    #[test]
    fn lines_are_obeyed_up_to_the_first_that_is_answered() {
        let region = b"add 1\r\nadd 2\nvalue\nadd 3\n";
        let (taken, mut out, mut sum) = (Taken::default(), Outbox::<()>::default(), 0);
        let mut obey = |line: &str, _: &mut Outbox<()>| match line.strip_prefix("add ") {
            Some(number) => {
                sum += number.parse::<u32>().expect("a number");
                None
            }
            None => Some(sum.to_string()),
        };
        Commands::new(region, true, REQUEST, &taken).obey(&mut out, &mut obey);
        assert_eq!((taken.bytes_left(), taken.asked()), ("add 3\n".len(), true));
        Commands::new(b"add 3\n", true, REQUEST, &taken).obey(&mut out, &mut obey);
        assert_eq!((taken.bytes_left(), taken.asked()), (0, false));
        Commands::new(b"add \xff\nadd 4\n", false, REQUEST, &taken).obey(&mut out, &mut obey);
        assert_eq!((taken.bytes_left(), taken.asked(), sum), ("add 4\n".len(), true, 6));
        let replies = ["3", "error this line is not UTF-8"]
            .map(|line| Output::Reply { to: REQUEST, parts: vec![Bytes::from(line)] });
        assert_eq!(out.drain().collect::<Vec<_>>(), replies);
    }

    #[test]
    fn lines_that_cannot_be_used_end_a_run() {
        let taken = Taken::default();
        let mut commands = Commands::new(b"say a\nsay \xff\nsay \n", false, REQUEST, &taken);
        assert_eq!(commands.run(b"say ").count(), 1);
        assert_eq!(commands.take(), Some(&b"say \xff"[..]));
        assert_eq!(commands.run(b"say ").count(), 0);
        assert_eq!(commands.take(), Some(&b"say "[..]));
        assert_eq!(commands.take(), None);
    }
}
