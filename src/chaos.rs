//! Real servers under attack: a replicated key-value store whose boxes are killed, frozen and cut off while clients use it, and a judgement of
//! what the clients saw.
//!
//! Everything is real: processes, disks, sockets, signals, cables between network namespaces. So a run cannot be repeated exactly: the
//! [`strikes`] come from a seed, what they hit does not. What can be found here and not in the simulated world are mistakes of the parts that the world
//! replaces, the files and the sockets above all.
//!
//! **What is judged.** Each client does one thing at a time and waits for its answer, or for being told that the outcome is unknown. For each key the
//! history of questions and answers has to be linearizable. In the end, when all is well again, every key is read once more, and these
//! reads have to be answered: so nothing that was acknowledged is lost.

#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]

pub mod book;
pub mod chat;
pub mod clients;
pub mod grid;
pub mod network;
pub mod servers;
pub mod strikes;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;

use self::book::{Book, Judgement};
use self::clients::Clients;
use self::grid::Grid;
use self::strikes::{Kind, Strikes};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many servers the store has.
    pub servers: usize,
    /// How many clients use it.
    pub clients: usize,
    /// For how long servers are attacked.
    pub lasts: Duration,
    /// What strikes and commands are drawn from.
    pub seed: u64,
    /// What is done to servers.
    pub kinds: Vec<Kind>,
    /// How many operations each client begins in a second at the most.
    pub rate: u32,
    /// Where configuration, logs and data are written.
    pub folder: PathBuf,
    /// The link port of the first server.
    pub base_port: u16,
}

/// What was counted and judged.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many strikes there were of each kind.
    pub strikes: Vec<(Kind, u64)>,
    /// For how long clients worked, attack and healing.
    pub took: Duration,
    /// What the clients saw.
    pub judgement: Judgement,
}

/// Told how far a run has come: since when the attack goes on, and what happens.
pub type Progress<'a> = dyn Fn(Duration, &str) + Sync + 'a;

/// Attacks a store; `progress` is told now and then how far it has come. An error means that nothing could be judged.
pub fn run(options: &Options, progress: &Progress<'_>) -> anyhow::Result<Report> {
    let mut grid = Grid::new(options)?;
    grid.start_all()?;
    let begun = Instant::now();
    let (book, events) = Book::open()?;
    let clients = Clients::start(&grid, options, &events)?;
    drop(events);
    let mut strikes = Strikes::new(options.seed, options.servers, &options.kinds);
    let strikes = grid.servers().attack(&mut strikes, options.lasts, &AtomicBool::new(false), progress)?;
    progress(options.lasts, "all is mended; reading every key once more");
    let worked = clients.finish();
    let took = begun.elapsed();
    let judgement = book.close()?;
    worked.map_err(|error| grid.explain(error)).context("a client")?;
    Ok(Report { strikes, took, judgement })
}
