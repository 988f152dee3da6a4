//! The simulated world of servers, as these tests speak of it: milliseconds, numbers, and answers as text.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use ovid::rng::Rng;
use ovid::server::{Door, Server};
use ovid::sim::servers::{LabSettings, ServerWorld, Streams, lab, lab_addresses, overlay_lab};

/// How long an answer may take.
const ANSWER_LIMIT_MS: u64 = 1000;

/// All servers of a lab and everything between them.
pub(crate) struct World {
    servers: ServerWorld,
    rng: Rng,
    tune: Rc<Cell<fn(&mut LabSettings)>>,
    /// The server that is started next, in a world of machines.
    next: Rc<RefCell<Option<Server>>>,
}

impl Deref for World {
    type Target = ServerWorld;

    fn deref(&self) -> &ServerWorld {
        &self.servers
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut ServerWorld {
        &mut self.servers
    }
}

impl World {
    pub(crate) fn new(n: u16, seed: u64) -> Self {
        Self::over(Streams::default(), n, seed)
    }

    /// The same, over streams of another sort.
    pub(crate) fn over(streams: Streams, n: u16, seed: u64) -> Self {
        let tune: Rc<Cell<fn(&mut LabSettings)>> = Rc::new(Cell::new(|_| {}));
        let tuned = Rc::clone(&tune);
        let maker = lab(n, move |settings| tuned.get()(settings));
        let mut rng = Rng::new(seed);
        let servers = ServerWorld::new(lab_addresses(n), streams, rng.number(), maker);
        Self { servers, rng, tune, next: Rc::default() }
    }

    /// Servers of an overlay, with times that suit a test; all run, and have found each other.
    pub(crate) fn of_overlay(n: u16, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let maker = overlay_lab(n, |_, setup| {
            setup.options.shuffle_period = Duration::from_secs(1);
            setup.options.keep_alive = Duration::from_millis(200);
            setup.options.probe_period = Duration::from_secs(1);
            setup.options.timeout = Duration::from_secs(1);
        });
        let servers = ServerWorld::new(lab_addresses(n), Streams::default(), rng.number(), maker);
        let mut world = Self { servers, rng, tune: Rc::new(Cell::new(|_| {})), next: Rc::default() };
        for id in 0..n {
            world.start(id);
            world.run_ms(20);
        }
        world.await_all_see(&(0..n).collect::<Vec<_>>());
        world
    }

    /// A grid in which everybody has found everybody.
    pub(crate) fn linked(n: u16, seed: u64) -> Self {
        let mut world = Self::new(n, seed);
        for id in 0..n {
            world.start(id);
        }
        world.run_ms(200);
        world.assert_all_see(&(0..n).collect::<Vec<_>>());
        world
    }

    /// Servers that are started from here on have their settings changed by `tune`.
    pub(crate) fn tune(&mut self, tune: fn(&mut LabSettings)) {
        self.tune.set(tune);
    }

    /// A world of `n` machines; [`World::host`] says what runs there.
    pub(crate) fn of_machines(n: u16, seed: u64) -> Self {
        let next: Rc<RefCell<Option<Server>>> = Rc::default();
        let taken = Rc::clone(&next);
        let maker = move |_, _, _| taken.borrow_mut().take().expect("`host` has made it");
        let mut rng = Rng::new(seed);
        let servers = ServerWorld::new(lab_addresses(n), Streams::default(), rng.number(), Box::new(maker));
        Self { servers, rng, tune: Rc::new(Cell::new(|_| {})), next }
    }

    /// Starts `server` on machine `id` of a world of machines.
    pub(crate) fn host(&mut self, id: u16, server: Server) {
        *self.next.borrow_mut() = Some(server);
        self.start(id);
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run_for(Duration::from_millis(ms));
    }

    /// One command, and its answer.
    pub(crate) fn ask(&mut self, id: u16, command: &str) -> String {
        let master = self.connect(id, Door::Masters);
        self.send(master, format!("{command}\n").as_bytes());
        let mut answer = Vec::new();
        for _ in 0..ANSWER_LIMIT_MS {
            self.run_ms(1);
            answer.extend(self.take(master));
            if answer.ends_with(b"\n") {
                break;
            }
        }
        assert!(answer.ends_with(b"\n"), "server {id} does not answer {command:?}");
        let answer = String::from_utf8(answer).expect("UTF-8");
        self.hang_up(master);
        answer.trim_end_matches('\n').to_owned()
    }

    pub(crate) fn log(&mut self, id: u16) -> Vec<String> {
        let answer = self.ask(id, "get");
        let joined = answer.strip_prefix("messages ").expect("an answer to get");
        if joined.is_empty() { Vec::new() } else { joined.split(',').map(str::to_owned).collect() }
    }

    pub(crate) fn assert_all_see(&mut self, ids: &[u16]) {
        let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
        let expected = format!("alive {}", ids.join(","));
        for id in self.running() {
            assert_eq!(self.ask(id, "alive"), expected, "server {id}");
        }
    }

    /// Waits until every server that runs takes just these for alive.
    pub(crate) fn await_all_see(&mut self, ids: &[u16]) {
        let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
        let expected = format!("alive {}", ids.join(","));
        self.wait_until(&format!("everybody says {expected}"), |world| {
            let running = world.running();
            running.into_iter().all(|id| world.ask_now(id, "alive") == expected)
        });
    }

    /// Lets time go on until something holds, for a minute at the most.
    pub(crate) fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..600 {
            if holds(self) {
                return;
            }
            self.run_ms(100);
        }
        for id in self.running() {
            println!("{id}: {}", self.ask_now(id, "status"));
        }
        panic!("it never came about that {what}");
    }

    /// The answer to a command, asked from inside: in no time.
    pub(crate) fn ask_now(&mut self, id: u16, command: &str) -> String {
        let answer = self.ask_inside(id, command).concat();
        String::from_utf8(answer).expect("UTF-8").trim_end_matches('\n').to_owned()
    }

    /// A number below `limit`.
    pub(crate) fn random(&mut self, limit: usize) -> usize {
        self.rng.index(limit)
    }
}
