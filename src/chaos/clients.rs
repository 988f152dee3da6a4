//! The clients: each a thread that drives an agent of its own, one command at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use crossbeam_channel::Sender;

use super::Options;
use super::book::Event;
use super::grid::Grid;
use crate::bench::master::Master;
use crate::rng::Rng;
use crate::sim::linear::{RegisterInput, RegisterOutput};

/// All clients at work.
#[derive(Debug)]
pub struct Clients {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Clients {
    /// Connects all clients and sets them to work; what they see goes into `events`.
    pub fn start(grid: &Grid, options: &Options, events: &Sender<Event>) -> anyhow::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let mut seeds = Rng::new(options.seed ^ CLIENTS_SEED);
        let mut threads = Vec::new();
        for number in 0..options.clients {
            let session = attach(grid.clients_control(), &Grid::client_name(number))
                .map_err(|error| grid.explain(error))?;
            let client = Client {
                number,
                all: options.clients,
                session,
                rng: seeds.fork(),
                pause: Duration::from_secs(1) / options.rate.max(1),
                begun: Instant::now(),
                written: 0,
                events: events.clone(),
            };
            let ending = Arc::clone(&ending);
            let thread = thread::Builder::new()
                .name(format!("client {number}"))
                .spawn(move || client.work(&ending))
                .context("no thread for a client")?;
            threads.push(thread);
        }
        Ok(Self { ending, threads })
    }

    /// Lets all clients end their work, which they do by reading every key once more.
    pub fn finish(self) -> anyhow::Result<()> {
        self.ending.store(true, Ordering::Relaxed);
        // All are waited for, whatever became of the first.
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ends.into_iter()
            .try_for_each(|end| end.unwrap_or_else(|_| Err(anyhow!("a client's thread has panicked"))))
    }
}

struct Client {
    number: usize,
    all: usize,
    session: Master,
    rng: Rng,
    /// The shortest time from one command to the next.
    pause: Duration,
    begun: Instant,
    /// How many values it has written: no two are the same.
    written: u64,
    events: Sender<Event>,
}

impl Client {
    fn work(mut self, ending: &AtomicBool) -> anyhow::Result<()> {
        while !ending.load(Ordering::Relaxed) {
            let next = Instant::now() + self.pause;
            let (key, input) = self.draw();
            self.ask(key, input)?;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        // Each key is read by one client, when all is well: a read that is not answered now is a fault of the store.
        for age in 0..=self.age() {
            for number in 0..KEYS {
                if (age * KEYS + number) % (self.all as u64) == self.number as u64 {
                    self.read_at_last(&key_of(age, number))?;
                }
            }
        }
        Ok(())
    }

    /// Keys are used for a while and then seldom, so that the history of each stays short enough to be judged.
    fn draw(&mut self) -> (String, RegisterInput) {
        let now = self.age();
        let age = if self.rng.below(10) == 0 { self.rng.below(now + 1) } else { now };
        let key = key_of(age, self.rng.below(KEYS));
        let input = match self.rng.below(20) {
            0..9 => {
                self.written += 1;
                RegisterInput::Put(format!("{}-{}", self.number, self.written))
            }
            9..18 => RegisterInput::Get,
            _ => RegisterInput::Delete,
        };
        (key, input)
    }

    fn age(&self) -> u64 {
        self.begun.elapsed().as_secs() / AGE_SECONDS
    }

    fn read_at_last(&mut self, key: &str) -> anyhow::Result<()> {
        let limit = Instant::now() + READ_LIMIT;
        while self.ask(key.to_owned(), RegisterInput::Get)?.is_none() {
            ensure!(
                Instant::now() < limit,
                "all servers run and reach each other, and {key} could not be read within {} s",
                READ_LIMIT.as_secs()
            );
        }
        Ok(())
    }

    /// Asks and waits; `None` if the outcome is unknown.
    fn ask(&mut self, key: String, input: RegisterInput) -> anyhow::Result<Option<RegisterOutput>> {
        let command = match &input {
            RegisterInput::Put(value) => format!("put {key} {value}"),
            RegisterInput::Get => format!("get {key}"),
            RegisterInput::Delete => format!("delete {key}"),
        };
        self.tell(Event::Asked { client: self.number, key, input, at: Instant::now() })?;
        let answer = self.session.ask(&command)?;
        let answer = String::from_utf8_lossy(&answer);
        let output = RegisterOutput::of_answer(&answer);
        let known = output.is_some() || answer.starts_with("unknown ") || answer.starts_with("error ");
        ensure!(known, "{answer:?} is no answer to {command:?}");
        self.tell(Event::Answered { client: self.number, output: output.clone(), at: Instant::now() })?;
        Ok(output)
    }

    fn tell(&self, event: Event) -> anyhow::Result<()> {
        self.events.send(event).map_err(|_| anyhow!("the book was closed too early"))
    }
}

/// Connects, again and again until somebody listens, and asks for the agent.
fn attach(control: SocketAddr, agent: &str) -> anyhow::Result<Master> {
    let limit = Instant::now() + CONNECT_LIMIT;
    let mut session = loop {
        match Master::connect_to(control) {
            Ok(session) => break session,
            Err(error) if Instant::now() > limit => {
                return Err(error).with_context(|| format!("the clients' box at {control}"));
            }
            Err(_) => thread::sleep(POLL_PAUSE),
        }
    };
    let answer = session.ask(&format!("attach {agent}"))?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer == format!("attached {agent}"), "{answer:?} is no answer to attach {agent}");
    Ok(session)
}

fn key_of(age: u64, number: u64) -> String {
    format!("k{age}-{number}")
}

/// How many keys are in use at a time.
const KEYS: u64 = 4;
/// For how long keys are in use.
const AGE_SECONDS: u64 = 2;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take until a key can be read when all is well again.
const READ_LIMIT: Duration = Duration::from_secs(20);
const POLL_PAUSE: Duration = Duration::from_millis(5);
/// What sets the clients' random source apart from that of the strikes.
const CLIENTS_SEED: u64 = 0x00c1_1e17;
