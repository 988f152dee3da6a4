//! The vocabulary of a grid: ids, ports and limits. No logic beyond saying what is valid.
//!
//! Source: the chatroom lab's port rules: servers listen for each other on 3000 + id, for a master on 10000 and above.

mod box_address;

use std::fmt;

use thiserror::Error;

pub use self::box_address::{BoxAddress, BoxAddressError};

/// The port on which server 0 listens for other servers, unless a setting says otherwise.
pub const LINK_BASE_DEFAULT: u16 = 3000;
/// The lowest port on which a master may be awaited; link ports stay below it.
pub const MASTER_PORT_MIN: u16 = 10_000;
/// The lowest link base: ports below it belong to the system.
pub const LINK_BASE_MIN: u16 = 1024;

/// The number of a server in its grid: 0 to n - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

impl ServerId {
    /// The id as an index into a table of all servers.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of an agent's entrances a message comes in by; what the numbers mean is the receiving agent's to say. The configuration
/// chooses the port of each route; answers to an agent that sent something come in by [`Port::ANSWERS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Port {
    /// Where answers come in.
    pub const ANSWERS: Self = Self(0);
    /// Where the members of a replicated log hear each other; no route of a service may use it.
    pub const LOG: Self = Self(u16::MAX);
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a grid's numbers cannot be used. Nothing was started; the caller's arguments are at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GridError {
    /// A grid has at least one server.
    #[error("a grid has at least 1 server, not 0")]
    Empty,
    /// The id does not belong to the grid.
    #[error("server id {id} is not below the number of servers, {n}")]
    IdOutOfRange {
        /// The id that was asked for.
        id: u16,
        /// The number of servers.
        n: u16,
    },
    /// Masters are awaited on ports of 10000 and above.
    #[error("master port {0} is below {MASTER_PORT_MIN}")]
    MasterPortTooLow(u16),
    /// Link ports would be privileged ones.
    #[error("link base {0} is below {LINK_BASE_MIN}")]
    LinkBaseTooLow(u16),
    /// Link ports would reach into the masters' range.
    #[error(
        "{n} servers from port {base} on would use link ports of {MASTER_PORT_MIN} and above; at most {max} fit"
    )]
    TooManyServers {
        /// The number of servers.
        n: u16,
        /// The link port of server 0.
        base: u16,
        /// How many servers fit above that base.
        max: u16,
    },
}

/// The numbers that every server of a grid shares, and its own id; valid by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    id: ServerId,
    n: u16,
    link_base: u16,
}

impl Grid {
    /// Checks `id` (0 to `n` - 1), `n` and the port range `link_base` to `link_base + n - 1`.
    pub fn new(id: u16, n: u16, link_base: u16) -> Result<Self, GridError> {
        if n == 0 {
            return Err(GridError::Empty);
        }
        if id >= n {
            return Err(GridError::IdOutOfRange { id, n });
        }
        if link_base < LINK_BASE_MIN {
            return Err(GridError::LinkBaseTooLow(link_base));
        }
        let max = MASTER_PORT_MIN.saturating_sub(link_base);
        if n > max {
            return Err(GridError::TooManyServers { n, base: link_base, max });
        }
        Ok(Self { id: ServerId(id), n, link_base })
    }

    /// This server's own id.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// The number of servers, started or not.
    pub fn n(&self) -> u16 {
        self.n
    }

    /// Whether `id` names a server of this grid.
    pub fn holds(&self, id: ServerId) -> bool {
        id.0 < self.n
    }

    /// The port on which server `id` listens for other servers.
    pub fn link_port(&self, id: ServerId) -> u16 {
        self.link_base + id.0
    }

    /// All ids but this server's own, ascending.
    pub fn others(&self) -> impl Iterator<Item = ServerId> + use<> {
        let own = self.id;
        (0..self.n).map(ServerId).filter(move |id| *id != own)
    }

    /// Whether this server is the one that dials, of the pair it forms with `peer`: the larger id dials.
    pub fn dials(&self, peer: ServerId) -> bool {
        self.id > peer
    }
}

/// Checks a master's port.
pub fn check_master_port(port: u16) -> Result<u16, GridError> {
    if port < MASTER_PORT_MIN { Err(GridError::MasterPortTooLow(port)) } else { Ok(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_holds_the_ids_below_n() {
        let grid = Grid::new(1, 3, LINK_BASE_DEFAULT).expect("valid");
        assert_eq!(grid.others().collect::<Vec<_>>(), [ServerId(0), ServerId(2)]);
        assert!(grid.holds(ServerId(2)));
        assert!(!grid.holds(ServerId(3)));
        assert_eq!(grid.link_port(ServerId(2)), 3002);
    }

    #[test]
    fn of_a_pair_exactly_one_dials() {
        let small = Grid::new(0, 2, LINK_BASE_DEFAULT).expect("valid");
        let large = Grid::new(1, 2, LINK_BASE_DEFAULT).expect("valid");
        assert!(!small.dials(ServerId(1)));
        assert!(large.dials(ServerId(0)));
    }

    #[test]
    fn link_ports_stay_below_the_masters_range() {
        assert!(Grid::new(6999, 7000, 3000).is_ok());
        assert_eq!(
            Grid::new(0, 7001, 3000),
            Err(GridError::TooManyServers { n: 7001, base: 3000, max: 7000 })
        );
        assert_eq!(Grid::new(0, 1, 60_000), Err(GridError::TooManyServers { n: 1, base: 60_000, max: 0 }));
        assert_eq!(Grid::new(3, 3, 3000), Err(GridError::IdOutOfRange { id: 3, n: 3 }));
        assert_eq!(Grid::new(0, 0, 3000), Err(GridError::Empty));
        assert_eq!(Grid::new(0, 1, 80), Err(GridError::LinkBaseTooLow(80)));
        assert_eq!(check_master_port(9999), Err(GridError::MasterPortTooLow(9999)));
    }
}
