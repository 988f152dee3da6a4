//! Runs of the sound store, and of stores that break their promises, each in one way: these prove that the checkers can fail.

mod replicated;

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{Node, Store};
use super::{KvsScenario, STORE, Shop, USER, run_service};
use crate::agent::{Agent, Index, Input, Outbox, Output, Peer};
use crate::agents::kvs::{Answer, Kvs, KvsMessage, Operation};
use crate::sim::{Carrier, FailureModel, Fault, Plan, Scenario, Service, Violation, World};
use crate::store::scan;
use crate::time::Time;
use crate::trace::What;

/// Answers as soon as it has proposed.
struct Hasty {
    kvs: Kvs,
    next: u64,
    started: bool,
}

impl Hasty {
    fn store(clients: u32) -> Store {
        Box::new(Self { kvs: Kvs::new(clients), next: 1, started: false })
    }
}

impl Agent for Hasty {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        match input {
            Input::Start => self.started = true,
            Input::Committed { .. } if self.started => return,
            Input::Committed { index, .. } => self.next = index.0 + 1,
            _ => {}
        }
        let mut outbox = Outbox::default();
        self.kvs.handle(now, input, &mut outbox);
        for output in outbox.drain() {
            if let Output::Propose { record } = &output {
                let index = Index(self.next);
                self.next += 1;
                self.kvs.handle(now, Input::Committed { index, record }, out);
            }
            out.push(output);
        }
    }
}

/// Takes every request for a new one: it gives each a number of its own.
struct Forgetful {
    kvs: Kvs,
    number: u64,
    /// What the clients called the requests that are under way.
    theirs: BTreeMap<u64, u64>,
}

impl Forgetful {
    fn store(clients: u32) -> Store {
        Box::new(Self { kvs: Kvs::new(clients), number: 0, theirs: BTreeMap::new() })
    }
}

impl Agent for Forgetful {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, mut input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        match &mut input {
            Input::Message { message: KvsMessage::Ask(ask), .. } => {
                self.number += 1;
                self.theirs.insert(self.number, ask.number);
                ask.number = self.number;
            }
            // After a crash it counts on from what its log holds.
            Input::Committed { record, .. } => {
                if let Ok(KvsMessage::Ask(ask)) = serde_json::from_slice(record) {
                    self.number = self.number.max(ask.number);
                }
            }
            _ => {}
        }
        let mut outbox = Outbox::default();
        self.kvs.handle(now, input, &mut outbox);
        for mut output in outbox.drain() {
            if let Output::Send { message: KvsMessage::Answer { number, .. }, .. } = &mut output {
                *number = self.theirs.remove(number).unwrap_or(0);
            }
            out.push(output);
        }
    }
}

/// Answers reads at once, from a copy that is one change behind.
struct Stale {
    kvs: Kvs,
    copy: BTreeMap<String, String>,
    latest: Option<Operation>,
}

impl Stale {
    fn store(clients: u32) -> Store {
        Box::new(Self { kvs: Kvs::new(clients), copy: BTreeMap::new(), latest: None })
    }

    fn follow(&mut self, record: &[u8]) {
        let Ok(KvsMessage::Ask(ask)) = serde_json::from_slice(record) else { return };
        match self.latest.replace(ask.operation) {
            Some(Operation::Put { key, value }) => drop(self.copy.insert(key, value)),
            Some(Operation::Delete { key }) => drop(self.copy.remove(&key)),
            _ => {}
        }
    }
}

impl Agent for Stale {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        match &input {
            Input::Committed { record, .. } => self.follow(record),
            Input::Message { from, message: KvsMessage::Ask(ask), .. } => {
                if let Operation::Get { key } = &ask.operation {
                    let answer = self.copy.get(key).cloned().map_or(Answer::Nothing, Answer::Value);
                    let (session, number) = (ask.session, ask.number);
                    out.send(*from, KvsMessage::Answer { session, number, answer });
                    return;
                }
            }
            _ => {}
        }
        self.kvs.handle(now, input, out);
    }
}

/// Never answers one of its clients.
struct Silent {
    kvs: Kvs,
}

impl Silent {
    fn store(clients: u32) -> Store {
        Box::new(Self { kvs: Kvs::new(clients) })
    }
}

impl Agent for Silent {
    type Msg = KvsMessage;

    fn handle(&mut self, now: Time, input: Input<'_, KvsMessage>, out: &mut Outbox<KvsMessage>) {
        if !matches!(input, Input::Message { from: Peer(1), .. }) {
            self.kvs.handle(now, input, out);
        }
    }
}

fn plan(carrier: Carrier, seed: u64) -> Plan {
    let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
    let faults = KvsScenario.faults(carrier);
    Plan { seed, carrier, faults, failure_model, wire: seed.is_multiple_of(3), ..KvsScenario.default_plan() }
}

/// The violations in runs with these seeds.
fn violations(carrier: Carrier, make_store: fn(u32) -> Store, forgetful_disks: bool) -> Vec<Violation> {
    let runs = (1..=SEEDS).map(|seed| {
        let plan = plan(carrier, seed);
        let mut shop = Shop::new(&plan, make_store);
        shop.forgetful_disks = forgetful_disks;
        run_service(&mut shop, &plan, None).violation
    });
    runs.flatten().collect()
}

/// Checks that on both carriers some of these runs fail, and says by which checkers.
fn caught(make_store: fn(u32) -> Store, forgetful_disks: bool) -> Vec<&'static str> {
    let mut checkers: Vec<&str> = Vec::new();
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        let violations = violations(carrier, make_store, forgetful_disks);
        assert!(!violations.is_empty(), "nobody noticed on {}", carrier.name());
        checkers.extend(violations.iter().map(|violation| violation.checker));
    }

    checkers.sort_unstable();
    checkers.dedup();
    checkers
}

const SEEDS: u64 = 30;

fn sound(clients: u32) -> Store {
    Box::new(Kvs::new(clients))
}

#[test]
fn a_sound_store_keeps_its_promises() {
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        assert_eq!(violations(carrier, sound, false), []);
    }
}

#[test]
fn a_store_that_answers_before_the_record_is_committed_is_caught() {
    assert_eq!(caught(Hasty::store, false), ["linearizable"]);
}

#[test]
fn a_store_that_forgets_which_requests_it_has_done_is_caught() {
    assert_eq!(caught(Forgetful::store, false), ["linearizable"]);
}

#[test]
fn a_store_that_answers_reads_with_the_past_is_caught() {
    assert_eq!(caught(Stale::store, false), ["linearizable"]);
}

#[test]
fn a_store_that_never_answers_somebody_is_caught() {
    assert_eq!(caught(Silent::store, false), ["answered"]);
}

#[test]
fn a_disk_that_loses_what_was_synced_is_caught() {
    assert!(caught(sound, true).contains(&"durable"));
}

#[test]
fn runs_contain_what_makes_them_hard() {
    let mut answers: Vec<String> = Vec::new();
    let plans =
        [Carrier::Stream, Carrier::Datagram].map(|carrier| (1..=SEEDS).map(move |seed| plan(carrier, seed)));
    for plan in plans.into_iter().flatten() {
        let mut trace = Vec::new();
        KvsScenario.run(&plan, Some(&mut trace));
        answers.extend(trace.into_iter().filter_map(|event| match event.what {
            What::Answer { text } => Some(text),
            _ => None,
        }));
    }
    // Values, missing values, calls that nobody knows the end of, and clients that the store had forgotten.
    for beginning in ["ok", "value", "nothing", "unknown no answer", "unknown the store", "error no answer"] {
        assert!(answers.iter().any(|answer| answer.starts_with(beginning)), "{beginning}");
    }
}

#[test]
fn the_same_plan_gives_the_same_run_on_every_machine() {
    let digests = GOLDEN.map(|(carrier, _)| {
        let figures = KvsScenario.run(&plan(carrier, 42), None).figures;
        (carrier, format!("{:016x}", figures.digest))
    });
    assert_eq!(digests, GOLDEN.map(|(carrier, digest)| (carrier, digest.to_owned())));
}

/// Written down once: a change of it says that runs are not what they were, and seeds that somebody noted are worth nothing any more.
const GOLDEN: [(Carrier, &str); 2] =
    [(Carrier::Stream, "40d036ea6cf77017"), (Carrier::Datagram, "b0c5d46e9a6e9325")];

#[test]
fn a_plan_with_one_server_has_a_client_all_the_same() {
    let plan = Plan { servers: 1, faults: [Fault::Crash].into(), ..KvsScenario.default_plan() };
    assert_eq!(KvsScenario.run(&plan, None).violation, None);
}

/// A world without faults, in which a client has put a value under each of three keys.
struct Bench {
    world: World<Node>,
    shop: Shop,
    /// The store's log after that.
    log: Vec<u8>,
}

const CLIENT: Peer = Peer(1);
const VALUES: [&str; 3] = ["value one", "value two", "value three"];

impl Bench {
    fn new() -> Self {
        let plan = Plan { servers: 2, faults: [].into(), ..KvsScenario.default_plan() };
        let mut shop = Shop::new(&plan, sound);
        let mut world = World::new(shop.settings(&plan));
        shop.build(&mut world, &plan);
        let mut bench = Self { world, shop, log: Vec::new() };
        for line in ["put k1 one", "put k2 two", "put k3 three"] {
            assert_eq!(bench.ask(line), "ok");
        }
        bench.log = bench.world.log(STORE).to_vec();
        bench
    }

    fn ask(&mut self, line: &str) -> String {
        self.world.forget_happened();
        self.world.command(CLIENT, USER, line);
        let limit = self.world.now() + Duration::from_secs(60);
        while self.world.happened().answers.is_empty() {
            assert!(self.world.step(limit), "an answer to {line:?}");
        }
        self.world.happened().answers[0].line.clone()
    }

    /// What the store says about the three keys if it crashes and finds this log when it starts again.
    fn values(&mut self, log: &[u8]) -> [String; 3] {
        self.world.crash(STORE);
        *self.world.log_mut(STORE) = log.to_vec();
        let store = self.shop.make(STORE, 0);
        self.world.restart(STORE, store);
        ["get k1", "get k2", "get k3"].map(|line| self.ask(line))
    }
}

#[test]
fn a_log_that_is_cut_anywhere_keeps_what_was_whole() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    for cut in 0..=log.len() {
        // The first record is the client's session.
        let whole = scan(&log[..cut]).records.len().saturating_sub(1);
        let mut expected = ["nothing"; 3];
        expected[..whole].copy_from_slice(&VALUES[..whole]);
        assert_eq!(bench.values(&log[..cut]), expected, "cut at {cut}");
    }
}

#[test]
fn a_damaged_record_is_never_replayed_and_the_others_are() {
    let mut bench = Bench::new();
    let mut hits = [0; 3];
    for at in 0..bench.log.len() {
        let mut log = bench.log.clone();
        log[at] ^= 1 << (at % 8);
        let values = bench.values(&log);
        for (place, value) in values.iter().enumerate() {
            hits[place] += usize::from(value == "nothing");
            assert!(value == "nothing" || value == VALUES[place], "byte {at}: {value}");
        }
        let missing = values.iter().filter(|value| *value == "nothing").count();
        assert!(missing <= 1, "byte {at}: {values:?}");
    }
    // Each record was hit as often as it has bytes.
    assert!(hits.iter().all(|count| *count > 50), "{hits:?}");
}
