//! An installed nats-server with the fan-out of a grid: each of `n` clients subscribes to one subject and publishes its
//! share, so that every client gets every message, its own too.
//!
//! Core publish/subscribe is the broker at its fastest: it keeps nothing, and a subscriber that comes later has missed
//! everything, while a grid keeps every message on every server. A delivery is a message frame that reached a client.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use memchr::memchr;
use mio::{Events, Interest, Poll, Token};

use super::feed::{feed, own_cpu};
use super::fleet::{scratch_file, tail};
use super::groups::Group;
use super::master::ANSWER_LIMIT;
use super::sample::{Cell, Run};
use super::usage::Usage;
use super::verify::push_message;

const READ_BYTES: usize = 256 * 1024;
const SUBJECT: &str = "grid";

/// One run: a fresh broker, `n` clients, everything published and everything received.
pub(super) fn measure(program: &Path, cell: Cell, messages: u64) -> anyhow::Result<Run> {
    let broker = Broker::start(program)?;
    let outcome = broker.drive(cell, messages);
    outcome.map_err(|error| {
        let said = tail(&broker.stderr);
        error.context(format!(
            "{} failed; the end of its standard error:\n{}\nand the bench",
            program.display(),
            said.trim_end()
        ))
    })
}

struct Broker {
    group: Group,
    port: u16,
    stderr: fs::File,
    configuration: PathBuf,
}

impl Broker {
    fn start(program: &Path) -> anyhow::Result<Self> {
        // The port is free the moment it is asked for. Who takes it in between makes the broker fail, and it says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let configuration = std::env::temp_dir().join(format!("ovid-bench-{}-nats.conf", std::process::id()));
        // A client that falls behind must not be cut off: what counts is the time until all have everything.
        let text = format!("host: 127.0.0.1\nport: {port}\nmax_pending: 2GB\nwrite_deadline: \"60s\"\n");
        fs::write(&configuration, text)
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let stderr = scratch_file()?;
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone()?);
        let group = Group::start(&mut command).map_err(|error| {
            let _ = fs::remove_file(&configuration);
            error.context(
                "is nats-server installed? Debian's package has that name, and --peer-bin takes a path",
            )
        })?;
        Ok(Self { group, port, stderr, configuration })
    }

    fn drive(&self, cell: Cell, messages: u64) -> anyhow::Result<Run> {
        let expected = cell.expected(messages);
        let clients: Vec<TcpStream> = (0..cell.n).map(|_| self.join()).collect::<Result<_, _>>()?;
        // The broker has read it; a signal that ends this process would leave it behind.
        let _ = fs::remove_file(&self.configuration);
        let loads: Vec<Vec<u8>> = expected
            .counts
            .iter()
            .enumerate()
            .map(|(sender, &count)| load(sender, count, cell.bytes))
            .collect();
        let groups = [self.group.pgid()];
        let usage_before = Usage::of_groups(&groups).ok();
        let cpu_before = own_cpu();
        let start = Instant::now();
        let elapsed = thread::scope(|scope| {
            let streams: Vec<&TcpStream> = clients.iter().collect();
            for client in &clients {
                client.set_nonblocking(true)?;
            }
            let receiver = scope.spawn(|| receive_all(&clients, expected.total(), cell.bytes));
            // The receiver still reads when the last byte is written: the clients stay non-blocking to the end.
            feed(&streams, &loads)?;
            let end = receiver.join().expect("the receiver does not panic")?;
            anyhow::Ok(end.duration_since(start))
        })?;
        let generator_cpu = own_cpu().saturating_sub(cpu_before);
        let grid_cpu_ns = Usage::cpu_between(usage_before, Usage::of_groups(&groups).ok());
        let load_bytes = loads.iter().map(|load| load.len() as u64).sum();
        Ok(Run {
            deliveries: expected.total() * cell.n as u64,
            elapsed,
            grid_cpu_ns,
            generator_cpu,
            load_bytes,
        })
    }

    /// Connects a client, subscribes it, and waits until the broker has seen both.
    fn join(&self) -> anyhow::Result<TcpStream> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => break stream,
                Err(error) => {
                    let end = self.group.leader_end();
                    anyhow::ensure!(
                        end.is_none(),
                        "the broker {} before it listened",
                        end.unwrap_or_default()
                    );
                    anyhow::ensure!(Instant::now() < deadline, "the broker does not listen: {error}");
                    thread::sleep(Duration::from_millis(2));
                }
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let hello =
            r#"CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"echo":true,"protocol":1}"#;
        stream.write_all(format!("{hello}\r\nSUB {SUBJECT} 1\r\nPING\r\n").as_bytes())?;
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"PONG\r\n") {
            // Byte by byte, so that nothing of what follows is taken away; this happens once.
            stream.read_exact(&mut byte).context("the broker does not answer a new client")?;
            said.push(byte[0]);
            anyhow::ensure!(
                said.len() < 65_536,
                "this is no nats-server: {}",
                String::from_utf8_lossy(&said[..80])
            );
        }
        Ok(stream)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.configuration);
    }
}

/// What a client publishes.
fn load(sender: usize, count: u64, bytes: usize) -> Vec<u8> {
    let head = format!("PUB {SUBJECT} {bytes}\r\n");
    let mut load = Vec::new();
    for number in 0..count {
        load.extend_from_slice(head.as_bytes());
        push_message(&mut load, sender, number, bytes);
        load.extend_from_slice(b"\r\n");
    }
    load
}

/// Reads all clients in one thread until each has `total` messages. Returns when the last one came.
fn receive_all(clients: &[TcpStream], total: u64, bytes: usize) -> anyhow::Result<Instant> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(clients.len().max(1));
    let mut receivers = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        let mut stream = mio::net::TcpStream::from_std(client.try_clone()?);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        receivers.push((stream, Frames::new(bytes), true));
    }
    let mut incomplete = clients.len();
    let mut buffer = vec![0; READ_BYTES];
    let mut last_progress = Instant::now();
    while incomplete > 0 {
        let mut is_quiet = true;
        for (stream, frames, is_readable) in receivers.iter_mut().filter(|(_, _, is_readable)| *is_readable) {
            match stream.read(&mut buffer) {
                Ok(0) => anyhow::bail!("the broker closed a client's connection"),
                Ok(count) => {
                    is_quiet = false;
                    let was_complete = frames.count >= total;
                    frames.take(&buffer[..count])?;
                    incomplete -= usize::from(!was_complete && frames.count >= total);
                    anyhow::ensure!(
                        frames.count <= total,
                        "a client got more than the {total} messages sent"
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_readable = false,
                Err(error) => return Err(error).context("a client's connection broke"),
            }
        }
        if !is_quiet {
            last_progress = Instant::now();
            continue;
        }
        anyhow::ensure!(
            last_progress.elapsed() < ANSWER_LIMIT,
            "no message came for {} s",
            ANSWER_LIMIT.as_secs()
        );
        match poll.poll(&mut events, Some(ANSWER_LIMIT)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome?,
        }
        for event in &events {
            receivers[event.token().0].2 = true;
        }
    }
    Ok(Instant::now())
}

/// Counts the message frames of a stream that comes in pieces, `MSG <subject> <sid> <bytes>\r\n<contents>\r\n`.
struct Frames {
    count: u64,
    /// The head that all messages of the run share, so that it need not be parsed.
    head: Vec<u8>,
    contents_bytes: usize,
    /// An incomplete head line.
    line: Vec<u8>,
    /// What is left of the contents of the current message, with their end of line.
    skip: usize,
}

impl Frames {
    fn new(contents_bytes: usize) -> Self {
        let head = format!("MSG {SUBJECT} 1 {contents_bytes}\r\n").into_bytes();
        Self { count: 0, head, contents_bytes, line: Vec::new(), skip: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let frame = self.head.len() + self.contents_bytes + 2;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                rest = &rest[skipped..];
                self.skip -= skipped;
                self.count += u64::from(self.skip == 0);
            } else if self.line.is_empty() && rest.len() >= frame && rest.starts_with(&self.head) {
                rest = &rest[frame..];
                self.count += 1;
            } else if let Some(end) = memchr(b'\n', rest) {
                self.line.extend_from_slice(&rest[..=end]);
                rest = &rest[end + 1..];
                self.end_of_line()?;
            } else {
                self.line.extend_from_slice(rest);
                rest = &[];
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> anyhow::Result<()> {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        if text.starts_with("MSG ") {
            let bytes: Option<usize> = text.rsplit(' ').next().and_then(|word| word.parse().ok());
            self.skip = bytes.with_context(|| format!("`{text}` has no length"))? + 2;
        } else {
            // A run is far shorter than the broker's interval of pings, so they need no answer.
            anyhow::ensure!(
                matches!(text, "PING" | "PONG" | "+OK") || text.starts_with("INFO "),
                "the broker said `{text}`"
            );
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_the_stream_is_cut() {
        let stream = b"PING\r\nMSG grid 1 5\r\nhello\r\nMSG grid 1 12\r\nMSG grid 1\r\n\r\nMSG grid 1 5\r\nworld\r\n+OK\r\nMSG grid 1 0\r\n\r\n";
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut frames = Frames::new(5);
                for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    frames.take(piece).unwrap();
                }
                assert_eq!(
                    (frames.count, frames.skip, frames.line.len()),
                    (4, 0, 0),
                    "cut at {first} and {second}"
                );
            }
        }
    }

    #[test]
    fn a_message_counts_only_when_it_is_whole() {
        let mut frames = Frames::new(5);
        frames.take(b"MSG grid 1 5\r\nhello\r").unwrap();
        assert_eq!(frames.count, 0);
        frames.take(b"\n").unwrap();
        assert_eq!(frames.count, 1);
    }

    #[test]
    fn what_the_broker_complains_about_is_an_error() {
        let error = Frames::new(5).take(b"-ERR 'Slow Consumer'\r\n").unwrap_err();
        assert!(error.to_string().contains("Slow Consumer"));
        assert!(Frames::new(5).take(b"MSG grid 1 many\r\n").is_err());
    }
}
