//! The connection: to which server, how it comes about, when it is given up.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Client, ClientEvent, ClientOptions, ClientOutput, new_instance};
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Login, Position, Route, User, Welcome, route, user};

/// How it stands with the connection.
#[derive(Debug)]
pub(super) enum Link {
    /// None is wanted.
    Off,
    /// All servers were tried: it waits.
    Waiting { until: Time },
    /// A server is dialled.
    Dialling { dial: u64, server: SocketAddr, until: Time },
    /// A server looks at the password or the token.
    LoggingIn { dial: u64, server: SocketAddr, until: Time, by: By },
    /// It is logged in.
    On { dial: u64, server: SocketAddr, heard_at: Time, asked_at: Option<Time> },
}

/// How it logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Registering,
    Password,
    Token,
}

impl Link {
    pub(super) fn dial(&self) -> Option<u64> {
        match self {
            Self::Off | Self::Waiting { .. } => None,
            Self::Dialling { dial, .. } | Self::LoggingIn { dial, .. } | Self::On { dial, .. } => Some(*dial),
        }
    }

    pub(super) fn deadline(&self, options: &ClientOptions) -> Option<Time> {
        match self {
            Self::Off => None,
            Self::Waiting { until } | Self::Dialling { until, .. } | Self::LoggingIn { until, .. } => {
                Some(*until)
            }
            Self::On { heard_at, asked_at, .. } => Some(asked_at.unwrap_or(*heard_at) + options.silence),
        }
    }
}

impl Client {
    /// Begins, with the next server; or with the first of these, in place of those that it knows, if there are any: so a user moves to another cluster.
    pub fn connect(&mut self, now: Time, servers: &[SocketAddr]) {
        self.now = now;
        self.leave();
        if !servers.is_empty() && servers != self.servers {
            self.servers = servers.to_vec();
            self.next_server = 0;
            // Whether a token counts there, or this instance's numbers do, is not known.
            self.token = None;
        }
        self.registers = self.options.register;
        (self.tries, self.rounds) = (0, 0);
        self.dial_next();
        self.end();
    }

    /// Begins as another client instance, in whatever cluster: for [`Client::connect`] with servers of another one. What it has had it remembers. Messages that may have been accepted in the
    /// cluster that is left are told of as forgotten.
    pub fn start_anew(&mut self, now: Time) {
        self.now = now;
        self.leave();
        self.places.leave();
        (self.token, self.acknowledge_at) = (None, None);
        self.renew_instance();
    }

    /// Gives up the connection, and wants no other.
    pub fn disconnect(&mut self, now: Time) {
        self.now = now;
        if self.is_on() {
            self.acknowledge_all();
        }
        self.end();
        self.leave();
    }

    /// There are more servers than it knows: discovery has found them.
    pub fn discovered(&mut self, now: Time, servers: &[SocketAddr]) {
        self.now = now;
        self.learn(servers.iter().copied());
        if matches!(self.link, Link::Waiting { .. }) {
            self.dial_next();
        }
        self.end();
    }

    /// A dial has led to a connection. Whether it is wanted; if not, the host hangs up.
    pub fn opened(&mut self, now: Time, dialled: u64) -> bool {
        self.now = now;
        let Link::Dialling { dial, server, .. } = self.link else { return false };
        if dial != dialled {
            return false;
        }
        let by = match (&self.token, self.registers) {
            (_, true) => By::Registering,
            (Some(_), false) => By::Token,
            (None, false) => By::Password,
        };
        self.log_in(dial, server, by);
        self.end();
        true
    }

    /// A dial has led to nothing.
    pub fn unreachable(&mut self, now: Time, dial: u64) {
        self.closed(now, dial);
    }

    /// A connection is closed.
    pub fn closed(&mut self, now: Time, dial: u64) {
        self.now = now;
        if self.link.dial() == Some(dial) {
            self.lost();
        }
        self.end();
    }

    pub(super) fn link_timeout(&mut self) {
        let now = self.now;
        if self.link.deadline(&self.options).is_none_or(|deadline| deadline > now) {
            return;
        }
        match &mut self.link {
            Link::Off => {}
            Link::Waiting { .. } => self.dial_next(),
            Link::On { asked_at: asked_at @ None, .. } => {
                *asked_at = Some(now);
                // Whatever comes shows that somebody is there; the answer itself says nothing.
                self.put(&Route { id: PING, path: route::Path::Ping.into(), ..Route::default() });
            }
            Link::Dialling { .. } | Link::LoggingIn { .. } | Link::On { .. } => self.give_up(),
        }
    }

    /// The answer to a log-in.
    pub(super) fn log_in_answered(&mut self, error: Option<(ErrorCode, String)>, welcome: Option<Welcome>) {
        let Link::LoggingIn { dial, server, by, .. } = self.link else { return };
        match error {
            None => self.logged_in(dial, server, welcome.unwrap_or_default()),
            Some((ErrorCode::NameTaken, _)) if by == By::Registering => {
                self.registers = false;
                self.log_in(dial, server, By::Password);
            }
            Some((ErrorCode::WrongPassword, _)) if by == By::Token => {
                self.token = None;
                self.log_in(dial, server, By::Password);
            }
            Some((ErrorCode::WrongPassword | ErrorCode::Invalid, why)) => {
                self.leave();
                self.tell(ClientEvent::LogInFailed { why });
            }
            Some(_) => self.give_up(),
        }
    }

    /// The server does not know this client instance: a new one begins, on the same connection.
    pub(super) fn begin_anew(&mut self) {
        self.renew_instance();
        if let Link::On { dial, server, .. } = self.link {
            let by = if self.token.is_some() { By::Token } else { By::Password };
            self.log_in(dial, server, by);
        }
    }

    fn renew_instance(&mut self) {
        self.instance = new_instance(&mut self.rng);
        for ticket in self.sending.renumber() {
            let why = "nobody knows any more whether it was accepted".to_owned();
            self.tell(ClientEvent::Refused { ticket, code: ErrorCode::ClientForgotten, why });
        }
    }

    fn log_in(&mut self, dial: u64, server: SocketAddr, by: By) {
        // A token costs next to nothing: where it takes long, another server may be quicker.
        let patience = if by == By::Token { self.options.log_in / 3 } else { self.options.log_in };
        self.link = Link::LoggingIn { dial, server, by, until: self.now + patience };
        let password = || Some(String::from_utf8_lossy(&self.options.password.0).into_owned());
        let action = if by == By::Registering { user::Action::Register } else { user::Action::Access };
        let user = User {
            uname: self.options.name.clone(),
            password: if by == By::Token { None } else { password() },
            action: action.into(),
            ..User::default()
        };
        let login = Login {
            client: Some(self.instance.0.to_vec().into()),
            token: self.token.clone().filter(|_| by == By::Token),
            have: self.places.have().map(Position::from).collect(),
            echo: Some(self.options.echo),
            cluster: self.places.here().filter(|cluster| !cluster.is_empty()).cloned(),
        };
        let route = Route {
            id: LOG_IN,
            path: route::Path::User.into(),
            payload: Some(route::Payload::User(user)),
            login: Some(login),
            ..Route::default()
        };
        self.put(&route);
    }

    fn logged_in(&mut self, dial: u64, server: SocketAddr, welcome: Welcome) {
        self.link = Link::On { dial, server, heard_at: self.now, asked_at: None };
        self.registers = false;
        (self.tries, self.rounds) = (0, 0);
        self.token = welcome.token.or(self.token.take());
        self.learn(welcome.servers.iter().filter_map(|server| server.parse().ok()));
        if let Some(in_flight_max) = welcome.in_flight_max {
            self.sending.limit(usize::try_from(in_flight_max).unwrap_or(usize::MAX));
        }
        // Those that do not say which cluster they are stand for the one that it was in.
        let cluster = welcome.cluster.or_else(|| self.places.here().cloned()).unwrap_or_default();
        if self.places.enter(cluster) {
            // Another one, or it was begun anew: it has not looked at what was had, and knows nothing of this client instance.
            return self.begin_anew();
        }
        if welcome.expected.is_some_and(|expected| expected < self.sending.first()) {
            return self.begin_anew();
        }
        self.tell(ClientEvent::LoggedIn { server });
        self.sending.start_over();
        self.pump();
        // What was said on the connection before may not have arrived.
        self.places.acknowledge_again();
        self.acknowledge_all();
    }

    fn learn(&mut self, servers: impl Iterator<Item = SocketAddr>) {
        for server in servers {
            if self.servers.len() < SERVERS_MAX && !self.servers.contains(&server) {
                self.servers.push(server);
            }
        }
    }

    /// The server says nothing, or nothing that helps: the next one.
    pub(super) fn give_up(&mut self) {
        if let Some(dial) = self.link.dial() {
            self.frames.clear();
            self.outputs.push_back(ClientOutput::HangUp { dial });
        }
        self.lost();
    }

    fn lost(&mut self) {
        self.off();
        self.next_server += 1;
        self.dial_next();
    }

    fn leave(&mut self) {
        if let Some(dial) = self.link.dial() {
            self.outputs.push_back(ClientOutput::HangUp { dial });
        }
        self.off();
    }

    /// There is no connection any more.
    fn off(&mut self) {
        self.frames.clear();
        if self.is_on() {
            self.tell(ClientEvent::Disconnected);
        }
        self.link = Link::Off;
        for request in std::mem::take(&mut self.asked).into_values() {
            self.unanswered(request, "the connection is lost");
        }
    }

    /// Tries the next server; when all were tried without success, after a while.
    fn dial_next(&mut self) {
        if self.tries >= self.servers.len() {
            self.tries = 0;
            let longest = (ROUND_PAUSE * 2u32.pow(self.rounds.min(10))).min(ROUND_PAUSE_MAX);
            self.rounds = self.rounds.saturating_add(1);
            self.link = Link::Waiting { until: self.now + self.rng.duration(longest / 2, longest) };
            return;
        }
        self.tries += 1;
        self.next_server %= self.servers.len();
        self.dials += 1;
        let (dial, server) = (self.dials, self.servers[self.next_server]);
        self.link = Link::Dialling { dial, server, until: self.now + self.options.dial };
        self.outputs.push_back(ClientOutput::Dial { dial, to: server });
    }
}

/// What log-ins and signs of life are called. Messages have positive numbers, requests small negative ones.
pub(super) const LOG_IN: i64 = i64::MIN;
const PING: i64 = i64::MIN + 1;
/// How long it waits when all servers were tried: at first about, and at most.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(2);
/// So many servers are known.
const SERVERS_MAX: usize = 64;
