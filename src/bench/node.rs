//! The baselines as processes of their own: hidden subcommands of the executable that speak just enough of the lab's
//! contract to be driven like any server. Each lives in one file, small enough to be read in one sitting.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;

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
}

/// Who a baseline is in its grid, and where it listens.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its id, 0 to `n` - 1.
    pub id: usize,
    /// How many servers the grid has.
    pub n: usize,
    /// The port where it listens for its master.
    pub port: u16,
    /// Server `i` listens for other servers on this port plus `i`.
    pub link_base: u16,
}

impl Node {
    /// The address where server `id` listens for other servers.
    pub(super) fn link_address(&self, id: usize) -> anyhow::Result<SocketAddr> {
        let offset = u16::try_from(id).context("the id is too large for a port")?;
        let port = self.link_base.checked_add(offset).context("the id is too large for a port")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The address where this server listens for its master.
    pub(super) fn master_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// Runs a baseline until its process is ended from outside.
pub fn run(kind: Kind, node: &Node) -> anyhow::Result<()> {
    match kind {
        Kind::Bare => bare::run(node),
        Kind::Naive => naive::run(node),
        Kind::Sink => sink(node),
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
