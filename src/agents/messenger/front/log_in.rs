//! Registration and log-in.
//!
//! A log-in waits until the state is up to date, so that a user who has just registered elsewhere is known, and then for the password to be looked at, which a thread of the
//! host does. A name that nobody has costs as much. Wrong passwords make the next attempts wait, by name and by address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connection::{Session, StepKey, Who};
use super::proposals::{Asked, Then, Waiter};
use super::{Front, STEP_PATIENCE, Turn, token, wire};
use crate::agent::{Conn, Done, Secret, Work};
use crate::agents::messenger::{
    ClientInstance, ClusterKey, Command, Conversation, ConversationId, EMAIL_BYTES_MAX, Sequence, State,
    UserId, is_name,
};
use crate::time::Time;
use crate::wire::proto::{ErrorCode, Login, Position, Route, User, Welcome};

/// Something that a client waits for before anything else of it is looked at.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) since: Time,
    conn: Conn,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A log-in waits for its time.
    Later(Access),
    /// The state is to be up to date for a log-in.
    Access(Access),
    /// A password is looked at; the user is not there if nobody is called so.
    Checking(Access, Option<UserId>),
    /// A password is hashed.
    Hashing(Registration),
    /// The state is to be up to date for a request that names somebody who is not known here yet.
    Sure(Box<Route>),
}

/// Who wants to log in.
#[derive(Debug)]
struct Access {
    id: i64,
    name: String,
    password: Secret,
    login: Option<Box<Login>>,
}

/// Who wants to be a user.
#[derive(Debug)]
struct Registration {
    id: i64,
    name: String,
    email: Option<String>,
    login: Option<Box<Login>>,
}

impl Front {
    /// Somebody wants to log in.
    pub(super) fn log_in(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        id: i64,
        user: User,
        login: Option<Login>,
    ) {
        let Some(peer) = self.end_session(turn, conn) else { return };
        // Nobody has registered so: it is not worth remembering, either.
        let password_bytes = user.password.as_ref().map_or(0, String::len);
        if !is_name(&user.uname) || password_bytes > PASSWORD_BYTES_MAX {
            return self.answer_wrong(turn.now, conn, id);
        }
        let access = Access {
            id,
            name: user.uname,
            password: Secret(user.password.unwrap_or_default().into()),
            login: login.map(Box::new),
        };
        let has_token = access.token().is_some();
        if !has_token && access.password.0.is_empty() {
            let why = "a log-in needs a password, or a token";
            return self.answer(turn.now, conn, &wire::failed(id, ErrorCode::WrongPassword, why));
        }
        let at = if has_token {
            Some(turn.now)
        } else {
            // Who may not try anything at all does not make others wait for the same name.
            let by_address = self.wrong_addresses.reserve(&network(peer.ip()), turn.now);
            by_address.and_then(|at| Some(at.max(self.wrong_names.reserve(&access.name, turn.now)?)))
        };
        match at {
            None => {
                let why = "too many wrong passwords: try again in a while";
                self.answer(turn.now, conn, &wire::failed(id, ErrorCode::Busy, why));
            }
            Some(at) if at > turn.now => {
                let token = self.token();
                self.hold(conn, StepKey::Later(at, token));
                self.later.insert((at, token), Step { since: at, conn, what: What::Later(access) });
            }
            Some(_) => self.ask_barrier(turn, conn, What::Access(access)),
        }
    }

    /// Somebody wants to be a user.
    pub(super) fn register(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        id: i64,
        user: User,
        login: Option<Login>,
    ) {
        let User { uname: name, email, password, .. } = user;
        let password = password.unwrap_or_default();
        let refused = if !is_name(&name) {
            Some((ErrorCode::Invalid, crate::agents::messenger::Refused::BadName.to_string()))
        } else if turn.state.find_user(&name).is_some() || turn.state.find_group(&name).is_some() {
            Some((ErrorCode::NameTaken, "the name is taken".to_owned()))
        } else if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            Some((ErrorCode::Invalid, format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes")))
        } else if email.as_ref().is_some_and(|email| email.len() > EMAIL_BYTES_MAX) {
            Some((ErrorCode::Invalid, format!("an email address has at most {EMAIL_BYTES_MAX} bytes")))
        } else if self.computing >= COMPUTING_MAX {
            Some((ErrorCode::Busy, "too many passwords are being looked at".to_owned()))
        } else {
            None
        };
        if let Some((code, why)) = refused {
            return self.answer(turn.now, conn, &wire::failed(id, code, why));
        }
        if self.end_session(turn, conn).is_none() {
            return;
        }
        let registration = Registration { id, name, email, login: login.map(Box::new) };
        let work = self.hashing(password.into());
        self.compute(turn, conn, What::Hashing(registration), work);
    }

    /// Does a request again once the state is up to date.
    pub(super) fn make_sure(&mut self, turn: &mut Turn<'_>, conn: Conn, route: Route) {
        self.ask_barrier(turn, conn, What::Sure(Box::new(route)));
    }

    /// Does a request again a little later, once the state is up to date then; but not for ever.
    pub(super) fn do_later(&mut self, now: Time, conn: Conn, route: Route) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if *client.later_since.get_or_insert(now) + STEP_PATIENCE <= now {
            return self.answer(now, conn, &wire::failed(route.id, ErrorCode::Unknown, NOT_AGREED));
        }
        let (at, token) = (now + LATER, self.token());
        self.hold(conn, StepKey::Later(at, token));
        self.later.insert((at, token), Step { since: at, conn, what: What::Sure(Box::new(route)) });
    }

    /// The state is up to date for what waited for that.
    pub(in super::super) fn barrier(&mut self, turn: &mut Turn<'_>, token: u64) {
        let Some(Step { conn, what, .. }) = self.take_step(token) else { return };
        if !self.clients.contains_key(&conn) {
            return;
        }
        match what {
            What::Access(access) => self.check(turn, conn, access),
            What::Sure(route) => {
                self.unhold(conn);
                self.request(turn, conn, *route, true);
                self.release(turn, conn);
            }
            What::Later(_) | What::Checking(..) | What::Hashing(_) => {}
        }
    }

    /// A password was looked at.
    pub(in super::super) fn computed(&mut self, turn: &mut Turn<'_>, token: u64, done: Done) {
        self.computing = self.computing.saturating_sub(1);
        let Some(Step { conn, what, .. }) = self.take_step(token) else { return };
        match (what, done) {
            (What::Checking(access, Some(user)), Done::Matches(true)) => {
                self.wrong_names.right(&access.name);
                if turn.state.user(user).is_some() {
                    self.begin_session(turn, conn, access.id, user, access.login.as_deref());
                } else {
                    self.wrong(turn, conn, &access);
                }
            }
            (What::Checking(access, _), Done::Matches(_) | Done::Hash(_)) => self.wrong(turn, conn, &access),
            (What::Hashing(registration), Done::Hash(hash)) => {
                let Registration { id, name, email, login } = registration;
                if self.clients.contains_key(&conn) {
                    let then = login.map_or(Then::LogInPlainly, Then::LogIn);
                    let waiter = Waiter::Client(conn, Asked { id, then });
                    self.propose(turn, Command::Register { name, email, hash }, waiter);
                }
            }
            (what, _) => {
                self.answer_step(turn, conn, &what, ErrorCode::Busy, "the server has too much to do");
                self.release(turn, conn);
            }
        }
    }

    /// Log-ins whose time has come go on.
    pub(super) fn steps_due(&mut self, turn: &mut Turn<'_>) {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= turn.now
        {
            let Step { conn, what, .. } = entry.remove();
            let what = if let What::Later(access) = what { What::Access(access) } else { what };
            self.ask_barrier(turn, conn, what);
        }
    }

    /// What has waited for too long is told that nobody knows.
    pub(super) fn steps_expired(&mut self, turn: &mut Turn<'_>) {
        while let Some((token, step)) = self.steps.first_key_value()
            && step.since + STEP_PATIENCE <= turn.now
            && let Some(Step { conn, what, .. }) = self.take_step(*token)
        {
            self.answer_step(turn, conn, &what, ErrorCode::Unknown, NOT_AGREED);
            self.release(turn, conn);
        }
    }

    /// A user's session begins on a connection, and it is answered.
    pub(super) fn begin_session(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        id: i64,
        user: UserId,
        login: Option<&Login>,
    ) {
        let Some(known) = turn.state.user(user) else { return self.release(turn, conn) };
        if self.sessions.get(&user).is_some_and(|all| all.len() >= self.settings.sessions_max) {
            let why = "the user has too many sessions on this server";
            self.answer(turn.now, conn, &wire::failed(id, ErrorCode::Busy, why));
            return self.release(turn, conn);
        }
        let welcome = login.map(|login| self.welcome(turn, user, login));
        let instance = login.and_then(instance);
        let echo = login.is_some_and(Login::echo);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let mut session = Session::new(user, Arc::clone(&known.name), instance, login.is_some(), echo);
        session.behind = behind(turn.state, user, login.map_or(&[], |login| have(turn.state, login)));
        client.who = Who::User(Box::new(session));
        let name = Arc::clone(&known.name);
        let all = self.sessions.entry(user).or_default();
        all.push(conn);
        self.session_count += 1;
        self.elsewhere.counted(turn.now);
        let is_first = all.len() == 1;
        self.answer(turn.now, conn, &Route { welcome, ..wire::done(id) });
        if is_first {
            self.comes_or_goes(turn.now, turn.state, user, name, true);
        }
        self.pump(turn, conn);
        self.release(turn, conn);
    }

    /// Ends the session of a connection, if there is one; the other side's address. `None` if the connection is gone.
    fn end_session(&mut self, turn: &mut Turn<'_>, conn: Conn) -> Option<std::net::SocketAddr> {
        let client = self.clients.get_mut(&conn)?;
        client.finish(self.settings.quirks);
        let peer = client.peer;
        if let Who::User(session) = std::mem::replace(&mut client.who, Who::Nobody) {
            self.session_ends(turn.now, turn.state, conn, &session);
        }
        Some(peer)
    }

    /// A session is over.
    pub(super) fn session_ends(&mut self, now: Time, state: &State, conn: Conn, session: &Session) {
        let Some(all) = self.sessions.get_mut(&session.user) else { return };
        all.retain(|other| *other != conn);
        self.session_count -= 1;
        self.elsewhere.counted(now);
        if all.is_empty() {
            self.sessions.remove(&session.user);
            self.comes_or_goes(now, state, session.user, Arc::clone(&session.name), false);
        }
    }

    fn comes_or_goes(&mut self, now: Time, state: &State, user: UserId, name: Arc<str>, online: bool) {
        self.elsewhere.changed(now, user, online);
        self.news.push((user, name, online));
        self.tell_presence_of(now, state, [user].into());
    }

    /// Looks at what somebody has shown, now that the state is up to date.
    fn check(&mut self, turn: &mut Turn<'_>, conn: Conn, access: Access) {
        let found = turn.state.find_user(&access.name);
        let hash = found.and_then(|user| turn.state.user(user)).map(|user| user.hash.clone());
        if let Some(shown) = access.token() {
            let right = found
                .zip(hash.as_ref())
                .zip(turn.state.key())
                .is_some_and(|((user, hash), key)| token::is_valid(key, shown, user, hash, turn.unix_ms));
            return match found {
                Some(user) if right => {
                    self.begin_session(turn, conn, access.id, user, access.login.as_deref());
                }
                _ => {
                    self.answer_wrong(turn.now, conn, access.id);
                    self.release(turn, conn);
                }
            };
        }
        if self.computing >= COMPUTING_MAX {
            let why = "too many passwords are being looked at";
            self.answer(turn.now, conn, &wire::failed(access.id, ErrorCode::Busy, why));
            return self.release(turn, conn);
        }
        let password = access.password.clone();
        let work = match hash {
            Some(hash) => Work::CheckPassword { password, hash },
            // Costs as much, so that nobody learns who is a user.
            None => self.hashing(password.0),
        };
        self.compute(turn, conn, What::Checking(access, found), work);
    }

    fn wrong(&mut self, turn: &mut Turn<'_>, conn: Conn, access: &Access) {
        self.counts.wrong_passwords += 1;
        self.wrong_names.wrong(&access.name, turn.now);
        if let Some(client) = self.clients.get(&conn) {
            self.wrong_addresses.wrong(&network(client.peer.ip()), turn.now);
        }
        self.answer_wrong(turn.now, conn, access.id);
        self.release(turn, conn);
    }

    fn answer_wrong(&mut self, now: Time, conn: Conn, id: i64) {
        let why = "the name, the password or the token is wrong";
        self.answer(now, conn, &wire::failed(id, ErrorCode::WrongPassword, why));
    }

    fn answer_step(&mut self, turn: &Turn<'_>, conn: Conn, what: &What, code: ErrorCode, why: &str) {
        let id = match what {
            What::Later(access) | What::Access(access) | What::Checking(access, _) => access.id,
            What::Hashing(registration) => registration.id,
            What::Sure(route) => route.id,
        };
        self.answer(turn.now, conn, &wire::failed(id, code, why));
    }

    /// What a client is told that has logged in and understands it.
    fn welcome(&mut self, turn: &Turn<'_>, user: UserId, login: &Login) -> Welcome {
        let hash = turn.state.user(user).map(|user| user.hash.as_str()).unwrap_or_default();
        let until_ms = turn.unix_ms + TOKEN_MS;
        let expected = instance(login).map(|instance| turn.state.expected(user, instance).unwrap_or(1));
        Welcome {
            token: turn.state.key().map(|key| token::issue(key, user, hash, until_ms)),
            servers: self.servers().map(|(address, _)| address.to_owned()).collect(),
            expected,
            payload_bytes_max: Some(turn.state.limits().payload_bytes_max as u64),
            in_flight_max: Some(self.settings.in_flight_max as u64),
            group_tag: Some(self.settings.clusters.group_tag.clone()),
            cluster: turn.state.key().map(|key| key.identity().0.to_vec().into()),
        }
    }

    fn hashing(&mut self, password: Bytes) -> Work {
        let mut salt = [0; 16];
        for chunk in salt.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.rng.number().to_le_bytes());
        }
        Work::HashPassword { password: Secret(password), salt, cost: self.settings.password }
    }

    fn compute(&mut self, turn: &mut Turn<'_>, conn: Conn, what: What, work: Work) {
        let token = self.begin_step(turn.now, conn, what);
        self.computing += 1;
        turn.out.compute(token, work);
    }

    fn ask_barrier(&mut self, turn: &mut Turn<'_>, conn: Conn, what: What) {
        let token = self.begin_step(turn.now, conn, what);
        turn.out.barrier(token);
    }

    fn begin_step(&mut self, now: Time, conn: Conn, what: What) -> u64 {
        let token = self.token();
        self.hold(conn, StepKey::Now(token));
        self.steps.insert(token, Step { since: now, conn, what });
        token
    }

    /// Takes what a client has waited for; not what waits for its time.
    fn take_step(&mut self, token: u64) -> Option<Step> {
        let step = self.steps.remove(&token)?;
        if let Some(client) = self.clients.get_mut(&step.conn) {
            client.step = None;
        }
        Some(step)
    }

    /// Nobody waits any more for what a client has waited for. What is computed is not stopped by that, and counts.
    pub(super) fn forget_step(&mut self, key: StepKey) {
        match key {
            StepKey::Later(at, token) => drop(self.later.remove(&(at, token))),
            StepKey::Now(token) => {
                let is_computed = |step: &Step| matches!(step.what, What::Checking(..) | What::Hashing(_));
                if self.steps.get(&token).is_some_and(|step| !is_computed(step)) {
                    self.steps.remove(&token);
                }
            }
        }
    }

    fn hold(&mut self, conn: Conn, step: StepKey) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.holds = true;
            client.step = Some(step);
        }
    }

    fn unhold(&mut self, conn: Conn) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.holds = false;
        }
    }

    /// Nothing is under way any more that comes before what the client has asked meanwhile.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        // What is asked again holds up what comes behind it again.
        let Some(client) = self.clients.get_mut(&conn).filter(|client| client.step.is_none()) else { return };
        (client.holds, client.later_since) = (false, None);
        while let Some(client) = self.clients.get_mut(&conn)
            && !client.holds
            && let Some(route) = client.held.pop()
        {
            self.request(turn, conn, route, false);
        }
    }
}

impl Access {
    fn token(&self) -> Option<&[u8]> {
        self.login.as_ref()?.token.as_deref()
    }
}

/// Whether what somebody says who wants to be a user is no longer than it may be.
pub(super) fn is_short(user: &User) -> bool {
    let bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    is_name(&user.uname)
        && bytes(&user.password) <= PASSWORD_BYTES_MAX
        && bytes(&user.email) <= EMAIL_BYTES_MAX
        && bytes(&user.recent_active_time) <= EMAIL_BYTES_MAX
}

/// The client instance that logs in.
fn instance(login: &Login) -> Option<ClientInstance> {
    login.client.as_ref()?[..].try_into().ok().map(ClientInstance)
}

/// Whom an address stands for: of IPv6 everybody gets a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What a client has of this cluster's conversations. In another one, or in one before under this tag, others are called by the same numbers.
fn have<'l>(state: &State, login: &'l Login) -> &'l [Position] {
    let own = state.key().map(ClusterKey::identity);
    let is_meant = |cluster: &Bytes| own.is_some_and(|own| own.0[..] == cluster[..]);
    if login.cluster.as_ref().is_none_or(is_meant) { &login.have } else { &[] }
}

/// What a session has to catch up with: from behind what its client has, else from behind what the user has read.
fn behind(
    state: &State,
    user: UserId,
    have: &[Position],
) -> std::collections::BTreeMap<ConversationId, Sequence> {
    let mut behind: std::collections::BTreeMap<_, _> =
        state.unread(user).map(|(conversation, first)| (conversation, Sequence(first.0 - 1))).collect();
    for position in have {
        let (conversation, has) = (ConversationId(position.conversation), Sequence(position.sequence));
        let last = state.conversation(conversation).filter(|it| it.is_member(user)).map(Conversation::last);
        match last {
            Some(last) if has < last => behind.insert(conversation, has),
            Some(_) => behind.remove(&conversation),
            None => None,
        };
    }
    behind
}

const NOT_AGREED: &str = "the servers do not agree at the moment";
const PASSWORD_BYTES_MAX: usize = 1024;
/// After what time something is done that has to wait for others.
const LATER: Duration = Duration::from_millis(20);
/// Passwords that are being looked at, or wait for it.
const COMPUTING_MAX: usize = 64;
/// How long a token holds: thirty days.
const TOKEN_MS: u64 = 30 * 24 * 3600 * 1000;
