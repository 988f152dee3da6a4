//! A master's connection to one server: a command goes out, a line comes back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use memchr::memchr;

/// How long a server may take to answer one command before it counts as hung.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 256 * 1024;

/// A connection to a server's master port.
#[derive(Debug)]
pub struct Master {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Master {
    /// Connects once; a server that does not listen yet is an error to retry.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// As [`Master::connect`], for a server that listens elsewhere.
    pub fn connect_to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(250)))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, inbox: Vec::new() })
    }

    /// The socket, for those who feed it without waiting.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What has come that no answer was made of.
    pub(super) fn into_unread(self) -> Vec<u8> {
        self.inbox
    }

    /// Sends a command and waits for its one line.
    pub fn ask(&mut self, command: &str) -> anyhow::Result<Vec<u8>> {
        self.send(command)?;
        self.answer(ANSWER_LIMIT).with_context(|| format!("no answer to `{command}`"))
    }

    /// Sends a command that has no answer.
    pub fn send(&mut self, command: &str) -> anyhow::Result<()> {
        let line = [command.as_bytes(), b"\n"].concat();
        self.write(&line).with_context(|| format!("cannot send `{command}`"))
    }

    /// Sends whole lines.
    pub fn write(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(lines).context("the server does not take the master's commands")
    }

    /// The next line that comes, without its newline. The limit counts from the last byte that came, so that a long
    /// answer may take its time and a hung server is still noticed.
    pub fn answer(&mut self, limit: Duration) -> anyhow::Result<Vec<u8>> {
        let mut searched = 0;
        let mut last_byte = Instant::now();
        loop {
            if let Some(end) = memchr(b'\n', &self.inbox[searched..]) {
                let rest = self.inbox.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.inbox, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.inbox.len();
            self.inbox.resize(searched + READ_BYTES, 0);
            let outcome = self.stream.read(&mut self.inbox[searched..]);
            self.inbox.truncate(searched + outcome.as_ref().map_or(0, |&count| count));
            match outcome {
                Ok(0) => anyhow::bail!("the server closed the master's connection"),
                Ok(_) => last_byte = Instant::now(),
                Err(error) if is_timeout(&error) => {
                    anyhow::ensure!(last_byte.elapsed() < limit, "nothing came for {} s", limit.as_secs());
                }
                Err(error) => return Err(error).context("the master's connection broke"),
            }
        }
    }

    /// The ids that the server reports alive.
    pub fn alive(&mut self) -> anyhow::Result<Vec<usize>> {
        let answer = self.ask("alive")?;
        let text = String::from_utf8_lossy(&answer);
        let ids = text.trim_end().strip_prefix("alive ").map(|ids| ids.split(',').map(str::parse).collect());
        match ids {
            Some(Ok(ids)) => Ok(ids),
            _ => anyhow::bail!("`{text}` is no answer to `alive`"),
        }
    }

    /// How many messages the server has, by `status`.
    pub fn message_count(&mut self) -> anyhow::Result<u64> {
        let answer = self.ask("status")?;
        let status: serde_json::Value = serde_json::from_slice(&answer)
            .with_context(|| format!("`{}` is no answer to `status`", String::from_utf8_lossy(&answer)))?;
        status["messages"].as_u64().context("the answer to `status` holds no number `messages`")
    }

    /// The messages of the server, joined with commas.
    pub fn log(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut answer = self.ask("get")?;
        let head = b"messages ";
        if !answer.starts_with(head) {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
            anyhow::bail!("`{shown}` is no answer to `get`");
        }
        answer.drain(..head.len());
        Ok(answer)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
