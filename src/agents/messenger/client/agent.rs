//! A client as an agent, driven by lines: for the simulated world, and for people who try things.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Answer, Client, ClientEvent, ClientOptions, ClientOutput, Place, Recipient};
use crate::agent::{
    Agent, Configure, Conn, Input, Inward, Mistake, NoMessage, Opening, Outbox, Outward, Setup,
};
use crate::time::Time;
use crate::wire::proto::{
    ConversationsRequest, Group, History, Message, MessagesRequest, Route, WhoRequest, group, message,
    messages_request, route,
};

/// A user of the chat: agent `chat-user`. What happens to it is shown line by line.
///
/// Attributes: `name`, `password`, `servers` (a list of `address:port`), `register` (whether it registers itself; true), `echo` (false), `acknowledges` (true), `window` (1024),
/// `connects` (whether it connects by itself; true), `tls` (whether connections are encrypted; false).
#[derive(Debug)]
pub struct ChatUser {
    client: Client,
    connects: bool,
    tls: bool,
    /// The dials of connections, and the other way round.
    dials: BTreeMap<Conn, u64>,
    conns: BTreeMap<u64, Conn>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
    received: u64,
    log_ins: u64,
}

impl Configure for ChatUser {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let name: String = setup.need_attr("name")?;
        let password: String = setup.need_attr("password")?;
        let options = ClientOptions::new(name, password, setup.need_attr("servers")?);
        let usual = options.clone();
        let options = ClientOptions {
            register: setup.attr_or("register", true)?,
            echo: setup.attr_or("echo", usual.echo)?,
            acknowledges: setup.attr_or("acknowledges", usual.acknowledges)?,
            window: setup.attr_or("window", usual.window)?,
            silence: setup.ms_or("silence_ms", usual.silence)?,
            ..options
        };
        let user = Self::new(Client::new(options, setup.rng()), setup.attr_or("connects", true)?);
        Ok(Self { tls: setup.attr_or("tls", false)?, ..user })
    }
}

impl ChatUser {
    /// An agent that drives `client`, which has not begun; whether it connects as soon as it starts.
    pub fn new(client: Client, connects: bool) -> Self {
        let (dials, conns) = (BTreeMap::new(), BTreeMap::new());
        Self { client, connects, tls: false, dials, conns, counts: Counts::default() }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn obey(&mut self, now: Time, line: &str) -> Result<String, String> {
        let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let mut words = rest.split_whitespace();
        let route = match verb {
            "send" => {
                let (to, text) = rest.trim_start().split_once(' ').ok_or("send <user or #group> <text>")?;
                let ticket = self.client.send(now, recipient(to), text);
                return Ok(format!("ok {ticket}"));
            }
            "connect" => {
                let servers: Result<Vec<SocketAddr>, _> = words.map(str::parse).collect();
                self.client.connect(now, &servers.map_err(|_| "connect [<address:port> ...]")?);
                return Ok("ok".to_owned());
            }
            "move" => {
                let servers: Result<Vec<SocketAddr>, _> = words.map(str::parse).collect();
                self.client.start_anew(now);
                self.client.connect(now, &servers.map_err(|_| "move <address:port> ...")?);
                return Ok("ok".to_owned());
            }
            "disconnect" => {
                self.client.disconnect(now);
                return Ok("ok".to_owned());
            }
            "status" => return Ok(self.status()),
            "history" => {
                history(words.next(), words.next()).ok_or("history <user or #group> [<messages>]")?
            }
            "who" => Route {
                who: Some(WhoRequest { users: words.map(str::to_owned).collect() }),
                ..Route::default()
            },
            "conversations" => {
                Route { conversations_request: Some(ConversationsRequest {}), ..Route::default() }
            }
            _ => group_route(verb, words.next(), words.next()).ok_or(HELP)?,
        };
        Ok(format!("ok {}", self.client.ask(now, route)))
    }

    fn status(&self) -> String {
        let on = if self.client.is_on() { "on" } else { "off" };
        format!("ok {on} waiting={}", self.client.waiting())
    }

    fn outside(&mut self, now: Time, inward: &Inward<'_>, out: &mut Outbox<NoMessage>) {
        match inward {
            Inward::Opened { conn, by: Opening::Dialled(dial), .. } => {
                if self.client.opened(now, *dial) {
                    self.dials.insert(*conn, *dial);
                    self.conns.insert(*dial, *conn);
                } else {
                    out.outside(Outward::HangUp { conn: *conn });
                }
            }
            Inward::Unreachable { token, .. } => self.client.unreachable(now, *token),
            Inward::Frames { conn, frames } => {
                if let Some(dial) = self.dials.get(conn) {
                    self.client.frames(now, *dial, frames.clone());
                }
            }
            Inward::Closed { conn, .. } => {
                if let Some(dial) = self.dials.remove(conn) {
                    self.conns.remove(&dial);
                    self.client.closed(now, dial);
                }
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, out: &mut Outbox<NoMessage>) {
        for output in self.client.take_outputs() {
            match output {
                ClientOutput::Dial { dial, to } => out.outside(Outward::Dial {
                    token: dial,
                    to,
                    frame_bytes_max: FRAME_BYTES_MAX,
                    tls: self.tls,
                }),
                ClientOutput::Frames { dial, bytes } => {
                    if let Some(conn) = self.conns.get(&dial) {
                        out.outside(Outward::Frames { conn: *conn, bytes });
                    }
                }
                ClientOutput::HangUp { dial } => {
                    if let Some(conn) = self.conns.remove(&dial) {
                        self.dials.remove(&conn);
                        out.outside(Outward::HangUp { conn });
                    }
                }
                ClientOutput::Event(event) => {
                    self.counts.count(&event);
                    out.say(line_of(&event));
                }
            }
        }
    }
}

impl Agent for ChatUser {
    type Msg = NoMessage;

    fn handle(&mut self, now: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start if self.connects => self.client.connect(now, &[]),
            Input::Timeout => self.client.timeout(now),
            Input::Outside(inward) => self.outside(now, &inward, out),
            Input::Commands { commands } => commands.obey(out, |line, _| {
                Some(self.obey(now, line).unwrap_or_else(|usage| format!("error usage {usage}")))
            }),
            _ => {}
        }
        self.carry_out(out);
    }

    fn deadline(&self) -> Option<Time> {
        self.client.deadline()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("accepted", self.counts.accepted),
            ("refused", self.counts.refused),
            ("received", self.counts.received),
            ("log_ins", self.counts.log_ins),
            ("waiting", self.client.waiting() as u64),
        ]
    }
}

impl Counts {
    fn count(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Accepted { .. } => self.accepted += 1,
            ClientEvent::Refused { .. } => self.refused += 1,
            ClientEvent::Message { .. } => self.received += 1,
            ClientEvent::LoggedIn { .. } => self.log_ins += 1,
            _ => {}
        }
    }
}

/// What an event is, on one line.
fn line_of(event: &ClientEvent) -> String {
    match event {
        ClientEvent::LoggedIn { server } => format!("logged-in {server}"),
        ClientEvent::Disconnected => "disconnected".to_owned(),
        ClientEvent::LogInFailed { why } => format!("log-in-failed {}", one_line(why)),
        ClientEvent::Accepted { ticket, place: Some(at) } => format!("accepted {ticket} {}", place(*at)),
        ClientEvent::Accepted { ticket, place: None } => format!("accepted {ticket}"),
        ClientEvent::Refused { ticket, code, why } => {
            format!("refused {ticket} {} {}", code.as_str_name(), one_line(why))
        }
        ClientEvent::Message { place: at, message } => format!("message {} {}", place(*at), text_of(message)),
        ClientEvent::ReadBy { user, upto } => format!("read-by {user} {}", place(*upto)),
        ClientEvent::Presence { user, online } => format!("presence {}", presence(user, *online)),
        ClientEvent::Answer { request, answer } => format!("answer {request} {}", answer_of(answer)),
    }
}

fn answer_of(answer: &Answer) -> String {
    match answer {
        Answer::Done => "done".to_owned(),
        Answer::Failed { code, why } => format!("failed {} {}", code.as_str_name(), one_line(why)),
        Answer::History { messages, before } => {
            let texts: Vec<String> = messages.iter().map(text_of).collect();
            let more = before.map_or(String::new(), |before| format!(" more-before={}", before.0));
            format!("history {}{more}: {}", messages.len(), texts.join(" | "))
        }
        Answer::Presence(entries) => {
            let entries: Vec<String> = entries.iter().map(|(user, online)| presence(user, *online)).collect();
            format!("who {}", entries.join(", "))
        }
        Answer::Conversations(entries) => {
            let entry = |entry: &crate::wire::proto::conversations::Entry| {
                format!("{} {} read {} of {}", entry.conversation, entry.name, entry.read, entry.last)
            };
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("conversations {}", entries.join(", "))
        }
    }
}

/// Who wrote to whom what: `ann bob hello`, `ann #team hello`, and of another cluster `ann@tag bob hello`.
fn text_of(message: &Message) -> String {
    let cluster = message.cluster.as_ref().map_or(String::new(), |tag| format!("@{tag}"));
    let group = if message.r#type() == message::Type::Group { "#" } else { "" };
    let (from, to, text) = (&message.sender_id, &message.receiver_id, one_line(&message.payload));
    format!("{from}{cluster} {group}{to} {text}")
}

fn place(place: Place) -> String {
    format!("{}:{}", place.conversation.0, place.sequence.0)
}

fn presence(user: &str, online: bool) -> String {
    format!("{user} {}", if online { "online" } else { "offline" })
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn recipient(name: &str) -> Recipient {
    match name.strip_prefix('#') {
        Some(group) => Recipient::Group(group.to_owned()),
        None => Recipient::User(name.to_owned()),
    }
}

fn history(name: Option<&str>, limit: Option<&str>) -> Option<Route> {
    let (kind, name) = match recipient(name?) {
        Recipient::User(name) => (messages_request::Type::User, name),
        Recipient::Group(name) => (messages_request::Type::Group, name),
    };
    let limit = Some(limit.map_or(Some(20), |limit| limit.parse().ok())?);
    Some(Route {
        path: route::Path::MessagesRequest.into(),
        payload: Some(route::Payload::MessagesRequest(MessagesRequest { r#type: kind.into(), id: name })),
        history: Some(History { limit, ..History::default() }),
        ..Route::default()
    })
}

fn group_route(verb: &str, gname: Option<&str>, user: Option<&str>) -> Option<Route> {
    let action = match (verb, user) {
        ("create", None) => group::Action::Create,
        ("delete", None) => group::Action::Delete,
        ("leave", None) | ("remove", Some(_)) => group::Action::Removeuser,
        ("add", Some(_)) => group::Action::Adduser,
        _ => return None,
    };
    let group = Group {
        gname: gname?.trim_start_matches('#').to_owned(),
        gid: None,
        action: action.into(),
        username: user.map(str::to_owned),
    };
    Some(Route {
        path: route::Path::Group.into(),
        payload: Some(route::Payload::Group(group)),
        ..Route::default()
    })
}

const HELP: &str = "commands: send <user or #group> <text>, history <user or #group> [<messages>], who [<user> ...], conversations, create <group>, add <group> <user>, \
    remove <group> <user>, leave <group>, delete <group>, connect [<address:port> ...], move <address:port> ..., disconnect, status";
/// The longest frame that servers send: a message and what comes with it, or many small ones.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
