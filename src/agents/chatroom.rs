//! The chatroom of the lab: every server keeps a log of all messages it has seen, its own included.
//!
//! **Problem.** A message broadcast at one server enters the logs of all servers that are alive, in the sender's order
//! (FIFO broadcast). A restarted server begins with an empty log and does not catch up.
//!
//! **State.** The log, append-only, with a limit in bytes.
//!
//! **Messages.** `msg <sender> <contents>`, one a broadcast, to every linked server.
//!
//! **Invariants.** A broadcast is in the sender's own log before the next command is read. Messages of one sender enter
//! every log in the order in which they were broadcast, each at most once: both rest on the link's being one ordered
//! stream, of which every line is handed on exactly once.
//!
//! Source: Cornell CS 5414, "Lab 0: Chat Room". We differ in that the log has a limit: beyond it, broadcasts are refused
//! and messages of others are dropped, both counted.

mod command;
mod log;

use ::log::{Level, debug, info, log_enabled, warn};
use bytes::Bytes;

use self::command::{Command, CommandError};
pub use self::log::{LogFull, MessageLog};
use crate::agent::{Agent, Audience, Commands, Input, NoMessage, Outbox};
use crate::seldom;
use crate::time::Time;

/// What masters can ask of a chatroom, for whoever tells them.
pub const COMMANDS: &str = "get, broadcast <message>";

/// One server's part of the chatroom.
#[derive(Debug)]
pub struct Chatroom {
    log: MessageLog,
    /// `msg <own id> `: what each line to the others begins with.
    msg_prefix: Vec<u8>,
    refused_broadcasts: u64,
    dropped_messages: u64,
    bad_broadcasts: u64,
}

impl Agent for Chatroom {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Lines { from, lines } => {
                if log_enabled!(Level::Debug) {
                    self.deliver(lines.inspect(|contents| {
                        debug!(
                            "chatroom: message from={from} contents={:?}",
                            String::from_utf8_lossy(contents)
                        );
                    }));
                } else {
                    self.deliver(lines);
                }
            }
            Input::Commands { commands } => self.obey(commands, out),
            _ => {}
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("messages", self.log.count()),
            ("log_bytes", self.log.bytes() as u64),
            ("broadcasts_refused", self.refused_broadcasts),
            ("messages_dropped", self.dropped_messages),
        ]
    }
}

impl Chatroom {
    /// An empty chatroom whose lines to others begin with `msg_prefix` and whose log takes `log_bytes_max` bytes.
    pub fn new(msg_prefix: Vec<u8>, log_bytes_max: usize) -> Self {
        let (refused_broadcasts, dropped_messages, bad_broadcasts) = (0, 0, 0);
        let log = MessageLog::new(log_bytes_max);
        Self { log, msg_prefix, refused_broadcasts, dropped_messages, bad_broadcasts }
    }

    /// The log, for those who count.
    pub fn log(&self) -> &MessageLog {
        &self.log
    }

    /// Takes the commands that are the chatroom's, up to the first that has to be answered.
    fn obey(&mut self, mut commands: Commands<'_>, out: &mut Outbox<NoMessage>) {
        let mut lines = Vec::with_capacity(commands.rest_bytes());
        let request = loop {
            if !log_enabled!(Level::Debug) {
                self.broadcast(commands.run(b"broadcast "), &mut lines);
            }
            let Some(line) = commands.peek() else { break None };
            match Command::parse(line) {
                Ok(Command::Broadcast(contents)) => {
                    debug!("chatroom: broadcast contents={:?}", String::from_utf8_lossy(contents));
                    self.broadcast(std::iter::once(contents), &mut lines);
                }
                Ok(Command::Get) => {
                    info!("chatroom: get session={}", commands.session().0);
                    commands.take();
                    break Some(commands.will_answer());
                }
                Err(CommandError::Broadcast(why)) => {
                    if seldom::count(&mut self.bad_broadcasts) {
                        let (session, so_far) = (commands.session().0, self.bad_broadcasts);
                        warn!("chatroom: bad broadcast session={session} why=\"{why}\" so_far={so_far}");
                    }
                }
                Err(CommandError::Unknown) => break None,
            }
            commands.take();
        };
        if !lines.is_empty() {
            // A few lines among many other commands must not keep room for all of them while they wait for a slow server.
            if lines.len() < lines.capacity() / 2 {
                lines.shrink_to_fit();
            }
            out.send_lines(Audience::Everyone, Bytes::from(lines));
        }
        if let Some(request) = request {
            out.reply_parts(request, self.get().collect());
        }
    }

    /// Puts own messages into the log, and into `lines`, framed for the other servers. What a full log refuses is not
    /// sent either.
    fn broadcast<'a>(&mut self, messages: impl Iterator<Item = &'a [u8]>, lines: &mut Vec<u8>) {
        for contents in messages {
            if self.log.append(contents).is_ok() {
                lines.extend_from_slice(&self.msg_prefix);
                lines.extend_from_slice(contents);
                lines.push(b'\n');
            } else {
                note_full(&mut self.refused_broadcasts, "broadcast refused");
            }
        }
    }

    /// Puts messages of another server into the log, in their order.
    fn deliver<'a>(&mut self, messages: impl Iterator<Item = &'a [u8]>) {
        for contents in messages {
            if self.log.append(contents).is_err() {
                note_full(&mut self.dropped_messages, "message dropped");
            }
        }
    }

    /// The answer to `get`, without its newline: `messages <m1>,<m2>,...`, as parts to be written one after the other.
    /// Nearly all of it is shared with the log, not copied.
    fn get(&self) -> impl Iterator<Item = Bytes> {
        std::iter::once(Bytes::from_static(b"messages ")).chain(self.log.joined())
    }
}

/// Counts what a full log could not take.
#[cold]
fn note_full(count: &mut u64, what: &str) {
    if seldom::count(count) {
        warn!("chatroom: the log is full, {what} so_far={count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Output, Request, Session, Taken};

    fn answer(chatroom: &Chatroom) -> String {
        let bytes: Vec<u8> = chatroom.get().flatten().collect();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn messages<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        texts.iter().map(|text| text.as_bytes())
    }

    #[test]
    fn an_empty_log_answers_with_nothing_after_the_blank() {
        assert_eq!(answer(&Chatroom::new(b"msg 0 ".to_vec(), 100)), "messages ");
    }

    #[test]
    fn a_broadcast_is_in_the_own_log_and_framed_for_the_others() {
        let mut chatroom = Chatroom::new(b"msg 7 ".to_vec(), 100);
        let mut lines = Vec::new();
        chatroom.broadcast(messages(&["a b", "ü"]), &mut lines);
        assert_eq!(lines, "msg 7 a b\nmsg 7 ü\n".as_bytes());
        chatroom.deliver(messages(&["msg 1 x"]));
        assert_eq!(answer(&chatroom), "messages a b,ü,msg 1 x");
    }

    #[test]
    fn what_waits_for_a_slow_server_takes_little_more_room_than_its_bytes() {
        let mut chatroom = Chatroom::new(b"msg 0 ".to_vec(), 100);
        let region = ["broadcast x\n", &"get\n".repeat(10_000)].concat();
        let (taken, mut out) = (Taken::default(), Outbox::default());
        let request = Request { session: Session(1), number: 0 };
        let commands = Commands::new(region.as_bytes(), true, request, &taken);
        chatroom.handle(Time::ZERO, Input::Commands { commands }, &mut out);
        let Some(Output::Lines { lines, .. }) = out.drain().next() else { panic!("nothing was sent") };
        assert_eq!(lines, "msg 0 x\n");
        let room_bytes = Vec::from(lines).capacity();
        assert!(room_bytes < 64, "{room_bytes}");
    }

    #[test]
    fn a_full_log_refuses_and_counts_and_sends_nothing() {
        let mut chatroom = Chatroom::new(b"msg 0 ".to_vec(), 8);
        let mut lines = Vec::new();
        chatroom.broadcast(messages(&["aaaa", "bbbb", "cc"]), &mut lines);
        assert_eq!(lines, b"msg 0 aaaa\nmsg 0 cc\n");
        assert_eq!(chatroom.refused_broadcasts, 1);
        chatroom.deliver(messages(&["dd", ""]));
        assert_eq!(chatroom.dropped_messages, 2);
        assert_eq!(answer(&chatroom), "messages aaaa,cc");
    }
}
