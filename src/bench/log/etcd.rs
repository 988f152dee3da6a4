//! An installed etcd: each record is a `Put` of a key of its own, by gRPC, as its own clients speak.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::cluster::{Place, Standing};
use super::http2::{Calls, Reply, bytes_field, field, push_bytes};
use super::wire::{Answer, Wire};

/// The numbers of fields in etcd's own description of its messages (`rpc.proto`).
const PUT_KEY: u8 = 1;
const PUT_VALUE: u8 = 2;
const STATUS_HEADER: u64 = 1;
const HEADER_MEMBER: u64 = 2;
const STATUS_LEADER: u64 = 4;
const STATUS_APPLIED: u64 = 7;

/// The command that starts member `id`, with its defaults for everything but names, places and how much it says.
pub(super) fn command(program: &Path, places: &[Place], id: usize) -> Command {
    let place = &places[id];
    let client = format!("http://127.0.0.1:{}", place.client_port);
    let peer = format!("http://127.0.0.1:{}", place.peer_port);
    let all: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(other, place)| format!("m{other}=http://127.0.0.1:{}", place.peer_port))
        .collect();
    let mut command = Command::new(program);
    command
        .args(["--name", &format!("m{id}"), "--logger", "zap", "--log-level", "error"])
        .arg("--data-dir")
        .arg(&place.folder)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
        // Its own limit of two gigabytes must not end a long run.
        .args(["--quota-backend-bytes", "8589934592"])
        // Debian's build for some architectures starts only with this, and for the others it means nothing.
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
    command
}

/// What a member says of itself; `None` if it does not answer.
pub(super) fn standing(place: &Place) -> Option<Standing> {
    let mut stream = place.connect().ok()?;
    let status = ask(&mut stream, "/etcdserverpb.Maintenance/Status", &[], place).ok()?;
    let own = field(bytes_field(&status, STATUS_HEADER)?, HEADER_MEMBER)?;
    Some(Standing {
        is_leader: field(&status, STATUS_LEADER) == Some(own),
        // It tells a term, but not of the same moment as the leader: asked during an election, two servers may seem to lead in one.
        term: None,
        applied: field(&status, STATUS_APPLIED)?,
    })
}

/// Calls a method once and waits for its message.
fn ask(stream: &mut TcpStream, path: &'static str, message: &[u8], place: &Place) -> anyhow::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut out = Vec::new();
    let mut calls = Calls::new(path, authority(place), &mut out);
    calls.call(message, &mut out)?;
    let mut replies: Vec<Reply> = Vec::new();
    let mut buffer = [0; 16_384];
    while replies.is_empty() {
        stream.write_all(&out)?;
        out.clear();
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the server closed the connection");
        calls.take(&buffer[..count], &mut replies, &mut out)?;
    }
    replies.remove(0).message.with_context(|| format!("{path} failed"))
}

fn authority(place: &Place) -> String {
    format!("127.0.0.1:{}", place.client_port)
}

/// A client that puts.
pub(super) struct EtcdWire {
    authority: String,
    /// So that no two connections put the same key.
    connection: u64,
    calls: Option<Calls>,
    replies: Vec<Reply>,
    message: Vec<u8>,
}

impl EtcdWire {
    pub(super) fn new(place: &Place, connection: u64) -> Self {
        Self {
            authority: authority(place),
            connection,
            calls: None,
            replies: Vec::new(),
            message: Vec::new(),
        }
    }
}

impl Wire for EtcdWire {
    fn open(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let mut out = Vec::new();
        self.calls = Some(Calls::new("/etcdserverpb.KV/Put", self.authority.clone(), &mut out));
        stream.write_all(&out).context("the server does not take a new connection")
    }

    fn append(&mut self, number: u32, record: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.message.clear();
        push_bytes(&mut self.message, PUT_KEY, format!("{:04}.{number:08}", self.connection).as_bytes());
        push_bytes(&mut self.message, PUT_VALUE, record);
        self.calls.as_mut().context("the connection was not opened")?.call(&self.message, out)
    }

    fn take(&mut self, bytes: &[u8], answers: &mut Vec<Answer>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let calls = self.calls.as_mut().context("the connection was not opened")?;
        calls.take(bytes, &mut self.replies, out)?;
        answers.extend(self.replies.drain(..).map(|reply| Answer {
            number: reply.call,
            refusal: reply.message.is_none().then(|| "the put failed".to_owned()),
        }));
        Ok(())
    }
}
