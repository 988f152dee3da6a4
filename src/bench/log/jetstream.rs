//! An installed nats-server with `JetStream`: each record is published to the subject of one stream that every server keeps, and its acknowledgement
//! comes back to an inbox.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::cluster::{Place, Standing};
use super::wire::{Answer, Lines, Wire, read_line};

const STREAM: &str = "LOG";
const SUBJECT: &str = "log";
const HELLO: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"echo\":true,\"protocol\":1}\r\n";
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Writes a server's configuration and returns the command that starts it.
pub(super) fn command(program: &Path, places: &[Place], id: usize, syncs: bool) -> anyhow::Result<Command> {
    let place = &places[id];
    let routes: Vec<String> =
        places.iter().map(|place| format!("\"nats://127.0.0.1:{}\"", place.peer_port)).collect();
    let sync = if syncs { "sync_interval: always" } else { "" };
    let text = format!(
        "host: 127.0.0.1\nport: {}\nserver_name: m{id}\nmax_pending: 1GB\n\
         jetstream {{\n  store_dir: \"{}\"\n  {sync}\n}}\n\
         cluster {{\n  name: bench\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n}}\n",
        place.client_port,
        place.folder.join("jetstream").display(),
        place.peer_port,
        routes.join(", ")
    );
    std::fs::create_dir_all(&place.folder)?;
    let file = place.folder.join("nats.conf");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&file);
    Ok(command)
}

/// Asks for the stream; what stands already stays. An error while the servers have not found each other yet.
pub(super) fn create_stream(place: &Place, copies: usize) -> anyhow::Result<()> {
    let wanted = json!({
        "name": STREAM, "subjects": [SUBJECT], "retention": "limits", "storage": "file", "discard": "old",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": copies,
    });
    request(place, &format!("$JS.API.STREAM.CREATE.{STREAM}"), &wanted).map(drop)
}

/// What one server can say of all: who leads the stream, and who has everything.
pub(super) fn standings(place: &Place, count: usize) -> Option<Vec<Standing>> {
    let info = request(place, &format!("$JS.API.STREAM.INFO.{STREAM}"), &json!({})).ok()?;
    let leader = info["cluster"]["leader"].as_str().unwrap_or_default();
    let messages = info["state"]["messages"].as_u64()?;
    let replicas = info["cluster"]["replicas"].as_array()?;
    let standing = |id: usize| {
        let name = format!("m{id}");
        let is_current = |replica: &&Value| replica["name"] == name.as_str() && replica["current"] == true;
        let lag = |replica: &Value| replica["lag"].as_u64().unwrap_or(0);
        let is_leader = leader == name;
        let applied = if is_leader {
            messages
        } else {
            replicas.iter().find(is_current).map_or(0, |replica| messages.saturating_sub(lag(replica)))
        };
        Standing { is_leader, term: None, applied }
    };
    Some((0..count).map(standing).collect())
}

/// One request of the administration, and its answer.
fn request(place: &Place, subject: &str, body: &Value) -> anyhow::Result<Value> {
    let mut stream = place.connect()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let body = body.to_string();
    let text = format!("{HELLO}SUB _INBOX.a 1\r\nPUB {subject} _INBOX.a {}\r\n{body}\r\n", body.len());
    stream.write_all(text.as_bytes())?;
    loop {
        let line = read_line(&mut stream)?;
        if line.starts_with("MSG ") {
            let mut answer = vec![0; length(line.as_bytes()).context("a message without a length")?];
            stream.read_exact(&mut answer)?;
            let answer: Value = serde_json::from_slice(&answer)?;
            anyhow::ensure!(answer["error"].is_null(), "{}", answer["error"]);
            return Ok(answer);
        }
        anyhow::ensure!(!line.starts_with("-ERR"), "{line}");
        if line == "PING" {
            stream.write_all(b"PONG\r\n")?;
        }
    }
}

/// The length at the end of a line `MSG <subject> <sid> <bytes>`.
fn length(line: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    text.trim_end().rsplit(' ').next()?.parse().ok()
}

/// A client that publishes.
pub(super) struct JetStreamWire {
    /// Where acknowledgements come in, number of the record behind it: another connection's would come here too.
    inbox: String,
    /// How a line begins that announces one.
    head: Vec<u8>,
    lines: Lines,
    /// The record whose acknowledgement the next line is.
    expected: Option<u32>,
}

impl JetStreamWire {
    pub(super) fn new(connection: u64) -> Self {
        let inbox = format!("_INBOX.r{connection}");
        let head = format!("MSG {inbox}.").into_bytes();
        Self { inbox, head, lines: Lines::default(), expected: None }
    }
}

impl Wire for JetStreamWire {
    fn open(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        stream.write_all(format!("{HELLO}SUB {}.* 1\r\nPING\r\n", self.inbox).as_bytes())?;
        while read_line(stream).context("the server does not answer a new client")? != "PONG" {}
        Ok(())
    }

    fn append(&mut self, number: u32, record: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        write!(out, "PUB {SUBJECT} {}.{number} {}\r\n", self.inbox, record.len())?;
        out.extend_from_slice(record);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], answers: &mut Vec<Answer>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let (expected, head) = (&mut self.expected, &self.head);
        self.lines.take(bytes, |line| {
            if let Some(number) = expected.take() {
                // An acknowledgement is one line of JSON that names the stream and the place in it.
                let is_taken = memchr::memmem::find(line, b"\"seq\":").is_some()
                    && memchr::memmem::find(line, b"\"error\"").is_none();
                let refusal = (!is_taken).then(|| String::from_utf8_lossy(line).into_owned());
                answers.push(Answer { number, refusal });
            } else if let Some(rest) = line.strip_prefix(head.as_slice()) {
                let number = rest.split(|&byte| byte == b' ').next().unwrap_or_default();
                let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
                *expected = Some(number.context("an acknowledgement of nothing that was sent")?);
            } else if line.starts_with(b"PING") {
                out.extend_from_slice(b"PONG\r\n");
            } else {
                let is_harmless = [&b"INFO "[..], b"PONG", b"+OK"].iter().any(|head| line.starts_with(head));
                anyhow::ensure!(is_harmless, "the server said `{}`", String::from_utf8_lossy(line));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_the_same_however_the_stream_is_cut() {
        let ack = "{\"stream\":\"LOG\",\"seq\":9}";
        let refusal = "{\"error\":{\"code\":503},\"seq\":0}";
        let stream = format!(
            "PING\r\nMSG _INBOX.r7.41 1 {}\r\n{ack}\r\n+OK\r\nMSG _INBOX.r7.2 1 {}\r\n{refusal}\r\n",
            ack.len(),
            refusal.len()
        );
        for cut in 0..=stream.len() {
            let (mut answers, mut out) = (Vec::new(), Vec::new());
            let mut wire = JetStreamWire::new(7);
            for piece in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
                wire.take(piece, &mut answers, &mut out).unwrap();
            }
            assert_eq!(answers.len(), 2, "cut at {cut}");
            assert_eq!(answers[0], Answer { number: 41, refusal: None });
            assert!(answers[1].number == 2 && answers[1].refusal.is_some(), "{answers:?}");
            assert_eq!(out, b"PONG\r\n");
        }
    }

    #[test]
    fn what_the_server_complains_about_is_an_error() {
        let mut wire = JetStreamWire::new(7);
        let error = wire.take(b"-ERR 'no'\r\n", &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("-ERR"), "{error}");
    }
}
