//! A node by itself, whose neighbours are played.

use std::time::Duration;

use bytes::Bytes;

use crate::agent::Peer;
use crate::agents::overlay::{
    Blob, Broadcast, BroadcastMessage, BroadcastOptions, Happening, Kept, Layer, Mark, MessageId, News,
    PlumtreeMessage, Sends,
};
use crate::time::Time;

pub(super) type Said = BroadcastMessage<Peer>;

/// A node with neighbours 1, 2, ..., which has had them for long enough to be no newcomer.
pub(super) struct Node {
    pub(super) broadcast: Broadcast<Peer>,
    pub(super) now: Time,
}

impl Node {
    pub(super) fn new(neighbours: u32) -> Self {
        let mut node = Self::newcomer(neighbours, BroadcastOptions::default());
        node.wait(10_000);
        node
    }

    pub(super) fn newcomer(neighbours: u32, options: BroadcastOptions) -> Self {
        let mut node = Self { broadcast: Broadcast::new(Peer(0), 1, options), now: Time::ZERO };
        for peer in 1..=neighbours {
            node.tell(Happening::LinkUp(Peer(peer)));
        }
        node.news();
        node
    }

    /// What it says, and to whom; ages are left out.
    pub(super) fn tell(&mut self, happening: Happening<Peer, Said>) -> Vec<(u32, Said)> {
        let mut said = self.tell_with_ages(happening);
        for (_, message) in &mut said {
            match message {
                Said::Ask { age_max, .. } => *age_max = Duration::ZERO,
                Said::Answer { messages, .. } => {
                    for kept in messages {
                        kept.age = Duration::ZERO;
                    }
                }
                Said::Highest(marks) => {
                    for mark in marks {
                        mark.age = Duration::ZERO;
                    }
                }
                _ => {}
            }
        }
        said
    }

    pub(super) fn tell_with_ages(&mut self, happening: Happening<Peer, Said>) -> Vec<(u32, Said)> {
        let mut out = Sends::default();
        self.broadcast.handle(self.now, happening, &mut out);
        out.drain().map(|(to, message)| (to.0, message)).collect()
    }

    pub(super) fn hear(&mut self, from: u32, message: Said) -> Vec<(u32, Said)> {
        self.tell(Happening::Message { from: Peer(from), message })
    }

    /// Lets time go on; what is asked of neighbours meanwhile.
    pub(super) fn wait(&mut self, milliseconds: u64) -> Vec<(u32, Said)> {
        let mut said = Vec::new();
        for _ in 0..milliseconds / 10 {
            self.now = self.now + Duration::from_millis(10);
            said.extend(self.tell(Happening::Timeout));
        }
        said.retain(|(_, message)| !matches!(message, Said::Tree(_)));
        said
    }

    pub(super) fn news(&mut self) -> Vec<News<Peer>> {
        std::iter::from_fn(|| self.broadcast.next_news()).collect()
    }

    /// The numbers of what was delivered.
    pub(super) fn delivered(&mut self) -> Vec<u64> {
        let numbers = |news| match news {
            News::Delivered(delivered) => Some(delivered.seq),
            _ => None,
        };
        self.news().into_iter().filter_map(numbers).collect()
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.broadcast.counters().iter().find(|counter| counter.0 == name).unwrap().1
    }
}

pub(super) fn id(seq: u64) -> MessageId<Peer> {
    MessageId { source: Peer(9), incarnation: 5, seq }
}

pub(super) fn gossip_of(id: MessageId<Peer>) -> Said {
    Said::Tree(PlumtreeMessage::Gossip { id, round: 0, payload: Blob(contents(id.seq)) })
}

pub(super) fn gossip(seq: u64) -> Said {
    gossip_of(id(seq))
}

pub(super) fn contents(seq: u64) -> Bytes {
    Bytes::from(seq.to_string())
}

pub(super) fn mark(id: MessageId<Peer>, age_ms: u64) -> Mark<Peer> {
    Mark { id, age: Duration::from_millis(age_ms) }
}

pub(super) fn highest(seq: u64) -> Said {
    Said::Highest([mark(id(seq), 0)].into())
}

pub(super) fn ask(first: u64, last: u64) -> Said {
    ask_of(id(first), last)
}

pub(super) fn ask_of(first: MessageId<Peer>, last: u64) -> Said {
    Said::Ask { first, last, age_max: Duration::ZERO }
}

/// Of any age.
pub(super) fn ask_all(first: u64, last: u64) -> Said {
    Said::Ask { first: id(first), last, age_max: Duration::from_secs(1000) }
}

pub(super) fn answer(first: u64, numbers: impl IntoIterator<Item = u64>) -> Said {
    let kept = |seq| Kept { seq, age: Duration::ZERO, contents: contents(seq) };
    Said::Answer { first: id(first), whole: false, messages: numbers.into_iter().map(kept).collect() }
}

pub(super) fn whole_answer(first: u64, numbers: impl IntoIterator<Item = u64>) -> Said {
    let Said::Answer { first, messages, .. } = answer(first, numbers) else { unreachable!() };
    Said::Answer { first, whole: true, messages }
}
