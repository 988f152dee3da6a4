//! A user of the chat, as plainly as it can be: one connection, one thing at a time.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use prost::Message as _;

use crate::wire::LengthCutter;
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{ErrorCode, Login, Message, Response, Route, User, message, put_frame, user};

/// A user on a connection.
#[derive(Debug)]
pub(super) struct Talk {
    stream: TcpStream,
    cutter: LengthCutter,
    routes: VecDeque<Route>,
    /// What has come while an answer was waited for.
    messages: VecDeque<Message>,
    name: String,
    ids: i64,
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) why: String,
}

impl Talk {
    /// A connection on which nobody has logged in.
    pub(super) fn connect(at: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&at, PATIENCE).with_context(|| format!("cannot connect to {at}"))?;
        stream.set_nodelay(true)?;
        let (cutter, routes, messages) =
            (LengthCutter::new(FRAME_BYTES_MAX), VecDeque::new(), VecDeque::new());
        Ok(Self { stream, cutter, routes, messages, name: String::new(), ids: 0 })
    }

    /// Registers a user and logs them in; or logs them in, if they are one already.
    pub(super) fn enter(&mut self, name: &str, password: &str) -> anyhow::Result<Result<(), Refused>> {
        name.clone_into(&mut self.name);
        let mut answer = self.user(user::Action::Register, password)?;
        if answer.as_ref().is_err_and(|refused| refused.code == i32::from(ErrorCode::NameTaken)) {
            answer = self.user(user::Action::Access, password)?;
        }
        Ok(answer)
    }

    fn user(&mut self, action: user::Action, password: &str) -> anyhow::Result<Result<(), Refused>> {
        let user = User {
            uname: self.name.clone(),
            password: Some(password.to_owned()),
            action: action.into(),
            ..User::default()
        };
        let payload = Some(Payload::User(user));
        self.ask(Route {
            path: Path::User.into(),
            payload,
            login: Some(Login::default()),
            ..Route::default()
        })
    }

    /// Writes to another user; `Ok` once it is in the log.
    pub(super) fn send(&mut self, to: &str, text: &str) -> anyhow::Result<Result<(), Refused>> {
        let message = Message {
            r#type: message::Type::Single.into(),
            sender_id: self.name.clone(),
            payload: text.to_owned(),
            receiver_id: to.to_owned(),
            timestamp: String::new(),
            action: message::Action::Post.into(),
            ..Message::default()
        };
        let payload = Some(Payload::Message(message));
        self.ask(Route { path: Path::Message.into(), payload, ..Route::default() })
    }

    /// The next message, which is acknowledged; none if none comes in this time.
    pub(super) fn next(&mut self, patience: Duration) -> anyhow::Result<Option<Message>> {
        while self.messages.is_empty() {
            match self.receive(patience)? {
                Some(route) => self.keep(route),
                None => return Ok(None),
            }
        }
        let message = self.messages.pop_front();
        if let Some(position) = message.as_ref().and_then(|message| message.position) {
            self.write(&Route {
                path: Path::Header.into(),
                acknowledged: vec![position],
                ..Route::default()
            })?;
        }
        Ok(message)
    }

    fn ask(&mut self, mut route: Route) -> anyhow::Result<Result<(), Refused>> {
        self.ids += 1;
        route.id = self.ids;
        self.write(&route)?;
        loop {
            let Some(route) = self.receive(PATIENCE)? else { bail!("the server does not answer") };
            match route.payload {
                Some(Payload::Response(response)) if route.id == self.ids => return Ok(outcome(response)),
                _ => self.keep(route),
            }
        }
    }

    fn keep(&mut self, route: Route) {
        if let Some(Payload::MessagesResponse(response)) = route.payload {
            self.messages.extend(response.messages);
        }
    }

    fn write(&mut self, route: &Route) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        put_frame(route, &mut frame);
        self.stream.write_all(&frame).context("the connection is gone")
    }

    /// The next Route; none if none comes in this time.
    fn receive(&mut self, patience: Duration) -> anyhow::Result<Option<Route>> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut read = [0; 16 * 1024];
        while self.routes.is_empty() {
            let count = match self.stream.read(&mut read) {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("the connection is gone"),
            };
            let mut rest = &read[..count];
            while !rest.is_empty() {
                for frame in self.cutter.cut(&mut rest)? {
                    self.routes.push_back(Route::decode(frame).context("the server says what is no Route")?);
                }
            }
        }
        Ok(self.routes.pop_front())
    }
}

fn outcome(response: Response) -> Result<(), Refused> {
    if response.success == Some(true) {
        return Ok(());
    }
    let code = response.error_code.unwrap_or_default();
    Err(Refused { code, why: response.message.unwrap_or_default() })
}

/// How long a server may take for anything: a password costs some time, and a machine may have much to do.
const PATIENCE: Duration = Duration::from_secs(60);
const FRAME_BYTES_MAX: usize = 16 << 20;
