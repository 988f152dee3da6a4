//! Our chat: boxes with a `messenger` each. Appending a record is sending a message to a user who does not read.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use prost::Message as _;
use serde_json::json;

use super::cluster::{Place, Standing};
use super::ours;
use super::wire::{Answer, Wire};
use crate::bench::boxes::BoxesFile;
use crate::talk::{Line, user_route};
use crate::wire::LengthCutter;
use crate::wire::proto::{self, Login, Route, put_frame, route};

/// One cluster of the chat, and which others it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Its group tag.
    pub tag: String,
    /// The others: their tags and where their clients connect.
    pub others: BTreeMap<String, Vec<String>>,
}

impl Default for Chat {
    /// A cluster that knows no others.
    fn default() -> Self {
        Self { tag: "bench".to_owned(), others: BTreeMap::new() }
    }
}

/// Writes the configuration of all boxes.
pub(super) fn write_configuration(chat: &Chat, places: &[Place], folder: &Path) -> anyhow::Result<()> {
    let members: Vec<String> = (0..places.len()).map(name).collect();
    let mut file = BoxesFile::default();
    for (place, id) in places.iter().zip(&members) {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut attrs = json!({
            "log": {"members": members},
            "clients": at(place.client_port).to_string(),
            "group_tag": chat.tag,
            "secret": SECRET,
            // Benches measure messages, not how long a password takes.
            "password": {"memory_kib": 8, "passes": 1},
            "limits": {"unread_max": MESSAGES_MAX, "history_max": MESSAGES_MAX},
        });
        if !chat.others.is_empty() {
            attrs["clusters"] = json!(chat.others);
        }
        let on = at(place.peer_port);
        file.agent(id, "messenger", on, &attrs, &json!({}));
        file.settings(on, at(control_port(place)), Some(&place.folder));
    }
    file.write(&folder.join("ovid.json"))
}

/// What a server says of itself; `None` if it does not answer.
pub(super) fn standing(place: &Place, id: usize) -> Option<Standing> {
    ours::standing_at(control_port(place), &name(id))
}

fn name(id: usize) -> String {
    format!("chat-{id}")
}

fn control_port(place: &Place) -> u16 {
    place.client_port + CONTROL_OFFSET
}

/// A client that sends, one user for each connection, to [`SINK`].
pub(super) struct MessengerWire {
    user: String,
    cutter: LengthCutter,
}

impl MessengerWire {
    /// The user of this connection.
    pub(super) fn new(connection: u64) -> Self {
        Self { user: format!("load-{connection}"), cutter: LengthCutter::new(FRAME_BYTES_MAX) }
    }
}

impl Wire for MessengerWire {
    fn open(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        // There is one for all; whoever comes first registers it.
        let mut line = Line::over(stream.try_clone()?);
        register(&mut line, SINK)?;
        register(&mut line, &self.user)?;
        log_in(&mut line, &self.user).map(drop)
    }

    fn append(&mut self, number: u32, record: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let text = std::str::from_utf8(record).context("a record that is no text")?;
        post(out, u64::from(number) + 1, &self.user, SINK, text);
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8], answers: &mut Vec<Answer>, _: &mut Vec<u8>) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            for frame in self.cutter.cut(&mut bytes)? {
                let route = Route::decode(frame)?;
                let Some(route::Payload::Response(response)) = route.payload else { continue };
                let number = u32::try_from(route.id - 1).context("an answer to nothing that was sent")?;
                let refusal = (response.success != Some(true)).then(|| response.message.unwrap_or_default());
                answers.push(Answer { number, refusal });
            }
        }
        Ok(())
    }
}

/// Makes sure that there is a user of this name.
pub(in crate::bench) fn register(line: &mut Line, user: &str) -> anyhow::Result<()> {
    let answer = line.ask(&user_route(user, PASSWORD, proto::user::Action::Register), ANSWER_LIMIT)?;
    match answer.payload {
        Some(route::Payload::Response(response))
            if response.success == Some(true)
                || response.error_code == Some(proto::ErrorCode::NameTaken as i32) =>
        {
            Ok(())
        }
        other => anyhow::bail!("{user} cannot be registered: {other:?}"),
    }
}

/// Logs in as a new client instance; the answer.
pub(in crate::bench) fn log_in(line: &mut Line, user: &str) -> anyhow::Result<Route> {
    let mut client = [0_u8; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut client))?;
    let login = Login { client: Some(client.to_vec().into()), ..Login::default() };
    let route = Route { login: Some(login), ..user_route(user, PASSWORD, proto::user::Action::Access) };
    let answer = line.ask(&route, ANSWER_LIMIT)?;
    let is_in =
        matches!(&answer.payload, Some(route::Payload::Response(response)) if response.success == Some(true));
    anyhow::ensure!(is_in, "{user} cannot log in: {:?}", answer.payload);
    Ok(answer)
}

/// Puts a message behind what is to be written, as the `number`-th of its client instance.
pub(in crate::bench) fn post(out: &mut Vec<u8>, number: u64, from: &str, to: &str, text: &str) {
    let message = proto::Message {
        sender_id: from.to_owned(),
        payload: text.to_owned(),
        receiver_id: to.to_owned(),
        number: Some(number),
        ..proto::Message::default()
    };
    let id = i64::try_from(number).unwrap_or(i64::MAX);
    let payload = Some(route::Payload::Message(message));
    put(out, &Route { id, path: route::Path::Message as i32, payload, ..Route::default() });
}

/// Puts a frame behind what is to be written.
pub(in crate::bench) fn put(out: &mut Vec<u8>, route: &Route) {
    put_frame(route, out);
}

/// Who gets what is sent as a record.
const SINK: &str = "sink";
const SECRET: &str = "the secret of a bench";
const PASSWORD: &str = "the password of a bench";
/// How long a question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONTROL_OFFSET: u16 = 100;
/// More than any bench sends.
const MESSAGES_MAX: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_what_is_pushed() {
        let mut wire = MessengerWire::new(1);
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            &Route {
                payload: Some(route::Payload::MessagesResponse(proto::MessagesResponse::default())),
                ..Route::default()
            },
        );
        let response = |success| {
            Some(route::Payload::Response(proto::Response {
                success: Some(success),
                message: Some("no".into()),
                error_code: None,
            }))
        };
        put(&mut bytes, &Route { id: 1, payload: response(true), ..Route::default() });
        put(&mut bytes, &Route { id: 2, payload: response(false), ..Route::default() });
        let mut answers = Vec::new();
        wire.take(&bytes, &mut answers, &mut Vec::new()).unwrap();
        let refusal = Some("no".to_owned());
        assert_eq!(answers, [Answer { number: 0, refusal: None }, Answer { number: 1, refusal }]);
    }
}
