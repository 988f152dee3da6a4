//! Who a baseline is in its grid, and where it listens.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;

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
