//! The load: one thread that keeps a fixed number of records under way over one or several connections, and takes the time of each.
//!
//! The loop is closed: a record is sent when another one has been answered. All records that one read made room for leave with one write, as a busy
//! client's would, and what that costs is counted beside the figures, since the load runs on the servers' machine.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::{Events, Interest, Poll, Token};

use super::wire::{Answer, Wire};
use crate::bench::feed::own_cpu;
use crate::bench::verify::push_message;

const READ_BYTES: usize = 256 * 1024;
/// Servers that answer nothing for so long have hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection to one server, greeted.
pub(in crate::bench) struct Client {
    stream: TcpStream,
    wire: Box<dyn Wire>,
}

impl Client {
    /// Says what has to be said first.
    pub(in crate::bench) fn open(mut stream: TcpStream, mut wire: Box<dyn Wire>) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        wire.open(&mut stream)?;
        Ok(Self { stream, wire })
    }

    /// Appends one record and waits for its acknowledgement.
    pub(in crate::bench) fn append_once(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        let (mut out, mut answers) = (Vec::new(), Vec::new());
        self.wire.append(0, b"the servers are ready when this is acknowledged", &mut out)?;
        let mut buffer = [0; 4096];
        loop {
            self.stream.write_all(&out)?;
            out.clear();
            if let Some(Answer { refusal, .. }) = answers.pop() {
                anyhow::ensure!(refusal.is_none(), "a record was refused: {}", refusal.unwrap_or_default());
                return Ok(());
            }
            let count = self.stream.read(&mut buffer).context("no answer to a record")?;
            anyhow::ensure!(count > 0, "the server closed the connection");
            self.wire.take(&buffer[..count], &mut answers, &mut out)?;
        }
    }

    /// From now on [`exchange`](Self::exchange) does not wait.
    pub(in crate::bench) fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// From now on the places of the log are kept that acknowledgements name, where they do.
    pub(in crate::bench) fn keep_places(&mut self) {
        self.wire.keep_places();
    }

    /// Those that were kept since the last time.
    pub(in crate::bench) fn places(&mut self) -> Vec<u64> {
        self.wire.places()
    }

    /// Puts the request to append a record behind `out`.
    pub(in crate::bench) fn append(
        &mut self,
        number: u32,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        self.wire.append(number, record, out)
    }

    /// Writes what the socket takes and reads what has come.
    pub(in crate::bench) fn exchange(
        &mut self,
        out: &mut Vec<u8>,
        buffer: &mut [u8],
        answers: &mut Vec<Answer>,
    ) -> anyhow::Result<()> {
        let would_block = |error: io::Error| {
            if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
        };
        if !out.is_empty() {
            let written = self.stream.write(out).or_else(would_block).context("a connection broke")?;
            out.drain(..written);
        }
        let count = match self.stream.read(buffer) {
            Ok(0) => anyhow::bail!("a server closed a client's connection"),
            outcome => outcome.or_else(would_block).context("a connection broke")?,
        };
        self.wire.take(&buffer[..count], answers, out)
    }
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Flow {
    /// How many records are under way, over all connections together.
    pub(in crate::bench) in_flight: usize,
    /// The length of each.
    pub(in crate::bench) bytes: usize,
    /// What does not count, at the beginning.
    pub(in crate::bench) warm_up: Duration,
    /// When it ends.
    pub(in crate::bench) until: Until,
}

/// When the load ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) enum Until {
    /// After so long, warm-up not counted.
    Elapsed(Duration),
    /// After so many records.
    Records(u64),
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub(in crate::bench) struct Outcome {
    /// Records acknowledged after the warm-up and before the end.
    pub(in crate::bench) acknowledged: u64,
    /// How long that took.
    pub(in crate::bench) elapsed: Duration,
    /// From when each was put into the connection until its acknowledgement was read, in milliseconds, ascending.
    pub(in crate::bench) latencies_ms: Vec<f64>,
    /// The processor time that the load used meanwhile.
    pub(in crate::bench) generator_cpu: Duration,
}

/// Sends records over all connections and returns when every one of them is acknowledged. A refusal is an error. `begun` is called once the warm-up is
/// over, `ended` when nothing more is counted.
pub(in crate::bench) fn run(
    clients: Vec<Client>,
    flow: &Flow,
    begun: &mut dyn FnMut(),
    ended: &mut dyn FnMut(),
) -> anyhow::Result<Outcome> {
    let mut load = Load::new(clients, flow)?;
    let mut events = Events::with_capacity(load.lanes.len().max(1));
    loop {
        load.clock(begun, ended);
        let mut is_quiet = true;
        for index in 0..load.lanes.len() {
            is_quiet &= !load.turn(index)?;
        }
        if load.is_over && load.lanes.iter().all(|lane| lane.under_way == 0) {
            return Ok(load.into_outcome());
        }
        if !is_quiet {
            continue;
        }
        anyhow::ensure!(
            load.last_progress.elapsed() < ANSWER_LIMIT,
            "no record was acknowledged for {} s",
            ANSWER_LIMIT.as_secs()
        );
        match load.poll.poll(&mut events, Some(load.patience())) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome?,
        }
        for event in &events {
            load.lanes[event.token().0].is_ready = true;
        }
    }
}

/// One connection in use.
struct Lane {
    stream: mio::net::TcpStream,
    wire: Box<dyn Wire>,
    /// What waits to be written.
    out: Vec<u8>,
    /// How many records may be under way here.
    in_flight: usize,
    under_way: usize,
    /// When each record was put into `out`, by its number.
    sent: Vec<Instant>,
    is_ready: bool,
}

struct Load {
    poll: Poll,
    lanes: Vec<Lane>,
    flow: Flow,
    begin: Instant,
    /// When the warm-up was over.
    counted_from: Option<Instant>,
    is_over: bool,
    sent: u64,
    outcome: Outcome,
    cpu_before: Duration,
    last_progress: Instant,
    buffer: Vec<u8>,
    answers: Vec<Answer>,
    record: Vec<u8>,
}

impl Load {
    fn new(clients: Vec<Client>, flow: &Flow) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let count = clients.len();
        let mut lanes = Vec::new();
        for (index, client) in clients.into_iter().enumerate() {
            client.stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(client.stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            // The first connections carry what does not divide.
            let in_flight = flow.in_flight / count + usize::from(index < flow.in_flight % count);
            lanes.push(Lane {
                stream,
                wire: client.wire,
                out: Vec::new(),
                in_flight,
                under_way: 0,
                sent: Vec::new(),
                is_ready: true,
            });
        }
        let now = Instant::now();
        Ok(Self {
            poll,
            lanes,
            flow: *flow,
            begin: now,
            counted_from: None,
            is_over: false,
            sent: 0,
            outcome: Outcome::default(),
            cpu_before: Duration::ZERO,
            last_progress: now,
            buffer: vec![0; READ_BYTES],
            answers: Vec::new(),
            record: Vec::new(),
        })
    }

    /// Begins and ends what is counted.
    fn clock(&mut self, begun: &mut dyn FnMut(), ended: &mut dyn FnMut()) {
        let now = Instant::now();
        if self.counted_from.is_none() && now >= self.begin + self.flow.warm_up {
            begun();
            self.counted_from = Some(Instant::now());
            self.cpu_before = own_cpu();
        }
        let is_over = match (self.flow.until, self.counted_from) {
            (Until::Elapsed(length), Some(from)) => now >= from + length,
            (Until::Records(count), _) => self.outcome.acknowledged >= count,
            (Until::Elapsed(_), None) => false,
        };
        if is_over && !self.is_over {
            self.is_over = true;
            self.outcome.generator_cpu = own_cpu().saturating_sub(self.cpu_before);
            self.outcome.elapsed = self.counted_from.map(|from| from.elapsed()).unwrap_or_default();
            ended();
        }
    }

    /// How long to wait for an event at most.
    fn patience(&self) -> Duration {
        let until = match (self.counted_from, self.flow.until) {
            (None, _) => self.begin + self.flow.warm_up,
            (Some(from), Until::Elapsed(length)) => from + length,
            (Some(_), Until::Records(_)) => return ANSWER_LIMIT,
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { ANSWER_LIMIT } else { left }
    }

    /// Tops one connection up, writes and reads once. Says whether anything happened.
    fn turn(&mut self, index: usize) -> anyhow::Result<bool> {
        let lane = &mut self.lanes[index];
        if !lane.is_ready {
            return Ok(false);
        }
        let quota = match self.flow.until {
            Until::Records(count) => usize::try_from(count - self.sent).unwrap_or(usize::MAX),
            Until::Elapsed(_) if self.is_over => 0,
            Until::Elapsed(_) => usize::MAX,
        };
        let room = lane.in_flight.saturating_sub(lane.under_way).min(quota);
        let now = Instant::now();
        for _ in 0..room {
            let number = u32::try_from(lane.sent.len()).context("too many records on one connection")?;
            self.record.clear();
            push_message(&mut self.record, index, u64::from(number), self.flow.bytes);
            lane.wire.append(number, &self.record, &mut lane.out)?;
            lane.sent.push(now);
        }
        lane.under_way += room;
        self.sent += room as u64;
        let has_written = lane.write()?;
        let has_read = self.read(index)?;
        let lane = &mut self.lanes[index];
        lane.is_ready = has_read || (has_written && !lane.out.is_empty());
        Ok(lane.is_ready)
    }

    fn read(&mut self, index: usize) -> anyhow::Result<bool> {
        let lane = &mut self.lanes[index];
        let count = match lane.stream.read(&mut self.buffer) {
            Ok(0) => anyhow::bail!("a server closed a connection"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error).context("a connection broke"),
        };
        lane.wire.take(&self.buffer[..count], &mut self.answers, &mut lane.out)?;
        if self.answers.is_empty() {
            return Ok(true);
        }
        let now = Instant::now();
        self.last_progress = now;
        for answer in self.answers.drain(..) {
            if let Some(refusal) = answer.refusal {
                anyhow::bail!("a record was refused: {refusal}");
            }
            lane.under_way = lane.under_way.checked_sub(1).context("more answers than records")?;
            let sent = lane.sent.get(answer.number as usize).context("an answer to nothing that was sent")?;
            if !self.is_over && self.counted_from.is_some() {
                self.outcome.acknowledged += 1;
                self.outcome.latencies_ms.push(now.duration_since(*sent).as_secs_f64() * 1e3);
            }
        }
        Ok(true)
    }

    fn into_outcome(self) -> Outcome {
        let mut outcome = self.outcome;
        outcome.latencies_ms.sort_by(f64::total_cmp);
        outcome
    }
}

impl Lane {
    /// Writes what waits, as far as the socket takes it. Says whether it took anything.
    fn write(&mut self) -> anyhow::Result<bool> {
        if self.out.is_empty() {
            return Ok(false);
        }
        match self.stream.write(&self.out) {
            Ok(count) => {
                self.out.drain(..count);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("a connection broke"),
        }
    }
}
