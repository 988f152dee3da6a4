//! A chat without servers: each participant is an agent that knows its contacts. A demonstration of routes, of multicast and of
//! agents that are driven by terminals; nobody keeps a log, and who was away has missed what was said.
//!
//! **Contacts** are the agent's routes, but for `tty`: each is a name for one participant, or for several (a multicast).
//! **Ports**: 1 is for lines of a terminal, 2 for what other participants say. **Routes**: contacts lead to port 2 of their chat
//! agents, `tty` to the terminal on which everything is shown.
//!
//! | line | what happens |
//! |---|---|
//! | `/to <contact> <text>` | only this contact is told |
//! | `/contacts` | the names of the contacts |
//! | `/who` | all contacts are asked; who can be reached answers that they are here |
//! | `/help` | these commands |
//! | anything else | all contacts are told |

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, Configure, Input, Mistake, Outbox, Peer, Port, Setup, Wire, WireError};
use crate::time::Time;

/// Where what other participants say comes in.
const SAID: Port = Port(2);
/// The route to the terminal.
const TTY: &str = "tty";
/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 40;
const HELP: &str = "/to <contact> <text>, /contacts, /who; all else goes to all contacts";

/// What a chat agent is told and tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatMessage {
    /// A line from a terminal, or for it.
    Line(String),
    /// Something of another participant.
    Said(Said),
}

/// What participants say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who says it, as people call them.
    pub name: String,
    /// What they say.
    pub what: What,
}

/// What can be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Something for people.
    Text(String),
    /// A question to all contacts.
    WhoIsThere,
    /// Its answer.
    Here,
}

impl Wire for ChatMessage {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Line(text) => bytes.extend_from_slice(text.as_bytes()),
            // Two texts can always be written as JSON.
            Self::Said(said) => serde_json::to_writer(bytes, said).expect("texts as JSON"),
        }
    }

    fn decode(port: Port, bytes: &[u8]) -> Result<Self, WireError> {
        if port == SAID {
            return serde_json::from_slice(bytes)
                .map(Self::Said)
                .map_err(|error| WireError::new(error.to_string()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::new("not UTF-8"))?;
        Ok(Self::Line(text.to_owned()))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Line(_) => "text",
            Self::Said(Said { what: What::Text(_), .. }) => "said",
            Self::Said(Said { what: What::WhoIsThere, .. }) => "who",
            Self::Said(Said { what: What::Here, .. }) => "here",
        }
    }
}

/// The agent `chat`.
#[derive(Debug)]
pub struct Chat {
    name: String,
    contacts: Vec<String>,
    has_tty: bool,
    said: u64,
    shown: u64,
}

impl Configure for Chat {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        let name: String = setup.attr_or("name", setup.id().to_owned())?;
        if !is_name(&name) {
            let what = format!(
                "expected a name of 1 to {NAME_CHARS_MAX} characters that can be shown, found {name:?}"
            );
            return Err(Mistake::in_attr("name", what));
        }
        let mut chat = Self { name, contacts: Vec::new(), has_tty: false, said: 0, shown: 0 };
        chat.take_routes(setup.all_routes());
        Ok(chat)
    }
}

impl Agent for Chat {
    type Msg = ChatMessage;

    fn handle(&mut self, _: Time, input: Input<'_, ChatMessage>, out: &mut Outbox<ChatMessage>) {
        match input {
            Input::Rerouted { routes } => self.take_routes(routes),
            Input::Message { message: ChatMessage::Line(line), .. } => {
                if let Some(answer) = self.line(&line, out) {
                    self.show_on_tty(answer, out);
                }
            }
            Input::Message { from, message: ChatMessage::Said(said), .. } => self.hear(from, said, out),
            Input::Commands { commands } => commands.obey(out, |line, out| self.line(line, out)),
            _ => {}
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("contacts", self.contacts.len() as u64), ("said", self.said), ("shown", self.shown)]
    }
}

impl Chat {
    fn take_routes(&mut self, routes: &[String]) {
        self.has_tty = routes.iter().any(|route| route == TTY);
        self.contacts = routes.iter().filter(|route| *route != TTY).cloned().collect();
    }

    /// Takes one line; what the person is to be told.
    fn line(&mut self, line: &str, out: &mut Outbox<ChatMessage>) -> Option<String> {
        let line = line.trim();
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match verb {
            "" => None,
            "/help" => Some(HELP.to_owned()),
            "/contacts" => Some(self.contact_list()),
            "/to" => match rest.trim_start().split_once(char::is_whitespace) {
                Some((contact, text)) => self.tell_one(contact, text.trim_start(), out),
                None => Some("error expected /to <contact> <text>".to_owned()),
            },
            "/who" if !self.contacts.is_empty() => {
                self.tell_all(&What::WhoIsThere, out);
                None
            }
            _ if verb.starts_with('/') && verb != "/who" => {
                Some(format!("error unknown command {verb}; {HELP}"))
            }
            _ if self.contacts.is_empty() => Some("error there are no contacts to tell".to_owned()),
            _ => {
                self.said += 1;
                self.tell_all(&What::Text(line.to_owned()), out);
                None
            }
        }
    }

    fn tell_one(&mut self, contact: &str, text: &str, out: &mut Outbox<ChatMessage>) -> Option<String> {
        if !self.contacts.iter().any(|known| known == contact) {
            return Some(format!("error {contact:?} is no contact; {}", self.contact_list()));
        }
        self.said += 1;
        out.send(contact.to_owned(), self.saying(What::Text(text.to_owned())));
        None
    }

    fn tell_all(&self, what: &What, out: &mut Outbox<ChatMessage>) {
        for contact in &self.contacts {
            out.send(contact.clone(), self.saying(what.clone()));
        }
    }

    fn saying(&self, what: What) -> ChatMessage {
        ChatMessage::Said(Said { name: self.name.clone(), what })
    }

    fn hear(&mut self, from: Peer, said: Said, out: &mut Outbox<ChatMessage>) {
        let Said { name, what } = said;
        // A participant of another make could have a name that draws on the terminal.
        if !is_name(&name) {
            out.note(|| format!("ignored peer={from} why=\"no name\""));
            return;
        }
        let line = match what {
            What::Text(text) => format!("{name}: {text}"),
            What::Here => format!("{name} is here"),
            What::WhoIsThere => return out.send((from, SAID), self.saying(What::Here)),
        };
        self.shown += 1;
        out.say(super::tty::printable(&line).into_owned());
        self.show_on_tty(line, out);
    }

    fn contact_list(&self) -> String {
        if self.contacts.is_empty() {
            "contacts: nobody".to_owned()
        } else {
            format!("contacts: {}", self.contacts.join(", "))
        }
    }

    fn show_on_tty(&self, line: String, out: &mut Outbox<ChatMessage>) {
        if self.has_tty {
            out.send(TTY, ChatMessage::Line(line));
        }
    }
}

fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=NAME_CHARS_MAX).contains(&length) && !name.contains(char::is_control) && name.trim() == name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::{Attrs, Commands, Output, Request, Session, Taken, Text};

    fn chat(attrs: &str, routes: &[&str]) -> Result<Chat, Mistake> {
        let attrs: Attrs = serde_json::from_str(attrs).expect("an object");
        let routes: Vec<String> = routes.iter().map(|route| (*route).to_owned()).collect();
        Chat::configure(&mut Setup::new("alice", &attrs, &routes, 1))
    }

    fn alice() -> Chat {
        chat(r#"{"name": "Alice"}"#, &["bob", "carol", "tty"]).expect("right")
    }

    fn handle(chat: &mut Chat, input: Input<'_, ChatMessage>) -> Vec<Output<ChatMessage>> {
        let mut out = Outbox::default();
        chat.handle(Time::default(), input, &mut out);
        out.drain().collect()
    }

    /// Where lines of a terminal come in.
    const LINES: Port = Port(1);

    fn types(chat: &mut Chat, line: &str) -> Vec<Output<ChatMessage>> {
        let message = ChatMessage::Line(line.to_owned());
        handle(chat, Input::Message { from: Peer(9), port: LINES, message })
    }

    fn hears(chat: &mut Chat, name: &str, what: What) -> Vec<Output<ChatMessage>> {
        let message = said(name, what);
        handle(chat, Input::Message { from: Peer(4), port: SAID, message })
    }

    fn said(name: &str, what: What) -> ChatMessage {
        ChatMessage::Said(Said { name: name.to_owned(), what })
    }

    fn text(text: &str) -> What {
        What::Text(text.to_owned())
    }

    fn to(contact: &str, what: What) -> Output<ChatMessage> {
        Output::Send { to: contact.to_owned().into(), message: said("Alice", what) }
    }

    fn tty(line: &str) -> Output<ChatMessage> {
        Output::Send { to: TTY.into(), message: ChatMessage::Line(line.to_owned()) }
    }

    #[test]
    fn a_line_goes_to_all_contacts() {
        let both = [to("bob", text("hello, all")), to("carol", text("hello, all"))];
        assert_eq!(types(&mut alice(), "hello, all"), both);
    }

    #[test]
    fn a_line_can_go_to_one_contact() {
        assert_eq!(types(&mut alice(), "/to  bob  psst  you"), [to("bob", text("psst  you"))]);
        let wrong = "error \"dave\" is no contact; contacts: bob, carol";
        assert_eq!(types(&mut alice(), "/to dave x"), [tty(wrong)]);
        assert_eq!(
            types(&mut alice(), "/to tty x"),
            [tty("error \"tty\" is no contact; contacts: bob, carol")]
        );
        assert_eq!(types(&mut alice(), "/to bob"), [tty("error expected /to <contact> <text>")]);
    }

    #[test]
    fn what_others_say_is_shown_with_their_names() {
        let shown = hears(&mut alice(), "Bob", text("hi"));
        assert_eq!(shown, [Output::Say { line: "Bob: hi".into() }, tty("Bob: hi")]);
        for nameless in ["", " x", "a\nb", &"x".repeat(41)] {
            assert_eq!(hears(&mut alice(), nameless, text("hi")), []);
        }
    }

    #[test]
    fn who_is_here_is_asked_and_answered() {
        let mut alice = alice();
        assert_eq!(types(&mut alice, "/who"), [to("bob", What::WhoIsThere), to("carol", What::WhoIsThere)]);
        let answer = Output::Send { to: (Peer(4), SAID).into(), message: said("Alice", What::Here) };
        assert_eq!(hears(&mut alice, "Bob", What::WhoIsThere), [answer]);
        let shown = hears(&mut alice, "Bob", What::Here);
        assert_eq!(shown, [Output::Say { line: "Bob is here".into() }, tty("Bob is here")]);
    }

    #[test]
    fn contacts_follow_the_configuration() {
        let mut alice = alice();
        assert_eq!(types(&mut alice, "/contacts"), [tty("contacts: bob, carol")]);
        let routes = ["dave".to_owned()];
        assert_eq!(handle(&mut alice, Input::Rerouted { routes: &routes }), []);
        // The terminal is no route any more.
        assert_eq!(types(&mut alice, "/contacts"), []);
        assert_eq!(types(&mut alice, "hi"), [to("dave", text("hi"))]);
    }

    #[test]
    fn a_session_can_take_the_place_of_a_terminal() {
        let mut alice = alice();
        let taken = Taken::default();
        let request = Request { session: Session(3), number: 8 };
        let commands = Commands::new(b"hi\n/contacts\nlater\n", true, request, &taken);
        let answer = Output::Reply { to: request, parts: vec!["contacts: bob, carol".into()] };
        let outputs = handle(&mut alice, Input::Commands { commands });
        assert_eq!(outputs, [to("bob", text("hi")), to("carol", text("hi")), answer]);
        assert_eq!(taken.bytes_left(), "later\n".len());
    }

    #[test]
    fn slips_are_answered() {
        let mut lonely = chat("{}", &["tty"]).expect("right");
        assert_eq!(types(&mut lonely, "hi"), [tty("error there are no contacts to tell")]);
        assert_eq!(types(&mut lonely, "/who"), [tty("error there are no contacts to tell")]);
        assert_eq!(types(&mut lonely, "/wo"), [tty(&format!("error unknown command /wo; {HELP}"))]);
        assert_eq!(types(&mut lonely, "   "), []);
        assert_eq!(lonely.name, "alice");
        assert_eq!(chat(r#"{"name": ""}"#, &[]).expect_err("no name").field, ["attrs", "name"]);
    }

    proptest! {
        #[test]
        fn messages_come_back_as_they_were_sent(name: String, text: String) {
            for what in [What::Text(text), What::WhoIsThere, What::Here] {
                let (message, mut bytes) = (said(&name, what), Vec::new());
                message.encode(&mut bytes);
                prop_assert_eq!(ChatMessage::decode(SAID, &bytes), Ok(message));
            }
            // A terminal's text is a chat's line, and the other way round.
            let mut bytes = Vec::new();
            Text(name.clone()).encode(&mut bytes);
            prop_assert_eq!(ChatMessage::decode(LINES, &bytes), Ok(ChatMessage::Line(name)));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(port: u16, bytes: Vec<u8>) {
            let _ = ChatMessage::decode(Port(port), &bytes);
        }
    }
}
