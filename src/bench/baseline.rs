//! The baselines as processes of their own: hidden subcommands of the executable that speak just enough of the lab's
//! contract to be driven like any server. Each lives in one file, small enough to be read in one sitting.

use std::io;
use std::net::TcpListener;

use anyhow::Context;

use super::node::Node;
use super::{bare, naive};

/// Which baseline a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The hot path alone: ready links, batches, a log in memory.
    Bare,
    /// A thread for each connection and one write for each message.
    Naive,
    /// Reads and throws away: what the load generator is calibrated against.
    Sink,
    /// Says `ok 1` to every line: what the load of the log's bench is calibrated against.
    Echo,
}

/// Runs a baseline until its process is ended from outside.
pub fn run(kind: Kind, node: &Node) -> anyhow::Result<()> {
    match kind {
        Kind::Bare => bare::run(node),
        Kind::Naive => naive::run(node),
        Kind::Sink => sink(node),
        Kind::Echo => echo(node),
    }
}

/// Reads every connection as fast as it comes and keeps nothing.
fn sink(node: &Node) -> anyhow::Result<()> {
    let listener = TcpListener::bind(node.master_address()).context("the sink cannot listen")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || -> io::Result<()> {
            let mut buffer = vec![0; bare::READ_BYTES];
            while io::Read::read(&mut stream, &mut buffer)? > 0 {}
            Ok(())
        });
    }
    Ok(())
}

/// Answers every line of every connection at once.
fn echo(node: &Node) -> anyhow::Result<()> {
    let listener = TcpListener::bind(node.master_address()).context("the echo cannot listen")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        std::thread::spawn(move || -> io::Result<()> {
            let mut buffer = vec![0; bare::READ_BYTES];
            loop {
                let count = io::Read::read(&mut stream, &mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                let lines = memchr::memchr_iter(b'\n', &buffer[..count]).count();
                io::Write::write_all(&mut stream, &b"ok 1\n".repeat(lines))?;
            }
        });
    }
    Ok(())
}
