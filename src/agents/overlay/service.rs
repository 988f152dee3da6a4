//! What a server needs of an overlay: broadcast to everybody, and who is alive.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::broadcast::{PAST, decode_ms, encode_ms, list};
use super::census::{Census, Entry};
use super::id::take;
use super::{
    Broadcast, BroadcastMessage, BroadcastOptions, Delivered, Happening, Id, Layer, News, Reason, Refused,
    Sends,
};
use crate::agent::{Port, Wire, WireError};
use crate::time::Time;

/// A broadcast and a table of who is alive. Each broadcast begins with a byte that says whose it is.
#[derive(Debug)]
pub struct Service<I> {
    broadcast: Broadcast<I>,
    broadcast_sends: Sends<I, BroadcastMessage<I>>,
    census: Census<I>,
    payload_bytes_max: usize,
    news: VecDeque<News<I>>,
}

/// What a service is made of besides its node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Those of its broadcast.
    pub broadcast: BroadcastOptions,
    /// How often each server says that it is alive where there are few servers. Who has not been heard of for three times that is taken for dead.
    pub refresh: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { broadcast: BroadcastOptions::default(), refresh: Duration::from_secs(5) }
    }
}

/// What services say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceMessage<I> {
    /// The broadcast's.
    Broadcast(BroadcastMessage<I>),
    /// Of the table of who is alive; the sender's own entry first.
    Entries(Box<[Entry]>),
}

type Out<I> = Sends<I, ServiceMessage<I>>;

impl<I: Id> Service<I> {
    /// The service of the node `me`, which is server `number` of the grid, in the life `incarnation`: that has to be larger in each later life, such as
    /// the milliseconds since 1970 at which it begins.
    pub fn new(me: I, number: u16, incarnation: u64, options: ServiceOptions) -> Self {
        let ServiceOptions { mut broadcast, refresh } = options;
        let payload_bytes_max = broadcast.tree.payload_bytes_max;
        broadcast.tree.payload_bytes_max += 1;
        Self {
            broadcast: Broadcast::new(me, incarnation, broadcast),
            broadcast_sends: Sends::default(),
            census: Census::new(number, incarnation, refresh),
            payload_bytes_max,
            news: VecDeque::new(),
        }
    }

    /// Sends `payload` to everybody else.
    pub fn broadcast(&mut self, now: Time, payload: &[u8], out: &mut Out<I>) -> Result<(), Refused> {
        let (bytes, bytes_max) = (payload.len(), self.payload_bytes_max);
        if bytes > bytes_max {
            return Err(Refused::TooLong { bytes, bytes_max });
        }
        self.send(now, kind::USER, payload, out)
    }

    /// Sends `payload` to one neighbour.
    pub fn direct(&mut self, to: I, payload: Bytes, out: &mut Out<I>) -> Result<(), Refused> {
        let result = self.broadcast.direct(to, payload, &mut self.broadcast_sends);
        self.send_broadcasts(out);
        result
    }

    /// Tells everybody that this server goes. To be followed by the good-bye of its node.
    pub fn leave(&mut self, now: Time, out: &mut Out<I>) {
        self.census.leave(now + PAST);
        self.tell_neighbours(now, None, &[], out);
    }

    /// The servers that are alive as far as is known, this one among them, ascending.
    pub fn alive(&self) -> impl Iterator<Item = u16> {
        self.census.alive()
    }

    /// The table of who is alive.
    pub fn census(&self) -> &Census<I> {
        &self.census
    }

    /// What has happened next. The owner takes all of it after each input; of what it leaves, the oldest is lost beyond a limit.
    pub fn next_news(&mut self) -> Option<News<I>> {
        self.news.pop_front()
    }

    fn send(&mut self, now: Time, kind: u8, contents: &[u8], out: &mut Out<I>) -> Result<(), Refused> {
        let mut payload = BytesMut::with_capacity(contents.len() + 1);
        payload.put_u8(kind);
        payload.put_slice(contents);
        let result = self.broadcast.broadcast(now, payload.freeze(), &mut self.broadcast_sends);
        self.send_broadcasts(out);
        result
    }

    fn received(&mut self, now: Time, from: I, entries: &[Entry], out: &mut Out<I>) {
        let (news, refuted) = self.census.received(now + PAST, from, entries);
        if !news.is_empty() {
            self.tell_neighbours(now, Some(from), &news, out);
        }
        if refuted {
            self.tell_neighbours(now, None, &[], out);
        }
    }

    /// Tells all neighbours but one.
    fn tell_neighbours(&self, now: Time, but: Option<I>, entries: &[Entry], out: &mut Out<I>) {
        for peer in self.broadcast.neighbours().filter(|peer| Some(*peer) != but) {
            self.tell(now, peer, entries, out);
        }
    }

    /// Tells one neighbour who is speaking, and these entries.
    fn tell(&self, now: Time, peer: I, entries: &[Entry], out: &mut Out<I>) {
        let own = self.census.own(now + PAST);
        if entries.is_empty() {
            out.send(peer, ServiceMessage::Entries([own].into()));
        }
        for entries in entries.chunks(ENTRIES_MAX - 1) {
            let entries = std::iter::once(own).chain(entries.iter().copied()).collect();
            out.send(peer, ServiceMessage::Entries(entries));
        }
    }

    /// Takes the news of the broadcast: what is the table's stays here.
    fn take_news(&mut self, now: Time, out: &mut Out<I>) {
        while let Some(news) = self.broadcast.next_news() {
            let News::Delivered(Delivered { source, incarnation, seq, payload }) = news else {
                self.push(news);
                continue;
            };
            match payload.first() {
                Some(&kind::USER) => {
                    let payload = payload.slice(1..);
                    self.push(News::Delivered(Delivered { source, incarnation, seq, payload }));
                }
                Some(&kind::REFRESH) => {
                    if let Ok((number, life, refresh)) = refresh_of(&payload[1..])
                        && let Some(dead) = self.census.refreshed(now + PAST, number, life, refresh)
                    {
                        self.tell_neighbours(now, None, &[dead], out);
                    }
                }
                _ => {}
            }
        }
    }

    fn push(&mut self, news: News<I>) {
        if self.news.len() >= NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    fn send_broadcasts(&mut self, out: &mut Out<I>) {
        for (to, message) in self.broadcast_sends.drain() {
            out.send(to, ServiceMessage::Broadcast(message));
        }
    }

    fn hand_down(&mut self, now: Time, happening: Happening<I, BroadcastMessage<I>>, out: &mut Out<I>) {
        self.broadcast.handle(now, happening, &mut self.broadcast_sends);
        self.send_broadcasts(out);
        self.take_news(now, out);
    }

    fn link_down(&mut self, now: Time, peer: I, reason: Reason, out: &mut Out<I>) {
        self.hand_down(now, Happening::LinkDown(peer, reason), out);
        if let Some(dead) = self.census.link_down(now + PAST, peer, reason) {
            self.tell_neighbours(now, None, &[dead], out);
        }
    }

    fn timeout(&mut self, now: Time, out: &mut Out<I>) {
        self.hand_down(now, Happening::Timeout, out);
        if let Some(own) = self.census.timeout(now + PAST) {
            let mut contents = [own.number.to_be_bytes().as_slice(), &own.incarnation.to_be_bytes()].concat();
            encode_ms(own.refresh, &mut contents);
            self.send(now, kind::REFRESH, &contents, out).expect("fourteen bytes are not too long");
        }
    }
}

/// Whose a broadcast is.
mod kind {
    pub(super) const USER: u8 = 0;
    pub(super) const REFRESH: u8 = 1;
}

fn refresh_of(mut contents: &[u8]) -> Result<(u16, u64, Duration), WireError> {
    let bytes = &mut contents;
    Ok((u16::from_be_bytes(take(bytes)?), u64::from_be_bytes(take(bytes)?), decode_ms(bytes)?))
}

/// How much news waits at most for an owner that does not take it.
const NEWS_MAX: usize = 65_536;

/// No message has more entries.
const ENTRIES_MAX: usize = 4_096;

/// Command: `broadcast <text>`.
impl<I: Id> Layer<I> for Service<I> {
    type Msg = ServiceMessage<I>;

    fn handle(&mut self, now: Time, happening: Happening<I, Self::Msg>, out: &mut Sends<I, Self::Msg>) {
        match happening {
            Happening::Message { from, message: ServiceMessage::Broadcast(message) } => {
                self.hand_down(now, Happening::Message { from, message }, out);
            }
            Happening::Message { from, message: ServiceMessage::Entries(entries) } => {
                self.received(now, from, &entries, out);
            }
            Happening::Timeout => self.timeout(now, out),
            Happening::LinkUp(peer) => {
                let entries = self.census.link_up(now + PAST, peer);
                self.tell(now, peer, &entries, out);
                self.hand_down(now, Happening::LinkUp(peer), out);
            }
            Happening::LinkDown(peer, reason) => self.link_down(now, peer, reason, out),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.broadcast.deadline().into_iter().chain(self.census.deadline().map(|at| at - PAST)).min()
    }

    fn command(&mut self, now: Time, line: &str, out: &mut Sends<I, Self::Msg>) -> bool {
        let Some(text) = line.strip_prefix("broadcast ") else { return false };
        self.broadcast(now, text.as_bytes(), out).is_ok()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.broadcast.counters();
        counters.push(("servers_alive", self.alive().count() as u64));
        counters.push(("own_deaths_refuted", self.census.refuted));
        counters
    }
}

/// One byte for whose it is, then that message, or entries up to the end.
mod tag {
    pub(super) const BROADCAST: u8 = 1;
    pub(super) const ENTRIES: u8 = 2;
}

impl<I: Id> Wire for ServiceMessage<I> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Broadcast(message) => {
                bytes.push(tag::BROADCAST);
                message.encode(bytes);
            }
            Self::Entries(entries) => {
                bytes.push(tag::ENTRIES);
                for entry in entries {
                    entry.encode(bytes);
                }
            }
        }
    }

    fn decode(port: Port, mut bytes: &[u8]) -> Result<Self, WireError> {
        match take(&mut bytes)? {
            [tag::BROADCAST] => BroadcastMessage::decode(port, bytes).map(Self::Broadcast),
            [tag::ENTRIES] => list(&mut bytes, ENTRIES_MAX, Entry::decode).map(Self::Entries),
            [tag] => Err(WireError::new(format!("a service has no messages with the tag {tag}"))),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Broadcast(message) => message.kind(),
            Self::Entries(_) => "entries",
        }
    }
}
