//! What is on top of a server's membership: the broadcast, with what it is told and what it tells written down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::member::Flaw;
use crate::agent::Peer;
use crate::agents::overlay::{Delivered, Happening, Layer, MessageId, News, Sends, Service, ServiceMessage};
use crate::time::Time;

type Out = Sends<Peer, ServiceMessage<Peer>>;

/// The layer. It understands `speak`: from then on it broadcasts something every now and then.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Service<Peer>,
    /// Who is a neighbour, as far as it was told.
    up: BTreeSet<Peer>,
    /// What was delivered, in order.
    delivered: Vec<Heard>,
    /// When something of each source was delivered last.
    heard_at: BTreeMap<Peer, Time>,
    complaint: Option<String>,
    speaks_at: Option<Time>,
    /// How often it has spoken.
    spoken: u64,
    /// When it spoke last, and before that.
    spoke: [Option<Time>; 2],
    flaw: Option<Flaw>,
}

/// Something that was delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) id: MessageId<Peer>,
    /// Of what its source says when it speaks: the how manyth it is.
    pub(super) spoken: Option<u64>,
}

impl Watched {
    pub(super) fn new(inner: Service<Peer>, flaw: Option<Flaw>) -> Self {
        Self {
            inner,
            up: BTreeSet::new(),
            delivered: Vec::new(),
            heard_at: BTreeMap::new(),
            complaint: None,
            speaks_at: None,
            spoken: 0,
            spoke: [None, None],
            flaw,
        }
    }

    /// Tells everybody that this server goes.
    pub(super) fn leave(&mut self, now: Time, out: &mut Out) {
        self.inner.leave(now, out);
    }

    /// Whether it was told of a neighbour.
    pub(super) fn is_up(&self, peer: Peer) -> bool {
        self.up.contains(&peer)
    }

    /// What was delivered in this life, in order.
    pub(super) fn delivered(&self) -> &[Heard] {
        &self.delivered
    }

    /// The servers that it takes for alive.
    pub(super) fn alive(&self) -> impl Iterator<Item = u16> {
        self.inner.alive()
    }

    /// When something of this source was delivered last.
    pub(super) fn heard_at(&self, source: Peer) -> Option<Time> {
        self.heard_at.get(&source).copied()
    }

    /// When it spoke the last time but one.
    pub(super) fn spoke_before(&self) -> Option<Time> {
        self.spoke[1]
    }

    /// What is wrong with what it was told.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Whether what it is told may happen.
    fn watch<M>(&mut self, happening: &Happening<Peer, M>) {
        let complaint = match happening {
            Happening::LinkUp(peer) if !self.up.insert(*peer) => format!("{peer} came up twice"),
            Happening::LinkDown(peer, why) if !self.up.remove(peer) => {
                format!("{peer} went down ({why}) and was not up")
            }
            Happening::Message { from, .. } if !self.up.contains(from) => {
                format!("{from} said something and was not up")
            }
            _ => return,
        };
        self.complaint.get_or_insert(complaint);
    }

    fn note_delivered(&mut self, now: Time, heard: Heard) {
        if self.flaw == Some(Flaw::Skips) && heard.spoken == Some(2) {
            return;
        }
        self.heard_at.insert(heard.id.source, now);
        self.delivered.push(heard);
        let len = self.delivered.len();
        if self.flaw == Some(Flaw::Repeats) {
            self.delivered.extend(self.delivered.last().copied());
        }
        if self.flaw == Some(Flaw::Muddles) && len > 1 {
            self.delivered.swap(len - 2, len - 1);
        }
    }

    fn speak(&mut self, now: Time, out: &mut Out) {
        self.speaks_at = Some(now + SPEAKS_EVERY);
        self.spoke = [Some(now), self.spoke[0]];
        self.spoken += 1;
        let line = format!("broadcast spoken {}", self.spoken);
        self.inner.command(now, &line, out);
    }
}

impl Layer<Peer> for Watched {
    type Msg = ServiceMessage<Peer>;

    fn handle(&mut self, now: Time, happening: Happening<Peer, Self::Msg>, out: &mut Out) {
        let comes_up = matches!(happening, Happening::LinkUp(_));
        if comes_up && self.flaw == Some(Flaw::Deaf) {
            return;
        }
        if comes_up && self.flaw == Some(Flaw::Stutters) {
            self.watch(&happening);
        }
        self.watch(&happening);
        if matches!(happening, Happening::Timeout) && self.speaks_at.is_some_and(|at| at <= now) {
            self.speak(now, out);
        }
        self.inner.handle(now, happening, out);
        while let Some(news) = self.inner.next_news() {
            if let News::Delivered(Delivered { source, incarnation, seq, payload }) = news {
                let spoken = std::str::from_utf8(&payload).ok().and_then(|text| text.strip_prefix("spoken "));
                let spoken = spoken.and_then(|number| number.parse().ok());
                self.note_delivered(now, Heard { id: MessageId { source, incarnation, seq }, spoken });
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        match (self.inner.deadline(), self.speaks_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn command(&mut self, now: Time, line: &str, out: &mut Out) -> bool {
        if line == "speak" {
            self.speak(now, out);
            return true;
        }
        self.inner.command(now, line, out)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inner.counters()
    }
}

/// How often one that speaks does.
const SPEAKS_EVERY: Duration = Duration::from_secs(1);
