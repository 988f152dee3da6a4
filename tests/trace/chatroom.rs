//! Runs to look at: a chatroom over a carrier that loses messages, with a partition, a pause, and a crash with a restart.

use std::collections::{BTreeMap, BTreeSet};

use ovid::rng::{Probability, Rng};
use ovid::trace::{Event, What};

/// A chatroom of `servers` in which about `commands` lines are said, drawn from `seed`.
pub(crate) fn run(seed: u64, servers: u64, commands: u64) -> Vec<Event> {
    let mut run = Run { rng: Rng::new(seed), servers, ..Run::default() };
    run.plan(commands);
    while let Some(((now, _), act)) = run.coming.pop_first() {
        run.now = now;
        run.act(act);
    }
    run.events
}

#[derive(Debug)]
enum Act {
    Say(u64),
    Ask(u64),
    Beat(u64),
    Arrive { from: u64, to: u64, kind: &'static str, text: String, id: u64 },
    Crash(u64),
    Start(u64),
    Pause(u64),
    Resume(u64),
    Cut,
    Heal,
}

struct Run {
    rng: Rng,
    servers: u64,
    now: u64,
    coming: BTreeMap<(u64, u64), Act>,
    planned: u64,
    sent: u64,
    said: u64,
    down: BTreeSet<u64>,
    paused: BTreeMap<u64, Vec<Act>>,
    is_cut: bool,
    logs: BTreeMap<u64, Vec<String>>,
    events: Vec<Event>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            rng: Rng::new(0),
            servers: 0,
            now: 0,
            coming: BTreeMap::new(),
            planned: 0,
            sent: 0,
            said: 0,
            down: BTreeSet::new(),
            paused: BTreeMap::new(),
            is_cut: false,
            logs: BTreeMap::new(),
            events: Vec::new(),
        }
    }
}

const MS: u64 = 1_000_000;
const WORDS: [&str; 8] =
    ["hello", "anybody here?", "yes", "who was first?", "I was", "lunch?", "in five minutes", "ok"];

impl Run {
    fn plan(&mut self, commands: u64) {
        let length = commands * 150;
        for server in 0..self.servers {
            self.at(server * 20, Act::Start(server));
        }
        for _ in 0..commands {
            let (when, server) = (self.rng.between(200..=length), self.rng.below(self.servers));
            self.at(when, Act::Say(server));
            if self.rng.chance(Probability::percent(30)) {
                let (when, server) = (self.rng.between(200..=length), self.rng.below(self.servers));
                self.at(when, Act::Ask(server));
            }
        }
        for beat in (200..length).step_by(800) {
            for server in 0..self.servers {
                self.at(beat + server * 7, Act::Beat(server));
            }
        }
        let last = self.servers - 1;
        let faults = [
            (20, Act::Cut),
            (36, Act::Heal),
            (45, Act::Crash(last)),
            (62, Act::Start(last)),
            (72, Act::Pause(0)),
            (80, Act::Resume(0)),
        ];
        for (percent, act) in faults {
            self.at(length * percent / 100, act);
        }
    }

    fn at(&mut self, when_ms: u64, act: Act) {
        self.at_ns(when_ms * MS, act);
    }

    fn at_ns(&mut self, when_ns: u64, act: Act) {
        self.planned += 1;
        self.coming.insert((when_ns, self.planned), act);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Say(server) | Act::Ask(server) | Act::Beat(server) if self.is_deaf(server, &act) => {}
            Act::Say(server) => {
                self.said += 1;
                let word = WORDS[self.rng.index(WORDS.len())];
                let text = format!("{word} ({})", self.said);
                self.note(server, What::Command { text: format!("broadcast {text}") });
                self.logs.entry(server).or_default().push(text.clone());
                self.send_all(server, "msg", &text);
            }
            Act::Ask(server) => {
                self.note(server, What::Command { text: "get".into() });
                let log = self.logs.entry(server).or_default();
                let text = format!("messages {}", log.join(","));
                self.note(server, What::Answer { text });
            }
            Act::Beat(server) => self.send_all(server, "ping", ""),
            Act::Arrive { from, to, .. } if self.down.contains(&to) || self.cuts(from, to) => {
                let why = if self.down.contains(&to) { "nobody listens there" } else { "the network is cut" };
                let Act::Arrive { id, .. } = act else { return };
                self.note(from, What::Drop { to: to.to_string(), id: Some(id), why: why.into() });
            }
            Act::Arrive { to, .. } if self.paused.contains_key(&to) => {
                self.paused.entry(to).or_default().push(act);
            }
            Act::Arrive { from, to, kind, text, id } => self.arrive(from, to, kind, text, id),
            Act::Crash(server) => {
                self.note(server, What::Crash);
                self.down.insert(server);
                self.logs.remove(&server);
            }
            Act::Start(server) => {
                self.down.remove(&server);
                self.note(server, What::Start);
            }
            Act::Pause(server) => {
                self.note(server, What::Pause);
                self.paused.insert(server, Vec::new());
            }
            Act::Resume(server) => {
                self.note(server, What::Resume);
                for (number, act) in self.paused.remove(&server).into_iter().flatten().enumerate() {
                    self.at_ns(self.now + (number as u64 + 1) * MS, act);
                }
            }
            Act::Cut | Act::Heal => self.cut_or_heal(&act),
        }
    }

    /// Whether a server does not hear its master; a line to a paused one waits.
    fn is_deaf(&mut self, server: u64, act: &Act) -> bool {
        if let Some(waiting) = self.paused.get_mut(&server) {
            match act {
                Act::Say(_) => waiting.push(Act::Say(server)),
                Act::Ask(_) => waiting.push(Act::Ask(server)),
                _ => {}
            }
            return true;
        }
        self.down.contains(&server)
    }

    fn arrive(&mut self, from: u64, to: u64, kind: &'static str, text: String, id: u64) {
        let what = What::Receive {
            from: from.to_string(),
            link: String::new(),
            kind: kind.into(),
            text: text.clone(),
            id: Some(id),
        };
        self.note(to, what);
        if kind == "msg" {
            self.logs.entry(to).or_default().push(text);
        }
    }

    fn send_all(&mut self, from: u64, kind: &'static str, text: &str) {
        for to in (0..self.servers).filter(|&to| to != from) {
            self.sent += 1;
            let id = self.sent;
            let what = What::Send {
                to: to.to_string(),
                link: String::new(),
                kind: kind.into(),
                text: text.to_owned(),
                id: Some(id),
            };
            self.note(from, what);
            if kind == "msg" && self.rng.chance(Probability::percent(3)) {
                self.note(
                    from,
                    What::Drop { to: to.to_string(), id: Some(id), why: "lost on the way".into() },
                );
                continue;
            }
            let when = self.now + self.rng.between(10 * MS..=90 * MS);
            self.at_ns(when, Act::Arrive { from, to, kind, text: text.to_owned(), id });
        }
    }

    fn cuts(&self, from: u64, to: u64) -> bool {
        self.is_cut && (from < self.servers / 2) != (to < self.servers / 2)
    }

    fn cut_or_heal(&mut self, act: &Act) {
        self.is_cut = matches!(act, Act::Cut);
        if !self.is_cut {
            // Who writes it down does not matter: it happens to the network.
            self.push("0".into(), What::Heal { id: 1 });
            return;
        }
        let names =
            |servers: std::ops::Range<u64>| servers.map(|server| server.to_string()).collect::<Vec<_>>();
        let (left, right) = (names(0..self.servers / 2), names(self.servers / 2..self.servers));
        self.push("0".into(), What::Partition { id: 1, from: left.clone(), to: right.clone() });
        self.push(String::new(), What::Partition { id: 1, from: right, to: left });
    }

    fn note(&mut self, server: u64, what: What) {
        self.push(server.to_string(), what);
    }

    fn push(&mut self, server: String, what: What) {
        self.events.push(Event { at_ns: self.now, server, what });
    }
}
