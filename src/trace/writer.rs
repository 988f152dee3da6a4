//! Writing a trace while it happens.

use std::io::{self, Write};

use super::{Event, What};

/// Writes events as lines of JSON, whole lines at a time: who is killed leaves at most one cut line behind.
///
/// Tracing must never be the reason why a server stops. After the first error nothing more is written, and the error is told once.
#[derive(Debug)]
pub struct Writer<W: Write> {
    inner: W,
    waiting: Vec<u8>,
    bytes_left: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Writing,
    /// The limit was reached, or an error came that [`Writer::end_turn`] has told.
    Ended,
    Failed(io::Error),
}

impl<W: Write> Writer<W> {
    /// A trace in `inner` of at most about `bytes_max` bytes; its last line then says that it ends there.
    pub fn new(inner: W, bytes_max: u64) -> Self {
        Self {
            inner,
            waiting: Vec::with_capacity(WAITING_BYTES_MAX),
            bytes_left: bytes_max,
            state: State::Writing,
        }
    }

    /// Takes an event; it is written by the end of the turn at the latest.
    pub fn write(&mut self, event: &Event) {
        if !matches!(self.state, State::Writing) {
            return;
        }
        let before = self.waiting.len();
        self.append(event);
        let taken = (self.waiting.len() - before) as u64;
        let Some(left) = self.bytes_left.checked_sub(taken) else {
            self.waiting.truncate(before);
            self.end_at(event);
            return;
        };
        self.bytes_left = left;
        if self.waiting.len() >= WAITING_BYTES_MAX {
            self.hand_on();
        }
    }

    /// Hands everything on to where the trace is kept. Call it when a turn of the loop has ended, before messages leave that the
    /// turn has sent: so a trace knows of each message that somebody received, even if this process is killed next.
    pub fn end_turn(&mut self) -> io::Result<()> {
        self.hand_on();
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(error) => Err(error),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    /// What was written to, after the last turn.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.end_turn()?;
        Ok(self.inner)
    }

    /// The limit is reached: a last line says so.
    fn end_at(&mut self, event: &Event) {
        let text = "the trace has reached its limit and ends here".to_owned();
        self.append(&Event { at_ns: event.at_ns, server: event.server.clone(), what: What::Note { text } });
        self.hand_on();
        if matches!(self.state, State::Writing) {
            self.state = State::Ended;
        }
    }

    fn append(&mut self, event: &Event) {
        serde_json::to_writer(&mut self.waiting, event)
            .expect("an event has only plain fields, and a vector takes them");
        self.waiting.push(b'\n');
    }

    fn hand_on(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if !matches!(self.state, State::Failed(_))
            && let Err(error) = self.inner.write_all(&self.waiting).and_then(|()| self.inner.flush())
        {
            self.state = State::Failed(error);
        }
        self.waiting.clear();
    }
}

/// How much is gathered before it is handed on within a turn.
const WAITING_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(at_ns: u64) -> Event {
        Event { at_ns, server: "0".into(), what: What::Note { text: "x".into() } }
    }

    /// Takes so many writes and then fails.
    struct Fragile(u32, Vec<u8>);

    impl Write for Fragile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("the disk is full"))?;
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_turn_is_one_write_of_whole_lines() {
        let mut writer = Writer::new(Fragile(1, Vec::new()), 1000);
        writer.write(&note(1));
        writer.write(&note(2));
        writer.end_turn().expect("the first write succeeds");
        let Fragile(_, bytes) = writer.into_inner().expect("nothing is left to write");
        let lines = r#"{"at_ns":1,"server":"0","event":"note","text":"x"}
{"at_ns":2,"server":"0","event":"note","text":"x"}
"#;
        assert_eq!(String::from_utf8(bytes).expect("JSON"), lines);
    }

    #[test]
    fn an_error_is_told_once_and_ends_the_trace() {
        let mut writer = Writer::new(Fragile(0, Vec::new()), 1000);
        writer.write(&note(1));
        assert!(writer.end_turn().is_err());
        writer.write(&note(2));
        assert!(writer.end_turn().is_ok());
    }

    #[test]
    fn the_limit_is_kept_and_said() {
        let mut writer = Writer::new(Vec::new(), 120);
        for at_ns in 0..10 {
            writer.write(&note(at_ns));
        }
        let text = String::from_utf8(writer.into_inner().expect("a vector takes everything")).expect("JSON");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("ends here\"}\n"), "{text}");
    }
}
