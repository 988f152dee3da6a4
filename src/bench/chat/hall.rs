//! Many clients in one thread: their connections, what they write, and what comes.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::{Events, Interest, Poll, Token};
use prost::Message as _;

use crate::bench::log::cluster::Cluster;
use crate::bench::log::messenger::{log_in, put, register};
use crate::talk;
use crate::wire::LengthCutter;
use crate::wire::proto::{self, Position, Route, route};

/// A client that is logged in.
pub(super) struct Line {
    /// Its user.
    pub(super) user: String,
    /// What waits to be written.
    pub(super) out: Vec<u8>,
    stream: mio::net::TcpStream,
    cutter: LengthCutter,
    is_ready: bool,
}

/// Something that came to one client.
pub(super) struct Came<'a> {
    /// To which.
    pub(super) place: usize,
    /// What.
    pub(super) route: &'a Route,
    /// What that client writes.
    pub(super) out: &'a mut Vec<u8>,
}

/// All clients.
pub(super) struct Hall {
    poll: Poll,
    pub(super) lines: Vec<Line>,
    buffer: Vec<u8>,
    last_progress: Instant,
}

impl Hall {
    /// Nobody yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        let buffer = vec![0; READ_BYTES];
        Ok(Self { poll: Poll::new()?, lines: Vec::new(), buffer, last_progress: Instant::now() })
    }

    /// Registers `user` if it is none yet, and logs it in at server `id` of `cluster`. Its place among the lines.
    pub(super) fn enter(&mut self, cluster: &Cluster, id: usize, user: &str) -> anyhow::Result<usize> {
        let stream =
            cluster.places()[id].connect().with_context(|| format!("server {id} cannot be reached"))?;
        let mut line = talk::Line::over(stream.try_clone()?);
        register(&mut line, user)?;
        log_in(&mut line, user)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let place = self.lines.len();
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        let (out, cutter) = (Vec::new(), LengthCutter::new(FRAME_BYTES_MAX));
        self.lines.push(Line { user: user.to_owned(), out, stream, cutter, is_ready: true });
        Ok(place)
    }

    /// Writes and reads whatever can be, hands what has come to `each`, and waits for at most `patience` if there
    /// was nothing.
    pub(super) fn turn(
        &mut self,
        patience: Duration,
        each: &mut dyn FnMut(Came<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut has_moved = false;
        for place in 0..self.lines.len() {
            let line = &mut self.lines[place];
            if line.is_ready || !line.out.is_empty() {
                has_moved |= line.exchange(place, &mut self.buffer, each)?;
            }
        }
        if has_moved {
            self.last_progress = Instant::now();
            return Ok(());
        }
        anyhow::ensure!(
            self.last_progress.elapsed() < ANSWER_LIMIT,
            "nothing came from any server for {} s",
            ANSWER_LIMIT.as_secs()
        );
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome?,
        }
        for event in &events {
            self.lines[event.token().0].is_ready = true;
        }
        Ok(())
    }

    /// Asks over one line until the answer pleases; what else comes meanwhile is passed over.
    pub(super) fn ask_until(
        &mut self,
        place: usize,
        route: &Route,
        pleases: &mut dyn FnMut(&Route) -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut is_done = false;
        while !is_done {
            anyhow::ensure!(begin.elapsed() < ANSWER_LIMIT, "no server says what is waited for");
            put(&mut self.lines[place].out, route);
            let asked = Instant::now();
            let mut is_answered = false;
            while !is_answered && asked.elapsed() < ANSWER_LIMIT {
                self.turn(Duration::from_millis(5), &mut |came| {
                    if came.place == place && came.route.id == route.id {
                        is_answered = true;
                        is_done |= pleases(came.route);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

impl Line {
    /// Writes what the socket takes and reads once; whether anything moved.
    fn exchange(
        &mut self,
        place: usize,
        buffer: &mut [u8],
        each: &mut dyn FnMut(Came<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut has_written = false;
        if !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => {
                    self.out.drain(..count);
                    has_written = true;
                }
                Err(error) if waits(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("{}'s connection broke", self.user)),
            }
        }
        let count = match self.stream.read(buffer) {
            Ok(0) => anyhow::bail!("a server closed {}'s connection", self.user),
            Ok(count) => count,
            Err(error) if waits(&error) => {
                self.is_ready = false;
                return Ok(has_written);
            }
            Err(error) => return Err(error).with_context(|| format!("{}'s connection broke", self.user)),
        };
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            for frame in self.cutter.cut(&mut bytes)? {
                each(Came { place, route: &Route::decode(frame)?, out: &mut self.out })?;
            }
        }
        self.is_ready = true;
        Ok(true)
    }
}

/// Whether a socket only says that it can do nothing now.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The messages that were pushed, if that is what came.
pub(super) fn pushed(route: &Route) -> &[proto::Message] {
    match &route.payload {
        Some(route::Payload::MessagesResponse(response)) => &response.messages,
        _ => &[],
    }
}

/// Whether a message that was sent under this number was accepted; `None` if it is no answer. A refusal is an error.
pub(super) fn accepted(route: &Route) -> anyhow::Result<Option<i64>> {
    match &route.payload {
        Some(route::Payload::Response(response)) if response.success == Some(true) => Ok(Some(route.id)),
        Some(route::Payload::Response(response)) => {
            anyhow::bail!(
                "message {} was refused: {}",
                route.id,
                response.message.as_deref().unwrap_or_default()
            )
        }
        _ => Ok(None),
    }
}

/// Acknowledges everything up to the last of these messages of each conversation.
pub(super) fn acknowledge(messages: &[proto::Message], out: &mut Vec<u8>) {
    let mut acknowledged: Vec<Position> = Vec::new();
    for position in messages.iter().filter_map(|message| message.position.as_ref()) {
        match acknowledged.iter_mut().find(|known| known.conversation == position.conversation) {
            Some(known) => known.sequence = known.sequence.max(position.sequence),
            None => acknowledged.push(*position),
        }
    }
    if !acknowledged.is_empty() {
        put(out, &Route { acknowledged, path: route::Path::Response as i32, ..Route::default() });
    }
}

/// The question for all conversations.
pub(super) fn conversations_request() -> Route {
    Route { id: -2, conversations_request: Some(proto::ConversationsRequest {}), ..Route::default() }
}

/// Whether everything is read in every conversation, of which there is at least one.
pub(super) fn all_is_read(route: &Route) -> bool {
    let entries = route.conversations.as_ref().map(|all| all.entries.as_slice()).unwrap_or_default();
    !entries.is_empty() && entries.iter().all(|entry| entry.read == entry.last)
}

const READ_BYTES: usize = 256 * 1024;
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Servers that say nothing for so long have hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
