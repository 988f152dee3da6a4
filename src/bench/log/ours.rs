//! Our own servers: boxes with a `ledger` each, whose log is replicated. Records are lines of a session at a box's control port.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::cluster::{Place, Standing};
use super::wire::{Answer, Lines, Wire, ask_line};

/// Writes the configuration of all boxes and returns its text's place.
pub(super) fn write_configuration(
    places: &[Place],
    folder: &Path,
    is_local: bool,
    has_rows: bool,
) -> anyhow::Result<()> {
    let members: Vec<String> = (0..places.len()).map(name).collect();
    let log = if is_local { json!("local") } else { json!({"members": members}) };
    let mut agents = Map::new();
    for (id, place) in places.iter().enumerate() {
        let address = format!("127.0.0.1:{}", place.peer_port);
        agents.insert(
            name(id),
            json!({"type": "ledger", "box": address, "attrs": {"log": log, "rows": has_rows}}),
        );
        let control = format!("127.0.0.1:{}", place.client_port);
        let settings = json!({"control": control, "data": place.folder});
        agents.insert(format!("box-{id}"), json!({"type": "box", "box": address, "attrs": settings}));
    }
    let file = folder.join("ovid.json");
    std::fs::write(&file, Value::Object(agents).to_string())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The command that starts one box.
pub(super) fn command(places: &[Place], folder: &Path, id: usize) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this executable")?);
    command
        .args(["grid", "run"])
        .arg(folder.join("ovid.json"))
        .arg(format!("127.0.0.1:{}", places[id].peer_port));
    Ok(command)
}

/// What a member says of itself; `None` if it does not answer.
pub(super) fn standing(place: &Place, id: usize) -> Option<Standing> {
    let mut stream = place.connect().ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let attached = ask_line(&mut stream, &format!("attach {}", name(id))).ok()?;
    if !attached.starts_with("attached") {
        return None;
    }
    standing_of(&ask_line(&mut stream, "log status").ok()?)
}

/// The name of a member's agent.
fn name(id: usize) -> String {
    format!("ledger-{id}")
}

/// What the answer to `log status` says: words, of which those that count are `name=value`.
fn standing_of(line: &str) -> Option<Standing> {
    let value = |name: &str| {
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    Some(Standing {
        is_leader: value("standing")? == "leader",
        term: value("term")?.parse().ok(),
        applied: value("records")?.parse().ok()?,
    })
}

/// A client's session with a member.
#[derive(Debug, Default)]
pub(super) struct LineWire {
    /// Which agent to attach to; none where the other end takes lines at once.
    agent: Option<String>,
    lines: Lines,
    /// The records that have no answer yet: answers come in the order of the lines.
    unanswered: VecDeque<u32>,
}

impl LineWire {
    /// A session with the ledger of member `id`.
    pub(super) fn of_member(id: usize) -> Self {
        Self { agent: Some(name(id)), ..Self::default() }
    }
}

impl Wire for LineWire {
    fn open(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let answer = ask_line(stream, &format!("attach {agent}"))?;
        anyhow::ensure!(answer == format!("attached {agent}"), "the box says `{answer}`");
        Ok(())
    }

    fn append(&mut self, number: u32, record: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        out.extend_from_slice(b"append ");
        out.extend_from_slice(record);
        out.push(b'\n');
        self.unanswered.push_back(number);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], answers: &mut Vec<Answer>, _: &mut Vec<u8>) -> anyhow::Result<()> {
        let unanswered = &mut self.unanswered;
        self.lines.take(bytes, |line| {
            let number = unanswered.pop_front().with_context(|| {
                format!("`{}` came, and nothing was asked", String::from_utf8_lossy(line))
            })?;
            let refusal = (!line.starts_with(b"ok ")).then(|| String::from_utf8_lossy(line).into_owned());
            answers.push(Answer { number, refusal });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_belong_to_records_in_their_order() {
        let mut wire = LineWire::of_member(1);
        let mut out = Vec::new();
        for number in 0..3 {
            wire.append(number, b"x", &mut out).unwrap();
        }
        assert_eq!(out, b"append x\nappend x\nappend x\n");
        let mut answers = Vec::new();
        wire.take(b"ok 7\nerror full", &mut answers, &mut out).unwrap();
        wire.take(b"\n", &mut answers, &mut out).unwrap();
        let refusal = Some("error full".to_owned());
        assert_eq!(answers, [Answer { number: 0, refusal: None }, Answer { number: 1, refusal }]);
        assert!(wire.take(b"ok 8\nok 9\n", &mut answers, &mut out).is_err(), "an answer to nothing");
    }
}
