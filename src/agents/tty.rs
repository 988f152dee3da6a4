//! A terminal: an agent through which people talk to another agent, its application.
//!
//! Lines of its sessions go to the route `app`, as text; the configuration says by which port they come in there. Text that comes in
//! here, by any port, is shown to all sessions. The last lines are kept, so that they can be looked at and said again.
//!
//! | line | what happens |
//! |---|---|
//! | `/history [n]` | the last lines, or the last n, with their numbers |
//! | `!!` | the last line once more |
//! | `!n` | the line with the number n once more |
//! | `/help` | these commands |
//! | anything else | goes to the application; `//help` goes there as `/help` |

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::agent::{Agent, Configure, Input, Mistake, Outbox, Setup, Text};
use crate::time::Time;

/// The route to the application.
const APP: &str = "app";
/// How many lines are kept where the configuration says nothing.
const LINES_DEFAULT: usize = 100;
/// The most lines that can be kept.
const LINES_MAX: usize = 10_000;
/// The most bytes that are kept, however few lines that are.
const BYTES_MAX: usize = 1 << 20;
const HELP: &str = "/history [n]: the last lines; !!: the last one again; !n: line n again; all else goes to the application, \
                    //help as its /help";

/// The agent `tty`.
#[derive(Debug)]
pub struct Tty {
    history: History,
    sent: u64,
    shown: u64,
}

impl Configure for Tty {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        setup.need_route(APP)?;
        let lines_max = setup.attr_or("history", LINES_DEFAULT)?;
        if lines_max > LINES_MAX {
            return Err(Mistake::in_attr(
                "history",
                format!("expected at most {LINES_MAX} lines, found {lines_max}"),
            ));
        }
        Ok(Self { history: History::new(lines_max), sent: 0, shown: 0 })
    }
}

impl Agent for Tty {
    type Msg = Text;

    fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
        match input {
            Input::Commands { commands } => commands.obey(out, |line, out| self.line(line, out)),
            Input::Message { message, .. } => {
                for line in message.0.lines() {
                    self.shown += 1;
                    out.say(printable(line).into_owned());
                }
            }
            _ => {}
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("sent", self.sent), ("shown", self.shown)]
    }
}

impl Tty {
    /// Takes one line; what the person is to be told.
    fn line(&mut self, line: &str, out: &mut Outbox<Text>) -> Option<String> {
        if line.trim().is_empty() {
            return None;
        }
        if let Some(which) = repeat(line) {
            let found = which.map_or_else(|| self.history.last(), |number| self.history.line(number));
            let Some(found) = found.map(str::to_owned) else {
                return Some(format!(
                    "error there is no line {line} to repeat; /history shows which there are"
                ));
            };
            self.send(&found, out);
            return Some(found);
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("/help"), ..) => Some(HELP.to_owned()),
            (Some("/history"), None, _) => Some(self.history.show(usize::MAX)),
            (Some("/history"), Some(count), None) => Some(match count.parse() {
                Ok(count) => self.history.show(count),
                Err(_) => format!("error {count:?} is no number of lines"),
            }),
            _ => {
                self.send(if line.starts_with("//") { &line[1..] } else { line }, out);
                None
            }
        }
    }

    fn send(&mut self, line: &str, out: &mut Outbox<Text>) {
        self.history.keep(line);
        self.sent += 1;
        out.send(APP, Text(line.to_owned()));
    }
}

/// Which line is to be said again, if this asks for one: `Some(None)` is the last.
#[expect(clippy::option_option, reason = "the last line has no number here")]
fn repeat(line: &str) -> Option<Option<u64>> {
    match line.trim_end().strip_prefix('!')? {
        "!" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

/// The last lines, numbered from 1 over the whole life of the agent.
#[derive(Debug)]
struct History {
    lines: VecDeque<String>,
    lines_max: usize,
    bytes: usize,
    /// The number of the first line that is still there.
    first: u64,
}

impl History {
    fn new(lines_max: usize) -> Self {
        Self { lines: VecDeque::new(), lines_max, bytes: 0, first: 1 }
    }

    fn keep(&mut self, line: &str) {
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > self.lines_max || self.bytes > BYTES_MAX {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len();
            self.first += 1;
        }
    }

    fn last(&self) -> Option<&str> {
        self.lines.back().map(String::as_str)
    }

    fn line(&self, number: u64) -> Option<&str> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.lines.get(place).map(String::as_str)
    }

    /// The last `count` lines with their numbers.
    fn show(&self, count: usize) -> String {
        if self.lines.is_empty() {
            return "no lines yet".to_owned();
        }
        let mut text = String::new();
        let skipped = self.lines.len().saturating_sub(count);
        for (number, line) in (self.first..).zip(&self.lines).skip(skipped) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = write!(text, "{gap}{number:>4}  {}", printable(line));
        }
        text
    }
}

/// The text as a terminal can be trusted with it: nothing in it can move the cursor, change colours or do worse.
pub fn printable(text: &str) -> Cow<'_, str> {
    let control = |letter: char| letter.is_control() && letter != '\t';
    if !text.contains(control) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|letter| if control(letter) { char::REPLACEMENT_CHARACTER } else { letter })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::{Attrs, Commands, Output, Peer, Port, Request, Session, Taken};

    const REQUEST: Request = Request { session: Session(1), number: 1 };

    fn tty(attrs: &str) -> Result<Tty, Mistake> {
        let attrs: Attrs = serde_json::from_str(attrs).expect("an object");
        Tty::configure(&mut Setup::new("t", &attrs, &[APP.to_owned()], 1))
    }

    fn handle(tty: &mut Tty, input: Input<'_, Text>) -> Vec<Output<Text>> {
        let mut out = Outbox::default();
        tty.handle(Time::default(), input, &mut out);
        out.drain().collect()
    }

    fn says(tty: &mut Tty, line: &str) -> Vec<Output<Text>> {
        let (taken, region) = (Taken::default(), format!("{line}\n"));
        let commands = Commands::new(region.as_bytes(), true, REQUEST, &taken);
        handle(tty, Input::Commands { commands })
    }

    fn sent(line: &str) -> Output<Text> {
        Output::Send { to: APP.into(), message: Text(line.to_owned()) }
    }

    fn answered(line: &str) -> Output<Text> {
        Output::Reply { to: REQUEST, parts: vec![line.to_owned().into()] }
    }

    #[test]
    fn lines_go_to_the_application() {
        let mut tty = tty("{}").expect("right");
        assert_eq!(says(&mut tty, "put a 1\r"), [sent("put a 1")]);
        assert_eq!(says(&mut tty, "/to bob !"), [sent("/to bob !")]);
        assert_eq!(says(&mut tty, "!important"), [sent("!important")]);
        assert_eq!(says(&mut tty, "//help me"), [sent("/help me")]);
        assert_eq!(says(&mut tty, "  "), []);
        assert_eq!(tty.counters()[0], ("sent", 4));
    }

    #[test]
    fn many_lines_at_once_go_in_order_up_to_one_that_is_answered() {
        let mut tty = tty("{}").expect("right");
        let taken = Taken::default();
        let commands = Commands::new(b"a\nb\n/help\nc\n", true, REQUEST, &taken);
        assert_eq!(handle(&mut tty, Input::Commands { commands }), [sent("a"), sent("b"), answered(HELP)]);
        assert_eq!((taken.bytes_left(), taken.asked()), (2, true));
        let commands = Commands::new(b"a\xff\n", false, REQUEST, &taken);
        assert_eq!(
            handle(&mut tty, Input::Commands { commands }),
            [answered("error this line is not UTF-8")]
        );
    }

    #[test]
    fn what_comes_in_is_shown_harmless() {
        let mut tty = tty("{}").expect("right");
        let message = Text("one\u{1b}[2J\ntwo\tx".to_owned());
        let shown = handle(&mut tty, Input::Message { from: Peer(0), port: Port(1), message });
        let line = |text: &'static str| Output::Say { line: text.into() };
        assert_eq!(shown, [line("one\u{fffd}[2J"), line("two\tx")]);
    }

    #[test]
    fn lines_can_be_looked_at_and_said_again() {
        let mut tty = tty(r#"{"history": 2}"#).expect("right");
        assert_eq!(says(&mut tty, "/history"), [answered("no lines yet")]);
        let begin = "error there is no line !! to repeat";
        assert!(
            matches!(&says(&mut tty, "!!")[0], Output::Reply { parts, .. } if parts[0].starts_with(begin.as_bytes()))
        );
        for line in ["a", "b", "c"] {
            says(&mut tty, line);
        }
        assert_eq!(says(&mut tty, "/history"), [answered("   2  b\n   3  c")]);
        assert_eq!(says(&mut tty, "/history 1"), [answered("   3  c")]);
        assert_eq!(says(&mut tty, "/history x"), [answered("error \"x\" is no number of lines")]);
        assert_eq!(says(&mut tty, "!2"), [sent("b"), answered("b")]);
        assert_eq!(says(&mut tty, "!!"), [sent("b"), answered("b")]);
        assert_eq!(says(&mut tty, "/history"), [answered("   4  b\n   5  b")]);
        assert!(matches!(says(&mut tty, "!3")[..], [Output::Reply { .. }]), "too old");
    }

    #[test]
    fn the_number_of_lines_is_checked() {
        assert_eq!(tty(r#"{"history": 10001}"#).expect_err("too many").field, ["attrs", "history"]);
        let none =
            Tty::configure(&mut Setup::new("t", &Attrs::default(), &[], 1)).expect_err("no application");
        assert_eq!(none.field, ["routes", APP]);
        let mut forgetful = tty(r#"{"history": 0}"#).expect("right");
        says(&mut forgetful, "a");
        assert_eq!(says(&mut forgetful, "/history"), [answered("no lines yet")]);
    }

    proptest! {
        #[test]
        fn history_stays_within_its_bounds(lines in proptest::collection::vec(1usize..700_000, 0..12), lines_max in 0usize..6) {
            let mut history = History::new(lines_max);
            for (number, bytes) in (1..).zip(&lines) {
                history.keep(&"x".repeat(*bytes));
                prop_assert!(history.lines.len() <= lines_max && history.bytes <= BYTES_MAX);
                prop_assert_eq!(history.bytes, history.lines.iter().map(String::len).sum::<usize>());
                prop_assert_eq!(history.first + history.lines.len() as u64, number + 1);
            }
        }
    }
}
