//! Disks of agents that are logs themselves, barriers of plain logs, and clocks that drift.

use std::collections::BTreeSet;
use std::time::Duration;

use ovid::agent::{
    Agent, Entry, Found, Index, Input, NoMessage, Outbox, Peer, Read, Recovered, Session, Term, Write,
};
use ovid::sim::{Carrier, Damage, Delay, Settings, World};
use ovid::time::Time;

const A: Peer = Peer(0);

/// Writes and reads what it is told to, and remembers what it hears.
#[derive(Default)]
struct Scribe {
    told: Vec<String>,
    recovered: Option<Recovered>,
    last: u64,
    wakes: Option<Time>,
    woken: Option<Time>,
}

impl Scribe {
    /// `append`, `truncate <from>`, `read <from> <upto>`, `propose`, `barrier <token>`, `wake <ms>`.
    fn obey(&mut self, now: Time, line: &str, out: &mut Outbox<NoMessage>) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().expect("a number");
        match words[0] {
            "append" => {
                self.last += 1;
                let record = format!("record {}", self.last).into();
                out.write(Write::Append { entry: Entry { index: Index(self.last), term: Term(1), record } });
            }
            "truncate" => {
                self.last = number(1) - 1;
                out.write(Write::Truncate { from: Index(number(1)) });
            }
            "read" => {
                out.read(Read::Entries { from: Index(number(1)), upto: Index(number(2)), bytes_max: 1_000 });
            }
            "propose" => out.propose(b"record".to_vec()),
            "barrier" => out.barrier(number(1)),
            "wake" => self.wakes = Some(now + Duration::from_millis(number(1))),
            other => panic!("{other:?}"),
        }
    }
}

impl Agent for Scribe {
    type Msg = NoMessage;

    fn handle(&mut self, now: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => self.told.push("start".to_owned()),
            Input::Timeout => (self.wakes, self.woken) = (None, Some(now)),
            Input::Recovered { recovered } => {
                self.last = recovered.last.0;
                self.recovered = Some(recovered.clone());
                self.told.push(format!("recovered {}", recovered.last));
            }
            Input::Stored { upto } => self.told.push(format!("stored {upto}")),
            Input::StoreFailed { .. } => self.told.push("failed".to_owned()),
            Input::Found { found: Found::Entries { entries, .. } } => {
                self.told.push(format!("found {}", entries.len()));
            }
            Input::Committed { index, .. } => self.told.push(format!("committed {index}")),
            Input::Barrier { token } => self.told.push(format!("barrier {token}")),
            Input::Commands { mut commands } => {
                let line = commands.take().expect("a line");
                let line = String::from_utf8(line.to_vec()).expect("text");
                self.obey(now, &line, out);
            }
            other => panic!("{other:?}"),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.wakes
    }
}

fn world(change: impl FnOnce(&mut Settings)) -> World<Scribe> {
    let mut settings = Settings::new(1, Carrier::Stream);
    settings.syncing = Delay::uniform_ms(2, 2);
    change(&mut settings);
    let mut world = World::new(settings);
    world.add(Scribe::default());
    world
}

fn tell(world: &mut World<Scribe>, line: &str) {
    world.command(A, Session(0), line);
}

fn wait(world: &mut World<Scribe>, ms: u64) {
    world.run_until(world.now() + Duration::from_millis(ms));
    assert_eq!(world.wrong(), None);
}

fn told(world: &World<Scribe>) -> Vec<&str> {
    world.agent(A).expect("it lives").told.iter().map(String::as_str).collect()
}

fn restarted(world: &mut World<Scribe>) -> Recovered {
    world.restart(A, Scribe::default());
    world.agent(A).and_then(|agent| agent.recovered.clone()).expect("it was told what its disk holds")
}

#[test]
fn what_is_written_while_the_disk_syncs_becomes_durable_together() {
    let mut world = world(|_| ());
    world.give_store(A);
    for _ in 0..3 {
        tell(&mut world, "append");
    }
    tell(&mut world, "read 2 9");
    wait(&mut world, 1);
    assert_eq!(told(&world), ["recovered 0", "start"]);
    wait(&mut world, 4);
    assert_eq!(told(&world)[2..], ["stored 1", "found 2", "stored 3"]);
    assert_eq!(world.durable(A).expect("a disk").last(), Index(3));
}

#[test]
fn a_crash_leaves_what_is_durable_and_of_the_rest_a_beginning_where_writes_are_torn() {
    let mut left = BTreeSet::new();
    for (torn, seeds) in [(false, 0..1), (true, 0..50)] {
        for seed in seeds {
            let mut world = world(|settings| (settings.seed, settings.torn) = (seed, torn));
            world.give_store(A);
            tell(&mut world, "append");
            wait(&mut world, 5);
            for line in ["append", "truncate 1", "append", "append"] {
                tell(&mut world, line);
            }
            assert_eq!(world.written(A).expect("a disk").last(), Index(2));
            world.crash(A);
            left.insert((torn, restarted(&mut world).last.0));
        }
    }
    // After one write, after the truncation, and so on; 2 is there before it and behind it.
    assert_eq!(left, BTreeSet::from([(false, 1), (true, 0), (true, 1), (true, 2)]));
}

#[test]
fn damage_is_told_and_undone_by_cutting_the_log() {
    let mut world = world(|_| ());
    world.give_store(A);
    for _ in 0..5 {
        tell(&mut world, "append");
    }
    wait(&mut world, 10);
    world.crash(A);
    assert!(world.damage(A, Damage::Entries { from: Index(3), upto: Index(4) }));
    assert!(!world.damage(A, Damage::Entries { from: Index(7), upto: Index(9) }));
    let recovered = restarted(&mut world);
    assert_eq!((recovered.last, recovered.damaged), (Index(5), vec![(Index(3), Index(4))]));
    tell(&mut world, "read 1 5");
    wait(&mut world, 5);
    assert_eq!(told(&world).last(), Some(&"found 2"));
    tell(&mut world, "truncate 3");
    wait(&mut world, 5);
    assert!(world.durable(A).expect("a disk").is_whole());
}

#[test]
fn a_disk_that_has_failed_takes_nothing_more_until_its_agent_starts_again() {
    let mut world = world(|_| ());
    world.give_store(A);
    tell(&mut world, "append");
    wait(&mut world, 5);
    assert!(world.fail_store(A) && !world.fail_store(A));
    tell(&mut world, "append");
    wait(&mut world, 10);
    assert_eq!(told(&world).last(), Some(&"failed"));
    world.crash(A);
    assert_eq!(restarted(&mut world).last, Index(1));
    tell(&mut world, "append");
    wait(&mut world, 5);
    assert_eq!(told(&world).last(), Some(&"stored 1"));
}

#[test]
fn an_agent_that_was_given_no_disk_for_a_log_breaks_a_law() {
    let mut world = world(|_| ());
    tell(&mut world, "append");
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("outputs"));
}

#[test]
fn a_write_that_makes_no_sense_breaks_a_law() {
    let mut world = world(|_| ());
    world.give_store(A);
    tell(&mut world, "truncate 3");
    tell(&mut world, "append");
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("disk"));
}

#[test]
fn a_barrier_of_a_log_of_ones_own_comes_back_at_once_but_not_within_the_question() {
    let mut world = world(|_| ());
    world.give_log(A);
    tell(&mut world, "propose");
    tell(&mut world, "barrier 7");
    assert_eq!(told(&world), ["start"]);
    wait(&mut world, 0);
    assert_eq!(told(&world)[1..], ["barrier 7"]);
    wait(&mut world, 5);
    assert_eq!(told(&world)[2..], ["committed 1"]);
}

#[test]
fn an_agent_whose_clock_runs_slowly_wakes_late() {
    let mut world = world(|_| ());
    world.drift(A, -200_000);
    tell(&mut world, "wake 80");
    wait(&mut world, 99);
    assert_eq!(world.agent(A).expect("it lives").woken, None);
    wait(&mut world, 1);
    let woken = world.agent(A).and_then(|agent| agent.woken).expect("it woke");
    assert_eq!(woken, Time::from_nanos(80_000_000));
}
