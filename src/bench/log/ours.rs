//! Our own servers: boxes with a `ledger` each, whose log is replicated. Records are lines of a session at a box's control port.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::cluster::{Place, Standing};
use super::wire::{Answer, Lines, Wire, read_line};
use crate::bench::boxes::BoxesFile;
use crate::bench::master::Master;

/// How long a member may take to say how it stands.
const STANDING_LIMIT: Duration = Duration::from_secs(2);

/// Writes the configuration of all boxes and returns its text's place.
pub(super) fn write_configuration(
    places: &[Place],
    folder: &Path,
    is_local: bool,
    has_rows: bool,
) -> anyhow::Result<()> {
    let members: Vec<String> = (0..places.len()).map(name).collect();
    let log = if is_local { json!("local") } else { json!({"members": members}) };
    let mut file = BoxesFile::default();
    for (place, id) in places.iter().zip(&members) {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let on = at(place.peer_port);
        file.agent(id, "ledger", on, &json!({"log": log, "rows": has_rows}), &json!({}));
        file.settings(on, at(place.client_port), Some(&place.folder));
    }
    file.write(&folder.join("ovid.json"))
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
    standing_at(place.client_port, &name(id))
}

/// What the member that is the agent `name` says, at the control port of its box.
pub(super) fn standing_at(control_port: u16, name: &str) -> Option<Standing> {
    let mut session = Master::connect(control_port).ok()?;
    let mut ask = |command: &str| {
        session.send(command).ok()?;
        String::from_utf8(session.answer(STANDING_LIMIT).ok()?).ok()
    };
    ask(&format!("attach {name}")).filter(|answer| answer.starts_with("attached"))?;
    standing_of(&ask("log status")?)
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
    /// The places that acknowledgements have named, if they are to be kept.
    places: Option<Vec<u64>>,
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
        stream.write_all(format!("attach {agent}\n").as_bytes()).context("cannot ask for the agent")?;
        let answer = read_line(stream).context("the box does not say whether the agent is there")?;
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
        let (unanswered, places) = (&mut self.unanswered, &mut self.places);
        self.lines.take(bytes, |line| {
            let number = unanswered.pop_front().with_context(|| {
                format!("`{}` came, and nothing was asked", String::from_utf8_lossy(line))
            })?;
            let place = line.strip_prefix(b"ok ");
            let refusal = place.is_none().then(|| String::from_utf8_lossy(line).into_owned());
            if let (Some(place), Some(places)) = (place, places.as_mut()) {
                let place = std::str::from_utf8(place).ok().and_then(|place| place.parse().ok());
                places.push(
                    place.with_context(|| format!("`{}` names no place", String::from_utf8_lossy(line)))?,
                );
            }
            answers.push(Answer { number, refusal });
            Ok(())
        })
    }

    fn keep_places(&mut self) {
        self.places = Some(Vec::new());
    }

    fn places(&mut self) -> Vec<u64> {
        self.places.as_mut().map(std::mem::take).unwrap_or_default()
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
        assert!(wire.places().is_empty(), "nobody has asked for them");
        wire.keep_places();
        assert!(wire.take(b"ok 8\nok 9\n", &mut answers, &mut out).is_err(), "an answer to nothing");
        assert_eq!((wire.places(), wire.places()), (vec![8], vec![]));
    }
}
