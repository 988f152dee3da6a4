//! Lines in, lines out, as they are: for scripts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// How many lines may wait to be shown before the box has to wait.
const LINES_MAX: usize = 256;

enum News {
    Line(Vec<u8>),
    InputEnded,
    Closed,
}

/// Carries `input` to the box and what it says to `output`, until the box closes the connection, or until it has been silent for
/// `linger` after the end of the input.
pub(super) fn talk(
    stream: BufReader<TcpStream>,
    input: impl Read + Send + 'static,
    output: &mut impl Write,
    linger: Duration,
) -> anyhow::Result<ExitCode> {
    let (sender, news) = bounded(LINES_MAX);
    let outwards = stream.get_ref().try_clone().context("cannot use the connection")?;
    let told = sender.clone();
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        // If the connection is gone, the other thread says so.
        let _ = carry(input, outwards);
        let _ = told.send(News::InputEnded);
    })?;
    thread::Builder::new().name("answers".to_owned()).spawn(move || read_lines(stream, &sender))?;
    let mut limit = None;
    loop {
        let received = match limit {
            Some(limit) => news.recv_timeout(limit),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(News::Line(line)) => match output.write_all(&line).and_then(|()| output.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.context("cannot write what the box says")?,
            },
            Ok(News::InputEnded) => limit = Some(linger),
            Ok(News::Closed) if limit.is_none() => bail!("the box has closed the connection"),
            Ok(News::Closed) | Err(_) => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Carries bytes as they come. A last line without a newline is given one.
fn carry(input: impl Read, mut to: TcpStream) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut last = b'\n';
    loop {
        let bytes = input.fill_buf()?;
        let Some(end) = bytes.last() else { break };
        last = *end;
        to.write_all(bytes)?;
        let read = bytes.len();
        input.consume(read);
    }
    if last == b'\n' { Ok(()) } else { to.write_all(b"\n") }
}

fn read_lines(mut stream: BufReader<TcpStream>, sender: &Sender<News>) {
    loop {
        let mut line = Vec::new();
        match stream.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if sender.send(News::Line(line)).is_err() {
                    return;
                }
            }
        }
    }
    let _ = sender.send(News::Closed);
}
